"""What instructors meet when they release: one sentence for what is wrong, and the last good
release stays until there is a new one.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proctor.author import export, release
from proctor.author.generate import Keep
from proctor.course.course import Course
from proctor.errors import CourseError
from tests.test_grading import (
    NAME,
    PACKAGE,
    SOURCE,
    SUITE,
    cell,
    check,
    environment,
    make_course,
    run,
)

Cells = dict[str, Any]


def course(root: Path, change: Callable[[Cells], object]) -> Path:
    """The course `mini` with its main notebook's cells changed."""
    source = copy.deepcopy(SOURCE)
    change({each["id"]: each for each in source[NAME][NAME]} | {"": source[NAME]})
    return make_course(root, source)


def complaint(root: Path) -> str:
    with pytest.raises(CourseError) as caught:
        release.check(Course.load(root).assignment(NAME))
    return str(caught.value)


def unended(cells: Cells) -> None:
    cells["total"]["source"] = cells["total"]["source"].replace("### END SOLUTION", "")


def nested(cells: Cells) -> None:
    cells["mean"]["source"] += "\n    ### BEGIN SOLUTION\n    ### BEGIN SOLUTION"


def hidden_region(cells: Cells) -> None:
    cells["check_mean"]["source"] = "### BEGIN HIDDEN TESTS\nassert mean([1]) == 1"


def doubled_grade_id(cells: Cells) -> None:
    cells["check_mean"]["metadata"]["nbgrader"]["grade_id"] = "check_total"


def doubled_id(cells: Cells) -> None:
    cells["mean_text"]["id"] = "total_text"


def in_two_notebooks(cells: Cells) -> None:
    cells[""]["more"].append(check("check_mean", 1, "assert largest([2]) == 2"))


def not_a_solution(cells: Cells) -> None:
    cells["read"]["source"] += "\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION"


@pytest.mark.parametrize(
    ("change", "notebook", "said"),
    [
        (unended, NAME, "cell 'total', line 2: BEGIN SOLUTION has no END SOLUTION. Add it below."),
        (nested, NAME, "cell 'mean', line 5: BEGIN SOLUTION has no END SOLUTION. Add it below."),
        (
            hidden_region,
            NAME,
            "cell 'check_mean', line 1: BEGIN HIDDEN TESTS has no END HIDDEN TESTS. Add it below.",
        ),
        (
            doubled_grade_id,
            NAME,
            "cell 'check_total': a second cell has this grade_id. Give it another one.",
        ),
        (doubled_id, NAME, "cell 'total_text': a second cell has this id. Give it another one."),
        (
            in_two_notebooks,
            "more",
            f"cell 'check_mean': {NAME}.ipynb has a grade cell of this grade_id, too. "
            "Give it another one.",
        ),
        (
            not_a_solution,
            NAME,
            "cell 'read': it holds BEGIN SOLUTION, but is no cell that students write. "
            "Say so in Create Assignment, or take the solution out.",
        ),
    ],
)
def test_what_nbgrader_would_misread_is_a_sentence(
    tmp_path: Path, change: Callable[[Cells], object], notebook: str, said: str
) -> None:
    root = course(tmp_path, change)
    assert complaint(root) == f"{root / 'source' / NAME / notebook}.ipynb, {said}"


def test_of_many_faults_a_few_are_named(tmp_path: Path) -> None:
    def all_of_them(cells: Cells) -> None:
        cells[""]["more"] += [cell(f"c{i}", "### BEGIN SOLUTION", solution=True) for i in range(9)]

    lines = complaint(course(tmp_path, all_of_them)).splitlines()
    assert len(lines) == 4
    assert lines[-1] == "There are 6 more of this kind."


def test_points_add_up_to_what_the_course_says(tmp_path: Path) -> None:
    root = make_course(tmp_path)
    path = root / "nbgrader_config.py"
    path.write_text(path.read_text() + "c.Proctor.points = 100\n")
    assert complaint(root) == (
        f"{root / 'source' / NAME}: the grade cells add up to 20 points instead of 100. "
        "Change their points, or c.Proctor.points in nbgrader_config.py."
    )
    path.write_text(path.read_text().replace("= 100", "= 20"))
    release.check(Course.load(root).assignment(NAME))


def exported(root: Path) -> Path:
    """The course, with a package that `proctor export` has written."""
    source = copy.deepcopy(SOURCE)
    offers = {NAME: ["total", "mean"], "03_spread": ["spread"]}
    for assignment, names in offers.items():
        head = cell("names", f"__all__ = {json.dumps(names)}", tags=["export"], locked=True)
        source[assignment][assignment].insert(0, head)
    make_course(root, source)
    for name in PACKAGE:
        (root / "mini" / f"{name}.py").unlink()
    kept = {"names", "total", "mean"}
    for path in (root / "source" / NAME).glob("*.ipynb"):
        found = json.loads(path.read_text())
        for each in found["cells"]:
            if path.stem != NAME or each["id"] not in kept:
                each["metadata"].pop("tags", None)
        path.write_text(json.dumps(found))
    export.export_course(root / "source", root / "mini")
    return root


