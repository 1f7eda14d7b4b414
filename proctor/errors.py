"""What proctor raises. A message says what is wrong, where, and what to do about it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


class ProctorError(Exception):
    """Something proctor can explain in a sentence; the command prints it without a traceback."""


class Rejected(ProctorError):
    """A submission that cannot be graded; the message says why, in a sentence for its student."""


class CourseError(ProctorError):
    """The course's own files disagree or are incomplete; its author can mend them."""


@contextlib.contextmanager
def gradebook_explained(url: str) -> Iterator[None]:
    """Say in a sentence what keeps the gradebook from being read or written."""
    from sqlalchemy.exc import SAWarning, SQLAlchemyError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)
            yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
        if "locked" in reason:
            reason = "another program is writing it; try again when that has ended"
        raise ProctorError(
            f"The gradebook {url} cannot be used: {reason}. Results so far are kept, and are "
            "recorded when you run the command again."
        ) from None
