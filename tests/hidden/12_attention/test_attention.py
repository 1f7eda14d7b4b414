"""Hidden tests of 12_attention.

`look` and `heads` say in NumPy what attention is, and `look_back_through` and `heads_back` what its
gradients are. What a test looks at is tried on the student's functions as they are, and where they
build on one another once more with right ones lent in the place of the others: a region earns the
better of the two. Only behaviour counts; of a layer, `heads`, `q`, `k`, `v` and `out` are used.

`Whole` has no such way round: models of the student's attention see no future, know no order, and
train, step by step, beside NumPy.
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

OWN_PLACE = Misconception(
    "own place hidden",
    "A place may look at itself: the diagonal is 0, and the first row not empty.",
)
TURNED = Misconception(
    "mask turned round", "Row t is what place t may look at: up to column t, not from there on."
)
ZERO_ONE = Misconception(
    "mask of 0 and 1", "The mask is added to scores: 0 leaves one as it is, -inf takes it out."
)
LARGE = Misconception(
    "a large number for infinity", "Not a large number: -inf, so that the share is exactly 0."
)
UNSCALED = Misconception("not scaled", "The scores are divided by the root of q's columns.")
BY_D = Misconception("divided by d", "By the root of the number of columns, not by the number.")
BY_PLACES = Misconception("root of places", "The root is of q's columns, not of how many places.")
WRONG_AXIS = Misconception(
    "shares over the wrong axis", "The shares of each *row* add up to 1: over the places looked at."
)
AFTERWARDS = Misconception(
    "hidden after softmax", "The mask goes on the scores: afterwards the shares no longer add up."
)
SWITCH = Misconception(
    "mask as a switch", "The mask is added: it may hold other numbers than 0 and -inf."
)
IGNORED = Misconception("mask ignored", "With a mask, what is found is the same as without.")
CUT = Misconception(
    "cut", "The values are right, but no gradient comes through: did they leave the Tensor?"
)
ROOT_OF_DIM = Misconception(
    "root of all columns", "Each head divides by the root of its own number of columns."
)
INTERLEAVED = Misconception(
    "columns dealt in turn", "Head h gets columns that stand together: h * dim / heads and so on."
)
ROWS_MIXED = Misconception(
    "rows mixed", "A reshape straight to (B, heads, T, ...) mixes places: part the columns first."
)
NO_OUT = Misconception("out forgotten", "What the heads found goes through the fourth Linear.")
AS_ONE = Misconception("one head", "However many heads: it comes out as with one.")
SEES_AHEAD = Misconception("sees ahead", "A later token changed something before it.")
KNOWS_ORDER = Misconception(
    "knows the order", "Without positions and mask, what tokens find only changes places with them."
)


# Attention in NumPy.


def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def shares(q, k, mask=None):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    return softmax(scores if mask is None else scores + mask)


def look(q, k, v, mask=None):
    return shares(q, k, mask) @ v


def look_back_through(g, q, k, v, mask=None):
    """The gradients of q, k and v."""
    a = shares(q, k, mask)
    to_a = g @ v.swapaxes(-1, -2)
    to_scores = a * (to_a - (to_a * a).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return to_scores @ k, to_scores.swapaxes(-1, -2) @ q, a.swapaxes(-1, -2) @ g


def slips(q, k, v, mask=None):
    """What typical slips find."""
    added = 0 if mask is None else mask
    raw, root = q @ k.swapaxes(-1, -2), np.sqrt(q.shape[-1])
    with np.errstate(all="ignore"):
        found = {
            UNSCALED: softmax(raw + added) @ v,
            BY_D: softmax(raw / root**2 + added) @ v,
            BY_PLACES: softmax(raw / np.sqrt(k.shape[-2]) + added) @ v,
            WRONG_AXIS: softmax(raw / root + added, axis=-2) @ v,
        }
        if mask is not None:
            seen = np.broadcast_to(mask, raw.shape) > -np.inf
            found |= {
                IGNORED: look(q, k, v),
                SWITCH: look(q, k, v, np.where(seen, 0, -np.inf)),
                AFTERWARDS: (shares(q, k) * seen) @ v,
            }
    return {slip: lambda seen, it=it: _like(seen, it) for slip, it in found.items()}


def _like(seen, wrong):
    return seen.shape == wrong.shape and np.allclose(seen, wrong, rtol=1e-6, atol=1e-7)


def deal(x, heads):
    batch, length, dim = x.shape
    return x.reshape(batch, length, heads, dim // heads).swapaxes(1, 2)


def gather(x):
    batch, heads, length, each = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * each)


def heads_found(x, layers, heads, mask=None):
    """What MultiHeadAttention finds; `layers` are pairs of weight and bias of q, k, v and out."""
    q, k, v = (deal(x @ w + b, heads) for w, b in layers[:3])
    w, b = layers[3]
    return gather(look(q, k, v, mask)) @ w + b


def heads_back(g, x, layers, heads, mask=None):
    """The gradients of x, and of weight and bias of q, k, v and out."""
    flat = lambda y: y.reshape(-1, y.shape[-1])  # noqa: E731
    q, k, v = (deal(x @ w + b, heads) for w, b in layers[:3])
    found = gather(look(q, k, v, mask))
    to_found = deal(g @ layers[3][0].T, heads)
    to_x, back = np.zeros_like(x), []
    for part, (w, _) in zip(look_back_through(to_found, q, k, v, mask), layers[:3], strict=True):
        part = gather(part)
        to_x = to_x + part @ w.T
        back.append((flat(x).T @ flat(part), flat(part).sum(0)))
    return to_x, [*back, (flat(found).T @ flat(g), flat(g).sum(0))]


def head_slips(x, layers, heads, mask=None):
    """What typical slips find."""
    (q, k, v), (w, b) = (x @ weight + bias for weight, bias in layers[:3]), layers[3]
    batch, length, dim = x.shape
    each = dim // heads
    one_root = look(*(deal(y, heads) for y in (q / np.sqrt(heads), k, v)), mask)
    turns = [y.reshape(batch, length, each, heads).transpose(0, 3, 1, 2) for y in (q, k, v)]
    in_turn = look(*turns, mask).transpose(0, 2, 3, 1).reshape(x.shape)
    rows = look(*(y.reshape(batch, heads, length, each) for y in (q, k, v)), mask)
    found = {
        ROOT_OF_DIM: gather(one_root) @ w + b,
        INTERLEAVED: in_turn @ w + b,
        ROWS_MIXED: rows.reshape(x.shape) @ w + b,
        NO_OUT: gather(look(*(deal(y, heads) for y in (q, k, v)), mask)),
        AS_ONE: look(q, k, v, mask) @ w + b,
        IGNORED: heads_found(x, layers, heads),
    }
    right = heads_found(x, layers, heads, mask)
    return {slip: it for slip, it in found.items() if not _like(it, right)}


def ahead(length):
    return np.where(np.tri(length) > 0, 0, -np.inf)


# What PyTorch 2.14.1 finds on the CPU in float64, and the gradients that it sends back: by
# torch.nn.functional.scaled_dot_product_attention, and by torch.nn.MultiheadAttention of two heads
# with a causal mask, for the numbers of `wave`. Weights are (in, out) here, there (out, in).


def wave(shift, *shape):
    return np.sin(shift + 1.7 * np.arange(np.prod(shape))).reshape(shape)


Q, K, V, G = wave(1, 2, 3, 4), wave(2, 2, 5, 4), wave(3, 2, 5, 2), wave(4, 2, 3, 2)
MASK = np.where(np.arange(5) <= np.arange(3)[:, None] + 1, 0, -np.inf) + 0.5 * wave(5, 3, 5)
X, TO_X = wave(1, 2, 3, 4), wave(2, 2, 3, 4)
LAYERS = [(wave(3 + n, 4, 4), wave(7 + n, 4)) for n in range(4)]
TORCH = {
    "plain out": """
        0.0212080190 -0.2512930180 0.0324053772 -0.2223146093 0.0239476307 -0.1687667251
        0.2568923756 -0.0588046287 0.2544576966 0.0125768139 0.2368883665 0.0506305344
    """,
    "plain q": """
        0.0012717940 0.0277388947 -0.0084198017 -0.0255692045 0.0112443106 -0.0137480307
        -0.0077015945 0.0157326468 -0.0255811799 0.0010623630 0.0253074207 -0.0075838066
        0.0372971158 -0.0388525784 -0.0272852341 0.0458836828 -0.0279265219 0.0404895854
        0.0174928016 -0.0449972878 0.0209877002 -0.0327714477 -0.0125428590 0.0360036043
    """,
    "plain k": """
        0.0153702345 0.0343850406 -0.0242308809 -0.0281410094 -0.0374829226 -0.0316137174
        0.0456294295 0.0198555159 0.0323625896 0.0012935880 -0.0326959330 0.0071317939
        -0.0356705165 -0.0054500533 0.0370749352 -0.0041037492 0.0254206149 0.0013851422
        -0.0257775508 0.0052574488 0.0015778615 -0.0465386955 0.0104146478 0.0438549554
        0.0007046217 0.0733659798 -0.0196102268 -0.0683126403 -0.0003219580 -0.0443979085
        0.0117628101 0.0413667619 -0.0245064698 0.0691874205 0.0066776334 -0.0709081731
        0.0225459446 -0.0516167963 -0.0092448646 0.0539990961
    """,
    "plain v": """
        -0.2715347958 -0.1145524524 -0.2264033088 -0.0697685316 -0.1618844298 -0.0458452612
        -0.1054610672 -0.0351414153 -0.0737470280 -0.0326014171 0.2472039552 -0.1473986794
        0.1757471477 -0.1006037341 0.1373279350 -0.0656761609 0.1378659696 -0.0478888071
        0.1876927859 -0.0448881452
    """,
    "mask out": """
        0.1272991708 0.1080773887 0.0796045802 -0.3087553205 0.1008236070 -0.2385526037
        -0.1753484470 0.1038690745 0.3346166489 0.1323423654 0.2323424443 0.1657442216
    """,
    "mask q": """
        0.0425545873 0.0458971607 -0.0543817802 -0.0318835747 -0.0002677453 -0.0122845168
        0.0034333300 0.0113997854 0.0250073716 -0.0079807703 -0.0229508149 0.0138949426
        -0.0148856047 -0.1109113105 0.0434662282 0.0997105421 -0.0038880376 0.0535525085
        -0.0099118542 -0.0509983328 -0.0720993034 -0.0788017190 0.0924056387 0.0549898035
    """,
    "mask k": """
        0.0666476980 0.0584055902 -0.0816981755 -0.0373528700 -0.0428430337 -0.0566031682
        0.0574290469 0.0418043352 0.0255503646 -0.0325835549 -0.0171539413 0.0370039367
        -0.0493550289 0.0307811329 0.0414230699 -0.0414554019 0.0000000000 0.0000000000
        0.0000000000 0.0000000000 0.0701901945 -0.1487136063 -0.0318683357 0.1569257255
        -0.0794752577 0.0815582917 0.0584585840 -0.0966224250 -0.0420243072 -0.0336210840
        0.0506880903 0.0205593212 0.0513093703 0.1007763986 -0.0772783386 -0.0808626217
        0.0000000000 0.0000000000 0.0000000000 0.0000000000
    """,
    "mask v": """
        -0.1832752632 -0.0885401736 -0.3065182166 -0.2127590148 -0.1509168540 0.0167987075
        -0.1983202958 -0.0134085967 0.0000000000 0.0000000000 0.2294651885 -0.1044927237
        0.4190953796 -0.0842330320 0.0664778421 -0.0848388237 0.1707993832 -0.1328909472
        0.0000000000 0.0000000000
    """,
    "mha out": """
        0.9736063152 -1.8045686847 -0.5085888360 1.9356264274 0.8000211976 -1.7011965899
        -0.3616415689 1.7943876401 0.5214159630 -1.5303126866 -0.1270712345 1.5630575445
        -0.4157062334 -0.9611065596 0.6633728107 0.7901626910 -0.6908500330 -0.7875052289
        0.8937814589 0.5571875887 -0.8767962290 -0.6691025142 1.0492165791 0.3987309551
    """,
    "mha x": """
        0.9275966466 -1.1858429401 -2.9895343988 -4.0123444671 0.5857375711 -0.2786966099
        -1.0703338375 -1.5823944944 0.4143490204 0.0559638240 -0.3170394041 -0.6072303485
        -0.2623557880 -0.1102201816 0.0707054894 0.2331625318 -0.6009672465 0.1310152937
        0.8287759815 1.3100562231 -0.4976143065 0.0887880032 0.6519984408 1.0449036131
    """,
    "mha q w": """
        -0.0333412305 -0.2665875284 -0.0316675468 -0.0603487179 0.0167105686 0.1597489486
        0.0595851436 0.1972004839 0.0290351009 0.2254219834 0.0163131114 0.0095323246
        -0.0241925944 -0.2178377115 -0.0637888528 -0.1996568590
    """,
    "mha k w": """
        -0.0294973230 0.0180888117 0.0321086025 0.2799165264 0.2973090560 0.1835736007
        0.1291285520 0.0515279444 -0.0471159469 -0.0653937072 -0.0653836085 -0.2931947102
        -0.2851677953 -0.1667223625 -0.1122799160 0.0240251040
    """,
    "mha v w": """
        -5.8836385852 -4.5457144434 -2.0357769084 1.0136907602 0.5453025201 3.0745513536
        4.7983900422 5.2716492914 5.7431201303 3.7534364147 0.7992846316 -2.3721367343
        -2.0252413378 -4.0417705870 -5.0043568905 -4.6603757756
    """,
    "mha out w": """
        -3.0790913958 -0.6492533237 3.2463968281 -0.1873073915 -0.5754880728 4.2532040861
        -0.5205157864 -4.1190728995 3.2202242081 -0.4494110311 -3.1044159341 1.2493848333
        -0.2576914286 -4.1384599435 1.3241269858 3.7972469997
    """,
}


def torch(name, shape):
    return np.array(TORCH[name].split(), float).reshape(shape)


# The student's attention.


@run_in_worker
def looked(cases):
    """What attention finds for each (q, k, v, mask, g), and its gradients where g is given."""
    import numpy as np

    from tinytorch import Tensor, enable_gradients

    enable_gradients()
    told = []
    for *arrays, mask, g in cases:
        given = [Tensor(np.array(each), requires_grad=True) for each in arrays]
        options = () if mask is None else (np.array(mask),)
        out = scaled_dot_product_attention(*given, *options)
        if g is not None and out.requires_grad:
            (out * np.array(g)).sum().backward()
        told.append((out.data, [each.grad for each in given]))
    return told


def finds(student, *cases):
    """Assert that attention finds what NumPy finds, in each case."""
    seen = looked(student, [(*case, None) for case in cases])
    for (found, _), case in zip(seen, cases, strict=True):
        assert_close(found, look(*case), symptoms=slips(*case))


def arrived(grad, expected, **options):
    """Assert that a gradient is the expected one, and say so if there is none at all."""
    symptom(CUT, grad is None)
    symptom(CUT, np.any(expected != 0) and not np.any(grad))
    assert_close(grad, expected, **options)


def drawn(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


def holes(rng, *shape):
    """A mask of -inf and of numbers; no row is all -inf."""
    mask = np.where(rng.random(shape) < 0.4, -np.inf, rng.normal(size=shape))
    mask[..., int(rng.integers(shape[-1]))] = 0.5
    return mask


class TestMask:
    @pytest.mark.points(3.5)
    def test_values(self, student, rng):
        """Row t has 0 up to column t, and -inf after it."""
        for length in (2, int(rng.integers(3, 8)), int(rng.integers(8, 30))):
            describe_input(f"a mask of length {length}")
            right = ahead(length)
            known = {
                OWN_PLACE: np.where(np.tri(length, k=-1) > 0, 0, -np.inf),
                TURNED: right.T,
                ZERO_ONE: lambda seen: bool(np.isin(seen, (0, 1)).all()),
                LARGE: lambda seen, n=length: seen.shape == (n, n) and bool(seen.min() < -1e3),
            }
            assert_close(student.causal_mask(length), right, symptoms=known)

    @pytest.mark.points(1)
    def test_one(self, student):
        """A single place may look at itself."""
        describe_input("a mask of length 1")
        assert_close(student.causal_mask(1), [[0.0]])

    @pytest.mark.points(1.5)
    def test_dtype(self, student):
        """The mask is in float32."""
        describe_input("the dtype of a mask")
        seen = student.causal_mask(4)
        assert seen.dtype == np.float32
        assert seen[1, 0] != seen[0, 1]


class TestAttention:
    @pytest.mark.points(4)
    def test_values(self, student, rng):
        """Each place takes the mean of the values, by its shares."""
        describe_input("q (4, 3), k (5, 3), v (5, 2)")
        finds(student, (*drawn(rng, (4, 3), (5, 3), (5, 2)), None))
        describe_input("q (2, 3, 5), k (2, 6, 5), v (2, 6, 4), and one axis more")
        finds(
            student,
            (*drawn(rng, (2, 3, 5), (2, 6, 5), (2, 6, 4)), None),
            (*drawn(rng, (2, 3, 4, 6), (2, 3, 4, 6), (2, 3, 4, 6)), None),
        )

    @pytest.mark.points(3)
    def test_as_pytorch(self, student):
        """Values and gradients are PyTorch's, with a mask and without."""
        for name, mask in (("plain", None), ("mask", MASK)):
            describe_input(
                "two sequences, three places that look at five"
                + " with a mask" * (mask is not None)
            )
            [(found, grads)] = looked(student, [(Q, K, V, mask, G)])
            assert_close(found, torch(f"{name} out", (2, 3, 2)), symptoms=slips(Q, K, V, mask))
            for each, grad, like in zip("qkv", grads, (Q, K, V), strict=True):
                arrived(grad, torch(f"{name} {each}", like.shape))

    @pytest.mark.points(6)
    @pytest.mark.parametrize("which", "qkv")
    def test_gradients(self, student, rng, which):
        """q, k and v each receive their gradient."""
        describe_input(f"the gradient of {which}: one sequence, and two of two heads")
        place = "qkv".index(which)
        for shapes in (((3, 4), (5, 4), (5, 2)), ((2, 2, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4))):
            q, k, v = drawn(rng, *shapes)
            g = rng.normal(size=(*q.shape[:-1], v.shape[-1]))
            [(_, grads)] = looked(student, [(q, k, v, None, g)])
            arrived(grads[place], look_back_through(g, q, k, v)[place])

    @pytest.mark.points(3)
    def test_mask(self, student, rng):
        """The mask is added to the scores, and broadcasts over batch and heads."""
        describe_input("a causal mask (4, 4), for three sequences")
        finds(student, (*drawn(rng, (3, 4, 2), (3, 4, 2), (3, 4, 2)), ahead(4)))
        describe_input("masks (4, 5), (2, 1, 4, 5) and (5,) of -inf and of numbers, two heads")
        q, k, v = drawn(rng, (2, 2, 4, 3), (2, 2, 5, 3), (2, 2, 5, 3))
        masks = holes(rng, 4, 5), holes(rng, 2, 1, 4, 5), holes(rng, 5)
        finds(student, *((q, k, v, mask) for mask in masks))

    @pytest.mark.points(2)
    def test_gradients_with_a_mask(self, student, rng):
        """What is hidden gets no gradient, what is seen its own, and nothing is NaN."""
        describe_input("a causal mask (4, 4), two sequences; the last value is seen once")
        q, k, v, g = drawn(rng, (2, 4, 3), (2, 4, 3), (2, 4, 2), (2, 4, 2))
        [(_, grads)] = looked(student, [(q, k, v, ahead(4), g)])
        for grad, right in zip(grads, look_back_through(g, q, k, v, ahead(4)), strict=True):
            arrived(grad, right)

    @pytest.mark.points(2)
    def test_large(self, student, rng):
        """Large scores, equal scores and equal values give no infinity."""
        q, k, v = drawn(rng, (4, 3), (5, 3), (5, 2))
        describe_input("scores of some ten thousands")
        finds(student, (300 * q, 300 * k, v, None), (300 * q, 300 * k, v, holes(rng, 4, 5)))
        describe_input("questions of zeros; equal offers; equal values")
        same = np.ones_like(k)
        finds(student, (0 * q, k, v, None), (q, same, v, ahead(5)[:4]), (q, k, 1 + 0 * v, None))

    @pytest.mark.points(1)
    def test_small(self, student, rng):
        """One place, one column, one value."""
        for shapes in (
            ((1, 3), (1, 3), (1, 2)),
            ((4, 1), (3, 1), (3, 1)),
            ((1, 1), (5, 1), (5, 1)),
        ):
            describe_input(f"q {shapes[0]}, k {shapes[1]}, v {shapes[2]}")
            finds(student, (*drawn(rng, *shapes), None))

    @pytest.mark.points(1)
    def test_dtype(self, student, rng):
        """float32 stays float32, with a mask in float32, and float64 stays float64."""
        q, k, v = drawn(rng, (4, 3), (4, 3), (4, 2))
        for dtype in ("float32", "float64"):
            describe_input(f"q, k, v and mask in {dtype}")
            each = [array.astype(dtype) for array in (q, k, v, ahead(4))]
            [(plain, _), (masked, _)] = looked(student, [(*each[:3], None, None), (*each, None)])
            assert plain.dtype == masked.dtype == dtype
            assert plain.shape == masked.shape == (4, 2)

    @pytest.mark.points(1)
    def test_leaves(self, student, rng):
        """q, k, v and the mask are as they were afterwards."""
        describe_input("arrays that are looked at again after attention and backward")
        arrays = [*drawn(rng, (2, 4, 3), (2, 4, 3), (2, 4, 2)), ahead(4)]
        left, changed = untouched(student, arrays, rng.normal(size=(2, 4, 2)))
        for seen, before in zip(left, arrays, strict=True):
            assert_close(seen, before, rtol=0, atol=0)
        assert changed


