"""What the notebook of 18 says of its printed numbers, and its rubric, is so."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import notebooks
from tests.course.running import Names, Run, run_of

TRAINING = ("pruning", "pruning_curve", "small", "small_curve", "pictures_of_rank")


said = run_of("18_compression", *TRAINING)


@pytest.fixture
def names(said: Run) -> Names:
    return said[0]


def test_a_tenth_is_lost_at_80_per_cent(names: Names) -> None:
    start = names["loss_of"](names["names_gpt"]())
    losses = {}
    for sparsity in (0.4, 0.6, 0.8, 0.9):
        model = names["names_gpt"]()
        tt.compression.prune_model(model, sparsity)
        losses[sparsity] = names["loss_of"](model)
    assert [s for s, loss in losses.items() if loss > 1.1 * start] == [0.8, 0.9]
    assert list(losses.values()) == sorted(losses.values())


def test_thin_mlps_cost_little_although_no_singular_value_is_small(names: Names) -> None:
    start = names["loss_of"](names["names_gpt"]())
    assert names["loss_of"](names["thin"](16)) < start + 0.05
    weight = names["names_gpt"]().blocks[0].mlp.layers[0].weight.data
    assert names["rank_for"](weight, 0.1) > 56
    assert names["rank_for"](tt.sinusoidal_positions(64, 64), 0.1) < 20


def test_the_slopes_of_the_loss_are_those_of_its_values(names: Names) -> None:
    rng = np.random.default_rng(0)
    teacher, targets = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 3))
    logits = tt.Tensor(rng.normal(size=(2, 3, 4)))
    tt.gradcheck(lambda x: tt.distillation_loss(x, teacher, targets, 2.5, 0.3), logits)


def test_the_rubric_counts_right() -> None:
    [question] = [cell for cell in notebooks("18_compression")[0].cells if cell.mark_scheme]
    assert "87.5%" in question.mark_scheme
    assert 8 * (1 - 0.875) == 4 / 4
    assert "r = 64" in question.mark_scheme
    assert 2 * 512 * 64 == 512 * 512 // 4
