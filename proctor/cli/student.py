"""`proctor check`: for whoever solves a notebook."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from proctor.cli.options import ISOLATION, NOTEBOOK


@click.command()
@click.argument("notebook", type=NOTEBOOK)
@ISOLATION
def check(notebook: Path, isolation: str) -> int:
    """Run the visible checks of a NOTEBOOK and name what to do next.

    A folder stands for the notebook of its name: 01_tensor for 01_tensor/01_tensor.ipynb.

    Exit status: 0 when all pass and every cell runs to its end, else 1.
    """
    from proctor.student.check import check_notebook

    return check_notebook(notebook, isolation, Console())
