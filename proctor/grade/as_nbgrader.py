"""Grades as plain nbgrader does: test cells run in the student's process, which decides.

For a course that was made without proctor. The worker is jailed as ever, but it runs the tests too,
so these points are claims: each such result says `decided: student`. What is nbgrader's is taken
from where nbgrader takes it: locked cells, points and stubs from the gradebook, the score of a test
cell from its outputs.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor.errors import CourseError, gradebook_explained
from proctor.notebook import template as ingest
from proctor.notebook.template import (
    Cell,
    GradeCell,
    Notebook,
    Rejected,
    Submission,
    Template,
    nbgrader,
)
from proctor.verdict import TestResult

if TYPE_CHECKING:
    from proctor.course.course import Course

CELL_SECONDS = 30.0  # nbgrader's own limit for a cell, if the course sets none
UNLIMITED = 600.0  # what a notebook may take where nbgrader sets no limit
SKIP = "skip-execution"  # the tag by which Jupyter leaves a cell out
DECIDED = (
    "Decided in the student's process, as nbgrader does: a claim that proctor cannot vouch for."
)

Outputs = list[dict[str, Any]]


def setting(config: Any, sections: str, name: str, default: Any) -> Any:
    """A setting of nbgrader's, from the first of these sections that has it.

    One given on a command line is text still.
    """
    for section in sections.split():
        if name in config[section]:
            value = config[section][name]
            if isinstance(value, str):
                with contextlib.suppress(ValueError, SyntaxError):
                    return ast.literal_eval(str(value))
            return value
    return default


def seconds(config: Any, cell: float, notebook: float) -> tuple[float, float]:
    """How long a cell may run, and a notebook in all: proctor's limits where the course has set
    them, else nbgrader's, which has none for a notebook.
    """
    limit: float | None = CELL_SECONDS
    limit = setting(config, "Execute ExecutePreprocessor NotebookClient", "timeout", limit)
    limit = cell if "cell_seconds" in config.Proctor else limit
    if "submission_seconds" not in config.Proctor:
        notebook = max(notebook, 10 * limit if limit and limit > 0 else UNLIMITED)
    return (limit if limit and limit > 0 else notebook), notebook


def ignored(config: Any) -> str | None:
    """IgnorePattern's pattern of what test cells may write to stderr, if the course has one."""
    pattern = setting(config, "IgnorePattern", "pattern", "")
    return str(pattern) or None if setting(config, "IgnorePattern", "enabled", False) else None


def rules(config: Any, released: Iterable[Template], limits: tuple[float, float]) -> str:
    """What decides a score here, besides the files: for a fingerprint."""
    cells = [(t.name, t.cells, t.metadata, vars(t).get("missing")) for t in released]
    files = setting(config, "Autograde", "exclude_overwriting", {})
    return repr((cells, limits, ignored(config), files))


# A submission is restored as OverwriteCells does ------------------------------------------------


