"""Hidden tests of 18_compression.

Masks, products and losses are worked out here, in NumPy, from the arrays that come back. Which of
equal weights go, how singular values are dealt out and what of the optimizer does the holding is
the student's. `prune_model`, `factor` and `distill` are tried on the student's own pieces and once
more on right ones: a region earns the better of the two.

`Whole` has no second way. Runs of a net and of a small GPT are compared with the reference's, step
by step, and their losses are taken here: from weights and logits, on data that the run never saw.
"""

from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from lending import LEND, own_or_lent

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    run_in_worker,
    symptom,
)

BY_THRESHOLD = Misconception(
    "by a threshold", "Among equal weights a threshold takes all or none: count instead."
)
LARGEST = Misconception("the largest", "The largest weights went: the smallest do.")
SIGNED = Misconception("with their sign", "Size is without the sign: -5 is not small.")
BY_ROW = Misconception("row by row", "The share is of the whole array, not of each row.")
IN_PLACE = Misconception("written in place", "The array that was given has changed.")
NOT_EVERYWHERE = Misconception(
    "not everywhere", "Some Linear has stayed: look into lists and modules."
)
TOO_MUCH = Misconception("pruned too much", "Biases and tables stay: a Linear's weight is pruned.")
TOGETHER = Misconception("all together", "Each weight is pruned by itself, to the same share.")
MOVED = Misconception(
    "zeros move", "After a step pruned weights are not 0: momentum and decay move them, too."
)
GRADIENT_ONLY = Misconception(
    "gradient only", "The gradient was masked, but the optimizer remembers: mask what it leaves."
)
FROZEN = Misconception("all frozen", "The weights that stay do not learn any more.")
NOT_NEAREST = Misconception(
    "not the nearest", "A matrix of this rank is nearer: keep the largest singular values."
)
TWICE = Misconception("s twice", "Each singular value came in twice: deal it out once.")
LEFT_OUT = Misconception("s left out", "The singular values are missing from the product.")
BIAS_THRICE = Misconception(
    "bias inside", "The bias is added after both matrices, once, and not between them."
)
BIAS_FORGOTTEN = Misconception("bias forgotten", "The bias of the Linear is not added.")
NO_T_SQUARED = Misconception("T² forgotten", "The teacher's part is multiplied by T².")
HARD_SOFTENED = Misconception("labels softened", "Cross-entropy is not divided by T.")
TEACHER_SHARP = Misconception("only one softened", "Both, student and teacher, are divided by T.")
SHARE_SWAPPED = Misconception("share swapped", "`share` is the teacher's, 1 - share the labels'.")
ENTROPY_LEFT = Misconception(
    "entropy left in", "KL is 0 for the teacher's own shares: log q is missing."
)
REVERSED = Misconception("the other way round", "KL(q || p): the teacher's shares weigh.")
BY_PLACE = Misconception("mean over all numbers", "KL is a sum over classes, then a mean of rows.")
TEACHER_TRAINS = Misconception("teacher in training", "The teacher answers in the mode for use.")
STUDENT_RESTS = Misconception("student in use", "The student learns in training mode.")
MODES = Misconception("modes forgotten", "A module of the teacher is not in its old mode.")
TEACHER_LEARNS = Misconception("teacher recorded", "The teacher got gradients: see no_grad.")
ACCUMULATED = Misconception("gradients not forgotten", "A step had the gradients of those before.")
WALKED_TWICE = Misconception("walked twice", "`batches` may be walked once only.")

RIGHT = (
    LEND
    + """
import numpy as np
import tinytorch as tt
from tinytorch.training import modules


def magnitude_prune(weight, sparsity):
    order = np.argsort(abs(weight), axis=None)
    mask = np.ones(weight.size, bool)
    mask[order[: round(sparsity * weight.size)]] = False
    mask = mask.reshape(weight.shape)
    return weight * mask, mask


def low_rank(weight, rank):
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    return u[:, :rank] * s[:rank], vt[:rank]


def distillation_loss(logits, teacher, targets, temperature=1.0, share=0.5):
    rows = logits.reshape(-1, logits.shape[-1])
    wanted = np.asarray(teacher).reshape(rows.shape).astype(rows.dtype)
    log_q = tt.log_softmax(tt.Tensor(wanted / temperature)).data
    soft = (np.exp(log_q) * (log_q - tt.log_softmax(rows / temperature))).sum(-1).mean()
    hard = tt.cross_entropy(rows, np.ravel(targets))
    return (1 - share) * hard + share * temperature**2 * soft


def provided(names, theirs):
    return {name: globals()[name] for name in names}
"""
)


def by_reference(reference, driver, *data):
    """What a driver says of the reference, in this process."""
    here = FunctionType(driver.__code__, dict(vars(reference.compression)), "driver")
    reference.enable_gradients()
    try:
        return here(*data)
    finally:
        reference.disable_gradients()


# Pruning one array.


@run_in_worker
def pruned(cases):
    """For each (weight, sparsity): pruned, mask, and the array that was given, afterwards."""
    import numpy as np

    told = []
    for weight, sparsity in cases:
        weight = np.array(weight)
        told.append((*magnitude_prune(weight, sparsity), weight))
    return told


