"""Hidden tests of 04_losses. Expected values are NumPy's in float64, by the notebook's formulas."""

import numpy as np
import pytest
from forward_mode import connected

from proctor.testing import Misconception, kind, lifted, recognise, same

SUMMED = Misconception(
    "sum for mean",
    "The loss grows with the number of examples: it is a sum, and the mean over all entries is "
    "asked.",
)
SIGN = Misconception(
    "sign", "The size is right, the sign isn't: a loss is -log, and never negative."
)
NOT_SQUARED = Misconception(
    "not squared",
    "This is the mean of the absolute errors, or a root was taken: the mean of the squares is "
    "asked.",
)
NOT_NORMALISED = Misconception(
    "logits for log-probabilities",
    "The raw logits of the right classes were averaged: logits become logarithms of probabilities "
    "only through log_softmax.",
)
WRONG_AXIS = Misconception(
    "normalised over the batch",
    "The probabilities add up to 1 over the examples instead of over the classes: along which axis "
    "was the softmax taken?",
)
ALL_PAIRS = Misconception(
    "all pairs",
    "The classes of all examples were picked in every row, an (N, N) block: index the rows with "
    "0, 1, ..., N-1, not with ':'.",
)
ALL_ENTRIES = Misconception(
    "mean over all classes",
    "The loss is too small by the number of classes: the zeros of the classes that were not asked "
    "for are in the mean. Divide by N.",
)
LOG_OF_ZERO = Misconception(
    "logarithm of a rounded softmax",
    "With large logits a probability rounds to 0 (or exp overflows) before the logarithm "
    "is taken: log_softmax never forms the probability.",
)
NEEDS_ARRAY = Misconception(
    "targets as a list",
    "A list of class indices is as good as an array, but has no .shape, .astype or arithmetic.",
)
ONE_TERM = Misconception(
    "only one of the two terms",
    "Examples of one of the two targets cost nothing: log(p) and log(1 - p) are both needed, "
    "weighted by the target and by 1 minus the target.",
)
NO_FLOOR = Misconception(
    "no floor",
    "With a probability of exactly 0 or 1 the loss is infinite or NaN: a logarithm saw 0, and even "
    "0 * log(0) is NaN. Give both logarithms an argument of at least 1e-7.",
)
CLIPPED = Misconception(
    "floor under p instead of 1 - p",
    "The probability was kept below 1 - 1e-7, which float32 rounds: bound the arguments of the two "
    "logarithms, p and 1 - p, not p from both sides.",
)
OTHER_FLOOR = Misconception(
    "another floor", "The loss of a certain and wrong answer is finite, but its floor isn't 1e-7."
)
ADDED_FLOOR = Misconception(
    "floor added",
    "1e-7 was added to the argument: that changes every loss. A floor leaves larger arguments as "
    "they are.",
)
ONE_SIDED = Misconception(
    "one-sided difference",
    "The slope is that of a one-sided difference: compare a nudge up with a nudge down, not with "
    "the loss where you stand.",
)
TWICE = Misconception(
    "distance of the nudges",
    "The slope is wrong by a factor: how far apart are the nudge up and the nudge down?",
)
TOGETHER = Misconception(
    "nudged together",
    "All entries have the slope of the whole parameter: nudge one entry while the others stay.",
)
UPSIDE_DOWN = Misconception(
    "slope upside down", "The slope has the wrong sign: it is the loss above minus the loss below."
)
LEFT_MOVED = Misconception(
    "left nudged",
    "After measuring, the parameters are not where they were: put the old values back each time.",
)


def is_one_of(*wrong):
    """A symptom: one of several wrong values."""
    return lambda seen: any(
        seen.shape == np.shape(values) and np.allclose(seen, values, rtol=1e-7) for values in wrong
    )


def log_softmax(logits, axis=1):
    shifted = logits - logits.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def surprise(logits, targets):
    """The mean of -log softmax at the targets, in float64."""
    logits = np.asarray(logits, dtype=np.float64)
    return -log_softmax(logits)[np.arange(len(logits)), targets].mean()


