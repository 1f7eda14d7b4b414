"""What was decided of a submission."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from proctor.notebook.files import SubmissionFiles
    from proctor.notebook.template import Submission

MAX_MESSAGE = 600  # characters of a message to a student

Status = Literal["graded", "rejected", "error"]


@dataclass
class TestResult:
    """A visible check, a hidden test, or a written answer that waits for a human.

    `status` is passed, failed, or manual; `decided` says in whose process ("tester" or "student").
    `title` is the property that a hidden test states. One that is not `reached` was never tried:
    it counts as failed, and the message says why.
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
    title: str = ""
    reached: bool = True
    detail: str = ""  # for the author of a suite only: never recorded

    __test__ = False  # for pytest: no test class


@dataclass
class NotebookVerdict:
    """A notebook's tests and its cells' outputs."""

    name: str
    tests: list[TestResult] = field(default_factory=list)
    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    syntax_errors: list[str] = field(default_factory=list)
    unsure: bool = False  # its worker was killed from outside
    stack: dict[str, str] = field(default_factory=dict)  # as in Result


@dataclass
class Result:
    """The result of a submission; `error` says why when it is not graded."""

    student: str
    status: Status
    isolation: str
    seconds: float = 0.0
    error: str | None = None
    syntax_errors: list[str] = field(default_factory=list)  # cell, line and what is wrong
    notes: list[str] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    total: float = 0.0  # what the assignment is worth
    unsure: bool = False  # killed from outside: the next run grades it again
    # Graded on an own stack: of each earlier module whether it is the student's or the reference's.
    stack: dict[str, str] = field(default_factory=dict)
    earlier: bool = False  # rejected, and its tests are those of the submission before

    @property
    def has_score(self) -> bool:
        """Whether there is a score that counts: its own, or an earlier submission's."""
        return self.status == "graded" or self.earlier

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
            "earlier": self.earlier,
            "score": self.score,
            "max_score": self.max_score,
            "needs_manual": self.needs_manual,
            "isolation": self.isolation,
            "seconds": round(self.seconds, 4),
            "error": self.error,
            "syntax_errors": self.syntax_errors,
            "notes": self.notes,
            "stack": self.stack,
            "tests": tests,
        }


def total(tests: Sequence[TestResult]) -> float:
    """The points of a grade cell's tests; parts of it may be thirds."""
    points = sum(test.points for test in tests)
    return points if len(tests) == 1 else round(points, 4)


def outcome(test: TestResult) -> str:
    """How a test ended, as people read it: passed, failed, not reached, or waits (for a person)."""
    if test.status == "manual":
        return "waits"
    return test.status if test.status == "passed" or test.reached else "not reached"


def label(test: TestResult) -> str:
    """A test by the property that it states, and which of several cases it is; else by name."""
    case = re.search(r"\[(.+)\]$", test.name)
    if not test.title or case is None or test.title.endswith(case[0]):
        return test.title or test.name
    return f"{test.title.rstrip('.')} ({case[1]})"


def number(value: float) -> str:
    """Points as people write them: 7.5, 12."""
    return f"{round(value, 4):g}"


@dataclass(frozen=True)
class Graded:
    """A submission's result, its graded notebooks by name, and the files that were graded."""

    result: Result
    notebooks: dict[str, tuple[Submission, NotebookVerdict]]
    files: SubmissionFiles
    modules: Sequence[tuple[str, str | None]] = ()  # of the student's own stack


@dataclass(frozen=True)
class Change:
    """How a student's score moved when a submission was graded again."""

    student: str
    before: float
    after: float
    moved: tuple[str, ...]  # tests that were passed and are not, or the other way round; new, gone


def change(before: Result, after: Result) -> Change | None:
    """How a score moved; None if nothing did."""
    old = {(test.notebook, test.name): test.status for test in before.tests}
    new = {(test.notebook, test.name): test.status for test in after.tests}
    moved = [f"{name} (gone)" for place, name in old if (place, name) not in new]
    moved += [f"{name} (new)" for place, name in new if (place, name) not in old]
    moved += [
        name for (place, name), status in old.items() if new.get((place, name), status) != status
    ]
    if before.score == after.score and not moved:
        return None
    return Change(after.student, before.score, after.score, tuple(moved))


@dataclass(frozen=True)
class Word:
    """The first output of a test cell that decides: `kind` is error, value, or none."""

    kind: str
    text: str = ""


def first_word(outputs: Any, ran: bool, ignored: str | None = None) -> Word:
    """What decides, in the order in which it was put out. `ignored` is IgnorePattern's pattern."""
    for output in outputs if isinstance(outputs, list) else []:
        kind = output.get("output_type") if isinstance(output, dict) else None
        if kind == "error":
            name, value = str(output.get("ename"))[:100], str(output.get("evalue"))[:400]
            return Word("error", f"{name}: {value}" if value else name)
        if kind == "stream" and output.get("name") == "stderr":
            if ignored and re.search(ignored, str(output.get("text"))):
                continue
            return Word("error", f"It wrote to stderr: {str(output.get('text'))[:400]}")
        if kind == "execute_result":
            data = output.get("data")
            text = data.get("text/plain", "") if isinstance(data, dict) else ""
            return Word("value", str(text)[:1000])
    return Word("none") if ran else Word("error", "It ended with an error that it did not show.")


def syntax_error(cell: str, outputs: Any) -> str:
    """Where and why a cell does not compile, as IPython has put it out; "" if it does.

    An error of a text that the cell compiles, as `eval` does, has the name of no cell.
    """
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict) and output.get("ename") in _SYNTAX_ERRORS:
            found = _OF_A_CELL.fullmatch(str(output.get("evalue")))
            if found:
                return f"cell '{cell}', line {found[2]}: {found[1][:200]}"
    return ""


_SYNTAX_ERRORS = ("SyntaxError", "IndentationError", "TabError")
_OF_A_CELL = re.compile(r"(.+) \(<ipython-input-[^()]{1,40}>, line (\d{1,9})\)")


# What `str.isprintable` lets through although it takes no room: it could tell two names apart that
# look the same. The rest of what Unicode calls ignorable is not printable anyway.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# What the log of a CI obeys: GitHub's `::error::` where a line or a word begins, and `##[error]`,
# Azure's `##vso[` and TeamCity's `##teamcity[` anywhere.
_COMMAND = re.compile(r"(?<!\S):(?=:[A-Za-z])|#(?=#\w*\[)")


def printable(text: str) -> str:
    """A student's text without what a terminal or the log of a CI would obey: controls, directions
    of writing, what takes no room, lone surrogates, commands. Lines and tabs stay.
    """
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return _COMMAND.sub("\\g<0>\ufffd", _INVISIBLE.sub("\ufffd", shown))


def one_line(text: str) -> str:
    """The same, where only a line has room."""
    return " ".join(printable(text).split())
