"""Killed, interrupted, out of room or locked out: what was graded is kept, the rest is made up for.

The course is `mini` of tests/test_grading.py. Its suite writes a line for each grading of a student
into a file beside the course, so that the tests see who was graded, and how often.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proctor import jail
from proctor.course.course import Course
from proctor.grade import supervisor
from proctor.grade.grading import Grader
from proctor.notebook.template import Submission, Template
from proctor.processes.forks import Warm
from proctor.record.cleaner import Cleaner
from proctor.record.recorder import Recorder
from proctor.verdict import NotebookVerdict
from tests import fuzz
from tests import test_grading as mini
from tests.test_grading import ALL, NAME, hand_in, notebooks, proctor_grade, run

ROOT = os.geteuid() == 0
SUITE = f"tests/hidden/{NAME}"
COUNTER = '''
from pathlib import Path

LOG = Path(__file__).resolve().parents[4] / "gradings"


@pytest.mark.points(2)
def test_largest(student, rng):
    """The largest number is one of them."""
    with LOG.open("a") as log:
        log.write(f"{student.who}\\n")
'''
PATIENCE = 300.0  # seconds until a test that waits for something gives up

Rows = dict[str, set[tuple[Any, ...]]]
Make = Callable[[Path, dict[str, dict[str, str]]], Path]


def writes(student: str, total: str = "return sum(values)", seconds: float = 0.0) -> dict[str, str]:
    """What a student writes: a `total`, and after some time a `largest` that says whose it is."""
    return {
        "total": f"def total(values):\n    {total}",
        "largest": f"import time\ntime.sleep({seconds})\nwho = {student!r}\n"
        "def largest(values):\n    return max(values)",
    }


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course, released, without submissions."""
    root = mini.make_course(tmp_path_factory.mktemp("released") / "course")
    done = run("nbgrader", "generate_assignment", NAME, cwd=root)
    assert done.returncode == 0, done.stderr
    suite = root / SUITE / "test_more.py"
    marker = "@pytest.mark.points(2)\ndef test_largest(student, rng):\n"
    marker += '    """The largest number is one of them."""\n'
    assert marker in suite.read_text()
    suite.write_text(suite.read_text().replace(marker, COUNTER.strip("\n") + "\n"))
    config = root / "nbgrader_config.py"  # no limit is reached because the machine is busy
    text = config.read_text()
    for limit in ("cell_seconds", "call_seconds", "submission_seconds"):
        text += f"c.Proctor.{limit} = 600\n"
    config.write_text(text)
    return root


@pytest.fixture(scope="module")
def make(released: Path) -> Make:
    """Makes the course in a folder, released, with these students' submissions."""

    def copied(root: Path, students: dict[str, dict[str, str]]) -> Path:
        shutil.copytree(released, root)
        for student, cells in students.items():
            hand_in(root, student, notebooks(cells))
        return root

    return copied


def gradings(root: Path) -> Counter[str]:
    """How often the suite was run for each student."""
    log = root.parent / "gradings"
    return Counter(log.read_text().split() if log.exists() else [])


def kept(root: Path) -> set[str]:
    """Whose result is kept."""
    return {path.stem for path in (root / ".proctor" / NAME).glob("*.json")}


def book(root: Path) -> Rows:
    """Everything that the gradebook says of submissions, by name."""
    queries = {
        "submissions": "select s.student_id, a.name, s.timestamp from submitted_assignment s "
        "join assignment a on a.id = s.assignment_id",
        "notebooks": "select s.student_id, n.name, b.late_submission_penalty, b.flagged "
        "from submitted_notebook b join submitted_assignment s on s.id = b.assignment_id "
        "join notebook n on n.id = b.notebook_id",
    }
    for table, values in {
        "grade": "t.auto_score, t.manual_score, t.extra_credit, t.needs_manual_grade",
        "comment": "t.auto_comment, t.manual_comment",
    }.items():
        queries[table] = (
            f"select s.student_id, n.name, c.name, {values} from {table} t "
            "join submitted_notebook b on b.id = t.notebook_id "
            "join submitted_assignment s on s.id = b.assignment_id "
            "join notebook n on n.id = b.notebook_id join base_cell c on c.id = t.cell_id"
        )
    found: Rows = {}
    with contextlib.closing(sqlite3.connect(root / "gradebook.db")) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        for name, query in queries.items():
            rows = db.execute(query).fetchall()
            found[name] = set(rows)
            assert len(rows) == len(found[name]), f"a {name} stands there twice"
    return found


