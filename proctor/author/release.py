"""Checks an assignment before students get it.

Every visible check must pass for the instructor's solution and fail for a blank, in the tester,
where it will be decided. That the hidden suite's points agree with the grade cells was checked when
the supervisor started. Cells tagged `demo` are left out as in grading: what is graded depends on
none of them.
"""

from __future__ import annotations

import copy

from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import DEMO, Notebook, nbgrader
from proctor.notebook.template import Submission, Template


def solved(template: Template) -> Submission:
    """The instructor's notebook as a submission."""
    return Submission(_notebook(template, {}), [])


def blank(template: Template) -> Submission:
    """The released notebook as a submission."""
    return Submission(_notebook(template, template.stubs), [])


def _notebook(template: Template, replaced: dict[str, str]) -> Notebook:
    cells = copy.deepcopy(template.cells)
    for cell in cells:
        cell["source"] = replaced.get(nbgrader(cell).get("grade_id", ""), cell["source"])
    return {"cells": cells, "metadata": template.metadata, "nbformat": 4, "nbformat_minor": 5}


def check_template(grader: Grader, template: Template) -> None:
    """Raise CourseError, naming cell and line, if the notebook would grade wrongly."""
    files = grader.assignment.files
    where = f"{grader.assignment.source / template.name}.ipynb"
    if tagged := [
        nbgrader(cell)["grade_id"]
        for cell in template.cells
        if nbgrader(cell) and DEMO in cell["metadata"].get("tags", [])
    ]:
        raise CourseError(
            f"{where}, cell '{tagged[0]}' is tagged '{DEMO}', so grading would leave it "
            "out, but nbgrader knows it: take away the tag, or what Create Assignment says of it."
        )
    right = grader.grade_notebook(template, solved(template), "release", files, 0)
    problems = [
        f"{where}, {kind(grader, test.cell)} '{test.name}' fails for the instructor's "
        f"solution: {test.message}"
        for test in right.tests
        if test.status == "failed" and test.cell not in _manual(template)
    ]
    empty = grader.grade_notebook(template, blank(template), "release", files, 0)
    problems += [
        f"{where}, {kind(grader, test.cell)} '{test.name}' passes for a blank notebook: it has "
        "to use what students write."
        for test in empty.tests
        if test.status == "passed"
    ]
    if problems:
        raise CourseError("\n".join(problems))


def kind(grader: Grader, cell: str) -> str:
    return "hidden test" if cell in grader.tests else "visible check"


def _manual(template: Template) -> set[str]:
    return {cell.name for cell in template.grade_cells.values() if cell.manual}


__all__ = ["blank", "check_template", "solved"]
