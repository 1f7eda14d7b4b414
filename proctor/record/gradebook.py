"""nbgrader's gradebook, written a group of submissions at a time, in one transaction.

The tables are nbgrader's own (nbgrader.api); only the statements are ours: its methods open a
transaction per row.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor.course.course import Assignment, Course
from proctor.errors import CourseError, gradebook_explained

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

Place = tuple[str, str]  # notebook, cell


@dataclass(frozen=True)
class Entry:
    """What the gradebook shall say of one student's submission.

    A score of None waits for a human; a comment of None is no comment.
    """

    student: str
    timestamp: str | None = None
    scores: dict[Place, float | None] = field(default_factory=dict)
    comments: dict[Place, str | None] = field(default_factory=dict)


class Book:
    """The gradebook's entries of one assignment. Raises CourseError if it has none."""

    def __init__(self, assignment: Assignment) -> None:
        from nbgrader.api import MissingEntry

        self.course = course = assignment.course
        self.gradebook: Gradebook = _open(course)
        self.url = course.db_url
        try:
            found = self.gradebook.find_assignment(assignment.name)
        except MissingEntry:
            self.close()
            raise CourseError(
                f"The gradebook knows no assignment '{assignment.name}': run `nbgrader "
                f"generate_assignment {assignment.name}` first (--force, if it was released "
                "without this gradebook), or grade with --no-record."
            ) from None
        self.assignment_id: str = found.id
        self.notebooks: dict[str, str] = {
            notebook.id: notebook.name for notebook in found.notebooks
        }
        self.graded: dict[str, list[tuple[str, str]]] = {}  # notebook id: (cell id, name)
        self.commented: dict[str, list[tuple[str, str]]] = {}
        self.released: dict[Place, str] = {}
        for notebook in found.notebooks:
            graded = [*notebook.grade_cells, *notebook.task_cells]
            commented = [*notebook.solution_cells, *notebook.task_cells]
            self.graded[notebook.id] = [(cell.id, cell.name) for cell in graded]
            self.commented[notebook.id] = [(cell.id, cell.name) for cell in commented]
            for cell in notebook.source_cells:
                self.released[notebook.name, cell.name] = cell.source
        self.gradebook.db.commit()

    def close(self) -> None:
        self.gradebook.close()
        self.gradebook.engine.dispose()

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of these entries that the gradebook does not say in full."""
        from nbgrader.api import Comment, Grade, SubmittedAssignment
        from sqlalchemy import select

        mine = SubmittedAssignment.assignment_id == self.assignment_id
        query = select(SubmittedAssignment.student_id, SubmittedAssignment.timestamp).where(mine)
        with gradebook_explained(self.url):
            times = {student: moment for student, moment in self.gradebook.db.execute(query)}
            scores = self._said(Grade, Grade.auto_score)
            comments = self._said(Comment, Comment.auto_comment)
            self.gradebook.db.rollback()

        def told(entry: Entry) -> bool:
            return (
                scores.get(entry.student, {}) == self._full(self.graded, entry.scores, 0.0)
                and comments.get(entry.student, {})
                == self._full(self.commented, entry.comments, None)
                and (not entry.timestamp or times[entry.student] == _time(entry.timestamp))
            )

        return [entry for entry in entries if entry.student not in times or not told(entry)]

    def _full(
        self, cells: dict[str, list[tuple[str, str]]], said: Mapping[Place, Any], default: Any
    ) -> dict[Place, Any]:
        """What is said of each cell of the assignment."""
        places = [(name, cell) for id_, name in self.notebooks.items() for _, cell in cells[id_]]
        return {place: said.get(place, default) for place in places}

    def _said(self, table: Any, column: Any) -> dict[str, dict[Place, Any]]:
        """What a column says per student and (notebook, cell)."""
        from nbgrader.api import BaseCell, Notebook, SubmittedAssignment, SubmittedNotebook
        from sqlalchemy import select

        query = (
            select(SubmittedAssignment.student_id, Notebook.name, BaseCell.name, column)
            .select_from(table)
            .join(SubmittedNotebook, SubmittedNotebook.id == table.notebook_id)
            .join(SubmittedAssignment, SubmittedAssignment.id == SubmittedNotebook.assignment_id)
            .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
            .join(BaseCell, BaseCell.id == table.cell_id)
            .where(SubmittedAssignment.assignment_id == self.assignment_id)
        )
        found: dict[str, dict[Place, Any]] = {}
        for student, notebook, cell, value in self.gradebook.db.execute(query):
            found.setdefault(student, {})[notebook, cell] = value
        return found

    def write(self, entries: Sequence[Entry]) -> None:
        """Write these entries, all or none."""
        if not entries:
            return
        with gradebook_explained(self.url), self._transaction() as db:
            self._write(db, entries)
            penalise(self.course, db, self.assignment_id, [entry.student for entry in entries])

    def penalise(self, students: Sequence[str]) -> None:
        """Bring these students' late penalties in line with due date and extensions of today."""
        late = self._late() if students else set()
        if due := [student for student in students if student in late]:
            with gradebook_explained(self.url), self._transaction() as db:
                for start in range(0, len(due), 500):  # SQLite takes so many values at a time
                    penalise(self.course, db, self.assignment_id, due[start : start + 500])

    def _late(self) -> set[str]:
        """Who is late, or has a penalty for having been."""
        from nbgrader.api import Assignment as Row
        from nbgrader.api import SubmittedAssignment, SubmittedNotebook
        from sqlalchemy import select

        mine = SubmittedAssignment.assignment_id == self.assignment_id
        penalised = (
            select(SubmittedAssignment.student_id)
            .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
            .where(mine, SubmittedNotebook.late_submission_penalty.isnot(None))
        )
        handed_in = select(
            SubmittedAssignment.student_id,
            SubmittedAssignment.timestamp,
            SubmittedAssignment.extension,
        ).where(mine)
        with gradebook_explained(self.url):
            db = self.gradebook.db
            due = db.execute(select(Row.duedate).where(Row.id == self.assignment_id)).scalar()
            found = {student for (student,) in db.execute(penalised)}
            for student, moment, extension in db.execute(handed_in):
                if moment and due and moment > due + (extension or timedelta()):
                    found.add(student)
            db.rollback()
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        db = self.gradebook.db
        try:
            yield db
            db.commit()
        except BaseException:
            db.rollback()
            raise

    def _write(self, db: Any, entries: Sequence[Entry]) -> None:
        from nbgrader.api import Comment, Grade, Student, SubmittedAssignment, SubmittedNotebook

        by_student = {entry.student: entry for entry in entries}
        known = _rows(db, Student, Student.id, by_student)
        _insert(db, Student, [{"id": name} for name in by_student if name not in known])

        mine = SubmittedAssignment.assignment_id == self.assignment_id
        found = _rows(db, SubmittedAssignment, SubmittedAssignment.student_id, by_student, mine)
        submissions = {row.student_id: row.id for row in found.values()}
        fresh = [
            {"id": _new_id(), "assignment_id": self.assignment_id, "student_id": name}
            | {"timestamp": _time(entry.timestamp)}
            for name, entry in by_student.items()
            if name not in submissions
        ]
        _insert(db, SubmittedAssignment, fresh)
        dated = [
            {"id": submissions[name], "timestamp": _time(entry.timestamp)}
            for name, entry in by_student.items()
            if name in submissions and entry.timestamp
        ]
        _update(db, SubmittedAssignment, dated)
        submissions |= {row["student_id"]: row["id"] for row in fresh}

        ids = set(submissions.values())
        found = _rows(db, SubmittedNotebook, SubmittedNotebook.assignment_id, ids)
        notebooks = {(row.assignment_id, row.notebook_id): row.id for row in found.values()}
        missing = [
            {"id": _new_id(), "assignment_id": submission, "notebook_id": notebook}
            for submission in ids
            for notebook in self.notebooks
            if (submission, notebook) not in notebooks
        ]
        _insert(db, SubmittedNotebook, missing)
        notebooks |= {(row["assignment_id"], row["notebook_id"]): row["id"] for row in missing}

        inside = list(notebooks.values())
        grades = {
            (r.notebook_id, r.cell_id): r
            for r in _rows(db, Grade, Grade.notebook_id, inside).values()
        }
        comments = {
            (r.notebook_id, r.cell_id): r
            for r in _rows(db, Comment, Comment.notebook_id, inside).values()
        }
        rows: dict[Any, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
            Grade: ([], []),
            Comment: ([], []),
        }
        for name, entry in by_student.items():
            for notebook_id, notebook in self.notebooks.items():
                place = notebooks[submissions[name], notebook_id]
                for cell_id, cell in self.graded[notebook_id]:
                    score = entry.scores.get((notebook, cell), 0.0)
                    old = grades.get((place, cell_id))
                    manual = old is not None and old.manual_score is not None
                    value = {"auto_score": score, "needs_manual_grade": score is None or manual}
                    _put(rows[Grade], old, place, cell_id, value)
                for cell_id, cell in self.commented[notebook_id]:
                    comment = entry.comments.get((notebook, cell))
                    old = comments.get((place, cell_id))
                    _put(rows[Comment], old, place, cell_id, {"auto_comment": comment})
        for table, (new, changed) in rows.items():
            _insert(db, table, new)
            _update(db, table, changed)


