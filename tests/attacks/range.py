"""Where attacks are let loose: a scratch course, planted victims, and a look at what is left.

`Range.shoot` grades the whole corpus in one class with honest students, by the command `proctor
grade`, and returns a `Run`: what came out and what was harmed.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import secrets
import select
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks import corpus
from tests.attacks.corpus import Attack, Places

HONEST = ["a-honest", "honest-1", "nn-honest", "zz-honest"]
PASSER_BY = "passer-by"  # known to the gradebook, and submits nothing
MAGIC = "8675.309"  # an input of a hidden test
LITTER = re.compile(r"proctor.?attack", re.IGNORECASE)
KEY = int.from_bytes(b"proc", "big")  # of System V's shared memory
NOBODY = 65534
sys.setrecursionlimit(10_000)  # to walk down and clear away what an attack has piled up


@dataclass
class Run:
    """What came out of grading the corpus once."""

    level: str
    status: int
    complaints: str
    results: dict[str, dict[str, Any]]
    shown: dict[str, str]  # student: all that is shown to them, as one text
    changed: dict[str, list[str]]  # attack: which of its victims were changed, and how
    harm: list[str]  # what happened to what all of them share
    called: str  # what decoy servers were sent
    grades: dict[str, float]  # student: score in the gradebook
    peak: int  # bytes that the run held in memory at once
    token: str


@dataclass
class Range:
    """A scratch course on this machine, as `user` (None: who runs the tests)."""

    root: Path
    user: int | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def course(self) -> Path:
        return self.root / "course"

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        home = self.root / "home"
        return {"PATH": path, "HOME": str(home), "SECRET": f"{self.token}-environment"}

    def command(self, *words: str) -> list[str]:
        """As the user, with the programs of this environment."""
        python = [sys.executable, "-m", *words]
        if self.user is None:
            return python
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        inside = [*become, *python]
        doors = self.doors()
        if not doors:
            return inside
        return ["unshare", "--mount", "sh", "-ec", doors + '\nexec "$@"', "sh", *inside]

    def doors(self) -> str:
        """Shell commands that let everybody reach this environment, even below /root."""
        lines = ["mount --make-rprivate /"]
        closed: dict[str, list[str]] = {}
        for path in dict.fromkeys([sys.base_prefix, sys.prefix, str(corpus.HERE.parents[1])]):
            parents = [str(parent) for parent in reversed(Path(path).parents)]
            door = next((p for p in parents if not os.stat(p).st_mode & stat.S_IXOTH), None)
            if door:
                closed.setdefault(door, []).append(path)
        for door, paths in closed.items():
            held = [(path, f"{self.root}/door-{path.replace('/', '-')}") for path in paths]
            lines += [f"mkdir -p '{at}'; mount --bind '{path}' '{at}'" for path, at in held]
            lines.append(f"mount -t tmpfs -o mode=755 none '{door}'")
            lines += [f"mkdir -p '{path}'; mount --bind '{at}' '{path}'" for path, at in held]
        return "\n".join(lines) if closed else ""

    def nbgrader(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of nbgrader's in the course."""
        return subprocess.run(
            self.command("nbgrader", *words),
            cwd=self.course,
            env=self.environment(),
            capture_output=True,
            text=True,
        )

    def prepare(self) -> None:
        """Make the course, release it, and plant a secret in its gradebook."""
        (self.root / "home").mkdir()
        corpus.make_course(self.course, self.token)
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", "generate_assignment", "mini"],
            cwd=self.course,
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        with self.gradebook() as db:
            db.execute(
                "insert into student (id, first_name, lms_user_id) values (?, ?, '')",
                (PASSER_BY, f"{self.token}-gradebook"),
            )
            db.commit()
        for name in HONEST:
            folder = self.course / "submitted" / name / "mini"
            folder.mkdir(parents=True)
            text = json.dumps(corpus.solved(f"{self.token}-of-{name}"))
            (folder / "mini.ipynb").write_text(text)

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.course / "gradebook.db")
        try:
            yield db
        finally:
            db.close()

    def victim(self, attack: Attack) -> Path:
        """A folder that this attack is told of: a secret, and what could be changed."""
        folder = self.root / "victims" / attack.name
        (folder / "open").mkdir(parents=True)
        (folder / "secret.txt").write_text(f"{self.token}-secret")
        (folder / "writable.txt").write_text("as it was")
        (folder / "writable.txt").chmod(0o666)
        return folder

    def shoot(self, level: str, attacks: Iterable[Attack], seconds: float = 400) -> Run:
        """Grade these attacks and the honest students in one run."""
        attacks = list(attacks)
        decoys: dict[str, subprocess.Popen[bytes]] = {}
        with contextlib.ExitStack() as stack:
            places = {}
            for attack in attacks:
                if "@DECOY@" in attack.code:
                    decoys[attack.name] = subprocess.Popen(
                        self.command("timeit", "-n1", "-r1", "import time; time.sleep(999)"),
                        env=self.environment(),
                        stdout=subprocess.DEVNULL,
                    )
                    stack.callback(_end, decoys[attack.name])
            server = stack.enter_context(Decoy())
            for attack in attacks:
                victim = self.victim(attack)
                decoy = decoys[attack.name].pid if attack.name in decoys else 1 << 21
                place = Places(self.course, victim, server.port, decoy, os.getpid(), attack.name)
                places[attack.name] = place
                folder = self.course / "submitted" / attack.name / "mini"
                corpus.submission(attack, place, folder)
                if "decoy.sock" in attack.code:
                    server.listen(str(victim / "decoy.sock"))
            if self.user is not None:
                give(self.root, self.user)
            before = {name: snapshot(place.victim) for name, place in places.items()}
            shared = snapshot(self.course, ("submitted", "source", "tests", "nbgrader_config.py"))
            litter = set(left_behind())
            status, output, complaints, peak, orphans = self.grade(level, seconds)
            changed = {
                name: differences(before[name], snapshot(place.victim))
                for name, place in places.items()
            }
            for name, decoy in decoys.items():
                if decoy.poll() is not None:
                    changed[name].append("its decoy was killed")
            harm = differences(
                shared,
                snapshot(self.course, ("submitted", "source", "tests", "nbgrader_config.py")),
            )
            harm += [f"left behind: {what}" for what in set(left_behind()) - litter]
            harm += [f"still runs: {what}" for what in orphans]
            called = server.said()
        tables = json.loads(output)["submissions"] if output.startswith("{") else []
        results = {result["student"]: result for result in tables}
        with self.gradebook() as db:
            grades = dict(db.execute(GRADES).fetchall())
            known = dict(db.execute("select id, first_name from student").fetchall())
        if known.pop(PASSER_BY, None) != f"{self.token}-gradebook":
            harm.append("the gradebook was changed")
        graded = {name for name, result in results.items() if result["status"] == "graded"}
        if set(known) != graded or any(known.values()):
            harm.append("the gradebook knows others than those who were graded")
        shown = {}
        for name, result in results.items():
            texts = [json.dumps(result, ensure_ascii=False)]
            folder = self.course / "autograded" / name
            for here, _, files in os.walk(folder):
                for file in files:
                    with contextlib.suppress(OSError):
                        texts.append(Path(here, file).read_text(errors="replace"))
            shown[name] = "\n".join(texts)
        return Run(
            *(level, status, complaints, results, shown, changed, harm, called, grades, peak),
            token=self.token,
        )

    def grade(self, level: str, seconds: float) -> tuple[int, str, str, int, list[str]]:
        """`proctor grade`: its status, outputs, peak of memory, and the processes that it left."""
        adopt_orphans()
        before = set(children(os.getpid()))
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            words = ["proctor.cli", "grade", "mini", "--format", "json", "--jobs", "2"]
            process = subprocess.Popen(
                self.command(*words, *(["--isolation", level] if level else [])),
                cwd=self.course,
                env=self.environment(),
                stdout=out,
                stderr=err,
            )
            peak, deadline = 0, time.monotonic() + seconds
            while process.poll() is None:
                peak = max(peak, sum(map(memory, [process.pid, *descendants(process.pid)])))
                if time.monotonic() > deadline:
                    _end(process)
                time.sleep(0.1)
            orphans: list[str] = []
            for _ in range(50):
                orphans = [name_of(pid) for pid in set(children(os.getpid())) - before]
                if not orphans:
                    break
                time.sleep(0.1)
            out.seek(0)
            err.seek(0)
            return process.returncode, out.read(), err.read(), peak, orphans


