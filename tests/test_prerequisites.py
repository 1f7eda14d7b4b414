"""Earlier modules for whoever did not finish them: when they are handed out, and whose they are."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook

from proctor.author import export, prerequisites
from proctor.course.course import Course
from proctor.errors import CourseError, ProctorError
from proctor.record import gradebook
from proctor.student.check import Desk, _undecided
from tests.test_grading import as_notebook, cell, given, make_course, owed, write
from tests.test_handin import proctor

NOW = datetime.now(UTC)
THREE = {
    f"0{number}_{name}": {
        f"0{number}_{name}": [
            given("names", f'__all__ = ["{name}_made"]'),
            owed("one", f"def {name}_made():", f"    return '{name}'"),
            cell("check", "assert one", grade=True, locked=True, points=1),
        ]
    }
    for number, name in enumerate(("pairs", "totals", "means"), 1)
}
ARCHIVE = "03_means-prerequisites.zip"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Three assignments, their package exported, and a gradebook."""
    root = make_course(tmp_path / "course", THREE)
    for path in (root / "mini").iterdir():
        path.unlink()
    export.export_course(root / "source", root / "mini")
    return root


def set_due(course: Path, first: timedelta | None, second: timedelta | None) -> None:
    """Set due dates, as formgrader does: without a zone, in UTC."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "mini") as book:
        for name, delta in (("01_pairs", first), ("02_totals", second)):
            moment = None if delta is None else (NOW + delta).replace(tzinfo=None)
            book.update_or_create_assignment(name, duedate=moment)


PAST, FUTURE = timedelta(days=-1), timedelta(days=1)


class TestWhen:
    @pytest.mark.parametrize(
        ("first", "second", "words"),
        [
            (PAST, FUTURE, "02_totals until"),
            (FUTURE, PAST, "01_pairs until"),
            (FUTURE, FUTURE, "01_pairs until"),
            (PAST, None, "no due date of 02_totals"),
            (None, None, "no due date of 01_pairs, 02_totals"),
        ],
    )
    def test_not_before_the_deadline(
        self, course: Path, first: timedelta | None, second: timedelta | None, words: str
    ) -> None:
        set_due(course, first, second)
        done = proctor("prerequisites", "03_means", cwd=course)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
        assert "--anyway" in done.stderr
        assert not (course / ARCHIVE).exists()
        assert proctor("prerequisites", "03_means", "--anyway", cwd=course).returncode == 0
        assert (course / ARCHIVE).exists()

    def test_after_it(self, course: Path) -> None:
        set_due(course, PAST, PAST)
        done = proctor("prerequisites", "03_means", cwd=course)
        assert (done.returncode, done.stdout) == (0, f"{ARCHIVE}\n"), done.stderr

    def test_only_what_comes_before_counts(self, course: Path) -> None:
        set_due(course, PAST, FUTURE)
        assert proctor("prerequisites", "02_totals", cwd=course).returncode == 0
        assert proctor("prerequisites", "02_totals", "03_means", cwd=course).returncode == 1

    def test_the_latest_extension_counts(self, course: Path) -> None:
        set_due(course, PAST, PAST)
        with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "mini") as book:
            for student, days in (("ada", 3), ("bob", 0)):
                book.add_student(student)
                book.add_submission("01_pairs", student)
                book.grant_extension("01_pairs", student, days=days)
        done = proctor("prerequisites", "03_means", cwd=course)
        assert (done.returncode, "01_pairs until" in done.stderr) == (1, True)
        until = gradebook.deadlines(Course.load(course))["01_pairs"]
        assert abs(until - (NOW + timedelta(days=2))) < timedelta(minutes=1)

    def test_without_a_gradebook_none_is_made(self, course: Path) -> None:
        assert proctor("prerequisites", "03_means", cwd=course).returncode == 1
        assert not (course / "gradebook.db").exists()


class TestWhat:
    def test_the_modules_before_and_no_other(self, course: Path) -> None:
        with zipfile.ZipFile(io.BytesIO(packed(course))) as made:
            assert made.namelist() == ["mini/__init__.py", "mini/pairs.py", "mini/totals.py"]
            assert "means" not in made.read("mini/__init__.py").decode()

    def test_it_can_be_used_where_it_is_unpacked_by_hand(
        self, course: Path, tmp_path: Path
    ) -> None:
        """By whoever has no package yet."""
        zipfile.ZipFile(io.BytesIO(packed(course))).extractall(tmp_path / "desk")
        code = "import mini; print(mini.pairs_made(), mini.totals_made())"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / "desk", capture_output=True, text=True
        )
        assert done.stdout == "pairs totals\n", done.stderr

    @pytest.mark.parametrize(
        ("name", "words"),
        [("01_pairs", "no module comes before it"), ("04_none", "There is no assignment")],
    )
    def test_where_there_is_nothing(self, course: Path, name: str, words: str) -> None:
        done = proctor("prerequisites", name, "--anyway", cwd=course)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr

    def test_a_package_that_is_not_exported(self, course: Path) -> None:
        (course / "mini/totals.py").write_text("x = 1\n")
        with pytest.raises(CourseError, match="not made by `proctor export`"):
            packed(course)
        (course / "mini/totals.py").unlink()
        with pytest.raises(CourseError, match="is missing"):
            packed(course)


def packed(course: Path) -> bytes:
    return prerequisites.pack(Course.load(course).assignment("03_means"))


class TestOnTheStudentsSide:
    @pytest.fixture
    def desk(self, course: Path, tmp_path: Path) -> Path:
        """A student's folder, with spaces and umlauts, 01 exported, and the archive."""
        desk = tmp_path / "mein Büro"
        mine = as_notebook(THREE["01_pairs"]["01_pairs"])
        mine["cells"][1]["source"] = "def pairs_made():\n    return 'mine'"
        for name in THREE:
            write(desk, f"{name}/{name}.ipynb", json.dumps(as_notebook(THREE[name][name])))
        write(desk, "01_pairs/01_pairs.ipynb", json.dumps(mine))
        export.export_notebook(desk / "01_pairs/01_pairs.ipynb", desk / "mini")
        (desk / ARCHIVE).write_bytes(packed(course))
        return desk

    def made(self, desk: Path) -> str:
        code = "import mini; print(mini.pairs_made(), mini.totals_made())"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code], cwd=desk, capture_output=True, text=True
        )
        return done.stdout.strip() or done.stderr

    def test_what_a_student_wrote_stays(self, desk: Path) -> None:
        before = (desk / "mini/pairs.py").read_bytes()
        done = proctor("unpack", ARCHIVE, cwd=desk)
        assert done.returncode == 0, done.stderr
        assert "mini: the instructor's totals" in done.stdout
        assert "mini: your own pairs stays as it is" in done.stdout
        assert (desk / "mini/pairs.py").read_bytes() == before
        assert self.made(desk) == "mine totals"
        again = proctor(
            "unpack", f"../{ARCHIVE}", cwd=desk / "03_means"
        )  # from wherever it is typed
        assert again.stdout == done.stdout.replace("mini:", "../mini:")

    def test_where_there_is_no_package(self, desk: Path) -> None:
        for path in (desk / "mini").iterdir():
            path.unlink()
        (desk / "mini").rmdir()
        assert "the instructor's pairs, totals" in proctor("unpack", ARCHIVE, cwd=desk).stdout
        assert self.made(desk) == "pairs totals"

    @pytest.mark.parametrize("file", ["totals.py", "__init__.py"])
    def test_a_full_disk_leaves_a_package_that_works(
        self, desk: Path, monkeypatch: pytest.MonkeyPatch, file: str
    ) -> None:
        """Each file is the old one or the new one, and a second try takes the rest."""

        def full(path: Path, data: Any, *_: object, **__: object) -> None:
            body = data.encode() if isinstance(data, str) else data
            broken = path.parent.name == "mini" and file in path.name
            with open(path, "wb") as target:
                target.write(body[: len(body) // 2] if broken else body)
            if broken:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(ProctorError, match=f"{file} cannot be written: No space left"):
                prerequisites.take(desk / ARCHIVE, desk)
        assert not [*desk.glob("mini/.*")]
        code = "import mini; print(mini.pairs_made())"
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=desk, capture_output=True)
        assert done.stdout == b"mine\n", done.stderr
        prerequisites.take(desk / ARCHIVE, desk)
        assert self.made(desk) == "mine totals"

    def test_ones_own_takes_the_instructors_place(self, desk: Path) -> None:
        """Whoever finishes late exports as usual; between two students' notebooks it is refused."""
        proctor("unpack", ARCHIVE, cwd=desk)
        notebook = desk / "02_totals/02_totals.ipynb"
        found = json.loads(notebook.read_text())
        found["cells"][1]["source"] = "def totals_made():\n    return 'mine, too'"
        notebook.write_text(json.dumps(found))
        export.export_notebook(notebook, desk / "mini")
        assert self.made(desk) == "mine mine, too"
        proctor("unpack", ARCHIVE, cwd=desk)
        assert self.made(desk) == "mine mine, too"

    def test_an_edited_module_is_its_editors(self, desk: Path) -> None:
        proctor("unpack", ARCHIVE, cwd=desk)
        module = desk / "mini/totals.py"
        module.write_text(module.read_text().replace("'totals'", "'mended'"))
        assert not export.is_handed_out(module.read_text())
        done = proctor("unpack", ARCHIVE, cwd=desk)
        assert "your own pairs, totals stays" in done.stdout
        assert self.made(desk) == "mine mended"
        with pytest.raises(CourseError, match="would overwrite it"):
            export.export_notebook(desk / "02_totals/02_totals.ipynb", desk / "mini")

    def test_a_handed_out_module_with_windows_lines_is_still_the_instructors(self) -> None:
        text = export.handed_out("x = 1\ny = 2\n")
        assert export.is_handed_out(text) and export.is_handed_out(text.replace("\n", "\r\n"))
        assert not export.is_handed_out(text + "z = 3\n")
        assert not export.is_handed_out("x = 1\n") and not export.is_handed_out("")

    def test_check_says_whose_modules_they_are(self, desk: Path) -> None:
        notebook = desk / "03_means/03_means.ipynb"

        def said() -> str:
            desk = Desk(notebook)
            return next(_undecided(desk, desk.templates[0].submission(notebook.read_bytes())))

        assert said() == "It stands on your pairs."
        proctor("unpack", ARCHIVE, cwd=desk)
        assert said() == "It stands on your pairs and the instructor's totals."
        (desk / "mini/pairs.py").unlink()
        proctor("unpack", ARCHIVE, cwd=desk)
        assert said() == "It stands on the instructor's pairs, totals."

    @pytest.mark.parametrize("kind", ["no zip", "another zip", "half", "edited", "outside", "two"])
    def test_what_is_no_such_archive(self, desk: Path, kind: str) -> None:
        whole = (desk / ARCHIVE).read_bytes()
        with zipfile.ZipFile(io.BytesIO(whole)) as found:
            files = {name: found.read(name) for name in found.namelist()}
        if kind == "edited":
            files["mini/totals.py"] += b"import os\n"
        elif kind == "outside":
            files = {f"../{name}": data for name, data in files.items()}
        elif kind == "two":
            files["other/pairs.py"] = files["mini/pairs.py"]
        elif kind == "another zip":
            files = {"01_pairs.ipynb": b"{}"}
        with zipfile.ZipFile(desk / ARCHIVE, "w") as made:
            for name, data in files.items():
                made.writestr(name, data)
        if kind in ("no zip", "half"):
            (desk / ARCHIVE).write_bytes(whole[: len(whole) // 2] if kind == "half" else b"hello")
        before = sorted(desk.rglob("*"))
        done = proctor("unpack", ARCHIVE, cwd=desk)
        if kind == "outside":  # its dots lead nowhere: it is unpacked as if they were not there
            assert done.returncode == 0 and not [*desk.parent.glob("mini")]
            return
        assert done.returncode == 1, done.stdout
        assert done.stderr.count("\n") == 1 and sorted(desk.rglob("*")) == before

    def test_a_package_of_another_making_is_left_alone(self, desk: Path) -> None:
        (desk / "mini/__init__.py").write_text("# mine\n")
        with pytest.raises(ProctorError, match="was not made by `proctor export`"):
            prerequisites.take(desk / ARCHIVE, desk)
