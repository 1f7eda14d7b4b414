"""`make fuzz`: 10,000 malformed notebooks, each of which must end as graded or as rejected.

They are the course's own released and solved notebooks, damaged as JSON, as bytes, in their cells
or in their metadata. All are read, restored and written as an autograded notebook would be; a
share is graded by the whole engine. What a number makes is the same each time: a notebook that
crashes is made again with `python -m tests.fuzz --only NUMBER`.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from proctor.errors import Rejected
from proctor.grade.grading import Grader
from proctor.notebook import template as templating
from proctor.notebook.cells import is_locked, nbgrader
from proctor.record.autograded import autograded
from proctor.verdict import NotebookVerdict
from tests import classroom

ENGINE = "02_activations"  # the assignment that the whole engine grades
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 4, 10**30, -(10**400), 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\0", "\ud800", "\u202e\u0000", "code", "markdown", "raw", "../../x", "é" * 300),
    *([], {}, [[]], [{}], {"": ""}, ["a", 3], {"nbgrader": {}}, {"nbgrader": {"grade_id": []}}),
]

Notebook = dict[str, Any]


@functools.cache
def originals(assignment: str) -> tuple[tuple[str, Notebook], ...]:
    """An assignment's notebooks as released, and as solved."""
    kinds = (classroom.blank(assignment), classroom.solved(assignment))
    return tuple(pair for kind in kinds for pair in kind.items())


@functools.cache
def templates(assignment: str) -> dict[str, templating.Template]:
    source = classroom.ROOT / "source" / assignment
    return {path.stem: templating.read(path, "tinytorch") for path in source.glob("*.ipynb")}


# Damage -------------------------------------------------------------------------------------------


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its key there."""
    found = []
    stack = [value]
    while stack:
        here = stack.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        for key in keys:
            found.append((here, key))
            if isinstance(here[key], dict | list):
                stack.append(here[key])
    return found


def junk(rng: random.Random) -> Any:
    value = copy.deepcopy(rng.choice(JUNK))
    for _ in range(rng.choice([0, 0, 0, 1, 2, 40, 300])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def damage_json(notebook: Notebook, rng: random.Random) -> bytes:
    """Values replaced, dropped, renamed, exchanged."""
    for _ in range(rng.randint(1, 6)):
        places = nodes(notebook)
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.randrange(5)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice([str(key) + "x", str(key).upper(), ""])] = holder.pop(key)
        elif what == 2:
            other, there = rng.choice(places)
            holder[key] = copy.deepcopy(other[there])
        elif what == 3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = junk(rng)
    return json.dumps(notebook).encode()


def damage_bytes(notebook: Notebook, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, put in; other encodings; keys that stand there twice."""
    text = json.dumps(notebook, ensure_ascii=rng.random() < 0.5)
    what = rng.randrange(8)
    if what == 0:
        encoding = rng.choice(["utf-16", "utf-8-sig", "utf-32", "latin-1"])
        return text.encode(encoding, "replace")
    if what == 1:
        key = rng.choice(["cells", "metadata", "nbformat", "source", "cell_type", "grade_id"])
        twin = f'"{key}": {json.dumps(rng.choice(JUNK))}, "{key}"'
        return text.replace(f'"{key}"', twin, rng.choice([1, -1])).encode()
    if what == 2:
        return text.encode()[: rng.randrange(len(text))]
    data = bytearray(text.encode())
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 1, 3, 100])
        if what == 3:
            del data[at : at + size]
        elif what == 4:
            data[at:at] = data[at : at + size]
        elif what == 5:
            data[at:at] = rng.choice(
                [b"\0", b"\xff", b'"', b"{", b"]", b"\\u", b"\\ud83d", b"1e999"]
            )
        elif at < len(data):
            data[at] = rng.randrange(256) if what == 6 else rng.choice(b'"{}[],:\\0')
    return bytes(data)


def damage_cells(notebook: Notebook, rng: random.Random) -> bytes:
    """Cells shuffled, dropped, doubled, retyped, renamed; sources that no editor writes."""
    cells: list[dict[str, Any]] = notebook["cells"]
    for _ in range(rng.randint(1, 5)):
        cell, other = rng.choice(cells), rng.choice(cells)
        what = rng.randrange(9)
        if what == 0:
            rng.shuffle(cells)
        elif what == 1 and len(cells) > 1:
            del cells[: rng.randrange(len(cells))]
        elif what == 2:
            cells.insert(rng.randrange(len(cells)), copy.deepcopy(cell))
        elif what == 3:
            cell["cell_type"] = rng.choice(["code", "markdown", "raw", "heading", "html", ""])
        elif what == 4:
            cell["id"] = rng.choice([other.get("id"), "", "a b", "x" * 99, "é", 3, None])
        elif what == 5:
            text = "".join(cell["source"])
            odd = ["\0", "\ud800", "\r", "\x0c", "\u2028", "%%", "!", "\t", "if 1:", "#" * 9999]
            at = rng.randrange(len(text) + 1)
            cell["source"] = text[:at] + rng.choice(odd) + text[at:]
        elif what == 6:
            cell["source"] = "".join(cell["source"]).splitlines(True)
        elif what == 7:
            picture = {rng.choice(["image/png", "text/html", ""]): junk(rng)}
            cell["attachments"] = {rng.choice(["a.png", "\ud800", ""]): rng.choice([picture, 3])}
        else:
            cell["outputs"] = [{"output_type": "execute_result", "data": junk(rng)}, junk(rng)]
    return json.dumps(notebook).encode()