@run_in_worker
def untouched(arrays, g):
    """The arrays after attention and its backward, and whether it found anything."""
    import numpy as np

    from tinytorch import Tensor, enable_gradients

    enable_gradients()
    own = [np.array(array) for array in arrays]
    given = [Tensor(array, requires_grad=True) for array in own[:3]]
    out = scaled_dot_product_attention(*given, own[3])
    (out * np.array(g)).sum().backward()
    return own, bool(np.any(out.data != 0))


class TestBug:
    @pytest.mark.points(1)
    def test_ahead(self, student):
        """The first place gets two values, though only the second row differs."""
        x, y = (np.array(each, float) for each in student.breaks_it())
        assert x.shape == y.shape == (2, 1)
        assert np.isfinite([x, y]).all()
        assert x[0] == y[0]
        found = []
        for each in (x, y):
            scores = each @ each.T * np.tri(2)
            found.append((softmax(scores) @ each)[0, 0])
        assert abs(found[0] - found[1]) > 0.01


class TestLookBack:
    @pytest.mark.points(2)
    def test_shares(self, student, rng):
        """Each place that can has more than 0.99 of its share as far back as was asked."""
        for length, steps in (
            (int(rng.integers(5, 12)), 1),
            (20, int(rng.integers(2, 9))),
            (4, 3),
            (60, 7),
        ):
            describe_input(f"{length} places, {steps} back")
            q, k = (np.array(each, float) for each in student.look_back(length, steps))
            assert q.shape == k.shape == (length, length)
            seen = shares(q, k)[steps:]
            assert np.all(seen[np.arange(length - steps), np.arange(length - steps)] > 0.99)


