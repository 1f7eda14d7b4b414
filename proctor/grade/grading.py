"""One submission to one result: what is to be run of it, and what its points mean.

No verdict from the tester means no points.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import platform
import queue
import time
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path
from typing import Any

from proctor.course.course import Assignment, Module
from proctor.course.settings import ignored
from proctor.course.stack import Modules, own_stack
from proctor.errors import CourseError, ProctorError, Rejected
from proctor.grade import as_nbgrader
from proctor.grade.runs import Runner
from proctor.notebook.cells import HIDDEN, is_demo, is_skipped, nbgrader, wanting, within
from proctor.notebook.files import SubmissionFiles
from proctor.notebook.template import GradeCell, Submission, Template
from proctor.processes.frames import can_fork
from proctor.verdict import Graded, NotebookVerdict, Result, TestResult, Word


class Grader:
    """Grades submissions of one assignment: `with Grader(assignment) as grader:`."""

    def __init__(
        self,
        assignment: Assignment,
        isolation: str = "",
        explain: bool = False,
        own_stack: bool = False,
        supervisor: Runner | None = None,
    ) -> None:
        self.assignment, self.explain, self.own_stack = assignment, explain, own_stack
        self.settings = assignment.course.settings
        self.supervisor = supervisor or _supervisor(assignment, isolation)
        self.isolation, self.levels = self.supervisor.isolation, self.supervisor.levels
        self.tests: dict[str, list[tuple[str, float]]] = {}  # grade cell: its hidden tests

    def start(self) -> None:
        """Start the warm processes, without waiting for them."""
        self.supervisor.start()

    def __enter__(self) -> Grader:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self.supervisor)
            self.tests = claims(self.assignment, self.supervisor.inventory())
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.supervisor.close()

    @cached_property
    def beside(self) -> dict[str, list[Module]]:
        """For each notebook, the reference's modules of the assignment's notebooks before it.

        They reach a worker after it was forked: what one notebook exports is the answer of another.
        """
        names = [template.name for template in self.assignment.templates]
        return {name: self.assignment.modules(before=name) for name in names}

    @property
    def total(self) -> float:
        """What the assignment is worth."""
        return sum(
            cell.points
            for template in self.assignment.templates
            for cell in template.grade_cells.values()
        )

    def grade_all(
        self, submissions: Mapping[str, Path], jobs: int
    ) -> Generator[Graded, None, None]:
        """Grade each student's folder, `jobs` at a time, as they come.

        Who stops listening, as Ctrl-C does, ends what is at work and closes the supervisor.
        """
        slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(jobs):
            slots.put(slot)

        def one(student: str, folder: Path) -> Graded:
            slot = slots.get()
            try:
                return self.grade(student, folder, slot)
            finally:
                slots.put(slot)

        todo = iter(submissions.items())
        with ThreadPoolExecutor(jobs) as pool:
            # a few at a time: a future keeps what it came to, a notebook with all its pictures, and
            # what waits to be recorded is lost to who is killed
            pending = {pool.submit(one, *each) for each in itertools.islice(todo, 2 * jobs)}
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    while done:
                        yield done.pop().result()
                        pending |= {pool.submit(one, *each) for each in itertools.islice(todo, 1)}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.close()
                raise

    def grade(self, student: str, folder: Path, slot: int = 0) -> Graded:
        """Grade one student's folder. Never raises for what a submission holds."""
        started = time.monotonic()
        result = Result(student, "graded", str(self.isolation), total=self.total)
        notebooks: dict[str, tuple[Submission, NotebookVerdict]] = {}
        handed_in = SubmissionFiles()
        modules: Modules = []
        try:
            provided, templates = self.assignment.files, self.assignment.templates
            handed_in = SubmissionFiles.read(folder, [t.name for t in templates], provided)
            result.notes += handed_in.notes
            cells = [cell for template in templates for cell in template.cells]
            result.notes += wanting(cells, handed_in.files)
            files = {**within(cells, handed_in.files), **provided}
            modules = own_stack(self.assignment, student) if self.own_stack else []
            rejections = []
            for template in templates:
                if not (template.grade_cells or template.in_process):
                    continue  # a notebook that students are given: nothing of it is theirs
                try:
                    data = handed_in.notebook(template.name)
                    submission = template.submission(data)
                    key = hashlib.sha256(data).hexdigest() + self.assignment.fingerprint
                    verdict = self.grade_notebook(template, submission, key, files, slot, modules)
                except Rejected as error:
                    rejections.append(f"{template.name}.ipynb: {error}")
                    verdict = NotebookVerdict(template.name, self._undecided(template, str(error)))
                else:
                    notebooks[template.name] = submission, verdict
                    result.notes += submission.notes + verdict.notes
                    result.syntax_errors += verdict.syntax_errors
                    result.stack |= verdict.stack
                    result.unsure = result.unsure or verdict.unsure
                result.tests += verdict.tests
            if not notebooks:
                result.status, result.error = "rejected", " ".join(rejections)
            else:
                result.notes += rejections
                result.notes += [_built_on(result.stack)] if result.stack else []
        except (ProctorError, OSError) as error:
            result.status, result.error = "error", f"The grading itself failed: {error}"
        except Exception as error:  # a defect of ours: the others are graded all the same
            said = f"{type(error).__name__}: {error}"
            result.status, result.error = "error", f"The grading itself failed: {said}"
        if result.status != "graded":
            result.tests = []
        result.seconds = time.monotonic() - started
        return Graded(result, notebooks, handed_in, modules)

    def grade_notebook(
        self,
        template: Template,
        submission: Submission,
        key: str,
        files: Mapping[str, bytes],
        slot: int,
        modules: Modules = (),
    ) -> NotebookVerdict:
        """Run one notebook in a worker and decide it in a tester. Raises Rejected where it and the
        files beside it are too large for a worker.

        With `modules` the course's package consists of these, made in the worker's jail.
        """
        job = self._job(template, submission, key, modules)
        run = self.supervisor.run(job, {**files, **template.own_files(submission)}, slot)
        stack = {stem: "reference" if source is None else "student" for stem, source in modules}
        verdict = NotebookVerdict(template.name, unsure=run.unsure, stack=stack)
        verdict.notes += [run.note] if run.note else []
        checks: dict[str, dict[str, Any]] = {}
        tests: dict[str, dict[str, Any]] = {}
        words: dict[str, Word] = {}
        for event in run.events:
            if event["event"] == "cell":
                verdict.outputs[event["cell"]] = event["outputs"]
                words[event["cell"]] = Word(*event["word"])
                verdict.syntax_errors += [event["syntax_error"]] if event["syntax_error"] else []
                if event["note"]:
                    verdict.notes.append(f"cell '{event['cell']}': {event['note']}")
            elif event["event"] == "check":
                checks[event["cell"]] = event
            elif event["event"] == "test":
                tests[event["test"]] = event
            elif event["event"] == "module" and event["message"]:
                where = f"{self.assignment.course.package}/{event['module']}.py"
                verdict.notes.append(f"{where} cannot be imported: {event['message']}")
                verdict.stack[event["module"]] = "reference"
        unreached = f"Not reached: {run.note}." if run.note else "Not reached."
        for cell in template.grade_cells.values():
            if template.in_process:
                verdict.tests.append(as_nbgrader.decide(template, cell, submission, words))
            elif cell.manual:
                verdict.tests += [_manual(template, cell, submission)]
            elif cell.name in self.tests:
                verdict.tests += [
                    _tested(template, cell, name, points, tests.get(name, {"message": unreached}))
                    for name, points in self.tests[cell.name]
                ]
            else:
                event = checks.get(cell.name, {"message": unreached})
                verdict.tests.append(_tested(template, cell, cell.name, cell.points, event))
        return verdict

    def _undecided(self, template: Template, why: str) -> list[TestResult]:
        """The tests of a notebook that could not be read: none passed."""
        results = []
        for cell in template.grade_cells.values():
            for name, points in self.tests.get(cell.name, [(cell.name, cell.points)]):
                results.append(
                    TestResult(name, template.name, cell.name, 0.0, points, "failed", why)
                )
        return results

    def _job(
        self, template: Template, submission: Submission, key: str, modules: Modules
    ) -> dict[str, Any]:
        cells = []
        for cell in submission.notebook["cells"]:
            grade = template.grade_cells.get(nbgrader(cell).get("grade_id", ""))
            if cell["cell_type"] != "code" or (grade and grade.name in self.tests):
                continue
            if is_skipped(cell) or (self.assignment.checks == "tester" and is_demo(cell)):
                continue
            visible = grade and not grade.manual and self.assignment.checks == "tester"
            kind = "check" if visible else "student"
            cells.append(
                {
                    "id": grade.name if kind == "check" and grade else cell["id"],
                    "kind": kind,
                    "source": cell["source"],
                }
            )
        beside = self.beside[template.name]
        return {
            "cells": cells,
            "imports": template.imports,
            "modules": [*modules, *((stem, None) for stem, _ in beside)] if modules else [],
            "beside": beside,
            "tests": [
                name for cell in template.grade_cells for name, _ in self.tests.get(cell, [])
            ],
            "seed": hashlib.sha256(key.encode()).hexdigest(),
            "ignored": ignored(self.assignment.course.config),
            "cell_seconds": self.assignment.seconds[0],
            "call_seconds": self.settings.call_seconds,
            "explain": self.explain,
        }


