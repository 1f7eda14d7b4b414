"""Hidden tests of 08_dataloader.

The loader is tried on the suite's own datasets and with a right `collate`; orders are compared with
what every order must keep, never with one that some generator draws. Digits are counted here: the
worker has the file, so it gets digits whose pixels are in another order and a little noisy, and
whose classes have other names, and never the classes of those that it is asked about.
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

with np.load(Path(__file__).parents[3] / "source/08_dataloader/digits.npz") as file:
    DIGITS, LABELS = file["images"], file["labels"]

FLOAT_LABELS = Misconception(
    "labels as floats", "A label came out as a float: it can't choose a column of the logits."
)
ALL_TENSORS = Misconception(
    "all Tensors", "Only the first entry of an example is a Tensor; the others are for a loss."
)
NO_TUPLE = Misconception("no tuple", "An example of one entry is a tuple, too, of length one.")
CUT = Misconception(
    "cut to the shortest", "Arguments of different lengths were taken, and some data left out."
)
PLACES = Misconception(
    "indices unused", "Example i is the dataset's example i, not that at indices[i]."
)
EARLY = Misconception("fetched early", "Examples were fetched before anyone had asked for them.")
UNTOUCHED_AXIS = Misconception(
    "not stacked", "The examples were joined along an axis that they had: the new axis is in front."
)
ONE_DTYPE = Misconception("another dtype", "The dtype of the batch is not that of its examples.")
ALIASED = Misconception(
    "a view", "Who writes into the batch writes into the examples: a batch is a copy."
)
LAST_DROPPED = Misconception("last batch dropped", "What is left for a last small batch is lost.")
LAST_FILLED = Misconception("last batch filled", "The last batch has examples that came before.")
REPLACED = Misconception(
    "drawn with replacement", "Some examples came twice in a walk, and others never."
)
BATCHES_SHUFFLED = Misconception(
    "batches shuffled", "Neighbours stay together: examples are to be shuffled, not batches."
)
WITHIN_BATCHES = Misconception(
    "shuffled within batches", "Each batch has always the same examples, in another order."
)
ROTATED = Misconception("rotated", "The order is the old one, begun somewhere else.")
ONE_FIXED = Misconception("uneven", "Some examples come first far more often than others.")
NEVER_SHUFFLED = Misconception("never shuffled", "With shuffle the order is that without.")
ALWAYS_SHUFFLED = Misconception("always shuffled", "Without shuffle the order is another.")
ROUNDED_DOWN = Misconception("rounded down", "len doesn't count the last small batch.")
EXAMPLES_COUNTED = Misconception("examples counted", "len counts batches, not examples.")
SAME_ORDER = Misconception("one order", "Each walk has the order of the first.")
EXHAUSTED = Misconception("walked once", "The second walk gave nothing, or not everything.")
SEED_UNUSED = Misconception("seed unused", "The seed makes no difference.")
UNSEEDED = Misconception("unseeded", "The same seed gave other orders.")
GLOBAL = Misconception(
    "the global generator",
    "NumPy's global generator was used or changed: others draw from it, too.",
)
DISTURBED = Misconception(
    "walks disturb each other", "Of two walks at once, one lost examples to the other."
)
NOT_INT = Misconception("no int", "The dataset was asked with something that is no plain int.")


# One example.


def values(entry):
    """The numbers of an entry that should be a Tensor."""
    symptom(NO_TENSOR, isinstance(entry, np.ndarray | np.generic | float | int | list | tuple))
    return entry.data


NO_TENSOR = Misconception("no Tensor", "What should be a Tensor is an array, a number or a list.")


def plain(entry):
    """An entry that should be an array or a number."""
    symptom(ALL_TENSORS, not isinstance(entry, np.ndarray | np.generic | float | int))
    return entry


def pairs(rng, kind=np.float64, count=7):
    return rng.normal(size=(count, 4)).astype(kind), rng.integers(0, 10, count)


class TestTensorDataset:
    @pytest.mark.points(4)
    def test_examples(self, student, rng):
        """An example is a tuple of the entries at its index; the first is a Tensor."""
        x, y = pairs(rng)
        for how in ("two arrays", "two lists", "two Tensors"):
            describe_input(f"{how} of length 7")
            made = {"two lists": np.ndarray.tolist, "two Tensors": student.Tensor}
            dataset = student.TensorDataset(*map(made.get(how, np.array), (x, y)))
            for place in rng.permutation(7)[:3].tolist():
                item = dataset[place]
                assert isinstance(item, tuple) and len(item) == 2
                assert_close(np.asarray(values(item[0]), np.float32), np.float32(x[place]))
                assert_close(float(plain(item[1])), float(y[place]))

    @pytest.mark.points(2)
    def test_dtypes(self, student, rng):
        """Floats keep their dtype, and whole numbers and booleans stay what they are."""
        for kind in (np.float32, np.float64):
            x, _ = pairs(rng, kind)
            describe_input(f"images in {np.dtype(kind)} with labels of several dtypes")
            for other in (np.int64, np.int32, np.uint8, np.bool_, np.float64):
                y = rng.integers(0, 2, 7).astype(other)
                item = student.TensorDataset(x, y)[4]
                assert values(item[0]).dtype == kind
                found = np.asarray(plain(item[1]))
                symptom(FLOAT_LABELS, found.dtype.kind == "f" != y.dtype.kind)
                assert found.dtype == other
        assert_close(values(item[0]), x[4])

    @pytest.mark.points(2)
    def test_one_and_three(self, student, rng):
        """One argument makes tuples of one, three make tuples of three; entries have any shape."""
        x = rng.normal(size=(5, 2, 3))
        describe_input("an array of shape (5, 2, 3), alone")
        item = student.TensorDataset(x)[3]
        symptom(NO_TUPLE, not isinstance(item, tuple))
        assert len(item) == 1
        assert_close(values(item[0]), x[3])
        describe_input("arrays of shapes (5,), (5, 2, 3) and (5, 1)")
        y, z = rng.normal(size=5), rng.integers(0, 9, (5, 1))
        item = student.TensorDataset(y, x, z)[2]
        assert len(item) == 3
        assert_close(values(item[0]), y[2])
        assert_close(plain(item[1]), x[2])
        assert_close(plain(item[2]), z[2])

    @pytest.mark.points(1)
    def test_length(self, student, rng):
        """The length is the number of examples."""
        for count in (6, 1):
            x, y = rng.normal(size=(count, 3)), rng.integers(0, 3, count)
            describe_input(f"{count} examples, as arrays, a list and Tensors")
            assert len(student.TensorDataset(x, y)) == count
            assert len(student.TensorDataset(x.tolist())) == count
            assert len(student.TensorDataset(student.Tensor(x), student.Tensor(y))) == count
            [entry] = student.TensorDataset(x)[count - 1]
            assert_close(values(entry), x[-1])

    @pytest.mark.points(2)
    def test_lengths_differ(self, student, rng):
        """Arguments of different lengths raise ValueError; those of one length don't."""
        x, y = pairs(rng)
        assert len(student.TensorDataset(x, y, y.tolist())) == 7
        for others in ([y[:-1]], [y, y[:-1]], [y[:-1], y], [np.r_[y, 1]], [[*y.tolist(), 1]]):
            describe_input("lengths " + ", ".join(str(len(each)) for each in (x, *others)))
            raised = ""
            try:
                student.TensorDataset(x, *others)
            except ValueError as error:
                raised = str(error)
            symptom(CUT, not raised)


