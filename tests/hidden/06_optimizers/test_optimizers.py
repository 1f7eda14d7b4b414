"""Hidden tests of 06_optimizers.

`walk` says in NumPy where the formulas take parameters, and where typical slips do. Ten steps of
each optimizer are PyTorch's own. What a test looks at is tried on the student's classes as they
are, and once more with a right helper in the place of the student's (`step` for the formulas, a
plain `update` for `step`): a region earns the better of the two, so one wrong piece does not sink
the others, and classes of another make are as good as the notebook's.

`Whole` has no such way round: each optimizer trains a model on the upgraded Tensor, or does not.
"""

import numpy as np
import pytest

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
)

DAMPENED = Misconception(
    "dampened", "The velocity is a sum: the new gradient counts in full, not by 1 - momentum."
)
RATE_INSIDE = Misconception(
    "rate in the velocity",
    "Right while lr stays as it is: does the velocity remember gradients, or steps?",
)
BESIDE = Misconception(
    "decay beside the step", "This decay goes with the gradient: through velocity, means and root."
)
AHEAD = Misconception("look ahead", "This is Nesterov's momentum: a step goes along v itself.")
UPHILL = Misconception("uphill", "The parameter goes along its gradient: which way does loss fall?")
SHARED = Misconception(
    "one memory for all",
    "Right for one parameter, not for several: has each its own velocity, or its own means?",
)
UNCORRECTED = Misconception(
    "no correction", "Means that start at 0 are too small at first: divide by 1 - beta**t."
)
UNDER_ROOT = Misconception(
    "eps under the root", "eps stands beside the root: it shows where gradients are tiny."
)
CORRECTION_KEPT = Misconception(
    "correction kept", "What is remembered are the means as they are; only the step is corrected."
)
SWAPPED = Misconception(
    "betas exchanged", "The first beta is the gradient's, the second its square's."
)
OWN_COUNT = Misconception(
    "own count",
    "A gradient that comes late is corrected by the optimizer's t, not by a count of its own.",
)
COUPLED = Misconception(
    "decay through the root", "AdamW's decay is no gradient: it must not pass through the means."
)
RATELESS = Misconception("decay without the rate", "AdamW takes off lr * weight_decay * p.")
IN_PLACE = Misconception(
    "written into the old array", "An array that somebody else may hold was written into."
)
SCALAR = Misconception("a scalar", "Of an array of shape () NumPy's arithmetic makes a scalar.")
NONE_MOVES = Misconception(
    "no gradient, and it moves", "A parameter whose gradient is None stays where it is."
)
AFTER_TOTAL = Misconception("rises again", "After step = total the rate stays at the floor.")
FROM_ZERO = Misconception("climbs from 0", "The first step of the climb has a rate above 0.")
OLDEST_FIRST = Misconception(
    "oldest first", "The last gradient counts in full, the first the least."
)
SINGLE = Misconception(
    "nearly right",
    "All here is float64, and only the first digits agree: does something become float32 on the"
    " way, or does eps stand elsewhere?",
)
GRADIENT = Misconception("written into the gradients", "A gradient is not what it was before.")

KINDS = ("SGD", "Adam", "AdamW")
EACH = pytest.mark.parametrize("kind", KINDS)


# The formulas, and slips of them.


def advance(kind, p, g, memory, t, lr, options, slip=""):
    """Where step t takes an array `p` with gradient `g`; `memory` keeps velocity or means."""
    decay = options.get("weight_decay", 0.01 if kind == "AdamW" else 0.0)
    if kind == "SGD":
        mu = options.get("momentum", 0.0)
        beside = slip == BESIDE.name
        g = g if beside else g + decay * p
        v = memory["v"] = mu * memory.get("v", 0) + {
            DAMPENED.name: (1 - mu) * g,
            RATE_INSIDE.name: lr * g,
        }.get(slip, g)
        step = {RATE_INSIDE.name: v, AHEAD.name: lr * (g + mu * v), UPHILL.name: -lr * v}
        return p - step.get(slip, lr * v) - (lr * decay * p if beside else 0)
    one, two = options.get("betas", (0.9, 0.999))[:: -1 if slip == SWAPPED.name else 1]
    eps = options.get("eps", 1e-8)
    if (kind == "Adam") == (slip not in (BESIDE.name, COUPLED.name)):
        g, loss = g + decay * p, 0
    else:
        loss = decay * p * (1 if slip == RATELESS.name else lr)
    memory["n"] = memory.get("n", 0) + 1
    m = memory["m"] = one * memory.get("m", 0) + (1 - one) * g
    s = memory["s"] = two * memory.get("s", 0) + (1 - two) * g * g
    if slip != UNCORRECTED.name:
        t = memory["n"] if slip == OWN_COUNT.name else t
        m, s = m / (1 - one**t), s / (1 - two**t)
    if slip == CORRECTION_KEPT.name:
        memory["m"], memory["s"] = m, s
    size = np.sqrt(s + eps) if slip == UNDER_ROOT.name else np.sqrt(s) + eps
    return p - lr * m / size * (-1 if slip == UPHILL.name else 1) - loss


def walk(kind, starts, rows, options, rates, slip=""):
    """The parameters after each step, all in one row: an array (steps, numbers)."""
    values = [np.array(start, dtype=np.float64) for start in starts]
    shared, memories = {}, [{} for _ in starts]
    places = []
    for t, (row, lr) in enumerate(zip(rows, rates, strict=True), 1):
        for k, g in enumerate(row):
            if g is not None:
                memory = shared if slip == SHARED.name else memories[k]
                values[k] = advance(kind, values[k], g, memory, t, lr, options, slip)
        places.append(np.concatenate([np.ravel(value) for value in values]))
    return np.array(places)