def fits(found, weight, sparsity):
    """Whether a mask goes by size and has the right number of places."""
    made, mask, _ = found
    size, count = np.abs(weight), round(sparsity * weight.size)
    assert mask.dtype == bool and mask.shape == weight.shape
    gone, stay = size[~mask], size[mask]
    if gone.size and stay.size:
        symptom(LARGEST, stay.max() < gone.min())
    assert gone.size == count
    assert not gone.size or not stay.size or gone.max() <= stay.min()
    assert_close(made, np.where(mask, weight, 0), rtol=0, atol=0)


class TestPrune:
    @pytest.mark.points(4)
    def test_smallest(self, student, rng):
        """The smallest go, without their signs, and all others stay as they are."""
        shapes = (6, 5), (20,), (2, 3, 4)
        cases = [(rng.normal(size=shape), s) for shape in shapes for s in (0.3, 0.5, 0.8)]
        for case, found in zip(cases, pruned(student, cases), strict=True):
            weight, sparsity = case
            describe_input(f"normal numbers {weight.shape}, a sparsity of {sparsity}")
            count = round(sparsity * weight.size)
            low = np.zeros(weight.size, bool)
            low[np.argsort(weight, axis=None)[:count]] = True
            differs = low != ~smallest(weight, sparsity).ravel()
            symptom(SIGNED, differs.any() and np.array_equal(~found[1].ravel(), low))
            if weight.ndim == 2:
                symptom(BY_ROW, len(set((~found[1]).sum(1).tolist())) == 1 and count % 6)
            fits(found, weight, sparsity)

    @pytest.mark.points(4)
    def test_ties(self, student, rng):
        """The number is exact, also where many weights have one size."""
        c = float(rng.uniform(0.5, 2))
        describe_input("equal numbers, a few sizes of either sign, many zeros")
        signs = rng.choice([-1.0, 1.0], (7, 6))
        some = signs * rng.choice([1.0, 2.0], (7, 6)) * c
        zeros = signs * c * (rng.random((7, 6)) < 0.3)
        cases = [(w, s) for w in (np.full((4, 5), c), some, zeros) for s in (0.1, 0.25, 0.6, 0.9)]
        for (weight, sparsity), found in zip(cases, pruned(student, cases), strict=True):
            gone = int((~found[1]).sum())
            symptom(BY_THRESHOLD, gone in (0, weight.size) and 0 < sparsity < 1)
            symptom(BY_THRESHOLD, gone != round(sparsity * weight.size))
            fits(found, weight, sparsity)

    @pytest.mark.points(1)
    def test_ends(self, student, rng):
        """At 0 all stay, at 1 none does; one number alone, too."""
        w = rng.normal(size=(3, 4))
        cases = [(w, 0), (w, 1), (w, 0.0), (w, 1.0), (w[:1, 0], 0), (w[:1, 0], 1)]
        describe_input("a sparsity of 0 and of 1")
        for (weight, sparsity), found in zip(cases, pruned(student, cases), strict=True):
            fits(found, weight, sparsity)

    @pytest.mark.points(1)
    def test_rounded(self, student, rng):
        """The share is rounded to the nearest whole number of places."""
        cases = [
            (rng.normal(size=n), s) for n, s in ((100, 0.29), (10, 0.37), (7, 0.4), (50, 0.58))
        ]
        describe_input("shares that make no whole number, or do so only nearly")
        for (weight, sparsity), found in zip(cases, pruned(student, cases), strict=True):
            fits(found, weight, sparsity)

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """The pruned array has the dtype of the weight."""
        weights = [rng.normal(size=(3, 4)).astype(d) for d in (np.float32, np.float64)]
        for weight, (made, *_) in zip(
            weights, pruned(student, [(w, 0.5) for w in weights]), strict=True
        ):
            assert made.dtype == weight.dtype and made.shape == weight.shape
            assert 0 < np.count_nonzero(made) < 12

    @pytest.mark.points(0.5)
    def test_untouched(self, student, rng):
        """The array that was given stays as it was."""
        w = rng.normal(size=(3, 4))
        [(made, _, after)] = pruned(student, [(w, 0.5)])
        symptom(IN_PLACE, np.any(after == 0))
        assert_close(after, w, rtol=0, atol=0)
        assert not np.array_equal(made, w)

    @pytest.mark.points(0.5)
    def test_refuses(self, student, rng):
        """A share below 0 or above 1 is a ValueError."""
        w = rng.normal(size=(3, 4))
        for sparsity in (-0.1, 1.1, 50):
            with pytest.raises(ValueError):
                pruned(student, [(w, sparsity)])
        [found] = pruned(student, [(w, 0.5)])
        fits(found, w, 0.5)


# A model, and an optimizer that holds.


