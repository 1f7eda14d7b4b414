"""What students receive: made in a fresh clone, without a line of a solution or of a hidden test.

Both clones are released once for all tests, and each notebook is run once as released and once as
committed; two at a time.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from tests.course.notebooks import ASSIGNMENTS, HIDDEN, ROOT, Cell, Notebook, notebooks, read

STUBS = {"# YOUR CODE HERE", "raise NotImplementedError()", "*Your answer here.*"}
NAMES = [(name, book.name) for name in ASSIGNMENTS for book in notebooks(name)]
each_notebook = pytest.mark.parametrize(("assignment", "notebook"), NAMES)
each_assignment = pytest.mark.parametrize("assignment", ASSIGNMENTS)
# Released by formgrader's button, too: one with several notebooks, and the last.
BUTTONED = sorted({"05_autograd", ASSIGNMENTS[-1]})


def environment() -> dict[str, str]:
    """As an activated environment has it: nbgrader calls the program `alembic`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "JUPYTER_PLATFORM_DIRS": "1"}


# What formgrader's button does, for several assignments in one process.
BUTTON = """
import json, sys
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py").load_config())
done = {name: api.generate_assignment(name) for name in sys.argv[1:]}
failed = {name: "" if said["success"] else said["log"] for name, said in done.items()}
json.dump(failed, sys.stdout)
"""

Clone = tuple[Path, dict[str, str]]


def clone(place: Path) -> None:
    """The course's files, in a folder of their own."""
    for name in ("source", "tests/hidden", "tests/solutions", "tinytorch", "nbgrader_config.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, place / name)


def python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True)


def by_command(place: Path) -> dict[str, str]:
    """Release each assignment with `nbgrader generate_assignment`; what went wrong, by name."""
    said = {}
    for name in ASSIGNMENTS:
        done = python(place, "-m", "nbgrader", "generate_assignment", name)
        said[name] = done.stderr if done.returncode else ""
    return said


def by_button(place: Path) -> dict[str, str]:
    """Release some assignments as formgrader does; what went wrong, by name."""
    done = python(place, "-c", BUTTON, *BUTTONED)
    return json.loads(done.stdout) if done.stdout else dict.fromkeys(BUTTONED, done.stderr)


@pytest.fixture(scope="session")
def clones(tmp_path_factory: pytest.TempPathFactory) -> list[Clone]:
    """Two clones in folders of other names, and what went wrong with each assignment."""
    places = [tmp_path_factory.mktemp(name) for name in ("a course", "another")]
    for place in places:
        clone(place)
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(way, at) for way, at in zip((by_command, by_button), places, strict=True)
        ]
        return [(place, run.result()) for place, run in zip(places, runs, strict=True)]


@pytest.fixture(scope="session")
def released(clones: list[Clone]) -> Path:
    return clones[0][0] / "release"


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs that it has when run from top to bottom, errors among them."""
    book = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = nbclient.NotebookClient(book, timeout=600, allow_errors=True, resources=where)
    return client.execute(env={**environment(), "OPENBLAS_NUM_THREADS": "1"})


@pytest.fixture(scope="session")
def runs(
    released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Future[Any]]]:
    """Runs under way: ("release" or "source", notebook's name)."""
    work = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(2) as pool:
        started = {}
        for assignment, name in NAMES:
            for step, folder in (("release", released), ("source", ROOT / "source")):
                if (folder / assignment / name).exists():
                    place = work / step / assignment
                    shutil.copytree(folder / assignment, place, dirs_exist_ok=True)
                    started[step, name] = pool.submit(run, place / name)
        yield started


def texts(folder: Path) -> dict[str, str]:
    """All that is released, by path: a notebook's cells as text, other files as they are."""
    assert folder.is_dir(), f"{folder.name} could not be released"
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in read(path).cells) + text
        found[str(path.relative_to(folder))] = text
    return found


def secrets(books: list[Notebook]) -> set[str]:
    """The lines of solutions and sample answers that stand nowhere else in the assignment."""
    cells = [cell for book in books for cell in book.cells]
    inside = {line.strip() for cell in cells for region in cell.regions for line in region}
    inside |= {
        line.strip() for cell in cells if cell.is_written for line in cell.source.split("\n")
    }
    inside |= {line.strip() for cell in cells for line in cell.mark_scheme.split("\n")}
    outside = {line.strip() for cell in cells for line in cell.outside}
    return inside - outside - STUBS - {""}


