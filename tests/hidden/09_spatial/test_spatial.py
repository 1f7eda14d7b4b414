"""Hidden tests of 09_spatial.

Values are worked out here, by gathering pixels; gradients are compared with differences of the
student's own values, so that a wrong value is not paid for twice. Layers are tried on the student's
own `windows` and on a right one: a wrong one costs them nothing. `Whole` compares steps with the
reference's. What the weights handed in are worth is counted here, from logits of digits that are
moved and noisy, drawn anew for everybody; files are read by the course's own `load_weights`.
"""

from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

FLIPPED = Misconception(
    "flipped", "The kernel was turned around before it was used: here [a, b] meets [i + a, j + b]."
)
SWAPPED = Misconception("rows for columns", "Rows and columns are swapped, of a window or of all.")
UNPADDED = Misconception("no padding", "The result has the shape that it has without padding.")
NO_STRIDE = Misconception("stride ignored", "The result has the shape that stride 1 gives.")
ONE_TOO_FEW = Misconception(
    "one too few", "A window that has just room is missing at the edge: (L - k) // s + 1 of them."
)
CHANNELS_APART = Misconception(
    "one channel", "Not all channels take part: a kernel has weights for each and adds up all."
)
TO_THE_LEFT = Misconception("to the left", "The picture went the other way: what is at [i + a]?")
ONLY_ONCE = Misconception(
    "not added up", "A pixel that stands in several windows got the gradient of one of them only."
)
AVERAGED = Misconception("averaged", "The gradients of a pixel's places are summed, not averaged.")
CUT = Misconception(
    "cut", "The value is right, but no gradient comes through: somewhere the Tensor is left."
)
IN_PLACE = Misconception("written in place", "The caller's array was changed.")
UPCAST = Misconception("upcast", "float32 went in and float64 came out: which array is float64?")
FAN_OUT = Misconception(
    "another spread", "Weights are not spread as said: count what a kernel adds."
)
ONE_START = Misconception("one start", "Two layers without an rng began with the same weights.")
ALL_TIES = Misconception(
    "every tie in full",
    "Pixels that share a maximum got more together than what came for it: all of a window's "
    "shares sum to its gradient.",
)
STRIDE_ONE = Misconception("stride None", "stride=None means side by side, not one pixel on.")
OVER_BATCH = Misconception(
    "each pixel alone", "Mean and variance are those of each pixel: take all places together, too."
)
OVER_ALL = Misconception("channels together", "Mean and variance are of all channels together.")
PER_PICTURE = Misconception("each picture alone", "Mean and variance are those of each picture.")
UNBIASED = Misconception(
    "m - 1 in training", "The batch was divided by its unbiased deviation: there v has 1 / m."
)
EPS_OUTSIDE = Misconception("eps outside", "eps stands under the root, beside the variance.")
BIASED = Misconception("m for m - 1", "running_var follows m / (m - 1) times the variance.")
MOMENTUM = Misconception(
    "momentum swapped", "What is new counts `momentum`, what was there 1 - momentum."
)
NOT_RUNNING = Misconception("nothing runs", "The running mean and variance are as at first.")
RUN_IN_USE = Misconception("runs in use", "In the mode for use the running ones are not to change.")
BATCH_IN_USE = Misconception(
    "batch in use",
    "In the mode for use a picture's answer depends on the others: take the running.",
)
DETACHED = Misconception(
    "mean held fixed", "The gradient ignores that the batch's mean and variance depend on x, too."
)
TOGETHER = Misconception("all the same way", "All pictures were moved the same way.")
NO_FILE = Misconception(
    "no file", "cnn.npz did not lie beside the notebook: save_weights makes it, hand it in as well."
)
OTHER_MODEL = Misconception(
    "another network",
    "cnn.npz does not belong to the network that digits_net() builds, or is damaged.",
)

EDGES = ((0, 0), (0, 0))


# What is right, by gathering.


def padded(x, padding):
    return np.pad(x, (*EDGES, (padding, padding), (padding, padding)))


