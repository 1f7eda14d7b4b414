"""The student's road from the docs alone: one wheel, five commands, in a clean folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.classroom import ROOT, scratch_course, solved, text_of
from tests.machine import build_wheel, environment, install
from tests.test_grading import run

NAME = "01_tensor"
FOR_STUDENTS = ROOT / "docs/students.md"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The first assignment's notebook, as nbgrader releases it."""
    course = scratch_course(tmp_path_factory.mktemp("teacher"))
    done = run("nbgrader", "generate_assignment", NAME, cwd=course.root)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(
        (course.root / f"release/{NAME}/{NAME}.ipynb").read_text(encoding="utf-8")
    )
    return found


class Machine:
    """A student's: an environment without proctor, and a folder with what was handed out."""

    def __init__(self, root: Path, wheel: Path, released: dict[str, Any]) -> None:
        self.python = environment(root / "env")
        self.folder, self.wheel = root / "course", wheel
        self.notebook = self.folder / NAME / f"{NAME}.ipynb"
        self.notebook.parent.mkdir(parents=True)
        self.released = released
        self.save(released)
        self.environment = os.environ | {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(root),
            "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        }

    def save(self, notebook: dict[str, Any]) -> None:
        self.notebook.write_text(json.dumps(notebook), encoding="utf-8")

    def solve(self, *but: str) -> None:
        """Write what the instructor wrote, but for these regions."""
        answers = {cell["id"]: text_of(cell) for cell in solved(NAME)[NAME]["cells"]}
        cells = [dict(cell) for cell in self.released["cells"]]
        for cell in cells:
            meta = cell["metadata"].get("nbgrader", {})
            if meta.get("solution") and meta["grade_id"] not in but:
                cell["source"] = answers[cell["id"]]
        self.save({**self.released, "cells": cells})

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """What stands in the docs, in the folder of the course. What pip would fetch is there
        already; JupyterLab is left once it has answered.
        """
        words = shlex.split(command)
        if words[:2] == ["pip", "install"]:
            assert words[2] == self.wheel.name
            install(self.python, self.wheel)
            return subprocess.CompletedProcess(words, 0, "", "")
        if words == ["jupyter", "lab"]:
            return self.open_lab()
        program = self.python.with_name(words[0])
        return subprocess.run(
            [program, *words[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def open_lab(self) -> subprocess.CompletedProcess[str]:
        log = self.folder.parent / "log"
        words = [self.python.with_name("jupyter"), "lab", "--no-browser", "--allow-root"]
        words += ["--ServerApp.port=0"]
        with log.open("w") as output:
            server = subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )
        try:
            patience = time.monotonic() + 120
            pattern = r"http://127\.0\.0\.1:\d+/lab\?token=\w+"
            while not (found := re.search(pattern, log.read_text())):
                assert server.poll() is None and time.monotonic() < patience, log.read_text()
                time.sleep(0.2)
            while True:  # it says where it is before it listens there
                try:
                    with urlopen(found[0]) as page:
                        text = page.read().decode()
                    break
                except URLError:
                    assert server.poll() is None and time.monotonic() < patience, log.read_text()
                    time.sleep(0.2)
        finally:
            server.terminate()
            server.wait(30)
        return subprocess.CompletedProcess(words, 0, text, "")


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, released: dict[str, Any]
) -> Machine:
    return Machine(tmp_path_factory.mktemp("student"), wheel, released)


def first_commands(page: Path) -> list[str]:
    """The first block of code of a page."""
    return re.findall(r"(?m)^    (.+)$", page.read_text().partition("\n## ")[0])


class TestWheel:
    def test_it_holds_proctor_and_nothing_else(self, wheel: Path) -> None:
        names = zipfile.ZipFile(wheel).namelist()
        assert wheel.name.startswith("proctor-")
        stem = wheel.name.split("-py3")[0]
        places = ("proctor/", f"{stem}.dist-info/", f"{stem}.data/data/etc/jupyter/")
        assert [name for name in names if not name.startswith(places)] == []
        ours = (path for path in ROOT.glob("proctor/**/*") if "__pycache__" not in path.parts)
        expected = {path.relative_to(ROOT).as_posix() for path in ours if path.is_file()}
        assert {name for name in names if name.startswith("proctor/")} == expected

    def test_no_line_of_an_answer_or_a_hidden_test_is_in_it(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as opened:
            text = "\n".join(opened.read(name).decode() for name in opened.namelist())
        held = {line.strip() for line in text.splitlines()}
        secret = [*ROOT.glob("tinytorch/*.py"), *ROOT.glob("tests/hidden/**/test_*.py")]
        lines = {line.strip() for path in secret for line in path.read_text().splitlines()}
        telling = {line for line in lines if len(line) > 50}  # shorter ones anybody may write
        assert len(telling) > 1000
        assert not telling & held


def test_the_five_commands_from_a_clean_folder(machine: Machine) -> None:
    """They stand first on the student's page; each does what it says there."""
    commands = first_commands(FOR_STUDENTS)
    assert len(commands) == 5
    for command in commands[:3]:
        done = machine.type(command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert '"@jupyter/nbgrader:create-assignment"' in done.stdout  # the page knows that it is off
    check, export = commands[3:]
    done = machine.type(check)
    assert done.returncode == 1 and done.stderr == "", done.stderr
    assert "Next: " in done.stdout and "not yet" in done.stdout
    machine.solve()
    done = machine.type(check)
    assert done.returncode == 0, done.stdout
    assert "Every visible check passes." in done.stdout
    done = machine.type(export)
    assert done.returncode == 0, done.stderr
    assert "class Tensor" in (machine.folder / "tinytorch/tensor.py").read_text(encoding="utf-8")


def test_the_two_commands_of_the_page_that_is_handed_out() -> None:
    assert (
        first_commands(ROOT / "docs/install.md")[:2]
        == [command for command in first_commands(FOR_STUDENTS) if "labextension" not in command][
            :2
        ]
    )


def failed_cells(validated: str) -> int:
    found = re.search(r"VALIDATION FAILED ON (\d+) CELL", validated)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("left", [(), ("derived",)])
def test_validate_says_what_the_check_says(machine: Machine, left: tuple[str, ...]) -> None:
    """nbgrader's own, with nothing configured but by the wheel."""
    if not machine.python.with_name("proctor").exists():
        install(machine.python, machine.wheel)
    machine.solve(*left)
    checked = machine.type(f"proctor check {NAME}/{NAME}.ipynb")
    validated = machine.type(f"nbgrader validate {NAME}/{NAME}.ipynb")
    assert validated.returncode == 0, validated.stderr
    assert failed_cells(validated.stdout) == checked.stdout.count("not yet")
    assert ("Success!" in validated.stdout) == (not left)
    assert "graded by hidden tests" not in validated.stdout


def test_without_the_wheels_configuration_validate_fails_on_hidden_cells(machine: Machine) -> None:
    """From the wrong side: it is the configuration that makes it fit."""
    machine.solve()
    for config in machine.python.parent.parent.glob("etc/jupyter/nbgrader_config.json"):
        kept = config.read_text()
        config.unlink()
        try:
            validated = machine.type(f"nbgrader validate {NAME}/{NAME}.ipynb")
        finally:
            config.write_text(kept)
        assert "graded by hidden tests" in validated.stdout
        break
    else:
        pytest.fail("the wheel has brought no configuration")
