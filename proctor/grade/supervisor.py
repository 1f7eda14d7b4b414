"""The supervisor: starts a worker and a tester per notebook, watches the clock, collects what was
decided.

No verdict from the tester means no points; a worker's exit code means nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from proctor import jail
from proctor.course import packages
from proctor.course.course import Assignment
from proctor.errors import CourseError, ProctorError
from proctor.grade import as_nbgrader as plain
from proctor.notebook import template as ingest
from proctor.notebook.template import GradeCell, Rejected, Submission, Template
from proctor.processes import frames as codec
from proctor.processes.forks import Lost, Warm
from proctor.verdict import NotebookVerdict, Result, TestResult

SLACK = 5.0  # seconds that the tester has, beyond the notebook's own, to tell what it decided
ATTEMPTS = 3  # at a notebook whose processes are killed by somebody else
RESTARTS = 5  # of killed warm processes while no submission comes through


@dataclass(frozen=True)
class Graded:
    """A submission's result and its graded notebooks, by name."""

    result: Result
    notebooks: dict[str, tuple[Submission, NotebookVerdict]]


class Supervisor:
    """Grades submissions of one assignment with warm processes: `with Supervisor(assignment) as
    it:`.
    """

    def __init__(self, assignment: Assignment, isolation: str = "", explain: bool = False) -> None:
        self.assignment, self.explain = assignment, explain
        self.measure = False  # have each notebook say what it cost, for a bench
        self.settings = assignment.course.settings
        self.isolation = _isolation(isolation or self.settings.isolation)
        self.numbers = itertools.count(1)
        self.resources = contextlib.ExitStack()
        self.mending = threading.Lock()
        self.closed = False
        self.restarts = 0
        self.tests: dict[str, list[tuple[str, float]]] = {}  # grade cell: its hidden tests

    def start(self) -> None:
        """Start the warm processes, without waiting for them."""
        self.worker = self._start_worker()
        self.tester = self._start_tester()

    def _start_worker(self) -> Warm:
        course = self.assignment.course
        worker = Warm(
            "proctor.worker.worker",
            {
                "package": course.package,
                "modules": self.assignment.prerequisites(),
                "packages": list(self.settings.packages),
                "wanted": self.assignment.wanted,
                "companions": sorted(packages.companions(self.assignment.wanted)),
                "plain": self.assignment.checks == "worker",
            },
        )
        self.resources.callback(worker.close)
        return worker

    def _start_tester(self) -> Warm:
        course, suite = self.assignment.course, self.assignment.suite
        tester = Warm(
            "proctor.tester.tester",
            {
                "package": course.package,
                "course": str(course.root),
                "suite": str(suite) if suite else None,
                "imports": [line for t in self.assignment.templates for line in t.imports],
                "wanted": self.assignment.wanted,
            },
        )
        self.resources.callback(tester.close)
        return tester

    def _warm(self) -> tuple[Warm, Warm]:
        """Worker and tester, ready to fork; started again if somebody killed them."""
        with self.mending:
            while True:
                try:
                    if self.closed:
                        raise ProctorError("the run was stopped")
                    self.worker.ready()
                    self.tester.ready()
                    return self.worker, self.tester
                except Lost as error:
                    if self.restarts == RESTARTS:
                        raise ProctorError(
                            f"{error}, for the {RESTARTS + 1}th time in a row. Is this machine "
                            "short of memory? Mend that, or use fewer --jobs, and run the command "
                            "again."
                        ) from None
                    self.restarts += 1
                    if self.worker.process.poll() is not None:
                        self.worker = self._start_worker()
                    if self.tester.process.poll() is not None:
                        self.tester = self._start_tester()

    def __enter__(self) -> Supervisor:
        if not hasattr(self, "tester"):
            self.start()
        try:
            _, tester = self._warm()
            self.tests = claims(self.assignment, json.loads(tester.ready()))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        with self.mending:
            self.resources.close()

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

        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(one, student, folder) for student, folder in submissions.items()]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.close()
                raise

    def grade(self, student: str, folder: Path, slot: int = 0) -> Graded:
        """Grade one student's folder. Never raises for what a submission holds."""
        started = time.monotonic()
        result = Result(student, "graded", str(self.isolation), total=self.total)
        notebooks: dict[str, tuple[Submission, NotebookVerdict]] = {}
        try:
            files = ingest.supporting_files(folder, self.assignment.files)
            rejections = []
            for template in self.assignment.templates:
                try:
                    data = ingest.fetch(folder / f"{template.name}.ipynb")
                    submission = ingest.ingest(data, template)
                except Rejected as error:
                    rejections.append(f"{template.name}.ipynb: {error}")
                    verdict = NotebookVerdict(template.name, self._undecided(template, str(error)))
                else:
                    key = hashlib.sha256(data).hexdigest() + self.assignment.fingerprint
                    verdict = self.grade_notebook(template, submission, key, files, slot)
                    notebooks[template.name] = submission, verdict
                    result.notes += submission.notes + verdict.notes
                    result.unsure = result.unsure or verdict.unsure
                result.tests += verdict.tests
            if not notebooks:
                result.status, result.error = "rejected", " ".join(rejections)
            else:
                result.notes += rejections
        except (ProctorError, OSError) as error:
            result.status, result.error = "failed", f"The grading itself failed: {error}"
        except Exception as error:  # a defect of ours: the others are graded all the same
            said = f"{type(error).__name__}: {error}"
            result.status, result.error = "failed", f"The grading itself failed: {said}"
        if result.status != "graded":
            result.tests = []
        result.seconds = time.monotonic() - started
        return Graded(result, notebooks)

    def grade_notebook(
        self,
        template: Template,
        submission: Submission,
        key: str,
        files: Mapping[str, bytes],
        slot: int,
    ) -> NotebookVerdict:
        """Run one notebook in a worker and decide it in a tester."""
        job = self._job(template, submission, key)
        if isinstance(template, plain.PlainTemplate):
            files = {**files, **plain.own_file(template, submission)}
        events, note, unsure = self._run_until_sure(job, files, slot)
        verdict = NotebookVerdict(template.name, notes=[note] if note else [], unsure=unsure)
        verdict.events = events if self.measure else []
        checks: dict[str, str] = {}
        tests: dict[str, dict[str, Any]] = {}
        words: dict[str, plain.Word] = {}
        for event in events:
            if event["event"] == "cell":
                verdict.outputs[event["cell"]] = event["outputs"]
                words[event["cell"]] = plain.Word(*event["word"])
                if event["note"]:
                    verdict.notes.append(f"cell '{event['cell']}': {event['note']}")
            elif event["event"] == "check":
                checks[event["cell"]] = event["message"]
            elif event["event"] == "test":
                tests[event["test"]] = event
        for cell in template.grade_cells.values():
            if isinstance(template, plain.PlainTemplate):
                verdict.tests.append(plain.decide(template, cell, submission, words))
            elif cell.manual:
                verdict.tests += [_manual(template, cell, submission)]
            elif cell.name in self.tests:
                verdict.tests += [
                    _hidden(template, cell, name, points, tests.get(name))
                    for name, points in self.tests[cell.name]
                ]
            else:
                verdict.tests.append(_check(template, cell, checks.get(cell.name)))
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

    def _job(self, template: Template, submission: Submission, key: str) -> dict[str, Any]:
        cells = []
        for cell in submission.notebook["cells"]:
            grade = template.grade_cells.get(ingest.nbgrader(cell).get("grade_id", ""))
            if cell["cell_type"] != "code" or (grade and grade.name in self.tests):
                continue
            if plain.skipped(cell) or (self.assignment.checks == "tester" and ingest.is_demo(cell)):
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
        return {
            "cells": cells,
            "imports": template.imports,
            "tests": [
                name for cell in template.grade_cells for name, _ in self.tests.get(cell, [])
            ],
            "seed": hashlib.sha256(key.encode()).hexdigest(),
            "ignored": plain.ignored(self.assignment.course.config),
            "cell_seconds": self.assignment.seconds[0],
            "call_seconds": self.settings.call_seconds,
            "explain": self.explain,
            "measure": self.measure,
        }

    def _run_until_sure(
        self, job: dict[str, Any], files: Mapping[str, bytes], slot: int
    ) -> tuple[list[dict[str, Any]], str | None, bool]:
        """What `_run` gives, run again when a process of ours was killed from outside.

        A worker may have done it to itself, where the jail cannot keep it from that. So what was
        decided stands at the last attempt, but the result is not kept: the next run tries anew.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                events, note, unsure = self._run(job, files, slot)
            except Lost:
                if attempt == ATTEMPTS:
                    raise
                continue
            if not unsure:
                break
        else:
            note = (
                f"its process was killed from outside {ATTEMPTS} times (is this machine short of "
                "memory?): what was decided by then counts until the next run"
            )
        self.restarts = 0
        return events, note, unsure

    def _run(
        self, job: dict[str, Any], files: Mapping[str, bytes], slot: int
    ) -> tuple[list[dict[str, Any]], str | None, bool]:
        """The events of a job, a note if it was cut short, and whether somebody else than proctor
        killed its worker. Raises Lost where that keeps it from being decided.
        """
        worker, tester = self._warm()
        number = next(self.numbers)
        limits = jail.Limits(
            memory=self.settings.memory << 20, cpu=int(self.assignment.seconds[1]) + 1
        )
        mine, testers = socket.socketpair()
        channel, workers = socket.socketpair()
        try:
            worker.fork(
                {
                    "job": number,
                    "isolation": self.isolation,
                    "slot": slot,
                    "limits": asdict(limits),
                },
                [workers.fileno()],
            )
            workers.close()
            with contextlib.suppress(
                OSError
            ):  # a worker that cannot start says nothing, and no cell runs
                channel.settimeout(SLACK)
                seed = int(job["seed"][:8], 16)
                codec.Frames(channel).send(codec.encode((dict(files), seed), _no_reference))
            channel.setblocking(True)
            tester.fork({"job": number}, [testers.fileno(), channel.fileno()])
            testers.close()
            channel.close()
            frames = codec.Frames(mine)
            frames.send(json.dumps(job).encode())
            events, note = self._collect(frames)
            ended = bool(events) and bool(events[-1].get("ended"))
            return events, note, ended and _killed(worker, number, limits)
        except Lost:
            raise
        except (OSError, ProctorError) as error:
            if _killed(tester, number) or _killed(worker, number, limits):
                raise Lost(f"a process of the grading was killed from outside: {error}") from None
            raise
        finally:
            worker.kill(number)
            tester.kill(number)
            for connection in (mine, testers, channel, workers):
                connection.close()

    def _collect(self, tester: codec.Frames) -> tuple[list[dict[str, Any]], str | None]:
        deadline = time.monotonic() + self.assignment.seconds[1] + SLACK
        events: list[dict[str, Any]] = []
        try:
            while True:
                events += json.loads(tester.receive(deadline))
                if events[-1]["event"] == "done":
                    return events, None
                if events[-1]["event"] == "no worker":
                    raise ProctorError(
                        f"no worker could be started: {events[-1]['why']}. {self.worker.said()}"
                    )
        except TimeoutError:
            return (
                events,
                f"took longer than {self.assignment.seconds[1]:.0f} s: what was decided by "
                "then counts",
            )
        except EOFError:
            raise ProctorError(
                f"the tester ended before it had decided everything. {self.tester.said()}"
            ) from None


def _killed(warm: Warm, job: int, limits: jail.Limits | None = None) -> bool:
    """Whether neither proctor nor the limit of its CPU time killed a job's process."""
    ending = warm.ending(job)
    return ending.killed and (limits is None or ending.seconds < limits.cpu)