@run_in_worker
def held(right, lent, weights, kind, options, sparsity, before, after):
    """A model of three Linear layers and a table, pruned and held between steps.

    weights: arrays of the layers' weights. before, after: for each step a gradient of all four.
    Returns the weights and the table when pruned, and after each step; biases; masks; facts.
    """
    import numpy as np

    import tinytorch as tt

    exec(right, names := {})
    layers = [tt.Linear(*w.shape) for w in weights[:3]]
    for layer, weight in zip(layers, weights, strict=False):
        layer.weight.data = np.array(weight)
        layer.bias.data = np.ones_like(layer.bias.data) * 0.01
    table = tt.Embedding(*weights[3].shape)
    table.weight.data = np.array(weights[3])

    class Model(tt.Module):
        def __init__(self):
            self.table, self.first = table, layers[0]
            self.rest = [tt.Sequential(layers[1], tt.relu), (layers[2],)]

    model = Model()
    params = [layer.weight for layer in layers] + [table.weight]
    optimizer = getattr(tt, kind)(params, **options)

    def steps(gradients):
        told = []
        for grads in gradients:
            for p, g in zip(params, grads, strict=False):
                p.grad = np.array(g)
            optimizer.step()
            told.append([p.data for p in params])
        return told

    steps(before)
    with names["lend"](globals(), lent):
        pairs = prune_model(model, sparsity)
        at_first = [p.data for p in params]
        masks = {}
        for p, mask in pairs:
            place = [k for k, each in enumerate(params) if each is p]
            masks[place[0] if place else -1] = np.asarray(mask)
        returned = hold(optimizer, pairs)
        told = steps(after)
    optimizer.zero_grad()
    cleared = all(p.grad is None for p in params)
    facts = returned is optimizer, optimizer.t, optimizer.lr, cleared
    return at_first, told, [layer.bias.data for layer in layers], sorted(masks.items()), facts


def smallest(weight, sparsity):
    mask = np.ones(weight.size, bool)
    mask[np.argsort(np.abs(weight), axis=None)[: round(sparsity * weight.size)]] = False
    return mask.reshape(weight.shape)


def four(rng, size=1.0):
    shapes = (5, 6), (6, 4), (4, 3), (7, 4)
    return [size * rng.normal(size=shape) for shape in shapes]


class TestHold:
    @pytest.mark.points(3)
    def test_model(self, student, rng):
        """Each Linear's weight is pruned by itself, wherever it stands; all else stays."""
        describe_input("Linear layers as attribute, in a list, in a tuple; biases and a table")
        weights = four(rng)
        weights[1] *= 0.01

        def check(lent):
            data = weights, "SGD", {"lr": 0.1}, 0.5, [], []
            found, _, biases, masks, _ = held(student, RIGHT, lent, *data)
            zeros = [int((np.asarray(each) == 0).sum()) for each in found]
            symptom(TOO_MUCH, zeros[3] > 0 or any(np.any(b == 0) for b in biases))
            symptom(TOGETHER, zeros[1] == 24 or zeros[1] > 12)
            symptom(NOT_EVERYWHERE, 0 in zeros[:3] and sum(zeros) > 0)
            for made, weight in zip(found[:3], weights, strict=False):
                assert_close(made, weight * smallest(weight, 0.5), rtol=0, atol=0)
            assert_close(found[3], weights[3], rtol=0, atol=0)
            assert [place for place, _ in masks] == [0, 1, 2]
            for (_, mask), weight in zip(masks, weights, strict=False):
                assert np.array_equal(np.asarray(mask, bool), smallest(weight, 0.5))

        own_or_lent(check, "magnitude_prune")

    @pytest.mark.points(5)
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("SGD", {"lr": 0.1, "momentum": 0.9}),
            ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
            ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
        ],
        ids=["sgd", "adam", "adamw"],
    )
    def test_zeros_stay(self, student, reference, rng, kind, options):
        """Pruned weights are 0 after each step; the others go where the optimizer takes them."""
        describe_input(f"{kind} that has taken two steps before it is held, then three more")
        weights, before = four(rng), [four(rng) for _ in range(2)]
        after = [four(rng) for _ in range(3)]
        params = [reference.Tensor(np.array(w)) for w in weights]
        optimizer = getattr(reference, kind)(params, **options)
        for grads in before:
            for p, g in zip(params, grads, strict=True):
                p.grad = g
            optimizer.step()
        masks = [smallest(p.data, 0.6) for p in params[:3]] + [True]
        right = []
        for p, mask in zip(params, masks, strict=True):
            p.data = p.data * mask
        for grads in after:
            for p, g in zip(params, grads, strict=True):
                p.grad = g
            optimizer.step()
            for p, mask in zip(params, masks, strict=True):
                p.data = p.data * mask
            right.append([p.data for p in params])

        def check(lent):
            data = weights, kind, options, 0.6, before, after
            at_first, found, *_ = held(student, RIGHT, lent, *data)
            for step, wanted in zip(found, right, strict=True):
                for made, w, mask in zip(step, wanted, masks, strict=True):
                    symptom(MOVED, np.any(np.asarray(made)[~np.broadcast_to(mask, w.shape)] != 0))
                    assert_close(made, w, rtol=1e-6, atol=1e-9)
            symptom(FROZEN, np.array_equal(found[-1][0], at_first[0]))

        own_or_lent(check, "magnitude_prune")

    @pytest.mark.points(1)
    def test_same_optimizer(self, student, rng):
        """The optimizer itself comes back: it counts, keeps its rate and forgets gradients."""

        def check(lent):
            data = four(rng), "Adam", {"lr": 0.25}, 0.5, [four(rng)] * 2, [four(rng)] * 3
            _, found, _, _, facts = held(student, RIGHT, lent, *data)
            assert list(facts) == [True, 5, 0.25, True]
            assert not np.array_equal(found[0][0], found[1][0])

        own_or_lent(check, "magnitude_prune")

    @pytest.mark.points(1)
    def test_float32(self, student, rng):
        """float32 weights are float32 when pruned, and after steps."""

        def single(arrays):
            return [a.astype(np.float32) for a in arrays]

        def check(lent):
            data = single(four(rng)), "SGD", {"lr": 0.1}, 0.5, [], [single(four(rng))]
            at_first, [found], *_ = held(student, RIGHT, lent, *data)
            assert {str(a.dtype) for a in (*at_first, *found)} == {"float32"}
            assert np.count_nonzero(found[0]) == 15

        own_or_lent(check, "magnitude_prune")


