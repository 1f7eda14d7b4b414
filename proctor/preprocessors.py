"""The same grading behind `nbgrader autograde` and `nbgrader generate_assignment`.

nbgrader runs these as preprocessors (see `proctor.configure`). Warm processes are kept for as long
as the nbgrader command runs.
"""

from __future__ import annotations

import atexit
import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.preprocessors import NbGraderPreprocessor

from proctor import ingest
from proctor.course import Assignment, Course
from proctor.errors import CourseError
from proctor.record import autograded
from proctor.supervisor import Supervisor

Resources = dict[str, Any]
Node = Any  # nbformat's NotebookNode is untyped


@functools.cache
def _course(root: Path) -> Course:
    return Course.load(root)


@functools.cache
def _supervisor(assignment: Assignment) -> Supervisor:
    supervisor = Supervisor(assignment)
    supervisor.__enter__()
    atexit.register(supervisor.close)
    return supervisor


@functools.cache
def _assignment(root: Path, name: str) -> Assignment:
    return _course(root).assignment(name)


class _Preprocessor(NbGraderPreprocessor):  # type: ignore[misc]
    """What the three have in common: nbgrader works in the course's folder."""

    def place(self, resources: Resources) -> tuple[Assignment, ingest.Template, str]:
        """The assignment, the notebook's template and the student that nbgrader is at."""
        where = resources["nbgrader"]
        assignment = _assignment(Path.cwd(), where["assignment"])
        for template in assignment.templates:
            if template.name == where["notebook"]:
                return assignment, template, where["student"]
        raise CourseError(
            f"{where['assignment']} has no notebook '{where['notebook']}' in {assignment.source}."
        )


class Restore(_Preprocessor):
    """Puts back what is not the student's: edited, missing or doubled cells of the instructor's."""

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        _, template, _ = self.place(resources)
        submission = ingest.ingest(json.dumps(nb).encode(), template)
        for note in submission.notes:
            self.log.warning("%s: %s", template.name, note)
        return _node(submission.notebook), resources


class Grade(_Preprocessor):
    """Decides a notebook as `proctor grade` does, and writes the points into its grade cells."""

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        assignment, template, student = self.place(resources)
        folder = assignment.course.folder("submitted", student, assignment.name)
        data = ingest.fetch(folder / f"{template.name}.ipynb")
        key = hashlib.sha256(data).hexdigest() + assignment.fingerprint
        submission = ingest.ingest(data, template)
        files = ingest.supporting_files(folder, assignment.files)
        verdict = _supervisor(assignment).grade_notebook(template, submission, key, files, 0)
        graded = autograded(submission, verdict)
        # nbgrader's own metadata, checksums included, is in the notebook that it hands us
        theirs = {ingest.nbgrader(cell).get("grade_id"): cell["metadata"] for cell in nb.cells}
        for cell in graded["cells"]:
            name = ingest.nbgrader(cell).get("grade_id")
            if name in theirs:
                cell["metadata"] = copy.deepcopy(theirs[name])
        return _node(graded), resources


class CheckSuite(_Preprocessor):
    """Checks an assignment before it is released: its suite against its grade cells, its visible
    checks against the instructor's solution and against a blank."""

    def preprocess(self, nb: Node, resources: Resources) -> tuple[Node, Resources]:
        from proctor.release import check_template

        assignment, template, _ = self.place(resources)
        check_template(_supervisor(assignment), template)
        return nb, resources


def _node(notebook: ingest.Notebook) -> Node:
    """A notebook as nbformat has it: valid, with outputs in code cells, even if none."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)
    return nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
