"""Results for programs: JSON, JUnit and Markdown, and what services take."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from proctor.errors import CourseError, ProctorError
from proctor.report import services
from proctor.report.remarks import in_students_process, misconceptions, remark, state
from proctor.verdict import Result, label, number, one_line, outcome, printable

SCHEMA = "proctor/results/v1"  # docs/results.schema.json; a key that changes or goes makes a v2


def as_json(assignment: str, results: Sequence[Result]) -> str:
    """One object: {"schema", "assignment", "submissions": [...]}."""
    submissions = [result.as_json() for result in results]
    text = json.dumps(
        {"schema": SCHEMA, "assignment": assignment, "submissions": submissions}, indent=1
    )
    return text.replace("##", "#\\u0023")  # the same in JSON, and no command in the log of a CI


def as_markdown(assignment: str, results: Sequence[Result]) -> str:
    """A summary for a CI job's page."""
    lines = [
        f"## {_plain(assignment)}",
        "",
        "| student | score | status | notes |",
        "| --- | ---: | --- | --- |",
    ]
    for result in results:
        score = f"{number(result.score)} / {number(result.max_score)}" if result.has_score else "-"
        cells = [_plain(result.student), score, state(result), _plain(remark(result))]
        lines.append(f"| {' | '.join(cells)} |")
    if claims := in_students_process(results):
        lines += ["", claims]
    if counted := misconceptions(results):
        lines += ["", *[f"- {count} x {_plain(name)}" for name, count in counted.most_common()]]
    if len(results) == 1:  # there is room for all of it
        lines += [*_list(results[0].notes)]
        failed = [test for test in results[0].tests if test.status == "failed"]
        lines += [*_list([f"{outcome(test)}: {label(test)}: {test.message}" for test in failed])]
    return "\n".join(lines) + "\n"


def _list(texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield ""
    yield from (f"- {_plain(text)}" for text in texts)


def _plain(text: str) -> str:
    """One line of text as Markdown shows it as it is: no link, picture, HTML, code, formula or
    mention, and no end of a table's cell.
    """
    text = re.sub(r"[\\`*_\[\]#|~$@]|:(?=//)|(?<=www)\.", r"\\\g<0>", one_line(text), flags=re.I)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_junit(assignment: str, results: Sequence[Result]) -> str:
    """A suite per student, a case per test; a rejected submission is an error of its suite."""
    root = ElementTree.Element("testsuites", name=printable(assignment))
    for result in results:
        failures = sum(test.status == "failed" for test in result.tests)
        waiting = sum(test.status == "manual" for test in result.tests)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=printable(result.student),
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
                suite, "testcase", name="submission", classname=printable(assignment)
            )
            ElementTree.SubElement(case, "error", message=printable(result.error))
        for test in result.tests:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                name=printable(test.name),
                classname=printable(f"{assignment}.{test.notebook}.{test.cell}"),
            )
            if test.status == "failed":
                ElementTree.SubElement(case, "failure", message=printable(test.message))
            elif test.status == "manual":
                ElementTree.SubElement(case, "skipped", message=printable(test.message))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def as_classroom50(assignment: str, results: Sequence[Result]) -> str:
    """The one submission, as Classroom 50's `result.json`."""
    return services.as_classroom50(_only("classroom50", results), os.environ)


def as_gradescope(assignment: str, results: Sequence[Result]) -> str:
    """The one submission, as Gradescope's `results.json`."""
    return services.as_gradescope(_only("gradescope", results))


def as_reporter(assignment: str, results: Sequence[Result]) -> str:
    """The one submission, as GitHub's old reporter takes it."""
    return services.as_reporter(_only("reporter", results))


def _only(form: str, results: Sequence[Result]) -> Result:
    if len(results) != 1:
        raise CourseError(
            f"The format {form} holds one submission, not {len(results)}: name one student, or "
            "write {student} into the file's name."
        )
    return results[0]


FORMATS: dict[str, Callable[[str, Sequence[Result]], str]] = {
    "json": as_json,
    "junit": as_junit,
    "markdown": as_markdown,
    "annotations": services.as_annotations,
    "gradescope": as_gradescope,
    "classroom50": as_classroom50,
    "reporter": as_reporter,
}


def write(form: str, path: str, assignment: str, results: Sequence[Result]) -> None:
    """Write results to a file in a format; with "{student}" in its name, a file for each student.

    Raises ProctorError if a file cannot be written.
    """
    parts = [results]
    if "{student}" in path:
        parts = [[result] for result in results]
    for part in parts:
        name = path.replace("{student}", part[0].student) if part is not results else path
        try:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(FORMATS[form](assignment, part), encoding="utf-8")
        except OSError as error:
            raise ProctorError(
                f"{name} cannot be written: {error.strerror}. What was graded is kept: name "
                "another file and run the command again."
            ) from None
