"""Checks an assignment before students get it.

First what can be read: regions that have no end, ids that stand twice, points, a package that is
stale. Then what is run: every check must pass for the instructor's solution and fail for a blank,
in the tester, where it will be decided. That the hidden suite's points agree with the grade cells
is checked when a grader starts. Cells tagged `demo` are left out as in grading: what is graded
depends on none of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proctor.author import export
from proctor.author.solutions import beside
from proctor.course.course import Assignment
from proctor.course.settings import delimiters, mark_scheme, setting
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import DEMO, HAND_IN, Cell, Notebook, hand_ins, is_file_name, nbgrader
from proctor.notebook.template import Stubs, Submission, Template, read

MOST = 3  # sentences of one kind; who mends these will see the others


def check(assignment: Assignment) -> None:
    """Raise CourseError, in a sentence for each fault, if the assignment would grade wrongly."""
    course = assignment.course
    stubs = Stubs.of(course.config)
    templates = [read(path, course.package, stubs) for path in assignment.notebooks]
    complain(
        f"{assignment.source / template.name}.ipynb, {fault}"
        for template in templates
        for fault in _misread(template, course.config)
    )
    asked = {name for t in templates for cell in t.cells for name in hand_ins(cell)}
    if found := sorted(asked & {*assignment.files}):
        raise CourseError(
            f"{assignment.source / found[0]}: students are to hand in a file of this name, and "
            "this one would be given to them and put in the place of theirs. Move it out of there."
        )
    points = sum(cell.points for t in templates for cell in t.grade_cells.values())
    wanted = course.settings.points
    if wanted and abs(points - wanted) > 1e-6:
        raise CourseError(
            f"{assignment.source}: the grade cells add up to {points:g} points instead of "
            f"{wanted:g}. Change their points, or c.Proctor.points in nbgrader_config.py."
        )
    if assignment.checks != "tester":
        return
    complain(_doubled(assignment, templates))
    if course.package and export.is_ours(course.root / course.package):
        source = course.folder("source", ".", "_").parent
        complain(export.check(source, course.root / course.package))
    with Grader(assignment) as grader:
        for template in assignment.templates:
            check_template(grader, template)


def complain(faults: Iterator[str] | list[str]) -> None:
    """Raise CourseError if there are faults."""
    found = list(faults)
    if len(found) > MOST:
        found[MOST:] = [f"There are {len(found) - MOST} more of this kind."]
    if found:
        raise CourseError("\n".join(found))


def _misread(template: Template, config: Any) -> Iterator[str]:
    """Where nbgrader would give up on a notebook's cells, or read them otherwise than meant."""
    stubs = Stubs.of(config)
    regions = [(stubs.begin, stubs.end), delimiters(config), mark_scheme(config)]
    seen: set[str] = set()
    for cell in template.cells:
        name = nbgrader(cell).get("grade_id")
        if name in seen:
            yield f"cell '{name}': a second cell has this grade_id. Give it another one."
        seen |= {name} if name else set()
        for begin, end in regions:
            yield from _unended(cell, begin, end)
        yield from _misnamed(cell)
        strict = setting(config, "ClearSolutions", "enforce_metadata", True)
        if strict and stubs.begin in cell["source"] and not nbgrader(cell).get("solution"):
            yield (
                f"cell '{name or cell['id']}': it holds {stubs.begin}, but is no cell that "
                "students write. Say so in Create Assignment, or take the solution out."
            )


def _misnamed(cell: Cell) -> Iterator[str]:
    """Tags by which nobody would be asked for a file."""
    meta, tags = nbgrader(cell), cell["metadata"].get("tags", [])
    for tag in [tag for tag in tags if tag.startswith(HAND_IN)]:
        name = meta.get("grade_id") or cell["id"]
        if not meta.get("grade"):
            yield f"cell '{name}': the tag {tag} belongs to a grade cell that needs the file."
        elif not is_file_name(tag.removeprefix(HAND_IN)):
            yield f"cell '{name}': the tag {tag} names no file, such as {HAND_IN}weights.npz does."


def _unended(cell: Cell, begin: str, end: str) -> Iterator[str]:
    name = nbgrader(cell).get("grade_id") or cell["id"]
    opened = 0
    for number, line in enumerate(cell["source"].split("\n"), 1):
        if begin in line:
            if opened:
                break
            opened = number
        elif end in line:
            opened = 0
    if opened:
        yield f"cell '{name}', line {opened}: {begin} has no {end}. Add it below."


def _doubled(assignment: Assignment, templates: list[Template]) -> Iterator[str]:
    """Cells that grading would take for one another."""
    graded: dict[str, Path] = {}
    for template in templates:
        path = assignment.source / f"{template.name}.ipynb"
        ids = [cell["id"] for cell in template.cells]
        for name in sorted({name for name in ids if ids.count(name) > 1}):
            yield f"{path}, cell '{name}': a second cell has this id. Give it another one."
        for name in template.grade_cells:
            if (other := graded.setdefault(name, path)) != path:
                yield (
                    f"{path}, cell '{name}': {other.name} has a grade cell of this grade_id, too. "
                    "Give it another one."
                )


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
    assignment = grader.assignment
    files = {**beside(assignment.course, assignment.name), **assignment.files}
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
    complain(problems)


def kind(grader: Grader, cell: str) -> str:
    return "hidden test" if cell in grader.tests else "visible check"


def _manual(template: Template) -> set[str]:
    return {cell.name for cell in template.grade_cells.values() if cell.manual}


__all__ = ["blank", "check", "check_template", "solved"]
