"""Behind `nbgrader generate_assignment`: what comes before the last release is removed.

nbgrader removes it, if it is to be made anew, before it looks at a notebook, and again whatever it
has written when something fails. Its exporter is made before all that.
"""

from __future__ import annotations

import fnmatch
import shutil
import weakref
from pathlib import Path
from typing import Any, ClassVar

from nbconvert.exporters import NotebookExporter
from nbgrader.converters.base import NbGraderException

from proctor.author import release
from proctor.course.course import Course
from proctor.errors import ProctorError
from proctor.notebook.cells import HIDDEN, HIDDEN_TAG
from proctor.notebook.label import Label, grade_ids
from proctor.notebook.template import read


class ReleaseExporter(NotebookExporter):
    """nbgrader's exporter of released notebooks: checks the assignment first, keeps its last
    release until there is a new one, and labels the notebooks.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config=config, **options)  # type: ignore[no-untyped-call]
        converter: Any = self.parent
        directory = converter.coursedir
        self.course = course = Course(Path(directory.root).resolve(), self.config)
        wanted = str(directory.assignment_id)
        for name in fnmatch.filter(course.assignments, wanted) or [wanted]:
            try:
                assignment = course.assignment(name)
                release.check(assignment)
            except ProctorError as error:
                self.log.error("%s", error)
                raise NbGraderException("The assignment is not released.") from None
            notebooks = [path.name for path in assignment.notebooks]
            weakref.finalize(self, Keep(course.folder("release", ".", name), notebooks))

    def from_notebook_node(self, nb: Any, resources: Any = None, **options: Any) -> Any:
        """The released notebook, labelled, since a student may call the file what they like; the
        cells that hidden tests decide are tagged: see `proctor.configure`.
        """
        name, known = resources["nbgrader"]["notebook"], resources["nbgrader"]["assignment"]
        templates = map(read, self.course.assignment(known).notebooks)
        graded = tuple(template.name for template in templates if template.grade_cells)
        Label(known, name, graded, grade_ids(nb.cells)).write(nb.metadata)
        for cell in nb.cells:
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "code" and HIDDEN in cell.source and HIDDEN_TAG not in tags:
                cell.metadata["tags"] = [*tags, HIDDEN_TAG]
        return super().from_notebook_node(nb, resources, **options)  # type: ignore[no-untyped-call]


class Keep:
    """Keeps a copy of a folder beside it, until it is called: then the folder is as it was, unless
    it holds these files.
    """

    alive: ClassVar[dict[Path, Keep]] = {}  # in formgrader's server, one after another

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.folder, self.files = folder, files
        self.copy = folder.with_name(f".{folder.name}.kept")
        self.done = False
        if (earlier := self.alive.pop(folder, None)) is not None:
            earlier()
        self._settle()  # what a run left that was killed
        if folder.is_dir():
            shutil.copytree(folder, self.copy)
        self.alive[folder] = self

    def __call__(self) -> None:
        if not self.done:
            self.done = True
            self._settle()

    def _settle(self) -> None:
        if not self.copy.exists():
            return
        if all((self.folder / name).exists() for name in self.files):
            shutil.rmtree(self.copy)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.copy.rename(self.folder)
