"""Hidden tests of 17_quantization.

Every value is worked out here, in NumPy, from the integers and scales that come back: no error is
taken on the student's word. Packed bytes are carried from one call to another. `QuantizedLinear` is
tried on the student's `quantize`, `pack` and `unpack` and once more on right ones, `quantize_model`
once more on a right layer: a region earns the better of the two.

`Whole` has no second way. It puts a trained GPT into a file and takes nothing but the file's bytes
to a fresh model; its size and its loss, on names that no student has, are counted here.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from lending import LEND, own_or_lent

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

CUT = Misconception("cut off", "Numbers went to the mark below or above, not to the nearest one.")
TOO_MANY_MARKS = Misconception(
    "one mark too many", "Symmetric marks end at 2**(bits - 1) - 1 on both sides: a step is 1 / t."
)
ONE_RULER = Misconception(
    "one ruler for all", "With `axis`, each index along it has a scale of its own."
)
OTHER_AXIS = Misconception(
    "the other axis", "The rulers go by `axis`: the maximum runs along all the *other* axes."
)
PAST_THE_END = Misconception(
    "past the last mark", "A value beyond the last mark has gone round: cut it off there."
)
WITHOUT_ZERO = Misconception(
    "zero left out", "high is at least 0 and low at most 0, so that 0 is always a mark."
)
SHIFTED = Misconception(
    "0 is between marks", "0.0 came back as another number: zero is a whole mark."
)
DIVIDED_BY_ZERO = Misconception("divided by 0", "Where all numbers are 0 the scale is 1.")
WENT_ROUND = Misconception(
    "went round", "A small integer has gone round: take the difference in floats."
)
ZERO_FORGOTTEN = Misconception("zero forgotten", "zero is taken off the values before the scale.")
SIGN_LOST = Misconception("sign lost", "Negative values came back as large ones, or as positive.")
BYTES_WASTED = Misconception("bits wasted", "Fewer bytes hold these values: leave no gap.")
FLOATS_KEPT = Misconception(
    "float weight kept", "The layer still holds its weight in floats: keep the packed bytes only."
)
BIAS_FORGOTTEN = Misconception("bias forgotten", "The bias of the layer is not added.")
NOT_QUANTIZED = Misconception("not quantized", "The answers are those of the float weight.")
BITS_IGNORED = Misconception("always 8 bits", "The number of bits that was asked for was not used.")
CUT_FROM_X = Misconception(
    "cut through .data", "No gradient comes through to x: multiply Tensors, not their arrays."
)
NOT_EVERYWHERE = Misconception(
    "not everywhere", "Some Linear has stayed: look into lists, tuples and modules inside."
)
NOT_SHARED = Misconception(
    "no longer shared", "A layer that stood in two places has become two layers."
)

RIGHT = (
    LEND
    + """
import numpy as np
import tinytorch as tt


class Quantized:
    def __init__(self, values, scale, zero):
        self.values, self.scale, self.zero = values, scale, zero


def quantize(x, bits=8, axis=None, symmetric=True):
    others = tuple(i for i in range(x.ndim) if axis is not None and i != axis % x.ndim)
    size = abs(x).max(axis=others if axis is not None else None, keepdims=True, initial=0)
    scale = size / x.dtype.type(2 ** (bits - 1) - 1)
    scale[scale == 0] = 1
    return Quantized(np.round(x / scale).astype(np.int8), scale, np.zeros(scale.shape, np.int32))


def dequantize(q):
    return ((q.values.astype(float) - q.zero) * q.scale).astype(q.scale.dtype)


def pack(values, bits):
    raised = values.ravel().astype(int) + 2 ** (bits - 1)
    return np.packbits(raised[:, None] >> np.arange(bits) & 1)


def unpack(packed, bits, shape):
    count = int(np.prod(shape))
    rows = np.unpackbits(np.asarray(packed))[: count * bits].reshape(count, bits)
    return (rows @ (1 << np.arange(bits)) - 2 ** (bits - 1)).astype(np.int8).reshape(shape)


class QuantizedLinear(tt.Module):
    def __init__(self, linear, bits=8):
        q = quantize(linear.weight.data, bits, axis=1)
        self.packed, self.scale, self.bias = pack(q.values, bits), q.scale, linear.bias
        self.bits, self.shape = bits, q.values.shape

    def forward(self, x):
        weight = unpack(self.packed, self.bits, self.shape).astype(x.dtype) * self.scale
        y = x @ tt.Tensor(weight)
        return y if self.bias is None else y + self.bias


def provided(names, theirs):
    return {name: globals()[name] for name in names}