def leaks(books: list[Notebook], released: dict[str, str]) -> list[str]:
    """Secret lines that a release holds: as a line, or, if they are long, anywhere."""
    given = "\n".join(line for book in books for cell in book.cells for line in cell.outside)
    found = []
    for secret in sorted(secrets(books)):
        for name, text in released.items():
            quoted = json.dumps(secret, ensure_ascii=False)[1:-1]
            anywhere = len(secret) >= 20 and secret not in given
            if secret in map(str.strip, text.splitlines()) or (
                anywhere and (secret in text or quoted in text)
            ):
                found.append(f"{name}: {secret}")
    return found


def suite_leaks(suite: str, released: dict[str, str]) -> list[str]:
    """What of a hidden suite a release holds: names of tests, docstrings, three lines on end."""
    found = []
    for node in ast.walk(ast.parse(suite)):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        lines = [line.strip() for line in ast.unparse(node.body).splitlines() if line.strip()]
        runs = ["\n".join(lines[i : i + 3]) for i in range(max(1, len(lines) - 2))]
        for name, text in released.items():
            stripped = "\n".join(line.strip() for line in text.splitlines() if line.strip())
            about = ast.get_docstring(node) or node.name
            if node.name in text or about in text or any(part in stripped for part in runs):
                found.append(f"{name}: {node.name}")
    return found


def errors(run: nbformat.NotebookNode) -> list[tuple[Cell, Any, Cell | None]]:
    """Each error of a run: the cell, the error, and the cell whose code raised it."""
    book = Notebook("", {"cells": run.cells})
    numbered = {cell.raw.get("execution_count"): cell for cell in book.cells}
    found = []
    for cell in book.cells:
        for output in cell.raw.get("outputs", ()):
            if output["output_type"] == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                frames = re.findall(r"^(?:Cell )?In\[(\d+)\], line \d+|^File .*", trace, re.M)
                raised = numbered.get(int(frames[-1])) if frames and frames[-1] else None
                found.append((cell, output, raised))
    return found


def unowed(run: nbformat.NotebookNode) -> list[str]:
    """Errors that a blank release must not show.

    The only error is NotImplementedError, raised by a stub, by a hidden-test cell, or by given code
    that says what is missing.
    """
    said = []
    for cell, error, raised in errors(run):
        owed = raised is not None and (
            raised.is_solution or raised.is_hidden_test or (raised.id.startswith("given_"))
        )
        if error["ename"] != "NotImplementedError" or not owed:
            at = raised.id if raised else "a library"
            said.append(f"{cell.id}: {error['ename']} from {at}: {error['evalue'][:200]}")
    return said


@each_assignment
def test_it_can_be_released(clones: list[Clone], assignment: str) -> None:
    for place, said in [(place, said) for place, said in clones if assignment in said]:
        assert not said[assignment], said[assignment][-3000:]
        made = {path.name for path in (place / "release" / assignment).iterdir()}
        assert made == {path.name for path in (ROOT / "source" / assignment).iterdir()}


@each_assignment
def test_no_line_of_a_solution_is_released(released: Path, assignment: str) -> None:
    assert leaks(notebooks(assignment), texts(released / assignment)) == []


@each_assignment
def test_nothing_of_the_hidden_suite_is_released(released: Path, assignment: str) -> None:
    suites = sorted((ROOT / "tests/hidden" / assignment).glob("*.py"))
    assert suites
    for path in suites:
        assert suite_leaks(path.read_text(), texts(released / assignment)) == []


@each_notebook
def test_every_solution_becomes_a_stub(released: Path, assignment: str, notebook: str) -> None:
    for cell in read(released / assignment / notebook).cells:
        assert not cell.regions
        if cell.is_solution:
            assert set(map(str.strip, cell.source.splitlines())) & STUBS, cell.where
        assert cell.raw.get("outputs", []) == []


@pytest.mark.parametrize("assignment", BUTTONED)
def test_the_same_source_gives_the_same_bytes(clones: list[Clone], assignment: str) -> None:
    one, other = (
        {path.name: path.read_bytes() for path in (place / "release" / assignment).iterdir()}
        for place, _ in clones
    )
    assert one and one == other


