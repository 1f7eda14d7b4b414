"""`%proctor check` in IPython alone, as VS Code and Colab have it, and in JupyterLab."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from proctor.student import magic
from proctor.worker.shell import Shell
from tests.classroom import ROOT
from tests.test_check import as_exported
from tests.test_grading import NAME, as_notebook, cell, notebooks, write

INSTALL = ROOT / "docs/install.md"
RIGHT = notebooks()[NAME]
PARTLY = notebooks({"mean": "def mean(values):\n    return '</pre><script>'"})[NAME]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A shell of IPython's own, in a folder with a released notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    write(tmp_path, f"{NAME}.ipynb", json.dumps(PARTLY))
    write(tmp_path, "rows.csv", "1.0\n2.0\n4.0\n")
    as_exported(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    made.run_line_magic("load_ext", "proctor")
    yield made
    made.restore_sys_module_state()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What stands below the cell."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr(magic, "display", lambda data, raw: found.append(data))
    return found


def test_the_results_stand_below_the_cell(shell: Any, shown: list[dict[str, str]]) -> None:
    shell.run_line_magic("proctor", "check")
    page, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert ">total</th><td>2 of 2</td>" in page and "✓ works" in page
    assert ">mean</th><td>0 of 2</td>" in page and "✗ not yet" in page
    assert "<strong>Next: The mean</strong>" in page
    assert "<script" not in page
    assert "Next: The mean" in text and "Checked as you saved it at" in text
    assert "2 of 2" in text and magic.UNSAVED not in text


def test_nothing_of_it_runs_in_the_kernel(shell: Any, shown: list[dict[str, str]]) -> None:
    """It is the saved notebook that is checked: the names of the session stay as they are."""
    shell.run_cell("total = 'mine'")
    shell.run_line_magic("proctor", f"check {NAME}")
    assert shell.user_ns["total"] == "mine" and "mean" not in shell.user_ns
    assert "2 of 2" in shown[0]["text/plain"]


def test_what_was_run_and_not_saved_is_told(shell: Any, shown: list[dict[str, str]]) -> None:
    notebook = Path(f"{NAME}.ipynb")
    os.utime(notebook, (time.time() - 60,) * 2)
    for each in PARTLY["cells"]:
        if each["cell_type"] == "code" and each["id"] == "total":
            shell.run_cell("".join(each["source"]))  # as it was saved
    shell.run_line_magic("proctor", "check")
    assert magic.UNSAVED not in shown[-1]["text/html"]
    shell.run_cell("def mean(values):\n    return 3")
    shell.run_line_magic("proctor", "check")
    assert magic.UNSAVED in shown[-1]["text/html"] and magic.UNSAVED in shown[-1]["text/plain"]
    notebook.touch()
    shell.run_line_magic("proctor", "check")
    assert magic.UNSAVED not in shown[-1]["text/html"]


def test_loaded_twice_it_is_there_once(shell: Any) -> None:
    before = len(shell.events.callbacks["pre_run_cell"])
    shell.run_line_magic("reload_ext", "proctor")
    assert len(shell.events.callbacks["pre_run_cell"]) == before


class TestWhichNotebook:
    def test_jupyter_and_vs_code_say_it(
        self, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("lab", "code"):
            write(tmp_path / "elsewhere", f"{name}.ipynb", json.dumps(RIGHT))
        monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "elsewhere/lab.ipynb"))
        assert magic.notebook_of(shell).name == "lab.ipynb"
        shell.user_ns["__vsc_ipynb_file__"] = str(tmp_path / "elsewhere/code.ipynb")
        assert magic.notebook_of(shell).name == "code.ipynb"

    @pytest.mark.parametrize("name", [f"{NAME}.ipynb", NAME])
    def test_it_is_named(self, shell: Any, name: str) -> None:
        assert magic.notebook_of(shell, name) == Path(f"{NAME}.ipynb")

    def test_one_without_checks_does_not_count(self, shell: Any, tmp_path: Path) -> None:
        write(tmp_path, "scratch.ipynb", json.dumps(as_notebook([cell("a", "x = 1")])))
        assert magic.notebook_of(shell) == Path(f"{NAME}.ipynb")

    def test_it_cannot_be_told(self, shell: Any, tmp_path: Path) -> None:
        write(tmp_path, "copy.ipynb", json.dumps(RIGHT))
        with pytest.raises(UsageError, match=rf"{NAME}.ipynb, copy.ipynb|copy.ipynb, {NAME}.ipynb"):
            magic.notebook_of(shell)

    @pytest.mark.parametrize("line", ["", "grade", "check nowhere.ipynb"])
    def test_a_wrong_call_is_a_sentence(self, shell: Any, line: str) -> None:
        with pytest.raises(UsageError, match="%proctor check"):
            shell.run_line_magic("proctor", line)


def test_it_does_nothing_while_the_notebook_is_graded() -> None:
    """A notebook that has the cell in it neither fails there nor checks itself for ever."""
    shell = Shell.warm()
    try:
        assert shell.run("%load_ext proctor\n%proctor check")[0]
    finally:
        Shell.clear_instance()


# JupyterLab ---------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """JupyterLab's address, in a folder with a notebook that checks itself."""
    asking = cell("ask", "%load_ext proctor\n%proctor check")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    asking = {**PARTLY, "metadata": kernel, "cells": [asking, *PARTLY["cells"]]}
    write(tmp_path / "course", f"{NAME}.ipynb", json.dumps(asking))
    write(tmp_path / "course", "rows.csv", "1.0\n2.0\n4.0\n")
    as_exported(tmp_path / "course")
    settings = "--no-browser --allow-root --ServerApp.port=0 --IdentityProvider.token=token".split()
    log = tmp_path / "log"
    command = re.search(r"(?m)^    jupyter (labextension disable .+)$", INSTALL.read_text())
    assert command is not None
    own = {name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    for words in (command[1], "labextension disable @jupyterlab/apputils-extension:announcements"):
        jupyter = [sys.executable, "-m", "jupyter", *shlex.split(words), "--level=user"]
        subprocess.run(jupyter, env=os.environ | own, check=True, capture_output=True)
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *settings],
            cwd=tmp_path / "course",
            stderr=output,
            env=os.environ | own,
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        urlopen(f"{found[0]}?token=token").close()
        yield found[0]
    finally:
        server.terminate()
        server.wait(30)


def test_in_jupyterlab(lab: str, browser: Any, tmp_path: Path) -> None:
    tab = browser.new_page(viewport={"width": 1000, "height": 640})
    tab.set_default_timeout(120_000)
    tab.goto(f"{lab}/tree/{NAME}.ipynb?token=token")
    tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    results = tab.locator('section[aria-label="proctor check"]')
    for _ in range(10):  # a key is lost while JupyterLab is still setting up
        if (button := tab.locator(".jp-Dialog .jp-mod-accept")).count():
            button.first.click()
        tab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click(timeout=20_000)
        tab.keyboard.press("Shift+Enter")
        with contextlib.suppress(Exception):
            results.wait_for(timeout=20_000)
            break
    said = results.inner_text()
    assert "Next: The mean" in said and "✓ works" in said and "✗ not yet" in said
    assert tab.get_by_text("Validate", exact=True).count() == 1
    assert tab.get_by_text("Create Assignment").count() == 0
    if os.environ.get("SCREENSHOTS"):
        tab.keyboard.press("Control+s")
        tab.screenshot(path=ROOT / "docs/screenshots/lab-check.png")
    tab.close()
