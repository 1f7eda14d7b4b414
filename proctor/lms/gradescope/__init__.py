"""A course's assignment as an autograder for Gradescope: one zip, nothing downloaded there.

Source: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

from proctor.course.course import Assignment
from proctor.errors import CourseError, ProctorError

# What grading imports, without a gradebook: proctor's other dependencies are for courses.
NEEDS = ["ipython", "pytest", "hypothesis", "nh3", "nbformat", "rich", "click", "traitlets"]
PLATFORMS = ["manylinux2014_x86_64", "manylinux_2_28_x86_64"]  # what Gradescope's machines run
PYTHON = "3.12"  # of Ubuntu 24.04


def bundle(assignment: Assignment, target: Path, python: str = PYTHON) -> Path:
    """Write the autograder's zip: setup.sh, run_autograder, wheels, the engine and the course.

    Raises ProctorError if pip does not find the wheels for this version of Python.
    """
    with tempfile.TemporaryDirectory() as folder:
        wheels = _wheels(assignment, python, Path(folder))
        part = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in _scripts(assignment, python):
                    script = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    script.external_attr = 0o755 << 16
                    archive.writestr(script, text)
                for path in wheels:
                    archive.write(path, f"wheels/{path.name}", zipfile.ZIP_STORED)
                for place, path in sorted({**_engine(), **_course(assignment)}.items()):
                    archive.write(path, place)
            os.replace(part, target)
        except OSError as error:
            raise ProctorError(f"{target} cannot be written: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
    return target


def _scripts(assignment: Assignment, python: str) -> Iterator[tuple[str, str]]:
    names = " ".join(shlex.quote(path.stem) for path in assignment.notebooks)
    values = {"PYTHON": python, "ASSIGNMENT": shlex.quote(assignment.name), "NOTEBOOKS": names}
    for name in ("setup.sh", "run_autograder"):
        text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        yield name, text


def _wheels(assignment: Assignment, python: str, folder: Path) -> list[Path]:
    """The wheels of what grading imports, in the versions that are installed here."""
    names = [*NEEDS, *assignment.course.settings.packages, *assignment.wanted]
    wanted = []
    for name in dict.fromkeys(names):
        try:
            wanted.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            wanted.append(name)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    command += ["--only-binary=:all:", "--python-version", python]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ProctorError(
            f"pip has not found all wheels for Python {python}: "
            + " ".join(lines[-1:] or done.stderr.splitlines()[-1:])
        )
    return sorted(folder.glob("*.whl"))


def _engine() -> dict[str, Path]:
    """proctor itself, as it stands here."""
    home = Path(str(resources.files("proctor")))
    return {
        f"lib/proctor/{path.relative_to(home).as_posix()}": path
        for path in home.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _course(assignment: Assignment) -> dict[str, Path]:
    """What grading this assignment reads of the course: its notebooks and suite, the notebooks
    that come before it, and the package.
    """
    course = assignment.course
    root = course.root
    paths = [root / "nbgrader_config.py"]
    upto = [*assignment.preceding, assignment]
    for each in upto:
        paths += each.source.rglob("*") if each is assignment else each.notebooks
    if assignment.suite:
        paths += [*assignment.suite.rglob("*"), *assignment.suite.parent.glob("*.py")]
    if assignment.reference:
        paths += assignment.reference.glob("*.py")  # its __init__ imports them all
    caches = {"__pycache__", ".ipynb_checkpoints"}
    found = {}
    for path in paths:
        if path.is_file() and not caches & {*path.parts}:
            if not path.is_relative_to(root):
                raise CourseError(f"{path} is outside the course's folder {root}.")
            found[f"course/{path.relative_to(root).as_posix()}"] = path
    return found
