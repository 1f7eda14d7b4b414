"""What the notebook of 14 says of counts, of the clock and of its pictures is so."""

from __future__ import annotations

import re
from time import perf_counter
from typing import Any

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import notebooks
from tests.course.running import Run, run_of

said = run_of("14_kvcaching", "clock")


def test_the_text_says_what_was_counted(said: Run) -> None:
    assert said[1]["counts"].splitlines()[-2].endswith(" 139 times")
    prose = " ".join(cell.source for cell in notebooks("14_kvcaching")[0].cells)
    assert set(re.findall(r"(\d+) times", prose)) == {"139"}


def test_the_formula_is_what_a_model_multiplies(said: Run) -> None:
    model = tt.GPT(9, 12, 8, 2, 3)
    counts = []
    product = tt.Tensor.__matmul__

    def counted(a: Any, b: Any) -> Any:
        result = product(a, b)
        counts.append(result.size * a.shape[-1])
        return result

    tt.Tensor.__matmul__ = counted
    try:
        model(np.zeros((1, 11), dtype=int))
    finally:
        tt.Tensor.__matmul__ = product
    assert sum(counts) == said[0]["multiply_adds"](11, 11, 8, 3, 9)


def test_names_are_the_same_with_a_cache_and_without(said: Run) -> None:
    assert [
        line.endswith("the same without a cache") for line in said[1]["names"].splitlines()
    ] == [True] * 10


def test_a_long_text_is_written_faster_with_a_cache(said: Run) -> None:
    """Nothing is said of how much; on a busy machine, too, it is more than half as much again."""
    names = said[0]
    names["enable_cache"]()
    model = tt.GPT(27, 256, 64, 4, 2, np.random.default_rng(0))
    prompt, least = [0] * 240, [1e9, 1e9]
    for _ in range(3):
        for n, cache in enumerate((None, names["KVCache"](256))):
            start = perf_counter()
            names["generate"](model, prompt, 16, 0, cache=cache)
            least[n] = min(least[n], perf_counter() - start)
    assert least[0] > 1.5 * least[1]


def test_both_upgrades_may_be_on_in_either_order() -> None:
    model, ids = tt.GPT(5, 6, 8, 2, 1, np.random.default_rng(0)), np.array([[1, 2, 3, 4]])
    for switches in (
        (tt.enable_gradients, tt.enable_cache),
        (tt.enable_cache, tt.enable_gradients),
    ):
        try:
            for switch in switches:
                switch()
            cache = tt.KVCache(6)
            parts = [model(ids[:, :3], cache=cache).data, model(ids[:, 3:], cache=cache).data]
            assert np.allclose(np.concatenate(parts, axis=1), model(ids).data, atol=1e-6)
        finally:
            tt.disable_cache()
            tt.disable_gradients()
    with pytest.raises(TypeError):
        model(ids, cache=tt.KVCache(6))
