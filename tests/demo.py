"""`make demo`: a scratch course, all assignments released, a made class graded, the tables
printed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from proctor.notebook.cells import nbgrader
from tests import classroom

COURSE = classroom.ROOT / "build" / "demo"
WRONG = 7  # kept wrong solutions per assignment: those whose misconception is recognised come first


def replaced(assignment: str, source: str) -> dict[str, dict[str, Any]]:
    """The solved notebooks with `source` in place of the first cell that students write."""
    found = classroom.solved(assignment)
    first = next(c for c in found[assignment]["cells"] if nbgrader(c).get("solution"))
    first["source"] = source
    return found


def make_class(course: Any, assignment: str) -> int:
    """Submit about a dozen made students; how many there are."""
    kept = classroom.solutions(assignment)
    wrong = sorted((s for s in kept if not s.right), key=lambda s: s.misconception is None)
    chosen = [s for s in kept if s.right][:1] + wrong[:WRONG]
    for solution in chosen:
        name = f"{'right' if solution.right else 'wrong'}-{solution.name}"
        classroom.submit(course, name, assignment, classroom.solved(assignment, solution))
    made = {
        "perfect": classroom.solved(assignment),
        "blank": classroom.blank(assignment),
        "endless": replaced(assignment, "while True:\n    pass"),
    }
    for student, found in made.items():
        classroom.submit(course, student, assignment, found)
    broken = course.folder("submitted", "broken", assignment)
    broken.mkdir(parents=True)
    whole = json.dumps(made["perfect"][assignment])
    (broken / f"{assignment}.ipynb").write_text(whole[: len(whole) // 2])
    return len(chosen) + len(made) + 1


def run(*command: str) -> None:
    """Run a command as a user would type it; its complaints are shown only if it fails."""
    print(f"$ {' '.join(command)}", flush=True)
    program = [sys.executable, "-m", *command] if command[0] == "nbgrader" else [*command]
    quiet = subprocess.PIPE if command[0] == "nbgrader" else None
    done = subprocess.run(program, cwd=COURSE, stderr=quiet, text=True)
    if done.returncode:
        sys.exit((done.stderr or "") + f"{' '.join(command)} ended with status {done.returncode}.")


def main() -> None:
    shutil.rmtree(COURSE, ignore_errors=True)
    course = classroom.scratch_course(COURSE)
    with open(COURSE / "nbgrader_config.py", "a") as config:  # ten seconds are the default
        config.write(
            "\n# The endless loop need not hold up a demo.\nc.Proctor.cell_seconds = 3.0\n"
        )
    print(
        f"A scratch course in {COURSE.relative_to(classroom.ROOT)}/, where a cell may run for 3 s\n"
    )
    for assignment in classroom.ASSIGNMENTS:
        run("nbgrader", "generate_assignment", assignment)
    print()
    for assignment in classroom.ASSIGNMENTS:
        make_class(course, assignment)
        run("proctor", "grade", assignment)
        print()
    place = Path("build/demo")
    last = classroom.ASSIGNMENTS[-1]
    print("Where to look next")
    print(f"  a graded notebook   {place}/autograded/perfect/{last}/{last}.ipynb")
    print(f"  the gradebook       {place}/gradebook.db (nbgrader export, in {place})")
    print(
        f"  in the browser      cd {place} && ../../.venv/bin/jupyter lab  (Nbgrader > Formgrader)"
    )
    print("  a student's view    .venv/bin/proctor check", end=" ")
    print(f"{place}/submitted/blank/01_tensor/01_tensor.ipynb")


if __name__ == "__main__":
    main()
