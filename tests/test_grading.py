"""The engine end to end: the command `proctor` on a small course, with good and bad submissions.

The course `mini` has three assignments. The one that is graded, 02_totals, has two notebooks, a
supporting file, visible checks, a hidden suite and a written question: 20 points. Every bad
submission is graded in one class with good ones, once for all tests here.
"""

from __future__ import annotations

import copy
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from nbconvert.exporters import Exporter
from nbconvert.preprocessors import Preprocessor

from proctor import cli, jail
from proctor.course.course import Course
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import nbgrader
from proctor.notebook.template import Stubs
from proctor.record import gradebook
from proctor.record import recorder as record
from proctor.report import remarks
from proctor.verdict import Result, TestResult
from tests import classroom

Cell = dict[str, Any]
Notebooks = dict[str, dict[str, Any]]

NAME = "02_totals"
ALL = 17.0  # what the machine can give; 3 more are the written question's
WORTH = 20.0

# The course ---------------------------------------------------------------------------------------

CONFIG = """
from pathlib import Path
import proctor
c = get_config()
c.CourseDirectory.course_id = "mini"
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.Proctor.package = "mini"
c.Proctor.cell_seconds = 3
c.Proctor.call_seconds = 1
c.Proctor.submission_seconds = 30
c.Proctor.memory = 512
proctor.configure(c)
"""

HIDDEN = 'raise NotImplementedError("graded by hidden tests")'


def cell(name: str, source: str, kind: str = "code", tags: list[str] | None = None, **flags: Any):
    """A cell; with flags, one that nbgrader knows."""
    known = {"grade": False, "solution": False, "locked": False, "task": False, **flags}
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    if flags:
        metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, **known}
    made = {"cell_type": kind, "id": name, "metadata": metadata, "source": source.strip("\n")}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def given(name: str, source: str) -> Cell:
    return cell(name, source, tags=["export"], locked=True)


def owed(name: str, head: str, body: str) -> Cell:
    source = f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"
    return cell(name, source, tags=["export"], solution=True)


def check(name: str, points: float, source: str) -> Cell:
    return cell(name, source, grade=True, locked=True, points=points)


def hidden(name: str, points: float) -> Cell:
    return check(name, points, HIDDEN)


SOURCE: dict[str, dict[str, list[Cell]]] = {
    "01_pairs": {
        "01_pairs": [
            given("names", '__all__ = ["double"]'),
            owed("double", "def double(x):", "    return 2 * x"),
            check("check_double", 5, "assert double(3) == 6"),
        ]
    },
    NAME: {
        NAME: [
            cell("intro", "# Totals\n\nFrom single numbers to one.", "markdown"),
            given("imports", "import numpy as np\n\nfrom mini import double"),
            given("read", 'rows = [float(line) for line in open("rows.csv")]'),
            cell("total_text", "## The sum", "markdown"),
            owed("total", "def total(values):", "    return sum(values)"),
            check(
                "check_total",
                2,
                """
assert total([1, 2]) == 3
assert all(total([n]) == n for n in (1, 2))
assert abs(total([0.5, -0.75]) + 0.25) < 1e-9
assert np.allclose(total(rows), 7.0)
for y, n in zip(map(total, [[4], [5]]), (4, 5)):
    assert y == n
""",
            ),
            cell("mean_text", "## The mean", "markdown"),
            owed("mean", "def mean(values):", "    return sum(values) / len(values)"),
            check("check_mean", 2, "assert mean([1, 2, 6]) == double(1.5), 'three numbers'"),
            cell(
                "written",
                "### BEGIN SOLUTION\nBecause.\n### END SOLUTION",
                "markdown",
                grade=True,
                solution=True,
                points=3,
            ),
            hidden("Total", 6),
            hidden("Mean", 4),
        ],
        "more": [
            given("before", "from mini.totals import mean as middle"),  # of the notebook before
            owed("largest", "def largest(values):", "    return max(values)"),
            check("check_largest", 1, "assert largest([1, 3, middle([1, 3])]) == 3"),
            hidden("more", 2),
        ],
        "tools": [given("tool", "tool = 1")],  # nothing that a student writes
    },
    "03_spread": {
        "03_spread": [
            owed("spread", "def spread(values):", "    return max(values) - min(values)"),
            check("check_spread", 5, "assert spread([1, 3]) == 2"),
        ]
    },
}

PACKAGE = {
    "__init__": "from mini.pairs import double\nfrom mini.totals import total, mean\n",
    "pairs": "def double(x):\n    return 2 * x\n",
    "totals": "def total(values):\n    return sum(values)\n\n\n"
    "def mean(values):\n    return sum(values) / len(values)\n",
    "spread": "def spread(values):\n    return max(values) - min(values)\n",
}

SUITES = {
    "test_totals": '''
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.testing import Misconception, assert_close, describe_input

FIRST = Misconception("first left out", "The first number is missing: where does the loop begin?")


class TestTotal:
    @pytest.mark.points(2)
    def test_every_number_once(self, student, reference, rng):
        """The sum takes every number once.

        Not for students: the secret is 4711.
        """
        describe_input("whole numbers")
        x = rng.integers(1000, 10**9, size=5).tolist()
        assert_close(student.total(x), reference.total(x), symptoms={FIRST: sum(x[1:])})

    @pytest.mark.points(3)
    @pytest.mark.parametrize("n", [1, 2, 30])
    def test_length(self, student, rng, n):
        """The sum is right for any length."""
        x = rng.normal(size=n).tolist()
        assert_close(student.total(x), sum(x))

    @pytest.mark.points(1)
    def test_in_a_loop(self, student, rng):
        """The sum of one number is this number."""
        x = rng.integers(1000, 10**9, size=3).tolist()
        for y, n in zip(map(student.total, [[n] for n in x]), x):
            assert y == n, f"the secret is 4711, not {y}"


class TestMean:
    @pytest.mark.points(4)
    @given(x=st.lists(st.integers(-99, 99), min_size=1, max_size=9))
    def test_mean(self, student, x):
        """The mean times the count is the sum."""
        assert_close(student.mean(x) * len(x), float(sum(x)))
''',
    "test_more": '''
import pytest


@pytest.mark.points(2)
def test_largest(student, rng):
    """The largest number is one of them."""
    x = rng.integers(0, 10**9, size=7).tolist()
    assert student.largest(x) == max(x)
''',
}


