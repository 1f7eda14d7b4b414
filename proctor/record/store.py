"""Results, each written once and whole: `.proctor/ASSIGNMENT/STUDENT.json` in the course's folder.

A result belongs to a key, the hashes of submission, suite and environment. As long as the key is
the same, the submission need not be graded again; when it changes, the old result says what moved.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from proctor.course.course import Assignment
from proctor.course.stack import Modules
from proctor.errors import ProctorError, Rejected
from proctor.notebook.files import fetch, supporting_files
from proctor.record.gradebook import Place
from proctor.verdict import Result, TestResult

UNFINISHED = ".unfinished-"  # a file that is being written


@dataclass(frozen=True)
class Stored:
    """A result and what it was made from."""

    key: str
    result: Result
    comments: dict[Place, str | None]


class Store:
    """The results of one assignment."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.folder = assignment.course.root / ".proctor" / assignment.name
        settings = assignment.course.settings
        values = sorted(settings.trait_values(config=True).items())  # not where the course stands
        self.around = repr((assignment.fingerprint, assignment.versions, values))

    def key(self, folder: Path, modules: Modules) -> str:
        """The key of a submission: any file of it changes it, and any of its student's modules that
        it is graded on.
        """
        digest = hashlib.sha256(self.around.encode())
        if modules:
            digest.update(json.dumps(modules).encode())
        names = [f"{template.name}.ipynb" for template in self.assignment.templates]
        for name in names:
            try:
                data = fetch(folder / name)
            except Rejected as error:
                data = str(error).encode()
            digest.update(os.fsencode(f"{name}\0{hashlib.sha256(data).hexdigest()}\0"))
        for name, data in sorted(supporting_files(folder, {}).items()):
            digest.update(os.fsencode(f"{name}\0{hashlib.sha256(data).hexdigest()}\0"))
        return digest.hexdigest()

    def load(self, student: str) -> Stored | None:
        """The last result of a student, if there is a readable one."""
        try:
            found = json.loads((self.folder / f"{student}.json").read_text())
            names = {field.name for field in fields(Result)}
            result = Result(**{k: v for k, v in found["result"].items() if k in names})
            result.tests = [TestResult(**test) for test in found["result"]["tests"]]
            comments = {(notebook, cell): text for notebook, cell, text in found["comments"]}
            return Stored(str(found["key"]), result, comments)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, stored: Stored) -> None:
        """Write a result: all of it, or nothing."""
        result = asdict(stored.result)
        for test in result["tests"]:
            del test["detail"]
        comments = [[notebook, cell, text] for (notebook, cell), text in stored.comments.items()]
        body = json.dumps({"key": stored.key, "result": result, "comments": comments})
        write_whole(self.folder / f"{stored.result.student}.json", body)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second run on this assignment out until this one has ended."""
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
