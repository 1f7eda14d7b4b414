"""Made students: scratch courses and submissions from tests/solutions/, for tests and the demo."""

from __future__ import annotations

import ast
import copy
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proctor.author import solutions as kept
from proctor.author.solutions import Solution
from proctor.course.course import Assignment, Course
from proctor.grade.grading import Grader
from proctor.notebook.cells import nbgrader
from proctor.notebook.template import Stubs
from proctor.verdict import Result

ROOT = Path(__file__).resolve().parent.parent
ASSIGNMENTS = [*Course.load(ROOT).assignments]


def solutions(assignment: str) -> list[Solution]:
    """The right and wrong solutions that are kept for an assignment."""
    return kept.kept(Course.load(ROOT), assignment)


def notebooks(assignment: str) -> dict[str, dict[str, Any]]:
    """The instructor's notebooks, by name."""
    return {
        p.stem: json.loads(p.read_text())
        for p in sorted((ROOT / "source" / assignment).glob("*.ipynb"))
    }


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def solved(assignment: str, solution: Solution = kept.REFERENCE) -> dict[str, dict[str, Any]]:
    """The notebooks of a student who wrote `solution`; the instructor's own without one."""
    return kept.solved(notebooks(assignment), solution, Stubs())


def blank(assignment: str) -> dict[str, dict[str, Any]]:
    """The notebooks as students receive them."""
    return kept.blank(notebooks(assignment), Stubs.of(Course.load(ROOT).config))


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
    for name in ("source", "tinytorch", "tests/hidden", "tests/solutions"):
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
    for name, data in kept.beside(Course.load(ROOT), assignment).items():
        (folder / name).write_bytes(data)
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
