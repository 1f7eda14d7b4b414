"""Hidden tests of 02: six activations, far from zero, along every axis, connected, and together.

Constants marked `torch` were computed once with torch 2.13.0 in float64 and are kept as they were
printed. All other expected values come from NumPy, or from the reference (the descent).
"""

import math
from itertools import pairwise

import numpy as np
import pytest
from forward_mode import connected, descent, flows

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

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
ONE_END = Misconception("one end only", "Only one of the two ends is kept: the other lets through.")
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
LOG_OF_ZERO = Misconception(
    "log of a share",
    "A small share is rounded to 0, and its logarithm is -inf: take the logarithm of the formula "
    "instead of the logarithm of the result.",
)
ONE_SHIFT = Misconception(
    "one shift for all",
    "A row of small scores beside a row of large ones is lost: each row needs its own shift.",
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
AT_ZERO = Misconception(
    "slope at zero",
    "At exactly 0 the slope is not that of the curve. Where both sides of a maximum are equal only "
    "one of them passes the slope on: take one and the same m in all places, and no sign that is 0 "
    "or another there.",
)
LIST_CHANGED = Misconception(
    "changes the list of layers",
    "After the call the list `layers` is another, so that the next call with it computes something "
    "else. Does network take something out of it, as pop() does?",
)
ADDED = Misconception(
    "number added",
    "The shares of a row add up to nearly 1, but not to 1. Is a small number added somewhere, "
    "against a 0 that cannot come?",
)

# Symptoms: how a wrong result is recognised.
NOT_FINITE = {OVERFLOW: lambda y: not np.isfinite(y).all()}

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64: an eps in a denominator is seen

FAR = np.array([-10_000.0, -800.0, -95.0, 95.0, 800.0, 10_000.0])
FAR_KIND = "numbers from -10,000 to 10,000"
SHAPES = [(), (6,), (1, 1), (2, 3, 4), (0, 3)]
SHAPES_KIND = "arrays of shapes (), (6,), (1, 1), (2, 3, 4) and (0, 3)"

# What a function of the student's may be built on, in the place of theirs.
SIGMOID = "(lambda m: (-m).exp() / ((-m).exp() + (-x - m).exp()))((-x).maximum(0))"
LENT = {
    "sigmoid": f"lambda x: {SIGMOID}",
    "tanh": f"lambda y: 2 * (lambda x: {SIGMOID})(2 * y) - 1",
}

NUMPY = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x * x * x))),
}
EACH = pytest.mark.parametrize("name", list(NUMPY))


def numpy_log_softmax(x, axis=-1):
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def numpy_softmax(x, axis=-1):
    return np.exp(numpy_log_softmax(x, axis))


@run_in_worker
def evaluated(name, inputs, options, strict, lent):
    """What a function of the student's returns for each input, and the input afterwards.

    If `strict`, the first overflow, division by 0 or NaN raises. `lent` replaces helpers.
    """
    import contextlib
    import warnings

    import numpy as np

    names = globals()
    Tensor = names["Tensor"]
    missing = object()
    kept = {other: names.get(other, missing) for other in lent if other != name}
    names.update((other, eval(lent[other], names)) for other in kept)
    watch = np.errstate(over="raise", divide="raise", invalid="raise")
    told = []
    try:
        with warnings.catch_warnings(), watch if strict else contextlib.nullcontext():
            warnings.simplefilter("error" if strict else "ignore")
            for x, more in zip(inputs, options, strict=True):
                tensor = Tensor(np.array(x))
                y = names[name](tensor, **more)
                if y is not None:
                    y = y.data if isinstance(y, Tensor) else "no Tensor"
                told.append((y, tensor.data))
    finally:
        for other, theirs in kept.items():
            del names[other]
            if theirs is not missing:
                names[other] = theirs
    return told


def results(student, name, inputs, options=None, strict=False, lent=None):
    """The arrays that a function of the student's returns for arrays, all in one call."""
    options = [{}] * len(inputs) if options is None else options
    told = evaluated(student, name, list(inputs), options, strict, lent or {})
    symptom(NO_RETURN, any(y is None for y, _ in told))
    symptom(NO_TENSOR, any(type(y) is str for y, _ in told))
    assert len(told) == len(inputs)
    return [y for y, _ in told]


