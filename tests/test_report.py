"""Reports, on results made by hand: every way out, what is counted, and who is named."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from proctor import cli
from proctor import run as running
from proctor.cli import grading
from proctor.report import formats, table
from proctor.report.remarks import misconceptions
from proctor.student import check
from proctor.verdict import Change, NotebookVerdict, Result
from tests.test_verdict import made, result

# What a terminal, a browser or a CI would obey, at the start of a line and within one.
HOSTILE = (
    "\x1b[2J\x1b]0;title\x07 \x9b31m \u202egnirts \u200b\u2066 \udcff [/] [bold]x[/bold]\n"
    "::error::obey\r::error::obey\n  ::set-output name=a::b\n##vso[task.complete result=Failed]x"
    " ##[error]y <img src=https://evil.example/a> ![p](https://evil.example/b) | `c` @all"
)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
    r"|(?m:^\s*::)|##\w*\["
)


def hostile() -> Result:
    """A submission that says it wherever a student can say something."""
    tests = [
        made(HOSTILE, "failed", message=HOSTILE, misconception=HOSTILE, detail=HOSTILE),
        made("b", "manual", message=HOSTILE),
    ]
    return result(*tests, student=HOSTILE, notes=[HOSTILE, HOSTILE])


def broken(status: str) -> Result:
    return Result(HOSTILE, status, "full", error=HOSTILE)  # type: ignore[arg-type]


# The formats that name every student; services have tests of their own.
OF_MANY = ["json", "junit", "markdown"]
CHANGES = [Change(HOSTILE, 1, 2, (HOSTILE,))]


@pytest.fixture
def grade(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """`proctor grade` where the grading itself gives these results."""
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.Proctor.checks = 'tester'\n")
    (tmp_path / "source" / "01_a").mkdir(parents=True)
    (tmp_path / "source" / "01_a" / "01_a.ipynb").write_text("{}")

    def call(results: list[Result], *words: object, changes: list[Change] = CHANGES) -> int:
        def grade(*_: object, **options: Any) -> running.Run:
            run = running.Run("full", len(results), 0, results, changes)
            options["watch"](run)
            return run

        monkeypatch.setattr(running, "grade", grade)
        with pytest.raises(SystemExit) as ended:
            cli.main(["grade", "01_a", "--course", str(tmp_path), *map(str, words)])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return call


@pytest.fixture
def checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[list[Any], list[str]], str]:
    """`proctor check` of a notebook whose checks end like this; what it prints."""
    meta = {"schema_version": 3, "grade_id": "a", "grade": True, "locked": True, "points": 1}
    meta |= {"solution": False, "task": False}
    cells = [
        {"cell_type": "markdown", "id": "t", "metadata": {}, "source": f"# {HOSTILE}"},
        {"cell_type": "code", "id": "a", "metadata": {"nbgrader": meta}, "source": "assert f()"},
    ]
    path = tmp_path / "01_a.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))

    class Graded:
        isolation, supervisor = "full", SimpleNamespace()

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Graded:
            return self

        def __exit__(self, *_: object) -> None: ...
        def grade_notebook(self, *_: object) -> NotebookVerdict:
            return NotebookVerdict("01_a", self.tests, {}, self.notes)

    def call(tests: list[Any], notes: list[str]) -> str:
        Graded.tests, Graded.notes = tests, notes  # type: ignore[attr-defined]
        monkeypatch.setattr(check, "Grader", Graded)
        screen = io.StringIO()
        console = Console(file=screen, width=40)
        check.show(check.check_notebook(path, "", console), console)
        return screen.getvalue()

    return call


def test_no_way_out_obeys_a_student(
    grade: Callable[..., int],
    checked: Callable[[list[Any], list[str]], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that leaves proctor for a terminal, a CI's log or a CI's page."""
    ways: dict[str, str] = {}
    results = [hostile(), broken("rejected"), broken("error")]
    for form in ("table", *OF_MANY):
        assert grade(results, "--format", form, "--explain") == 1
        ways[form], ways[f"{form}: stderr, --explain, an error's line"] = capsys.readouterr()
    for width in (30, 60, 200):
        screen = io.StringIO()
        table.table(HOSTILE, results, Console(file=screen, width=width), 1, CHANGES)
        ways[f"table, {width} columns"] = screen.getvalue()
    grade(results, "--summary", tmp_path / "summary.md")
    ways["--summary"] = (tmp_path / "summary.md").read_text()
    capsys.readouterr()
    grade([], "--summary", tmp_path / "nowhere" / HOSTILE.replace("/", ""))
    ways["an error's sentence"] = capsys.readouterr().err
    failed = made("a", "failed", message=HOSTILE)
    failed.cell = "a"
    ways["check"] = checked([failed, made(HOSTILE, "failed")], [HOSTILE])
    bar = grading._progress(Console(file=io.StringIO(), width=200))
    bar.add_task(
        grading.one_line(HOSTILE), text=grading._so_far(running.Run("full", 3, 0, results))
    )
    screen = io.StringIO()
    Console(file=screen, width=200).print(bar.get_renderable())
    ways["progress"] = screen.getvalue()
    for name, text in ways.items():
        assert len(text) > 20, name
        assert not (found := FORBIDDEN.search(text)), (name, found)
        assert "Traceback" not in text, name
    assert json.loads(ways["json"])["submissions"][0]["student"] == HOSTILE
    names = [suite.get("name") for suite in ElementTree.fromstring(ways["junit"])]
    assert all("gnirts" in str(name) for name in names)


