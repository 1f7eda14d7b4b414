"""What is decided, on results made by hand: points, changes, and text that can be printed."""

from __future__ import annotations

import time

import pytest

from proctor.verdict import (
    Change,
    Result,
    TestResult,
    change,
    first_word,
    number,
    one_line,
    printable,
    total,
)


def made(name: str, status: str = "passed", points: float = 1, **more: object) -> TestResult:
    earned = points if status == "passed" else 0.0
    return TestResult(name, "01_a", f"cell_{name}", earned, points, status, **more)  # type: ignore[arg-type]


def result(*tests: TestResult, student: str = "ada", **more: object) -> Result:
    worth = sum(test.max_points for test in tests)
    return Result(
        student, **{"status": "graded", "isolation": "full", "total": worth} | more, tests=[*tests]
    )  # type: ignore[arg-type]


def test_a_result_adds_up_and_says_what_waits() -> None:
    some = result(made("a", points=2), made("b", "failed", 3), made("c", "manual", 5))
    assert (some.score, some.max_score, some.needs_manual) == (2, 10, True)
    assert not result(made("a")).needs_manual
    assert result(*[made(str(i), points=1 / 3) for i in range(3)]).score == 1


def test_what_a_test_tells_its_author_is_not_in_the_json() -> None:
    [test] = result(made("a", "failed", detail="the traceback")).as_json()["tests"]
    assert "detail" not in test
    assert test["decided"] == "tester"


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ([made("a")], [made("a")], None),
        ([made("a")], [made("a", "failed")], ("a",)),
        ([made("a")], [made("a"), made("b", "failed")], ("b (new)",)),
        ([made("a"), made("b", "failed")], [made("a")], ("b (gone)",)),
    ],
    ids=["nothing", "lost", "a new test", "a test that vanished"],
)
def test_a_change_names_the_tests_that_moved(
    before: list[TestResult], after: list[TestResult], moved: tuple[str, ...] | None
) -> None:
    said = change(result(*before), result(*after))
    assert (said and said.moved) == moved
    if said:
        scores = [sum(test.points for test in tests) for tests in (before, after)]
        assert said == Change("ada", scores[0], scores[1], said.moved)


def test_points_that_are_worth_something_else_are_a_change() -> None:
    said = change(result(made("a", points=1)), result(made("a", points=2)))
    assert said == Change("ada", 1, 2, ())


def test_points_are_written_as_people_do() -> None:
    assert [number(value) for value in (7.5, 12.0, 1 / 3)] == ["7.5", "12", "0.3333"]
    assert total([made("a", points=1 / 3)] * 3) == 1


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ({"output_type": "error", "ename": "E", "evalue": "why"}, "error"),
        ({"output_type": "stream", "name": "stderr", "text": "oh"}, "error"),
        ({"output_type": "stream", "name": "stderr", "text": "Warning: old"}, "none"),
        ({"output_type": "stream", "name": "stdout", "text": "3"}, "none"),
        ({"output_type": "execute_result", "data": {"text/plain": "3"}}, "value"),
        ("no output at all", "none"),
    ],
)
def test_the_first_output_decides(output: object, kind: str) -> None:
    assert first_word([output], True, "^Warning").kind == kind
    assert first_word([], False).kind == "error"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: α, 数, é, 3 :: 4", None),
        ("TestTotal::test_it[a-1], x[::2], a ::2, # one, ## two", None),
        ("two\n\tlines", None),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("a\x9b31m\x00\x07\x7f\x85\r\n", "a�31m�����\n"),
        ("\u202eabc\u2066\u200e", "�abc��"),
        ("a\u200bb\u200d\ufeff\u2060\ufe0f\u3164\U000e0041", "a�b������"),
        ("\udcff\ud800", "��"),
        ("\u2028\u2029", "��"),
        ("::error::no", ":�:error::no"),
        ("a\n  ::set-output name=x::1 ::notice::", "a\n  :�:set-output name=x::1 :�:notice::"),
        ("x ##vso[task.x] ##[error]", "x #�#vso[task.x] #�#[error]"),
        ("###[group]##teamcity[", "##�#[group]#�#teamcity["),
    ],
)
def test_what_a_terminal_or_a_ci_would_obey_is_not_printed(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


def test_one_line_is_one() -> None:
    assert one_line(" a\nb\t\r\n c ") == "a b � c"
    assert one_line("a\n::error::b") == "a :�:error::b"


@pytest.mark.parametrize("text", ["##" + "a" * 20, "::", "#", "##a", " :", "\u200b"])
def test_it_takes_time_in_proportion(text: str) -> None:
    """Twice the text, about twice the time: a student chooses how long it is."""
    took = []
    for size in (1 << 17, 1 << 20):
        long = (text * size)[:size]
        start = time.process_time()
        printable(long)
        took.append(time.process_time() - start)
    assert took[1] < 8 * 5 * max(took[0], 1e-3)  # were it quadratic: 64