def values(student, name, cases, symptoms=None, lent=None, **options):
    """`assert_close` for many cases: triples of an input, the function's options, the result."""
    inputs, more, expected = zip(*cases, strict=True)
    found = results(student, name, inputs, more, lent=lent)
    for y, right in zip(found, expected, strict=True):
        assert_close(y, right, symptoms=symptoms, **options)


def built(check):
    """The better of two: with the student's own helpers, and with right ones in their place."""
    any_passes(lambda: check(None), lambda: check(LENT))


def elementwise(rng, f, scale=3.0):
    """Cases of many shapes for an elementwise function: ties, zeros and both signs among them."""
    inputs = [scale * rng.normal(size=shape) for shape in SHAPES]
    inputs.append(np.array([0.0, -0.0, 1e-8, -1e-3, 1.0, 1.0, -1.0, scale, -scale]))
    return [(x, {}, f(x)) for x in inputs]


def far(f):
    """Cases of large numbers in both dtypes."""
    return [(FAR.astype(dtype), {}, f(FAR)) for dtype in (np.float32, np.float64)]


def keeps_dtype(student, rng, name, lent=None):
    """Only dtypes are judged, and that the input stays as it was and isn't what comes back."""
    describe_input("a float32 array, then a float64 one")
    inputs = [rng.normal(size=(3, 4)).astype(dtype) for dtype in (np.float32, np.float64)]
    inputs[0][0, 0] = inputs[1][0, 0] = -1.5
    told = evaluated(student, name, inputs, [{}, {}], False, lent or {})
    for x, (_, after) in zip(inputs, told, strict=True):
        symptom(CHANGED, not np.array_equal(x, after))
    for x, y in zip(inputs, results(student, name, inputs, lent=lent), strict=True):
        assert type(y) is np.ndarray and not np.array_equal(y, x)
        symptom(UPCAST, (x.dtype, y.dtype) == (np.float32, np.float64))
        assert y.dtype == x.dtype


def quiet(student, name, inputs):
    """Only that nothing raises where warnings do, and that something else than the input comes, of
    its shape.
    """
    describe_input(FAR_KIND)
    with recognise(OVERFLOW, FloatingPointError, RuntimeWarning):
        found = results(student, name, inputs, strict=True)
    for x, y in zip(inputs, found, strict=True):
        assert np.isfinite(y).all() and x.shape == y.shape and not np.array_equal(x, y)


def nearly_one(totals):
    """Whether none of them is 1, and all are near it."""
    return bool(np.all((np.abs(totals - 1) > 1e-11) & (np.abs(totals - 1) < 1e-4)))


def at_zero(slope):
    """Recognises a slope at 0 that is wrong, where the one of 0.5 beside it is right."""
    return lambda v: {AT_ZERO: lambda seen: np.isclose(seen[1], slope * v[1])}


def away_from_zero(rng, shape):
    x = rng.choice([-1, 1], size=shape) * rng.uniform(0.1, 4, size=shape)
    x.flat[:2] = 1.5, -1.5
    return x


class TestRelu:
    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """relu keeps positive numbers and replaces negative ones by 0, in any shape."""
        describe_input("positive and negative numbers")
        x = away_from_zero(rng, (4, 5))
        wrong = {SIGN: lambda y: (y.shape == x.shape) and (y[x < 0] != 0).all(), STEP: x > 0}
        values(student, "relu", [(x, {}, NUMPY["relu"](x))], wrong)
        describe_input(SHAPES_KIND + ", zeros, and large numbers")
        values(student, "relu", elementwise(rng, NUMPY["relu"]) + far(NUMPY["relu"]))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """relu keeps the dtype, and leaves its input as it was."""
        keeps_dtype(student, rng, "relu")

    @pytest.mark.points(3)
    def test_connected(self, student, rng):
        """relu is made of Tensor operations: its slope comes through."""
        describe_input("positive and negative numbers")
        flows(student, rng, "relu", [away_from_zero(rng, (3, 4))])


