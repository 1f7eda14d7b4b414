"""Hidden tests of 13_transformers.

LayerNorm is worked out in NumPy, blocks and models on the reference with the same weights, by the
names of their parts. What a derivative should be is said by differences of the student's own
values. A block is tried on the student's LayerNorm and once more on a right one, a GPT once more on
right blocks: a region earns the better of the two. `generate` writes with a model of the suite's
own, whose logits tell what it was given.

`Whole` has no second way. `Names` and `Addition` load what the student trained; the model is asked
in a secret alphabet, its table sorted anew to match, so nothing but the weights knows the answer.
Names and sums are none that the student's lessons had.
"""

import itertools
from pathlib import Path
from types import FunctionType

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

ALL_TOGETHER = Misconception(
    "all rows together", "Mean and variance are those of one row, along the last axis only."
)
FIRST_AXIS = Misconception("along the first axis", "That is BatchNorm: each row has its own mean.")
UNBIASED = Misconception(
    "n - 1", "The variance is the mean of squares: divide by dim, not dim - 1."
)
EPS_OUTSIDE = Misconception("eps outside the root", "eps is added to the variance, under the root.")
NO_EPS = Misconception("eps forgotten", "Rows that hardly differ show eps: it is added to v.")
SQUARES = Misconception(
    "mean of squares", "Far from 0 x² - m² loses all digits: take the mean off before squaring."
)
NOT_SCALED = Misconception("weight forgotten", "The rows are not multiplied by weight.")
POST_NORM = Misconception(
    "norm last", "The norm stands before attention and MLP, not after the addition."
)
NO_ROAD = Misconception("nothing is added to", "What attention and MLP return is added to x.")
SECOND_FROM_INPUT = Misconception(
    "norm2 of the input", "The MLP reads x as attention has left it, not the block's input."
)
NO_MASK = Misconception("mask forgotten", "A block hands its mask to attention.")
SEES_AHEAD = Misconception(
    "sees ahead", "A later token changes the logits of an earlier place: every block gets the mask."
)
NO_LAST_NORM = Misconception("no last norm", "Before the head comes one more LayerNorm.")
NO_PLACES = Misconception("no places", "The rows have no position: 11's embedding adds it.")
UNTIED = Misconception("not tied", "The head has weights of its own: it is the tokens' own table.")
ALIKE = Misconception(
    "all alike", "Parts begin with equal weights: one generator, passed on, draws all of them."
)
NOT_DROPPED = Misconception("nothing dropped", "The blocks did not get the model's dropout.")
LARGE = Misconception("large start", "Untrained, it has opinions: were both tables made small?")
FIRST_TOKENS = Misconception(
    "first tokens", "Past the context the model was shown the first tokens, not the last."
)
IN_TRAINING = Misconception("writes in training mode", "While it writes, dropout is to be off.")
LEFT_IN_USE = Misconception("left in use", "After writing, the model is not in its old mode.")
ONE_MODE = Misconception("one mode for all", "A part that was in another mode is not in it now.")
ALWAYS_LIKELIEST = Misconception("always the likeliest", "A temperature above 0 draws by shares.")
COLD_IS_HOT = Misconception("times temperature", "Logits are divided by the temperature.")
NO_TEMPERATURE = Misconception("temperature forgotten", "Every temperature draws alike.")
OWN_GENERATOR = Misconception("own generator", "The generator that was given is to draw.")
PROMPT_CHANGED = Misconception("prompt changed", "The caller's list has grown: make a new one.")
PROMPT_LEFT_OUT = Misconception("prompt left out", "What is returned begins with the prompt.")
FIRST_PLACES = Misconception("first places", "The targets belong to the last K places.")
BY_ROW = Misconception("sum", "The loss is a mean over all B · K answers.")
NOT_RAISED = Misconception("counts not raised", "Each count is raised by 1: no share is 0.")
TURNED = Misconception("turned", "Row a, column b: how often b came after a.")
UNTRAINED = Misconception(
    "untrained", "The weights in the file know nothing: save them after training."
)
OTHER_WAY = Misconception(
    "left to right", "The sums are right and written from left to right: ones come first."
)
BAD_FILE = Misconception("no such weights", "The file does not fit GPT(…, 64, 4, 2) as built here.")

# What drivers share. Parts go by their names, so that weights can be put into any model of this
# form; those of an MLP by their shapes. RIGHT is lent to a region whose helper may be wrong.

COMMON = (
    LEND
    + '''
import numpy as np
import tinytorch as tt

RIGHT = {
    "LayerNorm": """
class LayerNorm(tt.Module):
    def __init__(self, dim, eps=1e-5):
        self.weight = tt.Tensor(np.ones(dim, dtype=np.float32))
        self.bias = tt.Tensor(np.zeros(dim, dtype=np.float32))
        self.eps = eps

    def forward(self, x):
        x = x - x.mean(-1, keepdims=True)
        return x / ((x * x).mean(-1, keepdims=True) + self.eps) ** 0.5 * self.weight + self.bias
""",
    "TransformerBlock": """
class TransformerBlock(tt.Module):
    def __init__(self, dim, heads, rng=None, dropout=0.0):
        rng = np.random.default_rng() if rng is None else rng
        self.norm1, self.attention = LayerNorm(dim), tt.MultiHeadAttention(dim, heads, rng)
        self.norm2, self.dropout = LayerNorm(dim), tt.Dropout(dropout, rng)
        wide, back = tt.Linear(dim, 4 * dim, rng=rng), tt.Linear(4 * dim, dim, rng=rng)
        self.mlp = tt.Sequential(wide, tt.gelu, back)

    def forward(self, x, mask=None):
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))
""",
}


def provided(names, theirs):
    right = {"tt": tt, "np": np}
    for name in names:
        exec(RIGHT[name], right)
    return {name: right[name] for name in names}


def block_parts(block):
    for name in ("norm1", "norm2", "attention.q", "attention.k", "attention.v", "attention.out"):
        owner = block
        for each in name.split("."):
            owner = getattr(owner, each)
        yield name + ".weight", owner.weight
        yield name + ".bias", owner.bias
    for p in block.mlp.parameters():
        yield f"mlp.{p.shape}", p


def parts(model):
    """The parameters of a block or a GPT by name."""
    if not hasattr(model, "blocks"):
        return dict(block_parts(model))
    found = {"token": model.token.weight, "position": model.position.weight}
    for number, block in enumerate(model.blocks):
        found |= {f"{number}.{name}": p for name, p in block_parts(block)}
    return found | {"norm.weight": model.norm.weight, "norm.bias": model.norm.bias}


def place(model, weights):
    for name, p in parts(model).items():
        p.data = np.array(weights[name])
    return model


def built(theirs, kind, size, weights=None, rng=None, **options):
    model = theirs[kind](*size, rng=rng, **options)
    return model if weights is None else place(model, weights)
'''
)


