"""The course: where things stand, and what nbgrader_config.py says of grading."""

from __future__ import annotations

import base64
import fnmatch
import glob
import hashlib
import itertools
import marshal
import os
import platform
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from proctor import __version__
from proctor.course import packages, released
from proctor.course.packages import module_name
from proctor.course.settings import IN_PROCESS, Proctor, clocks, setting
from proctor.errors import CourseError
from proctor.notebook.template import Stubs, Template, read

Module = tuple[str, str]  # its name, and its code as text

MAX_FILES = 48 << 20  # bytes of all supporting files: they are handed to each worker


class Course:
    """A course directory: nbgrader's folders and the assignments in them."""

    def __init__(self, root: Path, config: Config) -> None:
        self.root, self.config = root, config
        self.settings = Proctor(config=config)
        directory = config.CourseDirectory
        self._structure = str(
            directory.get(
                "directory_structure",
                os.path.join("{nbgrader_step}", "{student_id}", "{assignment_id}"),
            )
        )
        self._directory = directory

    @classmethod
    def load(cls, root: Path) -> Course:
        """The course in `root`. Raises CourseError if there is no nbgrader_config.py."""
        root = root.resolve()
        if not (root / "nbgrader_config.py").exists():
            raise CourseError(
                f"{root} is no course: it has no nbgrader_config.py. Go to the course's folder, or "
                "name it with --course."
            )
        try:
            config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
        except Exception as error:
            raise CourseError(f"{root / 'nbgrader_config.py'} cannot be read: {error}") from None
        return cls((root / config.CourseDirectory.get("root", "")).resolve(), config)

    def folder(self, step: str, student: str, assignment: str) -> Path:
        """A folder of nbgrader's: step is source, release, submitted, autograded or feedback."""
        name = str(self._directory.get(f"{step}_directory", step))
        return self.root / self._structure.format(
            nbgrader_step=name, student_id=student, assignment_id=assignment
        )

    @cached_property
    def db_url(self) -> str:
        """The gradebook's address; a file's is relative to the course's folder, where nbgrader
        works.
        """
        url = str(self._directory.get("db_url", "sqlite:///gradebook.db"))
        driver, _, name = url.partition(":///")
        if driver.startswith("sqlite") and name and not name.startswith((":", "file:")):
            return f"{driver}:///{self.root / name}"
        return url

    @property
    def course_id(self) -> str:
        return str(self._directory.get("course_id", ""))

    @property
    def package(self) -> str | None:
        return self.settings.package or None

    @cached_property
    def assignments(self) -> list[str]:
        """The assignments that have a folder of notebooks in source/, in order."""
        parent = self.folder("source", ".", "_").parent
        found = [path.parent.name for path in parent.glob("*/*.ipynb")] if parent.is_dir() else []
        return sorted(set(found))

    def students(self, assignment: str) -> list[str]:
        """Who submitted it."""
        anyone = "\0"  # stands in no path
        place = str(self.folder("submitted", anyone, assignment))
        pattern = re.escape(place).replace(anyone, "([^/]+)")
        found = glob.glob(glob.escape(place).replace(anyone, "*"), include_hidden=True)
        matches = (re.fullmatch(pattern, path) for path in found if os.path.isdir(path))
        return sorted(match[1] for match in matches if match)

    def assignment(self, name: str) -> Assignment:
        """Raises CourseError, with the names there are, if there is none of that name."""
        found = Assignment(self, name)
        if name not in self.assignments and not (found.checks == IN_PROCESS and found.templates):
            known = ", ".join(self.assignments) or "none"
            raise CourseError(
                f"There is no assignment '{name}' in {self.root / 'source'}. There are: {known}."
            )
        return found


