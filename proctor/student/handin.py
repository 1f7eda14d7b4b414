"""What goes when an assignment is handed in: its notebooks under their right names, and the files
beside them. The same is found again in an archive, and in a course's submitted/STUDENT/ASSIGNMENT/.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from proctor.author.export import is_ours
from proctor.course.packages import NUMBERED
from proctor.errors import CourseError, Rejected
from proctor.notebook.archive import unpack
from proctor.notebook.cells import MAX_BYTES, Cell, Notebook, hand_ins, parse, python_metadata
from proctor.notebook.files import CACHES, SubmissionFiles, fetch
from proctor.notebook.label import Label, grade_ids

# What nbgrader's exchange writes beside a notebook: no part of what a student hands in.
NBGRADERS = frozenset({"timestamp.txt", "submission_secret.txt"})

# What a browser, JupyterLab or a file manager adds to the name of a copy.
_COPY = re.compile(r"(?i)([ _-]*\(\d+\)| ?-[ _]?(copy|kopie)\d*| copy \d*|\.ipynb|\.txt|\.json)+$")
_UNNAMED = re.compile(r"(?i)untitled\d*|unbenannt\d*|notebook\d*|download|")


@dataclass(frozen=True)
class Item:
    """A notebook of an assignment, wherever it lies."""

    path: Path
    data: bytes
    notebook: Notebook
    label: Label | None
    assignment: str
    name: str

    @property
    def file(self) -> str:
        """What it is called when it is handed in."""
        return f"{self.name}.ipynb"

    @cached_property
    def found(self) -> tuple[str, ...]:
        """The grade_ids that it holds."""
        return grade_ids(self.notebook["cells"])


@dataclass(frozen=True)
class Handin:
    """All that goes, and what is said of what does not."""

    assignment: str
    folder: Path  # where the notebooks lie
    items: Mapping[str, Item]  # by name
    files: Mapping[str, bytes]
    notes: Sequence[str] = ()
    whole: bool = True  # the folder of the assignment, and no lone notebook

    @property
    def contents(self) -> dict[str, bytes]:
        """The files as they are handed in, by name."""
        return dict(
            sorted(({i.file: i.data for i in self.items.values()} | {**self.files}).items())
        )

    @property
    def missing(self) -> list[str]:
        """The notebooks of the assignment that hold points and are not there."""
        known = [name for i in self.items.values() if i.label for name in i.label.notebooks]
        return [f"{name}.ipynb" for name in dict.fromkeys(known) if name not in self.items]


def read(path: Path, assignment: str = "") -> Handin:
    """What goes of a notebook, of a folder or of an archive. Raises Rejected if it could not be
    graded, CourseError if it cannot be told what is meant.
    """
    path = path.resolve()
    if path.is_dir():
        return _folder(path, assignment)
    data = fetch(path)
    if is_archive(data):
        return _archive(path, assignment)
    item = _item(path, data, assignment)
    if item.label is None and not item.found:
        raise Rejected(
            f"{path.name} holds no cell that is graded. Is it the notebook that you were given?"
        )
    if not _is_folder_of(path.parent, item.assignment):
        files = dict(_named(path.parent, item.notebook["cells"]))
        return Handin(item.assignment, path.parent, {item.name: item}, files, whole=False)
    try:
        handin = _folder(path.parent, item.assignment, item)
    except Rejected as error:
        raise Rejected(f"Beside {path.name}: {error}") from None
    return replace(handin, folder=path.parent)


def _named(folder: Path, cells: Iterable[Cell]) -> Iterator[tuple[str, bytes]]:
    """The files of a folder that a notebook's grade cells name."""
    for name in {name for cell in cells for name in hand_ins(cell)}:
        with contextlib.suppress(Rejected):
            yield name, fetch(folder / name)


def is_archive(data: bytes) -> bool:
    """Whether these bytes are a zip archive's."""
    return data.startswith(b"PK")


def plain(name: str) -> str:
    """A file's or folder's name without what makes it the name of a copy."""
    return _COPY.sub("", name).strip()


