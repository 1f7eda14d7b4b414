"""Grades as plain nbgrader does: all cells in one IPython, and a check that shows no error passes.

The outputs are read by nbgrader's own `determine_grade`. Only attacks that are marked `naive` are
run here, each in a process of its own; hidden tests stand in the notebook, as nbgrader has them.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import nbformat
from nbgrader.utils import determine_grade

from tests.attacks import corpus
from tests.attacks.corpus import Attack, Places


def notebook_of(attack: Attack, places: Places) -> dict[str, Any]:
    """The attack's notebook, changed by its `build`."""
    notebook = corpus.notebook_of(attack, places)
    cell = {cell["id"]: cell for cell in notebook["cells"]}
    exec(attack.build, {"nb": notebook, "cell": cell})
    return notebook


def score(notebook: dict[str, Any]) -> float:
    """The points that it gets, decided in the student's process; 0 if that process dies."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        points = 0.0
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                points = _run(notebook)
        finally:
            os.write(writer, str(points).encode())
            os._exit(0)
    os.close(writer)
    with open(reader) as report:
        text = report.read()
    os.waitpid(child, 0)
    return float(text or 0)


def _run(notebook: dict[str, Any]) -> float:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    errors: list[str] = []
    shell._showtraceback = lambda kind, value, lines: errors.append(str(kind))
    total = 0.0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        errors.clear()
        if "skip-execution" not in cell["metadata"].get("tags", []):
            shell.run_cell(corpus.NAIVE.get(cell["id"], cell["source"]))
        cell["outputs"] = [
            {"output_type": "error", "ename": error, "evalue": "", "traceback": []}
            for error in errors
        ]
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            total += determine_grade(nbformat.from_dict(cell))[0]
    return total