def gathered(x, size, stride=1, padding=0):
    """All windows of an array: (N, C, H, W) to (N, C, size, size, OH, OW)."""
    whole = padded(x, padding)
    i, j = (
        np.arange(size)[:, None] + stride * np.arange((length - size) // stride + 1)
        for length in whole.shape[2:]
    )
    return whole[:, :, i[:, None, :, None], j[None, :, None, :]]


def scattered(g, shape, size, stride=1, padding=0, put=np.add.at):
    """What `gathered` sends back: for each pixel of an array of that shape, the sum."""
    n, c, h, w = shape
    numbers = np.arange(n * c * h * w).reshape(shape) + 1.0
    places = gathered(numbers, size, stride, padding).astype(int)
    flat = np.zeros(numbers.size + 1)
    put(flat, places, g)
    return flat[1:].reshape(shape)


def convolved(x, weight, bias=0.0, stride=1, padding=0):
    y = np.einsum("ncabij,ocab->noij", gathered(x, weight.shape[-1], stride, padding), weight)
    return y + np.reshape(bias, (-1, 1, 1))


def shaped(*shape):
    """A symptom: what is seen has that shape."""
    return lambda seen: seen.shape == shape


# shape, size, stride, padding
CASES = [
    ((2, 3, 6, 5), 3, 1, 0),
    ((1, 2, 7, 6), 2, 2, 0),  # a column and a row are left out
    ((2, 1, 5, 8), 3, 2, 1),
    ((1, 2, 8, 5), 2, 3, 0),  # pixels that no window meets
    ((2, 2, 3, 3), 3, 1, 2),
    ((1, 3, 4, 4), 4, 1, 0),  # a single window
    ((3, 1, 4, 3), 1, 1, 0),
    ((1, 1, 5, 4), 1, 2, 1),
]


def told(shape, size, stride, padding):
    n, c, h, w = shape
    describe_input(
        f"pictures {n} x {c} x {h} x {w}, windows {size} x {size}, stride {stride}, "
        f"padding {padding}"
    )


def wrong_shapes(shape, size, stride, padding, *front):
    """By what the shape of a result tells: padding or stride forgotten, the last window missing."""
    h, w = shape[2:]

    def rooms(stride, padding, less=0):
        return tuple((m + 2 * padding - size) // stride + 1 - less for m in (h, w))

    right, found = rooms(stride, padding), {}
    for name, wrong in {
        UNPADDED: rooms(stride, 0),
        NO_STRIDE: rooms(1, padding),
        ONE_TOO_FEW: rooms(stride, padding, 1),
        SWAPPED: right[::-1],
    }.items():
        if wrong != right:
            found[name] = shaped(*front, *wrong)
    return found


# The loop, and kernels by thought.


@run_in_worker
def looped(cases):
    """For each case (x, weight, stride, padding): the result, and the arrays afterwards."""
    import numpy as np

    found = []
    for x, weight, stride, padding in cases:
        x, weight = np.array(x), np.array(weight)
        found.append((np.asarray(convolve_by_loops(x, weight, stride, padding)), x, weight))
    return found


def convolutions(rng, dtype=float, out=2):
    for shape, size, stride, padding in CASES:
        x = rng.normal(size=shape).astype(dtype)
        weight = rng.normal(size=(out, shape[1], size, size)).astype(dtype)
        yield x, weight, stride, padding


class TestLoops:
    @pytest.mark.points(3)
    def test_values(self, student, rng):
        """Every entry is the window times the kernel, summed over all channels."""
        cases = list(convolutions(rng))
        for (x, weight, stride, padding), (y, _, _) in zip(
            cases, looped(student, cases), strict=True
        ):
            size, (n, c) = weight.shape[-1], x.shape[:2]
            told(x.shape, size, stride, padding)
            wrong = wrong_shapes(x.shape, size, stride, padding, n, len(weight))
            right = convolved(x, weight, 0, stride, padding)
            if size > 1:
                flipped = convolved(x, weight[:, :, ::-1, ::-1], 0, stride, padding)
                wrong |= {FLIPPED: flipped}
                wrong |= {SWAPPED: convolved(x, weight.swapaxes(2, 3), 0, stride, padding)}
            if c > 1:
                wrong[CHANNELS_APART] = convolved(x[:, :1], weight[:, :1], 0, stride, padding)
            assert_close(y, right, symptoms=wrong)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """The result has the dtype of the pictures."""
        for dtype in (np.float32, np.float64):
            describe_input(f"pictures and weights in {np.dtype(dtype)}")
            cases = list(convolutions(rng, dtype))[:3]
            for (x, weight, *_), (y, _, _) in zip(cases, looped(student, cases), strict=True):
                symptom(UPCAST, y.dtype == np.float64 and dtype is np.float32)
                assert y.dtype == dtype and y.std() > 0
                assert not np.array_equal(y, x) and not np.array_equal(y, weight)

    @pytest.mark.points(0.5)
    def test_changes_nothing(self, student, rng):
        """Pictures and weights are as they were, and the result is another array."""
        cases = list(convolutions(rng))
        for (x, weight, *_), (y, x2, weight2) in zip(cases, looped(student, cases), strict=True):
            symptom(IN_PLACE, not np.array_equal(x, x2) or not np.array_equal(weight, weight2))
            assert np.std(y) > 0
            assert not np.array_equal(y, x) and not np.array_equal(y, weight)


class TestKernels:
    @pytest.mark.points(0.75)
    def test_right(self, student, rng):
        """The first kernel moves a picture one pixel to the right."""
        x = rng.normal(size=(2, 1, 4, 5))
        right, left = np.zeros_like(x), np.zeros_like(x)
        right[..., 1:], left[..., :-1] = x[..., :-1], x[..., 1:]
        y = convolved(x, self.kernels(student)[:1], 0, 1, 1)
        assert_close(y, right, symptoms={TO_THE_LEFT: left})

    @pytest.mark.points(0.5)
    def test_mean(self, student, rng):
        """The second kernel answers with the mean of each window."""
        x = rng.normal(size=(2, 1, 5, 4))
        y = convolved(x, self.kernels(student)[1:2], 0, 1, 1)
        assert_close(y, gathered(x, 3, 1, 1).mean((2, 3)))

    @pytest.mark.points(0.75)
    def test_brighter(self, student, rng):
        """The third kernel sees what gets brighter to the right, and nothing else."""
        kernel = self.kernels(student)[2:]
        level = np.broadcast_to(rng.normal(size=(1, 1, 6, 1)), (1, 1, 6, 5))
        describe_input("a picture whose rows are constant")
        assert_close(convolved(level, kernel), np.zeros((1, 1, 4, 3)), atol=1e-6)
        rising = np.cumsum(rng.uniform(0.1, 1, (1, 1, 1, 5)), axis=-1) + 0 * level
        describe_input("a picture that gets brighter from column to column")
        seen = convolved(rising, kernel)
        symptom(TO_THE_LEFT, (seen < 0).all())
        assert (seen > 0).all()

    def kernels(self, student):
        found = np.array(student.kernels(), dtype=float)
        assert found.shape == (3, 1, 3, 3)
        return found


# The windows and their rule.


@run_in_worker
def windowed(cases, how="by place"):
    """For each case (x, size, stride, padding): its windows, and x afterwards.

    how: "by place", "by name", or "a view" (x looks backwards into another array).
    """
    import numpy as np

    from tinytorch import Tensor

    found = []
    for x, size, stride, padding in cases:
        x = np.array(x)
        if how == "a view":
            x = np.array(x[:, :, ::-1].transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)[:, :, ::-1]
        x = Tensor(x)
        if how == "by name":
            y = windows(x=x, padding=padding, stride=stride, size=size)
        else:
            y = windows(x, size, stride, padding)
        found.append((np.array(y.data), x.data))
    return found


def window_cases(rng, dtype=float):
    return [(rng.normal(size=shape).astype(dtype), *options) for shape, *options in CASES]


class TestWindows:
    @pytest.mark.points(3.5)
    def test_entries(self, student, rng):
        """Entry [n, c, a, b, i, j] is that of the padded picture at [s i + a, s j + b]."""
        cases = window_cases(rng)
        for (x, size, stride, padding), (y, _) in zip(cases, windowed(student, cases), strict=True):
            told(x.shape, size, stride, padding)
            right = gathered(x, size, stride, padding)
            wrong = wrong_shapes(x.shape, size, stride, padding, *right.shape[:4])
            if size > 1:
                wrong[FLIPPED] = right[:, :, ::-1, ::-1]
                wrong[SWAPPED] = right.swapaxes(2, 3)
            assert_close(y, right, symptoms=wrong)

    @pytest.mark.points(1)
    def test_of_a_view(self, student, rng):
        """Pictures whose array is itself a view of another have the same windows."""
        cases = window_cases(rng)
        for (x, *options), (y, _) in zip(cases, windowed(student, cases, "a view"), strict=True):
            told(x.shape, *options)
            assert_close(y, gathered(x, *options))

    @pytest.mark.points(0.5)
    def test_names(self, student, rng):
        """The arguments may be given by their names."""
        cases = window_cases(rng)
        for (x, *options), (y, _) in zip(cases, windowed(student, cases, "by name"), strict=True):
            assert_close(y, gathered(x, *options))

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """Windows have the dtype of the pictures, with and without padding."""
        for dtype in (np.float32, np.float64):
            describe_input(f"pictures in {np.dtype(dtype)}")
            for y, _ in windowed(student, window_cases(rng, dtype)):
                symptom(UPCAST, y.dtype == np.float64 and dtype is np.float32)
                assert y.dtype == dtype and y.ndim == 6

    @pytest.mark.points(0.5)
    def test_changes_nothing(self, student, rng):
        """The pictures are as they were."""
        cases = window_cases(rng)
        for (x, *_), (y, x2) in zip(cases, windowed(student, cases), strict=True):
            symptom(IN_PLACE, not np.array_equal(x, x2))
            assert y.ndim == 6


@run_in_worker
def returned(cases, end_to_end, how="by place"):
    """For each case (x, g, size, stride, padding): the gradient of x, and g afterwards.

    end_to_end: through backward(), else by the rule itself. how: "by place", "by name", or "one
    for all" (g is the same number everywhere, a view of one that nobody can write to).
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    found = []
    for x, g, size, stride, padding in cases:
        x, g = np.array(x), np.array(g)
        if how == "one for all":
            g = np.broadcast_to(g[0, 0, 0, 0, 0, 0], g.shape)
        if end_to_end:
            leaf = tt.Tensor(x, requires_grad=True)
            if how == "by name":
                y = windows(leaf, padding=padding, size=size, stride=stride)
            else:
                y = windows(leaf, size, stride, padding)
            y.backward(g)
            grad = np.zeros_like(x) if leaf.grad is None else leaf.grad
        elif how == "by name":
            grad = windows_vjp(g, np.array(g), x, padding=padding, size=size, stride=stride)[0]
        else:
            grad = windows_vjp(g, np.array(g), x, size, stride, padding)[0]
        found.append((np.asarray(grad), g))
    return found


def returning(rng, dtype=float):
    for shape, *options in CASES:
        x = rng.normal(size=shape)
        g = rng.normal(size=gathered(x, *options).shape)
        yield x.astype(dtype), g.astype(dtype), *options


def one_number(g):
    return np.full_like(g, g[0, 0, 0, 0, 0, 0])


def assert_returned(student, rng, end_to_end, how="by place"):
    cases = list(returning(rng))
    found = returned(student, cases, end_to_end, how)
    for (x, g, *options), (grad, _) in zip(cases, found, strict=True):
        told(x.shape, *options)
        g = one_number(g) if how == "one for all" else g
        right = scattered(g, x.shape, *options)
        ones = scattered(np.ones_like(g), x.shape, *options)
        wrong = {CUT: np.zeros_like(x)}
        if (ones > 1).any():
            wrong[ONLY_ONCE] = scattered(g, x.shape, *options, put=put_once)
            wrong[AVERAGED] = right / np.maximum(ones, 1)
        if options[0] > 1 and how != "one for all":
            wrong[SWAPPED] = scattered(g.swapaxes(2, 3), x.shape, *options)
            wrong[FLIPPED] = scattered(g[:, :, ::-1, ::-1], x.shape, *options)
        assert_close(grad, right, symptoms=wrong)


def put_once(flat, places, g):
    """The last window wins, in the order of places inside a window."""
    for a, b in np.ndindex(places.shape[2:4]):
        flat[places[:, :, a, b]] = g[:, :, a, b]


class TestAdjoint:
    @pytest.mark.points(3.5)
    def test_rule(self, student, rng):
        """Each pixel gets the gradients of all its places, summed; padding and rest get none."""
        any_passes(
            lambda: assert_returned(student, rng, False),
            lambda: assert_returned(student, rng, True),
        )

    @pytest.mark.points(2.5)
    def test_backward(self, student, rng):
        """backward() goes through windows, whether its options are named or not."""
        for how in ("by place", "by name"):
            assert_returned(student, rng, True, how)

    @pytest.mark.points(1)
    def test_adjoint(self, student, rng):
        """<windows(x), g> is <x, rule(g)>, by your own windows and rule."""
        cases = list(returning(rng))
        for end_to_end in (True, False):
            seen = windowed(student, [(x, *options) for x, _, *options in cases])
            sent = returned(student, cases, end_to_end)
            for (x, g, *options), (y, _), (grad, _) in zip(cases, seen, sent, strict=True):
                told(x.shape, *options)
                assert y.shape == g.shape and grad.shape == x.shape
                assert_close((y * g).sum(), (x * grad).sum(), atol=1e-9)
                assert np.abs(grad).sum() > 0

    @pytest.mark.points(0.5)
    def test_one_for_all(self, student, rng):
        """A gradient that is one number for all windows, such as a sum's, comes back rightly."""
        describe_input("a gradient that can only be read")
        any_passes(
            lambda: assert_returned(student, rng, True, "one for all"),
            lambda: assert_returned(student, rng, False, "one for all"),
        )

    @pytest.mark.points(0.5)
    def test_dtype_and_g(self, student, rng):
        """The gradient has the dtype of x, and g is as it was."""
        for dtype in (np.float32, np.float64):
            describe_input(f"pictures in {np.dtype(dtype)}")
            cases = list(returning(rng, dtype))
            for (x, g, *_), (grad, g2) in zip(cases, returned(student, cases, False), strict=True):
                symptom(IN_PLACE, not np.array_equal(g, g2))
                assert grad.dtype == dtype and grad.shape == x.shape and grad.any()


# Layers, on the student's own windows and on these.

LENT = """
def places(x, size, stride, padding):
    i, j = (
        np.arange(size)[:, None] + stride * np.arange((n + 2 * padding - size) // stride + 1)
        for n in x.shape[2:]
    )
    return slice(None), slice(None), i[:, None, :, None], j[None, :, None, :]


def lent_vjp(g, out, x, size, stride=1, padding=0):
    (n, c, h, w), p = x.shape, padding
    whole = np.zeros((n, c, h + 2 * p, w + 2 * p), x.dtype)
    np.add.at(whole, places(x, size, stride, p), g)
    return (whole[:, :, p : p + h, p : p + w],)


@operation(lent_vjp)
def windows(x, size, stride=1, padding=0):
    edge = (padding, padding)
    whole = np.pad(x.data, ((0, 0), (0, 0), edge, edge))
    return Tensor(whole[places(x, size, stride, padding)])
"""


@run_in_worker
def answered(cases):
    """What layers answer, and the gradients that they send back.

    Each case is a dict. program: the text of a layer. values: what its Tensors hold, by attribute.
    arrays: the same for its NumPy arrays. x: a list of inputs, one after the other. training: the
    mode. g: the gradient at the last answer. ways: a direction for x and for each of the values.
    Told are the answers, the running arrays afterwards, the gradient of the last x, and for each
    way the gradient along it and the slope of (answer * g).sum(), by differences of answers.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    found = []
    for case in cases:
        layer = eval(case["program"], {**vars(tt), **globals(), "np": np})
        values, arrays = case.get("values", {}), case.get("arrays", {})
        for name, value in values.items():
            tensor = getattr(layer, name)
            tensor.data = np.array(value).reshape(tensor.data.shape)
            tensor.requires_grad = True
        for name, value in arrays.items():
            old = getattr(layer, name)
            setattr(layer, name, np.array(value, old.dtype).reshape(old.shape))
        layer.train() if case.get("training", True) else layer.eval()
        leaves = [tt.Tensor(np.array(x), requires_grad=True) for x in case["x"]]
        answers = [layer(leaf) for leaf in leaves]
        told = {"answers": [y.data for y in answers], "arrays": {}, "grads": {}, "slopes": {}}
        for name in ("running_mean", "running_var"):
            array = getattr(layer, name, None)
            told["arrays"][name] = np.ravel(array) if isinstance(array, np.ndarray) else None
        if "g" in case and answers[-1].requires_grad:
            answers[-1].backward(np.array(case["g"]))
        leaves = {"x": leaves[-1], **{name: getattr(layer, name) for name in values}}
        grads = {k: np.zeros(t.shape) if t.grad is None else t.grad for k, t in leaves.items()}
        told["gradient"] = grads["x"]
        for name, way in case.get("ways", {}).items():
            leaf, ends = leaves[name], []
            start, way = leaf.data, np.array(way).reshape(leaf.shape)
            for far in (1e-6, -1e-6):
                leaf.data = start + far * way
                ends.append(float((layer(tt.Tensor(leaves["x"].data)).data * case["g"]).sum()))
            leaf.data = start
            told["grads"][name] = float((grads[name] * way).sum())
            told["slopes"][name] = (ends[0] - ends[1]) / 2e-6
        found.append(told)
    return found


@run_in_worker
def lend(source):
    """Put right windows in the place of the student's; without a source, put theirs back."""
    import numpy as np

    import tinytorch as tt

    names = globals()
    if source:
        names["_theirs"] = names.get("windows")
        lent = {"np": np, "Tensor": tt.Tensor, "operation": tt.operation}
        exec(source, lent)
        names["windows"] = lent["windows"]
    else:
        names["windows"] = names.pop("_theirs")


def either_way(student, check):
    """Make a check on the student's own windows, or else on right ones."""

    def on_right_ones():
        lend(student, LENT)
        try:
            check()
        finally:
            lend(student, None)

    any_passes(check, on_right_ones)


def assert_slopes(case, found, wrong=None):
    """Gradients along the directions of a case are the slopes of the student's own answers."""
    for name in case["ways"]:
        describe_input(f"the gradient of {'the pictures' if name == 'x' else name}")
        slope, seen = found["slopes"][name], found["grads"][name]
        symptom(CUT, seen == 0.0 and abs(slope) > 1e-3)
        assert_close(seen, slope, rtol=1e-4, atol=1e-5, symptoms=(wrong or {}).get(name))


CONVS = [  # shape, channels out, kernel size, stride, padding
    ((2, 3, 6, 5), 4, 3, 1, 0),
    ((1, 2, 7, 6), 3, 2, 2, 0),
    ((2, 1, 5, 8), 2, 3, 2, 1),
    ((2, 2, 3, 3), 1, 3, 1, 2),
    ((3, 4, 4, 3), 5, 1, 1, 0),
    ((1, 2, 8, 5), 2, 2, 3, 0),
]


def conv_cases(rng, dtype=float, bias=True, grads=False):
    for shape, out, size, stride, padding in CONVS:
        x = rng.normal(size=shape).astype(dtype)
        values = {"weight": rng.normal(size=(out, shape[1], size, size)).astype(dtype)}
        if bias:
            values["bias"] = rng.normal(size=out).astype(dtype)
        case = {
            "program": f"Conv2d({shape[1]}, {out}, {size}, {stride}, {padding}, bias={bias})",
            "values": values,
            "x": [x],
        }
        y = convolved(x, values["weight"], values.get("bias", 0), stride, padding)
        if grads:
            case["g"] = rng.normal(size=y.shape)
            case["ways"] = {n: rng.normal(size=np.shape(v)) for n, v in {"x": x, **values}.items()}
        yield case, (shape, size, stride, padding), y


class TestInit:
    @pytest.mark.points(1)
    def test_shapes(self, student):
        """weight is (out, in, k, k), bias has a zero for each channel, both in float32."""
        layer = student.Conv2d(3, 5, 2)
        weight, bias = layer.weight.data, layer.bias.data
        assert weight.shape == (5, 3, 2, 2) and bias.size == 5
        symptom(UPCAST, np.float64 in (weight.dtype, bias.dtype))
        assert weight.dtype == bias.dtype == np.float32
        assert not bias.any() and weight.std() > 0
        assert len(layer.parameters()) == 2

    @pytest.mark.points(1)
    def test_spread(self, student, rng):
        """The weights are spread evenly between ± 1 / sqrt(in_channels * k * k)."""
        for inside, out, size in ((16, 20, 3), (4, 100, 5), (30, 100, 1)):
            describe_input(f"{inside} channels, {out} kernels of size {size}")
            drawn = student.Conv2d(
                inside, out, size, rng=student.np.random.default_rng(int(rng.integers(1000)))
            ).weight.data
            bound, wide = (inside * size**2) ** -0.5, np.abs(drawn).max()
            symptom(FAN_OUT, wide > 1.001 * bound or wide < 0.9 * bound)
            assert 0.93 * bound < wide <= bound * (1 + 1e-6)
            assert abs(drawn.mean()) < 0.08 * bound
            assert abs(drawn.std() / bound - 3**-0.5) < 0.05

    @pytest.mark.points(0.5)
    def test_generator(self, student):
        """The weights come from rng; without one, each layer makes its own."""
        (one, same, other), (free, free_too) = started(student)
        assert np.array_equal(one, same) and not np.array_equal(one, other)
        symptom(ONE_START, np.array_equal(free, free_too))

    @pytest.mark.points(0.5)
    def test_no_bias(self, student):
        """With bias=False there is none: the attribute is None, the parameters are one."""
        layer = student.Conv2d(2, 3, 2, bias=False)
        assert layer.bias is None
        assert [p.data.shape for p in layer.parameters()] == [(3, 2, 2, 2)]


@run_in_worker
def started():
    """First weights: with equal generators, a second of one of these, two without."""
    import numpy as np

    one, same = np.random.default_rng(5), np.random.default_rng(5)
    drawn = [Conv2d(2, 3, 2, rng=one), Conv2d(2, 3, 2, rng=same), Conv2d(2, 3, 2, rng=one)]
    free = [Conv2d(2, 3, 2), Conv2d(2, 3, 2)]
    return [layer.weight.data for layer in drawn], [layer.weight.data for layer in free]


class TestConv:
    @pytest.mark.points(2.5)
    def test_values(self, student, rng):
        """A layer gives what the loop gives, plus the bias of each channel."""
        cases, options, right = zip(*conv_cases(rng), strict=True)

        def check():
            found = answered(student, list(cases))
            for case, those, y, seen in zip(cases, options, right, found, strict=True):
                told(*those)
                shape, _, stride, padding = those
                weight, bias = case["values"]["weight"], case["values"]["bias"]
                wrong = wrong_shapes(*those, shape[0], len(weight))
                if weight.shape[-1] > 1:
                    turned = weight[:, :, ::-1, ::-1]
                    wrong[FLIPPED] = convolved(case["x"][0], turned, bias, stride, padding)
                    turned = weight.swapaxes(2, 3)
                    wrong[SWAPPED] = convolved(case["x"][0], turned, bias, stride, padding)
                assert_close(seen["answers"][0], y, symptoms=wrong)

        either_way(student, check)

    @pytest.mark.points(2.5)
    def test_gradients(self, student, rng):
        """Gradients of pictures, weight and bias are the slopes of the layer's answers."""
        cases, _, right = zip(*conv_cases(rng, grads=True), strict=True)

        def check():
            found = answered(student, list(cases))
            for case, y, seen in zip(cases, right, found, strict=True):
                assert seen["answers"][0].shape == y.shape
                assert_slopes(case, seen)

        either_way(student, check)

    @pytest.mark.points(0.5)
    def test_without_bias(self, student, rng):
        """Without a bias nothing is added."""
        cases, _, right = zip(*conv_cases(rng, bias=False), strict=True)

        def check():
            found = answered(student, list(cases))
            for y, seen in zip(right, found, strict=True):
                assert_close(seen["answers"][0], y)

        either_way(student, check)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """float32 pictures give float32, and weights in float64 give float64."""
        for dtype in (np.float32, np.float64):
            cases = [case for case, _, _ in conv_cases(rng, dtype)]

            def check(cases=cases, dtype=dtype):
                for seen in answered(student, cases):
                    symptom(UPCAST, seen["answers"][0].dtype == np.float64 and dtype is np.float32)
                    assert seen["answers"][0].dtype == dtype and seen["answers"][0].std() > 0

            either_way(student, check)


# Pooling.

POOLS = [((2, 3, 6, 4), 2, None), ((1, 2, 7, 5), 3, 2), ((2, 1, 5, 4), 2, 1), ((1, 2, 5, 5), 2, 3)]
POOLS += [((2, 2, 3, 3), 3, None), ((1, 1, 7, 6), 3, None)]


def pool_cases(rng, kind, grads=False, dtype=float):
    for shape, size, stride in POOLS:
        x = rng.normal(size=shape).astype(dtype) - 2  # most are below 0
        y = gathered(x, size, stride or size)
        y = y.max((2, 3)) if kind == "Max" else y.mean((2, 3))
        case = {"program": f"{kind}Pool2d({size}, {stride})", "x": [x]}
        if grads:
            case |= {"g": rng.normal(size=y.shape), "ways": {"x": rng.normal(size=shape)}}
        yield case, (shape, size, stride), y


def check_pools(student, rng, kind):
    cases, options, right = zip(*pool_cases(rng, kind), strict=True)

    def check():
        found = answered(student, list(cases))
        for (shape, size, stride), y, seen in zip(options, right, found, strict=True):
            told(shape, size, stride or size, 0)
            wrong = wrong_shapes(shape, size, stride or size, 0, *shape[:2])
            if stride is None and NO_STRIDE in wrong:
                wrong[STRIDE_ONE] = wrong.pop(NO_STRIDE)
            assert_close(seen["answers"][0], y, symptoms=wrong)

    either_way(student, check)


class TestPool:
    @pytest.mark.points(1)
    def test_max(self, student, rng):
        """MaxPool2d keeps the largest number of each window, each channel for itself."""
        check_pools(student, rng, "Max")

    @pytest.mark.points(1)
    def test_mean(self, student, rng):
        """AvgPool2d keeps the mean of each window, each channel for itself."""
        check_pools(student, rng, "Avg")

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("kind", ["Max", "Avg"])
    def test_gradients(self, student, rng, kind):
        """The gradient of the pictures is the slope of what pooling answers."""
        cases, _, right = zip(*pool_cases(rng, kind, grads=True), strict=True)

        def check():
            found = answered(student, list(cases))
            for case, y, seen in zip(cases, right, found, strict=True):
                assert seen["answers"][0].shape == y.shape
                assert_slopes(case, seen)

        either_way(student, check)

    @pytest.mark.points(1)
    def test_ties(self, student, rng):
        """Where the largest number stands twice, the shares of the gradient sum to it."""
        x = np.zeros((2, 2, 4, 4))  # as relu leaves it
        x[0, 0, 0, :2] = 3.0
        describe_input("pictures with windows of zeros, and one with its maximum twice")
        g = rng.uniform(1, 2, (2, 2, 2, 2))

        case = {"program": "MaxPool2d(2)", "x": [x], "g": g, "ways": {}}

        def check():
            [seen] = answered(student, [case])
            y, grad = seen["answers"][0], seen["gradient"]
            assert_close(y, gathered(x, 2, 2).max((2, 3)))
            sums = gathered(grad, 2, 2).sum((2, 3))
            symptom(ALL_TIES, (sums > 1.5 * g).any())
            symptom(CUT, not grad.any())
            assert_close(sums, g)
            assert_close(grad[0, 0, 0, :2].sum(), g[0, 0, 0, 0])
            assert not grad[0, 0, 1, :2].any()

        either_way(student, check)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """float32 pictures give float32."""
        cases = [case for kind in ("Max", "Avg") for case, *_ in pool_cases(rng, kind, False, "f4")]

        def check():
            found = answered(student, list(cases))
            for case, seen in zip(cases, found, strict=True):
                symptom(UPCAST, seen["answers"][0].dtype == np.float64)
                assert seen["answers"][0].dtype == np.float32 and seen["answers"][0].ndim == 4
                assert not np.array_equal(seen["answers"][0], case["x"][0])

        either_way(student, check)


class TestFlatten:
    @pytest.mark.points(0.6)
    def test_values(self, student, rng):
        """(N, ...) becomes (N, the product of the rest), row by row."""
        for shape in ((2, 3, 4, 5), (3, 7), (4, 1, 1, 1), (1, 2, 3)):
            describe_input(f"an array of shape {shape}")
            x = rng.normal(size=shape)
            y = student.Flatten()(student.Tensor(x)).data
            assert_close(y, x.reshape(shape[0], -1), rtol=0, atol=0)

    @pytest.mark.points(0.4)
    def test_gradient(self, student, rng):
        """Its gradient comes back in the shape of the pictures."""
        x, g = rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 12))
        case = {"program": "Flatten()", "x": [x], "g": g, "ways": {"x": rng.normal(size=x.shape)}}
        [seen] = answered(student, [case])
        assert seen["answers"][0].shape == (2, 12)
        assert_slopes(case, seen)


