"""The graded notebook, as instructors and feedback pages show it."""

from __future__ import annotations

from typing import Any

from proctor.notebook import sanitise
from proctor.notebook.cells import Notebook, is_locked, nbgrader
from proctor.notebook.outputs import attachments, beside, outputs
from proctor.notebook.template import Submission
from proctor.verdict import NotebookVerdict, TestResult, number, total

DECIDED = (
    "Decided in the student's process, as nbgrader does: a claim that proctor cannot vouch for."
)


def autograded(submission: Submission, verdict: NotebookVerdict) -> Notebook:
    """The graded notebook: students' outputs made harmless, the points in each grade cell.

    nbgrader reads a grade cell's points from its `execute_result`, so only proctor writes one
    there.
    """
    tests: dict[str, list[TestResult]] = {}
    for test in verdict.tests:
        tests.setdefault(test.cell, []).append(test)
    cells = []
    for count, cell in enumerate(submission.notebook["cells"], 1):
        meta = nbgrader(cell)
        cell = {**cell, "source": cell["source"]}
        if cell["cell_type"] == "raw":
            cell["cell_type"] = "markdown"
        if cell["cell_type"] == "markdown":
            if not is_locked(meta) and cell["id"] not in submission.given:
                cell["source"] = sanitise.markdown(cell["source"])
            if "attachments" in cell:
                cell["attachments"] = attachments(cell["attachments"])
        else:
            decided = tests.get(meta.get("grade_id", ""), [])
            if meta.get("grade") and not meta.get("solution"):
                cell["outputs"] = [_points(decided, count, verdict.syntax_errors)]
                if any(test.decided == "student" for test in decided):
                    own = outputs(verdict.outputs.get(cell["id"]))
                    cell["outputs"] += beside(own)
            else:
                cell["outputs"] = outputs(verdict.outputs.get(cell["id"]))
            cell["execution_count"] = count
        cells.append(cell)
    return {**submission.notebook, "cells": cells}


def _points(tests: list[TestResult], count: int, syntax_errors: list[str]) -> dict[str, Any]:
    # all digits: it is what nbgrader reads
    points = repr(total(tests)).removesuffix(".0")
    rows = "".join(
        f"<tr><td>{'passed' if test.status == 'passed' else 'failed'}</td>"
        f"<td>{number(test.points)} of {number(test.max_points)}</td>"
        f"<td>{sanitise.escaped(test.message)}</td></tr>"
        for test in tests
    )
    table = f"<table cellpadding='6'><tr><th>test</th><th>points</th><th></th></tr>{rows}</table>"
    if syntax_errors and any(test.status == "failed" for test in tests):
        table = f"<p>Not valid Python: {sanitise.escaped('; '.join(syntax_errors))}</p>{table}"
    if any(test.decided == "student" for test in tests):
        table += f"<p>{DECIDED}</p>"
    return {
        "output_type": "execute_result",
        "execution_count": count,
        "metadata": {},
        "data": {"text/plain": points, "text/html": table},
    }