# Some of them.


@run_in_worker
def some(values, indices, places, twice=None, as_range=False):
    """A Subset of a dataset that tells what it was asked: asked before, length, examples, asked."""

    class Told(Dataset):
        def __init__(self):
            self.asked = []

        def __len__(self):
            return len(values)

        def __getitem__(self, index):
            self.asked.append(int(index))
            return values[index], f"example {index}"

    told = Told()
    subset = Subset(told, range(*indices) if as_range else indices)
    if twice is not None:
        subset = Subset(subset, twice)
    before, length = len(told.asked), len(subset)
    items = [subset[place] for place in places]
    return before, length, [item[0] for item in items], [item[1] for item in items], told.asked


class TestSubset:
    @pytest.mark.points(3)
    def test_examples(self, student, rng):
        """Example i is the dataset's example at indices[i], also if some come twice."""
        numbers = rng.normal(size=9)
        for made in (np.ndarray.tolist, np.array, tuple):
            indices = np.r_[rng.permutation(9)[:4], rng.integers(0, 9, 3)]
            describe_input("seven indices of nine examples, as a list, an array and a tuple")
            places = rng.permutation(7).tolist()
            _, length, found, words, _ = some(student, numbers, made(indices), places)
            assert length == 7
            right = numbers[indices[places]]
            assert_close(found, right, symptoms={PLACES: numbers[places]})
            assert words == [f"example {i}" for i in indices[places]]
        describe_input("a range as indices")
        *_, found, _, _ = some(student, numbers, [2, 9, 3], [0, 1, 2], None, True)
        assert_close(found, numbers[2::3])

    @pytest.mark.points(1)
    def test_of_a_subset(self, student, rng):
        """A subset of a subset leads through both."""
        numbers = rng.normal(size=9)
        first, second = rng.permutation(9)[:6], rng.permutation(6)[:4]
        _, length, found, *_ = some(student, numbers, first, [0, 1, 2, 3], second)
        assert length == 4
        assert_close(found, numbers[first[second]])

    @pytest.mark.points(2)
    def test_when_asked(self, student, rng):
        """Nothing is fetched before it is asked for, and then only that."""
        numbers, indices = rng.normal(size=9), rng.permutation(9)[:6].tolist()
        before, _, found, _, asked = some(student, numbers, indices, [4, 0])
        symptom(EARLY, before or len(asked) > 2)
        assert asked == [indices[4], indices[0]]
        assert_close(found, numbers[[indices[4], indices[0]]])


