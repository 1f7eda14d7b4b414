"""What the notebook of 06 says of its pictures and printed numbers, and its rubric, is so."""

from __future__ import annotations

import numpy as np

import tinytorch as tt
from tests.course.notebooks import notebooks
from tests.course.running import Run, run_of

said = run_of("06_optimizers", "small_loss")


def test_the_steepest_direction_sets_the_rate(said: Run) -> None:
    ends = [float(line.split("x = ")[1].split(",")[0]) for line in said[1]["rates"].splitlines()]
    assert np.allclose(ends, [0.5**20, 0.5**20, 1.5**20], rtol=1e-2)


def test_momentum_arrives_and_plain_descent_waits(said: Run) -> None:
    path = said[0]["path"]
    away = {
        name: np.hypot(*(places - 1).T)
        for name, places in {
            "plain": path(tt.SGD, lr=0.005),
            "momentum": path(tt.SGD, lr=0.005, momentum=0.9),
            "adam": path(tt.Adam, lr=0.1),
        }.items()
    }
    assert away["plain"][-1] > 1.5
    assert away["momentum"][-1] < 0.1
    assert away["adam"][-1] < 0.5


def test_only_beside_eps_does_the_size_of_a_gradient_show(
    said: Run,
) -> None:
    lengths = [line.split(": ")[1].split(",")[0] for line in said[1]["first"].splitlines()]
    assert lengths == ["0.1000", "0.1000", "0.1000", "0.0500"]


def test_beside_the_root_decay_means_the_same_for_both(
    said: Run,
) -> None:
    adam, adamw = (
        [float(part.split()[0]) for part in line.split(": ")[1:]]
        for line in said[1]["decays"].splitlines()
    )
    assert adam[1] - adam[0] > 0.5
    assert abs(adamw[1] - adamw[0]) < 0.02


def test_each_learns_faster_than_the_one_before(said: Run) -> None:
    train = said[0]["train"]
    last = [
        train("SGD", 150, lr=0.1)[-1],
        train("SGD", 150, lr=0.1, momentum=0.9)[-1],
        train("Adam", 150, lr=0.1)[-1],
    ]
    assert last[0] > 10 * last[1] > 100 * last[2]


def test_the_rubric_counts_right() -> None:
    [question] = [cell for cell in notebooks("06_optimizers")[0].cells if cell.mark_scheme]
    outside, inside, lengths = 0.0, 0.0, []
    for step in range(220):
        rate = 1.0 if step < 200 else 0.1
        outside = 0.9 * outside + 1
        inside = 0.9 * inside + rate
        lengths.append((rate * outside, inside))
    assert np.allclose(lengths[199], 10)
    assert np.isclose(lengths[200][0], 1)
    for number, step in (("9.1 lr", 200), ("8.29 lr", 201), ("2.1 lr in the twentieth", 219)):
        assert number in question.mark_scheme
        assert abs(lengths[step][1] - float(number.split()[0])) < 0.01
