"""`proctor submit`: looks at what goes before it goes, and makes the archive or asks nbgrader.

What a student should know stands in findings: a warning wants a word before anything is sent, a
note does not. What could not be graded at all is refused when it is read (`handin.read`).
"""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proctor.errors import CourseError, ProctorError
from proctor.notebook.archive import comment, packed, write_whole
from proctor.notebook.cells import Cell, checksum, is_locked, nbgrader, wanting
from proctor.notebook.label import Label
from proctor.student.handin import Handin, Item, plain
from proctor.student.receipt import Receipt, receipt_name

UNANSWERED = "your answer here"  # in the text that stands where an answer is to be written
_STUB = re.compile(r"(?m)^\s*raise NotImplementedError\b")
_MADE = b"made by `proctor submit`"  # the comment of an archive: it may be made anew
CONFIG = "nbgrader_config.py"


@dataclass(frozen=True)
class Finding:
    """What a student is told before it goes."""

    text: str
    warning: bool = False


def examine(handin: Handin) -> list[Finding]:
    """What is to be said of what goes: warnings first."""
    found = [Finding(note) for note in handin.notes]
    if handin.missing:
        found.append(Finding(f"missing: {', '.join(handin.missing)}", warning=True))
    cells = [cell for item in handin.items.values() for cell in item.notebook["cells"]]
    found += [Finding(said, warning=True) for said in wanting(cells, handin.files)]
    for item in handin.items.values():
        found += _names(item)
        found += _saved(item)
        found += _cells(item)
    if handin.files and plain(handin.folder.name).casefold() != handin.assignment.casefold():
        names = [*handin.files]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        found.append(
            Finding(f"what lies beside goes along: {', '.join(names[:5])}{more}", warning=True)
        )
    return sorted(found, key=lambda finding: not finding.warning)


def summary(handin: Handin) -> dict[str, int]:
    """How many cells there are, and how many of those that students write are written."""
    cells = [cell for item in handin.items.values() for cell in item.notebook["cells"]]
    owed = [cell for cell in cells if nbgrader(cell).get("solution")]
    return {
        "cells": len(cells),
        "graded": sum(bool(nbgrader(cell).get("grade")) for cell in cells),
        "to write": len(owed),
        "written": sum(not is_blank(cell) for cell in owed),
    }


def is_blank(cell: Cell) -> bool:
    """Whether a cell that its student is to write is as it was given, or not all written."""
    source = cell["source"]
    if cell["cell_type"] == "code":
        return bool(_STUB.search(source)) or not source.strip() or _as_released(cell)
    return UNANSWERED in source.lower() or not source.strip() or _as_released(cell)


def _as_released(cell: Cell) -> bool:
    """Whether nbgrader's checksum, which the release left in the cell, is still right."""
    try:
        return bool(nbgrader(cell)["checksum"] == checksum(cell))
    except (KeyError, TypeError, ValueError):
        return False


def _names(item: Item) -> Iterator[Finding]:
    if item.path.name == item.file:
        return
    said = f"{item.path.name} goes as {item.file}"
    copy = plain(item.path.name).casefold().startswith(item.name.casefold())
    whose = "" if copy else f": that is what its cells are ({item.assignment})"
    yield Finding(f"{said}{whose}", warning=not copy)


def _saved(item: Item) -> Iterator[Finding]:
    """When it was saved: what an editor holds and has not saved nobody sees."""
    saved = item.path.stat().st_mtime
    moment = time.strftime("%H:%M on %d %B", time.localtime(saved))
    yield Finding(f"{item.path.name} was saved {ago(time.time() - saved)}, at {moment}")
    checkpoint = item.path.parent / ".ipynb_checkpoints" / f"{item.path.stem}-checkpoint.ipynb"
    with contextlib.suppress(OSError):
        if checkpoint.stat().st_mtime > saved + 1 and checkpoint.read_bytes() != item.data:
            yield Finding(
                f"JupyterLab has kept a later state of {item.path.name} (.ipynb_checkpoints): open "
                "it, see which one you mean, and save",
                warning=True,
            )


