"""What the notebook of 15 says of its model, its gelu and its tables is so."""

from __future__ import annotations

import numpy as np

import tinytorch as tt
from tests.course.running import Run, run_of

said = run_of("15_profiling", "faults")


def test_the_quick_gelu_is_the_gelu(said: Run) -> None:
    x = np.linspace(-8, 8, 101)
    assert tt.gradcheck(said[0]["quick_gelu"], x)
    assert np.allclose(said[0]["quick_gelu"](tt.Tensor(x)).data, tt.gelu(tt.Tensor(x)).data)


def test_the_paper_s_gelu_has_about_twenty_operations(said: Run) -> None:
    names = said[0]
    heard = names["names_told"](lambda: names["cubic_gelu"](tt.Tensor([1.0])))
    assert 18 <= len(heard) <= 24
    assert heard.count("__pow__") == 1


def test_half_of_a_token_is_no_product(said: Run) -> None:
    """The answer in the text: "about a quarter" of a cached token's seconds are those of `@`."""
    rows = {line.split()[0]: line.split()[1:] for line in said[1]["token"].splitlines()[1:]}
    product, everything = float(rows["__matmul__"][1]), float(rows["all"][1])
    assert product < everything / 2
    assert int(rows["__matmul__"][0]) == 17


def test_counts_agree_with_14(said: Run) -> None:
    model, ids = said[0]["names_model"]()
    new, length, dim, layers, vocab = 64 * 16, 16, 64, 2, 27
    multiply_adds = new * (layers * (12 * dim * dim + 2 * length * dim) + dim * vocab)
    assert tt.count_flops(model, ids) == 2 * multiply_adds
    assert said[1]["flops"].startswith(f"{2 * multiply_adds:,} flops")


def test_windows_and_their_product_are_counted() -> None:
    layer = tt.Conv2d(3, 5, 3, padding=1)
    x = tt.Tensor(np.ones((2, 3, 8, 8), np.float32))
    assert tt.count_flops(layer, x) == 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)
    assert tt.count_parameters(layer) == 5 * 27 + 5
