"""The same grading behind `nbgrader autograde`, and feedback without hidden tests.

nbgrader runs these as preprocessors (see `proctor.configure`). Warm processes are kept from one
notebook to the next.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from proctor.course.course import Assignment, Course
from proctor.course.settings import delimiters, mark_scheme
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import Notebook, is_locked, nbgrader, parse, visible
from proctor.notebook.files import SubmissionFiles, drop_linked, fetch
from proctor.notebook.template import Submission, Template
from proctor.record.cleaner import Cleaner
from proctor.verdict import one_line

Resources = dict[str, Any]
Node = Any  # nbformat's NotebookNode is untyped


IDLE = 60.0  # seconds after which warm processes that nobody has asked for are ended

_warm: dict[str, Grader] = {}  # the one that was used last, by what it grades
_clean = Cleaner()
_in_use = threading.RLock()  # for both
_idle: list[threading.Timer] = []


@contextlib.contextmanager
def _grader(assignment: Assignment) -> Iterator[Grader]:
    """The warm processes of an assignment. They stay for the next notebook, but not for long:
    formgrader's server lives for weeks.
    """
    key = repr((assignment.source, assignment.fingerprint, assignment.course.config))
    with _in_use:
        while _idle:
            _idle.pop().cancel()
        if key not in _warm:
            _cool_down()
            grader = Grader(assignment)
            grader.__enter__()
            _warm[key] = grader
        try:
            yield _warm[key]
        finally:
            timer = threading.Timer(IDLE, _cool_down)
            timer.daemon = True
            timer.start()
            _idle.append(timer)


@atexit.register
def _cool_down() -> None:
    with _in_use:
        while _warm:
            _warm.popitem()[1].close()
        _clean.close()


class _Preprocessor(NbGraderPreprocessor):  # type: ignore[misc]
    """What the preprocessors have in common: nbgrader works in the course's folder."""

    def assignment(self, resources: Resources) -> Assignment:
        """The assignment that nbgrader is at, as its own configuration has it."""
        course = Course(Path.cwd(), self.config)
        return Assignment(course, resources["nbgrader"]["assignment"])

    def place(self, resources: Resources) -> tuple[Assignment, Template, str]:
        """The assignment, the notebook's template and the student that nbgrader is at."""
        where = resources["nbgrader"]
        assignment = self.assignment(resources)
        for template in assignment.templates:
            if template.name == where["notebook"]:
                return assignment, template, where["student"]
        raise CourseError(
            f"{where['assignment']} has no notebook '{where['notebook']}' in {assignment.source}."
        )


class Restore(_Preprocessor):
    """Puts back what is not the student's: edited, missing or doubled cells of the instructor's.

    Takes away what nbgrader has copied through links into `autograded/`, from where it would go on
    into feedback.
    """

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        assignment, template, student = self.place(resources)
        folder, copied = (
            assignment.course.folder(step, student, assignment.name)
            for step in ("submitted", "autograded")
        )
        for name in drop_linked(copied, folder, assignment.files):
            self.log.warning("%s: %s is a link, and is left out", template.name, name)
        fetch(folder / f"{template.name}.ipynb")  # a notebook that is a link is nobody's own
        submission = template.submission(json.dumps(nb).encode())
        for note in submission.notes:
            self.log.warning("%s: %s", template.name, one_line(note))
        return _node(submission.notebook), resources


class Grade(_Preprocessor):
    """Decides a notebook as `proctor grade` does, and writes the points into its grade cells."""

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        assignment, template, student = self.place(resources)
        folder = assignment.course.folder("submitted", student, assignment.name)
        names = [each.name for each in assignment.templates]
        handed_in = SubmissionFiles.read(folder, names, assignment.files)
        for note in handed_in.notes:
            self.log.warning("%s: %s", student, note)
        if template.in_process:
            data = json.dumps(nb).encode()  # restored, and cells put back by OverwriteCells
            submission = Submission(parse(data), [])
        else:
            data = handed_in.notebook(template.name)
            submission = template.submission(data)
        key = hashlib.sha256(data).hexdigest() + assignment.fingerprint
        files = {**handed_in.files, **assignment.files}
        with _grader(assignment) as grader:
            verdict = grader.grade_notebook(template, submission, key, files, 0)
            graded = json.loads(_clean(submission, verdict))
        # nbgrader's own metadata, checksums included, is in the notebook that it hands us
        theirs = {nbgrader(cell).get("grade_id"): cell["metadata"] for cell in nb.cells}
        for cell in graded["cells"]:
            name = nbgrader(cell).get("grade_id")
            if name in theirs:
                cell["metadata"] = copy.deepcopy(theirs[name])
        return _node(graded), resources


class HideTests(_Preprocessor):
    """Leaves regions of hidden tests out of feedback, and what such a cell put out; the mark scheme
    of a question, too. nbgrader shows that of a task, and so it stays there.
    """

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        begin, end = delimiters(self.config)
        scheme = mark_scheme(self.config)
        for cell in nb.cells:
            if not is_locked(nbgrader(cell)):
                continue
            if cell.cell_type == "markdown" and not nbgrader(cell).get("task"):
                cell.source = visible(cell.source, *scheme)
            if begin in cell.source:
                cell.source = visible(cell.source, begin, end)
                if cell.cell_type == "code":
                    ours = [each for each in cell.outputs if each.output_type == "execute_result"]
                    cell.outputs = ours[:1]
        return nb, resources


class Standing(_Preprocessor):
    """Adds what the gradebook knows of a grade cell and nbgrader's GetGrades leaves out: whether it
    waits for a person, what a person has set, and extra credit.
    """

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        where = resources["nbgrader"]
        with Gradebook(where["db_url"]) as book:
            handed_in = book.find_submission_notebook(
                where["notebook"], where["assignment"], where["student"]
            )
            grades = {grade.name: grade for grade in handed_in.grades}
            for cell in nb.cells:
                meta = nbgrader(cell)
                if grade := grades.get(meta.get("grade_id")):
                    meta["needs_manual_grade"] = grade.needs_manual_grade
                    meta["manual_score"] = grade.manual_score
                    meta["extra_credit"] = grade.extra_credit
        return nb, resources


def _node(notebook: Notebook) -> Node:
    """A notebook as nbformat has it: valid, with outputs in code cells, even if none."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)
    return nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
