"""Gradescope's autograder, run by its own scripts in a scratch root, with no network for pip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

from proctor.errors import ProctorError
from proctor.lms import gradescope
from tests import classroom
from tests.test_services import GRADESCOPE

ASSIGNMENT = "02_activations"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


class Autograder:
    """What Gradescope has: /autograder, with the zip unpacked in source/."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.root),
            "AUTOGRADER": str(self.root),
            "PIP_CONFIG_FILE": os.devnull,
        }
        command = ["bash", str(self.root / "source" / script)]
        return subprocess.run(
            command, env=environment, cwd=self.root, capture_output=True, text=True
        )

    def grade(self, files: dict[str, str]) -> dict[str, object]:
        for name in ("submission", "results"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            (self.root / name).mkdir()
        for name, text in files.items():
            (self.root / "submission" / name).write_text(text)
        done = self.run("run_autograder")
        assert done.returncode == 0, done.stderr
        told = json.loads((self.root / "results/results.json").read_text())
        jsonschema.validate(told, GRADESCOPE)
        return told


@pytest.fixture(scope="module")
def autograder(tmp_path_factory: pytest.TempPathFactory) -> Autograder:
    root = tmp_path_factory.mktemp("autograder")
    course = classroom.scratch_course(root / "course")
    try:
        archive = gradescope.bundle(course.assignment(ASSIGNMENT), root / "bundle.zip", HERE)
    except ProctorError as error:
        pytest.skip(f"without the wheels of what grading imports: {error}")
    with zipfile.ZipFile(archive) as file:
        file.extractall(root / "source")
    shutil.rmtree(root / "course")  # nothing of it is needed any more
    made = Autograder(root)
    done = made.run("setup.sh")
    assert done.returncode == 0, done.stderr
    assert "Isolation: " in done.stdout
    return made


def test_a_solution_has_its_points(autograder: Autograder) -> None:
    [(name, notebook)] = classroom.solved(ASSIGNMENT).items()
    told = autograder.grade({f"{name}.ipynb": json.dumps(notebook)})
    assert told["score"] == 95 and "5 points are given by a person" in told["output"]
    assert "Isolation of the code while it was graded: " in told["output"]
    assert {test["status"] for test in told["tests"]} == {"passed"}


def test_a_renamed_notebook_is_found(autograder: Autograder) -> None:
    [(name, notebook)] = classroom.solved(ASSIGNMENT).items()
    assert autograder.grade({f"{name} (1).ipynb": json.dumps(notebook)})["score"] == 95


def test_a_blank_notebook_has_none(autograder: Autograder) -> None:
    [(name, notebook)] = classroom.blank(ASSIGNMENT).items()
    told = autograder.grade({f"{name}.ipynb": json.dumps(notebook)})
    assert told["score"] == 0 and {test["status"] for test in told["tests"]} == {"failed"}


def test_what_is_no_notebook_is_said(autograder: Autograder) -> None:
    told = autograder.grade({f"{ASSIGNMENT}.ipynb": "<html>Log in</html>"})
    assert told["score"] == 0 and "not a notebook" in told["output"]


def test_the_zip_is_as_gradescope_wants_it(autograder: Autograder) -> None:
    with zipfile.ZipFile(autograder.root / "bundle.zip") as archive:
        names = archive.namelist()
        for script in ("setup.sh", "run_autograder"):
            assert archive.getinfo(script).external_attr >> 16 == 0o755
        assert archive.read("run_autograder").startswith(b"#!/usr/bin/env bash\n")
    assert any(name.startswith("wheels/numpy-") for name in names)
    assert not [name for name in names if "nbgrader-" in name or "jupyterlab-" in name]
    later = [name for name in names if name.startswith("course/") and "/03_" in name]
    assert later == []


def test_a_python_that_there_are_no_wheels_for(tmp_path: Path) -> None:
    course = classroom.scratch_course(tmp_path / "course")
    with pytest.raises(ProctorError, match=r"wheels for Python 3\.5"):
        gradescope.bundle(course.assignment(ASSIGNMENT), tmp_path / "bundle.zip", "3.5")
    assert not [*tmp_path.glob("*.zip")]
