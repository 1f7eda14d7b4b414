"""`make steady`: does a right solution ever lose a point by chance?

Hidden tests draw their inputs from the submission's bytes: the same submission is graded on the
same inputs each time, one that differs by a comment on others. Here the reference and each kept
right solution are submitted again and again, in turn, each time with another comment: none may lose
a point. With `--wrong` the kept wrong solutions are: no cell may be lost in some gradings only.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from proctor.course.course import Assignment
from proctor.notebook.cells import nbgrader
from tests import classroom

BATCH = 100  # submissions that are written, graded and deleted together
REFERENCE = classroom.Solution("the reference", "The instructor's own.", True)


@dataclass
class Losses:
    """How often a solution was graded, and how often each test and each grade cell lost points."""

    gradings: int = 0
    tests: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)

    @property
    def by_luck(self) -> dict[str, int]:
        """The grade cells that lost points in some gradings and not in others."""
        return {cell: n for cell, n in self.cells.items() if n < self.gradings}


def renewed(name: str, solution: classroom.Solution, number: int) -> dict[str, dict[str, Any]]:
    """A solution's notebooks, with a comment that gives it other inputs."""
    made = classroom.solved(name, solution)
    for notebook in made.values():
        written = (c for c in notebook["cells"] if nbgrader(c).get("solution"))
        first = next((c for c in written if c["cell_type"] == "code"), None)
        if first is not None:
            first["source"] = f"{classroom.text_of(first)}\n# {number}"
    return made


def losses(
    assignment: Assignment,
    solutions: Iterable[classroom.Solution],
    count: int,
    console: Console | None = None,
) -> dict[str, Losses]:
    """Grade `count` submissions, of each solution in turn, and count what they lost."""
    turns = list(enumerate(itertools.islice(itertools.cycle(solutions), count)))
    found = {solution.name: Losses() for _, solution in turns}
    batches = [turns[start : start + BATCH] for start in range(0, count, BATCH)]
    shown = console is not None and console.is_terminal
    for batch in track(batches, assignment.name, console=console, disable=not shown):
        folders = []
        for number, solution in batch:
            made = renewed(assignment.name, solution, number)
            folders.append(classroom.submit(assignment.course, f"{number}", assignment.name, made))
        results = classroom.grade(assignment, [f"{number}" for number, _ in batch])
        for number, solution in batch:
            result, told = results[f"{number}"], found[solution.name]
            if result.status != "graded":
                raise RuntimeError(f"{solution.name}: {result.status}, {result.error}")
            lost = [test for test in result.tests if test.status == "failed"]
            told.gradings += 1
            told.tests.update(test.name for test in lost)
            told.cells.update({test.cell for test in lost})
        for folder in folders:
            shutil.rmtree(folder)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.steady", description=__doc__)
    parser.add_argument("assignments", nargs="*", default=classroom.ASSIGNMENTS)
    parser.add_argument("--sample", type=int, default=1_000, help="gradings of each assignment")
    parser.add_argument("--wrong", action="store_true", help="the wrong solutions instead")
    options = parser.parse_args()
    console, table, bad = Console(), Table(), False
    for heading in ("assignment", "solution", "lost by chance", "times", "gradings"):
        table.add_column(heading)
    for name in options.assignments:
        kept = [each for each in classroom.solutions(name) if each.right is not options.wrong]
        chosen = kept if options.wrong else [REFERENCE, *kept]
        with tempfile.TemporaryDirectory() as folder:
            assignment = classroom.scratch_course(Path(folder)).assignment(name)
            found = losses(assignment, chosen, options.sample, console)
        lost = 0
        for solution, told in found.items():
            for what, times in (told.by_luck if options.wrong else told.tests).items():
                table.add_row(name, solution, what, f"{times}", f"{told.gradings}")
                lost += times
        if not lost:
            table.add_row(name, f"all {len(chosen)}", "nothing", "0", f"{options.sample}")
        bad |= lost > 0
    console.print(table)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
