"""`proctor check`: for whoever solves a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from proctor.cli.options import FORMAT, ISOLATION, NOTEBOOK, OUTPUT
from proctor.errors import ProctorError
from proctor.report import formats


@click.command()
@click.argument("notebook", type=NOTEBOOK)
@FORMAT
@OUTPUT
@ISOLATION
def check(notebook: Path, form: str, outputs: Sequence[tuple[str, str]], isolation: str) -> int:
    """Run the visible checks of a NOTEBOOK and name what to do next.

    A folder stands for the notebook of its name: 01_tensor for 01_tensor/01_tensor.ipynb.

    Exit status: 0 when all pass and every cell runs to its end, 1 when not, 2 for what is no
    notebook with checks.
    """
    from proctor.student import check as checking

    screen = Console(stderr=form != "table")
    failure = None
    try:
        findings = checking.check_notebook(notebook, isolation, screen)
    except ProctorError as error:
        failure, result = error, checking.unchecked(str(error))
    else:
        result = findings.as_result()
        if form == "table":
            checking.show(findings, screen)
    if form != "table":
        click.echo(formats.FORMATS[form](notebook.stem, [result]).rstrip("\n"))
    for name, path in outputs:
        formats.write(name, path, notebook.stem, [result])
    if failure is not None:
        raise failure
    return int(not findings.done)
