"""Right and wrong solutions that a course keeps for an assignment: what its tests are judged by.

They stand in tests/solutions/ASSIGNMENT.toml; docs/authors.md says how they are written.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from proctor.course.course import Assignment, Course
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import Cell, Notebook, nbgrader
from proctor.notebook.template import Stubs
from proctor.verdict import Result

Files = dict[str, bytes]  # by name
Notebooks = dict[str, Notebook]  # by name


@dataclass(frozen=True, eq=False)
class Solution:
    """A made student: the instructor's notebooks with some cells replaced or edited."""

    name: str
    why: str
    right: bool
    cells: dict[str, str] = field(default_factory=dict)
    edits: list[dict[str, str]] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)
    misconception: str | None = None

    def source(self, cell: str, original: str) -> str:
        """What this student wrote in a cell. Raises CourseError if an edit does not apply."""
        text = self.cells.get(cell, original).strip("\n") + "\n"
        for edit in self.edits:
            if edit["cell"] == cell:
                if edit["old"] not in text:
                    raise CourseError(f"{edit['old']!r} does not stand in cell '{cell}'")
                text = text.replace(edit["old"], edit["new"])
        return text.strip("\n")


BLANK = Solution("blank", "As it was released.", False)
REFERENCE = Solution("reference", "The instructor's own.", True)


def folder(course: Course) -> Path:
    """Where a course keeps them: beside its hidden suites."""
    return (course.root / course.settings.suites).parent / "solutions"


def kept(course: Course, assignment: str) -> list[Solution]:
    """The right and wrong solutions that are kept for an assignment. Raises CourseError."""
    path = folder(course) / f"{assignment}.toml"
    if not path.exists():
        return []
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return [
            Solution(right=kind == "right", **table)
            for kind in ("right", "wrong")
            for table in tables.get(kind, [])
        ]
    except (ValueError, TypeError) as error:
        reason = str(error).removeprefix("Solution.__init__() ")
        raise CourseError(f"{path}: {reason}. Mend it and try again.") from None


def beside(course: Course, assignment: str) -> Files:
    """What every solution hands in beside its notebooks, such as trained weights: the files of
    tests/solutions/ASSIGNMENT/.
    """
    place = folder(course) / assignment
    return {path.name: path.read_bytes() for path in sorted(place.glob("*")) if path.is_file()}


def solved(found: Notebooks, solution: Solution, stubs: Stubs) -> Notebooks:
    """The instructor's notebooks as the student of a solution hands them in.

    Raises CourseError if the solution does not apply to them.
    """
    found = copy.deepcopy(found)
    known = {_name(cell) for notebook in found.values() for cell in notebook["cells"]}
    if unknown := {*solution.cells, *(edit["cell"] for edit in solution.edits)} - known:
        raise CourseError(f"there is no cell {', '.join(sorted(unknown))} in {', '.join(found)}")
    markers = (f"### {stubs.begin}", f"### {stubs.end}")
    for notebook in found.values():
        for cell in notebook["cells"]:
            lines = "".join(cell["source"]).split("\n")
            text = "\n".join(line for line in lines if line.strip() not in markers)
            cell["source"] = text if solution is REFERENCE else solution.source(_name(cell), text)
    return found


def _name(cell: Cell) -> str:
    """Its grade_id, which an author can see and change in Create Assignment, or else its id."""
    return str(nbgrader(cell).get("grade_id") or cell["id"])


def blank(found: Notebooks, stubs: Stubs) -> Notebooks:
    """The instructor's notebooks as students receive them."""
    found = copy.deepcopy(found)
    for notebook in found.values():
        for cell in notebook["cells"]:
            if nbgrader(cell).get("solution"):
                cell["source"] = stubs.release("".join(cell["source"]), cell["cell_type"])
    return found


def surprises(solution: Solution, result: Result) -> list[str]:
    """How a result differs from what is said of the solution; empty if it does not."""
    if result.status != "graded":
        return [f"{result.status}: {result.error}"]
    if solution is BLANK:
        return [f"earns {t.points:g} points by {t.name}" for t in result.tests if t.points > 0]
    failed = [test for test in result.tests if test.status == "failed"]
    if solution.right:
        return [f"{test.name}: {test.message}" for test in failed]
    lost = {test.cell for test in failed}
    found = [f"loses nothing in {cell}" for cell in solution.loses if cell not in lost]
    if not lost:
        found.append("loses nothing at all")
    shown = {test.misconception for test in result.tests}
    if solution.misconception and solution.misconception not in shown:
        found.append(
            f"'{solution.misconception}' was not recognised, but {sorted(filter(None, shown))}"
        )
    return found


@dataclass(frozen=True)
class Trial:
    """What a solution came to, and how that differs from what is said of it."""

    solution: Solution
    result: Result | None  # None for one that no longer applies to the notebooks
    surprises: list[str]


def try_all(assignment: Assignment) -> list[Trial]:
    """Grade a blank, the reference and what is kept, without recording anything."""
    stubs = Stubs.of(assignment.course.config)
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in assignment.notebooks
    }
    trials, folders = [], {}
    with tempfile.TemporaryDirectory() as place:
        for number, solution in enumerate(
            (BLANK, REFERENCE, *kept(assignment.course, assignment.name))
        ):
            try:
                made = blank(found, stubs) if solution is BLANK else solved(found, solution, stubs)
            except CourseError as error:
                trials.append(Trial(solution, None, [str(error)]))
                continue
            folders[solution] = Path(place, str(number))
            folders[solution].mkdir()
            for name, data in beside(assignment.course, assignment.name).items():
                Path(place, str(number), name).write_bytes(data)
            for name, notebook in made.items():
                text = json.dumps(notebook)
                Path(place, str(number), f"{name}.ipynb").write_text(text, encoding="utf-8")
        with Grader(assignment, explain=True) as grader:
            students = {folder.name: folder for folder in folders.values()}
            graded = grader.grade_all(students, os.cpu_count() or 1)
            results = {each.result.student: each.result for each in graded}
    of = {solution: results[folder.name] for solution, folder in folders.items()}
    return [Trial(each, result, surprises(each, result)) for each, result in of.items()] + trials
