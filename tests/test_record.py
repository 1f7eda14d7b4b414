"""Recording, on results made by hand: what autograded/ holds, what is kept, and what moved."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from proctor.course.course import Assignment, Course
from proctor.errors import ProctorError
from proctor.notebook.cells import nbgrader
from proctor.record.recorder import EARLIER, Recorder
from proctor.report import formats, table
from proctor.verdict import Graded, change
from tests import handmade
from tests import test_grading as mini
from tests.handmade import NAME, TESTS, autograded, folder, graded, hand_in, pending, record

ALL = mini.ALL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.make_course(tmp_path_factory.mktemp("made") / "course")


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    found = handmade.copy_course(made, tmp_path / "course")
    hand_in(found, "ada", "2026-01-31 12:00:00 UTC")
    return found


def scores(assignment: Assignment) -> dict[str, float]:
    with handmade.book(assignment) as book:
        return {each.student.id: each.score for each in book.assignment_submissions(NAME)}


# autograded/ --------------------------------------------------------------------------------------


def test_autograded_is_not_writable_and_whole(assignment: Assignment) -> None:
    mine = folder(assignment, "ada")
    (mine / "rows.csv").write_text("mine")
    (mine / "data").mkdir()
    (mine / "data" / "own.csv").write_text("1")
    (mine / ".git").mkdir()
    (mine / ".git" / "config").write_text("")
    record(assignment, graded(assignment, "ada"))
    place = autograded(assignment, "ada")
    modes = {
        path.relative_to(place).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in place.rglob("*")
        if path.is_file()
    }
    names = [f"{NAME}.ipynb", "more.ipynb", "rows.csv", "data/own.csv", "timestamp.txt"]
    assert modes == dict.fromkeys(names, 0o444), "as nbgrader leaves it: nobody edits it by chance"
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert (place / "rows.csv").read_bytes() == assignment.files["rows.csv"]
    assert [path.name for path in place.parent.iterdir()] == [NAME]
    record(assignment, graded(assignment, "ada"))
    assert stat.S_IMODE((place / "more.ipynb").stat().st_mode) == 0o444


def test_a_students_own_cells_have_no_metadata(assignment: Assignment) -> None:
    """It could say that they are grade cells, hidden, or worth points."""
    found = mini.notebooks()
    forged = mini.cell("forged", "100", grade=True, locked=True, points=100)
    forged["metadata"] |= {"jupyter": {"source_hidden": True}, "tags": ["x"]}
    found[NAME]["cells"] += [forged, {**forged, "cell_type": "markdown", "id": "words"}]
    mini.hand_in(assignment.course.root, "ada", found)
    record(assignment, graded(assignment, "ada"))
    cells = json.loads((autograded(assignment, "ada") / f"{NAME}.ipynb").read_text())["cells"]
    known = {nbgrader(cell)["grade_id"] for cell in cells if nbgrader(cell)}
    assert known == {*assignment.templates[0].owned}
    own = [cell for cell in cells if cell["id"] in ("forged", "words")]
    assert [cell["metadata"] for cell in own] == [{}, {}]


def test_points_stand_in_the_grade_cells(assignment: Assignment) -> None:
    record(assignment, graded(assignment, "ada", ("TestTotal::test_length", "check_largest")))
    points = {}
    for path in autograded(assignment, "ada").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if nbgrader(cell).get("grade") and cell["cell_type"] == "code":
                points[nbgrader(cell)["grade_id"]] = cell["outputs"][0]["data"]["text/plain"]
    full = {cell: f"{sum(tests.values()):g}" for cell, tests in TESTS.items()}
    assert points == full | {"Total": "2", "check_largest": "0"}
    assert scores(assignment) == {"ada": ALL - 5}


# A second run -------------------------------------------------------------------------------------


def damage(assignment: Assignment) -> None:
    kept = assignment.course.root / ".proctor" / NAME / "ada.json"
    found = json.loads(kept.read_text())
    found["result"]["tests"][0]["points"] = "many"
    kept.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("happens", "again"),
    [
        (lambda assignment: None, False),
        (lambda assignment: hand_in(assignment, "ada", total="x = 1"), True),
        (damage, True),
        (lambda assignment: (folder(assignment, "ada") / "helper.py").write_text(""), True),
        (
            lambda assignment: autograded(assignment, "ada").rename(
                assignment.course.root / "elsewhere"
            ),
            True,
        ),
    ],
)
def test_what_changed_is_graded_again(
    assignment: Assignment, happens: Callable[[Assignment], object], again: bool
) -> None:
    hand_in(assignment, "bob")
    record(assignment, graded(assignment, "ada"), graded(assignment, "bob"))
    happens(assignment)
    assert pending(assignment, "ada", "bob") == ({"ada"} if again else set())


def test_a_result_is_kept_under_what_was_graded(assignment: Assignment) -> None:
    """Not under what was handed in while the class was being graded."""
    with Recorder(assignment) as recorder:
        recorder.pending({"ada": folder(assignment, "ada")})
        before = graded(assignment, "ada", ("check_total",))
        hand_in(assignment, "ada", mean="def mean(values): return 0")
        recorder.record(before)
    assert pending(assignment, "ada") == {"ada"}


@pytest.mark.parametrize(
    ("was", "levels", "again"),
    [
        ("none", None, False),
        ("none", ["full"], True),
        ("container", ["full"], True),
        ("container", ["full", "container"], False),
        ("full", ["full"], False),
    ],
)
def test_a_result_below_the_level_that_is_demanded_is_graded_again(
    assignment: Assignment, was: str, levels: list[str] | None, again: bool
) -> None:
    record(assignment, graded(assignment, "ada", isolation=was))
    assert pending(assignment, "ada", levels=levels) == ({"ada"} if again else set())


# What moved ---------------------------------------------------------------------------------------


def test_a_vanished_test_is_told(assignment: Assignment) -> None:
    record(assignment, graded(assignment, "ada", ("check_total",)))
    less = {**TESTS, "Total": {"TestTotal::test_once": 2.0, "TestTotal::test_new": 4.0}}
    [moved] = record(assignment, graded(assignment, "ada", ("check_mean",), less))
    assert moved is not None and moved.before == moved.after
    assert moved.moved == (
        "TestTotal::test_length (gone)",
        "TestTotal::test_new (new)",
        "check_total",
        "check_mean",
    )
    assert record(assignment, graded(assignment, "ada", ("check_mean",), less)) == [None]


def test_a_test_that_vanished_is_told_even_where_it_was_worth_nothing(
    assignment: Assignment,
) -> None:
    more = {**TESTS, "Mean": {**TESTS["Mean"], "TestMean::test_claim": 0.0}}
    before, after = graded(assignment, "ada", tests=more), graded(assignment, "ada")
    moved = change(before.result, after.result)
    assert moved is not None and moved.moved == ("TestMean::test_claim (gone)",)


# A rejected resubmission --------------------------------------------------------------------------


def breaks(assignment: Assignment, text: str = "{") -> Graded:
    """ada hands in again, what is no notebook, and late."""
    for name in (NAME, "more"):
        (folder(assignment, "ada") / f"{name}.ipynb").write_text(text)
    (folder(assignment, "ada") / "timestamp.txt").write_text("2026-02-07 12:00:00 UTC")
    return graded(assignment, "ada")


def test_a_broken_upload_costs_no_score(assignment: Assignment) -> None:
    record(assignment, graded(assignment, "ada", ("check_total",)))
    before = scores(assignment)
    assert before == {"ada": ALL - 2}
    rejected = breaks(assignment)
    assert record(assignment, rejected) == [None], "no score has moved"
    result = rejected.result
    assert (result.status, result.earlier, result.score) == ("rejected", True, ALL - 2)
    assert scores(assignment) == before
    with handmade.book(assignment) as book:
        submission = book.find_submission(NAME, "ada")
        assert submission.timestamp.day == 31, "when what counts was handed in"
        assert submission.late_submission_penalty == 0

    shown = result.as_json()
    assert (shown["status"], shown["earlier"], shown["score"]) == ("rejected", True, ALL - 2)
    assert shown["error"].endswith(EARLIER)
    with (console := Console(width=118)).capture() as capture:
        table.table(NAME, [result], console)
    text = " ".join(capture.get().replace("│", " ").split())
    assert f"{ALL - 2:g}/20" in text and "rejected" in text and EARLIER in text
    assert f"| ada | {ALL - 2:g} / 20 | rejected |" in formats.as_markdown(NAME, [result])


def test_feedback_says_that_it_shows_the_earlier_submission(assignment: Assignment) -> None:
    record(assignment, graded(assignment, "ada"))
    place = autograded(assignment, "ada")
    before = {path.name: json.loads(path.read_text()) for path in place.glob("*.ipynb")}
    for text in ("{", "[]", "{}"):
        rejected = breaks(assignment, text)
        record(assignment, rejected)
        for path in place.glob("*.ipynb"):
            cells = json.loads(path.read_text())["cells"]
            assert cells[1:] == before[path.name]["cells"], "one notice, above what was graded"
            assert "A later submission was rejected" in cells[0]["source"]
            assert str(rejected.result.error) in cells[0]["source"]
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert [path.name for path in place.parent.iterdir()] == [NAME]

    hand_in(assignment, "ada", "2026-02-08 12:00:00 UTC")
    record(assignment, graded(assignment, "ada"))
    text = (place / f"{NAME}.ipynb").read_text()
    assert "rejected" not in text, "and it is gone when there is something to grade"
    with handmade.book(assignment) as book:
        assert book.find_submission(NAME, "ada").timestamp.day == 8


def test_an_earlier_score_stays_from_run_to_run(assignment: Assignment) -> None:
    record(assignment, graded(assignment, "ada"))
    record(assignment, breaks(assignment))
    assert pending(assignment, "ada") == set()
    with handmade.book(assignment) as book:  # and where the gradebook has lost it
        for notebook in book.find_submission(NAME, "ada").notebooks:
            for grade in notebook.grades:
                grade.auto_score = 0
        book.db.commit()
    assert pending(assignment, "ada") == set()
    assert scores(assignment) == {"ada": ALL}
    again = breaks(assignment, "[]")
    record(assignment, again)
    assert (again.result.score, again.result.earlier) == (ALL, True)
    hand_in(assignment, "ada", total="def total(values): return 0")
    [moved] = record(assignment, graded(assignment, "ada", ("check_total",)))
    assert moved is not None and (moved.before, moved.after) == (ALL, ALL - 2)


def test_a_first_submission_that_is_rejected_has_no_score(assignment: Assignment) -> None:
    rejected = breaks(assignment)
    record(assignment, rejected)
    assert not rejected.result.has_score and rejected.result.error
    assert not rejected.result.error.endswith(EARLIER)
    assert scores(assignment) == {}
    assert not autograded(assignment, "ada").exists()


# Where a course stands ----------------------------------------------------------------------------


def test_students_are_found_wherever_a_course_stands(tmp_path: Path) -> None:
    for place in ("STUDENT/course", "a [b] *?/(c)", "x/0"):
        root = mini.make_course(tmp_path / place)
        for student in ("ada", "STUDENT", "b [*]"):
            mini.hand_in(root, student, mini.notebooks())
        (root / "submitted" / "a file").write_text("")
        assert Course.load(root).students(NAME) == ["STUDENT", "ada", "b [*]"]


def test_other_structures_of_folders(tmp_path: Path) -> None:
    root = mini.make_course(tmp_path / "course")
    config = root / "nbgrader_config.py"
    structure = "{nbgrader_step}/{assignment_id}/of-{student_id}/x"
    config.write_text(
        config.read_text() + f'c.CourseDirectory.directory_structure = "{structure}"\n'
    )
    (root / "submitted" / NAME / "of-ada" / "x").mkdir(parents=True)
    (root / "submitted" / NAME / "bob" / "x").mkdir(parents=True)
    assert Course.load(root).students(NAME) == ["ada"]


def test_a_folder_that_cannot_be_written_is_named(assignment: Assignment) -> None:
    (assignment.course.root / "autograded").write_text("no folder")
    with pytest.raises(ProctorError, match=r"autograded.* cannot be written"):
        record(assignment, graded(assignment, "ada"))
