"""From what an LMS gave to submitted/STUDENT/ASSIGNMENT/, losing nothing that was there.

Every version that was ever collected is kept in collected/STUDENT/ASSIGNMENT/, with a record of
where it came from; the newest stands in submitted/. Collecting again changes nothing.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proctor.course.course import Course
from proctor.course.settings import setting
from proctor.errors import CourseError, ProctorError, Rejected
from proctor.lms import downloads
from proctor.lms.archives import (
    ARCHIVES,
    File,
    Refusals,
    Refused,
    checked,
    folded_path,
    opened,
)
from proctor.lms.downloads import Download, Handed, Knowledge
from proctor.lms.roster import Roster
from proctor.notebook.cells import nbgrader, parse
from proctor.notebook.files import CACHES
from proctor.record import gradebook
from proctor.record.store import write_whole

FOLDER = "collected"
RECORD = "record.json"
SCHEMA = "proctor/collected/v1"
MAX_STUDENT = 128 << 20  # bytes of one student's files
MAX_STUDENT_FILES = 1_000
TIMESTAMP = "timestamp.txt"  # nbgrader's
TIME = "%Y-%m-%d %H:%M:%S UTC"
STANDING = "submitted/"  # where a version comes from that another way brought there


@dataclass(frozen=True)
class Version:
    """One hand-in, as the record has it."""

    number: int  # its folder
    digest: str  # of its files
    order: list[float]  # among those of its form
    form: str
    time: str | None  # as timestamp.txt has it
    late: bool  # so the LMS says
    origin: str  # the download, and the student's name there
    files: dict[str, str]  # their hashes


@dataclass
class Record:
    """What is known of one student's assignment."""

    student: str
    assignment: str
    current: int = 0  # the version that stands in submitted/
    versions: list[Version] = field(default_factory=list)

    @property
    def newest(self) -> Version:
        """Of each form the newest by its order; of these by time, or the one collected last."""
        best: dict[str, Version] = {}
        for each in self.versions:
            if each.form not in best or each.order >= best[each.form].order:
                best[each.form] = each
        return max(best.values(), key=lambda each: (each.time or "", each.number))


@dataclass(frozen=True)
class Taken:
    """What is to become of one hand-in: `what` is new, newer, older, or unchanged."""

    student: str
    assignment: str
    what: str
    version: Version
    notes: tuple[str, ...] = ()


@dataclass
class Collected:
    """What a run did, or would do."""

    downloads: list[Download] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    unmatched: list[tuple[str, str, str]] = field(default_factory=list)  # download, name, why
    refused: list[tuple[str, list[str]]] = field(default_factory=list)  # download, lines

    @property
    def whole(self) -> bool:
        """Whether everything found its place."""
        return not self.unmatched and not self.refused


@dataclass(frozen=True)
class _Piece:
    """What of a hand-in belongs to one assignment."""

    assignment: str
    files: Mapping[str, bytes]
    notes: tuple[str, ...]


