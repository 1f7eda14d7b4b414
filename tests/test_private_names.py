"""What proctor uses of other packages although they promise nothing about it, in one place.

Each name is there, and a test that runs what uses it is named: it fails when the name means
something else. A private name that is used and not listed here fails, too. Upper bounds in
pyproject.toml keep the next larger version out until somebody has looked.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from proctor.course.course import Course
from tests import classroom, test_grading
from tests.classroom import ROOT

SHELL = "test_cells.py::test_outputs_names_and_history_are_those_of_ipython"
LOOP = "test_any_course.py::test_every_entry_is_as_plain_nbgrader_has_it"
INSIDE = "test_inside.py::test_the_kernel_is_as_it_was"

# What is used, where, and the test that would notice its change.
USED = {
    # nbgrader
    "nbgrader.converters.base:BaseConverter.exporter_class": (
        "__init__.py: a trait; what it names is made before the last release is removed",
        "test_release.py::test_a_refused_release_ends_in_a_sentence_and_leaves_the_last_one",
    ),
    "nbgrader.converters.base:NbGraderException": (
        "author/generate.py: ends the command with status 1 and no traceback",
        "test_release.py::test_a_refused_release_ends_in_a_sentence_and_leaves_the_last_one",
    ),
    "nbgrader.exchange.default:ExchangeCollect._path_to_record": (
        "lms/exchange.py: whose submission a folder of the exchange is",
        "test_exchange.py::test_nobody_hands_in_for_another",
    ),
    "nbgrader.preprocessors:AssignLatePenalties._check_late_penalty": (
        "record/gradebook.py: what a plugin's penalty may be",
        "test_any_course.py::test_every_entry_is_as_plain_nbgrader_has_it",
    ),
    "nbgrader.preprocessors:AssignLatePenalties.init_plugin": (
        "record/gradebook.py: finds the course's plugin",
        "test_any_course.py::test_every_entry_is_as_plain_nbgrader_has_it",
    ),
    "nbgrader.api:SubmittedAssignment.__table__": (
        "record/gradebook.py: rows are written by statements of our own",
        "test_any_course.py::test_every_entry_is_as_plain_nbgrader_has_it",
    ),
    # pytest
    "_pytest": (
        "tester/suite.py: its frames are left out of --explain",
        "test_private_names.py::test_an_explanation_shows_the_suite_and_not_pytest",
    ),
    # Hypothesis
    "hypothesis.core:global_force_seed": (
        "tester/suite.py: inputs are drawn by submission",
        "test_grading.py::test_inputs_differ_per_submission_and_not_per_run",
    ),
    "hypothesis.core:HypothesisHandle.inner_test": (
        "tester/suite.py: draws inputs without calling the test",
        "test_grading.py::test_a_suite_is_collected_once_and_nothing_of_it_runs_before",
    ),
    # IPython
    "IPython.core.interactiveshell:InteractiveShell._showtraceback": (
        "worker/shell.py: an error is an output",
        SHELL,
    ),
    "IPython.core.compilerop:CachingCompiler.ast_parse": (
        "worker/shell.py: the short way past IPython",
        SHELL,
    ),
    "IPython.core.compilerop:CachingCompiler.get_code_name": (
        "worker/shell.py: a cell's name in tracebacks",
        SHELL,
    ),
    "IPython.core.history:HistoryManager.store_inputs": ("worker/shell.py: In", SHELL),
    "IPython.core.displayhook:DisplayHook.write_format_data": (
        "worker/shell.py: a cell's value is an output",
        SHELL,
    ),
    "traitlets.config:SingletonConfigurable._instance": (
        "student/inside.py: the kernel's shell steps aside",
        INSIDE,
    ),
    "traitlets.config:SingletonConfigurable._walk_mro": ("student/inside.py: the same", INSIDE),
    # Python
    "asyncio.selector_events:BaseSelectorEventLoop._make_self_pipe": (
        "worker/shell.py: the jail refuses a pair of sockets",
        LOOP,
    ),
    "asyncio.selector_events:BaseSelectorEventLoop._add_reader": (
        "worker/shell.py: the same",
        LOOP,
    ),
    "asyncio.selector_events:BaseSelectorEventLoop._read_from_self": (
        "worker/shell.py: the same",
        LOOP,
    ),
    "asyncio.selector_events:BaseSelectorEventLoop._ssock": ("worker/shell.py: the same", LOOP),
    "asyncio.selector_events:BaseSelectorEventLoop._csock": ("worker/shell.py: the same", LOOP),
    "asyncio.selector_events:BaseSelectorEventLoop._internal_fds": (
        "worker/shell.py: the same",
        LOOP,
    ),
    "asyncio:_get_running_loop": ("student/inside.py: the kernel's loop steps aside", INSIDE),
    "asyncio:_set_running_loop": ("student/inside.py: the same", INSIDE),
    "asyncio.tasks:_leave_task": ("student/inside.py: the same", INSIDE),
    "asyncio.tasks:_enter_task": ("student/inside.py: the same", INSIDE),
    "os:_exit": (
        "jail/, processes/: the end of a fork",
        "test_jail.py::test_ends_as_the_worker_ends",
    ),
}

MADE_BY_INSTANCES = {"_ssock", "_csock", "_internal_fds", "inner_test"}  # not found at their class


@pytest.mark.parametrize("name", USED)
def test_it_is_there(name: str) -> None:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in filter(None, path.split(".")):
        if part not in MADE_BY_INSTANCES:
            found = getattr(found, part)
    if MADE_BY_INSTANCES & {*path.split(".")}:
        assert re.search(rf"\b{path.rpartition('.')[2]}\b", inspect.getsource(found))


@pytest.mark.parametrize("name", USED)
def test_it_is_used_and_its_change_would_be_noticed(name: str) -> None:
    places, test = USED[name]
    part = re.split(r"[:.]", name)[-1]
    for place in places.partition(":")[0].split(", "):
        path = ROOT / "proctor" / place
        files = [path] if path.is_file() else [*path.glob("*.py")]
        assert any(part in file.read_text() for file in files), place
    file, _, function = test.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / "tests" / file).read_text(), re.M), test


def private(source: str) -> Iterator[str]:
    """The attributes with an underscore that a module reads or sets, but for those of `self`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            yield node.attr


