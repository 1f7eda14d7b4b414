"""The two processes of an unjailed check: the tester, and the worker that it spawns.

They are two, as with a jail, so that what keeps the worker busy for ever keeps nobody from saying
so, and so that the worker's claims are decided on by the same code.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
from typing import Any

import numpy as np

from proctor.processes import frames as codec
from proctor.processes.countdown import Countdown
from proctor.student.unjailed import Spawned
from proctor.tester.deciding import Events, Grading
from proctor.tester.proxy import Channel, Student
from proctor.worker.server import READY, Alarm, Server, warm

START_SECONDS = 60.0  # that a worker may take to import what a notebook needs


def _frames() -> codec.Frames:
    """Frames over standard input and output, which others then see nothing of."""
    reader, writer = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    pipe = codec.Pipe(reader, writer)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return codec.Frames(pipe)


def tester(configuration: dict[str, Any]) -> None:
    """Decide about one notebook."""
    parent = _frames()
    start, job = parent.receive(), json.loads(parent.receive())
    worker = Spawned("worker", configuration, sys.stderr.buffer)
    parent.send(b"up")
    try:
        events = Events(parent)
        try:
            worker.frames.send(start)
            word = worker.frames.receive(Countdown(START_SECONDS))
        except (EOFError, OSError):
            word = b"it said nothing"
        if word != READY:
            events(event="no worker", why=word.decode(errors="replace"))
            events.tell()
            return
        channel = Channel(worker.frames, job["call_seconds"])
        channel.on_wait = events.tell
        Grading(job, Student(channel), events, None).run()
        events.tell()
    finally:
        worker.end()


class Bell(Alarm):
    """An alarm for where there is no timer but a thread, and no signal but that of Ctrl-C."""

    def _answer(self) -> None:
        self.turn = threading.Event()
        self.step_of_now = 0.0
        signal.signal(signal.SIGINT, self._ring)
        threading.Thread(target=self._toll, daemon=True).start()

    def _every(self, seconds: float) -> None:
        self.step_of_now = seconds
        self.turn.set()

    def _toll(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while True:
            self.turn.wait(self.step_of_now or None)
            if self.turn.is_set():
                self.turn.clear()
            elif hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, signal.SIGINT)
            else:  # Windows: any thread's will do
                signal.raise_signal(signal.SIGINT)


def worker(configuration: dict[str, Any]) -> None:
    """Run one notebook's cells and answer for its objects."""
    frames = _frames()
    _, seed, beside = codec.decode(frames.receive(), int)
    shell, package = warm(configuration)
    sys.path.insert(0, "")  # modules beside the notebook, as in a kernel
    random.seed(seed)
    np.random.seed(seed)
    if package is not None:
        package.extend(beside)
    with contextlib.suppress(BrokenPipeError):
        frames.send(READY)
        Server(frames, shell, Bell(), package).serve()
