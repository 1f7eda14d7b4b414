"""What students are shown, and what their pages can do to the one who grades them.

Feedback names the property that failed and the kind of input; it holds no hidden test. Pages are
opened in a browser: people can use them, and nothing in them is alive. From the wrong side: where
nothing was sanitised, scripts run on nbgrader's own page, and on ours still none.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proctor.course.course import Course
from proctor.feedback import rendering
from proctor.feedback.exporter import render
from proctor.grade.grading import Grader
from proctor.notebook.cells import parse
from proctor.notebook.outputs import outputs
from proctor.notebook.template import Stubs, Submission
from proctor.record.autograded import autograded, with_notice
from proctor.record.points import RESULTS, points, results
from proctor.verdict import NotebookVerdict, TestResult
from tests.attacks import corpus
from tests.attacks.range import MAGIC, Range
from tests.browser import Tab, needs_axe, opened
from tests.screenshots import SCORED, formgrader

OTHERS = ("inputs-as-messages", "frames-in-a-call", "driver-source")
HOSTILE = [attack for attack in corpus.attacks() if attack.group == "output"]
CHOSEN = HOSTILE + [attack for attack in corpus.attacks() if attack.name in OTHERS]
WRONG = "wrong"  # a student with an honest mistake
WHOLE, UNCLOSED, ENDED, BLANK = "whole", "unclosed", "ended", "blank"


@dataclass(frozen=True)
class Class:
    """A graded class and its feedback."""

    place: Range
    results: dict[str, dict[str, Any]]

    def notebook(self, student: str) -> Path:
        return self.place.course / "autograded" / student / "mini/mini.ipynb"

    def page(self, student: str) -> Path:
        return self.place.course / "feedback" / student / "mini/mini.html"

    def texts(self, student: str) -> str:
        """All that a student gets to see."""
        result = json.dumps(self.results[student], ensure_ascii=False)
        return result + self.notebook(student).read_text() + self.page(student).read_text()


def generate_feedback(place: Range, *options: str) -> None:
    done = place.nbgrader("generate_feedback", "mini", "--force", *options)
    assert done.returncode == 0, done.stderr


SOLVED = {cell["id"]: cell["source"] for cell in corpus.solved()["cells"]}
# What made students write in place of the right thing, by cell.
MADE: dict[str, dict[str, str]] = {
    WRONG: {
        "line": SOLVED["line"].replace("self.a * x + self.b", "self.a * x - self.b"),
        "steps": SOLVED["steps"].replace("(n - 1)", "n").replace("n - 1 else b", "n else b"),
    },
    WHOLE: {"question": Stubs().text},
    UNCLOSED: {"line": SOLVED["line"] + "\nprint((1, 2)"},
    ENDED: {"line": "import os\nos._exit(0)"},
    BLANK: {},
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Class:
    place = Range(tmp_path_factory.mktemp("feedback"))
    place.prepare()
    for student, cells in MADE.items():
        found = corpus.blank() if student == BLANK else corpus.solved()
        for cell in found["cells"]:
            cell["source"] = cells.get(cell["id"], cell["source"])
        folder = place.course / "submitted" / student / "mini"
        folder.mkdir(parents=True)
        (folder / "mini.ipynb").write_text(json.dumps(found))
    run = place.shoot("", CHOSEN)
    assert run.status == 0, run.complaints
    generate_feedback(place)
    return Class(place, run.results)


STUDENTS = [*MADE, *(attack.name for attack in CHOSEN)]


class TestWhatStudentsAreTold:
    def test_the_property_and_the_kind_of_input(self, graded: Class) -> None:
        tests = {test["name"]: test for test in graded.results[WRONG]["tests"]}
        message = tests["TestLine::test_arrays"]["message"]
        assert message == (
            "A line takes an array and gives an array of the same shape. "
            "Tried on an array of shape (3, 4)."
        )
        assert tests["TestLine::test_arrays"]["status"] == "failed"
        page = graded.page(WRONG).read_text()
        for test in tests.values():
            if "test_" in test["name"]:
                assert test["name"] in page
                assert test["title"].rstrip(".") in page
                assert test["message"].startswith(test["title"] if test["points"] == 0 else "")

    @pytest.mark.parametrize("student", STUDENTS)
    def test_no_hidden_test_and_no_path(self, graded: Class, student: str) -> None:
        texts = graded.texts(student)
        assert graded.place.token not in texts  # stands in tests, answers, secrets
        assert MAGIC not in texts
        for path in (graded.place.course, "tests/hidden", "test_line.py", "proctor/tester.py"):
            assert str(path) not in texts
        for test in graded.results[student]["tests"]:
            message = test["message"]
            assert "Traceback" not in message and "Falsifying" not in message
            if test["cell"] != "check_double":
                assert not re.search(r"assert|CANARY|\d\.\d{3}", message), message

    def test_what_is_looked_for_stands_in_the_suite(self, graded: Class) -> None:
        """From the wrong side: there is something to be found."""
        suite = (graded.place.course / "tests/hidden/mini/test_line.py").read_text()
        assert graded.place.token in suite and MAGIC in suite and "assert_close(" in suite


def text_of(page: Path) -> str:
    """What a page says, without its markup, on one line."""
    body = page.read_text().partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


class TestTheFirstScreen:
    def first(self, graded: Class, student: str) -> str:
        return text_of(graded.page(student)).partition("Section by section")[0]

    def test_a_syntax_error_comes_before_all(self, graded: Class) -> None:
        said = self.first(graded, UNCLOSED)
        assert "Mend this first" in said and "cell 'line', line 11: '(' was never closed" in said
        assert "Look here first" not in said

    def test_what_failed_first(self, graded: Class) -> None:
        said = self.first(graded, WRONG)
        assert "A line and its steps 10 of 100 points" in said
        assert "✗ failed A line of slope a and intercept b is a x + b at x." in said
        assert "waits for a person" in said and "10 points" in said

    def test_why_tests_were_not_reached(self, graded: Class) -> None:
        said = self.first(graded, ENDED)
        assert "6 tests were not reached" in said
        assert "cell 'line': the process that ran the code ended" in said
        assert "Look here first" not in said
        rows = text_of(graded.page(ENDED)).partition("Section by section")[2]
        assert rows.count("→ not reached") == 6 and "✗ failed" not in rows

    def test_a_blank_notebook_says_what_to_write(self, graded: Class) -> None:
        said = self.first(graded, BLANK)
        assert "Still to be written: double , line , steps , question ." in said
        assert "Look here first" not in said

    def test_everything_passed_is_one_line(self, graded: Class) -> None:
        said = self.first(graded, WHOLE)
        assert "Every test passed, all 7 of them." in said
        assert "failed" not in said and "Mend" not in said


class TestEveryTest:
    @pytest.mark.parametrize("student", [WHOLE, WRONG, ENDED])
    def test_stands_by_name_beside_the_code(self, graded: Class, student: str) -> None:
        page = text_of(graded.page(student))
        for test in graded.results[student]["tests"]:
            assert test["name"] in page
        assert page.index("Your code: line") < page.index("TestLine::test_everywhere")
        assert page.index("TestLine::test_everywhere") < page.index("Your code: steps")

    def test_the_line_that_an_error_names_is_marked(self, graded: Class) -> None:
        marked = re.findall(
            r'<mark class="line">(.*?)</mark>', graded.page(UNCLOSED).read_text(), re.S
        )
        assert [re.sub("<[^>]*>", "", line) for line in marked] == ["here: print((1, 2)\n"]


class TestWhatTravels:
    def test_it_is_in_the_autograded_notebook(self, graded: Class) -> None:
        notebook = json.loads(graded.notebook(WRONG).read_text())
        told = [results(cell.get("outputs")) for cell in notebook["cells"]]
        tests = [vars(test) | {"detail": ""} for each in told if each for test in each["tests"]]
        kept = [t for t in graded.results[WRONG]["tests"] if t["status"] != "manual"]
        assert tests == [test | {"detail": ""} for test in kept]

    @pytest.mark.parametrize("kind", ["display_data", "execute_result"])
    def test_no_student_can_write_it(self, kind: str) -> None:
        forged = points([TestResult("a", "mini", "a", 99.0, 99.0, "passed")], 1)["data"][RESULTS]
        said = {"output_type": kind, "data": {RESULTS: forged, "text/plain": "99"}}
        [shown] = outputs([said])
        if kind == "execute_result":
            assert results([said]) is not None  # if it came through
        assert RESULTS not in shown["data"] and results([shown]) is None


FINE = ("serious", "critical")


def look(browser: Any, page: Path, axe: bool = False, **options: Any) -> list[str]:
    """What a page did that it must not do, poked at, and what people could not use of it."""
    with opened(browser, page, **options) as tab:
        found = poked(tab)
        if axe:
            tab.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            found += tab.axe(*FINE)
            found += [f"asked for {address}" for address in tab.requests]
        return found


def poked(tab: Tab) -> list[str]:
    """What of a student's is alive on a page."""
    found = [
        f"link {link.get_attribute('href')}"
        for link in tab.page.locator("a[href^='javascript']").all()
    ]
    for name in ("b", "details", "img"):
        for thing in tab.page.locator(f"#notebook {name}, main {name}").all()[:10]:
            with contextlib.suppress(Exception):
                thing.dispatch_event("mouseover")
    tab.page.wait_for_timeout(300)
    if flag := tab.page.evaluate("window.attacked"):
        found.append(f"window.attacked = {flag}")
    return found + tab.said


