"""The engine's layout: which wing may import which, kept as one reads it in proctor/__init__.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.classroom import ROOT

PROCTOR = ROOT / "proctor"
LEAVES = {"errors", "__init__"}  # whoever wants may import these

# What each wing may import of the engine's, besides itself; the lowest first.
MAY = {
    "processes": set(),
    "jail": set(),
    "notebook": set(),
    "verdict": {"notebook"},
    "course": {"notebook"},
    "worker": {"processes", "jail"},
    "testing": set(),
    "tester": {"processes", "jail", "verdict", "testing"},
    "grade": {"course", "notebook", "processes", "jail", "verdict"},
    "record": {"verdict", "course", "notebook"},
    "feedback": {"verdict", "notebook", "record"},
    "report": {"verdict"},
    "lms": {"verdict", "course", "notebook", "record", "report"},
    "survey": {"report", "record", "course", "notebook", "verdict"},
    "author": {"grade", "course", "notebook", "verdict"},
    "student": {
        *("author", "grade", "course", "notebook", "report", "verdict"),
        *("processes", "tester", "worker"),
    },
}
# The doors: they stand at the top and may import everything.
TOP = {"cli", "run", "preprocessors"}


def modules() -> dict[str, Path]:
    """The engine's modules by their dotted names, without "proctor."."""
    found = {}
    for path in PROCTOR.rglob("*.py"):
        parts = path.relative_to(PROCTOR).with_suffix("").parts
        found[".".join(parts)] = path
    return found


def imported(source: str, known: set[str]) -> Iterator[str]:
    """The engine's modules that a source imports, wherever in it it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "proctor":
                continue
            for end in range(len(parts), 1, -1):
                if (place := ".".join(parts[1:end])) in known:
                    yield place
                    break
                if f"{place}.__init__" in known:
                    yield f"{place}.__init__"
                    break


def arrows() -> dict[str, set[str]]:
    found = modules()
    return {name: {*imported(path.read_text(), {*found})} for name, path in found.items()}


def wing(module: str) -> str:
    return module.split(".")[0]


def misplaced(arrows: dict[str, set[str]]) -> list[str]:
    """The imports that the layout does not allow."""
    found = []
    for module, targets in arrows.items():
        here = wing(module)
        if here in TOP or here in LEAVES:
            continue
        for target in targets:
            there = wing(target)
            if there not in MAY[here] | {here} | LEAVES:
                found.append(f"{module} imports {target}")
    return sorted(found)


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """The modules from which a way of imports leads back to them."""
    found = []
    for start in arrows:
        seen, todo = set(), [*arrows[start]]
        while todo:
            if (module := todo.pop()) not in seen:
                seen.add(module)
                todo += arrows.get(module, ())
        if start in seen:
            found.append(start)
    return sorted(found)


def test_no_wing_imports_what_stands_above_it() -> None:
    assert misplaced(arrows()) == []


def test_no_circle() -> None:
    assert circles(arrows()) == []


def test_every_module_has_its_place() -> None:
    assert {wing(module) for module in modules()} == {*MAY, *TOP, *LEAVES}


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("worker.shell", "from proctor.course import course", "worker.shell imports course.course"),
        ("notebook.files", "def f():\n    import proctor.cli", "notebook.files imports cli"),
        ("record.store", "from proctor.grade.grading import Grader", "imports grade.grading"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, line: str, said: str) -> None:
    planted = arrows()
    planted[module] |= {*imported(line, {*modules()})}
    assert any(said in each for each in misplaced(planted))


def test_a_circle_is_seen() -> None:
    planted = arrows()
    planted["notebook.cells"] |= {"notebook.template"}
    assert {"notebook.cells", "notebook.template"} <= {*circles(planted)}
