"""`make mutants`: do the hidden suites notice when the reference is broken?

Every mutant is the instructor's notebook with one small change inside a solution region, graded
like any submission. It is killed when a hidden test fails. At least 95% of each assignment's
mutants must be killed; survivors are listed in tests/mutants.toml with the reason why they are no
mistake.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from proctor.grade.grading import Grader
from proctor.notebook.cells import nbgrader
from proctor.verdict import Result
from tests import classroom

NEEDED = 0.95
EQUIVALENT = classroom.ROOT / "tests" / "mutants.toml"

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    """A cell with one change: `line` became `change`."""

    cell: str
    line: str
    change: str
    source: str

    @property
    def label(self) -> str:
        return f"{self.cell}: {self.line}  ->  {self.change}"


def regions(source: str) -> tuple[str, set[int]]:
    """A cell's source without markers, and the numbers of the lines that are solutions."""
    lines: list[str] = []
    inside, numbers = False, set()
    for line in source.split("\n"):
        if line.strip() in ("### BEGIN SOLUTION", "### END SOLUTION"):
            inside = "BEGIN" in line
            continue
        lines.append(line)
        if inside:
            numbers.add(len(lines))
    return "\n".join(lines), numbers


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node, each a small mistake."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPS:
        changed = copy.deepcopy(node)
        changed.op = _SWAPS[type(node.op)]()  # type: ignore[assignment]
        yield changed
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        changed = copy.deepcopy(node)
        changed.ops[0] = _SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
        yield changed
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    if isinstance(node, ast.If | ast.While):
        for value in (True, False):
            changed = copy.deepcopy(node)
            changed.test = ast.Constant(value)
            if not (isinstance(node, ast.While) and value):
                yield changed
    if isinstance(node, ast.Call):
        for index in range(len(node.keywords)):
            changed = copy.deepcopy(node)
            del changed.keywords[index]
            yield changed
        if len(node.args) > 1:
            changed = copy.deepcopy(node)
            changed.args[0], changed.args[1] = changed.args[1], changed.args[0]
            yield changed
    if isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(None)
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Continue | ast.Raise):
        yield ast.Pass()


def mutants(cell: str, source: str) -> Iterator[Mutant]:
    """Every mutant of the solution regions of a cell."""
    text, numbers = regions(source)
    tree = ast.parse(text)
    original = ast.unparse(tree)
    places = [
        (parent, field, index)
        for parent in ast.walk(tree)
        for field, value in ast.iter_fields(parent)
        for index in (range(len(value)) if isinstance(value, list) else [None])
    ]
    seen = {original}
    for parent, field, index in places:
        value = getattr(parent, field)
        node = value if index is None else value[index]
        if not isinstance(node, ast.AST) or getattr(node, "lineno", 0) not in numbers:
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        for changed in changes(node):
            _put(parent, field, index, changed)
            mutated = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, index, node)
            if mutated not in seen:
                seen.add(mutated)
                line, change = _difference(original, mutated)
                yield Mutant(cell, line, change, mutated)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _difference(before: str, after: str) -> tuple[str, str]:
    for old, new in zip(before.split("\n"), after.split("\n"), strict=False):
        if old != new:
            return old.strip(), new.strip()
    return before[-40:], after[-40:]


def of(assignment: str) -> list[Mutant]:
    """All mutants of an assignment's solutions."""
    found = []
    for notebook in classroom.notebooks(assignment).values():
        for cell in notebook["cells"]:
            meta = nbgrader(cell)
            if cell["cell_type"] == "code" and meta.get("solution"):
                found += list(mutants(cell["id"], classroom.text_of(cell)))
    return found


def explained(assignment: str) -> dict[str, str]:
    """The survivors that are known, and the reason why each is no mistake."""
    known = tomllib.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    return {entry["mutant"]: entry["reason"] for entry in known.get(assignment, [])}


def killed(result: Result) -> bool:
    """Whether a hidden test failed; visible checks do not count."""
    return any(test.status == "failed" and test.name != test.cell for test in result.tests)


def survivors(assignment: str, chosen: list[Mutant], console: Console) -> list[Mutant]:
    """The mutants that no hidden test of the assignment notices."""
    with tempfile.TemporaryDirectory() as folder:
        course = classroom.scratch_course(Path(folder))
        course.settings.cell_seconds = course.settings.call_seconds = 3.0
        folders = {}
        for number, mutant in enumerate(chosen):
            made = classroom.Solution(
                f"m{number}", mutant.label, False, {mutant.cell: mutant.source}
            )
            found = classroom.solved(assignment, made)
            folders[made.name] = classroom.submit(course, made.name, assignment, found)
        with Grader(course.assignment(assignment)) as supervisor:
            graded = track(
                supervisor.grade_all(folders, os.cpu_count() or 1),
                assignment,
                len(chosen),
                console=console,
                disable=not console.is_terminal,
            )
            alive = {g.result.student for g in graded if not killed(g.result)}
    return [mutant for number, mutant in enumerate(chosen) if f"m{number}" in alive]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("assignments", nargs="*", default=classroom.ASSIGNMENTS)
    parser.add_argument("--sample", type=int, help="only so many of each assignment, at random")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    options = parser.parse_args()
    console = Console()
    bad = False
    for assignment in options.assignments:
        everything = of(assignment)
        chosen = everything
        if options.sample and options.sample < len(everything):
            chosen = random.Random(options.seed).sample(everything, options.sample)
        alive = survivors(assignment, chosen, console)
        share = 1 - len(alive) / len(chosen)
        reasons = explained(assignment)
        unexplained = [mutant for mutant in alive if mutant.label not in reasons]
        gone = set(reasons) - {mutant.label for mutant in everything}
        # a sample may by chance hold more of the known survivors than their share
        low = share < NEEDED and chosen is everything
        bad |= bool(low or unexplained or gone)
        console.print(
            f"{assignment}: {len(chosen) - len(alive)} of {len(chosen)} killed, {share:.1%}",
            highlight=False,
        )
        for mutant in alive:
            reason = reasons.get(mutant.label, "NOT EXPLAINED")
            console.print(
                f"  survived  {mutant.label}\n            {reason}", markup=False, highlight=False
            )
        for label in sorted(gone):
            console.print(f"  no such mutant any more: {label}", markup=False, highlight=False)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
