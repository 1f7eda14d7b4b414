"""`make bench`: what grading costs, measured side by side in one run.

1. `proctor grade` and plain `nbgrader autograde` (no proctor) on the same notebooks with the same
   visible tests, whole commands, alternating. Start-up is left out: the cost of a submission is the
   difference of two class sizes, divided by the students between them.
2. `proctor grade` on each assignment with its hidden suite: the CPU of worker (jail, cells, calls
   from the tests), tester (checks, hidden suite), supervisor and recording.
3. From 100 to 2,000 submissions: is the cost of each the same, and does memory stay flat?

Medians of several rounds; `--quick` does one short round, for a look.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from proctor.course.course import Course
from proctor.grade.grading import Grader
from proctor.grade.supervisor import Supervisor
from proctor.processes.forks import Warm
from proctor.record.recorder import Recorder
from tests import classroom

BIN = Path(sys.executable).parent
PLAIN = 'c = get_config()\nc.CourseDirectory.course_id = "bench"\n'
WITH_PROCTOR = PLAIN + "import proctor\nproctor.configure(c)\nc.Proctor.checks = 'tester'\n"

# A homework as they are set in many courses: a few functions, each with a visible test.
FUNCTIONS = {
    "mean": ("def mean(x):", "return x.sum() / len(x)", "mean(np.array([1.0, 2.0, 6.0])) == 3"),
    "scale": ("def scale(x, a):", "return a * x", "(scale(np.ones(3), 2) == 2).all()"),
    "centre": ("def centre(x):", "return x - mean(x)", "abs(centre(np.arange(5.0)).sum()) < 1e-9"),
    "norm": ("def norm(x):", "return np.sqrt((x**2).sum())", "norm(np.array([3.0, 4.0])) == 5"),
}


def cell(name: str, source: str, **flags: Any) -> dict[str, Any]:
    meta = {"grade": False, "solution": False, "locked": False, "schema_version": 3, "task": False}
    meta |= {"grade_id": name} | flags
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {"nbgrader": meta},
        "outputs": [],
        "source": source,
    }


def homework() -> dict[str, Any]:
    cells = [cell("imports", "import numpy as np", locked=True)]
    for name, (head, body, test) in FUNCTIONS.items():
        source = f"{head}\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION"
        cells.append(cell(name, source, solution=True))
        cells.append(cell(f"check_{name}", f"assert {test}", grade=True, locked=True, points=5))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@dataclass(frozen=True)
class Cost:
    """A command's: seconds of wall clock and of CPU, and the largest process's memory in MB."""

    wall: float
    cpu: float
    memory: float


def run(command: list[str], folder: Path) -> Cost:
    """Run a command and account for it and all its children."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    report = (
        "import json, resource, subprocess, sys, time\n"
        "t = time.perf_counter()\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)\n"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "sys.stderr.buffer.write(done.stderr[-2000:])\n"
        "wall, cpu = time.perf_counter() - t, u.ru_utime + u.ru_stime\n"
        "print(json.dumps([wall, cpu, u.ru_maxrss / 1024]))\n"
        "sys.exit(done.returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", report, *command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return Cost(*json.loads(done.stdout))


def prepared(folder: Path, config: str, students: int) -> Path:
    """A released course with so many submissions of the homework."""
    (folder / "source" / "hw").mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text(config)
    notebook = homework()
    (folder / "source" / "hw" / "hw.ipynb").write_text(json.dumps(notebook))
    run([str(BIN / "nbgrader"), "generate_assignment", "hw"], folder)
    for each in notebook["cells"]:
        kept = [line for line in each["source"].split("\n") if "### " not in line]
        each["source"] = "\n".join(kept)
    for number in range(students):
        place = folder / "submitted" / f"s{number:04}" / "hw"
        place.mkdir(parents=True)
        (place / "hw.ipynb").write_text(json.dumps(notebook))
    return folder


