"""What must never work: the corpus of tests/attacks/, graded in one class with honest students.

At both levels of isolation and, where the tests run as root, as an ordinary user too. Tests with
"without" in their names look from the wrong side: that the same attacks do work where the defence
is missing.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from proctor import jail
from proctor.report import formats, table
from proctor.verdict import Result, TestResult
from tests import classroom
from tests.attacks import corpus, naive
from tests.attacks.corpus import Attack
from tests.attacks.range import HONEST, MAGIC, NOBODY, Range, Run, why_not

if sys.platform != "linux":
    pytest.skip("the jail is Linux's", allow_module_level=True)

ATTACKS = corpus.attacks()
RUNS = [(level, user) for user in (None, NOBODY) for level in ("full", "container")]
GB = 1 << 30


def by_name(attack: Attack) -> str:
    return attack.name


def at(level: str, user: int | None) -> str:
    return f"{level}-{'me' if user is None else 'nobody'}"


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="proctor-attacks-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def prepared(ground: Path) -> Range:
    """The course as it is before anybody has submitted but the honest."""
    made = Range(ground / "prepared")
    made.root.mkdir()
    made.prepare()
    return made


def fresh(prepared: Range, name: str, user: int | None) -> Range:
    root = prepared.root.parent / name
    shutil.copytree(prepared.root, root)
    return Range(root, user, prepared.token)


REASONS = functools.cache(why_not)


@pytest.fixture(scope="session", params=RUNS, ids=lambda param: at(*param))
def run(request: pytest.FixtureRequest, prepared: Range) -> Run:
    """The corpus, graded once."""
    level, user = request.param
    if reason := REASONS(user):
        pytest.skip(reason)
    best = list(jail.Isolation).index(jail.probe())
    if list(jail.Isolation).index(jail.Isolation(level)) < best:
        pytest.skip(f"this machine cannot give isolation '{level}'")
    place = fresh(prepared, at(level, user), user)
    shot = place.shoot(level, ATTACKS)
    assert shot.results, shot.complaints
    shutil.rmtree(place.root)
    return shot


class TestTheCorpus:
    def test_every_group_is_there(self) -> None:
        assert len(ATTACKS) >= 70
        assert {attack.group for attack in ATTACKS} == set(corpus.GROUPS)
        assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)

    def test_every_attack_does_something(self) -> None:
        for attack in ATTACKS:
            assert attack.code or attack.cells or attack.build, attack.name
            assert attack.aim and attack.stops, attack.name
        words = " ".join(f"{a.code}{a.build}{a.cells}{a.extra}" for a in ATTACKS)
        assert not set(re.findall(r"@[A-Z]+@", corpus.Places(Path("c"), Path("v")).fill(words)))

    def test_the_page_is_in_step(self) -> None:
        page = corpus.PAGE.read_text()
        assert page == corpus.page(), "run `python -m tests.attacks.corpus`"


@pytest.mark.parametrize("attack", ATTACKS, ids=by_name)
def test_an_attack_gains_nothing_and_harms_nobody(run: Run, attack: Attack) -> None:
    result = run.results[attack.name]
    assert result["status"] in ("graded", "rejected"), result["error"]
    assert [test["name"] for test in result["tests"] if test["points"]] == []
    assert result["score"] == 0
    assert run.grades.get(attack.name, 0) == 0
    assert run.changed[attack.name] == []
    assert f"stolen by {attack.name}" not in run.called
    shown = run.shown[attack.name]
    assert run.token not in shown, shown[max(0, shown.index(run.token) - 300) :][:600]
    assert MAGIC not in shown
    assert result["isolation"] == run.level


def test_honest_students_in_the_same_run_get_all_their_points(run: Run) -> None:
    for name in HONEST:
        result = run.results[name]
        lost = [test for test in result["tests"] if test["status"] == "failed"]
        assert (result["status"], lost) == ("graded", [])
        assert result["score"] == run.grades[name] == result["max_score"] - 10 == 90


def test_nothing_is_changed_or_left_behind(run: Run) -> None:
    assert run.status == 0, run.complaints
    assert run.harm == []
    assert run.called == ""


def test_memory_is_bounded(run: Run) -> None:
    """Two workers of 256 MB each, what they hold in files, and what their testers decode."""
    assert 0 < run.peak < 1.5 * GB


class TestWithoutDefence:
    def test_checks_beside_the_students_code_are_fooled(self) -> None:
        """As plain nbgrader grades: checks run after the student's cells, in the same process."""
        places = corpus.Places(Path("/nonexistent"), Path("/nonexistent"))
        made = [attack for attack in ATTACKS if attack.naive]
        assert len(made) >= 9
        earned = {
            attack.name: naive.score(naive.notebook_of(attack, places))  # points
            for attack in made
        }
        assert {name for name, points in earned.items() if not points} == set()

    def test_checks_beside_the_students_code_are_right_about_the_honest(self) -> None:
        assert naive.score(corpus.blank()) == 0
        assert naive.score(corpus.solved()) == 90

    def test_code_without_a_jail_does_harm(self, prepared: Range) -> None:
        """Where the tests run as root, the attacks run as nobody: there is no jail."""
        user = NOBODY if os.geteuid() == 0 else None
        if reason := REASONS(user):
            pytest.skip(reason)
        made = [attack for attack in ATTACKS if attack.open]
        assert len(made) >= 12
        place = fresh(prepared, "none", user)
        shot = place.shoot("none", made)
        harmless = []
        for attack in made:
            shown = shot.shown[attack.name]
            signs = [
                place.token in shown,
                shot.changed[attack.name],
                f"stolen by {attack.name}" in shot.called,
                attack.name == "gradebook-write" and "the gradebook was changed" in shot.harm,
                any(f"proctor-attack-{attack.name}" in what for what in shot.harm),
            ]
            if not any(signs):
                harmless.append(attack.name)
        for path in Path("/dev/shm").glob("proctor-attack*"):
            path.unlink()
        assert harmless == []
        assert shot.results["gradebook-read"]["isolation"] == "none"


