"""Hidden tests of 02: six activations, far from zero, along every axis, and connected.

Constants marked `torch` were computed once with torch 2.13.0 in float64 and are kept as they were
printed. All other expected values come from the reference or from NumPy.
"""

import math

import numpy as np
import pytest
from forward_mode import CUT, connected, derivative

from proctor.testing import Misconception, either, kind, lifted, recognise, same, symptom

SIGN = Misconception(
    "negative kept",
    "Negative numbers don't become 0: which of x and 0 does your code keep, the larger one?",
)
STRETCH = Misconception(
    "not stretched",
    "This is tanh(x / 2): the sigmoid has to be narrowed as well as moved.",
)
STEP = Misconception(
    "step",
    "The result says where x is positive (0 or 1) instead of how large x is there.",
)
MIRRORED = Misconception(
    "mirrored",
    "The curve is mirrored, sigmoid(-x) instead of sigmoid(x): check the sign in the exponent.",
)
OVERFLOW = Misconception(
    "overflow",
    "Something on the way becomes infinite, even where the value survives it; the slope is then "
    "NaN. Can the largest exponent be subtracted first?",
)
OTHER_GELU = Misconception(
    "another gelu",
    "These are the values of another formula for gelu: this course uses the one with tanh.",
)
WHOLE = Misconception(
    "whole array",
    "The sum ran over the whole array: only the shares along `axis` should add up to 1.",
)
IGNORED = Misconception(
    "axis ignored",
    "The result is the one for the default axis, whatever `axis` says.",
)
KEEPDIMS = Misconception(
    "keepdims",
    "Numbers were divided by the sum of another row: keep the summed axis with length 1 "
    "(keepdims), so that it broadcasts back to where it came from.",
)
ONE_SHIFT = Misconception(
    "one shift for all",
    "A row of small scores beside a row of large ones is lost: each row needs its own shift.",
)
LOG_OF_ZERO = Misconception(
    "log of a share",
    "A small share is rounded to 0, and its logarithm is -inf: take the logarithm of the formula "
    "instead of the logarithm of the result.",
)
UPCAST = Misconception(
    "upcast",
    "float32 became float64: constants from NumPy (np.sqrt(2)) do that, numbers from `math` don't.",
)
CHANGED = Misconception(
    "changes its input",
    "The input has other values afterwards: compute a new Tensor and leave x as it is.",
)
NO_RETURN = Misconception(
    "no return",
    "The function returns None: is there a `return` in front of the result?",
)
NO_TENSOR = Misconception(
    "not a Tensor",
    "The result is a NumPy array or a number, where a Tensor goes in a Tensor should come out.",
)
PARTLY = Misconception(
    "partly cut",
    "The derivative comes through x itself but not through the sum, which has left the Tensor "
    "(through .data or NumPy).",
)

# Symptoms: how a wrong result is recognised.
NOT_FINITE = {OVERFLOW: lambda y: not np.isfinite(y).all()}
SHARED_BY_ALL = {WHOLE: lambda y: np.isclose(y.sum(), 1)}
LOG_SHARED_BY_ALL = {WHOLE: lambda y: np.isclose(np.exp(y).sum(), 1)}

FAR = [-10_000.0, -800.0, -95.0, 95.0, 800.0, 10_000.0]
FAR_KIND = "numbers from -10,000 to 10,000"


def call(student, name, x, **options):
    """A function of the student's on a Tensor of the array `x`: the result's array."""
    y = getattr(student, name)(student.Tensor(x), **options)
    symptom(NO_RETURN, y is None)
    symptom(NO_TENSOR, isinstance(y, np.ndarray | np.generic | float))
    return y.data


def awkward(rng, shape, reach):
    """Random numbers up to `reach` on either side; among them zeros, tiny ones and the ends."""
    x = rng.uniform(-reach, reach, shape)
    special = [0.0, -0.0, 5e-324, -1e-300, 1e-8, -1e-3, 1.0, reach, -reach]
    return np.where(rng.random(shape) < 0.3, rng.choice(special, shape), x)


