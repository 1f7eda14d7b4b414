"""Hidden tests of 11_embeddings.

A layer's table is replaced by numbers of the tester's, in float64, and what comes out and what goes
back is compared with NumPy. Only `weight` and what the layers return is looked at.

`table_gradient` is tried with the student's `one_hot`, and once more with a right one. `Whole` has
no such way round: models of the student's layers train, step by step, beside NumPy.
"""

import numpy as np
import pytest

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    run_in_worker,
    symptom,
)

LAST_WINS = Misconception(
    "last gradient wins", "A row that was picked twice gets the sum of both gradients."
)
CUT = Misconception(
    "cut", "The rows are right, but no gradient reaches the table: did they leave the Tensor?"
)
TUPLE = Misconception(
    "index as a tuple", "NumPy takes a tuple of numbers for one place, not for several rows."
)
HALVES = Misconception(
    "sines, then cosines", "Sines and cosines take turns, column by column; these stand in halves."
)
COSINES_FIRST = Misconception("cosines first", "The even columns, from 0, are sines.")
OWN_RATE = Misconception(
    "each column its own wave", "The two columns of a pair are sine and cosine of the same angle."
)
FROM_ONE = Misconception("places from 1", "The first place is 0: its sines are 0.")
DOUBLED = Misconception(
    "exponent doubled", "In column 2i the exponent is 2i / dim: the column itself over dim."
)
BY_BATCH = Misconception(
    "places along the batch", "The rows belong to the places of a sequence, not to the sequences."
)
OVERRUN = Misconception(
    "reads past the table", "A sequence longer than the table is to be refused with a ValueError."
)
WRONG_WAY = Misconception("wrong way round", "This matrix walks k places back.")


@run_in_worker
def passed(name, table, inputs, gradients):
    """What a layer with this table makes of inputs, and the gradients of table and inputs.

    `inputs` are arrays of floats, which become Tensors, or ids, which go in as they are; all go
    through the one layer, and come back through one graph.
    """
    import numpy as np

    from tinytorch import Tensor, enable_gradients

    enable_gradients()
    layer = globals()[name](*table.shape)
    layer.weight.data = np.array(table)
    layer.weight.requires_grad = True
    given = []
    for x in inputs:
        is_float = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        given.append(Tensor(np.array(x), requires_grad=True) if is_float else x)
    outs = [layer(x) for x in given]
    if gradients:
        total = sum((out * np.array(g)).sum() for out, g in zip(outs, gradients, strict=True))
        if total.requires_grad:
            total.backward()
    back = [getattr(x, "grad", None) for x in given]
    return [out.data for out in outs], layer.weight.grad, back


def arrived(grad, expected, **options):
    """Assert that a gradient is the expected one, and say so if there is none at all."""
    symptom(CUT, grad is None)
    assert_close(grad, expected, **options)


def added(table, *pairs):
    """The gradient of a table, row by row, from pairs of ids and gradients."""
    total = np.zeros_like(table)
    for ids, g in pairs:
        np.add.at(total, np.asarray(ids), g)
    return total