def ago(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if (count := int(seconds // size)) >= 1:
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


def _cells(item: Item) -> Iterator[Finding]:
    """What is blank, does not compile, was edited, or is gone."""
    blank: list[str] = []
    seen: set[str] = set()
    for cell in item.notebook["cells"]:
        meta = nbgrader(cell)
        name = str(meta.get("grade_id", ""))
        if name in seen:
            yield Finding(f"cell '{name}' stands there twice: the first one counts")
            continue
        seen |= {name} if name else set()
        if not is_locked(meta) and (said := _syntax_error(cell)):
            yield Finding(f"not valid Python: {said}", warning=True)
        if meta.get("solution") and is_blank(cell):
            blank.append(name)
    edited, gone = put_back(item.notebook["cells"], item.label)
    if blank:
        yield Finding(f"still to be written: {', '.join(blank)}", warning=True)
    if edited:
        yield Finding(f"edited, and put back when you are graded: {', '.join(edited)}")
    if gone:
        yield Finding(f"gone, and put back as it was given: {', '.join(gone)}", warning=True)


def put_back(cells: list[Cell], label: Label | None) -> tuple[list[str], list[str]]:
    """The given cells that were edited, and those that are gone: grading puts both back."""
    named = {str(nbgrader(cell).get("grade_id", "")): cell for cell in reversed(cells)}
    edited = [
        name
        for name, cell in reversed(named.items())
        if is_locked(meta := nbgrader(cell)) and meta.get("checksum") and not _as_released(cell)
    ]
    return edited, [name for name in (label.cells if label else ()) if name not in named]


def _syntax_error(cell: Cell) -> str:
    """Where and why a code cell does not compile; "" if it does, magics and all."""
    from IPython.core.inputtransformer2 import TransformerManager

    if cell["cell_type"] != "code" or not (error := _compiled(cell["source"])):
        return ""
    with contextlib.suppress(SyntaxError):
        transformed = TransformerManager().transform_cell(cell["source"])  # type: ignore[no-untyped-call]
        error = _compiled(transformed)
    name = nbgrader(cell).get("grade_id") or cell["id"]
    return error and f"cell '{name}', line {error}"


def _compiled(source: str) -> str:
    """The line and the reason why a source does not compile; "" if it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # `await` may stand at the top, as in IPython
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            compile(source, "<cell>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{getattr(error, 'lineno', None) or 1}: {error.args[0]}"
    except (RecursionError, MemoryError):
        pass
    return ""


def archive(handin: Handin) -> Path:
    """Write the archive beside the assignment's folder, whole or not at all; its path."""
    beside = handin.folder.parent if handin.whole else handin.folder
    target = beside / f"{handin.assignment}.zip"
    if not _is_ours(target):  # such as the one in which the assignment was handed out
        target = beside / f"{handin.assignment}-submission.zip"
        if not _is_ours(target):
            raise ProctorError(
                f"{target} was not made by `proctor submit` and is not overwritten. Move it away, "
                "and hand in again."
            )
    write_whole(target, packed(handin.contents, _MADE))
    return target


def _is_ours(target: Path) -> bool:
    return not target.exists() or comment(target) == _MADE


def keep(receipt: Receipt, place: Path) -> Path:
    """Write a receipt; it names those that were written before."""
    target = place / receipt_name(receipt.assignment)
    before = None
    if target.exists():
        with contextlib.suppress(CourseError):
            before = Receipt.read(target)
    receipt.earlier.extend(receipt.after(before))
    write_whole(target, receipt.text().encode())
    return target


@dataclass(frozen=True)
class Exchange:
    """nbgrader's exchange, as a student's folder is set up for it."""

    desk: Path  # the folder in which the assignments' folders lie
    course_id: str = ""
    root: str = ""

    @property
    def configured(self) -> bool:
        """Whether nbgrader is told of the course anywhere that it looks."""
        from jupyter_core.paths import jupyter_config_path

        places = [str(self.desk), *map(str, jupyter_config_path())]
        return any(Path(place, CONFIG).exists() for place in places)

    def configure(self) -> Path | None:
        """Write a student's configuration where there is none and the course is named; its path."""
        target = self.desk / CONFIG
        if self.configured or not self.course_id:
            return None
        lines = ["c = get_config()", f"c.CourseDirectory.course_id = {self.course_id!r}"]
        if self.root:
            lines.append(f"c.Exchange.root = {self.root!r}")
        write_whole(target, ("\n".join(lines) + "\n").encode())
        return target

    def submit(self, handin: Handin) -> tuple[str, str]:
        """Hand in by `nbgrader submit`: who that was, and when, as nbgrader has it."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            for name, data in handin.contents.items():
                target = Path(scratch, handin.assignment, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            command = [sys.executable, "-m", "nbgrader", "submit", handin.assignment]
            command += [f"--Exchange.assignment_dir={scratch}"]
            command += [f"--course={self.course_id}"] if self.course_id else []
            command += [f"--Exchange.root={self.root}"] if self.root else []
            done = subprocess.run(command, cwd=self.desk, capture_output=True, text=True)
        said = done.stderr + done.stdout
        found = re.search(r"Destination: .*[/\\]([^/\\+]+)\+[^/\\]*$", said, re.M)
        moment = re.search(r"Submitted as: \S+ \S+ (.+)$", said, re.M)
        if done.returncode or not moment:
            raise ProctorError(_of_nbgrader(said))
        return found[1] if found else "", moment[1].strip()


def exchange(desk: Path, course_id: str, root: str) -> Exchange:
    """Raises CourseError where there can be none."""
    if sys.platform == "win32":
        raise CourseError(
            "nbgrader's exchange does not work on Windows. Leave out --exchange, and send the "
            "archive as your instructor told you."
        )
    return Exchange(desk, course_id, root and str(Path(root).resolve()))


def _of_nbgrader(said: str) -> str:
    """Why nbgrader would not take it, in its own words."""
    words = re.findall(r"^\[\w+ \| (?:ERROR|CRITICAL)\] (.+)$", said, re.M)
    reason = (words or said.strip().splitlines()[-1:] or ["it did not say why"])[0].strip(" .")
    more = ""
    if "course id" in reason:
        more = " Name the course with --course-id."
    elif re.search("nwritable|nbound|not found|permission", reason):
        more = " Is it the right course (--course-id) and exchange (--exchange-root)?"
    return f"nbgrader took nothing: {reason}.{more}"
