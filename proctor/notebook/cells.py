"""The cells of a notebook, parsed from bytes, within bounds; what nbgrader's metadata says."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proctor.errors import Rejected

MAX_BYTES = 10 << 20
MAX_CELLS = 5_000
DEMO = "demo"  # the tag of cells that students run and grading does not

# What a cell that hidden tests decide says, so that it earns nothing without them.
HIDDEN = 'raise NotImplementedError("graded by hidden tests")'
HIDDEN_TAG = "hidden-tests"  # of these cells in a release: nbgrader's Validate leaves them out
JUDGES = "judges:"  # begins a tag of a grade cell: the answer beside which feedback shows its tests
HAND_IN = "hand-in:"  # begins a tag of a grade cell: a file that its tests need
MAX_HANDED_IN = 5 << 20  # bytes of such a file
EXPORT = "export"  # the tag of cells that become a module of the course's package

SKIP = "skip-execution"  # the tag by which Jupyter leaves a cell out
_NO_NAME = re.compile(r"[^A-Za-z0-9+.-]|(?<!\d)\.|\.(?!\d)")  # julia-1.9 is one, www.x is none

Cell = dict[str, Any]

Notebook = dict[str, Any]


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


def checksum(cell: Cell) -> str:
    """nbgrader's checksum of a cell that it knows, as `nbgrader.utils.compute_checksum` has it: a
    page in a browser has no nbgrader, and importing it takes longer than a check.

    Raises KeyError, TypeError or ValueError where its metadata is not nbgrader's.
    """
    meta = nbgrader(cell)
    graded, solution = meta.get("grade", False), meta.get("solution", False)
    locked = not solution and (True if graded else meta.get("locked", False))
    parts = [cell["source"], cell["cell_type"], graded, solution, locked, meta["grade_id"]]
    if graded:
        parts.append(float(meta["points"]))
    return hashlib.md5("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def is_demo(cell: Cell) -> bool:
    """Whether a cell only demonstrates, so that grading does without it: tagged `demo` by the
    instructor, whose metadata a restored cell has.
    """
    tags = cell["metadata"].get("tags")
    return isinstance(tags, list) and DEMO in tags and not nbgrader(cell)


def judges(cell: Cell) -> str:
    """The answer that a grade cell's tests judge, if the instructor has named it by a tag."""
    tags = cell["metadata"].get("tags")
    named = [tag for tag in tags if str(tag).startswith(JUDGES)] if isinstance(tags, list) else []
    return str(named[0]).removeprefix(JUDGES) if named else ""


def hand_ins(cell: Cell) -> list[str]:
    """The files that students hand in beside the notebook and a grade cell's tests need, such as
    the weights of a trained model, as the instructor has named them by tags.
    """
    tags = cell["metadata"].get("tags")
    named = [str(tag) for tag in tags] if isinstance(tags, list) and nbgrader(cell) else []
    found = [tag.removeprefix(HAND_IN) for tag in named if tag.startswith(HAND_IN)]
    return [name for name in found if is_file_name(name)]


def is_file_name(name: str) -> bool:
    """Whether it names a file beside a notebook, and nothing else."""
    return re.fullmatch(r"\w[\w-]{0,60}(\.\w{1,10}){1,2}", name, re.ASCII) is not None


def wanting(cells: Iterable[Cell], files: Mapping[str, bytes]) -> Iterator[str]:
    """What is to be said of the files that points rest on and that are not among `files`, or are
    too large.
    """
    resting: dict[str, list[Cell]] = {}
    for cell in cells:
        for name in hand_ins(cell):
            resting.setdefault(name, []).append(cell)
    for name, on_it in resting.items():
        size = len(files.get(name, b""))
        if 0 < size <= MAX_HANDED_IN:
            continue
        wrong = "is missing"
        if name in files:
            limit = MAX_HANDED_IN >> 20
            wrong = f"has {size / (1 << 20):.1f} MB, at most {limit} count" if size else "is empty"
        points = sum(float(nbgrader(cell).get("points", 0)) for cell in on_it)
        cells_of = ", ".join(nbgrader(cell)["grade_id"] for cell in on_it)
        yield f"{name} {wrong}: {points:g} points rest on it ({cells_of})"


