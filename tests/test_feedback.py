"""What students are shown, and what their pages can do to the one who grades them.

Feedback names the property that failed and the kind of input; it holds no hidden test. A hostile
page is opened in a browser, once as we write it and, from the wrong side, once unsanitised.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proctor.course.course import Course
from proctor.grade.grading import Grader
from tests.attacks import corpus
from tests.attacks.range import MAGIC, Range

OTHERS = ("inputs-as-messages", "frames-in-a-call", "driver-source")
HOSTILE = [attack for attack in corpus.attacks() if attack.group == "output"]
CHOSEN = HOSTILE + [attack for attack in corpus.attacks() if attack.name in OTHERS]
WRONG = "wrong"  # a student with an honest mistake


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


def generate_feedback(place: Range) -> None:
    done = place.nbgrader("generate_feedback", "mini", "--force")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Class:
    place = Range(tmp_path_factory.mktemp("feedback"))
    place.prepare()
    found = corpus.solved()
    for cell in found["cells"]:
        cell["source"] = cell["source"].replace("self.a * x + self.b", "self.a * x - self.b")
        cell["source"] = cell["source"].replace("(n - 1)", "n").replace("n - 1 else b", "n else b")
    folder = place.course / "submitted" / WRONG / "mini"
    folder.mkdir(parents=True)
    (folder / "mini.ipynb").write_text(json.dumps(found))
    run = place.shoot("", CHOSEN)
    assert run.status == 0, run.complaints
    generate_feedback(place)
    return Class(place, run.results)


STUDENTS = [WRONG, *(attack.name for attack in CHOSEN)]


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
            if test["status"] == "failed":
                assert test["message"] in page
        assert "<td>0 of 20</td>" in page and "<td>10 of 10</td>" in page

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


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


def signs(browser: Any, page: Path) -> list[str]:
    """What ran in a page, opened from its file without a network, and poked at."""
    context = browser.new_context()
    found: list[str] = []
    context.route(
        "**/*",
        lambda route: (
            route.continue_() if route.request.url.startswith(("file:", "data:")) else route.abort()
        ),
    )
    tab = context.new_page()
    tab.on("dialog", lambda dialog: (found.append(f"dialog {dialog.message}"), dialog.dismiss()))
    tab.goto(page.as_uri(), wait_until="load")
    for link in tab.locator("a[href^='javascript']").all():
        found.append(f"link {link.get_attribute('href')}")
    for name in ("b", "details", "img"):
        for thing in tab.locator(f"#notebook {name}, main {name}").all()[:10]:
            with contextlib.suppress(Exception):
                thing.dispatch_event("mouseover")
    tab.wait_for_timeout(300)
    if flag := tab.evaluate("window.attacked"):
        found.append(f"window.attacked = {flag}")
    context.close()
    return found


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
    generate_feedback(place)
    return clean


class TestInTheBrowser:
    def test_no_script_of_a_student_runs(self, graded: Class, browser: Any) -> None:
        found = {attack.name: signs(browser, graded.page(attack.name)) for attack in CHOSEN}
        assert {name: seen for name, seen in found.items() if seen} == {}

    def test_scripts_run_without_sanitising(
        self, graded: Class, browser: Any, tmp_path: Path
    ) -> None:
        raw = unsanitised(graded, tmp_path)
        made = [attack.name for attack in HOSTILE if attack.script]
        assert len(made) >= 3
        found = {name: signs(browser, raw.page(name)) for name in made}
        assert [name for name, seen in found.items() if not seen] == []

    def test_the_pages_show_something(self, graded: Class, browser: Any) -> None:
        context = browser.new_context(offline=True)
        tab = context.new_page()
        tab.goto(graded.page(WRONG).as_uri(), wait_until="domcontentloaded")
        assert "Tried on an array of shape (3, 4)." in tab.inner_text("body")
        context.close()