@dataclass(frozen=True)
class Standing:
    """What the gradebook says of one student's submission: the score with its late penalty taken
    off, and what it is out of.
    """

    score: float
    max_score: float
    needs_manual: bool


def students(course: Course) -> list[dict[str, str]]:
    """nbgrader's columns of each student that the gradebook knows; none where there is none yet."""
    columns = ("id", "first_name", "last_name", "email", "lms_user_id")
    with reading(course) as gradebook:
        found = gradebook.students if gradebook else []
        return [{name: getattr(each, name) or "" for name in columns} for each in found]


def dues(course: Course) -> dict[str, datetime]:
    """When each assignment of the gradebook that has a due date is due."""
    with reading(course) as gradebook:
        found = gradebook.assignments if gradebook else []
        return {each.name: each.duedate.replace(tzinfo=UTC) for each in found if each.duedate}


def deadlines(course: Course) -> dict[str, datetime]:
    """Until when each assignment that has a due date may be handed in by anybody: with the latest
    extension that was given.
    """
    found = dues(course)
    with reading(course) as gradebook:
        for assignment in gradebook.assignments if gradebook and found else []:
            given = [each.extension for each in assignment.submissions if each.extension]
            if assignment.name in found and given:
                found[assignment.name] += max(given)
    return found


def standings(course: Course) -> dict[str, dict[str, Standing]]:
    """Of each assignment in the gradebook, how each student stands who has a graded submission."""
    found: dict[str, dict[str, Standing]] = {}
    with reading(course) as gradebook:
        for assignment in gradebook.assignments if gradebook else []:
            found[assignment.name] = {
                each.student.id: Standing(
                    round(max(0.0, each.score - (each.late_submission_penalty or 0.0)), 4),
                    each.max_score,
                    bool(each.needs_manual_grade),
                )
                for each in assignment.submissions
            }
    return found


