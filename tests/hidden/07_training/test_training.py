"""Hidden tests of 07_training.

What steps do is worked out in NumPy for a model of one matrix, and so is what typical slips do;
`Whole` compares a run with the reference's. Accuracies are counted here, from the logits of points
whose classes the worker never had. Files are written in the worker's folder, and their bytes are
carried to a fresh model, optimizer and name: what a run had in memory is of no use to the one that
goes on.
"""

import io
import pickle
from types import FunctionType

import numpy as np
import pytest

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

ALONE = Misconception(
    "each alone",
    "Each gradient was shortened by its own norm: the arrow turns. Take one for all.",
)
BY_VALUE = Misconception(
    "by value", "The entries were cut off one by one: the arrow turns. One factor for all."
)
NO_ROOT = Misconception("no root", "The norm is the root of the sum of squares.")
NORMS_ADDED = Misconception(
    "norms added", "The norms were added: of one long arrow, the squares are, and then the root."
)
NORM_AFTER = Misconception("norm after", "The norm that was asked for is the one before clipping.")
LENGTHENED = Misconception("lengthened", "A gradient that was short enough has become longer.")
EPSILON = Misconception("a little less", "Something was added to the norm: the limit is exact.")
NOT_PLAIN = Misconception(
    "no plain number", "A float was asked for; a number of NumPy's, an array or a Tensor is none."
)
ACCUMULATED = Misconception(
    "gradients not forgotten",
    "The second step has the first one's gradient in it, too: when are gradients forgotten?",
)
STALE = Misconception(
    "old gradients counted",
    "A gradient from before fit is in the step: forget the optimizer's before each backward().",
)
ONCE_AN_EPOCH = Misconception(
    "once an epoch",
    "Right for one batch, not for several: what belongs to each batch, and what to an epoch?",
)
NOTHING_MOVES = Misconception(
    "nothing moves",
    "The parameters are where they were: has step() a gradient to go by?",
)
UNCLIPPED = Misconception(
    "unclipped", "The step is that of the whole gradient: was it clipped before it was used?"
)
SCHEDULE_BY_EPOCH = Misconception(
    "schedule by epoch", "The rate is one for all steps of an epoch: the schedule counts steps."
)
SCHEDULE_FROM_ZERO = Misconception(
    "schedule from 0", "The schedule began anew, but the optimizer had taken steps: it knows t."
)
SCHEDULE_LATE = Misconception(
    "schedule after the step", "Each step had the rate of the one before it."
)
LISTED = Misconception(
    "walked once", "The batches of the first epoch came again: walk `batches` anew each epoch."
)
BY_BATCHES = Misconception(
    "mean of batches", "Small batches count as much as large ones: count examples."
)
NOT_IN_USE = Misconception("evaluated in training", "evaluate() looked at the model in training.")
ONE_MODE = Misconception(
    "one mode for all", "A part that was in another mode than the model is not in it any more."
)
MODE_KEPT = Misconception("left in use", "After evaluate() the model is still in the mode for use.")
RECORDED = Misconception("recorded", "evaluate() recorded what it did: see no_grad.")
NO_GENERATOR = Misconception(
    "generators forgotten", "The resumed run drew other random numbers: dropout has a generator."
)
UNSHARED = Misconception(
    "no longer shared", "Two layers shared a generator. After loading each has one of its own."
)
NO_ARRAYS = Misconception(
    "arrays forgotten", "A NumPy array of a module (running means) is not what it was."
)
NO_STATE = Misconception("state forgotten", "The optimizer's memories are not what they were.")
NO_T = Misconception("t forgotten", "The optimizer's t is not what it was.")
NO_RATE = Misconception("lr forgotten", "The optimizer's lr is not what it was.")
NOT_PLAIN_AGAIN = Misconception(
    "t or lr of NumPy's",
    "t and lr were plain numbers; now one is NumPy's, and float32 steps come out otherwise.",
)
IN_PLACE = Misconception(
    "written in place", "The old file was gone before the new one was whole: replace it at the end."
)
SUFFIX = Misconception("another name", "The file isn't called as asked: np.savez appended .npz.")
LEFT_OVER = Misconception("left over", "A temporary file is still in the folder.")
ELSEWHERE = Misconception(
    "not beside it",
    "The temporary file was in another folder, perhaps on another disk, where names stay.",
)
PICKLES = Misconception("pickles", "The file holds pickles: whoever loads it runs what is in it.")
OTHER_ERROR = Misconception(
    "another exception", "This file raised something else than ValueError: who catches that?"
)
ACCEPTED = Misconception(
    "accepted", "A file that is damaged, or another model's or optimizer's, was not refused."
)
HALF_LOADED = Misconception(
    "half loaded",
    "The file was refused, but something had changed: read, compare, then change.",
)


def is_one_of(*wrong):
    """A symptom: one of several wrong values."""
    return lambda seen: any(seen.shape == np.shape(w) and np.allclose(seen, w) for w in wrong)


# By hand.


class TestByHand:
    @pytest.mark.points(2)
    def test_knows_xor(self, student):
        """Your whole numbers from -2 to 2, with relu between, know XOR at its four points."""
        w1, b1, w2, b2 = (np.asarray(each, float) for each in student.by_hand())
        corners, right = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
        assert [each.shape for each in (w1, b1, w2, b2)] == [(2, 2), (2,), (2, 2), (2,)]
        for each in (w1, b1, w2, b2):
            assert np.array_equal(each, np.round(each)) and np.abs(each).max() <= 2
        logits = np.maximum(corners @ w1 + b1, 0) @ w2 + b2
        assert np.array_equal(logits[:, 1] > logits[:, 0], right == 1)
        assert (logits[:, 0] != logits[:, 1]).all()


# Clipping.


@run_in_worker
def clipped(cases):
    """For each case (gradients, None among them, and a limit): what came of it.

    That is the norm, whether it is a plain number, the gradients, and the arrays they were before.
    """
    import numpy as np

    told = []
    for grads, limit in cases:
        params, old = [], []
        for grad in grads:
            p = Tensor(np.zeros(np.shape(grad)), requires_grad=True)
            p.grad = None if grad is None else np.array(grad)
            params.append(p)
            old.append(p.grad)
        norm = clip_grad_norm(params, limit)
        plain = type(norm) in (int, float)
        told.append((float(norm), plain, [p.grad for p in params], old))
    return told


def arrow(grads):
    return np.sqrt(sum((np.asarray(g, float) ** 2).sum() for g in grads))


def gradients(rng, dtype=float):
    shapes = (3, 4), (4,), (), (2, 1, 3)
    return [np.array(rng.normal(size=shape), dtype) for shape in shapes]


