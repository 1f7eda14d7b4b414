"""The supervisor: starts a worker and a tester per notebook, and watches the clocks.

A worker's exit code means nothing; what the tester has told is what was decided.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from proctor import jail
from proctor.course import packages
from proctor.course.course import Assignment
from proctor.course.settings import IN_PROCESS
from proctor.errors import CourseError, ProctorError
from proctor.grade.runs import SLACK, Event, NoWorker, Run, beginning, collect
from proctor.processes.countdown import Countdown
from proctor.processes.forks import Lost, Warm
from proctor.processes.frames import Frames

ATTEMPTS = 3  # at a notebook whose processes are killed by somebody else
RESTARTS = 5  # of killed warm processes while no submission comes through


class Supervisor:
    """The warm processes of one assignment: `with Supervisor(assignment) as supervisor:`."""

    def __init__(self, assignment: Assignment, isolation: str = "") -> None:
        self.assignment = assignment
        self.settings = assignment.course.settings
        wanted = isolation or self.settings.isolation
        self.isolation = _isolation(wanted)
        order = list(jail.Isolation)
        # the levels that do for a result from an earlier run
        self.levels = order[: order.index(self.isolation) + 1] if wanted else order
        self.numbers = itertools.count(1)
        self.resources = contextlib.ExitStack()
        self.mending = threading.Lock()
        self.closed = False
        self.restarts = 0
        # Is told of each event; what it says of one ends the run, and is its note.
        self.watch: Callable[[dict[str, Any]], str | None] = lambda event: None

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
                "in_process": self.assignment.checks == IN_PROCESS,
            },
        )
        self.resources.callback(worker.close)
        return worker

    def _start_tester(self) -> Warm:
        suite, reference = self.assignment.suite, self.assignment.reference
        ours = self.assignment.templates if self.assignment.trusted else []
        tester = Warm(
            "proctor.tester.tester",
            {
                "reference": str(reference) if reference else None,
                "suite": str(suite) if suite else None,
                "imports": [line for template in ours for line in template.imports],
                "wanted": self.assignment.wanted,
                "jailed": not self.assignment.trusted,
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

    def inventory(self) -> list[Any]:
        """The hidden tests, once the processes are up: name, groups and points of each. Raises
        CourseError if they cannot be collected.
        """
        _, tester = self._warm()
        found: list[Any] | str = json.loads(tester.greeting or "[]")
        if isinstance(found, str):
            raise CourseError(found)
        return found

    def __enter__(self) -> Supervisor:
        if not hasattr(self, "tester"):
            self.start()
        try:
            self._warm()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        with self.mending:
            self.resources.close()

    def _collect(self, tester: Frames, countdown: Countdown) -> tuple[list[Event], str | None]:
        try:
            return collect(tester, countdown, self.assignment.seconds[1], self.watch)
        except NoWorker as error:
            raise ProctorError(f"{error}. {self.worker.ended_in()}") from None
        except EOFError:
            raise ProctorError(
                f"the tester ended before it had decided everything. {self.tester.ended_in()}"
            ) from None

    def run(self, job: dict[str, Any], files: Mapping[str, bytes], slot: int = 0) -> Run:
        """Run a notebook's cells and tests; again when a process of ours was killed from outside.

        A worker may have done it to itself, where the jail cannot keep it from that. So what was
        decided stands at the last attempt, but the result is not kept: the next run tries anew.
        Raises Rejected where the files are too large for a worker.
        """
        start = beginning(job, files)
        countdown = Countdown(self.assignment.seconds[1] + SLACK)  # one for all attempts
        kills = 0
        while True:
            try:
                run = self._run(job, start, slot, countdown)
            except Lost:
                kills += 1
                if kills == ATTEMPTS or countdown.left <= 0:
                    raise
                continue
            kills += run.unsure
            if not run.unsure or kills == ATTEMPTS or countdown.left <= 0:
                break
        if run.unsure or (kills and run.note):
            times = "once" if kills == 1 else f"{kills} times"
            note = (
                f"its process was killed from outside {times} (is this machine short of memory?): "
                "what was decided in the time that was left counts until the next run"
            )
            run = replace(run, note=note, unsure=True)
        self.restarts = 0
        return run

    def _run(self, job: dict[str, Any], start: bytes, slot: int, countdown: Countdown) -> Run:
        """One attempt. Raises Lost where somebody's kill keeps it from being decided."""
        worker, tester = self._warm()
        number = next(self.numbers)
        limits = jail.Limits(
            memory=self.settings.memory << 20, cpu=int(self.assignment.seconds[1]) + 1
        )
        mine, testers = socket.socketpair()
        channel, workers = socket.socketpair()
        try:
            task = {"job": number, "isolation": self.isolation, "limits": asdict(limits)}
            worker.fork({**task, "slot": slot}, [workers.fileno()])
            workers.close()
            with contextlib.suppress(
                OSError
            ):  # a worker that cannot start says nothing, and no cell runs
                channel.settimeout(SLACK)
                Frames(channel).send(start)
            channel.setblocking(True)
            # In jail, it is another user than the worker: such a notebook is checked alone.
            tester.fork({**task, "slot": slot + 1}, [testers.fileno(), channel.fileno()])
            testers.close()
            channel.close()
            frames = Frames(mine)
            frames.send(json.dumps(job).encode())
            events, note = self._collect(frames, countdown)
            ended = bool(events) and bool(events[-1].get("ended"))
            return Run(events, note, ended and _killed(worker, number, limits))
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


def _killed(warm: Warm, job: int, limits: jail.Limits | None = None) -> bool:
    """Whether neither proctor nor the limit of its CPU time killed a job's process."""
    ending = warm.ending(job)
    return ending.killed and (limits is None or ending.seconds < limits.cpu)


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
