"""`proctor prerequisites`: what whoever did not finish the assignments before one may get for it.

An archive with the course's package up to there. Each module's first line says that it is the
instructor's, with a hash of what follows: an edited one is its student's own. It is the answer key
of the assignments before, and is refused as long as one of them may be handed in.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from proctor.author import export
from proctor.course.course import Assignment
from proctor.course.packages import module_name
from proctor.errors import CourseError, ProctorError
from proctor.notebook.archive import packed, unpack, write_whole

_MADE = b"made by `proctor prerequisites`"


def refuse_early(
    assignments: list[Assignment], deadlines: Mapping[str, datetime], now: datetime
) -> None:
    """Raise ProctorError while an assignment whose solution would be handed out is open."""
    earlier = {each.name for assignment in assignments for each in assignment.preceding}
    open_until = {name: deadlines[name] for name in earlier if deadlines.get(name, now) > now}
    if open_until:
        listed = ", ".join(
            f"{name} until {open_until[name]:%Y-%m-%d %H:%M %Z}" for name in sorted(open_until)
        )
        raise ProctorError(
            f"This would hand out solutions of what may still be handed in: {listed}, the latest "
            "extension included. Wait, or add --anyway."
        )
    if unknown := sorted(earlier - {*deadlines}):
        raise ProctorError(
            f"nbgrader knows no due date of {', '.join(unknown)}, so nobody can tell whether "
            "solutions may be handed out. Set it in formgrader (Manage Assignments, Edit), or add "
            "--anyway."
        )


def pack(assignment: Assignment) -> bytes:
    """The archive for an assignment: the package, with the modules of those before it."""
    package = assignment.course.package
    if package is None:
        raise CourseError("The course builds no package: nothing stands on anything.")
    modules = [module for each in assignment.preceding for module in _modules(each, package)]
    if not modules:
        raise CourseError(f"{assignment.name}: no module comes before it, nothing is handed out.")
    return packed(
        {f"{package}/__init__.py": export.init(modules).encode()}
        | {f"{package}/{m.file}": export.handed_out(m.text).encode() for m in modules},
        _MADE,
    )


def _modules(assignment: Assignment, package: str) -> list[export.Module]:
    assignment.modules()  # which complains where one is missing
    found = []
    for path in assignment.notebooks:
        target = assignment.course.root / package / f"{module_name(path)}.py"
        if (module := export.from_package(target)) is None:
            raise CourseError(
                f"{target}: not made by `proctor export`, so a student's package could not hold it."
            )
        found.append(module)
    return found


def write(assignment: Assignment, folder: Path) -> Path:
    """Write the archive into a folder; its path."""
    target = folder / f"{assignment.name}-prerequisites.zip"
    write_whole(target, pack(assignment))
    return target


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive on a student's machine: the names of modules."""

    package: Path
    new: list[str]
    kept: list[str]  # the student's own, which stay


def take(archive: Path, into: Path) -> Unpacked:
    """Put an archive's modules into the package that is there, or make one. What a student wrote
    stays; what the instructor handed out before is replaced. Raises ProctorError.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        unpack(archive, Path(scratch))
        paths = sorted(Path(scratch).glob("*/*.py"))
        texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
        modules = [
            module
            for path, text in texts.items()
            if export.is_handed_out(text) and path.stem.isidentifier()
            if (module := export.from_package(path))
        ]
        names = {path.parent.name for path in paths}
    if not modules or len(names) != 1 or len(modules) + 1 != len(paths):
        raise ProctorError(
            f"{archive.name} is no archive of `proctor prerequisites`, or somebody changed it. Ask "
            "your instructor for it again."
        )
    (name,) = names
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ProctorError(f"{archive.name}: '{name}' is no name of a package.")
    into = into.resolve()
    package = export.find_package(into / "_", name) or into / name
    new: list[export.Module] = []
    kept: list[export.Module] = []
    for module in sorted(modules, key=lambda each: each.position):
        target = package / module.file
        theirs = target.exists() and not export.is_handed_out(export.plain_text(target))
        (kept if theirs else new).append(module)
    if new:
        export.write(new, package)
    return Unpacked(package, [m.name for m in new], [m.name for m in kept])
