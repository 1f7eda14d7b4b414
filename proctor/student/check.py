"""`proctor check`: a student's own look at a notebook, with the code that will grade it.

It knows the notebook alone: the visible checks are those that stand in it, earlier modules come
from the package that the student exported beside it. Whoever checks a submission inside a course
gets the instructor's checks instead. Wherever they come from, nothing that lies in the notebook or
beside it runs outside the jail: the checks are jailed as well, and the worker makes the package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from traitlets.config import Config

from proctor.author import export
from proctor.course.course import Assignment, Course
from proctor.course.packages import installed, module_name
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import HIDDEN, headings, is_demo, nbgrader
from proctor.notebook.files import SubmissionFiles, fetch
from proctor.notebook.template import GradeCell, Submission, Template, read
from proctor.processes.frames import can_fork
from proctor.report.table import NO_ISOLATION, say
from proctor.student.unjailed import Unjailed
from proctor.verdict import NotebookVerdict, TestResult, number, one_line

UNANSWERED = "your answer here"  # in the text that stands where an answer is to be written
OWN_CODE = "Not jailed: this is your own code."
PATIENCE = 2  # cells and checks that may run into their time limit before the rest is left out


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
    def original(self) -> Path:
        """The instructor's notebook if this one lies in a course, else this one itself.

        The outermost course counts: a submission may hold what looks like one.
        """
        for folder in reversed(self.notebook.parents):
            source = folder / "source" / self.notebook.parent.name / self.notebook.name
            if (folder / "nbgrader_config.py").exists() and source.exists():
                return source
        return self.notebook

    @cached_property
    def whole(self) -> Template:
        """The notebook with all its grade cells."""
        return read(self.original, self.course.package)

    @cached_property
    def templates(self) -> list[Template]:
        """The same with its visible checks only."""
        cells = self.whole.grade_cells.items()
        hidden = self.hidden
        visible = {name: cell for name, cell in cells if not cell.manual and cell not in hidden}
        return [replace(self.whole, grade_cells=visible)]

    @property
    def hidden(self) -> list[GradeCell]:
        """The grade cells that hidden tests decide."""
        return [cell for cell in self.whole.grade_cells.values() if HIDDEN in cell.source]

    @property
    def manual(self) -> list[GradeCell]:
        """The grade cells that a person reads."""
        return [cell for cell in self.whole.grade_cells.values() if cell.manual]

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

    def modules(self, before: str = "") -> list[tuple[str, str]]:
        return []

    @property
    def earlier(self) -> list[tuple[str, str]]:
        """The student's own modules that come before this notebook, as in grading: names and
        sources. Never the notebook's own.
        """
        return export.earlier(self.folder, self.notebook) if self.folder else []

    @property
    def package(self) -> str:
        return self.folder.name if self.folder else ""

    def not_exported(self) -> list[Path]:
        """The main notebooks that come before this one, beside its folder or in it, whose modules
        the package lacks.
        """
        here = export.place("/".join(self.notebook.parts[-2:]))
        exported = {name for name, _ in self.earlier}
        folder = self.notebook.parent
        candidates = [*folder.glob("*.ipynb"), *folder.parent.glob("*/*.ipynb")]
        return sorted(
            path
            for path in {*candidates}
            if path.parent == folder or path.stem == path.parent.name
            if (there := export.place("/".join(path.parts[-2:]))) < here and not there[1]
            if module_name(path) not in exported
        )


def check_notebook(path: Path, isolation: str, console: Console) -> int:
    """Run a notebook and print what works and the next thing to do; the exit status."""
    desk = Desk(path)
    template = desk.templates[0]
    if not template.grade_cells:
        raise CourseError(f"{path} holds no visible check: is it a released notebook?")
    beside = SubmissionFiles.read(desk.notebook.parent, [])
    spawned = None if isolation or can_fork() else Unjailed(desk)
    with _progress(console) as progress, Grader(desk, isolation, supervisor=spawned) as grader:
        task = progress.add_task(one_line(path.name), total=None)
        hidden = {cell.name for cell in desk.hidden}
        ours = (cell for cell in template.cells if nbgrader(cell).get("grade_id") not in hidden)
        cells = sum(cell["cell_type"] == "code" and not is_demo(cell) for cell in ours)
        told = _impatient()

        def watch(event: dict[str, Any]) -> str | None:
            progress.update(task, total=cells, advance=event["event"] != "done")
            return told(event)

        if grader.isolation == "none" and desk.original != desk.notebook:
            say(console, NO_ISOLATION)
        elif spawned:
            say(console, OWN_CODE)
        grader.supervisor.watch = watch
        submission = template.submission(fetch(path.resolve()))
        verdict = grader.grade_notebook(
            template, submission, "check", beside.files, 0, desk.earlier
        )
    verdict.notes[:0] = beside.notes
    return report(desk, submission, verdict, console)


def _progress(console: Console) -> Progress:
    """How many cells have been run, on a terminal; silence elsewhere."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _impatient() -> Callable[[dict[str, Any]], str | None]:
    """Tells when to stop, and what to say of it: where one thing hangs, others mostly do."""
    slow = 0

    def told(event: dict[str, Any]) -> str | None:
        nonlocal slow
        slow += event.get("slow", False)
        if slow < PATIENCE:
            return None
        return f"stopped: {slow} cells or checks ran into their time limit, the rest was not tried"

    return told