class TestClip:
    @pytest.mark.points(2.5)
    def test_norm(self, student, rng):
        """clip_grad_norm returns the norm of all gradients together, as it was before."""
        grads = gradients(rng)
        norm = arrow(grads)
        describe_input("four gradients of several shapes, with a limit above and below their norm")
        told = clipped(student, [(grads, norm * 0.4), (grads, norm * 3)])
        for (said, *_), limit in zip(told, (norm * 0.4, norm * 3), strict=True):
            wrong = {NO_ROOT: norm**2, NORMS_ADDED: sum(arrow([g]) for g in grads)}
            assert_close(said, norm, symptoms=wrong | {NORM_AFTER: min(norm, limit)})

    @pytest.mark.points(0.5)
    def test_plain_number(self, student, rng):
        """The norm is a plain number: a float, none of NumPy's."""
        grads = gradients(rng)
        told = clipped(student, [(grads, 0.5), (grads, 100.0), ([None], 1.0)])
        assert [said > 0 for said, *_ in told] == [True, True, False]
        symptom(NOT_PLAIN, not all(plain for _, plain, *_ in told))

    @pytest.mark.points(2.5)
    def test_one_factor(self, student, rng):
        """Above the limit, all gradients are multiplied by the same factor: limit by norm."""
        grads = gradients(rng)
        for size in (1.0, 1e-5):
            describe_input(f"gradients of a norm of about {5 * size:g}, and a limit below it")
            small = [g * size for g in grads]
            norm = arrow(small)
            limit = 0.3 * norm
            [(*_, found, _)] = clipped(student, [(small, limit)])
            alone = [g * min(1, limit / arrow([g])) for g in small]
            flat = np.concatenate([np.ravel(g) for g in found])
            whole = np.concatenate([np.ravel(g) for g in small])
            wrong = {
                ALONE: np.concatenate([np.ravel(g) for g in alone]),
                BY_VALUE: np.clip(whole, -limit, limit),
                EPSILON: whole * limit / (norm + 1e-6),
            }
            assert_close(flat, whole * 0.3, rtol=1e-6, atol=0, symptoms=wrong)

    @pytest.mark.points(0.5)
    def test_exact(self, student, rng):
        """What is float64 is clipped in float64: to its last digits the norm is the limit."""
        grads = gradients(rng)
        describe_input("gradients in float64")
        [(*_, found, _)] = clipped(student, [(grads, 0.1)])
        assert_close(arrow(found), 0.1, rtol=1e-12, atol=0)

    @pytest.mark.points(1.5)
    def test_short_enough(self, student, rng):
        """Gradients whose norm is within the limit stay as they are; longer ones don't."""
        grads = gradients(rng)
        norm = arrow(grads)
        told = clipped(student, [(grads, norm * 2), (grads, norm / 2)])
        (*_, same, _), (*_, other, _) = told
        for found, g in zip(same, grads, strict=True):
            symptom(LENGTHENED, np.abs(found).sum() > np.abs(g).sum() * 1.5)
            assert_close(found, g, rtol=0, atol=0)
        assert arrow(other) < 0.9 * norm

    @pytest.mark.points(1)
    def test_no_gradient(self, student, rng):
        """A parameter without a gradient takes no part; with none at all the norm is 0."""
        g = rng.normal(size=(2, 3))
        norm = arrow([g])
        cases = [([None, g, None], norm / 2), ([None, None], 1.0), ([], 1.0)]
        describe_input("gradients of which some are None, or all, and no parameter at all")
        [(said, _, found, _), *without] = clipped(student, cases)
        assert found[0] is None and found[2] is None
        assert_close(found[1], g / 2, rtol=1e-5)
        assert_close(said, norm)
        assert [each[0] for each in without] == [0.0, 0.0]

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """Clipped gradients keep their dtype."""
        for dtype in (np.float32, np.float64):
            describe_input(f"gradients in {np.dtype(dtype)}")
            grads = gradients(rng, dtype)
            [(*_, found, _)] = clipped(student, [(grads, 0.1)])
            assert [g.dtype for g in found] == [dtype] * 4
            assert not np.array_equal(found[0], grads[0])

    @pytest.mark.points(1)
    def test_new_arrays(self, student, rng):
        """Clipping writes nothing into the arrays that were there: others may hold them."""
        grads = gradients(rng)
        [(*_, found, old)] = clipped(student, [(grads, 0.1)])
        for now, before, g in zip(found, old, grads, strict=True):
            assert_close(before, g, rtol=0, atol=0)
            assert not np.array_equal(now, g)

    @pytest.mark.points(0.5)
    def test_large(self, student, rng):
        """Gradients of 1e20 in float32 are clipped, though their squares are beyond float32."""
        grads = [np.array([3e20, 4e20], np.float32), np.array([[12e20]], np.float32)]
        describe_input("float32 gradients around 1e20")
        [(said, _, found, _)] = clipped(student, [(grads, 13.0)])
        assert_close(said, 13e20, rtol=1e-5)
        assert_close(np.concatenate([np.ravel(g) for g in found]), [3.0, 4.0, 12.0], rtol=1e-5)


# The loop, on a model of one matrix: what each step does is known.


@run_in_worker
def fitted(w, rounds, options, before=0, spare=False, lend=None, modes=(False, False)):
    """Train y = x @ w with the mean square as loss.

    rounds: for each call of `fit` the batches of each epoch. before: how many steps the optimizer
    has taken. spare: whether the model has a parameter that the optimizer lacks, of large gradient.
    modes: whether the model and its part are in training mode at first.
    Returns history, whether it holds plain numbers, how long it was whenever the model was asked,
    w, the modes (whenever the model was asked, and at the end of model and part), and whether fit
    returned the trainer.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Matrix(tt.Module):
        def __init__(self):
            self.w = tt.Tensor(np.array(w))
            self.idle = tt.Dropout(0.0)
            self.modes = []
            if spare:
                self.spare = tt.Tensor(np.zeros(2), requires_grad=True)

        def forward(self, x):
            self.modes.append((self.training, self.idle.training))
            lengths.append(len(trainer.history))
            y = x @ self.w
            return y + self.spare.sum() * 1e3 if spare else y

    class Epochs:
        """Batches that are others at each walk, as a loader's."""

        def __init__(self, epochs):
            self.epochs = iter(epochs)

        def __iter__(self):
            for x, y in next(self.epochs):
                yield tt.Tensor(np.array(x)), np.array(y)

    model, lengths = Matrix(), []
    model.training, model.idle.training = modes
    optimizer = tt.SGD([model.w], lr=0.1)
    for _ in range(before):  # steps that go nowhere
        model.w.grad = np.zeros_like(model.w.data)
        optimizer.step()
        optimizer.zero_grad()
    trainer = Trainer(model, lambda y, t: ((y - t) * (y - t)).mean(), optimizer)
    rates = options.pop("rates", None)
    if rates:
        options["schedule"] = lambda t: rates[t]
    own = {name: globals()[name] for name in ("clip_grad_norm",) if name in globals()}
    if lend:
        names = {"np": np}
        exec(lend, names)
        globals()["clip_grad_norm"] = names["clip_grad_norm"]
    try:
        for epochs in rounds:
            answer = trainer.fit(Epochs(epochs), len(epochs), **options)
    finally:
        if lend:
            del globals()["clip_grad_norm"]
            globals().update(own)
    history = trainer.history
    plain = all(type(each) in (int, float) for each in history)
    losses = [float(each.data if isinstance(each, tt.Tensor) else each) for each in history]
    modes = model.modes, model.training, model.idle.training
    return losses, plain, lengths, model.w.data, modes, answer is trainer


