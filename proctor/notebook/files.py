"""What was handed in: the notebooks and what lies beside them, never through a link.

What is read here is what is hashed, what a worker is given, and what stands in autograded/.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from proctor.errors import Rejected
from proctor.notebook.cells import MAX_BYTES

MAX_FILES = 1_000  # of a student's own that are taken
MAX_SEEN = 10_000  # files, and folders, that are looked at

MAX_DEPTH = 50  # folders in folders: who walks down further by recursion may not come back
MAX_TIMESTAMP = 100  # bytes
MAX_NAMED = 5  # in one note

ENVIRONMENT = "pyvenv.cfg", "conda-meta"  # what lies in one of Python's
# What programs leave behind. Hidden folders are left out, too, as .git and .ipynb_checkpoints.
CACHES = frozenset({"__pycache__", "node_modules", "site-packages", "__MACOSX"})


# Not every platform has all of them. In a page of a browser, where files are one's own, the file
# system of JupyterLite takes a flag that it does not know for the wish to write.
_OPENING = 0
_FLAGS = ("O_RDONLY", "O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
for _name in _FLAGS if sys.platform != "emscripten" else ():
    _OPENING |= getattr(os, _name, 0)


def fetch(path: Path) -> bytes:
    """The bytes of a submitted file: a regular file of at most 10 MB, never through a link."""
    if os.path.islink(path.parent):
        raise Rejected("The submission's folder is a link: submit the files themselves.")
    if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):
        raise Rejected("The file is a link: submit the file itself.")
    try:
        descriptor = os.open(path, _OPENING)
    except FileNotFoundError:
        raise Rejected("The notebook is missing.") from None
    except OSError as error:
        raise Rejected(f"The file cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Rejected("The file is no regular file.")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES + 1)


@dataclass(frozen=True)
class SubmissionFiles:
    """A submission as it is graded: its notebooks by name, or why there is none to be graded; the
    student's own files beside them; and notes on what was found elsewhere or left out.
    """

    notebooks: Mapping[str, bytes | Rejected] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()
    timestamp: bytes = b""  # what nbgrader wrote into timestamp.txt

    @classmethod
    def read(
        cls, folder: Path, notebooks: Iterable[str], provided: Iterable[str] = ()
    ) -> SubmissionFiles:
        """What `folder` holds of these notebooks. `provided` names the instructor's files: where
        they stand, the student's own are not taken.
        """
        walk = _Walk(folder)
        names, notes = list(notebooks), []
        found: dict[str, bytes | Rejected] = {}
        homes = set()
        for name in names:
            try:
                path = _notebook(folder, name, names, walk.notebooks)
                found[name] = fetch(path)
            except Rejected as error:
                found[name] = error
                continue
            homes.add(path.parent)
            if path != folder / f"{name}.ipynb":
                notes.append(f"{name}.ipynb: taken from '{_shown(path, folder)}'")
        home = homes.pop() if len(homes) == 1 else folder
        files = walk.take(home, provided)
        if walk.left_out:
            notes.append(
                f"left out beside the notebook: {_listed(walk.left_out)} (at most "
                f"{MAX_BYTES >> 20} MB in {MAX_FILES} files are taken)"
            )
        try:
            timestamp = fetch(folder / "timestamp.txt")[:MAX_TIMESTAMP]
        except Rejected:
            timestamp = b""
        return cls(found, files, notes, timestamp)

    def notebook(self, name: str) -> bytes:
        """The bytes of a notebook. Raises Rejected where there is none."""
        found = self.notebooks[name]
        if isinstance(found, Rejected):
            raise found
        return found

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        contents = [*self.notebooks.items(), *sorted(self.files.items())]
        hashed = [
            (name, str(data) if isinstance(data, Rejected) else hashlib.sha256(data).hexdigest())
            for name, data in contents
        ]
        whole = len(self.notebooks), hashed, [*self.notes], self.timestamp
        return hashlib.sha256(repr(whole).encode()).hexdigest()


class _Walk:
    """The regular files of a submission, in order, and what of it is left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks: list[Path] = []
        self.others: list[tuple[Path, int]] = []
        self.left_out: list[str] = []
        if not os.path.islink(folder):
            self._walk()

    def _walk(self) -> None:
        top = str(self.folder).count(os.sep)
        seen = 0
        for here, folders, names in os.walk(self.folder, onerror=self._unreadable):
            deep = here.count(os.sep) - top >= MAX_DEPTH
            folders[:] = [name for name in sorted(folders) if self._enters(Path(here, name), deep)]
            for name in ["", *sorted(names)]:
                seen += 1
                if seen > MAX_SEEN:
                    self.left_out.append(f"all but the first {MAX_SEEN} files")
                    return
                if name:
                    self._see(Path(here, name))

    def _unreadable(self, error: OSError) -> None:
        self._leave(Path(error.filename), error.strerror or "unreadable")

    def _enters(self, path: Path, deep: bool) -> bool:
        if path.name.startswith(".") or path.name in CACHES:
            return False
        if os.path.islink(path):
            self._leave(path, "a link")
        elif deep:
            self._leave(path, "too deep")
        elif any(os.path.exists(path / mark) for mark in ENVIRONMENT):
            self._leave(path, "an environment")
        else:
            return True
        return False

    def _see(self, path: Path) -> None:
        try:
            status = path.lstat()
        except OSError as error:
            self._leave(path, error.strerror or "unreadable")
            return
        if path.suffix == ".ipynb":
            if stat.S_ISREG(status.st_mode) and not path.name.startswith("."):
                self.notebooks.append(path)
        elif stat.S_ISREG(status.st_mode):
            self.others.append((path, status.st_size))
        else:
            self._leave(path, "a link" if stat.S_ISLNK(status.st_mode) else "no regular file")

    def _leave(self, path: Path, why: str) -> None:
        self.left_out.append(f"{_shown(path, self.folder)} ({why})")

    def take(self, home: Path, provided: Iterable[str]) -> dict[str, bytes]:
        """The files below `home`, by name: the nearest, and of these the smallest first, so that
        one that is too large costs no other one its place.
        """
        instructors = _taken(provided)
        here = []
        for path, size in self.others:
            if path.is_relative_to(home):
                place = PurePosixPath(path.relative_to(home).as_posix())
                if not instructors(place):
                    here.append((len(place.parts), place, size))
        here.sort()
        for _, place, _ in here[MAX_FILES:]:
            self._leave(home / place, f"beyond {MAX_FILES} files")
        taken: dict[str, bytes] = {}
        room = MAX_BYTES
        for size, place in sorted((size, place) for _, place, size in here[:MAX_FILES]):
            try:
                data = fetch(home / place) if size <= room else None
            except Rejected as error:
                self._leave(home / place, str(error))
                continue
            if data is None or len(data) > room:
                self._leave(home / place, f"{size / (1 << 20):.1f} MB")
                continue
            room -= len(data)
            taken[str(place)] = data
        return taken


