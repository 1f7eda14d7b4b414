"""Results as services read them: GitHub's annotations, Gradescope, Classroom 50, and GitHub's old
reporter.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from proctor.errors import CourseError
from proctor.report.remarks import remark
from proctor.verdict import Result, TestResult, number, one_line, printable

MAX_ANNOTATIONS = 10  # of each kind: GitHub shows no more of a step
# What Classroom 50 tells the program that grades, by the key of its result.
CLASSROOM50 = {
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "assignment_type": "ASSIGNMENT_TYPE",
    "owner": "OWNER",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
    "review": "REVIEW_URL",
    "datetime": "SUBMISSION_TIME",
}


def as_annotations(assignment: str, results: Sequence[Result]) -> str:
    """GitHub's workflow commands: an error for each submission without a result, a warning for
    each that is rejected and for each failed test.

    Whatever a student wrote is data of the command, escaped as GitHub's own toolkit does it.
    """
    errors: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    for result in results:
        if result.error is not None:
            where = errors if result.status == "error" else warnings
            where.append((result.student, remark(result)))
        warnings += [(f"{result.student}: cell", text) for text in result.syntax_errors]
        warnings += [
            (f"{result.student}: {test.name}", test.message)
            for test in result.tests
            if test.status == "failed"
        ]
    lines = []
    for command, told in (("error", errors), ("warning", warnings)):
        shown = told if len(told) <= MAX_ANNOTATIONS else told[: MAX_ANNOTATIONS - 1]
        lines += [
            f"::{command} title={_property(f'{assignment}, {title}')}::{_data(text)}"
            for title, text in shown
        ]
        if left := len(told) - len(shown):
            lines.append(f"::{command} title={_property(assignment)}::and {left} more")
    return "".join(f"{line}\n" for line in lines)


def _data(text: str) -> str:
    """Text as the data of a workflow command."""
    shown = printable(text).replace("%", "%25")
    return shown.replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Text as a property of a workflow command."""
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")


def as_classroom50(result: Result, environment: Mapping[str, str]) -> str:
    """A submission as Classroom 50's `result.json`, in whole points.

    What it is about comes from the variables that Classroom 50's runner sets; `SUBMISSION_TIME` is
    the commit's time, such as `git log -1 --format=%cI` prints it: grading again changes nothing.
    """
    told = {
        key: environment.get(variable, "").strip()
        for key, variable in CLASSROOM50.items()
        if key not in ("review", "assignment_type", "datetime")
    }
    if missing := [CLASSROOM50[key] for key, value in told.items() if not value]:
        raise CourseError(
            f"Classroom 50's result needs {', '.join(missing)}: variables that its runner sets."
        )
    if not told["submission"].startswith("submit/"):
        raise CourseError(
            f"SUBMISSION_TAG is {told['submission']!r}: Classroom 50 takes those that begin with "
            "'submit/'."
        )
    row = {
        "schema": "classroom50/result/v1",
        "classroom": told["classroom"],
        "assignment": told["assignment"],
        "assignment_type": environment.get(CLASSROOM50["assignment_type"]) or "individual",
        "owner": told["owner"],
        "submission": told["submission"],
        "commit": told["commit"],
        "release": told["release"],
        "review": environment.get(CLASSROOM50["review"]) or told["commit"],
        "datetime": _utc(environment.get(CLASSROOM50["datetime"], "")),
        "score": _whole(result.score),
        "max-score": _whole(result.max_score),
        "tests": [
            {
                "test-name": one_line(test.name) or "test",
                "passed": test.status == "passed",
                "score": _whole(test.points),
                "max-score": _whole(test.max_points),
            }
            for test in result.tests
        ],
    }
    return json.dumps(row, indent=2, ensure_ascii=False) + "\n"


def as_gradescope(result: Result) -> str:
    """A submission as Gradescope's `results.json`; all of it visible, since one hidden test would
    hide the score.

    Source: https://gradescope-autograders.readthedocs.io/en/latest/specs/#output-format
    """
    said = [f"Not valid Python: {text}" for text in result.syntax_errors]
    said += [result.error] if result.error else []
    said += result.notes
    waiting = sum(test.max_points for test in result.tests if test.status == "manual")
    if waiting:
        said.append(f"{number(waiting)} points are given by a person, and are not in this score.")
    said.append(f"Isolation of the code while it was graded: {result.isolation}.")
    row = {
        "score": result.score,
        "execution_time": round(result.seconds),
        "output": printable("\n".join(said)),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "extra_data": {"status": result.status, "isolation": result.isolation},
        "tests": [
            {
                "score": test.points,
                "max_score": test.max_points,
                "status": test.status,
                "name": one_line(f"{test.cell}: {test.name}"),
                "number": str(count),
                "output": printable(test.message),
                "output_format": "text",
                "tags": [test.misconception] if test.misconception else [],
                "visibility": "visible",
            }
            for count, test in enumerate(result.tests, 1)
            if test.status in ("passed", "failed")
        ],
    }
    return json.dumps(row, indent=1) + "\n"


def as_reporter(result: Result) -> str:
    """A submission as GitHub's old reporter for classrooms takes it: base64 of a JSON object."""
    status = "error" if result.error else "pass" if _all_passed(result.tests) else "fail"
    row = {
        "version": 1,
        "status": status,
        "max_score": result.max_score,
        "tests": [
            {
                "name": one_line(test.name),
                "status": "pass" if test.status == "passed" else "fail",
                "score": test.points,
                "message": printable(test.message),
                "test_code": "",
                "filename": f"{one_line(test.notebook)}.ipynb",
                "line_no": 0,
                "duration": 0,
            }
            for test in result.tests
        ],
    }
    return base64.b64encode(json.dumps(row).encode()).decode() + "\n"


def _all_passed(tests: Sequence[TestResult]) -> bool:
    return all(test.status != "failed" for test in tests)


def _whole(points: float) -> int:
    """Whole points, halves upwards: Classroom 50 knows no others."""
    return int(points + 0.5)


def _utc(text: str) -> str:
    """A time of ISO 8601 as Classroom 50 writes it."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise CourseError(
            f"SUBMISSION_TIME is {text!r}, not a time with its zone: set it to the commit's, as "
            "`git log -1 --format=%cI` prints it."
        )
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
