"""`proctor check`: a student's own look at a notebook, with the code that will grade it.

It knows the notebook alone: the visible checks are those that stand in it, earlier modules come
from the package that the student exported beside it. Whoever checks a submission inside a course
gets the instructor's checks instead. Wherever they come from, nothing that lies in the notebook or
beside it runs outside the jail: the checks are jailed as well, and the worker makes the package.
"""

from __future__ import annotations

import os
import re
import sys
import time
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
from proctor.notebook.cells import HIDDEN, headings, is_demo, nbgrader, wanting
from proctor.notebook.files import SubmissionFiles, fetch
from proctor.notebook.label import Label
from proctor.notebook.template import GradeCell, Submission, Template, read
from proctor.processes.frames import can_fork
from proctor.report.table import NO_ISOLATION, say
from proctor.student.inside import Inside
from proctor.student.submit import is_blank, put_back
from proctor.student.unjailed import Unjailed
from proctor.verdict import NotebookVerdict, Result, TestResult, number, one_line

UNANSWERED = "your answer here"  # in the text that stands where an answer is to be written
ALL_PASS = "Every visible check passes. That is no proof: hidden tests look closer."
CHECKS = "visible checks"  # who stands where a class's results have a student
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


@dataclass(frozen=True)
class Findings:
    """What a check has found, in the order in which it is said."""

    notebook: str
    first: str  # what keeps most of it from running
    tests: list[TestResult]
    notes: list[str]
    undecided: list[str]
    next: str  # the region to do next; "" if every check passes
    why: str  # what stands in its way, or what is left to say
    syntax_errors: list[str]
    isolation: str = "none"
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether every check passes and every cell runs to its end."""
        return not (self.first or self.next) and self.why == ALL_PASS

    def as_result(self) -> Result:
        """The same for programs: what is wrong although every check passes is a test that fails."""
        tests = [*self.tests]
        if self.first or not (self.next or self.done):
            name = Path(self.notebook).stem
            why = self.first or self.why
            tests.insert(0, TestResult("runs to its end", name, "", 0, 0, "failed", why))
        following = ": ".join(filter(None, [self.next and f"Next: {self.next}", self.why]))
        return Result(
            CHECKS,
            "graded",
            self.isolation,
            self.seconds,
            syntax_errors=self.syntax_errors,
            notes=[following, *self.notes, *self.undecided],
            tests=tests,
            total=sum(test.max_points for test in tests),
        )


def unchecked(why: str) -> Result:
    """What a notebook that cannot be checked is for programs."""
    return Result(CHECKS, "rejected", "none", error=why)


def check_notebook(path: Path, isolation: str, console: Console) -> Findings:
    """Run a notebook, and show on a terminal how far it is."""
    with _progress(console) as progress:
        task = progress.add_task(one_line(path.name), total=None)

        def watch(event: dict[str, Any], cells: int) -> None:
            progress.update(task, total=cells, advance=event["event"] != "done")

        return check(path, isolation, lambda text: say(console, text), watch)


def check(
    path: Path,
    isolation: str = "",
    warn: Callable[[str], None] = lambda text: None,
    watch: Callable[[dict[str, Any], int], None] = lambda event, cells: None,
) -> Findings:
    """Run a notebook's cells and visible checks. `warn` is told what is said before it runs,
    `watch` each event and how many cells there are.
    """
    desk = Desk(path)
    template = desk.templates[0]
    if not template.grade_cells:
        raise CourseError(f"{path} holds no visible check: is it a released notebook?")
    beside = SubmissionFiles.read(desk.notebook.parent, [])
    runner = None if isolation else _unjailed(desk)
    with Grader(desk, isolation, supervisor=runner) as grader:
        hidden = {cell.name for cell in desk.hidden}
        ours = (cell for cell in template.cells if nbgrader(cell).get("grade_id") not in hidden)
        cells = sum(cell["cell_type"] == "code" and not is_demo(cell) for cell in ours)
        told = _impatient()

        def watching(event: dict[str, Any]) -> str | None:
            watch(event, cells)
            return told(event)

        if grader.isolation == "none" and desk.original != desk.notebook:
            warn(NO_ISOLATION)
        elif runner:
            warn(runner.warning)
        grader.supervisor.watch = watching
        submission = template.submission(fetch(path.resolve()))
        started = time.monotonic()
        verdict = grader.grade_notebook(
            template, submission, "check", beside.files, 0, desk.earlier
        )
        seconds = time.monotonic() - started
    verdict.notes[:0] = beside.notes
    verdict.notes += [f"{said}." for said in wanting(desk.whole.cells, beside.files)]
    return replace(
        found(desk, submission, verdict), isolation=str(grader.isolation), seconds=seconds
    )


def _unjailed(desk: Desk) -> Unjailed | Inside | None:
    """What runs one's own notebook where there is no jail; None where there is one."""
    if sys.platform == "emscripten":  # a page in a browser: nothing can be started from there
        return Inside(desk)
    return None if can_fork() else Unjailed(desk)


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


