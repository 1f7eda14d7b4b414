"""The site with Python in the page: what is in it, what is not, and a browser that opens it.

`make test-site` builds it and sets SITE. WHEELS may name NumPy's wheel for Pyodide, which no
registry has: with it in the site the first assignment is checked.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proctor.student.inside import Inside
from tests.browser import ARGUMENTS, CHROMIUM
from tests.classroom import ROOT, solved, text_of
from tests.test_check import as_exported
from tests.test_grading import NAME, as_notebook, cell, check, given, notebooks, write
from tests.test_inside import COMMAND, run

SITE = Path(os.environ.get("SITE", ""))
built = pytest.mark.skipif(not os.environ.get("SITE"), reason="no site: `make test-site` builds it")


def builder() -> Any:
    """deploy/site/build.py."""
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "deploy/site/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_build"] = module
    spec.loader.exec_module(module)
    return module


def test_the_cells_that_check_change_no_result(tmp_path: Path) -> None:
    made = builder().with_checks(notebooks()[NAME], f"{NAME}.ipynb")
    said = [text_of(each) for each in made["cells"] if each["id"].startswith("page-")]
    assert [line for text in said for line in text.split("\n") if line.startswith("%")] == [
        "%load_ext proctor",
        f"%proctor check {NAME}.ipynb",
        f"%proctor export {NAME}.ipynb",
    ]
    codes = [each["id"] for each in made["cells"] if each["cell_type"] == "code"]
    assert codes[0] == "page-first"
    as_exported(tmp_path)
    write(tmp_path, "rows.csv", "1.0\n2.0\n4.0\n")
    outputs = []
    for found in (notebooks()[NAME], made):
        write(tmp_path, f"{NAME}.ipynb", json.dumps(found))
        outputs.append(run(COMMAND, "check", f"{NAME}.ipynb", cwd=tmp_path))
    assert outputs[0] == outputs[1] and "2 of 2" in outputs[0][1]


def test_what_is_in_the_site_is_taken_from_it(tmp_path: Path) -> None:
    lock = {"packages": {name: {"file_name": f"{name}-1.whl"} for name in ("rich", "numpy")}}
    write(tmp_path, "pyodide-lock.json", json.dumps(lock))
    write(tmp_path, "package.json", json.dumps({"version": "1.2.3"}))
    wheel = tmp_path / "in/rich-2.0-py3-none-any.whl"
    wheel.parent.mkdir()
    make_wheel(wheel, 'Requires-Dist: numpy\nRequires-Dist: x; sys_platform != "emscripten"\n')
    builder().add_packages(tmp_path, [wheel])
    found = json.loads((tmp_path / "pyodide-lock.json").read_text())["packages"]
    assert found["numpy"]["file_name"].endswith("/v1.2.3/full/numpy-1.whl")
    assert found["rich"]["file_name"] == wheel.name and (tmp_path / wheel.name).exists()
    assert found["rich"]["depends"] == ["numpy"] and found["rich"]["imports"] == ["rich"]
    assert found["rich"]["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def make_wheel(path: Path, requires: str) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rich/__init__.py", "")
        archive.writestr("rich-2.0.dist-info/METADATA", f"Name: rich\nVersion: 2.0\n{requires}")


# The built site -----------------------------------------------------------------------------------


def contents() -> dict[str, Any]:
    paths = sorted((SITE / "files").glob("*/*.ipynb"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


@built
def test_what_it_promises_is_in_it() -> None:
    found = contents()
    assert {"01_tensor", "02_activations"} <= {*found}
    assert (SITE / "files/README.md").exists() and (SITE / "lab/index.html").exists()
    settings = json.loads((SITE / "jupyter-lite.json").read_text())["jupyter-config-data"]
    assert not [name for name in settings["federated_extensions"] if "nbgrader" in str(name)]
    kernel = settings["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]
    assert kernel["disablePyPIFallback"] is True
    pyodide = (SITE / kernel["pyodideUrl"]).parent
    lock = json.loads((pyodide / "pyodide-lock.json").read_text())["packages"]
    todo, seen = [*kernel["loadPyodideOptions"]["packages"]], set()
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        entry = lock[name]
        todo += entry["depends"]
        if name != "numpy" or "://" not in entry["file_name"]:
            wheel = pyodide / entry["file_name"]
            assert hashlib.sha256(wheel.read_bytes()).hexdigest() == entry["sha256"], name
    assert {"proctor", "rich", "ipython", "numpy"} <= seen


@built
def test_no_answer_is_in_it() -> None:
    """Neither a line of a solution, nor of a hidden test, nor of how a written answer is marked."""
    secret: set[str] = set()
    public: set[str] = set()
    region = re.compile(r"### BEGIN [A-Z ]+\n(.*?)### END", re.S)
    for path in (ROOT / "source").glob("*/*.ipynb"):
        for each in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for part in region.findall(text_of(each)):
                secret |= lines(part)
            public |= lines(region.sub("", text_of(each)))
    for path in (ROOT / "tests/hidden").rglob("*.py"):
        secret |= lines(path.read_text(encoding="utf-8"))
    telling = {line for line in secret - public if len(line) > 24}
    assert len(telling) > 500
    texts = [path.read_text(encoding="utf-8") for path in (SITE / "files").rglob("*.*")]
    said = {line for found in contents().values() for each in found["cells"]
            for line in lines(text_of(each))}  # fmt: skip
    assert not said & telling
    assert not [text for text in texts if "### BEGIN" in text or "MARK SCHEME" in text]
    names = {path.name for path in SITE.rglob("*")}
    assert not {name for name in names if name.startswith("tinytorch") or "hidden" in name}


def lines(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n")}


# In a browser -------------------------------------------------------------------------------------

MICRO = [
    cell("intro", "# First\n\nThe first.", "markdown"),
    given("names", '__all__ = ["double"]'),
    cell("double", "def double(x):\n    return 2 * x",
         tags=["export"], solution=True),
    cell("waits", "async def one():\n    return 1\n\nassert await one() == 1"),
    check("check_double", 5, "assert double(3) == 6\nassert double([1]) == [1, 1]"),
    cell("triple", "def triple(x):\n    raise NotImplementedError", solution=True),
    check("check_triple", 5, "assert triple(3) == 9"),
]  # fmt: skip
TRY = f"""import json, os, sys
os.makedirs('/drive/00_first', exist_ok=True)
os.chdir('/drive/00_first')
json.dump({as_notebook(MICRO)!r}, open('00_first.ipynb', 'w'))
get_ipython().run_line_magic('load_ext', 'proctor')
get_ipython().run_line_magic('proctor', 'check')
get_ipython().run_line_magic('proctor', 'export')
import tinytorch
print(tinytorch.__file__, tinytorch.double(21), sys.platform)"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The site on a plain server of files."""
    handler = functools.partial(Quiet, directory=SITE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def tab(address: str) -> Iterator[Any]:
    """The first assignment, open in a browser that reaches nothing but this server."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    only = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, only])
        tab = opened.new_page(viewport={"width": 1100, "height": 800})
        tab.set_default_timeout(PATIENCE)
        tab.on("console", lambda message: print(message.text[:500]))
        tab.goto(f"{address}/lab/index.html?path=01_tensor/01_tensor.ipynb")
        tab.get_by_text("Run this cell first").wait_for()
        yield tab
        opened.close()


PATIENCE = 300_000  # milliseconds: what hangs fails, however slow the machine is


@built
def test_a_notebook_is_checked_in_the_page(tab: Any) -> None:
    """Pyodide boots, proctor is there without a word of installing, and the check says what any
    other would; none of it needs NumPy, which is not there.
    """
    tab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    tab.keyboard.press("Control+a")
    tab.keyboard.insert_text(TRY)
    tab.keyboard.press("Shift+Enter")
    cells = tab.locator(".jp-Notebook .jp-CodeCell")
    outputs = cells.first.locator(".jp-OutputArea").first
    outputs.get_by_text("/drive/tinytorch/__init__.py 42 emscripten").wait_for()
    said = outputs.inner_text()
    assert Inside.warning in said
    assert re.search(r"double\s+5 of 5\s+✓ works", said)
    assert re.search(r"triple\s+0 of 5\s+✗ not yet", said)
    assert "is still to be written" in said


with_numpy = pytest.mark.skipif(
    not os.environ.get("WHEELS", "").rpartition("/")[2].startswith("numpy"),
    reason="no NumPy for this Pyodide on a registry: `make test-site WHEELS=numpy-....whl`",
)


@built
@with_numpy
def test_the_first_assignment_is_checked_in_the_page(tab: Any) -> None:
    tab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    tab.keyboard.press("Control+a")
    code = "import os; os.chdir('/drive/01_tensor')\n%load_ext proctor\n%proctor check 01_tensor"
    tab.keyboard.insert_text(code)
    tab.keyboard.press("Shift+Enter")
    results = tab.locator('section[aria-label="proctor check"]').first
    results.get_by_text("01_tensor.ipynb").wait_for()
    assert "NotImplementedError" in results.inner_text()


NODE = """
const [site, desk] = process.argv.slice(-2);
const { loadPyodide } = await import(`${site}/static/pyodide/pyodide.mjs`);
const { readFileSync } = await import("fs");
const pyodide = await loadPyodide({ indexURL: `${site}/static/pyodide/` });
const found = JSON.parse(readFileSync(`${site}/jupyter-lite.json`))["jupyter-config-data"];
const kernel = found.litePluginSettings["@jupyterlite/pyodide-kernel-extension:kernel"];
await pyodide.loadPackage(kernel.loadPyodideOptions.packages, { messageCallback: () => {} });
pyodide.FS.mkdir("/drive");
pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root: desk }, "/drive");
await pyodide.runPythonAsync(`
import os
os.chdir("/drive")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "proctor")
shell.run_line_magic("proctor", "check 01_tensor")
`);
"""


@built
@with_numpy
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_solved_first_assignment_passes_on_numpy_for_webassembly(tmp_path: Path) -> None:
    """What the page loads, without the page: whatever Pyodide NumPy is there for."""
    for name, notebook in solved("01_tensor").items():
        write(tmp_path, f"{name}.ipynb", json.dumps(notebook))
    command = ["node", "--input-type=module", "-e", NODE, str(SITE.resolve()), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("works") == 11 and "not yet" not in done.stdout
    assert "Every visible check passes" in done.stdout and Inside.warning in done.stdout
