"""Warm processes: import once, fork per submission.

A warm process is started with exec and an empty environment, so that no secret of the parent's
lies on its stack. It forks a child for each job that arrives on its control socket, with the
descriptors that came along, and kills a job's child when told to or when the parent is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proctor.errors import ProctorError
from proctor.processes.countdown import Countdown

Job = dict[str, Any]

GRACE = 0.1  # seconds that a job's process has to end by itself before it is killed
LAST_WORDS = 2.0  # the same, when it is asked how the process ends
ANSWER = 30.0  # seconds that a warm process has to answer
PIECE = (
    1 << 15
)  # bytes of a greeting in one message: a socket refuses what is larger than its buffer

# A second OpenBLAS thread hangs for ever after a fork into a pid namespace.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
}


def serve(
    control: socket.socket,
    start: Callable[[Job, list[int]], None],
    greeting: str = "",
    reaped: Callable[[int], None] = lambda pid: None,
    fork: Callable[[Job], int] = lambda job: os.fork(),
) -> None:
    """In the warm process: fork `start(job, descriptors)` for each job until the parent hangs up.

    What the parent hears first is `greeting`; `reaped` is told of each child that has ended; `fork`
    does it for a job, where a plain one isn't enough.
    """
    children: dict[int, int] = {}  # process: job
    endings: dict[int, Job] = {}  # job: how it ended, until the parent lets go of it
    doomed: dict[int, float] = {}  # job: until when it may end by itself, on our own clock:
    clock, looked = 0.0, time.monotonic()  # it stands still while we are not scheduled
    asked: set[int] = set()  # jobs whose ending is waited for
    dismissed: set[int] = set()  # jobs that end without being asked how
    ours: set[int] = set()  # jobs killed here
    ourselves = os.getpid()
    gc.collect()
    gc.freeze()  # keeps the shared pages shared
    words = greeting.encode()
    for at in range(0, len(words), PIECE):
        control.send(b"+" + words[at : at + PIECE])
    control.send(b"ready")
    while True:
        ready, _, _ = select.select([control], [], [], GRACE if doomed or asked else 1.0)
        now = time.monotonic()
        clock, looked = clock + min(now - looked, GRACE), now
        with contextlib.suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0] != 0:
                pid, status, usage = ended
                number = children.pop(pid, 0)
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                if number not in dismissed:
                    endings[number] = {
                        "killed": killed and number not in ours,
                        "seconds": usage.ru_utime + usage.ru_stime,
                    }
                for jobs in (dismissed, ours):
                    jobs.discard(number)
                doomed.pop(number, None)
                reaped(pid)
        for number in asked & endings.keys():
            control.send(json.dumps(endings.pop(number)).encode())
            asked.remove(number)
        for number in [number for number, end in doomed.items() if end < clock]:
            del doomed[number]
            ours.add(number)
            for pid in [pid for pid, job in children.items() if job == number]:
                os.kill(pid, signal.SIGKILL)
        if not ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not message:
            break
        job = json.loads(message)
        if "kill" in job:
            number = job["kill"]
            endings.pop(number, None)
            asked.discard(number)
            if number in children.values():
                dismissed.add(number)
                doomed[number] = clock + GRACE
            continue
        if "ending" in job:
            number = job["ending"]
            asked.add(number)
            if number in children.values():
                doomed[number] = clock + LAST_WORDS
            elif number not in endings:
                endings[number] = {"killed": False, "seconds": 0.0}
            continue
        pid = fork(job)
        if pid == 0:
            control.close()
            try:
                os.setsid()
                if sys.platform == "linux":
                    # 0: in a namespace of process ids of its own, `jail.fork` has looked
                    _die_with_parent(ourselves, 0)
                start(job, descriptors)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        children[pid] = job["job"]
        for descriptor in descriptors:
            os.close(descriptor)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        reaped(pid)


def _die_with_parent(*parents: int) -> None:
    """Be killed when the parent dies; end at once if it is none of these any more."""
    pr_set_pdeathsig = 1
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() not in parents:
        os._exit(1)


class Lost(ProctorError):
    """A process of ours was killed by somebody else: what it was doing can be done again."""


@dataclass(frozen=True)
class Ending:
    """How a job's process ended: by a SIGKILL that was not ours, after so many seconds of CPU."""

    killed: bool
    seconds: float


class Warm:
    """In the supervisor: a warm process and its control socket."""

    def __init__(self, module: str, configuration: Job) -> None:
        """Start `python -m module`; it reads `configuration` from standard input when it is up."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        # -I: neither the environment nor the working directory decides what is imported
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", module, str(theirs.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env=ENVIRONMENT | {"PYTHONHASHSEED": "0"},
            pass_fds=[theirs.fileno()],
            cwd="/",
            process_group=0,  # Ctrl-C in a terminal is for the supervisor
        )
        theirs.close()
        self.control = ours
        self.name = f"the {module.rpartition('.')[2]}"  # as messages have it
        self.greeting: str | None = None
        self.questions = threading.Lock()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(configuration).encode())
            self.process.stdin.close()

    def ready(self) -> str:
        """Wait until it serves; its greeting. Raises Lost if it does not live any more."""
        if self.greeting is None:
            greeting = b""
            while (word := self._hear()).startswith(b"+"):
                greeting += word[1:]
            if word != b"ready":
                if self.process.wait() < 0:  # by a signal: it may go well next time
                    raise self.lost()
                raise ProctorError(
                    f"{self.name} could not start: {self.said() or 'it said nothing'}"
                )
            self.greeting = greeting.decode()
        elif self.process.poll() is not None:
            raise self.lost()
        return self.greeting

    def lost(self) -> Lost:
        """The error that says that it ended before its time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        killed = (self.process.poll() or 0) < 0
        how = "was killed" if killed else f"ended. {self.ended_in()}".rstrip()
        return Lost(f"{self.name} {how}")

    def _hear(self, countdown: Countdown | None = None) -> bytes:
        """Its next word; b"" if it is gone."""
        with contextlib.suppress(ConnectionError):
            poll = select.poll()
            poll.register(self.control, select.POLLIN)
            if countdown is None or countdown.wait(poll):
                return self.control.recv(1 << 20)
        return b""

    def said(self) -> str:
        """The end of what it and its children wrote to standard error."""
        size = os.fstat(self.log.fileno()).st_size
        return (
            os.pread(self.log.fileno(), 2000, max(0, size - 2000)).decode(errors="replace").strip()
        )

    def ended_in(self) -> str:
        """The last line of it: of a traceback, the exception."""
        return (self.said().splitlines() or [""])[-1]

    def fork(self, job: Job, descriptors: Sequence[int]) -> None:
        """Start a job. Raises Lost if it does not live any more."""
        try:
            socket.send_fds(self.control, [json.dumps(job).encode()], list(descriptors))
        except OSError:
            raise self.lost() from None

    def ending(self, job: int) -> Ending:
        """End a job and say how its process ended. Raises Lost if the warm process is gone."""
        with self.questions:
            try:
                self.control.send(json.dumps({"ending": job}).encode())
                word = self._hear(Countdown(ANSWER))
            except OSError:
                word = b""
        if not word:
            raise self.lost()
        return Ending(**json.loads(word))

    def kill(self, job: int) -> None:
        with contextlib.suppress(OSError):
            self.control.send(json.dumps({"kill": job}).encode())

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def configuration() -> Job:
    """In the warm process: what the supervisor configured it with."""
    value: Job = json.load(sys.stdin)
    return value


def control() -> socket.socket:
    """In the warm process: its end of the control socket."""
    return socket.socket(fileno=int(sys.argv[1]))
