"""A student's own machine: `proctor check` and `proctor export` where there is no jail.

A Python that lacks what Windows lacks is made of this one: proctor may not import Unix's modules,
and what is missing from `os`, `socket` and `signal` is missing for everybody.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proctor.author import export, prerequisites
from proctor.course.course import Course
from proctor.report.table import NO_ISOLATION
from proctor.student.unjailed import Unjailed
from tests.machine import environment
from tests.test_grading import NAME, SOURCE, as_notebook, make_course, notebooks, write
from tests.test_house import modules
from tests.test_prerequisites import THREE

BARE = '''
"""Takes away what Windows has not; run when Python starts."""
import builtins, io, os, signal, socket, sys

import platformdirs.unix  # takes what it needs of Linux when it is imported

for name in """fork forkpty getuid geteuid getgid getegid getpwuid initgroups setuid setgid wait4
    register_at_fork getpgid O_NOFOLLOW O_NONBLOCK O_CLOEXEC set_inheritable""".split():
    if hasattr(os, name) and name != "register_at_fork":
        delattr(os, name)
for name in "SIGALRM SIGHUP ITIMER_REAL setitimer alarm pthread_kill".split():
    delattr(signal, name)
for name in "AF_UNIX SOCK_SEQPACKET send_fds recv_fds".split():
    delattr(socket, name)

OURS = "proctor", "__main__"
UNIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
import_, open_ = builtins.__import__, io.open


def limited(name, globals=None, *rest, **options):
    if name in UNIX and (globals or {}).get("__name__", "").split(".")[0] in OURS:
        raise ModuleNotFoundError(f"No module named {name!r}")
    return import_(name, globals, *rest, **options)


def western(file, mode="r", buffering=-1, encoding=None, *rest, **options):
    if "b" not in mode and encoding in (None, "locale"):
        encoding = "cp1252"
    return open_(file, mode, buffering, encoding, *rest, **options)


builtins.__import__ = limited
builtins.open = io.open = western
'''


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python that lacks them, with all that is installed here but the course's own package."""
    home = tmp_path_factory.mktemp("bare") / "env"
    python = environment(home, lambda name: name == "course.pth")
    (site,) = home.glob("lib/*/site-packages")
    (site / "bare.py").write_text(BARE)
    (site / "bare.pth").write_text("import bare\n")
    return python


