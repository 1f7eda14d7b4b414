"""A cell of Python alone takes a shorter way than IPython's: what comes out is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# Runs each list of cells in a fork, by the worker's way or by IPython's alone.
RUN = """
import json, os, sys
from proctor.worker.shell import Shell

shell = Shell.warm()
short = []
python = Shell._run_python
if sys.argv[1] == "ipython":
    Shell._run_python = lambda self, source: None
else:
    Shell._run_python = lambda self, source: short.append(python(self, source)) or short[-1]
found = []
for cells in json.load(sys.stdin):
    reader, writer = os.pipe()
    if os.fork() == 0:
        said = [shell.run(cell) for cell in cells]
        names = sorted(name for name in shell.user_ns if not name.startswith("_"))
        kept = {name: repr(shell.user_ns.get(name)) for name in ("_i", "_ii", "x", "In", "__doc__")}
        taken = [went is not None for went in short]
        with os.fdopen(writer, "w") as out:
            json.dump([said, names, kept, shell.execution_count, taken], out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as source:
        found.append(json.load(source))
    os.wait()
print(json.dumps(found))
"""

SHORT = {
    "definition": ["def f(x):\n    return 2 * x", "x = f(3)", "f(x)"],
    "values": ["x = 3\nx + 1", "x = 3\nx;", "x = 3\nprint(x)", "x = 3\nNone"],
    "display": ["from IPython.display import HTML\nHTML('<b>x</b>')"],
    "an error": ["def f():\n    return 1 / 0\nf()", "x = 1\nraise ValueError(x)"],
    "an error halfway": ["x = 1\nassert x == 2, 'no'\nx = 3", "print(x)"],
    "streams": ["import sys\nprint('a', file=sys.stderr)\nprint('b')\nprint('c', file=sys.stderr)"],
    "warnings": ["import warnings\nfor _ in range(2):\n    warnings.warn('odd')"] * 2,
    "exit": ["import sys\nsys.exit(3)", "x = 1\nraise KeyboardInterrupt"],
    "docstring": ["'''What this is.'''\nx = 1"],
    "annotations": ["x: int = 3\ny: 'Tensor'"],
    "future": [
        "from __future__ import annotations\ndef f(x: Missing): ...",
        "def g(y: Absent):\n    ...",
    ],
    "modulo": ["x = 7\nx = (x\n% 4)\n'%d' % x"],
    "unicode": ["größe = 'naïve ✓'\nprint(größe)"],
    "comment": ["# nothing here\n# at all"],
    "shell": ["x = get_ipython().execution_count\nx"],
    "class": ["class A:\n    '''%time'''\n    x = 1\nA.x"],
    "input history": ["x = 1\nIn[-1]", "x = 2\n_i"],
}
LONG = {
    "line magic": ["%precision 3", "x = %pwd"],
    "cell magic": ["%%capture said\nprint('a')", "said.stdout"],
    "automagic": ["pwd", "who_ls"],
    "a name": ["x = 1", "x"],
    "leaving": ["exit"],
    "help": ["len?"],
    "prompts": [">>> x = 1\n>>> x", "In [1]: x = 1"],
    "indented": ["  x = 1\n  x", "\n\nx = 1\n1 / 0"],
    "wrong syntax": ["def f(:\n    pass", "x = 1\n  y = 2", "x = 1\nreturn x", "x = '\n'"],
    "await": ["import asyncio\nasync def f(): return 3\nawait f()"],
    "late future": ["x = 1\nfrom __future__ import annotations"],
    "empty": ["", "  \n"],
    "null": ["x = 1\n\0"],
}
TOUCHED = {
    "input transformer": [
        "get_ipython().input_transformers_post.append("
        "lambda lines: [line.replace('1', '2') for line in lines])",
        "x = 1\nx",
    ],
    "line transformer": [
        "get_ipython().input_transformer_manager.line_transforms.append("
        "lambda lines: [line.replace('1', '2') for line in lines])",
        "x = 1\nx",
    ],
    "tree transformer": [
        "import ast\nclass Two(ast.NodeTransformer):\n    def visit_Constant(self, node):\n"
        "        return ast.Constant(2)\nget_ipython().ast_transformers.append(Two())",
        "x = 1\nx",
    ],
    "callback": [
        "get_ipython().events.register('pre_run_cell', lambda info: print(info.raw_cell))",
        "x = 1\nx",
    ],
    "every value": [
        "from IPython import get_ipython\nget_ipython().ast_node_interactivity = 'all'",
        "x = 1\nx\nx + 1\ny = 2",
    ],
    "the last value, or what it is named": [
        "%config InteractiveShell.ast_node_interactivity = 'last_expr_or_assign'",
        "x = 1\nx = x + 1",
    ],
    "no value": [
        "get_ipython().ast_node_interactivity = 'none'\nx = 1",
        "x = 1\nx",
    ],
    "a log": ["import logging\n%logstart -o /dev/null append", "x = 1\nx"],
}


def results(how: str, lists: list[list[str]]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", RUN, how],
        input=json.dumps(lists),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},  # as in the worker; a cell's name has a hash
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def both() -> dict[str, tuple[Any, Any]]:
    everything = SHORT | LONG | TOUCHED
    lists = list(everything.values())
    pairs = zip(results("worker", lists), results("ipython", lists), strict=True)
    return dict(zip(everything, pairs, strict=True))


@pytest.mark.parametrize("name", [*SHORT, *LONG, *TOUCHED])
def test_outputs_names_and_history_are_those_of_ipython(
    name: str, both: dict[str, tuple[Any, Any]]
) -> None:
    ours, ipythons = both[name]
    assert ours[:4] == ipythons[:4]


@pytest.mark.parametrize("name", [*SHORT, *LONG, *TOUCHED])
def test_which_way_a_cell_takes(name: str, both: dict[str, tuple[Any, Any]]) -> None:
    """Else the comparison above would show nothing."""
    taken = both[name][0][4]
    if name in SHORT:
        assert all(taken)
    elif name in TOUCHED:
        assert taken[-1] is False
    else:
        assert taken.count(True) < len(LONG[name])
