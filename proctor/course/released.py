"""An assignment as nbgrader released it: locked cells, points and stubs as the gradebook has them.

For courses whose test cells run in the student's process, as nbgrader has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proctor.course.settings import delimiters, ignored, setting
from proctor.errors import CourseError, gradebook_explained
from proctor.notebook.cells import Cell, nbgrader
from proctor.notebook.template import GradeCell, InProcessTemplate, Stubs, Template, read


def templates(
    config: Any, db_url: str, course_id: str, assignment: str, paths: Iterable[Path]
) -> list[InProcessTemplate]:
    """An assignment's notebooks: as released, if the gradebook knows it, else those in source/."""
    missing = None
    if setting(config, "OverwriteCells", "add_missing_cells", False):
        missing = setting(
            config,
            "OverwriteCells",
            "missing_cell_notification",
            "This cell (id:{cell_id}) was missing from the submission. It was added back by "
            "nbgrader.\n\n",
        )
    released = _released(db_url, course_id, assignment)
    found = released if released is not None else [_read(path, config) for path in paths]
    for template in found:
        template.missing, template.hidden = missing, delimiters(config)
    return found


def _released(db_url: str, course_id: str, assignment: str) -> list[InProcessTemplate] | None:
    """What the gradebook has of an assignment; None if it knows none of that name."""
    from sqlalchemy.engine import make_url

    url = make_url(db_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    from nbgrader.api import Gradebook, MissingEntry

    with (
        gradebook_explained(db_url),
        Gradebook(db_url, course_id) as gradebook,
    ):
        try:
            found = gradebook.find_assignment(assignment)
        except MissingEntry:
            return None
        return [_of_gradebook(notebook) for notebook in found.notebooks] or None


def _of_gradebook(notebook: Any) -> InProcessTemplate:
    graded = {cell.name: float(cell.max_score or 0) for cell in notebook.grade_cells}
    tasks = {cell.name: float(cell.max_score or 0) for cell in notebook.task_cells}
    solutions = {cell.name for cell in notebook.solution_cells}
    cells: list[Cell] = []
    for source in notebook.source_cells:
        name = source.name
        meta = {
            "schema_version": 3,
            "grade_id": name,
            "grade": name in graded,
            "solution": name in solutions,
            "task": name in tasks,
            "locked": bool(source.locked),
            "checksum": source.checksum,
            "cell_type": source.cell_type,
        }
        if name in graded or name in tasks:
            meta["points"] = graded.get(name, tasks.get(name))
        cells.append(_cell(source.cell_type, source.source or "", meta, len(cells)))
    spec = json.loads(notebook.kernelspec or "null")
    return _template(str(notebook.name), cells, {"kernelspec": spec} if spec else {})


def _cell(kind: str, source: str, meta: dict[str, Any], number: int) -> Cell:
    metadata = {"nbgrader": meta}
    return {"cell_type": kind, "id": f"released-{number}", "metadata": metadata, "source": source}


def _read(path: Path, config: Any) -> InProcessTemplate:
    template = read(path, None, Stubs.of(config))
    cells: list[Cell] = []
    for cell in template.owned.values():
        meta = nbgrader(cell)
        if meta.get("grade") and re.search(r"^\s*#+\s*(HASHED )?AUTOTEST\b", cell["source"], re.M):
            raise CourseError(
                f"{path}: cell '{meta['grade_id']}' has tests that nbgrader makes at release: run "
                "`nbgrader generate_assignment` first."
            )
        source = template.stubs.get(meta["grade_id"], str(cell["source"]))
        cells.append(_cell(cell["cell_type"], source, meta, len(cells)))
    return _template(path.stem, cells, template.metadata)


def _template(name: str, cells: list[Cell], metadata: dict[str, Any]) -> InProcessTemplate:
    graded = {}
    stubs = {}
    for cell in cells:
        meta = nbgrader(cell)
        if meta.get("grade") or meta.get("task"):
            manual = bool(meta.get("solution") or meta.get("task") or cell["cell_type"] != "code")
            points = float(meta.get("points") or 0)
            graded[meta["grade_id"]] = GradeCell(meta["grade_id"], points, manual, cell["source"])
        if meta.get("solution"):
            stubs[meta["grade_id"]] = cell["source"]
    return InProcessTemplate(name, cells, metadata, graded, [], stubs)


def rules(config: Any, released: Iterable[Template], limits: tuple[float, float]) -> str:
    """What decides a score here, besides the files: for a fingerprint."""
    cells = [(t.name, t.cells, t.metadata, vars(t).get("missing")) for t in released]
    files = setting(config, "Autograde", "exclude_overwriting", {})
    return repr((cells, limits, ignored(config), files))
