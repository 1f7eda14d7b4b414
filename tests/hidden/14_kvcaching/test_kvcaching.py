"""Hidden tests of 14_kvcaching.

What a cached model should say is what the reference says without a cache, in float64, with the same
weights. Each function is tried with the student's own others and once more with right ones: a
region earns the better of the two. A `forward` that is handed over is one of the suite's own, so
that "as before" can be told from anything else.

`Whole` has no second way. That nothing is computed again is seen by changing the weights between
two pieces: keys and values that are kept are those of the old weights.
"""

import itertools
from types import FunctionType

import numpy as np
import pytest
from gpt_weights import PLACE, drawn, placed
from lending import LEND, own_or_lent

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    run_in_worker,
    symptom,
)

WITHOUT_NEW = Misconception("only old ones", "The new keys and values belong to what is returned.")
ONLY_NEW = Misconception("only new ones", "What was kept before comes first, then the new ones.")
KEYS_TWICE = Misconception("keys for values", "The values that come back are the keys.")
LENGTH_RAISED = Misconception(
    "length raised too early", "`extend` leaves `length`: the other blocks have yet to be asked."
)
ADDED_AGAIN = Misconception(
    "the same tokens twice", "Until `length` is raised new tokens take the place of what came last."
)
ONE_FOR_ALL = Misconception("one memory for all", "Every attention has keys and values of its own.")
SHARED_CACHES = Misconception(
    "caches share their memory", "What one KVCache keeps is found in another: whose is it?"
)
SQUARE = Misconception("the whole square", "For a few rows of the mask the whole of it was made.")
MASK_UNUSED = Misconception("mask forgotten", "The mask is not used: new tokens see each other.")
PLACES_FROM_0 = Misconception(
    "places begin anew", "New tokens get the first rows of the position table: where do they stand?"
)
ONE_PLACE = Misconception("one place for all", "All new tokens of a piece get the same place.")
CACHE_GREW = Misconception(
    "refused, and yet kept", "After a ValueError the cache is no longer what it was: ask first."
)
MODEL_FORGOTTEN = Misconception(
    "the model's own context", "A cache may be larger than the model's context: both have an end."
)
STILL_IN_USE = Misconception(
    "cache left in use",
    "After an error the cache is still in use: `with using(cache):` puts it away.",
)
WRAPPED_TWICE = Misconception(
    "wrapped twice", "Enabled twice and disabled once, the classes are not plain."
)
READ_AGAIN = Misconception(
    "computed anew", "What was kept changes with the weights: it has been computed again."
)
NOT_READ = Misconception("cache unused", "After writing with a cache it does not hold the text.")
LAST_READ = Misconception("last one read", "The last token that is drawn is not read.")

COMMON = (
    LEND
    + PLACE
    + '''
import numpy as np
import tinytorch as tt

RIGHT = {
    "KVCache": """
class KVCache:
    def __init__(self, context):
        self.context, self.length, self.kept = context, 0, {}

    def extend(self, attention, k, v):
        found = []
        for name, each in (("k", k), ("v", v)):
            old = self.kept.get((name, id(attention)))
            old = each.data[:, :, :0] if old is None else old[:, :, : self.length]
            all_of_it = np.concatenate([old, each.data], axis=2)
            self.kept[name, id(attention)] = all_of_it
            found.append(tt.Tensor(all_of_it))
        return tuple(found)
""",
    "late_mask": """
def late_mask(start, new):
    return np.triu(np.full((new, start + new), -np.inf, np.float32), start + 1)
""",
    "attention_with_cache": """
def attention_with_cache(forward):
    def remembering(self, x, mask=None):
        cache = active[-1]
        if cache is None:
            return forward(self, x, mask)
        q, k, v = (layer(x) for layer in (self.q, self.k, self.v))
        parted = []
        for each in (q, k, v):
            batch, new, dim = each.shape
            each = each.reshape(batch, new, self.heads, dim // self.heads)
            parted.append(each.transpose(0, 2, 1, 3))
        q, k, v = parted
        k, v = cache.extend(self, k, v)
        mixed = tt.scaled_dot_product_attention(q, k, v, mask).transpose(0, 2, 1, 3)
        return self.out(mixed.reshape(*x.shape))
    return remembering
""",
    "model_with_cache": """
def model_with_cache(forward):
    def forward_on(self, ids, cache=None):
        if cache is None:
            return forward(self, ids)
        start, new = cache.length, np.shape(ids)[1]
        if start + new > min(self.context, cache.context):
            raise ValueError("too long")
        x = self.token(ids) + self.position.weight[start : start + new]
        with using(cache):
            for block in self.blocks:
                x = block(x, late_mask(start, new))
        cache.length = start + new
        return self.norm(x) @ self.token.weight.T
    return forward_on
""",
}


def provided(names, theirs):
    right = {**theirs, "tt": tt, "np": np}
    for name in names:
        exec(RIGHT[name], right)
    return {name: right[name] for name in names}


def plain_attention(self, x, mask=None):
    parted = []
    for layer in (self.q, self.k, self.v):
        batch, length, dim = x.shape
        each = layer(x).reshape(batch, length, self.heads, dim // self.heads)
        parted.append(each.transpose(0, 2, 1, 3))
    mixed = tt.scaled_dot_product_attention(*parted, mask).transpose(0, 2, 1, 3)
    return self.out(mixed.reshape(*x.shape))


def plain_model(self, ids):
    length = np.shape(ids)[1]
    x = self.token(ids) + self.position.weight[:length]
    for block in self.blocks:
        x = block(x, tt.causal_mask(length))
    return self.norm(x) @ self.token.weight.T


class by_hand:
    """Inside, both classes have what these functions make of right plain forwards."""

    def __init__(self, theirs):
        self.new = {
            tt.MultiHeadAttention: theirs["attention_with_cache"](plain_attention),
            tt.GPT: theirs["model_with_cache"](plain_model),
        }

    def __enter__(self):
        self.old = {kind: kind.forward for kind in self.new}
        for kind, forward in self.new.items():
            kind.forward = forward

    def __exit__(self, *error):
        for kind, forward in self.old.items():
            kind.forward = forward


def cut(ids, pieces):
    return np.split(np.array(ids), np.cumsum(pieces)[:-1], axis=1)
'''
)
OTHERS = "KVCache", "late_mask", "attention_with_cache", "model_with_cache"