def as_output(output: dict[str, Any]) -> dict[str, Any]:
    """An output of nbformat's, from what a worker told."""
    if output["output_type"] == "display_data":
        return {k: v for k, v in output.items() if k != "execution_count"} | {"metadata": {}}
    return {**output, "metadata": {}} if "data" in output else output


def unsanitised(graded: Class, root: Path) -> Class:
    """The same class, with what students wrote and printed left as it is."""
    place = Range(root, token=graded.place.token)
    shutil.copytree(graded.place.course, place.course, symlinks=True)
    shutil.rmtree(place.course / "feedback")
    with contextlib.suppress(FileNotFoundError):
        (place.course / ".nbgrader.log").unlink()
    assignment = Course.load(place.course).assignment("mini")
    made = {attack.name for attack in HOSTILE if attack.script}
    for folder in (place.course / "autograded").iterdir():
        if folder.name not in made:
            shutil.rmtree(folder)
    clean = Class(place, graded.results)
    with Grader(assignment) as supervisor:
        for name in made:
            raw = supervisor.grade(name, place.course / "submitted" / name / "mini")
            submission, verdict = raw.notebooks["mini"]
            notebook = json.loads(clean.notebook(name).read_text())
            shown = {cell["id"]: cell for cell in notebook["cells"]}
            for cell in submission.notebook["cells"]:
                target = shown[cell["id"]]
                target["source"], target["cell_type"] = cell["source"], cell["cell_type"]
                if "outputs" in target and cell["id"] in verdict.outputs:
                    target["outputs"] = [as_output(o) for o in verdict.outputs[cell["id"]]]
                if cell["cell_type"] == "raw":
                    target["metadata"] = {"format": "text/html", "raw_mimetype": "text/html"}
            path = clean.notebook(name)
            path.chmod(0o644)
            path.write_text(json.dumps(notebook))
    return clean


