"""`proctor receipt`: whether something is what was handed in.

A hash of what a student wrote: of each notebook its cells, in order, each by its type, its name for
nbgrader and its source; of each file beside it the bytes. Outputs, metadata, blank cells, the
archive's own times and the notebook's file name are no part of it, so that both sides find the same
hash, whatever road the notebook took.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from proctor.errors import CourseError
from proctor.notebook.cells import Notebook, nbgrader
from proctor.student.handin import Handin

SCHEMA = "proctor/receipt/v1"


@dataclass(frozen=True)
class Receipt:
    """What was handed in, and when."""

    assignment: str
    sha256: str
    notebooks: dict[
        str, list[tuple[str, str]]
    ]  # of each: its cells' names, "" for none, and hashes
    files: dict[str, str]
    time: str = ""  # of the student's own clock, with its zone
    size: int = 0
    summary: dict[str, int] = field(default_factory=dict)  # cells found, regions written, ...
    earlier: list[dict[str, str]] = field(default_factory=list)  # time and hash of those before
    schema: str = SCHEMA

    @classmethod
    def of(cls, handin: Handin, summary: dict[str, int] | None = None) -> Receipt:
        """Of what goes now."""
        notebooks = {item.file: cells(item.notebook) for item in handin.items.values()}
        files = {
            # macOS writes an umlaut as two characters, and an archive keeps them so
            unicodedata.normalize("NFC", name): hashlib.sha256(data).hexdigest()
            for name, data in handin.files.items()
        }
        return cls(
            handin.assignment,
            digest(handin.assignment, notebooks, files),
            notebooks,
            dict(sorted(files.items())),
            datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
            sum(map(len, handin.contents.values())),
            summary or {},
        )

    @classmethod
    def read(cls, path: Path) -> Receipt:
        """One that was written before. Raises CourseError if it is none, or was edited."""
        try:
            found = json.loads(path.read_bytes())
            known = {name: found[name] for name in cls.__dataclass_fields__}
            known["notebooks"] = {
                name: [(str(cell), str(sha256)) for cell, sha256 in listed]
                for name, listed in found["notebooks"].items()
            }
            receipt = cls(**known)
            if receipt.schema != SCHEMA:
                raise ValueError
            expected = digest(receipt.assignment, receipt.notebooks, receipt.files)
        except OSError as error:
            raise CourseError(f"{path}: cannot be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CourseError(
                f"{path}: no receipt of `proctor submit`, which writes ASSIGNMENT.receipt.json."
            ) from None
        if receipt.sha256 != expected:
            raise CourseError(f"{path}: its parts do not give its hash, so it was edited.")
        return receipt

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def after(self, before: Receipt | None) -> list[dict[str, str]]:
        """What a receipt says of those before it."""
        if before is None:
            return []
        return [*before.earlier, {"time": before.time, "sha256": before.sha256}]


def cells(notebook: Notebook) -> list[tuple[str, str]]:
    """Of each cell that is not blank its name for nbgrader, "" if it has none, and its hash."""
    found = []
    for cell in notebook["cells"]:
        name = str(nbgrader(cell).get("grade_id", ""))
        if name or cell["source"].strip():
            hashed = json.dumps([cell["cell_type"], name, cell["source"]]).encode()
            found.append((name, hashlib.sha256(hashed).hexdigest()))
    return found


def digest(
    assignment: str, notebooks: dict[str, list[tuple[str, str]]], files: dict[str, str]
) -> str:
    """The hash of all of it."""
    hashes = {name: [sha256 for _, sha256 in listed] for name, listed in notebooks.items()}
    whole = json.dumps([assignment, sorted(hashes.items()), sorted(files.items())])
    return hashlib.sha256(whole.encode()).hexdigest()


def differences(before: Receipt, now: Receipt, whole: bool) -> Iterator[str]:
    """How what lies there differs from what was handed in, a sentence each. Where it is no `whole`
    folder but a lone notebook, only that is compared.
    """
    if before.assignment != now.assignment:
        yield f"it is {now.assignment}; handed in was {before.assignment}"
        return
    for name in sorted({*before.notebooks, *now.notebooks}):
        if name not in now.notebooks:
            if whole:
                yield f"{name} is missing"
        elif name not in before.notebooks:
            yield f"{name} was not handed in"
        else:
            for said in _changed(before.notebooks[name], now.notebooks[name]):
                yield f"{name}: {said}"
    for name in sorted({*before.files, *now.files}) if whole else ():
        if name not in now.files:
            yield f"{name} is missing"
        elif name not in before.files:
            yield f"{name} was not handed in"
        elif before.files[name] != now.files[name]:
            yield f"{name} has changed"


def _changed(before: list[tuple[str, str]], now: list[tuple[str, str]]) -> Iterator[str]:
    """Which cells of a notebook have changed."""
    named = [{name: sha256 for name, sha256 in listed if name} for listed in (before, now)]
    for name in dict.fromkeys([*named[0], *named[1]]):
        if name not in named[1]:
            yield f"cell '{name}' is gone"
        elif name not in named[0]:
            yield f"cell '{name}' is new"
        elif named[0][name] != named[1][name]:
            yield f"cell '{name}' has changed"
    old, new = (
        collections.Counter(h for name, h in listed if not name) for listed in (before, now)
    )
    gone, added = (old - new).total(), (new - old).total()
    if changed := min(gone, added):
        yield f"{changed} of the other cells changed"
    if gone != added:
        yield f"{abs(gone - added)} other cells are {'gone' if gone > added else 'new'}"
    if named[0] == named[1] and not gone and not added and before != now:
        yield "the cells stand in another order, or one of them twice"


def beside(path: Path, assignment: str) -> Path | None:
    """The receipt that `proctor submit` left beside a folder, a notebook or an archive."""
    for folder in (path.parent, path.parent.parent):
        if (found := folder / receipt_name(assignment)).is_file():
            return found
    return None


def receipt_name(assignment: str) -> str:
    """The file of a receipt."""
    return f"{assignment}.receipt.json"