def shifts(rng):
    """Numbers to be added to scores: small and large ones, and both ends."""
    return [0.0, -1e4, 1e4, *rng.uniform(-100, 100, 3), *rng.uniform(-1e4, 1e4, 6)]


def numpy_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@lifted
def alone(name, x):
    """A function of the student's, while the activations it may be built on are NumPy's."""
    import numpy as np

    names = globals()
    Tensor = names["Tensor"]
    right = {"sigmoid": lambda a: 0.5 + 0.5 * np.tanh(0.5 * a), "tanh": np.tanh}
    lent = {
        other: lambda t, f=f: Tensor(f(t.data))
        for other, f in right.items()
        if other != name and other in names
    }
    kept = {other: names[other] for other in lent}
    names.update(lent)
    try:
        return names[name](Tensor(x)).data
    finally:
        names.update(kept)


def built(student, name, x, expected, **options):
    """`same`, for a function that may be built on another one: a wrong one isn't counted twice."""
    either(
        lambda: same(call(student, name, x), expected, **options),
        lambda: same(alone(student, name, x), expected, **options),
    )


@lifted
def strictly(name, x):
    """A function of the student's, where the first overflow, division by 0 or NaN raises."""
    import warnings

    import numpy as np

    with warnings.catch_warnings(), np.errstate(over="raise", divide="raise", invalid="raise"):
        warnings.simplefilter("error")
        return globals()[name](globals()["Tensor"](x)).data


def quiet(student, name, x, expected):
    for dtype in (np.float32, np.float64):
        with recognise(OVERFLOW, FloatingPointError, RuntimeWarning):
            y = strictly(student, name, x.astype(dtype))
        same(y, expected, atol=1e-6)


def keeps_dtype(student, reference, rng, name):
    kind("a float32 array, then a float64 one")
    for dtype in (np.float32, np.float64):
        x = rng.normal(size=(2, 3)).astype(dtype)
        y = call(student, name, x)
        assert type(y) is np.ndarray
        symptom(UPCAST, (dtype, y.dtype) == (np.float32, np.float64))
        expected = getattr(reference, name)(reference.Tensor(x)).data
        built(student, name, x, expected, dtype=dtype)


class TestRelu:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """relu keeps positive numbers and replaces negative ones by 0."""
        x = rng.choice([-1, 1], size=(4, 5)) * rng.uniform(0.1, 5, size=(4, 5))
        x[0, 0], x[0, 1] = -1.5, 1.5
        kind("a (4, 5) array of positive and negative numbers")
        wrong = {SIGN: lambda y: (y.shape == x.shape) and (y[x < 0] != 0).all(), STEP: x > 0}
        same(call(student, "relu", x), np.where(x > 0, x, 0), symptoms=wrong)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("shape", [(), (6,), (2, 3, 4)])
    def test_shapes(self, student, rng, shape):
        """relu works elementwise on any shape, however large the numbers."""
        x = 1e4 * rng.normal(size=shape)
        kind(f"an array of shape {shape}, then the same with the other sign")
        same(call(student, "relu", x), np.maximum(x, 0))
        same(call(student, "relu", -x), np.maximum(-x, 0))

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """relu keeps the dtype."""
        keeps_dtype(student, reference, rng, "relu")

    @pytest.mark.points(1)
    def test_input_unchanged(self, student, rng):
        """relu returns a new Tensor and leaves its input as it was."""
        x = rng.normal(size=8)
        x[0] = -1.0
        t = student.Tensor(x)
        y = student.relu(t)
        same(t.data, x, symptoms={CHANGED: np.maximum(x, 0)})
        same(y.data, np.maximum(x, 0))