def defined(source: str) -> Iterator[str]:
    """What a module defines or gives to `self`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def unlisted(sources: list[str]) -> set[str]:
    ours = {name for source in sources for name in defined(source)}
    listed = {re.split(r"[:.]", name)[-1] for name in USED}
    return {name for source in sources for name in private(source)} - ours - listed - PYTHONS


# What namedtuples and classes of Python's own library have by their documentation.
PYTHONS = {"_replace", "_asdict", "_fields"}


def test_no_other_is_used() -> None:
    sources = [path.read_text() for path in (ROOT / "proctor").rglob("*.py")]
    assert unlisted(sources) == set()
    assert unlisted([*sources, "item._request"]) == {"_request"}


def test_the_next_larger_versions_stay_out() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {re.split("[<>=]", text)[0]: text.partition(",")[2] for text in found}
    assert [bounds[name] for name in ("nbgrader", "pytest", "ipython")] == ["<0.10", "<10", "<10"]


def test_an_explanation_shows_the_suite_and_not_pytest(tmp_path: Path) -> None:
    root = test_grading.make_course(tmp_path)
    wrong = test_grading.notebooks({"mean": "def mean(values):\n    return 0.0"})
    test_grading.hand_in(root, "ada", wrong)
    assignment = Course.load(root).assignment(test_grading.NAME)
    [result] = classroom.grade(assignment, ["ada"], explain=True).values()
    [detail] = [test.detail for test in result.tests if test.detail]
    assert "test_totals.py" in detail and "values differ" in detail
    assert "_pytest" not in detail and "pluggy" not in detail
