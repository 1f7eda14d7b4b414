"""Writes what was decided where instructors look: the autograded notebook and nbgrader's
gradebook.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor import sanitise
from proctor.course import Assignment
from proctor.errors import CourseError
from proctor.ingest import Notebook, Submission, nbgrader
from proctor.supervisor import Graded
from proctor.verdict import NotebookVerdict, Result, TestResult

if TYPE_CHECKING:
    from nbgrader.api import Gradebook


def number(value: float) -> str:
    """Points as people write them: 7.5, 12."""
    return f"{round(value, 4):g}"


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
            if not meta or meta.get("solution"):
                cell["source"] = sanitise.markdown(cell["source"])
            if "attachments" in cell:
                cell["attachments"] = sanitise.attachments(cell["attachments"])
        else:
            decided = tests.get(meta.get("grade_id", ""), [])
            if meta.get("grade") and not meta.get("solution"):
                cell["outputs"] = [_points(decided, count)]
            else:
                cell["outputs"] = sanitise.outputs(verdict.outputs.get(cell["id"]))
            cell["execution_count"] = count
        cells.append(cell)
    return {**submission.notebook, "cells": cells}


def _points(tests: list[TestResult], count: int) -> dict[str, Any]:
    points = number(sum(test.points for test in tests))
    rows = "".join(
        f"<tr><td>{'passed' if test.status == 'passed' else 'failed'}</td>"
        f"<td>{number(test.points)} of {number(test.max_points)}</td>"
        f"<td>{html.escape(test.message)}</td></tr>"
        for test in tests
    )
    table = f"<table><tr><th>test</th><th>points</th><th></th></tr>{rows}</table>"
    return {
        "output_type": "execute_result",
        "execution_count": count,
        "metadata": {},
        "data": {"text/plain": points, "text/html": table},
    }


class Recorder:
    """Records results of one assignment, through nbgrader's own API: `with Recorder(assignment)
    as it:`.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment, self.course = assignment, assignment.course

    def __enter__(self) -> Recorder:
        from nbgrader.api import Gradebook, MissingEntry

        with _alembic():
            self.gradebook: Gradebook = Gradebook(self.course.db_url, self.course.course_id)
        try:
            self.gradebook.find_assignment(self.assignment.name)
        except MissingEntry:
            self.gradebook.close()
            raise CourseError(
                f"The gradebook knows no assignment '{self.assignment.name}': run "
                f"`nbgrader generate_assignment {self.assignment.name}` first, or grade with "
                "--no-record."
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self.gradebook.close()

    def record(self, graded: Graded) -> None:
        """Write autograded/STUDENT/ASSIGNMENT and the gradebook's entries of one graded
        submission.
        """
        if graded.result.status != "graded":
            return
        student = graded.result.student
        submitted = self.course.folder("submitted", student, self.assignment.name)
        notebooks = {name: autograded(*pair) for name, pair in graded.notebooks.items()}
        self._write(student, submitted, notebooks)
        self.gradebook.update_or_create_student(student)
        known = self._timestamp(submitted)
        entry = self.gradebook.update_or_create_submission(self.assignment.name, student, **known)
        scores = scores_by_cell(graded.result)
        for notebook in entry.notebooks:
            for grade in notebook.grades:
                auto = scores.get((notebook.name, grade.name), 0.0)
                grade.auto_score = auto
                grade.needs_manual_grade = auto is None or grade.manual_score is not None
            released = {cell.name: cell.source for cell in notebook.notebook.source_cells}
            written = {
                nbgrader(cell).get("grade_id"): cell["source"]
                for cell in (
                    graded.notebooks[notebook.name][0].notebook["cells"]
                    if notebook.name in notebooks
                    else []
                )
            }
            for comment in notebook.comments:
                unchanged = written.get(comment.name, released.get(comment.name)) == released.get(
                    comment.name
                )
                comment.auto_comment = "No response." if unchanged else None
        self.gradebook.db.commit()

    def _timestamp(self, submitted: Path) -> dict[str, str]:
        try:
            text = (submitted / "timestamp.txt").read_text().strip()
        except (OSError, UnicodeDecodeError):
            return {}
        return {"timestamp": text} if text else {}

    def _write(self, student: str, submitted: Path, notebooks: Mapping[str, Notebook]) -> None:
        """Write the folder whole: beside its place first, then moved there."""
        target = self.course.folder("autograded", student, self.assignment.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for path in _other_files(submitted):
                copy = fresh / path.relative_to(submitted)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            for name, data in self.assignment.files.items():
                copy = fresh / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(data)
            for name, notebook in notebooks.items():
                text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
                (fresh / f"{name}.ipynb").write_text(text + "\n", encoding="utf-8")
            for path in fresh.rglob("*"):
                if path.is_file():
                    path.chmod(0o444)
            fresh.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def scores_by_cell(result: Result) -> dict[tuple[str, str], float | None]:
    """Points per (notebook, grade cell); None where a human has to grade."""
    scores: dict[tuple[str, str], float | None] = {}
    for test in result.tests:
        place = test.notebook, test.cell
        so_far = scores.get(place, 0.0)
        scores[place] = (
            None if test.status == "manual" or so_far is None else round(so_far + test.points, 4)
        )
    return scores


def _other_files(folder: Path) -> Iterable[Path]:
    return [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and p.suffix != ".ipynb"
    ]


@contextlib.contextmanager
def _alembic() -> Iterator[None]:
    """nbgrader calls the program `alembic`: the environment's programs must be on PATH."""
    import sys

    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before
