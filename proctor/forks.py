"""Warm processes: import once, fork per submission.

A warm process is started with exec and an empty environment, so that no secret of the parent's
lies on its stack. It forks a child for each job that arrives on its control socket, with the
descriptors that came along, and kills a job's child when told to or when the parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from proctor.errors import ProctorError

Job = dict[str, Any]

GRACE = 0.1  # seconds that a job's process has to end by itself before it is killed

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
) -> None:
    """In the warm process: fork `start(job, descriptors)` for each job until the parent hangs up.

    The parent's first word is `greeting`; `reaped` is told of each child that has ended.
    """
    children: dict[int, int] = {}
    doomed: dict[int, float] = {}  # job: until when it may end by itself
    gc.collect()
    gc.freeze()  # keeps the shared pages shared
    control.send(b"ready" + greeting.encode())
    while True:
        ready, _, _ = select.select([control], [], [], GRACE if doomed else 1.0)
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                children = {number: child for number, child in children.items() if child != pid}
                reaped(pid)
        for number in [number for number, end in doomed.items() if end < time.monotonic()]:
            del doomed[number]
            if number in children:
                os.kill(children[number], signal.SIGKILL)
        if not ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not message:
            break
        job = json.loads(message)
        if "kill" in job:
            doomed[job["kill"]] = time.monotonic() + GRACE
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            try:
                os.setsid()
                start(job, descriptors)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        children[job["job"]] = pid
        for descriptor in descriptors:
            os.close(descriptor)
    for pid in children.values():
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        reaped(pid)


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
        )
        theirs.close()
        self.control = ours
        self.module = module
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(configuration).encode())
            self.process.stdin.close()

    def ready(self) -> str:
        """Wait until it serves; its greeting."""
        word = self.control.recv(1 << 20)
        if not word.startswith(b"ready"):
            self.process.wait()
            raise ProctorError(f"{self.module} could not start: {self.said() or 'it said nothing'}")
        return word[5:].decode()

    def said(self) -> str:
        """The end of what it and its children wrote to standard error."""
        size = os.fstat(self.log.fileno()).st_size
        return (
            os.pread(self.log.fileno(), 2000, max(0, size - 2000)).decode(errors="replace").strip()
        )

    def fork(self, job: Job, descriptors: Sequence[int]) -> None:
        socket.send_fds(self.control, [json.dumps(job).encode()], list(descriptors))

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
