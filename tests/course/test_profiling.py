"""What the notebook of 15 says of its model, its gelu and its tables is so."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import notebooks

Names = dict[str, Any]


@pytest.fixture(scope="module")
def said() -> Iterator[tuple[Names, dict[str, str]]]:
    """The notebook's names after a run without its own processes, and what each cell printed."""
    matplotlib.use("Agg")
    names: Names = {}
    printed = {}
    [book] = notebooks("15_profiling")
    try:
        for cell in book.cells:
            if cell.type == "code" and not cell.is_hidden_test and cell.id != "faults":
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(cell.source, names)
                printed[cell.id] = out.getvalue()
        tt.enable_gradients()
        yield names, printed
    finally:
        tt.disable_cache()
        tt.disable_gradients()


def test_the_quick_gelu_is_the_gelu(said: tuple[Names, dict[str, str]]) -> None:
    x = np.linspace(-8, 8, 101)
    assert tt.gradcheck(said[0]["quick_gelu"], x)
    assert np.allclose(said[0]["quick_gelu"](tt.Tensor(x)).data, tt.gelu(tt.Tensor(x)).data)


def test_the_paper_s_gelu_has_about_twenty_operations(said: tuple[Names, dict[str, str]]) -> None:
    names = said[0]
    heard = names["names_told"](lambda: names["cubic_gelu"](tt.Tensor([1.0])))
    assert 18 <= len(heard) <= 24
    assert heard.count("__pow__") == 1


def test_half_of_a_token_is_no_product(said: tuple[Names, dict[str, str]]) -> None:
    """The answer in the text: "about a quarter" of a cached token's seconds are those of `@`."""
    rows = {line.split()[0]: line.split()[1:] for line in said[1]["token"].splitlines()[1:]}
    product, everything = float(rows["__matmul__"][1]), float(rows["all"][1])
    assert product < everything / 2
    assert int(rows["__matmul__"][0]) == 17


def test_counts_agree_with_14(said: tuple[Names, dict[str, str]]) -> None:
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
