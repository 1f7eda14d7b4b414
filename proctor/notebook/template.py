"""The instructor's notebook, and a submission restored against it.

Whatever a student cannot own is taken from the template: the source and metadata of grade cells and
read-only cells, the metadata of all others, the kernel. What is left of the submission is the
source of the cells that students write.
"""

from __future__ import annotations

import ast
import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from proctor.errors import CourseError, Rejected
from proctor.notebook.cells import (
    SKIP,
    Cell,
    Notebook,
    is_locked,
    is_skipped,
    nbgrader,
    parse,
    python_metadata,
    unique_ids,
    visible,
)


@dataclass(frozen=True)
class GradeCell:
    """A cell that carries points, as the instructor wrote it."""

    name: str
    points: float
    manual: bool
    source: str


@dataclass
class Template:
    """The instructor's notebook, as far as grading needs it."""

    name: str
    cells: list[Cell]
    metadata: dict[str, Any]
    grade_cells: dict[str, GradeCell]
    imports: list[str]
    stubs: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, str] = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")

    in_process: ClassVar[bool] = False  # whether the student's process decides, as in nbgrader

    @property
    def owned(self) -> dict[str, Cell]:
        """The instructor's cells that nbgrader knows, by grade_id."""
        return {nbgrader(cell)["grade_id"]: cell for cell in self.cells if nbgrader(cell)}

    def submission(self, data: bytes) -> Submission:
        """A submitted notebook, restored. Raises Rejected."""
        return self.restore(parse(data))

    def restore(self, notebook: Notebook) -> Submission:
        """A submission with the instructor's cells put back: edited, retyped, doubled or missing
        ones. Raises Rejected.
        """
        owned = self.owned
        notes: list[str] = []
        cells: list[Cell] = []
        seen: set[str] = set()
        plain = {cell["id"]: cell for cell in self.cells if not nbgrader(cell)}
        for cell in notebook["cells"]:
            name = nbgrader(cell).get("grade_id") or (cell["id"] if cell["id"] in owned else None)
            if name is None or name not in owned:
                cells.append(_students_own(cell, plain))
            elif name in seen:
                notes.append(f"cell '{name}' stood there twice: the first one counts")
            else:
                seen.add(name)
                cells.append(_restored(cell, owned[name], notes))
        if owned and not seen:
            raise Rejected(
                f"This notebook holds no cell of {self.name}: was another assignment submitted?"
            )
        for name in owned:
            if name not in seen:
                notes.append(f"cell '{name}' was missing: restored")
                cells.insert(place(name, list(owned), cells), _blank(owned[name], self.stubs))
        unique_ids(cells)
        fresh = {
            "cells": cells,
            "metadata": copy.deepcopy(self.metadata),
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        given = frozenset(
            cell["id"]
            for cell in cells
            if (original := plain.get(cell["id"]))
            and (original["source"], original["cell_type"]) == (cell["source"], cell["cell_type"])
        )
        return Submission(fresh, notes, given)

    def own_files(self, submission: Submission) -> dict[str, bytes]:
        """What lies beside the notebook when it runs, besides the supporting files."""
        return {}


@dataclass
class Submission:
    """A notebook ready to be graded."""

    notebook: Notebook
    notes: list[str]
    given: frozenset[str] = frozenset()  # ids of text cells that are the instructor's, unchanged


@dataclass(frozen=True)
class Stubs:
    """nbgrader's ClearSolutions: what a solution is replaced by in the release."""

    code: str = "# YOUR CODE HERE\nraise NotImplementedError()"
    text: str = "YOUR ANSWER HERE"
    begin: str = "BEGIN SOLUTION"
    end: str = "END SOLUTION"

    @classmethod
    def of(cls, config: Any) -> Stubs:
        """As nbgrader_config.py has it."""
        settings = config.ClearSolutions
        code = settings.get("code_stub", cls.code)
        return cls(
            code.get("python", cls.code) if isinstance(code, dict) else code,
            settings.get("text_stub", cls.text),
            settings.get("begin_solution_delimeter", cls.begin),
            settings.get("end_solution_delimeter", cls.end),
        )

    def release(self, source: str, cell_type: str) -> str:
        """The source of a solution cell as students receive it."""
        stub = self.code if cell_type == "code" else self.text
        lines: list[str] = []
        inside = replaced = False
        for line in source.split("\n"):
            if self.begin in line:
                inside = replaced = True
                indent = line[: len(line) - len(line.lstrip())]
                lines += [indent + each for each in stub.split("\n")]
            elif self.end in line:
                inside = False
            elif not inside:
                lines.append(line)
        return "\n".join(lines) if replaced else stub


def read(path: Path, package: str | None = None, stubs: Stubs = Stubs()) -> Template:
    """The template that an instructor's notebook is. Raises CourseError if it is none."""
    try:
        notebook = parse(path.read_bytes())
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror}.") from None
    except Rejected as error:
        raise CourseError(f"{path}: {error}") from None
    grade_cells = {}
    for cell in notebook["cells"]:
        meta = nbgrader(cell)
        if meta.get("grade") or meta.get("task"):
            manual = bool(meta.get("solution") or meta.get("task"))
            name = meta["grade_id"]
            grade_cells[name] = GradeCell(
                name, float(meta.get("points", 0)), manual, cell["source"]
            )
    released = {
        nbgrader(cell)["grade_id"]: stubs.release(cell["source"], cell["cell_type"])
        for cell in notebook["cells"]
        if nbgrader(cell).get("solution")
    }
    imports = _imports(notebook, package)
    return Template(
        path.stem, notebook["cells"], notebook["metadata"], grade_cells, imports, released
    )


