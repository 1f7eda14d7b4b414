"""The tester: decides. It runs visible checks between the student's cells, then the hidden suite.

It is a fork of a warm process that has collected the suite once, inside pytest's own run loop. No
line of the student's code runs here: the student's names are proxies (see `proctor.proxy`).
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import hashlib
import importlib.util
import inspect
import json
import linecache
import os
import socket
import sys
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing  # so that no fork has to: NumPy waits until somebody asks for it
import pytest

from proctor import codec, forks, plain, testing
from proctor.proxy import ENDED, Channel, RemoteError, Student, WorkerGone
from proctor.verdict import printable

MAX_MESSAGE = 600  # characters of a message to a student
MAX_OUTPUTS = 16 << 20  # bytes of all outputs of a notebook; what comes after is dropped
PATIENCE = 0.02  # seconds that a decision may wait until the supervisor is told
START_SECONDS = 20.0  # that a worker may take to enter its jail


@dataclass(frozen=True)
class HiddenTest:
    """A test of the suite: the names by which a grade cell may claim it, and what it is worth."""

    name: str
    groups: tuple[str, ...]
    points: float

    @classmethod
    def of(cls, item: pytest.Item, cases: int) -> HiddenTest:
        marker = item.get_closest_marker("points")
        points = float(marker.args[0]) if marker and marker.args else 0.0
        names = [item.parent.name] if isinstance(item.parent, pytest.Class) else []
        names.append(item.path.stem)
        groups = [
            alias
            for name in names
            for alias in (name, name.removeprefix("Test").removeprefix("test_"))
        ]
        return cls(item.nodeid.partition("::")[2], tuple(groups), points / cases)


def _stem(item: pytest.Item) -> tuple[str, str]:
    return str(item.parent.nodeid if item.parent else ""), getattr(item, "originalname", item.name)


def docstring(item: pytest.Item) -> str:
    """The property that a test states: the first paragraph of its docstring, on one line."""
    text = getattr(getattr(item, "function", None), "__doc__", None) or item.name.replace("_", " ")
    return " ".join(text.strip().split("\n\n")[0].split())


class Events:
    """What was decided, told to the supervisor soon, so that nothing decided is lost.

    Telling wakes the supervisor, which costs more than most tests: events wait for each other a
    moment, but never while the worker is at work.
    """

    def __init__(self, frames: codec.Frames) -> None:
        self.frames = frames
        self.waiting: list[dict[str, Any]] = []
        self.told = time.monotonic()

    def __call__(self, **event: Any) -> None:
        self.waiting.append(event)
        if time.monotonic() - self.told > PATIENCE:
            self.tell()

    def tell(self) -> None:
        """Send what waits."""
        if self.waiting:
            self.frames.send(json.dumps(self.waiting).encode())
            self.waiting = []
        self.told = time.monotonic()


class Names(dict[str, Any]):
    """The namespace of visible checks: their own names and imports, else the student's by proxy."""

    def __init__(self, student: Student) -> None:
        super().__init__(__name__="__main__", __builtins__=builtins)
        self.student = student

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):  # a student's `all` must not decide
            raise KeyError(name)
        try:
            return getattr(self.student, name)
        except RemoteError as error:
            if error.builtin_name == "AttributeError":
                raise KeyError(name) from None
            raise


def explain_check(error: BaseException, cell: str) -> str:
    """A visible check's failure: its line, since students can read it, and what went wrong."""
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == f"<{cell}>"
    ]
    where = f"line {lines[-1].lineno}: {lines[-1].line}\n" if lines else ""
    name = error.remote_name if isinstance(error, RemoteError) else type(error).__name__
    said = str(error).strip()
    return (where + (f"{name}: {said}" if said else name))[:MAX_MESSAGE]


def explain_test(item: pytest.Item, error: BaseException) -> tuple[str, str | None]:
    """What a student is told of a hidden test's failure, and the misconception's name.

    Never the test's source, its values or the message of an exception: a student could raise the
    inputs as an exception's message and read them here.
    """
    kind = testing.take_kind()
    told = docstring(item) + (f" Tried on {kind}." if kind else "")
    if isinstance(error, testing.Recognised):
        return f"{told} {error.misconception.advice}"[:MAX_MESSAGE], error.misconception.name
    if isinstance(error, RemoteError):
        told += (
            f" Your notebook defines no '{error.missing}'."
            if error.missing
            else f" Your code raised {error.builtin_name}."
        )
    elif isinstance(error, WorkerGone):
        told += f" It could not be tested: {error}."
    return told[:MAX_MESSAGE], None