def collect(
    course: Course, paths: Sequence[Path], roster: Path | None, assignment: str, dry_run: bool
) -> Collected:
    """Collect these downloads. Raises CourseError before anything is written where a path is none,
    or nobody is known.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise CourseError(f"There is no {', '.join(missing)}.")
    if assignment:
        course.assignment(assignment)
    desk = _Desk(course, Roster.of(course, roster), assignment, dry_run)
    for path in paths:
        desk.take(path)
    if not desk.done.downloads:
        raise CourseError("; ".join(f"{name}: {lines[0]}" for name, lines in desk.done.refused))
    desk.finish()
    return desk.done


class _Desk:
    """Takes downloads in, one after another."""

    def __init__(self, course: Course, roster: Roster, assignment: str, dry_run: bool) -> None:
        self.course, self.assignment, self.dry_run = course, assignment, dry_run
        self.catalogue = Catalogue(course)
        self.known = Knowledge(
            roster,
            tuple(course.assignments),
            frozenset(name.casefold() for _, name in self.catalogue.cells),
            zone(course),
        )
        self.done = Collected()
        self.dues = gradebook.dues(course)
        self.records: dict[tuple[str, str], Record] = {}
        self.changed: set[tuple[str, str]] = set()

    def take(self, path: Path) -> None:
        """Read a download, and plan what becomes of what it has."""
        try:
            download = downloads.read(path, self.known)
        except (Refused, OSError) as error:
            self.done.refused.append((path.name, [str(error)]))
            return
        self.done.downloads.append(download)
        for handed in sorted(download.handed, key=lambda each: each.order):
            match = handed.match or self.known.roster.find(handed.clue)
            if match.student is None:
                nobody = path.name, handed.clue.shown, match.why
                if nobody not in self.done.unmatched:
                    self.done.unmatched.append(nobody)
                continue
            self._plan(match.student, handed, download)
        if lines := download.refused.lines():
            self.done.refused.append((path.name, lines))

    def _plan(self, student: str, handed: Handed, download: Download) -> None:
        for piece in self._pieces(handed, download.refused):
            self._keep(student, piece, handed, download)

    def _pieces(self, handed: Handed, refused: Refusals) -> list[_Piece]:
        """A hand-in, divided by assignments; what is refused of it is said."""
        shown = handed.clue.shown
        files: dict[str, bytes] = {}
        places: set[str] = set()
        room = MAX_STUDENT
        for file in self._files(handed, refused):
            name = f"{shown}: {file.path}"
            try:  # an LMS's own part of the name is off: what is left has to be a name, too
                path = checked(file.path)
            except Refused as error:
                refused.add(name, str(error))
                continue
            if self._ignored(PurePosixPath(path).parts):
                continue
            if file.path.lower().endswith(ARCHIVES):
                refused.add(name, "an archive inside what was handed in: unpack it, collect that")
            elif len(files) >= MAX_STUDENT_FILES:
                refused.add(name, f"beyond {MAX_STUDENT_FILES:,} files of one student")
            elif file.size > room:
                refused.add(name, f"beyond {MAX_STUDENT >> 20} MB of one student")
            elif folded_path(path) in places:
                refused.add(name, "another of the student's has the same name, but for case")
            else:
                try:
                    files[path] = file.read()
                except Refused as error:
                    refused.add(name, str(error))
                    continue
                places.add(folded_path(path))
                room -= len(files[path])
        pieces, homeless = self.catalogue.divide(files, self.assignment)
        for path in homeless:
            refused.add(
                f"{shown}: {path}", "no assignment has such a notebook: name one by --assignment"
            )
        if not pieces and not homeless and handed.files:
            refused.add(shown, "no notebook was handed in")
        return pieces

    def _files(self, handed: Handed, refused: Refusals) -> Iterator[File]:
        """The files of a hand-in; for a zip file, such as `proctor submit` makes, what is in it.

        Notebooks come first: nothing else shall cost one its place. A file of an archive can be
        read until the next one is asked for.
        """

        def later(file: File) -> bool:
            return not file.path.lower().endswith(".ipynb")

        zipped = [file for file in handed.files if file.path.lower().endswith(".zip")]
        yield from sorted((file for file in handed.files if file not in zipped), key=later)
        for file in zipped:
            name = f"{handed.clue.shown}: {file.path}"
            with tempfile.TemporaryDirectory(prefix="proctor-collect-") as folder:
                copy = Path(folder, "handed-in.zip")
                try:
                    copy.write_bytes(file.read())
                    tree = opened(copy, UTC)
                except Refused as error:
                    refused.add(name, str(error))
                    continue
                for why, (count, names) in tree.refused.reasons.items():
                    refused.add(f"{name}: {', '.join(names)} ({count:,})", why)
                yield from sorted(tree.files, key=later)

    def _ignored(self, parts: Sequence[str]) -> bool:
        left_out = [".*", *CACHES, *setting(self.course.config, "CourseDirectory", "ignore", [])]
        return any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in left_out)

    def _keep(self, student: str, piece: _Piece, handed: Handed, download: Download) -> None:
        """Put a piece into the student's record, unless it is there."""
        place = student, piece.assignment
        if place not in self.records:
            self.records[place] = self._record(student, piece.assignment)
        record = self.records[place]
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in piece.files.items()}
        digest = _digest(hashes)
        form = download.form.partition(" (")[0]
        order = [float(each) for each in handed.order]
        for known in record.versions:
            if known.digest == digest and (known.order == order or not handed.lasting):
                gone = known.number == record.current and not self._submitted(record).is_dir()
                what = "put back" if gone else "unchanged"
                self.done.taken.append(Taken(*place, what, known, piece.notes))
                return
        moment, notes = self._moment(handed, piece)
        version = Version(
            max((each.number for each in record.versions), default=0) + 1,
            digest,
            order,
            form,
            moment,
            handed.late,
            f"{download.path.name}: {handed.clue.shown}",
            hashes,
        )
        self._add(record, version, piece.files)
        self.done.taken.append(Taken(*place, "older", version, (*piece.notes, *notes)))

    def _moment(self, handed: Handed, piece: _Piece) -> tuple[str | None, list[str]]:
        """What timestamp.txt says. Canvas does not tell when something was handed in, but whether
        it was late: nobody is late for the time of a download.
        """
        if handed.when is None:
            return None, []
        when, notes = handed.when.astimezone(UTC), []
        due = self.dues.get(piece.assignment)
        if not handed.dated and handed.late:
            notes.append("its time is that of the download: Canvas tells no other")
        elif not handed.dated and due is not None and when > due:
            when = due
            notes.append("not late, so the due date stands for its time: Canvas tells no other")
        return f"{when:{TIME}}", notes

    def _record(self, student: str, assignment: str) -> Record:
        """What is known; what stands in submitted/ and came by another way is a version, too."""
        record = load(self.course, student, assignment)
        folder = self.course.folder("submitted", student, assignment)
        if not folder.is_dir() or os.path.islink(folder):
            return record
        files, moment = _standing(folder)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        digest = _digest(hashes)
        if alike := [each.number for each in record.versions if each.digest == digest]:
            record.current = record.current if record.current in alike else alike[-1]
            return record
        number = max((each.number for each in record.versions), default=0) + 1
        record.current = number
        found = Version(number, digest, [], STANDING, moment, False, STANDING, hashes)
        self._add(record, found, files)
        return record

    def _add(self, record: Record, version: Version, files: Mapping[str, bytes]) -> None:
        """A version more: its files are kept at once, so that memory holds one student's only."""
        record.versions.append(version)
        self.changed.add((record.student, record.assignment))
        if not self.dry_run:
            with _explained(record):
                _write(self._home(record) / str(version.number), files)

    def _home(self, record: Record) -> Path:
        return self.course.root / FOLDER / record.student / record.assignment

    def _submitted(self, record: Record) -> Path:
        return self.course.folder("submitted", record.student, record.assignment)

    def finish(self) -> None:
        """Put the newest versions into submitted/, and write the records."""
        for number, each in enumerate(self.done.taken):
            record = self.records[each.student, each.assignment]
            if each.what == "older" and each.version is record.newest:
                what = "newer" if record.current else "new"
                self.done.taken[number] = replace(each, what=what)
        for record in self.records.values() if not self.dry_run else ():
            newest, folder, home = record.newest, self._submitted(record), self._home(record)
            with _explained(record):
                if not folder.is_dir() or newest.number != record.current:
                    place = home / str(newest.number)
                    files = {name: (place / name).read_bytes() for name in newest.files}
                    stamp = {TIMESTAMP: f"{newest.time}\n".encode()} if newest.time else {}
                    _write(folder, files | stamp)
                if (record.student, record.assignment) in self.changed:
                    record.current = newest.number
                    body = {"schema": SCHEMA, **asdict(record)}
                    write_whole(home / RECORD, json.dumps(body, indent=1, sort_keys=True) + "\n")