def by_reference(reference, driver, *data, **options):
    """What a driver says of the reference, in this process."""
    here = FunctionType(driver.__code__, dict(vars(reference)), "driver", driver.__defaults__)
    reference.enable_gradients()
    try:
        return here(*data, **options)
    finally:
        reference.disable_gradients()


def block_shapes(dim):
    shapes = {f"norm{k}.{name}": (dim,) for k in (1, 2) for name in ("weight", "bias")}
    for part in "qkv":
        shapes |= {f"attention.{part}.weight": (dim, dim), f"attention.{part}.bias": (dim,)}
    shapes |= {"attention.out.weight": (dim, dim), "attention.out.bias": (dim,)}
    wide = (dim, 4 * dim), (4 * dim,), (4 * dim, dim), (dim,)
    return shapes | {f"mlp.{shape}": shape for shape in wide}


def model_shapes(vocab, context, dim, layers):
    shapes = {"token": (vocab, dim), "position": (context, dim)}
    for number in range(layers):
        shapes |= {f"{number}.{name}": shape for name, shape in block_shapes(dim).items()}
    return shapes | {"norm.weight": (dim,), "norm.bias": (dim,)}


def drawn(rng, shapes, dtype=np.float64):
    """Weights that make every part count."""
    found = {}
    for name, shape in shapes.items():
        size = shape[0] ** -0.5 if len(shape) == 2 and "." in name else 0.5
        found[name] = rng.normal(size=shape) * size
        if "norm" in name and name.endswith("weight"):
            found[name] = 1 + 0.3 * found[name]
    return {name: value.astype(dtype) for name, value in found.items()}


# LayerNorm.


@run_in_worker
def normed(cases):
    """For each (x, weight, bias, further arguments): what LayerNorm makes of x, and its dtype."""
    import numpy as np

    from tinytorch import Tensor

    told = []
    for x, weight, bias, options in cases:
        norm = LayerNorm(np.shape(x)[-1], **options)
        if weight is not None:
            norm.weight.data, norm.bias.data = np.array(weight), np.array(bias)
        y = norm(Tensor(np.array(x))).data
        told.append((y, str(y.dtype)))
    return told


@run_in_worker
def fresh_norm(dim):
    """Parameters of a new LayerNorm: how many, weight, bias, their dtypes."""
    norm = LayerNorm(dim)
    kept = norm.weight.data, norm.bias.data
    return len(norm.parameters()), *kept, [str(each.dtype) for each in kept]


@run_in_worker
def norm_slopes(x, weight, bias, g, ways, step):
    """Along each way (in x, weight, bias): what backward says, and the difference of values."""
    import numpy as np

    from tinytorch import Tensor

    def value(far, way):
        norm = LayerNorm(np.shape(x)[-1])
        moved = [np.array(a) + far * v for a, v in zip((x, weight, bias), way, strict=True)]
        norm.weight.data, norm.bias.data = moved[1:]
        return norm, Tensor(moved[0])

    def total(far, way):
        norm, inputs = value(far, way)
        return float((norm(inputs).data * g).sum())

    still = [np.zeros(np.shape(a)) for a in (x, weight, bias)]
    norm, inputs = value(0.0, still)
    leaves = inputs, norm.weight, norm.bias
    for leaf in leaves:
        leaf.requires_grad = True
    norm(inputs).backward(g)
    grads = [leaf.grad for leaf in leaves]
    slopes = [[float((g * v).sum()) for g, v in zip(grads, way, strict=True)] for way in ways]
    differences = []
    for way in ways:
        row = []
        for k in range(3):
            alone = [v if i == k else 0 * v for i, v in enumerate(way)]
            row.append((total(step, alone) - total(-step, alone)) / (2 * step))
        differences.append(row)
    return slopes, differences, grads


def normal_rows(x, weight=1.0, bias=0.0, eps=1e-5, axis=-1, ddof=0):
    centred = x - x.mean(axis, keepdims=True)
    return centred / np.sqrt(x.var(axis, keepdims=True, ddof=ddof) + eps) * weight + bias


