"""A course and an assignment to begin with: both work before anything in them is changed.

What they begin as stands in templates/, one file for each that is written.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from proctor.author import export, solutions
from proctor.course.course import Assignment, Course
from proctor.course.packages import NUMBERED, module_name
from proctor.course.settings import IN_PROCESS, mark_scheme, setting
from proctor.errors import CourseError
from proctor.notebook.cells import DEMO, EXPORT
from proctor.notebook.template import Stubs

FIRST = "01_first"  # the assignment that a new course has
POINTS = 100  # what the template's cells add up to, before they are made to fit the course
NAME = re.compile(r"(?:\d+_)?[A-Za-z][A-Za-z0-9_]{0,29}")
FOLDERS = {"source", "tests", "docs", "release", "submitted", "autograded", "feedback"}
MAY_LIE_THERE = {".git", ".venv"}  # what somebody has made who is about to make a course

# Of each kind of cell in templates/notebook.jinja: its type, and whether nbgrader has it as graded,
# as a solution, as locked.
KINDS: dict[str, tuple[str, tuple[bool, bool, bool] | None]] = {
    "text": ("markdown", None),
    "demo": ("code", None),
    "read-only": ("code", (False, False, True)),
    "answer": ("code", (False, True, False)),
    "tests": ("code", (True, False, True)),
    "question": ("markdown", (False, False, True)),
    "written": ("markdown", (True, True, False)),
}
HEAD = re.compile(rf"^%% (?P<kind>\S+) (?P<id>\w+)(?: (?P<points>\d+))?(?P<tag> {EXPORT})?$", re.M)

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("proctor.author"),
    autoescape=False,  # what is written is no HTML
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)


def init(folder: Path, name: str = "", package: str = "") -> list[Path]:
    """Make a course in a new or empty folder, with a first assignment; the files written.

    `name` is the course's in nbgrader, that of the folder if it is not given; `package` what its
    assignments build, if anything. Raises CourseError before anything is written.
    """
    _refuse_full(folder)
    name = name or folder.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise CourseError(
            f"'{name}' cannot be the name of a course, which is also that of a folder: give one of "
            "letters, digits, '_', '-' and '.' by --name, such as physics-2026."
        )
    if package:
        _refuse_package(package)
    known = {"course": name, "package": package, "first": FIRST}
    texts = {
        folder / file: _render(file.removeprefix("."), **known)
        for file in ("nbgrader_config.py", "README.md", ".gitignore")
    }
    _write(texts)
    return [*texts, *new(Course.load(folder), FIRST)]


def new(course: Course, name: str) -> list[Path]:
    """Write an assignment that releases and grades at once into a course; the files written, first
    those that the author goes on with.

    Raises CourseError, before anything is written, for a name that cannot be one or is taken.
    """
    if course.settings.checks == IN_PROCESS:
        raise CourseError(
            "This course runs all test cells in the student's process, where a hidden suite has no "
            f"say: take c.Proctor.checks out of {course.root / 'nbgrader_config.py'}. Assignments "
            "without a hidden suite are graded as before."
        )
    _refuse_name(name)
    assignment = Assignment(course, name)
    module = module_name(Path(name))
    suites = course.root / course.settings.suites
    notebook = assignment.source / f"{name}.ipynb"
    files = {
        "notebook": notebook,
        "test.py": suites / name / f"test_{module}.py",
        "solutions.toml": solutions.folder(course) / f"{name}.toml",
        "page.md": course.root / "docs" / "assignments" / f"{name}.md",
    }
    _refuse_taken(course, name, [notebook.parent, files["test.py"].parent, *files.values()])
    known = _known(course, name, module)
    texts = {path: _render(file, **known) for file, path in files.items()}
    texts[notebook] = _notebook(texts[notebook], known["points"])
    package_dir = course.root / (course.package or "")
    exports = course.package and export.is_ours(package_dir)
    if exports and (package_dir / f"{module}.py").exists():
        raise CourseError(
            f"{package_dir / module}.py exists, and {name} would write it, too. Take another name."
        )
    _write(texts)
    return [*texts, *([export.export_notebook(notebook, package_dir)] if exports else [])]


def _known(course: Course, name: str, module: str) -> dict[str, Any]:
    """What the templates say of the course and of this assignment."""
    config, worth = course.config, course.settings.points or POINTS
    number, words = name.partition("_")[0], module.replace("_", " ")
    return {
        "name": name,
        "module": module,
        "function": f"average_{module}",  # a package offers no name twice
        "heading": f"{number} · {words.capitalize()}" if NUMBERED.fullmatch(name) else words,
        "package": course.package or "",
        "beside_proctor": (course.root / "proctor" / "__init__.py").exists(),  # sorted apart
        "stubs": Stubs.of(config),
        "rubric": not setting(config, "ClearMarkScheme", "enforce_metadata", True),
        "mark_scheme": mark_scheme(config),
        "points": lambda part: f"{part * worth / POINTS:.10g}",
    }


def _notebook(text: str, points: Any) -> str:
    """The notebook that a text describes: a line for each cell, %% KIND ID [POINTS] [export], and
    what stands in it below.
    """
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = {
        "cells": [*_cells(text, points)],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cells(text: str, points: Any) -> Iterator[dict[str, Any]]:
    heads = [*HEAD.finditer(text)]
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        kind, known = KINDS[head["kind"]]
        cell: dict[str, Any] = {"cell_type": kind, "id": head["id"], "metadata": {}}
        if known:
            flags = zip(("grade", "solution", "locked"), known, strict=True)
            meta = dict(flags) | {"grade_id": head["id"], "schema_version": 3, "task": False}
            if meta["grade"]:
                worth = float(points(int(head["points"])))
                worth = int(worth) if worth.is_integer() else worth
                meta |= {"cell_type": kind, "points": worth}
            cell["metadata"]["nbgrader"] = dict(sorted(meta.items()))
        if tag := {"demo": DEMO}.get(head["kind"], (head["tag"] or "").strip()):
            cell["metadata"]["tags"] = [tag]
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        yield cell | {"source": text[head.end() : end].strip("\n").splitlines(keepends=True)}


def _render(template: str, **known: Any) -> str:
    return _templates.get_template(f"{template}.jinja").render(known)


def _write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise CourseError(
                f"{path} cannot be written: {error.strerror}. Mend that, remove what was written "
                "before it, and type the command again."
            ) from None


# What cannot be ----------------------------------------------------------------------------------


def _refuse_full(folder: Path) -> None:
    if (folder / "nbgrader_config.py").exists():
        raise CourseError(
            f"{folder} is a course already: `proctor new NAME` in it writes another assignment."
        )
    if folder.exists() and not folder.is_dir():
        raise CourseError(f"{folder} is a file: name a folder that is new or empty.")
    there = sorted({path.name for path in folder.glob("*")} - MAY_LIE_THERE)
    if there:
        raise CourseError(
            f"{folder} is not empty: it holds {', '.join(there[:3])}"
            f"{' and more' if there[3:] else ''}. Name a folder that is new or empty."
        )


def _refuse_package(package: str) -> None:
    if not package.isidentifier() or keyword.iskeyword(package) or not package.isascii():
        raise CourseError(
            f"'{package}' cannot be the name of a package: take letters, digits and underscores, "
            "such as mycourse."
        )
    if package in FOLDERS | {"proctor", "numpy"} | sys.stdlib_module_names:
        raise CourseError(
            f"The package cannot be called '{package}': that name has another use. Take another."
        )


def _refuse_name(name: str) -> None:
    module = NUMBERED.sub(r"\2", name)
    if not NAME.fullmatch(name) or keyword.iskeyword(module):
        raise CourseError(
            f"'{name}' cannot be the name of an assignment, which is also that of a folder, a "
            "notebook and a Python module: take a number, an underscore and a word of at most 30 "
            "letters, digits and underscores, such as 06_sorting."
        )


def _refuse_taken(course: Course, name: str, paths: list[Path]) -> None:
    for other in course.assignments:
        if other.lower() == name.lower():
            raise CourseError(
                f"There is an assignment '{other}' already, and it is left as it is: take another "
                "name."
            )
    for path in paths:
        if path.exists():
            raise CourseError(
                f"{path} exists, and is left as it is: take another name, or move it away."
            )