def cut(x, pieces):
    return np.split(x, np.cumsum(pieces)[:-1], axis=1)


def wanted(reference, size, weights, ids):
    """The logits of the reference's model, without a cache."""
    return placed(reference, size, weights)(ids).data


class TestMultiplyAdds:
    @pytest.mark.points(5)
    @pytest.mark.parametrize("kind", ["one", "all", "some"])
    def test_sizes(self, student, rng, kind):
        """The count is that of the Linears, the looks of the new rows at all places, the table."""
        describe_input({"one": "one new token", "all": "all new", "some": "several new"}[kind])
        for _ in range(4):
            length, dim, layers, vocab = (int(n) for n in rng.integers(5, 60, 4))
            new = {"one": 1, "all": length, "some": int(rng.integers(2, length))}[kind]
            found = student.multiply_adds(new, length, dim, layers, vocab)
            right = 12 * layers * new * dim**2 + 2 * layers * new * length * dim + new * dim * vocab
            assert found == right


# The cache alone.


@run_in_worker
def kept(context, steps):
    """What a cache returns for each step (whose, keys, values, how far length goes on after it)."""
    import numpy as np

    from tinytorch import Linear, Tensor

    cache, whose, told = KVCache(context), [Linear(1, 1) for _ in range(3)], []
    begun = cache.context, cache.length
    for n, k, v, ahead in steps:
        keys, values = cache.extend(whose[n], Tensor(np.array(k)), Tensor(np.array(v)))
        dtypes = str(keys.dtype), str(values.dtype)
        told.append((keys.data.copy(), values.data.copy(), dtypes, cache.length))
        cache.length += ahead
    return begun, told


@run_in_worker
def two_caches(k, v):
    """What a second cache returns after a first one has kept other tokens of the same attention."""
    import numpy as np

    from tinytorch import Linear, Tensor

    one, two, attention = KVCache(5), KVCache(7), Linear(1, 1)
    for cache, start in ((one, 0), (two, 2)):
        cache.extend(attention, *(Tensor(np.array(x[:, :, start : start + 2])) for x in (k, v)))
        cache.length = 2
    told = []
    for cache in (one, two):
        pair = cache.extend(attention, *(Tensor(np.array(x[:, :, 4:])) for x in (k, v)))
        told.append([each.data.copy() for each in pair])
    return told, [cache.context for cache in (one, two)]


class TestCache:
    @pytest.mark.points(3)
    def test_pieces(self, student, rng):
        """All keys and all values come back, old ones first."""
        describe_input("keys (2, 3, n, 4) and other values of one attention, in pieces")
        k, v = rng.normal(size=(2, 2, 3, 7, 4))
        ends = [0, 2, 3, 7]
        steps = [(0, k[:, :, a:b], v[:, :, a:b], b - a) for a, b in itertools.pairwise(ends)]
        begun, told = kept(student, 7, steps)
        assert list(begun) == [7, 0]
        for (keys, values, _, _), (a, b) in zip(told, itertools.pairwise(ends), strict=True):
            slips = {ONLY_NEW: k[:, :, a:b]} if a else {}
            slips |= {WITHOUT_NEW: k[:, :, :a]}
            assert_close(keys, k[:, :, :b], symptoms=slips)
            assert_close(values, v[:, :, :b], symptoms={KEYS_TWICE: k[:, :, :b]})

    @pytest.mark.points(1.5)
    def test_attentions(self, student, rng):
        """Each attention gets its own keys and values."""
        describe_input("three attentions that come in turns, two tokens and then one")
        rows = rng.normal(size=(3, 1, 2, 3, 4))
        steps = [(n, rows[n][:, :, :2], -rows[n][:, :, :2], 2 * (n == 2)) for n in range(3)]
        steps += [(n, rows[n][:, :, 2:], -rows[n][:, :, 2:], n == 2) for n in range(3)]
        _, told = kept(student, 4, steps)
        for n, (keys, values, _, _) in enumerate(told[3:]):
            others = {ONE_FOR_ALL: np.concatenate([rows[2][:, :, :2], rows[n][:, :, 2:]], axis=2)}
            assert_close(keys, rows[n], symptoms=others)
            assert_close(values, -rows[n])

    @pytest.mark.points(1)
    def test_again(self, student, rng):
        """`length` stays, and tokens that come again take the place of what came first."""
        describe_input("three tokens, then two that come three times, each time with other numbers")
        k = rng.normal(size=(4, 1, 2, 3, 4))
        steps = [
            (0, k[0], 2 * k[0], 3),
            *((0, k[n][:, :, :2], k[n][:, :, 1:], 0) for n in (1, 2, 3)),
        ]
        _, told = kept(student, 20, steps)
        symptom(LENGTH_RAISED, any(length != 3 for *_, length in told[1:]))
        symptom(ADDED_AGAIN, np.shape(told[3][0])[2] > 5)
        for n, (keys, values, _, _) in enumerate(told[1:], 1):
            assert_close(keys, np.concatenate([k[0], k[n][:, :, :2]], axis=2))
            assert_close(values, np.concatenate([2 * k[0], k[n][:, :, 1:]], axis=2))

    @pytest.mark.points(1)
    def test_dtypes(self, student, rng):
        """What comes back has the dtype that came."""
        for dtype in ("float64", "float32"):
            rows = rng.normal(size=(1, 2, 3, 4)).astype(dtype)
            steps = [(0, each, each, 1) for each in (rows[:, :, :2], rows[:, :, 2:])]
            _, told = kept(student, 4, steps)
            assert [list(dtypes) for _, _, dtypes, _ in told] == [[dtype] * 2] * 2

    @pytest.mark.points(0.5)
    def test_two_caches(self, student, rng):
        """Two caches know nothing of each other."""
        k, v = rng.normal(size=(2, 1, 2, 5, 3))
        told, contexts = two_caches(student, k, v)
        assert contexts == [5, 7]
        for (keys, values), start in zip(told, (0, 2), strict=True):
            places = [start, start + 1, 4]
            symptom(SHARED_CACHES, np.shape(keys) != (1, 2, 3, 3))
            assert_close(keys, k[:, :, places])
            assert_close(values, v[:, :, places])