class TestClamp:
    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """clamp moves what lies outside to the nearer end, and keeps the rest."""
        cases = []
        for low, high in ((-1.0, 2.0), (0.5, 0.75), (-3.0, -1.0), (1.0, 1.0)):
            x = np.concatenate([rng.uniform(low - 3, high + 3, 20), [low - 1, low, high, high + 1]])
            cases.append((x, {"low": low, "high": high}, np.clip(x, low, high)))
        x, (low, high) = cases[0][0], (-1.0, 2.0)
        wrong = {
            ONE_END: lambda y: any(
                y.shape == x.shape and np.allclose(y, end)
                for end in (np.maximum(x, low), np.minimum(x, high))
            )
        }
        describe_input("numbers below, between, above and exactly at the two ends")
        values(student, "clamp", cases[:3], wrong)
        describe_input("low and high are one and the same number")
        values(student, "clamp", cases[3:])

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """clamp is made of Tensor operations: its slope comes through between the ends."""
        describe_input("numbers below, between and above the two ends")
        x = np.concatenate([rng.uniform(a, a + 0.8, 4) for a in (-2, -0.9, 0.1, 1.1)])
        flows(student, rng, "lambda x: clamp(x, -1, 1)", [x])


class TestSigmoid:
    @pytest.mark.points(2.5)
    def test_values(self, student, rng):
        """sigmoid(x) is 1 / (1 + exp(-x)), in any shape; with sigmoid(-x) it adds up to 1."""
        describe_input(SHAPES_KIND + ", zeros and ties")
        x = 3 * rng.normal(size=(4, 5))
        wrong = {MIRRORED: NUMPY["sigmoid"](-x)}
        values(student, "sigmoid", [(x, {}, NUMPY["sigmoid"](x))], wrong)
        values(student, "sigmoid", elementwise(rng, NUMPY["sigmoid"]), **EXACT)
        describe_input("numbers from -75 to 75 and the same with the other sign")
        x = np.concatenate([rng.uniform(-75, 75, 40), rng.uniform(-75, -55, 4)])
        left, right = results(student, "sigmoid", [x, -x])
        assert_close(left + right, np.ones(44), atol=1e-7)
        assert_close(left[40:], np.exp(x[40:]), rtol=1e-6, atol=0)

    @pytest.mark.points(2)
    def test_far_values(self, student):
        """sigmoid is 0 far to the left and 1 far to the right, never NaN."""
        describe_input(f"{FAR_KIND}, in float32 and float64")
        values(student, "sigmoid", far(NUMPY["sigmoid"]), NOT_FINITE, atol=1e-7)

    @pytest.mark.points(1)
    def test_no_overflow_on_the_way(self, student):
        """sigmoid computes nothing infinite on the way to its result."""
        quiet(student, "sigmoid", [FAR.astype(np.float32), FAR])

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """sigmoid keeps the dtype, and leaves its input as it was."""
        keeps_dtype(student, rng, "sigmoid")

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """sigmoid is made of Tensor operations: its slope comes through."""
        describe_input("numbers of moderate size")
        flows(student, rng, "sigmoid", [away_from_zero(rng, (3, 4))])

    @pytest.mark.points(0.5)
    def test_connected_at_zero(self, student, rng):
        """The slope of sigmoid at exactly 0 is that of its curve."""
        describe_input("0, and a number beside it")
        wrong = at_zero(0.25 / np.cosh(0.25) ** 2)
        flows(student, rng, "sigmoid", [np.array([0.0, 0.5])], symptoms=wrong)

    @pytest.mark.points(2)
    def test_connected_far(self, student, rng):
        """The slope of sigmoid is finite wherever the value is."""
        describe_input(f"{FAR_KIND}, and some of moderate size between them")
        x = np.concatenate([FAR, away_from_zero(rng, 4)])
        flows(student, rng, "sigmoid", [x], symptoms=NOT_FINITE)