"""
)
HELPERS = "Quantized", "quantize", "dequantize", "pack", "unpack"


# Numbers to marks.


@run_in_worker
def quantized(cases):
    """For each (x, options): values, scale, zero, and the array that was given, afterwards."""
    import numpy as np

    told = []
    for x, options in cases:
        x = np.array(x)
        q = quantize(x, **options)
        told.append((q.values, q.scale, q.zero, x))
    return told


def ruler(x, bits=8, axis=None, symmetric=True):
    """The scale that the text asks for, in float64."""
    x = np.asarray(x, float)
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    high, low = (f(axis=others, keepdims=True, initial=0) for f in (x.max, x.min))
    reach = np.maximum(high, -low) if symmetric else high - low
    scale = reach / (2 ** (bits - 1) - 1 if symmetric else 2**bits - 1)
    return np.where(scale > 0, scale, 1)


def meaning(values, scale, zero):
    """What comes back, in float64."""
    return (np.asarray(values, float) - np.asarray(zero, float)) * np.asarray(scale, float)


def near(found, x):
    """Whether each number is at its nearest mark, up to rounding in x's dtype."""
    values, scale, zero, _ = found
    off = np.abs(meaning(values, scale, zero) - np.asarray(x, float))
    allowed = np.broadcast_to(np.asarray(scale, float), np.shape(x)) * (0.5 + 1e-4)
    return off.shape == np.shape(x) and bool(np.all(off <= allowed))


def spread(rng, *shape):
    """Numbers of both signs whose columns differ much in size."""
    return rng.normal(size=shape) * 10.0 ** rng.uniform(-2, 1, shape[-1])


WAYS = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "affine"])


