"""The tester: decides. It runs visible checks between the student's cells, then the hidden suite.

It is a fork of a warm process, which has collected the suite once (see `proctor.suite`). No line of
the student's code runs here: the student's names are proxies (see `proctor.proxy`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor import jail
from proctor.processes import forks
from proctor.processes import frames as codec
from proctor.processes.countdown import Countdown
from proctor.tester.deciding import Events, Grading, import_all
from proctor.tester.proxy import Channel, Student

if TYPE_CHECKING:
    from proctor.tester.suite import Suite

START_SECONDS = 20.0  # that a worker may take to enter its jail


def start(
    task: dict[str, Any], descriptors: list[int], suite: Suite | None, readable: list[str] | None
) -> None:
    """In the fork: grade one notebook. Descriptors: the supervisor's socket, the worker's
    channel. With `readable`, it goes to jail first: the checks are not known to be ours.
    """
    gc.disable()  # a fork is over before it would help
    supervisor, worker = (codec.Frames(socket.socket(fileno=number)) for number in descriptors)
    if readable is not None:
        jail.enter(
            jail.Isolation(task["isolation"]),
            readable,
            jail.Limits(**task["limits"]),
            keep=descriptors,
            slot=task["slot"],
        )
    job = json.loads(supervisor.receive())
    events = Events(supervisor)
    try:
        word = worker.receive(Countdown(START_SECONDS))
    except (EOFError, OSError):
        word = b"it said nothing"
    if word != b"ready":  # it is not in its jail
        events(event="no worker", why=word.decode(errors="replace"))
        events.tell()
        return
    channel = Channel(worker, job["call_seconds"])
    channel.on_wait = events.tell
    Grading(job, Student(channel), events, suite).run()
    events.tell()


def load_package(name: str, directory: Path) -> Any:
    """Import a package from where it stands, without touching `sys.path`."""
    spec = importlib.util.spec_from_file_location(
        name, directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """The warm tester: import everything, collect the suite, then serve."""
    sys.dont_write_bytecode = True
    configuration, control = forks.configuration(), forks.control()
    reference = None
    if configuration["reference"]:
        directory = Path(configuration["reference"])
        reference = load_package(directory.name, directory)
    import_all(configuration["imports"], {})  # so that no fork has to
    for name in configuration["wanted"]:
        if name.startswith("numpy."):  # what NumPy imports when somebody asks for it
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    readable: list[str] | None = None
    options: dict[str, Any] = {}
    if configuration["jailed"]:
        readable = jail.readable_paths()
        jail.prepare(readable)
        options["reaped"] = jail.discard
        options["fork"] = lambda task: jail.fork(jail.Isolation(task["isolation"]))

    def serve(suite: Suite | None, inventory: str) -> None:
        forks.serve(
            control,
            lambda task, descriptors: start(task, descriptors, suite, readable),
            inventory,
            **options,
        )

    if configuration["suite"] is None:
        serve(None, "[]")
    else:
        from proctor.tester.suite import Uncollectable, collect

        try:
            collect(Path(configuration["suite"]), reference, serve)
        except Uncollectable as error:
            serve(None, json.dumps(str(error)))


if __name__ == "__main__":
    main()
