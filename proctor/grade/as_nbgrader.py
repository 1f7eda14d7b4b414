"""Points where the student's process decides, as plain nbgrader has them.

The worker is jailed as ever, but it runs the tests too, so these points are claims: each such
result says `decided: student`.
"""

from __future__ import annotations

from proctor.notebook.cells import nbgrader
from proctor.notebook.template import GradeCell, Submission, Template
from proctor.verdict import TestResult, Word


def points(said: Word, most: float) -> tuple[float, str]:
    """The points of a test cell, and a remark."""
    if said.kind == "error":
        return 0.0, said.text
    if said.kind == "none":
        return most, ""
    try:
        value = float(said.text)
    except ValueError:
        return most, f"Its value is no number: {said.text[:100]}. nbgrader gives full marks for it."
    if value > most:
        return 0.0, f"Its value, {value:g}, is more than its points: nbgrader refuses to grade it."
    if value >= 0:
        return value, ""
    return most, f"Its value is {value:g}. nbgrader gives full marks for it."


def decide(
    template: Template, cell: GradeCell, submission: Submission, said: dict[str, Word]
) -> TestResult:
    """A grade cell's result. `said` has the word of each cell that was run, by its id."""
    there = next(
        (
            each
            for each in submission.notebook["cells"]
            if nbgrader(each).get("grade_id") == cell.name
        ),
        None,
    )
    result = TestResult(cell.name, template.name, cell.name, 0.0, cell.points, "manual")
    if there is None:
        result.message = "The cell is missing."
    elif cell.manual:
        answered = nbgrader(there).get("task") or there["source"] != template.stubs.get(cell.name)
        result.status = "manual" if answered else "failed"
        result.message = "Needs manual grading." if answered else "No answer."
    else:
        result.decided = "student"
        result.points, result.message = points(
            said.get(there["id"], Word("error", "Not reached.")), cell.points
        )
        if template.hidden[0] in there["source"] and result.points < cell.points:
            result.message = "It failed; a part of it is hidden."
        result.status = "passed" if result.points >= cell.points else "failed"
    return result