def norm_slips(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    with np.errstate(all="ignore"):
        return {
            ALL_TOGETHER: normal_rows(x, weight, bias, eps, axis=None),
            FIRST_AXIS: normal_rows(x, weight, bias, eps, axis=0),
            UNBIASED: normal_rows(x, weight, bias, eps, ddof=1),
            EPS_OUTSIDE: centred / (x.std(-1, keepdims=True) + eps) * weight + bias,
            NO_EPS: centred / x.std(-1, keepdims=True) * weight + bias,
            NOT_SCALED: normal_rows(x, 1.0, bias, eps),
        }


class TestLayerNorm:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 6)], ids=["1-D", "2-D", "3-D"])
    def test_value(self, student, rng, shape):
        """Each row gets mean 0 and variance 1, times weight, plus bias."""
        describe_input(f"float64 numbers of shape {shape}, whose rows differ in mean and size")
        sizes = rng.uniform(0.5, 3, (*shape[:-1], 1))
        x = sizes * (rng.normal(size=shape) + rng.normal(size=(*shape[:-1], 1)))
        weight, bias = rng.uniform(0.5, 2, shape[-1]), rng.normal(size=shape[-1])
        [(found, _)] = normed(student, [(x, weight, bias, {})])
        slips = norm_slips(x, weight, bias, 1e-5)
        assert_close(found, normal_rows(x, weight, bias), symptoms=slips)

    @pytest.mark.points(1)
    def test_eps(self, student, rng):
        """eps is added to the variance: where a row hardly differs, it counts."""
        describe_input("rows that differ in the third decimal, and an eps of 0.1 beside")
        x, ones, zeros = rng.normal(size=(4, 5)), np.ones(5), np.zeros(5)
        cases = [(1e-3 * x, ones, zeros, {}), (x, ones, zeros, {"eps": 0.1})]
        for (seen, *_, options), (found, _) in zip(cases, normed(student, cases), strict=True):
            eps = options.get("eps", 1e-5)
            slips = norm_slips(seen, ones, zeros, eps)
            assert_close(found, normal_rows(seen, eps=eps), rtol=1e-6, symptoms=slips)

    @pytest.mark.points(3)
    def test_slopes(self, student, rng):
        """The slopes in x, weight and bias are those of its own values."""
        describe_input("float64 rows (2, 3, 5), moved along random ways")
        x, weight, bias = rng.normal(size=(2, 3, 5)), rng.uniform(0.5, 2, 5), rng.normal(size=5)
        ways = [[rng.normal(size=a.shape) for a in (x, weight, bias)] for _ in range(4)]
        g = rng.normal(size=x.shape)
        slopes, differences, _ = norm_slopes(student, x, weight, bias, g, ways, 1e-6)
        assert_close(slopes, differences, rtol=1e-5, atol=1e-7)
        assert np.abs(np.asarray(differences)).min(axis=1).all()

    @pytest.mark.points(2)
    def test_equal_numbers(self, student, rng):
        """A row of equal numbers becomes the bias, and its slope is finite."""
        describe_input("rows of equal numbers, 0 among them, and one that is not")
        x = np.stack([np.zeros(4), np.full(4, 2.5), np.full(4, -3.0), rng.normal(size=4)])
        weight, bias, g = rng.uniform(0.5, 2, 4), rng.normal(size=4), rng.normal(size=x.shape)
        [(found, _)] = normed(student, [(x, weight, bias, {})])
        assert_close(found, normal_rows(x, weight, bias))
        _, _, (slope, *_) = norm_slopes(student, x, weight, bias, g, [], 1e-6)
        flat = (g * weight)[:3]
        right = (flat - flat.mean(1, keepdims=True)) / np.sqrt(1e-5)
        assert_close(slope[:3], right, rtol=1e-6)

    @pytest.mark.points(1.5)
    def test_far_from_zero(self, student, rng):
        """Far from 0 a float32 row is as well brought to its scale as near it."""
        describe_input("float32 rows around 5000, whose numbers differ by about 1")
        x = (rng.normal(size=(6, 8)) + rng.choice([-5000, 5000], (6, 1))).astype(np.float32)
        near = rng.normal(size=(6, 8)).astype(np.float32)
        one, zero = np.ones(8, np.float32), np.zeros(8, np.float32)
        (far, _), (also, _) = normed(student, [(x, one, zero, {}), (near, one, zero, {})])
        assert_close(also, normal_rows(near.astype(float)), rtol=1e-4, atol=1e-4)
        right = normal_rows(x.astype(float))
        assert_close(far, right, rtol=0, atol=5e-3, symptoms={SQUARES: lambda seen: True})

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """float64 stays float64, and float32 float32."""
        x = rng.normal(size=(3, 4))
        told = normed(student, [(x.astype(kind), None, None, {}) for kind in "fd"])
        assert [kind for _, kind in told] == ["float32", "float64"]
        assert_close(told[1][0].shape, x.shape)
        assert not np.array_equal(told[1][0], x)

    @pytest.mark.points(1)
    def test_parameters(self, student, rng):
        """A new LayerNorm has two parameters: ones and zeros of shape (dim,) in float32."""
        dim = int(rng.integers(3, 9))
        count, weight, bias, dtypes = fresh_norm(student, dim)
        assert_close(weight, np.ones(dim))
        assert_close(bias, np.zeros(dim))
        assert count == 2 and dtypes == ["float32", "float32"]


# Blocks and models.


def _called(common, kind, size, weights, inputs, lent=(), masked=False, **options):
    """What a block or a GPT of these weights returns for each input: a list of arrays."""
    exec(common, names := {})
    with names["lend"](globals(), lent):
        model = names["built"](globals(), kind, size, weights, **options).eval()
        np, tt = names["np"], names["tt"]
        told = []
        for x in inputs:
            if kind == "GPT":
                told.append(model(x).data)
            else:
                mask = (tt.causal_mask(x.shape[1]),) if masked else ()
                told.append(model(tt.Tensor(np.array(x)), *mask).data)
        return told


called = run_in_worker(_called)


@run_in_worker
def slopes_of(common, kind, size, weights, x, g, ways, step, lent):
    """For each parameter (and a block's x): the slope by backward along its way, and by values.

    Returns a dict of pairs; a slope of None is that of a parameter without a gradient.
    """
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent):
        model = names["built"](globals(), kind, size, weights).eval()
        mask = () if kind == "GPT" else (tt.causal_mask(np.shape(x)[1]),)
        inputs = x if kind == "GPT" else tt.Tensor(np.array(x))
        leaves = names["parts"](model) | ({} if kind == "GPT" else {"x": inputs})
        for leaf in leaves.values():
            leaf.requires_grad = True
        model(inputs, *mask).backward(np.array(g))
        grads = {name: leaf.grad for name, leaf in leaves.items()}
        told = {}
        for name, leaf in leaves.items():
            kept, ends = leaf.data, []
            for far in (step, -step):
                leaf.data = kept + far * ways[name]
                with tt.no_grad():
                    ends.append(float((model(inputs, *mask).data * g).sum()))
            leaf.data = kept
            slope = None if grads[name] is None else float((grads[name] * ways[name]).sum())
            told[name] = slope, (ends[0] - ends[1]) / (2 * step)
        return told


def connected(student, rng, kind, size, shapes, x, out, names):
    """Assert that every slope is that of the student's own values; those are all there."""
    weights, ways = drawn(rng, shapes), {n: rng.normal(size=s) for n, s in shapes.items()}
    if kind != "GPT":
        ways["x"] = rng.normal(size=np.shape(x))
    g = rng.normal(size=out)

    def check(lent):
        told = slopes_of(student, COMMON, kind, size, weights, x, g, ways, 1e-5, lent)
        assert told.keys() == ways.keys(), "parameters by the names of the text"
        for name, way in ways.items():
            slope, difference = told[name]
            assert slope is not None, f"{name} has no gradient"
            noise = 1e-6 * np.sqrt(way.size)
            assert_close(slope, difference, rtol=1e-4, atol=noise)
        assert sum(abs(difference) > 1e-3 for _, difference in told.values()) > len(ways) // 2

    own_or_lent(check, *names)


def gelu(x):
    return x / (1 + np.exp(-np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)))