# Thin matrices.


@run_in_worker
def thinned(cases):
    """For each (weight, rank): left and right."""
    import numpy as np

    return [tuple(low_rank(np.array(weight), rank)) for weight, rank in cases]


@run_in_worker
def factored(right, lent, weight, bias, rank, x):
    """Answers of what `factor` makes of a Linear; its parameters' shapes; the Linear's weight."""
    import numpy as np

    import tinytorch as tt

    exec(right, names := {})
    tt.enable_gradients()
    linear = tt.Linear(*weight.shape, bias=bias is not None)
    linear.weight.data = np.array(weight)
    if bias is not None:
        linear.bias.data = np.array(bias)
    with names["lend"](globals(), lent):
        small = factor(linear, rank)
        y = small(tt.Tensor(np.array(x)))
    params = small.parameters()
    for p in params:
        p.requires_grad = True
    small(tt.Tensor(np.array(x))).sum().backward()
    learns = all(p.grad is not None for p in params)
    for p in params:
        p.data = p.data * 0 + 1
    kept = linear.weight.data, None if bias is None else linear.bias.data
    return y.data, sorted([list(p.shape) for p in params]), learns, kept


def nearest(weight, rank):
    u, s, vt = np.linalg.svd(np.asarray(weight, float), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def norm(a):
    return float(np.sqrt((np.asarray(a, float) ** 2).sum()))


class TestLowRank:
    @pytest.mark.points(5)
    def test_bound(self, student, rng):
        """The product is as near as any matrix of its rank can be (Eckart and Young)."""
        cases = [(rng.normal(size=shape), r) for shape in ((7, 5), (4, 9)) for r in (1, 2, 3, 4)]
        for case, (left, right) in zip(cases, thinned(student, cases), strict=True):
            weight, rank = case
            describe_input(f"normal numbers {weight.shape}, rank {rank}")
            u, s, vt = np.linalg.svd(weight, full_matrices=False)
            assert left.shape == (len(weight), rank) and right.shape == (rank, weight.shape[1])
            wrong = {
                LEFT_OUT: u[:, :rank] @ vt[:rank],
                TWICE: (u[:, :rank] * s[:rank] ** 2) @ vt[:rank],
            }
            product, bound = left @ right, norm(s[rank:])
            for name, value in wrong.items():
                symptom(name, np.allclose(product, value))
            symptom(NOT_NEAREST, norm(product - weight) > 1.01 * bound + 1e-6)
            assert abs(norm(product - weight) - bound) < 1e-9
            assert_close(product, nearest(weight, rank), rtol=1e-6, atol=1e-9)

    @pytest.mark.points(2)
    def test_ends(self, student, rng):
        """Rank 0 is 0; full rank, a matrix of zeros and one of low rank come back exactly."""
        w, low = rng.normal(size=(5, 4)), rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5))
        describe_input("rank 0, full rank, zeros, a matrix whose rank is 2, one row, one column")
        row = rng.normal(size=(1, 4))
        cases = [(w, 0), (w, 4), (w.T, 4), (np.zeros((3, 4)), 2), (low, 2), (low, 4), (row, 1)]
        cases += [(row.T, 1), (row, 0), (np.ones((3, 3)), 1)]
        for (weight, rank), (left, right) in zip(cases, thinned(student, cases), strict=True):
            assert left.shape == (len(weight), rank) and right.shape == (rank, weight.shape[1])
            assert_close(left @ right, weight if rank else 0 * weight, rtol=1e-6, atol=1e-9)

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """Both have the dtype of the weight."""
        for dtype in (np.float32, np.float64):
            [(left, right)] = thinned(student, [(rng.normal(size=(5, 4)).astype(dtype), 2)])
            assert left.dtype == right.dtype == dtype and left.any()

    @pytest.mark.points(1)
    def test_refuses(self, student, rng):
        """A rank below 0 or above the smaller side is a ValueError."""
        w = rng.normal(size=(5, 3))
        for weight, rank in ((w, -1), (w, 4), (w.T, 4), (w, 5)):
            with pytest.raises(ValueError):
                thinned(student, [(weight, rank)])
        [(left, right)] = thinned(student, [(w, 3)])
        assert_close(left @ right, w, rtol=1e-6, atol=1e-9)

    @pytest.mark.points(3)
    def test_factor(self, student, rng):
        """Two layers answer as the one whose weight is the nearest of that rank, plus its bias."""
        weight, bias, x = rng.normal(size=(6, 5)), rng.normal(size=5), rng.normal(size=(2, 3, 6))

        def check(lent):
            for b in (bias, None):
                for rank in (1, 2, 5):
                    describe_input(
                        f"a Linear (6, 5) {'without' if b is None else 'with'} bias, rank {rank}"
                    )
                    found, shapes, learns, _ = factored(student, RIGHT, lent, weight, b, rank, x)
                    product = x @ nearest(weight, rank)
                    right = product if b is None else product + b
                    wrong = {
                        BIAS_FORGOTTEN: product,
                        NOT_NEAREST: x @ weight + (bias * (b is bias)),
                    }
                    wrong = {BIAS_FORGOTTEN: product} if rank == 5 else wrong
                    symptom(BIAS_THRICE, [rank] in list(shapes) and rank != 5)
                    assert_close(
                        found, right, rtol=1e-5, atol=1e-7, symptoms={} if b is None else wrong
                    )
                    sides = [[6, rank], [rank, 5]] + ([] if b is None else [[5]])
                    assert [list(each) for each in shapes] == sorted(sides)
                    assert learns is True

        own_or_lent(check, "low_rank")

    @pytest.mark.points(1)
    def test_linear_stays(self, student, rng):
        """What happens to the two layers afterwards is nothing to the Linear."""
        weight, bias, x = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(2, 4))

        def check(lent):
            found, _, _, kept = factored(student, RIGHT, lent, weight, bias, 3, x)
            assert_close(kept[0], weight, rtol=0, atol=0)
            assert_close(kept[1], bias, rtol=0, atol=0)
            assert_close(found, x @ weight + bias, rtol=1e-5, atol=1e-7)

        own_or_lent(check, "low_rank")