def known(kind, starts, rows, options, rates, *misconceptions):
    """Which slip explains what was seen: symptoms for assert_close, worked out when needed.

    One that makes next to no difference here explains nothing.
    """
    right = walk(kind, starts, rows, options, rates)

    def explains(slip):
        def seen(found):
            try:
                wrong = walk(kind, starts, rows, options, rates, slip)
            except ValueError:  # shapes that one memory cannot hold together
                return False
            near = np.allclose(wrong, right, rtol=1e-6, atol=1e-6)
            return found.shape == wrong.shape and not near and np.allclose(found, wrong, rtol=1e-6)

        return seen

    return {each: explains(each.name) for each in misconceptions}


ALL = {
    "SGD": (DAMPENED, RATE_INSIDE, BESIDE, AHEAD, UPHILL, SHARED),
    "Adam": (UNCORRECTED, UNDER_ROOT, CORRECTION_KEPT, SWAPPED, BESIDE, OWN_COUNT, UPHILL, SHARED),
    "AdamW": (COUPLED, RATELESS, UPHILL, SHARED),
}


@run_in_worker
def walked(kind, given, options, starts, rows, rates, lent, resumed=False):
    """What an optimizer makes of parameters: three arrays (steps, numbers).

    They hold the parameters after each step, and the parameters and gradients before it as their
    arrays are at the end. `given` are the
    arguments after the parameters, `rows` a list of gradients for each step, `rates` what lr is set
    to before each (None: left). If `lent`, step is a right one, and so is what AdamW finds in Adam.
    If `resumed`, the last step is taken by a new optimizer, with the parameters in another order,
    to which state and t were given.
    """
    import numpy as np

    from tinytorch import Tensor

    def step(self):
        self.t += 1
        for p, state in zip(self.params, self.state, strict=True):
            if p.grad is not None:
                p.data = np.array(self.update(p.data, p.grad, state), dtype=p.data.dtype)

    def update(self, value, grad, state):
        one, two = self.betas
        grad = grad + getattr(self, "weight_decay", 0.0) * value
        state["one"] = state.get("one", 0) * one + (1 - one) * grad
        state["two"] = state.get("two", 0) * two + (1 - two) * grad * grad
        size = (state["two"] / (1 - two**self.t)) ** 0.5 + self.eps
        return value - self.lr * (state["one"] / (1 - one**self.t)) / size

    def flat(arrays):
        return np.concatenate([np.ravel(array) for array in arrays])

    pieces = [("Optimizer", "step", step)] if lent else []
    if lent and kind == "AdamW":
        pieces.append(("Adam", "update", update))
    before = []
    for name, piece, right in pieces:
        owner = globals()[name]
        before.append((owner, piece, vars(owner).get(piece)))
        setattr(owner, piece, right)
    try:
        tensors = [Tensor(np.array(start)) for start in starts]
        optimizer = globals()[kind](tensors, *given, **options)
        places, held, grads = [], [], []
        for row, rate in zip(rows, rates or [None] * len(rows), strict=True):
            if resumed and len(places) == len(rows) - 1:
                state = [{k: np.array(v) for k, v in kept.items()} for kept in optimizer.state]
                t, others = optimizer.t, [*tensors[1:], tensors[0]]
                optimizer = globals()[kind](others, *given, **options)
                optimizer.state, optimizer.t = [*state[1:], state[0]], t
            if rate is not None:
                optimizer.lr = rate
            for tensor, g in zip(tensors, row, strict=True):
                tensor.grad = None if g is None else np.array(g)
            held.append([tensor.data for tensor in tensors])
            grads.append([tensor.grad for tensor in tensors if tensor.grad is not None])
            optimizer.step()
            places.append(flat([tensor.data for tensor in tensors]))
    finally:
        for owner, piece, old in before:
            if old is None:
                delattr(owner, piece)
            else:
                setattr(owner, piece, old)
    return np.array(places), np.array([flat(row) for row in held]), [flat(row) for row in grads]


def goes(
    student,
    kind,
    starts,
    rows,
    lr,
    options,
    *,
    given=None,
    rates=None,
    expected=None,
    resumed=False,
):
    """Assert that an optimizer takes parameters where the formulas do, at each step.

    It is made of `given`, by position; without that, of lr and `options` by name.
    """
    named = {}
    if given is None:
        given, named = [], {"lr": lr, **options}
    every = rates or [lr] * len(rows)
    right = walk(kind, starts, rows, options, every) if expected is None else expected
    symptoms = known(kind, starts, rows, options, every, *ALL[kind])
    if all(start.dtype == np.float64 for start in starts):
        symptoms[SINGLE] = lambda seen: (
            seen.shape == right.shape and np.allclose(seen, right, rtol=1e-5, atol=1e-6)
        )

    def check(lent):
        seen, *_ = walked(student, kind, given, named, starts, rows, rates, lent, resumed)
        assert_close(seen, right, symptoms=symptoms)

    any_passes(lambda: check(False), lambda: check(True))


