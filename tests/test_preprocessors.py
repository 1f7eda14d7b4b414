"""proctor behind nbgrader: how long its warm processes stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from proctor import preprocessors
from proctor.course.course import Course
from tests import test_grading as mini
from tests.test_nothing_lost import wait_for


def test_warm_processes_end_when_nobody_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch keeps them, a server that lives for weeks does not."""
    assignment = Course.load(mini.make_course(tmp_path)).assignment(mini.NAME)
    with preprocessors._grader(assignment) as first:
        processes = [warm.process for warm in (first.supervisor.worker, first.supervisor.tester)]
    monkeypatch.setattr(preprocessors, "IDLE", 0.0)
    with preprocessors._grader(assignment) as again:
        assert again is first
        assert [process.poll() for process in processes] == [None, None]
    wait_for(lambda: all(process.poll() is not None for process in processes), "them to end")
    with preprocessors._grader(assignment) as another:
        assert another is not first
        assert another.tests == first.tests
