"""A run of one's own notebook without a jail, where the platform has none: Windows, macOS.

What is run is what the jailed grading runs: the same server of the cells, the same deciding about
its objects. But the processes are spawned, not forked, and joined by pipes; they are ended as a
tree when they take too long. Nothing keeps the code from anything: it must be one's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from proctor.errors import ProctorError
from proctor.grade.runs import SLACK, NoWorker, Run, beginning, collect
from proctor.processes.countdown import Countdown
from proctor.processes.forks import ENVIRONMENT
from proctor.processes.frames import Frames, Pipe
from proctor.student.alone import Alone
from proctor.worker.server import installed

# The search path comes along: what PYTHONPATH or the folder of the notebook would add to it is the
# student's, and its modules are made anew from their sources.
_START = """
import json, sys
configuration = json.loads(open(0, "rb", 0, closefd=False).readline())
sys.path[:] = configuration["path"]
from proctor.student import spawned
getattr(spawned, configuration["role"])(configuration)
"""


class Spawned:
    """A process that reads its configuration, then speaks in frames."""

    def __init__(self, role: str, configuration: Mapping[str, Any], log: IO[bytes]) -> None:
        environment = {**os.environ, **ENVIRONMENT, "PYTHONHASHSEED": "0", "MPLBACKEND": "agg"}
        environment.pop("PYTHONPATH", None)
        self.leads = role == "tester"  # a group, which is ended as one; Ctrl-C is not for it
        group: dict[str, Any] = {"start_new_session": self.leads}
        if os.name == "nt":
            group = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=configuration["folder"],
            bufsize=0,
            **group,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        first = {**configuration, "role": role, "path": installed()}
        pipe = Pipe(self.process.stdout, self.process.stdin)
        pipe.sendall(json.dumps(first).encode() + b"\n")
        self.frames = Frames(pipe)

    def end(self) -> None:
        """End it and, as far as the platform lets us, what it has started."""
        if os.name == "nt":
            command = ["taskkill", "/T", "/F", "/PID", str(self.process.pid)]
            subprocess.run(command, capture_output=True, check=False)
        elif self.leads:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, 9)
        self.process.kill()
        self.process.wait()


class Unjailed(Alone):
    """Runs an assignment's notebooks as the Supervisor does, with a worker and a tester that are
    spawned for each.
    """

    warning = "Not jailed: this is your own code."

    def run(self, job: dict[str, Any], files: Mapping[str, bytes], slot: int = 0) -> Run:
        start = beginning(job, files)
        seconds = self.assignment.seconds[1]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            log = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
            configuration = {
                "folder": folder,
                "package": self.assignment.course.package,
                "modules": [],
                "packages": list(self.assignment.course.settings.packages),
                "wanted": self.assignment.wanted,
            }
            for name, data in files.items():
                path = Path(folder, *name.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            tester = Spawned("tester", configuration, log)
            try:
                tester.frames.send(start)
                tester.frames.send(json.dumps(job).encode())
                tester.frames.receive()  # it and its worker are up: now the clock runs
                events, note = collect(
                    tester.frames, Countdown(seconds + SLACK), seconds, self.watch
                )
            except (EOFError, OSError, NoWorker) as error:
                raise ProctorError(f"the check could not be run: {error}. {_end_of(log)}") from None
            finally:
                tester.end()
                log.close()
        return Run(events, note)


def _end_of(log: IO[bytes]) -> str:
    """The last line that was written to a file: of a traceback, the exception."""
    log.seek(0)
    return (log.read().decode(errors="replace").strip().splitlines() or [""])[-1]