def leaves(student, kind, rng, options):
    """Assert that a step writes neither into the old values nor into the gradients."""
    starts, rows = several(rng, 3)
    describe_input("arrays of values and gradients, looked at again after three steps")

    def check(lent):
        data = kind, [0.1], options, starts, rows, None, lent
        places, held, grads = walked(student, *data)
        begin = np.concatenate([np.ravel(start) for start in starts])
        symptoms = {IN_PLACE: lambda seen: seen.shape == places.shape}
        assert_close(held, [begin, *places[:-1]], atol=0, rtol=0, symptoms=symptoms)
        right = [np.concatenate([np.ravel(g) for g in row]) for row in rows]
        assert_close(grads, right, atol=0, rtol=0, symptoms={GRADIENT: lambda seen: True})
        assert np.all(places[0] != begin)

    any_passes(lambda: check(False), lambda: check(True))


SHAPES = (3,), (2, 3), (), (1, 2)
ALIKE = ((2, 3),) * 3


def several(rng, steps=5, shapes=SHAPES):
    """Parameters, four of different shapes, with a gradient each, for each step.

    No gradient is small: where eps stands is the business of one test.
    """
    starts = [np.array(rng.normal(size=shape)) for shape in shapes]
    return starts, [
        [np.array(rng.choice([-1, 1], shape) * rng.uniform(0.5, 2, shape)) for shape in shapes]
        for _ in range(steps)
    ]


