"""Fixtures that tests of several files use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser import browser

__all__ = ["browser"]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since the last call."""

    def read() -> str:
        out, err = capsys.readouterr()
        return out + err

    return read