def _is_folder_of(folder: Path, assignment: str) -> bool:
    return plain(folder.name).casefold() == assignment.casefold()


def _folder(folder: Path, assignment: str, chosen: Item | None = None) -> Handin:
    """The assignment that a folder holds. Of two notebooks of one name the chosen one goes, else
    the one that is called so, else the newest.
    """
    folder, paths = _notebooks(folder)
    items: list[Item] = [chosen] if chosen else []
    broken: dict[Path, Rejected] = {}
    notes: list[str] = []
    for path in paths:
        if chosen and path == chosen.path:
            continue
        try:
            item = _item(path, fetch(path), "")
        except Rejected as error:
            broken[path] = error
            continue
        if item.label or item.found:
            items.append(item)
        else:
            notes.append(f"{path.name} does not go along: it holds no cell that is graded")
    known = list(dict.fromkeys(item.assignment for item in items))
    assignment = assignment or _meant(folder, known, broken)
    if foreign := [item for item in items if item.assignment != assignment]:
        if len(foreign) == len(items):
            raise Rejected(_foreign(foreign[0], assignment))
        notes += [f"{i.path.name} does not go along: it is {i.assignment}" for i in foreign]
    mine = [item for item in items if item.assignment == assignment]
    best: dict[str, Item] = {}
    for item in sorted(mine, key=lambda each: _rank(each, chosen)):
        if (other := best.setdefault(item.name, item)) is not item:
            notes.append(f"{item.path.name} does not go along: {other.path.name} does")
    for path, why in broken.items():
        if plain(path.name) not in best and _expected(path, assignment, best.values()):
            raise why
        notes.append(f"{path.name} does not go along: {why}")
    if not best:
        raise Rejected(f"'{folder.name}' holds no notebook of {assignment}.")
    files, left_out = _files(folder, {path.name for path in paths})
    return Handin(assignment, folder, dict(sorted(best.items())), files, [*notes, *left_out])


def _notebooks(folder: Path) -> tuple[Path, list[Path]]:
    """The notebooks of a folder, or of the only one in it that has some, and which that is."""

    def of(place: Path) -> list[Path]:
        inside = [*place.iterdir()] if place.is_dir() and not place.is_symlink() else []
        return sorted(
            path
            for path in inside
            if re.search(r"\.ipynb(\.txt|\.json)?$", path.name, re.IGNORECASE)
            if not path.name.startswith(".")
        )

    try:
        if found := of(folder):
            return folder, found
        inner = [
            place
            for place in sorted(folder.iterdir())
            if not place.name.startswith(".") and place.name not in CACHES and of(place)
        ]
    except OSError as error:
        raise CourseError(f"'{folder}' cannot be read: {error.strerror}.") from None
    if len(inner) == 1:
        return inner[0], of(inner[0])
    if inner:
        names = ", ".join(place.name for place in inner[:5])
        raise CourseError(
            f"'{folder.name}' holds several folders with notebooks: name one ({names})"
        )
    raise CourseError(
        f"'{folder.name}' holds no notebook. Name the assignment's folder, or its notebook."
    )


def _meant(folder: Path, known: list[str], broken: Mapping[Path, Rejected]) -> str:
    """Which of the assignments that a folder holds notebooks of."""
    for name in known:
        if _is_folder_of(folder, name):
            return name
    if len(known) == 1:
        return known[0]
    if known:
        raise CourseError(
            f"'{folder.name}' holds notebooks of {', '.join(known)}: name the notebook that is to "
            "be handed in."
        )
    for error in broken.values():
        raise error
    raise Rejected(
        f"No notebook in '{folder.name}' holds a cell that is graded. Is one of them the notebook "
        "that you were given?"
    )


def _rank(item: Item, chosen: Item | None) -> tuple[bool, bool, float]:
    return item is not chosen, item.path.name != item.file, -item.path.stat().st_mtime


def _expected(path: Path, assignment: str, items: Iterable[Item]) -> bool:
    """Whether a notebook that cannot be read bears the name of one that is graded."""
    known = {name for item in items if item.label for name in item.label.notebooks}
    return plain(path.name) in known | {assignment}


