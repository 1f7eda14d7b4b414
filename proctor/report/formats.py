"""Results for programs: JSON, JUnit and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree

from proctor.report.remarks import in_students_process, misconceptions, remark
from proctor.verdict import Result, number, printable


def as_json(assignment: str, results: Sequence[Result]) -> str:
    """One object: {"assignment", "submissions": [...]}."""
    return json.dumps(
        {"assignment": assignment, "submissions": [result.as_json() for result in results]},
        indent=1,
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