# The puzzle.


class TestBalanced:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("classes", [4, 2, 7])
    def test_every_handful(self, student, rng, classes):
        """An order of all indices in which each C in a row have every class once."""
        each = int(rng.integers(3, 9))
        labels = rng.permutation(np.repeat(np.arange(classes), each))
        describe_input(f"{classes} classes, {each} examples of each")
        order = np.asarray(student.balanced(labels))
        assert order.dtype.kind in "iu" and order.shape == labels.shape
        assert np.array_equal(np.sort(order), np.arange(len(labels)))
        rows = np.sort(labels[order].reshape(-1, classes), axis=1)
        assert np.array_equal(rows, np.tile(np.arange(classes), (each, 1)))


# Batches of examples: by `collate`, or by a loader without shuffling.


@run_in_worker
def stacked(parts, tensors, alone, by_loader, write=False):
    """A batch of examples whose entries are those of `parts`, of which some are Tensors.

    Returns which entries are Tensors, their arrays, and those of the examples after something was
    written into the batch, if asked.
    """
    import numpy as np

    def entry(value, tensor):
        if isinstance(value, np.ndarray):
            value = np.array(value)
        return Tensor(value) if tensor else value

    items = [
        tuple(entry(part[i], tensor) for part, tensor in zip(parts, tensors, strict=True))
        for i in range(len(parts[0]))
    ]
    if alone:
        items = [item for (item,) in items]
    if by_loader:
        [batch] = DataLoader(items, len(items))
    else:
        batch = collate(items)
    kind = type(batch).__name__
    arrays = [each.data if isinstance(each, Tensor) else each for each in batch]
    told = [np.array(each) for each in arrays]
    if write:
        for each in arrays:
            each[...] = 0
    after = [
        np.array([np.array(getattr(e, "data", e) if isinstance(e, Tensor) else e) for e in entries])
        for entries in zip(*([(item,) for item in items] if alone else items), strict=True)
    ]
    return kind, [isinstance(each, Tensor) for each in batch], told, after


def batched(student, check, parts, tensors, alone=False, write=False):
    """Pass if `check` passes on the batch of a loader, or of `collate`."""

    def one(by_loader):
        return lambda: check(*stacked(student, parts, tensors, alone, by_loader, write))

    any_passes(one(False), one(True))


