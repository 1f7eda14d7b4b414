"""`make steady`: does a right solution ever lose a point by chance?

Hidden tests draw their inputs from the submission's bytes, so a submission is graded on the same
inputs each time, and two that differ by a comment on different ones. Here the reference, and each
kept right solution in turn, is submitted again and again with a comment that makes it new: none may
lose a point. With `--wrong`, the kept wrong solutions are: what they lose may not depend on luck.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proctor.ingest import nbgrader
from proctor.supervisor import Supervisor
from rich.console import Console
from rich.progress import track
from rich.table import Table

from proctor.course import Assignment
from tests import classroom

BATCH = 100  # submissions that are written, graded and deleted together
REFERENCE = classroom.Solution("the reference", "The instructor's own.", True)


@dataclass
class Losses:
    """How often a solution was graded, and how often it lost points, by test."""

    gradings: int = 0
    tests: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)

    @property
    def by_luck(self) -> dict[str, int]:
        """The grade cells that lost points in some gradings and not in others."""
        return {cell: n for cell, n in self.cells.items() if n < self.gradings}


def renewed(
    assignment: str, solution: classroom.Solution, number: int
) -> dict[str, dict[str, object]]:
    """A solution's notebooks, with a comment by which the grading key differs."""
    made = classroom.solved(assignment, None if solution is REFERENCE else solution)
    for notebook in made.values():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and nbgrader(cell).get("solution"):
                cell["source"] += f"\n# {number}"
                break
    return made


def losses(
    assignment: Assignment, solutions: list[classroom.Solution], count: int, console: Console
) -> dict[str, Losses]:
    """Grade `count` submissions, of each solution in turn, and count what they lost."""
    found = {solution.name: Losses() for solution in solutions}
    turns = enumerate(itertools.islice(itertools.cycle(solutions), count))
    shown = track(
        _batches(turns),
        assignment.name,
        -(-count // BATCH),
        console=console,
        disable=not console.is_terminal,
    )
    with Supervisor(assignment) as supervisor:
        for batch in shown:
            names, folders = {}, {}
            for number, solution in batch:
                student = f"s{number}"
                names[student] = solution.name
                made = renewed(assignment.name, solution, number)
                folders[student] = classroom.submit(
                    assignment.course, student, assignment.name, made
                )
            for graded in supervisor.grade_all(folders, os.cpu_count() or 1):
                result = graded.result
                if result.status != "graded":
                    raise RuntimeError(f"{names[result.student]}: {result.error}")
                lost = [test for test in result.tests if test.status == "failed"]
                told = found[names[result.student]]
                told.gradings += 1
                told.tests.update(test.name for test in lost)
                told.cells.update({test.cell for test in lost})
    return found


def _batches(
    turns: Iterator[tuple[int, classroom.Solution]],
) -> Iterator[list[tuple[int, classroom.Solution]]]:
    while batch := list(itertools.islice(turns, BATCH)):
        yield batch


def run(
    name: str, count: int, wrong: bool, only: str, console: Console
) -> list[tuple[str, str, int, int]]:
    """What was lost by chance in an assignment: solution, test or cell, times, gradings."""
    kept = [s for s in classroom.solutions(name) if s.right is not wrong]
    chosen = kept if wrong else [REFERENCE, *kept]
    chosen = [solution for solution in chosen if only in solution.name]
    with tempfile.TemporaryDirectory() as folder:
        course = classroom.scratch_course(Path(folder))
        found = losses(course.assignment(name), chosen, count, console)
    return [
        (solution, what, times, told.gradings)
        for solution, told in found.items()
        for what, times in (told.by_luck if wrong else told.tests).items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.steady", description=__doc__)
    parser.add_argument("assignments", nargs="*", default=classroom.ASSIGNMENTS)
    parser.add_argument("--sample", type=int, default=1_000, help="gradings of each assignment")
    parser.add_argument("--wrong", action="store_true", help="the wrong solutions instead")
    parser.add_argument("--only", default="", help="solutions with this in their names")
    options = parser.parse_args()
    console = Console()
    table = Table("assignment", "solution", "lost by chance", "times", "gradings")
    for name in options.assignments:
        lost = run(name, options.sample, options.wrong, options.only, console)
        for row in lost:
            table.add_row(name, *map(str, row))
        if not lost:
            table.add_row(name, "all", "nothing", "0", str(options.sample))
    console.print(table)
    return int(any(cell != "nothing" for cell in table.columns[2].cells))


if __name__ == "__main__":
    sys.exit(main())
