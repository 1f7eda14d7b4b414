"""The corpus of attacks: what stands in the TOML files beside this one, as submissions.

`python -m tests.attacks.corpus` writes docs/attacks.md. An attack has a name, an aim and what stops
it, and is made of a blank notebook of the scratch course `mini` by

    code    what the student writes into the first cell that is theirs
    cells   the same for other cells, by name; `extra` are more cells
    build   Python that changes the notebook `nb`, its cells by name in `cell`, or the `folder`;
            if it sets `raw`, these bytes are submitted (None: no file at all)

@WORDS@ in code are places on the machine, so that the attacker knows everything (see `Places`).

naive   it earns points where checks run in the student's process, as nbgrader's do
open    it does harm where there is no jail
script  its page runs script where nothing is sanitised
manual  it holds a written answer
"""

from __future__ import annotations

import copy
import json
import os
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proctor.notebook.cells import nbgrader
from proctor.notebook.template import Stubs

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "attacks.md"
GROUPS = {
    "forge": "Forge a verdict",
    "values": "Fake values",
    "notebook": "Tamper with the notebook",
    "steal": "Steal tests and answers",
    "reach": "Reach out",
    "exhaust": "Exhaust the machine",
    "persist": "Persist",
    "output": "Attack by output",
}


@dataclass(frozen=True)
class Attack:
    """One attack; see above."""

    group: str
    name: str
    aim: str
    stops: str
    code: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    build: str = ""
    naive: bool = False
    open: bool = False
    script: bool = False
    manual: bool = False


@dataclass(frozen=True)
class Places:
    """What an attacker may know of the machine; everything lies in scratch folders."""

    course: Path
    victim: Path
    port: int = 9
    decoy: int = 1 << 21  # a process id; this one doesn't exist
    supervisor: int = 1 << 21
    name: str = ""

    def fill(self, code: str) -> str:
        words = {
            "COURSE": self.course,
            "VICTIM": self.victim,
            "SUITE": self.course / "tests/hidden/mini",
            "OTHER": self.course / "submitted/honest-1/mini",
            "PORT": self.port,
            "DECOY": self.decoy,
            "SUPERVISOR": self.supervisor,
            "NAME": self.name,
        }
        for word, value in words.items():
            code = code.replace(f"@{word}@", str(value))
        return code


def attacks() -> list[Attack]:
    """The corpus, group by group."""
    found = []
    for group in GROUPS:
        for table in tomllib.loads((HERE / f"{group}.toml").read_text())["attack"]:
            extra = tuple(table.pop("extra", ()))
            found.append(Attack(group=group, extra=extra, **table))
    return found


# The scratch course -------------------------------------------------------------------------------

CONFIG = """
import proctor

c = get_config()
c.CourseDirectory.course_id = "mini"
c.Proctor.package = ""
c.Proctor.cell_seconds = 2.0
c.Proctor.call_seconds = 2.0
c.Proctor.submission_seconds = 6.0
c.Proctor.memory = 256
proctor.configure(c)
"""

DOUBLE = '''
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    # CANARY-reference
    return 2 * x
    ### END SOLUTION
'''

CHECK = """
y = double(np.array([1.0, 2.5]))
np.testing.assert_allclose(y, [2.0, 5.0], strict=True)
assert double(3) == 6
"""

LINE = '''
class Line:
    """A line: a x + b."""
    ### BEGIN SOLUTION
    def __init__(self, a, b):
        self.a, self.b = a, b

    def at(self, x):
        return self.a * x + self.b

    def __add__(self, other):
        return Line(self.a + other.a, self.b + other.b)
    ### END SOLUTION
'''

STEPS = '''
def steps(a, b, n):
    """n numbers from a to b."""
    ### BEGIN SOLUTION
    if n < 2:
        raise ValueError("n is too small")
    return [a + (b - a) * i / (n - 1) if i < n - 1 else b for i in range(n)]
    ### END SOLUTION
'''

HIDDEN = 'raise NotImplementedError("graded by hidden tests")'

# What a course without proctor would have in place of the hidden suites.
NAIVE = {
    "Line": "assert (Line(2.0, 1.0).at(3.0) == 7.0)",
    "Steps": "assert len(steps(0.0, 1.0, 3)) == 3 and all(s == w for s, w in"
    " zip(steps(0.0, 1.0, 3), [0.0, 0.5, 1.0]))",
}


