"""Says what was decided: a table for people, JSON, JUnit and Markdown for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.record.recorder import Change, number
from proctor.verdict import Result, printable


def as_json(assignment: str, results: Sequence[Result]) -> str:
    """One object: {"assignment", "submissions": [...]}."""
    return json.dumps(
        {"assignment": assignment, "submissions": [result.as_json() for result in results]},
        indent=1,
    )


def misconceptions(results: Sequence[Result]) -> Counter[str]:
    """How many students showed each misconception."""
    return Counter(
        name
        for result in results
        for name in {test.misconception for test in result.tests if test.misconception}
    )


def remark(result: Result) -> str:
    """What to say of a submission in one line."""
    if result.error:
        return printable(result.error)
    shown = sorted({test.misconception for test in result.tests if test.misconception})
    parts = [", ".join(shown)] if shown else []
    parts += (
        [
            result.notes[0]
            + (f" (and {len(result.notes) - 1} more)" if len(result.notes) > 1 else "")
        ]
        if result.notes
        else []
    )
    return printable("; ".join(parts))


def in_students_process(results: Sequence[Result]) -> str:
    """A sentence on points that were decided where the student's code runs; "" if none were."""
    tests = [test for result in results for test in result.tests]
    theirs = sum(test.decided == "student" for test in tests)
    if not theirs:
        return ""
    return (
        f"{theirs} of {len(tests)} results were decided in the students' own processes, as "
        "nbgrader does: they are claims (docs/any-course.md)."
    )


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


def as_markdown(assignment: str, results: Sequence[Result]) -> str:
    """A summary for a CI job's page."""
    lines = [
        f"## {assignment}",
        "",
        "| student | score | status | what was seen |",
        "| --- | ---: | --- | --- |",
    ]
    for result in results:
        score = (
            f"{number(result.score)} / {number(result.max_score)}"
            if result.status == "graded"
            else "-"
        )
        seen = remark(result).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
        student = (
            printable(result.student).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
        )
        lines.append(f"| {student} | {score} | {result.status} | {seen} |")
    if said := in_students_process(results):
        lines += ["", said]
    found = misconceptions(results)
    if found:
        lines += ["", *[f"- {count} x {name}" for name, count in found.most_common()]]
    return "\n".join(lines) + "\n"


def as_junit(assignment: str, results: Sequence[Result]) -> str:
    """A suite per student, a case per test; a rejected submission is an error of its suite."""
    root = ElementTree.Element("testsuites", name=assignment)
    for result in results:
        failures = sum(test.status == "failed" for test in result.tests)
        waiting = sum(test.status == "manual" for test in result.tests)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(result.student),
            tests=str(len(result.tests) or 1),
            failures=str(failures),
            errors=str(int(result.error is not None)),
            skipped=str(waiting),
            time=f"{result.seconds:.3f}",
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name in ("score", "max_score", "isolation"):
            ElementTree.SubElement(
                properties, "property", name=name, value=str(getattr(result, name))
            )
        if result.error is not None:
            case = ElementTree.SubElement(
                suite, "testcase", name="submission", classname=assignment
            )
            ElementTree.SubElement(case, "error", message=_xml(result.error))
        for test in result.tests:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                name=_xml(test.name),
                classname=f"{assignment}.{test.notebook}.{test.cell}",
            )
            if test.status == "failed":
                ElementTree.SubElement(case, "failure", message=_xml(test.message))
            elif test.status == "manual":
                ElementTree.SubElement(case, "skipped", message=_xml(test.message))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Text that XML can hold."""
    return "".join(
        c
        for c in text
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