class Grading:
    """One job: a notebook's cells, its checks and its hidden tests."""

    def __init__(
        self, job: dict[str, Any], student: Student, events: Events, suite: Suite | None
    ) -> None:
        self.job, self.student, self.events, self.suite = job, student, events, suite
        self.channel = student._channel
        self.names = Names(student)
        self.room = MAX_OUTPUTS
        self.moment = time.perf_counter()

    def run(self) -> None:
        import_all(self.job["imports"], self.names)
        for cell in self.job["cells"]:
            (self.check if cell["kind"] == "check" else self.execute)(cell["id"], cell["source"])
        if self.suite is not None:
            wanted = set(self.job["tests"])
            self.suite.run(
                [item for item in self.suite.items if self.suite.tests[item].name in wanted], self
            )
        usage = self.channel.request("usage") if self.job["measure"] else None
        own = self.suite.own if self.suite else 0.0
        cost = {"cpu": time.process_time(), "own": own, "worker": usage}
        self.events(event="done", ended=self.channel.gone == ENDED, **cost)

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self.moment = self.moment, time.perf_counter()
        return round(self.moment - before, 6)

    def execute(self, cell: str, source: str) -> None:
        """Run a cell of the student's in the worker."""
        limit, before, gone = self.job["cell_seconds"], self.channel.seconds, self.channel.gone
        note, ran = "", False
        try:
            answer = self.channel.request("cell", source, seconds=limit)
            ran, outputs = answer if type(answer) is tuple and len(answer) == 2 else (False, [])
        except (WorkerGone, RemoteError) as error:
            name = getattr(error, "remote_name", "WorkerGone")
            outputs = [
                {
                    "output_type": "error",
                    "ename": name,
                    "evalue": str(error),
                    "traceback": [f"{name}: {error}"],
                }
            ]
        if self.channel.gone != gone:
            note = f"{self.channel.gone}; no later cell could be run"
        elif gone is None and self.channel.seconds - before >= limit:
            note = f"ran longer than {limit:g} s and was interrupted"
        outputs = jsonable(outputs)
        said = plain.word(outputs, ran is True, self.job["ignored"])
        self.events(
            event="cell",
            cell=cell,
            outputs=self.bounded(outputs),
            note=note,
            word=[said.kind, said.text],
        )

    def bounded(self, outputs: Any) -> Any:
        """A cell's outputs, while there is room: the worker's own bounds are claims."""
        size = len(json.dumps(outputs))
        if size > self.room:
            text = "[The outputs of this notebook are too large: not shown.]\n"
            return [{"output_type": "stream", "name": "stderr", "text": text}]
        self.room -= size
        return outputs

    def check(self, cell: str, source: str) -> None:
        """Run a visible check here, with the student's names as proxies."""
        filename = f"<{cell}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        message = ""
        try:
            exec(compile(source, filename, "exec"), self.names)
        except BaseException as error:
            message = explain_check(error, cell) or type(error).__name__
        self.events(event="check", cell=cell, message=message, seconds=self.lap())


def import_all(sources: list[str], names: dict[str, Any]) -> None:
    """Make the instructor's imports; one that only the worker has is missed by who needs it."""
    for source in sources:
        with contextlib.suppress(ImportError):
            exec(source, names)