def block_slips(x, w, heads, mask):
    """What typical slips make of a block: a dictionary of symptoms."""
    dim = x.shape[-1]

    def attention(y, mask):
        q, k, v = (y @ w[f"attention.{p}.weight"] + w[f"attention.{p}.bias"] for p in "qkv")
        mixed = []
        for columns in np.split(np.arange(dim), heads):
            scores = q[..., columns] @ np.swapaxes(k[..., columns], 1, 2)
            shares = np.exp(scores / np.sqrt(dim // heads) + mask)
            mixed.append(shares / shares.sum(-1, keepdims=True) @ v[..., columns])
        return np.concatenate(mixed, -1) @ w["attention.out.weight"] + w["attention.out.bias"]

    def norm(y, k):
        return normal_rows(y, w[f"norm{k}.weight"], w[f"norm{k}.bias"])

    def mlp(y):
        y = gelu(y @ w[f"mlp.{(dim, 4 * dim)}"] + w[f"mlp.{(4 * dim,)}"])
        return y @ w[f"mlp.{(4 * dim, dim)}"] + w[f"mlp.{(dim,)}"]

    def block(mask):
        middle = x + attention(norm(x, 1), mask)
        return middle + mlp(norm(middle, 2))

    middle = x + attention(norm(x, 1), mask)
    last = norm(x + attention(x, mask), 1)
    bare = attention(norm(x, 1), mask)
    slips = {
        POST_NORM: norm(last + mlp(last), 2),
        NO_ROAD: mlp(norm(bare, 2)),
        SECOND_FROM_INPUT: middle + mlp(norm(x, 2)),
    }
    return block(mask), slips | ({NO_MASK: block(0.0)} if np.any(mask) else {})


@run_in_worker
def dropped(common, size, x, lent):
    """What a block returns: with dropout 1.0 and 0.5, twice in training mode and twice in use."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    told = []
    with names["lend"](globals(), lent):
        for p in (1.0, 0.5):
            block = names["built"](globals(), "TransformerBlock", size, dropout=p)
            told += [block(tt.Tensor(np.array(x))).data for _ in range(2)]
            block.eval()
            told += [block(tt.Tensor(np.array(x))).data for _ in range(2)]
    return told


@run_in_worker
def begun(common, kind, size, seeds, lent=()):
    """Parameters by name, of two models for each seed, from one generator (None: from none)."""
    exec(common, names := {})
    np = names["np"]
    with names["lend"](globals(), lent):
        told = []
        for seed in seeds:
            rng = None if seed is None else np.random.default_rng(seed)
            for _ in range(2):
                model = names["built"](globals(), kind, size, None, rng)
                found = {name: p.data for name, p in names["parts"](model).items()}
                told.append(
                    (found, len(model.parameters()), sum(p.size for p in model.parameters()))
                )
        return told


NORM = ("LayerNorm",)
PARTS = "LayerNorm", "TransformerBlock"


class TestBlock:
    @pytest.mark.points(4)
    @pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
    def test_value(self, student, rng, masked):
        """A block adds attention of its first norm, then the MLP of the second, to x."""
        describe_input("float64 rows (2, 5, 6), two heads, " + ("a" if masked else "no") + " mask")
        dim, heads, x = 6, 2, rng.normal(size=(2, 5, 6))
        weights = drawn(rng, block_shapes(dim))
        mask = np.triu(np.full((5, 5), -np.inf), 1) if masked else np.zeros((5, 5))
        right, slips = block_slips(x, weights, heads, mask)

        def check(lent):
            data = COMMON, "TransformerBlock", (dim, heads), weights, [x], lent, masked
            [found] = called(student, *data)
            assert_close(found, right, rtol=1e-6, atol=1e-8, symptoms=slips)

        own_or_lent(check, *NORM)

    @pytest.mark.points(2)
    def test_slopes(self, student, rng):
        """The slopes in x and in every parameter are those of its own values."""
        describe_input("float64 rows (2, 3, 4), two heads, a mask")
        x, shapes = rng.normal(size=(2, 3, 4)), block_shapes(4)
        size = (4, 2)
        connected(student, rng, "TransformerBlock", size, shapes, x, x.shape, NORM)

    @pytest.mark.points(1)
    def test_dropout(self, student, rng):
        """What attention and MLP return is dropped before it is added, in training mode only."""
        x = rng.normal(size=(2, 5, 8)).astype(np.float32)

        def check(lent):
            told = dropped(student, COMMON, (8, 2), x, lent)
            all_1, all_2, use_1, use_2, half_1, half_2, use_3, use_4 = told
            assert_close(all_1, x)
            assert_close(all_2, x)
            assert np.abs(half_1 - half_2).max() > 1e-3
            assert_close(use_1, use_2)
            assert_close(use_3, use_4)
            assert np.abs(use_1 - x).max() > 1e-3

        own_or_lent(check, *NORM)

    @pytest.mark.points(1)
    def test_one_generator(self, student, rng):
        """All parts of a block are drawn from the one generator: parts and blocks differ."""
        seed = int(rng.integers(1000))

        def check(lent):
            data = COMMON, "TransformerBlock", (6, 2), [seed, seed, None], lent
            (one, count, size), *others = begun(student, *data)
            two, same, _, other, another = (found for found, *_ in others)
            assert (count, size) == (16, 12 * 36 + 13 * 6)
            matrices = [name for name, value in one.items() if value.ndim == 2]
            square = [one[f"attention.{part}.weight"] for part in ("q", "k", "v", "out")]
            symptom(ALIKE, any(np.array_equal(square[0], other) for other in square[1:]))
            for name in matrices:
                symptom(ALIKE, np.array_equal(one[name], two[name]))
                symptom(ALIKE, np.array_equal(other[name], another[name]))
                assert_close(one[name], same[name])
                assert one[name].std() > 0.02

        own_or_lent(check, *NORM)


@run_in_worker
def beyond(common, size, ids, lent):
    """What a GPT says of each of these rows of ids: the shape of its logits, or what it raises."""
    exec(common, names := {})
    with names["lend"](globals(), lent):
        model, told = names["built"](globals(), "GPT", size), []
        for row in ids:
            try:
                told.append(tuple(model([row]).shape))
            except ValueError:  # or a kind of it
                told.append("ValueError")
            except Exception as error:
                told.append(type(error).__name__)
        return told, model.context


@run_in_worker
def in_both_modes(common, size, ids, lent):
    """The logits of a GPT with dropout 0.5, twice in training mode and twice in use."""
    exec(common, names := {})
    with names["lend"](globals(), lent):
        model = names["built"](globals(), "GPT", size, dropout=0.5)
        told = [model(ids).data for _ in range(2)]
        model.eval()
        return told + [model(ids).data for _ in range(2)]


class TestGpt:
    @pytest.mark.points(3)
    def test_logits(self, student, reference, rng):
        """Logits are those of tables, masked blocks, a last norm and the table again."""
        describe_input("ids as arrays and as lists, one token to as many as the context has")
        size = vocab, context, dim, _, layers = 7, 5, 6, 2, 2
        weights = drawn(rng, model_shapes(vocab, context, dim, layers))
        rows = [rng.integers(0, vocab, shape) for shape in ((3, 5), (1, 1), (2, 3))]
        given = [rows[0], rows[1].tolist(), rows[2].tolist()]
        right = by_reference(reference, _called, COMMON, "GPT", size, weights, rows)

        def slip(**changed):
            return by_reference(
                reference, _called, COMMON, "GPT", size, weights | changed, rows[:1]
            )[0]

        without = {"norm.weight": np.ones(dim), "norm.bias": np.zeros(dim)}
        plain = slip(**without) @ np.linalg.pinv(weights["token"].T)
        slips = {
            NO_PLACES: slip(position=np.zeros((context, dim))),
            # the rows before the head, brought to mean 0 and variance 1, are those after the norm
            NO_LAST_NORM: lambda seen: np.allclose(
                normal_rows(seen @ np.linalg.pinv(weights["token"].T)), plain, atol=1e-3
            ),
        }

        def check(lent):
            found = called(student, COMMON, "GPT", size, weights, given, lent)
            for seen, wanted, row in zip(found, right, rows, strict=True):
                known = slips if row is rows[0] else {}
                assert_close(seen, wanted, rtol=1e-6, atol=1e-8, symptoms=known)

        own_or_lent(check, *PARTS)

    @pytest.mark.points(1)
    def test_tied(self, student, rng):
        """The head is the tokens' own table: a row that nobody read changes one logit."""
        size = vocab, context, dim, _, layers = 7, 5, 6, 2, 1
        weights = drawn(rng, model_shapes(vocab, context, dim, layers))
        ids, row = rng.integers(0, vocab - 1, (2, 4)), weights["token"].copy()
        row[-1] += rng.normal(size=dim)

        def check(lent):
            [one] = called(student, COMMON, "GPT", size, weights, [ids], lent)
            [two] = called(student, COMMON, "GPT", size, weights | {"token": row}, [ids], lent)
            assert_close(two[..., :-1], one[..., :-1])
            symptom(UNTIED, np.abs(two[..., -1] - one[..., -1]).max() < 1e-6)
            (_, count, numbers), _ = begun(student, COMMON, "GPT", size, [0], lent)
            shapes = model_shapes(vocab, context, dim, layers)
            every = sum(int(np.prod(shape)) for shape in shapes.values())
            symptom(UNTIED, numbers in (every + vocab * dim, every + vocab, every + vocab * 7))
            assert (count, numbers) == (len(shapes), every)

        own_or_lent(check, *PARTS)

    @pytest.mark.points(2)
    def test_no_later_place(self, student, rng):
        """A changed token changes nothing before it, and something from its place on."""
        size = vocab, context, dim, _, layers = 9, 8, 8, 2, 3
        weights = drawn(rng, model_shapes(vocab, context, dim, layers))
        ids = rng.integers(0, vocab, (1, context))
        rows = np.repeat(ids, context + 1, axis=0)
        for place in range(context):
            rows[place, place] = (rows[place, place] + rng.integers(1, vocab)) % vocab

        def check(lent):
            [logits] = called(student, COMMON, "GPT", size, weights, [rows], lent)
            for place in range(context):
                changed = np.abs(logits[place] - logits[-1]).max(axis=-1)
                symptom(SEES_AHEAD, changed[:place].max(initial=0) > 1e-6)
                assert np.all(changed[place:] > 1e-9), "a token counts from its place on"

        own_or_lent(check, *PARTS)

    @pytest.mark.points(1)
    def test_context(self, student, rng):
        """As many tokens as the context has are taken; one more is a ValueError."""
        context = int(rng.integers(3, 7))
        rows = [[int(i) for i in rng.integers(0, 5, n)] for n in (context, context + 1, 1)]

        def check(lent):
            told, said = beyond(student, COMMON, (5, context, 4, 2, 1), rows, lent)
            assert list(told) == [(1, context, 5), "ValueError", (1, 1, 5)]
            assert said == context
            told, _ = beyond(student, COMMON, (5, 1, 4, 2, 1), [[3], [3, 0]], lent)
            assert list(told) == [(1, 1, 5), "ValueError"]

        own_or_lent(check, *PARTS)

    @pytest.mark.points(2)
    def test_slopes(self, student, rng):
        """Every parameter receives a gradient, and it is that of the model's own values."""
        describe_input("float64 weights, one block, ids in which tokens repeat")
        size = vocab, context, dim, _, layers = 5, 4, 4, 2, 1
        ids = rng.integers(0, vocab - 2, (2, context))
        shapes = model_shapes(vocab, context, dim, layers)
        connected(student, rng, "GPT", size, shapes, ids, (2, context, vocab), PARTS)

    @pytest.mark.points(0.5)
    def test_dropout(self, student, rng):
        """In training mode a model drops what its blocks return; in use it does not."""
        ids = rng.integers(0, 7, (3, 6))

        def check(lent):
            one, other, use, again = in_both_modes(student, COMMON, (7, 6, 8, 2, 1), ids, lent)
            assert_close(use, again)
            symptom(NOT_DROPPED, np.array_equal(one, other))
            assert np.abs(one - use).max() > 1e-6

        own_or_lent(check, *PARTS)

    @pytest.mark.points(1.5)
    def test_start(self, student, rng):
        """A new model has drawn all its blocks apart, and has no opinion yet."""
        vocab, seed = 20, int(rng.integers(1000))
        size, ids = (vocab, 12, 32, 4, 3), rng.integers(0, 20, (8, 12))

        def check(lent):
            told = begun(student, COMMON, "GPT", size, [seed, seed, None], lent)
            one, two, same, _, other, another = (found for found, *_ in told)
            symptom(ALIKE, np.array_equal(other["token"], another["token"]))
            for name in ("attention.q.weight", "attention.out.weight"):
                alike = np.array_equal(one[f"0.{name}"], one[f"1.{name}"])
                symptom(ALIKE, alike or np.array_equal(one[f"2.{name}"], one[f"1.{name}"]))
            assert_close(one["1.attention.q.weight"], same["1.attention.q.weight"])
            assert np.abs(one["token"] - two["token"]).max() > 0
            for table in (one["token"], one["position"]):
                symptom(LARGE, table.std() > 0.07)
                assert table.std() > 5e-4
            [logits] = called(student, COMMON, "GPT", size, one, [ids], lent)
            right = np.take_along_axis(logits[:, :-1], ids[:, 1:, None], -1)
            surprise = np.log(np.exp(logits[:, :-1]).sum(-1, keepdims=True)) - right
            symptom(LARGE, surprise.mean() > np.log(vocab) + 0.15)
            assert np.abs(logits).max() > 1e-6

        own_or_lent(check, *PARTS)


# Writing.


@run_in_worker
def written(table, context, calls):
    """What generate writes with a model whose logits are a row of `table`: that of the sum, modulo
    its length, of all tokens that the model sees. In training mode the row is another.

    `calls` are (ids, count, options, seed). Of each: the text, the types, the prompt afterwards,
    modes of the model and its parts (which were True, False, True, True), and how often it was
    called, with more tokens than `context`, in training mode, recording.
    """
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    table = np.array(table)

    class Sums(tt.Module):
        def __init__(self):
            self.context, self.table = context, tt.Tensor(table, requires_grad=True)
            inner = tt.Dropout(0.5)
            self.parts = [tt.Dropout(0.5).eval(), tt.Sequential(inner), inner]
            self.seen = [0, 0, 0, 0]

        def forward(self, ids):
            ids = np.asarray(ids)
            rows = np.cumsum(ids, axis=1) % len(table)
            out = self.table[(rows + 1) % len(table) if self.training else rows]
            training = self.training or any(part.training for part in self.parts)
            wrong = ids.shape[1] > context, training, out.requires_grad
            self.seen = [n + int(w) for n, w in zip(self.seen, (True, *wrong), strict=True)]
            return out

    told = []
    for ids, count, options, seed in calls:
        model = Sums()
        rng = {} if seed is None else {"rng": np.random.default_rng(seed)}
        text = generate(model, ids, count, **options, **rng)
        modes = [each.training for each in (model, *model.parts)]
        kinds = type(text).__name__, sorted({type(i).__name__ for i in text})
        told.append(([int(i) for i in text], kinds, ids, modes, model.seen))
    return told


def greedy(table, context, ids, count, first=False, off=0):
    """The text that the likeliest tokens make; slips: of the first tokens, or of another row."""
    ids = [int(i) for i in ids]
    for _ in range(count):
        seen = ids[:context] if first else ids[-context:]
        ids.append(int(np.argmax(table[(sum(seen) + off) % len(table)])))
    return ids


def peaked(rng, rows):
    """Logits whose largest is well ahead, another in every row or nearly so."""
    table = rng.normal(size=(rows, rows))
    table[np.arange(rows), rng.permutation(rows)] += 9
    return table


class TestGenerate:
    @pytest.mark.points(1.5)
    def test_likeliest(self, student, rng):
        """At temperature 0 each token is the likeliest after those before it."""
        describe_input("a prompt of three tokens and one of one, within the context")
        table, prompt = peaked(rng, 11), [int(i) for i in rng.integers(0, 11, 3)]
        calls = [(prompt, 20, {"temperature": 0}, 1), (prompt[:1], 9, {"temperature": 0.0}, None)]
        told = written(student, table, 40, calls)
        for (text, *_), (ids, count, *_) in zip(told, calls, strict=True):
            right = greedy(table, 40, ids, count)
            slips = {
                PROMPT_LEFT_OUT: right[len(ids) :],
                IN_TRAINING: greedy(table, 40, ids, count, off=1),
            }
            assert_close(text, right, symptoms=slips)

    @pytest.mark.points(2)
    def test_context(self, student, rng):
        """The model sees the last tokens, as many as its context has, and no more."""
        describe_input("a context of 4, a prompt of 1, 4 and 9 tokens, and 15 to write")
        table = peaked(rng, 13)
        prompts = [[int(i) for i in rng.integers(0, 13, n)] for n in (1, 4, 9)]
        calls = [(prompt, 15, {"temperature": 0}, 1) for prompt in prompts]
        for told, prompt in zip(written(student, table, 4, calls), prompts, strict=True):
            text, _, _, _, (calls_made, too_long, _, _) = told
            right = greedy(table, 4, prompt, 15)
            slips = {FIRST_TOKENS: greedy(table, 4, prompt, 15, first=True)}
            assert_close(text, right, symptoms=slips)
            assert calls_made and not too_long, "more tokens than the context has"

    @pytest.mark.points(2)
    def test_modes(self, student, rng):
        """It writes in the mode for use, and gives every module its own mode back."""
        table = peaked(rng, 7)
        [(text, _, _, modes, seen)] = written(
            student, table, 5, [([1, 2], 6, {"temperature": 0}, 1)]
        )
        calls_made, _, in_training, _ = seen
        symptom(IN_TRAINING, in_training)
        symptom(LEFT_IN_USE, modes[0] is not True)
        symptom(ONE_MODE, list(modes) != [True, False, True, True])
        assert calls_made >= 6 and len(text) == 8

    @pytest.mark.points(0.5)
    def test_unrecorded(self, student, rng):
        """Nothing is recorded while it writes."""
        [(text, *_, seen)] = written(student, peaked(rng, 7), 5, [([3], 6, {}, 1)])
        assert seen[0] >= 6 and seen[3] == 0 and len(text) == 7

    @pytest.mark.points(3)
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
    def test_shares(self, student, rng, temperature):
        """Each token is drawn as often as softmax of the logits, divided by temperature, says."""
        describe_input(f"600 draws from three tokens at temperature {temperature:g}")
        logits = rng.permutation([0.0, 1.0, 2.0])
        options = {} if temperature == 1 else {"temperature": temperature}
        told = written(student, np.tile(logits, (3, 1)), 3, [([0], 600, options, 5)])
        counts = np.bincount(told[0][0][1:], minlength=3)

        def shares(t):
            return np.exp(logits / t) / np.exp(logits / t).sum()

        def near(share):
            return np.all(np.abs(counts - 600 * share) < 5.5 * np.sqrt(600 * share * (1 - share)))

        if not near(shares(temperature)):
            symptom(ALWAYS_LIKELIEST, counts.max() == 600)
            symptom(NO_TEMPERATURE, near(shares(1.0)))
            symptom(COLD_IS_HOT, near(shares(1 / temperature)))
        assert counts.shape == (3,) and counts.sum() == 600 and near(shares(temperature))

    @pytest.mark.points(0.5)
    def test_cold(self, student, rng):
        """Large logits and a low temperature overflow nothing: the likeliest is drawn."""
        table = 1000 * peaked(rng, 7).astype(np.float32)
        [(text, *_)] = written(student, table, 9, [([2], 12, {"temperature": 0.01}, 1)])
        assert_close(text, greedy(table, 9, [2], 12))

    @pytest.mark.points(0.5)
    def test_generator(self, student, rng):
        """The same generator draws the same text, another another; without one, each is another."""
        describe_input("float32 logits of 27 tokens, 30 draws")
        table, seed = rng.normal(size=(27, 27)).astype(np.float32), int(rng.integers(1000))
        calls = [([2], 30, {}, each) for each in (seed, seed, seed + 1, None, None)]
        one, same, *others = (text for text, *_ in written(student, table, 5, calls))
        symptom(OWN_GENERATOR, one != same)
        assert len({tuple(text) for text in (one, *others)}) == 4 and len(one) == 31

    @pytest.mark.points(1)
    def test_prompt(self, student, rng):
        """A new list of ints begins with the prompt, whatever held it, and that stays as it was."""
        table, prompt = peaked(rng, 7), [int(i) for i in rng.integers(0, 7, 4)]
        kinds = list(prompt), np.array(prompt), tuple(prompt)
        calls = [(kind, 5, {"temperature": 0}, 1) for kind in kinds]
        calls += [(list(prompt), 5, {"temperature": 1.0}, 1), (list(prompt), 0, {}, 1)]
        told = written(student, table, 6, calls)
        for text, kind, after, _, _ in told:
            symptom(PROMPT_CHANGED, len(after) != 4)
            assert_close([int(i) for i in after], prompt)
            assert_close(text[:4], prompt)
            assert kind == ("list", ["int"]) or list(kind) == ["list", ["int"]]
        assert [len(text) for text, *_ in told] == [9, 9, 9, 9, 4]


# The loss, and what it is compared with.


@run_in_worker
def losses_of(cases):
    """For each (logits, targets): the loss, its shape, its slope in the logits."""
    import numpy as np

    from tinytorch import Tensor

    told = []
    for logits, targets in cases:
        x = Tensor(np.array(logits), requires_grad=True)
        loss = next_token_loss(x, targets)
        loss.backward()
        told.append((loss.data, x.grad))
    return told


def log_shares(logits):
    z = logits - logits.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class TestLoss:
    @pytest.mark.points(2.5)
    def test_value(self, student, rng):
        """The mean over the answers of the last K places, minus the log of each one's share."""
        describe_input("logits (3, 5, 4), and answers for all five places, three, and one")
        logits = 3 * rng.normal(size=(3, 5, 4))
        for count in (5, 3, 1):
            targets = rng.integers(0, 4, (3, count))

            def costs(logs, targets=targets):
                return -np.take_along_axis(logs, targets[..., None], -1)

            logs = log_shares(logits)
            given = targets.tolist() if count == 3 else targets
            [(found, _)] = losses_of(student, [(logits, given)])
            slips = {
                FIRST_PLACES: costs(logs[:, :count]).mean(),
                BY_ROW: costs(logs[:, -count:]).sum(),
            }
            assert_close(found, costs(logs[:, -count:]).mean(), symptoms=slips)

    @pytest.mark.points(1.5)
    def test_slope(self, student, rng):
        """The slope is share minus answer at the last K places, and 0 before."""
        logits, targets = rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 2))
        [(_, grad)] = losses_of(student, [(logits, targets)])
        right = np.zeros(logits.shape)
        right[:, 2:] = (np.exp(log_shares(logits[:, 2:])) - np.eye(3)[targets]) / 4
        assert_close(grad, right)