class TestRankFor:
    @pytest.mark.points(1.5)
    def test_smallest(self, student, rng):
        """The rank is enough, and one less is not."""
        describe_input("drawn matrices, an error a little above and below what each rank loses")
        for shape in ((6, 4), (3, 7)):
            weight = rng.normal(size=shape)
            s = np.linalg.svd(weight, compute_uv=False)
            for rank in range(len(s)):
                error = norm(s[rank:]) / norm(s)
                found = [student.rank_for(weight, error * factor) for factor in (1.001, 0.999)]
                assert_close([float(r) for r in found], [rank, rank + 1])

    @pytest.mark.points(0.5)
    def test_ends(self, student, rng):
        """All may be lost: rank 0. Nothing may: full rank. Zeros have rank 0."""
        w = rng.normal(size=(5, 3))
        told = [student.rank_for(w, 1.5), student.rank_for(w, 0)]
        told += [student.rank_for(np.zeros((3, 4)), 0.1), student.rank_for(w, 1e-9)]
        assert [int(r) for r in told] == [0, 3, 0, 3]


@run_in_worker
def bug():
    return [float(x) for x in breaks_it()]


class TestBug:
    @pytest.mark.points(1)
    def test_keeps_none(self, student):
        """Of your four numbers, not all equal, none is above the threshold."""
        numbers = np.array(bug(student))
        assert numbers.shape == (4,) and len(set(numbers.tolist())) > 1
        assert not np.any(np.abs(numbers) > np.quantile(np.abs(numbers), 0.5))


# The loss.


