"""Results for people, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.report.remarks import in_students_process, misconceptions, remark
from proctor.verdict import Change, Result, number, printable


def table(
    assignment: str,
    results: Sequence[Result],
    console: Console,
    kept: int = 0,
    changes: Sequence[Change] = (),
) -> None:
    """Print the class: a row per student, the misconceptions counted in the footer.

    `kept` results still held from an earlier run; `changes` says whose score moved.
    """
    grid = Table(title=assignment, title_justify="left", show_footer=False)
    grid.add_column("student", no_wrap=True, max_width=32)
    grid.add_column("score", justify="right", no_wrap=True)
    grid.add_column("tests", justify="right", no_wrap=True)
    grid.add_column("status", no_wrap=True)
    grid.add_column("s", justify="right", no_wrap=True)
    grid.add_column("what was seen", overflow="fold", min_width=24)
    for result in results:
        decided = [test for test in result.tests if test.status != "manual"]
        passed = sum(test.status == "passed" for test in decided)
        grid.add_row(
            Text(printable(result.student)),  # what is a student's is no markup
            f"{result.score:.5g}/{number(result.max_score)}" if result.status == "graded" else "-",
            f"{passed}/{len(decided)}" if decided else "-",
            result.status + (", by hand too" if result.needs_manual else ""),
            f"{result.seconds:.2f}",
            Text(remark(result)),
        )
    console.print(grid)
    graded = [result for result in results if result.status == "graded"]
    if graded:
        scores = sorted(result.score for result in graded)
        console.print(
            f"{len(graded)} of {len(results)} graded, median {number(scores[len(scores) // 2])} of "
            f"{number(graded[0].max_score)}, isolation: {graded[0].isolation}"
        )
    if said := in_students_process(results):
        console.print(said, highlight=False)
    for name, count in misconceptions(results).most_common():
        console.print(f"  {count:3d} x {name}", highlight=False, markup=False)
    if kept:
        console.print(
            f"{kept} of {len(results)} still held and were not graded again (--force does)."
        )
    moves(changes, console)


def moves(changes: Sequence[Change], console: Console) -> None:
    """Print whose score moved, from what to what, and the tests that did it."""
    for change in changes:
        moved = ", ".join(change.moved[:4]) + (" and more" if len(change.moved) > 4 else "")
        console.print(
            f"{printable(change.student)}: {number(change.before)} -> {number(change.after)}"
            f"  {moved}",
            markup=False,
            highlight=False,
        )