class TestSigmoid:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """sigmoid(x) is 1 / (1 + exp(-x))."""
        x = rng.normal(scale=3, size=(4, 5))
        kind("a (4, 5) array of numbers of moderate size")
        wrong = {MIRRORED: 1 / (1 + np.exp(x))}
        same(call(student, "sigmoid", x), 1 / (1 + np.exp(-x)), symptoms=wrong)

    @pytest.mark.points(1)
    @pytest.mark.parametrize("shape", [(), (2, 3, 4)])
    def test_shapes(self, student, rng, shape):
        """sigmoid works elementwise on any shape."""
        x = rng.normal(scale=3, size=shape)
        kind(f"an array of shape {shape}")
        same(call(student, "sigmoid", x), 1 / (1 + np.exp(-x)))

    @pytest.mark.points(2)
    def test_complement(self, student, rng):
        """sigmoid(x) and sigmoid(-x) lie between 0 and 1 and add up to 1."""
        x = awkward(rng, 120, 60.0)
        kind("numbers from -60 to 60 and the same with the other sign")
        both = np.stack([call(student, "sigmoid", x), call(student, "sigmoid", -x)])
        same(both.sum(axis=0), np.ones(120), atol=1e-7)
        same(both, np.clip(both, 0, 1))

    @pytest.mark.points(2)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_far_values(self, student, dtype):
        """sigmoid is 0 far to the left and 1 far to the right, never NaN."""
        kind(f"{FAR_KIND}, in {np.dtype(dtype)}")
        y = call(student, "sigmoid", np.array(FAR, dtype))
        same(y, [0, 0, 0, 1, 1, 1], atol=1e-7, symptoms=NOT_FINITE)

    @pytest.mark.points(4)
    def test_no_overflow_on_the_way(self, student):
        """sigmoid computes nothing infinite on the way to its result."""
        kind(FAR_KIND)
        quiet(student, "sigmoid", np.array(FAR), [0, 0, 0, 1, 1, 1])

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """sigmoid keeps the dtype."""
        keeps_dtype(student, reference, rng, "sigmoid")


class TestTanh:
    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """tanh has the values of the hyperbolic tangent, on any shape."""
        x = rng.normal(size=(2, 3, 4))
        kind("an array of shape (2, 3, 4) of numbers of moderate size")
        built(student, "tanh", x, np.tanh(x), symptoms={STRETCH: np.tanh(x / 2)})

    @pytest.mark.points(1)
    def test_odd(self, student, rng):
        """tanh(-x) is -tanh(x), and tanh(x) has the sign of x."""
        x = awkward(rng, 120, 60.0)
        kind("numbers from -60 to 60 and the same with the other sign")
        built(student, "tanh", np.stack([x, -x]), np.tanh(np.stack([x, -x])))

    @pytest.mark.points(2)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_far_values(self, student, dtype):
        """tanh is -1 far to the left and 1 far to the right, never NaN."""
        kind(f"{FAR_KIND}, in {np.dtype(dtype)}")
        built(student, "tanh", np.array(FAR, dtype), [-1, -1, -1, 1, 1, 1], symptoms=NOT_FINITE)

    @pytest.mark.points(1)
    def test_no_overflow_on_the_way(self, student):
        """tanh computes nothing infinite on the way to its result."""
        kind(FAR_KIND)
        quiet(student, "tanh", np.array(FAR), [-1, -1, -1, 1, 1, 1])

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """tanh keeps the dtype."""
        keeps_dtype(student, reference, rng, "tanh")


class TestGelu:
    # torch.nn.functional.gelu(x, approximate="tanh")
    POINTS = (-3.0, -0.5, 0.25, 2.0)
    TORCH = (-0.0036373920817729943, -0.15428599017485606, 0.149675350701685, 1.954597694087775)

    @pytest.mark.points(3)
    def test_known_values(self, student):
        """gelu has the values that PyTorch's tanh form has."""
        kind("a few numbers from -3 to 2")
        x = np.array(self.POINTS)
        exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x]
        others = (exact, x / (1 + np.exp(-1.702 * x)))
        wrong = {OTHER_GELU: lambda y: any(np.allclose(y, other) for other in others)}
        built(student, "gelu", x, self.TORCH, symptoms=wrong)

    @pytest.mark.points(1)
    def test_shapes(self, student, reference, rng):
        """gelu works elementwise on any shape."""
        x = rng.normal(size=(2, 3, 4))
        kind("an array of shape (2, 3, 4) of numbers of moderate size")
        built(student, "gelu", x, reference.gelu(reference.Tensor(x)).data)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_far_values(self, student, dtype):
        """gelu is 0 far to the left and x far to the right, never NaN."""
        kind(f"{FAR_KIND}, in {np.dtype(dtype)}")
        x = np.array(FAR, dtype)
        built(student, "gelu", x, np.maximum(x, 0), atol=1e-3, symptoms=NOT_FINITE)

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """gelu keeps the dtype."""
        keeps_dtype(student, reference, rng, "gelu")