class TestEmbedding:
    @pytest.mark.points(4)
    def test_rows(self, student, rng):
        """Each id becomes its row, whatever the shape of the ids."""
        table = rng.normal(size=(7, 4))
        for shape in ((5,), (2, 3), (4, 1, 2)):
            describe_input(f"an array of ids of shape {shape}, a table (7, 4)")
            ids = rng.integers(0, 7, shape)
            [seen], _, _ = passed(student, "Embedding", table, [ids], [])
            assert_close(seen, table[ids])

    @pytest.mark.points(3)
    def test_lists(self, student, rng):
        """Ids may be lists, lists of lists, and integers of any kind."""
        table = rng.normal(size=(6, 3))
        for ids in ([4, 1], [[2, 0], [5, 5]], [[[3]]], [0]):
            describe_input("a list of ids" if np.ndim(ids) == 1 else "lists of lists of ids")
            right = table[np.array(ids)]
            symptoms = {TUPLE: lambda found, right=right: found.ndim < right.ndim}
            [seen], _, _ = passed(student, "Embedding", table, [ids], [])
            assert_close(seen, right, symptoms=symptoms)
        for kind in (np.int32, np.uint8):
            describe_input(f"an array of ids of type {np.dtype(kind).name}")
            ids = np.array([[5, 1, 0]], kind)
            [seen], _, _ = passed(student, "Embedding", table, [ids], [])
            assert_close(seen, table[ids])

    @pytest.mark.points(3)
    def test_gradient(self, student, rng):
        """Each gradient arrives at the row that was picked; all other rows get zeros."""
        table, ids = rng.normal(size=(8, 3)), rng.permutation(8)[:6].reshape(2, 3)
        describe_input("six of eight ids, none of them twice")
        g = rng.normal(size=(2, 3, 3))
        _, grad, _ = passed(student, "Embedding", table, [ids], [g])
        arrived(grad, added(table, (ids, g)))

    @pytest.mark.points(4)
    def test_repeated(self, student, rng):
        """A row that was picked several times gets the sum of its gradients."""
        table = rng.normal(size=(6, 4))
        for ids in (np.array([[1, 1, 4], [4, 1, 5]]), np.array([3, 3]), [[2, 0], [0, 2]]):
            describe_input(f"ids of shape {np.shape(ids)}, some several times")
            g = rng.normal(size=(*np.shape(ids), 4))
            last = np.zeros_like(table)
            last[np.asarray(ids)] = g
            _, grad, _ = passed(student, "Embedding", table, [ids], [g])
            arrived(grad, added(table, (ids, g)), symptoms={LAST_WINS: last})

    @pytest.mark.points(1)
    def test_used_twice(self, student, rng):
        """Two uses of one table in a loss add up."""
        table, ids = rng.normal(size=(5, 2)), [np.array([0, 3]), np.array([[3], [4]])]
        describe_input("a table that is used for two arrays of ids")
        g = [rng.normal(size=(*each.shape, 2)) for each in ids]
        _, grad, _ = passed(student, "Embedding", table, ids, g)
        arrived(grad, added(table, *zip(ids, g, strict=True)))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """Rows have the dtype of the table."""
        for dtype in ("float32", "float64"):
            describe_input(f"a table of {dtype}")
            table = rng.normal(size=(4, 3)).astype(dtype)
            [seen], _, _ = passed(student, "Embedding", table, [np.array([[1, 2]])], [])
            assert seen.dtype == dtype
            assert seen.shape == (1, 2, 3)

    @pytest.mark.points(1)
    def test_small(self, student, rng):
        """No ids at all, a single token and a single column are no special cases."""
        for count, dim, ids in ((4, 3, np.zeros((2, 0), int)), (1, 3, [0, 0]), (3, 1, [[2]])):
            describe_input(f"ids of shape {np.shape(ids)}, a table ({count}, {dim})")
            table = rng.normal(size=(count, dim))
            [seen], _, _ = passed(student, "Embedding", table, [ids], [])
            assert_close(seen, table[np.asarray(ids)])

    @pytest.mark.points(1)
    def test_table(self, student, rng):
        """The table is the only parameter, in float32, and the same generator draws the same."""
        assert_table(student, rng, "Embedding")


@run_in_worker
def made(name, count, dim, seeds):
    """Tables, one for each seed, and whether each is its layer's only parameter."""
    import numpy as np

    layers = [globals()[name](count, dim, rng=np.random.default_rng(seed)) for seed in seeds]
    layers.append(globals()[name](count, dim))
    alone = [[p is layer.weight for p in layer.parameters()] for layer in layers]
    return [layer.weight.data for layer in layers], alone


def assert_table(student, rng, name):
    count, dim, seed = int(rng.integers(30, 40)), int(rng.integers(10, 20)), int(rng.integers(1000))
    describe_input("two tables of one seed, one of another, one of none")
    (one, same, other, free), alone = made(student, name, count, dim, [seed, seed, seed + 1])
    assert one.shape == (count, dim) == free.shape
    assert one.dtype == np.float32
    assert_close(one, same)
    assert np.all(one != other)
    assert np.all(one.std(axis=0) > 0.01)
    assert alone == [[True]] * 4


class TestOneHot:
    @pytest.mark.points(1)
    def test_arrays(self, student, rng):
        """1 at the id, 0 elsewhere, for arrays of ids of any shape."""
        for shape, count in (((6,), 9), ((2, 3), 4), ((2, 1, 3), 5)):
            describe_input(f"an array of ids of shape {shape}, {count} tokens")
            ids = rng.integers(0, count, shape)
            seen = student.one_hot(ids, count)
            assert_close(seen, np.eye(count)[ids])
            assert seen.dtype != bool

    @pytest.mark.points(1)
    def test_lists(self, student):
        """Lists, and an id that is there twice."""
        describe_input("lists of ids")
        for ids, count in (([[2, 2, 0]], 3), ([0, 0], 1), ([[1], [3]], 6)):
            assert_close(student.one_hot(ids, count), np.eye(count)[np.array(ids)])


