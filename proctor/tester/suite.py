"""The hidden suite: pytest collects it once; each submission runs it in a fork of that process.

Only an assignment that has a suite loads this module, and pytest with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random  # in the warm process, so that no fork has to
import pytest

from proctor import testing
from proctor.tester.proxy import RemoteError, Student, WorkerGone
from proctor.verdict import MAX_MESSAGE

Serve = Callable[["Suite", str], None]  # until the supervisor hangs up; the text is the inventory


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


def explain_test(item: pytest.Item, error: BaseException) -> tuple[str, str | None]:
    """What a student is told of a hidden test's failure, and the misconception's name.

    Never the test's source, its values or the message of an exception: a student could raise the
    inputs as an exception's message and read them here.
    """
    described = testing.take_input()
    told = docstring(item) + (f" Tried on {described}." if described else "")
    if isinstance(error, testing.Recognised):
        return f"{told}\n{error.misconception.advice}"[:MAX_MESSAGE], error.misconception.name
    if isinstance(error, RemoteError):
        if error.syntax_error:
            told = f"Mend {error.syntax_error}.\n{told}"
        told += (
            f"\nYour notebook defines no '{error.missing}'."
            if error.missing
            else f"\nYour code raised {error.builtin_name}."
        )
    elif isinstance(error, WorkerGone):
        told += f"\nIt could not be tested: {error}."
    return told[:MAX_MESSAGE], None


def collect(path: Path, reference: Any, serve: Serve) -> None:
    """Collect the suite at `path`, then serve inside of pytest's run loop."""
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
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    suite = Suite(reference, serve)
    plugins = (
        "cacheprovider terminal faulthandler doctest junitxml logging unraisableexception warnings "
        "threadexception stepwise pastebin setuponly setupplan legacypath debugging skipping"
    ).split()
    options = [word for name in plugins for word in ("-p", f"no:{name}")]
    place = str(path.parent)  # a conftest.py above it is of the course's own tests
    code = pytest.main(
        [*options, "-s", "-c", os.devnull, "--rootdir", place, "--confcutdir", place, str(path)],
        plugins=[suite],
    )
    if (
        code not in (0, 5) and not suite.errors
    ):  # it has not come as far as the tests: a conftest.py
        for file in sorted([*path.rglob("*.py"), *path.parent.glob("*.py")]):
            try:
                compile(file.read_bytes(), file, "exec")
            except (SyntaxError, ValueError) as error:
                suite.errors.append(_where(file, error))
        if not suite.errors:
            raise SystemExit(f"pytest ended with {code}")
    if suite.errors:
        raise Uncollectable("\n".join(suite.errors))


class Uncollectable(Exception):
    """The suite's files cannot be read as tests; the message says where and why."""


class Suite:
    """A pytest plugin: collects once, then forks a tester per job inside the run loop."""

    def __init__(self, reference: Any, serve: Serve) -> None:
        self.reference_module, self.serve = reference, serve
        self.items: list[pytest.Item] = []
        self.tests: dict[pytest.Item, HiddenTest] = {}
        self.errors: list[str] = []
        self.submission: Student | None = None
        self.seed = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "points(n): what a hidden test is worth")

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any]
    ) -> None:
        """Keep where a file could not be collected, and why."""
        assert call.excinfo is not None
        self.errors.append(_where(node.path, call.excinfo.value))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        cases: dict[tuple[str, str], int] = {}
        for item in session.items:
            cases[_stem(item)] = cases.get(_stem(item), 0) + 1
        self.items = session.items
        self.tests = {item: HiddenTest.of(item, cases[_stem(item)]) for item in session.items}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self.errors:
            return True
        inventory = [[test.name, test.groups, test.points] for test in self.tests.values()]
        warm_up(self.items)
        self.serve(self, json.dumps(inventory))
        return True

    @pytest.fixture
    def student(self) -> Student:
        assert self.submission is not None
        return self.submission

    @pytest.fixture
    def reference(self) -> Any:
        return self.reference_module

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> np.random.Generator:
        return np.random.default_rng(seed(self.seed, request.node.nodeid))

    def run(
        self, wanted: set[str], submission: Student, key: str, explain: bool
    ) -> Iterator[dict[str, Any]]:
        """Run these tests for one submission; how each ended."""
        import hypothesis.core

        self.submission, self.seed = submission, key
        vars(hypothesis.core)["global_force_seed"] = seed(key, "hypothesis")
        items = [item for item in self.items if self.tests[item].name in wanted]
        for item, following in zip_longest(items, items[1:]):
            testing.take_input()
            gone = submission._channel.gone  # before this test: it can try nothing
            failure = attempt(item, following)
            event: dict[str, Any] = {"event": "test", "test": self.tests[item].name}
            event |= {"passed": failure is None, "message": "", "misconception": None}
            event |= {"title": docstring(item), "reached": gone is None}
            if failure is not None:
                event["message"], event["misconception"] = explain_test(item, failure)
                if explain:
                    event["detail"] = _trace(failure)
                    if isinstance(failure, RemoteError):
                        event["detail"] += failure.remote_traceback
            yield event


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


def _where(path: Path, error: BaseException) -> str:
    """Where a suite's file is wrong, and what is: a sentence for its author."""
    cause = error.__cause__ or error  # pytest's own error says it in many lines
    if isinstance(cause, SyntaxError):
        said = f"{cause.filename}, line {cause.lineno}: {type(cause).__name__}: {cause.msg}"
    else:
        lines = [
            f"{frame.filename}, line {frame.lineno}"
            for frame in traceback.extract_tb(cause.__traceback__)
            if Path(frame.filename).is_relative_to(path.parent.parent)
        ]
        said = f"{lines[-1] if lines else path}: {type(cause).__name__}: {cause}"
    return f"{said.strip()}. The hidden tests cannot be collected: mend this first."


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