def _supervisor(assignment: Assignment, isolation: str) -> Runner:
    """The one that is jailed. Raises CourseError where there is no such thing."""
    if not can_fork():
        raise CourseError(
            f"Other people's notebooks cannot be graded on {platform.system()}: there is no jail "
            "to run their code in. Grade on Linux, or in Windows' WSL. For your own notebooks "
            "`proctor check` (without --isolation) and `proctor export` work here."
        )
    from proctor.grade.supervisor import Supervisor

    return Supervisor(assignment, isolation)


def claims(assignment: Assignment, inventory: Iterable[Any]) -> dict[str, list[tuple[str, float]]]:
    """Which hidden tests decide which grade cell. Raises CourseError where points do not add up,
    and where a cell waits for hidden tests that there are not: everybody would get 0 for it.
    """
    cells = {
        cell.name: (template, cell)
        for template in assignment.templates
        for cell in template.grade_cells.values()
        if not cell.manual
    }
    found: dict[str, list[tuple[str, float]]] = {}
    for name, groups, points in inventory:
        claimed = next((group for group in groups if group in cells), None)
        if claimed is None:
            raise CourseError(
                f"{assignment.name}: hidden test {name} belongs to no grade cell. Name a grade "
                f"cell '{groups[1]}' in {assignment.source}, or move the test."
            )
        found.setdefault(claimed, []).append((name, points))
    for cell_name, tests in found.items():
        template, cell = cells[cell_name]
        total = sum(points for _, points in tests)
        if abs(total - cell.points) > 1e-6:
            raise CourseError(
                f"{assignment.name}: grade cell '{cell_name}' is worth {cell.points:g} points, its "
                f"suite adds up to {total:g}. Make them agree: "
                f"{assignment.source / template.name}.ipynb or {assignment.suite}."
            )
    for name, (template, cell) in cells.items():
        if HIDDEN in cell.source and name not in found and assignment.checks == "tester":
            raise CourseError(
                f"{assignment.source / template.name}.ipynb: grade cell '{name}' waits for hidden "
                f"tests, but none belongs to it: write a class Test{name} in "
                f"{assignment.course.root / assignment.course.settings.suites / assignment.name}, "
                "or find out why pytest does not collect it."
            )
    return found