@each_notebook
def test_a_release_runs_with_only_what_the_student_owes(
    runs: dict[tuple[str, str], Future[Any]], assignment: str, notebook: str
) -> None:
    run = runs["release", notebook].result()
    assert unowed(run) == []
    failing = {cell.id for cell, _, _ in errors(run)}
    graded = {cell.id for cell in Notebook("", {"cells": run.cells}).cells if cell.is_test}
    assert graded <= failing, "a check that a blank passes"


@each_notebook
def test_the_instructors_notebook_runs(
    runs: dict[tuple[str, str], Future[Any]], assignment: str, notebook: str
) -> None:
    """The solutions work: nothing fails but the cells of the hidden tests."""
    run = runs["source", notebook].result()
    failed = {cell.id: error["ename"] for cell, error, _ in errors(run)}
    cells = Notebook("", {"cells": run.cells}).cells
    assert failed == {cell.id: "NotImplementedError" for cell in cells if cell.is_hidden_test}


# The other side: what these tests look for, they find.


def _book(*sources: tuple[str, dict[str, Any]]) -> Notebook:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "source": source, "metadata": {"nbgrader": meta}}
        for i, (source, meta) in enumerate(sources)
    ]
    return Notebook("a.ipynb", {"cells": cells})


SOLVED = _book(
    ("x = 1\nreturn x", {}),
    (
        "def f(x):\n    ### BEGIN SOLUTION\n    y = x + 1\n    return x\n"
        "    return np.exp(x - x.max())\n    ### END SOLUTION",
        {"solution": True},
    ),
    ("The sample answer.", {"solution": True, "grade": True}),
    ("Why?\n\n### BEGIN MARK SCHEME\n2 points: because.\n### END MARK SCHEME", {"locked": True}),
)


def test_secrets_are_lines_of_solutions_that_stand_nowhere_else() -> None:
    assert secrets([SOLVED]) == {
        "y = x + 1",
        "return np.exp(x - x.max())",
        "The sample answer.",
        "2 points: because.",
    }


@pytest.mark.parametrize(
    ("text", "leaked"),
    [
        ("def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()", False),
        ("    return x", False),
        ("  y = x + 1", True),
        ("# y = x + 1 is what we want", False),  # too short to look for inside a line
        ("# try return np.exp(x - x.max()) here", True),
        ("The sample answer.", True),
        ("2 points: because.", True),
        ("Why?", False),
    ],
)
def test_a_leaked_solution_is_seen(text: str, leaked: bool) -> None:
    assert bool(leaks([SOLVED], {"a.ipynb": text})) is leaked


@pytest.mark.parametrize(
    ("text", "leaked"),
    [
        ("x = np.ones(3)\nassert f(x) == 3", False),
        ("x = np.ones(3)\ny = f(x)\n\n    assert y.sum() == 3", True),
        ("def test_ones(): ...", True),
        ("The sum of ones.", True),
    ],
)
def test_a_leaked_test_is_seen(text: str, leaked: bool) -> None:
    suite = (
        'def test_ones():\n    """The sum of ones."""\n'
        "    x = np.ones(3)\n    y = f(x)\n    assert y.sum() == 3\n"
    )
    assert bool(suite_leaks(suite, {"a.ipynb": text})) is leaked


def test_errors_that_a_student_does_not_owe_are_seen(tmp_path: Path) -> None:
    answer = {"solution": True, "grade": False, "locked": False, "schema_version": 3}
    sources = [
        ("def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()", answer),
        ("f(1)", {}),
        (HIDDEN, {"grade": True, "solution": False}),
        ("y = f(2)", {}),
        ("y + 1", {}),
        ("raise NotImplementedError()", {}),
        ("import json; json.loads('')", {}),
    ]
    book = nbformat.v4.new_notebook()
    for i, (source, meta) in enumerate(sources):
        cell = nbformat.v4.new_code_cell(source, id=f"c{i}", metadata={"nbgrader": meta})
        book.cells.append(cell)
    nbformat.write(book, tmp_path / "a.ipynb")
    said = unowed(run(tmp_path / "a.ipynb"))
    assert [line.split(":")[0] for line in said] == ["c4", "c5", "c6"]
    assert "NameError from c4" in said[0] and "JSONDecodeError from a library" in said[2]