@run_in_worker
def losses(cases):
    """For each (logits, teacher, targets, options): loss, slopes, the loss's dtype and shape."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    told = []
    for logits, teacher, targets, options in cases:
        x = tt.Tensor(np.array(logits), requires_grad=True)
        loss = distillation_loss(x, np.array(teacher), targets, **options)
        value = loss.data
        loss.backward()
        told.append((value, x.grad))
    return told


def log_shares(z):
    z = np.asarray(z, float)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def hard_and_soft(logits, teacher, targets, t_student, t_teacher, t_hard=1.0):
    """Cross-entropy and KL, means over rows."""
    c = np.shape(logits)[-1]
    rows, wanted = np.reshape(logits, (-1, c)), np.reshape(teacher, (-1, c))
    log_q, log_p = log_shares(wanted / t_teacher), log_shares(rows / t_student)
    hard = -np.take_along_axis(log_shares(rows / t_hard), np.reshape(targets, (-1, 1)), 1).mean()
    return hard, (np.exp(log_q) * (log_q - log_p)).sum(-1).mean(), log_q, log_p


def loss_and_slips(logits, teacher, targets, temperature=1.0, share=0.5):
    t = temperature
    hard, soft, log_q, log_p = hard_and_soft(logits, teacher, targets, t, t)
    softened = hard_and_soft(logits, teacher, targets, t, t, t)[0]
    sharp = hard_and_soft(logits, teacher, targets, t, 1.0)[1]
    other = (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    entropy = -(np.exp(log_q) * log_q).sum(-1).mean()
    slips = {
        NO_T_SQUARED: (1 - share) * hard + share * soft,
        HARD_SOFTENED: (1 - share) * softened + share * t**2 * soft,
        TEACHER_SHARP: (1 - share) * hard + share * t**2 * sharp,
        SHARE_SWAPPED: share * hard + (1 - share) * t**2 * soft,
        ENTROPY_LEFT: (1 - share) * hard + share * t**2 * (soft + entropy),
        REVERSED: (1 - share) * hard + share * t**2 * other,
        BY_PLACE: (1 - share) * hard + share * t**2 * soft / np.shape(logits)[-1],
    }
    return (1 - share) * hard + share * t**2 * soft, slips


class TestLoss:
    @pytest.mark.points(5)
    def test_value(self, student, rng):
        """Labels and teacher are mixed as the formula says, at any temperature and share."""
        for temperature, share in ((2.5, 0.3), (0.7, 0.8), (4.0, 1.0), (1.0, 0.0), (1e-3, 1.0)):
            describe_input(f"(6, 4) logits, a temperature of {temperature}, a share of {share}")
            size = min(2, temperature)
            logits, teacher = size * rng.normal(size=(6, 4)), size * rng.normal(size=(6, 4))
            targets = rng.integers(0, 4, 6)
            options = {"temperature": temperature, "share": share}
            [(found, _)] = losses(student, [(logits, teacher, targets, options)])
            right, slips = loss_and_slips(logits, teacher, targets, temperature, share)
            slips = {name: value for name, value in slips.items() if abs(value - right) > 1e-4}
            assert_close(float(found), right, rtol=1e-6, atol=0, symptoms=slips)

    @pytest.mark.points(2)
    def test_slopes(self, student, rng):
        """The slopes are share minus wanted share, mixed: nothing is cut off."""
        logits, teacher = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
        targets, t, share = rng.integers(0, 3, 5), 2.0, 0.4
        describe_input("(5, 3) logits, a temperature of 2, a share of 0.4")
        options = {"temperature": t, "share": share}
        [(_, found)] = losses(student, [(logits, teacher, targets, options)])
        hard = np.exp(log_shares(logits)) - np.eye(3)[targets]
        soft = np.exp(log_shares(logits / t)) - np.exp(log_shares(teacher / t))
        assert_close(found, ((1 - share) * hard + share * t * soft) / 5, rtol=1e-6)

    @pytest.mark.points(1)
    def test_shapes(self, student, rng):
        """Logits may have any number of axes before the last; without options T = 1, half each."""
        describe_input("logits (2, 3, 4), targets (2, 3) as an array and as lists; one row")
        cases = []
        for shape in ((2, 3, 4), (1, 4)):
            targets = rng.integers(0, 4, shape[:-1])
            logits, teacher = rng.normal(size=shape), rng.normal(size=shape)
            cases += [(logits, teacher, each, {}) for each in (targets, targets.tolist())]
        for (logits, teacher, targets, _), (found, _) in zip(
            cases, losses(student, cases), strict=True
        ):
            right, _ = loss_and_slips(logits, teacher, targets)
            assert_close(float(found), right, rtol=1e-6)

    @pytest.mark.points(1)
    def test_large(self, student, rng):
        """Logits of a thousand do no harm, the student's or the teacher's."""
        targets = rng.integers(0, 3, 4)
        describe_input("float64 and float32 logits of ±1000")
        large, small = 1000 * rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
        for dtype in (np.float64, np.float32):
            for logits, teacher in ((large, small), (small, large)):
                logits, teacher = logits.astype(dtype), teacher.astype(dtype)
                [(found, slopes)] = losses(student, [(logits, teacher, targets, {})])
                right, _ = loss_and_slips(logits, teacher, targets)
                assert_close(float(found), right, rtol=1e-4)
                assert np.isfinite(slopes).all() and np.any(slopes)

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """The loss has the dtype of the student's logits, whatever the teacher's is."""
        single, double = np.float32, np.float64
        logits, teacher, targets = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), [0, 1, 2, 0]
        cases = [
            (logits.astype(a), teacher.astype(b), targets, {"temperature": 2.0})
            for a, b in ((single, double), (double, single), (single, single))
        ]
        found = losses(student, cases)
        assert [str(value.dtype) for value, _ in found] == ["float32", "float64", "float32"]
        right, _ = loss_and_slips(logits, teacher, targets, 2.0)
        assert [abs(float(value) - right) < 1e-4 for value, _ in found] == [True] * 3


# The loop.

TABLES = '''
import numpy as np
import tinytorch as tt


class Table(tt.Module):
    """Logits from a table; in training mode others, and every call is written down."""

    def __init__(self, table, other=0.0):
        self.weight, self.other = tt.Tensor(np.array(table)), other
        self.part, self.calls = tt.Dropout(0.5), []

    def forward(self, ids):
        self.calls.append((self.training, self.part.training))
        logits = self.weight[np.asarray(ids)]
        return logits + self.other * np.arange(logits.shape[-1]) if self.training else logits
'''


@run_in_worker
def walked(right, tables, lent, student_table, teacher_table, batches, options, modes):
    """Distil a table into another.

    modes: of the teacher and its part before. Returns losses, both tables afterwards, all calls,
    modes afterwards, and whether the teacher got a gradient.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    exec(right, names := {})
    exec(tables, names)
    student, teacher = names["Table"](student_table), names["Table"](teacher_table, other=1.0)
    student.eval()
    teacher.training, teacher.part.training = modes
    teacher.weight.requires_grad = True
    optimizer = tt.SGD(student.parameters(), lr=0.5)
    student.weight.grad = np.ones_like(student.weight.data)  # left over from before
    with names["lend"](globals(), lent):
        found = distill(student, teacher, iter(batches), optimizer, **options)
    numbers = [isinstance(each, (int, float, np.number)) for each in found]
    told = [float(getattr(each, "data", each)) for each in found]
    after = teacher.training, teacher.part.training, student.training
    got = teacher.weight.grad is not None
    weights = student.weight.data, teacher.weight.data
    return told, all(numbers), weights, (student.calls, teacher.calls), after, got


def table_steps(table, teacher, batches, temperature=1.0, share=0.5, lr=0.5):
    """The losses and the table after steps along the formula's slopes."""
    table, told = np.array(table), []
    for ids, targets in batches:
        flat, wanted = np.ravel(ids), np.ravel(targets)
        logits, t = table[flat], temperature
        told.append(loss_and_slips(logits, teacher[flat], wanted, t, share)[0])
        hard = np.exp(log_shares(logits)) - np.eye(table.shape[1])[wanted]
        soft = np.exp(log_shares(logits / t)) - np.exp(log_shares(teacher[flat] / t))
        np.subtract.at(table, flat, lr * ((1 - share) * hard + share * t * soft) / len(flat))
    return told, table