def test_a_stale_package_is_said_before_anything_is_run(tmp_path: Path) -> None:
    root = exported(tmp_path)
    release.check(Course.load(root).assignment(NAME))
    path = root / "source" / NAME / f"{NAME}.ipynb"
    path.write_text(path.read_text().replace("return sum(values)", "return 0 + sum(values)"))
    [said] = complaint(root).splitlines()
    assert said.startswith("mini/totals.py, line ")
    assert f"differs from source/{NAME}/{NAME}.ipynb. Run `proctor export`" in said
    shutil.rmtree(root / "mini")
    assert "mini/totals.py is missing" in complaint(root)


# The command --------------------------------------------------------------------------------------


def generate(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("nbgrader", "generate_assignment", NAME, *words, cwd=root)


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


FAILS = """
from nbgrader.preprocessors import NbGraderPreprocessor
class Late(NbGraderPreprocessor):
    def preprocess(self, nb, resources):
        if resources["nbgrader"]["notebook"] == "more":
            {body}
        return nb, resources
"""


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """The course with a good release, and what is in it."""
    root = make_course(tmp_path)
    done = generate(root)
    assert done.returncode == 0, done.stderr
    before = contents(root / "release")
    names = f"{NAME}.ipynb", "more.ipynb", "tools.ipynb", "rows.csv"
    assert {*before} == {f"{NAME}/{name}" for name in names}
    return root, before


def test_a_refused_release_ends_in_a_sentence_and_leaves_the_last_one(
    released: tuple[Path, dict[str, bytes]],
) -> None:
    root, before = released
    path = root / SUITE
    path.write_text(path.read_text().replace("class TestMean:", "class TestMean"))
    done = generate(root, "--force")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert "line 37: SyntaxError: expected ':'" in lines[-1] and str(path) in lines[-1]
    assert len(lines) <= 4 and "Traceback" not in done.stderr
    assert contents(root / "release") == before


@pytest.mark.parametrize("body", ["raise ValueError('no')", "import os; os.kill(os.getpid(), 9)"])
def test_whatever_ends_a_release_the_last_one_comes_back(
    released: tuple[Path, dict[str, bytes]], body: str
) -> None:
    """Where nbgrader itself fails half-way; a run that is killed is mended by the next one."""
    root, before = released
    config = root / "nbgrader_config.py"
    good = config.read_text()
    (root / "late.py").write_text(FAILS.format(body=body))
    more = "c.GenerateAssignment.preprocessors = ['late.Late']\n"
    config.write_text(f"import sys; sys.path.append({str(root)!r})\n{good}\n{more}")
    done = generate(root, "--force")
    assert done.returncode == (-signal.SIGKILL if "kill" in body else 1), done.stderr
    if "kill" not in body:
        assert contents(root / "release") == before
    config.write_text(good + "c.Proctor.points = 1\n")
    assert generate(root, "--force").returncode == 1
    config.write_text(good)
    assert generate(root).returncode == 0
    assert contents(root / "release") == before
    assert [path.name for path in (root / "release").iterdir()] == [NAME]


def test_a_new_release_takes_the_place_of_the_last(
    released: tuple[Path, dict[str, bytes]],
) -> None:
    root, before = released
    (root / "source" / NAME / "rows.csv").write_text("1.0\n6.0\n")
    assert generate(root, "--force").returncode == 0
    after = contents(root / "release")
    assert after.pop(f"{NAME}/rows.csv") == b"1.0\n6.0\n"
    assert {*after} < {*before}


def test_what_was_kept_comes_back_only_where_something_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a").write_text("old")
    kept = Keep(folder, ["a"])
    (folder / "a").write_text("new")
    kept()
    assert (folder / "a").read_text() == "new"
    kept = Keep(folder, ["a", "b"])
    (folder / "a").write_text("half")
    kept()
    kept()
    assert (folder / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["one"]


def test_a_run_that_is_over_does_not_meddle_with_the_next(tmp_path: Path) -> None:
    """In one process, as formgrader's, an exporter is collected some time later: perhaps while the
    next run has just removed the folder.
    """
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a").write_text("old")
    first = Keep(folder, ["a"])
    second = Keep(folder, ["a"])
    shutil.rmtree(folder)
    first()
    assert not folder.exists()
    second()
    assert (folder / "a").read_text() == "old"


def test_nothing_of_nbgraders_is_patched() -> None:
    """Its exporter is a trait, and its preprocessors are its own."""
    code = (
        "import proctor; from traitlets.config import Config; c = Config(); proctor.configure(c)\n"
        "from nbgrader.converters import GenerateAssignment\n"
        "made = GenerateAssignment(config=c)\n"
        "print(made.exporter_class.__name__, len(made.preprocessors))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.split() == ["ReleaseExporter", "12"], done.stderr
