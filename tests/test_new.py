"""`proctor init` and `proctor new`: what they write releases and grades before anything in it is
changed, and nothing that stood there is touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook

from proctor.author import export, new, solutions
from proctor.cli import main
from proctor.course.course import Course
from proctor.errors import CourseError
from proctor.notebook.template import Stubs
from tests.classroom import ROOT, scratch_course
from tests.course import test_notebooks
from tests.course.notebooks import read
from tests.test_grading import environment, run

NEW = "06_mine"
WRITTEN = ["nbgrader_config.py", "source", "tests"]
LONG = f"07_{30 * 'x'}"


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def hand_in(root: Path, name: str) -> None:
    """A blank and a solved submission."""
    course = Course.load(root)
    paths = course.assignment(name).notebooks
    found = {path.stem: json.loads(path.read_text()) for path in paths}
    stubs = Stubs.of(course.config)
    for student, made in {
        "blank": solutions.blank(found, stubs),
        "solved": solutions.solved(found, solutions.REFERENCE, stubs),
    }.items():
        folder = course.folder("submitted", student, name)
        folder.mkdir(parents=True)
        for stem, notebook in made.items():
            (folder / f"{stem}.ipynb").write_text(json.dumps(notebook))


def graded(root: Path, name: str) -> dict[str, Any]:
    """The results of `proctor grade`, by student."""
    done = run("proctor", "grade", name, "--format", "json", cwd=root)
    assert done.returncode == 0, done.stderr
    return {each["student"]: each for each in json.loads(done.stdout)["submissions"]}


def by_the_gradebook(root: Path, name: str) -> dict[str, tuple[float, float]]:
    """Points that were decided, and all, by student."""
    course = Course.load(root)
    with Gradebook(course.db_url, course.course_id) as book:
        return {
            each.student.id: (each.score, each.max_score)
            for each in book.assignment_submissions(name)
        }


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit status of a command, and what it said on standard error."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(str(left.value.code)), capsys.readouterr().err


def release(root: Path, name: str) -> str:
    """The released notebook."""
    done = run("nbgrader", "generate_assignment", name, cwd=root)
    assert done.returncode == 0, done.stderr
    return (root / "release" / name / f"{name}.ipynb").read_text()


def formatted(root: Path, *configuration: str) -> str:
    """What ruff has to say of what was written; a package is the export's."""
    found = ""
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *configuration, *WRITTEN],
            cwd=root,
            capture_output=True,
            text=True,
        )
        found += done.stdout + done.stderr if done.returncode else ""
    return found


# A new course -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["", "lattice"], ids=["plain", "package"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course as `proctor init` makes it."""
    words = ["--package", request.param] if request.param else []
    place = tmp_path_factory.mktemp("courses")
    done = run("proctor", "init", "crystals", *words, cwd=place)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "crystals/nbgrader_config.py"
    assert all((place / line).is_file() for line in said[: said.index("")])
    assert [line.strip() for line in said[-3:]] == [
        "cd crystals",
        "proctor try 01_first",
        "nbgrader generate_assignment 01_first",
    ]
    return place / "crystals"


def test_its_first_assignment_releases_and_grades_at_once(made: Path) -> None:
    released = release(made, new.FIRST)
    assert "np.mean" not in released and "1/√9" not in released
    assert "raise NotImplementedError()" in released
    hand_in(made, new.FIRST)
    results = graded(made, new.FIRST)
    assert (results["blank"]["score"], results["blank"]["needs_manual"]) == (0, False)
    assert results["solved"]["max_score"] == Course.load(made).settings.points == 100
    waits = [test for test in results["solved"]["tests"] if test["status"] == "manual"]
    assert [test["max_points"] for test in waits] == [5]
    assert results["solved"]["score"] == 100 - 5, "what a person gives stands out"
    decided = {t["decided"] for t in results["solved"]["tests"] if t["status"] != "manual"}
    assert decided == {"tester"}
    recorded = by_the_gradebook(made, new.FIRST)
    assert recorded == {"blank": (0, 100), "solved": (95, 100)}
    shutil.rmtree(made / "autograded")
    done = run("nbgrader", "autograde", new.FIRST, "--force", cwd=made)
    assert done.returncode == 0, done.stderr
    assert by_the_gradebook(made, new.FIRST) == recorded