class TestBug:
    @pytest.mark.points(1)
    def test_breaks_it(self, student):
        """A picture 3 x 3 for which hasty_max_pool is wrong."""
        picture = np.array(student.breaks_it(), dtype=float)
        assert picture.shape == (1, 1, 3, 3) and np.isfinite(picture).all()
        hasty = np.pad(picture, (*EDGES, (0, 1), (0, 1))).reshape(2, 2, 2, 2).max((1, 3))
        least = np.pad(picture, (*EDGES, (0, 1), (0, 1)), constant_values=-np.inf)
        assert not np.allclose(hasty, least.reshape(2, 2, 2, 2).max((1, 3)))


# Normalisation.


def normalised(x, weight=1.0, bias=0.0, eps=1e-5, axes=(0, 2, 3), ddof=0):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    return (x - mean) / np.sqrt(var + eps) * np.reshape(weight, (-1, 1, 1)) + np.reshape(
        bias, (-1, 1, 1)
    )


def running(batches, momentum, ddof=1, swapped=False):
    """Mean and variance after these batches, from 0 and 1."""
    mean, var = 0.0, 1.0
    m = 1 - momentum if swapped else momentum
    for x in batches:
        mean = (1 - m) * mean + m * x.mean((0, 2, 3))
        var = (1 - m) * var + m * x.var((0, 2, 3), ddof=ddof)
    return mean, var