class TestSoftmax:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """softmax(x) is exp(x) divided by its sum along the last axis."""
        x = rng.normal(size=(4, 5))
        kind("a (4, 5) array of scores, without naming an axis")
        e = np.exp(x)
        expected = e / e.sum(1, keepdims=True)
        same(call(student, "softmax", x), expected, symptoms=SHARED_BY_ALL)

    @pytest.mark.points(1)
    def test_known_values(self, student):
        """softmax has the values that PyTorch's has."""
        kind("two rows of three scores, along either axis")
        x = np.array([[2.0, 1.0, -1.0], [0.5, 0.5, 3.0]])
        # torch.nn.functional.softmax(x, 1), the first row; and (x, 0), likewise
        rows = call(student, "softmax", x, axis=1)
        columns = call(student, "softmax", x, axis=0)
        same(rows[0], [0.7053845126982412, 0.25949646034241913, 0.03511902695933973])
        same(columns[0], [0.8175744761936437, 0.6224593312018546, 0.017986209962091555])

    @pytest.mark.points(3)
    @pytest.mark.parametrize("axis", [0, 1, 2, -2])
    def test_axis(self, student, rng, axis):
        """softmax(x, axis) makes the shares along that axis add up to 1."""
        x = rng.normal(size=(2, 3, 4))
        kind(f"an array of shape (2, 3, 4) with axis={axis}")
        wrong = SHARED_BY_ALL | ({IGNORED: numpy_softmax(x)} if axis != 2 else {})
        same(call(student, "softmax", x, axis=axis), numpy_softmax(x, axis), symptoms=wrong)

    @pytest.mark.points(1)
    def test_square(self, student, rng):
        """softmax divides each score by the sum of its own row."""
        x = rng.normal(size=(4, 4))
        kind("a square array, where rows and columns can be confused unnoticed")
        powers = [np.exp(x - m) for m in (0, x.max(1), x.max(1, keepdims=True))]
        wrong = {KEEPDIMS: lambda y: any(np.allclose(y, e / e.sum(1)) for e in powers)}
        same(call(student, "softmax", x), numpy_softmax(x), symptoms=wrong)

    @pytest.mark.points(2)
    def test_shift_invariance(self, student, rng):
        """Adding the same number to all scores changes no share."""
        kind("scores, and the same scores plus a number between -10,000 and 10,000")
        for shift in shifts(rng):
            x = awkward(rng, (3, 4), 30.0)
            found = call(student, "softmax", x + shift)
            same(found, numpy_softmax(x), atol=1e-7, symptoms=NOT_FINITE)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_far_values(self, student, dtype):
        """softmax of large scores is finite, and equal scores have equal shares."""
        kind(f"one row of {FAR_KIND}, in {np.dtype(dtype)}")
        x = np.array([1e4, -1e4, 0.0, 1e4], dtype)
        same(call(student, "softmax", x), [0.5, 0, 0, 0.5], symptoms=NOT_FINITE)

    @pytest.mark.points(2)
    def test_rows_of_different_size(self, student, rng):
        """Each row has its own shares, however large or small the scores of other rows are."""
        kind("three rows of scores around 10,000, 0 and -10,000")
        x = rng.normal(size=(3, 4))
        moved = x + np.array([[1e4], [0.0], [-1e4]])
        wrong = {
            OVERFLOW: lambda y: y.shape == x.shape and np.isnan(y[0]).any(),
            ONE_SHIFT: lambda y: y.shape == x.shape and not np.allclose(y[2], numpy_softmax(x)[2]),
        }
        same(call(student, "softmax", moved), numpy_softmax(x), symptoms=wrong)

    @pytest.mark.points(1)
    def test_no_overflow_on_the_way(self, student, rng):
        """softmax computes nothing infinite on the way to its result."""
        kind(FAR_KIND)
        quiet(student, "softmax", np.array(FAR), [0, 0, 0, 0, 0, 1])

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """softmax keeps the dtype."""
        keeps_dtype(student, reference, rng, "softmax")