class TestLateMask:
    @pytest.mark.points(1.5)
    def test_value(self, student, rng):
        """New token i may look at the `start` old places and at the new ones up to itself."""
        cases = [(int(a), int(b)) for a, b in rng.integers(1, 9, (4, 2))]
        for start, new in [*cases, (0, 5), (6, 1), (0, 1)]:
            square = np.triu(np.full((start + new, start + new), -np.inf), 1)
            assert_close(student.late_mask(start, new), square[start:].astype(np.float32))

    @pytest.mark.points(0.5)
    def test_dtype(self, student):
        """The mask is float32."""
        assert np.asarray(student.late_mask(3, 2)).dtype == np.float32

    @pytest.mark.points(1)
    def test_long(self, student, rng):
        """For two tokens after very many the square of all places is not made."""
        start = int(rng.integers(400_000, 500_000))
        describe_input("two new tokens after half a million others")
        try:
            found = np.asarray(student.late_mask(start, 2))
        except MemoryError:
            symptom(SQUARE, True)
        assert found.shape == (2, start + 2)
        assert np.flatnonzero(found).tolist() == [start + 1]


# Attention alone.


@run_in_worker
def looked(common, lent, size, weights, x, pieces, masks, whose=(0,)):
    """What attentions make of rows in pieces, those of one place all asked before the next.

    `whose`: the attentions that share a cache, each with its own weights. Returns for each of them
    a list with an array for each piece.
    """
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent):
        attentions = []
        for n in whose:
            attention = tt.MultiHeadAttention(*size)
            for part in ("q", "k", "v", "out"):
                layer = getattr(attention, part)
                layer.weight.data = np.array(weights[n][part][0])
                layer.bias.data = np.array(weights[n][part][1])
            attentions.append(attention)
        forward = attention_with_cache(names["plain_attention"])
        cache, told = KVCache(np.shape(x)[1] + 2), [[] for _ in whose]
        for rows, mask in zip(names["cut"](x, pieces), masks, strict=True):
            with using(cache):
                for attention, found in zip(attentions, told, strict=True):
                    mask_of = () if mask is None else (mask,)
                    found.append(forward(attention, tt.Tensor(rows), *mask_of).data.copy())
            cache.length += rows.shape[1]
        return told


@run_in_worker
def unused(which, x, mask):
    """What both functions say without a cache, with a `forward` that says what it was given."""
    import numpy as np

    from tinytorch import GPT, MultiHeadAttention, Tensor

    if which == "attention":
        attention = MultiHeadAttention(np.shape(x)[-1], 1)

        def told(self, x, mask=None):
            right = self is attention
            return Tensor(right * x.data + (100 if mask is None else mask))

        forward = attention_with_cache(told)
        x, mask = Tensor(np.array(x)), np.array(mask)
        calls = forward(attention, x), forward(attention, x, mask), forward(attention, x, mask=mask)
        return [each.data for each in calls]
    model = GPT(5, 4, 4, 2, 1)

    def said(self, ids):
        return Tensor((self is model) * np.array(ids, dtype=float) * 7)

    forward = model_with_cache(said)
    return [each.data for each in (forward(model, x), forward(model, x, cache=None))]


def attention_weights(rng, dim, count=1, dtype=np.float64):
    def layer():
        weight, bias = rng.normal(size=(dim, dim)) * dim**-0.5, rng.normal(size=dim)
        return weight.astype(dtype), bias.astype(dtype)

    return [{part: layer() for part in ("q", "k", "v", "out")} for _ in range(count)]


def all_at_once(x, w, heads, mask):
    """Attention in NumPy."""
    q, k, v = (x @ w[part][0] + w[part][1] for part in "qkv")
    mixed = []
    for columns in np.split(np.arange(x.shape[-1]), heads):
        scores = q[..., columns] @ np.swapaxes(k[..., columns], 1, 2) / np.sqrt(len(columns))
        shares = np.exp(scores + mask - (scores + mask).max(-1, keepdims=True))
        mixed.append(shares / shares.sum(-1, keepdims=True) @ v[..., columns])
    return np.concatenate(mixed, axis=-1) @ w["out"][0] + w["out"][1]


def causal(length):
    return np.triu(np.full((length, length), -np.inf), 1)


