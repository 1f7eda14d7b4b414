"""`proctor grade` and `proctor doctor`: for whoever grades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from proctor.cli.options import COURSE, FORMAT, ISOLATION, OUTPUT, complain
from proctor.errors import ProctorError
from proctor.report.formats import FORMATS
from proctor.verdict import one_line

if TYPE_CHECKING:
    from proctor.run import Run


def _shard(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int]:
    """Which part of how many: (2, 4) for "2/4"."""
    part, _, parts = (text or "1/1").partition("/")
    try:
        number, count = int(part), int(parts)
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise click.BadParameter("write I/N, the I-th of N parts, such as 2/4", context, option)
    return number, count


@click.command()
@click.argument("assignment")
@click.argument("students", nargs=-1, metavar="[STUDENT]...")
@COURSE
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    help="How many to grade at a time. Default: the cores.",
)
@FORMAT
@OUTPUT
@click.option("--force", is_flag=True, help="Grade all, also those whose result still holds.")
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a summary in Markdown to this file, whatever the format.",
)
@click.option(
    "--no-record", is_flag=True, help="Only print: leave autograded/ and the gradebook alone."
)
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Only the I-th of N parts of these students, for N machines that each grade one. Gather "
    "their .proctor/ and autograded/ in one course, and `proctor grade` there records them all "
    "without grading again.",
)
@click.option(
    "--own-stack",
    is_flag=True,
    help="Grade on each student's own earlier modules, made of the notebooks that they handed in, "
    "and on the reference's where there are none.",
)
@ISOLATION
@click.option(
    "--explain", is_flag=True, help="Show failed hidden tests' tracebacks, for the suite's author."
)
def grade(
    assignment: str,
    students: Sequence[str],
    course: Path,
    jobs: int | None,
    form: str,
    outputs: Sequence[tuple[str, str]],
    force: bool,
    summary: Path | None,
    no_record: bool,
    shard: tuple[int, int],
    own_stack: bool,
    isolation: str,
    explain: bool,
) -> int:
    """Grade submitted/STUDENT/ASSIGNMENT for all students, or for those named.

    What was graded before is graded again only if the submission, the suite or the environment has
    changed since.

    Exit status: 0 when every submission has a result, 1 when one has none, 2 for a wrong call, 130
    when interrupted. Whatever ends a run, what was graded is kept.
    """
    from proctor import run as running
    from proctor.course.course import Course
    from proctor.report import formats, table

    errors = Console(stderr=True)
    with _progress(errors) as progress:
        task = progress.add_task(one_line(assignment), total=None, text="")

        def watch(run: Run) -> None:
            if run.isolation == "none" and len(run.results) == run.kept:
                table.say(errors, table.NO_ISOLATION, style="bold")
            done = len(run.results) - run.kept
            progress.update(task, total=run.todo, completed=done, text=_so_far(run))

        run = running.grade(
            Course.load(course).assignment(assignment),
            students,
            jobs=jobs,
            force=force,
            record=not no_record,
            shard=shard,
            isolation=isolation,
            explain=explain,
            own_stack=own_stack,
            watch=watch,
        )
    results, changes = run.results, run.changes
    if form == "table":
        screen = Console()
        if not screen.is_terminal:
            screen = Console(width=118)  # a file or a CI log has no edge to wrap at
        table.table(assignment, results, screen, run.kept, changes)
    else:
        click.echo(FORMATS[form](assignment, results).rstrip("\n"))
        table.moves(changes, errors)
    if explain:
        for result in results:
            for test in result.tests:
                if test.detail:
                    errors.rule(Text(one_line(f"{result.student}: {test.name}")))
                    table.say(errors, test.detail)
    if failed := [result for result in results if result.status == "error"]:
        complain(
            f"{len(failed)} of {len(results)} submissions have no result; run the command "
            f"again to grade them. {failed[0].student}: {failed[0].error}"
        )
    for name, path in outputs:
        formats.write(name, path, assignment, results)
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(formats.as_markdown(assignment, results))
        except OSError as error:
            raise ProctorError(
                f"The summary {summary} cannot be written: {error.strerror}. What was graded is "
                "kept: name another file and run the command again."
            ) from None
    return int(bool(failed))


def _so_far(run: Run) -> str:
    """How far a run has come: graded 7 of 12, 1 rejected."""
    ended = [result.status for result in run.results[run.kept :]]
    text = f"graded {ended.count('graded')} of {run.todo}"
    for status, words in (("rejected", "rejected"), ("error", "without a result")):
        text += f", {ended.count(status)} {words}" if status in ended else ""
    return text


def _progress(console: Console) -> Progress:
    """A bar on a terminal, silence elsewhere."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@click.command()
def doctor() -> int:
    """Say what this machine offers for isolation, what is missing, and how to get it."""
    from proctor import jail

    console = Console()
    for finding in jail.diagnose():
        console.print(
            f"{'[green]yes[/]' if finding.ok else '[red]no [/]'}  {finding.name}: {finding.detail}"
        )
        if not finding.ok and finding.remedy:
            console.print(f"     {finding.remedy}")
    console.print(f"Isolation: [bold]{jail.probe()}[/]")
    return 0