class TestTanh:
    @pytest.mark.points(1.5)
    def test_values(self, student, rng):
        """tanh has the values of the hyperbolic tangent, in any shape."""
        describe_input(SHAPES_KIND + ", zeros and ties")
        x = rng.normal(size=(4, 5))
        wrong = {STRETCH: np.tanh(x / 2)}
        built(lambda lent: values(student, "tanh", [(x, {}, np.tanh(x))], wrong, lent))
        cases = elementwise(rng, np.tanh, 1.0)
        built(lambda lent: values(student, "tanh", cases, lent=lent))

    @pytest.mark.points(1)
    def test_far_values(self, student):
        """tanh is -1 far to the left and 1 far to the right, never NaN."""
        describe_input(f"{FAR_KIND}, in float32 and float64")
        built(lambda lent: values(student, "tanh", far(np.tanh), NOT_FINITE, lent))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """tanh keeps the dtype, and leaves its input as it was."""
        built(lambda lent: keeps_dtype(student, rng, "tanh", lent))

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """tanh is made of Tensor operations: its slope comes through."""
        describe_input("numbers of moderate size")
        x = away_from_zero(rng, (3, 4))
        built(lambda lent: flows(student, rng, "tanh", [x], lent=lent))

    @pytest.mark.points(0.5)
    def test_connected_at_zero(self, student, rng):
        """The slope of tanh at exactly 0 is that of its curve."""
        describe_input("0, and a number beside it")
        x, wrong = np.array([0.0, 0.5]), at_zero(np.cosh(0.5) ** -2)
        built(lambda lent: flows(student, rng, "tanh", [x], lent=lent, symptoms=wrong))

    @pytest.mark.points(1)
    def test_connected_far(self, student, rng):
        """The slope of tanh is finite wherever the value is."""
        describe_input(f"{FAR_KIND}, and some of moderate size between them")
        x = np.concatenate([FAR, away_from_zero(rng, 4)])
        more = {"symptoms": NOT_FINITE}
        built(lambda lent: flows(student, rng, "tanh", [x], lent=lent, **more))


class TestGelu:
    # torch.nn.functional.gelu(x, approximate="tanh")
    POINTS = np.array([-3.0, -0.5, 0.25, 2.0])
    TORCH = (-0.0036373920817729943, -0.15428599017485606, 0.149675350701685, 1.954597694087775)

    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """gelu has the values that PyTorch's tanh form has, in any shape."""
        describe_input("a few numbers from -3 to 2")
        x = self.POINTS
        exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x]
        others = (exact, x / (1 + np.exp(-1.702 * x)))
        wrong = {OTHER_GELU: lambda y: any(np.allclose(y, other) for other in others)}
        built(lambda lent: values(student, "gelu", [(x, {}, self.TORCH)], wrong, lent))
        describe_input(SHAPES_KIND + ", zeros and ties")
        cases = elementwise(rng, NUMPY["gelu"], 1.5)
        built(lambda lent: values(student, "gelu", cases, lent=lent))

    @pytest.mark.points(1)
    def test_far_values(self, student):
        """gelu is 0 far to the left and x far to the right, never NaN."""
        describe_input(f"{FAR_KIND}, in float32 and float64")
        cases = far(NUMPY["relu"])
        built(lambda lent: values(student, "gelu", cases, NOT_FINITE, lent, atol=1e-3))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """gelu keeps the dtype, and leaves its input as it was."""
        built(lambda lent: keeps_dtype(student, rng, "gelu", lent))

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """gelu is made of Tensor operations: its slope comes through every x of the formula."""
        describe_input("numbers of moderate size")
        x = away_from_zero(rng, (3, 4))
        built(lambda lent: flows(student, rng, "gelu", [x], lent=lent))

    @pytest.mark.points(1)
    def test_connected_far(self, student, rng):
        """The slope of gelu is finite wherever the value is."""
        describe_input(f"{FAR_KIND}, and some of moderate size between them")
        x = np.concatenate([FAR, away_from_zero(rng, 4)])
        more = {"symptoms": NOT_FINITE}
        built(lambda lent: flows(student, rng, "gelu", [x], lent=lent, **more))


def scores(rng, expected):
    """Cases of scores without an axis: ties, one class, one row, integers among them."""
    arrays = [2 * rng.normal(size=shape) for shape in ((4, 5), (6,), (1, 3), (3, 1), (2, 3, 4))]
    arrays += [np.full((3, 4), 2.5), np.zeros((2, 3)), np.array([[1.0, 1.0, 0.0], [2, 2, 2]])]
    return [(x, {}, expected(x)) for x in arrays]


def axes(rng, expected):
    """Cases of every axis of a 3-D array, and of a square one, where confusions go unnoticed."""
    arrays = [(rng.normal(size=(2, 3, 4)), axis) for axis in (0, 1, 2, -1, -2, -3)]
    arrays += [(rng.normal(size=(4, 4)), axis) for axis in (0, 1)]
    return [(x, {"axis": axis}, expected(x, axis)) for x, axis in arrays]


