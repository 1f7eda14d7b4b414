"""nbgrader's circle, driven once for 01_tensor by the commands that people type.

Release, fetch, submit, collect, autograde (and once more with `proctor grade`), feedback and back.
"""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook

from proctor.notebook.cells import nbgrader
from tests import classroom

NAME = "01_tensor"
WRONG = [
    "adds_in_place",
    "forgets_return",
    "mean_over_everything",
    "half_done",
]  # of tests/solutions/01_tensor.toml

Notebooks = dict[str, dict[str, Any]]
Row = dict[str, Any]
Snapshot = dict[tuple[str, str], Row]  # by student and cell


@dataclass
class Circle:
    """An instructor's course, a student's desk, and the exchange between them."""

    root: Path
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    by_nbgrader: Snapshot = field(default_factory=dict)
    by_proctor: Snapshot = field(default_factory=dict)
    once_more: Snapshot = field(default_factory=dict)
    points: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def course(self) -> Path:
        return self.root / "course"

    @property
    def desk(self) -> Path:
        return self.root / "desk"

    def run(self, label: str, where: Path, *command: str, fails: bool = False) -> None:
        """Run a command in a folder; `fails` if it is to end with an error."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        home = {"HOME": str(self.root / "home"), "JUPYTER_PLATFORM_DIRS": "1", "COLUMNS": "200"}
        environment = {"PATH": path, "LC_ALL": "C.UTF-8", **home}
        program = command[0] + (".cli" if command[0] == "proctor" else "")
        done = self.said[label] = subprocess.run(
            [sys.executable, "-m", program, *command[1:]],
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) is fails, f"{command}:\n{done.stdout}{done.stderr}"

    def book(self) -> Gradebook:
        return Gradebook(f"sqlite:///{self.course / 'gradebook.db'}", "tinytorch")

    def snapshot(self) -> Snapshot:
        """What the gradebook holds of every grade cell, and of every comment."""
        found: Snapshot = {}
        with self.book() as book:
            for entry in book.find_assignment(NAME).submissions:
                for notebook in entry.notebooks:
                    for grade in notebook.grades:
                        found[entry.student.id, grade.name] = {
                            "auto": grade.auto_score,
                            "manual": grade.manual_score,
                            "extra": grade.extra_credit,
                            "score": grade.score,
                            "needs": grade.needs_manual_grade,
                        }
                    for comment in notebook.comments:
                        row = found.setdefault((entry.student.id, comment.name), {})
                        row |= {"auto comment": comment.auto_comment, "comment": comment.comment}
        return found

    def printed(self) -> dict[str, dict[str, str]]:
        """The points that stand in the grade cells of each autograded notebook."""
        found: dict[str, dict[str, str]] = {}
        for path in sorted(self.course.glob(f"autograded/*/{NAME}/{NAME}.ipynb")):
            cells = json.loads(path.read_text())["cells"]
            found[path.parts[-3]] = {
                nbgrader(cell)["grade_id"]: "".join(cell["outputs"][0]["data"]["text/plain"])
                for cell in cells
                if nbgrader(cell).get("grade") and cell["cell_type"] == "code"
            }
        return found


def touched() -> Notebooks:
    """A perfect notebook with grade cells edited, missing, doubled and retyped."""
    found = classroom.solved(NAME)
    cells = found[NAME]["cells"]
    at = {cell["id"]: index for index, cell in enumerate(cells)}
    cells[at["check_construct"]]["source"] = "pass"
    cells[at["check_matmul"]] = {
        "cell_type": "markdown",
        "id": "check_matmul",
        "metadata": {},
        "source": "gone",
    }
    cells.append(copy.deepcopy(cells[at["check_derived"]]))
    del cells[at["check_arithmetic"]]
    return found


def make_class(released: Path) -> dict[str, Notebooks]:
    kept = {solution.name: solution for solution in classroom.solutions(NAME)}
    return {
        "blank": {NAME: json.loads(released.read_text())},
        "touched": touched(),
        **{name: classroom.solved(NAME, kept[name]) for name in WRONG},
    }


CLASS = {"ada", "blank", "touched", *WRONG}


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """Everything, once: each command costs seconds."""
    it = Circle(tmp_path_factory.mktemp("circle"))
    exchange = it.root / "exchange"
    for folder in (exchange, it.desk, it.root / "home"):
        folder.mkdir()
    exchange.chmod(0o777)
    course = classroom.scratch_course(it.course)
    config = it.course / "nbgrader_config.py"
    config.write_text(config.read_text() + f"\nc.Exchange.root = {str(exchange)!r}\n")
    (it.desk / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        'c.CourseDirectory.course_id = "tinytorch"\n'
        f"c.Exchange.root = {str(exchange)!r}\n"
    )

    it.run("generate", it.course, "nbgrader", "generate_assignment", NAME)
    it.run("release", it.course, "nbgrader", "release_assignment", NAME)
    it.run("fetch", it.desk, "nbgrader", "fetch_assignment", NAME)
    fetched = it.desk / NAME / f"{NAME}.ipynb"
    (it.root / "fetched.ipynb").write_bytes(fetched.read_bytes())
    fill_in(fetched)
    it.run("submit", it.desk, "nbgrader", "submit", NAME, "--student", "ada")
    it.run("collect", it.course, "nbgrader", "collect", NAME)

    for student, found in make_class(it.root / "fetched.ipynb").items():
        classroom.submit(course, student, NAME, found)
    it.run("autograde", it.course, "nbgrader", "autograde", NAME)
    it.by_nbgrader = it.snapshot()
    it.points["nbgrader"] = it.printed()
    grade_by_hand(it)
    it.run("grade", it.course, "proctor", "grade", NAME, "--format", "json")
    it.by_proctor = it.snapshot()
    it.points["proctor"] = it.printed()

    it.run("feedback", it.course, "nbgrader", "generate_feedback", NAME)
    student = ("--student", "ada")
    it.run("release feedback", it.course, "nbgrader", "release_feedback", NAME, *student)
    it.run("fetch feedback", it.desk, "nbgrader", "fetch_feedback", NAME, *student)

    # Now one that is no notebook, and everybody once more with nbgrader.
    broken = course.folder("submitted", "broken", NAME)
    broken.mkdir(parents=True)
    (broken / f"{NAME}.ipynb").write_text("this is no notebook")
    it.run("again", it.course, "nbgrader", "autograde", NAME, "--force", fails=True)
    it.once_more = it.snapshot()
    return it


def fill_in(path: Path) -> None:
    """Write the solution into a fetched notebook: into the cells that students owe."""
    notebook = json.loads(path.read_text())
    solved = {cell["id"]: cell["source"] for cell in classroom.solved(NAME)[NAME]["cells"]}
    for cell in notebook["cells"]:
        if nbgrader(cell).get("solution"):
            cell["source"] = solved[cell["id"]]
    path.write_text(json.dumps(notebook))


def grade_by_hand(it: Circle) -> None:
    """As in formgrader: a written answer, an override, extra credit, a comment."""
    with it.book() as book:
        written = book.find_grade("written", NAME, NAME, "ada")
        written.manual_score, written.needs_manual_grade = 4.0, False
        lenient = book.find_grade("Reductions", NAME, NAME, "half_done")
        lenient.manual_score, lenient.extra_credit = 11.0, 2.0
        lenient.needs_manual_grade = False
        book.find_comment("written", NAME, NAME, "ada").manual_comment = "Well said."
        book.db.commit()


def test_a_student_fetches_what_was_released(circle: Circle) -> None:
    fetched = json.loads((circle.root / "fetched.ipynb").read_text())
    released = json.loads((circle.course / "release" / NAME / f"{NAME}.ipynb").read_text())
    assert fetched == released
    text = json.dumps(fetched)
    assert "raise NotImplementedError()" in text and "BEGIN SOLUTION" not in text


def test_what_was_submitted_is_what_was_collected(circle: Circle) -> None:
    folder = circle.course / "submitted" / "ada" / NAME
    assert (folder / f"{NAME}.ipynb").read_bytes() == (
        circle.desk / NAME / f"{NAME}.ipynb"
    ).read_bytes()
    assert (folder / "timestamp.txt").exists()
    with circle.book() as book:
        told = (folder / "timestamp.txt").read_text().strip()
        known = book.find_submission(NAME, "ada").timestamp
    assert told.startswith(known.isoformat(" "))


def test_the_gradebook_holds_the_scores(circle: Circle) -> None:
    with circle.book() as book:
        assert {entry.student.id for entry in book.find_assignment(NAME).submissions} >= CLASS
        ada, blank = (book.find_submission(NAME, name) for name in ("ada", "blank"))
        assert (ada.score, ada.max_score) == (95 + 4, 100)
        assert (blank.score, blank.needs_manual_grade) == (0, False)
        for name in WRONG:
            assert 0 < book.find_submission(NAME, name).score < 95, name


def test_autograde_and_proctor_grade_agree_on_every_cell(circle: Circle) -> None:
    assert {student for student, _ in circle.by_nbgrader} == CLASS
    assert len({cell for _, cell in circle.by_nbgrader}) > 10

    def scores(found: Snapshot) -> dict[tuple[str, str], tuple[Any, Any]]:
        return {place: (row.get("auto"), row.get("auto comment")) for place, row in found.items()}

    assert scores(circle.by_nbgrader) == scores(circle.by_proctor)
    assert {*circle.points["nbgrader"]} == CLASS
    assert circle.points["nbgrader"] == circle.points["proctor"]


def test_the_command_prints_what_it_recorded(circle: Circle) -> None:
    printed = json.loads(circle.said["grade"].stdout)["submissions"]
    for each in printed:
        cells: dict[str, float] = {}
        for test in each["tests"]:
            if test["status"] != "manual":
                cells[test["cell"]] = cells.get(test["cell"], 0) + test["points"]
        recorded = {
            cell: row["auto"]
            for (student, cell), row in circle.by_proctor.items()
            if student == each["student"] and row.get("auto") is not None
        }
        # a grade cell's points are recorded with four digits
        assert cells == pytest.approx(recorded, abs=1e-4), each["student"]


def test_touched_grade_cells_are_restored_on_both_roads(circle: Circle) -> None:
    for found in (circle.by_nbgrader, circle.by_proctor):
        lost = {
            cell: row["auto"]
            for (student, cell), row in found.items()
            if student == "touched" and row.get("auto") != found["ada", cell].get("auto")
        }
        assert lost == {}
    [result] = [
        each
        for each in json.loads(circle.said["grade"].stdout)["submissions"]
        if each["student"] == "touched"
    ]
    assert sorted(result["notes"]) == [
        "cell 'check_arithmetic' was missing: restored",
        "cell 'check_construct' was edited: restored",
        "cell 'check_derived' stood there twice: the first one counts",
        "cell 'check_matmul' had changed its type: restored",
        "cell 'check_matmul' was edited: restored",
    ]


def test_what_was_graded_by_hand_stays(circle: Circle) -> None:
    for found in (circle.by_proctor, circle.once_more):
        written = found["ada", "written"]
        assert (written["auto"], written["manual"], written["score"]) == (None, 4, 4)
        assert written["comment"] == "Well said."
        lenient = found["half_done", "Reductions"]
        assert (lenient["manual"], lenient["extra"], lenient["score"]) == (11, 2, 13)
        assert lenient["auto"] == circle.by_nbgrader["half_done", "Reductions"]["auto"]


def test_what_needs_a_human_is_as_nbgrader_has_it(circle: Circle) -> None:
    """A written answer; and what was graded by hand before, which nbgrader asks to look at."""

    def waiting(found: Snapshot) -> set[tuple[str, str]]:
        return {place for place, row in found.items() if row.get("needs")}

    answered = CLASS - {"blank"}
    assert waiting(circle.by_nbgrader) == {(student, "written") for student in answered}
    assert waiting(circle.by_proctor) == waiting(circle.by_nbgrader) | {("half_done", "Reductions")}
    known = {place: row for place, row in circle.once_more.items() if place[0] != "broken"}
    assert known == circle.by_proctor


def test_a_broken_file_keeps_nobody_else_from_being_graded(circle: Circle) -> None:
    said = circle.said["again"].stderr
    assert "broken" in said
    graded = {path.name for path in (circle.course / "autograded").iterdir() if path.is_dir()}
    assert graded >= CLASS and "broken" not in graded


@pytest.mark.parametrize("student", ["ada", "half_done"])
def test_feedback_holds_points_and_messages(circle: Circle, student: str) -> None:
    page = (circle.course / "feedback" / student / NAME / f"{NAME}.html").read_text()
    assert ("<strong>99</strong> of 100 points" in page) is (student == "ada")
    [result] = [
        each
        for each in json.loads(circle.said["grade"].stdout)["submissions"]
        if each["student"] == student
    ]
    told = {test["message"] for test in result["tests"] if test["status"] == "failed"}
    assert bool(told) is (student != "ada")
    plain = unescaped(page)
    for message in told:
        assert message.split("\n")[-1] in plain
    assert 'class="outcome passed"' in page
    if student == "half_done":  # as it was graded by hand
        assert "Your instructor has set the points: 11 of 6. The tests gave" in plain
        assert "Extra credit: 2 points." in plain


def test_the_five_commands_that_the_page_begins_with(tmp_path: Path) -> None:
    text = (classroom.ROOT / "docs" / "instructors.md").read_text()
    first = re.search(r"\n\n((?:    \S.*\n)+)\n", text)
    assert first
    it = Circle(tmp_path)
    course = classroom.scratch_course(it.course)
    for student, found in (("ada", classroom.solved(NAME)), ("bob", classroom.blank(NAME))):
        classroom.submit(course, student, NAME, found)
    commands = [line.strip() for line in first[1].splitlines()]
    assert len(commands) == 5
    for command in commands:
        it.run(command, it.course, *command.split())
    rows = {row["student_id"]: row for row in csv.DictReader((it.course / "grades.csv").open())}
    assert (rows["ada"]["score"], rows["bob"]["score"]) == ("95.0", "0.0")
    for place in (f"release/{NAME}", f"feedback/ada/{NAME}", "report"):
        assert any((it.course / place).iterdir())


def unescaped(page: str) -> str:
    import html

    return html.unescape(page)


def test_feedback_comes_back_to_the_student(circle: Circle) -> None:
    [page] = sorted((circle.desk / NAME / "feedback").rglob("*.html"))
    ours = circle.course / "feedback" / "ada" / NAME / f"{NAME}.html"
    assert page.read_bytes() == ours.read_bytes()
    assert "Well said." in page.read_text()


def secrets() -> list[str]:
    """Lines of the hidden suite that are neither in the notebook nor told to students."""
    suite = (classroom.ROOT / "tests" / "hidden" / NAME / "test_tensor.py").read_text()
    known = "\n".join(cell["source"] for cell in classroom.solved(NAME)[NAME]["cells"])
    lines = {line.strip() for line in suite.splitlines()}
    told = re.compile(r'^("""|"|#|[A-Z][\w\s,:\']*$)')
    return [line for line in lines if len(line) > 25 and line not in known and not told.match(line)]


PLACES: dict[str, Callable[[Circle], Path]] = {
    "release": lambda it: it.course / "release",
    "exchange": lambda it: it.root / "exchange",
    "desk": lambda it: it.desk,
    "autograded": lambda it: it.course / "autograded",
    "feedback": lambda it: it.course / "feedback",
}


@pytest.mark.parametrize("place", PLACES)
def test_no_hidden_test_is_on_the_road(circle: Circle, place: str) -> None:
    looked_for = secrets()
    assert len(looked_for) > 50
    files = [path for path in PLACES[place](circle).rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text(errors="replace")
        text = unescaped(text) if path.suffix == ".html" else text
        plain = text.replace('\\"', '"')
        assert [line for line in looked_for if line in plain] == [], path