LENT = """
def clip_grad_norm(params, limit):
    grads = [p.grad for p in params if p.grad is not None]
    norm = float(np.sqrt(sum((g**2).sum() for g in grads)))
    for p in params:
        if p.grad is not None and norm > limit:
            p.grad = p.grad * (limit / norm)
    return norm
"""


def walk(w, epochs, rates, clip=None, slip=""):
    """The losses and the last place of y = x @ w, by NumPy; `slip` is what goes wrong."""
    w, history, total = np.array(w), [], 0.0
    rates = iter(rates)
    for epoch in epochs:
        total = 0.0 if slip == "once" else total
        for x, y in epoch:
            error = x @ w - y
            g = 2 * x.T @ error / error.size
            total = total + g if slip in ("never", "once", "step") else g
            used = total
            if clip is not None:
                used = used * min(1.0, clip / np.sqrt((used**2).sum()))
            history.append((error**2).mean())
            if slip != "step":
                w = w - next(rates) * used
        if slip == "step":
            w = w - next(rates) * g
    return history, w


def batches(rng, *sizes):
    return [(rng.normal(size=(n, 3)), rng.normal(size=(n, 2))) for n in sizes]


class TestFit:
    @pytest.mark.points(3.5)
    def test_steps(self, student, rng):
        """Each batch is a step along its own gradient, the batches once an epoch."""
        w, epoch = rng.normal(size=(3, 2)), batches(rng, 5, 4, 2)
        describe_input("two epochs of three batches of different sizes, SGD")
        rates = [0.1] * 6
        history, w2 = walk(w, [epoch, epoch], rates)
        found, *_, last, _, _ = fitted(student, w, [[epoch, epoch]], {})
        wrong = {
            ACCUMULATED: walk(w, [epoch, epoch], rates, slip="never")[1],
            ONCE_AN_EPOCH: is_one_of(
                *(walk(w, [epoch, epoch], rates, slip=slip)[1] for slip in ("once", "step"))
            ),
            NOTHING_MOVES: w,
        }
        assert_close(last, w2, symptoms=wrong)
        assert len(found) == 6
        assert_close(found, history)

    @pytest.mark.points(1)
    def test_walks_anew(self, student, rng):
        """Each epoch walks the batches anew: a loader gives others each time."""
        w, epochs = (
            rng.normal(size=(3, 2)),
            [batches(rng, 3, 2), batches(rng, 4), batches(rng, 2, 2)],
        )
        describe_input("batches that are others at each walk")
        with recognise(LISTED, StopIteration, RuntimeError):
            found = fitted(student, w, [epochs], {})
        wrong = {LISTED: walk(w, [epochs[0]] * 3, [0.1] * 9)[1]}
        assert_close(found[3], walk(w, epochs, [0.1] * 9)[1], symptoms=wrong)

    @pytest.mark.points(1)
    def test_old_gradients(self, student, rng):
        """Old gradients of the optimizer's parameters, also from before fit, take no part."""
        w, b = rng.normal(size=(3, 2)), rng.normal(size=2)
        old, [(x, y)] = (rng.normal(size=(3, 2)), rng.normal(size=2)), batches(rng, 4)
        describe_input("a step of two parameters with old gradients; one is the loss's own")
        found = with_old_gradients(student, (w, b), old, x, y)
        error = x @ w + b - y
        slopes = 2 * x.T @ error / error.size, 2 * error.sum(axis=0) / error.size
        for p, start, slope, before in zip(found, (w, b), slopes, old, strict=True):
            right = start - 0.1 * slope
            assert_close(p, right, symptoms={STALE: right - 0.1 * before})

    @pytest.mark.points(2.5)
    def test_schedule(self, student, rng):
        """Before each step the rate is what the schedule says of the steps taken so far."""
        w, epoch = rng.normal(size=(3, 2)), batches(rng, 4, 3, 3)
        rates = rng.uniform(0.02, 0.4, 12).tolist()
        for before in (0, 3):
            describe_input(f"six steps of an optimizer that has taken {before} before")
            # the steps before went nowhere
            last = fitted(student, w, [[epoch], [epoch]], {"rates": rates}, before)[3]

            def by(*chosen):
                return walk(w, [epoch, epoch], chosen)[1]

            pairs = (rates[0], rates[1]), (rates[0],) * 2, (rates[before], rates[before + 3])
            wrong = {
                SCHEDULE_BY_EPOCH: is_one_of(*(by(*[a] * 3, *[b] * 3) for a, b in pairs)),
                SCHEDULE_FROM_ZERO: is_one_of(by(*rates[:3] * 2), by(*rates[:6])),
                SCHEDULE_LATE: by(0.1, *rates[before + 1 : before + 6]),
            }
            assert_close(last, by(*rates[before : before + 6]), symptoms=wrong)

    @pytest.mark.points(2.5)
    def test_clip(self, student, rng):
        """With clip, the gradients of the optimizer's parameters are clipped before the step."""
        w, epoch = rng.normal(size=(3, 2)), batches(rng, 4, 3)
        describe_input("four steps with gradients above the limit, then some below")
        for limit in (0.05, 50.0):
            last = fitted(student, w, [[epoch, epoch]], {"clip": limit}, 0, False, LENT)[3]
            wrong = {UNCLIPPED: walk(w, [epoch, epoch], [0.1] * 4)[1]} if limit < 1 else {}
            assert_close(last, walk(w, [epoch, epoch], [0.1] * 4, limit)[1], symptoms=wrong)
        describe_input("a model with another parameter, which the optimizer does not have")
        last = fitted(student, w, [[epoch]], {"clip": 0.05}, 0, True, LENT)[3]
        assert_close(last, walk(w, [epoch], [0.1] * 2, 0.05)[1])

    @pytest.mark.points(1)
    def test_history(self, student, rng):
        """history has a plain number for each step, of all calls of fit."""
        w, epoch = rng.normal(size=(3, 2)), batches(rng, 4, 3)
        describe_input("two calls of fit, of two epochs and of one")
        found, plain, *_ = fitted(student, w, [[epoch, epoch], [epoch]], {})
        assert len(found) == 6 and found[0] > 0
        symptom(NOT_PLAIN, plain is not True)

    @pytest.mark.points(0.5)
    def test_history_grows(self, student, rng):
        """Each step adds its loss to history before the next one begins."""
        w, epoch = rng.normal(size=(3, 2)), batches(rng, 4, 3)
        describe_input("a model that looks at history whenever it is asked")
        lengths = fitted(student, w, [[epoch, epoch], [epoch]], {})[2]
        assert lengths == [0, 1, 2, 3, 4, 5]

    @pytest.mark.points(0.5)
    def test_returns_the_trainer(self, student, rng):
        """fit returns the trainer, and has trained."""
        w = rng.normal(size=(3, 2))
        *_, last, _, same = fitted(student, w, [[batches(rng, 4)]], {})
        assert same is True and not np.array_equal(last, w)

    @pytest.mark.points(1.5)
    def test_mode(self, student, rng):
        """fit trains in training mode, all of the model, and leaves it there."""
        w = rng.normal(size=(3, 2))
        for modes in ((False, False), (True, False), (False, True)):
            which = {True: "in training mode", False: "in the mode for use"}
            describe_input(f"a model that was {which[modes[0]]}, its part {which[modes[1]]}")
            data = student, w, [[batches(rng, 4, 4)]], {}
            *_, last, (seen, model, part), _ = fitted(*data, modes=modes)
            assert seen == [(True, True)] * 2 and (model, part) == (True, True)
            assert not np.array_equal(last, w)

    @pytest.mark.points(1)
    def test_inputs_as_they_are(self, student, rng):
        """The inputs of a batch reach the model as they are: also a list of whole numbers."""
        table, ids = rng.normal(size=(6, 2)), [4, 1, 4]
        describe_input("a model that looks up rows of a table, by a list and by an array")
        last = looked_up(student, table, [ids, np.array(ids)])
        expected = table.copy()
        for _ in range(2):
            g = np.zeros_like(table)
            np.add.at(g, ids, 2 * expected[ids] / 6)
            expected = expected - 0.1 * g
        assert_close(last, expected)