@contextlib.contextmanager
def reading(course: Course) -> Iterator[Gradebook | None]:
    """The gradebook, to be read; None where its file is not there, which is not made either."""
    _, _, path = course.db_url.partition("sqlite:///")
    if path and not path.startswith((":", "file:")) and not Path(path).exists():
        yield None
        return
    gradebook = _open(course)
    try:
        with gradebook_explained(course.db_url):
            yield gradebook
    finally:
        gradebook.close()
        gradebook.engine.dispose()


def _open(course: Course) -> Gradebook:
    from nbgrader.api import Gradebook

    with _alembic(), gradebook_explained(course.db_url):
        return Gradebook(course.db_url, course.course_id)


def _put(
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    old: Any,
    notebook: str,
    cell: str,
    value: dict[str, Any],
) -> None:
    if old is None:
        rows[0].append({"id": _new_id(), "notebook_id": notebook, "cell_id": cell} | value)
    else:
        rows[1].append({"id": old.id} | value)


def _rows(db: Any, model: Any, column: Any, values: Iterable[str], *also: Any) -> dict[str, Any]:
    """The rows of a table whose column has one of these values, by id."""
    from sqlalchemy import select

    wanted = list(values)
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), 500):  # SQLite takes so many values in one statement
        query = select(model.__table__).where(column.in_(wanted[start : start + 500]), *also)
        found |= {row.id: row for row in db.execute(query)}
    return found


def _insert(db: Any, model: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        db.execute(model.__table__.insert(), rows)


def _update(db: Any, model: Any, rows: list[dict[str, Any]]) -> None:
    from sqlalchemy import bindparam

    if rows:
        table = model.__table__
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "id"}
        statement = table.update().where(table.c.id == bindparam("row_id")).values(values)
        db.connection().execute(statement, [{**row, "row_id": row["id"]} for row in rows])


def _new_id() -> str:
    from nbgrader.api import new_uuid

    return str(new_uuid())


def _time(text: str | None) -> datetime | None:
    from nbgrader.utils import parse_utc

    moment: datetime | None = parse_utc(text)
    return moment


@contextlib.contextmanager
def _alembic() -> Iterator[None]:
    """nbgrader calls the program `alembic`: the environment's programs must be on PATH."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


# Late penalties, by the plugin that the course's AssignLatePenalties has --------------------------


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
    late = [submission for submission in submissions if submission.total_seconds_late > 0]
    # one that is not late any more has no penalty any more
    on_time = {submission.id for submission in submissions} - {each.id for each in late}
    for notebook in db.query(SubmittedNotebook).filter(
        SubmittedNotebook.assignment_id.in_(on_time),
        SubmittedNotebook.late_submission_penalty.isnot(None),
    ):
        notebook.late_submission_penalty = None
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