class TestLogSoftmax:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """log_softmax(x) is the logarithm of softmax(x), along the last axis by default."""
        kind("a (4, 5) array of scores, without naming an axis")
        x = rng.normal(size=(4, 5))
        expected = np.log(numpy_softmax(x))
        same(call(student, "log_softmax", x), expected, symptoms=LOG_SHARED_BY_ALL)
        # torch.nn.functional.log_softmax
        known = call(student, "log_softmax", np.array([2.0, 1.0, -1.0]))
        same(known, [-0.34901221676818633, -1.3490122167681864, -3.349012216768186])

    @pytest.mark.points(3)
    @pytest.mark.parametrize("axis", [0, 1, 2, -2])
    def test_axis(self, student, rng, axis):
        """log_softmax(x, axis) takes its sum along that axis."""
        x = rng.normal(size=(2, 3, 4))
        kind(f"an array of shape (2, 3, 4) with axis={axis}")
        expected = np.log(numpy_softmax(x, axis))
        wrong = LOG_SHARED_BY_ALL | ({IGNORED: np.log(numpy_softmax(x))} if axis != 2 else {})
        same(call(student, "log_softmax", x, axis=axis), expected, symptoms=wrong)

    @pytest.mark.points(2)
    def test_shift_invariance(self, student, rng):
        """Adding the same number to all scores changes nothing."""
        kind("scores, and the same scores plus a number between -10,000 and 10,000")
        for shift in shifts(rng):
            x = awkward(rng, (3, 4), 30.0)
            expected = np.log(numpy_softmax(x))
            found = call(student, "log_softmax", x + shift)
            same(found, expected, atol=1e-7, symptoms=NOT_FINITE)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_far_values(self, student, dtype):
        """log_softmax is finite for finite scores, also where the share itself is rounded to 0."""
        kind(f"rows of scores around 10,000, 0 and -10,000, in {np.dtype(dtype)}")
        row = np.array([0.0, -900.0, 0.0, -110.0])
        x = (row + np.array([[1e4], [0.0], [-1e4]])).astype(dtype)
        expected = np.stack([row - math.log(2)] * 3)
        wrong = {
            OVERFLOW: lambda y: np.isnan(y).any() or np.isposinf(y).any(),
            ONE_SHIFT: lambda y: (
                y.shape == x.shape and np.isinf(y[1:]).any() and not np.isinf(y[0]).any()
            ),
            LOG_OF_ZERO: lambda y: np.isneginf(y).any(),
        }
        same(call(student, "log_softmax", x), expected, symptoms=wrong)

    @pytest.mark.points(2)
    def test_no_overflow_on_the_way(self, student):
        """log_softmax computes nothing infinite on the way to its result."""
        kind(FAR_KIND)
        quiet(student, "log_softmax", np.array(FAR), np.array(FAR) - 1e4)

    @pytest.mark.points(1)
    def test_dtype(self, student, reference, rng):
        """log_softmax keeps the dtype."""
        keeps_dtype(student, reference, rng, "log_softmax")


def slope(student, program, x, v):
    """The derivative of the student's program at `x` along `v`."""
    return derivative(student, program, [x], [v])[1]


def constant_off(seen, v, axis):
    """Is `seen` the direction `v` but for one number per row along `axis`?"""
    return np.allclose(np.ptp(seen - v, axis=axis), 0, atol=1e-6)


