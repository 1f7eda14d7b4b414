"""What `nbgrader collect` takes from an exchange that everyone may write into."""

from __future__ import annotations

import logging
import os
import pwd
from pathlib import Path

import pytest
from nbgrader.api import MissingEntry
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import ExchangeCollect
from traitlets.config import Config

from proctor.lms.exchange import Collect

ME = pwd.getpwuid(os.geteuid()).pw_name
EARLY, LATE = "2026-01-01 00:00:00.000000 UTC", "2026-01-02 00:00:00.000000 UTC"


class Exchange:
    """A course without assignments of its own, and what lies in its exchange."""

    def __init__(self, root: Path, ours: bool) -> None:
        self.course, self.inbound = root / "course", root / "exchange/mini/inbound"
        self.plugin = Collect if ours else ExchangeCollect
        self.secret = root / "secret.txt"
        self.secret.write_text("the answer key")
        self.course.mkdir()
        self.inbound.mkdir(parents=True)
        self.config = Config()
        self.config.CourseDirectory.root = str(self.course)
        self.config.CourseDirectory.course_id = "mini"
        self.config.CourseDirectory.assignment_id = "one"
        self.config.Exchange.root = str(root / "exchange")

    def submission(self, student: str, time: str) -> Path:
        made = self.inbound / f"{student}+one+{time}+random"
        made.mkdir()
        (made / "timestamp.txt").write_text(time)
        (made / "one.ipynb").write_text(time)
        return made

    def collect(self) -> None:
        course = CourseDirectory(config=self.config)
        who = Authenticator(config=self.config)
        self.plugin(coursedir=course, authenticator=who, config=self.config).start()

    def collected(self) -> dict[str, str]:
        folder = self.course / "submitted"
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_text() for path in found}


class NoGradebook:
    """One without any assignment: nbgrader asks it for the due date. A real one takes seconds."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> NoGradebook:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find_assignment(self, name: str) -> None:
        raise MissingEntry(name)


@pytest.fixture(autouse=True)
def no_gradebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbgrader.exchange.default.collect.Gradebook", NoGradebook)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("traitlets").addHandler(caplog.handler)
    return caplog


@pytest.fixture(params=[True, False], ids=["proctor", "nbgrader"])
def ours(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def exchange(tmp_path: Path, ours: bool) -> Exchange:
    return Exchange(tmp_path, ours)


def test_the_newest_is_collected(exchange: Exchange) -> None:
    for time in (LATE, EARLY):
        (exchange.submission(ME, time) / "below").mkdir()
    (exchange.inbound / f"{ME}+one+{LATE}+random/below/data.csv").write_text("1,2")
    (exchange.inbound / f"{ME}+one+{LATE}+random/cached.pyc").write_text("")
    exchange.collect()
    assert exchange.collected() == {
        f"{ME}/one/timestamp.txt": LATE,
        f"{ME}/one/one.ipynb": LATE,
        f"{ME}/one/below/data.csv": "1,2",
    }


def test_nothing_is_collected_through_a_link(
    exchange: Exchange, ours: bool, said: pytest.LogCaptureFixture
) -> None:
    made = exchange.submission(ME, EARLY)
    elsewhere = exchange.secret.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.txt").write_text("another's")
    (made / "one.ipynb").unlink()
    (made / "one.ipynb").symlink_to(exchange.secret)
    (made / "folder").symlink_to(elsewhere)
    exchange.collect()
    texts = {*exchange.collected().values()}
    if ours:
        assert texts == {EARLY} and "Not collected" in said.text
    else:  # from the wrong side
        assert texts == {EARLY, "the answer key", "another's"}


def test_a_link_in_a_submissions_place_is_none(exchange: Exchange, ours: bool) -> None:
    folder = exchange.secret.parent / "elsewhere"
    folder.mkdir()
    (folder / "one.ipynb").write_text("another's")
    (exchange.inbound / f"{ME}+one+{LATE}+random").symlink_to(folder)
    exchange.submission(ME, EARLY)
    exchange.collect()
    assert ("another's" not in exchange.collected().values()) == ours


def test_nobody_hands_in_for_another(
    exchange: Exchange, ours: bool, said: pytest.LogCaptureFixture
) -> None:
    """All of it is my own; so what names somebody else isn't theirs."""
    exchange.submission("ada", LATE)
    exchange.submission(ME, EARLY)
    exchange.collect()
    students = {path.split("/")[0] for path in exchange.collected()}
    assert students == ({ME} if ours else {ME, "ada"})
    assert f"it is {ME}'s" in said.text or not ours


@pytest.mark.parametrize("name", ["{me}+one+no time+x", "{me}+one+"])
def test_a_name_that_says_nothing_stops_nobody(
    tmp_path: Path, name: str, said: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(tmp_path, ours=True)
    exchange.submission(ME, EARLY)
    (exchange.inbound / name.format(me=ME)).mkdir()
    exchange.collect()
    assert "Not collected" in said.text
    assert {path.split("/")[0] for path in exchange.collected()} == {ME}


def test_a_pipe_is_not_waited_for(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(tmp_path, ours=True)
    os.mkfifo(exchange.submission(ME, EARLY) / "pipe")
    exchange.collect()
    assert "pipe: no file of the student's own" in said.text
    assert len(exchange.collected()) == 2


def test_what_is_too_large_stops_nobody(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(tmp_path, ours=True)
    exchange.config.CourseDirectory.max_dir_size = 1  # kB
    with open(exchange.submission(ME, EARLY) / "large", "wb") as file:
        file.truncate(1 << 40)  # takes no room
    exchange.collect()
    assert "larger than 1 kB" in said.text
    assert not exchange.collected()
