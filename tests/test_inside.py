"""A check inside of one process, as a page in a browser has it: what the jailed check says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.student.inside import Inside
from tests.test_grading import NAME, SOURCE, as_notebook, notebooks, write
from tests.test_laptop import CASES, bare, desk, windows_lines  # noqa: F401 (fixtures)

# What a page has not is taken away when all is imported: nothing of it may be needed later.
PAGE = """
import asyncio, os, signal, socket, subprocess, sys, threading
import matplotlib, proctor.cli, proctor.student.check
sys.platform = "emscripten"

def missing(*_, **__):
    raise OSError("there is no such thing in a page")

for owner, names in {
    os: "fork forkpty posix_spawn _exit abort kill killpg execv",
    signal: "signal setitimer alarm pthread_kill",
    socket: "socket socketpair",
    subprocess: "Popen",
    threading.Thread: "start",
}.items():
    for name in names.split():
        setattr(owner, name, missing)
"""
COMMAND = f"{PAGE}\nfrom proctor.cli import main\nsys.exit(main())"
# As a kernel runs it: in a cell of a shell, while an event loop runs, with things of its own.
KERNEL = f"""import asyncio
loop = asyncio.new_event_loop()
{PAGE}
import io, random
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython import get_ipython
from traitlets.config import Config

config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config)
shell.run_line_magic("load_ext", "proctor")
shell.run_cell("import mini; mark = mini.mark = 'mine'")
sys.path.append("kept")

def state():
    return [
        os.getcwd(), [*sys.path], sys.modules["__main__"], sys.modules["mini"], random.getstate(),
        repr(np.random.get_state()), InteractiveShell.instance(), {{**os.environ}}, os._exit,
        {{name for name in sys.modules if name.startswith("mini")}}, asyncio.get_running_loop(),
        sys.stdout,
    ]

async def main():
    before = state()
    for _ in range(2):
        assert shell.run_cell(f"%proctor check {{sys.argv[1]}}").success
    assert state() == before, (state(), before)
    shell.run_cell("import mini; assert mini.mark == mark == 'mine'; assert 'mean' not in dir()")

loop.run_until_complete(main())
"""


def run(code: str, *words: str, cwd: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0", "COLUMNS": "90"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("case", [name for name in CASES if name not in ("hangs", "stuck")])
def test_it_says_what_the_jailed_check_says(desk: Path, case: str) -> None:  # noqa: F811
    edits = {**CASES[case]}
    made = notebooks(blank=True) if edits.pop("blank", False) else notebooks(edits)
    write(desk, f"{NAME}.ipynb", json.dumps(windows_lines(made[NAME]), ensure_ascii=False))
    jailed = run("from proctor.cli import main; main()", "check", f"{NAME}.ipynb", cwd=desk)
    status, said, wrong = run(COMMAND, "check", f"{NAME}.ipynb", cwd=desk)
    assert wrong == jailed[2] == ""
    said = " ".join(said.split())
    assert said.count(Inside.warning) == 1
    assert said.replace(f"{Inside.warning} ", "") == " ".join(jailed[1].split())
    assert status == jailed[0]
    assert ("2 of 2" in said) == (case != "blank"), said


@pytest.mark.parametrize("case", ["right", "awaits", "files", "leaves"])
def test_the_kernel_is_as_it_was(desk: Path, case: str) -> None:  # noqa: F811
    write(desk, f"{NAME}.ipynb", json.dumps(notebooks({**CASES[case]})[NAME]))
    status, said, wrong = run(KERNEL, NAME, cwd=desk)
    assert (status, wrong) == (0, "")
    assert said.count("2 of 2") >= 2


def test_no_jail_can_be_asked_for(desk: Path) -> None:  # noqa: F811
    write(desk, f"{NAME}.ipynb", json.dumps(notebooks()[NAME]))
    status, _, wrong = run(COMMAND, "check", "--isolation", "full", f"{NAME}.ipynb", cwd=desk)
    assert status == 2 and "no jail" in wrong


def test_it_needs_no_numpy_where_the_notebook_needs_none(tmp_path: Path) -> None:
    """In a page NumPy is fetched from far away; what does without it works without it."""
    write(tmp_path, "01_pairs.ipynb", json.dumps(as_notebook(SOURCE["01_pairs"]["01_pairs"])))
    without = "import sys\nsys.modules['numpy'] = None\n" + COMMAND.replace("matplotlib, ", "")
    status, said, wrong = run(without, "check", "01_pairs.ipynb", cwd=tmp_path)
    assert (status, wrong) == (0, "")
    assert "5 of 5" in said