def proctor(python: Path, *words: str, cwd: Path) -> tuple[int, str, str]:
    """Type the command: its exit status and what it says, in Windows' encoding."""
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252", "COLUMNS": "90"}
    done = subprocess.run(
        [python, "-m", "proctor.cli", *words], cwd=cwd, env=environment, capture_output=True
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode("cp1252"), done.stderr.decode("cp1252")


@pytest.fixture(scope="module")
def desk(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spaces and umlauts; the first assignment is done and exported."""
    folder = tmp_path_factory.mktemp("desk") / "Übungen für Lerner"
    first = as_notebook(SOURCE["01_pairs"]["01_pairs"])
    first["cells"][1]["source"] = "def double(x):\r\n    return x + x  # größer"
    write(folder, "01_pairs.ipynb", json.dumps(first, ensure_ascii=False))
    write(folder, "rows.csv", "1.0\n2.0\n4.0\n")
    status, _, wrong = proctor(bare, "export", "--package", "mini", "01_pairs.ipynb", cwd=folder)
    assert status == 0, wrong
    assert "größer" in (folder / "mini/pairs.py").read_text(encoding="utf-8")
    return folder


def windows_lines(found: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the line ends that an editor on Windows leaves."""
    for each in found["cells"]:
        each["source"] = "".join(each["source"]).replace("\n", "\r\n")
    return found


AWAITS = "import asyncio\nawait asyncio.sleep(0)\ndef mean(values):\n    return total(values) / 3"
HANGS = "while True:\n    pass"
STUCK = "sum(iter(int, 1))"  # in C, where nothing interrupts it
FILES = "rows = open('rows.csv').read()\nassert rows.startswith('1.0')\nimport mini\nprint('ä')"
CASES: dict[str, dict[str, Any]] = {
    "right": {},
    "blank": {"blank": True},
    "partly": {"mean": "def mean(values):\n    return 0"},
    "syntax": {"mean": "def mean(values)\n    return 0"},
    "awaits": {"mean": AWAITS},
    "hangs": {"mean": HANGS},
    "stuck": {"mean": STUCK},
    "files": {"mean": FILES},
    "leaves": {"mean": "import os\nos._exit(3)"},
    "raises": {"mean": "def mean(values):\n    raise StopIteration('ü')"},
    "truth": {"mean": "class Any:\n    __eq__ = lambda *_: True\nmean = lambda values: Any()"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_check_says_what_the_jailed_one_says(bare: Path, desk: Path, case: str) -> None:
    edits = {**CASES[case]}
    made = notebooks(blank=True) if edits.pop("blank", False) else notebooks(edits)
    write(desk, f"{NAME}.ipynb", json.dumps(windows_lines(made[NAME]), ensure_ascii=False))
    jailed = proctor(Path(sys.executable), "check", f"{NAME}.ipynb", cwd=desk)
    status, said, wrong = proctor(bare, "check", f"{NAME}.ipynb", cwd=desk)
    assert wrong == jailed[2] == ""
    assert said.count(Unjailed.warning) == 1
    assert said.replace(f"{Unjailed.warning}\n", "") == jailed[1]
    assert status == jailed[0]
    assert ("2 of 2" in said) == (case != "blank"), said


def test_all_but_the_jailed_part_can_be_imported(bare: Path) -> None:
    """A door that needs Unix is shut behind a function, not in the middle of a module."""
    unix = ("jail", "worker.worker", "tester.tester", "grade.supervisor", "lms")
    names = [name.removesuffix(".__init__") for name in modules() if "__main__" not in name]
    portable = [f"proctor.{name}" for name in names if not name.startswith(unix)]
    assert {"proctor.cli", "proctor.student.check", "proctor.run"} <= {*portable}
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('proctor.jail')])"
    )
    command = [bare, "-c", code, *portable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_other_peoples_notebooks_are_not_graded_there(bare: Path, tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    (course / "submitted/ada" / NAME).mkdir(parents=True)
    status, _, wrong = proctor(bare, "grade", NAME, cwd=course)
    assert status == 2
    assert "cannot be graded on" in wrong and "Grade on Linux" in wrong


def test_somebody_elses_notebook_is_warned_of(bare: Path, tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    notebook = course / "submitted/ada" / NAME / f"{NAME}.ipynb"
    write(notebook.parent, notebook.name, json.dumps(notebooks()[NAME]))
    _, said, _ = proctor(bare, "check", str(notebook), cwd=course)
    assert NO_ISOLATION in said and Unjailed.warning not in said


def test_an_isolation_that_cannot_be_had_is_refused(bare: Path, desk: Path) -> None:
    write(desk, f"{NAME}.ipynb", json.dumps(notebooks()[NAME]))
    status, _, wrong = proctor(bare, "check", "--isolation", "full", f"{NAME}.ipynb", cwd=desk)
    assert status == 2 and "no jail" in wrong


def test_what_is_done_there_can_be_handed_in(bare: Path, tmp_path: Path) -> None:
    """And the receipt that was made there is understood here, and the other way round."""
    folder = tmp_path / "Übungen für Lerner" / NAME
    write(folder, f"{NAME}.ipynb", json.dumps(windows_lines(notebooks()[NAME])))
    write(folder, "rows.csv", "1.0\n2.0\n4.0\n")
    status, said, wrong = proctor(bare, "submit", "--force", NAME, cwd=folder.parent)
    assert (status, wrong) == (0, ""), said
    assert f"{NAME}.zip" in said
    for python in (bare, Path(sys.executable)):
        for what in (NAME, f"{NAME}.zip"):
            status, same, wrong = proctor(python, "receipt", what, cwd=folder.parent)
            assert (status, wrong) == (0, ""), same
    write(folder, "rows.csv", "1.0\n")
    assert proctor(bare, "receipt", NAME, cwd=folder.parent)[0] == 1


def test_what_the_instructor_hands_out_can_be_unpacked_there(bare: Path, tmp_path: Path) -> None:
    course = make_course(tmp_path / "course", THREE)
    for path in (course / "mini").iterdir():
        path.unlink()
    export.export_course(course / "source", course / "mini")
    archive = prerequisites.write(Course.load(course).assignment("03_means"), tmp_path)
    desk = tmp_path / "Übungen für Lerner"
    desk.mkdir()
    status, said, wrong = proctor(bare, "unpack", str(archive), cwd=desk)
    assert (status, wrong) == (0, "")
    assert "mini: the instructor's pairs, totals" in said
    for name in ("pairs.py", "__init__.py"):
        assert b"\r" not in (desk / "mini" / name).read_bytes()
    code = "import mini; print(mini.totals_made())"
    done = subprocess.run([bare, "-c", code], cwd=desk, capture_output=True, text=True)
    assert done.stdout == "totals\n", done.stderr


def test_what_a_cell_has_started_ends_with_it(bare: Path, desk: Path) -> None:
    """A tree of processes: nothing of what hangs is left behind."""
    mark = f"left-behind-{os.getpid()}"
    source = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', "
    source += f"'import time; time.sleep(600)', '{mark}'])\n{STUCK}"
    write(desk, f"{NAME}.ipynb", json.dumps(notebooks({"mean": source})[NAME]))
    status, _, _ = proctor(bare, "check", f"{NAME}.ipynb", cwd=desk)
    assert status == 1
    commands = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(each.read_bytes())
    assert commands and not [command for command in commands if mark.encode() in command]