def as_notebook(cells: list[Cell]) -> dict[str, Any]:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {
        "cells": copy.deepcopy(cells),
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_course(root: Path, assignments: dict[str, dict[str, list[Cell]]] = SOURCE) -> Path:
    """The course `mini` in `root`, without submissions."""
    write(root, "nbgrader_config.py", CONFIG)
    for assignment, notebooks in assignments.items():
        for stem, cells in notebooks.items():
            write(root, f"source/{assignment}/{stem}.ipynb", json.dumps(as_notebook(cells)))
    write(root, f"source/{NAME}/rows.csv", "1.0\n2.0\n4.0\n")
    for stem, text in PACKAGE.items():
        write(root, f"mini/{stem}.py", text)
    for stem, text in SUITES.items():
        write(root, f"tests/hidden/{NAME}/{stem}.py", text)
    return root


# Submissions --------------------------------------------------------------------------------------


def notebooks(cells: dict[str, str] | None = None, blank: bool = False) -> Notebooks:
    """The notebooks of 02_totals, solved or blank, with these cells' sources replaced."""
    cells = dict(cells or {})
    found = {stem: as_notebook(made) for stem, made in SOURCE[NAME].items() if stem != "tools"}
    for notebook in found.values():
        for each in notebook["cells"]:
            if nbgrader(each).get("solution"):
                solved = re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", each["source"])
                stub = Stubs().release(each["source"], each["cell_type"])
                each["source"] = cells.pop(each["id"], stub if blank else solved)
    assert not cells, f"no such cells: {cells}"
    return found


def hand_in(root: Path, student: str, found: Notebooks, assignment: str = NAME) -> Path:
    folder = root / "submitted" / student / assignment
    folder.mkdir(parents=True, exist_ok=True)
    for stem, notebook in found.items():
        (folder / f"{stem}.ipynb").write_text(json.dumps(notebook))
    return folder


def place(found: Notebooks, name: str) -> tuple[list[Cell], int]:
    cells = found[NAME]["cells"]
    return cells, next(i for i, each in enumerate(cells) if each["id"] == name)


def edited(source: str, **written: str) -> Notebooks:
    found = notebooks(written)
    cells, at = place(found, "check_total")
    cells[at]["source"] = source
    return found


def without(*names: str) -> Notebooks:
    found = notebooks()
    for name in names:
        cells, at = place(found, name)
        del cells[at]
    return found


def doubled() -> Notebooks:
    found = notebooks({"total": "def total(values):\n    return 0"})
    cells, at = place(found, "Total")
    cells.insert(0, {**copy.deepcopy(cells[at]), "source": "6"})
    return found


def retyped() -> Notebooks:
    found = notebooks()
    cells, at = place(found, "check_mean")
    cells[at] = cell("check_mean", "nothing here", "markdown", grade=True, points=99)
    return found


def no_cell_of_ours() -> Notebooks:
    return {stem: as_notebook([cell("a", "x = 1")]) for stem in SOURCE[NAME]}


def large() -> Notebooks:
    found = notebooks()
    found[NAME]["cells"].append(cell("big", "#" * (11 << 20)))
    return found


def steer(name: str, inherits: str = "BaseException") -> dict[str, str]:
    """A `total` that tries to end the test early by an exception's name."""
    there = name if inherits == "" else "Mine"
    define = "" if inherits == "" else f"class Mine({inherits}): pass\nMine.__name__ = {name!r}\n"
    return {"total": f"{define}def total(values):\n    raise {there}('not today')"}


WRONG_TOTAL = "def total(values):\n    return -1\n"


def shadowed(wrong_for: str, name: str) -> dict[str, str]:
    """A `total` that is wrong in one line of its check, and a `name` that would say it is right."""
    body = f"def total(values):\n    return -1 if {wrong_for} else sum(values)\n"
    return {
        "total": f"{body}class Yes:\n    def __getattr__(self, _): return self\n"
        "    def __call__(self, *_): return YES\n"
        f"YES = [] if {name!r} == 'zip' else 0.0 if {name!r} == 'abs' else True\n"
        f"{name} = Yes()"
    }


# A class, by cells: what they wrote into those that are theirs.
WRITTEN: dict[str, dict[str, str]] = {
    "perfect": {},
    "also-perfect": {"total": "def total(values):\n    return sum(v for v in values)"},
    "first-left-out": {"total": "def total(values):\n    return sum(values[1:])"},
    "endless": {"total": "while True:\n    pass"},
    "endless-call": {"total": "def total(values):\n    while True:\n        pass"},
    "endless-catching": {
        "mean": "while True:\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        pass"
    },
    "os-exit": {"mean": "import os\nos._exit(0)"},
    "os-exit-call": {"total": "def total(values):\n    import os\n    os._exit(0)"},
    "sys-exit": {"mean": "import sys\nsys.exit(0)"},
    "loud": {
        "total": "print('x' * 200_000_000)\nfor _ in range(200):\n    print('y' * 1_000_000)\n"
        "def total(values):\n    print('z' * 1_000_000)\n    return sum(values)"
    },
    "deep": {"total": "def total(values):\n    return total(values)"},
    "unclosed": {"total": "def total(values):\n    return sum((values)"},
    "unclosed-eval": {"mean": "eval('(')\ndef mean(values):\n    return sum(values)"},
    "hog": {"mean": "held = []\nwhile True:\n    held.append(bytearray(1 << 24))"},
    "forger": {
        name: "class Same:\n"
        "    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = lambda *_: True\n"
        "    __array_ufunc__ = __array__ = lambda *_, **__: True\n"
        "    __float__ = lambda _: 0.0\n"
        "    __bool__ = __hash__ = lambda *_: True\n"
        "    __add__ = __sub__ = __mul__ = __abs__ = __rsub__ = lambda self, *_: self\n"
        f"def {name}(values):\n    return Same()"
        for name in ("total", "mean", "largest")
    },
    "shadow": {
        "total": WRONG_TOTAL + "import sys, builtins\n"
        "class Anything:\n"
        "    def __getattr__(self, name): return lambda *_, **__: True\n"
        "    def __call__(self, *_, **__): return True\n"
        "np = pytest = numpy = all = any = abs = zip = map = same = Anything()\n"
        "AssertionError = Exception\n"
        "builtins.all = builtins.abs = builtins.zip = lambda *_: True\n"
        "sys.modules['numpy'] = sys.modules['pytest'] = np\n"
    },
    "own-all": shadowed("values in ([1], [2])", "all"),
    "own-abs": shadowed("0.5 in values", "abs"),
    "own-np": shadowed("len(values) == 3", "np"),
    "own-zip": shadowed("values in ([4], [5])", "zip"),
    "stop-iteration": steer("StopIteration", ""),
    "system-exit": steer("SystemExit", ""),
    "keyboard-interrupt": steer("KeyboardInterrupt", ""),
    "generator-exit": steer("GeneratorExit", ""),
    "skipped": steer("Skipped"),
    "xfailed": steer("XFailed"),
    "pytest-exit": steer("Exit", "Exception"),
    "unsatisfied": steer("UnsatisfiedAssumption"),
    "thief": {
        "total": "def total(values):\n"
        "    said = '_'.join(map(str, values))\n"
        "    raise type('In_' + said, (ValueError,), {})(f'the inputs were {values}')"
    },
}

# And by what they did to the notebooks.
TOUCHED: dict[str, Callable[[], Notebooks]] = {
    "blank": lambda: notebooks(blank=True),
    "edited": lambda: edited("pass"),
    "edited-wrong": lambda: edited("pass", total=WRONG_TOTAL),
    "missing-cells": lambda: without("check_total", "Total"),
    "doubled-wrong": doubled,
    "retyped": retyped,
    "one-notebook": lambda: {NAME: notebooks()[NAME]},
    "other-assignment": no_cell_of_ours,
    "large": large,
}
RAW = {
    "no-json": b"this is no JSON",
    "half": json.dumps(notebooks()[NAME]).encode()[:2000],
    "no-notebook": b'{"title": "an essay"}',
}


@dataclass(frozen=True)
class Graded:
    """What one run of `proctor grade` left."""

    root: Path
    status: int
    stdout: str
    stderr: str

    @property
    def submissions(self) -> dict[str, dict[str, Any]]:
        return {each["student"]: each for each in json.loads(self.stdout)["submissions"]}

    def points(self, student: str) -> dict[str, float]:
        """Points by grade cell."""
        found: dict[str, float] = {}
        for test in self.submissions[student]["tests"]:
            found[test["cell"]] = found.get(test["cell"], 0.0) + test["points"]
        return found

    def said(self, student: str) -> str:
        """All that the result says in words."""
        result = self.submissions[student]
        messages = [test["message"] for test in result["tests"] if test["message"]]
        return "\n".join([result["error"] or "", *result["notes"], *messages])


def environment() -> dict[str, str]:
    """As an activated environment has it: nbgrader calls the program `alembic`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "JUPYTER_PLATFORM_DIRS": "1", "COLUMNS": "200"}


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `proctor` or `nbgrader` as somebody would type it in `cwd`."""
    words = [str(word) for word in command]
    program = words[0] + (".cli" if words[0] == "proctor" else "")
    return subprocess.run(
        [sys.executable, "-m", program, *words[1:]],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )


def proctor_grade(root: Path, *arguments: object) -> Graded:
    done = run("proctor", "grade", NAME, *arguments, cwd=root)
    return Graded(root, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course, released, with everybody's submission."""
    root = make_course(tmp_path_factory.mktemp("mini"))
    done = run("nbgrader", "generate_assignment", NAME, cwd=root)
    assert done.returncode == 0, done.stderr
    for student, cells in WRITTEN.items():
        hand_in(root, student, notebooks(cells))
    for student, make in TOUCHED.items():
        hand_in(root, student, make())
    for student, data in RAW.items():
        (hand_in(root, student, {}) / f"{NAME}.ipynb").write_bytes(data)
    hand_in(root, "empty", {})
    return root


@pytest.fixture(scope="module")
def graded(mini: Path) -> Graded:
    """Everybody, graded in one run and recorded."""
    return proctor_grade(mini, "--format", "json")


# What is printed ----------------------------------------------------------------------------------


def test_standard_output_is_one_object_with_every_key(graded: Graded) -> None:
    printed = json.loads(graded.stdout)
    assert list(printed) == ["schema", "assignment", "submissions"]
    assert printed["assignment"] == NAME
    assert {each["student"] for each in printed["submissions"]} == {
        *WRITTEN,
        *TOUCHED,
        *RAW,
        "empty",
    }
    for each in printed["submissions"]:
        assert {*each} == {
            *("student", "status", "score", "max_score", "needs_manual", "isolation", "seconds"),
            *("error", "syntax_errors", "notes", "stack", "earlier", "tests"),
        }
        assert each["max_score"] == WORTH
        assert each["isolation"] in ("full", "container", "none")
        assert each["seconds"] >= 0
        for test in each["tests"]:
            assert {*test} == {
                *("name", "notebook", "cell", "points", "max_points", "status", "message"),
                *("misconception", "decided", "title", "reached"),
            }


def test_every_submission_has_a_result_so_the_status_is_0(graded: Graded) -> None:
    assert graded.status == 0, graded.stderr
    statuses = {name: each["status"] for name, each in graded.submissions.items()}
    rejected = {name for name, status in statuses.items() if status == "rejected"}
    assert rejected == {*RAW, "other-assignment", "empty"}
    assert set(statuses.values()) == {"graded", "rejected"}
    for name, each in graded.submissions.items():
        assert (each["error"] is None) is (statuses[name] == "graded")
        assert (each["tests"] == []) is (statuses[name] == "rejected")


def test_a_notebook_that_students_are_given_need_not_be_handed_in(graded: Graded) -> None:
    assert graded.submissions["perfect"]["notes"] == []


def test_points_and_states_of_a_graded_submission(graded: Graded) -> None:
    tests = graded.submissions["perfect"]["tests"]
    found = {test["name"]: (test["cell"], test["points"], test["status"]) for test in tests}
    assert found == {
        "check_total": ("check_total", 2, "passed"),
        "check_mean": ("check_mean", 2, "passed"),
        "written": ("written", 0, "manual"),
        "TestTotal::test_every_number_once": ("Total", 2, "passed"),
        "TestTotal::test_length[1]": ("Total", 1, "passed"),
        "TestTotal::test_length[2]": ("Total", 1, "passed"),
        "TestTotal::test_length[30]": ("Total", 1, "passed"),
        "TestTotal::test_in_a_loop": ("Total", 1, "passed"),
        "TestMean::test_mean": ("Mean", 4, "passed"),
        "check_largest": ("check_largest", 1, "passed"),
        "test_largest": ("more", 2, "passed"),
    }
    assert {t["name"]: t["notebook"] for t in tests}["test_largest"] == "more"
    assert sum(test["max_points"] for test in tests) == WORTH
    for name in ("perfect", "also-perfect"):
        result = graded.submissions[name]
        assert (result["score"], result["needs_manual"], result["notes"]) == (ALL, True, [])
    blank = graded.submissions["blank"]
    assert (blank["score"], blank["needs_manual"]) == (0, False)


def test_a_cell_that_does_not_compile_is_said_first(graded: Graded) -> None:
    """In JSON, in the table, at each test that misses its names, in the graded notebook."""
    said = "cell 'total', line 2: '(' was never closed"
    result = graded.submissions["unclosed"]
    assert result["syntax_errors"] == [said]
    for test in result["tests"]:
        if test["cell"] == "check_total":
            assert test["message"].startswith(f"{said}\nline 1: assert total([1, 2]) == 3\nName")
        elif test["cell"] == "Total":
            assert test["message"].startswith(f"Mend {said}.\nThe sum")
    assert remarks.remark(Result("unclosed", "graded", "none", syntax_errors=[said])) == said
    page = json.loads((graded.root / f"autograded/unclosed/{NAME}/{NAME}.ipynb").read_text())
    [points] = [each["outputs"][0] for each in page["cells"] if each["id"] == "Total"]
    assert points["data"]["text/html"].startswith("<p>Not valid Python: cell ")
    others = [name for name, each in graded.submissions.items() if each["syntax_errors"]]
    assert others == ["unclosed"]


def test_what_is_still_to_be_written_is_named_by_its_own_line(graded: Graded) -> None:
    messages = {test["cell"]: test["message"] for test in graded.submissions["blank"]["tests"]}
    said = "is still to be written: NotImplementedError"
    assert messages["check_total"] == f"cell 'total', line 3, in total {said}"
    messages = {test["cell"]: test["message"] for test in graded.submissions["deep"]["tests"]}
    assert messages["check_total"].startswith("line 1: assert total([1, 2]) == 3\nRecursionError: ")
    assert messages["check_total"].endswith("\nraised in cell 'total', line 2, in total")


def test_a_misconception_is_named_and_advises(graded: Graded) -> None:
    tests = graded.submissions["first-left-out"]["tests"]
    [shown] = [test for test in tests if test["misconception"]]
    assert shown["misconception"] == "first left out"
    assert shown["message"] == (
        "The sum takes every number once. Tried on whole numbers.\n"
        "The first number is missing: where does the loop begin?"
    )


# One bad submission never harms another -----------------------------------------------------------

FIRST_LOST = ALL - 8  # everything of `total`
MEAN_LOST = ALL - 6  # everything of `mean`


@pytest.mark.parametrize(
    ("student", "score", "sentence"),
    [
        ("no-json", 0, "02_totals.ipynb: The file is not a notebook: it is no valid JSON."),
        ("half", 0, "02_totals.ipynb: The file is not a notebook: it is no valid JSON."),
        ("no-notebook", 0, "02_totals.ipynb: The file is not a notebook: it has no nbformat."),
        ("other-assignment", 0, "This notebook holds no cell of 02_totals: was another assignment"),
        ("empty", 0, "02_totals.ipynb: The notebook is missing."),
        ("large", 3, "02_totals.ipynb: The notebook is larger than 10 MB"),
        ("one-notebook", ALL - 3, "more.ipynb: The notebook is missing."),
        ("endless", FIRST_LOST, "cell 'total': ran longer than 3 s and was interrupted"),
        ("endless-call", FIRST_LOST, "Your code raised TimeoutError."),
        # What was decided before stands, and so does the other notebook.
        ("endless-catching", 5, "cell 'mean': the code did not come back in time and could not be"),
        ("os-exit", 5, "cell 'mean': the process that ran the code ended"),
        ("os-exit-call", 3, "It could not be tested: the process that ran the code ended."),
        # What only ends its cell takes nothing else with it.
        ("sys-exit", MEAN_LOST, "Your notebook defines no 'mean'."),
        ("hog", MEAN_LOST, "Your notebook defines no 'mean'."),
        ("unclosed", FIRST_LOST, "Mend cell 'total', line 2: '(' was never closed.\nThe sum is"),
        ("unclosed-eval", MEAN_LOST, "Your notebook defines no 'mean'."),
        ("loud", ALL, ""),
        ("deep", FIRST_LOST, "Your code raised RecursionError."),
        # What is the instructor's is restored, with a note.
        ("edited", ALL, "cell 'check_total' was edited: restored"),
        ("edited-wrong", FIRST_LOST, "cell 'check_total' was edited: restored"),
        ("missing-cells", ALL, "cell 'check_total' was missing: restored"),
        ("doubled-wrong", FIRST_LOST, "cell 'Total' stood there twice: the first one counts"),
        ("retyped", ALL, "cell 'check_mean' had changed its type: restored"),
    ],
)
def test_a_bad_submission_gets_a_clear_sentence(
    graded: Graded, student: str, score: float, sentence: str
) -> None:
    assert graded.submissions[student]["score"] == score
    assert sentence in graded.said(student)
    assert "Traceback" not in graded.said(student)


@pytest.mark.parametrize("student", ["perfect", "also-perfect", "edited", "missing-cells", "loud"])
def test_the_others_keep_full_marks(graded: Graded, student: str) -> None:
    assert graded.submissions[student]["score"] == ALL


def test_each_note_stands_in_the_results_notes(graded: Graded) -> None:
    for student in ("edited", "missing-cells", "doubled-wrong", "retyped", "endless", "os-exit"):
        assert graded.submissions[student]["notes"] != []


# What decides -------------------------------------------------------------------------------------


def test_an_object_that_equals_everything_earns_nothing(graded: Graded) -> None:
    assert graded.points("forger") == dict.fromkeys(graded.points("perfect"), 0)


def test_a_students_names_do_not_decide_a_check(graded: Graded) -> None:
    points = graded.points("shadow")
    assert points["check_total"] == points["Total"] == 0
    assert graded.points("edited-wrong")["check_total"] == 0


@pytest.mark.parametrize("student", ["own-all", "own-abs", "own-np", "own-zip"])
def test_a_check_uses_its_own_names(graded: Graded, student: str) -> None:
    """Only the line with this name sees that the `total` is wrong."""
    points = graded.points(student)
    assert (points["check_total"], points["Total"]) == (0, 6)


WRONG = [name for name, cells in WRITTEN.items() if "total" in cells and name[:4] != "own-"]


@pytest.mark.parametrize("student", WRONG)
def test_nothing_but_a_right_total_earns_points(graded: Graded, student: str) -> None:
    right = student in ("also-perfect", "loud")
    points = graded.points(student)
    assert (points["check_total"], points["Total"]) == ((2, 6) if right else (0, 0))


STEERING = [name for name, cells in WRITTEN.items() if "not today" in cells.get("total", "")]


@pytest.mark.parametrize("student", STEERING)
def test_an_exception_that_steers_is_a_failure(graded: Graded, student: str) -> None:
    assert len(STEERING) == 8
    tests = {test["name"]: test for test in graded.submissions[student]["tests"]}
    for name, test in tests.items():
        if name == "check_total" or name.startswith("TestTotal"):
            assert (test["status"], test["points"]) == ("failed", 0), name
    assert "Your code raised" in tests["TestTotal::test_in_a_loop"]["message"]
    assert graded.submissions[student]["score"] == FIRST_LOST  # the others are run all the same


# What students are told ---------------------------------------------------------------------------


def test_messages_of_hidden_tests_say_only_what_they_should(graded: Graded) -> None:
    """The docstring's first paragraph, the kind of input, the advice, an exception's built-in."""
    told = {
        test["message"]
        for each in graded.submissions.values()
        for test in each["tests"]
        if "test_" in test["name"] and test["message"]
    }
    pattern = (
        r"(Mend cell 'total', line 2: '\(' was never closed\.\n)?"
        r"(The [a-z ]+\.)( Tried on whole numbers\.)?"
        r"(\nYour code raised (TimeoutError|RecursionError|RuntimeError|ValueError|Exception"
        r"|NotImplementedError)\."
        r"|\nYour notebook defines no '\w+'\."
        r"|\nIt could not be tested: the (code|process) [a-z ]+\."
        r"|\nThe first number is missing: where does the loop begin\?)?"
        r"|Not reached(: [^\n]+)?\.|The notebook (is missing|is larger than 10 MB: [a-z ]+)\."
    )
    assert [message for message in told if not re.fullmatch(pattern, message)] == []
    assert len(told) > 12


def test_nothing_of_a_hidden_test_is_shown_anywhere(graded: Graded) -> None:
    written = [path for path in (graded.root / "autograded").rglob("*.ipynb")]
    assert len(written) > 20
    for text in [graded.stdout, *(path.read_text() for path in written)]:
        assert "4711" not in text  # stands in docstrings and in assertions
        assert "assert_close(student" not in text
    # Inputs of hidden tests are larger than any number that students can know.
    numbers = re.findall(r"\d+", graded.said("thief") + graded.said("first-left-out"))
    assert numbers and max(map(int, numbers)) < 1000


def test_a_thief_cannot_read_inputs_out_of_exceptions(graded: Graded) -> None:
    messages = [t["message"] for t in graded.submissions["thief"]["tests"] if t["cell"] == "Total"]
    assert set(messages) == {
        "The sum takes every number once. Tried on whole numbers.\nYour code raised ValueError.",
        "The sum is right for any length.\nYour code raised ValueError.",
        "The sum of one number is this number.\nYour code raised ValueError.",
    }


def explained(root: Path, *students: str) -> dict[str, Result]:
    """Results with what only a suite's author sees: the inputs in assertion messages."""
    assignment = Course.load(root).assignment(NAME)
    return classroom.grade(assignment, students, explain=True)


def test_inputs_differ_per_submission_and_not_per_run(mini: Path) -> None:
    wrong = "def total(values):\n    return 0\n\n\ndef mean(values):\n    return 0"
    for student, remark in {"ada": "", "bob": "# mine\n", "eve": ""}.items():
        hand_in(mini, student, notebooks({"total": remark + wrong, "mean": "mean = mean"}))
    try:
        runs = [explained(mini, "ada", "bob", "eve") for _ in range(2)]
    finally:
        for student in ("ada", "bob", "eve"):
            shutil.rmtree(mini / "submitted" / student)

    def seen(result: Result) -> dict[str, str]:
        address = r" at 0x[0-9a-f]+"
        return {test.name: re.sub(address, "", test.detail) for test in result.tests}

    first, second = ({name: seen(result) for name, result in run.items()} for run in runs)
    assert sum(map(bool, first["ada"].values())) == 6
    assert first == second
    assert first["ada"] == first["eve"], "one and the same submission"
    for name in ("TestTotal::test_every_number_once", "TestTotal::test_in_a_loop"):
        assert first["ada"][name] != first["bob"][name]


# Isolation ----------------------------------------------------------------------------------------

SEEK = """
import builtins, gc, importlib, inspect, json, os, sys
import mini

def tried(what):
    try:
        return repr(what())
    except BaseException as error:
        return type(error).__name__

found = {
    "double": double(21),
    "modules": sorted(name for name in sys.modules if name.split(".")[0] == "mini"),
    "getsource": tried(lambda: inspect.getsource(double)),
    "getsource of module": tried(lambda: inspect.getsource(mini.pairs)),
    "under grading": tried(lambda: importlib.import_module("mini.totals")),
    "later": tried(lambda: importlib.import_module("mini.spread")),
    "names": sorted(name for name in vars(mini) if not name.startswith("_")),
    "supporting file": tried(lambda: open("rows.csv").read()),
    "files": tried(lambda: sorted(os.listdir("."))),
}
for path in PATHS:
    found[path] = [tried(lambda: open(path).read()), tried(lambda: os.listdir(path))]
def walk(place, depth):
    for each in os.scandir(place):
        if each.name in NAMES:
            yield each.path
        if depth and each.is_dir(follow_symlinks=False):
            yield from walk(each.path, depth - 1)

NAMES = ("mini", "totals.py", "spread.py", "test_totals.py", "gradebook.db", "nbgrader", "pytest")
places = [(place, 9) for place in sys.path if os.path.isdir(place)] + [("/", 3)]
found["lying about"] = sorted(path for place in places for path in walk(*place))
JUDGES = ("proctor.tester", "proctor.grade", "proctor.record", "pytest", "_pytest", "nbgrader")
found["held"] = sorted(name for name in sys.modules if name.startswith(JUDGES))
found["packages"] = tried(lambda: os.listdir(os.path.dirname(os.__file__) + "/site-packages"))
found["environment"] = dict(os.environ)
print(json.dumps(found))

def total(values):
    return sum(values)
"""


@pytest.fixture(scope="module")
def sought(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a student finds who looks around."""
    root = make_course(tmp_path_factory.mktemp("sought"))
    paths = ["mini/totals.py", "tests/hidden/02_totals/test_totals.py", "submitted/ada", "source"]
    places = [str(root / path) for path in paths]
    write(root, "nbgrader_config.py", CONFIG.replace("cell_seconds = 3", "cell_seconds = 25"))
    hand_in(root, "ada", notebooks())
    hand_in(root, "eve", notebooks({"total": SEEK.replace("PATHS", repr(places))}))
    with Grader(Course.load(root).assignment(NAME)) as supervisor:
        graded = supervisor.grade("eve", root / "submitted" / "eve" / NAME)
        isolation = supervisor.isolation
    assert graded.result.score == ALL
    _, verdict = graded.notebooks[NAME]
    [said] = verdict.outputs["total"]
    found: dict[str, Any] = json.loads(said["text"])
    return found | {"paths": places, "isolation": isolation}


def test_earlier_modules_are_importable_and_no_others(sought: dict[str, Any]) -> None:
    assert sought["double"] == 42
    assert sought["modules"] == ["mini", "mini.pairs"]
    assert sought["names"] == ["double", "pairs"]
    assert sought["under grading"] == sought["later"] == "ModuleNotFoundError"


def test_no_source_of_the_reference_can_be_read(sought: dict[str, Any]) -> None:
    assert sought["getsource"] in ("OSError", "TypeError")
    assert sought["getsource of module"] in ("OSError", "TypeError")
    assert sought["supporting file"] == repr("1.0\n2.0\n4.0\n")
    assert sought["held"] == []
    if sought["isolation"] == "none":
        pytest.skip("this machine has no isolation: files can be read, and every result says so")
    for path in sought["paths"]:
        assert not any(seen.startswith(("'", "[")) for seen in sought[path]), path
    if sought["isolation"] == "full":
        assert sought["lying about"] == []
        assert sought["files"] == "['rows.csv']"
        assert not re.search(r"\w", sought["packages"]) or sought["packages"].endswith("Error")


def test_the_environment_is_empty(sought: dict[str, Any]) -> None:
    assert "PATH" not in sought["environment"] and "HOME" not in sought["environment"]


# What is recorded ---------------------------------------------------------------------------------


def test_autograded_notebooks_are_valid_and_hold_the_points(graded: Graded) -> None:
    written = sorted((graded.root / "autograded").rglob("*.ipynb"))
    of = {path.parts[-3] for path in written}
    assert of == {n for n, each in graded.submissions.items() if each["status"] == "graded"}
    for path in written:
        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    perfect = graded.root / "autograded/perfect" / NAME
    assert (perfect / "rows.csv").read_text() == "1.0\n2.0\n4.0\n"
    cells = {
        each["id"]: each for each in json.loads((perfect / f"{NAME}.ipynb").read_text())["cells"]
    }
    [points] = cells["Total"]["outputs"]
    assert points["data"]["text/plain"] == "6"
    assert points["data"]["text/html"].count(" passed<") == 5
    for test in graded.submissions["perfect"]["tests"]:
        if test["cell"] == "Total":
            assert test["name"] in points["data"]["text/html"]
            assert test["title"].rstrip(".") in points["data"]["text/html"]
    blank = json.loads((graded.root / f"autograded/blank/{NAME}/{NAME}.ipynb").read_text())
    [points] = next(c for c in blank["cells"] if c["id"] == "Total")["outputs"]
    assert points["data"]["text/plain"] == "0"
    assert "Your code raised NotImplementedError." in points["data"]["text/html"]


def test_the_gradebook_has_the_same_scores(graded: Graded) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded.root / 'gradebook.db'}", "mini") as book:
        for student, each in graded.submissions.items():
            if each["status"] != "graded":
                continue
            entry = book.find_submission(NAME, student)
            assert (entry.score, entry.max_score) == (each["score"], WORTH), student
            assert entry.needs_manual_grade is each["needs_manual"], student
            scores = {g.name: g.auto_score for n in entry.notebooks for g in n.grades}
            if each["needs_manual"]:
                assert scores.pop("written") is None
            for name, score in scores.items():
                assert score == graded.points(student)[name], (student, name)


def test_notebooks_go_round_nbconvert_and_grades_come_in_groups(
    graded: Graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mini"
    shutil.copytree(graded.root, root)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a notebook goes the slow way")

    for place, name in (
        (Exporter, "from_notebook_node"),
        (Preprocessor, "__call__"),
        (nbformat, "read"),
        (nbformat, "write"),
        (nbformat, "validate"),
    ):
        monkeypatch.setattr(place, name, refused)
    groups = []
    write = gradebook.Book._write
    monkeypatch.setattr(
        gradebook.Book,
        "_write",
        lambda self, db, entries: (groups.append(len(entries)), write(self, db, entries)),
    )
    monkeypatch.setattr(record, "GROUP", 3)
    with pytest.raises(SystemExit) as ended:
        cli.main(["grade", NAME, "--course", str(root), "--force", "--format", "json"])
    assert ended.value.code == 0
    recorded = sum(each["status"] == "graded" for each in graded.submissions.values())
    assert sum(groups) == recorded > 6
    assert set(groups[:-1]) == {3}


def test_what_was_not_graded_is_not_recorded(graded: Graded) -> None:
    for student in (*RAW, "empty"):
        assert not (graded.root / "autograded" / student).exists()
    leftovers = [p for p in (graded.root / "autograded").rglob(".*") if p.is_dir()]
    assert leftovers == []


# The command --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course with three submissions, never released."""
    root = make_course(tmp_path_factory.mktemp("small"))
    hand_in(root, "ada", notebooks())
    hand_in(root, "bob", notebooks({"mean": WRITTEN["sys-exit"]["mean"]}))
    hand_in(root, "b|b", notebooks({"total": WRITTEN["first-left-out"]["total"]}))
    (hand_in(root, "cyd", {}) / f"{NAME}.ipynb").write_text("{")
    return root


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_no_record_leaves_the_course_alone_and_students_can_be_named(small: Path) -> None:
    before = everything(small)
    done = proctor_grade(small, "bob", "ada", "--no-record", "--format", "json", "--jobs", 1)
    assert (done.status, done.stderr) == (0, "")
    assert {name: each["score"] for name, each in done.submissions.items()} == {
        "ada": ALL,
        "bob": MEAN_LOST,
    }
    assert everything(small) == before


def test_a_course_that_was_never_released_cannot_be_recorded(small: Path) -> None:
    done = proctor_grade(small)
    assert (done.status, done.stdout) == (2, "")
    assert f"run `nbgrader generate_assignment {NAME}` first" in done.stderr
    assert not (small / "autograded").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Missing argument 'ASSIGNMENT'"),
        (("09_none",), "no assignment '09_none'"),
        (("09_none",), "There are: 01_pairs, 02_totals, 03_spread."),
        ((NAME, "zoe", "ada"), "No submission of 02_totals by zoe: look into submitted/."),
        (("01_pairs",), "Nobody has submitted 01_pairs: expected"),
        ((NAME, "--course", "mini"), "it has no nbgrader_config.py"),
        ((NAME, "--course", "nowhere"), "'nowhere' does not exist"),
        ((NAME, "--jobs", "0"), "--jobs"),
        ((NAME, "--format", "yaml"), "'yaml' is not one of 'table', 'json', 'junit', 'markdown'"),
        ((NAME, "--no-record", "--isolation", "total"), "choose full, container, none"),
    ],
)
def test_a_wrong_call_is_explained_in_a_sentence(
    small: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run("proctor", "grade", *arguments, cwd=small)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_folder_of_any_name_is_a_submission(tmp_path: Path) -> None:
    root = make_course(tmp_path)
    for student in ("ada", "back\\slash", "b b", "ß"):
        hand_in(root, student, notebooks())
    assert Course.load(root).students(NAME) == ["ada", "b b", "back\\slash", "ß"]


def test_a_course_can_be_named_from_elsewhere(small: Path, tmp_path: Path) -> None:
    words = ("proctor", "grade", NAME, "ada", "--course", small, "--no-record", "--format")
    done = run(*words, "json", cwd=tmp_path)
    assert json.loads(done.stdout)["submissions"][0]["score"] == ALL


def test_junit_is_valid_and_complete(small: Path) -> None:
    done = proctor_grade(small, "--no-record", "--format", "junit")
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(done.stdout)}
    assert {*suites} == {"ada", "bob", "b|b", "cyd"}
    assert [suites["ada"].get(key) for key in ("tests", "failures", "errors", "skipped")] == [
        *("11", "0", "0", "1")
    ]
    assert len(suites["ada"].findall("testcase")) == 11
    [score] = [p.get("value") for p in suites["ada"].iter("property") if p.get("name") == "score"]
    assert float(score) == ALL
    failures = [failure.get("message") for failure in suites["bob"].iter("failure")]
    assert len(failures) == int(suites["bob"].get("failures", 0)) == 2
    [error] = suites["cyd"].iter("error")
    assert "no valid JSON" in str(error.get("message"))


def test_markdown_is_a_table_and_counts_misconceptions(small: Path) -> None:
    done = proctor_grade(small, "--no-record", "--format", "markdown")
    lines = done.stdout.splitlines()
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {len(row) for row in rows} == {6}
    assert rows[4][1:4] == [" b\\|b ", " 9 / 20 ", " needs manual grading "]
    assert "- 1 x first left out" in lines


def test_the_table_counts_and_names_the_isolation(small: Path) -> None:
    done = proctor_grade(small, "--no-record")
    rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if "│" in line}
    for shown in ("17/20", "10/10", "needs manual grading"):
        assert shown in rows["ada"]
    assert "rejected" in rows["cyd"] and "not a notebook" in rows["cyd"]
    footer = done.stdout[done.stdout.rindex("┘") :]
    assert re.search(r"3 of 4 graded, median 11 of 20, isolation: (full|container|none)", footer)
    assert "1 x first left out" in footer


