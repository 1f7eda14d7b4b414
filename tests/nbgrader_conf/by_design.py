"""A pytest plugin for `make test-nbgrader`: the tests of nbgrader's that cannot hold, and why."""

from __future__ import annotations

import pytest

BY_DESIGN = {
    "test_side_effects": "what a student's code writes stays in the jail: autograded/ does not "
    "get it",
    "test_no_execute": "proctor always executes: outputs that a student submitted give no points",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := BY_DESIGN.get(item.name):
            item.add_marker(pytest.mark.skip(reason=reason))
