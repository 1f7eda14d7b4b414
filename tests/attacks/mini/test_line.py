"""The hidden suite of the scratch course that is attacked. CANARY-suite must never be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.testing import assert_close, describe_input, run_in_worker

MAGIC = 8675.309  # an input that no student may see in what comes back


@run_in_worker
def trained(xs):
    # CANARY-driver
    line = Line(0.5, 2.0)  # noqa: F821 (the student's)
    return [line.at(x) for x in xs]


class TestLine:
    @pytest.mark.points(20)
    @given(slope=st.floats(-9, 9), x=st.floats(-9, 9))
    def test_everywhere(self, student, slope, x):
        """A line of slope a and intercept b is a x + b at x."""
        describe_input("a random slope")
        assert_close(student.Line(slope, 1.5).at(x), slope * x + 1.5)

    @pytest.mark.points(20)
    def test_arrays(self, student, rng):
        """A line takes an array and gives an array of the same shape."""
        describe_input("an array of shape (3, 4)")
        x = rng.normal(size=(3, 4))
        x[0, 0] = MAGIC
        line = student.Line(2.0, -1.0)
        assert_close(line.at(x), 2 * x - 1, dtype=np.float64)
        assert_close((line + line).at(x), 4 * x - 2, dtype=np.float64)

    @pytest.mark.points(10)
    def test_lifted(self, student, rng):
        """A line answers the same in a loop."""
        xs = rng.normal(size=5).tolist()
        assert np.allclose(trained(student, xs), [0.5 * x + 2 for x in xs]), "CANARY-message"


class TestSteps:
    @pytest.mark.points(20)
    @pytest.mark.parametrize("count", [3, 7])
    def test_values(self, student, rng, count):
        """steps(a, b, n) gives n numbers from a to b, both included."""
        describe_input(f"n = {count}")
        a, b = sorted(rng.normal(size=2).tolist())
        found = student.steps(a, b, count)
        assert len(found) == count, "CANARY-message"
        for value, wanted in zip(found, np.linspace(a, b, count).tolist(), strict=True):
            assert_close(value, wanted)

    @pytest.mark.points(10)
    def test_bad_count(self, student, rng):
        """steps refuses a count below 2, and only then."""
        a = float(rng.normal())
        assert_close(student.steps(a, MAGIC, 2)[1], MAGIC)
        with pytest.raises(ValueError):
            student.steps(a, MAGIC, 1)
