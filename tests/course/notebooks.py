"""The course's notebooks, as its tests look at them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = sorted(path.name for path in (ROOT / "source").glob("[0-9]*_*") if path.is_dir())
HIDDEN = 'raise NotImplementedError("graded by hidden tests")'


@dataclass(frozen=True)
class Cell:
    """A cell; `raw` is what stands in the file."""

    raw: dict[str, Any]
    notebook: str = ""

    id = property(lambda self: self.raw.get("id"))
    type = property(lambda self: self.raw["cell_type"])
    source = property(lambda self: "".join(self.raw["source"]))
    nbgrader = property(lambda self: self.raw["metadata"].get("nbgrader", {}))
    tags = property(lambda self: self.raw["metadata"].get("tags", []))
    is_solution = property(lambda self: bool(self.nbgrader.get("solution")))
    is_graded = property(lambda self: bool(self.nbgrader.get("grade")))
    is_written = property(lambda self: self.is_solution and self.is_graded)
    is_test = property(lambda self: self.is_graded and not self.is_solution)
    is_hidden_test = property(lambda self: self.is_test and self.source.endswith(HIDDEN))
    is_check = property(lambda self: self.is_test and not self.is_hidden_test)

    @property
    def points(self) -> float:
        return float(self.nbgrader.get("points", 0))

    @property
    def where(self) -> str:
        return f"{self.notebook}, cell '{self.id}'"

    @property
    def regions(self) -> list[list[str]]:
        """The lines of each solution region. Raises ValueError if the markers do not match."""
        found: list[list[str]] = []
        inside = False
        for line in self.source.splitlines():
            if match := re.search(r"\b(BEGIN|END) SOLUTION\b", line):
                if inside is (match[1] == "BEGIN"):
                    raise ValueError(f"{self.where}: {match[0]} stands where it cannot")
                inside = not inside
                found += [[]] if inside else []
            elif inside:
                found[-1].append(line)
        if inside:
            raise ValueError(f"{self.where}: a region has no END SOLUTION")
        return found

    @property
    def outside(self) -> list[str]:
        """The lines that students receive too."""
        lines, inside = [], self.is_written
        for line in self.source.splitlines():
            if match := re.search(r"\b(BEGIN|END) (SOLUTION|MARK SCHEME)\b", line):
                inside = match[1] == "BEGIN"
            elif not inside:
                lines.append(line)
        return lines

    @property
    def prose(self) -> str:
        """A text cell as students read it: without formulas on lines of their own, and without
        the answer that is the student's."""
        if self.type != "markdown" or self.is_written:
            return ""
        return re.sub(r"(?s)\$\$.*?\$\$", "", "\n".join(self.outside))

    @property
    def hints(self) -> list[str]:
        """The hints that are folded away in a text cell, in order."""
        return re.findall(r"(?s)<summary>Hint \d.*?</summary>(.*?)</details>", self.prose)

    @property
    def mark_scheme(self) -> str:
        """How to grade the answer, as only graders read it; empty if the cell does not say."""
        found = re.search(r"BEGIN MARK SCHEME\n(.*?)\n[^\n]*END MARK SCHEME", self.source, re.S)
        return found[1].strip() if found else ""


@dataclass(frozen=True)
class Notebook:
    name: str
    raw: dict[str, Any]
    path: Path = field(default=Path())

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(cell, self.name) for cell in self.raw["cells"]]


def read(path: Path) -> Notebook:
    return Notebook(path.name, json.loads(path.read_text(encoding="utf-8")), path)


def notebooks(assignment: str) -> list[Notebook]:
    """An assignment's notebooks as committed."""
    return [read(path) for path in sorted((ROOT / "source" / assignment).glob("*.ipynb"))]