class TestConnected:
    @pytest.mark.points(1)
    def test_relu(self, student, reference, rng):
        """The slope of relu comes through: 1 on the right, 0 on the left."""
        x = rng.choice([-1, 1], size=(3, 4)) * rng.uniform(0.1, 5, size=(3, 4))
        x[0, 0] = 1.0
        kind("positive and negative numbers")
        connected(student, reference, rng, "relu", [x])

    @pytest.mark.points(2)
    def test_sigmoid(self, student, reference, rng):
        """The slope of sigmoid comes through."""
        kind("numbers of moderate size")
        connected(student, reference, rng, "sigmoid", [rng.normal(size=(3, 4))])

    @pytest.mark.points(2)
    def test_sigmoid_far(self, student, rng):
        """The slope of sigmoid is finite wherever the value is."""
        kind(f"{FAR_KIND}, and some of moderate size between them")
        x = np.concatenate([FAR, rng.normal(size=4)])
        v = rng.normal(size=x.shape)
        s = 0.5 + 0.5 * np.tanh(0.5 * x)
        wrong = NOT_FINITE | {CUT: np.zeros_like(x)}
        same(slope(student, "sigmoid", x, v), s * (1 - s) * v, atol=1e-6, symptoms=wrong)

    @pytest.mark.points(1)
    def test_tanh(self, student, reference, rng):
        """The slope of tanh comes through."""
        kind("numbers of moderate size")
        connected(student, reference, rng, "tanh", [rng.normal(size=(3, 4))])

    @pytest.mark.points(1)
    def test_gelu(self, student, reference, rng):
        """The slope of gelu comes through, through x and through tanh."""
        kind("numbers of moderate size")
        connected(student, reference, rng, "gelu", [rng.normal(size=(3, 4))])

    @pytest.mark.points(2)
    @pytest.mark.parametrize("axis", [-1, 0])
    def test_softmax(self, student, reference, rng, axis):
        """The slope of softmax comes through, above and below the fraction."""
        kind(f"a (3, 4) array of scores with axis={axis}")
        x, v = rng.normal(size=(2, 3, 4))
        s = numpy_softmax(x, axis)
        expected = s * (v - (s * v).sum(axis, keepdims=True))
        wrong = {CUT: np.zeros_like(x), PARTLY: lambda seen: constant_off(seen / s, v, axis)}
        seen = slope(student, f"lambda x: softmax(x, axis={axis})", x, v)
        same(seen, expected, rtol=1e-4, atol=1e-6, symptoms=wrong)

    @pytest.mark.points(2)
    def test_softmax_far(self, student, rng):
        """The slope of softmax is finite wherever the shares are."""
        kind("rows of scores around 10,000, 0 and -10,000")
        x = rng.normal(size=(3, 4)) + np.array([[1e4], [0.0], [-1e4]])
        x[:, 0] -= 900
        v = rng.normal(size=(3, 4))
        s = numpy_softmax(x)
        expected = s * (v - (s * v).sum(1, keepdims=True))
        wrong = NOT_FINITE | {CUT: np.zeros_like(x)}
        same(slope(student, "softmax", x, v), expected, rtol=1e-4, atol=1e-6, symptoms=wrong)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("axis", [-1, 0])
    def test_log_softmax(self, student, rng, axis):
        """The slope of log_softmax comes through, through the score and through the sum."""
        kind(f"a (3, 4) array of scores with axis={axis}")
        x, v = rng.normal(size=(2, 3, 4))
        expected = v - (numpy_softmax(x, axis) * v).sum(axis, keepdims=True)
        seen = slope(student, f"lambda x: log_softmax(x, axis={axis})", x, v)
        wrong = {CUT: np.zeros_like(x), PARTLY: lambda seen: constant_off(seen, v, axis)}
        same(seen, expected, rtol=1e-4, atol=1e-6, symptoms=wrong)

    @pytest.mark.points(2)
    def test_log_softmax_far(self, student, rng):
        """The slope of log_softmax is finite wherever the scores are."""
        kind("rows of scores around 10,000, 0 and -10,000")
        x = rng.normal(size=(3, 4)) + np.array([[1e4], [0.0], [-1e4]])
        x[:, 0] -= 900
        v = rng.normal(size=(3, 4))
        expected = v - (numpy_softmax(x) * v).sum(1, keepdims=True)
        wrong = NOT_FINITE | {CUT: np.zeros_like(x)}
        same(slope(student, "log_softmax", x, v), expected, rtol=1e-4, atol=1e-6, symptoms=wrong)