class TestQuantize:
    @WAYS
    @pytest.mark.points(5)
    def test_nearest(self, student, rng, symmetric):
        """Each number goes to the nearest mark: the error is at most half a scale."""
        describe_input("8, 5, 4, 3 and 2 bits, one ruler for all and one a column")
        x = spread(rng, 30, 7)
        cases = [
            (x, {"bits": bits, "axis": axis, "symmetric": symmetric})
            for bits in (8, 5, 4, 3, 2)
            for axis in (None, 1)
        ]
        for found, (_, options) in zip(quantized(student, cases), cases, strict=True):
            off = np.abs(meaning(*found[:3]) - x) / np.asarray(found[1], float)
            symptom(CUT, 0.6 < off.max() < 1.001)
            assert near(found, x)
            assert_close(np.asarray(found[1]), ruler(x, **options))

    @WAYS
    @pytest.mark.points(1)
    def test_small(self, student, rng, symmetric):
        """Small numbers get a small ruler: nothing is added to be safe."""
        describe_input("float64 numbers around 1e-7, and float32 numbers around 1e-20")
        x = 1e-7 * (1 + rng.normal(size=(30, 2)))
        cases = [(x, {"symmetric": symmetric, "axis": 1, "bits": b}) for b in (8, 4)]
        cases += [((1e-13 * x).astype(np.float32), options) for _, options in cases]
        for found, (each, options) in zip(quantized(student, cases), cases, strict=True):
            assert near(found, each)
            scale = np.asarray(found[1], float)
            assert_close(scale / ruler(each, **options), np.ones((1, 2)), rtol=1e-5)

    @WAYS
    @pytest.mark.points(4)
    def test_scale(self, student, rng, symmetric):
        """The scale is as in the table, one for all or one for each index along `axis`."""
        x = spread(rng, 4, 5)
        for axis in (None, 0, 1, -1):
            for bits in (8, 3):
                describe_input(f"numbers (4, 5), {bits} bits, axis {axis}")
                options = {"bits": bits, "axis": axis, "symmetric": symmetric}
                [(_, scale, *_)] = quantized(student, [(x, options)])
                wrong = {ONE_RULER: ruler(x, bits, None, symmetric)} if axis is not None else {}
                if axis is not None:
                    wrong[OTHER_AXIS] = ruler(x, bits, 1 - axis % 2, symmetric)
                    size = scale.shape if isinstance(scale, np.ndarray) else ()
                    symptom(ONE_RULER, np.size(scale) == 1)
                    symptom(OTHER_AXIS, size == (ruler(x, bits, 1 - axis % 2)).shape)
                if symmetric:
                    wrong[TOO_MANY_MARKS] = (
                        ruler(x, bits, axis) * (2 ** (bits - 1) - 1) / 2 ** (bits - 1)
                    )
                assert_close(scale, ruler(x, **options), symptoms=wrong)

    @WAYS
    @pytest.mark.points(3)
    def test_marks(self, student, rng, symmetric):
        """Values are whole numbers of one byte, from the first mark to the last."""
        x = rng.normal(size=(40, 3))
        for bits in (8, 4, 2):
            describe_input(f"normal numbers, {bits} bits, one ruler a column")
            options = {"bits": bits, "axis": 1, "symmetric": symmetric}
            [(values, _, zero, _)] = quantized(student, [(x, options)])
            top = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
            assert values.dtype == (np.int8 if symmetric else np.uint8)
            assert np.asarray(zero).dtype == np.int32 and np.shape(zero) == (1, 3)
            wide = np.asarray(values, int)
            if symmetric:
                symptom(TOO_MANY_MARKS, wide.min() < -top)
                assert_close(np.abs(wide).max(axis=0), [top] * 3)
            else:
                assert np.all(wide.min(axis=0) <= 1) and np.all(wide.max(axis=0) >= top - 1)
                assert wide.max() <= top

    @pytest.mark.points(3)
    def test_zero(self, student, rng):
        """0 is a mark, also where all numbers lie on one side of it."""
        size = rng.uniform(2, 3)
        describe_input("affine: numbers above 0, below 0 and on both sides, with 0 itself")
        above, below = (
            np.append(rng.uniform(size, 5, 9), 0),
            np.append(rng.uniform(-5, -size, 9), 0),
        )
        both = np.append(rng.normal(size=9), 0)
        cases = [(x, {"bits": b, "symmetric": False}) for x in (above, below, both) for b in (8, 4)]
        cases += [(x[:-1], options) for x, options in cases[:4]]
        for found, (x, options) in zip(quantized(student, cases), cases, strict=True):
            values, scale, zero, _ = found
            if x[-1] == 0:
                symptom(SHIFTED, np.abs(meaning(values, scale, zero)[-1]) > 1e-12)
            symptom(WITHOUT_ZERO, np.all(np.asarray(scale) < 0.9 * ruler(x, **options)))
            assert_close(np.asarray(scale), ruler(x, **options))
            assert near(found, x)
            first, last = 0, 2 ** options["bits"] - 1
            if x is not both:
                assert_close(np.asarray(zero), [first if x[0] > 0 else last])

    @pytest.mark.points(1)
    def test_last_mark(self, student, rng):
        """Where low and high both lie half-way between marks, none is beyond the last."""
        size = 2.0 ** int(rng.integers(-3, 4))
        describe_input("affine: from -1.5 marks below 0 to half a mark below a whole one")
        bits = (8, 5, 3)
        cases = [
            (size * np.array([-1.5, 0.0, 1.0, 2**b - 2.5]), {"bits": b, "symmetric": False})
            for b in bits
        ]
        for found, (x, _) in zip(quantized(student, cases), cases, strict=True):
            symptom(PAST_THE_END, np.abs(meaning(*found[:3]) - x).max() > size)
            assert near(found, x)

    @pytest.mark.points(1)
    def test_alike(self, student, rng):
        """Zeros, equal numbers and one number alone come back, and nothing is divided by 0."""
        c = float(rng.uniform(1, 9))
        describe_input("zeros, a column of zeros beside others, equal numbers, one number")
        column = rng.normal(size=(5, 3)) * [1, 0, 1]
        arrays = np.zeros((3, 2)), column, np.full(4, c), np.full(4, -c), np.array([c])
        cases = [(x, {"axis": -1, "symmetric": s}) for x in arrays for s in (True, False)]
        cases += [(arrays[0], {"symmetric": s}) for s in (True, False)]
        for found, (x, options) in zip(quantized(student, cases), cases, strict=True):
            symptom(DIVIDED_BY_ZERO, not np.all(np.isfinite(np.asarray(found[1], float))))
            symptom(DIVIDED_BY_ZERO, np.any(np.asarray(found[1]) == 0))
            assert_close(np.asarray(found[1]), ruler(x, **options))
            assert near(found, x)
            assert np.all(meaning(*found[:3])[x == 0] == 0)

    @pytest.mark.points(2)
    def test_axes(self, student, rng):
        """Any axis of any array: the scales stand along it."""
        x = rng.normal(size=(2, 3, 4)) * rng.uniform(0.1, 9, (2, 1, 4))
        for axis in (0, 1, 2, -1, -2, -3):
            describe_input(f"numbers (2, 3, 4), axis {axis}")
            cases = [(x, {"axis": axis, "bits": 4}), (x[0, 0], {"axis": 0, "symmetric": False})]
            three, one = quantized(student, cases)
            symptom(ONE_RULER, np.size(three[1]) == 1)
            assert_close(np.asarray(three[1]), ruler(x, 4, axis))
            assert near(three, x)
            assert_close(np.asarray(one[1]), ruler(x[0, 0], 8, 0, False))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """The scale has the dtype of x."""
        for dtype in (np.float32, np.float64):
            describe_input(f"numbers in {np.dtype(dtype)}, both ways, with and without an axis")
            x = rng.normal(size=(3, 4)).astype(dtype)
            cases = [(x, {"symmetric": s, "axis": a}) for s in (True, False) for a in (None, 1)]
            for _, scale, _, _ in quantized(student, cases):
                assert scale.dtype == dtype and scale.all()

    @pytest.mark.points(0.5)
    def test_untouched(self, student, rng):
        """The array that was given stays as it was."""
        x = rng.normal(size=(3, 4))
        for values, *_, after in quantized(student, [(x, {}), (x, {"symmetric": False})]):
            assert_close(after, x, rtol=0, atol=0)
            assert not np.array_equal(np.asarray(values, float), x)

    @pytest.mark.points(0.5)
    def test_refuses(self, student, rng):
        """Other numbers of bits, NaN and infinity are a ValueError."""
        x = rng.normal(size=5)
        bad = [(x, {"bits": bits}) for bits in (0, 1, 9, 16)]
        bad += [(np.append(x, value), {}) for value in (np.nan, np.inf, -np.inf)]
        for case in bad:
            with pytest.raises(ValueError):
                quantized(student, [case])
        good = quantized(student, [(x, {"bits": bits}) for bits in range(2, 9)])
        assert [near(found, x) for found in good] == [True] * 7