def scaled(rng, *shape, dtype=float):
    """Pictures whose channels differ in mean and size."""
    level, size = rng.normal(size=(2, shape[1], 1, 1))
    return (rng.normal(size=shape) * (0.5 + np.abs(size)) + 2 * level).astype(dtype)


def norm_case(rng, *shape, dtype=float, options="", grads=False, **more):
    x = scaled(rng, *shape, dtype=dtype)
    values = {name: rng.uniform(0.5, 2, shape[1]).astype(dtype) for name in ("weight", "bias")}
    case = {"program": f"BatchNorm2d({shape[1]}{options})", "values": values, "x": [x], **more}
    if grads:
        case["g"] = rng.normal(size=shape)
        case["ways"] = {n: rng.normal(size=np.shape(v)) for n, v in {"x": x, **values}.items()}
    return case


SHAPES = [(4, 3, 2, 3), (2, 1, 3, 3), (5, 2, 1, 1), (1, 3, 4, 2)]


class TestBatchNorm:
    @pytest.mark.points(2)
    def test_training(self, student, rng):
        """In training each channel has mean 0 and variance 1, times weight, plus bias."""
        cases = [norm_case(rng, *shape) for shape in SHAPES]
        cases.append(norm_case(rng, 3, 2, 2, 2, options=", eps=0.5"))
        for case, seen in zip(cases, answered(student, cases), strict=True):
            x, (weight, bias) = case["x"][0], case["values"].values()
            eps = 0.5 if "eps" in case["program"] else 1e-5
            describe_input(f"pictures {x.shape}, eps {eps}")
            wrong = {
                OVER_BATCH: normalised(x, weight, bias, eps, (0,)),
                OVER_ALL: normalised(x, weight, bias, eps, (0, 1, 2, 3)),
                PER_PICTURE: normalised(x, weight, bias, eps, (2, 3)),
                UNBIASED: normalised(x, weight, bias, eps, ddof=1),
                EPS_OUTSIDE: (x - x.mean((0, 2, 3), keepdims=True))
                / (x.std((0, 2, 3), keepdims=True) + eps)
                * weight[:, None, None]
                + bias[:, None, None],
            }
            assert_close(seen["answers"][0], normalised(x, weight, bias, eps), symptoms=wrong)
        describe_input("pictures in float32 whose channels are each one large number everywhere")
        case = norm_case(rng, 4, 32, 5, 5, dtype=np.float32)
        x = np.zeros((4, 32, 5, 5)) + rng.uniform(10, 30, (32, 1, 1))
        [seen] = answered(student, [case | {"x": [x.astype(np.float32)]}])
        bias = np.broadcast_to(case["values"]["bias"][:, None, None], x.shape)
        assert_close(seen["answers"][0], bias, rtol=0, atol=0.1)

    @pytest.mark.points(2)
    def test_running(self, student, rng):
        """The running mean and variance follow the batches by momentum, the variance unbiased."""
        cases, momenta = [], (0.1, 0.1, 0.35)
        runs = SHAPES[:1], SHAPES[:1] * 3, [(2, 3, 2, 1)] * 2
        for momentum, shapes in zip(momenta, runs, strict=True):
            case = norm_case(rng, *shapes[0], options=f", momentum={momentum}")
            case["x"] = [scaled(rng, *shape) for shape in shapes]
            cases.append(case)
        cases[0]["program"] = "BatchNorm2d(3)"
        for case, momentum, seen in zip(cases, momenta, answered(student, cases), strict=True):
            describe_input(f"{len(case['x'])} batches, momentum {momentum}")
            right = running(case["x"], momentum)
            swapped = running(case["x"], momentum, swapped=True)
            mean, var = seen["arrays"]["running_mean"], seen["arrays"]["running_var"]
            wrong = {NOT_RUNNING: np.zeros(3), MOMENTUM: swapped[0]}
            assert_close(mean, right[0], rtol=1e-5, atol=1e-6, symptoms=wrong)
            biased = running(case["x"], momentum, ddof=0)[1]
            wrong = {BIASED: biased, NOT_RUNNING: np.ones(3), MOMENTUM: swapped[1]}
            assert_close(var, right[1], rtol=1e-5, atol=1e-6, symptoms=wrong)

    @pytest.mark.points(1.25)
    def test_in_use(self, student, rng):
        """In the mode for use the running mean and variance count, and stay as they are."""
        cases = []
        for shape in SHAPES:
            mean = rng.normal(size=shape[1]).astype(np.float32)
            var = rng.uniform(0.2, 3, shape[1]).astype(np.float32)
            arrays = {"running_mean": mean, "running_var": var}
            cases.append(norm_case(rng, *shape, arrays=arrays, training=False))
        cases.append(norm_case(rng, 1, 2, 1, 1, arrays={}, training=False))
        for case, seen in zip(cases, answered(student, cases), strict=True):
            x, (weight, bias) = case["x"][0], (v[:, None, None] for v in case["values"].values())
            describe_input(f"pictures {x.shape} in the mode for use")
            mean = case["arrays"].get("running_mean", np.zeros(x.shape[1]))
            var = case["arrays"].get("running_var", np.ones(x.shape[1]))
            symptom(RUN_IN_USE, not np.allclose(seen["arrays"]["running_mean"], mean))
            symptom(RUN_IN_USE, not np.allclose(seen["arrays"]["running_var"], var))
            y = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5) * weight + bias
            batch = normalised(x, *case["values"].values())
            assert_close(
                seen["answers"][0], y, rtol=1e-5, atol=1e-6, symptoms={BATCH_IN_USE: batch}
            )

    @pytest.mark.points(1.5)
    def test_gradients(self, student, rng):
        """In training gradients flow to all three, to pictures through mean and variance, too."""
        cases = [norm_case(rng, *shape, grads=True) for shape in SHAPES]
        for case, seen in zip(cases, answered(student, cases), strict=True):
            x, weight = case["x"][0], case["values"]["weight"][:, None, None]
            fixed = weight / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
            held = float((case["g"] * fixed * case["ways"]["x"]).sum())
            assert_slopes(case, seen, {"x": {DETACHED: held}})
            self.assert_differs(case, seen)

    @pytest.mark.points(0.25)
    def test_gradients_in_use(self, student, rng):
        """In the mode for use they flow, too."""
        case = norm_case(rng, 3, 2, 2, 2, grads=True, training=False)
        case["arrays"] = {"running_var": np.array([0.3, 4.0])}
        [seen] = answered(student, [case])
        assert_slopes(case, seen)
        self.assert_differs(case, seen)

    @pytest.mark.points(0.5)
    def test_constant(self, student, rng):
        """A channel that is constant becomes its bias, and its gradient is a number."""
        case = norm_case(rng, 3, 2, 2, 2, grads=True)
        case["x"][0][:, 1] = 3.0
        describe_input("a channel with the same number everywhere")
        [seen] = answered(student, [case])
        bias = case["values"]["bias"][1]
        assert_close(seen["answers"][0][:, 1], np.full((3, 2, 2), bias))
        assert np.isfinite([*seen["grads"].values()]).all()
        assert_slopes(case, seen)
        self.assert_differs(case, seen)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """float32 pictures give float32 in both modes, also after a batch in float64."""
        for training in (True, False):
            describe_input(f"float32 pictures, {'training' if training else 'in use'}")
            case = norm_case(rng, 3, 2, 2, 2, dtype=np.float32, training=training)
            [seen] = answered(student, [case])
            symptom(UPCAST, seen["answers"][0].dtype == np.float64)
            assert seen["answers"][0].dtype == np.float32
            self.assert_differs(case, seen)
        y = afterwards(student, scaled(rng, 3, 2, 2, 2))
        describe_input("float32 pictures in use, after a batch in float64")
        symptom(UPCAST, y.dtype == np.float64)
        assert y.dtype == np.float32 and y.std() > 0

    def assert_differs(self, case, seen):
        assert seen["answers"][-1].shape == case["x"][-1].shape
        assert not np.allclose(seen["answers"][-1], case["x"][-1])


