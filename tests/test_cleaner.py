"""Notebooks are made harmless by a process of its own, which may be ended at any time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from proctor.notebook.cells import parse
from proctor.notebook.template import Submission
from proctor.record import cleaner
from proctor.record.autograded import as_text, autograded
from proctor.record.cleaner import NOTICE, Cleaner
from proctor.verdict import NotebookVerdict, TestResult
from tests.attacks import corpus


def graded(text: str) -> tuple[Submission, NotebookVerdict]:
    """A solved notebook whose student has written and printed this."""
    notebook = parse(json.dumps(corpus.solved(text)).encode())
    tests = [TestResult("t", "mini", "check_double", 10, 10, "passed")]
    outputs = {
        "double": [{"output_type": "stream", "name": "stdout", "text": text}],
        "line": [{"output_type": "display_data", "data": {"text/html": "<p><b onclick=x>"}}],
    }
    tests.append(TestResult("s", "mini", "check_double", 0, 1, "failed"))
    verdict = NotebookVerdict("mini", tests, outputs)
    verdict.syntax_errors = ["cell 'line', line 3: '(' was never closed"]
    return Submission(notebook, [], frozenset({"intro"})), verdict


@pytest.fixture(scope="module")
def clean() -> Iterator[Cleaner]:
    with Cleaner() as made:
        yield made


def cells(text: str) -> dict[str, Any]:
    return {cell["id"]: cell for cell in json.loads(text)["cells"]}


@pytest.mark.parametrize("text", ["Because.", "<script>\ud800 \u20ac", "x" * 300_000])
def test_it_writes_what_is_written_beside_it(clean: Cleaner, text: str) -> None:
    pair = graded(text)
    assert clean(*pair) == as_text(autograded(*pair))
    assert "was never closed" in clean(*pair)
    [shown] = cells(clean(*pair))["line"]["outputs"]
    assert "<b></b>" in shown["data"]["text/html"]


def test_what_takes_too_long_is_replaced_by_a_notice_and_the_points_stand() -> None:
    submission, verdict = graded("x" * 50_000)
    much = {"output_type": "display_data", "data": {"text/html": "<i>x</i>" * 20_000}}
    verdict.outputs["double"] = [much] * 200
    with Cleaner(seconds=0.01) as impatient:
        found = cells(impatient(submission, verdict))
        assert found["question"]["source"] == NOTICE
        [shown] = found["double"]["outputs"]
        assert shown == {"output_type": "stream", "name": "stdout", "text": NOTICE}
        assert found["check_double"]["outputs"][0]["data"]["text/plain"] == "10"
        assert found["intro"]["source"] == "# A line and its steps"  # the instructor's
        assert "def double" in found["double"]["source"]
        assert impatient.process is None  # ended by the kernel
        assert "Because" in impatient(*graded("Because."))  # the next one is not touched by it


def test_who_is_killed_is_started_again(clean: Cleaner) -> None:
    pair = graded("Because.")
    clean(*pair)
    assert clean.process is not None
    os.kill(clean.process.pid, signal.SIGKILL)
    clean.process.wait()
    assert clean(*pair) == as_text(autograded(*pair))
    assert "was never closed" in clean(*pair)


def test_who_cannot_be_started_again_and_again_leaves_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleaner.sys, "executable", "/bin/false")
    with Cleaner() as broken:
        assert cells(broken(*graded("Because.")))["question"]["source"] == NOTICE


def test_nothing_is_left_behind() -> None:
    with Cleaner() as made:
        made(*graded("Because."))
        assert made.process is not None
        pid = made.process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_when_nobody_asks_any_more() -> None:
    made = Cleaner()
    made(*graded("Because."))
    assert made.process is not None
    made.channel.close()
    assert made.process.wait() == 0