def distant(rng, expected):
    """Cases of large scores, rows of very different size and far ties, in both dtypes."""
    rows = rng.normal(size=(3, 4)) + np.array([[1e4], [0.0], [-1e4]])
    spread = rng.uniform(-1e4, 1e4, (3, 5)).round()
    arrays = [rows, spread, FAR, np.array([[1e4, 1e4, -1e4], [0.0, 1.0, 0.0], [-1e4, -1e4, -1e4]])]
    arrays = [x.astype(dtype) for x in arrays for dtype in (np.float32, np.float64)]
    return [(x, {}, expected(x.astype(float))) for x in arrays]


def axis_symptoms(cases):
    """Recognises the results for another axis, by the first case that they can be told at."""
    x, right = cases[0][0], cases[0][2]
    default = numpy_softmax(x) if np.all(right > 0) else numpy_log_softmax(x)
    return {IGNORED: default}


def partly(axis, scale=1.0):
    """Recognises a slope that is the direction but for one number per row along `axis`."""

    def symptoms(v):
        return {PARTLY: lambda seen: np.allclose(np.ptp(seen / scale - v, axis=axis), 0, atol=1e-6)}

    return symptoms


class TestSoftmax:
    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """softmax(x) is exp(x) divided by its sum along the last axis."""
        describe_input("a square array, where rows and columns can be confused unnoticed")
        x = rng.normal(size=(4, 4))
        powers = [np.exp(x - m) for m in (0, x.max(1), x.max(1, keepdims=True))]
        wrong = {
            ADDED: lambda y: nearly_one(y.sum(-1)),
            WHOLE: lambda y: np.isclose(y.sum(), 1),
            KEEPDIMS: lambda y: any(np.allclose(y, e / e.sum(1)) for e in powers),
        }
        values(student, "softmax", [(x, {}, numpy_softmax(x))], wrong)
        describe_input("scores of which one leads by far")
        x = np.array([[0.0, -60.0, -1.0], [-55.0, 0.0, -70.0]])
        values(student, "softmax", [(x, {}, numpy_softmax(x))], rtol=1e-6, atol=0)
        describe_input("scores of several shapes, equal ones among them, without naming an axis")
        values(student, "softmax", scores(rng, numpy_softmax), wrong, **EXACT)

    @pytest.mark.points(2)
    def test_axis(self, student, rng):
        """softmax(x, axis) makes the shares along that axis add up to 1."""
        describe_input("every axis of arrays with two and three axes")
        cases = axes(rng, numpy_softmax)
        values(student, "softmax", cases, axis_symptoms(cases))

    @pytest.mark.points(2)
    def test_far_values(self, student, rng):
        """Scores of any size give the right shares, each row for itself, and a number added to all
        scores of a row changes nothing."""
        describe_input("rows of scores around 10,000, 0 and -10,000")
        wrong = {
            ONE_SHIFT: lambda y: y.ndim == 2 and np.isfinite(y[0]).all() and np.isnan(y[-1]).any(),
            **NOT_FINITE,
        }
        values(student, "softmax", distant(rng, numpy_softmax), wrong, atol=1e-6)

    @pytest.mark.points(1)
    def test_no_overflow_on_the_way(self, student, rng):
        """softmax computes nothing infinite on the way to its result."""
        quiet(student, "softmax", [x for x, _, _ in distant(rng, numpy_softmax)])

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """softmax keeps the dtype, and leaves its input as it was."""
        keeps_dtype(student, rng, "softmax")

    @pytest.mark.points(3)
    @pytest.mark.parametrize("axis", [-1, 0])
    def test_connected(self, student, rng, axis):
        """softmax is made of Tensor operations: its slope comes through, above and below."""
        describe_input(f"scores with axis={axis}, and equal scores")
        x = rng.normal(size=(3, 4))
        s = numpy_softmax(x, axis)
        flows(student, rng, f"lambda x: softmax(x, axis={axis})", [x], symptoms=partly(axis, s))
        flows(student, rng, f"lambda x: softmax(x, axis={axis})", [np.full((2, 3), 0.5)])

    @pytest.mark.points(2)
    def test_connected_far(self, student, rng):
        """The slope of softmax is finite wherever the shares are."""
        describe_input("rows of scores around 10,000, 0 and -10,000")
        x = distant(rng, numpy_softmax)[1][0]
        x[:, 0] -= 900
        flows(student, rng, "softmax", [x], symptoms=NOT_FINITE)