class Catalogue:
    """The course's notebooks, by their names and by their cells."""

    def __init__(self, course: Course) -> None:
        self.cells: dict[tuple[str, str], frozenset[str]] = {}
        for name in course.assignments:
            for path in course.assignment(name).notebooks:
                self.cells[name, path.stem] = _cells(path.read_bytes())

    @cached_property
    def named(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for place in self.cells:
            found.setdefault(place[1].casefold(), []).append(place)
        return found

    def find(self, path: str, data: bytes, fallback: str) -> tuple[tuple[str, str] | None, str]:
        """The assignment and the notebook that a file is, and a note where it was renamed."""
        name = path.rpartition("/")[2]
        stem = name.rpartition(".")[0].casefold()
        for alike in (stem, re.sub(r"(?:-\d+| ?\(\d+\))$", "", stem)):
            places = self.named.get(alike, [])
            mine = [place for place in places if place[0] == fallback]
            if len(places) == 1 or len(mine) == 1:
                return (mine or places)[0], ""
        cells = _cells(data)
        shared = {place: len(cells & theirs) for place, theirs in self.cells.items()}
        best = max(shared.values(), default=0)
        fitting = [place for place, count in shared.items() if count == best]
        if best and len(fitting) == 1 and 2 * best >= len(self.cells[fitting[0]]):
            return fitting[0], f"'{name}' is {fitting[0][1]}.ipynb, by its cells"
        above = {part.casefold() for part in path.split("/")[:-1]}
        inside = [place for place in self.cells if place[0].casefold() in above]
        if len(inside) == 1:
            return inside[0], f"'{name}' is taken for {inside[0][1]}.ipynb, by its folder"
        theirs = [place for place in self.cells if place[0] == fallback]
        if len(theirs) == 1:
            return theirs[0], f"'{name}' is taken for {theirs[0][1]}.ipynb, by --assignment"
        return None, ""

    def divide(self, files: Mapping[str, bytes], fallback: str) -> tuple[list[_Piece], list[str]]:
        """Files by assignments, each with its notebooks in their places and what lies beside them;
        and the notebooks that belong to none, if nothing does.
        """
        found: dict[str, dict[str, list[tuple[bool, int, str, str]]]] = {}
        homeless, assigned = [], set()
        for path, data in files.items():
            if not path.lower().endswith(".ipynb"):
                continue
            place, note = self.find(path, data, fallback)
            if place is None:
                homeless.append(path)
                continue
            assigned.add(path)
            exact = path.rpartition("/")[2] == f"{place[1]}.ipynb"
            rank = not exact, path.count("/"), path, note
            found.setdefault(place[0], {}).setdefault(place[1], []).append(rank)
        pieces = []
        for assignment, notebooks in found.items():
            taken, notes, homes, used = {}, [], set(), set()
            mine = {path for ranked in notebooks.values() for _, _, path, _ in ranked}
            for name, ranked in notebooks.items():
                _, _, path, note = min(ranked)
                taken[f"{name}.ipynb"] = files[path]
                used.add(path)
                homes.add(path.rpartition("/")[0])
                notes += [note] if note else []
                if len(ranked) > 1:
                    notes.append(f"of {len(ranked)} notebooks '{path}' is taken for {name}.ipynb")
            home = os.path.commonpath(homes) if len(homes) > 1 else next(iter(homes))
            inside = f"{home}/" if home else ""
            others = {path.rpartition("/")[0] for path in assigned - mine} - homes
            for path, data in files.items():
                name = path[len(inside) :]
                elsewhere = any(path.startswith(f"{other}/") for other in others if other)
                foreign = path in assigned - mine
                if path in used or foreign or not path.startswith(inside) or elsewhere:
                    continue
                if name not in taken and name.casefold() != TIMESTAMP:
                    taken[name] = data
            pieces.append(_Piece(assignment, _placed(taken), tuple(notes)))
        return pieces, [] if pieces else homeless


def _placed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files without those whose folder would have to be where another file stands."""
    return {
        name: data
        for name, data in files.items()
        if not any(parent.as_posix() in files for parent in PurePosixPath(name).parents)
    }


def _cells(data: bytes) -> frozenset[str]:
    """The names of the cells that nbgrader knows in a notebook; none where it is no notebook."""
    try:
        cells = parse(data)["cells"]
    except Rejected:
        return frozenset()
    return frozenset(meta["grade_id"] for cell in cells if (meta := nbgrader(cell)))


def load(course: Course, student: str, assignment: str) -> Record:
    """The record of what was collected; an empty one where nothing was."""
    path = course.root / FOLDER / student / assignment / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        versions = [Version(**each) for each in found["versions"]]
        return Record(student, assignment, int(found["current"]), versions)
    except FileNotFoundError:
        return Record(student, assignment)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{path} cannot be read ({error}): it says what was collected of {student}. Put it "
            "back from a backup, or move its folder away to begin anew."
        ) from None


def zone(course: Course) -> tzinfo:
    """The time zone in which an LMS writes times that have none: the exchange's."""
    name = str(setting(course.config, "Exchange", "timezone", "UTC"))
    if name == "UTC":
        return UTC
    if offset := re.fullmatch(r"([+-]\d\d):?(\d\d)", name):  # as nbgrader takes it, too
        hours, minutes = int(offset[1]), int(f"{name[0]}{offset[2]}")
        return timezone(timedelta(hours=hours, minutes=minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise CourseError(
            f"c.Exchange.timezone in nbgrader_config.py: '{name}' is no time zone."
        ) from None


@contextlib.contextmanager
def _explained(record: Record) -> Iterator[None]:
    """Say in a sentence why something cannot be written."""
    try:
        yield
    except OSError as error:
        raise ProctorError(
            f"{record.student}, {record.assignment}: {error.filename} cannot be written: "
            f"{error.strerror}. Mend it and run the command again; what was collected before stays."
        ) from None


def _digest(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()


def _normal(text: str) -> str | None:
    """A time of nbgrader's as it is written here; None if it is none."""
    from nbgrader.utils import parse_utc

    try:
        return f"{parse_utc(text.strip()[:100]):{TIME}}"
    except (ValueError, OverflowError, TypeError):
        return None


def _standing(folder: Path) -> tuple[dict[str, bytes], str | None]:
    """What stands in a folder of submitted/, and its time."""
    files, moment = {}, None
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if path.is_symlink() or not path.is_file():
                continue
            if path == folder / TIMESTAMP:
                moment = _normal(path.read_text(errors="replace"))
            else:
                files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return files, moment


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with these files; it is there whole, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".collecting-", dir=folder.parent) as scratch:
        made, old = Path(scratch, "new"), Path(scratch, "old")
        made.mkdir()
        for name, data in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if os.path.lexists(folder):
            os.rename(folder, old)
        os.rename(made, folder)
        if old.is_symlink():
            old.unlink()