@dataclass
class PlainTemplate(Template):
    """The cells of a notebook that nbgrader knows, as it released them."""

    missing: str | None = None  # what is said above a cell that is put back; None: none is
    hidden: tuple[str, str] = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")

    def restore(self, notebook: Notebook) -> Submission:
        """A submission as nbgrader would run it. Raises Rejected."""
        metadata = python(self.metadata, notebook["metadata"])
        owned = self.owned
        names = [nbgrader(cell).get("grade_id") for cell in notebook["cells"]]
        if any(names) and not any(name in owned for name in names):
            raise Rejected(
                f"This notebook holds no cell of {self.name}: was another assignment submitted?"
            )
        notes, cells = [], []
        for index, (name, cell) in enumerate(zip(names, notebook["cells"], strict=True)):
            if name not in owned:
                cells.append(_students_own(cell))
            elif name in names[index + 1 :]:
                notes.append(f"cell '{name}' stood there twice: the last one counts")
                cells.append(_students_own(cell))
            else:
                cells.append(self._restored(cell, owned[name], notes))
        for name in [name for name in owned if name not in names]:
            meta = nbgrader(owned[name])
            if self.missing is not None and (meta.get("grade") or meta.get("task")):
                notes.append(f"cell '{name}' was missing: restored")
                self._put_back(owned[name], cells)
            elif meta.get("grade"):
                notes.append(f"cell '{name}' is missing: it waits to be graded by hand")
        ingest.unique_ids(cells)
        return Submission(
            {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, notes
        )

    def _restored(self, cell: Cell, original: Cell, notes: list[str]) -> Cell:
        meta = nbgrader(original)
        restored = {**cell, "metadata": copy.deepcopy(original["metadata"])}
        if cell["cell_type"] != original["cell_type"]:
            notes.append(f"cell '{meta['grade_id']}' had changed its type: restored")
            restored["cell_type"] = original["cell_type"]
            restored.pop("attachments", None)
        if ingest.is_locked(meta):
            released = visible(original["source"], *self.hidden)
            if cell["source"].strip() != released.strip() and meta.get("grade"):
                notes.append(f"cell '{meta['grade_id']}' was edited: restored")
            restored["source"] = original["source"]
            restored.pop("attachments", None)
        return restored

    def _put_back(self, original: Cell, cells: list[Cell]) -> None:
        cell, meta = copy.deepcopy(original), nbgrader(original)
        said = (self.missing or "").format(cell_id=meta["grade_id"])
        cell["source"] = ("# " if cell["cell_type"] == "code" else "") + said + cell["source"]
        last = len(cells) if meta.get("task") else None
        place = ingest.place(meta["grade_id"], list(self.owned), cells) if last is None else last
        cells.insert(place, cell)


def _students_own(cell: Cell) -> Cell:
    return {**cell, "metadata": {"tags": [SKIP]} if skipped(cell) else {}}


def own_file(template: PlainTemplate, submission: Submission) -> dict[str, bytes]:
    """The notebook itself, as its student saw it: it lies beside what it runs, and tests look into
    it.
    """
    cells = []
    for cell in submission.notebook["cells"]:
        if ingest.is_locked(nbgrader(cell)):
            cell = cell | {"source": visible(cell["source"], *template.hidden)}
        if cell["cell_type"] == "code":
            cell = cell | {"outputs": [], "execution_count": None}
        cells.append(cell)
    return {f"{template.name}.ipynb": json.dumps(submission.notebook | {"cells": cells}).encode()}


def skipped(cell: Cell) -> bool:
    """Whether Jupyter leaves this cell out when it runs the notebook. Test cells always run."""
    tags = cell["metadata"].get("tags")
    return isinstance(tags, list) and SKIP in tags and not nbgrader(cell)


def python(original: dict[str, Any], submitted: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a notebook for a Python kernel. Raises Rejected for any other.

    The instructor's kernel counts; the student's only where the instructor named none.
    """
    chosen = original if original.get("kernelspec") else submitted
    spec, info = chosen.get("kernelspec"), chosen.get("language_info")
    spec, info = (value if isinstance(value, dict) else {} for value in (spec, info))
    name = str(spec.get("name") or "python3")
    language = str(spec.get("language") or info.get("name") or name)
    if not language.lower().startswith(("python", "ipython")):
        raise Rejected(f"The notebook's kernel is '{name[:40]}': only Python can be graded.")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"kernelspec": kernel, "language_info": {"name": "python"}}


# What the instructor's notebooks are ------------------------------------------------------------


def templates(course: Course, assignment: str, paths: Iterable[Path]) -> list[PlainTemplate]:
    """An assignment's notebooks: as released, if the gradebook knows it, else those in source/."""
    missing = None
    if setting(course.config, "OverwriteCells", "add_missing_cells", False):
        missing = setting(
            course.config,
            "OverwriteCells",
            "missing_cell_notification",
            "This cell (id:{cell_id}) was missing from the submission. It was added back by "
            "nbgrader.\n\n",
        )
    released = _released(course, assignment)
    found = released if released is not None else [_read(path, course) for path in paths]
    for template in found:
        template.missing, template.hidden = missing, delimiters(course.config)
    return found


def _released(course: Course, assignment: str) -> list[PlainTemplate] | None:
    """What the gradebook has of an assignment; None if it knows none of that name."""
    from sqlalchemy.engine import make_url

    url = make_url(course.db_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    from nbgrader.api import Gradebook, MissingEntry

    with (
        gradebook_explained(course.db_url),
        Gradebook(course.db_url, course.course_id) as gradebook,
    ):
        try:
            found = gradebook.find_assignment(assignment)
        except MissingEntry:
            return None
        return [_of_gradebook(notebook) for notebook in found.notebooks] or None


def _of_gradebook(notebook: Any) -> PlainTemplate:
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


def _read(path: Path, course: Course) -> PlainTemplate:
    template = ingest.read(path, None, ingest.Stubs.of(course.config))
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


def _template(name: str, cells: list[Cell], metadata: dict[str, Any]) -> PlainTemplate:
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
    return PlainTemplate(name, cells, metadata, graded, [], stubs)


# A test cell's points are read from its outputs as determine_grade does -------------------------


@dataclass(frozen=True)
class Word:
    """The first output of a test cell that decides: `kind` is error, value, or none."""

    kind: str
    text: str = ""


def word(outputs: Any, ran: bool, ignored: str | None = None) -> Word:
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


def points(said: Word, most: float) -> tuple[float, str]:
    """The points of a test cell, and a remark."""
    if said.kind == "error":
        return 0.0, said.text
    if said.kind == "none":
        return most, ""
    try:
        value = float(said.text)
    except ValueError:
        return most, f"Its value is no number: {said.text[:100]}. nbgrader gives full marks for it."
    if value > most:
        return 0.0, f"Its value, {value:g}, is more than its points: nbgrader refuses to grade it."
    if value >= 0:
        return value, ""
    return most, f"Its value is {value:g}. nbgrader gives full marks for it."


def decide(
    template: PlainTemplate, cell: GradeCell, submission: Submission, said: dict[str, Word]
) -> TestResult:
    """A grade cell's result. `said` has the word of each cell that was run, by its id."""
    there = next(
        (
            each
            for each in submission.notebook["cells"]
            if nbgrader(each).get("grade_id") == cell.name
        ),
        None,
    )
    result = TestResult(cell.name, template.name, cell.name, 0.0, cell.points, "manual")
    if there is None:
        result.message = "The cell is missing."
    elif cell.manual:
        answered = nbgrader(there).get("task") or there["source"] != template.stubs.get(cell.name)
        result.status = "manual" if answered else "failed"
        result.message = "Waits to be graded by hand." if answered else "No answer."
    else:
        result.decided = "student"
        result.points, result.message = points(
            said.get(there["id"], Word("error", "Not reached.")), cell.points
        )
        if template.hidden[0] in there["source"] and result.points < cell.points:
            result.message = "It failed; a part of it is hidden."
        result.status = "passed" if result.points >= cell.points else "failed"
    return result


def beside(outputs: Outputs) -> Outputs:
    """A test cell's own outputs in a form that nbgrader reads no points from."""
    shown: Outputs = []
    for output in outputs:
        if output["output_type"] == "error":
            text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            output = _as_text(text)
        elif output["output_type"] == "stream" and output["name"] == "stderr":
            output = _as_text(output["text"])
        elif output["output_type"] == "execute_result":
            output = {"output_type": "display_data", "data": output["data"], "metadata": {}}
        shown.append(output)
    return shown


def _as_text(text: str) -> dict[str, Any]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return {"output_type": "display_data", "data": {"text/plain": plain}, "metadata": {}}


# Hidden tests -----------------------------------------------------------------------------------


def delimiters(config: Any) -> tuple[str, str]:
    """What begins and ends such a region."""
    return (
        str(setting(config, "ClearHiddenTests", "begin_test_delimeter", "BEGIN HIDDEN TESTS")),
        str(setting(config, "ClearHiddenTests", "end_test_delimeter", "END HIDDEN TESTS")),
    )


def visible(source: str, begin: str, end: str) -> str:
    """A cell's source without its hidden tests."""
    lines, inside = [], False
    for line in source.split("\n"):
        if begin in line:
            inside = True
        elif end in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)
