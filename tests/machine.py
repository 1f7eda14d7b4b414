"""A student's machine, as far as one can be made of this one: an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
SCRIPTS = {
    "jupyter": "jupyter_core.command",
    "jupyter-lab": "jupyterlab.labapp",
    "jupyter-labextension": "jupyterlab.labextensions",
    "nbgrader": "nbgrader.apps.nbgraderapp",
}


def is_of_the_course(name: str) -> bool:
    """Whether it is what whoever works in this clone has in site-packages, and a student has not:
    the way to `tinytorch/`, and to proctor where it is edited.
    """
    return name == "course.pth" or "editable" in name or name.startswith(("proctor", "tinytorch"))


def environment(home: Path, leave_out: Callable[[str], bool] = is_of_the_course) -> Path:
    """An environment with all that is installed here but what is left out; its Python."""
    venv.create(home, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = {Path(sysconfig.get_path("purelib")): home / "lib" / version / "site-packages"}
    places |= {Path(sys.prefix, place): home / place for place in ("share", "etc/jupyter")}
    for here, there in places.items():
        there.mkdir(parents=True, exist_ok=True)
        for each in here.iterdir():
            if each.name in ("numpy", "numpy.libs"):  # in the jail, a link leads nowhere
                shutil.copytree(each, there / each.name)
            elif not leave_out(each.name):
                (there / each.name).symlink_to(each)
    python = home / "bin/python"
    for name, module in SCRIPTS.items():
        (home / "bin" / name).write_text(SCRIPT.format(python=python, module=module))
        (home / "bin" / name).chmod(0o755)
    return python


def install(python: Path, wheel: Path) -> None:
    """What `pip install` does with a wheel whose dependencies are there."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", wheel], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def build_wheel(root: Path, folder: Path) -> Path:
    """The wheel of a clone, by `make wheel` in a copy: what an earlier build left plays no part."""
    copy = folder / "clone"
    copied = "proctor pyproject.toml Makefile README.md LICENSE requirements.lock tinytorch source"
    for name in copied.split():
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name)
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, copy / name)
    command = ["make", "wheel", f"VENV={sys.prefix}", "READY="]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (copy / "dist").glob("*.whl")
    return wheel
