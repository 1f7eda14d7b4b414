"""A GPT's derivatives, what the kept weights know, and what the notebook of 13 says of them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import ROOT, notebooks

WEIGHTS = ROOT / "tests/solutions/13_transformers"
GIVEN = ROOT / "source/13_transformers/names.txt"
SUITE = ROOT / "tests/hidden/13_transformers"
Names = dict[str, Any]


@pytest.fixture(autouse=True)
def gradients() -> Iterator[None]:
    tt.enable_gradients()
    yield
    tt.disable_gradients()


@pytest.fixture(scope="module")
def book() -> Names:
    """The notebook's names, with the kept weights in the place of what it would train."""
    names: Names = {}
    tt.enable_gradients()
    [found] = notebooks("13_transformers")
    for cell in found.cells:
        if cell.type == "code" and not cell.is_hidden_test and cell.id not in ("pictures",):
            text = re.sub(r"\n(names_run|addition_run|inventions)\(.*", "", cell.source)
            text = text.replace('open("names.txt"', f'open("{GIVEN.as_posix()}"')
            text = text.replace('trained("', f'trained("{WEIGHTS.as_posix()}/')
            text = text.replace("\nshow_map(looks)", "")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(text, names)
    tt.disable_gradients()
    return names


def suite() -> Any:
    spec = importlib.util.spec_from_file_location("suite13", SUITE / "test_transformers.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SUITE.parent)  # what suites share stands there
        spec.loader.exec_module(module)
    return module


def loaded(name: str, vocab: int, context: int) -> Any:
    model = tt.GPT(vocab, context, 64, 4, 2)
    tt.load_weights(WEIGHTS / name, model)
    return model.eval()


RNG = np.random.default_rng(13)


@pytest.mark.parametrize(
    "x",
    [RNG.normal(size=(2, 3, 4)), RNG.normal(size=4), np.full((2, 4), 3.0), RNG.normal(size=(3, 1))],
    ids=["3-D", "1-D", "equal numbers", "one number"],
)
def test_layer_norm_by_finite_differences(x: np.ndarray) -> None:
    norm = tt.LayerNorm(x.shape[-1], eps=0.01)  # smooth enough for a difference at equal numbers

    def f(x: Any, weight: Any, bias: Any) -> Any:
        norm.weight, norm.bias = weight, bias
        return norm(x)

    assert tt.gradcheck(f, x, RNG.normal(size=x.shape[-1]), RNG.normal(size=x.shape[-1]))


def test_a_block_and_a_model_by_finite_differences() -> None:
    model = tt.GPT(5, 4, 4, 2, 1, np.random.default_rng(0))
    ids = np.array([[0, 1, 1, 3], [4, 0, 2, 2]])
    kept = [p.data.astype(np.float64) + 0.1 * RNG.normal(size=p.shape) for p in model.parameters()]
    places = [
        (owner, name)
        for owner in tt.training.modules(model)
        for name, value in vars(owner).items()
        if isinstance(value, tt.Tensor)
    ]
    by_id = {id(vars(owner)[name]): (owner, name) for owner, name in places}
    order = [by_id[id(p)] for p in model.parameters()]

    def f(*parameters: Any) -> Any:
        for (owner, name), p in zip(order, parameters, strict=True):
            setattr(owner, name, p)
        return model(ids)

    assert tt.gradcheck(f, *kept)


def test_every_parameter_receives_a_gradient_and_that_of_the_keys_bias_is_0() -> None:
    model = tt.GPT(7, 6, 8, 2, 2, np.random.default_rng(0))
    for p in model.parameters():
        p.requires_grad = True
    ids = RNG.integers(0, 7, (3, 6))
    tt.next_token_loss(model(ids), RNG.integers(0, 7, (3, 6))).backward()
    assert all(p.grad is not None for p in model.parameters())
    for block in model.blocks:
        assert np.abs(block.attention.k.bias.grad).max() < 1e-6
        assert np.abs(block.attention.q.bias.grad).max() > 1e-6


def test_no_later_token_changes_an_earlier_logit() -> None:
    model, ids = tt.GPT(9, 8, 16, 4, 3, np.random.default_rng(0)), RNG.integers(0, 9, (1, 8))
    for place in range(8):
        other = ids.copy()
        other[0, place] = (other[0, place] + 1) % 9
        apart = np.abs(model(ids).data - model(other).data)[0].max(axis=-1)
        assert apart[:place].max(initial=0) < 1e-6 < apart[place]


def test_the_kept_model_adds_every_pair_that_it_never_saw(book: Names) -> None:
    adder = loaded("addition.npz", 12, 11)
    unseen = np.argwhere(book["UNSEEN"])[::20]
    right = book["answers"](adder, unseen) == book["sums"](unseen)[:, 8:]
    assert len(right) > 4000 and right.all()


def test_its_attention_is_column_addition(book: Names) -> None:
    looks = book["adding_map"](loaded("addition.npz", 12, 11))
    for k in range(3):  # ones, tens, hundreds: half at a's digit, half at b's
        a, b = looks[:, k, 2 - k], looks[:, k, 6 - k]
        head = np.argmax(a + b)
        assert a[head] > 0.4 and b[head] > 0.4
    for k in range(1, 4):  # and a head at the column to the right
        assert (looks[:, k, 3 - k] + looks[:, k, 7 - k]).max() > 0.5


def test_the_numbers_in_the_text(book: Names) -> None:
    text = " ".join(cell.prose for cell in notebooks("13_transformers")[0].cells)
    assert f"{len(book['NAMES']):,} first names" in text
    seen = np.zeros((1000, 1000), bool)
    rng = np.random.default_rng(1)
    for _ in range(900):
        pairs = rng.integers(0, 1000, (128, 2))
        a, b = pairs[~book["UNSEEN"][pairs[:, 0], pairs[:, 1]]][:64].T
        seen[a, b] = True
    assert "one pair in eighteen" in text and round(1 / seen.mean()) == 18
    assert "A tenth of the pairs" in text and abs(book["UNSEEN"].mean() - 0.1) < 0.005


def test_the_lessons_hold_back_what_is_tested(book: Names) -> None:
    hidden = suite()
    pairs = hidden.unseen_pairs(np.random.default_rng(0), 10**6)
    assert book["UNSEEN"][tuple(pairs.T)].all() and len(pairs) > 90000
    assert np.array_equal(hidden.sums(pairs[:50]), book["sums"](pairs[:50]))
    for ids, targets in book["lessons"](3, np.random.default_rng(0)):
        a, b = ids[:, :3] @ [100, 10, 1], ids[:, 4:7] @ [100, 10, 1]
        assert ids.shape == (64, 11) and not book["UNSEEN"][a, b].any()
        assert np.array_equal(targets @ [1, 10, 100, 1000], a + b)


def test_names_are_tested_on_others_and_the_one_to_beat_is_theirs(book: Names) -> None:
    lines = (SUITE / "names.txt").read_text(encoding="ascii").splitlines()
    others = [line for line in lines if not line.startswith("#")]
    assert len(others) == 500 and not set(others) & set(book["NAMES"])
    given, held = (
        np.array([book["LETTERS"].index(c) for c in "\n".join(["", *names, ""])])
        for names in (book["NAMES"], others)
    )
    loss = -book["bigrams"](given, 27)[held[:-1], held[1:]].mean()
    assert abs(loss - suite().BIGRAM_LOSS) < 1e-3
    rows = held[np.arange(0, len(held) - 17, 5)[:, None] + np.arange(17)]
    model = loaded("names.npz", 27, 16)
    assert tt.next_token_loss(model(rows[:, :-1]), rows[:, 1:]).data < loss - 0.1