def classes(rng, n, c):
    """Logits (n, c) and targets, of which at least two differ if n > 1."""
    targets = rng.integers(0, c, size=n)
    targets[0] = (targets[-1] + 1) % c
    return 2 * rng.normal(size=(n, c)), targets


def answers(rng, shape):
    """Probabilities well inside (0, 1), and targets of both kinds if there is more than one."""
    targets = np.zeros(int(np.prod(shape)))
    targets[::2] = 1.0
    return rng.uniform(0.05, 0.95, size=shape), rng.permutation(targets).reshape(shape)


@lifted
def without_warning(name, inputs, targets):
    """The loss, if nothing on the way overflowed, was divided by zero or became NaN."""
    import numpy as np

    with np.errstate(over="raise", divide="raise", invalid="raise"):
        return globals()[name](Tensor(np.array(inputs)), targets).data


class TestMse:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("shape", [(1, 1), (7,), (4, 3), (2, 3, 4)])
    def test_value(self, student, rng, shape):
        """mse_loss is the mean of the squared differences over all entries, a single number."""
        predictions, targets = rng.normal(size=shape), rng.normal(size=shape)
        kind(f"float64 predictions and targets of shape {shape}")
        error = predictions - targets
        symptoms = {
            SUMMED: is_one_of(*((error**2).sum() / n for n in (1, shape[0], shape[-1]))),
            NOT_SQUARED: is_one_of(abs(error).mean(), np.sqrt((error**2).mean())),
        }
        loss = student.mse_loss(student.Tensor(predictions), targets)
        same(loss.data, (error**2).mean(), symptoms=symptoms)

    @pytest.mark.points(2)
    def test_targets_are_arrays_or_tensors(self, student, rng):
        """The targets of mse_loss may be a Tensor, or an array of floats or integers."""
        predictions, targets = rng.normal(size=(5, 2)), rng.integers(-3, 4, size=(5, 2))
        expected = ((predictions - targets) ** 2).mean()
        inputs = student.Tensor(predictions)
        kind("targets in a float64 array")
        same(student.mse_loss(inputs, targets.astype(np.float64)).data, expected)
        kind("targets in a Tensor")
        same(student.mse_loss(inputs, student.Tensor(targets.astype(np.float64))).data, expected)
        kind("targets in an array of integers")
        same(student.mse_loss(inputs, targets).data, expected)

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """mse_loss keeps the dtype: float32 stays float32, float64 stays float64."""
        for dtype in (np.float32, np.float64):
            predictions, targets = rng.normal(size=(2, 6)).astype(dtype)
            kind(f"predictions and targets in {np.dtype(dtype)}")
            expected = np.mean((predictions - targets) ** 2)
            same(student.mse_loss(student.Tensor(predictions), targets).data, expected, dtype=dtype)

    @pytest.mark.points(3)
    def test_connected(self, student, reference, rng):
        """The derivative of mse_loss reaches the predictions: it is made of Tensor operations."""
        predictions, targets = rng.normal(size=(2, 4, 3))
        program = "lambda predictions: mse_loss(predictions, targets)"
        connected(student, reference, rng, program, [predictions], constants={"targets": targets})


