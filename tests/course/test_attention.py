"""12 by other means: finite differences, equivariance, and whether what the notebook says is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import notebooks
from tests.course.running import Names, Run, run_of

said = run_of("12_attention", "small_loss")


@pytest.fixture(autouse=True)
def gradients(said: object) -> None:
    tt.enable_gradients()


@pytest.mark.parametrize("lead", [(), (2,), (2, 2)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_passes_finite_differences(lead: tuple[int, ...], masked: bool) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(*lead, *shape)) for shape in ((3, 2), (4, 2), (4, 3)))
    mask = np.where(np.tri(3, 4, 1) > 0, 0, -np.inf) if masked else None
    assert tt.gradcheck(lambda *given: tt.scaled_dot_product_attention(*given, mask), q, k, v)


@pytest.mark.parametrize("special", ["zeros", "equal rows", "one place", "one column"])
def test_special_cases_pass_finite_differences(special: str) -> None:
    rng = np.random.default_rng(0)
    shape = {"one place": (1, 2), "one column": (3, 1)}.get(special, (3, 2))
    q, k, v = rng.normal(size=(3, *shape))
    if special == "zeros":
        q, k = 0 * q, 0 * k
    elif special == "equal rows":
        k, v = np.ones(shape), np.ones(shape)
    assert tt.gradcheck(tt.scaled_dot_product_attention, q, k, v)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_layer_passes_finite_differences_in_all_parameters(heads: int) -> None:
    rng = np.random.default_rng(0)
    layer = tt.MultiHeadAttention(4, heads, rng)
    parts = (layer.q, layer.k, layer.v, layer.out)

    def found(x: tt.Tensor, *values: tt.Tensor) -> tt.Tensor:
        for part, weight, bias in zip(parts, values[::2], values[1::2], strict=True):
            part.weight, part.bias = weight, bias
        return layer(x, tt.causal_mask(3))

    values = [rng.normal(size=p.shape) for part in parts for p in (part.weight, part.bias)]
    assert tt.gradcheck(found, rng.normal(size=(2, 3, 4)), *values)


def test_no_future_and_no_order() -> None:
    rng = np.random.default_rng(0)
    layer, x = tt.MultiHeadAttention(8, 2, rng), rng.normal(size=(2, 6, 8))
    changed = np.array(x)
    changed[:, 3:] += 1
    before, after = (layer(tt.Tensor(each), tt.causal_mask(6)).data for each in (x, changed))
    assert np.array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before[:, 3:] - after[:, 3:]).max(axis=-1) > 1e-3).all()
    order = rng.permutation(6)
    assert np.allclose(layer(tt.Tensor(x[:, order])).data, layer(tt.Tensor(x)).data[:, order])


def test_large_scores_are_finite() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)) * 300
    q = tt.Tensor(x, requires_grad=True)
    out = tt.scaled_dot_product_attention(q, tt.Tensor(x), tt.Tensor(x), tt.causal_mask(4))
    out.sum().backward()
    assert np.isfinite(out.data).all()
    assert np.isfinite(q.grad).all()


def test_a_map_has_rows_that_add_up_to_one() -> None:
    rng = np.random.default_rng(0)
    layer, x = tt.MultiHeadAttention(6, 3, rng), tt.Tensor(rng.normal(size=(2, 4, 6)))
    seen = tt.attention_map(layer, x, tt.causal_mask(4))
    assert seen.shape == (2, 3, 4, 4)
    assert np.allclose(seen.sum(axis=-1), 1)
    assert np.array_equal(seen > 0, np.broadcast_to(np.tri(4) > 0, seen.shape))
    v = layer.v(x).data.reshape(2, 4, 3, 2).swapaxes(1, 2)
    found = layer.out(tt.Tensor((seen @ v).swapaxes(1, 2).reshape(2, 4, 6))).data
    assert np.allclose(layer(x, tt.causal_mask(4)).data, found)


def test_without_the_root_the_largest_share_grows(said: Run) -> None:
    shares = [line.split(": ")[1].split() for line in said[1]["root"].splitlines()]
    bare, divided = ([float(each[place]) for each in shares] for place in (0, 2))
    assert bare[0] < 0.5 < 0.8 < bare[1] < 0.95 < bare[2]
    assert max(divided) - min(divided) < 0.05


def test_each_head_learns_where_to_look(said: Run) -> None:
    ends = [float(line.split("to ")[-1]) for line in said[1]["maps"].splitlines()]
    assert len(ends) == 3
    assert max(ends) < 0.05


def test_the_small_loss_has_the_gradients_of_05() -> None:
    [source] = [c.source for c in notebooks("12_attention")[0].cells if c.id == "small_loss"]
    drawn: list[dict[str, Any]] = []
    names: Names = {"np": np, **{name: getattr(tt, name) for name in tt.__all__}}
    names |= {"display": lambda _: None, "draw": lambda _, **named: drawn.append(named)}
    exec(source.split("\n\n\n", 1)[1], names)
    for named in drawn:
        named["loss"].backward()
        assert named["loss"].data.item() == pytest.approx(4)
        assert (named["w"].grad.item(), named["b"].grad.item()) == pytest.approx((12, 4))
        named["w"].zero_grad()
        named["b"].zero_grad()
    assert len(drawn) == 2


def test_the_rubric_is_right() -> None:
    rng = np.random.default_rng(0)
    layer, x, mask = tt.MultiHeadAttention(8, 2, rng), rng.normal(size=(1, 5, 8)), tt.causal_mask(5)
    swapped = x[:, [1, 0, 2, 3, 4]]
    one, other = (layer(tt.Tensor(each), mask) for each in (x, swapped))
    assert np.allclose(one.data[0, 2:], other.data[0, 2:])
    assert not np.allclose(one.data[0, 0], other.data[0, 0])
    assert not np.allclose(layer(one, mask).data[0, 4], layer(other, mask).data[0, 4])