# Marks to numbers.


@run_in_worker
def dequantized(cases):
    """For each (values, scale, zero): what comes back."""
    from types import SimpleNamespace

    import numpy as np

    told = []
    for values, scale, zero in cases:
        made = {"values": np.array(values), "scale": np.array(scale), "zero": np.array(zero)}
        told.append(np.asarray(dequantize(SimpleNamespace(**made))))
    return told


class TestDequantize:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """Each value stands for scale times (value minus zero), each with its own ruler."""
        describe_input("int8 with zero 0, uint8 with a zero for each column")
        signed = rng.integers(-127, 128, (4, 3)).astype(np.int8)
        marks = rng.integers(0, 256, (4, 3)).astype(np.uint8)
        scale = rng.uniform(0.1, 2, (1, 3))
        zero = rng.integers(1, 20, (1, 3)).astype(np.int32)
        cases = [(signed, scale, 0 * zero), (marks, scale, zero)]
        one, two = dequantized(student, cases)
        assert_close(one, meaning(signed, scale, 0), symptoms={SIGN_LOST: abs(signed) * scale})
        wrong = {ZERO_FORGOTTEN: marks * scale, SHIFTED: marks * scale - zero}
        assert_close(two, meaning(marks, scale, zero), symptoms=wrong)

    @pytest.mark.points(2)
    def test_ends(self, student, rng):
        """At both ends of the marks nothing goes round."""
        scale = rng.uniform(0.5, 2, (1,))
        for zero in (0, 100, 255):
            describe_input(f"the marks 0 and 255, zero {zero}")
            values, place = np.array([0, 255], np.uint8), np.array([zero], np.int32)
            [found] = dequantized(student, [(values, scale, place)])
            wrong = {WENT_ROUND: (values - np.uint8(zero)) * scale}
            assert_close(found, meaning(values, scale, place), symptoms=wrong)

    @pytest.mark.points(2)
    def test_dtype(self, student, rng):
        """What comes back has the dtype of the scale."""
        for dtype in (np.float32, np.float64):
            describe_input(f"a scale in {np.dtype(dtype)}")
            values = rng.integers(1, 99, (2, 3)).astype(np.uint8)
            zero = np.array([[100]], np.int32)
            [found] = dequantized(student, [(values, np.array([[0.5]], dtype), zero)])
            assert found.dtype == dtype and found.shape == (2, 3) and found.any()


# Bits in a row.


@run_in_worker
def packed(cases):
    """For each (values, bits): the bytes."""
    import numpy as np

    return [pack(np.array(values), bits) for values, bits in cases]


@run_in_worker
def unpacked(cases):
    """For each (bytes, bits, shape): the values."""
    import numpy as np

    return [unpack(np.array(each), bits, tuple(shape)) for each, bits, shape in cases]


def there_and_back(student, cases):
    raw = packed(student, cases)
    for each, (values, bits) in zip(raw, cases, strict=True):
        assert each.dtype == np.uint8 and each.ndim == 1
        fewest = -(-values.size * bits // 8)
        symptom(BYTES_WASTED, each.size > fewest)
        assert each.size == fewest
    return unpacked(student, [(r, bits, v.shape) for r, (v, bits) in zip(raw, cases, strict=True)])


class TestPack:
    @pytest.mark.points(5)
    def test_every_value(self, student, rng):
        """At every number of bits each value comes back, from the fewest bytes."""
        describe_input("all values of 2 to 8 bits, in a drawn order, the lowest among them")
        cases = []
        for bits in range(2, 9):
            every = np.tile(np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)), 3)
            cases.append((rng.permutation(every).astype(np.int8), bits))
        for found, (values, bits) in zip(there_and_back(student, cases), cases, strict=True):
            wrong = {SIGN_LOST: np.asarray(values, int) % 2**bits}
            assert_close(found, values, rtol=0, atol=0, symptoms=wrong)

    @pytest.mark.points(3)
    def test_shapes(self, student, rng):
        """Any shape, also where the bits fill no whole byte; int8 comes back."""
        describe_input("(3, 5), (2, 3, 3), one value, none, at 3, 5 and 7 bits")
        shapes = (3, 5), (2, 3, 3), (1,), (0,)
        cases = [
            (rng.integers(-(2 ** (b - 1)), 2 ** (b - 1), shape).astype(np.int8), b)
            for shape in shapes
            for b in (3, 5, 7)
        ]
        for found, (values, _) in zip(there_and_back(student, cases), cases, strict=True):
            assert found.dtype == np.int8
            assert_close(found, values, rtol=0, atol=0)


