"""What a released notebook says of itself, so that it is known under any name.

`nbgrader generate_assignment` writes it into the notebook's metadata, which JupyterLab and VS Code
leave alone. Nothing that decides a score reads it: a student may write there what they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proctor.notebook.cells import nbgrader

KEY = "proctor"  # in the notebook's metadata
# What serves as a file's name everywhere, Windows included.
_NAME = re.compile(r"""[^\s./\\:*?"<>|\x00-\x1f][^/\\:*?"<>|\x00-\x1f]{0,99}""")


@dataclass(frozen=True)
class Label:
    """Which notebook of which assignment it is, and what it held when it was released."""

    assignment: str
    notebook: str
    notebooks: tuple[str, ...]  # those of the assignment that hold points; the main one first
    cells: tuple[str, ...]  # the grade_ids, in order

    def write(self, metadata: dict[str, Any]) -> None:
        """Put it into a notebook's metadata."""
        metadata[KEY] = {
            "assignment": self.assignment,
            "notebook": self.notebook,
            "notebooks": [*self.notebooks],
            "cells": [*self.cells],
        }

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> Label | None:
        """What a notebook's metadata says; None if it says nothing that could be meant."""
        found = metadata.get(KEY)
        if not isinstance(found, dict):
            return None
        names = found.get("assignment"), found.get("notebook")
        lists = [
            [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
            for given in map(found.get, ("notebooks", "cells"))
        ]
        if not all(
            isinstance(name, str) and _NAME.fullmatch(name) and name.isprintable()
            for name in (*names, *lists[0])
        ):
            return None
        return cls(str(names[0]), str(names[1]), tuple(lists[0]), tuple(lists[1]))


def grade_ids(cells: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The names of the cells that nbgrader knows, in order."""
    return tuple(nbgrader(cell)["grade_id"] for cell in cells if nbgrader(cell))