@run_in_worker
def with_old_gradients(starts, old, x, y):
    """Parameters after a step of y = x @ w + b, where b is not the model's but the loss's.

    `old` are the gradients that they have before.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Matrix(tt.Module):
        def __init__(self, w):
            self.w = w

        def forward(self, x):
            return x @ self.w

    w, b = (tt.Tensor(np.array(start)) for start in starts)
    optimizer = tt.SGD([w, b], lr=0.1)
    w.grad, b.grad = (np.array(each) for each in old)
    trainer = Trainer(Matrix(w), lambda y, t: ((y + b - t) * (y + b - t)).mean(), optimizer)
    trainer.fit([(tt.Tensor(np.array(x)), np.array(y))], 1)
    return w.data, b.data


@run_in_worker
def looked_up(table, inputs):
    """A table after a step for each input, which picks rows that are pulled to 0."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Table(tt.Module):
        def __init__(self):
            self.rows = tt.Tensor(np.array(table))

        def forward(self, ids):
            assert type(ids) in (list, np.ndarray)
            return self.rows[ids]

    model = Table()
    trainer = Trainer(model, lambda y, t: (y * y).mean(), tt.SGD(model.parameters(), lr=0.1))
    trainer.fit([(x, None) for x in inputs], 1)
    return model.rows.data


class TestBug:
    @pytest.mark.points(1)
    def test_breaks_it(self, student):
        """Two batches on which hasty_accuracy is off by more than 0.2."""
        found = [(logits.data, np.asarray(classes)) for logits, classes in student.breaks_it()]
        assert len(found) == 2
        hits = [logits.argmax(axis=1) == classes for logits, classes in found]
        assert all(
            hit.shape == (len(logits),) for hit, (logits, _) in zip(hits, found, strict=True)
        )
        hasty = np.mean([hit.mean() for hit in hits])
        assert abs(hasty - np.concatenate(hits).mean()) > 0.2


# Evaluation.