# The layer.


@run_in_worker
def layered(right, lent, weight, bias, bits, inputs, g=None):
    """A `QuantizedLinear` of a weight and a bias (None: without).

    Returns its answers to inputs, the gradient in the first of them for an incoming g, the file
    that `save_weights` makes of it, and the Linear's weight afterwards.
    """
    import os

    import numpy as np

    import tinytorch as tt

    exec(right, names := {})
    tt.enable_gradients()
    linear = tt.Linear(*weight.shape, bias=bias is not None)
    linear.weight.data = np.array(weight)
    if bias is not None:
        linear.bias.data = np.array(bias)
    with names["lend"](globals(), lent):
        layer = QuantizedLinear(linear, bits) if bits is not None else QuantizedLinear(linear)
        answers = [layer(tt.Tensor(np.array(x))).data for x in inputs]
        grad = None
        if g is not None:
            x = tt.Tensor(np.array(inputs[0]), requires_grad=True)
            layer(x).backward(np.array(g))
            grad = x.grad
    tt.save_weights("layer.npz", layer)
    with open("layer.npz", "rb") as file:
        raw = file.read()
    os.remove("layer.npz")
    return answers, grad, raw, linear.weight.data


def matrix(weight, bits, axis=1):
    """A weight at its nearest marks, in float64."""
    scale = ruler(weight, bits, axis)
    return np.round(np.asarray(weight, float) / scale) * scale


