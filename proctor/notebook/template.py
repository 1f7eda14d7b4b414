"""Reads a submitted notebook: checks it, restores what is not the student's, lists what to run.

The template is the instructor's notebook. Whatever a student cannot own is taken from it: the
source and metadata of grade cells and read-only cells, the metadata of all others, the kernel. What
is left of the submission is the source of the cells that students write.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import itertools
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from proctor.errors import CourseError, ProctorError

MAX_BYTES = 10 << 20
MAX_CELLS = 5_000
MAX_OLD_BYTES = 1 << 20  # of an old format: converting it takes a second for each megabyte
MAX_FILES = 10_000  # of a submission that are looked at
DEMO = "demo"  # the tag of cells that students run and grading does not
MAX_DEPTH = 50  # folders in folders: who walks down further by recursion may not come back

Cell = dict[str, Any]
Notebook = dict[str, Any]


class Rejected(ProctorError):
    """A submission that cannot be graded; the message says why, in a sentence for its student."""


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

    @property
    def owned(self) -> dict[str, Cell]:
        """The instructor's cells that nbgrader knows, by grade_id."""
        return {nbgrader(cell)["grade_id"]: cell for cell in self.cells if nbgrader(cell)}

    def restore(self, notebook: Notebook) -> Submission:
        """A submission with the instructor's cells put back. Raises Rejected."""
        return restore(notebook, self)


@dataclass
class Submission:
    """A notebook ready to be graded."""

    notebook: Notebook
    notes: list[str]
    given: frozenset[str] = frozenset()  # ids of text cells that are the instructor's, unchanged


def nbgrader(cell: Cell) -> dict[str, Any]:
    """nbgrader's metadata of a cell, {} if it has none."""
    metadata = cell.get("metadata")
    found = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    known = isinstance(found, dict) and isinstance(found.get("grade_id"), str)
    return (
        found
        if known
        and isinstance(found, dict)
        and any(map(found.get, ("grade", "solution", "locked", "task")))
        else {}
    )


def is_locked(meta: dict[str, Any]) -> bool:
    """Whether the source of a cell is the instructor's: grade cells and read-only cells."""
    return bool(meta) and not meta.get("solution") and bool(meta.get("grade") or meta.get("locked"))


def is_demo(cell: Cell) -> bool:
    """Whether a cell only demonstrates, so that grading does without it: tagged `demo` by the
    instructor, whose metadata a restored cell has.
    """
    tags = cell["metadata"].get("tags")
    return isinstance(tags, list) and DEMO in tags and not nbgrader(cell)


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
        except SyntaxError:  # a magic
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


