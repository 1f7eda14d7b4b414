"""deploy/jupyterhub walked through as its people do, in a browser: `make test-hub`.

It needs root (accounts are made, and removed at the end), Chromium, node and npm, and the
registries of Python and npm for a JupyterHub of its own below a scratch folder: some minutes.
HUB_PREFIX=DIR keeps that environment for the next run, HUB_KEEP=DIR the log and the last pages.

Everybody acts in the browser: who logs in, fetches, runs a cell, hands in, generates, releases,
collects, grades and gets feedback clicks what a person clicks. Two things are shortened: the
student's answers are saved into their notebook by the server's own API, from the page they are
logged in to, and what an account may read is tried as that account, as in a terminal of its server.
"""

from __future__ import annotations

import csv
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.classroom import ROOT, solved

ASSIGNMENT = "01_tensor"
NOTEBOOK = f"{ASSIGNMENT}/{ASSIGNMENT}.ipynb"
PYTHON = "/usr/bin/python3"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
PATIENCE = int(os.environ.get("HUB_PATIENCE", "300"))  # seconds; for a busy machine
KEEP = os.environ.get("HUB_KEEP", "")  # a folder for the Hub's log and what everyone saw last


def missing() -> str | None:
    """What this machine lacks for a Hub of its own."""
    if os.geteuid() != 0:
        return "a Hub with real accounts needs root"
    for program in ("git", "node", "npm", "useradd", "runuser", PYTHON):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if not any(map(shutil.which, CHROMIUM)):
        return "no Chromium (Debian: apt-get install chromium)"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass
