"""The package that a course builds, and those that its notebooks may import: what the instructor's
own notebooks and helpers do.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from proctor.errors import CourseError, Rejected
from proctor.notebook.cells import parse

NUMBERED = re.compile(r"(\d+)_(.+)")


def module_name(path: Path) -> str:
    """The module that a notebook becomes: 02_activations.ipynb is `activations`."""
    match = NUMBERED.fullmatch(path.stem)
    name = match[2] if match else path.stem
    if not name.isidentifier():
        raise CourseError(
            f"{path}: '{name}' cannot be the name of a module. "
            "Rename the notebook to letters, digits and underscores, such as 01_tensor.ipynb."
        )
    return name


def imported(paths: Iterable[Path]) -> list[str]:
    """The installed modules that the instructor's notebooks and helpers import, or may import by
    using them, as `np.testing`: students need them, too.
    """
    sources = []
    for path in paths:
        if path.suffix == ".py":
            sources.append(path.read_text(errors="replace"))
            continue
        with contextlib.suppress(Rejected):
            cells = parse(path.read_bytes())["cells"]
            sources += [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    names: list[str] = []
    bound: dict[str, str] = {}  # `import numpy as np`: np is numpy
    for source in sources:
        if re.search(r"(?m)^\s*%(matplotlib|pylab)\b", source):
            names.append("matplotlib.pyplot")
        if "ipykernel" in source:  # by which code tells where it runs
            names.append("ipykernel.zmqshell")
        code = re.sub(r"(?m)^(\s*)[%!?].*$", r"\1pass", source)
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Import):
                    names += [alias.name for alias in node.names]
                    bound |= {alias.asname or alias.name: alias.name for alias in node.names}
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    if node.value.id in bound:
                        names.append(f"{bound[node.value.id]}.{node.attr}")
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    if any(name.split(".")[0] == "pandas" for name in names):
        names.append("matplotlib.pyplot")  # what it draws with, when it is asked to
    return [name for name in dict.fromkeys(names) if installed(name.split(".")[0])]


def versions(modules: Iterable[str]) -> dict[str, str]:
    """The versions of the distributions that these modules come from."""
    found: dict[str, str] = {}
    for name in {module.split(".")[0] for module in modules}:
        try:  # the distribution often has the module's name; to look for others takes longer
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            for other in _providers().get(name, []):
                found[other] = importlib.metadata.version(other)
    return dict(sorted(found.items()))


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def companions(names: Iterable[str]) -> set[str]:
    """Where the packages lie that these may import later on: pandas reads Excel with openpyxl.

    They are what a package requires, or has as an extra, and what that requires; with the metadata
    of all of them, which some read for their version.
    """
    names = [module.split(".")[0] for module in names]
    todo = [(name, True) for module in names for name in _providers().get(module, [])]
    seen: set[tuple[str, bool]] = set()
    paths: set[str] = set()
    while todo:
        name, extras = todo.pop()
        key = re.sub(r"[-_.]+", "-", name).lower(), extras
        if key in seen:
            continue
        seen.add(key)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.distribution(name)
            for need in found.requires or []:
                if extras or not re.search(r"\bextra\s*==", need):
                    todo.append((re.split(r"[^\w.-]", need, maxsplit=1)[0], False))
            parts = {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}
            paths |= {str(found.locate_file(part)) for part in parts}
    return {path for path in paths if Path(path).exists()}


def installed(name: str) -> bool:
    """Whether it is a library's module: neither Python's own, nor a course's package."""
    if name in sys.stdlib_module_names or name == "__main__":
        return False
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return found is not None and "site-packages" in str(found.origin)
