"""What nbgrader's gradebook is told, on results made by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from proctor.course.course import Assignment, Course
from proctor.errors import CourseError
from proctor.record.gradebook import Book, Entry
from tests import handmade
from tests import test_grading as mini
from tests.handmade import NAME, copy_course, graded, hand_in, pending, record

ALL = mini.ALL
ON_TIME, LATE = "2026-01-31 12:00:00 UTC", "2026-02-01 03:30:00 UTC"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.make_course(tmp_path_factory.mktemp("made") / "course")


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    return copy_course(made, tmp_path / "course")


def penalties(assignment: Assignment) -> dict[str, dict[str, float]]:
    """The late penalties of those who have one."""
    with handmade.book(assignment) as book:
        found = {
            each.student.id: {
                notebook.name: notebook.late_submission_penalty
                for notebook in each.notebooks
                if notebook.late_submission_penalty
            }
            for each in book.assignment_submissions(NAME)
        }
    return {student: each for student, each in found.items() if each}


def test_every_cell_has_its_points_and_waits_where_it_has_to(assignment: Assignment) -> None:
    hand_in(assignment, "ada")
    hand_in(assignment, "bob", largest="# YOUR CODE HERE\nraise NotImplementedError()")
    record(
        assignment,
        graded(assignment, "ada"),
        graded(assignment, "bob", ("TestTotal::test_length", "check_total")),
    )
    with handmade.book(assignment) as book:
        found = {
            (each.student.id, grade.name): (grade.auto_score, grade.needs_manual_grade)
            for each in book.assignment_submissions(NAME)
            for notebook in each.notebooks
            for grade in notebook.grades
        }
    full = {cell: (sum(tests.values()), False) for cell, tests in handmade.TESTS.items()}
    full["written"] = (None, True)
    assert {cell: value for (student, cell), value in found.items() if student == "ada"} == full
    less = full | {"Total": (2.0, False), "check_total": (0.0, False)}
    assert {cell: value for (student, cell), value in found.items() if student == "bob"} == less


def test_points_given_by_hand_stay(assignment: Assignment) -> None:
    hand_in(assignment, "ada")
    record(assignment, graded(assignment, "ada"))
    with handmade.book(assignment) as book:
        book.find_grade("written", NAME, NAME, "ada").manual_score = 2
        book.db.commit()
    record(assignment, graded(assignment, "ada", ("check_mean",)))
    with handmade.book(assignment) as book:
        assert book.find_submission(NAME, "ada").score == ALL - 2 + 2
        assert book.find_grade("written", NAME, NAME, "ada").needs_manual_grade


# Late ---------------------------------------------------------------------------------------------


@pytest.fixture
def late(assignment: Assignment) -> Assignment:
    """ada is three hours and a half late, bob is not, cyd and the gradebook say nothing of when."""
    hand_in(assignment, "ada", LATE)
    hand_in(assignment, "bob", ON_TIME)
    hand_in(assignment, "cyd")
    record(assignment, *(graded(assignment, name) for name in ("ada", "bob", "cyd")))
    assert penalties(assignment) == {"ada": {NAME: 3, "more": 3}}
    return assignment


def later(assignment: Assignment) -> set[str]:
    return pending(assignment, "ada", "bob", "cyd")


def test_an_extension_is_noticed_by_a_second_run(late: Assignment) -> None:
    with handmade.book(late) as book:
        book.grant_extension(NAME, "ada", hours=2)
    assert later(late) == set(), "nobody is graded again for it"
    assert penalties(late) == {"ada": {NAME: 1, "more": 1}}
    with handmade.book(late) as book:
        book.grant_extension(NAME, "ada", days=1)
    assert later(late) == set()
    assert penalties(late) == {}, "who is not late any more has no penalty"
    with handmade.book(late) as book:
        book.grant_extension(NAME, "ada")  # taken back
    assert later(late) == set()
    assert penalties(late) == {"ada": {NAME: 3, "more": 3}}


def test_another_due_date_is_noticed_by_a_second_run(late: Assignment) -> None:
    for due, expected in (
        (handmade.DUE - timedelta(hours=13), {"ada": 3.0, "bob": 1.0}),
        (None, {}),
        (handmade.DUE + timedelta(days=9), {}),
        (handmade.DUE, {"ada": 3.0}),
    ):
        with handmade.book(late) as book:
            book.find_assignment(NAME).duedate = due
            book.db.commit()
        assert later(late) == set()
        found = {student: each["more"] for student, each in penalties(late).items()}
        assert found == expected, due  # no more than the three points of `more`


def test_a_penalty_goes_when_a_submission_on_time_is_graded(late: Assignment) -> None:
    hand_in(late, "ada", ON_TIME, mean="def mean(values): return 0")
    record(late, graded(late, "ada", ("check_mean",)))
    assert penalties(late) == {}


def test_a_second_run_writes_nothing_where_nothing_changed(late: Assignment) -> None:
    path = late.course.root / "gradebook.db"
    before = path.read_bytes()
    assert later(late) == set()
    assert path.read_bytes() == before


def test_only_those_of_this_run_are_looked_at(late: Assignment) -> None:
    with handmade.book(late) as book:
        book.grant_extension(NAME, "ada", days=1)
    assert pending(late, "bob") == set()
    assert penalties(late) == {"ada": {NAME: 3, "more": 3}}


def test_a_plugin_that_fails_is_named(late: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade.AnHourAPoint, "late_submission_penalty", lambda *_: 1 / 0)
    with pytest.raises(CourseError, match="AnHourAPoint, fails for ada: ZeroDivisionError"):
        later(late)


# Entries ------------------------------------------------------------------------------------------


def test_what_is_missing_is_what_the_book_does_not_say(assignment: Assignment) -> None:
    entry = Entry("ada", ON_TIME, {(NAME, "Mean"): 4.0}, {(NAME, "mean"): "No response."})
    book = Book(assignment)
    try:
        assert book.missing([entry]) == [entry]
        book.write([entry])
        assert book.missing([entry]) == []
        for other in (
            Entry("ada", LATE, entry.scores, entry.comments),
            Entry("ada", ON_TIME, {(NAME, "Mean"): 3.0}, entry.comments),
            Entry("ada", ON_TIME, {**entry.scores, (NAME, "Total"): None}, entry.comments),
            Entry("ada", ON_TIME, entry.scores, {}),
            Entry("bob", ON_TIME, entry.scores, entry.comments),
        ):
            assert book.missing([entry, other]) == [other]
        assert book.missing([Entry("ada", None, entry.scores, entry.comments)]) == []
    finally:
        book.close()


def test_all_or_none_is_written(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade.AnHourAPoint, "late_submission_penalty", lambda *_: 1 / 0)
    book = Book(assignment)
    try:
        with pytest.raises(CourseError):
            book.write([Entry("bob", ON_TIME), Entry("ada", LATE)])
    finally:
        book.close()
    with handmade.book(assignment) as after:
        assert after.assignment_submissions(NAME) == []


# Which gradebook ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "sqlite:///{root}/gradebook.db"),
        ("sqlite:///gradebook.db", "sqlite:///{root}/gradebook.db"),
        ("sqlite:///grades/hw.db", "sqlite:///{root}/grades/hw.db"),
        ("sqlite:////srv/grades.db", "sqlite:////srv/grades.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://me:secret@host/grades", "postgresql://me:secret@host/grades"),
    ],
)
def test_a_gradebooks_file_is_relative_to_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    root = mini.make_course(tmp_path / "course")
    if given:
        config = root / "nbgrader_config.py"
        config.write_text(config.read_text() + f'c.CourseDirectory.db_url = "{given}"\n')
    monkeypatch.chdir(tmp_path)
    assert Course.load(root).db_url == expected.format(root=root)


def test_a_root_is_relative_to_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = mini.make_course(tmp_path / "course")
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + 'c.CourseDirectory.root = "files"\n')
    monkeypatch.chdir(tmp_path)
    assert Course.load(Path("course")).root == root / "files"


def test_nbgrader_writes_the_gradebook_that_is_read_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nbgrader is started in the course's folder, `proctor grade --course` may not be."""
    root = mini.make_course(tmp_path / "course")
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + 'c.CourseDirectory.db_url = "sqlite:///gradebook.db"\n')
    done = mini.run("nbgrader", "db", "assignment", "add", NAME, cwd=root)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    book = Book(Course.load(root).assignment(NAME))
    book.close()
    assert list(elsewhere.iterdir()) == [], "no gradebook is left where one stands"
    with closing(sqlite3.connect(root / "gradebook.db")) as db:
        assert db.execute("select name from assignment").fetchall() == [(NAME,)]


def test_a_year_that_is_no_year_is_no_time(assignment: Assignment) -> None:
    for text in ("soon", "0001-01-01", "9999-12-31", "", "\xff"):
        hand_in(assignment, "ada", text)
        record(assignment, graded(assignment, "ada"))
        with Gradebook(assignment.course.db_url, "mini") as book:
            assert book.find_submission(NAME, "ada").timestamp is None
    hand_in(assignment, "ada", "2026-02-03 04:05:06")
    record(assignment, graded(assignment, "ada"))
    with Gradebook(assignment.course.db_url, "mini") as book:
        moment = book.find_submission(NAME, "ada").timestamp
        assert moment == datetime(2026, 2, 3, 4, 5, 6)