def arrays(raw):
    """The arrays of a file."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


class TestQuantizedLinear:
    @pytest.mark.points(5)
    def test_answers(self, student, rng):
        """It answers as a Linear whose columns stand at their nearest marks, plus the bias."""
        weight, bias, x = spread(rng, 6, 5), rng.normal(size=5), rng.normal(size=(4, 6))

        def check(lent):
            for bits in (8, 4, 3, None):
                describe_input(f"a weight (6, 5) of uneven columns, {bits or 'default'} bits")
                [found], *_ = layered(student, RIGHT, lent, weight, bias, bits, [x])
                right = x @ matrix(weight, bits or 8)
                wrong = {
                    BIAS_FORGOTTEN: right,
                    ONE_RULER: x @ matrix(weight, bits or 8, None) + bias,
                    OTHER_AXIS: x @ matrix(weight, bits or 8, 0) + bias,
                    NOT_QUANTIZED: x @ weight + bias,
                    BITS_IGNORED: x @ matrix(weight, 8) + bias,
                }
                assert_close(found, right + bias, rtol=1e-6, atol=1e-6, symptoms=wrong)

        own_or_lent(check, *HELPERS)

    @pytest.mark.points(1)
    def test_no_bias(self, student, rng):
        """Without a bias nothing is added."""
        weight, x = spread(rng, 4, 3), rng.normal(size=(2, 4))

        def check(lent):
            [found], *_ = layered(student, RIGHT, lent, weight, None, 4, [x])
            assert_close(found, x @ matrix(weight, 4), rtol=1e-6, atol=1e-6)

        own_or_lent(check, *HELPERS)

    @pytest.mark.points(2)
    def test_size(self, student, rng):
        """Its file holds the packed weight, scales and bias, and no float weight."""
        weight = rng.normal(size=(40, 24)).astype(np.float32)
        bias = rng.normal(size=24).astype(np.float32)

        def check(lent):
            for bits in (8, 3):
                describe_input(f"a float32 weight (40, 24) and a bias, {bits} bits")
                _, _, raw, _ = layered(student, RIGHT, lent, weight, bias, bits, [])
                found = arrays(raw)
                fewest = 40 * 24 * bits // 8
                floats = sum(a.size for a in found.values() if a.dtype.kind == "f")
                symptom(FLOATS_KEPT, floats >= 40 * 24)
                total = sum(a.nbytes for a in found.values())
                symptom(BYTES_WASTED, total >= 40 * 24 > 8 * fewest / bits)
                assert fewest <= total <= fewest + 3 * 24 * 4 + 16

        own_or_lent(check, *HELPERS)

    @pytest.mark.points(1.5)
    def test_gradient(self, student, rng):
        """The gradient in x is that of the quantized weight."""
        weight, bias = spread(rng, 5, 3), rng.normal(size=3)
        x, g = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 4, 3))

        def check(lent):
            with recognise(CUT_FROM_X, RuntimeError):
                _, grad, *_ = layered(student, RIGHT, lent, weight, bias, 4, [x], g)
            symptom(CUT_FROM_X, grad is None)
            assert_close(grad, g @ matrix(weight, 4).T, rtol=1e-6, atol=1e-6)

        own_or_lent(check, *HELPERS)

    @pytest.mark.points(1.5)
    def test_shapes(self, student, rng):
        """x may have any number of axes, one among them."""
        weight, bias = spread(rng, 5, 3), rng.normal(size=3)
        inputs = [rng.normal(size=shape) for shape in ((5,), (1, 5), (2, 3, 5))]

        def check(lent):
            found, *_ = layered(student, RIGHT, lent, weight, bias, 8, inputs)
            for y, x in zip(found, inputs, strict=True):
                assert_close(y, x @ matrix(weight, 8) + bias, rtol=1e-6, atol=1e-6)

        own_or_lent(check, *HELPERS)

    @pytest.mark.points(1)
    def test_float32(self, student, rng):
        """float32 in, float32 out; the Linear itself stays as it was."""
        weight, bias = spread(rng, 5, 3).astype(np.float32), np.ones(3, np.float32)
        x = rng.normal(size=(2, 5)).astype(np.float32)

        def check(lent):
            [y], _, _, after = layered(student, RIGHT, lent, weight, bias, 8, [x])
            assert y.dtype == np.float32 and y.shape == (2, 3)
            assert_close(after, weight, rtol=0, atol=0)
            assert np.abs(y - 1).max() > 0

        own_or_lent(check, *HELPERS)


# The model.

PLACES = '''
def place(tt, how, layers):
    """A model that holds layers in some way, and a function that finds them again."""
    a, b, c = layers
    class Holder(tt.Module):
        def forward(self, x):
            for layer in self.chain():
                x = layer(x)
            return x
    m = Holder()
    if how == "attributes":
        m.a, m.b, m.c = a, b, c
        m.chain = lambda: [m.a, m.b, m.c]
    elif how == "lists":
        m.held = [a, [b, (c, None)]]
        m.chain = lambda: [m.held[0], m.held[1][0], m.held[1][1][0]]
    elif how == "modules":
        m.inner = tt.Sequential(a, tt.relu, tt.Sequential(b, tt.tanh))
        m.more = [tt.Sequential(c)]
        m.chain = lambda: [m.inner, m.more[0]]
    elif how == "shared":
        m.a, m.rest, m.c = a, (a, tt.Sequential(a, b)), c
        m.chain = lambda: [m.a, m.rest[0], m.rest[1], m.c]
    else:
        m = c
    return m
'''


@run_in_worker
def modelled(right, places, lent, how, weights, biases, bits, x):
    """Quantize a model that holds three Linear layers in some way.

    Returns its answer, whether the model itself came back, the answer before, and its file.
    """
    import os

    import numpy as np

    import tinytorch as tt

    exec(right, names := {})
    exec(places, names)
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        layers.append(tt.Linear(*weight.shape))
        layers[-1].weight.data, layers[-1].bias.data = np.array(weight), np.array(bias)
    model = names["place"](tt, how, layers)
    x = tt.Tensor(np.array(x))
    before = model(x).data
    with names["lend"](globals(), lent):
        made = quantize_model(model, bits) if bits is not None else quantize_model(model)
        after = made(x).data
    tt.save_weights("model.npz", made)
    with open("model.npz", "rb") as file:
        raw = file.read()
    os.remove("model.npz")
    return after, made is model, before, raw


def chain(how, x, weights, biases):
    a, b, c = zip(weights, biases, strict=True)
    layers = {
        "attributes": [a, b, c],
        "lists": [a, b, c],
        "modules": [a, "relu", b, "tanh", c],
        "shared": [a, a, a, b, c],
        "itself": [c],
    }[how]
    for layer in layers:
        if layer == "relu":
            x = np.maximum(x, 0)
        elif layer == "tanh":
            x = np.tanh(x)
        else:
            x = x @ layer[0] + layer[1]
    return x


def three_layers(rng, size=6):
    weights = [rng.normal(size=(size, size)) * size**-0.5 for _ in range(3)]
    return weights, [rng.normal(size=size) for _ in range(3)]


MODEL = (*HELPERS, "QuantizedLinear")


def model_check(student, rng, how, bits=3):
    weights, biases = three_layers(rng)
    x = rng.normal(size=(4, 6))

    def check(lent):
        data = how, weights, biases, bits, x
        found, itself, before, raw = modelled(student, RIGHT, PLACES, lent, *data)
        small = [matrix(w, bits or 8) for w in weights]
        assert_close(before, chain(how, x, weights, biases), rtol=1e-6, atol=1e-6)
        some = [
            [s if k in chosen else w for k, (s, w) in enumerate(zip(small, weights, strict=True))]
            for chosen in ([], [0], [1], [2], [0, 1], [0, 2], [1, 2])
        ]
        wrong = {
            NOT_EVERYWHERE: lambda seen: any(
                np.allclose(seen, chain(how, x, each, biases), rtol=1e-6, atol=1e-8)
                for each in some
            ),
            BITS_IGNORED: chain(how, x, [matrix(w, 8) for w in weights], biases),
        }
        wrong = {} if how == "itself" else wrong
        right = chain(how, x, small, biases)
        assert_close(found, right, rtol=1e-6, atol=1e-6, symptoms=wrong)
        return itself, raw

    return check


class TestModel:
    @pytest.mark.points(5)
    @pytest.mark.parametrize("how", ["attributes", "lists", "modules", "shared", "itself"])
    def test_everywhere(self, student, rng, how):
        """Each Linear of a model is quantized, wherever it stands, and all else works on."""
        describe_input(
            {
                "attributes": "three Linear layers as attributes, 3 bits",
                "lists": "Linear layers in lists and tuples inside each other, 3 bits",
                "modules": "Sequential in Sequential, with relu and tanh, 3 bits",
                "shared": "one Linear in three places, two more beside, 3 bits",
                "itself": "a model that is a Linear, 3 bits",
            }[how]
        )
        check = model_check(student, rng, how)
        own_or_lent(lambda lent: check(lent) and None, *MODEL)

    @pytest.mark.points(1)
    def test_bits(self, student, rng):
        """The bits that were asked for are used; 8 if none were."""
        for bits in (2, 5, None):
            describe_input(f"three layers, {bits or 'default'} bits")
            check = model_check(student, rng, "lists", bits)
            own_or_lent(lambda lent, check=check: check(lent) and None, *MODEL)

    @pytest.mark.points(2)
    def test_shared(self, student, rng):
        """A layer in three places is one layer in three places: the file has it once."""
        describe_input("one Linear (6, 6) in three places, two more beside, 8 bits")

        def check(lent):
            _, raw = model_check(student, rng, "shared", 8)(lent)
            ints = sum(a.nbytes for a in arrays(raw).values() if a.dtype.kind in "iu")
            symptom(NOT_SHARED, ints >= 5 * 36)
            assert 3 * 36 <= ints < 4 * 36

        own_or_lent(check, *MODEL)

    @pytest.mark.points(1)
    def test_returned(self, student, rng):
        """The model itself comes back, changed."""

        def check(lent):
            itself, _ = model_check(student, rng, "modules")(lent)
            assert itself is True

        own_or_lent(check, *MODEL)


@run_in_worker
def bug():
    a, b = breaks_it()
    return [float(x) for x in a], [float(x) for x in b]


class TestBug:
    @pytest.mark.points(1)
    def test_goes_round(self, student):
        """Your numbers are from -1 to 1, and their product in int8 is off by more than 0.9."""
        (a,), (b,) = bug(student)
        assert -1 <= a <= 1 and -1 <= b <= 1

        def signed(x):
            return np.array([np.sign(x) * 127 if x else 0], np.int8)

        product = (signed(a) * signed(b)).item() * abs(a) * abs(b) / 127**2
        assert abs(product - a * b) > 0.9


# The whole: a trained GPT through a file.

GIVEN = Path(__file__).resolve().parents[3] / "source/17_quantization/names.npz"
HELD_BACK = Path(__file__).resolve().parents[1] / "13_transformers/names.txt"
LETTERS = "\nabcdefghijklmnopqrstuvwxyz"
SIZE = 27, 16, 64, 4, 2
LINEAR, BESIDE = 98304, 4544  # weights in Linear layers, and all other numbers


def excerpts(rng, count):
    """Excerpts of 17 letters from 500 names that no student has."""
    lines = HELD_BACK.read_text(encoding="ascii").splitlines()
    names = rng.permutation([line for line in lines if not line.startswith("#")])
    ids = np.array([LETTERS.index(c) for c in "\n".join(["", *names, ""])])
    return ids[rng.integers(0, len(ids) - 17, (count, 1)) + np.arange(17)]


def log_shares(logits):
    z = np.asarray(logits, float)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def loss_of(logits, answers):
    return float(-np.take_along_axis(log_shares(logits), answers[..., None], -1).mean())


@run_in_worker
def into_a_file(given, size, bits):
    """The bytes of a file with a GPT of these weights, quantized."""
    import os

    import tinytorch as tt

    with open("given.npz", "wb") as file:
        file.write(given)
    model = tt.GPT(*size)
    tt.load_weights("given.npz", model)
    tt.save_weights("small.npz", quantize_model(model, bits))
    with open("small.npz", "rb") as file:
        raw = file.read()
    os.remove("given.npz")
    os.remove("small.npz")
    return raw


@run_in_worker
def from_a_file(raw, size, bits, ids, lessons=(), lr=0.0):
    """A fresh GPT, quantized, gets a file: logits for ids, and again after a step a lesson."""
    import os

    import tinytorch as tt

    tt.enable_gradients()
    with open("other.npz", "wb") as file:
        file.write(raw)
    model = quantize_model(tt.GPT(*size), bits)
    tt.load_weights("other.npz", model)
    os.remove("other.npz")
    model.eval()
    with tt.no_grad():
        before = model(ids).data
    if not len(lessons):
        return before, None
    optimizer = tt.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99))
    tt.Trainer(model, tt.next_token_loss, optimizer).fit(lessons, 1, clip=1.0)
    model.eval()
    with tt.no_grad():
        return before, model(ids).data


def by_reference(reference, bits, ids, axis=1):
    """Logits of the reference's GPT whose matrices stand at their nearest marks; None: as given."""
    model = reference.GPT(*SIZE)
    reference.load_weights(GIVEN, model)
    tables = model.token.weight, model.position.weight
    for p in model.parameters():
        if bits is not None and p.ndim == 2 and all(p is not table for table in tables):
            p.data = matrix(p.data, bits, axis).astype(np.float32)
    return model(ids).data