def piece_masks(square, pieces):
    """The rows of a (T, T) mask for each piece, and of the columns those up to its end."""
    ends = np.cumsum(pieces)
    return [square[end - n : end, :end] for end, n in zip(ends, pieces, strict=True)]


class TestAttention:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("pieces", [[6], [1] * 6, [2, 1, 3]], ids=["all", "ones", "pieces"])
    def test_causal(self, student, rng, pieces):
        """New rows look at all keys and values, old and new, under their rows of the mask."""
        describe_input(f"float64 rows (2, 6, 8), 4 heads, in pieces of {pieces}")
        x, weights, mask = rng.normal(size=(2, 6, 8)), attention_weights(rng, 8), causal(6)
        right = all_at_once(x, weights[0], 4, mask)
        unmasked = all_at_once(x, weights[0], 4, 0.0)[:, -pieces[-1] :]

        def check(lent):
            masks = piece_masks(mask, pieces)
            [found] = looked(student, COMMON, lent, (8, 4), weights, x, pieces, masks)
            symptom(MASK_UNUSED, pieces[-1] > 1 and np.allclose(found[-1], unmasked))
            assert_close(np.concatenate(found, axis=1), right)

        own_or_lent(check, "KVCache")

    @pytest.mark.points(2)
    def test_masks(self, student, rng):
        """Any mask is used as it comes, also none."""
        describe_input("a first piece without a mask, then masks that forbid places at random")
        x, weights, pieces = rng.normal(size=(2, 7, 6)), attention_weights(rng, 6), [3, 2, 2]
        square = np.where(rng.random((7, 7)) < 0.3, -np.inf, 0)
        np.fill_diagonal(square, 0)
        square[:3, :3], square[:3, 3:], square[3:5, 5:] = 0, -np.inf, -np.inf
        right = all_at_once(x, weights[0], 2, square)

        def check(lent):
            masks = [None, *piece_masks(square, pieces)[1:]]
            [found] = looked(student, COMMON, lent, (6, 2), weights, x, pieces, masks)
            assert_close(np.concatenate(found, axis=1), right)

        own_or_lent(check, "KVCache")

    @pytest.mark.points(2)
    def test_without(self, student, rng):
        """With no cache in use the old forward answers, with the mask that came."""
        x, mask = rng.normal(size=(2, 3, 3)), rng.normal(size=(3, 3))
        bare, second, third = unused(student, "attention", x, mask)
        assert_close(bare, x + 100)
        assert_close(second, x + mask)
        assert_close(third, x + mask)

    @pytest.mark.points(2)
    def test_blocks(self, student, rng):
        """Several attentions share a cache and do not meet in it."""
        describe_input("three attentions with other weights, which read the same pieces in turn")
        x, weights, mask = rng.normal(size=(1, 5, 6)), attention_weights(rng, 6, 3), causal(5)

        def check(lent):
            pieces = [2, 1, 2]
            data = (6, 3), weights, x, pieces, piece_masks(mask, pieces), (0, 1, 2)
            for found, w in zip(looked(student, COMMON, lent, *data), weights, strict=True):
                assert_close(np.concatenate(found, axis=1), all_at_once(x, w, 3, mask))

        own_or_lent(check, "KVCache")

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """float32 stays float32."""
        x, weights = rng.normal(size=(1, 4, 4)), attention_weights(rng, 4, dtype=np.float32)
        masks = [mask.astype(np.float32) for mask in piece_masks(causal(4), [3, 1])]

        def check(lent):
            data = (4, 2), weights, x.astype(np.float32), [3, 1], masks
            [found] = looked(student, COMMON, lent, *data)
            assert [each.dtype for each in found] == [np.float32] * 2
            assert np.std(found[0]) > 0 and not np.array_equal(found[0], data[2][:, :3])

        own_or_lent(check, "KVCache")


# A model that reads on.


@run_in_worker
def read(common, lent, size, weights, context, parts):
    """A model reads parts with one cache: logits, or the names of an error; the length after each.

    At the end what the model says of the first part without a cache.
    """
    exec(common, names := {})
    with names["lend"](globals(), lent):
        model = names["place"](names["tt"].GPT(*size), weights).eval()
        with names["by_hand"](globals()):
            cache, told = KVCache(context), []
            for ids in parts:
                try:
                    told.append((model(ids, cache=cache).data.copy(), cache.length))
                except NotImplementedError:
                    raise
                except Exception as error:
                    kinds = [kind.__name__ for kind in type(error).__mro__]
                    told.append((kinds, cache.length))
            return told, model(parts[0]).data


SIZE = 6, 9, 8, 2, 2
MODELS_HELPERS = "KVCache", "late_mask", "attention_with_cache"


def refused(said, kind="ValueError"):
    return type(said) is list and kind in said