@run_in_worker
def dealt(x, heads, parts, g):
    """split(x, heads), the join of other parts, and the gradient of x through split and join."""
    import numpy as np

    from tinytorch import Tensor, enable_gradients

    enable_gradients()
    x = Tensor(np.array(x), requires_grad=True)
    own = split(x, heads)
    whole = join(own)
    if whole.requires_grad:
        (whole * np.array(g)).sum().backward()
    return own.data, join(Tensor(np.array(parts))).data, x.grad


@run_in_worker
def headed(heads, layers, x, mask, g, lent):
    """What MultiHeadAttention finds with these weights and biases, and all gradients.

    If `lent`, attention, split and join are right ones. Weights are (in, out), whatever Linear's
    are.
    """
    import numpy as np

    from tinytorch import Tensor, enable_gradients
    from tinytorch import softmax as of_scores

    def right_attention(q, k, v, mask=None):
        scores = q @ k.transpose(*range(k.ndim - 2), -1, -2) / k.shape[-1] ** 0.5
        return of_scores(scores if mask is None else scores + mask) @ v

    def right_split(x, heads):
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def right_join(x):
        x = x.transpose(0, 2, 1, 3)
        return x.reshape(*x.shape[:2], -1)

    def lay(layer, w, b):
        """Give the layer these values; whether its weight is (out, in)."""
        for turned in (False, True):
            for p in layer.parameters():
                value = b if p.size == b.size else w.T if turned else w
                p.data = np.array(value).reshape(p.shape)
            if np.allclose(layer(Tensor(np.eye(len(w)))).data, w + b):
                return turned
        raise ValueError("no such Linear")

    right = {"scaled_dot_product_attention": right_attention, "split": right_split}
    right["join"] = right_join
    own = {name: globals().get(name) for name in right}
    enable_gradients()
    if lent:
        globals().update(right)
    try:
        made = MultiHeadAttention(x.shape[-1], heads)
        four = [made.q, made.k, made.v, made.out]
        turned = [lay(layer, *each) for layer, each in zip(four, layers, strict=True)]
        for p in made.parameters():
            p.requires_grad = True
        x = Tensor(np.array(x), requires_grad=True)
        out = made(x) if mask is None else made(x, np.array(mask))
        if g is None:
            return out.data, None, []
        if out.requires_grad:
            (out * np.array(g)).sum().backward()
        back = []
        for layer, is_turned in zip(four, turned, strict=True):
            w, b = sorted(layer.parameters(), key=lambda p: -p.size)
            back.append((w.grad.T if is_turned and w.grad is not None else w.grad, b.grad))
        return out.data, x.grad, back
    finally:
        globals().update(own)