def found(desk: Desk, submission: Submission, verdict: NotebookVerdict) -> Findings:
    """What a verdict says: what keeps the notebook from running first, the next thing last."""
    template = desk.templates[0]
    first = _first_of_all(desk, verdict)
    missing = [test for test in verdict.tests if test.status != "passed"]
    stops = [*_stops(verdict)]
    following, why = first, ""
    if missing and not first:
        following = _section(template, missing[0]) or missing[0].name
        why = _stop_above(submission, verdict, missing[0]) or missing[0].message
    elif stops and not first:
        why = f"Every visible check passes, but the notebook does not run as a whole: {stops[0]}"
    elif not first:
        why = ALL_PASS
    undecided = [*_undecided(desk, submission)]
    notes = [*verdict.notes, *_put_back(desk, submission)]
    if why == ALL_PASS:
        notes += _still_blank(submission)
    name = one_line(desk.notebook.name)
    return Findings(
        name, first, verdict.tests, notes, undecided, following, why, verdict.syntax_errors
    )


def show(findings: Findings, console: Console) -> None:
    """Print what was found."""
    if findings.first:
        say(console, findings.first)
    table = Table(title=Text(findings.notebook), title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("points", justify="right")
    table.add_column("")
    for test in findings.tests:
        word = "[green]works[/]" if test.status == "passed" else "[red]not yet[/]"
        table.add_row(Text(label(test)), points(test), word)
    console.print(table)
    for sentence in (*findings.notes, *findings.undecided):
        say(console, sentence)
    if findings.next:
        say(console, f"Next: {findings.next}", style="bold")
    if findings.why:
        say(console, findings.why)


def label(test: TestResult) -> str:
    """A check's name, as students read it."""
    return one_line(test.name.removeprefix("check_"))


def points(test: TestResult) -> str:
    """What a check has earned, of what."""
    return f"{number(test.points)} of {number(test.max_points)}"


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


def _built_on(desk: Desk) -> Iterator[str]:
    """Whose modules the notebook stands on, if it stands on any."""
    given = {name: export.is_handed_out(text) for name, text in desk.earlier}
    mine = ", ".join(name for name, handed_out in given.items() if not handed_out)
    theirs = ", ".join(name for name, handed_out in given.items() if handed_out)
    owners = [f"your {mine}"] * bool(mine) + [f"the instructor's {theirs}"] * bool(theirs)
    if owners:
        yield f"It stands on {' and '.join(owners)}."


def _put_back(desk: Desk, submission: Submission) -> Iterator[str]:
    """What was given and is not as it was: such a check decides nothing."""
    if desk.original != desk.notebook:
        return  # it is the instructor's by now, and a note says so
    metadata = submission.notebook.get("metadata", {})
    edited, gone = put_back(submission.notebook["cells"], Label.of(metadata))
    if edited:
        yield f"Edited, and put back when you are graded: {', '.join(edited)}. Code goes above it."
    if gone:
        yield f"Gone, and put back when you are graded: {', '.join(gone)}."


def _still_blank(submission: Submission) -> Iterator[str]:
    """The regions that are as they were given although every check passes: what was written into
    another cell instead is not exported.
    """
    cells = [cell for cell in submission.notebook["cells"] if cell["cell_type"] == "code"]
    blank = [cell for cell in cells if nbgrader(cell).get("solution") and is_blank(cell)]
    if blank:
        names = ", ".join(nbgrader(cell)["grade_id"] for cell in blank)
        yield f"Still to be written in its own cell: {names}. No other cell is exported."


def _undecided(desk: Desk, submission: Submission) -> Iterator[str]:
    """What no visible check can tell: whose modules these are, the points of hidden tests, and of
    a person.
    """
    yield from _built_on(desk)
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