def _cell(name: str, source: str, kind: str = "code", **meta: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if meta:
        defaults = {"grade": False, "locked": False, "solution": False, "task": False}
        metadata["nbgrader"] = {**defaults, "grade_id": name, "schema_version": 3, **meta}
        if meta.get("grade"):
            metadata["nbgrader"]["cell_type"] = kind
    cell = {"cell_type": kind, "id": name, "metadata": metadata, "source": source.strip("\n")}
    return {**cell, "outputs": [], "execution_count": None} if kind == "code" else cell


def source() -> dict[str, Any]:
    """The instructor's notebook."""
    cells = [
        _cell("intro", "# A line and its steps", "markdown"),
        _cell("imports", "import numpy as np", locked=True),
        _cell("double", DOUBLE, solution=True),
        _cell("check_double", CHECK, grade=True, locked=True, points=10),
        _cell("line", LINE, solution=True),
        _cell("Line", HIDDEN, grade=True, locked=True, points=50),
        _cell("steps", STEPS, solution=True),
        _cell("Steps", HIDDEN, grade=True, locked=True, points=30),
        _cell("question", "CANARY-answer", "markdown", grade=True, solution=True, points=10),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def solved(answer: str = "Because.") -> dict[str, Any]:
    """What an honest student submits."""
    notebook = source()
    for cell in notebook["cells"]:
        lines = cell["source"].split("\n")
        cell["source"] = "\n".join(line for line in lines if "###" not in line)
        if cell["id"] == "question":
            cell["source"] = answer
    return notebook


def blank() -> dict[str, Any]:
    """What students receive."""
    notebook = source()
    for cell in notebook["cells"]:
        if nbgrader(cell).get("solution"):
            cell["source"] = Stubs().release(cell["source"], cell["cell_type"])
    return notebook


def make_course(root: Path, token: str = "") -> None:
    """The scratch course `mini`, without submissions; `token` marks what nobody may see."""
    (root / "source/mini/data").mkdir(parents=True)
    (root / "nbgrader_config.py").write_text(CONFIG)
    (root / "source/mini/mini.ipynb").write_text(json.dumps(source()).replace("CANARY", token))
    (root / "source/mini/given.txt").write_text("given")
    (root / "source/mini/data/given.txt").write_text("given")
    suite = (HERE / "mini/test_line.py").read_text().replace("CANARY", token)
    (root / "tests/hidden/mini").mkdir(parents=True)
    (root / "tests/hidden/mini/test_line.py").write_text(suite)


TRIED = """
def tried(*steps):
    for step in steps:
        try:
            print(step())
        except BaseException as error:
            print(type(error).__name__)
"""


def submission(attack: Attack, places: Places, folder: Path) -> None:
    """Make the attack's submission in `folder`."""
    folder.mkdir(parents=True)
    notebook = notebook_of(attack, places)
    names: dict[str, Any] = {
        "nb": notebook,
        "cell": {cell["id"]: cell for cell in notebook["cells"]},
        "folder": folder,
        "victim": places.victim,
        "course": places.course,
        "other": places.course / "submitted/honest-1/mini",
        "raw": b"",
        "json": json,
        "os": os,
        "copy": copy,
    }
    exec(compile(attack.build, f"<{attack.name}>", "exec"), names)
    if names["raw"] is not None:
        data = names["raw"] or json.dumps(names["nb"]).encode()
        (folder / "mini.ipynb").write_bytes(data)


def notebook_of(attack: Attack, places: Places) -> dict[str, Any]:
    """The attack's notebook, before `build` changes it."""
    notebook = blank()
    written = {"double": attack.code, **attack.cells} if attack.code else attack.cells
    for cell in notebook["cells"]:
        text = written.get(cell["id"])
        if text:
            text = places.fill(text.strip("\n"))
            cell["source"] = TRIED + text if "tried(" in text else text
    for number, text in enumerate(attack.extra):
        notebook["cells"].append(_cell(f"extra-{number}", text))
    return notebook


# The page -----------------------------------------------------------------------------------------

HEAD = """
# Attacks

<!-- Written by `python -m tests.attacks.corpus`. -->

What has been tried against the grading engine, and what stops it. Each line is a submission in
`tests/attacks/`; `tests/test_attacks.py` grades them all in one class with honest students, at the
levels of isolation `full` and `container`, as root and as an ordinary user, and looks that

- it earned no point that a blank submission would not get,
- nothing was read or changed: planted secrets, other submissions, the gradebook, other processes,
- the honest students in the same run got all their points,
- nothing was left behind: processes, shared memory, files.

So that the corpus is known to bite, *forges* marks those that do earn points where checks run in
the student's process, as they do in plain nbgrader, *harms* those that do harm where there is no
jail, and *runs* those whose page runs script where nothing is sanitised; tests show it.
"""


def page() -> str:
    """docs/attacks.md."""
    everything = attacks()
    parts = [HEAD.strip("\n"), f"\nThere are {len(everything)}.\n"]
    for group, title in GROUPS.items():
        mine = [attack for attack in everything if attack.group == group]
        parts += [f"\n## {title}\n\n| name | aim | what stops it | bites |\n|---|---|---|---|"]
        for attack in mine:
            marks = [(attack.naive, "forges"), (attack.open, "harms"), (attack.script, "runs")]
            bites = ", ".join(word for mark, word in marks if mark)
            row = [f"`{attack.name}`", _plain(attack.aim), _plain(attack.stops), bites]
            parts.append(f"| {' | '.join(row)} |")
        parts.append("")
    return "\n".join(parts).replace("\n\n\n", "\n\n")


def _plain(text: str) -> str:
    return textwrap.dedent(text).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(HERE.parents[1]))
