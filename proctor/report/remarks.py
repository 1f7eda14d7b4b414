"""What is worth a word: of one submission, and of a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from proctor.verdict import Result, one_line

NEEDS_MANUAL = "needs manual grading"  # as formgrader has it


def misconceptions(results: Sequence[Result]) -> Counter[str]:
    """How many students showed each misconception."""
    return Counter(
        name
        for result in results
        for name in {test.misconception for test in result.tests if test.misconception}
    )


def state(result: Result) -> str:
    """A submission's status, as people read it."""
    return NEEDS_MANUAL if result.status == "graded" and result.needs_manual else result.status


def remark(result: Result) -> str:
    """What to say of a submission in one line."""
    if result.error:
        return one_line(result.error)
    shown = sorted({test.misconception for test in result.tests if test.misconception})
    parts = result.syntax_errors[:1] + ([", ".join(shown)] if shown else [])
    if result.notes:
        more = f" (and {len(result.notes) - 1} more)" if len(result.notes) > 1 else ""
        parts.append(result.notes[0] + more)
    return one_line("; ".join(parts))


def in_students_process(results: Sequence[Result]) -> str:
    """A sentence on points that were decided where the student's code runs; "" if none were."""
    tests = [test for result in results for test in result.tests]
    theirs = sum(test.decided == "student" for test in tests)
    if not theirs:
        return ""
    return (
        f"{theirs} of {len(tests)} results were decided in the students' own processes, as "
        "nbgrader does: they are claims (docs/any-course.md)."
    )
