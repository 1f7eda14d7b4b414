"""A student's own stack: the package up to an assignment, as they handed its notebooks in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proctor.course.course import Assignment
from proctor.course.packages import module_name
from proctor.errors import Rejected
from proctor.notebook.cells import EXPORT, Notebook
from proctor.notebook.files import fetch
from proctor.notebook.template import Template

# Of a student's package, in order: a name, and its source; None for the reference's.
Modules = Sequence[tuple[str, str | None]]


def own_stack(assignment: Assignment, student: str) -> Modules:
    """The modules that come before an assignment: the student's, if there are any, as text.

    Nothing here parses them as Python: that, too, is done in the worker's jail.
    """
    return [
        (module_name(Path(f"{template.name}.ipynb")), _handed_in(earlier, template, student))
        for earlier in assignment.preceding
        for template in earlier.templates
    ]


def _handed_in(assignment: Assignment, template: Template, student: str) -> str | None:
    """What a student's notebook exports: the submitted one, else the one that was graded."""
    if not template.grade_cells:
        return None  # it is only given
    for step in ("submitted", "autograded"):
        folder = assignment.course.folder(step, student, assignment.name)
        try:
            data = fetch(folder / f"{template.name}.ipynb")
            return _exported(template.submission(data).notebook)
        except Rejected:
            continue
    return None


def _exported(notebook: Notebook) -> str:
    cells = notebook["cells"]
    return "\n\n\n".join(
        cell["source"]
        for cell in cells
        if cell["cell_type"] == "code" and EXPORT in cell["metadata"].get("tags", ())
    )
