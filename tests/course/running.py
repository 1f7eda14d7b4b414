"""A notebook's run, for tests of what it says: its names and what its cells printed."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from typing import Any

import matplotlib
import pytest

import tinytorch as tt
from tests.course.notebooks import ROOT, notebooks

Names = dict[str, Any]
Run = tuple[Names, dict[str, str]]


def run_of(assignment: str, *without: str) -> Any:
    """A fixture for a file's tests: the names of an assignment's main notebook after a run from top
    to bottom, and what each cell printed. Hidden tests and the cells named are left out.

    It runs in a copy of its folder, which stays the current one, and with gradients afterwards.
    """

    @pytest.fixture(scope="module")
    def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
        matplotlib.use("Agg")
        folder = tmp_path_factory.mktemp("notebook") / assignment
        shutil.copytree(ROOT / "source" / assignment, folder)
        [book] = [each for each in notebooks(assignment) if each.name == f"{assignment}.ipynb"]
        names: Names = {}
        printed = {}
        with contextlib.chdir(folder):
            try:
                for cell in book.cells:
                    if cell.type == "code" and not cell.is_hidden_test and cell.id not in without:
                        out = io.StringIO()
                        with contextlib.redirect_stdout(out):
                            exec(cell.source, names)
                        printed[str(cell.id)] = out.getvalue()
                tt.enable_gradients()
                yield names, printed
            finally:
                names.get("disable_cache", tt.disable_cache)()
                tt.disable_gradients()

    return said