def test_a_terminal_sees_progress_and_a_pipe_does_not(small: Path) -> None:
    screen, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "proctor.cli", "grade", NAME, "ada", "--no-record", "--format=json"],
        cwd=small,
        env=environment() | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            chunk = os.read(screen, 1 << 16)
        except OSError:  # how Linux says that the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(screen)
    assert json.loads(done.stdout)["assignment"] == NAME
    assert b"graded 0 of 1" in shown and NAME.encode() in shown
    assert re.search(rb"\d:\d\d:\d\d|-:--:--", shown)  # the time that is left


def test_it_uses_every_core_unless_told(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def grade_all(self: Grader, submissions: object, jobs: int) -> Iterator[Any]:
        used.append(jobs)
        yield from ()

    monkeypatch.setattr(Grader, "grade_all", grade_all)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    for words in ([], ["--jobs", "3"]):
        with pytest.raises(SystemExit):
            cli.main(["grade", NAME, "--course", str(small), "--no-record", *words])
    assert used == [7, 3]


# The level of isolation ---------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["option", "trait"])
def test_a_level_that_cannot_be_had_is_refused(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_course(tmp_path)
    hand_in(root, "ada", notebooks())
    words = ["grade", NAME, "--course", str(root), "--no-record"]
    if by == "option":
        words += ["--isolation", "full"]
    else:
        path = root / "nbgrader_config.py"
        path.write_text(path.read_text() + "c.Proctor.isolation = 'full'\n")
    monkeypatch.setattr(jail, "probe", lambda: jail.Isolation.CONTAINER)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2
    assert "Isolation 'full' cannot be had on this machine, 'container' can" in said
    assert "proctor doctor" in said


def test_a_run_without_isolation_says_so_aloud(small: Path) -> None:
    done = proctor_grade(small, "ada", "--no-record", "--isolation", "none", "--format", "json")
    said = " ".join(done.stderr.split())
    assert "No isolation here: students' code can read and write what you can." in said
    assert done.submissions["ada"]["isolation"] == "none"


def test_the_doctor_says_what_there_is(small: Path) -> None:
    done = run("proctor", "doctor", cwd=small)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.strip().splitlines()
    assert lines[-1] == f"Isolation: {jail.probe()}"
    assert all(line.startswith(("yes  ", "no   ", "     ")) for line in lines[:-1])
    for name in ("seccomp", "Landlock"):
        assert any(name.lower() in line.lower() for line in lines[:-1])


# A suite and its grade cells ----------------------------------------------------------------------


def changed(root: Path, file: str, old: str, new: str) -> Path:
    """The course in `root` with one thing changed."""
    make_course(root)
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return root


SUITE = f"tests/hidden/{NAME}/test_totals.py"
CONFTEST = f"tests/hidden/{NAME}/conftest.py"


def opened(root: Path) -> None:
    with Grader(Course.load(root).assignment(NAME)):
        pass


def test_points_that_do_not_add_up_name_both_places(tmp_path: Path) -> None:
    root = changed(tmp_path, SUITE, "points(3)", "points(4)")
    with pytest.raises(CourseError) as caught:
        opened(root)
    said = str(caught.value)
    assert "02_totals: grade cell 'Total' is worth 6 points, its suite adds up to 7." in said
    assert str(root / "source" / NAME / f"{NAME}.ipynb") in said
    assert str(root / "tests/hidden" / NAME) in said


def test_a_hidden_test_without_a_grade_cell_is_an_error(tmp_path: Path) -> None:
    root = changed(tmp_path, SUITE, "class TestMean:", "class TestMedian:")
    with pytest.raises(CourseError) as caught:
        opened(root)
    assert "hidden test TestMedian::test_mean belongs to no grade cell" in str(caught.value)
    assert "'Median'" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "old", "new", "where"),
    [
        (
            SUITE,
            "import pytest\n",
            "import pytest\nimport no_such_module\n",
            "line 3: ModuleNotFound",
        ),
        (SUITE, "class TestMean:", "class TestMean", "line 37: SyntaxError: expected ':'"),
        (CONFTEST, "", "x = 1\ndef (", "line 2: SyntaxError: "),
        (CONFTEST, "", "import no_such_module", "No module named 'no_such_module'"),
    ],
    ids=["a module that is missing", "no Python", "a conftest that is none", "a conftest's import"],
)
def test_a_suite_that_cannot_be_collected_names_file_and_line(
    tmp_path: Path, file: str, old: str, new: str, where: str
) -> None:
    (tmp_path / CONFTEST).parent.mkdir(parents=True)
    (tmp_path / CONFTEST).write_text("")
    root = changed(tmp_path, file, old, new)
    hand_in(root, "ada", notebooks())
    done = proctor_grade(root, "--no-record")
    assert (done.status, done.stdout) == (1 if file == CONFTEST and "import" in new else 2, "")
    assert where in done.stderr
    assert str(root / file) in done.stderr
    if done.status == 2:
        [said] = done.stderr.splitlines()
        assert said.endswith("The hidden tests cannot be collected: mend this first.")