@run_in_worker
def evaluated(batches, modes, listed=False):
    """What `evaluate` says of a model whose logits are its inputs (in training: their negatives).

    modes: those of model, first part, a part of that, and second part, before. Returns also those
    afterwards, whether anything was recorded, whether recording is on again, and whether it was but
    a look: gradients and attributes as they were, the batches walked once.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Part(tt.Module):
        def __init__(self, inner=None):
            self.inner = inner

        def forward(self, x):
            return -x if self.training else x

    class Model(tt.Module):
        def __init__(self):
            self.one = tt.Tensor(np.array(1.0), requires_grad=True)
            self.parts = [Part(Part()), (Part(),)]
            self.recorded = []

        def forward(self, x):
            inner = self.parts[0].inner
            x = self.parts[1][0](inner(self.parts[0](x))) * self.one
            self.recorded.append(bool(x.requires_grad))
            return x

    model = Model()
    every = [model, model.parts[0], model.parts[0].inner, model.parts[1][0]]
    for each, mode in zip(every, modes, strict=True):
        each.training = mode

    class Batches:
        def __init__(self, batches):
            self.batches, self.walks = batches, 0

        def __iter__(self):
            self.walks += 1
            return iter(self.batches)

    grad = model.one.grad = np.array(2.0)
    before = {name: getattr(model, name) for name in ("parts", "one")}
    trainer = Trainer(model, None, tt.SGD([model.one], lr=0.1))
    given = Batches(
        [(tt.Tensor(np.array(x)), list(y) if listed else np.array(y)) for x, y in batches]
    )
    share = trainer.evaluate(given)
    after = [each.training for each in every]
    recorded, again = any(model.recorded), bool((model.one * 2).requires_grad)
    kept = all(getattr(model, name) is value for name, value in before.items())
    look = kept and model.one.grad is grad and bool(grad == 2) and given.walks == 1
    return float(share), after, recorded, again, look


def labelled(rng, *sizes):
    """Batches of logits (n, 4) and classes, of which about half are the largest."""
    found = []
    for n in sizes:
        logits = rng.normal(size=(n, 4))
        others = rng.integers(0, 4, n)
        found.append((logits, np.where(rng.random(n) < 0.5, logits.argmax(1), others)))
    return found


def share_of(found):
    return np.concatenate([np.ravel(x.argmax(-1) == y) for x, y in found]).mean()


IN_USE = [False] * 4


class TestEvaluate:
    @pytest.mark.points(3)
    def test_share(self, student, rng):
        """evaluate is the share of examples whose largest logit is that of the target."""
        found = labelled(rng, 12, 7)
        alone = rng.normal(size=(1, 4))
        found.append((alone, alone.argmax(1) * 1))
        describe_input("batches of 12, 7 and 1 examples, of four classes; arrays, then lists")
        by_batches = np.mean([np.mean(x.argmax(1) == y) for x, y in found])
        for listed in (False, True):
            said = evaluated(student, found, IN_USE, listed)[0]
            assert_close(said, share_of(found), symptoms={BY_BATCHES: by_batches})

    @pytest.mark.points(1)
    def test_more_axes(self, student, rng):
        """Logits (N, T, C) have targets (N, T), and each of these is an example."""
        describe_input("logits of shape (2, 3, 5), targets of shape (2, 3)")
        deep = rng.normal(size=(2, 3, 5))
        right = deep.argmax(-1)
        right[0, 0] = (right[0, 0] + 1) % 5
        assert_close(evaluated(student, [(deep, right)], IN_USE)[0], 5 / 6)

    @pytest.mark.points(1.5)
    def test_in_use(self, student, rng):
        """The model answers in the mode for use, whatever its mode was."""
        found = labelled(rng, 9, 6)
        negatives = [(-x, y) for x, y in found]
        wrong = {NOT_IN_USE: share_of(negatives)} if share_of(negatives) != share_of(found) else {}
        for modes in ([True] * 4, [False, True, True, True]):
            describe_input(
                "a model, or its parts only, in training mode, where it answers otherwise"
            )
            said = evaluated(student, found, modes)[0]
            assert_close(said, share_of(found), symptoms=wrong)

    @pytest.mark.points(2)
    def test_modes(self, student, rng):
        """Afterwards every module is in the mode in which it was."""
        logits = rng.normal(size=(4, 4))
        half = np.where([True, True, False, False], logits.argmax(1), logits.argmin(1))
        for modes in ([True] * 4, [True, False, True, False], [False, True, True, False], IN_USE):
            describe_input("a model whose parts are in several modes")
            said, after, *_ = evaluated(student, [(logits, half)], modes)
            symptom(MODE_KEPT, after == IN_USE and modes != IN_USE)
            symptom(ONE_MODE, after != modes and len(set(after)) == 1)
            assert after == modes and 0 < said < 1

    @pytest.mark.points(1)
    def test_unrecorded(self, student, rng):
        """Nothing is recorded while evaluate looks, and afterwards it is again."""
        found = labelled(rng, 4, 3)
        said, _, recorded, again, _ = evaluated(student, found, IN_USE)
        symptom(RECORDED, recorded)
        assert recorded is False and again is True
        assert_close(said, share_of(found))

    @pytest.mark.points(0.5)
    def test_a_look(self, student, rng):
        """evaluate but looks: gradients stay as they are, and the batches are walked once."""
        found = labelled(rng, 4, 3)
        describe_input("a parameter that has a gradient, and batches that count their walks")
        said, *_, look = evaluated(student, found, IN_USE)
        assert look is True
        assert_close(said, share_of(found))


# Checkpoints. The drivers train by a loop of their own: a wrong `fit` costs nothing here.

COMMON = '''
import os

import numpy as np
import tinytorch as tt

tt.enable_gradients()


class Centre(tt.Module):
    """Takes off a running mean, which training moves; it is no parameter."""

    def __init__(self, count):
        self.mean, self.seen = np.zeros(count), np.zeros(1, int)

    def forward(self, x):
        if self.training:
            self.mean, self.seen = 0.9 * self.mean + 0.1 * x.data.mean(0), self.seen + 1
        return x - self.mean.astype(x.dtype)


class Noise(tt.Module):
    """Dropout, whose generator has a name that is known here, and not that of 03."""

    def __init__(self, p, source):
        self.p, self.source = p, source

    def forward(self, x):
        if not self.training:
            return x
        keep = self.source.random(x.shape) >= self.p
        return x * (keep / (1 - self.p)).astype(x.dtype)


class Net(tt.Module):
    def __init__(self, seed, kind, hidden, layers=1):
        rng, other, noise = (np.random.default_rng([seed, n]) for n in range(3))
        self.centre = Centre(3)
        self.idle = tt.Tensor(np.ones(2))  # no gradient comes here
        self.body = [tt.Linear(3, hidden, rng=rng), tt.tanh, Noise(0.3, noise)]
        for _ in range(layers):
            self.body += [tt.Linear(hidden, hidden, rng=rng), Noise(0.3, noise)]
        self.last = Noise(0.2, other)
        self.head = tt.Sequential(self.last, tt.Linear(hidden, 2, rng=rng))
        self.scale = tt.Tensor(np.array(1.0, kind))
        for p in self.parameters():
            p.data = p.data.astype(kind)

    def forward(self, x):
        x = self.centre(x)
        for layer in self.body:
            x = layer(x)
        return self.head(x) * self.scale


def made(seed, optimizer, kind, hidden=4, layers=1):
    model = Net(seed, kind, hidden, layers)
    if optimizer == "SGD":
        return model, tt.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, getattr(tt, optimizer)(model.parameters(), lr=0.01)


def steps(model, optimizer, batches):
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        loss = tt.cross_entropy(model(tt.Tensor(np.array(x))), np.array(y))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    return losses


def draws(model):
    """What the next numbers of each generator will be, and whether two layers share theirs."""
    first, second, last = model.body[2].source, model.body[4].source, model.last.source
    told = []
    for rng in (first, second, last):
        twin = type(rng)(type(rng.bit_generator)())
        twin.bit_generator.state = rng.bit_generator.state
        told.append(twin.random(4))
    return np.array(told), first is second


def everything(model, optimizer):
    """All that a checkpoint has to bring back, as plain data."""
    numbers, shared = draws(model)
    return {
        "parameters": [np.array(p.data) for p in model.parameters()],
        "arrays": [model.centre.mean, model.centre.seen],
        "draws": numbers,
        "shared": shared,
        "state": [{k: np.asarray(v) for k, v in each.items()} for each in optimizer.state],
        "t": int(optimizer.t),
        "lr": float(optimizer.lr),
        "plain": type(optimizer.t) is int and type(optimizer.lr) is float,
    }
'''


@run_in_worker
def saved(common, optimizer, kind, batches, more, rate):
    """Train, save, and train on: the file's bytes, all that it should hold, the losses and end."""
    names = dict(globals())
    exec(common, names)
    model, opt = names["made"](1, optimizer, kind)
    names["steps"](model, opt, batches)
    opt.lr = rate
    held = names["everything"](model, opt)
    save_checkpoint("run.tt", model, opt)
    with open("run.tt", "rb") as file:
        raw = file.read()
    names["os"].remove("run.tt")
    unmoved = names["everything"](model, opt)
    losses = names["steps"](model, opt, more)
    return raw, held, unmoved, losses, names["everything"](model, opt)


