"""`proctor init`, `new`, `try`, `export`: for whoever writes assignments; students export, too."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from proctor.cli.options import COURSE, NOTEBOOK


@click.command()
@click.argument("notebooks", nargs=-1, type=NOTEBOOK)
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


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", default="", help="The course's name in nbgrader. Default: that of DIR.")
@click.option(
    "--package",
    default="",
    metavar="NAME",
    help="A package that the assignments build, a module for each. Default: none.",
)
def init(folder: Path, name: str, package: str) -> None:
    """Make a course in DIR, a new or an empty folder, with a first assignment that works."""
    from proctor.author import new as making

    for path in making.init(folder, name, package):
        click.echo(os.path.relpath(path))
    here = os.path.relpath(folder)
    _go_on(making.FIRST, "" if here == "." else f"cd {shlex.quote(here)}")


@click.command()
@click.argument("assignment")
@COURSE
def new(assignment: str, course: Path) -> None:
    """Write an ASSIGNMENT that works, such as 06_sorting, to put your own exercise into."""
    from proctor.author import new as making
    from proctor.course.course import Course

    loaded = Course.load(course)
    for path in making.new(loaded, assignment):
        click.echo(os.path.relpath(path))
    _go_on(assignment)


@click.command("try")
@click.argument("assignment")
@COURSE
def try_out(assignment: str, course: Path) -> int:
    """Grade an ASSIGNMENT's own solutions: a blank earns nothing, your notebook and the right ones
    in tests/solutions/ all, the wrong ones lose what is said of them there.

    Nothing is recorded. Exit status: 0 when all end as they should, else 1.
    """
    from proctor.author import solutions
    from proctor.course.course import Course

    trials = solutions.try_all(Course.load(course).assignment(assignment))
    width = max(len(trial.solution.name) for trial in trials)
    for trial in trials:
        solution, result = trial.solution, trial.result
        kind = "right" if solution.right else "blank" if solution is solutions.BLANK else "wrong"
        score = "-" if result is None else f"{result.score:g}/{result.max_score:g}"
        said = "; ".join(trial.surprises) or solution.misconception or ""
        sign = "NOT AS MEANT: " if trial.surprises else ""
        click.echo(f"{kind}  {solution.name:{width}}  {score:>8}  {sign}{said}".rstrip())
        for test in result.tests if result and solution.right else []:
            if test.status == "failed" and test.detail:
                click.echo(test.detail)
    return int(any(trial.surprises for trial in trials))


def _go_on(assignment: str, first: str = "") -> None:
    """What an author does next."""
    click.echo(
        f"\n{assignment} works as it is. Put your exercise in the place of its moving average: in "
        "the notebook first,\nthen in the hidden tests, the solutions and the page. Whether it "
        "holds, and its release:\n"
    )
    typed = [first, f"proctor try {assignment}", f"nbgrader generate_assignment {assignment}"]
    click.echo("\n".join(f"    {command}" for command in typed if command))