class TestModel:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("pieces", [[8], [1] * 8, [3, 1, 4]], ids=["all", "ones", "pieces"])
    def test_pieces(self, student, reference, rng, pieces):
        """The logits of a text that comes in pieces are those of the whole text."""
        describe_input(f"a batch of 3, a GPT of two blocks, in float64, in pieces of {pieces}")
        weights, ids = drawn(rng, SIZE), rng.integers(0, 6, (3, 8))
        right = wanted(reference, SIZE, weights, ids)
        table, ends = weights["position"], np.cumsum([0, *pieces])
        anew = np.concatenate([table[:n] for n in pieces] + [table[8:]])
        same = np.repeat(table[ends[:-1]], pieces, axis=0)
        slips = {}
        for name, rows in ((PLACES_FROM_0, anew), (ONE_PLACE, np.vstack([same, table[8:]]))):
            if not np.array_equal(rows, table):
                slips[name] = wanted(reference, SIZE, weights | {"position": rows}, ids)

        def check(lent):
            parts = cut(ids, pieces)
            told, _ = read(student, COMMON, lent, SIZE, weights, 9, parts)
            assert all(type(said) is not list for said, _ in told)
            found = np.concatenate([said for said, _ in told], axis=1)
            assert_close(found, right, symptoms=slips)

        own_or_lent(check, *MODELS_HELPERS)

    @pytest.mark.points(1)
    def test_nothing_ahead(self, student, rng):
        """In a piece, too, a changed later token changes nothing before it."""
        weights, ids = drawn(rng, SIZE), np.repeat(rng.integers(0, 6, (1, 7)), 2, axis=0)
        ids[1, 5:] = (ids[1, 5:] + rng.integers(1, 6)) % 6

        def check(lent):
            told, _ = read(student, COMMON, lent, SIZE, weights, 9, cut(ids, [3, 4]))
            logits = np.asarray(told[1][0])
            assert logits.shape == (2, 4, 6)
            apart = np.abs(logits[0] - logits[1]).max(axis=-1)
            symptom(MASK_UNUSED, apart[:2].max() > 1e-6)
            assert np.all(apart[2:] > 1e-6)

        own_or_lent(check, *MODELS_HELPERS)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("context", [6, 50], ids=["the cache's", "the model's"])
    def test_end(self, student, reference, rng, context):
        """What does not fit raises ValueError, and the text goes on as if nothing had been."""
        end = min(context, 9)
        describe_input(
            f"a model of 9 places, a cache of {context}; some tokens, too many, the rest"
        )
        weights, ids = drawn(rng, SIZE), rng.integers(0, 6, (2, 9))
        right = wanted(reference, SIZE, weights, ids)
        more = rng.integers(0, 6, (2, 9))
        parts = [ids[:, :4], more[:, : end - 3], more, ids[:, 4:end], more[:, :1]]

        def check(lent):
            told, _ = read(student, COMMON, lent, SIZE, weights, context, parts)
            (first, _), (one, a), (two, b), (rest, _), (last, c) = told
            if context == 50:
                symptom(MODEL_FORGOTTEN, not refused(one) or not refused(last))
            assert refused(one) and refused(two) and refused(last)
            symptom(CACHE_GREW, [a, b, c] != [4, 4, end])
            assert_close(np.concatenate([first, rest], axis=1), right[:, :end])

        own_or_lent(check, *MODELS_HELPERS)

    @pytest.mark.points(1.5)
    def test_other_errors(self, student, reference, rng):
        """After any other error, too, cache and model are as they were."""
        describe_input("tokens that the model knows, some that it does not know, and the rest")
        weights, ids = drawn(rng, SIZE), rng.integers(0, 6, (1, 7))
        weights["1.out.bias"] = weights["1.out.bias"].copy()
        right = wanted(reference, SIZE, weights, ids)
        parts = [ids[:, :4], np.full((1, 2), 77), np.zeros((2, 3), dtype=int), ids[:, 4:]]

        def check(lent):
            told, plain = read(student, COMMON, lent, SIZE, weights, 9, parts)
            (first, _), (one, a), (two, b), (rest, _) = told
            assert refused(one, "IndexError") and type(two) is list
            symptom(CACHE_GREW, [a, b] != [4, 4])
            assert_close(np.concatenate([first, rest], axis=1), right)
            symptom(STILL_IN_USE, np.shape(plain) != right[:, :4].shape)
            assert_close(plain, right[:, :4])

        own_or_lent(check, *MODELS_HELPERS)

    @pytest.mark.points(1.5)
    def test_without(self, student, rng):
        """Without a cache the old forward answers."""
        ids = rng.integers(0, 5, (2, 3))
        bare, named = unused(student, "model", ids, None)
        assert_close(bare, 7.0 * ids)
        assert_close(named, 7.0 * ids)

    @pytest.mark.points(1)
    def test_length(self, student, rng):
        """The cache's length is the number of tokens that were read."""
        weights, pieces = drawn(rng, SIZE), [2, 1, 1, 4]

        def check(lent):
            parts = cut(rng.integers(0, 6, (1, 8)), pieces)
            told, _ = read(student, COMMON, lent, SIZE, weights, 9, parts)
            assert [length for _, length in told] == [2, 3, 4, 8]
            assert [np.shape(said) for said, _ in told] == [(1, n, 6) for n in pieces]

        own_or_lent(check, *MODELS_HELPERS)


# The upgrade.


@run_in_worker
def switched(common, lent, size, weights, ids, calls):
    """Call enable ("+") and disable ("-") in turn, and say then what the classes are.

    Returns the names that the two classes hold, what a model (made before) says of ids, and what it
    says in two pieces with a cache, or the name of the error. Afterwards the cache is enabled.
    """
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent):
        disable_cache()
        model = names["place"](tt.GPT(*size), weights).eval()
        for call in calls:
            enable_cache() if call == "+" else disable_cache()
        try:
            held = [sorted(vars(kind)) for kind in (tt.MultiHeadAttention, tt.GPT)]
            plain, cache = model(ids).data, KVCache(size[1])
            try:
                parts = np.array(ids)[:, :3], np.array(ids)[:, 3:]
                said = np.concatenate([model(part, cache=cache).data for part in parts], axis=1)
            except TypeError:
                said = "TypeError"
        finally:
            disable_cache()
    enable_cache()
    return held, plain, said