@run_in_worker
def loaded(common, optimizer, kind, raw, warm, more):
    """Load the bytes into a run of other numbers: what is there, and how it goes on."""
    names = dict(globals())
    exec(common, names)
    model, opt = names["made"](2, optimizer, kind)
    names["steps"](model, opt, warm)
    if warm:  # also where the run that was saved had no gradient yet
        for p in model.parameters():
            p.grad = p.data * 0 + 1
        opt.step()
        opt.zero_grad()
    with open("elsewhere.tt", "wb") as file:
        file.write(raw)
    load_checkpoint("elsewhere.tt", model, opt)
    names["os"].remove("elsewhere.tt")
    found = names["everything"](model, opt)
    losses = names["steps"](model, opt, more)
    return found, losses, names["everything"](model, opt)


def same(found, wanted):
    """Whether plain data are equal to the last bit, dtypes too."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, np.ndarray):
        alike = found.dtype == wanted.dtype and found.shape == wanted.shape
        return alike and found.tobytes() == wanted.tobytes()
    return type(found) is type(wanted) and found == wanted


def classified(rng, count, kind="float32"):
    return [
        (rng.normal(1.0, 2.0, (5, 3)).astype(kind), rng.integers(0, 2, 5)) for _ in range(count)
    ]


def there_and_back(student, rng, optimizer="Adam", kind="float32", warm=0, on=False):
    """What a run held when it was saved, what was there after loading, and how both went on.

    Without `on` the loaded run takes no step: what does not fit costs what it belongs to.
    """
    describe_input(
        f"{optimizer}, {kind}; saved after 4 steps, loaded into a model of other numbers"
    )
    some, more = classified(rng, 4, kind), classified(rng, 3, kind)
    raw, held, unmoved, losses, end = saved(
        student, COMMON, optimizer, kind, some, more, float(rng.uniform(0.005, 0.02))
    )
    assert same(unmoved, held), "saving changed the run"
    assert len(losses) == 3 and not same(end["parameters"], held["parameters"])
    warmed = classified(rng, warm, kind)
    gone_on = more if on else []
    return held, (losses, end), *loaded(student, COMMON, optimizer, kind, raw, warmed, gone_on)


def came_back(found, held):
    """Name what is not as it was when the run was saved, parameters excepted."""
    symptom(NO_ARRAYS, not same(found["arrays"], held["arrays"]))
    symptom(NO_GENERATOR, not same(found["draws"], held["draws"]))
    symptom(UNSHARED, found["shared"] is not True)
    symptom(NO_T, found["t"] != held["t"])
    symptom(NO_RATE, found["lr"] != held["lr"])
    symptom(NO_STATE, not same(found["state"], held["state"]))
    symptom(NOT_PLAIN_AGAIN, found["plain"] is not True)


class TestResume:
    @pytest.mark.points(3)
    def test_parameters(self, student, rng):
        """After loading, every parameter is what it was when it was saved, to the last bit."""
        for kind in ("float32", "float64"):
            held, _, found, *_ = there_and_back(student, rng, "Adam", kind)
            assert same(found["parameters"], held["parameters"])

    @pytest.mark.points(2)
    def test_arrays(self, student, rng):
        """The NumPy arrays of each module, such as running means, come back."""
        held, _, found, *_ = there_and_back(student, rng)
        assert same(found["parameters"][0], held["parameters"][0])
        symptom(NO_ARRAYS, not same(found["arrays"], held["arrays"]))

    @pytest.mark.points(2.5)
    def test_generators(self, student, rng):
        """Generators draw what they would have drawn, and layers that shared one still do."""
        held, _, found, *_ = there_and_back(student, rng)
        symptom(NO_GENERATOR, not same(found["draws"], held["draws"]))
        symptom(UNSHARED, found["shared"] is not True)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
    def test_optimizer(self, student, rng, optimizer):
        """The optimizer's state, t and lr come back, whatever it had before."""
        held, _, found, *_ = there_and_back(student, rng, optimizer, warm=2)
        own = ("t", "lr", "state", "plain")
        came_back(held | {name: found[name] for name in own}, held)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
    def test_goes_on(self, student, rng, optimizer):
        """The next steps are those of the run that was never stopped, bit for bit."""
        held, (losses, end), found, resumed, last = there_and_back(
            student, rng, optimizer, warm=1, on=True
        )
        assert len(resumed) == len(losses)
        if resumed != losses or not same(last, end):
            came_back(found, held)
            raise AssertionError("it goes on otherwise, though all seems to have come back")


@run_in_worker
def rewritten(common, batches, how):
    """Save, train on, save again under the same name; what became of the first file.

    With `how` "is full", NumPy can write only two arrays the second time; with "renames nothing",
    no file gets another name. Returns the bytes of the first file, of it seen through a handle that
    was open all the time, of the second, what its folder has that it had not, whether a file got
    its name in another folder, and whether an exception came.
    """
    import shutil

    import numpy.lib._npyio_impl as npyio

    names = dict(globals())
    exec(common, names)
    os, module = names["os"], npyio.format
    here = set(os.listdir("."))
    shutil.rmtree("runs", ignore_errors=True)  # of a test that failed on its way
    os.mkdir("runs")
    model, opt = names["made"](1, "Adam", "float32")
    names["steps"](model, opt, batches[:2])
    save_checkpoint("runs/twice.tt", model, opt)
    between = os.listdir("runs")
    raised, count, elsewhere = "", [0], []
    right = module.write_array, os.replace, os.rename

    def full(*arguments, **options):
        count[0] += 1
        if count[0] > 2:
            raise OSError("No space left on device")
        return right[0](*arguments, **options)

    def fixed(*arguments, **options):
        raise OSError("Input/output error")

    def watched(rename):
        def renamed(source, target, **options):
            folders = {os.path.dirname(os.path.abspath(each)) for each in (source, target)}
            if len(folders) > 1:
                elsewhere.append(source)
            return rename(source, target, **options)

        return renamed

    with open("runs/twice.tt", "rb") as held:
        first = held.read()
        names["steps"](model, opt, batches[2:])
        if how == "is full":
            module.write_array = full
        os.replace, os.rename = watched(os.replace), watched(os.rename)
        if how == "renames nothing":
            os.replace = os.rename = fixed
        try:
            save_checkpoint("runs/twice.tt", model, opt)
        except Exception as error:
            raised = type(error).__name__
        finally:
            module.write_array, os.replace, os.rename = right
        held.seek(0)
        through = held.read()
    second = b""
    if os.path.exists("runs/twice.tt"):
        with open("runs/twice.tt", "rb") as file:
            second = file.read()
    after = os.listdir("runs")
    shutil.rmtree("runs")
    for name in set(os.listdir(".")) - here:
        os.remove(name)
    return first, through, second, sorted(between), sorted(after), bool(elsewhere), raised


