"""`nbgrader autograde` copies what a link points at; with proctor it goes no further."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proctor.notebook.files import drop_linked
from tests.attacks import corpus
from tests.attacks.range import HONEST, Range


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Range:
    """A course in which somebody has submitted links, graded by nbgrader's own commands."""
    made = Range(tmp_path_factory.mktemp("links"))
    made.prepare()
    (made.root / "secret.txt").write_text(f"{made.token}-secret")
    other = made.course / "submitted" / HONEST[0] / "mini"
    linker = made.course / "submitted/linker/mini"
    (linker / "below").mkdir(parents=True)
    (linker / "mini.ipynb").write_text(json.dumps(corpus.solved("Mine.")))
    (linker / "own.txt").write_text("mine")
    (linker / "notes.txt").symlink_to(made.root / "secret.txt")
    (linker / "below/book.db").symlink_to(made.course / "gradebook.db")
    (linker / "given.txt").symlink_to(made.root / "secret.txt")  # a name of the instructor's
    (linker / "folder").symlink_to(other)
    (made.course / "submitted/borrower/mini").mkdir(parents=True)
    (made.course / "submitted/borrower/mini/mini.ipynb").symlink_to(other / "mini.ipynb")
    (made.course / "submitted/follower").mkdir()
    (made.course / "submitted/follower/mini").symlink_to(other)
    made.nbgrader("autograde", "mini")
    made.nbgrader("generate_feedback", "mini")
    return made


@pytest.mark.parametrize("step", ["autograded", "feedback"])
def test_nothing_is_copied_through_a_link(place: Range, step: str) -> None:
    folder = place.course / step / "linker/mini"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    page = "mini.ipynb" if step == "autograded" else "mini.html"
    assert found == {page, "own.txt", "given.txt", "data/given.txt"}
    assert (folder / "given.txt").read_text() == "given"
    for path in folder.rglob("*"):
        if path.is_file():
            assert f"{place.token}-secret" not in path.read_text()


@pytest.mark.parametrize("student", ["borrower", "follower"])
@pytest.mark.parametrize("step", ["autograded", "feedback"])
def test_somebody_elses_work_is_nobodys_own(place: Range, step: str, student: str) -> None:
    assert [*(place.course / step / student).rglob("*.*")] == []


def test_the_honest_are_graded(place: Range) -> None:
    for name in HONEST:
        assert (place.course / "feedback" / name / "mini/mini.html").exists()


def test_without_it_they_are_copied(tmp_path: Path) -> None:
    """From the wrong side: a copy, as nbgrader makes it, and what is taken out of it."""
    submitted, copy = tmp_path / "submitted", tmp_path / "copy"
    for folder in (submitted, copy):
        (folder / "below").mkdir(parents=True)
    (submitted / "below/a.txt").symlink_to("/etc/hostname")
    (submitted / "given").symlink_to("/etc/hostname")
    (submitted / "b.txt").write_text("b")
    for name in ("below/a.txt", "b.txt", "given"):
        (copy / name).write_bytes((submitted / name).read_bytes())
    assert drop_linked(copy, submitted, ["given"]) == ["below/a.txt"]
    assert sorted(path.name for path in copy.rglob("*") if path.is_file()) == ["b.txt", "given"]
    assert (submitted / "below/a.txt").is_symlink()
