"""Writes what was decided where instructors look: the autograded notebook and nbgrader's
gradebook.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from proctor.course.course import Assignment
from proctor.course.stack import own_stack
from proctor.errors import ProctorError
from proctor.notebook.cells import nbgrader
from proctor.record.autograded import as_text, with_notice
from proctor.record.cleaner import Cleaner
from proctor.record.gradebook import Book, Entry, Place
from proctor.record.store import Store, Stored, write_whole
from proctor.verdict import Change, Graded, Result, TestResult, change, total

READ_ONLY = 0o444  # what nbgrader gives graded files
GROUP = 100  # submissions in one transaction of the gradebook
EARLIER = "The score is the earlier submission's."


class Recorder:
    """Records the results of one assignment: `with Recorder(assignment) as recorder:`.

    Each result is kept as soon as it is there (the graded notebooks, then the store); the gradebook
    follows in groups. Whatever is killed in between, the next run writes what is missing.

    `levels` are those of isolation that a kept result may have; None for all.
    """

    def __init__(
        self,
        assignment: Assignment,
        force: bool = False,
        own_stack: bool = False,
        levels: Container[str] | None = None,
    ) -> None:
        self.own_stack = own_stack
        self.assignment, self.course, self.force = assignment, assignment.course, force
        self.levels = levels
        self.store = Store(assignment)
        self.before: dict[str, Stored] = {}
        self.entries: list[Entry] = []
        self.resources = contextlib.ExitStack()

    def __enter__(self) -> Recorder:
        with _explained(self.course.root):
            self.resources.enter_context(self.store.alone())
        try:
            self.clean = self.resources.enter_context(Cleaner())
            self.book = Book(self.assignment)
            self.resources.callback(self.book.close)
        except BaseException:
            self.resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.flush()
        finally:
            self.resources.close()

    def pending(self, folders: Mapping[str, Path]) -> tuple[dict[str, Path], list[Result]]:
        """What is to be graded, and the results that still hold.

        A result holds if submission, suite and environment are what they were, its graded
        notebooks are there, and it was isolated as well as it has to be. Where the gradebook does
        not say the same, it is told again; late penalties follow its due date and extensions.
        """
        todo, kept = {}, []
        entries = []
        for student, folder in folders.items():
            old = self.store.load(student)
            if old is not None:
                self.before[student] = old
            if self.force or old is None or not self._holds(old, folder):
                todo[student] = folder
                continue
            kept.append(old.result)
            if old.result.has_score:
                entries.append(_entry(old))
        self.book.write(self.book.missing(entries))
        self.book.penalise([entry.student for entry in entries])
        return todo, kept

    def _holds(self, stored: Stored, folder: Path) -> bool:
        result = stored.result
        if result.status == "graded":
            graded = self.course.folder("autograded", result.student, self.assignment.name)
            isolated = self.levels is None or result.isolation in self.levels
            if not graded.is_dir() or not isolated:
                return False
        modules = own_stack(self.assignment, result.student) if self.own_stack else []
        return stored.key == self.store.key(self.store.read(folder), modules)

    def record(self, graded: Graded) -> Change | None:
        """Keep one result; how the score moved, if there was another one before."""
        result = graded.result
        if result.status == "error":
            return None
        if not _nameable(result.student):
            _fail(result, "The name of this submission's folder cannot be recorded: rename it.")
            return None
        key = "" if result.unsure else self.store.key(graded.files, graded.modules)
        stored = Stored(key, result, self._comments(graded), _timestamp(graded.files.timestamp))
        old = self.before.get(result.student)
        try:
            with _explained(self.course.root):
                if result.status == "graded":
                    self._write(result.student, graded)
                elif old is not None and old.result.has_score:
                    stored = self._earlier(stored, old)
                self.store.save(stored)
        except ProctorError:
            raise
        except Exception as error:  # a defect of ours: the others are recorded all the same
            why = f"{type(error).__name__}: {error}"
            _fail(result, f"The result could not be recorded: {why}")
            return None
        if result.has_score:
            self.entries.append(_entry(stored))
        if len(self.entries) >= GROUP:
            self.flush()
        return change(old.result, result) if old else None

    def _earlier(self, rejected: Stored, old: Stored) -> Stored:
        """What is kept of a submission that came in place of a graded one and cannot be graded:
        nobody loses a score to a broken upload.
        """
        result = rejected.result
        result.earlier, result.tests = True, old.result.tests
        result.isolation, result.stack = old.result.isolation, old.result.stack
        result.error = f"{result.error} {EARLIER}"
        graded = self.course.folder("autograded", result.student, self.assignment.name)
        for path in graded.glob("*.ipynb"):
            notebook = with_notice(json.loads(path.read_bytes()), result.error)
            write_whole(path, as_text(notebook))
            path.chmod(READ_ONLY)
        return replace(rejected, comments=old.comments, timestamp=old.timestamp)

    def flush(self) -> None:
        """Write what waits for the gradebook."""
        entries, self.entries = self.entries, []
        self.book.write(entries)

    def _comments(self, graded: Graded) -> dict[Place, str | None]:
        """nbgrader's automatic comments: "No response." where a student changed nothing."""
        comments: dict[Place, str | None] = {}
        for name, (submission, _) in graded.notebooks.items():
            for cell in submission.notebook["cells"]:
                meta = nbgrader(cell)
                if meta.get("solution") and not meta.get("task"):
                    place = name, meta["grade_id"]
                    unchanged = self.book.released.get(place) == cell["source"]
                    comments[place] = "No response." if unchanged else None
        return comments

    def _write(self, student: str, graded: Graded) -> None:
        """Write autograded/STUDENT/ASSIGNMENT whole: beside its place first, then moved there."""
        notebooks = {name: self.clean(*pair) for name, pair in graded.notebooks.items()}
        target = self.course.folder("autograded", student, self.assignment.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f".{target.name}-*"):  # of a run that was killed
            shutil.rmtree(stale, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for name, data in {**graded.files.files, **self.assignment.files}.items():
                _place(fresh / name, data)
            for name, text in notebooks.items():
                (fresh / f"{name}.ipynb").write_text(text, encoding="utf-8")
            for path in fresh.rglob("*"):
                if path.is_file():
                    path.chmod(READ_ONLY)
            fresh.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def _fail(result: Result, why: str) -> None:
    result.status, result.earlier, result.tests, result.error = "error", False, [], why


def _entry(stored: Stored) -> Entry:
    scores = scores_by_cell(stored.result)
    return Entry(stored.result.student, stored.timestamp, scores, stored.comments)


def _timestamp(data: bytes) -> str | None:
    """When it was submitted, if timestamp.txt says so: nbgrader fails at what is no time."""
    from nbgrader.utils import parse_utc

    try:
        text = data.decode().strip()
        # formgrader shows it in another time zone: no other one has the first or the last year
        known = bool(text) and 1970 <= parse_utc(text).year < 9999
    except Exception:  # dateutil opens files of time zones, and raises what they make it raise
        return None
    return text if known else None


def scores_by_cell(result: Result) -> dict[tuple[str, str], float | None]:
    """Points per (notebook, grade cell); None where a human has to grade."""
    found: dict[tuple[str, str], list[TestResult]] = {}
    for test in result.tests:
        found.setdefault((test.notebook, test.cell), []).append(test)
    return {
        place: None if any(test.status == "manual" for test in tests) else total(tests)
        for place, tests in found.items()
    }


def _nameable(student: str) -> bool:
    """Whether a gradebook can hold this name, and a file be called NAME.json."""
    try:
        return len(student.encode()) <= 250
    except UnicodeEncodeError:  # bytes of a folder's name that are no text
        return False


def _place(target: Path, data: bytes) -> None:
    """Write a supporting file; what would lie too deep is left out."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Say in a sentence why nothing can be written here."""
    try:
        yield
    except OSError as error:
        where = error.filename or root
        raise ProctorError(
            f"{where} cannot be written: {error.strerror}. Results so far are kept; make room or "
            "allow writing, and run the command again."
        ) from None
