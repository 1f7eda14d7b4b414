"""Right solutions lose nothing by chance: a sample of `make steady`, and that it would see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import classroom, steady


@pytest.mark.parametrize("name", classroom.ASSIGNMENTS)
def test_fresh_inputs_cost_the_reference_nothing(name: str, tmp_path: Path) -> None:
    assignment = classroom.scratch_course(tmp_path).assignment(name)
    [told] = steady.losses(assignment, [steady.REFERENCE], 6).values()
    assert told.gradings == 6
    assert dict(told.tests) == {}


def test_each_grading_draws_other_inputs() -> None:
    first, second = (steady.renewed("03_layers", steady.REFERENCE, n) for n in (1, 2))
    assert first != second
    again = steady.renewed("03_layers", steady.REFERENCE, 1)
    assert first == again


def test_what_is_lost_by_luck_is_seen(tmp_path: Path) -> None:
    """A relu that is wrong in every second process or so, for every process has its own seed."""
    wavering = "def relu(x):\n    return x.maximum(np.random.RandomState().randint(2))\n"
    made = classroom.Solution("wavering", "Right at times.", False, {"relu": wavering})
    wrong = classroom.Solution("wrong", "Wrong always.", False, {"relu": "relu = abs\n"})
    assignment = classroom.scratch_course(tmp_path).assignment("02_activations")
    found = steady.losses(assignment, [made, wrong], 24)
    assert {told.gradings for told in found.values()} == {12}
    assert 0 < found["wavering"].by_luck["check_relu"] < 12
    assert found["wrong"].by_luck == {} and found["wrong"].cells["Relu"] == 12
