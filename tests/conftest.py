"""Fixtures that tests of several files use."""

from tests.browser import browser

__all__ = ["browser"]
