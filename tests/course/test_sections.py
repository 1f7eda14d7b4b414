"""01 grows section by section: what one of them lacks costs its own points, not the others'."""

from __future__ import annotations

import pytest

from proctor.verdict import Result
from tests import classroom
from tests.course.notebooks import notebooks

NAME = "01_tensor"
# The hidden classes that may lose points for a section; Whole may for each.
OWN = {
    "as_array": {"Construct"},
    "tensor": {"Construct", "Derived"},
    "arithmetic": {"Arithmetic"},
    "derived": {"Derived"},
    "reflected": {"Reflected", "Derived"},
    "matmul": {"Matmul"},
    "elementwise": {"Elementwise"},
    "reductions": {"Reductions", "Derived"},
    "shares": {"Puzzles"},
    "shapes": {"Shapes"},
    "distances": {"Puzzles"},
    "network": set(),
    "standardise": set(),
}
BROKEN = {
    "left blank": lambda stub: stub,
    "does not compile": lambda stub: stub.replace("raise", "raise)", 1),
    "is empty": lambda stub: "",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """A reference each, with one section broken in one way."""
    course = classroom.scratch_course(tmp_path_factory.mktemp("course"))
    [released] = classroom.blank(NAME).values()
    stubs = {cell["id"]: classroom.text_of(cell) for cell in released["cells"]}
    students = []
    for section in OWN:
        for how, broken in BROKEN.items():
            students.append(f"{section} {how}")
            made = classroom.Solution(students[-1], "", False, {section: broken(stubs[section])})
            classroom.submit(course, students[-1], NAME, classroom.solved(NAME, made))
    return classroom.grade(course.assignment(NAME), students)


def test_every_section_is_looked_at() -> None:
    [book] = notebooks(NAME)
    assert [cell.id for cell in book.cells if cell.is_solution and not cell.is_graded] == list(OWN)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("section", OWN)
def test_a_broken_section_costs_its_own(results: dict[str, Result], section: str, how: str) -> None:
    result = results[f"{section} {how}"]
    lost = {t.cell for t in result.tests if t.status == "failed" and t.name != t.cell}
    assert lost and lost <= OWN[section] | {"Whole"}


def test_without_the_whole_nobody_has_more_than_79() -> None:
    [book] = notebooks(NAME)
    points = {cell.id: cell.points for cell in book.cells if cell.is_test}
    assert points["Whole"] >= 15
    assert 100 - points["Whole"] - points["check_whole"] <= 79
