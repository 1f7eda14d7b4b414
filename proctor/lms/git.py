"""A student's git repository, read without anything in it being obeyed.

Only its objects are read, by git's plumbing, from a repository of our own whose configuration is
empty: theirs, with its filters, hooks, file system monitor, helpers and remotes to fetch missing
objects from, is never opened. What would lead elsewhere (links, alternates, a `.git` that names
another folder) is refused, so that nobody hands in what they could not read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

from proctor.lms.archives import LITTER, MAX_FILE, File, Refused, Tree

SECONDS = 60  # for one command
MEMORY = 2 << 30  # bytes of address space
MAX_OBJECTS = 200_000  # files among a repository's objects
MAX_TOGETHER = 128 << 20  # bytes of files that are read by one call
MAX_LISTING = 32 << 20  # bytes of a listing of its files
MAX_REFERENCES = 4 << 20
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass
class Commit:
    """What HEAD has: its files, and when it was committed."""

    when: datetime | None
    files: list[File] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """A row of git's listing."""

    mode: str
    kind: str
    blob: str
    size: int | None  # None where git says BAD, or -
    name: str

    @classmethod
    def of(cls, row: bytes) -> _Row:
        about, _, name = row.partition(b"\t")
        mode, kind, blob, size = about.decode().split()
        shown = name.decode(errors="surrogateescape")
        return cls(mode, kind, blob, int(size) if size.isdigit() else None, shown)


def repositories(path: Path) -> list[Path]:
    """The repositories in a folder, or the folder itself if it is one; none where most of what it
    holds is something else: a student may have handed in what looks like one.
    """
    if _place(path):
        return [path]
    inside = [each for each in path.iterdir() if each.name not in LITTER]
    found = [each for each in inside if not each.is_symlink() and _place(each)]
    return sorted(found) if 2 * len(found) > len(inside) else []


def _place(path: Path) -> Path | None:
    """Where a repository's own files lie: in `.git`, or in a bare repository beside each other."""
    if os.path.lexists(path / ".git"):
        return path / ".git"
    bare = (path / "objects").is_dir() and (path / "refs").is_dir() and (path / "HEAD").is_file()
    return path if bare else None


def read(path: Path) -> Commit:
    """The last commit of the branch that is checked out. Raises Refused."""
    if shutil.which("git") is None:
        raise Refused("git is not installed here")
    place = _place(path)
    if place is None or not os.path.isdir(place) or os.path.islink(place):
        raise Refused("its .git is a file or a link that leads to another folder")
    objects = place / "objects"
    _stays_inside(objects)
    sha = _head(place)
    with _asking(objects, sha) as ask:
        head = ask("cat-file", "commit", sha).decode(errors="replace")
        committed = re.search(r"^committer .*> (\d{1,11}) [+-]\d{4}$", head, re.MULTILINE)
        when = datetime.fromtimestamp(int(committed[1]), UTC) if committed else None
        listing = ask("ls-tree", "-r", "-z", "-l", "--full-tree", sha)
    rows = [_Row.of(row) for row in listing.split(b"\0")[:-1]]
    tree, commit = Tree(path), Commit(when)
    wanted = _together(rows)
    for row in rows:
        if row.kind != "blob" or row.mode == "120000":
            tree.refused.add(row.name, "a link" if row.kind == "blob" else "another repository")
        elif row.size is None:
            tree.refused.add(row.name, "git cannot read it: it is damaged or missing")
        else:
            tree.take(row.name, row.size, when, partial(_blob, objects, sha, wanted, row.blob))
    commit.files = [file for file in tree.files if ".git" not in file.path.casefold().split("/")]
    commit.refused = [(", ".join(names), why) for why, (_, names) in tree.refused.reasons.items()]
    return commit


def _stays_inside(objects: Path) -> None:
    """Refuse a repository whose objects are not all its own."""
    if os.path.lexists(objects / "info" / "alternates"):
        raise Refused("it borrows objects from another repository (.git/objects/info/alternates)")
    if not objects.is_dir() or os.path.islink(objects):
        raise Refused("its .git/objects is not its own")
    seen = 0
    for here, folders, names in os.walk(objects):
        for name in (*folders, *names):
            seen += 1
            if os.path.islink(os.path.join(here, name)):
                raise Refused("there are links among its objects")
            if seen > MAX_OBJECTS:
                raise Refused(f"it has more than {MAX_OBJECTS:,} files among its objects")