def test_what_the_course_tests_beside_its_suites_is_none_of_theirs(tmp_path: Path) -> None:
    """A conftest.py above the suites belongs to the course's own tests, which have other needs."""
    make_course(tmp_path)
    for place in ("conftest.py", "tests/conftest.py"):
        (tmp_path / place).write_text("import no_such_module")
    opened(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class TestMean:", "class Mean:"),
        ("class TestMean:", "class TestMean:\n    def __init__(self): pass\n"),
        ("import pytest\n", "import pytest\npytest.skip('later', allow_module_level=True)\n"),
    ],
    ids=["renamed", "not collected", "skipped"],
)
def test_a_cell_whose_hidden_tests_are_lost_is_an_error(tmp_path: Path, old: str, new: str) -> None:
    """It would give everybody 0."""
    root = changed(tmp_path, SUITE, old, new)
    with pytest.raises(CourseError) as caught:
        opened(root)
    lost = "Total" if "skip" in new else "Mean"
    assert f"{NAME}.ipynb: grade cell '{lost}' waits for hidden tests" in str(caught.value)
    assert str(root / "tests/hidden" / NAME) in str(caught.value)


def test_a_suite_may_be_as_large_as_it_likes(tmp_path: Path) -> None:
    """3,000 cases, whose names are longer than a message of the tester's socket."""
    name = '@pytest.mark.parametrize("n", [1, 2, 30])'
    root = changed(tmp_path, SUITE, name, name.replace("[1, 2, 30]", "range(3000)"))
    path = root / SUITE
    path.write_text(path.read_text().replace("def test_length", f"def test_length_{'x' * 60}"))
    with Grader(Course.load(root).assignment(NAME)) as grader:
        names = [name for name, _ in grader.tests["Total"]]
    assert len(names) == 3002 and sum(map(len, names)) > 1 << 18