def test_markdown_is_shown_as_it_was_written(tmp_path: Path) -> None:
    """Nothing of a student's is a link, a picture, HTML, code, a mention or another cell."""
    [_, _, _, _, row, *_] = formats.as_markdown("01_a", [broken("rejected")]).splitlines()
    assert len(re.split(r"(?<!\\)\|", row)) == 6
    live = re.findall(r"(?<!\\)[`*_\[\]<>@]|https?://|(?<!\\)\bwww\.", row)
    assert live == []
    odd = "[a](javascript:b) *c* _d_ ~~e~~ \\| $f$ #1 www.g.example <h> &lt; \\"
    text = formats.as_markdown("01_a", [result(student=odd)])
    assert (
        "| \\[a\\](javascript:b) \\*c\\* \\_d\\_ \\~\\~e\\~\\~ \\\\\\| \\$f\\$ \\#1 www\\.g.example"
        " &lt;h&gt; &amp;lt; \\\\ |" in text
    )


def test_markdown_says_who_needs_manual_grading() -> None:
    some = [result(made("a")), result(made("a"), made("b", "manual"), student="bob")]
    rows = formats.as_markdown("01_a", some).splitlines()
    assert rows[4] == "| ada | 1 / 1 | graded |  |"
    assert rows[5] == "| bob | 1 / 2 | needs manual grading |  |"