@run_in_worker
def afterwards(x):
    """What a layer gives for float32 pictures in use, when it has been trained in float64."""
    import numpy as np

    import tinytorch as tt

    layer = BatchNorm2d(x.shape[1])
    layer(tt.Tensor(np.array(x)))
    return layer.eval()(tt.Tensor(np.array(x, np.float32))).data


# A pixel aside.


@run_in_worker
def aside(images, seeds):
    """Pictures moved by generators of these seeds, and the pictures afterwards."""
    import numpy as np

    images = np.array(images)
    return [np.asarray(moved(images, np.random.default_rng(seed))) for seed in seeds], images


def nine(images):
    """All ways to move pictures (N, 1, k, k) by up to a pixel: (9, N, 1, k, k)."""
    k, whole = images.shape[-1], padded(images, 1)
    return np.stack([whole[..., i : i + k, j : j + k] for i in range(3) for j in range(3)])


class TestMoved:
    @pytest.mark.points(1.25)
    def test_moved(self, student, rng):
        """Each picture goes one of nine ways, each as often as any other, and zeros come in."""
        images = rng.uniform(0.5, 1, (360, 1, 5, 5)).astype(np.float32)
        describe_input("360 pictures 5 x 5")

        def check():
            [there], _ = aside(student, images, [int(rng.integers(10**6))])
            assert there.shape == images.shape
            ways = (nine(images) == there).all((2, 3, 4))
            assert (ways.sum(0) == 1).all(), "moved by up to a pixel"
            symptom(TOGETHER, (ways.sum(1) == 360).any())
            assert (ways.sum(1) > 10).all(), "each of the nine ways"

        either_way(student, check)

    @pytest.mark.points(0.75)
    def test_generator(self, student, rng):
        """The ways come from the generator, and the pictures are as they were."""
        images, seed = rng.uniform(0.5, 1, (20, 1, 4, 4)), int(rng.integers(10**6))

        def check():
            (one, same, other), after = aside(student, images, [seed, seed, seed + 1])
            assert np.array_equal(one, same) and not np.array_equal(one, other)
            symptom(IN_PLACE, not np.array_equal(after, images))
            assert not np.array_equal(one, images)

        either_way(student, check)