class TestCrossEntropy:
    @pytest.mark.points(6)
    def test_value(self, student, rng):
        """cross_entropy is the mean over the examples of -log softmax at the right class."""
        logits, targets = classes(rng, 5, 4)
        kind("float64 logits of shape (5, 4) and an array of 5 class indices")
        rows, log_p, expected = np.arange(5), log_softmax(logits), surprise(logits, targets)
        symptoms = {
            SUMMED: 5 * expected,
            ALL_ENTRIES: expected / 4,
            SIGN: -expected,
            ALL_PAIRS: -log_p[:, targets].mean(),
            NOT_NORMALISED: -logits[rows, targets].mean(),
            WRONG_AXIS: -log_softmax(logits, axis=0)[rows, targets].mean(),
        }
        loss = student.cross_entropy(student.Tensor(logits), targets)
        same(loss.data, expected, symptoms=symptoms)

    @pytest.mark.points(3)
    def test_equal_logits_cost_log_c(self, student, rng):
        """Equal logits, whatever their value, cost log C: each of C classes has probability 1/C."""
        drawn = rng.integers([2, 1, -50], [31, 9, 51], (10, 3)).tolist()
        for c, n, common in ([2, 1, 0], [30, 8, -50], *drawn):
            logits = np.full((n, c), float(common))
            kind(f"{n} examples with {c} equal logits")
            symptoms = {SUMMED: n * np.log(c), SIGN: -np.log(c), WRONG_AXIS: np.log(n)}
            loss = student.cross_entropy(student.Tensor(logits), np.arange(n) % c)
            same(loss.data, np.log(c), symptoms=symptoms)

    @pytest.mark.points(2)
    def test_shift_of_a_row(self, student, rng):
        """Adding a number to all logits of an example changes nothing."""
        logits, targets = classes(rng, 6, 3)
        shifted = logits + rng.uniform(-20, 20, size=(6, 1))
        kind("float64 logits of shape (6, 3), another number added to each row")
        symptoms = {NOT_NORMALISED: -shifted[np.arange(6), targets].mean()}
        loss = student.cross_entropy(student.Tensor(shifted), targets)
        same(loss.data, surprise(logits, targets), symptoms=symptoms)

    @pytest.mark.points(3)
    def test_targets_are_lists_or_arrays(self, student, rng):
        """The targets of cross_entropy may be a list of class indices, or any integer array."""
        logits, targets = classes(rng, 7, 5)
        inputs, expected = student.Tensor(logits), surprise(logits, targets)
        kind("targets in an array of small integers")
        same(student.cross_entropy(inputs, targets.astype(np.int32)).data, expected)
        kind("targets in a list")
        with recognise(NEEDS_ARRAY, AttributeError, TypeError):
            loss = student.cross_entropy(inputs, targets.tolist())
        same(loss.data, expected)

    @pytest.mark.points(2)
    def test_one_example(self, student, rng):
        """A batch of one example costs its -log softmax at the right class, a single number."""
        logits, targets = classes(rng, 1, 6)
        kind("logits of shape (1, 6) and one class index")
        loss = student.cross_entropy(student.Tensor(logits), targets)
        expected = surprise(logits, targets)
        same(loss.data, expected, symptoms={ALL_ENTRIES: expected / 6})

    @pytest.mark.points(2)
    def test_dtype(self, student, rng):
        """cross_entropy keeps the dtype of its logits."""
        for dtype in (np.float32, np.float64):
            logits, targets = classes(rng, 4, 3)
            kind(f"logits in {np.dtype(dtype)}")
            loss = student.cross_entropy(student.Tensor(logits.astype(dtype)), targets)
            same(loss.data, surprise(logits, targets), rtol=1e-5, dtype=dtype)

    @pytest.mark.points(4)
    def test_connected(self, student, reference, rng):
        """The derivative of cross_entropy reaches the logits: it is made of Tensor operations."""
        logits, targets = classes(rng, 4, 3)
        program = "lambda logits: cross_entropy(logits, targets)"
        connected(student, reference, rng, program, [logits], constants={"targets": targets})


def confident(rng, n, c):
    """Logits that are 10,000 at one wrong class of each row and about -10,000 elsewhere."""
    chosen = rng.integers(0, c, size=n)
    logits = rng.uniform(-10_000, -9_000, size=(n, c))
    logits[np.arange(n), chosen] = 10_000.0
    return logits, chosen


