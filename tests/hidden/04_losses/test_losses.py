"""Hidden tests of 04_losses. Expected values are NumPy's in float64, by the notebook's formulas."""

import numpy as np
import pytest
from forward_mode import descent, flows, forward

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
)

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
EXPANDED = Misconception(
    "squares subtracted",
    "Large numbers were squared and then subtracted: their rounding errors are larger than what is "
    "left. Subtract first, then square.",
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
ONE_MAXIMUM = Misconception(
    "one maximum for all rows",
    "The largest logit of the whole batch was taken off every row: beside a large row a small one "
    "sums to 0, and its logarithm is infinite. Each row has a maximum of its own.",
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
AFTER_EACH = Misconception(
    "moved while measuring",
    "The slopes of later parameters were measured when earlier ones had moved: first measure all, "
    "then move.",
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


@run_in_worker
def losses(name, cases, strict):
    """The losses of cases (inputs, targets, whether the targets become a Tensor).

    If `strict`, the first overflow, division by 0 or NaN raises.
    """
    import contextlib

    import numpy as np

    watch = np.errstate(over="raise", divide="raise", invalid="raise")
    told = []
    with watch if strict else contextlib.nullcontext():
        for inputs, targets, wrapped in cases:
            targets = Tensor(np.array(targets)) if wrapped else targets
            told.append(globals()[name](Tensor(np.array(inputs)), targets).data)
    return told


def loss_of(student, name, inputs, targets, *, wrapped=False, strict=False):
    [told] = losses(student, name, [(inputs, targets, wrapped)], strict)
    return told


def keeps_dtype(student, name, make):
    """Only dtypes are judged, and that something else than the input comes back."""
    for dtype in (np.float32, np.float64):
        inputs, targets = make(dtype)
        describe_input(f"inputs in {np.dtype(dtype)}")
        loss = loss_of(student, name, inputs, targets)
        assert type(loss) in (np.ndarray, np.float32, np.float64) and loss.shape != inputs.shape
        assert loss.dtype == dtype


class TestMse:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("shape", [(1, 1), (7,), (4, 3), (2, 3, 4)])
    def test_value(self, student, rng, shape):
        """mse_loss is the mean of the squared differences over all entries, a single number."""
        predictions, targets = rng.normal(size=shape), rng.normal(size=shape)
        describe_input(f"float64 predictions and targets of shape {shape}, then equal ones")
        error = predictions - targets
        symptoms = {
            SUMMED: is_one_of(*((error**2).sum() / n for n in (1, shape[0], shape[-1]))),
            NOT_SQUARED: is_one_of(abs(error).mean(), np.sqrt((error**2).mean())),
        }
        cases = [(predictions, targets, False), (targets, targets, False)]
        loss, nothing = losses(student, "mse_loss", cases, False)
        assert_close(loss, (error**2).mean(), symptoms=symptoms)
        assert_close(nothing, 0.0)

    @pytest.mark.points(1)
    def test_small_differences(self, student):
        """Large numbers that are close cost as much as small ones with the same difference."""
        predictions = np.array([3000.25, -2000.5], dtype=np.float32)
        targets = np.array([3000, -2000], dtype=np.float32)
        describe_input("predictions of 3000.25 and -2000.5 with targets of 3000 and -2000, float32")
        cases = [(predictions, targets, False), (predictions - targets, 0 * targets, False)]
        large, small = losses(student, "mse_loss", cases, False)
        assert small.shape == () and abs(small) > 1e-3
        assert_close(large, small, symptoms={EXPANDED: lambda seen: seen.shape == ()})

    @pytest.mark.points(1)
    def test_targets_are_arrays_or_tensors(self, student, rng):
        """The targets of mse_loss may be a Tensor, or an array of floats or integers."""
        predictions, targets = rng.normal(size=(5, 2)), rng.integers(-3, 4, size=(5, 2))
        describe_input("targets in an array of integers, in one of floats, in a Tensor")
        floats = targets.astype(float)
        those = [(targets, False), (floats, False), (floats, True), (floats + 7, False)]
        cases = [(predictions, *each) for each in those]
        *told, other = losses(student, "mse_loss", cases, False)
        assert len({float(loss) for loss in told}) == 1 and told[0].shape != predictions.shape
        assert other != told[0]  # or nobody has looked at them

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """mse_loss keeps the dtype: float32 stays float32, float64 stays float64."""
        keeps_dtype(student, "mse_loss", lambda dtype: rng.normal(size=(2, 2, 6)).astype(dtype))

    @pytest.mark.points(4)
    def test_connected(self, student, rng):
        """The derivative of mse_loss reaches the predictions: it is made of Tensor operations."""
        predictions, targets = rng.normal(size=(2, 4, 3))
        program = "lambda predictions: mse_loss(predictions, targets)"
        describe_input("random predictions and targets")
        flows(student, rng, program, [predictions], constants={"targets": targets})


@run_in_worker
def hasty():
    """The student's counterexample: predictions, targets, and what hasty_loss makes of them."""
    import numpy as np

    predictions, targets = breaks_it()
    loss = ((predictions - targets) ** 2).mean()
    return predictions.data, np.asarray(targets), loss.data


class TestBug:
    @pytest.mark.points(1)
    def test_breaks_it(self, student):
        """Your predictions and targets hold the same numbers, and hasty_loss is not 0."""
        predictions, targets, loss = hasty(student)
        assert_close(np.ravel(predictions), np.ravel(targets))
        assert predictions.size > 1 and abs(float(loss)) > 1e-6


@run_in_worker
def loss_and_logits(logits, targets):
    """The loss, and what the logits hold after it was computed. Targets may not be written to."""
    import numpy as np

    x, targets = Tensor(np.array(logits)), np.array(targets)
    targets.flags.writeable = False
    return cross_entropy(x, targets).data, x.data


class TestCrossEntropy:
    @pytest.mark.points(4)
    def test_value(self, student, rng):
        """cross_entropy is the mean over the examples of -log softmax at the right class."""
        logits, targets = classes(rng, 5, 4)
        describe_input("float64 logits of shape (5, 4) and an array of 5 class indices")
        rows, log_p, expected = np.arange(5), log_softmax(logits), surprise(logits, targets)
        symptoms = {
            SUMMED: 5 * expected,
            ALL_ENTRIES: expected / 4,
            SIGN: -expected,
            ALL_PAIRS: -log_p[:, targets].mean(),
            NOT_NORMALISED: -logits[rows, targets].mean(),
            WRONG_AXIS: -log_softmax(logits, axis=0)[rows, targets].mean(),
        }
        assert_close(
            loss_of(student, "cross_entropy", logits, targets), expected, symptoms=symptoms
        )
        describe_input(
            "logits of many shapes: one example, two classes, all of one class, equal logits"
        )
        for n, c in ((6, 3), (2, 2), (9, 2), (3, 8)):
            logits, targets = classes(rng, n, c)
            logits += rng.uniform(-20, 20, size=(n, 1))
            alike = np.full(n, targets[0])
            cases = [(logits, targets, False), (logits, alike, False), (0 * logits, alike, False)]
            told = losses(student, "cross_entropy", cases, False)
            for loss, (inputs, right, _) in zip(told, cases, strict=True):
                assert_close(loss, surprise(inputs, right))

    @pytest.mark.points(1)
    def test_equal_logits_cost_log_c(self, student, rng):
        """Equal logits, whatever their value, cost log C: each of C classes has probability 1/C."""
        drawn = rng.integers([2, 1, -50], [31, 9, 51], (10, 3)).tolist()
        drawn = [(2, 1, 0), (30, 8, -50), *drawn]
        cases = [(np.full((n, c), float(v)), np.arange(n) % c, False) for c, n, v in drawn]
        describe_input("examples with equal logits, from 2 to 30 of them")
        for loss, (c, n, _) in zip(
            losses(student, "cross_entropy", cases, False), drawn, strict=True
        ):
            symptoms = {SUMMED: n * np.log(c), SIGN: -np.log(c), WRONG_AXIS: np.log(n)}
            assert_close(loss, np.log(c), symptoms=symptoms)

    @pytest.mark.points(2)
    def test_targets_are_lists_or_arrays(self, student, rng):
        """The targets of cross_entropy may be a list of class indices, or any integer array."""
        logits, targets = classes(rng, 7, 5)
        those = [targets, targets.astype(np.int32), targets.astype(np.uint8), targets.tolist()]
        describe_input("targets in arrays of integers, small ones and unsigned ones, and in a list")
        with recognise(NEEDS_ARRAY, AttributeError, TypeError):
            cases = [(logits, t, False) for t in [*those, (targets + 1) % 5]]
            *told, other = losses(student, "cross_entropy", cases, False)
        assert np.ptp(np.array(told, float)) < 1e-9 and told[0].shape != logits.shape
        assert other != told[0]  # or nobody has looked at them

    @pytest.mark.points(0.5)
    def test_arguments_stay(self, student, rng):
        """cross_entropy leaves its logits as they were, and does not write into its targets."""
        logits, targets = classes(rng, 5, 4)
        describe_input("targets in an array that is read-only")
        loss, after = loss_and_logits(student, logits, targets)
        assert type(loss) is np.ndarray and loss.shape != logits.shape
        assert_close(after, logits, atol=0, rtol=0)
        other, _ = loss_and_logits(student, logits, (targets + 1) % 4)
        assert other != loss

    @pytest.mark.points(0.5)
    def test_one_example(self, student, rng):
        """A batch of one example costs its -log softmax at the right class, a single number."""
        logits, targets = classes(rng, 1, 6)
        describe_input("logits of shape (1, 6) and one class index")
        expected = surprise(logits, targets)
        loss = loss_of(student, "cross_entropy", logits, targets)
        assert_close(loss, expected, symptoms={ALL_ENTRIES: expected / 6})

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """cross_entropy keeps the dtype of its logits."""
        logits, targets = classes(rng, 4, 3)
        keeps_dtype(student, "cross_entropy", lambda dtype: (logits.astype(dtype), targets))

    @pytest.mark.points(5)
    def test_connected(self, student, rng):
        """The derivative of cross_entropy reaches the logits: it is made of Tensor operations."""
        logits, targets = classes(rng, 4, 3)
        program = "lambda logits: cross_entropy(logits, targets)"
        describe_input("logits of moderate size, then equal ones")
        for inputs in (logits, np.full((2, 3), 0.5)):
            constants = {"targets": targets[: len(inputs)]}
            flows(student, rng, program, [inputs], constants=constants)


def confident(rng, n, c):
    """Logits that are 10,000 at one wrong class of each row and about -10,000 elsewhere."""
    chosen = rng.integers(0, c, size=n)
    logits = rng.uniform(-10_000, -9_000, size=(n, c))
    logits[np.arange(n), chosen] = 10_000.0
    return logits, chosen


class TestStable:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_confident_and_wrong(self, student, rng, dtype):
        """A logit that is too small by 20,000 costs 20,000, not infinity."""
        logits, chosen = confident(rng, 5, 4)
        logits, targets = logits.astype(dtype), (chosen + 1) % 4
        describe_input(f"logits around ±10,000 in {np.dtype(dtype)}")
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all() or (seen < 1000).all()}
        loss = loss_of(student, "cross_entropy", logits, targets)
        assert_close(loss, surprise(logits, targets), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(1)
    def test_confident_and_right(self, student, rng):
        """A right class that leads by 20,000 costs nothing, a wrong one something."""
        logits, targets = confident(rng, 5, 4)
        describe_input("logits around ±10,000, the largest at the right class")
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all()}
        cases = [(logits, targets, False), (logits, (targets + 1) % 4, False)]
        right, wrong = losses(student, "cross_entropy", cases, False)
        assert_close(right, 0.0, symptoms=symptoms)
        describe_input("logits around ±10,000, the largest at a wrong class")
        assert abs(wrong) > 1

    @pytest.mark.points(1)
    def test_rows_are_alone(self, student):
        """A row of large logits changes nothing for the rows of small ones beside it."""
        logits = np.array([[1000.0, 0.0], [0.0, 1.0], [-1000.0, -1002.0]])
        describe_input("three examples with logits around 1000, around 0 and around -1000")
        symptoms = {ONE_MAXIMUM: lambda seen: not np.isfinite(seen).all()}
        targets = np.array([0, 1, 0])
        loss = loss_of(student, "cross_entropy", logits, targets)
        assert_close(loss, surprise(logits, targets), symptoms=symptoms)

    @pytest.mark.points(1)
    def test_no_warning(self, student, rng):
        """Large logits cause no overflow, no division by zero and no NaN, not even on the way."""
        logits, chosen = confident(rng, 6, 3)
        targets = (chosen + np.arange(6)) % 3
        describe_input("logits around ±10,000, some examples right and some wrong")
        with recognise(LOG_OF_ZERO, FloatingPointError):
            loss = loss_of(student, "cross_entropy", logits, targets, strict=True)
            other = loss_of(student, "cross_entropy", logits, chosen, strict=True)
        assert np.isfinite(loss).all() and np.shape(loss) != logits.shape and loss != other

    @pytest.mark.points(3)
    def test_slope(self, student, rng):
        """The derivative of cross_entropy is right where the model is confident and wrong."""
        logits, chosen = confident(rng, 3, 4)
        constants = {"targets": (chosen + 1) % 4}
        describe_input("logits around ±10,000")
        program = "lambda logits: cross_entropy(logits, targets)"
        symptoms = {LOG_OF_ZERO: lambda seen: not np.isfinite(seen).all()}
        flows(student, rng, program, [logits], constants=constants, symptoms=symptoms)


@run_in_worker
def bce_and_inputs(p, t):
    """The loss, and what the probabilities and the targets hold after it was computed."""
    import numpy as np

    x, targets = Tensor(np.array(p)), np.array(t)
    return binary_cross_entropy(x, targets).data, x.data, targets


class TestBce:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("shape", [(1,), (8,), (4, 3)])
    def test_value(self, student, rng, shape):
        """binary_cross_entropy is the mean of -log p at target 1 and of -log(1-p) at target 0."""
        p, t = answers(rng, shape)
        describe_input(
            f"probabilities between 0.05 and 0.95 and targets of 0 and 1, of shape {shape}"
        )
        yes, no = -(t * np.log(p)).mean(), -((1 - t) * np.log(1 - p)).mean()
        both = yes + no
        symptoms = {SUMMED: p.size * both, SIGN: -both, ONE_TERM: is_one_of(yes, no)}
        symptoms[ADDED_FLOOR] = lambda seen: np.allclose(seen, both, rtol=1e-5)
        told = losses(student, "binary_cross_entropy", [(p, t, False), (p, 1 - t, False)], False)
        assert_close(told[0], both, rtol=1e-9, symptoms=symptoms)
        assert_close(told[1], -np.log(np.where(t == 1, 1 - p, p)).mean(), rtol=1e-9)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_certain_and_wrong(self, student, rng, dtype):
        """A probability of exactly 0 or 1 that is wrong costs -log(1e-7), not infinity."""
        p = np.array([0, 1, 1, 0, 1], dtype=dtype)[: rng.integers(2, 6)]
        describe_input(f"probabilities of exactly 0 and 1 in {np.dtype(dtype)}, all wrong")
        clipped = -np.log(np.where(p == 1, 1 - np.float32(1 - 1e-7), 1e-7)).mean()
        symptoms = {
            NO_FLOOR: lambda seen: not np.isfinite(seen).all(),
            CLIPPED: clipped,
            OTHER_FLOOR: lambda seen: (seen > 1).all() and seen.shape == (),
        }
        loss = loss_of(student, "binary_cross_entropy", p, 1 - p)
        assert_close(loss, -np.log(1e-7), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(1)
    def test_certain_and_right(self, student, rng):
        """A probability of exactly 0 or 1 that is right costs nothing, a wrong one something."""
        p = rng.permutation([0.0, 1.0, 1.0, 0.0, 1.0])
        describe_input("probabilities of exactly 0 and 1, all right")
        symptoms = {NO_FLOOR: lambda seen: not np.isfinite(seen).all()}
        cases = [(p, p, False), (p, 1 - p, False)]
        right, wrong = losses(student, "binary_cross_entropy", cases, False)
        assert_close(right, 0.0, atol=1e-6, symptoms=symptoms)
        describe_input("probabilities of exactly 0 and 1, all wrong")
        assert abs(wrong) > 1

    @pytest.mark.points(0.5)
    def test_arguments_stay(self, student):
        """binary_cross_entropy leaves probabilities and targets as they were, 0 and 1 too."""
        p, t = np.array([0.0, 1.0, 0.25, 1e-9]), np.array([0.0, 1.0, 1.0, 0.0])
        describe_input("probabilities of 0, 1 and others")
        loss, p_after, t_after = bce_and_inputs(student, p, t)
        assert type(loss) in (np.ndarray, np.float64) and loss.shape != p.shape
        other, _, _ = bce_and_inputs(student, p, 1 - t)
        assert other != loss  # or nobody has looked at them
        assert_close(p_after, p, atol=0, rtol=0)
        assert_close(t_after, t, atol=0, rtol=0)

    @pytest.mark.points(0.5)
    def test_above_the_floor(self, student, rng):
        """The floor changes nothing above it: a probability of 5e-7 costs -log(5e-7)."""
        small = rng.uniform(2e-7, 1e-6, size=6)
        for p, t in ((small, np.ones(6)), (1 - small, np.zeros(6))):
            describe_input(
                "probabilities between 2e-7 and 1e-6 away from the wrong end, in float64"
            )
            symptoms = {
                ADDED_FLOOR: is_one_of(-np.log(small + 1e-7).mean()),
                OTHER_FLOOR: lambda seen: (seen > 1).all() and seen.shape == (),
            }
            loss = loss_of(student, "binary_cross_entropy", p, t)
            assert_close(loss, -np.log(small).mean(), rtol=1e-5, symptoms=symptoms)

    @pytest.mark.points(0.5)
    def test_no_warning(self, student, rng):
        """No logarithm sees a 0: exact probabilities of 0 and 1 cause no warning."""
        p, t = rng.permutation([[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0, 1.0]], axis=1)
        describe_input("probabilities of exactly 0 and 1, some right and some wrong")
        with recognise(NO_FLOOR, FloatingPointError):
            loss = loss_of(student, "binary_cross_entropy", p, t, strict=True)
            other = loss_of(student, "binary_cross_entropy", p, p, strict=True)
        assert np.isfinite(loss).all() and np.shape(loss) != p.shape and loss != other

    @pytest.mark.points(1)
    def test_targets_are_arrays_or_tensors(self, student, rng):
        """The targets of binary_cross_entropy may be a Tensor, or an array, also of integers."""
        p, t = answers(rng, (6,))
        describe_input("targets in an array of integers, in one of floats, in a Tensor")
        those = [(t.astype(int), False), (t, False), (t, True)]
        cases = [(p, *each) for each in [*those, (1 - t, False)]]
        *told, other = losses(student, "binary_cross_entropy", cases, False)
        assert np.ptp(np.array(told, float)) < 1e-9 and told[0].shape != p.shape
        assert other != told[0]  # or nobody has looked at them

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """binary_cross_entropy keeps the dtype: float32 stays float32, float64 stays float64."""
        p, t = answers(rng, (5,))
        keeps_dtype(
            student, "binary_cross_entropy", lambda dtype: (p.astype(dtype), t.astype(dtype))
        )

    @pytest.mark.points(6)
    @pytest.mark.parametrize("target", [0, 1])
    def test_connected(self, student, rng, target):
        """The derivative of binary_cross_entropy reaches the probabilities, for both targets."""
        p = rng.uniform(0.05, 0.95, size=(2, 3))
        describe_input(f"probabilities between 0.05 and 0.95, all targets {target}")
        program = "lambda p: binary_cross_entropy(p, targets)"
        flows(student, rng, program, [p], constants={"targets": np.full((2, 3), float(target))})


# A right cross_entropy in the place of the student's, for what is built on it.
LENT = {
    "cross_entropy": "lambda logits, targets: "
    "-(log_softmax(logits)[np.arange(logits.shape[0]), targets].mean())"
}
FROM_LOGITS = "lambda logits: from_logits(logits, targets)"


def built(check):
    """The better of two: on the student's own cross_entropy, and on a right one."""
    any_passes(lambda: check(None), lambda: check(LENT))


class TestFromLogits:
    @pytest.mark.points(2)
    def test_value(self, student, rng):
        """from_logits is the binary cross-entropy of sigmoid(logits), however large they are."""
        z, targets = rng.normal(size=8), rng.permutation([0, 1] * 4)
        far = np.array([-1e4, 1e4, -1e4, 1e4, 0.0])
        for logits, t, text in (
            (z, targets, "logits of moderate size"),
            (z[:1], targets[:1], "one logit"),
            (far, np.array([0, 1, 1, 0, 1]), "logits of 0 and of ±10,000"),
        ):
            describe_input(text)
            expected = np.mean(np.maximum(logits, 0) - t * logits + np.log1p(np.exp(-abs(logits))))

            def check(lent, logits=logits, t=t, expected=expected):
                data = FROM_LOGITS, [logits], [([0 * logits], [])], [], {"targets": t}, lent
                [(value, _, _)], _, _ = forward(student, *data)
                assert_close(value, expected)

            built(check)

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """The derivative of from_logits reaches the logits, also where a floor would be flat."""
        describe_input("logits of moderate size and of ±30")
        z = np.concatenate([rng.normal(size=4), [-30.0, 30.0, -30.0, 30.0]])
        constants = {"targets": np.array([0, 1, 1, 0, 0, 1, 1, 0])}
        built(lambda lent: flows(student, rng, FROM_LOGITS, [z], constants=constants, lent=lent))


@run_in_worker
def slopes_of_a_bowl(a, b, first, second, options):
    """Slopes of sum(a p²) + sum(b q²) + sum(p) sum(q), measured twice; and p and q afterwards."""
    import numpy as np

    p, q = Tensor(np.array(first)), Tensor(np.array(second))

    def loss():
        return (a * p * p).sum() + (b * q * q).sum() + p.sum() * q.sum()

    once = nudge(loss, [p, q], **options)
    again = nudge(loss, [p, q], **options)
    return [np.asarray(slope) for slope in (*once, *again)], p.data, q.data


@run_in_worker
def left_by_nudge(start):
    """What a parameter holds after nudge."""
    import numpy as np

    p = Tensor(np.array(start))
    nudge(lambda: (p * p).sum(), [p])
    return p.data


@run_in_worker
def slopes_of_cubes(start, options):
    """Slopes of sum(p³): a central difference is 3p² + h², so it shows its step h."""
    import numpy as np

    p = Tensor(np.array(start))
    return np.asarray(nudge(lambda: (p * p * p).sum(), [p], **options)[0])


@run_in_worker
def slopes_of_a_model(x, y, weight, bias):
    """Slopes of the squared error of x @ weight + bias."""
    import numpy as np

    w, b = Tensor(np.array(weight)), Tensor(np.array(bias))

    def loss():
        error = Tensor(x) @ w + b - y
        return (error * error).mean()

    return [np.asarray(slope) for slope in nudge(loss, [w, b])]


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
    @pytest.mark.points(2)
    def test_slopes(self, student, rng):
        """nudge returns an array of slopes per parameter, in its shape, exact on a quadratic."""
        a, b, p, q = bowl(rng)
        describe_input("two float64 parameters of shapes (2, 3) and (4,), the default step")
        slopes, _, _ = slopes_of_a_bowl(student, a, b, p, q, {})
        for slope, expected, curvature in (
            (slopes[0], 2 * a * p + q.sum(), a),
            (slopes[1], 2 * b * q + p.sum(), b),
        ):
            assert_close(
                slope, expected, rtol=1e-6, atol=1e-8, symptoms=wrong_slopes(expected, curvature)
            )

    @pytest.mark.points(1)
    def test_step(self, student, rng):
        """nudge takes the step it is given, and 1e-3 if none is: (L(p + h) - L(p - h)) / 2h."""
        p, step = rng.normal(size=5), rng.uniform(0.3, 0.6)
        describe_input("a cubic loss and a step of about one half")
        symptoms = {
            ONE_SIDED: is_one_of(*(((p + h) ** 3 - p**3) / h for h in (step, -step))),
        }
        slope = slopes_of_cubes(student, p, {"step": step})
        assert_close(slope, 3 * p**2 + step**2, symptoms=symptoms)
        describe_input("a cubic loss and no step given")
        assert_close(slopes_of_cubes(student, p, {}), 3 * p**2 + 1e-6, rtol=1e-8)
        describe_input("a linear model with a float32 weight (3, 2) and bias (2,)")
        shapes = ((6, 3), (6, 2), (3, 2), (2,))
        x, noise, w, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        y = x @ w + b + noise / 2
        slopes = slopes_of_a_model(student, x, y, w, b)
        error = 2 * (x @ w + b - y) / y.size
        assert_close(slopes[0], x.T @ error, rtol=0.02, atol=0.005)
        assert_close(slopes[1], error.sum(axis=0), rtol=0.02, atol=0.005)

    @pytest.mark.points(1)
    def test_values_are_put_back(self, student, rng):
        """Measuring changes nothing: afterwards the parameters are as before."""
        a, b, p, q = bowl(rng)
        describe_input("a float64 parameter of 0.1, 0.7 and 5.3, to the last digit")
        start = np.array([0.1, 0.7, 5.3])
        symptoms = {LEFT_MOVED: lambda seen: seen.shape == start.shape}
        assert_close(left_by_nudge(student, start), start, atol=0, rtol=0, symptoms=symptoms)
        describe_input("two parameters, slopes measured twice with a step of 0.25")
        slopes, after_p, after_q = slopes_of_a_bowl(student, a, b, p, q, {"step": 0.25})
        assert_close(after_p, p, symptoms={LEFT_MOVED: lambda seen: seen.shape == p.shape})
        assert_close(after_q, q, symptoms={LEFT_MOVED: lambda seen: seen.shape == q.shape})
        assert np.abs(slopes[0]).max() > 1e-3
        assert_close(slopes[2], slopes[0])


@run_in_worker
def descended(a, b, first, second, rate, steps, alone):
    """The curve of a descent in the bowl of `slopes_of_a_bowl`, p and q afterwards, and the arrays
    that they held before.

    If `alone`, the slopes come from a right nudge, in the place of the student's.
    """
    import numpy as np

    p, q = Tensor(np.array(first)), Tensor(np.array(second))

    def loss():
        return (a * p * p).sum() + (b * q * q).sum() + p.sum() * q.sum()

    def right(loss, parameters, step=1e-3):
        one, other = p.data, q.data
        found = {id(p): 2 * a * one + other.sum(), id(q): 2 * b * other + one.sum()}
        return [found[id(parameter)] for parameter in parameters]

    held, theirs = (p.data, q.data), globals().get("nudge")
    globals()["nudge"] = right if alone else theirs
    try:
        curve = descend(loss, [p, q], rate, steps)
    finally:
        globals()["nudge"] = theirs
    return [float(height) for height in curve], p.data, q.data, *held


class TestDescend:
    @pytest.mark.points(3)
    def test_steps(self, student, rng):
        """descend moves all parameters against slopes that were measured together, by giving them
        new arrays, and tells the loss before the first step and after each."""
        a, b, p, q = bowl(rng)
        rate = float(rng.uniform(0.05, 0.1))

        def slopes(u, v):
            return 2 * a * u + v.sum(), 2 * b * v + u.sum()

        def moved(place, rate):
            return tuple(
                array - rate * slope for array, slope in zip(place, slopes(*place), strict=True)
            )

        now, up, each, points = (p, q), (p, q), (p, q), [(p, q)]
        for _ in range(3):
            now, up = moved(now, rate), moved(up, -rate)
            each = moved(each, rate)[0], each[1]
            each = each[0], moved(each, rate)[1]
            points.append(now)
        curve = [(a * u * u).sum() + (b * v * v).sum() + u.sum() * v.sum() for u, v in points]
        describe_input("three steps in a bowl with two parameters of shapes (2, 3) and (4,)")

        def check(alone):
            told, *after = descended(student, a, b, p, q, rate, 3, alone)
            symptoms = {AFTER_EACH: each[1], UPSIDE_DOWN: up[1]}
            assert_close(after[1], now[1], rtol=1e-6, symptoms=symptoms)
            assert_close(after[0], now[0], rtol=1e-6)
            assert_close(told, curve, rtol=1e-6)
            assert np.array_equal(after[2], p) and np.array_equal(after[3], q)

        any_passes(lambda: check(False), lambda: check(True))


@run_in_worker
def trained(name, x, targets, weight, bias, rate, steps):
    """By the student's loss, nudge and descend: slopes of a Linear at the start, the curve of a
    descent, and the parameters after it."""
    import numpy as np

    import tinytorch

    model = tinytorch.Linear(*weight.shape)
    model.weight.data, model.bias.data = np.array(weight), np.array(bias)
    parameters = [model.weight, model.bias]

    def loss():
        answers = model(Tensor(x))
        if name == "binary_cross_entropy":
            answers = tinytorch.sigmoid(answers)
        return globals()[name](answers, targets)

    slopes = [np.array(slope) for slope in nudge(loss, parameters)]
    curve = descend(loss, parameters, rate, steps)
    return slopes, [float(each) for each in curve], model.weight.data, model.bias.data


def sigmoid(z):
    return 0.5 + 0.5 * np.tanh(0.5 * z)


# Of each loss on a linear model's answers z: what it is, and its slopes by z.
CURVES = {
    "mse_loss": (lambda z, t: ((z - t) ** 2).mean(), lambda z, t: 2 * (z - t) / z.size),
    "cross_entropy": (
        surprise,
        lambda z, t: (np.exp(log_softmax(z)) - np.eye(z.shape[1])[t]) / len(z),
    ),
    "binary_cross_entropy": (
        lambda z, t: -np.log(np.where(t == 1, sigmoid(z), sigmoid(-z))).mean(),
        lambda z, t: (sigmoid(z) - t) / z.size,
    ),
}
EACH = pytest.mark.parametrize("name", list(CURVES))
MODELS = {
    "mse_loss": "mse_loss(model(Tensor(x)), targets)",
    "cross_entropy": "cross_entropy(model(Tensor(x)), targets)",
    "binary_cross_entropy": "binary_cross_entropy(sigmoid(model(Tensor(x))), targets)",
}


def examples(rng, name, n=8):
    """Inputs (n, 3) and targets of a problem with three outputs that has something to learn."""
    x = rng.normal(size=(n, 3))
    answers = x @ rng.normal(size=(3, 3))
    if name == "mse_loss":
        return x, answers
    if name == "cross_entropy":
        return x, answers.argmax(1)
    return x, (answers > np.quantile(answers, 0.3)).astype(float)  # not as many of each


class TestWhole:
    @EACH
    @pytest.mark.points(12)
    def test_learns(self, student, reference, rng, name):
        """A network learns by your loss, step by step as it does by the reference's."""
        describe_input(f"twelve steps of a network by {name}, each in a random direction")
        x, targets = examples(rng, name)
        program = (
            f"(lambda model: (model, lambda: {MODELS[name]}))"
            "(Sequential(Linear(3, 5), tanh, Linear(5, 4, bias=False), Linear(4, 3)))"
        )
        descent(
            student,
            reference,
            rng,
            program,
            parameters=[rng.normal(size=shape) for shape in ((3, 5), (5,), (5, 4), (4, 3), (3,))],
            constants={"x": x, "targets": targets},
            rate=0.2,
        )

    @EACH
    @pytest.mark.points(9)
    def test_descends(self, student, rng, name):
        """A linear model learns by your loss, your nudge and your descend, all together."""
        describe_input(f"slopes and five steps of a linear model by {name}")
        x, targets = examples(rng, name)
        w, b, rate = rng.normal(size=(3, 3)), rng.normal(size=3), 0.1
        value, slope = CURVES[name]
        told, curve, after_w, after_b = trained(student, name, x, targets, w, b, rate, 5)
        heights = []
        for step in range(6):
            z = x @ w + b
            heights.append(value(z, targets))
            if step == 0:
                assert_close(told[0], x.T @ slope(z, targets), rtol=1e-4, atol=1e-6)
                assert_close(told[1], slope(z, targets).sum(0), rtol=1e-4, atol=1e-6)
            if step < 5:
                down = slope(z, targets)
                w, b = w - rate * (x.T @ down), b - rate * down.sum(0)
        assert_close(curve[0], heights[0], rtol=1e-9)
        assert_close(curve, heights, rtol=1e-5, atol=1e-7)
        assert_close(after_w, w, rtol=1e-4, atol=1e-6)
        assert_close(after_b, b, rtol=1e-4, atol=1e-6)
