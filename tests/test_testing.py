"""What hidden suites are written with: comparisons, and what a failure says."""

from __future__ import annotations

import numpy as np
import pytest

from proctor import testing
from proctor.testing import Misconception, Recognised, any_passes, assert_close, describe_input

THIRDS = np.linspace(0, 3, 7) / 3
SIGN = Misconception("sign", "Is it the other way round?")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_right_answer_passes_in_the_dtype_it_has(dtype: type) -> None:
    """Computed in that dtype, or rounded to it, against an exact one or one of its own."""
    exact = np.cumsum(np.exp(THIRDS))
    rounded = exact.astype(dtype)
    computed = np.cumsum(np.exp(THIRDS.astype(dtype)))
    assert computed.dtype == dtype
    for value in (rounded, computed):
        assert_close(value, exact)
        assert_close(exact, value)
        assert_close(value, rounded)


@pytest.mark.parametrize(
    ("dtype", "off"), [(np.float16, 1e-2), (np.float32, 1e-3), (np.float64, 1e-6)]
)
def test_a_wrong_answer_fails_in_every_dtype(dtype: type, off: float) -> None:
    value = np.asarray([100.0, 1.0], dtype)
    with pytest.raises(AssertionError, match="values differ"):
        assert_close((value * (1 + off)).astype(dtype), value)


def test_large_numbers_of_float16_do_not_leave_its_range() -> None:
    large = np.asarray([6e4, -6e4], np.float16)
    assert_close(large, large.astype(float))
    for wrong in (-large, np.asarray([np.inf, -6e4])):
        with pytest.raises(AssertionError):
            assert_close(wrong, large)


def test_shapes_kinds_and_symptoms() -> None:
    for odd in ("text", object(), [[1], [1, 2]], np.asarray(["a"]), None):
        with pytest.raises(AssertionError):
            assert_close(odd, 1.0)
    with pytest.raises(AssertionError, match=r"shape \(2,\) instead of \(1, 2\)"):
        assert_close(np.zeros(2), np.zeros((1, 2)))
    with pytest.raises(AssertionError, match="dtype float32 instead of float64"):
        assert_close(np.zeros(2, np.float32), np.zeros(2), dtype=np.float64)
    with pytest.raises(Recognised) as caught:
        assert_close(-THIRDS, THIRDS, symptoms={SIGN: -THIRDS})
    assert caught.value.misconception is SIGN


def test_the_last_description_is_told_once() -> None:
    describe_input("a list")
    describe_input("an array")
    assert [testing.take_input(), testing.take_input()] == ["an array", ""]


def test_one_of_two_ways_is_enough() -> None:
    def fails() -> None:
        raise AssertionError("first")

    def recognised() -> None:
        raise Recognised(SIGN)

    any_passes(fails, lambda: None)
    with pytest.raises(Recognised):
        any_passes(fails, recognised)
    with pytest.raises(AssertionError, match="first"):
        any_passes(fails, fails)