class TestBigrams:
    @pytest.mark.points(2)
    def test_log_shares(self, student, rng):
        """Row a has the log of how often each token followed a, each counted once more."""
        describe_input("texts of 200 and of 3 tokens, as an array and as a list")
        for length, vocab in ((200, 6), (3, 5)):
            ids = rng.integers(0, vocab - 1, length)
            counts = np.zeros((vocab, vocab))
            for a, b in itertools.pairwise(ids):
                counts[a, b] += 1

            def logs(table):
                return np.log(table / table.sum(1, keepdims=True))

            found = student.bigrams(ids if length > 9 else ids.tolist(), vocab)
            with np.errstate(all="ignore"):
                slips = {NOT_RAISED: logs(counts), TURNED: logs(counts.T + 1)}
            assert_close(found, logs(counts + 1), symptoms=slips)


class TestBug:
    @pytest.mark.points(1)
    def test_parrot(self, student, rng):
        """The hasty share of your parrot is 100%, whatever the answers are."""
        ids = rng.integers(0, 10, (40, 12))
        ids[:, 3], ids[:, 7] = 10, 11
        logits = np.asarray(student.parrot(ids))
        assert logits.shape == (40, 12, 12)
        assert np.array_equal(logits.argmax(-1)[:, 7:11], ids[:, 8:])