class TestCollate:
    @pytest.mark.points(4)
    def test_stacked(self, student, rng):
        """A batch is a tuple; each of its parts has the examples along a new axis in front."""
        for count, shape in ((5, (3,)), (2, (2, 4)), (1, (3,)), (3, ())):
            describe_input(f"{count} examples of a Tensor of shape {shape}, an array and a number")
            parts = [
                rng.normal(size=(count, *shape)),
                rng.normal(size=(count, 2, 1)),
                rng.integers(0, 99, count),
            ]

            def check(kind, _, told, __, parts=parts):
                assert kind == "tuple" and len(told) == 3
                for found, part in zip(told, parts, strict=True):
                    symptom(UNTOUCHED_AXIS, found.size == part.size and found.ndim < part.ndim)
                    assert_close(found, part)

            batched(student, check, parts, [True, False, False])

    @pytest.mark.points(3)
    def test_tensors(self, student, rng):
        """What were Tensors is a Tensor, whatever its place; arrays and numbers are an array."""
        for tensors in ([True, False, False], [False, True, False], [True, True, True]):
            parts = [rng.normal(size=(4, 2)), rng.normal(size=(4, 3)), rng.integers(0, 9, 4) * 1.0]
            describe_input("examples of which other entries are Tensors each time")

            def check(_, found, told, __, parts=parts, tensors=tensors):
                assert found == tensors
                assert np.shape(told[1]) == (4, 3) and np.abs(told[1] - parts[1]).max() < 1e-5

            batched(student, check, parts, tensors)

    @pytest.mark.points(2)
    def test_dtypes(self, student, rng):
        """A batch has the dtype of its examples."""
        for kind, other in (
            (np.float32, np.int64),
            (np.float64, np.uint8),
            (np.float32, np.float64),
            (np.float64, np.bool_),
        ):
            describe_input(f"Tensors in {np.dtype(kind)}, NumPy's numbers in {np.dtype(other)}")
            parts = [rng.normal(size=(4, 2)).astype(kind), rng.integers(0, 2, 4).astype(other)]

            def check(_, __, told, ___, kind=kind, other=other):
                assert [len(each) for each in told] == [4, 4]
                symptom(ONE_DTYPE, [each.dtype for each in told] != [kind, other])

            batched(student, check, parts, [True, False])

    @pytest.mark.points(2)
    def test_alone(self, student, rng):
        """Examples that are no tuples make a batch with a single part."""
        numbers = [int(each) for each in rng.integers(0, 99, 4)]
        for part, tensor, said in (
            (rng.normal(size=(4, 2)), True, "Tensors"),
            (rng.normal(size=(4, 2, 3)), False, "arrays"),
            (numbers, False, "numbers of Python"),
        ):
            describe_input(f"examples that are {said}, and no tuples")

            def check(kind, found, told, _, part=part, tensor=tensor):
                symptom(NO_TUPLE, kind != "tuple" or len(told) != 1)
                assert found == [tensor]
                assert_close(told[0], part)

            batched(student, check, [part], [tensor], alone=True)

    @pytest.mark.points(2)
    def test_copies(self, student, rng):
        """Whoever writes into a batch leaves the examples as they were."""
        for count in (3, 1):
            describe_input(f"a batch of {count}, into which zeros are written")
            parts = [rng.normal(size=(count, 2)), rng.normal(size=(count, 3))]

            def check(_, __, told, after, parts=parts):
                for found, kept, part in zip(told, after, parts, strict=True):
                    assert_close(found, part)
                    symptom(ALIASED, not np.array_equal(kept, part))

            batched(student, check, parts, [True, False], write=True)


# The loader, on the suite's own datasets and with a right `collate`.