@pytest.mark.parametrize("name", ["x" * 5000, "a\nb", "[/]", "[red]r", "a\udcffb", ":smile:", ""])
def test_a_student_may_be_called_anything(
    name: str, grade: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No format, no summary and no explanation ends in a traceback."""
    some = [result(made("a", "failed", detail="why"), student=name), result(made("a"))]
    for form in ("table", *OF_MANY):
        assert grade(some, "--format", form, "--explain", "--summary", tmp_path / "s.md") == 0
        out, err = capsys.readouterr()
        assert "ada" in out and "why" in err
    shown = grading.one_line(name)[:20]
    assert shown in err


def test_a_summary_that_cannot_be_written_is_a_sentence(
    grade: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "nowhere" / "summary.md"
    assert grade([result(made("a"))], "--summary", where) == 1
    out, err = capsys.readouterr()
    assert "1/1" in out  # what was graded is shown all the same
    assert err.splitlines()[-1].startswith(f"proctor: The summary {where} cannot be written: No")


def shown(results: list[Result], width: int = 118, **more: Any) -> str:
    screen = io.StringIO()
    table.table("01_a", results, Console(file=screen, width=width), **more)
    return screen.getvalue()


@pytest.mark.parametrize(
    ("scores", "middle"), [([0, 10], "5"), ([0, 1, 10], "1"), ([3], "3"), ([1, 2, 3, 4], "2.5")]
)
def test_the_median_is_the_middle(scores: list[float], middle: str) -> None:
    some = [result(made("a", points=score), total=10) for score in scores]
    footer = f"{len(scores)} of {len(scores) + 1} graded, median {middle} of 10, isolation: full"
    assert footer in shown([*some, broken("rejected")])


def test_misconceptions_are_counted_by_student() -> None:
    twice = [made(name, "failed", misconception="sign") for name in ("a", "b", "c")]
    other = made("d", "failed", misconception="shape")
    some = [result(*twice, other), result(twice[0], student="bob"), result(made("a"))]
    assert misconceptions(some) == {"sign": 2, "shape": 1}
    for text in (shown(some), formats.as_markdown("01_a", some)):
        counts = [line.strip(" -") for line in text.splitlines() if " x " in line]
        assert counts == ["2 x sign", "1 x shape"]


@pytest.mark.parametrize("width", [200, 118, 80, 60, 40])
def test_a_narrow_terminal_keeps_student_score_and_notes(width: int) -> None:
    some = [
        result(
            made("a", points=17), made("b", "manual", 3), student="ada lovelace", notes=["a note"]
        ),
        Result("bob", "rejected", "full", error="The file is not a notebook."),
    ]
    text = shown(some, width)
    grid = text[: text.rindex("┘") + 1].splitlines()[1:]
    assert max(map(len, grid)) <= width
    words = " ".join(" ".join(grid).replace("│", " ").replace("┃", " ").split())
    heads = words.split("╇")[0]
    assert [name for name in ("student", "score", "notes") if f" {name} " not in heads] == []
    assert (" s " in heads, " status " in heads) == (width > 80, width > 60)
    for said in ("ada", "17/20", "bob", "needs", "rejected", "a note"):
        assert said in words, words


def test_the_table_says_what_it_knows() -> None:
    some = [result(made("a"), made("b", "failed")), result(made("c", "manual"), student="bob")]
    changes = [Change("ada", 1, 2, tuple("tests"))]
    text = shown(some, kept=1, changes=changes)
    assert re.search(r"ada +│ +1/2 │ +1/2 │ graded ", text)
    assert re.search(r"bob +│ +0/1 │ +- │ needs manual grading ", text)
    assert "1 of 2 still held and were not graded again" in text
    assert "ada: 1 -> 2  t, e, s, t and more" in text
    some[0].tests[0].decided = "student"
    assert "1 of 3 results were decided in the students' own processes" in shown(some)


def test_junit_counts_what_it_lists() -> None:
    tests = [made("a"), made("b", "failed", message="why"), made("c", "manual", message="later")]
    root = ElementTree.fromstring(formats.as_junit("01_a", [result(*tests), broken("error")]))
    for suite in root:
        for attribute, tag in (
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert suite.get(attribute) == str(len([*suite.iter(tag)]))
        assert suite.get("tests") == str(len(suite.findall("testcase")))
    ada = root[0]
    assert [ada.get(name) for name in ("tests", "failures", "errors", "skipped")] == list("3101")
    classes = [case.get("classname") for case in ada.iter("testcase")]
    assert classes == [f"01_a.01_a.cell_{name}" for name in "abc"]
    assert [skipped.get("message") for skipped in ada.iter("skipped")] == ["later"]


def test_the_bar_says_how_many() -> None:
    some = [result(), result(), broken("rejected")]
    run = running.Run("full", 12, 1, [result(), *some])
    assert grading._so_far(run) == "graded 2 of 12, 1 rejected"
    run.results.append(broken("error"))
    assert grading._so_far(run) == "graded 2 of 12, 1 rejected, 1 without a result"
    assert grading._so_far(running.Run("full", 3)) == "graded 0 of 3"
