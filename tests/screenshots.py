"""`make screenshots`: docs/screenshots/, the pages that students and instructors see, as a browser
shows them. Who adds a page adds a function and its name in SHOTS.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proctor.course.course import Course
from tests import classroom, made_class
from tests.browser import Missing, Tab, chromium, opened, picture

FOLDER = classroom.ROOT / "docs/screenshots"
NAME = "02_activations"
SIZE = {"width": 1100, "height": 820}
MOST = 200 << 10  # bytes of a picture
START_SECONDS = 90.0

# nbgrader's formgrader takes MathJax from the network, and shows no points before it is there.
MATHJAX = (
    "window.MathJax = {Hub: {Config() {}, Queue() {}, Configured() {}, Startup: {signal: "
    "{Interest() {}}}}};"
)


@dataclass
class School:
    """A scratch course with three students, graded, and with their feedback."""

    course: Course
    browser: Any

    def run(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.course.root,
            env=environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with status {done.returncode}.\n{done.stderr}")


def environment() -> dict[str, str]:
    """nbgrader calls the program `alembic`: the environment's own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path}


def made(name: str) -> dict[str, Any]:
    """The notebooks of a student."""
    wrong = {solution.name: solution for solution in classroom.solutions(NAME)}
    if name == "partly":
        found = classroom.solved(NAME, wrong["sigmoid_naive"])
        blank = classroom.blank(NAME)
        for cell, stub in zip(found[NAME]["cells"], blank[NAME]["cells"], strict=True):
            if cell["id"] == "log_softmax":
                cell["source"] = stub["source"]
        return found
    found = classroom.solved(NAME)
    if name == "syntax":
        [cell] = [cell for cell in found[NAME]["cells"] if cell["id"] == "softmax"]
        cell["source"] = cell["source"].replace("shifted.exp()", "(shifted.exp()")
    return found


@contextlib.contextmanager
def school(browser: Any) -> Iterator[School]:
    with tempfile.TemporaryDirectory() as folder:
        it = School(classroom.scratch_course(Path(folder)), browser)
        it.run("nbgrader", "generate_assignment", NAME)
        for student in ("passed", "partly", "syntax"):
            classroom.submit(it.course, student, NAME, made(student))
        it.run("proctor.cli", "grade", NAME)
        it.run("nbgrader", "generate_feedback", NAME)
        yield it


@contextlib.contextmanager
def feedback(it: School, student: str) -> Iterator[Tab]:
    page = it.course.root / "feedback" / student / NAME / f"{NAME}.html"
    with opened(it.browser, page, viewport=SIZE) as tab:
        yield tab


@contextlib.contextmanager
def server(root: Path) -> Iterator[tuple[str, str]]:
    """A Jupyter server in a course, with formgrader: its address and its token."""
    token = secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *options],
        cwd=root,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise Missing("the Jupyter server did not start") from None
                time.sleep(0.3)
        yield address, token
    finally:
        process.terminate()
        process.wait(30)


# What says that formgrader has filled in its page.
SCORED = "document.querySelector('input.score')?.placeholder"


def formgrader(
    root: Path, browser: Any, assignment: str, notebook: str, students: Sequence[str]
) -> Iterator[tuple[str, Tab]]:
    """Formgrader's page of each student's notebook, as an instructor grades by hand."""
    with server(root) as (address, token):
        listed = f"{address}/formgrader/api/submitted_notebooks/{assignment}/{notebook}"
        with urllib.request.urlopen(f"{listed}?token={token}", timeout=60) as answer:
            ids = {each["student"]: each["id"] for each in json.load(answer)}
        for student in students:
            # formgrader's own page does not remember who has logged in
            page = f"{address}/login?token={token}&next=/formgrader/submissions/{ids[student]}/"
            scripts = {"mathjax": MATHJAX}
            with opened(browser, page, allowed=address, scripts=scripts, viewport=SIZE) as tab:
                yield student, tab


@contextlib.contextmanager
def by_hand(it: School, student: str) -> Iterator[Tab]:
    """A hidden suite's results there."""
    for _, tab in formgrader(it.course.root, it.browser, NAME, NAME, [student]):
        tab.page.wait_for_function(SCORED)
        tab.page.evaluate("document.querySelector('#Sigmoid').scrollIntoView()")
        tab.page.evaluate("window.scrollBy(0, -120)")
        yield tab


@contextlib.contextmanager
def report(it: School) -> Iterator[Tab]:
    """The report on a made class of 300."""
    with tempfile.TemporaryDirectory() as folder:
        root = made_class.make_class(Path(folder) / "course").course.root
        replace(it, course=Course.load(root)).run("proctor.cli", "report", made_class.NAME)
        page = root / "report" / f"{made_class.NAME}.html"
        with opened(it.browser, page, viewport={**SIZE, "height": 1000}) as tab:
            yield tab


Shot = Callable[[School], contextlib.AbstractContextManager[Tab]]
SHOTS: dict[str, Shot] = {
    "feedback-passed": lambda it: feedback(it, "passed"),
    "feedback-partly": lambda it: feedback(it, "partly"),
    "feedback-syntax": lambda it: feedback(it, "syntax"),
    "formgrader": lambda it: by_hand(it, "partly"),
    "report": report,
}


def main() -> None:
    try:
        with chromium() as browser, school(browser) as it:
            for name, shot in SHOTS.items():
                path = FOLDER / f"{name}.png"
                with shot(it) as tab:
                    picture(tab, path, whole=False)
                size = path.stat().st_size
                print(f"{path.relative_to(classroom.ROOT)}  {size >> 10} kB")
                if size > MOST:
                    sys.exit(f"{path.name} has more than {MOST >> 10} kB: show less of the page.")
    except Missing as error:
        sys.exit(f"No screenshots: {error}.")


if __name__ == "__main__":
    main()