def damage_metadata(notebook: Notebook, rng: random.Random) -> bytes:
    """nbgrader's own marks, the kernel and the format."""
    marked = [cell for cell in notebook["cells"] if nbgrader(cell)]
    for _ in range(rng.randint(1, 6)):
        cell, other = rng.choice(marked), rng.choice(marked)
        what = rng.randrange(7)
        meta = cell["metadata"].get("nbgrader") if isinstance(cell["metadata"], dict) else None
        if what == 0:
            notebook[rng.choice(["nbformat", "nbformat_minor"])] = rng.choice(
                [1, 2, 3, 5, junk(rng)]
            )
        elif what == 1:
            cells = copy.deepcopy(notebook["cells"])
            notebook["worksheets"] = rng.choice([[{"cells": cells}], junk(rng)])
            notebook["nbformat"] = rng.choice([2, 3])
        elif what == 2:
            notebook["metadata"] = junk(rng)
        elif what == 3:
            cell["metadata"] = rng.choice([{}, other["metadata"], {"tags": ["skip-execution"]}, 3])
        elif isinstance(meta, dict) and meta:
            key = rng.choice([*meta, "grade_id"])
            theirs = [each["metadata"] for each in marked if isinstance(each["metadata"], dict)]
            names = [
                each["nbgrader"].get("grade_id") for each in theirs if nbgrader({"metadata": each})
            ]
            meta[key] = rng.choice([*names, not meta.get(key), 10**6, junk(rng)])
    return json.dumps(notebook).encode()


DAMAGES: list[Callable[[Notebook, random.Random], bytes]] = [
    damage_json,
    damage_bytes,
    damage_cells,
    damage_metadata,
]


@dataclass(frozen=True)
class Malformed:
    """A damaged notebook."""

    number: int
    kind: str
    assignment: str
    name: str
    data: bytes

    @classmethod
    def make(cls, number: int, assignments: list[str]) -> Malformed:
        rng = random.Random(number)
        assignment = assignments[number // len(DAMAGES) % len(assignments)]
        name, original = rng.choice(originals(assignment))
        damage = DAMAGES[number % len(DAMAGES)]
        data = damage(copy.deepcopy(original), rng)
        return cls(number, damage.__name__.removeprefix("damage_"), assignment, name, data)


# Trial --------------------------------------------------------------------------------------------


@dataclass
class Ends:
    """How they ended: counts by kind of damage and state, and what went wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)


def read(malformed: Malformed) -> str:
    """Read, restore and write a notebook; 'graded' or 'rejected'. Raises for a defect of ours."""
    template = templates(malformed.assignment)[malformed.name]
    try:
        submission = template.submission(malformed.data)
    except Rejected as error:
        assert str(error).endswith((".", "?")), f"no sentence: {error}"
        return "rejected"
    cells = {}
    for cell in submission.notebook["cells"]:
        if nbgrader(cell):
            name = nbgrader(cell)["grade_id"]
            assert name not in cells, f"cell '{name}' stands there twice"
            cells[name] = cell
    assert set(cells) == set(template.owned)
    for name, original in template.owned.items():
        assert cells[name]["metadata"] == original["metadata"]
        assert cells[name]["cell_type"] == original["cell_type"]
        if is_locked(nbgrader(original)):
            assert cells[name]["source"] == original["source"]
    graded = autograded(submission, NotebookVerdict(template.name))
    json.dumps(graded, indent=1, ensure_ascii=False, sort_keys=True).encode()
    return "graded"


def read_all(numbers: list[int], ends: Ends) -> None:
    for number in numbers:
        malformed = Malformed.make(number, classroom.ASSIGNMENTS)
        try:
            state = read(malformed)
        except Exception:
            state = "crashed"
            ends.crashes.append(f"{number} ({malformed.kind}): {traceback.format_exc()}")
        ends.counts[malformed.kind, state] += 1


def grade_all(numbers: list[int], ends: Ends) -> None:
    """Grade them as one class."""
    with tempfile.TemporaryDirectory() as folder:
        course = classroom.scratch_course(Path(folder))
        made = {f"s{number}": Malformed.make(number, [ENGINE]) for number in numbers}
        folders = {}
        for student, malformed in made.items():
            folders[student] = classroom.submit(course, student, ENGINE, {})
            (folders[student] / f"{malformed.name}.ipynb").write_bytes(malformed.data)
        with Grader(course.assignment(ENGINE)) as supervisor:
            for graded in supervisor.grade_all(folders, os.cpu_count() or 1):
                result, malformed = graded.result, made[graded.result.student]
                ends.counts[f"{malformed.kind}, whole engine", result.status] += 1
                try:
                    assert result.status in ("graded", "rejected"), result.error
                    for pair in graded.notebooks.values():
                        json.dumps(autograded(*pair), indent=1, ensure_ascii=False).encode()
                except Exception:
                    ends.crashes.append(f"{result.student} in the engine: {traceback.format_exc()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many are read")
    parser.add_argument("--engine", type=int, default=300, help="how many are graded as well")
    parser.add_argument("--only", type=int, help="read and grade this one")
    options = parser.parse_args()
    console, ends = Console(), Ends()
    only = [options.only] if options.only is not None else None
    shown = track(only or range(options.count), "reading", console=console, transient=True)
    for number in shown:
        read_all([number], ends)
    grade_all(only or list(range(options.engine)), ends)
    for (kind, state), count in sorted(ends.counts.items()):
        console.print(f"{count:6d}  {kind}: {state}", highlight=False)
    for crash in ends.crashes:
        console.print(crash, markup=False, highlight=False)
    console.print(f"{len(ends.crashes)} crashed.", highlight=False)
    return int(bool(ends.crashes))


if __name__ == "__main__":
    sys.exit(main())