GRADES = """
select submitted_assignment.student_id, sum(coalesce(grade.auto_score, 0))
from grade
join submitted_notebook on submitted_notebook.id = grade.notebook_id
join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
group by submitted_assignment.student_id
"""


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


class Decoy:
    """Servers that should never be called: TCP and UDP on loopback, UNIX sockets."""

    def __enter__(self) -> Decoy:
        self.lock, self.heard = threading.Lock(), []  # type: ignore[var-annotated]
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self.sockets[0].getsockname()[1]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", self.port))
        self.sockets.append(datagrams)
        with contextlib.suppress(OSError):
            self.sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self.listen("\0proctor-attack-decoy")
        self.open = True
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def listen(self, path: str) -> None:
        server = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):  # another run has the abstract one
            server.bind(path)
            server.listen()
            if not path.startswith("\0"):
                os.chmod(path, 0o777)
            self.sockets.append(server)

    def serve(self) -> None:
        while self.open:
            ready, _, _ = select.select(self.sockets, [], [], 0.1)
            for server in ready:
                if server.type == socket.SOCK_DGRAM:
                    self.heard.append(server.recv(1000))
                    continue
                connection, _ = server.accept()
                connection.settimeout(1)
                with connection, contextlib.suppress(OSError):
                    self.heard.append(connection.recv(1000) or b"a call without a word")

    def said(self) -> str:
        time.sleep(0.3)
        return b"\n".join(self.heard).decode(errors="replace")

    def __exit__(self, *_: object) -> None:
        self.open = False
        self.thread.join()
        for server in self.sockets:
            server.close()


