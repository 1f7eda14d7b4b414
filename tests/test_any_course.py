"""A course that was made without proctor: the same scores as plain nbgrader, three ways.

nbgrader's own quickstart course, with its documentation's example submissions, gets two more
notebooks: one with autotests, and `made`, which has a cell for each thing that nbgrader scores in
its own way. It is released once and graded in three copies: by plain `nbgrader autograde`, by
`nbgrader autograde` with the one line that switches a course to proctor, and by `proctor grade`.
Then every entry of the three gradebooks is compared.
"""

from __future__ import annotations

import copy
import html
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import nbgrader
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbgrader.api import Gradebook
from nbgrader.utils import determine_grade

from proctor.course import packages
from proctor.course.course import Course
from proctor.grade import as_nbgrader
from proctor.notebook import cells
from proctor.notebook import outputs as outputs_of
from proctor.notebook.template import Stubs
from proctor.record.points import DECIDED, results
from proctor.verdict import Word, first_word

Notebook = dict[str, Any]
Cell = dict[str, Any]

NAME = "ps1"
GUIDE = Path(nbgrader.__file__).parent / "docs" / "source" / "user_guide"
DUE = "2015-02-02 00:00:00 UTC"
LATE = "2015-02-02 03:30:00 UTC"  # three hours and a half: three points by the plugin

SETTINGS = """
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "tolerated"
c.Execute.timeout = 4
c.Autograde.exclude_overwriting = {"ps1": ["theirs.py"]}
c.AssignLatePenalties.plugin_class = "late_rule.AnHourAPoint"
"""

SWITCH = """
import proctor
proctor.configure(c)
"""

LATE_RULE = """
from nbgrader.plugins import BasePlugin


class AnHourAPoint(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late // 3600
"""

# The notebook `made` ------------------------------------------------------------------------------