def test_two_assignments_stand_beside_each_other(made: Path) -> None:
    """Neither was changed yet: a package offers no name twice."""
    course = Course.load(made)
    new.new(course, "02_next")
    status = run("proctor", "try", "02_next", cwd=made)
    assert status.returncode == 0, status.stdout + status.stderr
    assert [line.split()[1:3] for line in status.stdout.splitlines()] == [
        ["blank", "0/100"],
        ["reference", "95/100"],
        ["convolution", "95/100"],
        ["summed", "0/100"],
    ]
    if course.package:
        assert export.check(made / "source", made / course.package) == []


def test_its_files_are_clean(made: Path) -> None:
    new.new(Course.load(made), LONG)
    assert formatted(made, "--isolated") == ""
    assert formatted(made, "--config", str(ROOT / "pyproject.toml")) == ""
    for path in (made / "source").rglob("*.ipynb"):
        assert "{{" not in path.read_text() and "{%" not in path.read_text()


def test_a_students_check_and_export(made: Path, tmp_path: Path) -> None:
    """What the end of the notebook tells students to type."""
    path = next((made / "source" / new.FIRST).glob("*.ipynb"))
    last = next(c for c in json.loads(path.read_text())["cells"] if c["id"] == "end")
    commands = re.findall(r"`(proctor [^`]+)`", "".join(last["source"]))
    assert len(commands) == 1 + bool(Course.load(made).package)
    shutil.copy(path, tmp_path)
    for command in commands:
        done = run(*command.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_made_is_ignored_by_git(made: Path) -> None:
    git = ["git", "-C", str(made)]
    subprocess.run([*git, "init", "-q"], check=True)
    places = ("release/a.ipynb", "gradebook.db", "submitted/a/b.ipynb", "feedback/x.html")
    for place in places:
        assert subprocess.run([*git, "check-ignore", "-q", place]).returncode == 0, place
    for place in ("source/01_first/01_first.ipynb", "nbgrader_config.py", "README.md"):
        assert subprocess.run([*git, "check-ignore", "-q", place]).returncode == 1, place
    shutil.rmtree(made / ".git")


@pytest.mark.parametrize(
    ("there", "words", "said"),
    [
        ("nbgrader_config.py", [], "is a course already: `proctor new NAME` in it writes another"),
        ("notes.txt", [], "is not empty: it holds notes.txt. Name a folder that is new or empty."),
        (".gitignore", [], "is not empty: it holds .gitignore."),
        ("", ["--name", "a/b"], "'a/b' cannot be the name of a course"),
        ("", ["--name", "a b"], "'a b' cannot be the name of a course"),
        ("", ["--package", "my-course"], "'my-course' cannot be the name of a package"),
        ("", ["--package", "class"], "'class' cannot be the name of a package"),
        ("", ["--package", "source"], "The package cannot be called 'source'"),
        ("", ["--package", "random"], "The package cannot be called 'random'"),
        ("", ["--package", "numpy"], "The package cannot be called 'numpy'"),
    ],
)
def test_no_course_is_made_where_it_cannot_be(
    tmp_path: Path,
    there: str,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if there:
        (tmp_path / there).write_text("mine")
    status, error = refused(capsys, "init", tmp_path, *words)
    assert status == 2
    assert said in error and error.count("\n") == 1
    assert contents(tmp_path) == ({there: b"mine"} if there else {})


def test_a_course_is_made_in_a_folder_that_was_made_for_it(tmp_path: Path) -> None:
    """A clone without a commit, an environment: both are made before a course is."""
    for name in (".git", ".venv"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    new.init(tmp_path / "mine")
    assert Course.load(tmp_path / "mine").course_id == "mine"
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CourseError, match="is a file"):
        new.init(file)
    with pytest.raises(CourseError, match=r"mine/.* cannot be written: Not a directory\. Mend"):
        new.init(file / "mine")


# A new assignment in this course ------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This course with an assignment more."""
    root = scratch_course(tmp_path_factory.mktemp("ours")).root
    shutil.copytree(ROOT / "proctor", root / "proctor")
    before = contents(root)
    done = run("proctor", "new", NEW, cwd=root)
    assert done.returncode == 0, done.stderr
    after = contents(root)
    assert {*after} - {*before} == {
        f"source/{NEW}/{NEW}.ipynb",
        f"tests/hidden/{NEW}/test_mine.py",
        f"tests/solutions/{NEW}.toml",
        f"docs/assignments/{NEW}.md",
        "tinytorch/mine.py",
    }
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"tinytorch/__init__.py"}, "where what the new module offers is imported"
    return root


@pytest.mark.parametrize("rule", test_notebooks.RULES, ids=lambda rule: rule.__name__)
def test_it_keeps_the_rules_of_this_course(ours: Path, rule: test_notebooks.Rule) -> None:
    books = [read(path) for path in (ours / "source" / NEW).glob("*.ipynb")]
    assert len(books) == 1
    assert list(rule(NEW, books)) == []


def test_it_is_clean_and_in_step(ours: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", ours)
    assert formatted(ours) == ""
    assert export.check(ours / "source", ours / "tinytorch") == []


def test_it_releases_and_grades_at_once(ours: Path) -> None:
    released = release(ours, NEW)
    assert "`proctor export 06_mine.ipynb` writes your `tinytorch/mine.py`" in released
    hand_in(ours, NEW)
    results = graded(ours, NEW)
    assert {name: each["score"] for name, each in results.items()} == {"blank": 0, "solved": 95}
    assert by_the_gradebook(ours, NEW) == {"blank": (0, 100), "solved": (95, 100)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("06 mine", "'06 mine' cannot be the name of an assignment"),
        ("06_mine+more", "cannot be the name"),
        ("06-mine", "such as 06_sorting"),
        ("../06_mine", "cannot be the name"),
        ("06_größe", "cannot be the name"),
        ("06_", "cannot be the name"),
        ("06_7", "cannot be the name"),
        ("06_class", "cannot be the name"),
        ("lambda", "cannot be the name"),
        ("", "cannot be the name"),
        (f"06_{31 * 'x'}", "at most 30 letters"),
        (NEW, "There is an assignment '06_mine' already, and it is left as it is"),
        ("06_Mine", "There is an assignment '06_mine' already"),
        ("07_mine", "mine.py exists, and 07_mine would write it, too."),
        ("07_tensor", "tensor.py exists"),
    ],
)
def test_a_name_that_cannot_be_is_a_sentence(
    ours: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(ours)
    status, error = refused(capsys, "new", name, "--course", ours)
    assert status == 2
    assert said in error and error.count("\n") == 1
    assert contents(ours) == before


@pytest.mark.parametrize(
    "place", ["source/08_here/notes.txt", "tests/solutions/08_here.toml", "tests/hidden/08_here/x"]
)
def test_what_stands_there_is_left_as_it_is(ours: Path, place: str) -> None:
    path = ours / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = contents(ours)
    with pytest.raises(CourseError, match=r"08_here.* exists, and is left as it is"):
        new.new(Course.load(ours), "08_here")
    assert contents(ours) == before
    path.unlink()
    if path.parent.name == "08_here":
        path.parent.rmdir()


def test_outside_of_a_course(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = refused(capsys, "new", NEW, "--course", tmp_path)
    assert status == 2
    assert "is no course: it has no nbgrader_config.py." in error
    assert contents(tmp_path) == {}


# In a course with settings of its own ------------------------------------------------------------

OTHER = """
import proctor
c = get_config()
c.CourseDirectory.course_id = "other"
c.CourseDirectory.source_directory = "notebooks"
c.ClearSolutions.begin_solution_delimeter = "VON HIER"
c.ClearSolutions.end_solution_delimeter = "BIS HIER"
c.Proctor.suites = "exam/hidden"
c.Proctor.points = 7
proctor.configure(c)
"""


def test_it_fits_a_course_that_was_made_otherwise(tmp_path: Path) -> None:
    """Other folders, other points, other marks; and one in which nbgrader wants mark schemes in
    task cells alone.
    """
    (tmp_path / "nbgrader_config.py").write_text(OTHER)
    paths = new.new(Course.load(tmp_path), NEW)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        f"notebooks/{NEW}/{NEW}.ipynb",
        f"exam/hidden/{NEW}/test_mine.py",
        f"exam/solutions/{NEW}.toml",
        f"docs/assignments/{NEW}.md",
    ]
    assert "1/√9; 0.07 because" in (tmp_path / f"docs/assignments/{NEW}.md").read_text()
    assert "np.mean" not in release(tmp_path, NEW)
    hand_in(tmp_path, NEW)
    results = graded(tmp_path, NEW)
    assert results["solved"]["max_score"] == 7
    assert results["solved"]["score"] == pytest.approx(7 * 0.95)
    assert results["blank"]["score"] == 0


def test_a_hidden_suite_needs_a_tester(tmp_path: Path) -> None:
    """Which a course may have ruled out."""
    config = tmp_path / "nbgrader_config.py"
    config.write_text(f"{OTHER}c.Proctor.checks = 'in process'\n")
    before = contents(tmp_path)
    with pytest.raises(CourseError, match=r"take c\.Proctor\.checks out of .*nbgrader_config\.py"):
        new.new(Course.load(tmp_path), NEW)
    assert contents(tmp_path) == before


# The wheel, and the page that authors read --------------------------------------------------------


def test_the_templates_come_with_the_wheel(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "proctor", tmp_path / "proctor")
    words = "pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w made ."
    done = subprocess.run(
        [sys.executable, "-m", *words.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "made").glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if "author/templates/" in name}
    files = (Path(new.__file__).parent / "templates").iterdir()
    there = {f"proctor/author/templates/{path.name}" for path in files}
    assert inside == there and len(there) >= 7


def test_the_commands_of_the_authors_page(tmp_path: Path) -> None:
    """As they are typed in an empty folder; where it says so, students hand in."""
    text = (ROOT / "docs" / "authors.md").read_text()
    block = re.search(r"^(?: {4}.+\n)+", text, re.M)
    assert block
    folder, done = tmp_path, []
    for line in block[0].splitlines():
        for command in line.strip().split(" && "):
            if command.startswith("cd "):
                folder = folder / command[3:]
            elif "submitted/STUDENT/" in command:
                hand_in(folder, command.rstrip("/").rpartition("/")[2])
            else:
                done.append(
                    subprocess.run(
                        ["bash", "-c", command],
                        cwd=folder,
                        env=environment() | {"HOME": str(tmp_path)},
                        capture_output=True,
                        text=True,
                    )
                )
                assert done[-1].returncode == 0, f"{command}: {done[-1].stderr}"
    assert len(done) == 5
    assert re.search(r"│ blank +│ +0/100", done[-1].stdout)
    assert re.search(r"│ solved +│ +95/100", done[-1].stdout)
    told = text[text.index("    $ proctor new 02_sorting") :].split("\n\n")[0].splitlines()[1:]
    assert [line.strip() for line in told] == done[1].stdout.split("\n\n")[0].splitlines()
    table = re.search(r"^ +blank  blank.*\n(?: +\w.*\n)+", text, re.M)
    assert table
    assert [line.split() for line in table[0].splitlines()] == [
        line.split() for line in done[2].stdout.splitlines()
    ]
    assert os.listdir(folder / "release") == ["02_sorting"]