class TestOfTheRealCourse:
    """A handful against an assignment that students will get."""

    CODE = (
        "equals-everything",
        "ndarray-subclass",
        "patch-the-server",
        "ast-transformer",
        "inputs-as-messages",
        "frames-in-a-call",
    )
    TENSOR = """
class Tensor:
    __array_ufunc__ = None
    def __init__(self, data): self.data = double(data)
    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = lambda self, other: double(self)
    __matmul__ = __rmatmul__ = __truediv__ = __rtruediv__ = __pow__ = __getitem__ = __add__
    __neg__ = exp = log = sum = mean = max = lambda self, *a, **k: double(self)
    reshape = transpose = maximum = sum
"""

    def test_attacks_earn_nothing(self, tmp_path: Path) -> None:
        course = classroom.scratch_course(tmp_path)
        places = corpus.Places(course.root, tmp_path / "victim")
        chosen = [attack for attack in ATTACKS if attack.name in self.CODE]
        assert len(chosen) == len(self.CODE)
        for attack in chosen:
            found = classroom.blank("01_tensor")
            students = [
                cell
                for cell in found["01_tensor"]["cells"]
                if cell["metadata"].get("nbgrader", {}).get("solution")
                and cell["cell_type"] == "code"
            ]
            students[0]["source"] = places.fill(attack.code)
            if "def double" in attack.code:
                students[0]["source"] += self.TENSOR
            classroom.submit(course, attack.name, "01_tensor", found)
        classroom.submit(course, "honest", "01_tensor", classroom.solved("01_tensor"))
        classroom.submit(course, "blank", "01_tensor", classroom.blank("01_tensor"))
        everyone = [*self.CODE, "honest", "blank"]
        results = classroom.grade(course.assignment("01_tensor"), everyone)
        scores = {name: result.score for name, result in results.items()}
        assert scores.pop("honest") >= 90
        assert scores == dict.fromkeys([*self.CODE, "blank"], 0)


HOSTILE = "[/red][bold]\x1b]0;owned\x07<script>|\n\x00\ud800 ]]>"


class TestReports:
    """What a submission holds is quoted in tables and files, whatever it is."""

    @pytest.fixture
    def results(self) -> list[Result]:
        failed = TestResult("t", "mini", "c", 0, 1, "failed", HOSTILE)
        return [
            Result(HOSTILE, "rejected", "full", error=HOSTILE, total=1),
            Result("x", "graded", "full", notes=[HOSTILE], tests=[failed], total=1),
        ]

    def test_table(self, results: list[Result]) -> None:
        out = io.StringIO()
        table.table("mini", results, Console(file=out, width=200, force_terminal=False))
        assert "[bold]" in out.getvalue()

    @pytest.mark.parametrize("form", [formats.as_json, formats.as_junit, formats.as_markdown])
    def test_files(self, results: list[Result], form: Any) -> None:
        text: str = form("mini", results)
        assert "\x1b" not in text
        if form is not formats.as_json:
            assert "<script>" not in text
            text.encode()

    def test_the_command_prints_a_table_of_them(self, prepared: Range) -> None:
        place = fresh(prepared, "table", None)
        names = ("marked-up-format", "markup-for-the-terminal", "odd-shapes")
        for attack in ATTACKS:
            if attack.name in names:
                places = corpus.Places(place.course, place.root)
                corpus.submission(attack, places, place.course / "submitted" / attack.name / "mini")
        done = subprocess.run(
            place.command("proctor.cli", "grade", "mini", "--no-record", "--explain"),
            cwd=place.course,
            env=place.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert all(name in done.stdout for name in names)
        assert "\x1b" not in done.stdout + done.stderr
