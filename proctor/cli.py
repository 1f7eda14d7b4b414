"""The command `proctor`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from proctor import __version__
from proctor.errors import CourseError, ProctorError
from proctor.verdict import one_line, printable

if TYPE_CHECKING:
    from proctor.run import Run

COURSE = click.option(
    "--course",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The course's folder, with nbgrader_config.py. Default: this one.",
)
ISOLATION = click.option(
    "--isolation",
    default="",
    metavar="LEVEL",
    help="Demand a level: full, container or none. Default: the best that this machine has.",
)


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="proctor")
def commands() -> None:
    """Grade notebooks so that no student's code decides a score."""


@commands.command()
@click.argument("assignment")
@click.argument("students", nargs=-1, metavar="[STUDENT]...")
@COURSE
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    help="How many to grade at a time. Default: the cores.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "junit", "markdown"]),
    default="table",
    help="What to print on standard output.",
)
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
        click.echo(
            {"json": formats.as_json, "junit": formats.as_junit, "markdown": formats.as_markdown}[
                form
            ](assignment, results)
        )
        table.moves(changes, errors)
    if explain:
        for result in results:
            for test in result.tests:
                if test.detail:
                    errors.rule(Text(one_line(f"{result.student}: {test.name}")))
                    table.say(errors, test.detail)
    if failed := [result for result in results if result.status == "error"]:
        _complain(
            f"{len(failed)} of {len(results)} submissions have no result; run the command "
            f"again to grade them. {failed[0].student}: {failed[0].error}"
        )
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


def _complain(text: str) -> None:
    """Say on standard error what went wrong; it may name a student."""
    click.echo(f"proctor: {printable(text)}", err=True)


@commands.command()
@click.argument("notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@ISOLATION
def check(notebook: Path, isolation: str) -> int:
    """Run the visible checks of a NOTEBOOK and name what to do next.

    Exit status: 0 when all pass and every cell runs to its end, else 1.
    """
    from proctor.check import check_notebook

    return check_notebook(notebook, isolation, Console())


@commands.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; fail if the package is out of step."
)
@click.option(
    "--package",
    default=None,
    metavar="NAME",
    help="The package's name or path. Default: the course's package; for a NOTEBOOK the package "
    "that stands in its folder or above it, or a new `tinytorch` beside the assignment's folder.",
)
@COURSE
def export(notebooks: Sequence[Path], only_check: bool, package: str | None, course: Path) -> int:
    """Write the course's package from its notebooks, or a module of your own from a NOTEBOOK."""
    from proctor.author import export as exporting
    from proctor.course.course import Course

    if notebooks:
        for notebook in notebooks:
            named = Path(package or "")
            found = exporting.package_for(notebook, named.name)
            target = named if len(named.parts) > 1 else found
            click.echo(os.path.relpath(exporting.export_notebook(notebook, target)))
            click.echo(exporting.how_to_start(notebook, target), nl=False)
        return 0
    loaded = Course.load(course)
    target = loaded.root / (package or loaded.package or "")
    source = loaded.folder("source", ".", "_").parent
    if only_check:
        differences = exporting.check(source, target)
        click.echo("\n".join(differences) or f"{target.name} is in step with {source.name}.")
        return int(bool(differences))
    for path in exporting.export_course(source, target):
        click.echo(os.path.relpath(path, loaded.root))
    return 0


@commands.command()
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


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run a command; what went wrong is said in a sentence. Exit status 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that its encoding lacks ends no run
            stream.reconfigure(errors="backslashreplace")
    try:
        status = commands(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except CourseError as error:
        _complain(str(error))
        status = 2
    except ProctorError as error:
        _complain(str(error))
        status = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("proctor: interrupted; what was graded before is recorded.", err=True)
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