def graded_notebooks(root: Path) -> dict[str, bytes]:
    return mini.everything(root / "autograded")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


# Processes ----------------------------------------------------------------------------------------


def start(root: Path, *arguments: object) -> subprocess.Popen[str]:
    """`proctor grade` in a session of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "proctor.cli", "grade", NAME, *map(str, arguments)],
        cwd=root,
        env=mini.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job ignores Ctrl-C and hands that on; a terminal's does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(process: subprocess.Popen[str]) -> mini.Graded:
    said = process.communicate(timeout=PATIENCE)
    return mini.Graded(Path(), process.returncode, *said)


def tree(ancestor: int) -> dict[int, int]:
    """The living descendants of a process, each with its parent; parents stand before children."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    found: dict[int, int] = {}
    level = {ancestor}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= {child: parents[child] for child in level}
    return found


def warm(ancestor: int, module: str = "proctor.") -> list[int]:
    """The warm processes below a process."""
    found = []
    for child, parent in tree(ancestor).items():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            if parent == ancestor and f"-m\0{module}" in command:
                found.append(child)
    return found


def jobs(ancestor: int, module: str = "proctor.") -> list[int]:
    """The processes that grade a submission just now: workers, testers, or both."""
    return [child for each in warm(ancestor, module) for child in tree(each)]


