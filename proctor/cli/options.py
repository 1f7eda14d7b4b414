"""What several commands share: options, and how they speak."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from proctor.report.formats import FORMATS
from proctor.verdict import printable

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
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", *FORMATS]),
    default="table",
    help="What to print on standard output.",
)


class NotebookPath(click.Path):
    """A notebook's path; a folder stands for the notebook in it that has its name."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, context)))
        if not path.is_dir():
            return path
        inside = path / f"{path.resolve().name}.ipynb"
        if not inside.is_file():
            self.fail(f"'{path}' is a folder: name the notebook in it, such as {inside}", param)
        return inside


NOTEBOOK = NotebookPath(exists=True, path_type=Path)


def complain(text: str) -> None:
    """Say on standard error what went wrong; it may name a student."""
    click.echo(f"proctor: {printable(text)}", err=True)


def outputs_of(
    context: click.Context, option: click.Parameter, words: Sequence[str]
) -> list[tuple[str, str]]:
    """What to write where: ("junit", "results.xml") for "junit=results.xml"."""
    found = []
    for word in words:
        form, equals, path = word.partition("=")
        if form not in FORMATS or not equals or not path:
            raise click.BadParameter(
                f"write FORMAT=FILE, FORMAT one of {', '.join(FORMATS)}", context, option
            )
        found.append((form, path))
    return found


OUTPUT = click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FORMAT=FILE",
    callback=outputs_of,
    help="Write FILE in one of these formats as well; may be given several times. With {student} "
    "in its name, a file for each student.",
)
