"""What was handed in beside the notebooks: regular files, never through a link."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from proctor.errors import Rejected
from proctor.notebook.cells import MAX_BYTES

MAX_FILES = 10_000  # of a submission that are looked at

MAX_DEPTH = 50  # folders in folders: who walks down further by recursion may not come back


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


def drop_linked(copy: Path, folder: Path, provided: Iterable[str]) -> list[str]:
    """Remove from a copy of a submission what was copied through a link; the names.

    What a link points at is whatever its reader may read: the gradebook, somebody else's work.
    """
    dropped = []
    for here, _, names in os.walk(copy):
        for path in (Path(here, name) for name in names):
            name = path.relative_to(copy).as_posix()
            if (folder / name).is_symlink() and not taken(name, provided):
                path.unlink()
                dropped.append(name)
    return sorted(dropped)