def kill(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def gone(processes: dict[int, int]) -> bool:
    """Whether none of these processes is left; what is a zombie waits for its parent only."""
    for process in processes:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
    return True


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

# A hundred kills ----------------------------------------------------------------------------------

TOTALS = {
    "right": "return sum(values)",
    "wrong": "return sum(values[1:])",
    "raises": "raise ValueError",
    "leaves": "import os; os._exit(0)",  # a student's own end is decided, and is no kill
}
SUPERVISORS, WARM, JOBS = 8, 6, 86  # how many are killed of each


def a_class() -> dict[str, dict[str, str]]:
    kinds = list(TOTALS.values())
    names = [f"s{number:02d}" for number in range(24)]
    return {name: writes(name, kinds[i % 4], 0.15) for i, name in enumerate(names)}


@linux
def test_a_hundred_kills_change_nothing(make: Make, tmp_path: Path) -> None:
    rng = random.Random(20)
    people = a_class()
    twin = make(tmp_path / "undisturbed" / "course", people)
    for number in range(3):
        (hand_in(twin, f"broken{number}", {}) / f"{NAME}.ipynb").write_text("{")
    blank = hand_in(twin, "blank", notebooks(blank=True))
    (blank / "timestamp.txt").write_text("2026-02-03 04:05:06 UTC")
    root = tmp_path / "killed" / "course"
    shutil.copytree(twin, root)
    assert proctor_grade(twin).status == 0

    everybody = {path.name for path in (root / "submitted").iterdir()}
    left = Counter(supervisor=SUPERVISORS, warm=WARM, job=JOBS)
    dropped = 0
    while left.total():
        if kept(root) == everybody:  # the class is done too early: a part of it is lost
            for name in rng.sample(sorted(everybody), 12):
                (root / ".proctor" / NAME / f"{name}.json").unlink()
                dropped += 1
        process = start(root, "--jobs", 2)
        enough = len(kept(root)) + rng.randint(0, 5) if left["supervisor"] else len(everybody)
        early = left["supervisor"] and rng.random() < 0.25
        moment = time.monotonic() + rng.uniform(0, 2)
        while process.poll() is None:
            if time.monotonic() > moment if early else len(kept(root)) >= enough:
                break
            choice = "warm" if left["warm"] and rng.random() < 0.03 else "job"
            victims = (warm if choice == "warm" else jobs)(process.pid)
            if left[choice] and victims and kill(rng.choice(victims)):
                left[choice] -= 1
            time.sleep(rng.uniform(0, 0.2))
        if left["supervisor"] and process.poll() is None:
            below = tree(process.pid)
            process.kill()
            left["supervisor"] -= 1
            wait_for(lambda below=below: gone(below), "the supervisor's processes to end")
        ended = finish(process)
        assert "Traceback" not in ended.stderr

    rest = proctor_grade(root)  # what the kills left over
    assert rest.status == 0, rest.stderr
    counted = gradings(root)
    last = proctor_grade(root, "--format", "json")
    assert last.status == 0
    assert gradings(root) == counted, "a result that holds was graded again"
    statuses = Counter(each["status"] for each in last.submissions.values())
    assert statuses == {"graded": len(people) + 1, "rejected": 3}
    assert book(root) == book(twin)
    assert graded_notebooks(root) == graded_notebooks(twin)
    assert not list((root / ".proctor" / NAME).glob(".unfinished-*"))
    # A job that is killed costs one grading, a warm process those at work, and a supervisor those
    # that wait to be recorded, too: twice as many.
    needed = len(people) + dropped + JOBS + 2 * 2 * SUPERVISORS + 2 * WARM
    assert counted.total() <= needed
    assert set(counted) == set(people)


@linux
def test_a_submission_whose_worker_is_killed_is_graded_in_the_same_run(
    make: Make, tmp_path: Path
) -> None:
    root = make(tmp_path / "course", {"ada": writes("ada", seconds=2)})
    process = start(root, "--format", "json")
    kill(wait_for(lambda: jobs(process.pid, "proctor.worker.worker"), "a worker")[-1])
    done = finish(process)
    assert (done.status, done.submissions["ada"]["score"]) == (0, ALL)
    assert done.submissions["ada"]["notes"] == []


@linux
@pytest.mark.parametrize("module", ["proctor.worker.worker", "proctor.tester.tester"])
def test_a_submission_that_is_killed_each_time_is_not_settled(
    make: Make, tmp_path: Path, module: str
) -> None:
    """Neither a loop without end nor a score that stays: the next run tries anew."""
    root = make(tmp_path / "course", {"ada": writes("ada", seconds=1), "bob": {}})
    hand_in(root, "bob", {NAME: notebooks()[NAME]})
    process = start(root, "ada", "--format", "json")
    while process.poll() is None:
        for victim in jobs(process.pid, module):
            kill(victim)
        time.sleep(0.02)
    done = finish(process)
    ada = done.submissions["ada"]
    assert ada["score"] < ALL
    if ada["status"] == "error":
        assert done.status == 1
        assert "killed" in ada["error"]
        assert "1 of 1 submissions have no result; run the command again" in done.stderr
    else:
        assert any("killed from outside 3 times" in note for note in ada["notes"])
    assert proctor_grade(root, "ada", "--format", "json").submissions["ada"]["score"] == ALL


@linux
@pytest.mark.parametrize("whom", ["everybody", "the supervisor"])
def test_a_machine_that_stood_still_costs_nobody_points(
    make: Make, tmp_path: Path, whom: str
) -> None:
    """Longer than any clock allows: for a call, a cell, and the notebook with what is added."""
    slow = f"import time\ntime.sleep(2)\n{writes('ada')['total']}"
    root = make(tmp_path / "course", {"ada": {**writes("ada"), "total": slow}})
    for clock in ("cell_seconds", "call_seconds", "submission_seconds"):
        append("nbgrader_config.py", f"c.Proctor.{clock} = 4\n")(root)
    process = start(root, "--format", "json")
    wait_for(lambda: jobs(process.pid, "proctor.tester.tester"), "a tester")
    time.sleep(1)  # the cell is at work
    stopped = [process.pid, *(tree(process.pid) if whom == "everybody" else ())]
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    time.sleep(4 + supervisor.SLACK + 2)
    for each in stopped:
        os.kill(each, signal.SIGCONT)
    ada = finish(process).submissions["ada"]
    assert (ada["status"], ada["score"], ada["notes"]) == ("graded", ALL, [])
    assert pending(root) == set()


@linux
def test_attempts_share_one_clock(make: Make, tmp_path: Path) -> None:
    """A submission that ends itself each time, just before its time is over, gets no other one."""
    end = "import os, time; time.sleep(4); os.kill(os.getpid(), 9)"
    root = make(tmp_path / "course", {"ada": writes("ada", end)})
    append("nbgrader_config.py", "c.Proctor.submission_seconds = 1\n")(root)
    course = Course.load(root)
    level = "none" if jail.probe() == "none" else "container"
    folder = course.folder("submitted", "ada", NAME)
    with (
        Recorder(course.assignment(NAME)) as recorder,
        Grader(recorder.assignment, level) as grading,
    ):
        recorder.pending({"ada": folder})
        before = next(grading.supervisor.numbers)
        graded = grading.grade("ada", folder)
        assert next(grading.supervisor.numbers) - before - 2 < supervisor.ATTEMPTS
        recorder.record(graded)
    assert graded.result.status == "graded"
    assert "killed from outside" in graded.result.notes[0]
    assert pending(root) == {"ada"}, "the next run tries anew"


@linux
@pytest.mark.parametrize(
    ("end", "runs"),
    [("os._exit(0)", 1), ("os.kill(os.getpid(), 9)", supervisor.ATTEMPTS)],
)
def test_a_students_own_end_is_decided(make: Make, tmp_path: Path, end: str, runs: int) -> None:
    """At once; and where a student can kill their own worker, after a few attempts."""
    root = make(tmp_path / "course", {"ada": writes("ada", f"import os; {end}")})
    course = Course.load(root)
    assignment = course.assignment(NAME)
    folders = {"ada": course.folder("submitted", "ada", NAME)}
    level = "none" if jail.probe() == "none" else "container"
    with Recorder(assignment) as recorder, Grader(assignment, level) as grading:
        recorder.pending(folders)
        before = next(grading.supervisor.numbers)
        graded = grading.grade("ada", folders["ada"])
        assert next(grading.supervisor.numbers) - before - 1 == runs + 1, (
            "and one for the other notebook"
        )
        assert graded.result.status == "graded"
        assert 0 < graded.result.score < ALL
        recorder.record(graded)
    assert pending(root) == (set() if runs == 1 else {"ada"})


@linux
@pytest.mark.parametrize("module", ["proctor.worker.worker", "proctor.tester.tester"])
def test_a_killed_warm_process_is_started_again(make: Make, tmp_path: Path, module: str) -> None:
    people = {name: writes(name, seconds=0.3) for name in ("ada", "bob", "cyd", "dan")}
    root = make(tmp_path / "course", people)
    process = start(root, "--jobs", 2, "--format", "json")
    wait_for(lambda: kept(root), "a first result")
    kill(warm(process.pid, module)[0])
    done = finish(process)
    assert done.status == 0, done.stderr
    assert {each["score"] for each in done.submissions.values()} == {ALL}


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("which", ["worker", "tester"])
def test_a_warm_process_that_is_killed_while_it_starts_is_started_again(
    make: Make, tmp_path: Path, which: str, number: signal.Signals
) -> None:
    assignment = Course.load(make(tmp_path / "course", {})).assignment(NAME)
    grader = Grader(assignment)
    grader.start()
    os.kill(getattr(grader.supervisor, which).process.pid, number)
    with grader:
        assert grader.supervisor.restarts == 1
        assert grader.tests


@linux
def test_a_tester_that_is_killed_once_it_is_there_takes_no_run_along(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment = Course.load(make(tmp_path / "course", {})).assignment(NAME)
    warm = supervisor.Supervisor._warm

    def killed(self: supervisor.Supervisor) -> Any:
        found = warm(self)
        found[1].process.kill()
        found[1].process.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(supervisor.Supervisor, "_warm", killed)
        grader = Grader(assignment).__enter__()
    with grader:
        assert grader.tests
        folder = hand_in(assignment.course.root, "ada", notebooks(writes("ada")))
        assert grader.grade("ada", folder).result.score == ALL


def test_what_a_process_ended_in_is_told_in_a_sentence() -> None:
    """It wrote a traceback: that is for its log."""
    process = Warm("proctor.tester.tester", {})
    with contextlib.closing(process):
        process.process.wait()
        assert "Traceback" in process.said()
        assert re.fullmatch("the tester ended. KeyError: '[a-z]+'", str(process.lost()))


@linux
def test_a_warm_process_that_is_always_killed_ends_the_run(make: Make, tmp_path: Path) -> None:
    people = {name: writes(name, seconds=0.3) for name in ("ada", "bob", "cyd", "dan")}
    root = make(tmp_path / "course", people)
    process = start(root, "--jobs", 1, "--format", "json")
    wait_for(lambda: kept(root), "a first result")
    while process.poll() is None:
        for victim in warm(process.pid, "proctor.worker.worker"):
            kill(victim)
        time.sleep(0.02)
    done = finish(process)
    assert done.status == 1
    assert "the worker was killed, for the 6th time in a row" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    results = done.submissions
    assert {name for name in people if results[name]["status"] == "graded"} == kept(root)
    assert {row[0] for row in book(root)["submissions"]} == kept(root)
    before = gradings(root)
    assert proctor_grade(root).status == 0
    assert {gradings(root)[name] - before[name] for name in people} <= {0, 1}
    assert kept(root) == set(people)


@linux
def test_ctrl_c_keeps_what_was_graded_and_leaves_no_process(make: Make, tmp_path: Path) -> None:
    people = {name: writes(name) for name in ("ada", "bob", "cyd")}
    root = make(tmp_path / "course", {**people, "zoe": writes("zoe", seconds=500)})
    process = start(root, "--jobs", 2)
    wait_for(lambda: kept(root) == set(people), "three results")
    for module in ("proctor.worker.worker", "proctor.tester.tester"):
        wait_for(lambda module=module: jobs(process.pid, module), "the fourth at work")
    below = tree(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    done = finish(process)
    assert (done.status, done.stdout) == (130, "")
    assert done.stderr.strip() == "proctor: interrupted; what was graded before is recorded."
    wait_for(lambda: gone(below), "the processes to end")
    assert {row[0] for row in book(root)["submissions"]} == set(people)
    hand_in(root, "zoe", notebooks(writes("zoe")))
    assert proctor_grade(root).status == 0
    assert gradings(root) == Counter([*people, "zoe"])
    assert {row[0] for row in book(root)["submissions"]} == {*people, "zoe"}


@linux
def test_a_second_run_of_the_same_assignment_is_refused(make: Make, tmp_path: Path) -> None:
    root = make(tmp_path / "course", {"ada": writes("ada", seconds=500)})
    process = start(root)
    wait_for(lambda: jobs(process.pid, "proctor.worker.worker"), "a submission at work")
    second = proctor_grade(root)
    assert (second.status, second.stdout) == (1, "")
    assert f"Another `proctor grade {NAME}` is at work in this course" in second.stderr
    process.kill()  # and a run that was killed locks nobody out
    finish(process)
    hand_in(root, "ada", notebooks(writes("ada")))
    assert proctor_grade(root).status == 0


# What is graded again -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small class, graded once."""
    people = {"ada": writes("ada"), "bob": writes("bob", TOTALS["wrong"])}
    root = make(tmp_path_factory.mktemp("done") / "course", people)
    (root / "submitted/ada" / NAME / "notes.txt").write_text("mine")
    (root / SUITE / "expected.json").write_text("[1]")
    assert proctor_grade(root).status == 0
    assert gradings(root) == {"ada": 1, "bob": 1}
    return root


@pytest.fixture
def again(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(done.parent, tmp_path / "copy")
    return tmp_path / "copy" / "course"


def pending(root: Path) -> set[str]:
    """Whom the next run would grade."""
    course = Course.load(root)
    folders = {name: course.folder("submitted", name, NAME) for name in course.students(NAME)}
    with Recorder(course.assignment(NAME)) as recorder:
        todo, held = recorder.pending(folders)
    assert {*todo, *(result.student for result in held)} == {*folders}
    return {*todo}


def append(path: str, text: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        target = root / path
        target.write_text((target.read_text() if target.exists() else "") + text)

    return change


EVERYBODY = {"ada", "bob"}


@pytest.mark.parametrize(
    ("change", "whom"),
    [
        (lambda root: hand_in(root, "ada", notebooks(writes("ada", TOTALS["wrong"]))), {"ada"}),
        (append(f"submitted/ada/{NAME}/notes.txt", "more"), {"ada"}),
        (append(f"submitted/bob/{NAME}/rows2.csv", "1"), {"bob"}),
        (append(f"submitted/bob/{NAME}/timestamp.txt", "2026-01-01 00:00:00 UTC"), {"bob"}),
        (append(f"{SUITE}/test_totals.py", "# changed\n"), EVERYBODY),
        (append(f"{SUITE}/expected.json", " "), EVERYBODY),
        (append("tests/hidden/conftest.py", ""), EVERYBODY),
        (append(f"source/{NAME}/rows.csv", "0.0\n"), EVERYBODY),
        (append("nbgrader_config.py", "c.Proctor.memory = 700\n"), EVERYBODY),
        (append("mini/pairs.py", "# changed\n"), EVERYBODY),
        (lambda root: shutil.rmtree(root / "autograded/bob"), {"bob"}),
        (lambda root: (root / ".proctor" / NAME / "bob.json").write_text('{"key": '), {"bob"}),
        (lambda root: None, set()),
        (append("nbgrader_config.py", "# a comment\n"), set()),
        (append(f"source/{NAME}/.ipynb_checkpoints/more-checkpoint.ipynb", "{}"), set()),
        (append(f"{SUITE}/__pycache__/test_totals.cpython-311.pyc", ""), set()),
        (lambda root: [os.utime(path, (1, 1)) for path in root.rglob("*")], set()),
    ],
    ids=(
        "notebook file more-files timestamp suite suite-data conftest supporting settings package "
        "autograded torn-result nothing comment checkpoint cache touched"
    ).split(),
)
def test_what_changed_is_graded_again(
    again: Path, change: Callable[[Path], object], whom: set[str]
) -> None:
    for folder in (f"source/{NAME}/.ipynb_checkpoints", f"{SUITE}/__pycache__"):
        (again / folder).mkdir(exist_ok=True)
    change(again)
    assert pending(again) == whom


def test_a_gradebook_that_fell_behind_is_told_again(again: Path) -> None:
    """Killed after a result was kept and before the gradebook had it, even with equal scores."""
    hand_in(again, "ada", notebooks({**writes("ada"), "written": "YOUR ANSWER HERE"}))
    (again / "submitted/ada" / NAME / "timestamp.txt").write_text("2026-02-03 04:05:06 UTC")
    hand_in(again, "ada", notebooks({**writes("ada"), "mean": "mean = lambda v: sum(v) / len(v)"}))
    before = book(again)
    course = Course.load(again)
    assignment = course.assignment(NAME)
    folders = {name: course.folder("submitted", name, NAME) for name in course.students(NAME)}
    killed = Recorder(assignment)
    with Grader(assignment) as grading:
        killed.__enter__()
        todo, _ = killed.pending(folders)
        assert set(todo) == {"ada"}
        for graded in grading.grade_all(todo, 1):
            killed.record(graded)
        killed.resources.close()  # without `flush`: it is gone
    assert book(again) == before
    assert proctor_grade(again).status == 0
    assert gradings(again) == {"ada": 2, "bob": 1}
    assert book(again)["grade"] == before["grade"]
    moments = {row[0]: row[2] for row in book(again)["submissions"]}
    assert moments["ada"].startswith("2026-02-03 04:05:06")


def test_what_cannot_be_recorded_keeps_nobody_else_out(
    again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Cleaner.__call__

    def breaks(self: Cleaner, submission: Submission, verdict: NotebookVerdict) -> str:
        if any("who = 'ada'" in cell["source"] for cell in submission.notebook["cells"]):
            raise RecursionError("too deep")
        return whole(self, submission, verdict)

    monkeypatch.setattr(Cleaner, "__call__", breaks)
    course = Course.load(again)
    assignment = course.assignment(NAME)
    folders = {name: course.folder("submitted", name, NAME) for name in course.students(NAME)}
    results = {}
    with Recorder(assignment, force=True) as recorder, Grader(assignment) as grading:
        recorder.pending(folders)
        for graded in grading.grade_all(folders, 1):
            recorder.record(graded)
            results[graded.result.student] = graded.result
    assert results["bob"].status == "graded"
    assert results["ada"].status == "error"
    assert "could not be recorded: RecursionError: too deep" in str(results["ada"].error)


# Regrade ------------------------------------------------------------------------------------------


def test_a_mended_suite_says_whose_score_moved_and_why(again: Path) -> None:
    suite = again / SUITE / "test_totals.py"
    text = suite.read_text()
    assert "symptoms={FIRST: sum(x[1:])})" in text
    harder = text.replace(
        "assert_close(student.total(x), sum(x))", "assert_close(student.total(x), sum(x) + 1.0)"
    )
    suite.write_text(harder)
    shown = proctor_grade(again)
    assert shown.status == 0, shown.stderr
    [line] = [line for line in shown.stdout.splitlines() if "->" in line]
    assert line.startswith(f"ada: {ALL:g} -> {ALL - 3:g}  TestTotal::test_length[1]"), line
    assert gradings(again) == {"ada": 2, "bob": 2}

    suite.write_text(text)
    told = proctor_grade(again, "--format", "json")
    assert {name: each["score"] for name, each in told.submissions.items()}["ada"] == ALL
    assert f"ada: {ALL - 3:g} -> {ALL:g}" in told.stderr
    assert "bob" not in told.stderr

    forced = proctor_grade(again, "--force", "--format", "json")
    assert gradings(again) == {"ada": 4, "bob": 4}
    assert forced.stderr == "", "nothing moved"
    assert proctor_grade(again, "ada", "--force").status == 0
    assert gradings(again) == {"ada": 5, "bob": 4}


# No room, no access -------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[None]:
    """A mount, for as long as it takes; skips where none can be had."""
    if not ROOT:
        pytest.skip("only root can mount")
    made = subprocess.run(["mount", *arguments, str(at)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be written."""
    if not ROOT:
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in folders:
                path.chmod(0o755)
        return
    with mounted("--bind", str(folder), at=folder):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


def explained(failed: mini.Graded, *words: str) -> None:
    """It ended with status 1 and a sentence that holds these words."""
    assert (failed.status, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    said = " ".join(failed.stderr.split())
    assert said.startswith("proctor: ")
    for word in words:
        assert word in said


def test_a_full_disk(make: Make, tmp_path: Path) -> None:
    people = {f"s{number:02d}": writes(f"s{number:02d}") for number in range(12)}
    made = make(tmp_path / "made", people)
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", at=disk):
        root = disk / "course"
        shutil.copytree(made, root)
        log = disk / "gradings"
        log.symlink_to(tmp_path / "gradings")
        (tmp_path / "gradings").write_text("")
        state = os.statvfs(disk)
        with (root / "filler").open("wb") as filler:
            filler.write(b"0" * (state.f_bavail * state.f_frsize - 160 * 1024))
        failed = proctor_grade(root, "--jobs", 1)
        explained(failed, "Results so far are kept")
        assert re.search("No space left on device|disk is full", failed.stderr)
        some = kept(root)
        assert 0 < len(some) < len(people)
        for name in some:
            json.loads((root / ".proctor" / NAME / f"{name}.json").read_text())
        assert book(root)["submissions"] or not book(root)["grade"]
        before = gradings(root)

        (root / "filler").unlink()
        assert proctor_grade(root).status == 0
        assert kept(root) == set(people)
        assert all(gradings(root)[name] == before[name] for name in some)
        assert {row[0] for row in book(root)["submissions"]} == set(people)


def test_a_gradebook_that_is_locked_while_grading(make: Make, tmp_path: Path) -> None:
    root = make(tmp_path / "course", {name: writes(name, seconds=0.5) for name in "abcd"})
    process = start(root, "--jobs", 1)
    wait_for(lambda: kept(root), "a first result")
    with contextlib.closing(sqlite3.connect(root / "gradebook.db")) as other:
        other.execute("begin exclusive")
        explained(finish(process), "gradebook.db cannot be used: another program is writing it")
    assert kept(root) == {*"abcd"}
    assert not book(root)["submissions"]
    counted = gradings(root)
    assert proctor_grade(root).status == 0
    assert gradings(root) == counted == Counter("abcd")
    assert {row[0] for row in book(root)["submissions"]} == {*"abcd"}


def test_a_gradebook_that_is_locked_from_the_start(again: Path) -> None:
    before = book(again)
    hand_in(again, "cyd", notebooks(writes("cyd")))
    with contextlib.closing(sqlite3.connect(again / "gradebook.db")) as other:
        other.execute("begin exclusive")
        explained(proctor_grade(again), "gradebook.db cannot be used: another program is writing")
    assert book(again) == before
    assert proctor_grade(again).status == 0
    assert {row[0] for row in book(again)["submissions"]} == {"ada", "bob", "cyd"}
    assert gradings(again) == Counter(["ada", "bob", "cyd"])


def test_a_course_that_cannot_be_written(again: Path) -> None:
    hand_in(again, "cyd", notebooks(writes("cyd")))
    with frozen(again):
        explained(proctor_grade(again), "cannot be written: ", "allow writing, and run the command")
        assert proctor_grade(again, "cyd", "--no-record").status == 0, "reading is enough for this"
    before = gradings(again)
    assert proctor_grade(again).status == 0
    assert gradings(again) - before == Counter(["cyd"])


def test_autograded_that_cannot_be_written(again: Path) -> None:
    before, said = graded_notebooks(again), book(again)
    hand_in(again, "ada", notebooks(writes("ada", TOTALS["wrong"])))
    hand_in(again, "cyd", notebooks(writes("cyd")))
    with frozen(again / "autograded"):
        failed = proctor_grade(again)
        explained(failed, "autograded/", "cannot be written: ", "Results so far are kept")
    assert graded_notebooks(again) == before
    assert book(again) == said
    assert proctor_grade(again).status == 0
    assert gradings(again)["bob"] == 1
    assert {row[0] for row in book(again)["submissions"]} == {"ada", "bob", "cyd"}


def test_a_folder_whose_name_cannot_be_recorded_stops_nobody(make: Make, tmp_path: Path) -> None:
    root = make(tmp_path / "course", {"ann": writes("ann"), "zoe": writes("zoe")})
    odd = {os.fsdecode(b"caf\xe9"), "n" * 251}
    for name in odd:
        hand_in(root, name, notebooks())
    done = proctor_grade(root, "--format", "json")
    assert done.status == 1
    failed = {name: each for name, each in done.submissions.items() if each["status"] == "error"}
    assert failed.keys() == odd
    assert all("rename it" in each["error"] for each in failed.values())
    assert kept(root) == {"ann", "zoe"}


# Shards -------------------------------------------------------------------------------------------


def test_shards_add_up_to_the_class(make: Make, tmp_path: Path) -> None:
    people = {name: writes(name, TOTALS["wrong" if name < "c" else "right"]) for name in "abcde"}
    whole = make(tmp_path / "whole" / "course", people)
    machines = []
    for part in (1, 2):
        machines.append(tmp_path / f"machine{part}" / "course")
        shutil.copytree(whole, machines[-1])
    gathered = tmp_path / "gathered" / "course"
    shutil.copytree(whole, gathered)

    def scores(graded: mini.Graded) -> dict[str, float]:
        assert graded.status == 0, graded.stderr
        return {name: each["score"] for name, each in graded.submissions.items()}

    everybody = scores(proctor_grade(whole, "--format", "json"))
    parts: list[dict[str, float]] = []
    for part, machine in enumerate(machines, 1):
        parts.append(scores(proctor_grade(machine, "--shard", f"{part}/2", "--format", "json")))
        for folder in (".proctor", "autograded"):
            shutil.copytree(machine / folder, gathered / folder, dirs_exist_ok=True)
    assert [len(part) for part in parts] == [3, 2]
    assert parts[0] | parts[1] == everybody
    assert scores(proctor_grade(gathered, "--format", "json")) == everybody
    assert gradings(gathered) == {}, "the machines' results are recorded, nobody is graded again"
    assert book(gathered) == book(whole)
    assert graded_notebooks(gathered) == graded_notebooks(whole)

    empty = proctor_grade(whole, "--shard", "9/9", "--format", "json", "--no-record")
    assert scores(empty) == {}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_makes_no_sense(again: Path, text: str) -> None:
    refused = proctor_grade(again, "--shard", text)
    assert (refused.status, refused.stdout) == (2, "")
    assert "the I-th of N parts, such as 2/4" in " ".join(refused.stderr.split())


# Malformed notebooks ------------------------------------------------------------------------------


def test_malformed_notebooks_are_graded_or_rejected() -> None:
    """A sample of what `make fuzz` tries."""
    ends = fuzz.Ends()
    fuzz.read_all(list(range(10_000, 10_240)), ends)
    fuzz.grade_all(list(range(12)), ends)
    assert not ends.crashes, "\n".join(ends.crashes)
    assert ends.counts.total() == 240 + 12
    for kind in ("json", "bytes", "cells", "metadata"):
        assert ends.counts[kind, "graded"] and ends.counts[kind, "rejected"], kind


def test_a_crash_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Template, "submission", crash)
    ends = fuzz.Ends()
    fuzz.read_all([0], ends)
    assert "RecursionError" in ends.crashes[0]
