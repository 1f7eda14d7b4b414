"""Files that students hand in beside a notebook, such as a trained model's weights, on which the
points of a grade cell rest.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest

from proctor.author import release, solutions
from proctor.cli import main
from proctor.course.course import Course
from proctor.errors import CourseError
from proctor.grade.grading import Grader
from proctor.notebook.cells import MAX_HANDED_IN, hand_ins
from proctor.notebook.template import Stubs
from proctor.student import handin, submit
from proctor.verdict import Result
from tests.test_grading import HIDDEN, NAME, SOURCE, cell, hand_in, make_course, write

FILE = "weights-1.npz"
TAG = f"hand-in:{FILE}"
DATA = b"4711"
MISSING = f"{FILE} is missing: 5 points rest on it (Trained)"
TRAINED = '''
import pytest

from proctor.testing import run_in_worker


@run_in_worker
def trained():
    return total([int(open("weights-1.npz").read()), 1])


class TestTrained:
    @pytest.mark.points(5)
    def test_what_was_handed_in(self, student):
        """What was trained is right."""
        assert trained(student) == 4712
'''


def course(root: Path, tag: str = TAG, on: str = "Trained") -> Course:
    """The course `mini` with five points that rest on a file."""
    source = copy.deepcopy(SOURCE)
    cells = source[NAME][NAME]
    cells.append(cell("Trained", HIDDEN, grade=True, locked=True, points=5))
    for each in cells:
        if each["id"] == on:
            each["metadata"].setdefault("tags", []).append(tag)
    make_course(root, source)
    write(root, f"tests/hidden/{NAME}/test_trained.py", TRAINED)
    write(root, f"tests/solutions/{NAME}/{FILE}", DATA.decode())
    return Course.load(root)


def notebooks(made: Course, blank: bool = False) -> dict[str, solutions.Notebook]:
    found = {path.stem: json.loads(path.read_text()) for path in made.assignment(NAME).notebooks}
    if blank:
        return solutions.blank(found, Stubs())
    return solutions.solved(found, solutions.REFERENCE, Stubs())


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return course(tmp_path_factory.mktemp("mini"))


def graded(mini: Course, student: str, data: bytes | None, blank: bool = False) -> Result:
    folder = hand_in(mini.root, student, notebooks(mini, blank))
    if data is not None:
        (folder / FILE).write_bytes(data)
    with Grader(mini.assignment(NAME)) as grader:
        return grader.grade(student, folder).result


def lost(result: Result) -> set[str]:
    return {test.cell for test in result.tests if test.status == "failed"}


class TestGrading:
    def test_with_the_file(self, mini: Course) -> None:
        result = graded(mini, "there", DATA)
        assert lost(result) == set() and result.notes == []

    def test_without_it_these_points_are_lost_and_no_others(self, mini: Course) -> None:
        result = graded(mini, "missing", None)
        assert lost(result) == {"Trained"} and result.notes == [MISSING]

    def test_one_that_is_too_large_is_not_there(self, mini: Course) -> None:
        result = graded(mini, "large", DATA + b" " * MAX_HANDED_IN)
        assert lost(result) == {"Trained"}
        assert result.notes == [
            f"{FILE} has 5.0 MB, at most 5 count: 5 points rest on it (Trained)"
        ]

    def test_an_empty_one(self, mini: Course) -> None:
        result = graded(mini, "empty", b"")
        assert result.notes == [f"{FILE} is empty: 5 points rest on it (Trained)"]

    def test_a_blank_with_somebody_elses_file_earns_nothing(self, mini: Course) -> None:
        assert graded(mini, "blank", DATA, blank=True).score == 0


class TestRelease:
    def test_the_solutions_files_stand_beside_the_instructors_notebook(self, mini: Course) -> None:
        release.check(mini.assignment(NAME))

    def test_without_them_the_hidden_tests_fail(self, tmp_path: Path) -> None:
        made = course(tmp_path)
        shutil.rmtree(tmp_path / "tests" / "solutions")
        with pytest.raises(CourseError, match=r"hidden test 'TestTrained.*' fails for"):
            release.check(made.assignment(NAME))

    @pytest.mark.parametrize(
        ("tag", "on", "words"),
        [
            (TAG, "total", "belongs to a grade cell"),
            (TAG, "intro", "belongs to a grade cell"),
            ("hand-in:../weights.npz", "Trained", "names no file"),
            ("hand-in:", "Trained", "names no file"),
        ],
    )
    def test_a_tag_that_asks_nobody(self, tmp_path: Path, tag: str, on: str, words: str) -> None:
        with pytest.raises(CourseError, match=words):
            release.check(course(tmp_path, tag, on).assignment(NAME))

    def test_the_instructors_own_file_is_not_handed_out(self, tmp_path: Path) -> None:
        made = course(tmp_path)
        (tmp_path / "source" / NAME / FILE).write_bytes(DATA)
        with pytest.raises(CourseError, match=r"weights-1.npz: students are to hand in .* Move it"):
            release.check(made.assignment(NAME))

    def test_trying_solutions(self, mini: Course, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["try", NAME, "--course", str(mini.root)])
        assert left.value.code == 0, capsys.readouterr().out


@pytest.fixture
def desk(mini: Course, tmp_path: Path) -> Path:
    """A student's folder, in which all is written."""
    folder = tmp_path / NAME
    folder.mkdir()
    for name, notebook in notebooks(mini).items():
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder


def warned(path: Path) -> list[str]:
    return [each.text for each in submit.examine(handin.read(path)) if each.warning]


class TestStudent:
    def test_submit_asks_for_it(self, desk: Path) -> None:
        assert MISSING in warned(desk)
        (desk / FILE).write_bytes(DATA)
        assert MISSING not in warned(desk)
        assert handin.read(desk).contents[FILE] == DATA

    def test_it_goes_with_a_lone_notebook(self, desk: Path, tmp_path: Path) -> None:
        """From a folder of downloads, of which nothing else goes."""
        place = tmp_path / "Downloads"
        place.mkdir()
        shutil.copy(desk / f"{NAME}.ipynb", place)
        assert MISSING in warned(place / f"{NAME}.ipynb")
        (place / FILE).write_bytes(DATA)
        (place / "bank.pdf").write_bytes(b"secret")
        assert {*handin.read(place / f"{NAME}.ipynb").contents} == {f"{NAME}.ipynb", FILE}

    def test_a_link_does_not_go(self, desk: Path, tmp_path: Path) -> None:
        place = tmp_path / "Downloads"
        place.mkdir()
        shutil.copy(desk / f"{NAME}.ipynb", place)
        (tmp_path / "elsewhere").write_bytes(DATA)
        (place / FILE).symlink_to(tmp_path / "elsewhere")
        assert {*handin.read(place / f"{NAME}.ipynb").contents} == {f"{NAME}.ipynb"}

    def test_check_asks_for_it(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def checked() -> str:
            with pytest.raises(SystemExit):
                main(["check", str(desk / f"{NAME}.ipynb")])
            return " ".join("".join(capsys.readouterr()).split())

        assert f"{MISSING}." in checked()
        (desk / FILE).write_bytes(DATA)
        assert FILE not in checked()


@pytest.mark.parametrize(
    "name", ["a/b.npz", "../a.npz", "a", ".npz", "", "a.npz\n", "a b.npz", "a.tar.gz.exe", "-a.npz"]
)
def test_a_name_that_leads_elsewhere_is_none(name: str) -> None:
    tagged = cell("x", "", tags=[f"hand-in:{name}"], grade=True, points=1)
    assert hand_ins(tagged) == []
    assert hand_ins(cell("x", "", tags=["hand-in:a.tar.gz"], grade=True, points=1)) == ["a.tar.gz"]
