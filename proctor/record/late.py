"""Late penalties, by the plugin that the course's AssignLatePenalties has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from proctor.course.course import Course
from proctor.errors import CourseError


def penalise(course: Course, db: Any, assignment_id: str, students: Iterable[str]) -> None:
    """Set the late penalties of these students' submissions, in the transaction that is open.

    nbgrader's preprocessor does the same for one notebook at a time; its checks are used here.
    """
    from nbgrader.api import SubmittedAssignment, SubmittedNotebook

    db.flush()
    db.expire_all()
    submissions = (
        db.query(SubmittedAssignment)
        .filter(SubmittedAssignment.assignment_id == assignment_id)
        .filter(SubmittedAssignment.student_id.in_(list(students)))
        .all()
    )
    # one that is not late any more has no penalty any more
    db.query(SubmittedNotebook).filter(
        SubmittedNotebook.assignment_id.in_([submission.id for submission in submissions]),
        SubmittedNotebook.late_submission_penalty.isnot(None),
    ).update({"late_submission_penalty": None}, synchronize_session=False)
    late = [submission for submission in submissions if submission.total_seconds_late > 0]
    preprocessor = _preprocessor(course) if late else None
    for submission in late:
        for notebook in submission.notebooks:
            notebook.late_submission_penalty = _penalty(preprocessor, submission, notebook)
    db.flush()


def _penalty(preprocessor: Any, submission: Any, notebook: Any) -> float | None:
    student, late = submission.student_id, submission.total_seconds_late
    try:
        penalty = preprocessor.plugin_inst.late_submission_penalty(student, notebook.score, late)
        if penalty is None:
            return None
        return float(preprocessor._check_late_penalty(notebook, penalty))
    except Exception as error:
        raise CourseError(
            f"The plugin for late penalties, {preprocessor.plugin_class.__name__}, fails for "
            f"{student}: {type(error).__name__}: {error}"
        ) from error


def _preprocessor(course: Course) -> Any:
    """nbgrader's own, with its plugin: that may lie in the course's folder, or in this one."""
    from nbgrader.preprocessors import AssignLatePenalties

    before = list(sys.path)
    sys.path[:0] = [os.getcwd(), str(course.root)]
    try:
        preprocessor = AssignLatePenalties(config=course.config)
        preprocessor.init_plugin()
    finally:
        sys.path[:] = before
    return preprocessor