@run_in_worker
def walked(count, jobs):
    """Walk loaders of the numbers from 0 to count - 1, which are Tensors in tuples.

    jobs: for each loader its options, and what to do. Returns for each job its answer.
    """
    import numpy as np

    class Numbers(Dataset):
        def __init__(self):
            self.asked, self.kinds = [], set()

        def __len__(self):
            return count

        def __getitem__(self, index):
            self.asked.append(int(index))
            self.kinds.add(type(index).__name__)
            return np.int64(index), Tensor(np.array([index, 0.5]))

    def right(items):
        rows = [item if isinstance(item, tuple) else (item,) for item in items]
        return tuple(
            Tensor(np.stack([each.data for each in part]))
            if isinstance(part[0], Tensor)
            else np.stack(part)
            for part in zip(*rows, strict=True)
        )

    def numbers(batch):
        first, second = batch
        told = np.asarray(first).tolist()
        assert second.data.shape == (len(told), 2) and second.data[:, 0].tolist() == told
        return told

    def walk(loader):
        return [numbers(batch) for batch in loader]

    own = globals().get("collate")
    globals()["collate"] = right
    try:
        answers = []
        for options, what in jobs:
            dataset = Numbers()
            if what == "global":
                np.random.seed(options.pop("global"))
            loader = DataLoader(dataset, **options)
            if isinstance(what, int):  # so many walks
                answers.append([walk(loader) for _ in range(what)])
            elif what == "length":
                answers.append(len(loader))
            elif what == "fetched":
                steps, batches = [len(dataset.asked)], iter(loader)
                for _ in range(2):
                    told = numbers(next(batches))
                    steps.append(len(dataset.asked))
                answers.append((steps, told, sorted(dataset.kinds)))
            elif what == "global":
                told = walk(loader)
                answers.append((told, np.random.random()))
            elif what == "at once":
                first, second = iter(loader), iter(loader)
                told = [[], []]
                for _ in range(len(loader)):
                    told[0] += numbers(next(first))
                    told[1] += numbers(next(second))
                answers.append(told)
            elif what == "broken off":
                next(iter(loader))
                answers.append(walk(loader))
            elif what == "first":  # which example comes first, over so many seeds
                told = []
                for seed in range(options["seed"], options["seed"] + 400):
                    [batch] = DataLoader(dataset, count, True, seed)
                    told.append(numbers(batch)[0])
                answers.append(told)
        return answers
    finally:
        if own is None:
            del globals()["collate"]
        else:
            globals()["collate"] = own


def flat(walk):
    return [number for batch in walk for number in batch]


def sizes(count, batch):
    whole, rest = divmod(count, batch)
    return [batch] * whole + [rest] * bool(rest)


def each_once(walk, count):
    """Assert that a walk has every example once, naming what is wrong otherwise."""
    seen = flat(walk)
    symptom(LAST_DROPPED, len(seen) < count and len(set(seen)) == len(seen))
    symptom(LAST_FILLED, len(seen) > count and set(seen) == set(range(count)))
    symptom(REPLACED, len(seen) == count and len(set(seen)) < count)
    assert sorted(seen) == list(range(count))


CASES = ((10, 4), (12, 4), (3, 5), (7, 1), (6, 6), (1, 3), (11, 5))