class TestStable:
    @pytest.mark.points(5)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_confident_and_wrong(self, student, rng, dtype):
        """A logit that is too small by 20,000 costs 20,000, not infinity."""
        logits, chosen = confident(rng, 5, 4)
        logits, targets = logits.astype(dtype), (chosen + 1) % 4
        kind(f"logits around ±10,000 in {np.dtype(dtype)}")
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all() or (seen < 1000).all()}
        loss = student.cross_entropy(student.Tensor(logits), targets)
        same(loss.data, surprise(logits, targets), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(2)
    def test_confident_and_right(self, student, rng):
        """A right class that leads by 20,000 costs nothing, a wrong one something."""
        logits, targets = confident(rng, 5, 4)
        kind("logits around ±10,000, the largest at the right class")
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all()}
        same(student.cross_entropy(student.Tensor(logits), targets).data, 0.0, symptoms=symptoms)
        kind("logits around ±10,000, the largest at a wrong class")
        assert abs(student.cross_entropy(student.Tensor(logits), (targets + 1) % 4).data) > 1

    @pytest.mark.points(3)
    def test_no_warning(self, student, rng):
        """Large logits cause no overflow, no division by zero and no NaN, not even on the way."""
        logits, chosen = confident(rng, 6, 3)
        targets = (chosen + np.arange(6)) % 3
        kind("logits around ±10,000, some examples right and some wrong")
        with recognise(LOG_OF_ZERO, FloatingPointError):
            loss = without_warning(student, "cross_entropy", logits, targets)
        same(loss, surprise(logits, targets))

    @pytest.mark.points(4)
    def test_slope(self, student, reference, rng):
        """The derivative of cross_entropy is right where the model is confident and wrong."""
        logits, chosen = confident(rng, 3, 4)
        constants = {"targets": (chosen + 1) % 4}
        kind("logits around ±10,000")
        program = "lambda logits: cross_entropy(logits, targets)"
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all()}
        connected(
            student, reference, rng, program, [logits], constants=constants, symptoms=symptoms
        )