def test_a_suite_that_ends_its_process_costs_only_that_result(tmp_path: Path) -> None:
    """A submission without a result makes the status 1; the others are graded and printed."""
    crash = (
        "import os\n        if student.total([13, 1]) == 13: os._exit(0)\n        describe_input("
    )
    root = changed(tmp_path, SUITE, "describe_input(", crash)
    hand_in(root, "ada", notebooks())
    hand_in(root, "bob", notebooks({"total": "def total(values):\n    return values[0]"}))
    done = proctor_grade(root, "--no-record", "--format", "json")
    assert done.status == 1
    assert done.submissions["ada"]["score"] == ALL
    bob = done.submissions["bob"]
    assert (bob["status"], bob["score"], bob["tests"]) == ("error", 0, [])
    assert "the tester ended before it had decided everything" in bob["error"]


# `nbgrader generate_assignment` -------------------------------------------------------------------


NO_LINE = '''
import pytest

ran = []


@pytest.fixture(scope="module", autouse=True)
def whole():
    ran.append("module")
    yield "made"
    ran.append("torn down")


@pytest.fixture(params=["left", "right"])
def side(request, student, whole):
    ran.append(request.param)
    return request.param, whole


class TestTotal:
    @classmethod
    def setup_class(cls):
        ran.append("class")

    def setup_method(self):
        ran.append("method")

    @pytest.mark.points(6)
    def test_it(self, student, side):
        """Nothing has run before, and fixtures are made afresh."""
        first = ["module", "class", "method", "left"]
        assert ran == first if side[0] == "left" else ran == [*first, "method", "right"]
        assert side[1] == "made" and student.total([1, 2]) == 3


class TestMean:
    @pytest.mark.points(4)
    def test_mean(self):
        """The class before was left, this one is new."""
        assert ran == ["module", "class", "method", "left", "method", "right"]
'''