def learnt_by_reference(reference, ids, batches):
    """Logits of the reference's GPT in 2 bits after a step for each batch."""
    reference.enable_gradients()
    try:
        model = reference.GPT(*SIZE)
        reference.load_weights(GIVEN, model)
        reference.quantize_model(model, 2)
        optimizer = reference.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
        trainer = reference.Trainer(model, reference.next_token_loss, optimizer)
        trainer.fit(batches, 1, clip=1.0)
        with reference.no_grad():
            return model(ids).data
    finally:
        reference.disable_gradients()


class TestWhole:
    @pytest.mark.points(9)
    @pytest.mark.parametrize("bits", [8, 4, 3])
    def test_loss(self, student, reference, rng, bits):
        """A trained GPT, through a file, has the loss that its rulers leave it."""
        describe_input(f"the GPT of names in {bits} bits; names that it has never seen")
        rows = excerpts(rng, 60)
        ids, answers = rows[:, :-1], rows[:, 1:]
        raw = into_a_file(student, GIVEN.read_bytes(), SIZE, bits)
        found, _ = from_a_file(student, raw, SIZE, bits, ids)
        assert found.shape == (60, 16, 27)
        floats, right = (by_reference(reference, b, ids) for b in (None, bits))
        one = by_reference(reference, bits, ids, axis=None)

        def apart(a, b):
            return float(np.sqrt(((np.asarray(a, float) - b) ** 2).mean()))

        rulers = apart(right, floats)  # what the rulers change; a mark more or less is far below
        symptom(NOT_QUANTIZED, apart(found, floats) < 0.1 * rulers)
        symptom(ONE_RULER, apart(found, one) < 0.1 * rulers)
        assert apart(found, right) < 0.1 * rulers
        assert abs(loss_of(found, answers) - loss_of(right, answers)) < 0.01

    @pytest.mark.points(4)
    @pytest.mark.parametrize("bits", [8, 3])
    def test_size(self, student, bits):
        """The GPT's file holds its layers in as few bytes as their bits make."""
        describe_input(f"the GPT of names in {bits} bits: its file, opened")
        raw = into_a_file(student, GIVEN.read_bytes(), SIZE, bits)
        found = arrays(raw)
        total = sum(a.nbytes for a in found.values())
        floats = sum(a.size for a in found.values() if a.dtype.kind == "f")
        symptom(FLOATS_KEPT, floats > LINEAR)
        packed_bytes = LINEAR * bits // 8
        symptom(BYTES_WASTED, total > LINEAR > packed_bytes)
        assert packed_bytes + 4 * BESIDE <= total <= packed_bytes + 4 * BESIDE + 3 * 4 * 1536

    @pytest.mark.points(5)
    def test_learns_on(self, student, reference, rng):
        """In 2 bits the GPT is poor; what is left in floats learns to make up for it."""
        describe_input("the GPT of names in 2 bits, then 8 steps of its biases, norms and tables")
        rows, lessons = excerpts(rng, 60), [excerpts(rng, 16) for _ in range(8)]
        ids, answers = rows[:, :-1], rows[:, 1:]
        batches = [(row[:, :-1], row[:, 1:]) for row in lessons]
        raw = into_a_file(student, GIVEN.read_bytes(), SIZE, 2)
        before, after = from_a_file(student, raw, SIZE, 2, ids, batches, 3e-3)
        first, last = loss_of(before, answers), loss_of(after, answers)
        right = learnt_by_reference(reference, ids, batches)
        assert abs(first - loss_of(by_reference(reference, 2, ids), answers)) < 0.02
        assert last < first and abs(last - loss_of(right, answers)) < 0.02
