"""What proctor raises. A message says what is wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = ["CourseError", "ProctorError"]


class ProctorError(Exception):
    """Something proctor can explain in a sentence; the command prints it without a traceback."""


class CourseError(ProctorError):
    """The course's own files disagree or are incomplete; its author can mend them."""