def switches(student, reference, rng, calls, on):
    weights, ids = drawn(rng, SIZE), rng.integers(0, 6, (2, 7))
    right = wanted(reference, SIZE, weights, ids)
    names = [sorted(vars(kind)) for kind in (reference.MultiHeadAttention, reference.GPT)]

    def check(lent):
        held, plain, said = switched(student, COMMON, lent, SIZE, weights, ids, calls)
        assert_close(plain, right)
        if on:
            assert_close(said, right)
        else:
            symptom(WRAPPED_TWICE, "++" in calls and type(said) is not str)
            assert type(said) is str and said == "TypeError"
            assert all(set(now) <= set(old) for now, old in zip(held, names, strict=True))

    own_or_lent(check, *OTHERS)


class TestEnable:
    @pytest.mark.points(2)
    def test_on(self, student, reference, rng):
        """Models that were there before read on with a cache, and as ever without."""
        switches(student, reference, rng, "+", on=True)

    @pytest.mark.points(1)
    def test_on_twice(self, student, reference, rng):
        """A second time changes nothing."""
        switches(student, reference, rng, "+++", on=True)

    @pytest.mark.points(1.5)
    def test_off(self, student, reference, rng):
        """Disabled, the classes are plain: they take no cache, and nothing new is left on them."""
        switches(student, reference, rng, "+", on=True)
        switches(student, reference, rng, "+-", on=False)

    @pytest.mark.points(1.5)
    def test_once_is_enough(self, student, reference, rng):
        """Enabled three times, once disabled: plain."""
        switches(student, reference, rng, "+++", on=True)
        switches(student, reference, rng, "+++-", on=False)

    @pytest.mark.points(1)
    def test_again(self, student, reference, rng):
        """Disabled twice and enabled again, it works."""
        switches(student, reference, rng, "+--+", on=True)
        switches(student, reference, rng, "+--", on=False)


# Texts.


@run_in_worker
def wrote(common, lent, size, weights, calls):
    """For each (prompt, count, options, seed, context, held): a text, and what is in the cache.

    `context`: that of a new cache; None for no cache, "go on" for the last one. `held`: tokens that
    the cache has read before. Then the logits of the text's last token, if it still fits, and the
    modes of model and dropout. An error is told by its name, with the cache's length.
    """
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent):
        model = names["place"](tt.GPT(*size, dropout=0.5), weights)
        inside = [each for each in tt.training.modules(model) if isinstance(each, tt.Dropout)]
        cache = None

        def run(prompt, count, options, seed, context, held):
            nonlocal cache
            if context is None:
                cache = None
            elif context != "go on":
                cache = KVCache(context)
            model.eval()
            if held:
                model([held], cache=cache)
            model.train()
            inside[0].training = False
            given = {} if cache is None else {"cache": cache}
            if seed is not None:
                given["rng"] = np.random.default_rng(seed)
            try:
                text = generate(model, prompt, count, **options, **given)
            except ValueError:
                return "ValueError", cache.length, None, None
            modes = model.training, [each.training for each in inside]
            model.eval()
            length = None if cache is None else cache.length
            last = None
            if cache is not None and length < min(size[1], cache.context):
                with tt.no_grad():
                    last = model([text[-1:]], cache=cache).data[0, -1]
                cache.length = length
            return [int(i) for i in text], length, last, modes

        if lent:
            with names["by_hand"](globals()):
                return [run(*call) for call in calls]
        enable_cache()
        return [run(*call) for call in calls]


@run_in_worker
def plainly(common, size, weights, prompt, count):
    """What is written by a model that knows nothing of caches."""
    exec(common, names := {})
    tt = names["tt"]

    class Plain(tt.Module):
        context = size[1]

        def __init__(self):
            self.inside = names["place"](tt.GPT(*size), weights)

        def forward(self, ids):
            return self.inside(ids)

    return [int(i) for i in generate(Plain(), prompt, count, temperature=0)]


def greedy(reference, weights, ids, count, size=SIZE):
    """The reference's text, and the logits after all of it where it fits."""
    text = reference.generate(placed(reference, size, weights), ids, count, temperature=0)
    return text, (wanted(reference, size, weights, [text])[0, -1] if len(text) <= size[1] else None)


def prompt(rng, count):
    return [int(i) for i in rng.integers(0, 6, count)]