# What torch.optim of PyTorch 2.14.1 does on the CPU in float64, in ten steps from these numbers by
# these gradients, with lr=0.1 and the options that the tests name. "rates" sets
# param_groups[0]["lr"] to 0.1 / t before step t.
START = np.array([1.0, -2.0, 0.5])
SIZES = np.array([3.0, 0.5, 1.0])
ROWS = [
    [SIZES * (1.5 + np.sin([1.0 + 0.7 * t, 2.0 + 0.4 * t, 0.3 + 1.9 * t])) * (-1) ** (t // 3)]
    for t in range(10)
]
TORCH = {
    "SGD": """
         0.2925587046 -2.1104648713  0.3179479793   -1.0931006980 -2.3081040902 -0.0783382195
        -2.9873676110 -2.5661882743 -0.5027763963   -4.2147967959 -2.7135518057 -0.7601984233
        -5.0319664456 -2.7797372471 -0.7381831212   -5.5855183334 -2.7882455830 -0.6013263467
        -6.2407510440 -2.8093817536 -0.5489502595   -7.1370937289 -2.8395491679 -0.7349832112
        -8.4515790858 -2.8833293622 -1.0693846999   -8.8872270253 -2.8648782222 -1.3142650542
    """,
    "SGD, rates": """
         0.2975587046 -2.1204648713  0.3204479793   -0.3922896000 -2.2290606430  0.1242247498
        -1.0237449007 -2.3248012418 -0.0162332841   -1.3343586791 -2.3714058228 -0.0805278445
        -1.5047120729 -2.3943863255 -0.0768411012   -1.6063536242 -2.4054283900 -0.0551840292
        -1.7111861928 -2.4178636821 -0.0490202367   -1.8359714656 -2.4308054458 -0.0736557728
        -1.9961843960 -2.4445841087 -0.1123249515   -2.0554437710 -2.4514011589 -0.1385735800
    """,
    "Adam": """
         0.9000000001 -2.0999999992  0.4000000006    0.7998863274 -2.1996046378  0.3001255031
         0.7002974694 -2.2980734201  0.2104289990    0.6447402058 -2.3523203263  0.1642776986
         0.6097002986 -2.3826746837  0.1667367475    0.5858415224 -2.3991701547  0.1827328232
         0.5582479868 -2.4200225226  0.1878103009    0.5225856657 -2.4441453824  0.1678924083
         0.4752786137 -2.4723500419  0.1351273753    0.4578541499 -2.4874202100  0.1107381362
    """,
    "Adam, options": """
         0.9000138400 -2.0998758764  0.4000527281    0.7998219981 -2.1985178852  0.2997762063
         0.7004662902 -2.2934354746  0.2116689192    0.6516966995 -2.2951474018  0.1724698456
         0.6264008096 -2.2625065918  0.1873588450    0.6133467915 -2.2125524293  0.2159716120
         0.5927710998 -2.1664670455  0.2267558133    0.5589413492 -2.1227499118  0.2015418977
         0.5073224519 -2.0827367144  0.1592207072    0.4995793358 -2.0256992131  0.1307356321
    """,
    "AdamW": """
         0.8990000001 -2.0979999992  0.3995000006    0.7979873274 -2.1955066378  0.2992260031
         0.6976004821 -2.2917799134  0.2092302730    0.6413456180 -2.3437350397  0.1628697423
         0.6056643651 -2.3717456621  0.1651659215    0.5811999246 -2.3858693874  0.1809968313
         0.5530251891 -2.4043358859  0.1858933121    0.5168098428 -2.4260544099  0.1657895262
         0.4689859809 -2.4518330150  0.1328587037    0.4510925312 -2.4644513501  0.1083366058
    """,
    "AdamW, decay": """
         0.8800000001 -2.0599999992  0.3900000006    0.7622863274 -2.1184046378  0.2823255031
         0.6474517428 -2.1745053273  0.1869824889    0.5789454444 -2.1852621270  0.1370915387
         0.5323266283 -2.1719112418  0.1368087569    0.4978213195 -2.1449684880  0.1500686575
         0.4602713576 -2.1229214862  0.1521447620    0.4154036093 -2.1045859163  0.1291839742
         0.3597884851 -2.0906988575  0.0938352617    0.3351682516 -2.0639550484  0.0675693173
    """,
}


def as_torch(student, kind, options, name, rates=None, given=None):
    """Assert that ten steps are PyTorch's."""
    describe_input("three float64 numbers, and gradients of different sizes, for ten steps")
    goes(
        student,
        kind,
        [START],
        ROWS,
        0.1,
        options,
        rates=rates,
        given=given,
        expected=np.array(TORCH[name].split(), float).reshape(10, 3),
    )


# What step, zero_grad and the rest do, whatever the formula.


@run_in_worker
def stepped(kind, starts, rows, rate, clear, plain, resumed=False, shift=0.0):
    """What becomes of parameters, of the arrays that they held, and of gradients.

    Returns copies of the arrays after each step; those held at first, as they are at the end; the
    gradients after each step, and if `clear` after zero_grad; what t was, at first and after each
    step; whether each parameter is marked. If `plain`, `update` is one that rolls and shrinks, in a
    class of our own if there is none of that name. `resumed` as for `walked`.
    Before the last step somebody else moves all parameters by `shift`; before zero_grad, somebody
    unmarks one.
    """
    import copy

    import numpy as np

    from tinytorch import Tensor

    def update(self, value, grad, state):
        state["rolling"] = 0.5 * state.get("rolling", 0) + grad + 0.1 * value
        return value - self.lr * state["rolling"]

    made = plain and kind not in globals()
    make = type("Made", (Optimizer,), {}) if made else globals()[kind]
    options = {} if made else {"weight_decay": 0.1}
    if kind == "SGD" and not made:
        options["momentum"] = 0.5
    old = vars(make).get("update")
    if plain:
        make.update = update
    try:
        tensors = [Tensor(np.array(start)) for start in starts]
        optimizer = make(iter(tensors), lr=rate, **options)
        counts = [optimizer.t]
        marked = [bool(tensor.requires_grad) for tensor in tensors]
        places, held, left = [], [tensor.data for tensor in tensors], []
        for row in rows:
            if resumed and len(places) == len(rows) - 1:
                state, others = optimizer.state, [*tensors[1:], tensors[0]]
                t, optimizer = optimizer.t, make(others, lr=rate, **options)
                optimizer.state, optimizer.t = [*state[1:], state[0]], t
            if shift and len(places) == len(rows) - 1:
                for tensor in tensors:
                    tensor.data = np.array(tensor.data + shift)
            grads = [None if g is None else np.array(g) for g in row]
            for tensor, g in zip(tensors, grads, strict=True):
                tensor.grad = g
            optimizer.step()
            counts.append(optimizer.t)
            places.append([copy.copy(tensor.data) for tensor in tensors])  # a scalar stays one
            left.append([tensor.grad for tensor in tensors])
        if clear:
            tensors[2].requires_grad = False
            optimizer.zero_grad()
            left.append([tensor.grad for tensor in tensors])
    finally:
        if plain and old is None:
            del make.update
        elif plain:
            make.update = old
    return places, held, left, counts, marked


def each_kind(student, check, starts, rows, rate=0.1, clear=False, shift=0.0):
    """`check` what becomes of the parameters: by each optimizer, or with a plain update in it."""
    for kind in KINDS:

        def attempt(plain, kind=kind):
            check(*stepped(student, kind, starts, rows, rate, clear, plain, False, shift))

        any_passes(lambda: attempt(False), lambda: attempt(True))


class TestStep:
    @pytest.mark.points(2)
    def test_none(self, student, rng):
        """Whose gradient is None stays exactly as it is; the others move, also those behind it."""
        starts, rows = several(rng, 3)
        rows[1] = [rows[1][0], None, rows[1][2], None]
        rows[2] = [None, *rows[2][1:]]
        describe_input("four parameters, of which one or two have no gradient in some steps")

        def check(places, *_):
            for step, k in ((1, 1), (1, 3), (2, 0)):
                symptoms = {NONE_MOVES: lambda seen, k=k: seen.shape == starts[k].shape}
                assert_close(
                    places[step][k], places[step - 1][k], atol=0, rtol=0, symptoms=symptoms
                )
            for step, k in ((1, 0), (1, 2), (2, 1), (2, 2), (2, 3)):
                assert np.all(places[step][k] != places[step - 1][k])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(0.5)
    def test_zeros(self, student, rng):
        """A gradient of zeros is a gradient: velocity, means and decay move the parameter on."""
        starts, rows = several(rng, 2)
        rows[1] = [np.zeros_like(g) for g in rows[1]]
        describe_input("four parameters with random gradients, then gradients of zeros")

        def check(places, *_):
            for k in range(4):
                assert np.all(places[1][k] != places[0][k])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("dtype", ["float32", "float64", "mixed"])
    def test_dtype(self, student, rng, dtype):
        """A parameter keeps its dtype, whatever the types of lr and gradient."""
        starts, rows = several(rng, 2)
        mixed = dtype == "mixed"
        dtypes = ["float64", "float32", "float32", "float64"] if mixed else [dtype] * 4
        starts = [start.astype(kind) for start, kind in zip(starts, dtypes, strict=True)]
        if mixed:  # a gradient's is that of its neighbour
            dtypes = dtypes[1:] + dtypes[:1]
        rows = [[g.astype(kind) for g, kind in zip(row, dtypes, strict=True)] for row in rows]
        kinds = "float32 and float64, with gradients of either" if mixed else dtype
        for rate in (0.1, np.float64(0.1), np.float32(0.1)):
            describe_input(f"parameters in {kinds}; lr of type {type(rate).__name__}")

            def check(places, *_):
                for k in range(4):
                    assert places[1][k].dtype == starts[k].dtype
                    assert np.all(places[1][k] != places[0][k])

            each_kind(student, check, starts, rows, rate)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_shapes(self, student, rng, dtype):
        """A parameter keeps its shape, and one of shape () stays an array."""
        starts, rows = several(rng, 2)
        starts = [start.astype(dtype) for start in starts]
        rows = [[g.astype(dtype) for g in row] for row in rows]
        describe_input(f"{dtype} parameters of shapes (3,), (2, 3), () and (1, 2)")

        def check(places, *_):
            for k in range(4):
                if type(places[1][k]) is not np.ndarray and np.shape(places[1][k]) == ():
                    with recognise(SCALAR, TypeError):
                        raise TypeError
                assert type(places[1][k]) is np.ndarray
                assert places[1][k].shape == starts[k].shape
                assert np.all(places[1][k] != starts[k])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(1.5)
    def test_new_arrays(self, student, rng):
        """A step gives a parameter a new array: the old one, which others may hold, stays."""
        starts, rows = several(rng, 2)
        describe_input("four parameters whose arrays somebody else holds, too")

        def check(places, held, *_):
            for k in range(4):
                symptoms = {IN_PLACE: lambda seen, k=k: seen.shape == starts[k].shape}
                assert_close(held[k], starts[k], atol=0, rtol=0, symptoms=symptoms)
                assert np.all(places[0][k] != starts[k])
                assert np.all(places[1][k] != places[0][k])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(0.5)
    def test_moved_by_others(self, student, rng):
        """A step starts where a parameter is then, also if somebody else has moved it."""
        starts, rows = several(rng, 3)
        describe_input("four parameters that are moved by 100 before the third step")

        def check(places, *_):
            for k in range(4):
                assert np.all(np.abs(places[2][k] - places[1][k] - 100) < 20)
                assert np.all(places[2][k] != places[1][k] + 100)

        each_kind(student, check, starts, rows, shift=100.0)

    @pytest.mark.points(0.5)
    def test_gradients_stay(self, student, rng):
        """A step leaves the gradients as they are."""
        starts, rows = several(rng, 3)
        describe_input("four parameters, their gradients after each of three steps")

        def check(places, held, left, *_):
            for step in range(3):
                for k in range(4):
                    symptoms = {GRADIENT: lambda seen: True}
                    assert_close(left[step][k], rows[step][k], atol=0, rtol=0, symptoms=symptoms)
            assert np.all(places[2][1] != places[1][1])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(0.5)
    def test_count(self, student, rng):
        """t counts the steps, not the parameters or the gradients; it is 0 before the first."""
        starts, rows = several(rng, 4)
        rows[1], rows[2] = [None] * 4, [None, None, rows[2][2], None]
        describe_input("four steps of four parameters, of which all, none or one has a gradient")

        def check(places, held, left, counts, *_):
            assert counts == [0, 1, 2, 3, 4]

        each_kind(student, check, starts, rows)

    @pytest.mark.points(1)
    def test_zero_grad(self, student, rng):
        """zero_grad makes every gradient None."""
        starts, rows = several(rng, 1)
        rows[0][1] = None
        describe_input("four parameters: one has no gradient as it is, one is no longer marked")

        def check(places, held, left, *_):
            assert left[0][3] is not None
            assert left[1] == [None] * 4

        each_kind(student, check, starts, rows, clear=True)

    @pytest.mark.points(0.5)
    def test_marked(self, student, rng):
        """An optimizer marks its parameters, which may come from a generator."""
        starts, rows = several(rng, 1)

        def check(places, held, left, counts, marked):
            assert marked == [True] * 4
            assert np.all(places[0][1] != starts[1])

        each_kind(student, check, starts, rows)

    @pytest.mark.points(2)
    def test_dictionaries(self, student, rng):
        """Each parameter has a dictionary of its own, at its place in `state`, which is kept."""
        starts, rows = several(rng, 4, ALIKE)
        rows[1][0] = None
        describe_input(
            "three parameters that roll on; in the second step the first has no gradient, before"
            " the last all change places"
        )
        data = "SGD", starts, rows, {"momentum": 0.5, "weight_decay": 0.1}, [0.1] * 4
        right = walk(*data).reshape(4, 3, 2, 3)
        shared = walk(*data, SHARED.name).reshape(4, 3, 2, 3)

        def check(plain):
            places, *_ = stepped(student, "SGD", starts, rows, 0.1, False, plain, True)
            for k in (1, 2):  # whether the first stood still is test_none's business
                assert_close(places[2][k], right[2, k], symptoms={SHARED: shared[2, k]})
                assert_close(places[3][k], right[3, k])

        any_passes(lambda: check(False), lambda: check(True))


class TestSgd:
    @pytest.mark.points(3)
    def test_as_pytorch(self, student):
        """Ten steps with momentum and decay end, each of them, where PyTorch's do."""
        options = {"momentum": 0.9, "weight_decay": 0.05}
        as_torch(student, "SGD", options, "SGD", given=[0.1, 0.9, 0.05])

    @pytest.mark.points(1.5)
    def test_plain(self, student, rng):
        """Without momentum and decay a step is lr times the gradient."""
        starts, rows = several(rng)
        for dtype in ("float64", "float32"):
            describe_input(f"four {dtype} parameters, five steps, lr alone")
            given = [start.astype(dtype) for start in starts]
            grads = [[g.astype(dtype) for g in row] for row in rows]
            goes(student, "SGD", given, grads, rng.uniform(0.05, 0.2), {})

    @pytest.mark.points(2.5)
    def test_momentum(self, student, rng):
        """Each parameter rolls on with a velocity of its own: v = momentum * v + g."""
        starts, rows = several(rng, shapes=ALIKE)
        rows[3][0] = np.zeros((2, 3))
        describe_input("three parameters, five steps with momentum, one gradient of zeros")
        goes(student, "SGD", starts, rows, 0.1, {"momentum": rng.uniform(0.5, 0.95)})

    @pytest.mark.points(2)
    def test_decay(self, student, rng):
        """weight_decay times the value is added to the gradient."""
        starts, rows = several(rng)
        describe_input("four parameters, five steps with decay and no momentum")
        goes(student, "SGD", starts, rows, 0.1, {"weight_decay": rng.uniform(0.1, 0.5)})

    @pytest.mark.points(1.5)
    def test_rate(self, student):
        """lr may change before a step, and that step obeys: ten of them, as PyTorch's."""
        rates = [0.1 / t for t in range(1, 11)]
        as_torch(student, "SGD", {"momentum": 0.9}, "SGD, rates", rates)

    @pytest.mark.points(1)
    def test_state(self, student, rng):
        """All that is remembered stands in `state` and `t`: put back, they go on as before."""
        starts, rows = several(rng)
        rows[1][1] = None
        describe_input("four steps; the fifth by a new optimizer, with the old one's state and t")
        goes(student, "SGD", starts, rows, 0.1, {"momentum": 0.8}, resumed=True)

    @pytest.mark.points(0.5)
    def test_leaves(self, student, rng):
        """A step writes neither into the old values nor into the gradients."""
        leaves(student, "SGD", rng, {"momentum": 0.8})
        leaves(student, "SGD", rng, {"weight_decay": 0.1})


class TestAdam:
    @pytest.mark.points(4)
    def test_as_pytorch(self, student):
        """Ten steps with the usual betas end, each of them, where PyTorch's do."""
        as_torch(student, "Adam", {}, "Adam", given=[0.1])

    @pytest.mark.points(2.5)
    def test_options(self, student):
        """Ten steps with other betas, eps and decay, by position, end where PyTorch's do."""
        options = {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}
        given = [0.1, (0.8, 0.95), 1e-3, 0.2]
        as_torch(student, "Adam", options, "Adam, options", given=given)

    @pytest.mark.points(2.5)
    def test_several(self, student, rng):
        """Each parameter has means of its own, and the betas that were asked for."""
        starts, rows = several(rng, shapes=ALIKE)
        options = {"betas": (rng.uniform(0.5, 0.8), rng.uniform(0.9, 0.99))}
        for dtype in ("float64", "float32"):
            describe_input(f"three {dtype} parameters, five steps, betas given by name")
            given = [start.astype(dtype) for start in starts]
            grads = [[g.astype(dtype) for g in row] for row in rows]
            goes(student, "Adam", given, grads, 0.1, options)

    @pytest.mark.points(1.5)
    def test_decay(self, student, rng):
        """weight_decay times the value is added to the gradient, before the means."""
        starts, rows = several(rng)
        describe_input("four parameters, five steps with decay")
        goes(student, "Adam", starts, rows, 0.05, {"weight_decay": rng.uniform(0.3, 1)})

    @pytest.mark.points(1.5)
    def test_rate(self, student, rng):
        """lr may change before a step, and that step obeys."""
        starts, rows = several(rng)
        describe_input("four parameters, another rate for each of five steps")
        goes(student, "Adam", starts, rows, 0.1, {}, rates=list(rng.uniform(0.01, 0.2, size=5)))

    @pytest.mark.points(2)
    def test_late(self, student, rng):
        """A parameter whose first gradient comes late is corrected by the same t as the others."""
        starts, rows = several(rng, 6)
        for step in range(3):
            rows[step][1] = None
        rows[4][0] = None
        describe_input("a parameter whose first gradient comes in the fourth of six steps")
        goes(student, "Adam", starts, rows, 0.1, {})

    @pytest.mark.points(1)
    def test_no_slope(self, student, rng):
        """Where the gradient has always been 0, a parameter stays, and nothing becomes NaN."""
        starts, rows = several(rng, 3)
        for row in rows:
            row[1][:, 0] = 0.0
            row[2] = np.zeros(())
        describe_input("gradients with entries that are always exactly 0")
        goes(student, "Adam", starts, rows, 0.1, {})

    @pytest.mark.points(1)
    def test_eps(self, student, rng):
        """eps stands beside the root: it holds back what has tiny gradients."""
        starts, rows = several(rng)
        rows = [[g * 1e-7 for g in row] for row in rows]
        describe_input("gradients of about 1e-7")
        goes(student, "Adam", starts, rows, 0.1, {"eps": rng.uniform(1e-7, 2e-7)})

    @pytest.mark.points(0.5)
    def test_state(self, student, rng):
        """All that is remembered stands in `state` and `t`: put back, they go on as before."""
        starts, rows = several(rng)
        rows[1][1] = None
        describe_input("four steps; the fifth by a new optimizer, with the old one's state and t")
        goes(student, "Adam", starts, rows, 0.1, {}, resumed=True)

    @pytest.mark.points(0.5)
    def test_leaves(self, student, rng):
        """A step writes neither into the old values nor into the gradients."""
        leaves(student, "Adam", rng, {})
        leaves(student, "Adam", rng, {"weight_decay": 0.1})


class TestAdamW:
    @pytest.mark.points(2)
    def test_as_pytorch(self, student):
        """Ten steps with a decay of 0.01, which nobody asked for, end where PyTorch's do."""
        as_torch(student, "AdamW", {}, "AdamW", given=[0.1])

    @pytest.mark.points(2.5)
    def test_decay(self, student):
        """Ten steps with much decay end, each of them, where PyTorch's do."""
        as_torch(student, "AdamW", {"weight_decay": 0.2}, "AdamW, decay")

    @pytest.mark.points(2.5)
    def test_several(self, student, rng):
        """Each parameter shrinks by lr * weight_decay of itself, with the lr of that step."""
        starts, rows = several(rng)
        options = {"betas": (0.7, 0.9), "weight_decay": rng.uniform(0.3, 1)}
        describe_input("four parameters, another rate for each of five steps, options by position")
        given = [0.1, (0.7, 0.9), 1e-8, options["weight_decay"]]
        rates = list(rng.uniform(0.01, 0.2, size=5))
        goes(student, "AdamW", starts, rows, 0.1, options, rates=rates, given=given)

    @pytest.mark.points(1.5)
    def test_decay_alone(self, student, rng):
        """Where gradients are 0 the decay is all that is left."""
        starts, rows = several(rng)
        rows = [[np.zeros_like(g) for g in row] for row in rows]
        describe_input("four parameters, five steps with gradients of zeros")
        goes(student, "AdamW", starts, rows, 0.1, {"weight_decay": rng.uniform(0.3, 1)})

    @pytest.mark.points(0.5)
    def test_leaves(self, student, rng):
        """A step writes neither into the old values nor into the gradients."""
        leaves(student, "AdamW", rng, {"weight_decay": 0.5})


def falling(step, total, peak, warmup=0, floor=0.0):
    """The rate after the climb, as a half-angle."""
    share = min(max((step - warmup) / (total - warmup), 0.0), 1.0)
    return floor + (peak - floor) * np.cos(np.pi * share / 2) ** 2


class TestSchedule:
    @pytest.mark.points(2)
    def test_climb(self, student, rng):
        """While step < warmup the rate climbs in equal steps: peak * (step + 1) / warmup."""
        warmup, peak = int(rng.integers(3, 9)), rng.uniform(0.1, 1)
        describe_input("every step of a climb")
        seen = [student.cosine_schedule(s, 40, peak, warmup) for s in range(warmup)]
        expected = peak * np.arange(1, warmup + 1) / warmup
        symptoms = {FROM_ZERO: lambda found: found.shape == (warmup,) and found[0] == 0}
        assert_close(seen, expected, rtol=1e-11, atol=0, symptoms=symptoms)

    @pytest.mark.points(2.5)
    def test_cosine(self, student, rng):
        """From the peak at step = warmup the rate falls as half a cosine."""
        warmup, peak = int(rng.integers(3, 9)), rng.uniform(0.1, 1)
        total = warmup + int(rng.integers(10, 30))
        describe_input("every step from the end of the climb to the one before the last")
        steps = range(warmup, total)
        seen = [student.cosine_schedule(s, total, peak, warmup=warmup) for s in steps]
        expected = [falling(s, total, peak, warmup) for s in steps]
        assert_close(seen, expected, rtol=1e-11, atol=1e-13)

    @pytest.mark.points(1.5)
    def test_end(self, student, rng):
        """The floor is reached at step = total, and kept after it."""
        warmup, peak = int(rng.integers(3, 9)), rng.uniform(0.5, 1)
        total, floor = warmup + int(rng.integers(10, 30)), rng.uniform(0.1, 0.2)
        describe_input("the steps total, total + 1 and far beyond")
        steps = [total, total + 1, total + 7, 2 * total, 10 * total]
        seen = [student.cosine_schedule(s, total, peak, warmup, floor) for s in steps]
        symptoms = {AFTER_TOTAL: lambda found: found.shape == (5,) and max(found) > floor + 0.01}
        assert_close(seen, [floor] * 5, symptoms=symptoms)
        assert student.cosine_schedule(0, total, peak, warmup, floor) != floor

    @pytest.mark.points(1)
    def test_without_a_climb(self, student, rng):
        """Without a climb the fall begins at once: the first step has the peak, the second less."""
        peak, total = rng.uniform(0.1, 1), int(rng.integers(10, 30))
        describe_input("warmup left out, and given as 0")
        seen = [student.cosine_schedule(s, total, peak) for s in (0, 1, total // 2)]
        assert_close(seen, [falling(s, total, peak) for s in (0, 1, total // 2)])
        seen = student.cosine_schedule(step=2, total=total, peak=peak, warmup=0)
        assert_close(seen, falling(2, total, peak))

    @pytest.mark.points(1)
    def test_floor(self, student, rng):
        """The cosine goes from peak to floor; the climb knows nothing of the floor."""
        peak, floor = rng.uniform(0.5, 1), rng.uniform(0.1, 0.3)
        describe_input("a floor above 0, during the climb and after it")
        steps = [0, 2, 4, 7, 10, 18]
        seen = [
            student.cosine_schedule(s, total=20, peak=peak, warmup=4, floor=floor) for s in steps
        ]
        expected = [peak / 4, 3 * peak / 4]
        assert_close(seen, [*expected, *(falling(s, 20, peak, 4, floor) for s in steps[2:])])


@run_in_worker
def gradients_after(gradients, momentum):
    """What `velocity` returns, and what has become of the gradients."""
    import numpy as np

    held = np.array(gradients)
    return velocity(held, momentum), held


class TestVelocity:
    @pytest.mark.points(1.5)
    def test_sum(self, student, rng):
        """velocity is what SGD's v holds after the last gradient."""
        for n, d, momentum in ((1, 3, 0.9), (7, 4, rng.uniform(0.3, 0.9)), (5, 1, 0.0)):
            describe_input(f"{n} gradients of {d} numbers, with a momentum of {momentum:.2f}")
            gradients, v, back = rng.normal(size=(n, d)), 0, 0
            for g, other in zip(gradients, gradients[::-1], strict=True):
                v, back = momentum * v + g, momentum * back + other
            seen = student.velocity(gradients, momentum)
            assert_close(seen, v, symptoms={OLDEST_FIRST: back})

    @pytest.mark.points(0.5)
    def test_leaves(self, student, rng):
        """velocity writes nothing into the gradients."""
        gradients = rng.normal(size=(4, 3))
        seen, after = gradients_after(student, gradients, 0.5)
        assert np.shape(seen) == (3,) and not np.array_equal(seen, gradients[0])
        assert_close(after, gradients, atol=0, rtol=0, symptoms={GRADIENT: lambda seen: True})


class TestBug:
    @pytest.mark.points(1)
    def test_moves(self, student):
        """A number moves although all its gradients are 0."""
        starts, gradients = student.breaks_it()
        starts, rows = np.array(starts, float), np.array(gradients, float)
        assert starts.ndim == 1 and rows.ndim == 2 and rows.shape[1] == len(starts)
        assert np.isfinite(starts).all() and np.isfinite(rows).all()
        values, shared = starts.copy(), 0.0
        for row in rows:
            for k, g in enumerate(row):
                shared = 0.9 * shared + g
                values[k] -= 0.1 * shared
        assert np.any((values != starts) & np.all(rows == 0, axis=0))


# A model that trains: the student's optimizer on the upgraded Tensor.

OPTIONS = {
    "SGD": {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"lr": 0.02, "betas": (0.8, 0.99)},
    "AdamW": {"lr": 0.02, "weight_decay": 0.1},
}


@run_in_worker
def trained(kind, options, schedule, x, y, weights, steps):
    """Losses and last parameters of Linear, tanh, Linear with cross_entropy, in so many steps.

    Each array of `weights` becomes the values of the parameter of that shape, however it is laid.
    """
    import numpy as np

    from tinytorch import Linear, Tensor, cross_entropy, enable_gradients, tanh

    def laid(array, shape):
        if array.shape != shape and array.T.shape == shape:
            return array.T
        return array.reshape(shape)

    enable_gradients()
    inner = Linear(x.shape[1], weights[1].size)
    outer = Linear(weights[1].size, weights[3].size)
    parameters = [*inner.parameters(), *outer.parameters()]
    places = []
    for p in parameters:
        sizes = sorted(n for n in p.shape if n > 1)
        place = next(k for k, w in enumerate(weights) if sorted(w.shape) == sizes)
        places.append(place)
        p.data = np.array(laid(weights[place], p.shape))
    optimizer = globals()[kind](parameters, **options)
    losses = []
    for _ in range(steps):
        if schedule:
            optimizer.lr = cosine_schedule(optimizer.t, *schedule)
        loss = cross_entropy(outer(tanh(inner(Tensor(np.array(x))))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    last = {k: laid(p.data, weights[k].shape) for k, p in zip(places, parameters, strict=True)}
    return losses, [last[k] for k in range(4)]


def trained_by_hand(kind, options, schedule, x, y, weights, steps):
    """The same in NumPy, with every gradient written out."""
    values, memories, losses = [np.array(w) for w in weights], [{} for _ in weights], []
    for t in range(1, steps + 1):
        w, b, v, c = values
        h = np.tanh(x @ w + b)
        s = h @ v + c
        shares = np.exp(s - s.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        losses.append(-np.log(shares[np.arange(len(y)), y]).mean())
        to_s = (shares - np.eye(len(c))[y]) / len(y)
        to_z = (to_s @ v.T) * (1 - h * h)
        slopes = [x.T @ to_z, to_z.sum(axis=0), h.T @ to_s, to_s.sum(axis=0)]
        lr = options["lr"]
        if schedule:
            total, peak, warmup, floor = schedule
            climbing = peak * t / warmup
            lr = climbing if t <= warmup else falling(t - 1, total, peak, warmup, floor)
        values = [
            advance(kind, value, g, memory, t, lr, options)
            for value, g, memory in zip(values, slopes, memories, strict=True)
        ]
    return losses, values


class TestWhole:
    @EACH
    @pytest.mark.points(18)
    def test_a_model_trains(self, student, rng, kind):
        """A model of Linear and tanh, with cross_entropy, takes 25 steps, each where it should."""
        schedule = (22, 0.03, 5, 0.002) if kind == "AdamW" else None
        describe_input(f"25 steps by {kind}" + ", lr set by cosine_schedule" * bool(schedule))
        shapes = (5, 7), (7,), (7, 3), (3,)
        x, y = rng.normal(size=(12, 5)), rng.integers(0, 3, 12)
        weights = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in shapes]
        data = kind, OPTIONS[kind], schedule, x, y, weights, 25
        losses, last = trained_by_hand(*data)
        found, parameters = trained(student, *data)
        # Where eps stands, and no more, may show: it moves what has hardly a gradient.
        assert_close(found, losses, rtol=3e-3)
        seen, right = (np.concatenate([np.ravel(p) for p in each]) for each in (parameters, last))
        assert seen.shape == right.shape
        assert_close(np.abs(seen - right).mean(), 0.0, atol=2e-3)
