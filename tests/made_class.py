"""A class of made students to look at and to test with: what they wrote, and results as grading
would have kept them. `python -m tests.made_class FOLDER` makes one of 300.

Only one submission is graded, for the names of the tests. The others' results are drawn: the more
able a student, the more tests pass.
"""

from __future__ import annotations

import ast
import copy
import json
import math
import random
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nbgrader.api import Grade

from proctor.author.solutions import REFERENCE, Solution
from proctor.course.course import Assignment
from proctor.notebook.cells import HIDDEN, nbgrader
from proctor.record.gradebook import Book, Entry
from proctor.record.recorder import scores_by_cell
from proctor.record.store import Store, Stored
from proctor.verdict import Result
from tests import classroom, handmade

NAME = "01_tensor"
REVERSED = "Reductions"
DUE = datetime(2026, 10, 30, 12)
FIRST = """Ada Alan Amira Anton Barbara Bela Chen Clara Daniel Dilek Edith Emil Farid Fatima Greta
Grace Hannah Hugo Ines Ivan Jana Jonas Katherine Kenji Leila Leo Mateo Mira Nadia Noor Olga Oskar
Paula Priya Quentin Rosa Ruben Sofia Tariq Theo Uma Valentin Wen Yara Yusuf Zoe""".split()
LAST = """Abel Arslan Becker Bianchi Costa Diaz Dubois Eriksson Fischer Garcia Haddad Horvat Ito
Jansen Kaya Keller Kim Kowalski Larsen Lopez Maier Mensah Moreau Nguyen Novak Okafor Petrov Rossi
Sato Schmidt Silva Singh Tanaka Varga Weber Wolf Yilmaz Zhang""".split()
# What somebody may write at the beginning of a function, and nobody else would have to.
HABITS = [
    "debug = False\nif debug:\n    print('here')",
    "assert self is not None, 'no object'",
    "steps = 0\nsteps += 1",
    "result = []\nresult.append(None)",
    "kind = type(self)\nkind = kind or object",
    "try:\n    checked = True\nexcept ValueError:\n    checked = False",
    "limit = 10 ** 6\nlimit = min(limit, 2 ** 20)",
    "names = {'a': 1, 'b': 2}\nnames.pop('a')",
    "if not hasattr(self, 'data'):\n    raise AttributeError('data')",
    "todo = [1, 2, 3]\nfor each in todo:\n    todo = todo[1:]",
    "start, end = 0, 1\nstart, end = end, start",
    "from math import prod\nprod([1, 2])",
]


class _Habits(ast.NodeTransformer):
    """Writes a function as one of many students might."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        start = int(ast.get_docstring(node) is not None)
        for habit in self.draw.sample(HABITS, self.draw.choice((0, 0, 1, 2))):
            node.body[start:start] = ast.parse(habit).body
        return node

    def visit_Return(self, node: ast.Return) -> list[ast.stmt] | ast.Return:
        if node.value is None or self.draw.random() < 0.6:
            return node
        name = self.draw.choice("out value answer".split())
        kept = ast.Assign([ast.Name(name, ast.Store())], node.value, lineno=0)
        return [kept, ast.Return(ast.Name(name))]


def own_way(found: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Notebooks in which the same is written as one student would."""
    for notebook in found.values():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and nbgrader(cell).get("solution"):
                tree = _Habits(draw).visit(ast.parse("".join(cell["source"])))
                cell["source"] = ast.unparse(ast.fix_missing_locations(tree))
    return found


def renamed(found: dict[str, Any]) -> dict[str, Any]:
    """The same code with other names and comments of its own: a copy that hides."""
    found = copy.deepcopy(found)
    for notebook in found.values():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and nbgrader(cell).get("solution"):
                code = re.sub(r"\b(other|axis|out|value|answer)\b", r"my_\1", cell["source"])
                cell["source"] = re.sub(r"(?m)^( +)(return)", r"\1# done\n\1\2", code)
    return found


