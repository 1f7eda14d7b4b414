"""Graded on the student's own earlier modules instead of the reference's.

The course is `mini` of tests/test_grading.py: 02_totals imports `double` from 01_pairs, and one of
its visible checks uses it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proctor import jail
from proctor.course.course import Course
from proctor.grade.grading import Grader
from proctor.verdict import NotebookVerdict
from tests import test_grading as mini
from tests.test_grading import ALL, NAME, Graded, hand_in, notebooks, proctor_grade, run

DOUBLE = '__all__ = ["double"]\n\n\ndef double(x):\n    return {}\n'


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grader]:
    root = mini.make_course(tmp_path_factory.mktemp("own") / "course")
    (root.parent / "secret").write_text("a secret")
    with Grader(Course.load(root).assignment(NAME)) as grader:
        yield grader


def on(
    grader: Grader, modules: list[tuple[str, str | None]], notebook: str = NAME, **cells: str
) -> NotebookVerdict:
    """A notebook, the main one or another, graded on a package of these modules."""
    [template] = [each for each in grader.assignment.templates if each.name == notebook]
    found = mini.notebooks(cells)[notebook]
    submission = template.submission(json.dumps(found).encode())
    key = hashlib.sha256(repr(modules).encode()).hexdigest()
    return grader.grade_notebook(template, submission, key, grader.assignment.files, 0, modules)


def failed(verdict: NotebookVerdict) -> dict[str, str]:
    return {test.name: test.message for test in verdict.tests if test.status == "failed"}


def test_a_notebook_builds_on_the_modules_that_it_is_given(grader: Grader) -> None:
    assert failed(on(grader, [])) == {}
    assert failed(on(grader, [("pairs", DOUBLE.format("x + x"))])) == {}
    assert [*failed(on(grader, [("pairs", DOUBLE.format("3 * x"))]))] == ["check_mean"]
    assert failed(on(grader, [("pairs", None)])) == {}, "the reference's, made anew"
    assert failed(on(grader, [])) == {}, "nothing of it is left in the warm process"


def test_a_later_module_is_made_on_an_earlier_one(grader: Grader) -> None:
    later = "from .pairs import double\n\nsix = double(3)\n"
    shown = "import mini\nfrom mini.later import six\n\nprint(six, mini.six)\n\n\n"
    total = "def total(values):\n    return sum(values)"
    modules = [("pairs", DOUBLE.format("3 * x")), ("later", later)]
    verdict = on(grader, modules, total=shown + total)
    assert verdict.outputs["total"][0]["text"] == "9 9\n"


def test_a_second_notebook_builds_on_the_references_first_one(grader: Grader) -> None:
    shown = "import mini\n\nprint(mini.double(1), middle([1, 3]))\n\n\n"
    cell = shown + "def largest(values):\n    return max(values)"
    for modules, said in (([], "2 2.0\n"), ([("pairs", DOUBLE.format("3 * x"))], "3 2.0\n")):
        verdict = on(grader, modules, "more", largest=cell)
        assert failed(verdict) == {}
        assert verdict.outputs["largest"][0]["text"] == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def double(:\n", "SyntaxError: "),
        ("raise SystemExit\n", "SystemExit"),
        ('__all__ = ["double"]\n', "AttributeError: "),
        ("while True:\n    pass\n", "TimeoutError: this ran longer than it may"),
    ],
    ids="raises syntax exits lacks hangs".split(),
)
def test_the_reference_stands_in_for_a_module_that_cannot_be_imported(
    grader: Grader, source: str, said: str
) -> None:
    verdict = on(grader, [("pairs", source)])
    assert failed(verdict) == {}
    [note] = verdict.notes
    assert note.startswith(f"mini/pairs.py cannot be imported: {said}")


def test_a_module_without_a_reference_is_missed_by_who_imports_it(grader: Grader) -> None:
    verdict = on(grader, [("pairs", None), ("later", "1 / 0")], mean="import mini.later")
    assert [note.partition(":")[0] for note in verdict.notes] == [
        "mini/later.py cannot be imported"
    ]
    assert verdict.outputs["mean"][0]["ename"] == "ModuleNotFoundError"


@pytest.mark.skipif(jail.probe() == "none", reason="there is no isolation here")
def test_a_students_module_runs_in_the_jail(grader: Grader) -> None:
    secret = grader.assignment.course.root.parent / "secret"
    verdict = on(grader, [("pairs", f"open({str(secret)!r}).read()\n" + DOUBLE.format("2 * x"))])
    [note] = verdict.notes
    assert "Error: " in note
    assert Path(secret).name in note
    assert failed(verdict) == {}, "the reference's stands in"


def test_a_module_that_ends_its_process_ends_that_submission_only(grader: Grader) -> None:
    verdict = on(grader, [("pairs", "import os\n\nos._exit(0)\n")])
    assert "the process that ran the code ended" in verdict.notes[0]
    assert sum(test.points for test in verdict.tests) == 0
    assert failed(on(grader, [])) == {}


# A class: `proctor grade --own-stack` -------------------------------------------------------------

GROWN = """
@extend
class Twice:
    def of(self, x):
        return x + self.once(x)


