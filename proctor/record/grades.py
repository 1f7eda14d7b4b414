"""`nbgrader export` with the roster's names, and a blank for what nobody has handed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbgrader.plugins import ExportPlugin

from proctor.course.course import Course
from proctor.record.roster import Roster
from proctor.record.sheets import as_csv

COLUMNS = [
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
    # these are more than nbgrader's own export has
    "lms_user_id",
    "seconds_late",
    "status",
]


class GradesWithStatus(ExportPlugin):  # type: ignore[misc]
    """nbgrader's own columns, then `lms_user_id`, `seconds_late` and `status`: graded, needs manual
    grading, rejected, not graded, or missing. Where nothing was graded, scores are blank and not 0.
    """

    def export(self, gradebook: Any) -> None:
        """Write the file of `--to`, or grades.csv."""
        directory = self.parent.coursedir
        course = Course(Path(directory.root), self.parent.config)
        students, assignments = {*map(str, self.student)}, {*map(str, self.assignment)}
        rows = []
        roster = Roster(course, gradebook)
        for assignment in roster.assignments:
            if assignments and assignment.name not in assignments:
                continue
            for each in roster.participants(assignment):
                who = each.student
                if students and who.id not in students:
                    continue
                graded = each.raw_score is not None
                rows.append(
                    [
                        assignment.name,
                        assignment.due,
                        each.timestamp,
                        who.id,
                        who.last_name,
                        who.first_name,
                        who.email,
                        each.raw_score,
                        each.penalty if graded else None,
                        each.score,
                        assignment.points,
                        who.lms_user_id,
                        round(each.late.total_seconds()),
                        each.state,
                    ]
                )
        target = Path(self.to or "grades.csv")
        self.log.info("Exporting grades to %s", target)
        target.write_text(as_csv(COLUMNS, rows), encoding="utf-8")