def make_class(root: Path, students: int = 300, seed: int = 7) -> Assignment:
    """A course in `root` in which so many students have handed in NAME, and its results are kept.

    The cell REVERSED is the wrong way round; two have copied, one of them with other names.
    """
    draw = random.Random(seed)
    course = classroom.scratch_course(root)
    assignment = course.assignment(NAME)
    handmade.release(assignment, DUE)
    classroom.submit(course, "reference", NAME, classroom.solved(NAME))
    whole = classroom.grade(assignment, ["reference"])["reference"]
    _forget(course.folder("submitted", "reference", NAME).parent)
    wrong = [s for s in classroom.solutions(NAME) if not s.right and s.misconception]
    cells = assignment.templates[0].grade_cells
    hidden = [name for name, cell in cells.items() if HIDDEN in cell.source]
    hard = {name: draw.uniform(-1.5, 1.8) for name in cells}
    store, entries = Store(assignment), []
    people = [(f"s{n:03}", draw.choice(FIRST), draw.choice(LAST)) for n in range(1, students + 1)]
    handed_in: dict[str, dict[str, Any]] = {}
    for number, (name, _, _) in enumerate(people):
        if number % 29 == 3:  # handed in nothing
            continue
        mistakes = [w for w in draw.sample(wrong, 2) if draw.random() < 0.35]
        found = own_way(classroom.solved(NAME, mistakes[0] if mistakes else REFERENCE), draw)
        if number in (10, 11):
            copied = handed_in[people[number - 5][0]]
            found = renamed(copied) if number == 10 else copied
        handed_in[name] = found
        folder = classroom.submit(course, name, NAME, found)
        late = timedelta(hours=draw.uniform(1, 60)) if number % 23 == 5 else timedelta(hours=-9)
        moment = f"{DUE + late:%Y-%m-%d %H:%M:%S} UTC"
        (folder / "timestamp.txt").write_text(moment)
        if number % 97 == 20:
            (folder / f"{NAME}.ipynb").write_text(json.dumps(found[NAME])[:2000])
        files = store.read(folder)
        if number % 97 == 20:
            broken = "01_tensor.ipynb: The file is not a notebook: it is no valid JSON."
            result = Result(name, "rejected", "full", error=broken)
        else:
            guesses = number % 83 == 40
            result = drawn(whole, name, draw, hard, mistakes, guesses, {*hidden})
        stored = Stored(store.key(files, []), result, {}, moment)
        store.save(stored)
        if result.status == "graded":
            entries.append(Entry(name, moment, scores_by_cell(result), {}))
    recorded = Book(assignment)
    recorded.write(entries)
    recorded.close()
    with handmade.book(assignment) as book:
        for name, first, last in people:
            about = {"first_name": first, "last_name": last, "lms_user_id": name[1:]}
            book.update_or_create_student(name, email=f"{name}@students.example", **about)
        points = {entry.student: sum(filter(None, entry.scores.values())) for entry in entries}
        for grade in book.db.query(Grade).filter(Grade.auto_score.is_(None)).all():
            if draw.random() < 0.8:
                given = round(points[grade.student.id] / 20 + draw.uniform(-1, 1))
                grade.manual_score = float(min(5, max(0, given)))
                grade.needs_manual_grade = False
        book.db.commit()
    return assignment


def drawn(
    whole: Result,
    student: str,
    draw: random.Random,
    hard: dict[str, float],
    mistakes: list[Solution],
    guesses: bool,
    hidden: set[str],
) -> Result:
    """A result for a student of some ability who makes these mistakes; one who `guesses` passes
    the visible checks and nothing else.
    """
    able = draw.gauss(1.2, 1.3)
    result = Result(student, "graded", "full", seconds=0.3, total=whole.total)
    for test in copy.deepcopy(whole.tests):
        likely = 1 / (1 + math.exp(2 * hard[test.cell] - 1.6 * able))
        if test.cell == REVERSED:
            likely = 1 - likely
        passes = test.cell not in hidden if guesses else draw.random() < likely
        if test.status != "manual" and not passes:
            test.status, test.points, test.message = "failed", 0.0, "It differs."
        result.tests.append(test)
    for mistake in mistakes:
        theirs = [test for test in result.tests if test.cell in mistake.loses] or result.tests[:1]
        theirs[0].status, theirs[0].points = "failed", 0.0
        theirs[0].misconception = mistake.misconception
    return result


def _forget(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    print(make_class(Path(sys.argv[1])).course.root)
