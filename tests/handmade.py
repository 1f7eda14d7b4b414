"""A course as it is after release, and results made by hand: recording is tested without a process.

The course is `mini` of tests/test_grading.py, with two notebooks of which one has a written answer.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.plugins import BasePlugin

from proctor.course.course import Assignment, Course
from proctor.errors import Rejected
from proctor.notebook.cells import is_locked, nbgrader
from proctor.notebook.files import SubmissionFiles
from proctor.notebook.template import Submission
from proctor.record.recorder import Recorder
from proctor.verdict import Change, Graded, NotebookVerdict, Result, Status, TestResult
from tests import test_grading as mini

NAME = mini.NAME
WORTH = mini.WORTH
DUE = datetime(2026, 2, 1)
LATE_RULE = '\nc.AssignLatePenalties.plugin_class = "tests.handmade.AnHourAPoint"\n'

# Of each grade cell, the tests and what they are worth.
TESTS = {
    "check_total": {"check_total": 2.0},
    "check_mean": {"check_mean": 2.0},
    "Total": {"TestTotal::test_once": 2.0, "TestTotal::test_length": 4.0},
    "Mean": {"TestMean::test_mean": 4.0},
    "check_largest": {"check_largest": 1.0},
    "more": {"test_largest": 2.0},
}


class AnHourAPoint(BasePlugin):  # type: ignore[misc]
    """A point for each hour that has begun, but for the first."""

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float:
        return total_seconds_late // 3600


def make_course(root: Path) -> Path:
    """The course, with its gradebook as a release leaves it."""
    mini.make_course(root)
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + LATE_RULE)
    release(Course.load(root).assignment(NAME), DUE)
    return root


def release(assignment: Assignment, due: datetime | None = None) -> None:
    """Enter an assignment in the gradebook, as `nbgrader generate_assignment` does."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with book(assignment) as gradebook:
        gradebook.add_assignment(assignment.name, duedate=due)
        for template in assignment.templates:
            gradebook.add_notebook(template.name, assignment.name)
            for name, cell in template.owned.items():
                meta, kind = nbgrader(cell), cell["cell_type"]
                place = name, template.name, assignment.name
                if meta["grade"]:
                    gradebook.add_grade_cell(*place, max_score=meta["points"], cell_type=kind)
                if meta["solution"]:
                    gradebook.add_solution_cell(*place)
                source = template.stubs.get(name, cell["source"])
                locked = is_locked(meta)
                gradebook.add_source_cell(*place, source=source, cell_type=kind, locked=locked)


def copy_course(made: Path, root: Path) -> Assignment:
    """The assignment of a copy of a course."""
    shutil.copytree(made, root)
    return Course.load(root).assignment(NAME)


def folder(assignment: Assignment, student: str) -> Path:
    return assignment.course.folder("submitted", student, NAME)


def autograded(assignment: Assignment, student: str) -> Path:
    return assignment.course.folder("autograded", student, NAME)


def hand_in(assignment: Assignment, student: str, timestamp: str = "", **cells: str) -> None:
    """A perfect submission, but for these cells."""
    path = mini.hand_in(assignment.course.root, student, mini.notebooks(cells))
    if timestamp:
        (path / "timestamp.txt").write_text(timestamp)


def graded(
    assignment: Assignment,
    student: str,
    failed: tuple[str, ...] = (),
    tests: Mapping[str, Mapping[str, float]] = TESTS,
    isolation: str = "full",
) -> Graded:
    """What grading would come to if these tests failed and the others passed.

    What cannot be read is rejected, as it is by the grader.
    """
    names = [template.name for template in assignment.templates]
    files = SubmissionFiles.read(folder(assignment, student), names, assignment.files)
    result = Result(student, "graded", isolation, notes=[*files.notes], total=WORTH)
    notebooks: dict[str, tuple[Submission, NotebookVerdict]] = {}
    for template in assignment.templates:
        try:
            submission = template.submission(files.notebook(template.name))
        except Rejected as error:
            result.error = str(error)
            continue
        verdict = NotebookVerdict(template.name)
        for cell in template.grade_cells.values():
            for name, points in tests.get(cell.name, {cell.name: cell.points}).items():
                status = "manual" if cell.manual else "failed" if name in failed else "passed"
                earned = points if status == "passed" else 0.0
                verdict.tests.append(
                    TestResult(name, template.name, cell.name, earned, points, status, detail="x")
                )
        notebooks[template.name] = submission, verdict
        result.tests += verdict.tests
    status: Status = "graded" if notebooks else "rejected"
    result.status, result.error = status, None if notebooks else result.error
    return Graded(result, notebooks, files)


def record(assignment: Assignment, *results: Graded) -> list[Change | None]:
    """A run that comes to these results; how the scores moved."""
    # as a new run has it: nothing is known of the course yet
    with Recorder(Course.load(assignment.course.root).assignment(NAME)) as recorder:
        recorder.pending(
            {each.result.student: folder(assignment, each.result.student) for each in results}
        )
        return [recorder.record(each) for each in results]


def pending(assignment: Assignment, *students: str, levels: list[str] | None = None) -> set[str]:
    """Whom a run would grade; what it finds at its beginning is recorded."""
    fresh = Course.load(assignment.course.root).assignment(NAME)
    with Recorder(fresh, levels=levels) as recorder:
        todo, _ = recorder.pending({name: folder(assignment, name) for name in students})
    return {*todo}


def book(assignment: Assignment) -> Gradebook:
    return Gradebook(assignment.course.db_url, assignment.course.course_id)


def notebook(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found


def a_student_in_each_state(root: Path) -> Path:
    """The course with a roster: ada is graded, bob late and to be graded by hand, eve not graded,
    joe rejected, and ivy has handed in nothing.
    """
    make_course(root)
    assignment = Course.load(root).assignment(NAME)
    with book(assignment) as gradebook:
        for name, first, last in (("ada", "Ada", "Zorn"), ("bob", "Bob", "Abel"), ("ivy", "", "")):
            gradebook.add_student(name, first_name=first, last_name=last, email=f"{name}@x.example")
    hand_in(assignment, "ada", "2026-01-31 12:00:00 UTC")
    hand_in(assignment, "bob", "2026-02-01 02:30:00 UTC")  # late
    hand_in(assignment, "eve")
    (assignment.course.folder("submitted", "joe", NAME)).mkdir(parents=True)
    hidden = "TestTotal::test_once", "TestTotal::test_length", "TestMean::test_mean", "test_largest"
    record(
        assignment,
        graded(assignment, "ada"),
        graded(assignment, "bob", hidden),
        graded(assignment, "joe"),
    )
    with book(assignment) as gradebook:
        for each in gradebook.notebook_submissions(NAME, NAME):
            if each.student.id == "ada":
                for grade in each.grades:
                    if grade.needs_manual_grade:
                        grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    return root