class TestOrder:
    @pytest.mark.points(3)
    def test_in_order(self, student, rng):
        """Without shuffle, batches are the examples in order, in every walk."""
        for count, size in CASES:
            describe_input(f"{count} examples in batches of {size}, two walks")
            [walks] = walked(student, count, [({"batch_size": size}, 2)])
            for walk in walks:
                each_once(walk, count)
                symptom(ALWAYS_SHUFFLED, flat(walk) != list(range(count)))
                assert [len(batch) for batch in walk] == sizes(count, size)
        describe_input("a dataset without examples")
        assert walked(student, 0, [({"batch_size": 2}, 1)]) == [[[]]]

    @pytest.mark.points(4)
    def test_each_once(self, student, rng):
        """With shuffle, each example comes once a walk."""
        for count, size in CASES:
            describe_input(f"{count} examples in shuffled batches of {size}, two walks")
            seed = int(rng.integers(1000))
            [walks] = walked(
                student, count, [({"batch_size": size, "shuffle": True, "seed": seed}, 2)]
            )
            assert len(walks) == 2
            for walk in walks:
                each_once(walk, count)

    @pytest.mark.points(2)
    def test_sizes(self, student, rng):
        """Shuffled batches have the size asked for, and the last one what is left."""
        for count, size in CASES:
            describe_input(f"{count} examples in shuffled batches of {size}")
            [[walk]] = walked(student, count, [({"batch_size": size, "shuffle": True}, 1)])
            assert [len(batch) for batch in walk] == sizes(count, size)

    @pytest.mark.points(2)
    def test_length(self, student):
        """len is the number of batches, the last small one counted."""
        for count, size in CASES:
            describe_input(f"{count} examples in batches of {size}")
            for shuffle in (False, True):
                job = ({"batch_size": size, "shuffle": shuffle}, "length")
                [said] = walked(student, count, [job])
                right = len(sizes(count, size))
                symptom(EXAMPLES_COUNTED, said == count != right)
                symptom(ROUNDED_DOWN, said == count // size != right)
                assert said == right

    @pytest.mark.points(2)
    def test_shuffled(self, student, rng):
        """Any example may come anywhere: neighbours part, and all come first equally often."""
        seed = int(rng.integers(10_000))
        describe_input("200 examples in shuffled batches of 10")
        [[walk]] = walked(student, 200, [({"batch_size": 10, "shuffle": True, "seed": seed}, 1)])
        order = np.array(flat(walk))
        symptom(NEVER_SHUFFLED, np.array_equal(order, np.arange(200)))
        symptom(WITHIN_BATCHES, all(np.ptp(batch) == 9 for batch in walk))
        steps = np.diff(order) % 200
        symptom(ROTATED, len(np.unique(steps)) == 1)
        symptom(BATCHES_SHUFFLED, np.mean(np.isin(steps, [1, 199])) > 0.5)
        assert np.mean(np.isin(steps, [1, 199])) < 0.2 and len(np.unique(steps)) > 50
        describe_input("five examples, 400 loaders of different seeds")
        [first] = walked(student, 5, [({"batch_size": 1, "seed": seed}, "first")])
        counts = np.bincount(first, minlength=5)
        assert len(first) == 400
        symptom(ONE_FIXED, counts.min() < 36 or counts.max() > 128)  # 80, 8 each way on average

    @pytest.mark.points(1)
    def test_a_batch_of_none(self, student):
        """A batch_size below 1 raises ValueError; 1 does not."""
        [[walk]] = walked(student, 2, [({"batch_size": 1}, 1)])
        assert walk == [[0], [1]]
        for size in (0, -3):
            describe_input(f"batch_size {size}")
            with pytest.raises(ValueError):
                student.DataLoader([1, 2], size)


class TestAgain:
    @pytest.mark.points(2.5)
    def test_another_order(self, student, rng):
        """Each walk of a shuffling loader has another order, and everything again."""
        seed = int(rng.integers(1000))
        describe_input("three walks over 40 examples, one broken off before them")
        options = {"batch_size": 8, "shuffle": True, "seed": seed}
        walks, after = walked(student, 40, [(options, 3), (dict(options), "broken off")])
        symptom(EXHAUSTED, len(walks[0]) and not (len(walks[1]) and len(walks[2])))
        orders = [flat(walk) for walk in walks]
        symptom(SAME_ORDER, orders[0] == orders[1] or orders[1] == orders[2])
        symptom(SAME_ORDER, flat(after) == orders[0])  # of the same seed: that walk was begun
        assert orders[0] != orders[2]
        for walk in (*walks, after):
            each_once(walk, 40)

    @pytest.mark.points(2)
    def test_seeds(self, student, rng):
        """The same seed gives the same orders, walk by walk; another seed gives others."""
        one, other = (int(seed) for seed in rng.choice(10_000, 2, replace=False))
        describe_input("loaders of 40 examples: two of one seed, one of another, two without")
        options = {"batch_size": 8, "shuffle": True}
        first, again, others, without, zero = walked(
            student,
            40,
            [
                (options | {"seed": one}, 3),
                (options | {"seed": one}, 3),
                (options | {"seed": other}, 3),
                (options, 3),
                (options | {"seed": 0}, 3),
            ],
        )
        for walks in (first, again, others):
            assert sorted(flat(walks[0])) == list(range(40))
        symptom(NEVER_SHUFFLED, flat(first[0]) == list(range(40)))
        symptom(UNSEEDED, first != again)
        symptom(SEED_UNUSED, first == others)
        symptom(UNSEEDED, without != zero)

    @pytest.mark.points(1.5)
    def test_at_once(self, student, rng):
        """Two walks at once, batch by batch in turn: each has every example once."""
        for shuffle in (False, True):
            describe_input(
                f"two walks at once of a loader {'with' if shuffle else 'without'} shuffle"
            )
            options = {"batch_size": 4, "shuffle": shuffle, "seed": int(rng.integers(1000))}
            with recognise(DISTURBED, StopIteration, RuntimeError, ValueError):
                [(first, second)] = walked(student, 20, [(options, "at once")])
            for seen in (first, second):
                symptom(DISTURBED, sorted(seen) != list(range(20)))
            symptom(SAME_ORDER, shuffle and list(first) == list(second))

    @pytest.mark.points(2)
    def test_when_asked(self, student, rng):
        """Examples are fetched when their batch is asked for, each once, by a plain int."""
        for shuffle in (False, True):
            options = {"batch_size": 6, "shuffle": shuffle, "seed": int(rng.integers(1000))}
            [(steps, told, kinds)] = walked(student, 20, [(options, "fetched")])
            assert len(told) == 6
            symptom(EARLY, steps[0] > 0 or steps[1] > 6 or steps[2] > 12)
            assert steps == [0, 6, 12]
            symptom(NOT_INT, kinds != ["int"])

    @pytest.mark.points(1)
    def test_a_generator_of_its_own(self, student, rng):
        """NumPy's global generator is neither used nor changed."""
        seeds = [int(each) for each in rng.integers(0, 10_000, 2)]
        options = {"batch_size": 7, "shuffle": True, "seed": seeds[0]}
        describe_input("np.random, seeded before a loader is made and walked")
        (first, drawn), (second, other) = walked(
            student,
            30,
            [(options | {"global": seed}, "global") for seed in seeds],
        )
        assert len(flat(first)) == 30
        symptom(NEVER_SHUFFLED, flat(first) == list(range(30)))
        symptom(GLOBAL, first != second)
        untouched = [np.random.RandomState(seed).random_sample() for seed in seeds]
        symptom(GLOBAL, [drawn, other] != untouched)


@run_in_worker
def disturbed(values, size, seed):
    """What breaks_it says it saw of a HastyLoader, and all that its walks really gave."""
    import numpy as np

    log = []

    class Hasty:
        def __init__(self):
            self.dataset, self.batch_size = values, size
            self.rng, self.order = np.random.default_rng(seed), np.arange(len(values))

        def __iter__(self):
            seen = []
            log.append(seen)
            self.rng.shuffle(self.order)
            for start in range(0, len(self.order), self.batch_size):
                batch = self.order[start : start + self.batch_size].tolist()
                seen += [self.dataset[i] for i in batch]
                yield [self.dataset[i] for i in batch]

    loader = Hasty()
    told = [int(each) for each in breaks_it(loader)]
    return told, log, loader.order.tolist(), loader.dataset


class TestBug:
    @pytest.mark.points(2)
    def test_breaks_it(self, student, rng):
        """A whole walk of a HastyLoader in which some examples come twice."""
        data = rng.choice(10_000, 90, replace=False).tolist()
        describe_input("a HastyLoader of 90 numbers, in batches of 12")
        told, walks, order, kept = disturbed(student, data, 12, int(rng.integers(1000)))
        assert len(told) == 90 and told in walks
        assert set(told) < set(data)
        assert kept == data and sorted(order) == list(range(90))


# The whole.


@run_in_worker
def read_digits(images, classes, unseen, seed):
    """Train 64-128-10 by the student's loader: the logits of digits that it never saw."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    rng = np.random.default_rng(seed)
    model = tt.Sequential(tt.Linear(64, 128, rng=rng), tt.relu, tt.Linear(128, 10, rng=rng))
    optimizer = tt.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(images, classes), 64, shuffle=True, seed=seed)
    tt.Trainer(model, tt.cross_entropy, optimizer).fit(loader, 15)
    return model(tt.Tensor(np.array(unseen))).data


def _steps(weights, x, y, size, epochs, shuffle, wrapped, own):
    """Train one layer and dropout of nothing by a loader: losses, weights, and the accuracy."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()

    class Made(Dataset):
        """Examples that are made when they are asked for, of Python's numbers."""

        def __len__(self):
            return len(x)

        def __getitem__(self, index):
            return tt.Tensor(np.array(x[index])), int(y[index])

    layer = tt.Linear(x.shape[1], 3)
    layer.weight.data, layer.bias.data = (np.array(each) for each in weights)
    optimizer = tt.SGD(layer.parameters(), lr=0.3, momentum=0.5)
    data = Made() if own else TensorDataset(x, y)
    if wrapped is not None:
        data = Subset(Subset(data, range(len(x))), wrapped)
    trainer = tt.Trainer(layer, tt.cross_entropy, optimizer)
    trainer.fit(DataLoader(data, size, shuffle, 3), epochs)
    share = trainer.evaluate(DataLoader(data, size + 1))
    return trainer.history, layer.weight.data, share


steps = run_in_worker(_steps)


def by_reference(reference, *data):
    """The same on the reference, in this process."""
    here = FunctionType(_steps.__code__, dict(vars(reference)))
    try:
        return here(*data)
    finally:
        reference.disable_gradients()


def started(rng):
    weights = rng.normal(size=(4, 3)), rng.normal(size=3)
    return weights, rng.normal(size=(11, 4)), rng.integers(0, 3, 11)


def alike(found, wanted):
    for seen, right in zip(found, wanted, strict=True):
        assert_close(seen, right, rtol=1e-8, atol=1e-10)


class TestWhole:
    @pytest.mark.points(9)
    def test_digits(self, student, rng):
        """A 64-128-10 network learns handwriting: 95 of 100 digits that it has never seen."""
        describe_input(
            "1,437 digits in the order of their classes, and 360 others; pixels in another order"
        )
        right = total = 0
        order, pixels, names = rng.permutation(1797), rng.permutation(64), rng.permutation(10)
        inked = DIGITS[order][:, pixels] + rng.uniform(-0.5, 0.5, DIGITS.shape)
        images, classes = (inked / 16).astype(np.float32), names[LABELS[order]]
        for number, fold in enumerate(np.array_split(np.arange(1797), 5)):
            if number == 3 and right / total >= 0.95:
                break  # else the other two folds decide, too: three may be hard ones by chance
            others = np.setdiff1d(np.arange(1797), fold)
            others = others[np.argsort(classes[others], kind="stable")]
            seed = int(rng.integers(10_000))
            logits = read_digits(student, images[others], classes[others], images[fold], seed)
            assert logits.shape == (len(fold), 10)
            right += (logits.argmax(1) == classes[fold]).sum()
            total += len(fold)
        assert right / total >= 0.95

    @pytest.mark.points(6)
    def test_steps(self, student, reference, rng):
        """In order, a training run takes the steps of the reference's, and counts as it does."""
        weights, x, y = started(rng)
        for size in (4, 11, 20):
            describe_input(f"11 examples in float64, batches of {size}, three epochs")
            data = weights, x, y, size, 3, False, None, False
            alike(steps(student, *data), by_reference(reference, *data))

    @pytest.mark.points(2)
    def test_one_batch(self, student, reference, rng):
        """Shuffled, but all in one batch, a run takes the same steps: no example is lost."""
        weights, x, y = started(rng)
        describe_input("11 examples in float64 in one shuffled batch")
        data = weights, x, y, 16, 4, True, None, False
        alike(steps(student, *data), by_reference(reference, *data))

    @pytest.mark.points(4)
    def test_made_on_the_spot(self, student, reference, rng):
        """A subset of a dataset that makes its examples trains and is counted as it should."""
        weights, x, y = started(rng)
        describe_input("a subset of a subset of examples made when they are asked for")
        chosen = rng.permutation(11)[:7]
        data = weights, x, y, 3, 3, False, chosen, True
        alike(steps(student, *data), by_reference(reference, *data))
