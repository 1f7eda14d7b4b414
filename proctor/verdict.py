"""What was decided of a submission."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

MAX_MESSAGE = 600  # characters of a message to a student

Status = Literal["graded", "rejected", "failed"]


@dataclass
class TestResult:
    """A visible check, a hidden test, or a written answer that waits for a human.

    `status` is passed, failed, or manual; `decided` says in whose process ("tester" or "student").
    """

    name: str
    notebook: str
    cell: str
    points: float
    max_points: float
    status: str
    message: str = ""
    misconception: str | None = None
    decided: str = "tester"
    detail: str = ""  # for the author of a suite only: never recorded

    __test__ = False  # for pytest: no test class


@dataclass
class NotebookVerdict:
    """A notebook's tests and its cells' outputs."""

    name: str
    tests: list[TestResult] = field(default_factory=list)
    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unsure: bool = False  # its worker was killed from outside
    events: list[dict[str, Any]] = field(default_factory=list)  # for a bench


@dataclass
class Result:
    """The result of a submission; `error` says why when it is not graded."""

    student: str
    status: Status
    isolation: str
    seconds: float = 0.0
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    total: float = 0.0  # what the assignment is worth
    unsure: bool = False  # killed from outside: the next run grades it again

    @property
    def score(self) -> float:
        return round(sum(test.points for test in self.tests), 4)

    @property
    def max_score(self) -> float:
        return self.total

    @property
    def needs_manual(self) -> bool:
        return any(test.status == "manual" for test in self.tests)

    def as_json(self) -> dict[str, Any]:
        """The result as `--format json` prints it."""
        tests = []
        for test in self.tests:
            row = asdict(test)
            del row["detail"]
            tests.append(row)
        return {
            "student": self.student,
            "status": self.status,
            "score": self.score,
            "max_score": self.max_score,
            "needs_manual": self.needs_manual,
            "isolation": self.isolation,
            "seconds": round(self.seconds, 4),
            "error": self.error,
            "notes": self.notes,
            "tests": tests,
        }


def printable(text: str) -> str:
    """A student's text without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
