"""`make mutants`: do the hidden suites notice when the reference is broken?

Every mutant is the instructor's notebook with one small change inside a solution region, graded
like any submission: an operator or a constant (`changes`), or a mistake that students make on
purpose or in good faith (`slips`). It is killed when a hidden test fails. At least 97% of each
assignment's mutants must be killed; survivors are listed in tests/mutants.toml with the reason why
they are no mistake.
"""

from __future__ import annotations

import argparse
import ast
import builtins
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

NEEDED = 0.97
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


def slips(node: ast.AST) -> Iterator[ast.AST]:
    """What students write instead: a helper left out, an epsilon, a clip, in place, a cut."""
    if isinstance(node, ast.Call):
        yield from _slips_of_call(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield ast.BinOp(node.left, node.op, _a_little_more(node.right))
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        [target, *_] = node.targets
        if ast.unparse(target) == ast.unparse(node.value.left):
            yield ast.AugAssign(target, node.value.op, node.value.right)
    if isinstance(node, ast.Return) and isinstance(node.value, ast.BinOp | ast.Call):
        text = ast.unparse(node.value)
        if not text.startswith("Tensor(") and "np." not in text:
            yield ast.Return(ast.parse(f"Tensor(({text}).data)", mode="eval").body)
    if isinstance(node, ast.FunctionDef):
        yield from _remembering(node)


def _slips_of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = ast.unparse(node.func)
    if isinstance(node.func, ast.Name) and node.args and not hasattr(builtins, name):
        yield node.args[0]  # f(x) is x
    if isinstance(node.func, ast.Attribute) and name.split(".")[0] not in (
        "np",
        "math",
        "operator",
    ):
        yield node.func.value  # x.f() is x
        if node.func.attr in _PADDED:
            yield _written(_PADDED[node.func.attr], ast.unparse(node.func.value))
    if name in _PADDED and node.args:
        yield _written(_PADDED[name], *map(ast.unparse, node.args))
    if name == "zip" and len(node.args) > 1:  # paired with those of another
        others = (f"list({ast.unparse(arg)})[::-1]" for arg in node.args[1:])
        yield _written("zip({}, {})", ast.unparse(node.args[0]), ", ".join(others))


# NumPy's function, or a Tensor's method, and how it is written by one who fears infinity and NaN.
_PADDED = {
    "np.log": "np.log({} + 1e-08)",
    "np.exp": "np.exp(np.clip({}, -50, 50))",
    "np.maximum": "np.fmax({}, {})",
    "log": "({} + 1e-08).log()",
    "exp": "({}).maximum(-50).exp()",
}


def _written(form: str, *arguments: str) -> ast.expr:
    return ast.parse(form.format(*arguments), mode="eval").body


def _a_little_more(node: ast.expr) -> ast.expr:
    return ast.BinOp(node, ast.Add(), ast.Constant(1e-8))


def _remembering(node: ast.FunctionDef) -> Iterator[ast.FunctionDef]:
    """The function with an empty collection that it makes as a default argument instead."""
    for index, statement in enumerate(node.body):
        empty = isinstance(statement, ast.Assign) and ast.unparse(statement.value) in _EMPTY
        if empty and isinstance(statement.targets[0], ast.Name):  # type: ignore[attr-defined]
            changed = copy.deepcopy(node)
            made = changed.body.pop(index)
            changed.args.kwonlyargs.append(ast.arg(made.targets[0].id))  # type: ignore[attr-defined]
            changed.args.kw_defaults.append(made.value)  # type: ignore[attr-defined]
            yield changed


_EMPTY = ("[]", "{}", "set()", "dict()", "list()")


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
        # a function is a student's if one of its lines is, the first may be given
        span = range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", None) or 0) + 1)
        lines = span if isinstance(node, ast.FunctionDef) else span[:1]
        if not isinstance(node, ast.AST) or not numbers.intersection(lines):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        for changed in (*changes(node), *slips(node)):
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