# The whole: one model, taught and asked.


def _taught(common, size, weights, batches, total, prompts, changed):
    """Train a GPT of these weights: the losses, logits of `changed`, and texts after `prompts`."""
    exec(common, names := {})
    tt = names["tt"]
    tt.enable_gradients()
    model = names["built"](globals(), "GPT", size, weights)
    optimizer = tt.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    trainer = tt.Trainer(model, next_token_loss, optimizer)

    def rate(t):
        return tt.cosine_schedule(t, total, 0.01, warmup=3, floor=0.001)

    trainer.fit(batches, 1, schedule=rate, clip=1.0)
    model.eval()
    with tt.no_grad():
        logits = model(changed).data
    model.train()
    texts = [generate(model, ids, 12, temperature=0) for ids in prompts]
    return trainer.history, logits, [[int(i) for i in text] for text in texts]


taught = run_in_worker(_taught)


@run_in_worker
def learnt(common, vocab, context, order, steps, seed):
    """What a new GPT writes that has read one round of tokens again and again; its losses."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    tt.enable_gradients()
    size = vocab, context, 16, 2, 1
    model = names["built"](globals(), "GPT", size, None, np.random.default_rng(seed))
    trainer = tt.Trainer(model, next_token_loss, tt.AdamW(model.parameters(), lr=0.02))
    text = np.resize(order, 4 * vocab)
    starts = np.arange(len(text) - context)[:, None]
    rows = text[starts + np.arange(context + 1)]
    trainer.fit([(rows[:, :-1], rows[:, 1:])] * steps, 1, clip=1.0)
    return trainer.history, [int(i) for i in generate(model, [order[0]], 2 * vocab, temperature=0)]


class TestWhole:
    @pytest.mark.points(8)
    def test_taught(self, student, reference, rng):
        """Your GPT, your loss and 07's trainer take each step as they should."""
        describe_input(
            "12 steps of AdamW in float64 with schedule and clipping; answers of K places"
        )
        size = vocab, context, dim, _, layers = 6, 7, 8, 2, 2
        weights = drawn(rng, model_shapes(vocab, context, dim, layers))
        rows = [rng.integers(0, vocab, (4, context + 1)) for _ in range(12)]
        batches = [(row[:, :-1], row[:, -(3 if n % 2 else 7) :]) for n, row in enumerate(rows)]
        data = COMMON, size, weights, batches, 12, [[1, 2]], rows[0][:, :-1]
        wanted, right, _ = by_reference(reference, _taught, *data)
        found, logits, _ = taught(student, *data)
        assert_close(found, wanted, rtol=1e-6)
        assert_close(logits, right, rtol=1e-4, atol=1e-6)
        assert abs(wanted[0] - wanted[-2]) > 1e-3

    @pytest.mark.points(4)
    def test_nothing_ahead(self, student, rng):
        """After training, too, a changed later token changes nothing before it."""
        size = vocab, context, dim, _, layers = 6, 7, 8, 2, 2
        weights = drawn(rng, model_shapes(vocab, context, dim, layers), np.float32)
        rows = [rng.integers(0, vocab, (4, context + 1)) for _ in range(4)]
        batches = [(row[:, :-1], row[:, 1:]) for row in rows]
        changed = np.repeat(rng.integers(0, vocab, (1, context)), 2, axis=0)
        place = int(rng.integers(2, context - 1))
        changed[1, place:] = (changed[1, place:] + rng.integers(1, vocab)) % vocab
        _, logits, _ = taught(student, COMMON, size, weights, batches, 4, [], changed)
        apart = np.abs(logits[0] - logits[1]).max(axis=-1)
        assert logits.shape == (2, context, vocab)
        symptom(SEES_AHEAD, apart[:place].max() > 1e-4)
        assert np.all(apart[place:] > 1e-6)

    @pytest.mark.points(3)
    def test_writes(self, student, reference, rng):
        """What it writes is what its own logits say, also past its context."""
        describe_input("prompts of 1, 5 and 11 tokens, a context of 5, twelve tokens to write")
        size = vocab, context, dim, _, layers = 9, 5, 8, 4, 2
        weights = drawn(rng, model_shapes(vocab, context, dim, layers))
        prompts = [[int(i) for i in rng.integers(0, vocab, n)] for n in (1, 5, 11)]
        data = COMMON, size, weights, [], 1, prompts, rng.integers(0, vocab, (1, 5))
        _, _, right = by_reference(reference, _taught, *data)
        _, _, found = taught(student, *data)
        for text, wanted in zip(found, right, strict=True):
            assert_close(text, wanted)

    @pytest.mark.points(3)
    def test_learns(self, student, rng):
        """A new GPT learns a round of tokens by heart, and writes it."""
        describe_input("eight tokens, always in the same order, which is drawn; 60 steps")
        order = [int(i) for i in rng.permutation(8)]
        losses, text = learnt(student, COMMON, 8, 6, order, 60, int(rng.integers(1000)))
        assert len(losses) == 60 and losses[0] > 1.5 and losses[-1] < 0.5
        assert_close(text, np.resize(order, 17))


