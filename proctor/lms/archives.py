"""What lies in a zip file or a folder that somebody sent: hostile until proven otherwise.

The zip's directory is read here and not by `zipfile`, which ends at the first invalid name and
keeps whatever number of entries it is given. One bad entry is refused and spoils no other.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path, PurePosixPath

from proctor.errors import ProctorError
from proctor.verdict import one_line

# Limits, each named where something is refused for it.
MAX_ENTRIES = 100_000  # of an archive or a folder
MAX_DIRECTORY = 32 << 20  # bytes of a zip's directory
MAX_FILE = 64 << 20  # bytes of one file
MAX_TOTAL = 8 << 30  # bytes of all files of one archive
MAX_RATIO = 250  # times that a file may grow; what is smaller than MIN_BOMB may grow as it likes
MIN_BOMB = 1 << 20
MAX_DEPTH = 20  # folders in folders
MAX_NAME = 255  # bytes of a file's name
MAX_NAMED = 3  # names in one line

# What operating systems leave behind: nothing that anybody handed in.
LITTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z", ".zst")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?: *\..*)?", re.IGNORECASE)


class Refused(ProctorError):
    """A file, or a whole download, that is not taken; the message says why."""


@dataclass(frozen=True)
class File:
    """A file that was handed in: its path with `/`, and its bytes when they are asked for."""

    path: str
    size: int
    when: datetime | None  # aware
    read: Callable[[], bytes]  # raises Refused

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass
class Refusals:
    """What was not taken: per reason how many, and the first names. Memory stays bounded."""

    reasons: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, name: str, why: str) -> None:
        count, names = self.reasons.get(why, (0, []))
        if len(names) < MAX_NAMED:
            names = [*names, one_line(name[:200])[:80]]
        self.reasons[why] = count + 1, names

    def lines(self) -> list[str]:
        """A line for each reason."""
        found = []
        for why, (count, names) in self.reasons.items():
            shown = ", ".join(f"'{name}'" for name in names)
            more = f" and {count - len(names):,} more" if count > len(names) else ""
            found.append(f"{shown}{more}: {why}")
        return found


@dataclass
class Tree:
    """The files of a download, by their paths, and what of it was refused."""

    path: Path
    files: list[File] = field(default_factory=list)
    refused: Refusals = field(default_factory=Refusals)
    is_zip: bool = False
    _places: dict[str, bool] = field(default_factory=dict)  # folded path: whether it is a file
    _total: int = 0

    def take(self, name: str, size: int, when: datetime | None, read: Callable[[], bytes]) -> None:
        """Take a file in, or refuse it."""
        try:
            path = checked(name)
            if size > MAX_FILE:
                raise Refused(f"larger than {MAX_FILE >> 20} MB")
            if self._total + size > MAX_TOTAL:
                raise Refused(f"beyond {MAX_TOTAL >> 30} GB in all")
            self._claim(path)
        except Refused as error:
            self.refused.add(name, str(error))
            return
        self._total += size
        parts = path.split("/")
        if LITTER.isdisjoint(parts) and not parts[-1].startswith("._"):
            self.files.append(File(path, size, when, read))

    def _claim(self, path: str) -> None:
        """Refuse what a file system that knows no case, or no accents, has no second place for."""
        folded = folded_path(path)
        parents = [parent.as_posix() for parent in PurePosixPath(folded).parents][:-1]
        if folded in self._places or any(self._places.get(parent) for parent in parents):
            raise Refused("another one has the same name, but for case or the form of its accents")
        self._places[folded] = True
        for parent in parents:
            self._places.setdefault(parent, False)


def folded_path(path: str) -> str:
    """A path as the least particular file system tells it from others."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold())


def wrong_name(name: str) -> str:
    """Why this cannot be the name of a file or folder everywhere; "" if it can."""
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        return "it leads somewhere else"
    if not name.isprintable():
        return "it has control or invisible characters"
    if name.startswith((".", " ")) or name.endswith((".", " ")):
        return "it begins or ends with a dot or a space"
    if _RESERVED.fullmatch(name):
        return "Windows reserves it"
    if len(name.encode()) > MAX_NAME:
        return "it is too long"
    return ""