@run_in_worker
def tables(calls, lent):
    """What table_gradient returns for each of these ids, gradients and counts."""
    import numpy as np

    own = globals().get("one_hot")
    if lent:
        globals()["one_hot"] = lambda ids, count: np.eye(count)[np.asarray(ids)]
    try:
        return [table_gradient(ids, np.array(g), count) for ids, g, count in calls]
    finally:
        globals()["one_hot"] = own


def assert_tables(student, rng, *kinds):
    calls, expected = [], []
    for ids, dim, count in kinds:
        g = rng.normal(size=(*np.shape(ids), dim))
        calls.append((ids, g, count))
        expected.append(added(np.zeros((count, dim)), (ids, g)))

    def check(lent):
        for seen, right, (ids, g, _) in zip(
            tables(student, calls, lent), expected, calls, strict=True
        ):
            last = np.zeros_like(right)
            last[np.asarray(ids)] = g
            assert_close(seen, right, symptoms={LAST_WINS: last})

    any_passes(lambda: check(False), lambda: check(True))


class TestTableGradient:
    @pytest.mark.points(2.5)
    def test_sum(self, student, rng):
        """Each row has the sum of what arrived at it, or zeros."""
        describe_input("ids of shape (3, 4), some several times, some never")
        ids = rng.integers(0, 5, (3, 4))
        ids[0] = 2
        assert_tables(student, rng, (ids, 3, 7), (ids, 5, 6))

    @pytest.mark.points(2.5)
    def test_shapes(self, student, rng):
        """Ids of any shape, in arrays or lists; one token, one column."""
        describe_input("ids of shapes (5,), (2, 2, 1), a list, one token, one column")
        ids = rng.integers(0, 4, 5)
        more = rng.integers(0, 4, (2, 2, 1))
        assert_tables(
            student,
            rng,
            (ids, 2, 4),
            (more, 3, 5),
            ([[1, 0, 1]], 3, 4),
            ([0, 0], 3, 1),
            (ids, 1, 6),
        )


