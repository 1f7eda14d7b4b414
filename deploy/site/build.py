"""Builds the site of the released notebooks, with Python and their checks in the page.

Run by `make site`. What students must not see is never near it: the notebooks are those that
`nbgrader generate_assignment` makes in a scratch copy of the course.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CDN = "https://cdn.jsdelivr.net/pyodide/v{}/full/"  # Pyodide's own, for what is not in the site
PAGE = {"sys_platform": "emscripten", "platform_system": "Emscripten", "extra": ""}
FIRST = "# Run this cell first: it makes the checks of this notebook known.\n%load_ext proctor"
LAST = "# Save, then run this cell: it shows what works, and what to do next.\n%proctor check {0}"
EXPORT = (
    "# When all works: this makes your code importable for the next notebooks.\n%proctor export {0}"
)


def release(names: list[str], programs: Path, contents: Path) -> None:
    """The released notebooks and the files beside them, each in its assignment's folder."""
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder, "course")
        course.mkdir()
        for part in ("source", "tinytorch", "tests/hidden"):
            if (ROOT / part).is_dir():
                unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
                shutil.copytree(ROOT / part, course / part, ignore=unwanted)
        shutil.copy(ROOT / "nbgrader_config.py", course)
        for name in names or sorted(path.name for path in (course / "source").iterdir()):
            print(f"releasing {name}", flush=True)
            command = [programs / "nbgrader", "generate_assignment", name]
            done = subprocess.run(command, cwd=course, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} cannot be released:\n{done.stderr}")
            shutil.copytree(course / "release" / name, contents / name)
    for path in sorted(contents.glob("*/*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if any(_meta(cell).get("grade") for cell in notebook["cells"]):
            path.write_text(json.dumps(with_checks(notebook, path.name), indent=1) + "\n", "utf-8")


def _meta(cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cell["metadata"].get("nbgrader", {})
    return found


def with_checks(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """The notebook with cells that check and export it; none of them counts when it is graded."""
    cells = [*notebook["cells"]]
    first = next(at for at, cell in enumerate(cells) if cell["cell_type"] == "code")
    cells.insert(first, _cell("page-first", FIRST))
    cells.append(_cell("page-check", LAST.format(name)))
    if any("export" in cell["metadata"].get("tags", ()) for cell in cells):
        cells.append(_cell("page-export", EXPORT.format(name)))
    return {**notebook, "cells": cells}


def _cell(name: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": source,
    }


def unpack(archive: Path, target: Path) -> None:
    """Pyodide's core, or all of its distribution, from where JupyterLite takes it."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
        (lock,) = Path(folder).rglob("pyodide-lock.json")
        shutil.copytree(lock.parent, target, ignore=shutil.ignore_patterns("*.map", "*.d.ts"))


def add_packages(pyodide: Path, wheels: Iterable[Path]) -> None:
    """Put wheels beside Pyodide's core, and let its lock file name them; what else it names comes
    from Pyodide's own distribution.
    """
    place = pyodide / "pyodide-lock.json"
    lock = json.loads(place.read_text(encoding="utf-8"))
    version = json.loads((pyodide / "package.json").read_text(encoding="utf-8"))["version"]
    for entry in lock["packages"].values():
        if not (pyodide / entry["file_name"]).exists():  # it is, in all of the distribution
            entry["file_name"] = CDN.format(version) + entry["file_name"]
    paths = [*wheels]
    known = {*lock["packages"], *(_name(path) for path in paths)}
    for path in paths:
        shutil.copy(path, pyodide)
        lock["packages"][_name(path)] = _entry(path, known)
    place.write_text(json.dumps(lock), encoding="utf-8")


def _name(wheel: Path) -> str:
    return str(parse_wheel_filename(wheel.name)[0])


def _entry(wheel: Path, known: set[str]) -> dict[str, Any]:
    """What a lock file says of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
        about = next(name for name in files if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode(errors="replace"))
    needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    wanted = {canonicalize_name(need.name) for need in needs if _counts(need)}
    tops = {name.split("/")[0].removesuffix(".py") for name in files if name.endswith(".py")}
    name, version, *_ = parse_wheel_filename(wheel.name)
    return {
        "name": name,
        "version": str(version),
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": sorted(top for top in tops if re.fullmatch(r"[A-Za-z]\w*", top)),
        # proctor's own are what its checks need: they are named in jupyter-lite.json
        "depends": [] if name == "proctor" else sorted(wanted & known),
        "unvendored_tests": False,
        "tool": {},
    }


def _counts(need: Requirement) -> bool:
    return need.marker is None or need.marker.evaluate(PAGE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="where nbgrader lies")
    parser.add_argument("--proctor", type=Path, required=True, help="its wheel")
    parser.add_argument("--pyodide", type=Path, required=True, help="its core, as npm packs it")
    parser.add_argument("--wheels", type=Path, nargs="*", default=[], help="more of them")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("assignments", nargs="*", help="default: all of source/")
    options = parser.parse_args()
    output = options.output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        contents, wheels = Path(folder, "contents"), Path(folder, "wheels")
        contents.mkdir()
        shutil.copy(HERE / "README.md", contents)
        release(options.assignments, options.programs.resolve(), contents)
        print("fetching what the pages need", flush=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        only = ["--no-deps", "--only-binary=:all:", "--python-version=3.14", "--dest", wheels]
        subprocess.run([*pip, *only, "-r", HERE / "wheels.txt"], check=True)
        for name in ("jupyter-lite.json", "overrides.json"):
            shutil.copy(HERE / name, folder)
        unpack(options.pyodide, Path(folder, "static/pyodide"))
        shutil.rmtree(output, ignore_errors=True)
        print("building the site", flush=True)
        lite = [sys.executable, "-m", "jupyterlite_core", "build", "--apps", "lab"]
        lite += ["--no-sourcemaps", "--lite-dir", folder, "--contents", contents]
        lite += ["--output-dir", output]
        done = subprocess.run(lite, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the site cannot be built:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        found = [*sorted(wheels.glob("*.whl")), options.proctor, *options.wheels]
        add_packages(output / "static/pyodide", found)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
