"""The graded notebook, as instructors and feedback pages show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proctor.notebook import sanitise
from proctor.notebook.cells import Cell, Notebook, is_locked, judges, nbgrader, unique_ids
from proctor.notebook.outputs import attachments, beside, outputs
from proctor.notebook.template import Submission
from proctor.record.points import points
from proctor.verdict import NotebookVerdict, TestResult

MAX_MARKDOWN = 500_000  # characters in a notebook: a page takes seconds for each hundred thousand
NO_ROOM = "[proctor: there is more text in this notebook than can be shown.]"
NOTICE = "proctor-notice"  # in a cell's metadata, of which students have none of their own


def autograded(submission: Submission, verdict: NotebookVerdict, notice: str = "") -> Notebook:
    """The graded notebook: students' outputs made harmless, the points in each grade cell.

    nbgrader reads a grade cell's points from its `execute_result`, so only proctor writes one
    there. With a notice, it stands in the place of whatever students have written as text, or
    printed.
    """

    room = MAX_MARKDOWN

    def fits(text: str) -> bool:
        nonlocal room
        room -= len(text)
        return room >= 0

    def shown(cell: Cell) -> list[dict[str, Any]]:
        told = verdict.outputs.get(cell["id"])
        if told and notice:
            return [{"output_type": "stream", "name": "stdout", "text": notice}]
        found = outputs(told)
        for output in found:
            if "data" in output and not fits(output["data"].get("text/markdown", "")):
                output["data"].pop("text/markdown", None)  # its plain text stays
        return found

    tests: dict[str, list[TestResult]] = {}
    for test in verdict.tests:
        tests.setdefault(test.cell, []).append(test)
    notes = submission.notes + verdict.notes
    cells = []
    for count, cell in enumerate(submission.notebook["cells"], 1):
        meta = nbgrader(cell)
        cell = {**cell, "source": cell["source"]}
        if cell["cell_type"] == "raw":
            cell["cell_type"] = "markdown"
        if cell["cell_type"] == "markdown":
            if not is_locked(meta) and cell["id"] not in submission.given:
                text = notice or sanitise.markdown(cell["source"])
                cell["source"] = text if fits(text) else NO_ROOM
            if "attachments" in cell:
                cell["attachments"] = {} if notice else attachments(cell["attachments"])
        else:
            decided = tests.get(meta.get("grade_id", ""), [])
            if meta.get("grade") and not meta.get("solution"):
                cell["outputs"] = [
                    points(decided, count, verdict.syntax_errors, notes, judges(cell))
                ]
                notes = []  # once is enough
                if any(test.decided == "student" for test in decided):
                    cell["outputs"] += beside(shown(cell))
            else:
                cell["outputs"] = shown(cell)
            cell["execution_count"] = count
        cells.append(cell)
    notebook = {**submission.notebook, "cells": cells}
    code = [cell for cell in cells if cell["cell_type"] == "code" and not is_locked(nbgrader(cell))]
    if sanitise.is_heavy([cell["source"] for cell in code]):
        # the name of its lexer: of the ways to say it, the one that nbgrader keeps
        notebook["metadata"] = {**notebook["metadata"], "language_info": {"name": "text"}}
    return notebook


def with_notice(notebook: Notebook, text: str) -> Notebook:
    """The notebook with this sentence above it: formgrader and feedback show it."""
    source = f"**A later submission was rejected.** {sanitise.markdown(text)}"
    rest = [cell for cell in notebook["cells"] if not is_notice(cell)]
    notice = {"cell_type": "markdown", "id": NOTICE, "metadata": {NOTICE: True}, "source": source}
    unique_ids([notice, *rest])
    return {**notebook, "cells": [notice, *rest]}


def is_notice(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is such a sentence: not by its id, which students choose for their own."""
    return bool(cell["metadata"].get(NOTICE))


def as_text(notebook: Notebook) -> str:
    """A graded notebook as its file holds it."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True) + "\n"