# What was trained at home.


@run_in_worker
def asked(path, size, order, rows):
    """The logits, at every place, of the model in a file, in another alphabet.

    Token k of the file is token order[k] here: the rows of the table change their places. `rows` is
    a list of arrays of ids.
    """
    import numpy as np

    import tinytorch as tt

    model = GPT(*size)
    tt.load_weights(path, model)
    order = np.array(order)
    table = np.empty_like(model.token.weight.data)
    table[order] = model.token.weight.data
    model.token.weight.data = table
    model.eval()
    with tt.no_grad():
        return [np.array(model(ids).data) for ids in rows]


@run_in_worker
def writes(path, size, order, prompts, count):
    """What `generate` adds to each prompt, with the model in a file, in another alphabet."""
    import numpy as np

    import tinytorch as tt

    model = GPT(*size)
    tt.load_weights(path, model)
    table = np.empty_like(model.token.weight.data)
    table[np.array(order)] = model.token.weight.data
    model.token.weight.data = table
    return [
        [int(i) for i in generate(model, ids, count, temperature=0)][len(ids) :] for ids in prompts
    ]


LETTERS = "\nabcdefghijklmnopqrstuvwxyz"
# Of the notebook's `bigrams`, made of source/13_transformers/names.txt, on all names beside this
# suite, each in the order of its file.
BIGRAM_LOSS = 2.3447