class Assignment:
    """One assignment: its notebooks, its suite, and the modules that come before it."""

    trusted: ClassVar[bool] = True  # whether its checks may run outside the jail

    def __init__(self, course: Course, name: str) -> None:
        self.course, self.name = course, name

    @property
    def reference(self) -> Path | None:
        """The course's package, with which hidden suites compare; None if there is none."""
        folder = self.course.root / (self.course.package or "")
        return folder if self.course.package and (folder / "__init__.py").exists() else None

    @property
    def source(self) -> Path:
        return self.course.folder("source", ".", self.name)

    @cached_property
    def checks(self) -> str:
        """Where its test cells run: 'tester' or 'in process'."""
        course = self.course
        chosen = str(course.settings.checks)
        return chosen or ("tester" if course.package or self._suite else IN_PROCESS)

    @property
    def notebooks(self) -> list[Path]:
        """The instructor's notebooks in source/; the main one first."""
        return sorted(
            self.source.glob("*.ipynb"), key=lambda path: (path.stem != self.name, path.stem)
        )

    @cached_property
    def templates(self) -> Sequence[Template]:
        """What the instructor's notebooks are to grading; the main one first."""
        if self.checks == IN_PROCESS:
            return released.templates(
                self.course.config,
                self.course.db_url,
                self.course.course_id,
                self.name,
                self.notebooks,
            )
        stubs = Stubs.of(self.course.config)
        return [read(path, self.course.package, stubs) for path in self.notebooks]

    @cached_property
    def suite(self) -> Path | None:
        """The folder of its hidden suite, if it has one."""
        return self._suite if self.checks == "tester" else None

    @cached_property
    def _suite(self) -> Path | None:
        path = self.course.root / self.course.settings.suites / self.name
        return path if any(path.glob("test_*.py")) else None

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Supporting files: what stands beside the notebooks in source/."""
        config, found = self.course.config, {}
        left_out = [".ipynb_checkpoints"]
        left_out += setting(config, "CourseDirectory", "ignore", ["*.pyc", "__pycache__"])
        excluded = setting(config, "Autograde", "exclude_overwriting", {})
        theirs = set(map(os.path.normpath, excluded.get(self.name, [])))
        for path in sorted(self.source.rglob("*")):
            place = path.relative_to(self.source)
            ignored = any(fnmatch.filter(place.parts, pattern) for pattern in left_out)
            if path.is_file() and path.suffix != ".ipynb" and not ignored:
                found[place.as_posix()] = path
        found = {name: path for name, path in found.items() if name not in theirs}
        if (size := sum(path.stat().st_size for path in found.values())) > MAX_FILES:
            raise CourseError(
                f"The files beside the notebooks in {self.source} have {size >> 20} MB in all: at "
                f"most {MAX_FILES >> 20} MB can be handed to each worker."
            )
        return {name: path.read_bytes() for name, path in found.items()}

    @cached_property
    def wanted(self) -> list[str]:
        """What students may import besides the packages that the course names."""
        if self.checks == "tester":
            return []
        return packages.imported([*self.notebooks, *sorted(self.source.rglob("*.py"))])

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """How long a cell may run, and a notebook in all."""
        course = self.course
        cell, notebook = course.settings.cell_seconds, course.settings.submission_seconds
        if self.checks == "tester":
            return cell, notebook
        return clocks(course.config, cell, notebook)

    @cached_property
    def preceding(self) -> list[Assignment]:
        """The assignments before this one, in order, if the course builds a package."""
        if self.course.package is None:
            return []
        names = self.course.assignments[: self.course.assignments.index(self.name)]
        return [self.course.assignment(name) for name in names]

    def prerequisites(self) -> list[Module]:
        """The package's modules that come before this assignment, compiled, in order."""
        return [module for assignment in self.preceding for module in assignment.modules()]

    def modules(self, before: str = "") -> list[Module]:
        """The package's modules that its notebooks export, compiled; all, or those of the notebooks
        before the one named.
        """
        package, modules = self.course.package, []
        if package is None:
            return []
        for template in itertools.takewhile(lambda each: each.name != before, self.templates):
            stem = module_name(Path(f"{template.name}.ipynb"))
            path = self.course.root / package / f"{stem}.py"
            if not path.exists():
                if before:  # not every notebook exports something
                    continue
                raise CourseError(
                    f"{path} is missing, and others build on it: run `proctor export` to write the "
                    "package."
                )
            code = compile(path.read_text(), f"<{package}/{stem}.py>", "exec")
            modules.append((stem, base64.b64encode(marshal.dumps(code)).decode()))
        return modules

    @cached_property
    def versions(self) -> dict[str, str]:
        """What a score may depend on besides course and submission: the versions that grade it."""
        names = ["ipython", "pytest", "hypothesis", *self.course.settings.packages, *self.wanted]
        found = {"proctor": __version__, "python": platform.python_version()}
        return found | packages.versions(names)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what decides a score besides the submission: notebooks, suite, package,
        settings.
        """
        digest = hashlib.sha256()
        paths = [*self.source.rglob("*")]
        if self.suite:
            paths += [*self.suite.rglob("*"), *self.suite.parent.glob("*.py")]
        if self.course.package:
            paths += (self.course.root / self.course.package).glob("*.py")
        caches = {"__pycache__", ".ipynb_checkpoints"}
        for path in sorted(path for path in paths if path.is_file()):
            if caches & {*path.parts}:
                continue
            digest.update(f"{path.relative_to(self.course.root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update(repr((Stubs.of(self.course.config), sorted(self.files))).encode())
        if self.checks == IN_PROCESS:
            digest.update(released.rules(self.course.config, self.templates, self.seconds).encode())
        return digest.hexdigest()