def either_way(check):
    """Passes with the student's helpers, or with right ones."""
    any_passes(lambda: check(False), lambda: check(True))


def layers_drawn(rng, dim):
    return [(rng.normal(size=(dim, dim)) / dim**0.5, rng.normal(size=dim)) for _ in range(4)]


def heads_find(student, x, layers, heads, mask=None):
    """Assert that MultiHeadAttention finds what NumPy finds."""

    def check(lent):
        found, _, _ = headed(student, heads, layers, x, mask, None, lent)
        right = heads_found(x, layers, heads, mask)
        assert_close(found, right, symptoms=head_slips(x, layers, heads, mask))

    either_way(check)


class TestHeads:
    def columns(self, student, rng):
        """The other way to earn these points: the layer itself has its heads where they belong."""
        layers, x, g = layers_drawn(rng, 6), *drawn(rng, (2, 4, 6), (2, 4, 6))
        found, to_x, _ = headed(student, 3, layers, x, None, g, False)
        assert_close(found, heads_found(x, layers, 3), symptoms=head_slips(x, layers, 3))
        arrived(to_x, heads_back(g, x, layers, 3)[0])

    @pytest.mark.points(2)
    def test_split(self, student, rng):
        """Each head gets columns that stand together, of every place."""

        def check():
            for shape, heads in (((2, 3, 6), 3), ((3, 2, 8), 2), ((1, 4, 4), 4), ((2, 5, 3), 1)):
                describe_input(f"x of shape {shape}, {heads} heads")
                x = rng.normal(size=shape)
                each = shape[2] // heads
                turns = x.reshape(*shape[:2], each, heads).transpose(0, 3, 1, 2)
                known = {
                    INTERLEAVED: turns,
                    ROWS_MIXED: x.reshape(shape[0], heads, shape[1], each),
                }
                seen, _, _ = dealt(student, x, heads, deal(x, heads), x)
                assert_close(seen, deal(x, heads), symptoms=known)

        any_passes(check, lambda: self.columns(student, rng))

    @pytest.mark.points(2)
    def test_join(self, student, rng):
        """What was dealt out is put together again."""

        def check():
            for shape, heads in (((2, 3, 6), 3), ((3, 2, 8), 2), ((1, 4, 4), 4)):
                describe_input(f"x of shape {shape}, {heads} heads")
                x = rng.normal(size=shape)
                _, whole, _ = dealt(student, x, heads, deal(x, heads), x)
                assert_close(whole, x)

        any_passes(check, lambda: self.columns(student, rng))

    @pytest.mark.points(1)
    def test_gradient(self, student, rng):
        """A gradient comes back through both, to where it belongs."""

        def check():
            describe_input("x of shape (2, 3, 6), three heads")
            x, g = drawn(rng, (2, 3, 6), (2, 3, 6))
            parts, _, grad = dealt(student, x, 3, deal(x, 3), g)
            assert_close(np.shape(parts), (2, 3, 3, 2))
            arrived(grad, g)

        any_passes(check, lambda: self.columns(student, rng))