@pytest.fixture(scope="module")
def raw(graded: Class, tmp_path_factory: pytest.TempPathFactory) -> Class:
    return unsanitised(graded, tmp_path_factory.mktemp("raw"))


SCRIPTED = [attack.name for attack in HOSTILE if attack.script]


class TestInTheBrowser:
    def test_nothing_of_a_student_is_alive(self, graded: Class, browser: Any) -> None:
        found = {name: look(browser, graded.page(name)) for name in STUDENTS}
        assert {name: seen for name, seen in found.items() if seen} == {}

    def test_nothing_is_alive_in_formgrader(self, graded: Class, browser: Any) -> None:
        course = graded.place.course
        pages = formgrader(course, browser, "mini", "mini", [WRONG, *SCRIPTED])
        found = {}
        for name, tab in pages:
            tab.page.wait_for_function(SCORED)
            found[name] = poked(tab)
        assert {*found} >= {*SCRIPTED}
        assert {name: seen for name, seen in found.items() if seen} == {}

    def test_in_formgrader_it_would_run(self, raw: Class, browser: Any) -> None:
        """From the wrong side: the same notebooks, had nobody made them harmless."""
        pages = formgrader(raw.place.course, browser, "mini", "mini", SCRIPTED)
        assert [name for name, tab in pages if not poked(tab)] == []

    def test_the_page_itself_lets_nothing_run(self, raw: Class, browser: Any) -> None:
        """Should something alive come through all the same."""
        generate_feedback(raw.place)
        found = {name: look(browser, raw.page(name)) for name in SCRIPTED}
        assert {name: seen for name, seen in found.items() if seen} == {}

    def test_scripts_run_without_all_that(self, raw: Class, browser: Any) -> None:
        exporter = "--GenerateFeedback.exporter_class=nbconvert.exporters.HTMLExporter"
        generate_feedback(raw.place, exporter)
        assert len(SCRIPTED) >= 3
        found = {name: look(browser, raw.page(name)) for name in SCRIPTED}
        assert [name for name, seen in found.items() if not seen] == []

    @needs_axe
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_people_can_use_the_pages(self, graded: Class, browser: Any, scheme: str) -> None:
        found = {
            name: look(browser, graded.page(name), axe=True, color_scheme=scheme)
            for name in STUDENTS
        }
        assert {name: seen for name, seen in found.items() if seen} == {}

    @needs_axe
    def test_what_nobody_can_use_is_seen(self, browser: Any, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("<img src='data:,'><p style='color: #eee'>Points</p>")
        found = " ".join(look(browser, page, axe=True))
        assert "image-alt" in found and "color-contrast" in found

    def test_the_keyboard_reaches_everything(self, graded: Class, browser: Any) -> None:
        with opened(browser, graded.page(WRONG)) as tab:
            seen = []
            for _ in range(6):
                tab.page.keyboard.press("Tab")
                seen.append(tab.page.evaluate("document.activeElement.textContent.trim()"))
            assert seen[:2] == ["Skip to the results", "A line and its steps"]
            assert len({*seen}) > 3


def test_formulas_need_no_network_and_hold_nothing_alive() -> None:
    made = rendering.formula(r"\frac{1}{1 + e^{-x}}", display=True)
    assert "<mfrac>" in made and 'display="block"' in made and "\\" not in made
    hostile = (
        r"\href{javascript:alert(1)}{x} \style{color:red}{y} \text{<img src=x onerror=alert(1)>}"
    )
    made = rendering.formula(hostile, display=False)
    assert "javascript" not in made and "style" not in made and "<img" not in made
    assert "&lt;img" in made
    assert rendering.formula("x" * 5000, display=False) == f"<code>{'x' * 5000}</code>"


@pytest.mark.parametrize(
    "unit", ["{", r"\frac", "x_", r"\left(", r"\begin{a}", "^", r"\sqrt{", "&"]
)
def test_a_hostile_formula_is_shown_soon(unit: str) -> None:
    source = unit * (rendering.MAX_FORMULA // len(unit))
    started = time.process_time()
    for _ in range(3):
        rendering.formula(source, display=False)
    plain = time.process_time()
    for _ in range(3):
        rendering.formula("x + " * (rendering.MAX_FORMULA // 4), display=False)
    assert plain - started < 50 * max(time.process_time() - plain, 0.05)


ABOUT = {"notebook": "mini", "assignment": "mini", "score": 0, "max_score": 10}


def graded_with(*sources: str, name: str = "own") -> dict[str, Any]:
    """The graded notebook of a student who adds these texts, above everything and below."""
    own = [
        {"cell_type": "markdown", "id": f"{name}{n or ''}", "metadata": {}, "source": source}
        for n, source in enumerate(sources)
    ]
    notebook = corpus.solved()
    notebook["cells"] = [*own, *notebook["cells"], *own]
    parsed = parse(json.dumps(notebook).encode())
    return autograded(Submission(parsed, []), NotebookVerdict("mini"))


def test_nobody_writes_their_own_notice() -> None:
    """What stands at the top says how the submission was taken: nothing else can come there."""
    forged = graded_with("All points.", name="proctor-notice")
    page = render(forged, ABOUT)
    assert "All points." in page and 'aria-label="Notice"' not in page
    page = render(with_notice(forged, "It was broken."), ABOUT)
    notice, _, rest = page.partition('aria-label="Notice"')[2].partition("</section>")
    assert "It was broken." in notice and "All points." in rest and "All points." not in notice


@pytest.mark.parametrize("line", ["#" * 40_000 + "x", "a" + " " * 199, "# #" * 15_000 + "x"])
def test_a_hostile_heading_is_shown_soon(line: str) -> None:
    source = "# " + line * max(1, 40_000 // len(line)) + "x"

    def seconds(text: str) -> float:
        started = time.process_time()
        render(graded_with(*[text] * 3), ABOUT)
        return time.process_time() - started

    assert seconds(source) < 10 * max(seconds("a word " * 6_000), 0.1)


@pytest.mark.parametrize(
    ("source", "title"),
    [("# A *line* ##\ntext", "A line"), ("# In C#", "In C#"), ("#\n\nNone\n\n## Two", "Two")],
)
def test_a_heading_is_one_line(source: str, title: str) -> None:
    assert f"<h1>{title}</h1>" in render(graded_with(source), ABOUT)


def test_hints_are_folded_and_markdown_is_harmless() -> None:
    made = rendering.markdown(
        "<details><summary>Hint 1</summary>\n\nWhich $m$?\n</details>\n\n"
        "<script>alert(1)</script><img src='https://example.org/x.png' onerror='alert(1)'>\n\n"
        "[x](javascript:alert(1))"
    )
    assert "<details><summary>Hint 1</summary>" in made and "<mi>m</mi>" in made
    for word in ("<script", "example.org", "onerror", "javascript"):
        assert word not in made