def jsonable(value: Any) -> Any:
    """What the worker says its outputs are, as JSON; anything odd becomes its type's name."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [jsonable(item) for item in value]
    if type(value) is dict:
        return {str(key): jsonable(item) for key, item in value.items()}
    if type(value) is bytes:
        import base64

        return base64.b64encode(value).decode()
    return f"<{type(value).__name__}>"


class Suite:
    """A pytest plugin: collects once, then forks a tester per job inside the run loop."""

    def __init__(self, control: socket.socket, reference: Any) -> None:
        self.control, self.reference_module = control, reference
        self.items: list[pytest.Item] = []
        self.tests: dict[pytest.Item, HiddenTest] = {}
        self.errors: list[str] = []
        self.grading: Grading | None = None
        self.own = 0.0  # seconds of CPU inside the tests themselves

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "points(n): what a hidden test is worth")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(str(report.longrepr))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        cases: dict[tuple[str, str], int] = {}
        for item in session.items:
            cases[_stem(item)] = cases.get(_stem(item), 0) + 1
        self.items = session.items
        self.tests = {item: HiddenTest.of(item, cases[_stem(item)]) for item in session.items}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self.errors:
            raise SystemExit("\n".join(self.errors))
        inventory = [[test.name, test.groups, test.points] for test in self.tests.values()]
        warm_up(self.items)
        forks.serve(
            self.control, lambda job, descriptors: start(descriptors, self), json.dumps(inventory)
        )
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Generator[None, object, object]:
        before = time.process_time()
        try:
            return (yield)
        finally:
            self.own += time.process_time() - before

    @pytest.fixture
    def student(self) -> Student:
        assert self.grading is not None
        return self.grading.student

    @pytest.fixture
    def reference(self) -> Any:
        return self.reference_module

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> np.random.Generator:
        assert self.grading is not None
        return np.random.default_rng(seed(self.grading.job["seed"], request.node.nodeid))

    def run(self, items: list[pytest.Item], grading: Grading) -> None:
        """Run these tests for one submission and tell how each ended."""
        import hypothesis.core

        self.grading = grading
        vars(hypothesis.core)["global_force_seed"] = seed(grading.job["seed"], "hypothesis")
        for item, following in zip_longest(items, items[1:]):
            testing.take_kind()
            failure = attempt(item, following)
            event: dict[str, Any] = {"test": self.tests[item].name, "message": ""}
            event["misconception"] = None
            if failure is not None:
                event["message"], event["misconception"] = explain_test(item, failure)
                if grading.job.get("explain"):
                    event["detail"] = _trace(failure)
                    if isinstance(failure, RemoteError):
                        event["detail"] += printable(failure.remote_traceback)
            grading.events(event="test", passed=failure is None, seconds=grading.lap(), **event)


def attempt(item: pytest.Item, following: pytest.Item | None) -> BaseException | None:
    """Run one test by pytest's own hooks, without its reports; what it raised, if anything.

    A skip, an xfail or an exit counts, too: what is not passed is failed.
    """
    failure: BaseException | None = None
    try:
        item.ihook.pytest_runtest_setup(item=item)
        item.ihook.pytest_runtest_call(item=item)
    except BaseException as error:
        failure = error
    try:
        item.ihook.pytest_runtest_teardown(item=item, nextitem=following)
    except BaseException as error:
        failure = failure or error
    return failure


def warm_up(items: list[pytest.Item]) -> None:
    """Draw each property test's inputs once, so that no fork has to fill Hypothesis's caches."""
    for item in items:
        function = (
            getattr(item.obj, "__func__", item.obj) if isinstance(item, pytest.Function) else None
        )
        handle = getattr(function, "hypothesis", None)
        if function is None or handle is None or not getattr(function, "is_hypothesis_test", False):
            continue
        inner, handle.inner_test = handle.inner_test, lambda *_, **__: None
        with contextlib.suppress(Exception):  # a test that cannot be drawn says so when it is run
            function(*[None] * len(inspect.signature(function).parameters))
        handle.inner_test = inner


def _trace(error: BaseException) -> str:
    """A failure's traceback, from the suite on: what its author wants to see."""
    kept = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "_pytest" not in f.filename and "pluggy" not in f.filename
    ]
    return "".join(traceback.format_list(kept) + traceback.format_exception_only(error))


def seed(key: str, name: str) -> int:
    """Random inputs are drawn afresh per submission, suite and test, and are the same next time."""
    return int.from_bytes(hashlib.sha256(f"{key}/{name}".encode()).digest()[:8], "little")


def start(descriptors: list[int], suite: Suite | None) -> None:
    """In the fork: grade one notebook. Descriptors: the supervisor's socket, the worker's
    channel.
    """
    gc.disable()  # a fork is over before it would help
    supervisor, worker = (codec.Frames(socket.socket(fileno=number)) for number in descriptors)
    job = json.loads(supervisor.receive())
    events = Events(supervisor)
    try:
        word = worker.receive(time.monotonic() + START_SECONDS)
    except (EOFError, OSError):
        word = b"it said nothing"
    if word != b"ready":  # it is not in its jail
        events(event="no worker", why=word.decode(errors="replace"))
        events.tell()
        return
    channel = Channel(worker, job["call_seconds"])
    try:
        channel.request("len", "")  # no student's code has run: if it fails, the fault is ours
    except Exception as error:
        events(event="no worker", why=str(error))
        events.tell()
        return
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
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    configuration, control = forks.configuration(), forks.control()
    package = configuration["package"]
    reference = None
    if package and (Path(configuration["course"]) / package / "__init__.py").exists():
        reference = load_package(package, Path(configuration["course"]) / package)
    import_all(configuration["imports"], {})  # so that no fork has to
    if configuration["suite"] is None:
        forks.serve(control, lambda job, descriptors: start(descriptors, None), "[]")
        return
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "proctor",
        deadline=None,
        database=None,
        max_examples=20,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("proctor")
    suite = Suite(control, reference)
    root = str(Path(configuration["suite"]).parent)
    plugins = (
        "cacheprovider terminal faulthandler doctest junitxml logging unraisableexception warnings "
        "threadexception stepwise pastebin setuponly setupplan legacypath debugging skipping"
    ).split()
    options = [word for name in plugins for word in ("-p", f"no:{name}")]
    code = pytest.main(
        [*options, "-s", "-c", os.devnull, "--rootdir", root, configuration["suite"]],
        plugins=[suite],
    )
    if suite.errors or code not in (0, 5):
        raise SystemExit("\n".join(suite.errors) or f"pytest ended with {code}")


if __name__ == "__main__":
    main()