# The weights that were handed in.

with np.load(Path(__file__).parents[3] / "source/09_spatial/digits.npz") as file:
    PICTURES = (file["images"].reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    LABELS = file["labels"].astype(int)
ORDER = np.random.default_rng(9).permutation(len(PICTURES))  # the notebook's
LEARN, UNSEEN = ORDER[:1297], ORDER[1297:]


def noisy(rng, images):
    return (images + rng.normal(0, 0.05, images.shape)).astype(np.float32)


def drawn(rng, places):
    """Digits of these places, each moved by up to a pixel, and noisy."""
    ways = rng.integers(9, size=len(places))
    return noisy(rng, nine(PICTURES[places])[ways, np.arange(len(places))])


@run_in_worker
def read_by_weights(source, images):
    """The logits of digits_net(), with the weights of cnn.npz, in the mode for use."""
    import os

    import numpy as np

    import tinytorch as tt

    if not os.path.exists("cnn.npz"):
        return None
    names = {"__name__": "weights"}
    exec(source, names)
    model = digits_net()
    names["load_weights"]("cnn.npz", model)
    model.eval()
    tt.enable_gradients()
    with tt.no_grad():
        return np.asarray(model(tt.Tensor(np.array(images))).data)


class TestMilestone:
    @pytest.mark.points(5)
    def test_90_of_100(self, student, reference, rng):
        """Your weights read 90 of 100 digits that are moved by up to a pixel, and noisy."""
        assert self.share(student, reference, rng) >= 0.9

    @pytest.mark.points(5)
    def test_97_of_100(self, student, reference, rng):
        """Your weights read 97 of 100 digits that are moved by up to a pixel, and noisy."""
        assert self.share(student, reference, rng) >= 0.97

    def share(self, student, reference, rng):
        places = rng.permutation(np.concatenate([UNSEEN, UNSEEN]))
        describe_input("500 digits that nothing was learned from, each moved and noisy in two ways")
        source = Path(reference.__file__).with_name("weights.py").read_text()
        with recognise(OTHER_MODEL, ValueError):
            logits = read_by_weights(student, source, drawn(rng, places))
        symptom(NO_FILE, logits is None)
        assert logits.shape == (len(places), 10) and np.isfinite(logits).all()
        return np.mean(logits.argmax(1) == LABELS[places])


# The whole.


def _trained(weights, batches, probe, rate):
    """Train a network of all layers in float64: losses, parameters, logits at `probe` in use.

    Without a rate: the loss of the first batch, and the gradients of it.
    """
    import numpy as np

    import tinytorch as tt

    names = {**vars(tt), **globals()}  # the student's where there are some
    tt.enable_gradients()
    layers = [
        names["Conv2d"](2, 3, 3, 1, 1, False),
        names["BatchNorm2d"](3, momentum=0.3),
        tt.relu,
        names["MaxPool2d"](2),
        names["Conv2d"](3, 4, 2, stride=2, padding=1),
        names["BatchNorm2d"](4),
        tt.gelu,
        names["AvgPool2d"](2, 1),
        names["Flatten"](),
        tt.Linear(16, 3),
    ]
    holders = [(layers[k], name) for k in (0, 1, 4, 5, 9) for name in ("weight", "bias")]
    holders = [(layer, name) for layer, name in holders if getattr(layer, name) is not None]
    for (layer, name), value in zip(holders, weights, strict=True):
        tensor = getattr(layer, name)
        tensor.data = np.array(value).reshape(tensor.data.shape)
    model = tt.Sequential(*layers)
    given = [(tt.Tensor(np.array(x)), np.array(y)) for x, y in batches]
    if rate is None:
        x = given[0][0]
        for tensor in (x, *model.parameters()):
            tensor.requires_grad = True
        loss = tt.cross_entropy(model(x), given[0][1])
        loss.backward()
        found = [x, *(getattr(layer, name) for layer, name in holders)]
        return float(loss.data), [np.ravel(tensor.grad) for tensor in found]
    optimizer = tt.Adam(model.parameters(), lr=rate)
    history = tt.Trainer(model, tt.cross_entropy, optimizer).fit(given, 2).history
    model.eval()
    values = [np.ravel(getattr(layer, name).data) for layer, name in holders]
    return history, values, model(tt.Tensor(np.array(probe))).data


trained = run_in_worker(_trained)


def by_reference(reference, *data):
    """The same on the reference, in this process."""
    here = FunctionType(_trained.__code__, dict(vars(reference)))
    try:
        return here(*data)
    finally:
        reference.disable_gradients()


def network(rng):
    """Weights for the network of `_trained`."""
    sizes = (3, 2, 3, 3), (3,), (3,), (4, 3, 2, 2), (4,), (4,), (4,), (16, 3), (3,)
    return [
        rng.uniform(-1, 1, size) * np.prod(size[1:]) ** -0.5 + (len(size) == 1) for size in sizes
    ]


@run_in_worker
def learned(images, classes, seed, probe):
    """Train a small network of the student's layers on digits: losses, logits at `probe`."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    rng = np.random.default_rng(seed)
    model = tt.Sequential(
        Conv2d(1, 12, 3, padding=1, rng=rng),
        BatchNorm2d(12),
        tt.relu,
        MaxPool2d(2),
        Flatten(),
        tt.Linear(192, 10, rng=rng),
    )
    order = rng.permutation(len(images)).reshape(-1, 32)
    batches = [(tt.Tensor(np.array(images[k])), np.array(classes[k])) for k in order]
    trainer = tt.Trainer(model, tt.cross_entropy, tt.Adam(model.parameters(), lr=0.02))
    trainer.fit(batches, 2)
    model.eval()
    return model(tt.Tensor(np.array(probe))).data


@run_in_worker
def begun(seeds, images):
    """The logits of untrained networks for digits, with generators of these seeds."""
    import numpy as np

    import tinytorch as tt

    nets = [digits_net(np.random.default_rng(seed)).eval() for seed in seeds]
    return [np.asarray(net(tt.Tensor(np.array(images))).data) for net in nets]


class TestWhole:
    @pytest.mark.points(5)
    def test_gradients(self, student, reference, rng):
        """In a network of all layers every parameter, and the pictures, get the right gradient."""
        weights, x = network(rng), rng.normal(size=(5, 2, 8, 8))
        describe_input("five pictures 8 x 8 of two channels, in float64")
        data = weights, [(x, rng.integers(0, 3, 5))], None, None
        wanted, found = by_reference(reference, *data), trained(student, *data)
        assert_close(found[0], wanted[0], rtol=1e-6)
        assert len(found[1]) == len(wanted[1]) == 10
        for seen, right in zip(found[1], wanted[1], strict=True):
            assert_close(seen, right, rtol=1e-5, atol=1e-9)

    @pytest.mark.points(9)
    def test_each_step(self, student, reference, rng):
        """Trained by Adam, that network takes each step as it should, and answers so in use."""
        weights = network(rng)
        batches = [(scaled(rng, n, 2, 8, 8), rng.integers(0, 3, n)) for n in (5, 4, 6)]
        describe_input("three batches, walked twice, in float64; then four pictures in use")
        data = weights, batches, scaled(rng, 4, 2, 8, 8), 0.02
        wanted, found = by_reference(reference, *data), trained(student, *data)
        assert len(found[0]) == 6
        assert_close(found[0], wanted[0], rtol=1e-5)
        assert len(found[1]) == len(wanted[1]) == 9
        for seen, right in zip(found[1], wanted[1], strict=True):
            assert_close(seen, right, rtol=1e-4, atol=1e-5)
        assert_close(found[2], wanted[2], rtol=1e-3, atol=1e-4)

    @pytest.mark.points(1)
    def test_starts_from_its_generator(self, student, rng):
        """digits_net(rng) draws all its weights from rng, and gives ten logits a picture."""
        seed = int(rng.integers(10**6))
        one, same, other = begun(student, [seed, seed, seed + 1], drawn(rng, UNSEEN[:4]))
        assert one.shape == (4, 10) and one.std() > 0
        assert np.array_equal(one, same) and not np.allclose(one, other)

    @pytest.mark.points(6)
    def test_learns(self, student, rng):
        """Forty steps teach a network of your layers to read 80 of 100 digits it has not seen."""
        describe_input("640 noisy digits, walked twice in batches of 32; 300 others")
        places = rng.permutation(len(PICTURES))
        some, others = places[:640], places[640:940]
        images, probe = noisy(rng, PICTURES[some]), noisy(rng, PICTURES[others])
        logits = learned(student, images, LABELS[some], int(rng.integers(10**6)), probe)
        assert logits.shape == (300, 10)
        assert np.mean(logits.argmax(1) == LABELS[others]) >= 0.8