def checked(name: str) -> str:
    """The path that a file's name is. Raises Refused where it is none to be followed."""
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part]
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise Refused("its name is an absolute path")
    if ".." in parts:
        raise Refused("its name leads out of the archive")
    if len(parts) > MAX_DEPTH:
        raise Refused(f"more than {MAX_DEPTH} folders deep")
    for part in parts:
        if not part.isprintable():
            raise Refused("its name has control or invisible characters")
        if _RESERVED.fullmatch(part):
            raise Refused("Windows reserves its name")
        if len(part.encode()) > MAX_NAME:
            raise Refused(f"its name has more than {MAX_NAME} bytes")
    if not (clean := [part for part in parts if part != "."]):
        raise Refused("it has no name")
    return "/".join(clean)


def opened(path: Path, zone: tzinfo) -> Tree:
    """What a zip file, a folder or a single file holds. Times without a zone are in `zone`.

    Raises Refused where nothing of it can be taken.
    """
    tree = Tree(path)
    try:
        if path.is_dir():
            _folder(tree, path)
        elif path.suffix.lower() == ".ipynb":
            _see(tree, path, path.name)
        else:
            _zip(tree, path, zone)
    except OSError as error:
        raise Refused(f"It cannot be read: {error.strerror}.") from None
    return tree


# A folder ---------------------------------------------------------------------------------------


def _folder(tree: Tree, root: Path) -> None:
    def unreadable(error: OSError) -> None:
        tree.refused.add(os.path.relpath(error.filename, root), error.strerror or "unreadable")

    seen = 0
    for here, folders, names in os.walk(root, onerror=unreadable):
        inside = []
        for name in sorted(folders):
            if os.path.islink(os.path.join(here, name)):
                tree.refused.add(os.path.relpath(os.path.join(here, name), root), "a link")
            elif name != ".git":
                inside.append(name)
        folders[:] = inside
        seen += len(folders)
        for name in sorted(names):
            seen += 1
            if seen > MAX_ENTRIES:
                raise Refused(f"It has more than {MAX_ENTRIES:,} files and folders.")
            place = Path(here, name)
            _see(tree, place, place.relative_to(root).as_posix())


def _see(tree: Tree, path: Path, name: str) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        tree.refused.add(name, error.strerror or "unreadable")
        return
    if not stat.S_ISREG(status.st_mode):
        link = stat.S_ISLNK(status.st_mode)
        tree.refused.add(name, "a link" if link else "no regular file")
        return
    when = datetime.fromtimestamp(int(status.st_mtime), UTC)
    tree.take(name, status.st_size, when, lambda: _bytes(path))


