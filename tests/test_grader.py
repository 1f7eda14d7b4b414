"""What grading costs the one who grades: a few submissions at a time, and no large one."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import pytest

from proctor.course.course import Course
from proctor.grade import runs
from proctor.grade.grading import Grader
from proctor.notebook.files import SubmissionFiles
from proctor.verdict import Graded, NotebookVerdict, Result
from tests import test_grading as mini


def test_memory_does_not_grow_with_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each notebook holds a picture of a megabyte: a class ten times as large needs no more."""
    grader = Grader(Course.load(mini.make_course(tmp_path)).assignment(mini.NAME))
    template = grader.assignment.templates[0]
    submission = template.submission(json.dumps(mini.notebooks()[mini.NAME]).encode())

    def grade(student: str, folder: Path, slot: int) -> Graded:
        picture = {"output_type": "display_data", "data": {"image/png": f"{student:1000000}"}}
        verdict = NotebookVerdict(template.name, outputs={"total": [picture]})
        result = Result(student, "graded", "none")
        return Graded(result, {template.name: (submission, verdict)}, SubmissionFiles())

    monkeypatch.setattr(grader, "grade", grade)
    peaks = []
    for size in (20, 200):
        names = {f"s{number:03d}": tmp_path for number in range(size)}
        tracemalloc.start()
        assert {graded.result.student for graded in grader.grade_all(names, 2)} == {*names}
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_who_records_slowly_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided and not recorded is graded again when a run is killed: it is never much."""
    grader = Grader(Course.load(mini.make_course(tmp_path)).assignment(mini.NAME))
    started: list[str] = []

    def grade(student: str, folder: Path, slot: int) -> Graded:
        started.append(student)
        return Graded(Result(student, "graded", "none"), {}, SubmissionFiles())

    monkeypatch.setattr(grader, "grade", grade)
    names = {f"s{number:03d}": tmp_path for number in range(50)}
    for recorded, _ in enumerate(grader.grade_all(names, 3)):
        time.sleep(0.01)  # all others would be graded by now
        assert len(started) <= recorded + 2 * 3
    assert len(started) == len(names)


def test_what_is_too_large_for_a_worker_is_rejected_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the course's and the student's may each be small enough, and together too large."""
    monkeypatch.setattr(runs, "MAX_FRAME", 3 << 20)
    root = mini.make_course(tmp_path)
    assignment = Course.load(root).assignment(mini.NAME)
    (assignment.source / "data.bin").write_bytes(b"x" * (2 << 20))
    folder = mini.hand_in(root, "ada", mini.notebooks())
    (folder / "own.bin").write_bytes(b"x" * (1 << 20))
    result = Grader(assignment).grade("ada", folder).result
    assert (result.status, result.score) == ("rejected", 0)
    assert "have 3 MB, and a worker takes 3 MB: hand in fewer or smaller" in str(result.error)