@run_in_worker
def offered(common, files):
    """Offer each file to a run: what was raised, whether anything changed, and was anything run."""
    names = dict(globals())
    exec(common, names)
    os = names["os"]
    told = []

    def told_of(model, optimizer):
        modes = [model.training, model.last.training, model.body[2].training]
        return names["everything"](model, optimizer) | {"modes": modes}

    for name, raw in files.items():
        model, opt = names["made"](2, "Adam", "float32")
        names["steps"](model, opt, [(names["np"].ones((2, 3), "float32"), [0, 1])])
        model.eval()
        before = told_of(model, opt)
        with open("offered.tt", "wb") as file:
            file.write(raw)
        raised = message = ""
        try:
            load_checkpoint("offered.tt", model, opt)
        except ValueError as error:
            raised, message = "ValueError", str(error)
        except Exception as error:
            raised = type(error).__name__
        told.append((name, raised, message, before, told_of(model, opt)))
        os.remove("offered.tt")
    ran = os.path.exists("ran")
    if ran:
        os.rmdir("ran")
    return told, ran


@run_in_worker
def checkpoints(common, batches, runs):
    """The bytes of checkpoints of other runs: optimizer, hidden units, layers."""
    names = dict(globals())
    exec(common, names)
    files = []
    for optimizer, hidden, layers in runs:
        model, opt = names["made"](3, optimizer, "float32", hidden, layers)
        names["steps"](model, opt, batches)
        save_checkpoint("shape.tt", model, opt)
        with open("shape.tt", "rb") as file:
            files.append(file.read())
        names["os"].remove("shape.tt")
    return files


class Program:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        import os

        return os.mkdir, ("ran",)


