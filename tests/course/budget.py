"""The promise of the course in lines: how long `class Tensor` and the upgrade of 05 are.

`python -m tests.course.budget` prints both counts.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "tinytorch"
WIDTH = 100
TENSOR, UPGRADE = 50, 100
# In autograd.py, and not a part of the upgrade: the way back, the check.
BESIDE = ("disable_gradients", "gradcheck")
BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
BLANK |= {tokenize.ENCODING, tokenize.ENDMARKER}


def formatted(source: str) -> str:
    """The source as ruff formats it at 100 columns, whatever its author's habits are."""
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={WIDTH}", "-"]
    done = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True)
    return done.stdout


def code_lines(source: str, only: str = "", without: Iterable[str] = ()) -> int:
    """How many lines of formatted code a module has, blanks, comments and docstrings left out.

    `only` counts one class or function of its top level, `without` leaves some out. Raises KeyError
    if there is none of that name.
    """
    source = formatted(source)
    tree = ast.parse(source)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {n for t in tokens if t.type not in BLANK for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            lines -= _span(node.body[0])
    if only:
        lines &= _span(_named(tree, only))
    for name in without:
        lines -= _span(_named(tree, name))
    return len(lines)


def _named(tree: ast.Module, name: str) -> ast.stmt:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
    raise KeyError(name)


def _span(node: ast.stmt) -> set[int]:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return set(range(first, (node.end_lineno or node.lineno) + 1))


def tensor_lines() -> int:
    return code_lines((PACKAGE / "tensor.py").read_text(), only="Tensor")


def upgrade_lines() -> int:
    return code_lines((PACKAGE / "autograd.py").read_text(), without=BESIDE)


if __name__ == "__main__":
    print(f"class Tensor: {tensor_lines()} of {TENSOR} lines")
    print(f"the upgrade of 05: {upgrade_lines()} of {UPGRADE} lines")