def _item(path: Path, data: bytes, assignment: str) -> Item:
    """Raises Rejected, in a sentence for its student, for what could not be graded."""
    try:
        notebook = parse(data)
        python_metadata({}, notebook["metadata"])
    except Rejected as error:
        why = _why(data) if len(data) <= MAX_BYTES else ""
        raise Rejected(f"{path.name}: {why or error}") from None
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\r\n", "\n")  # as an editor on Windows leaves it
    label = Label.of(notebook["metadata"])
    if label is None:
        named, name = _by_name(path, assignment)
    else:
        named, name = label.assignment, label.notebook
    item = Item(path, data, notebook, label, named, name)
    if assignment and named != assignment:
        raise Rejected(_foreign(item, assignment))
    if label and label.cells and not {*label.cells} & {*item.found}:
        raise Rejected(
            f"{path.name}: no cell of {named} is left in it. Take the notebook that you were "
            "given, and put your code into its cells."
        )
    return item


def _foreign(item: Item, assignment: str) -> str:
    return (
        f"{item.path.name} is a notebook of {item.assignment}, not of {assignment}. Name the right "
        f"notebook, or hand this one in as {item.assignment}."
    )


def _by_name(path: Path, assignment: str) -> tuple[str, str]:
    """Assignment and name of a notebook that has no label: as its folder and its file have it."""
    stem, folder = plain(path.name), plain(path.parent.name)
    if _UNNAMED.fullmatch(stem):
        stem = ""
    if assignment:
        return assignment, stem or assignment
    if NUMBERED.fullmatch(folder):
        return folder, stem or folder
    if stem:
        return stem, stem
    raise Rejected(
        f"{path.name}: neither the notebook nor its name tells which assignment it is. Rename it "
        "as it was when you received it (such as 01_tensor.ipynb), or add --assignment 01_tensor."
    )


def _why(data: bytes) -> str:
    """What a file is that is no notebook, if that can be told, and what to do; "" if not."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    again = "Download it again, or copy it again from where you work."
    if not start:
        return f"The file is empty. {again}"
    if start.startswith(b"<<<<<<<") or re.search(rb"(?m)^<{7} ", data):
        return "It holds a conflict that git could not merge: choose one side, then hand it in."
    if start.startswith(b"<"):
        return (
            "It is a web page, not the notebook: what was saved may be the page that asks you to "
            f"log in. {again}"
        )
    if is_archive(start):
        return "It is a zip archive, not a notebook. Unpack it and name what was in it."
    try:
        json.loads(data.decode(errors="replace"))
    except json.JSONDecodeError as error:
        # where it ends, or within the last word before that, as in `fals`
        at_end = error.pos >= len(error.doc.rstrip()) - 6 or error.msg.startswith("Unterminated")
        if start.startswith(b"{") and at_end:
            return f"It breaks off in the middle, after {len(data):,} bytes. {again}"
    except RecursionError:
        pass
    return ""


def _files(folder: Path, notebooks: set[str]) -> tuple[dict[str, bytes], list[str]]:
    """The files beside the notebooks, by the rules of grading, without what others put there."""
    beside = SubmissionFiles.read(folder, [])
    packages = {
        path.parent.name
        for path in folder.glob("*/__init__.py")
        if is_ours(path.parent)  # `proctor export` made it; grading has its own
    }

    def goes(name: str) -> bool:
        top = PurePosixPath(name).parts[0]
        return name not in NBGRADERS and name not in notebooks and top not in packages

    return {name: data for name, data in beside.files.items() if goes(name)}, [*beside.notes]


def _archive(path: Path, assignment: str) -> Handin:
    """What an archive holds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # under the archive's name, so that a notebook without a label is what it would be there
        folder = Path(scratch, plain(path.stem).strip(".") or "archive")
        folder.mkdir()
        unpack(path, folder)
        return replace(_folder(folder, assignment), folder=path.parent)
