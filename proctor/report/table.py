"""Results for people, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.report.remarks import in_students_process, misconceptions, remark, state
from proctor.verdict import Change, Result, number, one_line, printable

ENOUGH = {"student": 20, "notes": 16}  # characters for columns that may be folded
GIVE_WAY = ("s", "status", "tests")  # where a terminal is too narrow for all, in this order


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
    rows = [_row(result) for result in results]
    widths = _fitting(rows, console.width)
    grid = Table(title=Text(one_line(assignment)), title_justify="left", show_footer=False)
    for name, width in widths.items():
        justify: Literal["left", "right"] = "right" if name in ("score", "tests", "s") else "left"
        fixed = None if name == "notes" else width
        grid.add_column(name, justify=justify, width=fixed, overflow="fold")
    for row in rows:
        if "status" not in widths and row["status"] != "graded":
            row["notes"] = f"{row['status']}: {row['notes']}" if row["notes"] else row["status"]
        grid.add_row(*[Text(row[name]) for name in widths])  # what is a student's is no markup
    console.print(grid)
    graded = [result for result in results if result.status == "graded"]
    if graded:
        middle = median(result.score for result in graded)
        say(
            console,
            f"{len(graded)} of {len(results)} graded, median {number(middle)} of "
            f"{number(graded[0].max_score)}, isolation: {graded[0].isolation}",
        )
    if claims := in_students_process(results):
        say(console, claims)
    for name, count in misconceptions(results).most_common():
        say(console, f"  {count:3d} x {name}")
    if kept:
        say(
            console,
            f"{kept} of {len(results)} still held and were not graded again (--force does).",
        )
    moves(changes, console)


def _row(result: Result) -> dict[str, str]:
    decided = [test for test in result.tests if test.status != "manual"]
    passed = sum(test.status == "passed" for test in decided)
    points = f"{result.score:.5g}/{number(result.max_score)}"
    return {
        "student": one_line(result.student),
        "score": points if result.has_score else "-",
        "tests": f"{passed}/{len(decided)}" if decided else "-",
        "status": state(result),
        "s": f"{result.seconds:.2f}",
        "notes": remark(result),
    }


def _fitting(rows: Sequence[dict[str, str]], width: int) -> dict[str, int]:
    """The columns that there is room for, and how wide they are; the notes take what is left."""
    longest = {
        name: max([len(name), *(cell_len(row[name]) for row in rows)])
        for name in ("student", "score", "tests", "status", "s", "notes")
    }
    columns = {name: min(size, ENOUGH.get(name, size)) for name, size in longest.items()}

    def room() -> int:
        return width - sum(columns.values()) - 3 * len(columns) - 1

    for name in GIVE_WAY:
        if room() < 0:
            del columns[name]
    columns["student"] = max(8, min(longest["student"], 32, columns["student"] + room()))
    return columns


def moves(changes: Sequence[Change], console: Console) -> None:
    """Print whose score moved, from what to what, and the tests that did it."""
    for change in changes:
        moved = ", ".join(change.moved[:4]) + (" and more" if len(change.moved) > 4 else "")
        say(
            console,
            f"{one_line(change.student)}: {number(change.before)} -> {number(change.after)}"
            f"  {moved}",
        )


NO_ISOLATION = "No isolation here: students' code can read and write what you can."


def say(console: Console, text: str, style: str = "") -> None:
    """Print text that may be a student's: as it is, without markup. The terminal breaks its lines,
    so that none begins where nobody wrote one.
    """
    shown = Text(printable(text), style)
    console.print(shown, soft_wrap=True)