def give(root: Path, user: int) -> None:
    """Let everything below `root` belong to `user`."""
    os.chown(root, user, user)
    for here, folders, files, descriptor in os.fwalk(root):
        del here
        for name in [*folders, *files]:
            os.chown(name, user, user, dir_fd=descriptor, follow_symlinks=False)


def snapshot(root: Path, names: tuple[str, ...] = (".",)) -> dict[str, str]:
    """Every file below `root`: its kind, mode, time of change and content."""
    found = {}
    for top in names:
        for here, folders, files in os.walk(root / top):
            for name in [*folders, *files]:
                path = Path(here, name)
                with contextlib.suppress(OSError):
                    at = path.lstat()
                    what = f"{at.st_mode:o}"
                    if stat.S_ISREG(at.st_mode):
                        digest = hashlib.sha256(path.read_bytes()).hexdigest()
                        what += f" {at.st_nlink} {at.st_mtime_ns} {digest}"
                    found[str(path.relative_to(root))] = what
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    names = sorted({*before, *after})
    return [f"{name} changed" for name in names if before.get(name) != after.get(name)]


def left_behind() -> Iterator[str]:
    """What attacks name so that it can be found: files, shared memory, keys."""
    import numpy

    import proctor

    library = [Path(module.__file__ or "").parent for module in (numpy, proctor, json)]
    library += [path / "__pycache__" for path in library]
    site = Path(numpy.__file__).parents[1]
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/lock", "/", site, *library):
        with contextlib.suppress(OSError):
            own = re.compile(r"proctor-attacks-\w+$")  # folders of these tests
            names = [name for name in os.listdir(folder) if not own.match(name)]
            yield from (f"{folder}/{name}" for name in names if LITTER.search(name))
    for kind in ("shm", "sem", "msg"):
        with contextlib.suppress(OSError):
            lines = Path("/proc/sysvipc", kind).read_text().splitlines()
            yield from (f"{kind} {line}" for line in lines if line.split()[0] == str(KEY))
    with contextlib.suppress(OSError):
        lines = Path("/proc/keys").read_text().splitlines()
        yield from (f"key {line}" for line in lines if LITTER.search(line))
    for path in Path("/tmp").glob("proctor-*/*/given.txt"):
        if not Path("/proc", path.parent.name).exists():  # a worker of another run has it
            yield f"{path}"


def adopt_orphans() -> None:
    """Processes that lose their parent become children of this one, and so can be found."""
    subreaper = 36
    ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parents() -> dict[int, int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {pid: int(words[1]) for pid in pids if (words := _stat(pid)) and words[0] != "Z"}


def children(parent: int) -> list[int]:
    return [pid for pid, above in _parents().items() if above == parent]


def descendants(root: int) -> list[int]:
    parents, found = _parents(), [root]
    for pid in found:
        found += [child for child, above in parents.items() if above == pid]
    return found[1:]


def memory(pid: int) -> int:
    """Bytes of memory of a process, its share of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def name_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid} {words.decode(errors='replace')[:200]}"
    except OSError:
        return f"{pid}"


def why_not(user: int | None) -> str:
    """Why a run as this user cannot be had; nothing if it can."""
    if user is None:
        return ""
    if os.geteuid() != 0:
        return "only root can become another user"
    if not (shutil.which("setpriv") and shutil.which("unshare")):
        return "there is no setpriv or unshare"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        command = Range(Path(folder), user).command("proctor.cli", "doctor")
        tried = subprocess.run(command, cwd="/", capture_output=True, text=True)
    return f"as user {user}: {tried.stderr}" if tried.returncode else ""
