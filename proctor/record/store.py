"""Results, each written once and whole: `.proctor/ASSIGNMENT/STUDENT.json` in the course's folder.

A result belongs to a key, the hashes of submission, suite and environment. As long as the key is
the same, the submission need not be graded again; when it changes, the old result says what moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from proctor.course.course import Assignment, Course
from proctor.course.stack import Modules
from proctor.errors import ProctorError
from proctor.notebook.files import SubmissionFiles
from proctor.record.gradebook import Place
from proctor.verdict import Result, TestResult

T = TypeVar("T")
UNFINISHED = ".unfinished-"  # a file that is being written


@dataclass(frozen=True)
class Stored:
    """A result, what it was made from, and what the gradebook shall say besides."""

    key: str
    result: Result
    comments: dict[Place, str | None]
    timestamp: str | None = None


def folder(course: Course, assignment: str) -> Path:
    """Where an assignment's results are kept."""
    return course.root / ".proctor" / assignment


class Store:
    """The results of one assignment."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.folder = folder(assignment.course, assignment.name)
        settings = assignment.course.settings
        values = sorted(settings.trait_values(config=True).items())  # not where the course stands
        self.around = repr((assignment.fingerprint, assignment.versions, values))

    def read(self, folder: Path) -> SubmissionFiles:
        """A submission, as it is graded."""
        names = [template.name for template in self.assignment.templates]
        return SubmissionFiles.read(folder, names, self.assignment.files)

    def key(self, files: SubmissionFiles, modules: Modules) -> str:
        """The key of a submission: whatever of it is graded changes it, and any of its student's
        modules that it is graded on.
        """
        graded = json.dumps([self.around, files.digest, modules])
        return hashlib.sha256(graded.encode()).hexdigest()

    def load(self, student: str) -> Stored | None:
        """The last result of a student; None if there is none, or what is there was damaged."""
        return load(self.folder, student)

    def save(self, stored: Stored) -> None:
        """Write a result: all of it, or nothing."""
        result = asdict(stored.result)
        for test in result["tests"]:
            del test["detail"]
        comments = [[notebook, cell, text] for (notebook, cell), text in stored.comments.items()]
        body = {
            "key": stored.key,
            "result": result,
            "comments": comments,
            "timestamp": stored.timestamp,
        }
        write_whole(self.folder / f"{stored.result.student}.json", json.dumps(body))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second run on this assignment out until this one has ended."""
        import fcntl  # only where notebooks are graded

        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProctorError(
                    f"Another `proctor grade {self.assignment.name}` is at work in this course: "
                    "wait until it has ended."
                ) from None
            for stale in self.folder.glob(f"{UNFINISHED}*"):  # of a run that was killed
                stale.unlink()
            yield


def load(folder: Path, student: str) -> Stored | None:
    """The last result of a student in the store that is this folder; as `Store.load`."""
    try:
        text = (folder / f"{student}.json").read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_refuse)
        tests = found["result"]["tests"]
        if not _fits(tests, list[dict[str, Any]]):
            raise TypeError("tests")
        tests = [_typed(TestResult, test) for test in tests]
        result = _typed(Result, found["result"] | {"tests": tests})
        comments = {(notebook, cell): text for notebook, cell, text in found["comments"]}
        stored = _typed(Stored, found | {"result": result, "comments": comments})
        return stored if result.student == student else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _typed(cls: type[T], values: dict[str, Any]) -> T:
    """An instance of this dataclass; raises TypeError where a value is not of its field's type."""
    hints = _hints(cls)
    known = {name: value for name, value in values.items() if name in hints}
    for name, value in known.items():
        if not _fits(value, hints[name]):
            raise TypeError(f"{cls.__name__}.{name}")
    return cls(**known)


_hints: Callable[[Any], dict[str, Any]] = cache(
    get_type_hints
)  # the same for the results of a whole class


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return value in parts
    if kind is list:
        return type(value) is list and all(_fits(item, parts[0]) for item in value)
    if kind is tuple:
        return type(value) is tuple and all(map(_fits, value, parts))
    if kind is dict:
        return type(value) is dict and all(
            _fits(key, parts[0]) and _fits(each, parts[1]) for key, each in value.items()
        )
    return hint is Any or type(value) is hint or (hint is float and type(value) is int)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of points")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a restart after a crash, sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
