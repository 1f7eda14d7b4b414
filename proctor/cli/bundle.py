"""`proctor bundle`: an assignment for a service that grades elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import click

from proctor.cli.options import COURSE


@click.group()
def bundle() -> None:
    """Pack an assignment for a service that grades elsewhere."""


@bundle.command()
@click.argument("assignment")
@COURSE
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The zip to write. Default: gradescope/ASSIGNMENT.zip in the course.",
)
@click.option(
    "--python",
    default="3.12",
    metavar="VERSION",
    help="The Python of the image that you choose at Gradescope. Default: 3.12, Ubuntu 24.04's.",
)
def gradescope(assignment: str, course: Path, output: Path | None, python: str) -> int:
    """Write ASSIGNMENT's autograder for Gradescope.

    Upload the zip under "Configure Autograder", with an image that has this Python. It holds the
    hidden tests and the reference: it is for Gradescope alone. What pip installs there lies in it.
    """
    from proctor.course.course import Course
    from proctor.lms import gradescope as packing

    loaded = Course.load(course)
    target = output or loaded.root / "gradescope" / f"{assignment}.zip"
    path = packing.bundle(loaded.assignment(assignment), target, python)
    click.echo(f"{os.path.relpath(path)}: {path.stat().st_size / 1e6:.0f} MB")
    return 0