def _built_on(stack: Mapping[str, str]) -> str:
    """Whose earlier modules a submission was graded on."""
    whose = {
        owner: ", ".join(stem for stem in stack if stack[stem] == owner)
        for owner in ("student", "reference")
    }
    return "built on " + " and ".join(f"the {o}'s {stems}" for o, stems in whose.items() if stems)


def _manual(template: Template, cell: GradeCell, submission: Submission) -> TestResult:
    source = next(
        (
            c["source"]
            for c in submission.notebook["cells"]
            if nbgrader(c).get("grade_id") == cell.name
        ),
        "",
    )
    if source.strip() == template.stubs.get(cell.name, "").strip():
        return TestResult(
            cell.name, template.name, cell.name, 0.0, cell.points, "failed", "No answer."
        )
    return TestResult(
        cell.name,
        template.name,
        cell.name,
        0.0,
        cell.points,
        "manual",
        "Needs manual grading.",
    )


def _tested(
    template: Template, cell: GradeCell, name: str, points: float, event: Mapping[str, Any]
) -> TestResult:
    """What the tester told of a visible check or a hidden test."""
    passed = event.get("passed", False)
    return TestResult(
        name,
        template.name,
        cell.name,
        points if passed else 0.0,
        points,
        "passed" if passed else "failed",
        event["message"],
        event.get("misconception"),
        title=event.get("title", ""),
        reached=event.get("reached", False),
        detail=event.get("detail", ""),
    )