@extend
class Twice:
    def once(self, x):
        return x


def double(x):
    return Twice().of(x)
"""
# What each student wrote for `double`, whose module they are graded on, and their points then.
FIRST: dict[str, tuple[str, str, float]] = {
    "own": ("def double(x):\n    return x + x", "student", ALL),
    "wrong": ("def double(x):\n    return 3 * x", "student", ALL - 2),
    "grown": (GROWN, "student", ALL),
    "unfinished": ("def double(x):\n    return (", "reference", ALL),
    "magic": ("%pip install double", "reference", ALL),
    "nested": ("double = " + "(" * 100_000, "reference", ALL),
    "negative": ("double = " + "-" * 1_000_000 + "1", "reference", ALL),
}
PAIRS = "01_pairs"


def pairs(double: str) -> mini.Notebooks:
    """The notebook of the first assignment with this cell."""
    cells = copy.deepcopy(mini.SOURCE[PAIRS][PAIRS])
    [written] = [cell for cell in cells if cell["id"] == "double"]
    written["source"] = double
    return {PAIRS: mini.as_notebook(cells)}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = mini.make_course(tmp_path_factory.mktemp("class") / "course")
    done = run("nbgrader", "generate_assignment", NAME, cwd=root)
    assert done.returncode == 0, done.stderr
    for student, (double, _, _) in FIRST.items():
        hand_in(root, student, notebooks())
        hand_in(root, student, pairs(double), PAIRS)
    for student in ("absent", "broken", "graded", "linked"):
        hand_in(root, student, notebooks())
    broken = hand_in(root, "broken", {}, PAIRS) / f"{PAIRS}.ipynb"
    broken.write_text("{")
    graded = root / "autograded" / "graded" / PAIRS
    graded.mkdir(parents=True)
    text = json.dumps(pairs(FIRST["wrong"][0])[PAIRS])
    (graded / f"{PAIRS}.ipynb").write_text(text)
    (hand_in(root, "linked", {}, PAIRS) / f"{PAIRS}.ipynb").symlink_to(graded / f"{PAIRS}.ipynb")
    return root


@pytest.fixture(scope="module")
def result(course: Path) -> Graded:
    return proctor_grade(course, "--own-stack", "--format", "json")


@pytest.mark.parametrize("student", FIRST)
def test_each_is_graded_on_their_own_module_where_it_can_be_made(
    result: Graded, student: str
) -> None:
    _, owner, score = FIRST[student]
    found = result.submissions[student]
    assert (found["score"], found["stack"]) == (score, {"pairs": owner})
    assert found["notes"][-1] == f"built on the {owner}'s pairs"
    assert ("cannot be imported" in found["notes"][0]) is (owner == "reference")


@pytest.mark.parametrize(
    ("student", "owner"),
    [
        ("absent", "reference"),
        ("broken", "reference"),
        ("linked", "reference"),
        ("graded", "student"),
    ],
)
def test_what_was_not_handed_in_is_the_references(result: Graded, student: str, owner: str) -> None:
    """And what was graded is the student's, if nothing else is there."""
    assert result.submissions[student]["stack"] == {"pairs": owner}
    assert result.submissions[student]["score"] == (ALL if owner == "reference" else ALL - 2)


def test_a_result_belongs_to_the_modules_it_was_made_on(course: Path, result: Graded) -> None:
    assert result.status == 0
    kept = course / ".proctor" / NAME
    before = {path.stem: path.read_text() for path in kept.glob("*.json")}
    hand_in(course, "own", pairs(FIRST["wrong"][0]), PAIRS)
    again = proctor_grade(course, "--own-stack", "--format", "json")
    assert again.submissions["own"]["score"] == ALL - 2
    changed = {path.stem for path in kept.glob("*.json") if before[path.stem] != path.read_text()}
    assert changed == {"own"}
    plain = proctor_grade(course, "own", "wrong", "--format", "json")
    assert {s["score"] for s in plain.submissions.values()} == {ALL}, "on the reference's again"
    assert [s["stack"] for s in plain.submissions.values()] == [{}, {}]


def test_a_course_without_a_package_has_no_stack(tmp_path: Path) -> None:
    root = mini.make_course(tmp_path / "course")
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text().replace('c.Proctor.package = "mini"\n', ""))
    failed = proctor_grade(root, "--own-stack")
    assert failed.status == 2
    assert "builds no package that a student could have a stack of: set c.Proctor.package" in (
        " ".join(failed.stderr.split())
    )