class TestBug:
    @pytest.mark.points(1)
    def test_breaks_it(self, student):
        """By hasty_softmax the rows of your scores don't add up to 1, by a right one they do."""
        scores = np.array(student.breaks_it(), dtype=np.float32)  # as Tensor makes of a list
        assert scores.ndim == 2 and np.abs(scores).max() <= 10_000
        with np.errstate(all="ignore"):
            powers = np.exp(scores - scores.max())
            assert not np.allclose((powers / powers.sum(-1, keepdims=True)).sum(-1), 1)


class TestLogSoftmax:
    @pytest.mark.points(2)
    def test_values(self, student, rng):
        """log_softmax(x) is the logarithm of softmax along the last axis."""
        describe_input("scores of several shapes, equal ones among them, without naming an axis")
        wrong = {
            ADDED: lambda y: nearly_one(np.exp(y).sum(-1)),
            WHOLE: lambda y: np.isclose(np.exp(y).sum(), 1),
        }
        values(student, "log_softmax", scores(rng, numpy_log_softmax), wrong, **EXACT)

    @pytest.mark.points(2)
    def test_axis(self, student, rng):
        """log_softmax(x, axis) gives the logarithms of the shares along that axis."""
        describe_input("every axis of arrays with two and three axes")
        cases = axes(rng, numpy_log_softmax)
        values(student, "log_softmax", cases, axis_symptoms(cases))

    @pytest.mark.points(2)
    def test_far_values(self, student, rng):
        """log_softmax is finite and right however small a share is."""
        describe_input("rows of scores around 10,000, 0 and -10,000")
        wrong = {LOG_OF_ZERO: lambda y: np.isneginf(y).any(), **NOT_FINITE}
        cases = distant(rng, numpy_log_softmax)
        # float32 holds no more of a number as large as 10,000, in whatever order it is computed
        values(student, "log_softmax", cases, wrong, rtol=1e-5, atol=2e-3)

    @pytest.mark.points(1)
    def test_no_overflow_on_the_way(self, student, rng):
        """log_softmax computes nothing infinite on the way to its result."""
        quiet(student, "log_softmax", [x for x, _, _ in distant(rng, numpy_log_softmax)])

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """log_softmax keeps the dtype, and leaves its input as it was."""
        keeps_dtype(student, rng, "log_softmax")

    @pytest.mark.points(3)
    @pytest.mark.parametrize("axis", [-1, 0])
    def test_connected(self, student, rng, axis):
        """log_softmax is made of Tensor operations: its slope comes through, through the score and
        through the sum."""
        describe_input(f"scores with axis={axis}, and equal scores")
        x = rng.normal(size=(3, 4))
        flows(student, rng, f"lambda x: log_softmax(x, axis={axis})", [x], symptoms=partly(axis))
        flows(student, rng, f"lambda x: log_softmax(x, axis={axis})", [np.full((2, 3), 0.5)])

    @pytest.mark.points(2)
    def test_connected_far(self, student, rng):
        """The slope of log_softmax is finite wherever the scores are."""
        describe_input("rows of scores around 10,000, 0 and -10,000")
        x = distant(rng, numpy_log_softmax)[1][0]
        x[:, 0] -= 900
        flows(student, rng, "log_softmax", [x], symptoms=NOT_FINITE)


@run_in_worker
def networks(cases):
    """The shares that the student's network gives, with their own activations."""
    import numpy as np

    names = globals()
    told = []
    for x, layers, name in cases:
        matrices = [Tensor(np.array(matrix)) for matrix in layers]
        told.append(network(Tensor(np.array(x)), matrices, names[name]).data)
    return told


@run_in_worker
def layers_stay(x, layers):
    """The shape of a network's shares, and whether the list and its numbers are as they were."""
    import numpy as np

    given = [Tensor(np.array(matrix)) for matrix in layers]
    kept = list(given)
    shares = network(Tensor(x), given, relu)
    same = len(given) == len(kept) and all(a is b for a, b in zip(given, kept, strict=True))
    numbers = all(np.array_equal(a.data, b) for a, b in zip(kept, layers, strict=True))
    return shares.shape, same, numbers


def numpy_network(x, layers, name):
    for matrix in layers[:-1]:
        x = NUMPY[name](x @ matrix)
    return numpy_softmax(x @ layers[-1])


