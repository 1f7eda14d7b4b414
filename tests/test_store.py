"""Kept results: written whole, read strictly, and keyed by all that decides a score."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from proctor.course import course as courses
from proctor.course import packages
from proctor.course.course import Assignment, Course
from proctor.errors import ProctorError
from proctor.record.store import Store, Stored
from tests import handmade
from tests import test_grading as mini
from tests.handmade import NAME


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    found = Course.load(mini.make_course(tmp_path / "course")).assignment(NAME)
    handmade.hand_in(found, "ada")
    return found


@pytest.fixture
def stored(assignment: Assignment) -> Stored:
    result = handmade.graded(assignment, "ada", ("TestMean::test_mean",)).result
    result.tests[0].misconception = "first left out"
    comments = {(NAME, "written"): None, ("more", "largest"): "No response."}
    return Stored("key", result, comments, "2026-01-01 00:00:00 UTC")


def test_what_is_saved_is_loaded_but_for_what_only_authors_see(
    assignment: Assignment, stored: Stored
) -> None:
    store = Store(assignment)
    store.save(stored)
    assert "detail" not in (store.folder / "ada.json").read_text()
    for test in stored.result.tests:
        test.detail = ""
    assert store.load("ada") == stored
    assert store.load("bob") is None
    assert not list(store.folder.glob(".unfinished-*"))


def put(*path: object, value: Any) -> Callable[[Any], Any]:
    """Puts a value somewhere into a result."""

    def change(found: Any) -> Any:
        place = found
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return json.dumps(found)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: "",
        lambda found: json.dumps(found)[:200],
        lambda found: "[" * 100_000,
        lambda found: "null",
        lambda found: "[]",
        lambda found: "\x00" * 500,
        lambda found: b"\xff\xfe",
        put("result", value=[]),
        put("result", "tests", value={}),
        put("result", "tests", 0, value=3),
        put("result", "tests", 0, "points", value="2"),
        put("result", "tests", 0, "points", value=float("nan")),
        put("result", "tests", 0, "misconception", value=["x"]),
        put("result", "status", value="perfect"),
        put("result", "notes", value="text"),
        put("result", "notes", value=[3]),
        put("result", "total", value=True),
        put("result", "student", value="bob"),
        put("comments", value=[["a", "b"]]),
        put("comments", value=[["a", ["b"], None]]),
        put("comments", value=[["a", "b", 3]]),
        put("comments", value=3),
        put("key", value=None),
    ],
)
def test_a_damaged_file_is_no_result(
    assignment: Assignment, stored: Stored, damage: Callable[[Any], str | bytes]
) -> None:
    store = Store(assignment)
    store.save(stored)
    path = store.folder / "ada.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    assert store.load("ada") is None
    store.save(stored)
    assert store.load("ada") is not None


def test_a_result_of_an_older_version_is_read(assignment: Assignment, stored: Stored) -> None:
    store = Store(assignment)
    store.save(stored)
    path = store.folder / "ada.json"
    found = json.loads(path.read_text())
    del found["timestamp"], found["result"]["earlier"]
    found["result"]["what was"] = 1
    path.write_text(json.dumps(found))
    loaded = store.load("ada")
    assert loaded is not None and loaded.timestamp is None
    assert asdict(loaded.result) | {"tests": []} == asdict(stored.result) | {"tests": []}


def test_two_runs_do_not_mix(assignment: Assignment) -> None:
    store = Store(assignment)
    store.folder.mkdir(parents=True)
    (store.folder / ".unfinished-1").write_text("half")
    with store.alone():
        assert not list(store.folder.glob(".unfinished-*"))
        with pytest.raises(ProctorError, match="Another"), Store(assignment).alone():
            pass
    with store.alone():
        pass


# The key ------------------------------------------------------------------------------------------


def key(assignment: Assignment) -> str:
    store = Store(Course.load(assignment.course.root).assignment(NAME))
    return store.key(store.read(handmade.folder(assignment, "ada")), [])


def test_a_students_file_counts_behind_a_large_one_of_the_instructors(
    assignment: Assignment,
) -> None:
    """What the instructor's file stands in the place of takes no room: what is graded is hashed."""
    for path in (assignment.source, handmade.folder(assignment, "ada")):
        (path / "big.bin").write_bytes(b"0" * (10 << 20))
    mine = handmade.folder(assignment, "ada") / "helper.py"
    mine.write_text("wrong")
    before = key(assignment)
    mine.write_text("right")
    assert key(assignment) != before


def test_the_versions_that_decide_are_in_the_key(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"proctor", "python", "ipython", "pytest", "hypothesis", "numpy"}
    assert assignment.versions.keys() == names
    before = key(assignment)
    original = packages.importlib.metadata.version
    for name in sorted(names - {"proctor", "python"}):
        with monkeypatch.context() as patch:
            patch.setattr(
                packages.importlib.metadata,
                "version",
                lambda asked, name=name: "0.0.1" if asked == name else original(asked),
            )
            assert key(assignment) != before, name
    for place, name, value in (
        (courses, "__version__", "9"),
        (courses.platform, "python_version", lambda: "3.99"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert key(assignment) != before, name
    assert key(assignment) == before


def test_a_package_is_found_under_another_name() -> None:
    assert packages.versions(["dateutil.tz", "none_such"]).keys() == {"python-dateutil"}


def test_files_that_are_no_longer_provided_change_the_key(assignment: Assignment) -> None:
    before = key(assignment)
    config = assignment.course.root / "nbgrader_config.py"
    config.write_text(
        config.read_text() + f"c.Autograde.exclude_overwriting = {{'{NAME}': ['rows.csv']}}\n"
    )
    assert key(assignment) != before
