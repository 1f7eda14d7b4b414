"""What the two runs of one's own notebook without a jail have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from proctor.course.course import Assignment
from proctor.grade.runs import Run, Watch


class Alone:
    """A Runner for one notebook at a time, with no jail and nothing kept ready for the next."""

    isolation, levels = "none", ["none"]
    warning: str  # what its caller says once

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.watch: Watch = lambda event: None

    def start(self) -> None:
        """Nothing is started ahead."""

    def close(self) -> None:
        """Nothing is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inventory(self) -> list[Any]:
        """Students have no hidden tests."""
        return []

    def run(self, job: dict[str, Any], files: Mapping[str, bytes], slot: int = 0) -> Run:
        """Run a notebook's cells and checks, in a folder of its own with these files. Raises
        Rejected where they are too large.
        """
        raise NotImplementedError