def matrices(rng, *widths):
    """Matrices from each width to the next, of the size that keeps signals alive."""
    return [rng.normal(size=pair) / np.sqrt(pair[0]) for pair in pairwise(widths)]


def smooth(rng, rows, *widths):
    """An input and matrices, drawn anew while relu has its corner near a number on the way."""
    while True:
        inputs = x, *layers = [rng.normal(size=(rows, widths[0])), *matrices(rng, *widths)]
        nearest = 1.0
        for matrix in layers[:-1]:
            x = x @ matrix
            nearest, x = min(nearest, np.abs(x).min()), np.maximum(x, 0)
            nearest = nearest if x.any(axis=0).sum() > 1 else 0.0  # nor do all units sleep
        if nearest > 1e-3:
            return inputs


class TestWhole:
    @EACH
    @pytest.mark.points(5)
    def test_shares(self, student, rng, name):
        """A network gives the right shares, of whatever depth, in the dtype that it is given."""
        cases = [
            (rng.normal(size=(rows, widths[0])), matrices(rng, *widths), name)
            for rows, widths in ((5, (3, 6, 4)), (2, (4, 3)), (1, (3, 5, 4, 6, 2)))
        ]
        x, layers, _ = cases[0]
        cases.append((x.astype(np.float32), [m.astype(np.float32) for m in layers], name))
        for shares, case in zip(networks(student, cases), cases, strict=True):
            x, layers, _ = case
            describe_input(f"a network of {len(layers)} matrices with {name}, in {x.dtype}")
            assert_close(shares, numpy_network(*case))
            symptom(UPCAST, (x.dtype, shares.dtype) == (np.float32, np.float64))
            assert shares.dtype == x.dtype

    @pytest.mark.points(1)
    def test_layers_stay(self, student, rng):
        """network leaves the list of its layers and their numbers as they were."""
        describe_input("a list of two matrices")
        shape, same, numbers = layers_stay(student, rng.normal(size=(4, 3)), matrices(rng, 3, 5, 2))
        symptom(LIST_CHANGED, not same)
        symptom(CHANGED, not numbers)
        assert shape == (4, 2)

    @EACH
    @pytest.mark.points(7)
    def test_slopes(self, student, rng, name):
        """The slope of a network's shares comes through to its input and to every matrix."""
        describe_input(f"a network of three matrices with {name}: each alone, then all together")
        inputs = smooth(rng, 4, 3, 6, 5, 2)
        for still in ((1, 2, 3), (0, 2, 3), ()):
            flows(
                student,
                rng,
                f"lambda x, a, b, c: network(x, [a, b, c], {name})",
                inputs,
                still=still,
            )

    @EACH
    @pytest.mark.points(4)
    def test_large_numbers(self, student, reference, rng, name):
        """A network still gives shares and slopes when the numbers in it are in the thousands."""
        describe_input(
            f"a network with {name}, numbers before it in the thousands, and scores, too"
        )
        x, first, last = smooth(rng, 6, 3, 8, 4)
        layers = [5_000 * first, last if name in ("relu", "gelu") else 5_000 * last]
        [seen] = networks(student, [(x, layers, name)])
        assert_close(seen, numpy_network(x, layers, name), atol=1e-6, symptoms=NOT_FINITE)
        program = f"lambda a, b: log_softmax({name}(Tensor(x) @ a) @ b)"
        more = {"constants": {"x": x}, "symptoms": NOT_FINITE}
        connected(student, reference, rng, program, layers, **more)

    @pytest.mark.points(4)
    def test_descent(self, student, reference, rng):
        """A classifier made of all your activations learns, step by step as the reference does."""
        describe_input("twelve steps of a small classifier, each along a random direction")
        targets = np.array([0, 1, 2, 0, 1, 2, 0, 1])
        x = rng.normal(size=(8, 3)) + 2 * np.eye(3)[targets]
        program = (
            "lambda a, b, c: -(log_softmax(tanh(gelu(Tensor(x) @ a) @ b) * sigmoid(relu(Tensor(x) "
            "@ a) @ b) @ c)[np.arange(8), targets].mean())"
        )
        constants = {"x": x, "targets": targets}
        inputs = matrices(rng, 3, 5, 4, 3)
        descent(student, reference, rng, program, inputs=inputs, constants=constants, rate=0.2)
