"""`proctor prerequisites` and `proctor unpack`: earlier modules for whoever did not finish them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from proctor.cli.options import COURSE
from proctor.errors import CourseError


@click.command()
@click.argument("assignments", nargs=-1, required=True, metavar="ASSIGNMENT...")
@COURSE
@click.option(
    "--output",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the archives go. Default: this folder.",
)
@click.option(
    "--anyway",
    is_flag=True,
    help="Hand out although what comes before may still be handed in, or has no due date.",
)
def prerequisites(assignments: Sequence[str], course: Path, output: Path, anyway: bool) -> int:
    """Write ASSIGNMENT-prerequisites.zip, the modules that ASSIGNMENT stands on.

    It is for students who did not finish the assignments before, and it is these assignments'
    solution: refused until their due dates in the gradebook, the latest extension included, are
    over. A student puts it into their own package by `proctor unpack`, which overwrites nothing
    that they wrote.

    Exit status: 0 when all are written, 1 when it is too early, 2 for a wrong call.
    """
    from proctor.author import prerequisites as handing_out
    from proctor.course.course import Course
    from proctor.record import gradebook

    loaded = Course.load(course)
    if unknown := [name for name in assignments if name not in loaded.assignments]:
        raise CourseError(
            f"There is no assignment '{unknown[0]}'. There are: {', '.join(loaded.assignments)}."
        )
    found = [loaded.assignment(name) for name in assignments]
    if not anyway:
        handing_out.refuse_early(found, gradebook.deadlines(loaded), datetime.now(UTC))
    for assignment in found:
        click.echo(os.path.relpath(handing_out.write(assignment, output)))
    return 0


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--into",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder in which your assignments' folders lie. Default: this one.",
)
def unpack(archive: Path, into: Path) -> int:
    """Put what your instructor handed out for an assignment into your own package.

    ARCHIVE is NAME-prerequisites.zip. Modules that you exported stay as they are; those that you
    lack are the instructor's. Export your own later, and it takes the instructor's place.

    Exit status: 0 when it is done, 1 when the archive is none, 2 for a wrong call.
    """
    from proctor.author.prerequisites import take

    done = take(archive, into)
    where = os.path.relpath(done.package)
    if done.new:
        click.echo(f"{where}: the instructor's {', '.join(done.new)}")
    if done.kept:
        click.echo(
            f"{where}: your own {', '.join(done.kept)} stays as it is. To take the instructor's, "
            "move yours away and unpack again."
        )
    return 0