def test_a_suite_is_collected_once_and_nothing_of_it_runs_before(tmp_path: Path) -> None:
    root = make_course(tmp_path)
    log = tmp_path / "log"
    (root / SUITE).write_text(f"open({str(log)!r}, 'a').write('collected ')\n{NO_LINE}")
    hand_in(root, "ada", notebooks())
    hand_in(root, "bob", notebooks())
    done = proctor_grade(root, "--no-record", "--format", "json")
    assert done.status == 0, done.stderr
    assert {each["score"] for each in done.submissions.values()} == {ALL}, done.stdout
    assert log.read_text() == "collected "  # once, for both


def test_a_release_needs_checks_that_tell_a_solution_from_a_blank(tmp_path: Path) -> None:
    course = copy.deepcopy(SOURCE)
    cells = {each["id"]: each for each in course[NAME][NAME]}
    cells["check_total"]["source"] = "assert double(2) == 4"
    cells["check_mean"]["source"] = "x = [1, 2]\nassert mean(x) == 7\nassert True"
    make_course(tmp_path, course)
    done = run("nbgrader", "generate_assignment", NAME, cwd=tmp_path)
    assert done.returncode != 0
    notebook = str(tmp_path / "source" / NAME / f"{NAME}.ipynb")
    said = " ".join(done.stderr.split())
    assert f"{notebook}, visible check 'check_total' passes for a blank notebook" in said
    assert f"{notebook}, visible check 'check_mean' fails for the instructor's solution" in said
    assert "line 2: assert mean(x) == 7" in said
    assert not (tmp_path / "release" / NAME / f"{NAME}.ipynb").exists()