def fetch(path: Path) -> bytes:
    """The bytes of a submitted file: a regular file of at most 10 MB, never through a link."""
    if path.parent.is_symlink():
        raise Rejected("The submission's folder is a link: submit the files themselves.")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Rejected("The notebook is missing.") from None
    except OSError as error:
        raise Rejected(f"The file cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Rejected("The file is no regular file.")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES + 1)


def supporting_files(folder: Path, provided: dict[str, bytes]) -> dict[str, bytes]:
    """The files beside a submitted notebook, overwritten by the instructor's."""
    found: dict[str, bytes] = {}
    room = MAX_BYTES
    for path in other_files(folder)[:200]:
        name = path.relative_to(folder).as_posix()
        if taken(name, provided):
            continue
        try:
            data = fetch(path)
        except Rejected:
            continue
        room -= len(data)
        if room < 0:
            break
        found[name] = data
    return found | provided


def other_files(folder: Path) -> list[Path]:
    """The regular files of a submission that are no notebooks, in order.

    Links are left out, and what lies too deep to be reached.
    """
    found: list[Path] = []
    top = str(folder).count(os.sep)
    for here, folders, names in itertools.islice(os.walk(folder), MAX_FILES):
        if here.count(os.sep) - top >= MAX_DEPTH:
            folders.clear()
        for name in names[: MAX_FILES - len(found)]:
            path = Path(here, name)
            with contextlib.suppress(OSError):
                if path.suffix != ".ipynb" and stat.S_ISREG(path.lstat().st_mode):
                    found.append(path)
    return sorted(found)


def taken(name: str, provided: Iterable[str]) -> bool:
    """Whether a file of the instructor's stands at this name, above it or below it."""
    here = PurePosixPath(name)
    return any(
        here == there or here in there.parents or there in here.parents
        for there in map(PurePosixPath, provided)
    )


def parse(data: bytes) -> Notebook:
    """A notebook of format 4 from bytes; raises Rejected for anything else."""
    if len(data) > MAX_BYTES:
        raise Rejected(
            f"The notebook is larger than {MAX_BYTES >> 20} MB: clear its outputs and submit again."
        )
    try:
        notebook = json.loads(data)
    except RecursionError:
        raise Rejected("The file is nested too deeply to be a notebook.") from None
    except (ValueError, UnicodeDecodeError):
        raise Rejected("The file is not a notebook: it is no valid JSON.") from None
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        raise Rejected("The file is not a notebook: it has no nbformat.")
    if notebook["nbformat"] != 4:
        notebook = _upgrade(notebook, len(data))
    if not isinstance(notebook.get("cells"), list):
        raise Rejected("The file is not a notebook: it has no list of cells.")
    if len(notebook["cells"]) > MAX_CELLS:
        raise Rejected(f"The notebook has more than {MAX_CELLS} cells.")
    cells = [_cell(cell, number) for number, cell in enumerate(notebook["cells"], 1)]
    metadata = notebook.get("metadata")
    return {
        "cells": cells,
        "metadata": metadata if isinstance(metadata, dict) else {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _upgrade(notebook: dict[str, Any], size: int) -> dict[str, Any]:
    given = notebook["nbformat"]
    if given in (1, 2, 3) and size <= MAX_OLD_BYTES:
        import nbformat

        with contextlib.suppress(Exception):
            upgraded: dict[str, Any] = nbformat.convert(nbformat.from_dict(notebook), 4)  # type: ignore[no-untyped-call]
            return upgraded
    shown = f" {given}" if type(given) is int and abs(given) < 1000 else ""
    raise Rejected(f"The notebook's format{shown} cannot be read.")


def _cell(cell: Any, number: int) -> Cell:
    source = cell.get("source", "") if isinstance(cell, dict) else None
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        raise Rejected(f"The notebook's cell {number} is malformed.")
    source = source.encode("utf-8", "replace").decode()  # no lone surrogates
    metadata = cell.get("metadata")
    name = cell.get("id")
    clean: Cell = {
        "cell_type": cell["cell_type"],
        "id": name
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        else f"cell-{number}",
        "metadata": metadata if isinstance(metadata, dict) else {},
        "source": source,
    }
    attachments = cell.get("attachments")
    if isinstance(attachments, dict) and cell["cell_type"] == "markdown":
        clean["attachments"] = attachments
    return clean


def ingest(data: bytes, template: Template) -> Submission:
    """A submission's notebook, restored against its template; raises Rejected."""
    return template.restore(parse(data))


def restore(notebook: Notebook, template: Template) -> Submission:
    """Put the instructor's cells back: edited, retyped, doubled or missing ones."""
    owned = template.owned
    notes: list[str] = []
    cells: list[Cell] = []
    seen: set[str] = set()
    plain = {cell["id"]: cell for cell in template.cells if not nbgrader(cell)}
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
            f"This notebook holds no cell of {template.name}: was another assignment submitted?"
        )
    for name in owned:
        if name not in seen:
            notes.append(f"cell '{name}' was missing: restored")
            cells.insert(place(name, list(owned), cells), _blank(owned[name], template))
    unique_ids(cells)
    fresh = {
        "cells": cells,
        "metadata": copy.deepcopy(template.metadata),
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


def _blank(original: Cell, template: Template) -> Cell:
    """An instructor's cell for a notebook that has lost it; never with its solution.

    A question comes back unanswered. Code comes back empty: its author may have moved it into
    another cell, and a stub would undo it.
    """
    cell = copy.deepcopy(original)
    meta = nbgrader(cell)
    if meta.get("solution"):
        asked = meta.get("grade") or cell["cell_type"] != "code"
        cell["source"] = template.stubs.get(meta["grade_id"], "") if asked else ""
    return cell


def place(name: str, order: list[str], cells: list[Cell]) -> int:
    """Where a missing cell belongs: after the nearest cell that precedes it in the template."""
    at = {nbgrader(cell).get("grade_id"): index for index, cell in enumerate(cells)}
    for before in reversed(order[: order.index(name)]):
        if before in at:
            return at[before] + 1
    return 0


def unique_ids(cells: list[Cell]) -> None:
    """Give each cell an id of its own."""
    known = {cell["id"] for cell in cells}
    # counted up: whatever ids a student has chosen, the next one will be free some time
    free = (name for name in map("cell-{}".format, itertools.count(1)) if name not in known)
    seen: set[str] = set()
    for cell in cells:
        if cell["id"] in seen:
            cell["id"] = next(free)
        seen.add(cell["id"])
