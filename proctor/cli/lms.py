"""`proctor collect` and `proctor scores`: for whoever teaches by a learning management system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proctor.cli.options import COURSE
from proctor.verdict import one_line, printable

if TYPE_CHECKING:
    from proctor.lms.collect import Collected
    from proctor.lms.scores import Filled

MAX_LINES = 50  # of one kind, where a class may be large

ROSTER = click.option(
    "--roster",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file of the course's students with nbgrader's columns (id, first_name, last_name, "
    "email, lms_user_id); also login_id, sis_user_id, username, sid, full_name or github, where "
    "the LMS names students by them. Default: roster.csv in the course's folder, and the "
    "gradebook's students.",
)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@ROSTER
@click.option(
    "--assignment",
    default="",
    metavar="NAME",
    help="Whose notebooks these are, where neither their names nor their cells tell.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@COURSE
def collect(
    paths: Sequence[Path], roster: Path | None, assignment: str, dry_run: bool, course: Path
) -> int:
    """Take what an LMS gave into submitted/STUDENT/ASSIGNMENT.

    A PATH is a download of Canvas, Moodle, Blackboard or Gradescope (a zip file or what was in it),
    a folder of git repositories, a folder of notebooks, or a notebook. Every version is kept in
    collected/, with a record of where it came from; the newest stands in submitted/. A second run
    changes nothing.

    Exit status: 0 when everything found its place, 1 when somebody could not be matched or
    something was refused, 2 for a wrong call; then nothing is written.
    """
    from proctor.course.course import Course
    from proctor.lms import collect as collecting

    done = collecting.collect(Course.load(course), paths, roster, assignment, dry_run)
    _show_collected(done, dry_run)
    return int(not done.whole)


def _show_collected(done: Collected, dry_run: bool) -> None:
    for download in done.downloads:
        click.echo(one_line(f"{download.path.name}: {download.form}, {download.count:,} files"))
    width = max((len(each.student) for each in done.taken), default=0)
    for each in done.taken:
        version = each.version
        facts = [version.time or "time unknown", *(["late"] if version.late else []), *each.notes]
        line = f"  {each.student:<{width}}  {each.assignment}  {each.what:<9}  {'; '.join(facts)}"
        if each.what != "unchanged":
            click.echo(printable(line))
    unchanged = sum(each.what == "unchanged" for each in done.taken)
    if unchanged:
        click.echo(f"  {unchanged} unchanged")
    _list("not matched", [f"{name}: {who}: {why}" for name, who, why in done.unmatched])
    _list("refused", [f"{name}: {line}" for name, lines in done.refused for line in lines])
    if done.unmatched:
        click.echo(
            "Who is not matched stays in the download: add them to the roster, run it again."
        )
    if dry_run:
        click.echo("Nothing was written: this was a dry run.")


def _list(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    click.echo(f"{title}: {len(lines)}")
    for line in lines[:MAX_LINES]:
        click.echo(f"  {one_line(line)}")
    if len(lines) > MAX_LINES:
        click.echo(f"  and {len(lines) - MAX_LINES} more")


@click.group()
def scores() -> None:
    """Hand scores back, by filling the file that the LMS gave.

    Only cells whose score is due change; every other byte stays as it was.
    """


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option(
                "--assignment", default="", metavar="NAME", help="Only this assignment's."
            ),
            ROSTER,
            click.option(
                "--output",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Write here. Default: into the file itself, with the old one beside it.",
            ),
            click.option(
                "--scale",
                is_flag=True,
                help="Scale scores to the LMS's points where the assignment is worth others.",
            ),
            COURSE,
        )
    ):
        command = option(command)
    return command


@scores.command()
@click.argument("export", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--column",
    "--title",
    default="",
    metavar="TITLE",
    help="The column: its title, its number, or both as 'Title (ID)'. Default: the column whose "
    "title is the assignment's name.",
)
@_common
def canvas(
    export: Path,
    column: str,
    assignment: str,
    roster: Path | None,
    output: Path | None,
    scale: bool,
    course: Path,
) -> int:
    """Fill an EXPORT of Canvas's gradebook: Grades > Export > Export Entire Gradebook.

    Exit status: 0 when all is done, 1 when somebody could not be matched or a cell is not to be
    changed, 2 for a wrong file; then nothing is written.
    """
    from proctor.lms import scores as handing
    from proctor.lms.scores import Rules

    ledger = _ledger(course, roster, assignment)
    sheet = handing.opened(export)
    filled = handing.canvas(ledger, sheet, Rules(assignment, column, scale))
    return _finish(filled, handing.save(sheet, export, output), export, output)


@scores.command()
@click.argument("worksheet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--feedback", is_flag=True, help="Fill the feedback comments, too, with a line each.")
@click.option("--grade-column", default="", metavar="HEADER", help="Where the grade stands.")
@click.option("--feedback-column", default="", metavar="HEADER", help="Where comments stand.")
@_common
def moodle(
    worksheet: Path,
    feedback: bool,
    grade_column: str,
    feedback_column: str,
    assignment: str,
    roster: Path | None,
    output: Path | None,
    scale: bool,
    course: Path,
) -> int:
    """Fill a grading WORKSHEET of Moodle's: Download grading worksheet, in any language.

    Exit status: 0 when all is done, 1 when somebody could not be matched or a cell is not to be
    changed, 2 for a wrong file; then nothing is written.
    """
    from proctor.lms import scores as handing
    from proctor.lms.scores import Rules

    ledger = _ledger(course, roster, assignment)
    sheet = handing.opened(worksheet)
    rules = Rules(assignment, grade_column, scale, feedback, feedback_column)
    filled = [handing.moodle(ledger, sheet, worksheet, rules)]
    return _finish(filled, handing.save(sheet, worksheet, output), worksheet, output)


@scores.command()
@click.argument("assignment")
@ROSTER
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the platform said when the course was registered. Default: lti.toml in the course.",
)
@click.option("--again", is_flag=True, help="Post all, also what the platform has taken before.")
@click.option("--dry-run", is_flag=True, help="Show what would be posted, and post nothing.")
@COURSE
def lti(
    assignment: str,
    roster: Path | None,
    settings: Path | None,
    again: bool,
    dry_run: bool,
    course: Path,
) -> int:
    """Post the scores of ASSIGNMENT to a platform's line item, by LTI 1.3 Advantage.

    Posted is what the platform does not have yet; a submission that still needs manual grading as
    PendingManual.

    Exit status: 0 when all is done, 1 when somebody could not be matched, was refused, or the
    platform could not be reached, 2 for a wrong call or wrong settings.
    """
    from rich.console import Console
    from rich.progress import Progress

    from proctor.lms import lti as posting

    ledger = _ledger(course, roster, assignment)
    root = ledger.course.root
    platform = posting.Platform(posting.Settings.load(settings or root / posting.FILE, root))
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(one_line(assignment))
        done = posting.post(
            ledger,
            platform,
            assignment,
            dry_run,
            again,
            lambda count, todo: progress.update(task, completed=count, total=todo),
        )
    words = "would be posted" if dry_run else "posted"
    click.echo(one_line(f"{assignment}: {len(done.posted)} {words}, {done.same} unchanged"))
    _list("manual grading is missing", done.pending)
    _list("left alone", [f"{student}: {why}" for student, why in done.left])
    _list("refused", [f"{student}: {why}" for student, why in done.refused])
    _list("not matched", [f"{student}: {why}" for student, why in done.unmatched])
    return int(not done.whole)


@scores.command("lti-key")
@click.option("--new", is_flag=True, help="Make a key first, with a file that only you may read.")
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The private key's file. Default: ~/.config/proctor/lti-key.pem.",
)
def lti_key(new: bool, key: Path | None) -> int:
    """Print the public key set to register with a platform; the private key is never printed."""
    import json

    from proctor.lms import lti as posting

    path = key or posting.KEY
    if new:
        posting.make_key(path)
    click.echo(json.dumps(posting.public_keys(path), indent=1))
    return 0


def _ledger(course: Path, roster: Path | None, assignment: str) -> Any:
    from proctor.course.course import Course
    from proctor.errors import CourseError
    from proctor.lms.scores import Ledger

    ledger = Ledger(Course.load(course), roster)
    if assignment and not ledger.standings.get(assignment):
        graded = ", ".join(name for name, found in ledger.standings.items() if found)
        raise CourseError(f"Nobody has a score for '{assignment}'. Graded are: {graded}.")
    return ledger


def _finish(
    filled: Sequence[Filled], backup: Path | None, target: Path, output: Path | None
) -> int:
    for each in filled:
        click.echo(
            one_line(
                f"{each.assignment} -> '{each.column}': {len(each.written)} written, {each.same} "
                "unchanged"
            )
        )
        moved = [f"{student}: {old} -> {new}" for student, old, new in each.written if old]
        _list("other score before", moved)
        _list("left alone", [f"{student}: {why}" for student, why in each.left])
        _list("not to be changed", [f"{student}: {why}" for student, why in each.refused])
        _list("rows not matched", [f"{shown}: {why}" for shown, why in each.unmatched])
        _list("graded, but in no row", each.absent)
        _list("notes", each.notes)
    if backup:
        click.echo(one_line(f"{target} was filled; as it was before: {backup.name}"))
    elif output:
        click.echo(one_line(f"{output} was written."))
    return int(not all(each.whole for each in filled))
