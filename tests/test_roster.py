"""Who is in the course and where they stand, and nbgrader's export, which says so."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from proctor.course.course import Assignment
from proctor.errors import CourseError
from proctor.record.roster import Participant, reading
from proctor.record.sheets import as_csv
from tests import handmade
from tests.handmade import NAME


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.a_student_in_each_state(tmp_path_factory.mktemp("made") / "course")


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    return handmade.copy_course(made, tmp_path / "course")


def participants(assignment: Assignment) -> dict[str, Participant]:
    with reading(assignment.course) as roster:
        return {s.student.id: s for s in roster.participants(roster.assignment(assignment.name))}


def test_everybody_is_in_one_state(assignment: Assignment) -> None:
    found = participants(assignment)
    assert {name: each.state for name, each in found.items()} == {
        "ada": "graded",
        "bob": "needs manual grading",
        "eve": "not graded",
        "ivy": "missing",
        "joe": "rejected",
    }
    assert [*found] == ["bob", "eve", "ivy", "joe", "ada"]  # Abel, eve, ivy, joe, Zorn
    assert found["ada"].late == timedelta() and found["bob"].late == timedelta(hours=2.5)


def test_scores_are_those_of_nbgrader(assignment: Assignment) -> None:
    found = participants(assignment)
    with handmade.book(assignment) as book:
        for each in book.assignment_submissions(NAME):
            mine = found[each.student.id]
            assert mine.raw_score == each.score and mine.penalty == each.late_submission_penalty
    assert found["bob"].penalty == 3
    assert found["ivy"].score is None and found["joe"].score is None
    assert found["ada"].scores[NAME, "written"] == 1.5 and found["bob"].score == 2


def test_kinds_of_grade_cells(assignment: Assignment) -> None:
    with reading(assignment.course) as roster:
        kinds = {each.cell: each.kind for each in roster.assignment(NAME).items}
    assert kinds == {
        "check_total": "visible",
        "check_mean": "visible",
        "check_largest": "visible",
        "written": "written",
        "Total": "hidden",
        "Mean": "hidden",
        "more": "hidden",
    }


def test_no_gradebook_and_an_unknown_assignment_are_explained(assignment: Assignment) -> None:
    with reading(assignment.course) as roster, pytest.raises(CourseError, match="knows no assign"):
        roster.assignment("01_a")
    file = assignment.course.root / "gradebook.db"
    file.unlink()
    with pytest.raises(CourseError, match="no gradebook yet"):
        reading(assignment.course).__enter__()
    assert not file.exists()


def test_no_name_is_a_formula() -> None:
    text = as_csv(["a"], [["=1+1"], ["@x"], ["-1"], ["+1"], [-1.0], ["a,b"], [None], ["ok"]])
    read = [row[0] for row in csv.reader(text.splitlines()[1:])]
    assert read == ["'=1+1", "'@x", "'-1", "'+1", "-1.0", "a,b", "", "ok"]


# nbgrader export ----------------------------------------------------------------------------------


def nbgrader_export(root: Path, *words: str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "nbgrader", "export", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader((root / "grades.csv").open()))


def test_nbgraders_export_has_names_and_no_zero_for_nothing(assignment: Assignment) -> None:
    root = assignment.course.root
    roster = 'id,first_name,last_name,email,lms_user_id\nivy,Ivy,"Poe, Jr",i@x.example,0042\n'
    (root / "roster.csv").write_text(roster)
    command = [sys.executable, "-m", "nbgrader", "db", "student", "import", "roster.csv"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    plain = nbgrader_export(root, "--exporter=nbgrader.plugins.CsvExportPlugin")
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nimport proctor\nproctor.configure(c)\n")
    rows = {row["student_id"]: row for row in nbgrader_export(root)}
    assert [*plain[0]] == [*rows["ada"]][: len(plain[0])]
    for row in plain:
        if row["student_id"] in ("ada", "bob"):
            mine = rows[row["student_id"]]
            assert {name: mine[name] for name in row} == row
    ivy = rows["ivy"]
    assert (ivy["last_name"], ivy["lms_user_id"], ivy["status"]) == ("Poe, Jr", "0042", "missing")
    assert ivy["score"] == ivy["raw_score"] == "" and ivy["email"] == "i@x.example"
    assert {name: row["status"] for name, row in rows.items()} == {
        name: each.state for name, each in participants(assignment).items()
    }
    [row] = nbgrader_export(root, "--student=['bob']", f"--assignment=['{NAME}']")
    assert row["student_id"] == "bob"