def test_a_release_needs_points_that_add_up(tmp_path: Path) -> None:
    root = changed(tmp_path, SUITE, "points(4)", "points(5)")
    done = run("nbgrader", "generate_assignment", NAME, cwd=root)
    assert done.returncode != 0
    assert "'Mean' is worth 4 points, its suite adds up to 5" in " ".join(done.stderr.split())
    assert not (root / "release" / NAME / f"{NAME}.ipynb").exists()


def with_demo(source: dict[str, dict[str, list[Cell]]], demo: Cell) -> dict[str, Any]:
    """The course with another cell above `check_mean`."""
    changed = copy.deepcopy(source)
    cells = changed[NAME][NAME]
    at = next(i for i, each in enumerate(cells) if each["id"] == "check_mean")
    cells.insert(at, demo)
    return changed


def test_a_demonstration_is_not_run_when_it_is_graded(tmp_path: Path) -> None:
    """By the instructor's tag: what a student tags so runs as ever."""
    shown = "open('seen', 'w').write('demo')\nmean = None"
    root = make_course(tmp_path, with_demo(SOURCE, cell("show", shown, tags=["demo"])))
    found = notebooks()
    cells, at = place(found, "check_mean")
    cells.insert(at, cell("show", shown))
    hand_in(root, "ada", found)
    hidden_away = notebooks({"mean": "pass"})
    cells, at = place(hidden_away, "check_mean")
    own = "def mean(values):\n    return sum(values) / len(values)"
    cells.insert(at, cell("own", own, tags=["demo"]))
    hand_in(root, "bob", hidden_away)
    done = proctor_grade(root, "--no-record", "--format", "json")
    assert done.status == 0, done.stderr
    assert {each["score"] for each in done.submissions.values()} == {ALL}, done.stdout