class TestGenerate:
    @pytest.mark.points(2.5)
    def test_greedy(self, student, reference, rng):
        """With a cache it writes what it would without, and the cache holds all but the last."""
        describe_input("prompts of 1 to 5 tokens at temperature 0")
        weights, cases = drawn(rng, SIZE), [(1, 7), (3, 5), (5, 1), (4, 0)]
        calls = [(prompt(rng, n), count, {"temperature": 0}, 1, 9, []) for n, count in cases]

        def check(lent):
            told = wrote(student, COMMON, lent, SIZE, weights, calls)
            for (ids, count, *_), (text, length, last, _) in zip(calls, told, strict=True):
                right, logits = greedy(reference, weights, ids, count)
                assert_close(text, right)
                if count:
                    symptom(NOT_READ, length == 0)
                    symptom(LAST_READ, length == len(right))
                    assert length == len(right) - 1
                    assert_close(last, logits)

        own_or_lent(check, *OTHERS)

    @pytest.mark.points(1)
    def test_without(self, student, reference, rng):
        """Without a cache the window slides, as 13's."""
        describe_input("a prompt of 12 tokens and one of 4, a context of 9, eight more")
        weights = drawn(rng, SIZE)
        calls = [(prompt(rng, n), 8, {"temperature": 0}, 1, None, []) for n in (12, 4)]

        def check(lent):
            told = wrote(student, COMMON, lent, SIZE, weights, calls)
            for (ids, *_), (text, *_) in zip(calls, told, strict=True):
                assert_close(text, greedy(reference, weights, ids, 8)[0])

        own_or_lent(check, *OTHERS)
        text = plainly(student, COMMON, SIZE, weights, calls[0][0], 8)
        assert_close(text, greedy(reference, weights, calls[0][0], 8)[0])

    @pytest.mark.points(1.5)
    def test_drawn(self, student, rng):
        """The same generator writes the same text with a cache and without, another one another."""
        describe_input("temperatures 1 and 2, float64, several seeds")
        weights, ids = drawn(rng, SIZE), prompt(rng, 2)
        seeds = [int(seed) for seed in rng.integers(0, 1000, 3)]
        calls = [
            (ids, 7, {"temperature": heat}, seed, context, [])
            for heat in (1.0, 2.0)
            for seed in seeds
            for context in (9, None)
        ]
        calls += [(ids, 7, {}, None, context, []) for context in (9, None)]

        def check(lent):
            texts = [text for text, *_ in wrote(student, COMMON, lent, SIZE, weights, calls)]
            for cached, plain in zip(texts[:-2:2], texts[1:-2:2], strict=True):
                assert_close(cached, plain)
            assert {len(text) for text in texts} == {9}
            assert len({tuple(text) for text in texts}) > 1

        own_or_lent(check, *OTHERS)

    @pytest.mark.points(1)
    def test_goes_on(self, student, reference, rng):
        """What the cache holds was said before: the text goes on after it."""
        describe_input("a cache that holds three tokens, a prompt of two, three more; then again")
        weights, held, ids = drawn(rng, SIZE), prompt(rng, 3), prompt(rng, 2)
        right, _ = greedy(reference, weights, held + ids, 4)
        calls = [
            (ids, 3, {"temperature": 0}, 1, 9, held),
            (right[7:8], 1, {"temperature": 0}, 1, "go on", []),
        ]

        def check(lent):
            (text, length, *_), (more, *_) = wrote(student, COMMON, lent, SIZE, weights, calls)
            assert_close(text, right[3:8])
            assert length == 7
            assert_close(more, right[7:9])

        own_or_lent(check, *OTHERS)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("context", [7, 50], ids=["the cache's", "the model's"])
    def test_end(self, student, reference, rng, context):
        """Prompt and new tokens but for the last fit, or nothing is read: ValueError."""
        end = min(context, 9)
        describe_input(f"a model of 9 places, a cache of {context}; just enough, and one too many")
        weights, ids = drawn(rng, SIZE), prompt(rng, 3)
        cold = {"temperature": 0}
        calls = [(ids, end - 2, cold, 1, context, []), (ids, end - 1, cold, 1, context, [])]
        calls += [(ids, end - 3, cold, 1, context, prompt(rng, 2))]

        def check(lent):
            just, over, beside = wrote(student, COMMON, lent, SIZE, weights, calls)
            assert_close(just[0], greedy(reference, weights, ids, end - 2)[0])
            assert type(over[0]) is str and type(beside[0]) is str
            symptom(CACHE_GREW, [over[1], beside[1]] != [0, 2])
            assert [over[1], beside[1]] == [0, 2]

        own_or_lent(check, *OTHERS)

    @pytest.mark.points(0.5)
    def test_modes(self, student, reference, rng):
        """It writes without dropout, and each module is in its own mode afterwards."""
        weights, ids = drawn(rng, SIZE), prompt(rng, 3)
        calls = [(ids, 5, {"temperature": 0}, 1, context, []) for context in (9, None)]

        def check(lent):
            for text, _, _, modes in wrote(student, COMMON, lent, SIZE, weights, calls):
                assert_close(text, greedy(reference, weights, ids, 5)[0])
                assert modes[0] is True and len(modes[1]) > 1
                assert modes[1][0] is False and all(modes[1][1:])

        own_or_lent(check, *OTHERS)


class TestBug:
    @pytest.mark.points(1)
    def test_pieces(self, student, rng):
        """Without a mask, only the last piece is read wrongly."""
        pieces = [int(n) for n in student.breaks_it()]
        assert sum(pieces) == 6 and min(pieces) > 0
        x, [w] = rng.normal(size=(1, 6, 4)), attention_weights(rng, 4)
        masks, ends = np.full((6, 6), -np.inf), np.cumsum([0, *pieces])
        for a, b in itertools.pairwise(ends):
            masks[a:b, :b] = 0
        apart = np.abs(all_at_once(x, w, 2, masks) - all_at_once(x, w, 2, causal(6))).max(-1)[0]
        wrong = [apart[a:b].max() > 1e-6 for a, b in itertools.pairwise(ends)]
        assert wrong == [False] * (len(pieces) - 1) + [True] and len(pieces) > 1


# The whole: their functions, their upgrade, nothing lent.


