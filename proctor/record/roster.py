"""Who is in the course, and where each of them stands in an assignment.

The gradebook is read for the roster, times and scores; the kept results for what was rejected and
why; the folder of submissions for what nobody has graded yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from proctor.course.course import Course
from proctor.errors import CourseError
from proctor.notebook.cells import HIDDEN
from proctor.record import gradebook
from proctor.record.gradebook import Place
from proctor.record.store import Stored, folder, load
from proctor.verdict import Result

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

State = Literal["graded", "needs manual grading", "rejected", "not graded", "missing"]


@dataclass(frozen=True)
class Person:
    """A student, as the gradebook has them."""

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_user_id: str = ""

    @property
    def name(self) -> str:
        """Their name as it is sorted, or the id where there is none."""
        return ", ".join(filter(None, (self.last_name, self.first_name))) or self.id


@dataclass(frozen=True)
class Item:
    """A cell that carries points: a visible check, hidden tests, or a written answer."""

    notebook: str
    cell: str
    points: float
    kind: Literal["visible", "hidden", "written"]

    @property
    def place(self) -> Place:
        return self.notebook, self.cell


@dataclass(frozen=True)
class Participant:
    """A student, and where they stand in an assignment. A score of None waits for a human."""

    student: Person
    state: State
    timestamp: datetime | None = None
    late: timedelta = timedelta()
    penalty: float = 0.0
    scores: Mapping[Place, float | None] = field(default_factory=dict)
    kept: Stored | None = None  # what `proctor grade` has kept, with each test

    @property
    def result(self) -> Result | None:
        return self.kept.result if self.kept else None

    @property
    def raw_score(self) -> float | None:
        """The points so far, without the penalty; None where nothing was graded."""
        return round(sum(score or 0 for score in self.scores.values()), 4) if self.scores else None

    @property
    def score(self) -> float | None:
        """What counts, as nbgrader has it."""
        return None if self.raw_score is None else max(0.0, self.raw_score - self.penalty)


@dataclass(frozen=True)
class Gradable:
    """An assignment, as the gradebook has it."""

    name: str
    due: datetime | None
    items: Sequence[Item]

    @property
    def points(self) -> float:
        return sum(item.points for item in self.items)


class Roster:
    """The course's gradebook, read by somebody who has it open; see `reading`."""

    def __init__(self, course: Course, gradebook: Gradebook) -> None:
        self.course, self.gradebook = course, gradebook

    @property
    def students(self) -> list[Person]:
        """The gradebook's students, by name."""
        from nbgrader.api import Student

        found = [
            Person(row.id, *(str(getattr(row, name) or "") for name in _ABOUT))
            for row in self.gradebook.db.query(Student)
        ]
        return sorted(found, key=lambda person: (person.name.casefold(), person.id))

    @property
    def assignments(self) -> list[Gradable]:
        """The assignments that were generated, in order."""
        found = [
            Gradable(
                each.name,
                each.duedate,
                [item for notebook in each.notebooks for item in _items(notebook)],
            )
            for each in self.gradebook.assignments
        ]
        return sorted(found, key=lambda each: each.name)

    def assignment(self, name: str) -> Gradable:
        """Raises CourseError, with the names there are, if the gradebook knows none of this one."""
        found = {each.name: each for each in self.assignments}
        if name not in found:
            raise CourseError(
                f"The gradebook knows no assignment '{name}': run `nbgrader generate_assignment "
                f"{name}` first. It knows: {', '.join(found) or 'none'}."
            )
        return found[name]

    def participants(self, assignment: Gradable) -> list[Participant]:
        """Where everybody stands, by name: the roster, and whoever else has submitted."""
        from nbgrader.api import Assignment as Row
        from nbgrader.api import BaseCell, Grade, Notebook, SubmittedAssignment, SubmittedNotebook
        from sqlalchemy import func, select

        mine = Row.name == assignment.name
        handed_in = (
            select(
                SubmittedAssignment.student_id,
                SubmittedAssignment.timestamp,
                SubmittedAssignment.extension,
                func.sum(SubmittedNotebook.late_submission_penalty),
            )
            .join(Row, Row.id == SubmittedAssignment.assignment_id)
            .outerjoin(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
            .where(mine)
            .group_by(SubmittedAssignment.id)
        )
        grades = (
            select(
                SubmittedAssignment.student_id,
                Notebook.name,
                BaseCell.name,
                Grade.score,
                Grade.auto_score.is_(None) & Grade.manual_score.is_(None),
                Grade.needs_manual_grade,
            )
            .select_from(Grade)
            .join(SubmittedNotebook, SubmittedNotebook.id == Grade.notebook_id)
            .join(SubmittedAssignment, SubmittedAssignment.id == SubmittedNotebook.assignment_id)
            .join(Row, Row.id == SubmittedAssignment.assignment_id)
            .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
            .join(BaseCell, BaseCell.id == Grade.cell_id)
            .where(mine)
        )
        submitted = {student: row for student, *row in self.gradebook.db.execute(handed_in)}
        scores: dict[str, dict[Place, float | None]] = {}
        waiting = set()
        for student, notebook, cell, score, open_, manual in self.gradebook.db.execute(grades):
            scores.setdefault(student, {})[notebook, cell] = None if open_ else score
            waiting |= {student} if manual else set()
        people = {person.id: person for person in self.students}
        results = folder(self.course, assignment.name)
        folders = {*self.course.students(assignment.name)}
        found = []
        for name in sorted({*people, *folders, *submitted}):
            kept = load(results, name)
            timestamp, extension, penalty = submitted.get(name, (None, None, None))
            due = assignment.due and assignment.due + (extension or timedelta())
            late = timestamp - due if timestamp and due else timedelta()
            state: State = "not graded" if name in folders else "missing"
            if name in submitted:
                state = "needs manual grading" if name in waiting else "graded"
            if kept and kept.result.status == "rejected" and name in folders:
                state = "rejected"
            participant = Participant(
                people.get(name, Person(name)),
                state,
                timestamp,
                max(timedelta(), late),
                penalty or 0.0,
                scores.get(name, {}),
                kept,
            )
            found.append(participant)
        return sorted(found, key=lambda each: (each.student.name.casefold(), each.student.id))


@contextlib.contextmanager
def reading(course: Course) -> Iterator[Roster]:
    """The roster of a course. Raises CourseError where there is no gradebook yet."""
    with gradebook.reading(course) as opened:
        if opened is None:
            raise CourseError(
                "There is no gradebook yet: run `nbgrader generate_assignment ASSIGNMENT` and "
                "`proctor grade ASSIGNMENT` first."
            )
        yield Roster(course, opened)


_ABOUT = ("first_name", "last_name", "email", "lms_user_id")


def _items(notebook: Any) -> list[Item]:
    """The grade cells of a notebook, in the order in which they stand in it."""
    sources = {cell.name: str(cell.source or "") for cell in notebook.source_cells}
    answers = {cell.name for cell in notebook.solution_cells}
    tasks = {cell.name for cell in notebook.task_cells}
    found = []
    for cell in [*notebook.grade_cells, *notebook.task_cells]:
        kind: Literal["visible", "hidden", "written"] = "visible"
        if cell.name in answers | tasks or cell.cell_type == "markdown":
            kind = "written"
        elif HIDDEN in sources.get(cell.name, ""):
            kind = "hidden"
        found.append(Item(notebook.name, cell.name, float(cell.max_score or 0), kind))
    order = list(sources)
    return sorted(found, key=lambda item: order.index(item.cell) if item.cell in order else 0)