def _head(place: Path) -> str:
    """The commit that HEAD names, directly or as the branch does."""
    text = _text(place, "HEAD").strip()
    if not text.startswith("ref:"):
        return _checked(text)
    name = text.removeprefix("ref:").strip()
    if not re.fullmatch(r"refs/[\w./+@-]+", name) or ".." in name:
        raise Refused("its HEAD names no branch")
    with contextlib.suppress(Refused):
        return _checked(_text(place, name).strip())
    for line in _text(place, "packed-refs").splitlines():
        sha, _, packed = line.partition(" ")
        if packed.strip() == name:
            return _checked(sha)
    raise Refused("nothing was committed in it")


def _text(place: Path, name: str) -> str:
    """A small file of a repository's, through no link."""
    here = place
    for part in name.split("/"):
        here = here / part
        if here.is_symlink():
            raise Refused(f"its .git/{name} is a link")
    try:
        descriptor = os.open(here, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_REFERENCES).decode(errors="replace")
    except OSError:
        raise Refused("nothing was committed in it") from None


def _checked(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise Refused("its HEAD names no commit")
    return sha


class _Ask:
    """Asks git about objects; raises Refused where it has no answer in time, size or at all."""

    def __init__(self, folder: Path, objects: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "GIT_DIR": str(folder / "empty.git"),
            "GIT_OBJECT_DIRECTORY": str(objects.resolve()),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def __call__(self, *words: str, most: int = MAX_LISTING, given: str = "") -> bytes:
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=", "--no-pager"]
        command += ["-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false", *words]
        with tempfile.TemporaryFile(dir=self.folder) as questions:
            questions.write(given.encode())
            questions.seek(0)
            return self._answer(command, questions, most)

    def _answer(self, command: list[str], questions: IO[bytes], most: int) -> bytes:
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=questions,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=_bounded if os.name == "posix" else None,
        ) as process:
            clock = threading.Timer(SECONDS, process.kill)
            clock.start()
            assert process.stdout is not None
            try:
                data = process.stdout.read(most + 1)
                if len(data) > most:
                    process.kill()
                process.wait()
            finally:
                clock.cancel()
        if len(data) > most:
            raise Refused(f"git lists more than {most >> 20} MB of it")
        if process.returncode:
            raise Refused("git cannot read its objects: they are damaged, missing, or too many")
        return data


def _bounded() -> None:
    import resource  # which Windows has not

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@contextlib.contextmanager
def _asking(objects: Path, sha: str) -> Iterator[_Ask]:
    """git, on these objects, in an empty repository of our own."""
    with tempfile.TemporaryDirectory(prefix="proctor-git-") as folder:
        ask = _Ask(Path(folder), objects)
        own = Path(folder, "empty.git")
        for name in ("refs", "objects"):
            (own / name).mkdir(parents=True)
        (own / "HEAD").write_text("ref: refs/heads/none\n")
        version = "1\n[extensions]\n\tobjectFormat = sha256" if len(sha) == 64 else "0"
        (own / "config").write_text(
            f"[core]\n\tbare = true\n\trepositoryformatversion = {version}\n"
        )
        yield ask


def _together(rows: Iterable[_Row]) -> tuple[str, ...]:
    """The blobs that are read by one call: as many as there is room for."""
    wanted, room = [], MAX_TOGETHER
    for row in rows:
        if row.size is not None and row.size <= min(room, MAX_FILE):
            wanted.append(row.blob)
            room -= row.size
    return tuple(wanted)


def _blob(objects: Path, sha: str, wanted: tuple[str, ...], blob: str) -> bytes:
    """A blob: one of those that were read together, else by a call of its own."""
    if (data := _blobs(objects, sha, wanted).get(blob)) is not None:
        return data
    with _asking(objects, sha) as ask:
        return ask("cat-file", "blob", blob, most=MAX_FILE)


@lru_cache(maxsize=1)  # of the repository whose files are being read
def _blobs(objects: Path, sha: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """These blobs, as far as git gets: it ends at the first that is damaged."""
    most = MAX_TOGETHER + MAX_LISTING
    with _asking(objects, sha) as ask:
        try:
            data = ask("cat-file", "--batch", most=most, given="".join(f"{b}\n" for b in wanted))
        except Refused:
            return {}
    found, at = {}, 0
    while at < len(data):
        head, _, _ = data[at : at + 200].partition(b"\n")
        at += len(head) + 1
        words = head.split()
        if len(words) == 3:  # else it is missing
            size = int(words[2])
            found[words[0].decode()] = data[at : at + size]
            at += size + 1
    return found