def report(desk: Desk, submission: Submission, verdict: NotebookVerdict, console: Console) -> int:
    """Print what was found: what keeps the notebook from running first, the next thing last.

    0 if every visible check passes and every cell runs to its end, else 1.
    """
    template = desk.templates[0]
    first = _first_of_all(desk, verdict)

    if first:
        say(console, first)
    table = Table(title=Text(one_line(desk.notebook.name)), title_justify="left")
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
    stops = [*_stops(verdict)]
    for sentence in _undecided(desk, submission):
        say(console, sentence)
    if first:
        say(console, f"Next: {first}", style="bold")
    elif missing:
        say(console, f"Next: {_section(template, missing[0]) or missing[0].name}", style="bold")
        say(console, _stop_above(submission, verdict, missing[0]) or missing[0].message)
    elif stops:
        say(
            console,
            f"Every visible check passes, but the notebook does not run as a whole: {stops[0]}",
        )
    else:
        say(console, "Every visible check passes. That is no proof: hidden tests look closer.")
    return int(bool(missing or stops or first))


def _first_of_all(desk: Desk, verdict: NotebookVerdict) -> str:
    """What keeps most of the notebook from running: a cell that does not compile, or a package
    that is not there; "" if nothing does.
    """
    if verdict.syntax_errors:
        return verdict.syntax_errors[0]
    for stop in _stops(verdict):
        name, text = stop.error, stop.text
        found = re.match(r"No module named '(\w+)|cannot import name '\w+' from '(\w+)", text)
        if name not in ("ModuleNotFoundError", "ImportError") or not found:
            continue
        package = found[1] or found[2]
        if package != desk.package and installed(package):
            continue
        paths = [os.path.relpath(path) for path in desk.not_exported()]
        if desk.package == package:
            said = f"your {package} is not complete ({text.partition(' (')[0]})"
        else:
            said = f"no {package} beside this notebook"
        notebooks = " ".join(paths) or "NOTEBOOK, for each assignment before this one"
        return f"{said}: run proctor export {notebooks}"
    return ""


@dataclass(frozen=True)
class _Stop:
    """A cell that did not run to its end."""

    cell: str
    line: str
    error: str
    text: str

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        return f"cell '{self.cell}'{line}: {self.error}" + (f": {self.text}" if self.text else "")


def _stops(verdict: NotebookVerdict) -> Iterator[_Stop]:
    """The cells that did not run to their ends, but for those of hidden suites."""
    for cell, outputs in verdict.outputs.items():
        for output in outputs if isinstance(outputs, list) else []:
            if not isinstance(output, dict) or output.get("output_type") != "error":
                continue
            name, text = str(output.get("ename"))[:80], str(output.get("evalue"))[:200]
            arrow = re.search(r"(?m)^-+> (\d{1,9}) ", "\n".join(map(str, output["traceback"])))
            if f'("{text}")' not in HIDDEN:
                yield _Stop(cell, arrow[1] if arrow else "", name, text)


def _stop_above(submission: Submission, verdict: NotebookVerdict, test: TestResult) -> str:
    """The last cell between a check and the one before it that did not run to its end."""
    stops = {stop.cell: stop for stop in _stops(verdict)}
    found = ""
    for cell in submission.notebook["cells"]:
        meta = nbgrader(cell)
        if meta.get("grade_id") == test.cell:
            break
        if meta.get("grade"):
            found = ""
        elif cell["id"] in stops:
            found = str(stops[cell["id"]])
    return found


def _undecided(desk: Desk, submission: Submission) -> Iterator[str]:
    """What no visible check can tell: the points of hidden tests, and of a person."""
    if hidden := sum(cell.points for cell in desk.hidden):
        total = sum(cell.points for cell in desk.whole.grade_cells.values())
        yield f"Hidden tests decide {number(hidden)} of {number(total)} points when you hand in."
    written = {nbgrader(cell).get("grade_id"): cell for cell in submission.notebook["cells"]}
    for cell in desk.manual:
        answered = UNANSWERED not in written[cell.name]["source"].lower()
        yield (
            f"A person reads your answer '{cell.name}' ({number(cell.points)} points)"
            + ("." if answered else ": it is not written yet.")
        )


def _section(template: Template, test: TestResult) -> str:
    """The heading under which a check stands."""
    heading = ""
    for cell in template.cells:
        if cell["cell_type"] == "markdown":
            heading = next(reversed(headings(cell["source"])), heading)
        if nbgrader(cell).get("grade_id") == test.cell:
            return heading
    return ""