def _taken(provided: Iterable[str]) -> Callable[[PurePosixPath], bool]:
    """Tells whether a file of the instructor's stands at a place, above it or below it."""
    files = {PurePosixPath(name) for name in provided}
    folders = {parent for path in files for parent in path.parents}
    return lambda place: place in files or place in folders or not files.isdisjoint(place.parents)


def _notebook(folder: Path, name: str, names: Sequence[str], candidates: Sequence[Path]) -> Path:
    """Where a notebook lies: in its place, or the one place that can be meant. Raises Rejected."""
    expected = folder / f"{name}.ipynb"
    if os.path.islink(folder) or os.path.lexists(expected):
        return expected
    foreign = [path for path in candidates if path.stem not in names]
    missing = [each for each in names if not os.path.lexists(folder / f"{each}.ipynb")]
    for found in (
        [path for path in candidates if path.stem == name],  # in a folder of its own
        [path for path in foreign if _renamed(path.stem, names) == name],
        foreign if len(missing) == 1 else [],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            break
    others = [path for path in candidates if path not in {folder / f"{n}.ipynb" for n in names}]
    seen = _listed([f"'{_shown(path, folder)}'" for path in others])
    raise Rejected(
        "The notebook is missing."
        + (f" Found: {seen}. Rename the right one and submit again." if seen else "")
    )


def drop_linked(copy: Path, folder: Path, provided: Iterable[str]) -> list[str]:
    """Remove from a copy of a submission what was copied through a link; the names.

    What a link points at is whatever its reader may read: the gradebook, somebody else's work.
    """
    dropped = []
    instructors = _taken(provided)
    for here, _, names in os.walk(copy):
        for path in (Path(here, name) for name in names):
            name = path.relative_to(copy).as_posix()
            if os.path.islink(folder / name) and not instructors(PurePosixPath(name)):
                path.unlink()
                dropped.append(name)
    return sorted(dropped)


def _renamed(stem: str, names: Iterable[str]) -> str | None:
    """The notebook that a name such as `01_tensor (1)` or `01_Tensor-final` was made of."""
    alike = [name for name in names if stem.casefold().startswith(name.casefold())]
    return max(alike, key=len, default=None)


def _shown(path: Path, folder: Path) -> str:
    """A file's name, which its student chose, as no terminal and no page takes it amiss."""
    text = re.sub(r"[^\w .,()+/-]", "?", path.relative_to(folder).as_posix())
    return text if len(text) <= 80 else f"...{text[-77:]}"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MAX_NAMED
    return ", ".join(items[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