@run_in_worker
def all_splits(common, size, weights, ids):
    """The logits of ids in every way of cutting them into pieces."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    enable_cache()
    model, told = names["place"](tt.GPT(*size), weights).eval(), []
    length = np.shape(ids)[1]
    for bits in range(2 ** (length - 1)):
        cuts = [n + 1 for n in range(length - 1) if bits >> n & 1]
        cache, parts = KVCache(length), np.split(np.array(ids), cuts, axis=1)
        told.append(np.concatenate([model(part, cache=cache).data for part in parts], axis=1))
    return np.stack(told), str(told[0].dtype)


def _changed(common, size, first, second, parts):
    """The logits of two parts; between them the weights of the model become others."""
    exec(common, names := {})
    tt = names["tt"]
    enable_cache()
    model, cache = names["place"](tt.GPT(*size), first).eval(), KVCache(size[1])
    one = model(parts[0], cache=cache).data.copy()
    names["place"](model, second)
    return one, model(parts[1], cache=cache).data


changed = run_in_worker(_changed)


@run_in_worker
def in_turns(common, size, weights, whose, texts, pieces):
    """The logits of texts that are read in turns, a cache for each, by the models `whose`."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    enable_cache()
    made = [names["place"](tt.GPT(*size), w).eval() for w in weights]
    models = [made[n] for n in whose]
    caches, told = [KVCache(size[1]) for _ in texts], [[] for _ in texts]
    parts = [names["cut"](ids, pieces) for ids in texts]
    for n in range(len(pieces)):
        for model, cache, found, each in zip(models, caches, told, parts, strict=True):
            found.append(model(each[n], cache=cache).data.copy())
    counts = [len(model.parameters()) for model in models]
    return [np.concatenate(found, axis=1) for found in told], counts


@run_in_worker
def learns(common, size, weights, ids, targets):
    """The gradient of each part of a model, enabled, after it has also read with a cache."""
    exec(common, names := {})
    tt = names["tt"]
    tt.enable_gradients()
    enable_cache()
    model = names["place"](tt.GPT(*size), weights)
    model(ids, cache=KVCache(size[1]))
    leaves = names["parts"](model)
    for leaf in leaves.values():
        leaf.requires_grad, leaf.grad = True, None
    tt.next_token_loss(model(ids), targets).backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


class TestWhole:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_all_splits(self, student, reference, rng, dtype):
        """However a text is cut, its logits are those of the whole text."""
        describe_input(f"five tokens, a batch of two, all sixteen ways of cutting, {dtype}")
        weights, ids = drawn(rng, SIZE, dtype), rng.integers(0, 6, (2, 5))
        right = wanted(reference, SIZE, weights, ids)
        found, kind = all_splits(student, COMMON, SIZE, weights, ids)
        assert_close(found, np.stack([right] * 16))
        assert kind == dtype

    @pytest.mark.points(4)
    def test_nothing_again(self, student, reference, rng):
        """Old keys and values are kept, not computed again: they are those of the old weights."""
        describe_input("four tokens, then all weights of the model change, then three more")
        size, parts = (6, 9, 8, 2, 3), cut(rng.integers(0, 6, (2, 7)), [4, 3])
        first, second = drawn(rng, size), drawn(rng, size)
        here = dict(vars(reference.kvcaching))
        try:
            driver = FunctionType(_changed.__code__, here)
            _, right = driver(COMMON, size, first, second, parts)
        finally:
            reference.disable_cache()
        one, found = changed(student, COMMON, size, first, second, parts)
        anew = wanted(reference, size, second, np.concatenate(parts, axis=1))[:, 4:]
        assert_close(one, wanted(reference, size, first, parts[0]))
        assert_close(found, right, symptoms={READ_AGAIN: anew})

    @pytest.mark.points(3)
    def test_in_turns(self, student, reference, rng):
        """Texts that are read in turns, each with a cache of its own, do not meet."""
        describe_input(
            "three texts, two of them read by one model, one by a model of other weights"
        )
        weights, whose = [drawn(rng, SIZE) for _ in range(2)], [0, 1, 0]
        texts = [rng.integers(0, 6, (batch, 8)) for batch in (1, 2, 1)]
        found, counts = in_turns(student, COMMON, SIZE, weights, whose, texts, [2, 1, 4, 1])
        for logits, n, ids in zip(found, whose, texts, strict=True):
            assert_close(logits, wanted(reference, SIZE, weights[n], ids))
        assert counts == [2 + 2 * 16 + 2] * 3

    @pytest.mark.points(3)
    def test_texts(self, student, reference, rng):
        """What it writes with a cache is what the whole text says, up to the end of the context."""
        describe_input("a GPT of three blocks, prompts of 1 and 4, the likeliest and drawn tokens")
        size = 6, 9, 8, 4, 3
        weights = drawn(rng, size)
        calls = [(prompt(rng, n), 10 - n, {"temperature": 0}, 1, 9, []) for n in (1, 4)]
        seed = int(rng.integers(1000))
        calls += [(prompt(rng, 2), 8, {}, seed, context, []) for context in (9, None)]
        calls[3] = (calls[2][0], *calls[3][1:])
        (one, *_), (two, *_), (drawn_one, *_), (plain, *_) = wrote(
            student, COMMON, (), size, weights, calls
        )
        for (ids, count, *_), text in zip(calls, (one, two), strict=False):
            assert_close(text, greedy(reference, weights, ids, count, size)[0])
        assert len(drawn_one) == 10
        assert_close(drawn_one, plain)

    @pytest.mark.points(2)
    def test_still_learns(self, student, reference, rng):
        """Enabled, a model learns as ever: without a cache its gradients are the old ones."""
        weights, ids = drawn(rng, SIZE), rng.integers(0, 6, (2, 6))
        targets = rng.integers(0, 6, (2, 6))
        found = learns(student, COMMON, SIZE, weights, ids, targets)
        reference.enable_gradients()
        try:
            model = placed(reference, SIZE, weights)
            exec(PLACE, names := {"np": np})
            leaves = names["parts"](model)
            for leaf in leaves.values():
                leaf.requires_grad = True
            reference.next_token_loss(model(ids), targets).backward()
            right = {name: leaf.grad for name, leaf in leaves.items()}
        finally:
            reference.disable_gradients()
        assert found.keys() == right.keys()
        for name, grad in right.items():
            assert_close(found[name], grad, rtol=1e-6, atol=1e-9)