def within(cells: Iterable[Cell], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files without those that points rest on and that are too large."""
    named = {name for cell in cells for name in hand_ins(cell)}
    return {
        name: data
        for name, data in files.items()
        if name not in named or len(data) <= MAX_HANDED_IN
    }


def is_skipped(cell: Cell) -> bool:
    """Whether Jupyter leaves this cell out when it runs the notebook. Test cells always run."""
    tags = cell["metadata"].get("tags")
    return isinstance(tags, list) and SKIP in tags and not nbgrader(cell)


def headings(source: str) -> list[str]:
    """The headings of a text cell."""
    found = []
    for line in source.splitlines():
        text = line.lstrip("#")
        if text != line and text[:1].isspace() and text.strip():
            found.append(text.strip())
    return found


def visible(source: str, begin: str, end: str) -> str:
    """A cell's source without its hidden tests."""
    lines, inside = [], False
    for line in source.split("\n"):
        if begin in line:
            inside = True
        elif end in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


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
        notebook = _upgrade(notebook)
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


def _upgrade(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook of format 1, 2 or 3 as one of format 4, as far as `parse` looks at it.

    nbformat does more: it validates what it converts, which takes it minutes where a cell has a
    thousand tags.
    """
    given = notebook["nbformat"]
    if type(given) is not int or given not in (1, 2, 3):
        shown = f" {given}" if type(given) is int and abs(given) < 1000 else ""
        raise Rejected(f"The notebook's format{shown} cannot be read.")
    sheets = [notebook] if given == 1 else notebook.get("worksheets")
    cells: list[Any] = []
    for sheet in sheets if isinstance(sheets, list) else []:
        found = sheet.get("cells") if isinstance(sheet, dict) else None
        cells += map(_upgraded, found if isinstance(found, list) else [])
    return {"cells": cells, "metadata": notebook.get("metadata")}


def _upgraded(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    kind = cell.get("cell_type")
    if kind == "code":
        source = cell.get("input", cell.get("code", ""))
    else:
        source = cell.get("source", cell.get("text", ""))
    if kind == "heading":
        level = cell.get("level", 1)
        marks = "#" * level if type(level) is int and 1 <= level <= 6 else "#"
        source = _joined(source)
        if isinstance(source, str):
            source = f"{marks} {' '.join(source.splitlines())}"
    kind = "markdown" if kind in ("heading", "html", "text") else kind
    return {"cell_type": kind, "source": source, "metadata": cell.get("metadata")}


def _joined(source: Any) -> Any:
    """A source that is given line by line, in one."""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source


def _cell(cell: Any, number: int) -> Cell:
    source = _joined(cell.get("source", "")) if isinstance(cell, dict) else None
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


def python_metadata(original: dict[str, Any], submitted: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a notebook for a Python kernel. Raises Rejected for any other.

    The instructor's kernel counts; the student's only where the instructor named none.
    """
    chosen = original if original.get("kernelspec") else submitted
    spec, info = chosen.get("kernelspec"), chosen.get("language_info")
    spec, info = (value if isinstance(value, dict) else {} for value in (spec, info))
    name = str(spec.get("name") or "python3")
    language = str(spec.get("language") or info.get("name") or name)
    if not language.lower().startswith(("python", "ipython")):
        shown = " ".join(
            _NO_NAME.sub(" ", name[:40]).split()
        )  # it stands in reports that show markup
        raise Rejected(f"The notebook's kernel is '{shown}': only Python can be graded.")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"kernelspec": kernel, "language_info": {"name": "python"}}


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