class TestNames:
    @pytest.mark.points(4)
    def test_beats_bigrams(self, student, rng):
        """On names that it has never seen, your GPT is less surprised than pairs of letters are."""
        describe_input("excerpts of 17 letters from 500 names that are not in names.txt")
        lines = Path(__file__).with_name("names.txt").read_text(encoding="ascii").splitlines()
        names = rng.permutation([line for line in lines if not line.startswith("#")])
        ids = np.array([LETTERS.index(c) for c in "\n".join(["", *names, ""])])
        rows = ids[rng.integers(0, len(ids) - 17, (300, 1)) + np.arange(17)]
        order = rng.permutation(27)
        with recognise(BAD_FILE, ValueError):
            data = "names.npz", (27, 16, 64, 4, 2), order, [order[rows[:, :-1]]]
            [logits] = asked(student, *data)
        assert logits.shape == (300, 16, 27)
        logs = log_shares(logits.astype(float)[..., order])
        loss = -np.take_along_axis(logs, rows[:, 1:, None], -1).mean()
        symptom(UNTRAINED, loss > 3)
        assert loss < BIGRAM_LOSS


def unseen_pairs(rng, count):
    """Pairs of numbers that no lesson of the notebook holds."""
    draws = np.random.default_rng(13).random((1000, 1000))
    return rng.permutation(np.argwhere(np.minimum(draws, draws.T) < 0.05))[:count]


def digits(numbers, width):
    return np.asarray(numbers)[:, None] // 10 ** np.arange(width)[::-1] % 10


def sums(pairs):
    a, b = np.array(pairs).T
    plus, equals = np.full((len(a), 1), 10), np.full((len(a), 1), 11)
    return np.hstack([digits(a, 3), plus, digits(b, 3), equals, digits(a + b, 4)[:, ::-1]])


ADDER = (12, 11, 64, 4, 2)


class TestAddition:
    @pytest.mark.points(6)
    @pytest.mark.parametrize(("count", "wrong"), [(40, 20), (200, 2)], ids=["half", "all"])
    def test_unseen(self, student, rng, count, wrong):
        """Sums that it never saw are right: first half of them, then all but a stray one or two."""
        describe_input(f"{count} sums that no lesson holds, in an alphabet that is drawn")
        tokens, order = sums(unseen_pairs(rng, count)), rng.permutation(12)
        ids = order[tokens[:, :8]]
        for _ in range(4):
            with recognise(BAD_FILE, ValueError):
                [logits] = asked(student, "addition.npz", ADDER, order, [ids])
            assert logits.shape == (count, ids.shape[1], 12)
            ids = np.hstack([ids, logits[:, -1].argmax(-1)[:, None]])
        found = np.argsort(order)[ids][:, 8:]
        good = np.all(found == tokens[:, 8:], axis=1)
        symptom(OTHER_WAY, np.mean(np.all(found == tokens[:, :7:-1], axis=1)) > 0.9)
        symptom(UNTRAINED, good.mean() < 0.01)
        assert np.sum(~good) <= wrong

    @pytest.mark.points(2)
    def test_carries(self, student, rng):
        """`generate` writes sums whose carry runs through all columns."""
        describe_input("8 unseen sums in which every column has a carry, or passes one on")
        pairs = unseen_pairs(rng, 100000)
        a, b = digits(pairs[:, 0], 3), digits(pairs[:, 1], 3)
        long = (a + b)[:, 2] >= 10
        long &= np.all((a + b)[:, :2] >= 9, axis=1)
        chosen = sums(pairs[long][:8])
        order = rng.permutation(12)
        prompts = [[int(i) for i in row] for row in order[chosen[:, :8]]]
        with recognise(BAD_FILE, ValueError):
            told = writes(student, "addition.npz", ADDER, order, prompts, 4)
        found = np.argsort(order)[np.array(told)]
        assert found.shape == (8, 4)
        assert np.sum(np.all(found == chosen[:, 8:], axis=1)) >= 7
