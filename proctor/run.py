"""A run of `proctor grade`, as a function: whoever has a course can call it."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from proctor.course.course import Assignment
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.record.recorder import Recorder
from proctor.verdict import Change, Result


@dataclass
class Run:
    """What a run has come to, as it goes on."""

    isolation: str
    todo: int = 0  # submissions that are to be graded
    kept: int = 0  # results that still hold from an earlier run
    results: list[Result] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def grade(
    assignment: Assignment,
    students: Iterable[str] = (),
    *,
    jobs: int | None = None,
    force: bool = False,
    record: bool = True,
    shard: tuple[int, int] = (1, 1),
    isolation: str = "",
    explain: bool = False,
    own_stack: bool = False,
    watch: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Grade and record the submissions of an assignment: all, or those of these students.

    `shard` is which part of how many. `watch` is called when it is known what is to be graded, and
    after each result. With `own_stack`, a student's earlier modules take the place of the
    reference's. Raises CourseError where there is nothing to grade.
    """
    course = assignment.course
    if own_stack and not course.package:
        raise CourseError(
            "This course builds no package that a student could have a stack of: set "
            f"c.Proctor.package in {course.root / 'nbgrader_config.py'}, or grade without "
            "--own-stack."
        )
    submitted = course.students(assignment.name)
    chosen = {*students}
    if unknown := sorted(chosen - set(submitted)):
        raise CourseError(
            f"No submission of {assignment.name} by {', '.join(unknown)}: look into submitted/."
        )
    if not submitted:
        raise CourseError(
            f"Nobody has submitted {assignment.name}: expected "
            f"{course.folder('submitted', 'STUDENT', assignment.name)}."
        )
    part, parts = shard
    folders = {
        name: course.folder("submitted", name, assignment.name)
        for name in sorted(chosen or submitted)[part - 1 :: parts]
    }
    grader = Grader(assignment, isolation, explain, own_stack)
    run = Run(str(grader.isolation))
    with contextlib.ExitStack() as stack:
        stack.callback(grader.close)
        grader.start()  # its processes get ready while the gradebook is opened
        recorder = (
            stack.enter_context(Recorder(assignment, force, own_stack, grader.levels))
            if record
            else None
        )
        todo = folders
        if recorder is not None:
            todo, run.results = recorder.pending(folders)
        run.todo, run.kept = len(todo), len(run.results)
        watch(run)
        if todo:
            stack.enter_context(grader)
            gc.freeze()  # nbgrader's modules stay; no need to look through them again
            grading = grader.grade_all(todo, jobs or os.cpu_count() or 1)
            for graded in stack.enter_context(contextlib.closing(grading)):
                moved = recorder.record(graded) if recorder is not None else None
                run.changes += [moved] if moved else []
                run.results.append(graded.result)
                watch(run)
    run.results.sort(key=lambda result: result.student)
    return run