def _bytes(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise Refused(f"larger than {MAX_FILE >> 20} MB")
    return data


# A zip file: PKWARE's APPNOTE 6.3.10 ------------------------------------------------------------

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MANY, _LARGE = 0xFFFF, 0xFFFFFFFF  # the number stands in an extra field
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 1 << 0 | 1 << 6, 1 << 11
_UNIX = 3


@dataclass(frozen=True)
class _Entry:
    """An entry as the zip's directory has it."""

    name: bytes
    flags: int
    method: int
    moment: tuple[int, int]  # the date and the time of MS-DOS
    crc: int
    packed: int
    size: int
    mode: int
    offset: int
    extra: bytes


def _zip(tree: Tree, path: Path, zone: tzinfo) -> None:
    tree.is_zip = True
    directory, shift = _directory(path)
    for entry in _entries(directory):
        raw = entry.name
        try:
            name = _decoded(entry)
        except UnicodeDecodeError:
            tree.refused.add(raw.decode("latin-1"), "its name is no UTF-8 although it says so")
            continue
        if name.endswith(("/", "\\")):
            continue
        if why := _wrong(entry):
            tree.refused.add(name, why)
            continue
        tree.take(name, entry.size, _when(entry, zone), partial(_unpacked, path, entry, shift))


def _directory(path: Path) -> tuple[bytes, int]:
    """The zip's directory, and how far its offsets are off: bytes may stand before the archive."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - (1 << 16) - _END.size)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            raise Refused(
                "It is no zip file, or one that was cut off: download it again. (A folder that was "
                "unpacked, and a single notebook, are taken as well.)"
            )
        _, disk, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
        end = start + at
        if end >= _LOCATOR.size and (count == _MANY or _LARGE in (length, offset)):
            file.seek(end - _LOCATOR.size)
            mark, _, place, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
            if mark == b"PK\6\7":
                file.seek(min(place, size))
                record = file.read(_END64.size)
                if len(record) < _END64.size or not record.startswith(b"PK\6\6"):
                    raise Refused("Its directory is damaged: download it again.")
                *_, count, length, offset = _END64.unpack(record)
                end = place
        if disk not in (0, _MANY):
            raise Refused("It is one part of several: they have to be joined first.")
        if count > MAX_ENTRIES or length > MAX_DIRECTORY:
            raise Refused(
                f"It has {count:,} entries ({length >> 20} MB of names): at most "
                f"{MAX_ENTRIES:,} ({MAX_DIRECTORY >> 20} MB) are read."
            )
        shift = end - length - offset
        if shift < 0 or end < length:
            raise Refused("Its directory is damaged: download it again.")
        file.seek(end - length)
        return file.read(length), shift


def _entries(directory: bytes) -> Iterator[_Entry]:
    at, count = 0, 0
    while at < len(directory):
        if directory[at : at + 4] != b"PK\1\2" or at + _ENTRY.size > len(directory):
            raise Refused("Its directory is damaged: download it again.")
        count += 1
        if count > MAX_ENTRIES:
            raise Refused(f"It has more than {MAX_ENTRIES:,} entries.")
        (_, made, _, flags, method, clock, date, crc, packed, size, *lengths) = _ENTRY.unpack_from(
            directory, at
        )
        named, extra, comment, _, _, attributes, offset = lengths
        at += _ENTRY.size
        name = directory[at : at + named]
        fields = directory[at + named : at + named + extra]
        at += named + extra + comment
        data = _extra(fields, 1)
        large = iter(struct.unpack_from(f"<{len(data) // 8}Q", data))
        size = next(large, size) if size == _LARGE else size
        packed = next(large, packed) if packed == _LARGE else packed
        offset = next(large, offset) if offset == _LARGE else offset
        mode = attributes >> 16 if made >> 8 == _UNIX else 0
        yield _Entry(name, flags, method, (date, clock), crc, packed, size, mode, offset, fields)


def _extra(fields: bytes, wanted: int) -> bytes:
    """An extra field of an entry, by its number."""
    at = 0
    while at + 4 <= len(fields):
        kind, length = struct.unpack_from("<2H", fields, at)
        if kind == wanted:
            return fields[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _decoded(entry: _Entry) -> str:
    """An entry's name: UTF-8 where it says so, or is so without saying it, as macOS does."""
    unicode = _extra(entry.extra, 0x7075)
    if len(unicode) > 5 and struct.unpack_from("<L", unicode, 1)[0] == zlib.crc32(entry.name):
        return unicode[5:].decode()
    if entry.flags & _UTF8:
        return entry.name.decode()
    try:
        return entry.name.decode()
    except UnicodeDecodeError:
        return entry.name.decode("cp437")


def _wrong(entry: _Entry) -> str:
    """Why an entry is not taken, whatever its name is."""
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG):
        return "no regular file"
    if entry.flags & _ENCRYPTED:
        return "it is encrypted"
    if entry.method not in (_STORED, _DEFLATED):
        return f"it is packed by a method ({entry.method}) that is not read here"
    if max(entry.size, entry.packed - MIN_BOMB) > MAX_FILE:
        return f"larger than {MAX_FILE >> 20} MB"
    if entry.size > max(MIN_BOMB, MAX_RATIO * entry.packed):
        return f"it unpacks to more than {MAX_RATIO} times its size"
    return ""


def _when(entry: _Entry, zone: tzinfo) -> datetime | None:
    """When an entry was written: in UTC where an extra field says so."""
    stamp = _extra(entry.extra, 0x5455)
    if len(stamp) >= 5 and stamp[0] & 1:
        return datetime.fromtimestamp(struct.unpack_from("<l", stamp, 1)[0], UTC)
    date, clock = entry.moment
    day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    try:
        return datetime(*day, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, tzinfo=zone)
    except ValueError:
        return None


def _unpacked(path: Path, entry: _Entry, shift: int) -> bytes:
    """The bytes of an entry, no more than it says. Raises Refused if they are not as it says."""
    damaged = Refused("it is damaged: its checksum does not match")
    with path.open("rb") as file:
        file.seek(entry.offset + shift)
        head = file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
            raise damaged
        *_, named, extra = _LOCAL.unpack(head)
        file.seek(named + extra, os.SEEK_CUR)
        packed = file.read(entry.packed)
    if entry.method == _STORED:
        data = packed
    else:
        unpack = zlib.decompressobj(-15)
        try:
            data = unpack.decompress(packed, entry.size + 1)
        except zlib.error:
            raise damaged from None
    if len(data) > entry.size:
        raise Refused("it unpacks to more than it says")
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise damaged
    return data
