"""`proctor report`: for whoever teaches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from proctor.cli.options import COURSE
from proctor.errors import CourseError, ProctorError

if TYPE_CHECKING:
    from proctor.course.course import Course

STEPS = "source", "release", "submitted", "autograded", "feedback"  # students see some of them


@click.command()
@click.argument("assignment", required=False)
@COURSE
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the page. Default: report/ASSIGNMENT.html in the course, or "
    "report/index.html. The CSV files stand beside it.",
)
def report(assignment: str | None, course: Path, output: Path | None) -> int:
    """Write a page about a class and an ASSIGNMENT; without one, about the whole course.

    The page of an assignment has the distribution of scores, misconceptions, the figures of each
    grade cell, who is missing, late or rejected, and submissions that are nearly the same. It is
    one HTML file that needs no network, with CSV files of everything beside it. It names students.

    Exit status: 0, 1 when a file cannot be written, 2 for a wrong call.
    """
    from proctor.course.course import Course
    from proctor.survey import gather, page

    loaded = Course.load(course)
    home = loaded.root / "report"
    target = output or home / f"{assignment or 'index'}.html"
    _away_from_students(loaded, target)
    files: dict[Path, str] = {}
    survey = None
    if assignment:
        found = loaded.assignment(assignment)
        console = Console(stderr=True)
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task("reading", total=None)
            survey = gather.survey(
                found,
                lambda what, done, of: progress.update(
                    task, description=what, completed=done, total=of
                ),
            )
        places = page.paths(target)
        files |= {places[name]: text for name, text in page.sheets(survey).items()}
        sheets = {name: quote(path.name) for name, path in places.items()}
        index = None if output else "index.html"
        files[target] = page.assignment_page(survey, sheets, index)
    if not output or not assignment:
        lines = gather.course_lines(loaded, survey)
        pages = {
            line.name: quote(f"{line.name}.html")
            for line in lines
            if not output and (line.name == assignment or (home / f"{line.name}.html").is_file())
        }
        name = loaded.course_id or loaded.root.name
        index_page = home / "index.html" if assignment else target
        files[index_page] = page.course_page(name, lines, pages)
    _write(files)
    click.echo(target)
    return 0


def _away_from_students(course: Course, target: Path) -> None:
    """Refuse a page in a folder of which nbgrader hands something out, or where it looks for
    submissions.
    """
    anyone = "\0"
    for step in STEPS:
        folder = course.folder(step, anyone, anyone)
        while anyone in str(folder):
            folder = folder.parent
        if folder != course.root and target.resolve().is_relative_to(folder.resolve()):
            raise CourseError(
                f"{target} stands in {folder}, from where it could reach students: it names all of "
                "them. Choose another place with --output."
            )


def _write(files: dict[Path, str]) -> None:
    from proctor.record.store import write_whole

    for path, text in files.items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise ProctorError(
                f"{path} cannot be written: {error.strerror}. Make room or allow writing, or name "
                "another place with --output."
            ) from None