class TestMultiHead:
    @pytest.mark.points(4)
    def test_values(self, student, rng):
        """Every head looks by its own columns, and the fourth Linear mixes what they found."""
        for shape, heads in (((2, 3, 6), 2), ((3, 5, 6), 3), ((2, 4, 5), 1), ((2, 3, 4), 4)):
            describe_input(f"x of shape {shape}, heads: {heads}")
            heads_find(student, rng.normal(size=shape), layers_drawn(rng, shape[2]), heads)

    @pytest.mark.points(2)
    def test_mask(self, student, rng):
        """A mask holds for every sequence and every head."""
        x, layers = rng.normal(size=(3, 4, 6)), layers_drawn(rng, 6)
        describe_input("a causal mask (4, 4), three sequences, two heads")
        heads_find(student, x, layers, 2, ahead(4))
        describe_input("a mask (3, 1, 4, 4): another for each sequence")
        heads_find(student, x, layers, 2, holes(rng, 3, 1, 4, 4))

    @pytest.mark.points(2)
    def test_as_pytorch(self, student):
        """Values and gradients of two heads with a causal mask are PyTorch's."""
        describe_input("two sequences of three places, four columns, two heads")

        def check(lent):
            found, to_x, back = headed(student, 2, LAYERS, X, ahead(3), TO_X, lent)
            known = head_slips(X, LAYERS, 2, ahead(3))
            assert_close(found, torch("mha out", X.shape), symptoms=known)
            arrived(to_x, torch("mha x", X.shape))
            for name, (w, _) in zip(("q", "k", "v", "out"), back, strict=True):
                arrived(w, torch(f"mha {name} w", (4, 4)), atol=1e-8)

        either_way(check)

    def goes_back(self, student, rng):
        """Gradients as seen and as they should be, for a causal mask; a generator of both ways."""
        layers, x, g = layers_drawn(rng, 6), *drawn(rng, (2, 4, 6), (2, 4, 6))
        right = heads_back(g, x, layers, 3, ahead(4))

        def found(lent):
            _, to_x, back = headed(student, 3, layers, x, ahead(4), g, lent)
            return (to_x, back), right

        return found

    @pytest.mark.points(3)
    def test_gradients_of_weights(self, student, rng):
        """The weights of q, k, v and out each receive their gradient."""
        describe_input("two sequences of four places, three heads, a causal mask")
        found = self.goes_back(student, rng)

        def check(lent):
            (_, back), (_, right) = found(lent)
            for (w, _), (expected, _) in zip(back, right, strict=True):
                arrived(w, expected)

        either_way(check)

    @pytest.mark.points(1)
    def test_gradients_of_biases(self, student, rng):
        """So do the biases; that of k makes no difference to anything, so its gradient is 0."""
        describe_input("two sequences of four places, three heads, a causal mask")
        found = self.goes_back(student, rng)

        def check(lent):
            (_, back), (_, right) = found(lent)
            for place in (0, 2, 3):
                arrived(back[place][1], right[place][1])
            symptom(CUT, back[1][1] is None)
            assert_close(back[1][1], np.zeros(6), atol=1e-9)

        either_way(check)

    @pytest.mark.points(1)
    def test_gradient_of_the_input(self, student, rng):
        """The input receives what comes back through q, k and v."""
        describe_input("two sequences of four places, three heads, a causal mask")
        found = self.goes_back(student, rng)

        def check(lent):
            (to_x, _), (right, _) = found(lent)
            arrived(to_x, right)

        either_way(check)

    @pytest.mark.points(2)
    def test_future(self, student, rng):
        """With a causal mask, a later place changes nothing before it."""
        layers, x = layers_drawn(rng, 6), rng.normal(size=(2, 5, 6))
        for place in (4, 2, 1):
            describe_input(f"the places from {place} on are changed")
            changed = np.array(x)
            changed[:, place:] += rng.normal(size=(2, 5 - place, 6))

            def check(lent, changed=changed, place=place):
                (before, _, _), (after, _, _) = (
                    headed(student, 2, layers, each, ahead(5), None, lent) for each in (x, changed)
                )
                assert_close(np.shape(before), x.shape)
                assert_close(after[:, :place], before[:, :place], symptoms={SEES_AHEAD: _finite})
                assert np.all(np.abs(after[:, place:] - before[:, place:]).max(-1) > 1e-6)
                assert np.ptp(before[:, :, 0]) > 1e-6

            either_way(check)

    @pytest.mark.points(1.5)
    def test_permuted(self, student, rng):
        """Without a mask, places that change their order change it in what is found, no more."""
        layers, x, order = layers_drawn(rng, 6), rng.normal(size=(2, 5, 6)), [3, 0, 4, 2, 1]
        describe_input("five places in two orders")

        def check(lent):
            (before, _, _), (after, _, _) = (
                headed(student, 2, layers, each, None, None, lent) for each in (x, x[:, order])
            )
            assert_close(np.shape(before), x.shape)
            assert_close(after, before[:, order], symptoms={KNOWS_ORDER: _finite})
            assert np.ptp(before[0, :, 0]) > 1e-6

        either_way(check)

    @pytest.mark.points(1)
    def test_refuses(self, student):
        """A dim that is no multiple of heads is a ValueError, any other is none."""
        for dim, heads in ((6, 4), (5, 2), (3, 6)):
            describe_input(f"dim {dim}, heads {heads}")
            with pytest.raises(ValueError):
                student.MultiHeadAttention(dim, heads)
        describe_input("dim 6, heads 3")
        assert student.MultiHeadAttention(6, 3).heads == 3

    @pytest.mark.points(1)
    def test_parameters(self, student, rng):
        """Four Linear with biases, each drawn anew from the one generator."""
        seed = int(rng.integers(1000))
        describe_input("two layers of one seed, one of another")
        one, same, other = drawn_layers(student, 8, 2, [seed, seed, seed + 1])
        for layer, again, different in zip(one, same, other, strict=True):
            assert sorted(p.size for p in layer) == [8, 64]
            w, w_again, w_different = (max(each, key=np.size) for each in (layer, again, different))
            assert w.dtype == np.float32
            assert_close(w, w_again)
            assert np.all(w != w_different)
        weights = [max(each, key=np.size) for each in one]
        for n, w in enumerate(weights):
            for v in weights[:n]:
                assert np.all(w != v)

    @pytest.mark.points(1)
    def test_small(self, student, rng):
        """One sequence, one place, one column a head."""
        for shape, heads in (((1, 1, 4), 2), ((1, 3, 2), 2), ((4, 1, 2), 1)):
            describe_input(f"x of shape {shape}, heads: {heads}")
            heads_find(student, rng.normal(size=shape), layers_drawn(rng, shape[2]), heads)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """float32 stays float32, with a mask in float32."""
        describe_input("everything in float32")
        layers = [(w.astype("float32"), b.astype("float32")) for w, b in layers_drawn(rng, 4)]
        x, mask = rng.normal(size=(2, 3, 4)).astype("float32"), ahead(3).astype("float32")

        def check(lent):
            found, _, _ = headed(student, 2, layers, x, mask, None, lent)
            assert found.dtype == np.float32
            assert found.shape == x.shape

        either_way(check)