def stored(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def refused(student, files):
    """Assert that each file is refused by a ValueError with a sentence, and changes nothing."""
    told, ran = offered(student, COMMON, files)
    assert ran is False and len(told) == len(files)
    for (name, raised, message, before, after), known in zip(told, files, strict=True):
        assert name == known
        describe_input(f"a file that is {name}")
        symptom(ACCEPTED, raised == "")
        symptom(OTHER_ERROR, raised != "ValueError")
        assert len(message.split()) >= 3, "no sentence"
        symptom(HALF_LOADED, not same(after, before))


def right_one(student, rng):
    """A checkpoint that fits the models of `offered`; asserts that it is taken."""
    [raw] = checkpoints(student, COMMON, classified(rng, 3), [("Adam", 4, 1)])
    [(_, raised, _, before, after)], _ = offered(student, COMMON, {"whole": raw})
    assert raised == "" and not same(after["parameters"], before["parameters"])
    return raw


class TestSafe:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("how", ["works", "is full", "renames nothing"])
    def test_whole_or_not_at_all(self, student, rng, how):
        """Until the new file is whole, the old one is there as it was."""
        describe_input(f"a second checkpoint of the same name, on a disk that {how}")
        data = student, COMMON, classified(rng, 4), how
        first, through, second, *_, raised = rewritten(*data)
        assert len(first) > 100
        symptom(IN_PLACE, how != "renames nothing" and through != first)
        if raised:
            assert how != "works"
            symptom(IN_PLACE, second != first)
        else:
            assert second != first and len(second) > 100

    @pytest.mark.points(0.5)
    def test_its_name(self, student, rng):
        """The file has exactly the name that was asked for, and no other is left in the folder."""
        with recognise(SUFFIX, FileNotFoundError):
            found = rewritten(student, COMMON, classified(rng, 4), "works")
        first, _, _, between, after, *_ = found
        symptom(LEFT_OVER, len(after) > 1 or len(between) > 1)
        assert after == between == ["twice.tt"] and len(first) > 100

    @pytest.mark.points(0.5)
    def test_beside(self, student, rng):
        """The temporary file stands beside the checkpoint, in the same folder."""
        describe_input("a checkpoint in a folder inside of the current one")
        first, _, second, _, _, elsewhere, _ = rewritten(
            student, COMMON, classified(rng, 4), "works"
        )
        symptom(ELSEWHERE, elsewhere)
        assert second != first and len(second) > 100

    @pytest.mark.points(1)
    def test_no_pickles(self, student, rng):
        """A checkpoint is a NumPy archive that can be read without pickles; a program isn't run."""
        raw = right_one(student, rng)
        with recognise(PICKLES, ValueError, pickle.UnpicklingError):
            archive = np.load(io.BytesIO(raw), allow_pickle=False)
            arrays = [archive[name] for name in archive.files]
        assert len(arrays) > 1
        program = stored(np.save, np.array([Program()], dtype=object))
        archived = stored(np.savez, a=np.array([Program()], dtype=object))
        pickled = pickle.dumps({"parameters": Program()})
        _, ran = offered(student, COMMON, {"a": program, "b": archived, "c": pickled})
        symptom(PICKLES, ran)

    @pytest.mark.points(1.5)
    def test_damaged(self, student, rng):
        """A damaged file is refused by a ValueError that says so, and nothing has changed."""
        raw = right_one(student, rng)
        files = {
            "cut off": raw[: len(raw) // 2],
            "a little cut off": raw[:-1],
            "cut at its start": raw[7:],
        }
        places = in_the_data(raw)
        for nth, place in enumerate({places[0], places[len(places) // 2], places[-1]}):
            wrong = bytearray(raw)
            wrong[place] ^= 64
            files[f"wrong in one byte ({nth})"] = bytes(wrong)
        files |= {"empty": b"", "no archive": rng.bytes(500)}
        files["a text"] = b"This is not a checkpoint."
        refused(student, files)

    @pytest.mark.points(1.5)
    def test_of_others(self, student, rng):
        """A file of something else, of another model or optimizer, is refused; nothing changes."""
        right_one(student, rng)
        runs = {
            "of a wider model": ("Adam", 5, 1),
            "of a model with a layer less": ("Adam", 4, 0),
            "of a model with a layer more": ("Adam", 4, 2),
            "of a run by SGD": ("SGD", 4, 1),
            "of a run by AdamW": ("AdamW", 4, 1),
        }
        others = checkpoints(student, COMMON, classified(rng, 3), list(runs.values()))
        files = {
            "an archive of something else": stored(
                np.savez, a=rng.normal(size=(3, 4)), b=np.ones(2)
            ),
            "one array": stored(np.save, rng.normal(size=(4, 4))),
        }
        refused(student, files | dict(zip(runs, others, strict=True)))


def in_the_data(raw):
    """Places in an archive, in order, where a byte belongs to the numbers of an array.

    Bytes between its files, such as the time of each, are covered by no sum.
    """
    archive = np.load(io.BytesIO(raw), allow_pickle=False)
    arrays = [archive[name] for name in archive.files]
    marks = {a.tobytes()[:16] for a in arrays if a.dtype.kind == "f" and a.size >= 4}
    found = sorted({raw.find(mark) for mark in marks} - {-1})
    if found:
        return found
    largest = max(archive.zip.infolist(), key=lambda file: file.compress_size)
    name, extra = (int.from_bytes(raw[largest.header_offset + n :][:2], "little") for n in (26, 28))
    return [largest.header_offset + 30 + name + extra + largest.compress_size // 2]


# The whole: a model learns, and a run that is stopped goes on.


@run_in_worker
def learned(sizes, weights, batches, epochs, rate, probe, options):
    """Train tanh layers of these weights by Adam: the logits at `probe`, and a share if asked."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    layers = []
    for number, (n, m) in enumerate(sizes):
        layer = tt.Linear(n, m)
        layer.weight.data, layer.bias.data = (np.array(each) for each in weights[number])
        layers += [layer, tt.tanh]
    model = tt.Sequential(*layers[:-1])
    optimizer = tt.Adam(model.parameters(), lr=rate)
    trainer = Trainer(model, tt.cross_entropy, optimizer)
    given = [(tt.Tensor(np.array(x)), np.array(y)) for x, y in batches]
    if "total" in options:
        total, peak = options.pop("total"), rate
        options["schedule"] = lambda t: tt.cosine_schedule(t, total, peak, warmup=3)
    asked = options.pop("evaluate", False)
    trainer.fit(given, epochs, **options)
    logits = model(tt.Tensor(np.array(probe))).data
    return logits, trainer.evaluate(given) if asked else None


def started(rng, sizes, kind=np.float32):
    """Weights for tanh layers, and biases of 0."""
    return [
        (
            rng.uniform(-1, 1, size).astype(kind) / np.sqrt(size[0], dtype=kind),
            np.zeros(size[1], kind),
        )
        for size in sizes
    ]


def moons(rng, count):
    classes = np.arange(count) % 2
    angle = rng.uniform(0, np.pi, count) + np.pi * classes
    points = np.stack([np.cos(angle) + classes, np.sin(angle) + 0.5 * classes], axis=1)
    return (points + rng.normal(0, 0.1, points.shape)).astype(np.float32), classes


def _stopped(sizes, weights, others, batches, stop, epochs, total, clip):
    """A run of tanh layers, saved after `stop` epochs, gone on in a fresh model of other weights.

    With `stop` 0 it is never stopped. Returns losses and parameters.
    """
    import os

    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    def made(values):
        layers = []
        for (n, m), (weight, bias) in zip(sizes, values, strict=True):
            layer = tt.Linear(n, m)
            layer.weight.data, layer.bias.data = np.array(weight), np.array(bias)
            layers += [layer, tt.tanh]
        model = tt.Sequential(*layers[:-1])
        return model, tt.AdamW(model.parameters(), lr=0.02), layers[0::2]

    def schedule(t):
        return tt.cosine_schedule(t, total, 0.02, warmup=2)

    given = [(tt.Tensor(np.array(x)), np.array(y)) for x, y in batches]
    model, optimizer, linear = made(weights)
    trainer, history = Trainer(model, tt.cross_entropy, optimizer), []
    if stop:
        trainer.fit(given, stop, schedule=schedule, clip=clip)
        history += trainer.history
        save_checkpoint("stopped.tt", model, optimizer)
        model, optimizer, linear = made(others)
        load_checkpoint("stopped.tt", model, optimizer)
        os.remove("stopped.tt")
        trainer = Trainer(model, tt.cross_entropy, optimizer)
    trainer.fit(given, epochs - stop, schedule=schedule, clip=clip)
    history += trainer.history
    parameters = [each for layer in linear for each in (layer.weight.data, layer.bias.data)]
    return history, parameters


stopped = run_in_worker(_stopped)


def by_reference(reference, *data):
    """The same on the reference, in this process."""
    here = FunctionType(_stopped.__code__, dict(vars(reference)))
    try:
        return here(*data)
    finally:
        reference.disable_gradients()


class TestWhole:
    @pytest.mark.points(5)
    def test_xor(self, student, rng):
        """A 2-8-2 network learns XOR in 500 steps, for two of three beginnings at least."""
        describe_input(
            "points near the four corners of a square; which two belong together is drawn"
        )
        corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
        sizes, learnt = [(2, 8), (8, 2)], []
        for _ in range(3):
            classes = np.array([0, 1, 1, 0]) ^ int(rng.integers(2))
            near = (corners + rng.uniform(-0.05, 0.05, corners.shape)).astype(np.float32)
            probe = (corners[None] + rng.uniform(-0.05, 0.05, (5, 4, 2))).astype(np.float32)
            weights = started(rng, sizes)
            logits, _ = learned(
                student, sizes, weights, [(near, classes)], 500, 0.05, probe.reshape(-1, 2), {}
            )
            right = np.all(logits.argmax(1) == np.tile(classes, 5))
            learnt.append(bool(right))
        assert sum(learnt) >= 2

    @pytest.mark.points(6)
    def test_moons(self, student, rng):
        """A 2-32-32-2 network tells two moons apart: 95 of 100 points that it has never seen."""
        describe_input("200 points on two half circles that interlock, in batches of 32")
        (x, y), (unseen, classes) = moons(rng, 200), moons(rng, 400)
        order = rng.permutation(200)
        x, y = x[order], y[order]
        sizes = [(2, 32), (32, 32), (32, 2)]
        some = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 200, 32)]
        options = {"total": 7 * 60, "evaluate": True}
        logits, share = learned(
            student,
            sizes,
            started(rng, sizes),
            some,
            60,
            0.02,  # by 0.01 one beginning in 300 has not arrived in 60 epochs
            np.concatenate([unseen, x]),
            options,
        )
        hits = logits.argmax(1) == np.concatenate([classes, y])
        assert hits[:400].mean() >= 0.95
        assert_close(share, hits[400:].mean())

    @pytest.mark.points(10)
    def test_stopped_and_gone_on(self, student, reference, rng):
        """A run with schedule and clipping, stopped and gone on, takes each step as it should."""
        describe_input("12 steps by AdamW in float64, a checkpoint after the eighth")
        sizes = [(3, 5), (5, 3)]
        weights, others = started(rng, sizes, np.float64), started(rng, sizes, np.float64)
        some = [(rng.normal(size=(n, 3)), rng.integers(0, 3, n)) for n in (6, 6, 5, 2)]
        wanted = by_reference(reference, sizes, weights, others, some, 0, 3, 12, 0.3)
        found = stopped(student, sizes, weights, others, some, 2, 3, 12, 0.3)
        assert_close(found[0], wanted[0], rtol=1e-6)
        for seen, right in zip(found[1], wanted[1], strict=True):
            assert_close(seen, right, rtol=1e-6, atol=1e-8)
