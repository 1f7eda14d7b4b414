"""Do the kept right solutions carry what comes after them? `python -m tests.stacks` tries them all.

Each is handed in for its own assignment; a later one is graded on it (`--own-stack`), with the
instructor's own answers. What 01 calls right must hold up 05.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests import classroom


def kept(before: str, most: int | None = None) -> list[tuple[str, classroom.Solution]]:
    """The right solutions of the assignments before this one; of each at most so many."""
    earlier = classroom.ASSIGNMENTS[: classroom.ASSIGNMENTS.index(before)]
    return [
        (name, solution)
        for name in earlier
        for solution in [each for each in classroom.solutions(name) if each.right][:most]
    ]


def lost(target: str, stacks: Iterable[tuple[str, classroom.Solution]]) -> dict[str, set[str]]:
    """The grade cells of an assignment that lose points on these solutions, by solution.

    "its own" stands for a solution that could not be made a module at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        course = classroom.scratch_course(Path(folder))
        whose: dict[str, str] = {}
        for name, solution in stacks:
            student = f"{name}-{solution.name}"
            whose[student] = name
            classroom.submit(course, student, name, classroom.solved(name, solution))
            classroom.submit(course, student, target, classroom.solved(target))
        results = classroom.grade(course.assignment(target), whose, own_stack=True)
    found = {}
    for student, result in results.items():
        cells = {test.cell for test in result.tests if test.status == "failed"}
        main = whose[student].partition("_")[2]
        if result.status != "graded" or result.stack.get(main) != "student":
            cells.add("its own")
        if cells:
            found[student] = cells
    return found


def main() -> int:
    bad = 0
    for target in classroom.ASSIGNMENTS[1:]:
        stacks = kept(target)
        found = lost(target, stacks)
        bad += len(found)
        print(f"{target}: {len(stacks)} solutions before it, {len(found)} lose points")
        for name, cells in found.items():
            print(f"  {name}: {', '.join(sorted(cells))}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