class TestBce:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("shape", [(1,), (8,), (4, 3)])
    def test_value(self, student, rng, shape):
        """binary_cross_entropy is the mean of -log p at target 1 and of -log(1-p) at target 0."""
        p, t = answers(rng, shape)
        kind(f"probabilities between 0.05 and 0.95 and targets of 0 and 1, of shape {shape}")
        yes, no = -(t * np.log(p)).mean(), -((1 - t) * np.log(1 - p)).mean()
        symptoms = {
            SUMMED: p.size * (yes + no),
            SIGN: -(yes + no),
            ONE_TERM: is_one_of(yes, no),
        }
        loss = student.binary_cross_entropy(student.Tensor(p), t)
        same(loss.data, yes + no, rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(4)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_certain_and_wrong(self, student, rng, dtype):
        """A probability of exactly 0 or 1 that is wrong costs -log(1e-7), not infinity."""
        p = np.array([0, 1, 1, 0, 1], dtype=dtype)[: rng.integers(2, 6)]
        kind(f"probabilities of exactly 0 and 1 in {np.dtype(dtype)}, all wrong")
        clipped = -np.log(np.where(p == 1, 1 - np.float32(1 - 1e-7), 1e-7)).mean()
        symptoms = {
            NO_FLOOR: lambda seen: not np.isfinite(seen).all(),
            CLIPPED: clipped,
            OTHER_FLOOR: lambda seen: (seen > 1).all() and seen.shape == (),
        }
        loss = student.binary_cross_entropy(student.Tensor(p), 1 - p)
        same(loss.data, -np.log(1e-7), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(2)
    def test_certain_and_right(self, student, rng):
        """A probability of exactly 0 or 1 that is right costs nothing, a wrong one something."""
        p = rng.permutation([0.0, 1.0, 1.0, 0.0, 1.0])
        kind("probabilities of exactly 0 and 1, all right")
        symptoms = {NO_FLOOR: lambda seen: not np.isfinite(seen).all()}
        loss = student.binary_cross_entropy(student.Tensor(p), p)
        same(loss.data, 0.0, atol=1e-6, symptoms=symptoms)
        kind("probabilities of exactly 0 and 1, all wrong")
        assert abs(student.binary_cross_entropy(student.Tensor(p), 1 - p).data) > 1

    @pytest.mark.points(2)
    def test_above_the_floor(self, student, rng):
        """The floor changes nothing above it: a probability of 5e-7 costs -log(5e-7)."""
        small = rng.uniform(2e-7, 1e-6, size=6)
        for p, t in ((small, np.ones(6)), (1 - small, np.zeros(6))):
            kind("probabilities between 2e-7 and 1e-6 away from the wrong end, in float64")
            symptoms = {
                ADDED_FLOOR: is_one_of(-np.log(small + 1e-7).mean()),
                OTHER_FLOOR: lambda seen: (seen > 1).all() and seen.shape == (),
            }
            loss = student.binary_cross_entropy(student.Tensor(p), t)
            same(loss.data, -np.log(small).mean(), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(1)
    def test_no_warning(self, student, rng):
        """No logarithm sees a 0: exact probabilities of 0 and 1 cause no warning."""
        p, t = rng.permutation([[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0, 1.0]], axis=1)
        kind("probabilities of exactly 0 and 1, some right and some wrong")
        with recognise(NO_FLOOR, FloatingPointError):
            loss = without_warning(student, "binary_cross_entropy", p, t)
        same(loss, -np.log(1e-7) * (p != t).mean(), atol=1e-6, rtol=1e-5)

    @pytest.mark.points(2)
    def test_targets_are_arrays_or_tensors(self, student, rng):
        """The targets of binary_cross_entropy may be a Tensor, or an array, also of integers."""
        p, t = answers(rng, (6,))
        expected = -np.log(np.where(t == 1, p, 1 - p)).mean()
        inputs = student.Tensor(p)
        kind("targets in a Tensor")
        same(student.binary_cross_entropy(inputs, student.Tensor(t)).data, expected, rtol=1e-5)
        kind("targets in an array of integers")
        same(student.binary_cross_entropy(inputs, t.astype(int)).data, expected, rtol=1e-5)

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """binary_cross_entropy keeps the dtype: float32 stays float32, float64 stays float64."""
        for dtype in (np.float32, np.float64):
            p, t = (a.astype(dtype) for a in answers(rng, (5,)))
            kind(f"probabilities and targets in {np.dtype(dtype)}")
            expected = -np.log(np.where(t == 1, p, 1 - p)).mean()
            loss = student.binary_cross_entropy(student.Tensor(p), t)
            same(loss.data, expected, rtol=1e-5, dtype=dtype)

    @pytest.mark.points(3)
    def test_connected(self, student, reference, rng):
        """The derivative of binary_cross_entropy reaches the probabilities."""
        p, t = answers(rng, (2, 3))
        program = "lambda p: binary_cross_entropy(p, targets)"
        connected(student, reference, rng, program, [p], constants={"targets": t})


@lifted
def slopes_of_a_bowl(a, b, first, second, options):
    """Slopes of sum(a p²) + sum(b q²) + sum(p) sum(q), measured twice; and p and q afterwards."""
    import numpy as np

    p, q = Tensor(np.array(first)), Tensor(np.array(second))

    def loss():
        return (a * p * p).sum() + (b * q * q).sum() + p.sum() * q.sum()

    once = nudge(loss, [p, q], **options)
    again = nudge(loss, [p, q], **options)
    return [np.asarray(slope) for slope in (*once, *again)], p.data, q.data


@lifted
def slopes_of_cubes(start, options):
    """Slopes of sum(p³): a central difference is 3p² + h², so it shows its step h."""
    import numpy as np

    p = Tensor(np.array(start))
    return np.asarray(nudge(lambda: (p * p * p).sum(), [p], **options)[0])


@lifted
def slopes_of_a_model(x, y, weight, bias):
    """Slopes of the squared error of x @ weight + bias."""
    import numpy as np

    w, b = Tensor(np.array(weight)), Tensor(np.array(bias))

    def loss():
        error = Tensor(x) @ w + b - y
        return (error * error).mean()

    return [np.asarray(slope) for slope in nudge(loss, [w, b])]


@lifted
def descent(x, y, rate, steps):
    """Weight and bias after a descent along the slopes."""
    import numpy as np

    w, b = Tensor(np.zeros(x.shape[1])), Tensor(np.zeros(1))

    def loss():
        error = Tensor(x) @ w + b - y
        return (error * error).mean()

    for _ in range(steps):
        down = nudge(loss, [w, b])
        w.data = w.data - rate * np.asarray(down[0])
        b.data = b.data - rate * np.asarray(down[1])
    return w.data, b.data


def bowl(rng):
    a, b = rng.uniform(1, 2, size=(2, 3)), rng.uniform(1, 2, size=4)
    return a, b, rng.normal(size=(2, 3)), rng.normal(size=4)


def wrong_slopes(expected, curvature, step=1e-3):
    """What typical errors make of slopes of a quadratic loss."""
    return {
        TWICE: is_one_of(2 * expected, expected / 2, 2 * step * expected),
        ONE_SIDED: is_one_of(expected + step * curvature, expected - step * curvature),
        TOGETHER: lambda seen: np.ptp(seen) < 1e-6,
        UPSIDE_DOWN: is_one_of(-expected),
    }


class TestNudge:
    @pytest.mark.points(4)
    def test_slopes(self, student, rng):
        """nudge returns an array of slopes per parameter, in its shape, exact on a quadratic."""
        a, b, p, q = bowl(rng)
        kind("two float64 parameters of shapes (2, 3) and (4,), the default step")
        slopes, _, _ = slopes_of_a_bowl(student, a, b, p, q, {})
        for slope, expected, curvature in (
            (slopes[0], 2 * a * p + q.sum(), a),
            (slopes[1], 2 * b * q + p.sum(), b),
        ):
            same(slope, expected, rtol=1e-6, atol=1e-8, symptoms=wrong_slopes(expected, curvature))

    @pytest.mark.points(2)
    def test_step(self, student, rng):
        """nudge takes the step it is given, and 1e-3 if none is: (L(p + h) - L(p - h)) / 2h."""
        p, step = rng.normal(size=5), rng.uniform(0.3, 0.6)
        kind("a cubic loss and a step of about one half")
        symptoms = {
            ONE_SIDED: is_one_of(*(((p + h) ** 3 - p**3) / h for h in (step, -step))),
        }
        slope = slopes_of_cubes(student, p, {"step": step})
        same(slope, 3 * p**2 + step**2, symptoms=symptoms)
        kind("a cubic loss and no step given")
        same(slopes_of_cubes(student, p, {}), 3 * p**2 + 1e-6, rtol=1e-8)

    @pytest.mark.points(2)
    def test_values_are_put_back(self, student, rng):
        """Measuring changes nothing: afterwards parameters and slopes are as before."""
        a, b, p, q = bowl(rng)
        kind("two parameters, slopes measured twice with a step of 0.25")
        slopes, after_p, after_q = slopes_of_a_bowl(student, a, b, p, q, {"step": 0.25})
        same(after_p, p, symptoms={LEFT_MOVED: lambda seen: seen.shape == p.shape})
        same(after_q, q, symptoms={LEFT_MOVED: lambda seen: seen.shape == q.shape})
        same(slopes[2], 2 * a * p + q.sum())
        same(slopes[3], 2 * b * q + p.sum())

    @pytest.mark.points(2)
    def test_float32_model(self, student, rng):
        """nudge also serves float32 parameters: the slopes are right to about one percent."""
        shapes = ((6, 3), (6, 2), (3, 2), (2,))
        x, y, w, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        kind("a linear model with a float32 weight (3, 2) and bias (2,)")
        slopes = slopes_of_a_model(student, x, y, w, b)
        error = 2 * (x @ w + b - y) / y.size
        same(slopes[0], x.T @ error, rtol=0.02, atol=0.005)
        same(slopes[1], error.sum(axis=0), rtol=0.02, atol=0.005)

    @pytest.mark.points(2)
    def test_descent_fits_a_plane(self, student, rng):
        """Sixty steps against the slopes end at the least squares solution."""
        x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        kind("40 points of two features, three parameters")
        weight, bias = descent(student, x, y, 0.25, 60)
        best = np.linalg.lstsq(np.column_stack([x, np.ones(40)]), y, rcond=None)[0]
        same(weight, best[:2], atol=1e-4)
        same(bias, best[2:], atol=1e-4)