class Hub:
    """A Hub below a folder of its own, with accounts that nobody else has."""

    base: Path
    tag: str = field(default_factory=lambda: secrets.token_hex(3))
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.course = f"zz{self.tag}"
        self.grader = f"grader-{self.course}"
        self.ada, self.bob, self.prof = (f"zz{self.tag}-{name}" for name in ("ada", "bob", "prof"))
        self.passwords = {who: secrets.token_hex(8) for who in (self.ada, self.bob, self.prof)}
        self.prefix = Path(os.environ.get("HUB_PREFIX") or self.base / "opt")
        self.homes, self.exchange = self.base / "home", self.base / "exchange"
        self.of_course = self.homes / self.grader / self.course
        self.source = self.base / "source"
        self.port, *self.ports = free_ports(4)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """The course as a repository of its own, closed to others as setup.sh demands it."""
        files = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in files.split("\0"):
            if name and (ROOT / name).is_file():
                (self.source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.source / name)
        config = self.source / "nbgrader_config.py"
        config.write_text(config.read_text().replace('"tinytorch"', f'"{self.course}"', 1))
        git(self.source, "init", "--quiet")
        self.commit("The course as it is handed to the Hub")
        (self.base / "conf").mkdir()
        settings = {
            "COURSE": self.course,
            "PREFIX": self.prefix,
            "PYTHON": PYTHON,
            "STATE": self.base / "state",
            "EXCHANGE": self.exchange,
            "HOMES": self.homes,
            "BIND": "127.0.0.1",
            "PORT": self.port,
            "TLS_KEY": "",
            "TLS_CERT": "",
            "HUB_PORT": self.ports[0],
            "PROXY_PORT": self.ports[1],
            "COURSE_PORT": self.ports[2],
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self.base / "conf/hub.env").write_text("".join(lines))

    def commit(self, why: str) -> None:
        git(self.source, "add", "--all")
        who = "-c", "user.name=test", "-c", "user.email=test@localhost"
        git(self.source, *who, "commit", "--quiet", "--message", why)

    def setup(self, *members: tuple[str, str]) -> str:
        """Runs setup.sh for these members; raises AssertionError with what it said if it fails."""
        roster = self.base / "members.csv"
        with open(roster, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "role", "password"])
            rows.writerows((who, role, self.passwords.get(who, "")) for who, role in members)
        done = subprocess.run(
            [self.source / "deploy/jupyterhub/setup.sh", roster],
            env={**os.environ, "HUB_CONF": str(self.base / "conf")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self) -> None:
        config = self.prefix / "etc/jupyter/jupyterhub_config.py"
        with open(self.base / "hub.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.prefix / "bin/jupyterhub", "-f", config],
                cwd=self.base / "state",
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            with suppress(OSError):
                urllib.request.urlopen(f"{self.url}/hub/api", timeout=10)
                urllib.request.urlopen(f"{self.url}/services/{self.course}/api", timeout=10)
                return
            time.sleep(1)
        raise AssertionError(self.log())

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
            self.process = None

    def log(self) -> str:
        return (self.base / "hub.log").read_text()[-5000:]

    def act(self, who: str, command: str) -> subprocess.CompletedProcess[str]:
        """What an account of the machine does in a terminal."""
        home = pwd.getpwnam(who).pw_dir
        where = {"HOME": home, "PATH": f"{self.prefix}/bin:/usr/bin:/bin"}
        return subprocess.run(
            [shutil.which("runuser") or "", "-u", who, "--", "sh", "-c", f"cd; {command}"],
            env=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def remove(self) -> None:
        """Everything of it, whatever became of it."""
        with suppress(Exception):
            self.stop()
        for who in (self.ada, self.bob, self.prof, self.grader):
            with suppress(KeyError):
                uid = str(pwd.getpwnam(who).pw_uid)
                subprocess.run(["pkill", "-KILL", "-u", uid])
                time.sleep(0.5)
                subprocess.run(["userdel", "--remove", who], stderr=subprocess.DEVNULL)
        subprocess.run(["groupdel", f"{self.course}-members"], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.base, ignore_errors=True)


def git(where: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=where, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Set up by setup.sh itself, and started. Not below pytest's folder, which is closed."""
    made = Hub(Path(tempfile.mkdtemp(prefix="hub-")))
    try:
        made.base.chmod(0o755)
        made.source.mkdir(mode=0o700)
        made.prepare()
        made.setup((made.ada, "student"), (made.bob, "student"), (made.prof, "instructor"))
        made.start()
        yield made
    finally:
        if KEEP and (made.base / "hub.log").exists():
            shutil.copy(made.base / "hub.log", KEEP)
        made.remove()


class Person:
    """Somebody at a browser of their own."""

    def __init__(self, hub: Hub, browser: Any, who: str) -> None:
        self.hub, self.who = hub, who
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(PATIENCE * 1000)
        self.tab = self.context.new_page()
        self.server = f"{hub.url}/user/{who}"

    def login(self) -> None:
        self.tab.goto(f"{self.hub.url}/hub/login")
        self.tab.fill("#username_input", self.who)
        self.tab.fill("#password_input", self.hub.passwords[self.who])
        self.tab.click("#login_submit")
        self.tab.wait_for_url(f"**/user/{self.who}/lab**")
        self.tab.wait_for_selector(".jp-Launcher")

    def menu(self, entry: str) -> None:
        self.tab.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
        self.tab.locator(".lm-Menu-itemLabel", has_text=entry).click()

    def offered(self) -> list[str]:
        """What the menu Nbgrader has for this person."""
        self.tab.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
        found = self.tab.locator(".lm-Menu-itemLabel").all_inner_texts()
        self.tab.keyboard.press("Escape")
        return [text for text in found if text]

    def status(self, path: str) -> int:
        """The answer to this person's browser when this address is typed into it."""
        tab = self.context.new_page()
        answer = tab.goto(f"{self.hub.url}{path}", wait_until="commit")
        tab.close()
        return int(answer.status)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Asks this person's own server from the page that they are logged in to."""
        return self.tab.evaluate(
            """async ([method, url, body]) => {
                 const xsrf = document.cookie.match(/_xsrf=([^;]+)/)[1];
                 const answer = await fetch(url, {method, body, headers: {
                   'Content-Type': 'application/json', 'X-XSRFToken': xsrf}});
                 if (!answer.ok) throw new Error(answer.status + ' ' + await answer.text());
                 return await answer.json();
               }""",
            [method, f"{self.server}{path}", json.dumps(body) if body is not None else None],
        )

    # As a student

    def assignments(self) -> None:
        """Opens the list of assignments in an empty JupyterLab."""
        self.tab.goto(f"{self.server}/lab?reset")
        self.tab.locator(".jp-Launcher").wait_for()
        self.menu("Assignment List")

    def click(self, section: str, button: str, then: str) -> None:
        """Clicks a button in the list of assignments, and waits for the section it leads to."""
        self.row(section).get_by_role("button", name=button, exact=True).click()
        self.row(then).wait_for()

    def row(self, section: str) -> Any:
        return self.tab.locator(f"#{section}_assignments_list > .list_item", has_text=ASSIGNMENT)

    def run_all(self) -> dict[str, Any]:
        """Opens the notebook in JupyterLab, runs it and saves it; what it then holds.

        It stops with an error of the course's own: a cell that hidden tests grade can't be run.
        """
        self.tab.goto(f"{self.server}/lab/tree/{self.hub.course}/{NOTEBOOK}")
        self.tab.get_by_text("(ipykernel) | Idle").wait_for()  # cells that run before are dropped
        self.tab.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        self.tab.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.tab.wait_for_timeout(3000)
            if any(each["execution_state"] != "idle" for each in self.api("GET", "/api/kernels")):
                continue
            self.tab.keyboard.press("Control+s")
            self.tab.wait_for_timeout(3000)  # the file is another one when it is saved
            saved = self.hub.homes / self.who / self.hub.course / NOTEBOOK
            found: dict[str, Any] = json.loads(saved.read_text())
            if errors(found):
                return found
        raise AssertionError("the notebook did not run to its end")

    def write(self, solution: dict[str, Any]) -> None:
        self.api(
            "PUT",
            f"/api/contents/{self.hub.course}/{NOTEBOOK}",
            {"type": "notebook", "content": solution},
        )

    # As an instructor

    def formgrader(self) -> Any:
        self.tab.goto(f"{self.hub.url}/services/{self.hub.course}/lab?formgrader=true")
        frame = self.tab.frame_locator("iframe")
        frame.locator("tr", has_text=ASSIGNMENT).first.wait_for()
        return frame

    def press(self, frame: Any, column: str) -> str:
        """Clicks in an assignment's row of formgrader; what formgrader says when it is done."""
        frame.locator("tr", has_text=ASSIGNMENT).first.locator(f"td.{column} a").click()
        modal = frame.locator(".modal.in")
        modal.locator(".modal-title").wait_for()
        said = modal.inner_text()
        modal.get_by_role("button", name="OK").or_(modal.locator("button.close")).first.click()
        modal.wait_for(state="hidden")
        return str(said)


def errors(notebook: dict[str, Any]) -> list[str]:
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", ())]
    return [each["evalue"] for each in outputs if each["output_type"] == "error"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


@dataclass
class People:
    ada: Person
    bob: Person
    prof: Person


@pytest.fixture(scope="module")
def people(hub: Hub, browser: Any) -> Iterator[People]:
    ada, bob, prof = (Person(hub, browser, who) for who in (hub.ada, hub.bob, hub.prof))
    yield People(ada, bob, prof)
    for name, person in (("ada", ada), ("bob", bob), ("prof", prof)):
        if KEEP:
            person.tab.screenshot(path=f"{KEEP}/{name}.png")


# Tests go one after the other, as a term does.


def test_setup_refuses_before_it_makes_anything(hub: Hub) -> None:
    for members, said in (
        ([(f"zz{hub.tag}-new", "student"), ("root", "student")], "line 3: 'root'"),
        ([(f"zz{hub.tag}-new", "professor")], "line 2"),
    ):
        with pytest.raises(AssertionError, match=said):
            hub.setup(*members)
    hub.source.chmod(0o755)
    with pytest.raises(AssertionError, match=r"solutions and hidden tests\. chmod 700"):
        hub.setup((f"zz{hub.tag}-new", "student"))
    hub.source.chmod(0o700)
    with pytest.raises(KeyError):
        pwd.getpwnam(f"zz{hub.tag}-new")


def test_the_instructor_releases_from_formgrader(hub: Hub, people: People) -> None:
    prof = people.prof
    prof.login()
    assert prof.offered() == ["Assignment List", "Course List"]
    prof.menu("Course List")
    course = prof.tab.locator("#course-list, .nbgrader-CourseListWidget, #formgrader_list")
    course.get_by_text(hub.course).first.wait_for()
    frame = prof.formgrader()
    assert "Successfully created" in prof.press(frame, "assign")
    assert "Successfully released" in prof.press(frame, "release")
    released = hub.exchange / hub.course / "outbound" / NOTEBOOK
    assert "NotImplementedError" in released.read_text()
    assert "BEGIN SOLUTION" not in released.read_text()


def test_students_fetch_work_and_submit(hub: Hub, people: People) -> None:
    for student in (people.ada, people.bob):
        student.login()
        assert student.offered() == ["Assignment List"]
        student.menu("Assignment List")
        student.click("released", "Fetch", then="fetched")
    people.ada.write(solved(ASSIGNMENT)[ASSIGNMENT])
    ran = people.ada.run_all()
    assert errors(ran) == ["graded by hidden tests"]
    for student in (people.ada, people.bob):
        student.assignments()
        student.click("fetched", "Submit", then="submitted")
    inbound = sorted((hub.exchange / hub.course / "inbound").iterdir())
    assert [path.name.split("+")[:2] for path in inbound] == [
        [hub.ada, ASSIGNMENT],
        [hub.bob, ASSIGNMENT],
    ]
    assert [path.owner() for path in inbound] == [hub.ada, hub.bob]


def test_a_kernel_speaks_through_sockets_that_others_cannot_reach(hub: Hub) -> None:
    """Ada's kernel still runs. Whoever may connect to where it publishes can read its outputs."""
    runtime = hub.homes / hub.ada / ".run"
    kernel = json.loads(next(runtime.glob("kernel-*.json")).read_text())
    assert kernel["transport"] == "ipc"
    published = Path(f"{kernel['ip']}-{kernel['iopub_port']}")
    assert published.is_socket() and published.parent == runtime
    assert hub.act(hub.ada, f"ls {published}").returncode == 0
    assert hub.act(hub.bob, f"ls {published}").returncode != 0


def test_the_instructor_collects_grades_and_gives_feedback(hub: Hub, people: People) -> None:
    prof = people.prof
    frame = prof.formgrader()
    assert "Successfully collected" in prof.press(frame, "collect")
    frame.locator("tr", has_text=ASSIGNMENT).first.locator("td.num-submissions a").click()
    for who in (hub.ada, hub.bob):
        frame.locator("tr", has_text=who).first.locator("td.autograde a").click()
        modal = frame.locator(".modal.in")
        modal.locator(".modal-title").wait_for()
        assert "Successfully autograded" in modal.inner_text()
        modal.locator(".modal-footer button").click()
        modal.wait_for(state="hidden")
    frame = prof.formgrader()
    assert "Successfully generated" in prof.press(frame, "generate-feedback")
    assert "Successfully released" in prof.press(frame, "release-feedback")
    if KEEP:
        prof.tab.set_viewport_size({"width": 1500, "height": 760})
        prof.tab.wait_for_timeout(3000)
        prof.tab.screenshot(path=f"{KEEP}/formgrader.png")
    # The same again in the terminal that all instructors have: nothing is left to be graded.
    again = hub.act(hub.grader, f"cd {hub.course} && proctor grade {ASSIGNMENT} --format json")
    graded = {each["student"]: each for each in json.loads(again.stdout)["submissions"]}
    assert {each["status"] for each in graded.values()} == {"graded"}
    assert graded[hub.ada]["score"] == 95  # and a person reads the written answer
    assert graded[hub.bob]["score"] == 0
    assert {each["isolation"] for each in graded.values()} <= {"full", "container"}


def test_the_student_sees_the_feedback(hub: Hub, people: People) -> None:
    ada = people.ada
    ada.assignments()
    ada.row("submitted").get_by_role("button", name="Fetch Feedback", exact=True).click()
    ada.tab.get_by_text("(view feedback)").wait_for()
    pages = [*(hub.homes / hub.ada / hub.course / ASSIGNMENT / "feedback").rglob("*.html")]
    assert len(pages) == 1
    where = pages[0].relative_to(hub.homes / hub.ada)
    ada.tab.goto(f"{ada.server}/files/{where}")
    assert "95 of 100 points" in ada.tab.locator("body").inner_text()


class TestOthers:
    """What a student may not: bob tries, and where it says so somebody else may."""

    def test_pages(self, hub: Hub, people: People) -> None:
        for path in (
            f"/user/{hub.ada}/lab",
            f"/user/{hub.ada}/api/contents/{hub.course}/{NOTEBOOK}",
            f"/user/{hub.ada}/files/{hub.course}/{NOTEBOOK}",
            f"/services/{hub.course}/lab",
            f"/services/{hub.course}/formgrader/manage_assignments",
            f"/services/{hub.course}/api/contents/tests/hidden",
            "/hub/admin",
            f"/hub/api/users/{hub.ada}",
        ):
            assert people.bob.status(path) in (403, 404), path
        assert people.bob.status(f"/user/{hub.bob}/formgrader/manage_assignments") == 404
        assert people.bob.status(f"/user/{hub.bob}/api/contents/{hub.course}/{NOTEBOOK}") == 200
        assert people.ada.status(f"/user/{hub.ada}/api/contents/{hub.course}/{NOTEBOOK}") == 200
        assert people.prof.status(f"/services/{hub.course}/api/contents/tests/hidden") == 200

    def test_files(self, hub: Hub) -> None:
        feedback = next((hub.exchange / hub.course / "feedback").iterdir())
        for place in (
            hub.homes / hub.ada,
            hub.homes / hub.ada / hub.course / NOTEBOOK,
            hub.exchange / hub.course / "inbound",
            hub.exchange / hub.course / "feedback",
            hub.of_course / "submitted" / hub.ada / NOTEBOOK,
            hub.of_course / "feedback" / hub.ada,
            hub.of_course / "tests/hidden",
            hub.of_course / "source" / NOTEBOOK,
            hub.of_course / "gradebook.db",
            hub.source / "source" / NOTEBOOK,
            hub.base / "state/jupyterhub.sqlite",
            hub.base / "conf/members.csv",
        ):
            assert place.exists(), f"{place}: nothing to be kept from anybody"
            tried = hub.act(hub.bob, f"{'ls' if place.is_dir() else 'cat'} {place}")
            assert tried.returncode != 0 and not tried.stdout, place
        assert hub.act(hub.bob, f"rm {feedback}").returncode != 0
        assert hub.act(hub.bob, f"mv {hub.exchange / hub.course} /tmp").returncode != 0
        inbound = next((hub.exchange / hub.course / "inbound").glob(f"{hub.ada}+*"))
        assert hub.act(hub.bob, f"rm -r {inbound}; mv {inbound} {inbound}x").returncode != 0
        assert inbound.exists()

    def test_the_answer_key_is_in_no_environment(self, hub: Hub) -> None:
        tried = hub.act(hub.bob, "python -c 'import proctor; import tinytorch'")
        assert "No module named 'tinytorch'" in tried.stderr

    def test_nothing_is_collected_in_anothers_name_or_through_a_link(self, hub: Hub) -> None:
        inbound, later = hub.exchange / hub.course / "inbound", "2099-01-01 00:00:00.000000 UTC"
        submitted = hub.of_course / "submitted"
        before = (submitted / hub.ada / NOTEBOOK).read_bytes()
        forged, linked = (f"{inbound}/{who}+{ASSIGNMENT}+{later}+x" for who in (hub.ada, hub.bob))
        key = hub.of_course / "source" / NOTEBOOK
        made = hub.act(
            hub.bob,
            f"mkdir '{forged}' '{linked}' && echo {{}} > '{forged}/{ASSIGNMENT}.ipynb' &&"
            f"ln -s {key} '{linked}/{ASSIGNMENT}.ipynb' &&"
            f"echo '{later}' > '{linked}/timestamp.txt' &&"
            f"touch '{inbound}/{hub.bob}+{ASSIGNMENT}+no time+x'",
        )
        assert made.returncode == 0, made.stderr
        collect = f"cd {hub.course} && nbgrader collect --update {ASSIGNMENT}"
        done = hub.act(hub.grader, collect)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Not collected") == 3
        assert (submitted / hub.ada / NOTEBOOK).read_bytes() == before
        assert [path.name for path in (submitted / hub.bob / ASSIGNMENT).iterdir()] == [
            "timestamp.txt"
        ]


def test_the_next_run_of_setup_updates_and_shuts_out_who_has_left(hub: Hub, people: People) -> None:
    key = hub.of_course / "source" / NOTEBOOK
    before = {path: path.stat().st_mode for path in (hub.of_course, hub.homes / hub.ada, key)}
    (hub.source / "docs/new.md").write_text("# New\n")
    hub.commit("A page more")
    said = hub.setup((hub.ada, "student"), (hub.prof, "student"))
    assert f"{hub.bob} has left" in said
    assert (hub.of_course / "docs/new.md").exists()
    assert (hub.of_course / "submitted" / hub.ada / NOTEBOOK).exists()
    assert before == {path: path.stat().st_mode for path in before}
    assert (hub.homes / hub.bob / hub.course / NOTEBOOK).exists()
    hub.stop()
    hub.start()
    # Ada's server went on, and the page that she had open still works.
    path = f"/user/{hub.ada}/api/contents/{hub.course}/{NOTEBOOK}"
    assert people.ada.status(path) == 200
    # Who is no instructor any more sees no formgrader; who has left does not come in.
    assert people.prof.status(f"/services/{hub.course}/lab") == 403
    tab = people.bob.context.new_page()
    tab.goto(f"{hub.url}/hub/login")
    tab.fill("#username_input", hub.bob)
    tab.fill("#password_input", hub.passwords[hub.bob])
    tab.click("#login_submit")
    tab.locator(".login_error").wait_for()


def test_a_home_that_was_put_back_is_its_students_again(hub: Hub) -> None:
    """As on another machine: the account is gone, what it owned is there."""
    owner = (hub.homes / hub.bob).stat().st_uid
    subprocess.run(["userdel", hub.bob], check=True)
    hub.setup((hub.bob, "student"), (hub.ada, "student"))
    assert pwd.getpwnam(hub.bob).pw_uid == owner
    assert hub.act(hub.bob, f"cat {hub.course}/{NOTEBOOK}").stdout
