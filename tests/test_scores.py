"""`proctor scores`: files as an LMS gave them, filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from proctor.course.course import Assignment
from tests import handmade
from tests.handmade import NAME, copy_course
from tests.test_collect import ROSTER, notebook, run, submitted, zipped

SCORE = "17"  # what the machine gives a perfect notebook of `mini`, of 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course in which ada and bob are graded, cyd waits for manual grading, dan is rejected."""
    root = handmade.make_course(tmp_path_factory.mktemp("made") / "course")
    (root / "roster.csv").write_text(ROSTER)
    return root


def by_hand(assignment: Assignment, points: float, *students: str) -> None:
    """Points for the written answer, which nothing but formgrader gives."""
    with handmade.book(assignment) as book:
        for student in students:
            grade = book.find_grade("written", NAME, NAME, student)
            grade.manual_score, grade.needs_manual_grade = points, False
        book.db.commit()


def test_a_class_from_canvas_and_back(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Collected, graded, by hand, filled in; and nothing changes the second time."""
    assignment = copy_course(made, tmp_path / "course")
    perfect = {name: notebook(name) for name in (NAME, "more")}
    files = {}
    for who, user in (("lovelaceada", 1001), ("obrienbob_LATE", 1002)):
        for number, (name, data) in enumerate(perfect.items()):
            files[f"{who}_{user}_{user + number}_{name}.ipynb"] = data
    assert run(assignment, "collect", zipped(tmp_path / "submissions.zip", files)) == 0
    assert submitted(assignment, "bob") == perfect[NAME]
    assert run(assignment, "grade", NAME, "--isolation", "none") == 0
    by_hand(assignment, 3, "ada")
    export = tmp_path / "Grades.csv"
    text = (
        "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,02 Totals (4711),Current Score\r\n"
        "    Points Possible,,,,,20.00,(read only)\r\n"
        '"Lovelace, Ada",1001,ada,al_01,S1,,12.5\r\n'
        '"O\'Brien, Bob",1002,bob,b.obrien,S1,,\r\n'
        '"Student, Test",1999,,deadbeef,S1,,\r\n'
    )
    export.write_bytes(text.encode())
    capsys.readouterr()
    assert run(assignment, "scores", "canvas", export) == 0
    said = capsys.readouterr().out
    assert export.read_bytes().decode() == text.replace("al_01,S1,,", "al_01,S1,20.00,")
    assert (tmp_path / "Grades.csv.bak").read_bytes().decode() == text
    assert "1 written" in said and "bob: needs manual grading" in said
    assert run(assignment, "scores", "canvas", export) == 0
    assert not (tmp_path / "Grades.csv.bak1").exists()