def cell(name: str, source: str, kind: str = "code", **flags: Any) -> Cell:
    """A cell; with flags, one that nbgrader knows."""
    known = {"grade": False, "solution": False, "locked": False, "task": False, **flags}
    metadata = {"nbgrader": {"schema_version": 3, "grade_id": name, **known}} if flags else {}
    made = {"cell_type": kind, "id": name, "metadata": metadata, "source": source.strip("\n")}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def owed(name: str, solution: str) -> Cell:
    return cell(name, f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION", solution=True)


def check(name: str, source: str, points: float = 2) -> Cell:
    return cell(name, source, grade=True, locked=True, points=points)


def written(name: str, kind: str = "markdown") -> Cell:
    return cell(name, "# It is so.", kind, grade=True, solution=True, points=3)


# What a test cell may end with, and what it is worth of 2 points in plain nbgrader.
ENDS: dict[str, tuple[str, float]] = {
    "silent": ("x = 1", 2),
    "printed": ("print(0.5)", 2),
    "shown": ("from IPython.display import display\ndisplay(0.5)", 2),
    "half": ("0.5", 0.5),
    "third": ("1 / 3", 1 / 3),
    "none_of_it": ("0", 0),
    "all_of_it": ("2", 2),
    "after_print": ("print('counting')\n1.5", 1.5),
    "assigned_last": ("1.5\nx = 1", 2),
    "muted": ("1.5;", 2),
    "text": ("'1.5'", 2),
    "truth": ("True", 2),
    "listed": ("[1, 1]", 2),
    "negative": ("-1", 2),
    "nan": ("float('nan')", 2),
    "numpy": ("import numpy as np\nnp.array(1.25)", 2),
    "formatted": ("class P:\n    def __repr__(self): return '1.25'\nP()", 1.25),
    "failed": ("assert False, 'wrong'", 0),
    "not_python": ("def (:", 0),
    "warned": ("import warnings\nwarnings.warn('careful')", 0),
    "warned_then_half": ("import sys\nprint('careful', file=sys.stderr)\n0.5", 0),
    "ignored_then_half": ("import sys\nprint('tolerated', file=sys.stderr)\n0.5", 0.5),
    "logged": ("import logging\nlogging.warning('careful')", 0),
    "divided": ("import numpy as np\nnp.float64(1) / 0", 0),
    "timed": ("%time y = 1", 2),
    "timed_cell": ("%%time\nassert answer == 42", 2),
    "captured": ("%%capture\nimport sys\nprint('careful', file=sys.stderr)", 2),
    "asked": ("input('your name? ')", 0),
    "asked_and_caught": ("try:\n    input()\nexcept NotImplementedError:\n    pass", 2),
    "absent_package": ("import a_package_that_nobody_has", 0),
    "environment": ("import os\nassert os.environ['NBGRADER_EXECUTION'] == 'autograde'", 2),
    "wrote_a_file": ("open('x.txt', 'w').write('1')\nassert open('x.txt').read() == '1'", 2),
    "mistaken": ("no_such_name", 0),
    "verbose": ("for i in range(30_000):\n    print('a line that says nothing much', i)\n0.5", 0.5),
    # as in a kernel: an event loop runs, and libraries can tell that it is no terminal
    "awaited": (
        "import asyncio\nawait asyncio.sleep(0.01)\nassert await asyncio.sleep(0, 5) == 5",
        2,
    ),
    "awaited_value": ("await asyncio.sleep(0, 0.5)", 0.5),
    "awaited_error": ("await asyncio.wait_for(asyncio.sleep(9), 0.01)", 0),
    "loop_runs": ("assert asyncio.get_running_loop().is_running()", 2),
    "loop_of_a_thread": (
        "async def f(): return 3\nassert await asyncio.to_thread(asyncio.run, f()) == 3",
        2,
    ),
    "task": ("done = []\nasync def add(): done.append(1)\nt = asyncio.create_task(add())", 2),
    "task_is_done": ("assert done == [1]", 2),
    "kernel": ("assert type(get_ipython()).__name__ == 'ZMQInteractiveShell'", 2),
    "kernel_app": ("assert 'IPKernelApp' in get_ipython().config", 2),
    "kernel_module": ("import sys\nassert 'ipykernel.zmqshell' in sys.modules", 2),
    "last_value": ("x = 3\nx;", 2),
    "last_value_is_kept": ("assert _ == 0.5 and 0.5 in Out.values(), _", 2),
    "stream": (
        "import io\nassert isinstance(sys.stdout, io.TextIOBase) and sys.stdout.writable()\n"
        "sys.stdout.writelines(['a', 'b'])",
        2,
    ),
    "bytes_to_a_stream": ("sys.stdout.write(b'x')", 0),
    "cleared": (
        "from IPython.display import clear_output\nprint('x', file=sys.stderr)\nclear_output()",
        2,
    ),
    "cleared_never": ("print('x', file=sys.stderr)\nclear_output(wait=True)", 0),
    "cleared_later": ("print('x', file=sys.stderr)\nclear_output(wait=True)\nprint('y')", 2),
    "command_first": ("!a_command_that_is_not_there\ninstalled = True", 2),
    "after_a_command": ("assert installed", 2),
    "command_that_lists": ("!ls", 2),
    "changed_folder": ("%cd -q .", 2),
    "password": ("import getpass\ngetpass.getpass()", 0),
    "home": ("import os\nassert os.path.isdir(os.path.expanduser('~')) and getpass.getuser()", 2),
    "devnull": ("with open(os.devnull, 'w') as sink:\n    print('quiet', file=sink)", 2),
    "copied": ("import shutil\nshutil.copy('helper.py', 'h.py')\nassert os.path.exists('h.py')", 2),
    "itself": ("import json\nassert len(json.load(open('made.ipynb'))['cells']) > 40", 2),
    "version": ("import importlib.metadata as m\nassert m.version('numpy')", 2),
    "zone": (
        "import datetime, zoneinfo\nzone = zoneinfo.ZoneInfo('Europe/Berlin')\n"
        "assert datetime.datetime(2020, 1, 1, tzinfo=zone).utcoffset().seconds == 3600",
        2,
    ),
    "too_long": ("import time\ntime.sleep(60)", 0),
    "after_too_long": ("assert answer == 42", 2),
}
# One that plain nbgrader would stop at, with the whole submission: proctor gives the cell 0.
REFUSED = {"too_many": ("3", 0.0)}

MADE = [
    cell("intro", "# Made\n\nA cell for each thing.", "markdown"),
    cell("given", "import helper\nimport theirs\nfrom data import numbers", locked=True),
    owed("answer", "answer = 42"),
    check("right", "assert answer == 42"),
    check("graded_in_part", "2 if answer == 42 else 0.5 if answer else 0"),
    check(
        "partly_hidden",
        "assert answer > 0\n### BEGIN HIDDEN TESTS\nassert answer == 6 * 7, 'sesame'\n"
        "### END HIDDEN TESTS",
    ),
    check("for_nothing", "assert answer", 0),
    check("overwritten", "assert helper.VALUE == 'the instructor'"),
    check("not_overwritten", "assert theirs.VALUE == 'the student'"),
    check("in_a_folder", "assert numbers.total(open('data/numbers.csv').read()) == 6"),
    *[check(f"end_{name}", source) for name, (source, _) in ENDS.items()],
    written("explained"),
    written("coded", "code"),
    cell("to_do", "Do something.", "markdown", task=True, locked=True, points=4),
    owed("commented", "remark = 'mine'"),
]

FILES = {
    "helper.py": "VALUE = 'the instructor'\n",
    "theirs.py": "VALUE = 'not this'\n",
    "data/__init__.py": "",
    "data/numbers.py": "def total(text):\n    return sum(map(int, text.split(',')))\n",
    "data/numbers.csv": "1,2,3",
}
SUBMITTED = FILES | {"helper.py": "VALUE = 'forged'\n", "theirs.py": "VALUE = 'the student'\n"}


def notebook(cells: list[Cell], kernel: str | None = "python3") -> Notebook:
    spec = {"display_name": "x", "language": "python", "name": kernel}
    metadata = {"kernelspec": spec} if kernel else {}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def named(found: Notebook, name: str) -> Cell:
    return next(c for c in found["cells"] if cells.nbgrader(c).get("grade_id") == name)


def answered(found: Notebook, **sources: str) -> Notebook:
    """A released notebook with some of its cells written."""
    made = copy.deepcopy(found)
    for name, source in sources.items():
        named(made, name)["source"] = source
    return made


def tampered(released: Notebook) -> Notebook:
    """What students do to notebooks, by mistake or not."""
    made = answered(released, answer="answer = 41", right="assert True", end_failed="2")
    cells = made["cells"]
    cells.remove(named(made, "graded_in_part"))
    cells.remove(named(made, "explained"))
    named(made, "end_half")["cell_type"] = "markdown"
    named(made, "end_none_of_it")["metadata"]["nbgrader"]["points"] = 100
    extra = cell("extra", "raise SystemError('left out')")
    extra["metadata"] = {"tags": ["skip-execution"]}
    cells.insert(0, extra)
    cells.insert(1, cell("wrong", "1 / 0"))
    return made


# The course ---------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Of a shell in which the environment is activated, and no other course's configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(course: Path, *command: str, status: int = 0) -> str:
    """Standard output of a command in the course's folder."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=course,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def read(path: Path) -> Notebook:
    return json.loads(path.read_text())


def text_of(found: Cell) -> str:
    return "".join(found["source"])


def submit(course: Path, student: str, notebooks: dict[str, Notebook], stamp: str = "") -> None:
    folder = course / "submitted" / student / NAME
    folder.mkdir(parents=True)
    for name, found in notebooks.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(found))
    for name, text in SUBMITTED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if stamp:
        (folder / "timestamp.txt").write_text(stamp)


def solved(released: Notebook, source: Notebook) -> Notebook:
    """The released notebook with the instructor's solutions."""
    made = copy.deepcopy(released)
    originals = {cells.nbgrader(c).get("grade_id"): c for c in source["cells"]}
    for each in made["cells"]:
        if cells.nbgrader(each).get("solution"):
            original = text_of(originals[cells.nbgrader(each)["grade_id"]])
            lines = [line for line in original.split("\n") if " SOLUTION" not in line]
            each["source"] = "\n".join(lines)
    return made


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three copies, graded: `plain`, `nbgrader` with proctor, and `proctor`."""
    home = tmp_path_factory.mktemp("any")
    run(home, "nbgrader", "quickstart", "course")
    root = home / "course"
    source = root / "source" / NAME
    for name, text in FILES.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    shutil.copy(GUIDE / "source" / "ps1_autotest" / "problem1.ipynb", source / "auto.ipynb")
    shutil.copy(GUIDE / "autotests.yml", root)
    (source / "made.ipynb").write_text(json.dumps(notebook(MADE)))
    (root / "late_rule.py").write_text(LATE_RULE)
    with open(root / "nbgrader_config.py", "a") as config:
        config.write(SETTINGS)
    run(root, "nbgrader", "generate_assignment", NAME)
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", "course") as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=DUE)

    made, auto = (read(root / "release" / NAME / f"{name}.ipynb") for name in ("made", "auto"))
    whole = solved(auto, read(source / "auto.ipynb"))
    wrong = answered(whole, squares="def squares(n):\n    return [1, 4]")
    right = answered(
        made, answer="answer = 42", explained="Because.", coded="x = 1", commented="# mine"
    )
    submit(root, "right", {"made": right, "auto": whole})
    submit(root, "late", {"made": answered(made, answer="answer = 41"), "auto": wrong}, LATE)
    submit(root, "blank", {"made": made}, DUE)
    submit(root, "tampered", {"made": tampered(made)})
    for student in ("bitdiddle", "hacker"):
        shutil.copytree(GUIDE / "submitted" / student, root / "submitted" / student)

    copies = {name: home / name for name in ("plain", "nbgrader", "proctor")}
    for name, place in copies.items():
        shutil.copytree(root, place)
        # the example's absolute paths would lead back to the course that it was copied from
        if name != "plain":
            with open(place / "nbgrader_config.py", "a") as config:
                config.write(SWITCH)
    run(copies["plain"], "nbgrader", "autograde", NAME)
    run(copies["nbgrader"], "nbgrader", "autograde", NAME)
    said = run(copies["proctor"], "proctor.cli", "grade", NAME, "--format", "json")
    (copies["proctor"] / "said.json").write_text(said)
    return copies


Row = tuple[Any, ...]


def rows(course: Path) -> dict[tuple[str, ...], Row]:
    """All that the gradebook says of each student's notebooks, grades and comments."""
    found: dict[tuple[str, ...], Row] = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        for entry in gradebook.assignment_submissions(NAME):
            found[entry.student_id,] = (entry.timestamp, entry.total_seconds_late)
            for book in entry.notebooks:
                place = entry.student_id, book.name
                penalty = book.late_submission_penalty or 0.0
                found[place] = (book.score, book.max_score, book.needs_manual_grade, penalty)
                for grade in book.grades:
                    values = grade.auto_score, grade.max_score, grade.needs_manual_grade
                    found[*place, "grade", grade.name] = values
                for comment in book.comments:
                    found[*place, "comment", comment.name] = (comment.comment,)
    return found


@pytest.fixture(scope="module")
def graded(courses: dict[str, Path]) -> dict[str, dict[tuple[str, ...], Row]]:
    return {name: rows(place) for name, place in courses.items()}


@pytest.mark.parametrize("way", ["nbgrader", "proctor"])
def test_every_entry_is_as_plain_nbgrader_has_it(graded: Any, way: str) -> None:
    expected = graded["plain"]
    assert len({place[0] for place in expected}) == 6
    differences = {
        place: (expected.get(place), graded[way].get(place))
        for place in expected.keys() | graded[way].keys()
        if expected.get(place) != graded[way].get(place)
    }
    assert not differences


def test_the_comparison_sees_every_kind_of_score(graded: Any) -> None:
    """What plain nbgrader gives for each ending is what stands here: else nothing was compared."""
    scores = {name: graded["plain"]["right", "made", "grade", f"end_{name}"][0] for name in ENDS}
    assert scores == {name: points for name, (_, points) in ENDS.items()}
    right, late = (
        {
            c: graded["plain"][s, "made", "grade", c]
            for c in ("graded_in_part", "partly_hidden", "explained", "coded", "to_do")
        }
        for s in ("right", "late")
    )
    assert [right[name][0] for name in right] == [2, 2, None, None, None]
    assert [late[name][0] for name in late] == [0.5, 0, 0, 0, None]
    assert graded["plain"]["late", "made"][3] == 3
    assert graded["plain"]["right", "auto"][0] > graded["plain"]["late", "auto"][0]
    assert graded["plain"]["late", "made", "comment", "coded"] == ("No response.",)


def test_the_result_says_where_the_points_were_decided(courses: dict[str, Path]) -> None:
    said = json.loads((courses["proctor"] / "said.json").read_text())
    tests = [test for entry in said["submissions"] for test in entry["tests"]]
    by_machine = [t for t in tests if t["status"] == "passed"]
    assert by_machine
    assert {t["decided"] for t in by_machine} == {"student"}
    # what nobody ran, nobody's process decided
    unanswered = [t for t in tests if t["message"] == "No answer."]
    assert unanswered
    assert {t["decided"] for t in unanswered} == {"tester"}
    table = run(courses["proctor"], "proctor.cli", "grade", NAME)
    assert "were decided in the students' own processes" in " ".join(table.split())


@pytest.mark.parametrize("way", ["nbgrader", "proctor"])
def test_the_last_word_in_a_test_cell_is_proctors(courses: dict[str, Path], way: str) -> None:
    found = nbformat.read(courses[way] / "autograded" / "right" / NAME / "made.ipynb", 4)
    nbformat.validate(found)
    for name, (_, points) in ENDS.items():
        graded = named(found, f"end_{name}")
        assert determine_grade(graded) == (pytest.approx(points), 2.0)
        first, *own = graded["outputs"]
        assert DECIDED in first["data"]["text/html"]
        told = results(graded["outputs"])
        assert told is not None and [test.points for test in told["tests"]] == [points]
        assert all(each["output_type"] in ("display_data", "stream") for each in own)
    shown = json.dumps(named(found, "end_failed")["outputs"][1:])
    assert "AssertionError" in shown and "wrong" in shown
    assert "careful" in json.dumps(named(found, "end_warned")["outputs"][1:])


def test_feedback_shows_no_hidden_test(courses: dict[str, Path]) -> None:
    for way in ("nbgrader", "proctor"):
        page = courses[way] / "autograded" / "late" / NAME / "made.ipynb"
        assert "6 * 7" in page.read_text(), "the instructor sees it"
    run(courses["proctor"], "nbgrader", "generate_feedback", NAME, "--student", "late")
    page = (courses["proctor"] / "feedback" / "late" / NAME / "made.html").read_text()
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert "assert answer > 0" in text
    assert "a part of it is hidden" in text
    assert DECIDED in text
    for secret in ("6 * 7", "sesame", "HIDDEN TESTS"):
        assert secret not in text


# Without a gradebook ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Results of a course that has source/ alone, by student."""
    root = tmp_path_factory.mktemp("loose")
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.Execute.timeout = 5\n")
    cells = [
        owed("answer", "answer = 42"),
        check("right", "assert answer == 42"),
        check("later", "assert answer == 42"),
        *[check(f"end_{name}", source) for name, (source, _) in REFUSED.items()],
        check("secret", "### BEGIN HIDDEN TESTS\nassert answer == 42\n### END HIDDEN TESTS"),
    ]
    folder = root / "source" / "one"
    folder.mkdir(parents=True)
    (folder / "one.ipynb").write_text(json.dumps(notebook(cells, None)))
    solution = copy.deepcopy(cells)
    solution[0]["source"] = "answer = 42"
    unmarked = copy.deepcopy(solution)
    del unmarked[1]["metadata"]["nbgrader"]
    forged = copy.deepcopy(solution)
    forged[0]["source"] = "get_ipython().showtraceback = lambda *_, **__: None\nanswer = 0"
    stuck = copy.deepcopy(solution)
    stuck[0]["source"] = "answer = 42\nwhile True:\n    pass"
    twice = copy.deepcopy(solution)  # plain nbgrader gives up on the whole class
    twice.insert(0, {**copy.deepcopy(solution[0]), "id": "twice", "source": "answer = 0"})
    foreign = {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}
    notebooks = {
        "right": notebook(solution),
        "blank": notebook([{**cells[0], "source": Stubs().code}, *cells[1:]]),
        "unmarked": notebook(unmarked),
        "forged": notebook(forged),
        "stuck": notebook(stuck),
        "twice": notebook(twice),
        "foreign": {**notebook(solution), "metadata": foreign},
        "other": notebook([check("elsewhere", "assert True")]),
        "empty": notebook([]),
    }
    for student, found in notebooks.items():
        place = root / "submitted" / student / "one"
        place.mkdir(parents=True)
        (place / "one.ipynb").write_text(json.dumps(found))
    said = run(root, "proctor.cli", "grade", "one", "--no-record", "--format", "json")
    return {entry["student"]: entry for entry in json.loads(said)["submissions"]}


def test_a_course_without_a_gradebook_is_graded_from_its_source(loose: Any) -> None:
    points = {
        student: [test["points"] for test in entry["tests"]] for student, entry in loose.items()
    }
    assert points == {
        "right": [2, 2, 0, 2],
        "blank": [0, 0, 0, 0],
        "unmarked": [0, 2, 0, 2],
        "forged": [0, 0, 0, 0],
        "stuck": [2, 2, 0, 2],  # the loop is interrupted, what was defined before it stands
        "twice": [2, 2, 0, 2],  # the last one counts
        "foreign": [],
        "other": [],
        "empty": [0, 0, 0, 0],
    }
    assert loose["stuck"]["notes"], "that a cell was interrupted is said"


def test_what_is_no_python_is_rejected_with_a_sentence(loose: Any) -> None:
    assert loose["foreign"]["status"] == "rejected"
    assert "'ir'" in loose["foreign"]["error"] and "only Python" in loose["foreign"]["error"]
    assert "another assignment" in loose["other"]["error"]


def test_a_value_above_the_points_says_what_is_wrong(loose: Any) -> None:
    message = loose["right"]["tests"][2]["message"]
    assert message == "Its value, 3, is more than its points: nbgrader refuses to grade it."


# Small parts --------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "0.5",
        " 1.5 ",
        "1_0",
        "-1",
        "nan",
        "inf",
        "1e-3",
        "'1'",
        "None",
        "[1]",
        "٣",
    ]
)
OUTPUTS = st.lists(
    st.one_of(
        st.builds(
            lambda name, text: {"output_type": "stream", "name": name, "text": text},
            st.sampled_from(["stdout", "stderr"]),
            st.sampled_from(["x", "tolerated"]),
        ),
        st.just({"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["E: e"]}),
        st.builds(
            lambda kind, text: {
                "output_type": kind,
                "data": {"text/plain": text},
                "metadata": {},
                **({"execution_count": 1} if kind == "execute_result" else {}),
            },
            st.sampled_from(["display_data", "execute_result"]),
            TEXTS,
        ),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(outputs=OUTPUTS, most=st.sampled_from([0.0, 1.0, 2.0]))
def test_points_are_what_determine_grade_says(outputs: list[dict[str, Any]], most: float) -> None:
    """Where nbgrader has a grade, it is ours; where it gives up, the cell gets nothing."""
    made = nbformat.v4.new_code_cell("assert True")
    made.metadata.nbgrader = {"grade": True, "solution": False, "grade_id": "x", "points": most}
    made.outputs = [nbformat.from_dict(each) for each in outputs]
    said = first_word(outputs, ran=True)
    points, remark = as_nbgrader.points(said, most)
    try:
        expected, _ = determine_grade(made)
    except ValueError:  # more than the cell has
        assert points == 0 and "more than its points" in remark
        return
    except KeyError:  # an empty value
        assert said == Word("value", "")
        return
    assert points == expected
    # what stands beside proctor's own word never decides
    ours = {"output_type": "execute_result", "data": {"text/plain": repr(points)}, "metadata": {}}
    beside = outputs_of.beside(outputs_of.outputs(outputs))
    made.outputs = [nbformat.from_dict(each) for each in [*beside, {**ours, "execution_count": 1}]]
    assert determine_grade(made)[0] == points


def test_a_cell_that_hid_its_error_has_failed() -> None:
    assert as_nbgrader.points(first_word([], ran=False), 2.0)[0] == 0
    assert as_nbgrader.points(first_word("nonsense", ran=False), 2.0)[0] == 0


@pytest.mark.parametrize(
    ("line", "suite", "where"),
    [
        ("", False, "in process"),
        ("", True, "tester"),
        ("c.Proctor.package = 'mine'", False, "tester"),
        ("c.Proctor.checks = 'in process'", True, "in process"),
        ("c.Proctor.checks = 'worker'", True, "in process"),  # an older spelling
        ("c.Proctor.checks = 'tester'", False, "tester"),
    ],
)
def test_where_test_cells_run(tmp_path: Path, line: str, suite: bool, where: str) -> None:
    (tmp_path / "nbgrader_config.py").write_text(f"c = get_config()\n{line}\n")
    (tmp_path / "source" / "one").mkdir(parents=True)
    (tmp_path / "source" / "one" / "one.ipynb").write_text(json.dumps(notebook([])))
    if suite:
        (tmp_path / "tests" / "hidden" / "one").mkdir(parents=True)
        (tmp_path / "tests" / "hidden" / "one" / "test_one.py").write_text("")
    found = Course.load(tmp_path).assignment("one")
    assert found.checks == where
    assert (found.suite is not None) == (suite and where == "tester")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", (30.0, 300.0)),
        ("c.Execute.timeout = 90", (90.0, 900.0)),
        ("c.ExecutePreprocessor.timeout = 2", (2.0, 60.0)),
        ("c.Execute.timeout = None", (600.0, 600.0)),
        ("c.Execute.timeout = -1\nc.Proctor.submission_seconds = 70", (70.0, 70.0)),
        ("c.Execute.timeout = 2\nc.Proctor.cell_seconds = 5", (5.0, 60.0)),
    ],
)
def test_nbgraders_timeouts_hold(tmp_path: Path, lines: str, expected: tuple[float, float]) -> None:
    (tmp_path / "nbgrader_config.py").write_text(f"c = get_config()\n{lines}\n")
    (tmp_path / "source" / "one").mkdir(parents=True)
    (tmp_path / "source" / "one" / "one.ipynb").write_text(json.dumps(notebook([])))
    assert Course.load(tmp_path).assignment("one").seconds == expected


def test_tests_that_nbgrader_has_yet_to_make_are_named(tmp_path: Path) -> None:
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\n")
    (tmp_path / "source" / "one").mkdir(parents=True)
    made = notebook([check("later", "### AUTOTEST answer")])
    (tmp_path / "source" / "one" / "one.ipynb").write_text(json.dumps(made))
    with pytest.raises(Exception, match=r"'later' .* generate_assignment"):
        _ = Course.load(tmp_path).assignment("one").templates


def test_what_the_instructor_imports_is_found(tmp_path: Path) -> None:
    source = "%matplotlib inline\nimport os, numpy.linalg\nfrom rich import table\nimport absent_x"
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook([cell("a", source)])))
    (tmp_path / "helper.py").write_text("def f():\n    import click\n")
    found = packages.imported([tmp_path / "a.ipynb", tmp_path / "helper.py"])
    assert found == ["matplotlib.pyplot", "numpy.linalg", "rich", "rich.table", "click"]


def test_what_is_used_without_an_import_is_found(tmp_path: Path) -> None:
    """NumPy imports a part of itself when it is asked for: not in each fork, then."""
    sources = [
        "import numpy as np",
        "def f():\n    np.testing.assert_allclose(1, 1)\n    x.testing",
    ]
    cells = [cell(str(number), source) for number, source in enumerate(sources)]
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook(cells)))
    found = packages.imported([tmp_path / "a.ipynb"])
    assert "numpy.testing" in found and not any(name.startswith("x.") for name in found)


def test_a_package_brings_what_it_says_that_it_needs() -> None:
    """And no more: what it requires, its extras that are installed, and what these require."""
    assert {Path(path).name for path in packages.companions(["click.core"])} == {
        "click",
        f"click-{version('click')}.dist-info",
    }
    found = {Path(path).name for path in packages.companions(["hypothesis.strategies"])}
    assert {"sortedcontainers", f"pytest-{version('pytest')}.dist-info", "pluggy"} <= found
    assert not {"nbgrader", "proctor", "jupyterlab", "site-packages", "bin"} & found
    assert packages.companions(["a_package_that_nobody_has"]) == set()
