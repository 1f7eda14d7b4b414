"""A run of one's own notebook in this very process, where there is no other: a page in a browser.

What is run is what the jailed grading runs: the same server of the cells, the same deciding about
its objects, but each request is answered where it is asked. There is no clock: a cell that hangs
hangs the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.interactiveshell import InteractiveShell

from proctor.course.course import Course
from proctor.grade.runs import Event, Run, Watch, beginning
from proctor.processes import frames as codec
from proctor.processes.countdown import Countdown
from proctor.student.alone import Alone
from proctor.tester.deciding import Events, Grading
from proctor.tester.proxy import Channel, Student
from proctor.worker.server import Alarm, Package, Server, warm
from proctor.worker.shell import Shell


class Inside(Alone):
    """Runs an assignment's notebooks as the Supervisor does, in this process."""

    warning = "Not jailed: it runs in this page. A cell that hangs hangs the page: reload it then."

    def run(self, job: dict[str, Any], files: Mapping[str, bytes], slot: int = 0) -> Run:
        _, seed, beside = codec.decode(beginning(job, files), int)
        course = self.assignment.course
        configuration = {
            "package": course.package,
            "modules": [],
            "packages": [],  # a page may do without NumPy, where a notebook does
            "wanted": [*course.settings.packages, *self.assignment.wanted],
        }
        heard = _Heard(self.watch)
        with _as_before(course):
            for name, data in files.items():
                path = Path(*name.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            shell, package = warm(configuration)
            shell.new_loop = _Loop
            worker = _Worker(shell, package)
            sys.path.insert(0, "")  # modules beside the notebook, as in a kernel
            random.seed(seed)
            if sys.modules.get("numpy"):
                sys.modules["numpy"].random.seed(seed)
            if package is not None:
                package.extend(beside)
            channel = Channel(worker, job["call_seconds"])
            events = Events(heard)
            channel.on_wait = events.tell
            with contextlib.suppress(_Stopped), worker.until_it_ends():
                Grading(job, Student(channel), events, None).run()
                events.tell()
        return Run(heard.events, heard.note)


class _NoClock(Alarm):
    """An alarm that never rings: nothing here could make it."""

    def _answer(self) -> None: ...
    def _every(self, seconds: float) -> None: ...


class _Exit(BaseException):
    """A cell has ended the process that it thinks it has to itself."""


class _Worker(codec.Frames):
    """The channel to a worker that answers each request when it is sent."""

    def __init__(self, shell: Shell, package: Package | None) -> None:
        self.server = Server(self, shell, _NoClock(), package)
        self.reply = b""
        self.ended = False

    def send(self, body: bytes) -> None:
        if len(body) > codec.MAX_FRAME:
            raise codec.ProtocolError(f"a frame is larger than {codec.MAX_FRAME >> 20} MB")
        self.reply = self.server.answer(body)
        self.ended = self.ended or len(self.reply) > codec.MAX_FRAME

    def wait(self, seconds: float) -> bool:
        return True

    def receive(self, countdown: Countdown | None = None) -> bytes:
        if self.ended:
            raise EOFError("the other side is gone")
        return self.reply

    @contextlib.contextmanager
    def until_it_ends(self) -> Iterator[None]:
        """What would end the process ends this worker."""

        def end(*_: object) -> NoReturn:
            self.ended = True
            raise _Exit

        kept = {name: getattr(os, name) for name in ("_exit", "abort")}
        vars(os).update(dict.fromkeys(kept, end))
        try:
            yield
        finally:
            vars(os).update(kept)


class _Stopped(Exception):
    """Who watches has heard enough."""


class _Heard(codec.Frames):
    """Takes down what the tester tells."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.events: list[Event] = []
        self.note: str | None = None

    def send(self, body: bytes) -> None:
        for event in json.loads(body):
            self.events.append(event)
            self.note = self.watch(event)
            if self.note:
                raise _Stopped


class _Loop(asyncio.BaseEventLoop):
    """An event loop for what a cell awaits of its own: timers and tasks, but no network."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self

    def select(self, seconds: float | None) -> list[Any]:
        """Wait until the next timer."""
        if seconds is None:
            raise RuntimeError("the cell waits for what never comes")
        end = time.monotonic() + seconds
        while time.monotonic() < end:  # `time.sleep` would give the page its turn, for ever
            pass
        return []

    def _process_events(self, events: list[Any]) -> None: ...
    def _write_to_self(self) -> None: ...


@contextlib.contextmanager
def _as_before(course: Course) -> Iterator[None]:
    """A folder to run in; then all is as it was for the notebook that this process belongs to: its
    shell, its modules and where they are looked for, its random numbers. Modules of the course's
    folder are not there meanwhile: what the notebook needs of them is made anew.
    """
    kernel: Any = InteractiveShell._instance
    kinds = [kind for kind in kernel._walk_mro() if kind._instance is kernel] if kernel else []
    loop, place = asyncio._get_running_loop(), Path.cwd()
    task = asyncio.current_task(loop) if loop else None
    path, environment, modules = [*sys.path], {**os.environ}, {**sys.modules}
    random_state = random.getstate()
    numpy: Any = modules.get("numpy")
    numpy_state = numpy and numpy.random.get_state()
    for kind in kinds:
        kind._instance = None
    if loop and task:  # cells that await something get a loop of their own
        asyncio.tasks._leave_task(loop, task)
    asyncio._set_running_loop(None)
    with tempfile.TemporaryDirectory() as folder:
        for name in [*_lying_in(course.root.parent)]:
            del sys.modules[name]
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(place)
            for name in [*_lying_in(Path(folder)), *_of_package(course.package or "")]:
                del sys.modules[name]
            sys.modules.update(modules)
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(environment)
            random.setstate(random_state)
            if numpy:
                numpy.random.set_state(numpy_state)
            Shell.clear_instance()
            for kind in kinds:
                kind._instance = kernel
            asyncio._set_running_loop(loop)
            if loop and task:
                asyncio.tasks._enter_task(loop, task)


def _lying_in(folder: Path) -> list[str]:
    """The modules that are files of a folder, but for those of libraries in it."""
    files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
    inside = {name for name, file in files.items() if Path(file).is_relative_to(folder)}
    return [name for name in inside if "site-packages" not in files[name]]


def _of_package(package: str) -> list[str]:
    return [name for name in sys.modules if package and name.partition(".")[0] == package]