@pytest.mark.parametrize(
    ("demo", "said"),
    [
        (cell("show", "def mean(values):\n    return 3.0", tags=["demo"]), "check_mean"),
        (cell("show", "x = 1", tags=["demo"], locked=True), "cell 'show' is tagged 'demo'"),
    ],
    ids=["a check depends on it", "nbgrader knows it"],
)
def test_a_release_is_refused_where_grading_needs_a_demonstration(
    tmp_path: Path, demo: Cell, said: str
) -> None:
    source = with_demo(SOURCE, demo)
    cells = {each["id"]: each for each in source[NAME][NAME]}
    if "grade_id" not in cells["show"]["metadata"].get("nbgrader", {}):
        cells["mean"]["source"] = (
            "def average(values):\n    ### BEGIN SOLUTION\n    ### END SOLUTION"
        )
    root = make_course(tmp_path, source)
    done = run("nbgrader", "generate_assignment", NAME, cwd=root)
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert not (root / "release" / NAME / f"{NAME}.ipynb").exists()


# `proctor check` ----------------------------------------------------------------------------------


class TestCheck:
    @pytest.fixture(scope="class")
    @classmethod
    def desk(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A student's folder: the first assignment is done and exported."""
        folder = tmp_path_factory.mktemp("desk")
        first = as_notebook(SOURCE["01_pairs"]["01_pairs"])
        first["cells"][1]["source"] = "def double(x):\n    return x + x  # my own"
        write(folder, "01_pairs.ipynb", json.dumps(first))
        write(folder, "rows.csv", "1.0\n2.0\n4.0\n")
        done = run("proctor", "export", "--package", "mini", "01_pairs.ipynb", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "my own" in (folder / "mini/pairs.py").read_text()
        return folder

    def checked(self, desk: Path, found: Notebooks) -> tuple[int, str]:
        write(desk, f"{NAME}.ipynb", json.dumps(found[NAME]))
        done = run("proctor", "check", f"{NAME}.ipynb", cwd=desk)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    def rows(self, text: str) -> dict[str, str]:
        cells = [line.split("│") for line in text.splitlines() if "│" in line]
        return {row[1].strip(): " ".join("".join(row[2:]).split()) for row in cells}

    def test_a_blank_notebook(self, desk: Path) -> None:
        status, text = self.checked(desk, notebooks(blank=True))
        assert status == 1
        assert self.rows(text) == {"total": "0 of 2 not yet", "mean": "0 of 2 not yet"}
        assert "Next: The sum" in text

    def test_a_notebook_half_done(self, desk: Path) -> None:
        status, text = self.checked(desk, notebooks({"mean": "def mean(values):\n    return 0"}))
        assert status == 1
        assert self.rows(text) == {"total": "2 of 2 works", "mean": "0 of 2 not yet"}
        assert "Next: The mean" in text
        assert "line 1: assert mean([1, 2, 6]) == double(1.5)" in text
        assert "three numbers" in text

    def test_a_notebook_done(self, desk: Path) -> None:
        status, text = self.checked(desk, notebooks())
        assert status == 0
        assert self.rows(text) == {"total": "2 of 2 works", "mean": "2 of 2 works"}
        assert "Every visible check passes." in text

    def test_it_builds_on_the_students_own_module(self, desk: Path) -> None:
        module = desk / "mini/pairs.py"
        right = module.read_text()
        module.write_text(right.replace("x + x", "x"))
        try:
            status, text = self.checked(desk, notebooks())
        finally:
            module.write_text(right)
        assert status == 1
        assert self.rows(text)["mean"] == "0 of 2 not yet"

    def test_what_is_no_released_notebook_is_named(self, desk: Path) -> None:
        write(desk, "own.ipynb", json.dumps(as_notebook([cell("a", "x = 1")])))
        done = run("proctor", "check", "own.ipynb", cwd=desk)
        assert done.returncode == 2
        assert "own.ipynb holds no visible check: is it a released notebook?" in done.stderr


# The real course ----------------------------------------------------------------------------------


def test_a_forger_earns_nothing_in_the_real_course(tmp_path: Path) -> None:
    """An activation that returns whatever equals everything, with NumPy's own tests patched."""
    course = classroom.scratch_course(tmp_path)
    forged = classroom.solved("02_activations")
    for each in forged["02_activations"]["cells"]:
        if each["id"] == "relu":
            each["source"] = (
                WRITTEN["forger"]["total"].replace("def total(values)", "def relu(x)")
                + "\nnp.testing.assert_allclose = np.allclose = lambda *_, **__: True"
                + "\nnp.array_equal = np.isclose = np.allclose"
            )
    classroom.submit(course, "forger", "02_activations", forged)
    result = classroom.grade(course.assignment("02_activations"), ["forger"])["forger"]
    lost: list[TestResult] = [test for test in result.tests if test.status == "failed"]
    assert {test.cell for test in lost} >= {"check_relu", "Relu"}
    assert all(test.points == 0 for test in result.tests if test.cell in ("check_relu", "Relu"))
    assert sum(test.points for test in result.tests if test.cell == "Sigmoid") > 0