def _finite(seen):
    return bool(np.isfinite(seen).all())


@run_in_worker
def drawn_layers(dim, heads, seeds):
    """The parameters of q, k, v and out, for each seed."""
    import numpy as np

    told = []
    for seed in seeds:
        made = MultiHeadAttention(dim, heads, rng=np.random.default_rng(seed))
        four = [made.q, made.k, made.v, made.out]
        assert len(made.parameters()) == 8
        told.append([[p.data for p in layer.parameters()] for layer in four])
    return told


# Models: tokens, places, the student's attention with the student's mask, and a Linear.


@run_in_worker
def model(ids, heads, numbers, causal, places, steps):
    """First logits, losses of steps of SGD, and the last logits of a model.

    It guesses, at every place, the token that stands there in `ids` turned round.
    """
    import numpy as np

    from tinytorch import (
        SGD,
        Embedding,
        Linear,
        PositionalEmbedding,
        Tensor,
        cross_entropy,
        enable_gradients,
    )

    def lay(layer, w, b):
        for turned in (False, True):
            for p in layer.parameters():
                value = b if p.size == b.size else w.T if turned else w
                p.data = np.array(value).reshape(p.shape)
            if np.allclose(layer(Tensor(np.eye(len(w)))).data, w + b):
                return
        raise ValueError("no such Linear")

    enable_gradients()
    table, rows, layers, (w, b) = numbers
    token, place = Embedding(*table.shape), PositionalEmbedding(*rows.shape)
    attention, out = MultiHeadAttention(table.shape[1], heads), Linear(*w.shape)
    token.weight.data, place.weight.data = np.array(table), np.array(rows)
    four = [attention.q, attention.k, attention.v, attention.out]
    for layer, each in zip([*four, out], [*layers, (w, b)], strict=True):
        lay(layer, *each)
    parameters = token.parameters() + place.parameters() + attention.parameters()
    optimizer = SGD([*parameters, *out.parameters()], 0.1)

    def logits(ids):
        x = token(ids)
        x = place(x) if places else x
        x = attention(x, causal_mask(ids.shape[1])) if causal else attention(x)
        return out(x)

    first, losses = logits(ids).data, []
    for _ in range(steps):
        guessed = logits(ids).reshape(-1, len(b))
        loss = cross_entropy(guessed, ids[:, ::-1].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    return first, losses, logits(ids).data


def model_by_hand(ids, heads, numbers, causal, places, steps):
    """The same in NumPy, with every gradient written out."""
    table, rows, layers, (w, b) = numbers
    table, rows, layers = np.array(table), np.array(rows), [tuple(each) for each in layers]
    (batch, length), losses, first = ids.shape, [], None
    mask, targets = ahead(length) if causal else None, np.eye(len(b))[ids[:, ::-1]]
    while True:
        x = table[ids] + rows[:length] * places
        found = heads_found(x, layers, heads, mask)
        logits = found @ w + b
        first = logits if first is None else first
        if len(losses) == steps:
            return first, losses, logits
        shares = softmax(logits)
        losses.append(-np.log((shares * targets).sum(-1)).mean())
        to_logits = (shares - targets) / (batch * length)
        to_x, back = heads_back(to_logits @ w.T, x, layers, heads, mask)
        flat = found.reshape(-1, len(w))
        w = w - 0.1 * flat.T @ to_logits.reshape(-1, len(b))
        b = b - 0.1 * to_logits.sum((0, 1))
        layers = [
            (weight - 0.1 * to_w, bias - 0.1 * to_b)
            for (weight, bias), (to_w, to_b) in zip(layers, back, strict=True)
        ]
        grad = np.zeros_like(table)
        np.add.at(grad, ids, to_x)
        table = table - 0.1 * grad
        rows[:length] -= 0.1 * to_x.sum(0) * places


def numbers_drawn(rng, count=6, length=7, dim=6):
    shapes = (count, dim), (length, dim)
    last = rng.normal(size=(dim, count)) / dim**0.5, rng.normal(size=count)
    return *drawn(rng, *shapes), layers_drawn(rng, dim), last


class TestWhole:
    @pytest.mark.points(10)
    def test_a_model_trains(self, student, rng):
        """A model with causal attention takes 15 steps, each where it should."""
        describe_input("four sequences of five tokens, two heads, 15 steps of SGD")
        data = rng.integers(0, 6, (4, 5)), 2, numbers_drawn(rng), True, True, 15
        first, losses, last = model(student, *data)
        right = model_by_hand(*data)
        assert_close(first, right[0])
        assert_close(losses, right[1], rtol=1e-5)
        assert_close(last, right[2], rtol=1e-4, atol=1e-6)

    @pytest.mark.points(6)
    def test_no_future(self, student, rng):
        """In a model with a causal mask a changed token changes its own place, and none before."""
        numbers, ids = numbers_drawn(rng), rng.integers(0, 6, (2, 6))
        before, _, _ = model(student, ids, 3, numbers, True, True, 0)
        assert_close(before, model_by_hand(ids, 3, numbers, True, True, 0)[0])
        for place in (5, 3, 1):
            describe_input(f"two sequences of six tokens; that at place {place} is changed")
            changed = np.array(ids)
            changed[:, place] = (changed[:, place] + 1) % 6
            after, _, _ = model(student, changed, 3, numbers, True, True, 0)
            assert_close(after[:, :place], before[:, :place], symptoms={SEES_AHEAD: _finite})
            assert np.all(np.abs(after[:, place] - before[:, place]).max(-1) > 1e-6)

    @pytest.mark.points(4)
    def test_order(self, student, rng):
        """Without a mask a model knows the order by its positions alone."""
        numbers, ids = numbers_drawn(rng), rng.permutation(6)[None, :5]
        order = [2, 4, 0, 1, 3]
        for places in (False, True):
            describe_input("five tokens in two orders" + ", with positions" * places)
            seen, moved = (
                model(student, those, 2, numbers, False, places, 0)[0]
                for those in (ids, ids[:, order])
            )
            assert_close(seen, model_by_hand(ids, 2, numbers, False, places, 0)[0])
            same = np.allclose(moved, seen[:, order])
            symptom(KNOWS_ORDER, same is places)