def _no_reference(value: Any) -> int:
    raise TypeError(f"{type(value).__name__} cannot cross")


def _isolation(wanted: str) -> jail.Isolation:
    """The best level there is, or the one that is demanded. Raises CourseError if it cannot be
    had.
    """
    best = jail.probe()
    if not wanted:
        return best
    try:
        level = jail.Isolation(wanted)
    except ValueError:
        raise CourseError(
            f"There is no isolation '{wanted}': choose {', '.join(jail.Isolation)}."
        ) from None
    order = list(jail.Isolation)
    if order.index(level) < order.index(best):
        raise CourseError(
            f"Isolation '{level}' cannot be had on this machine, '{best}' can: run `proctor "
            "doctor` to see what is missing."
        )
    return level


def claims(assignment: Assignment, inventory: Iterable[Any]) -> dict[str, list[tuple[str, float]]]:
    """Which hidden tests decide which grade cell. Raises CourseError where points do not add up."""
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
    return found


def _manual(template: Template, cell: GradeCell, submission: Submission) -> TestResult:
    source = next(
        (
            c["source"]
            for c in submission.notebook["cells"]
            if ingest.nbgrader(c).get("grade_id") == cell.name
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
        "Waits to be graded by hand.",
    )


def _check(template: Template, cell: GradeCell, message: str | None) -> TestResult:
    if message is None:
        message = "Not reached."
    points = cell.points if message == "" else 0.0
    status = "failed" if message else "passed"
    return TestResult(cell.name, template.name, cell.name, points, cell.points, status, message)


def _hidden(
    template: Template, cell: GradeCell, name: str, points: float, event: dict[str, Any] | None
) -> TestResult:
    if event is None:
        return TestResult(name, template.name, cell.name, 0.0, points, "failed", "Not reached.")
    earned = points if event["passed"] else 0.0
    status = "passed" if event["passed"] else "failed"
    return TestResult(
        name,
        template.name,
        cell.name,
        earned,
        points,
        status,
        event["message"],
        event["misconception"],
        detail=event.get("detail", ""),
    )
