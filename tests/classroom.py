"""Made students: scratch courses and submissions from tests/solutions/, for tests, the demo and
authors.

`python -m tests.classroom 02_activations` grades an assignment's kept solutions and says which of
them did not end as their file says, and which no longer apply to the notebooks.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proctor.course.course import Assignment, Course
from proctor.grade.grading import Grader
from proctor.notebook.cells import nbgrader
from proctor.notebook.template import Stubs
from proctor.verdict import Result

ROOT = Path(__file__).resolve().parent.parent
ASSIGNMENTS = ["01_tensor", "02_activations", "03_layers", "04_losses", "05_autograd"]


@dataclass(frozen=True)
class Solution:
    """A made student: the instructor's notebooks with some cells replaced or edited."""

    name: str
    why: str
    right: bool
    cells: dict[str, str] = field(default_factory=dict)
    edits: list[dict[str, str]] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)
    misconception: str | None = None

    def source(self, cell: str, original: str) -> str:
        """What this student wrote in a cell. Raises ValueError if an edit does not apply."""
        text = self.cells.get(cell, original).strip("\n") + "\n"
        for edit in self.edits:
            if edit["cell"] == cell:
                if edit["old"] not in text:
                    raise ValueError(
                        f"{self.name}: {edit['old']!r} does not stand in cell '{cell}'"
                    )
                text = text.replace(edit["old"], edit["new"])
        return text.strip("\n")


def solutions(assignment: str) -> list[Solution]:
    """The right and wrong solutions that are kept for an assignment."""
    found = []
    for path in sorted((ROOT / "tests" / "solutions").glob(f"{assignment}*.toml")):
        tables = tomllib.loads(path.read_text())
        for right in (True, False):
            found += [
                Solution(right=right, **table)
                for table in tables.get("right" if right else "wrong", [])
            ]
    return found


def notebooks(assignment: str) -> dict[str, dict[str, Any]]:
    """The instructor's notebooks, by name."""
    return {
        p.stem: json.loads(p.read_text())
        for p in sorted((ROOT / "source" / assignment).glob("*.ipynb"))
    }


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def solved(assignment: str, solution: Solution | None = None) -> dict[str, dict[str, Any]]:
    """The notebooks of a student who wrote `solution`; the instructor's own without one."""
    found = notebooks(assignment)
    known = {cell["id"] for notebook in found.values() for cell in notebook["cells"]}
    if solution and (unknown := {*solution.cells, *(e["cell"] for e in solution.edits)} - known):
        raise ValueError(f"{solution.name}: {assignment} has no cell {', '.join(sorted(unknown))}")
    for notebook in found.values():
        for cell in notebook["cells"]:
            lines = [line for line in text_of(cell).split("\n") if line.strip() not in _MARKERS]
            text = "\n".join(lines)
            cell["source"] = solution.source(cell["id"], text) if solution else text
    return found


_MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION")


def blank(assignment: str) -> dict[str, dict[str, Any]]:
    """The notebooks as students receive them."""
    found = copy.deepcopy(notebooks(assignment))
    stubs = Stubs.of(Course.load(ROOT).config)
    for notebook in found.values():
        for cell in notebook["cells"]:
            if nbgrader(cell).get("solution"):
                cell["source"] = stubs.release(text_of(cell), cell["cell_type"])
    return found


class _Filled(ast.NodeTransformer):
    """Puts `return` and one of a function's arguments, or an expression, for a stub."""

    def __init__(self, value: int | str) -> None:
        self.value = value
        self.around: list[ast.FunctionDef] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.around.append(node)
        self.generic_visit(node)
        self.around.pop()
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if ast.unparse(node) != "raise NotImplementedError()":
            return node
        if not self.around:
            return ast.Pass()
        given = self.around[-1].args
        every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        names = [argument.arg for argument in every if argument] or ["None"]
        if self.around[-1].name == "__init__":  # may return nothing else
            value = "None"
        elif isinstance(self.value, str):
            value = self.value
        else:
            value = names[min(self.value, len(names) - 1)]
        return ast.Return(ast.Name(value))


def trivial(assignment: str, value: int | str) -> dict[str, dict[str, Any]]:
    """The notebooks of a student who wrote the same `return` into every function.

    `value` is an expression or the position of an argument: -1 is the last one; `self` counts.
    """
    found = blank(assignment)
    filled = 0
    for notebook in found.values():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and nbgrader(cell).get("solution"):
                before = ast.parse(text_of(cell))
                cell["source"] = ast.unparse(_Filled(value).visit(copy.deepcopy(before)))
                filled += cell["source"] != ast.unparse(before)
    if not filled:
        raise ValueError(f"{assignment} has no stub")
    return found


def scratch_course(root: Path) -> Course:
    """A copy of this course in `root`, without submissions."""
    for name in ("source", "tinytorch", "tests/hidden"):
        shutil.copytree(
            ROOT / name,
            root / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    shutil.copy(ROOT / "nbgrader_config.py", root)
    return Course.load(root)


def submit(course: Course, student: str, assignment: str, found: dict[str, dict[str, Any]]) -> Path:
    """Put notebooks into a student's submitted folder."""
    folder = course.folder("submitted", student, assignment)
    folder.mkdir(parents=True, exist_ok=True)
    for name, notebook in found.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder


def grade(
    assignment: Assignment,
    students: Iterable[str],
    explain: bool = False,
    own_stack: bool = False,
) -> dict[str, Result]:
    """Grade these students without recording anything."""
    folders = {
        name: assignment.course.folder("submitted", name, assignment.name) for name in students
    }
    with Grader(assignment, explain=explain, own_stack=own_stack) as supervisor:
        return {
            g.result.student: g.result for g in supervisor.grade_all(folders, os.cpu_count() or 1)
        }


def surprises(solution: Solution, result: Result) -> list[str]:
    """How a result differs from what the solution's file says; empty if it does not."""
    if result.status != "graded":
        return [f"{result.status}: {result.error}"]
    lost = {test.cell for test in result.tests if test.status == "failed"}
    if solution.right:
        return [f"{t.name}: {t.message}" for t in result.tests if t.status == "failed"]
    found = [f"loses nothing in {cell}" for cell in solution.loses if cell not in lost]
    if not lost:
        found.append("loses nothing at all")
    shown = {test.misconception for test in result.tests}
    if solution.misconception and solution.misconception not in shown:
        found.append(
            f"'{solution.misconception}' was not recognised, but {sorted(filter(None, shown))}"
        )
    return found


def main(names: list[str]) -> int:
    bad = 0
    for name in names or ASSIGNMENTS:
        made = {solution.name: solution for solution in solutions(name)}
        made["reference"] = Solution("reference", "The instructor's own.", True)
        stale = []
        with tempfile.TemporaryDirectory() as folder:
            course = scratch_course(Path(folder))
            for student, solution in [*made.items()]:
                try:
                    submit(course, student, name, solved(name, solution))
                except ValueError as error:
                    stale.append(str(error))
                    del made[student]
            submit(course, "blank", name, blank(name))
            results = grade(course.assignment(name), [*made, "blank"], explain=True)
        print(f"{name}: blank {results['blank'].score:g}, reference {results['reference'].score:g}")
        bad += results["blank"].score != 0
        for student, solution in made.items():
            found = surprises(solution, results[student])
            bad += bool(found)
            print(
                f"  {'right' if solution.right else 'wrong'} {student:32}"
                f" {results[student].score:6g}  {'; '.join(found)}"
            )
            for test in results[student].tests:
                if solution.right and test.detail:
                    print(test.detail)
        for reason in stale:
            print(f"  stale {reason}")
        bad += len(stale)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
