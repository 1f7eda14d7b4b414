"""Graded on the student's own earlier modules instead of the reference's.

The course is `mini` of tests/test_grading.py: 02_totals imports `double` from 01_pairs, and one of
its visible checks uses it.
"""

from __future__ import annotations

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
from tests.test_grading import NAME

DOUBLE = '__all__ = ["double"]\n\n\ndef double(x):\n    return {}\n'


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grader]:
    root = mini.make_course(tmp_path_factory.mktemp("own") / "course")
    (root.parent / "secret").write_text("a secret")
    with Grader(Course.load(root).assignment(NAME)) as grader:
        yield grader


def on(grader: Grader, modules: list[tuple[str, str | None]], **cells: str) -> NotebookVerdict:
    """The main notebook, graded on a package of these modules."""
    template = grader.assignment.templates[0]
    found = mini.notebooks(cells)[NAME]
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
