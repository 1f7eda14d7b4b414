"""What stands on a page of feedback, and where: made of notebooks that no grading is needed for."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from proctor.feedback.exporter import render
from proctor.feedback.page import Page, page
from proctor.record.points import RESULTS, points
from proctor.verdict import TestResult

Cell = dict[str, Any]
ABOUT = {"notebook": "nb", "assignment": "01_a", "score": 5.0, "max_score": 9.0, "late_penalty": 0}


def text(source: str, **meta: Any) -> Cell:
    return {"cell_type": "markdown", "id": "t", "metadata": known(meta), "source": source}


def code(name: str, source: str = "", **meta: Any) -> Cell:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": known({"grade_id": name, **meta} if meta else {}),
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def known(meta: dict[str, Any]) -> dict[str, Any]:
    return {"nbgrader": meta} if meta else {}


def answer(name: str, source: str = "x = 1", **meta: Any) -> Cell:
    return code(name, source, solution=True, **meta)


def graded(name: str, *tests: TestResult, notes: tuple[str, ...] = (), **meta: Any) -> Cell:
    """A grade cell with what proctor writes into it, and what the gradebook says."""
    score = sum(test.points for test in tests)
    most = sum(test.max_points for test in tests)
    given = {"grade": True, "locked": True, "score": score, "points": most, **meta}
    cell = code(name, "assert x\nassert y", **given)
    if tests:
        cell["outputs"] = [points(tests, 1, (), notes)]
    return cell


def judging(cell: Cell, name: str) -> Cell:
    """A grade cell whose author has named the answer."""
    [output] = cell["outputs"]
    output["data"][RESULTS]["judges"] = name
    return cell


def test(name: str, status: str = "passed", **more: Any) -> TestResult:
    most = 2.0
    cell = name.split(":")[0]
    return TestResult(name, "nb", cell, most * (status == "passed"), most, status, **more)


test.__test__ = False  # type: ignore[attr-defined]


def notebook(*cells: Cell) -> dict[str, Any]:
    return {"cells": [*cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def made(*cells: Cell, **about: Any) -> Page:
    return page(notebook(*cells), ABOUT | about)


def said(*cells: Cell, **about: Any) -> str:
    body = render(notebook(*cells), ABOUT | about).partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def places(found: Page) -> dict[str, list[str]]:
    return {str(s.title): [part.name for part in s.parts] for s in found.sections}


class TestSections:
    def test_hidden_tests_stand_with_the_answer_that_they_judge(self) -> None:
        found = made(
            text("# A title\n\nSome words.\n\n## log_softmax\n\nWrite it."),
            answer("log_softmax"),
            graded("check_log_softmax", test("check_log_softmax")),
            text("Well done.\n\n## Find the bug"),
            answer("breaks_it"),
            text("## What is next"),
            graded("LogSoftmax", test("TestLogSoftmax::test_a")),
            graded("Bug", test("TestBug::test_a")),
            graded("Everything", test("TestEverything::test_a")),
            judging(graded("Stable", test("TestStable::test_a")), "log_softmax"),
        )
        assert found.title == "A title"
        assert places(found) == {
            "log_softmax": ["log_softmax", "check_log_softmax", "LogSoftmax", "Stable"],
            "Find the bug": ["breaks_it", "Bug"],
            "More hidden tests": ["Everything"],
        }

    def test_a_comment_in_a_block_of_code_begins_no_section(self) -> None:
        found = made(text("## One\n\n```python\n# not a heading\n```\n"), answer("one"))
        assert places(found) == {"One": ["one"]}

    def test_a_student_begins_none(self) -> None:
        written = text("# Mine", grade_id="words", solution=True, grade=True, points=5, score=0)
        assert places(made(text("## Words"), written)) == {"Words": ["words"]}

    def test_cells_that_belong_to_no_answer_are_kept(self) -> None:
        found = made(text("## A"), code("own", "print(1)"))
        assert found.sections == [] and [part.name for part in found.others] == ["own"]
        assert "print ( 1 )" in said(text("## A"), code("own", "print(1)"))
        assert "Nothing in this notebook carries points." in said(text("## A"))


class TestTheGradebook:
    def test_what_a_person_has_set_or_written(self) -> None:
        page = said(
            answer("a", comment="Look at **this**."),
            graded(
                "A",
                test("A::x", "failed", message="No."),
                manual_score=1.5,
                score=2.0,
                extra_credit=0.5,
            ),
            late_penalty=3.0,
        )
        assert "Look at this ." in page
        assert "Your instructor has set the points: 1.5 of 2. The tests gave 0." in page
        assert "Extra credit: 0.5 points." in page
        assert "3 points were taken off because it was handed in late." in page

    def test_what_waits_and_what_a_person_has_graded(self) -> None:
        words = {"grade_id": "w", "solution": True, "grade": True, "points": 5, "score": 0}
        waiting = text("Because.", **words, needs_manual_grade=True)
        page = said(text("## In words"), waiting)
        assert "… waits for a person: In words , 5 points that the score does not hold" in page
        page = said(text("## In words"), text("Because.", **{**words, "score": 4}))
        assert "waits" not in page and "4 of 5 points" in page

    def test_a_task_of_nbgraders(self) -> None:
        task = text(
            "Draw. Then say why.", grade_id="t", task=True, points=4, score=3, comment="Fine"
        )
        page = said(text("## Drawing"), task)
        assert "3 of 4 points" in page and "Fine" in page and "Draw. Then say why." in page

    def test_points_without_tests_of_proctors(self) -> None:
        """Graded by nbgrader alone, or by an older proctor."""
        cell = graded("check", points=2, score=1)
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "seen"}]
        page = said(answer("a"), cell)
        assert "1 of 2 points" in page and "seen" in page


class TestTheFirstScreen:
    def test_the_misconception_behind_most(self) -> None:
        title = "It holds."
        often = {"message": f"{title}\nTurn it.", "title": title, "misconception": "turned"}
        seldom = {"message": f"{title}\nMove it.", "title": title, "misconception": "moved"}
        found = made(
            answer("a"),
            graded("A", *(test(f"A::{n}", "failed", **often) for n in "xy")),
            answer("b"),
            graded("B", test("B::x", "failed", **seldom)),
        )
        assert (found.misconception, found.advice, found.shown) == ("turned", "Turn it.", 2)
        assert found.first is not None and found.first.lines == ["Turn it."]

    def test_a_failed_check_marks_its_line(self) -> None:
        message = "line 2: assert y\nNameError: name 'y' is not defined"
        cells = answer("a"), graded("check_a", test("check_a", "failed", message=message))
        found = made(*cells)
        assert found.sections[0].rows[0].lines == [
            "line 2: assert y",
            "NameError: name 'y' is not defined",
        ]
        page = render(notebook(*cells), ABOUT)
        [marked] = re.findall(r'<mark class="line">(.*?)</mark>', page, re.DOTALL)
        assert re.sub("<[^>]*>", "", marked) == "here: assert y\n"

    def test_not_reached_is_not_failed(self) -> None:
        note = "cell 'a': the process that ran the code ended; no later cell could be run"
        late = test("A::x", "failed", message="It could not be tested.", reached=False)
        found = made(answer("a"), graded("A", test("A::w"), late, notes=(note,)))
        assert (found.failed, found.unreached, found.first) == (0, 1, None)
        assert found.stopped == [(note, found.sections[0].parts[0].anchor)]
        assert found.notes == []

    @pytest.mark.parametrize("score", [2.0, 9.0])
    def test_it_congratulates_for_everything_only(self, score: float) -> None:
        page = said(answer("a"), graded("A", test("A::x")), score=score, max_score=2.0)
        assert ("Well done" in page) is (score == 2.0)


HOSTILE = "</code><script>alert(1)</script>{{ 7 * 7 }}<b>"


def test_what_anybody_wrote_is_text() -> None:
    """Names, code, notes and messages; a comment is markdown."""
    cell = graded(
        "A", test("A::x", "failed", message=HOSTILE, misconception=HOSTILE), notes=(HOSTILE,)
    )
    page = render(
        notebook(text("## <b>A</b>"), answer("a", HOSTILE, comment=HOSTILE), cell),
        ABOUT | {"assignment": HOSTILE},
    )
    assert "<script" not in page and "49" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
