"""The commands of the Makefile, of CI and of the grading workflow, run as the scripts they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests import classroom

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def run(*command: object, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    environment = {**os.environ, "PATH": PATH, **variables}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_scripts_of_the_repository(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        assert (ROOT / re.fullmatch(r"bash (\S+)( .*)?", command)[1]).exists()
        assert "${{" not in command, "an input is passed as a variable, never pasted into a script"


@pytest.mark.parametrize("script", [".ci/run", ".github/grade.sh"])
def test_a_script_can_be_parsed(script: str) -> None:
    done = run("bash", "-n", ROOT / script)
    assert (done.returncode, done.stderr) == (0, "")


def test_ci_runs_on_the_oldest_and_the_newest_python() -> None:
    [job] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]


@pytest.mark.parametrize("status", [0, 3])
def test_ci_is_make_test(tmp_path: Path, status: int) -> None:
    program(tmp_path / "make", f'echo "make $*"; exit {status}')
    done = run("bash", ROOT / ".ci/run", cwd=tmp_path, PATH=f"{tmp_path}{os.pathsep}{PATH}")
    assert done.stdout.splitlines()[-1] == "make test"
    assert bool(done.returncode) is bool(status)


ASSIGNMENT = "02_activations"


class TestGrade:
    @pytest.fixture(scope="class")
    @classmethod
    def graded(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
        course = classroom.scratch_course(tmp_path_factory.mktemp("course"))
        classroom.submit(course, "ada", ASSIGNMENT, classroom.solved(ASSIGNMENT))
        broken = classroom.submit(course, "bob", ASSIGNMENT, classroom.blank(ASSIGNMENT))
        (broken / f"{ASSIGNMENT}.ipynb").write_text("no notebook")
        summary = course.root / "summary.md"
        summary.write_text("What was there before.\n")
        done = run(
            *("bash", ROOT / ".github/grade.sh", ASSIGNMENT),
            cwd=course.root,
            GITHUB_STEP_SUMMARY=str(summary),
        )
        assert done.returncode == 0, done.stderr
        return {"xml": (course.root / "results.xml").read_text(), "summary": summary.read_text()}

    def test_junit_has_every_student(self, graded: dict[str, str]) -> None:
        suites = {suite.get("name"): suite for suite in ElementTree.fromstring(graded["xml"])}
        ada, bob = (next(suites[n] for n in suites if who in n) for who in ("ada", "bob"))
        assert int(ada.get("tests")) > 5
        assert (ada.get("failures"), ada.get("errors")) == ("0", "0")
        assert int(bob.get("failures", 0)) + int(bob.get("errors", 0)) > 0

    def test_the_summary_is_appended(self, graded: dict[str, str]) -> None:
        before, table = graded["summary"].split("\n", 1)
        assert before == "What was there before."
        assert re.search(r"^\|.*ada.*\|", table, re.M) and re.search(r"^\|.*bob.*\|", table, re.M)

    def test_a_wrong_call_fails(self, tmp_path: Path) -> None:
        course = classroom.scratch_course(tmp_path)
        script = ROOT / ".github/grade.sh"
        done = run("bash", script, cwd=course.root)
        assert done.returncode != 0 and "Which assignment?" in done.stderr
        done = run("bash", script, "99_nothing", cwd=course.root)
        assert done.returncode == 2 and "99_nothing" in done.stderr


class TestMake:
    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path / name)
        return tmp_path

    def test_make_alone_names_the_targets(self, clone: Path) -> None:
        said = run("make", cwd=clone).stdout
        targets = re.search(r"^\.PHONY: help (.*)", (ROOT / "Makefile").read_text(), re.M)[1]
        for target in targets.split():
            assert f"make {target} " in said

    @pytest.mark.parametrize("target", ["demo", "test"])
    def test_an_old_python_is_named(self, clone: Path, target: str) -> None:
        body = 'case "$1" in --version) echo Python 3.9.1;; *) exit 1; esac'
        old = program(clone / "bin/old", body)
        done = run("make", target, f"PYTHON={old}", cwd=clone)
        assert done.returncode != 0 and not (clone / ".venv").exists()
        assert f"needs Python 3.11 or newer; {old} is Python 3.9.1." in done.stderr
        assert f"PYTHON=python3.12 make {target}" in done.stderr

    def test_a_second_run_installs_nothing(self, clone: Path) -> None:
        assert "pip install" in run("make", "-n", "demo", cwd=clone).stdout
        (clone / ".venv").mkdir()
        (clone / ".venv/.ready").touch()
        assert "pip install" not in run("make", "-n", "demo", "test", cwd=clone).stdout
        later = (clone / ".venv/.ready").stat().st_mtime + 5
        os.utime(clone / "requirements.lock", (later, later))
        assert "pip install" in run("make", "-n", "test", cwd=clone).stdout

    def test_the_programs_of_the_environment_come_first(self, clone: Path) -> None:
        done = run(
            "make", "--no-print-directory", "--eval", "where: ; @echo $$PATH", "where", cwd=clone
        )
        assert done.stdout.split(os.pathsep)[0] == str(clone / ".venv/bin")