def waves(count, dim, places=None):
    """The positions in float64, one entry at a time."""
    places = range(count) if places is None else places
    rows = [
        [
            (np.cos if column % 2 else np.sin)(t / 10000 ** (2 * (column // 2) / dim))
            for column in range(dim)
        ]
        for t in places
    ]
    return np.array(rows).reshape(len(rows), dim)


def slips(count, dim):
    """What typical slips make of the positions; dim is even."""
    right = waves(count, dim)
    columns, t = np.arange(dim), np.arange(count)[:, None]
    own = t / 10000 ** (columns / dim)
    twice = t / 10000 ** (4 * (columns // 2) / dim)
    return {
        HALVES: np.concatenate([right[:, ::2], right[:, 1::2]], axis=1),
        COSINES_FIRST: right.reshape(count, -1, 2)[..., ::-1].reshape(count, dim),
        OWN_RATE: np.where(columns % 2, np.cos(own), np.sin(own)),
        FROM_ONE: waves(count, dim, range(1, count + 1)),
        DOUBLED: np.where(columns % 2, np.cos(twice), np.sin(twice)),
    }


class TestSinusoidal:
    @pytest.mark.points(6)
    def test_values(self, student, rng):
        """Sines in the even columns, cosines in the odd ones, of the angles of the text."""
        for _ in range(2):
            count, dim = int(rng.integers(6, 40)), 2 * int(rng.integers(3, 12))
            describe_input(f"{count} places, {dim} columns")
            seen = student.sinusoidal_positions(count, dim)
            assert_close(seen, waves(count, dim), atol=1e-4, symptoms=slips(count, dim))

    @pytest.mark.points(2)
    def test_odd(self, student, rng):
        """With an odd number of columns the last is a sine without a cosine."""
        for count, dim in (
            (9, 5),
            (int(rng.integers(4, 20)), 1),
            (4, 2 * int(rng.integers(3, 9)) + 1),
        ):
            describe_input(f"{count} places, {dim} columns")
            assert_close(student.sinusoidal_positions(count, dim), waves(count, dim), atol=1e-4)

    @pytest.mark.points(1)
    def test_small(self, student):
        """One place, and two columns."""
        describe_input("one place; two columns")
        for count, dim in ((1, 6), (12, 2), (1, 2)):
            assert_close(student.sinusoidal_positions(count, dim), waves(count, dim), atol=1e-4)

    @pytest.mark.points(2)
    def test_far(self, student, rng):
        """Places far away have rows of their own, too."""
        describe_input("3,000 places")
        places = [0, *sorted(rng.integers(1000, 3000, 5).tolist())]
        seen = student.sinusoidal_positions(3000, 16)
        assert_close(seen[places], waves(3000, 16, places), atol=2e-3)

    @pytest.mark.points(1)
    def test_dtype(self, student):
        """The positions are in float32."""
        describe_input("the dtype of the array")
        seen = student.sinusoidal_positions(5, 4)
        assert seen.dtype == np.float32
        assert np.all(seen[1] != seen[2])


class TestTurn:
    @pytest.mark.points(3)
    def test_walks(self, student, rng):
        """One matrix takes every place k places on."""
        dim, k = 2 * int(rng.integers(2, 9)), int(rng.integers(2, 30))
        describe_input(f"{dim} columns, {k} places on")
        seen = student.turn(k, dim)
        assert_close(np.shape(seen), (dim, dim))
        known = {WRONG_WAY: waves(0, dim, range(-k, 20 - k))}
        assert_close(
            waves(20, dim) @ seen, waves(0, dim, range(k, 20 + k)), atol=1e-5, symptoms=known
        )

    @pytest.mark.points(2)
    def test_back(self, student, rng):
        """Back, by a negative k, and nowhere, by 0."""
        for dim, k in ((2 * int(rng.integers(2, 9)), -int(rng.integers(2, 30))), (6, 0), (2, 1)):
            describe_input(f"{dim} columns, k = {k}")
            there = waves(0, dim, range(k + 30, k + 40))
            assert_close(waves(0, dim, range(30, 40)) @ student.turn(k, dim), there, atol=1e-4)


class TestBug:
    @pytest.mark.points(1)
    def test_same(self, student):
        """Two places have one row."""
        one, other = (int(place) for place in student.breaks_it())
        assert 0 <= one < 100 and 0 <= other < 100
        assert one != other and (one - other) % 16 == 0


class TestPositional:
    @pytest.mark.points(4)
    def test_adds(self, student, rng):
        """Every sequence gets the first T rows added, place by place."""
        for count, shape in ((8, (6, 3, 4)), (5, (1, 4, 2)), (4, (2, 1, 3))):
            describe_input(f"x of shape {shape}, a table of {count} rows")
            table, x = rng.normal(size=(count, shape[2])), rng.normal(size=shape)
            [seen], _, _ = passed(student, "PositionalEmbedding", table, [x], [])
            assert_close(seen, x + table[: shape[1]])

    @pytest.mark.points(1)
    def test_square(self, student, rng):
        """As many sequences as places: the rows go with the places."""
        describe_input("x of shape (4, 4, 4), a table of 4 rows")
        table, x = rng.normal(size=(4, 4)), rng.normal(size=(4, 4, 4))
        [seen], _, _ = passed(student, "PositionalEmbedding", table, [x], [])
        assert_close(seen, x + table, symptoms={BY_BATCH: x + table[:, None]})

    @pytest.mark.points(3)
    def test_gradient_of_the_table(self, student, rng):
        """A row gets the gradients of its place, summed over the batch; unused rows get zeros."""
        table, x, g = (rng.normal(size=shape) for shape in ((6, 3), (5, 4, 3), (5, 4, 3)))
        describe_input("x of shape (5, 4, 3), a table of 6 rows")
        _, grad, _ = passed(student, "PositionalEmbedding", table, [x], [g])
        arrived(grad, np.concatenate([g.sum(axis=0), np.zeros((2, 3))]))

    @pytest.mark.points(1)
    def test_gradient_of_the_input(self, student, rng):
        """The input gets the gradient as it is."""
        table, x, g = (rng.normal(size=shape) for shape in ((6, 3), (5, 4, 3), (5, 4, 3)))
        describe_input("x of shape (5, 4, 3), a table of 6 rows")
        _, _, [grad] = passed(student, "PositionalEmbedding", table, [x], [g])
        arrived(grad, g)

    @pytest.mark.points(3)
    def test_too_long(self, student, rng):
        """Sequences up to the length of the table work, a longer one is a ValueError."""
        table = rng.normal(size=(5, 3))
        describe_input("T = count")
        x = rng.normal(size=(2, 5, 3))
        [seen], _, _ = passed(student, "PositionalEmbedding", table, [x], [])
        assert_close(seen, x + table)
        for length, count in ((6, 5), (11, 5), (3, 1)):
            describe_input(f"T = {length}, count = {count}")
            x = rng.normal(size=(2, length, 3))
            with pytest.raises(ValueError):
                passed(student, "PositionalEmbedding", table[:count], [x], [])
                symptom(OVERRUN, True)

    @pytest.mark.points(1)
    def test_table(self, student, rng):
        """The table is the only parameter, in float32, and the same generator draws the same."""
        assert_table(student, rng, "PositionalEmbedding")


@run_in_worker
def gap(ids, targets, values, steps, learned):
    """Losses of steps of SGD, first logits, and the tables at the end, of a model of both layers.

    It adds rows of tokens and places, bends, averages; a Linear follows. The places are learned,
    or sinusoidal_positions.
    """
    import numpy as np

    from tinytorch import SGD, Linear, Tensor, cross_entropy, enable_gradients, tanh

    def lay(layer, w, c):
        for p in layer.parameters():
            value = c if p.size == c.size else w
            p.data = np.array(value if value.shape == p.shape else value.T).reshape(p.shape)

    enable_gradients()
    table, rows, w, c = values
    token, out = Embedding(*table.shape), Linear(*w.shape)
    token.weight.data = np.array(table)
    lay(out, w, c)
    parameters = [*token.parameters(), *out.parameters()]
    if learned:
        place = PositionalEmbedding(*rows.shape)
        place.weight.data = np.array(rows)
        parameters += place.parameters()
    else:
        waves = np.asarray(sinusoidal_positions(*rows.shape))

    def model(ids):
        x = token(ids)
        x = place(x) if learned else x + Tensor(waves[: ids.shape[1]])
        return out(tanh(x).mean(axis=1))

    optimizer, losses = SGD(parameters, 0.5), []
    first = model(ids).data
    for _ in range(steps):
        loss = cross_entropy(model(ids), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    return losses, first, token.weight.data, place.weight.data if learned else rows


def gap_by_hand(ids, targets, values, steps, learned):
    """The same in NumPy, with every gradient written out."""
    table, rows, w, c = (np.array(value) for value in values)
    if not learned:
        rows = waves(*rows.shape)
    (batch, length), losses, first = ids.shape, [], None
    for _ in range(steps):
        a = np.tanh(table[ids] + rows[:length])
        m = a.mean(axis=1)
        s = m @ w + c
        first = s if first is None else first
        shares = np.exp(s - s.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        losses.append(-np.log(shares[np.arange(batch), targets]).mean())
        to_s = (shares - np.eye(len(c))[targets]) / batch
        to_x = (to_s @ w.T)[:, None] / length * (1 - a * a)
        table = table - 0.5 * added(table, (ids, to_x))
        if learned:
            rows = rows - 0.5 * added(rows, (np.arange(length), to_x.sum(axis=0)))
        w, c = w - 0.5 * m.T @ to_s, c - 0.5 * to_s.sum(axis=0)
    return losses, first, table, rows


def problem(rng):
    """Ids with many repetitions, targets, and the numbers of a model."""
    ids, targets = rng.integers(0, 6, (10, 4)), rng.integers(0, 5, 10)
    shapes = (8, 7), (6, 7), (7, 5), (5,)
    return ids, targets, [rng.normal(size=shape) for shape in shapes]


class TestWhole:
    @pytest.mark.points(12)
    def test_a_model_trains(self, student, rng):
        """A model of tokens and learned places takes 25 steps, each where it should."""
        describe_input("ten sequences of four of six tokens, 25 steps of SGD")
        data = *problem(rng), 25, True
        losses, _, table, rows = gap(student, *data)
        right = gap_by_hand(*data)
        assert_close(losses, right[0], rtol=1e-5)
        assert_close(table, right[2], rtol=1e-5, atol=1e-7)
        assert_close(rows, right[3], rtol=1e-5, atol=1e-7)

    @pytest.mark.points(4)
    def test_order(self, student, rng):
        """The same tokens in another order give other logits."""
        ids, targets, values = problem(rng)
        ids[0] = [0, 1, 2, 3]
        describe_input("sequences, and the same ones backwards")
        for those in (ids, ids[:, ::-1].copy()):
            _, first, _, _ = gap(student, those, targets, values, 0, True)
            # of no step, NumPy's first logits are those before one
            assert_close(first, gap_by_hand(those, targets, values, 1, True)[1])

    @pytest.mark.points(4)
    def test_waves_for_places(self, student, rng):
        """A model with sinusoidal positions trains, too."""
        describe_input("ten sequences of four of six tokens, 10 steps of SGD")
        data = *problem(rng), 10, False
        losses, _, table, _ = gap(student, *data)
        right = gap_by_hand(*data)
        assert_close(losses, right[0], rtol=1e-4)
        assert_close(table, right[2], rtol=1e-4, atol=1e-5)
