"""`%load_ext proctor`, then `%proctor check`: the visible checks' results below a cell; and
`%proctor export`, for where there is no terminal.

It needs IPython alone, so that it is the same in JupyterLab, VS Code and Colab. What is checked is
the file that was saved, in processes of its own: the kernel's names play no part.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
from html import escape
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display
from rich.console import Console

from proctor.author import export
from proctor.errors import ProctorError, Rejected
from proctor.notebook.cells import nbgrader, parse
from proctor.notebook.files import fetch
from proctor.student.check import Findings, check, label, points, show
from proctor.verdict import printable

USAGE = (
    "Type `%proctor check` or `%proctor export`; or with the notebook's name, as in "
    "`%proctor check NOTEBOOK.ipynb`."
)
UNSAVED = (
    "What you ran last is not what you saved: save the notebook (Ctrl+S, Cmd+S) and check again."
)


class Desk:
    """One shell's magic: it remembers what was run, and when."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.ran: list[tuple[float, str]] = []

    def remember(self, info: Any) -> None:
        """What is about to be run, but for what only asks for this."""
        source = str(info.raw_cell).strip()
        if not source.startswith(("%proctor", "%load_ext", "%reload_ext")):
            self.ran.append((time.time(), source))

    def proctor(self, line: str) -> None:
        """Check or export the notebook as it was saved: %proctor check|export [NOTEBOOK]"""
        command, _, name = line.strip().partition(" ")
        if command not in ("check", "export"):
            raise UsageError(USAGE)
        try:
            path = notebook_of(self.shell, name.strip().strip("'\""))
            (self.check if command == "check" else self.export)(path)
        except (ProctorError, Rejected) as error:
            raise UsageError(printable(str(error))) from None

    def export(self, path: Path) -> None:
        """Write a notebook's module; this session, too, finds the package."""
        package = export.package_for(path)
        target = export.export_notebook(path, package)
        for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
            del sys.modules[name]  # the next import finds the new one
        importlib.invalidate_caches()
        if str(package.parent) not in sys.path:
            sys.path.append(str(package.parent))
        print(f"{os.path.relpath(target)}: `import {package.name}` has what this notebook exports.")

    def check(self, path: Path) -> None:
        """Show what works and what to do next."""
        warnings: list[str] = []
        findings = check(path, warn=warnings.append)
        saved = path.stat().st_mtime
        sources = {cell["source"].strip() for cell in parse(fetch(path))["cells"]}
        if any(when > saved and source not in sources for when, source in self.ran):
            warnings.append(UNSAVED)
        as_of = time.strftime("%H:%M:%S", time.localtime(saved))
        warnings.append(f"Checked as you saved it at {as_of}.")
        shown = {
            "text/plain": as_text(findings, warnings),
            "text/html": as_html(findings, warnings),
        }
        display(shown, raw=True)  # type: ignore[no-untyped-call]


def load(shell: Any) -> None:
    """Register the magic in an IPython shell, once."""
    if "proctor" not in shell.magics_manager.magics["line"]:
        desk = Desk(shell)
        shell.events.register("pre_run_cell", desk.remember)
        shell.register_magic_function(desk.proctor, magic_name="proctor")
    # In a page no terminal has said where the package lies: beside the assignments' folders.
    if sys.platform == "emscripten" and str(Path.cwd().parent) not in sys.path:
        sys.path.append(str(Path.cwd().parent))


def notebook_of(shell: Any, name: str = "") -> Path:
    """The notebook that a cell stands in, or the one that is named. Raises UsageError.

    VS Code and Jupyter tell where it is; else it is the only one here with grade cells.
    """
    if name:
        for path in (Path(name), Path(f"{name}.ipynb"), Path(name, f"{Path(name).name}.ipynb")):
            if path.is_file():
                return path
        raise UsageError(f"There is no notebook '{printable(name)}' in {Path.cwd()}. {USAGE}")
    known = shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")
    for place in known:
        if place and Path(place).suffix == ".ipynb" and Path(place).is_file():
            return Path(place)
    here = [path for path in sorted(Path().glob("*.ipynb")) if _has_checks(path)]
    if len(here) == 1:
        return here[0]
    why = "none here has checks" if not here else f"there are {', '.join(map(str, here))}"
    raise UsageError(
        f"Which notebook is this? It cannot be told, and {why}. Type its name: "
        "`%proctor check NOTEBOOK.ipynb`. (In Colab, mount your Drive and give the whole path.)"
    )


def _has_checks(path: Path) -> bool:
    try:
        return any(nbgrader(cell).get("grade") for cell in parse(fetch(path))["cells"])
    except Rejected:
        return False


def as_text(findings: Findings, warnings: list[str]) -> str:
    """What the command prints."""
    screen = io.StringIO()
    show(findings, Console(file=screen, width=90, force_jupyter=False))
    return "\n".join([screen.getvalue().rstrip(), *warnings])


def as_html(findings: Findings, warnings: list[str]) -> str:
    """The same as a page's part: no script, no colour that a dark page would swallow."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:start">{escape(label(test))}</th>'
        f"<td>{escape(points(test))}</td>"
        + (
            '<td style="color:#1a8f3c">✓ works</td></tr>'
            if test.status == "passed"
            else '<td style="color:#d1433f">✗ not yet</td></tr>'
        )
        for test in findings.tests
    )
    parts = []
    if findings.next:
        why = f"<pre>{escape(printable(findings.why))}</pre>" if findings.why else ""
        edge = "border-inline-start:4px solid #d1433f;padding-inline-start:0.8em;margin:0.6em 0"
        title = f"<strong>Next: {escape(printable(findings.next))}</strong>"
        parts.append(f'<div style="{edge}">{title}{why}</div>')
    elif findings.why:
        parts.append(f"<p><strong>{escape(printable(findings.why))}</strong></p>")
    caption = "text-align:start;font-weight:bold;color:inherit"
    parts.append(
        f'<table style="margin:0"><caption style="{caption}">{escape(findings.notebook)}</caption>'
        '<thead><tr><th scope="col">check</th><th scope="col">points</th>'
        f'<th scope="col">result</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    parts += map(_paragraph, (*findings.notes, *findings.undecided, *warnings))
    return f'<section aria-label="proctor check">{"".join(parts)}</section>'


def _paragraph(text: str) -> str:
    return f'<p style="margin:0.3em 0">{escape(printable(text))}</p>'
