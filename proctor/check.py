"""`proctor check`: a student's own look at a notebook, with the code that will grade it.

It knows the notebook alone: the visible checks are those that stand in it, earlier modules come
from the package that the student exported beside it. Whoever checks a submission inside a course
gets the instructor's checks instead. Wherever they come from, nothing that lies in the notebook or
beside it runs outside the jail: the checks are jailed as well, and the worker makes the package.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from traitlets.config import Config

from proctor.author import export
from proctor.course.course import Assignment, Course
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import HIDDEN, nbgrader
from proctor.notebook.files import fetch, supporting_files
from proctor.notebook.template import Template, read
from proctor.report.table import say
from proctor.verdict import TestResult, number, one_line


class Desk(Assignment):
    """An assignment as its student has it: one notebook and the package so far."""

    trusted = False

    def __init__(self, notebook: Path) -> None:
        config = Config()
        self.notebook = notebook.resolve()
        self.folder = export.find_package(self.notebook)
        config.Proctor.package = self.package
        config.Proctor.checks = "tester"
        super().__init__(Course(self.notebook.parent, config), self.notebook.stem)

    @cached_property
    def templates(self) -> list[Template]:
        template = read(_original(self.notebook), self.course.package)
        visible = {
            name: cell
            for name, cell in template.grade_cells.items()
            if not cell.manual and HIDDEN not in cell.source
        }
        template.grade_cells = visible
        return [template]

    @property
    def reference(self) -> None:
        return None

    @property
    def suite(self) -> None:
        return None

    @property
    def files(self) -> dict[str, bytes]:
        return {}

    def prerequisites(self) -> list[tuple[str, str]]:
        return []

    @property
    def modules(self) -> list[tuple[str, str]]:
        """The student's own modules that come before this notebook, as in grading: names and
        sources. Never the notebook's own.
        """
        return export.earlier(self.folder, self.notebook) if self.folder else []

    @property
    def package(self) -> str:
        return self.folder.name if self.folder else ""


def _original(notebook: Path) -> Path:
    """The instructor's notebook if this one lies in a course, else this one itself.

    The outermost course counts: a submission may hold what looks like one.
    """
    for folder in reversed(notebook.parents):
        source = folder / "source" / notebook.parent.name / notebook.name
        if (folder / "nbgrader_config.py").exists() and source.exists():
            return source
    return notebook


def check_notebook(path: Path, isolation: str, console: Console) -> int:
    """Print what works and the next thing to do; 0 if every visible check passes, else 1."""
    desk = Desk(path)
    template = desk.templates[0]
    if not template.grade_cells:
        raise CourseError(f"{path} holds no visible check: is it a released notebook?")
    files = supporting_files(desk.notebook.parent, {})
    with Grader(desk, isolation) as grader:
        data = fetch(path.resolve())
        submission = template.submission(data)
        verdict = grader.grade_notebook(template, submission, "check", files, 0, desk.modules)
    table = Table(title=Text(one_line(path.name)), title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("points", justify="right")
    table.add_column("")
    for test in verdict.tests:
        passed = test.status == "passed"
        word = "[green]works[/]" if passed else "[red]not yet[/]"
        table.add_row(
            Text(one_line(test.name.removeprefix("check_"))),
            f"{number(test.points)} of {number(test.max_points)}",
            word,
        )
    console.print(table)
    for note in verdict.notes:
        say(console, note)
    missing = [test for test in verdict.tests if test.status != "passed"]
    if not missing:
        console.print("Every visible check passes. Hidden tests look closer when you submit.")
        return 0
    first = missing[0]
    say(console, f"Next: {_section(template, first) or first.name}", style="bold")
    say(console, first.message)
    return 1


def _section(template: Template, test: TestResult) -> str:
    """The heading under which a check stands."""
    heading = ""
    for cell in template.cells:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#+\s+(.+?)\s*$", cell["source"], re.MULTILINE)
            heading = found[-1] if found else heading
        if nbgrader(cell).get("grade_id") == test.cell:
            return heading
    return ""