def _imports(notebook: Notebook, package: str | None) -> list[str]:
    """The instructor's own imports, but for the course's package: real modules for visible
    checks.
    """
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        try:
            tree = ast.parse(cell["source"])
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a magic, or worse
            continue
        for node in tree.body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            if not any(name.split(".")[0] == package for name in names):
                found.append(ast.unparse(node))
    return list(dict.fromkeys(found))


def _restored(cell: Cell, original: Cell, notes: list[str]) -> Cell:
    meta = nbgrader(original)
    restored = {**cell, "id": original["id"], "metadata": copy.deepcopy(original["metadata"])}
    if cell["cell_type"] != original["cell_type"]:
        notes.append(f"cell '{meta['grade_id']}' had changed its type: restored")
        restored["cell_type"] = original["cell_type"]
        restored.pop("attachments", None)
    if is_locked(meta):
        if cell["source"].strip() != original["source"].strip() and meta.get("grade"):
            notes.append(f"cell '{meta['grade_id']}' was edited: restored")
        restored["source"] = original["source"]
        restored.pop("attachments", None)
    return restored


def _students_own(cell: Cell, plain: dict[str, Cell]) -> Cell:
    original = plain.get(cell["id"])
    return {**cell, "metadata": copy.deepcopy(original["metadata"]) if original else {}}


def _blank(original: Cell, stubs: dict[str, str]) -> Cell:
    """An instructor's cell for a notebook that has lost it; never with its solution.

    A question comes back unanswered. Code comes back empty: its author may have moved it into
    another cell, and a stub would undo it.
    """
    cell = copy.deepcopy(original)
    meta = nbgrader(cell)
    if meta.get("solution"):
        asked = meta.get("grade") or cell["cell_type"] != "code"
        cell["source"] = stubs.get(meta["grade_id"], "") if asked else ""
    return cell


def place(name: str, order: list[str], cells: list[Cell]) -> int:
    """Where a missing cell belongs: after the nearest cell that precedes it in the template."""
    at = {nbgrader(cell).get("grade_id"): index for index, cell in enumerate(cells)}
    for before in reversed(order[: order.index(name)]):
        if before in at:
            return at[before] + 1
    return 0


@dataclass
class InProcessTemplate(Template):
    """The cells of a notebook that nbgrader knows, as it released them: for a course whose test
    cells run in the student's process. A submission is restored as OverwriteCells does.
    """

    in_process = True

    missing: str | None = None  # what is said above a cell that is put back; None: none is

    def restore(self, notebook: Notebook) -> Submission:
        """A submission as nbgrader would run it. Raises Rejected."""
        metadata = python_metadata(self.metadata, notebook["metadata"])
        owned = self.owned
        names = [nbgrader(cell).get("grade_id") for cell in notebook["cells"]]
        if any(names) and not any(name in owned for name in names):
            raise Rejected(
                f"This notebook holds no cell of {self.name}: was another assignment submitted?"
            )
        notes, cells = [], []
        for index, (name, cell) in enumerate(zip(names, notebook["cells"], strict=True)):
            if name not in owned:
                cells.append(_students_own_in_process(cell))
            elif name in names[index + 1 :]:
                notes.append(f"cell '{name}' stood there twice: the last one counts")
                cells.append(_students_own_in_process(cell))
            else:
                cells.append(self._restored(cell, owned[name], notes))
        for name in [name for name in owned if name not in names]:
            meta = nbgrader(owned[name])
            if self.missing is not None and (meta.get("grade") or meta.get("task")):
                notes.append(f"cell '{name}' was missing: restored")
                self._put_back(owned[name], cells)
            elif meta.get("grade"):
                notes.append(f"cell '{name}' is missing: it needs manual grading")
        unique_ids(cells)
        return Submission(
            {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, notes
        )

    def own_files(self, submission: Submission) -> dict[str, bytes]:
        """The notebook itself, as its student saw it: tests look into it."""
        cells = []
        for cell in submission.notebook["cells"]:
            if is_locked(nbgrader(cell)):
                cell = cell | {"source": visible(cell["source"], *self.hidden)}
            if cell["cell_type"] == "code":
                cell = cell | {"outputs": [], "execution_count": None}
            cells.append(cell)
        return {f"{self.name}.ipynb": json.dumps(submission.notebook | {"cells": cells}).encode()}

    def _restored(self, cell: Cell, original: Cell, notes: list[str]) -> Cell:
        meta = nbgrader(original)
        restored = {**cell, "metadata": copy.deepcopy(original["metadata"])}
        if cell["cell_type"] != original["cell_type"]:
            notes.append(f"cell '{meta['grade_id']}' had changed its type: restored")
            restored["cell_type"] = original["cell_type"]
            restored.pop("attachments", None)
        if is_locked(meta):
            released = visible(original["source"], *self.hidden)
            if cell["source"].strip() != released.strip() and meta.get("grade"):
                notes.append(f"cell '{meta['grade_id']}' was edited: restored")
            restored["source"] = original["source"]
            restored.pop("attachments", None)
        return restored

    def _put_back(self, original: Cell, cells: list[Cell]) -> None:
        cell, meta = copy.deepcopy(original), nbgrader(original)
        said = (self.missing or "").format(cell_id=meta["grade_id"])
        cell["source"] = ("# " if cell["cell_type"] == "code" else "") + said + cell["source"]
        at = len(cells) if meta.get("task") else place(meta["grade_id"], list(self.owned), cells)
        cells.insert(at, cell)


def _students_own_in_process(cell: Cell) -> Cell:
    return {**cell, "metadata": {"tags": [SKIP]} if is_skipped(cell) else {}}