def side_by_side(
    console: Console, rounds: int, few: tuple[int, int], many: tuple[int, int]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        courses = {}
        for tool, config, sizes in (("nbgrader", PLAIN, few), ("proctor", WITH_PROCTOR, many)):
            for size in sizes:
                courses[tool, size] = prepared(Path(scratch) / f"{tool}{size}", config, size)
        commands = {
            "nbgrader": [str(BIN / "nbgrader"), "autograde", "hw"],
            "proctor": [str(BIN / "proctor"), "grade", "hw", "--jobs", "2"],
        }
        costs: dict[tuple[str, int], list[Cost]] = defaultdict(list)
        for number in range(rounds):
            for (tool, size), course in courses.items():  # alternating, so that drift hits both
                copy = Path(scratch) / "now"
                shutil.copytree(course, copy)
                costs[tool, size].append(run(commands[tool], copy))
                shutil.rmtree(copy)
                console.print(f"  round {number + 1}: {tool} {size} done", style="dim")
        each: dict[str, list[tuple[float, float]]] = {}
        table = Table(
            title="One submission of a homework with four functions and four visible tests"
        )
        for heading in ("", "wall ms", "CPU ms", "per minute", "peak MB"):
            table.add_column(heading, justify="right" if heading else "left")
        for tool, (small, large) in (("nbgrader", few), ("proctor", many)):
            pairs = zip(costs[tool, small], costs[tool, large], strict=True)
            each[tool] = [
                ((b.wall - a.wall) / (large - small), (b.cpu - a.cpu) / (large - small))
                for a, b in pairs
            ]
            wall = statistics.median(wall for wall, _ in each[tool])
            cpu = statistics.median(cpu for _, cpu in each[tool])
            peak = max(cost.memory for cost in costs[tool, large])
            name = "nbgrader autograde" if tool == "nbgrader" else "proctor grade --jobs 2"
            row = (f"{wall * 1e3:.1f}", f"{cpu * 1e3:.1f}", f"{60 / wall:.0f}", f"{peak:.0f}")
            table.add_row(name, *row)
        console.print(table)
        ratios = [a[0] / b[0] for a, b in zip(each["nbgrader"], each["proctor"], strict=True)]
        console.print(
            f"nbgrader / proctor, wall time per submission: {statistics.median(ratios):.0f} "
            f"(rounds: {', '.join(f'{ratio:.0f}' for ratio in ratios)})\n"
        )


def cpu(warm: Warm) -> float:
    """CPU seconds of a warm process and of its forks that have ended."""
    fields = Path(f"/proc/{warm.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


STAGES = ("worker", "tester", "supervisor", "recording")


def stages(name: str, students: int) -> list[float]:
    """Where the CPU of a submission of the reference goes, in ms by `STAGES`, seen from outside."""
    with tempfile.TemporaryDirectory() as scratch:
        course = classroom.scratch_course(Path(scratch))
        run([str(BIN / "nbgrader"), "generate_assignment", name], course.root)
        course = Course.load(course.root)
        folders = {
            f"s{number:03}": classroom.submit(course, f"s{number:03}", name, classroom.solved(name))
            for number in range(students)
        }
        with Recorder(course.assignment(name)) as recorder, Grader(recorder.assignment) as grader:
            worker, tester = grader.supervisor.worker, grader.supervisor.tester
            todo, _ = recorder.pending(folders)
            recording = 0.0
            before = cpu(worker), cpu(tester), time.process_time()
            for graded in grader.grade_all(todo, 2):
                started = time.thread_time()
                recorder.record(graded)
                recording += time.thread_time() - started
            recorder.flush()
            time.sleep(1.5)  # until the last forks are reaped
            after = cpu(worker), cpu(tester), time.process_time()
    spent = [late - early for late, early in zip(after, before, strict=True)]
    spent[-1] -= recording
    return [seconds / students * 1e3 for seconds in (*spent, recording)]


def assignments(console: Console, students: int) -> None:
    """Every assignment with its hidden suite: where the CPU of a perfect submission goes."""
    table = Table(title=f"CPU of one perfect submission in ms, {students} of each, 2 jobs")
    for heading in ("assignment", *STAGES, "in all"):
        table.add_column(heading, justify="right" if heading != "assignment" else "left")
    total = 0.0
    for name in classroom.ASSIGNMENTS:
        spent = stages(name, students)
        table.add_row(name, *(f"{each:.1f}" for each in spent), f"{sum(spent):.1f}")
        total += sum(spent)
    console.print(table)
    console.print(f"in sum {total:.0f} ms\n")


def growth(console: Console, sizes: tuple[int, int, int]) -> None:
    """The cost of a submission and the memory of the long-lived processes, as the class grows."""
    with tempfile.TemporaryDirectory() as scratch:
        course = prepared(Path(scratch) / "course", WITH_PROCTOR, sizes[-1])
        assignment = Course.load(course).assignment("hw")
        table = Table(title="Growth: one run, cost of the submissions in each part of it")
        for heading in ("submissions", "wall ms each", "peak MB here", "peak MB of the warm"):
            table.add_column(heading, justify="right")
        everyone = {
            s: assignment.course.folder("submitted", s, "hw")
            for s in assignment.course.students("hw")
        }
        with Recorder(assignment) as recorder, Grader(assignment) as grader:
            todo, _ = recorder.pending(everyone)
            started, marks = time.perf_counter(), []
            for count, graded in enumerate(grader.grade_all(todo, 2), 1):
                recorder.record(graded)
                if count in sizes:
                    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    marks.append((count, time.perf_counter(), here, peak(grader.supervisor)))
        before, since = 0, started
        for count, now, here, warm in marks:
            each = (now - since) / (count - before) * 1e3
            table.add_row(f"{before + 1} to {count}", f"{each:.1f}", f"{here:.0f}", f"{warm:.0f}")
            before, since = count, now
        console.print(table)


def peak(supervisor: Supervisor) -> float:
    """The larger warm process's peak memory in MB."""
    found = []
    for warm in (supervisor.worker, supervisor.tester):
        status = Path(f"/proc/{warm.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        found.append(int(line.split()[1]) / 1024)
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    console = Console()
    quick = options.quick
    side_by_side(
        console, 1 if quick else 3, (2, 5) if quick else (4, 16), (20, 120) if quick else (50, 450)
    )
    assignments(console, 6 if quick else 40)
    growth(console, (20, 60, 100) if quick else (100, 1000, 2000))


if __name__ == "__main__":
    main()