def table_case(rng, count=4):
    student, teacher = rng.normal(size=(5, 3)), 2 * rng.normal(size=(5, 3))
    batches = [
        (rng.integers(0, 5, (2, n)), rng.integers(0, 3, (2, n))) for n in rng.integers(2, 6, count)
    ]
    return student, teacher, batches


class TestDistill:
    @pytest.mark.points(4)
    def test_steps(self, student, rng):
        """Each batch is one step along the mixed loss of that batch."""
        table, teacher, batches = table_case(rng)
        for options in ({"temperature": 2.0, "share": 0.7}, {}):
            describe_input(f"four batches from an iterator, {options or 'default options'}")
            wanted, right = table_steps(table, teacher, batches, **options)

            def check(lent, options=options, wanted=wanted, right=right):
                data = table, teacher, batches, options, (False, False)
                found, numbers, weights, *_ = walked(student, RIGHT, TABLES, lent, *data)
                assert len(found) == 4 and numbers is True
                assert_close(found[0], wanted[0], rtol=1e-6)
                symptom(ACCUMULATED, abs(found[1] - wanted[1]) > 1e-6)
                assert_close(found, wanted, rtol=1e-6)
                assert_close(weights[0], right, rtol=1e-6)

            own_or_lent(check, "distillation_loss")

    @pytest.mark.points(2)
    def test_modes(self, student, rng):
        """The student learns in training mode; the teacher is in use, and then as it was."""
        describe_input("a teacher in training mode, one in use, and one with a part in another")
        table, teacher, batches = table_case(rng, 2)

        def check(lent):
            for modes in ((True, False), (False, True), (True, True), (False, False)):
                data = table, teacher, batches, {}, modes
                found, _, _, (own, others), after, _ = walked(student, RIGHT, TABLES, lent, *data)
                symptom(TEACHER_TRAINS, any(call[0] for call in others))
                symptom(STUDENT_RESTS, not all(call[0] for call in own))
                symptom(MODES, tuple(after[:2]) != modes)
                assert len(own) == len(others) == len(found) == 2 and list(after) == [*modes, True]
                assert not any(part for _, part in others) and all(part for _, part in own)

        own_or_lent(check, "distillation_loss")

    @pytest.mark.points(2)
    def test_teacher_stays(self, student, rng):
        """The teacher is not recorded, and no number of it changes."""
        table, teacher, batches = table_case(rng, 3)

        def check(lent):
            data = table, teacher, batches, {"share": 1.0}, (True, True)
            _, _, (own, after), *_, got = walked(student, RIGHT, TABLES, lent, *data)
            symptom(TEACHER_LEARNS, got)
            assert_close(after, teacher, rtol=0, atol=0)
            assert np.abs(own - table).max() > 1e-3

        own_or_lent(check, "distillation_loss")


# The whole.


def _net_run(weights, sparsity, batches, lr):
    """A net of two layers, pruned and tuned: its numbers when pruned and after all steps."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    first, second = (tt.Linear(*w.shape) for w in weights)
    model = tt.Sequential(first, tt.tanh, second)
    for layer, weight in zip((first, second), weights, strict=False):
        layer.weight.data = np.array(weight)
        layer.bias.data = layer.bias.data.astype(weight.dtype)
    optimizer = tt.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    trainer = tt.Trainer(model, tt.mse_loss, optimizer)
    data = [(tt.Tensor(np.array(x)), np.array(y)) for x, y in batches]
    trainer.fit(data[:3], 1)  # so that Adam remembers
    hold(optimizer, prune_model(model, sparsity))
    numbers = [[p.data for p in (*first.parameters(), *second.parameters())]]
    trainer.fit(data[3:], 1)
    numbers.append([p.data for p in (*first.parameters(), *second.parameters())])
    return numbers, trainer.history


net_run = run_in_worker(_net_run)


@run_in_worker
def thin_gpt(given, size, rank, ids):
    """Logits of a GPT whose MLPs were factored, and its number of numbers."""
    import os

    import tinytorch as tt

    with open("given.npz", "wb") as file:
        file.write(given)
    model = tt.GPT(*size)
    tt.load_weights("given.npz", model)
    os.remove("given.npz")
    for block in model.blocks:
        first, gelu, second = block.mlp.layers
        block.mlp = tt.Sequential(factor(first, rank), gelu, factor(second, rank))
    model.eval()
    with tt.no_grad():
        return model(ids).data, sum(p.size for p in model.parameters())


def _gpt_run(size, weights, table, batches, options, asked):
    """A small GPT that learns from a table of logits: losses, and its logits for `asked`."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Source(tt.Module):
        """The teacher: which token follows depends on the one before alone."""

        def __init__(self):
            self.table = tt.Tensor(np.array(table))

        def forward(self, ids):
            return self.table[np.asarray(ids)]

    model = tt.GPT(*size)
    for p, value in zip(model.parameters(), weights, strict=False):
        p.data = np.array(value)
    optimizer = tt.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    told = distill(model, Source(), batches, optimizer, **options)
    model.eval()
    with tt.no_grad():
        return [float(each) for each in told], model(asked).data


gpt_run = run_in_worker(_gpt_run)

