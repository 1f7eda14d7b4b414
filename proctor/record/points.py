"""What proctor writes into a grade cell: the points that nbgrader reads, a table that formgrader
shows, and what the page of feedback is made of.

nbgrader keeps nothing else of a graded notebook. A student cannot write such an output: of theirs,
only text, pictures and harmless HTML are kept (`proctor.notebook.outputs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proctor.notebook import sanitise
from proctor.verdict import TestResult, label, number, outcome, total

RESULTS = "application/vnd.proctor.results+json"  # never shown as it is

DECIDED = (
    "Decided in the student's process, as nbgrader does: a claim that proctor cannot vouch for."
)

# Beside the word, never in place of it. Both colours can be read on white and on black.
SIGNS = {
    "passed": ("\u2713", "#1a7f37"),
    "failed": ("\u2717", "#cf222e"),
    "not reached": ("\u2192", "#8a6500"),
    "waits": ("\u2026", "#57606a"),
}

_CELL = "padding: 6px 12px; text-align: left; vertical-align: top; border-bottom: 1px solid #d0d7de"


def points(
    tests: Sequence[TestResult],
    count: int,
    syntax_errors: Sequence[str] = (),
    notes: Sequence[str] = (),
    judges: str = "",
) -> dict[str, Any]:
    """The output of a grade cell that decides. Syntax errors and notes are the notebook's; `judges`
    names an answer.
    """
    table = _table(tests)
    if syntax_errors and any(test.status == "failed" for test in tests):
        table = f"<p>Not valid Python: {sanitise.escaped('; '.join(syntax_errors))}</p>{table}"
    if any(test.decided == "student" for test in tests):
        table += f"<p>{DECIDED}</p>"
    results = {
        "tests": [*map(_kept, tests)],
        "syntax_errors": [*map(sanitise.text_of, syntax_errors)],
        "notes": [*map(sanitise.text_of, notes)],
        "judges": judges,
    }
    return {
        "output_type": "execute_result",
        "execution_count": count,
        "metadata": {},
        "data": {
            # all digits: it is what nbgrader reads
            "text/plain": repr(total(tests)).removesuffix(".0"),
            "text/html": table,
            RESULTS: results,
        },
    }


def results(outputs: Any) -> dict[str, Any] | None:
    """What `points` has put into the first output of a grade cell; None if it did not write it."""
    try:
        [first, *_] = outputs
        if first["output_type"] != "execute_result":
            return None
        found = first["data"][RESULTS]
        tests = [
            TestResult(**{"points": 0.0, "max_points": 0.0, **kept}) for kept in found["tests"]
        ]
        return {
            "tests": tests,
            "syntax_errors": [*map(str, found["syntax_errors"])],
            "notes": [*map(str, found["notes"])],
            "judges": str(found["judges"]),
        }
    except (TypeError, ValueError, KeyError):
        return None


def _kept(test: TestResult) -> dict[str, Any]:
    kept = {
        name: sanitise.text_of(value) if isinstance(value, str) else value
        for name, value in vars(test).items()
        if name != "detail"  # for the suite's author only
    }
    return {name: value for name, value in kept.items() if value or name == "reached"}


def _table(tests: Sequence[TestResult]) -> str:
    head = "".join(
        f'<th scope="col" style="{_CELL}">{h}</th>' for h in ("result", "test", "points")
    )
    rows = "".join(map(_row, tests))
    return (
        '<table style="border-collapse: collapse; width: 100%; margin: 0 0 16px">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(test: TestResult) -> str:
    word = outcome(test)
    sign, colour = SIGNS[word]
    told = f"<strong>{sanitise.escaped(label(test))}</strong>"
    if test.title:
        told += f"<br><code>{sanitise.escaped(test.name)}</code>"
    if test.message:
        said = sanitise.escaped(without_title(test))
        told += f'<div style="white-space: pre-wrap">{said}</div>'
    if test.misconception:
        told += f"<em>Misconception: {sanitise.escaped(test.misconception)}</em>"
    return (
        f'<tr><td style="{_CELL}; white-space: nowrap; color: {colour}">'
        f'<span aria-hidden="true">{sign}</span> {word}</td>'
        f'<td style="{_CELL}; width: 100%">{told}</td>'
        f'<td style="{_CELL}; white-space: nowrap">'
        f"{number(test.points)} of {number(test.max_points)}</td></tr>"
    )


def without_title(test: TestResult) -> str:
    """A test's message where its title stands beside it."""
    return test.message.replace(test.title, "", 1).strip() if test.title else test.message