GIVEN = Path(__file__).resolve().parents[3] / "source/18_compression/names.npz"
HELD_BACK = Path(__file__).resolve().parents[1] / "13_transformers/names.txt"
LETTERS = "\nabcdefghijklmnopqrstuvwxyz"
SIZE = 27, 16, 64, 4, 2
ALL, MLPS = 102848, 4 * 64 * 256  # numbers of that GPT, and those in its MLPs' weights


def drawn_texts(rng, table, count, length):
    """Rows of tokens that a table of logits writes."""
    shares = np.exp(log_shares(table)).cumsum(1)
    rows = np.zeros((count, length), int)
    rows[:, 0] = rng.integers(0, len(table), count)
    for k in range(1, length):
        rows[:, k] = (
            (rng.random((count, 1)) > shares[rows[:, k - 1]]).sum(1).clip(0, len(table) - 1)
        )
    return rows


class TestWhole:
    @pytest.mark.points(7)
    def test_learns_on(self, student, reference, rng):
        """A pruned net keeps its zeros, step by step, and learns on with what is left."""
        describe_input("a net (8, 24, 2), 70% pruned after 3 steps of AdamW, then 40 steps")
        weights = [rng.normal(size=(8, 24)) * 0.4, rng.normal(size=(24, 2)) * 0.3]
        inputs = rng.normal(size=(43, 32, 8))
        batches = [(x, np.tanh(x @ weights[0]) @ weights[1]) for x in inputs]
        data = weights, 0.7, batches, 0.01
        (pruned_, tuned), history = net_run(student, *data)
        (_, right), wanted = by_reference(reference, _net_run, *data)
        x = rng.normal(size=(200, 8))
        y = np.tanh(x @ weights[0]) @ weights[1]

        def loss(numbers):
            w1, b1, w2, b2 = (np.asarray(each, float) for each in numbers)
            return float(((np.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean())

        for before, after, count in ((pruned_[0], tuned[0], 134), (pruned_[2], tuned[2], 34)):
            assert int((np.asarray(before) == 0).sum()) == count
            symptom(MOVED, np.any(np.asarray(after)[np.asarray(before) == 0] != 0))
        for found, each in zip(tuned, right, strict=True):
            assert_close(found, each, rtol=1e-5, atol=1e-8)
        assert_close(history, wanted, rtol=1e-5)
        symptom(FROZEN, loss(tuned) > 0.99 * loss(pruned_))
        assert loss(tuned) < 0.7 * loss(pruned_)

    @pytest.mark.points(5)
    def test_thin_gpt(self, student, reference, rng):
        """A trained GPT with thin MLPs has fewer numbers, and the loss of the nearest matrices."""
        describe_input("the GPT of names with MLPs of rank 16; names that it has never seen")
        lines = HELD_BACK.read_text(encoding="ascii").splitlines()
        names = rng.permutation([line for line in lines if not line.startswith("#")])
        ids = np.array([LETTERS.index(c) for c in "\n".join(["", *names, ""])])
        rows = ids[rng.integers(0, len(ids) - 17, (60, 1)) + np.arange(17)]
        found, count = thin_gpt(student, GIVEN.read_bytes(), SIZE, 16, rows[:, :-1])
        model = reference.GPT(*SIZE)
        reference.load_weights(GIVEN, model)
        full = model(rows[:, :-1]).data
        for p in model.parameters():
            if p.size == 64 * 256:
                p.data = nearest(p.data, 16).astype(np.float32)
        right = model(rows[:, :-1]).data

        def loss(logits):
            return -np.take_along_axis(log_shares(logits), rows[:, 1:, None], -1).mean()

        assert found.shape == (60, 16, 27)
        symptom(NOT_NEAREST, np.allclose(found, full, atol=1e-3))
        assert_close(found, right, rtol=1e-2, atol=1e-2)
        assert abs(loss(found) - loss(right)) < 1e-3
        assert count == ALL - MLPS + 4 * 16 * (64 + 256)

    @pytest.mark.points(9)
    @pytest.mark.parametrize("share", [1.0, 0.5], ids=["teacher", "half"])
    def test_small_gpt(self, student, reference, rng, share):
        """A small GPT that learns from a teacher comes as near to the truth as it should."""
        describe_input(f"a GPT of one block, 30 steps of 8 short texts, a share of {share}")
        size = vocab, context, _dim, _, _ = 6, 8, 16, 2, 1
        table = 1.5 * rng.normal(size=(vocab, vocab))
        model = reference.GPT(*size, np.random.default_rng(int(rng.integers(1000))))
        weights = [p.data.astype(float) for p in model.parameters()]
        texts = [drawn_texts(rng, table, 8, context + 1) for _ in range(30)]
        batches = [(row[:, :-1], row[:, 1:]) for row in texts]
        asked = drawn_texts(rng, table, 40, context)
        options = {"temperature": 1.5, "share": share}
        data = size, weights, table, batches
        found, logits = gpt_run(student, *data, options, asked)
        wanted, right = by_reference(reference, _gpt_run, *data, options, asked)

        def surprise(logits):
            """The mean KL of the truth from a model: what it loses beyond what nobody knows."""
            truth = log_shares(table[asked])
            return float((np.exp(truth) * (truth - log_shares(logits))).sum(-1).mean())

        assert_close(found, wanted, rtol=1e-5)
        assert_close(logits, right, rtol=1e-4, atol=1e-5)
        assert surprise(logits) < surprise(np.zeros(logits.shape))
        assert abs(surprise(logits) - surprise(right)) < 0.01 * surprise(right)
