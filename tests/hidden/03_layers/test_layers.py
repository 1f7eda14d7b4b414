"""Hidden tests of 03_layers: modules, their parameters and modes, and the layers made of them.

Trees of modules are written as plain data and built in the worker (`walk`): a number is a Tensor
with that number in it (the same number is the same Tensor), a dictionary is a module with these
attributes (the same "same" is the same module), lists and tuples are themselves, and so is all
else. What `parameters()` must find can be read off the data.
"""

import numpy as np
import pytest
from forward_mode import CUT, connected, derivative
from hypothesis import given
from hypothesis import strategies as st

from proctor.testing import Misconception, either, kind, lifted, recognise, same, symptom

TRANSPOSED = Misconception(
    "transposed weight",
    "The weight has the shape (out_features, in_features): here it is the other way round, so that "
    "x @ weight needs no transpose.",
)
NO_BIAS = Misconception(
    "bias not added", "The result is x @ weight alone: where does the bias come in?"
)
FLOAT64 = Misconception(
    "float64 parameters",
    "A parameter is float64: what NumPy draws or fills is float64 unless you say otherwise, and a "
    "Tensor keeps it.",
)
UNSCALED = Misconception(
    "size ignores in_features",
    "The weights are equally large whatever in_features is: a sum of n products grows with √n.",
)
BY_N = Misconception(
    "divided by n",
    "The weights shrink like 1/n. The signs of n products cancel much of their sum, so it grows "
    "like √n only.",
)
FAN_OUT = Misconception(
    "divided by √out",
    "The weights go with out_features. How many products does each output add up?",
)
POSITIVE = Misconception(
    "weights of one sign", "The mean of the weights is not 0: is the lower bound minus the upper?"
)
SEEDED = Misconception(
    "always the same seed",
    "Two layers begin with equal numbers: is a generator with a fixed seed made each time?",
)
RNG_UNUSED = Misconception(
    "rng not used", "The same seed gives different numbers: is everything drawn from the rng given?"
)
OWN_ONLY = Misconception(
    "own tensors only",
    "What belongs to modules inside the module is missing: they have parameters of their own.",
)
NO_LISTS = Misconception(
    "lists not walked", "What is in lists and tuples is missing: they count like attributes."
)
FLAT_LISTS = Misconception(
    "lists in lists not walked",
    "What is in a list in a list is missing: how deep does your walk through lists go?",
)
TWICE = Misconception(
    "counted twice",
    "A parameter that can be reached in two ways is in the list twice; an optimizer would move it "
    "twice. What tells you that you have met it?",
)
BY_VALUE = Misconception(
    "equal taken for the same",
    "Two different parameters with equal numbers, or equal shapes, are counted as one: compare "
    "objects (`is`, `id`), not numbers.",
)
NOT_INSIDE = Misconception(
    "mode not passed on",
    "The module itself changes its mode, modules inside it do not: pass it on to each of them.",
)
EVERYWHERE = Misconception(
    "mode of all modules",
    "eval() of one model changed another: set the attribute on the object, not on the class.",
)
NO_RETURN = Misconception(
    "returns nothing", "train() and eval() must return the module, so that model.eval()(x) works."
)
NOT_INVERTED = Misconception(
    "survivors not scaled",
    "What survives comes back as it was, so the mean shrinks to 1 - p of it: divide by 1 - p.",
)
KEEPS_P = Misconception(
    "p taken for the share that stays",
    "p is the probability to be dropped, 1 - p that to be kept: yours are exchanged.",
)
ONE_MASK = Misconception(
    "the same mask again", "Two calls drop the same entries: draw a new mask at each call."
)
WHOLE_ROWS = Misconception(
    "rows or columns drop together",
    "Entries of one row or one column share their fate: the mask needs the whole shape of x.",
)
SCALED_IN_USE = Misconception(
    "scaled in use", "After eval() the input comes back scaled: inverted dropout has nothing to do."
)
ALWAYS_ON = Misconception(
    "drops in use", "After eval() entries are still dropped: which attribute says the mode?"
)
ZERO_BY_ZERO = Misconception(
    "0 / 0 at p = 1", "With p = 1 the scale is a division by zero: what should come out instead?"
)
KEPT_TENSOR = Misconception(
    "a kept Tensor is a parameter",
    "A mask, an input or a result is kept as a Tensor in an attribute, so it is taken for a "
    "parameter: state is NumPy.",
)
ARRAYS = Misconception(
    "parameters as arrays",
    "The weight or the bias is a NumPy array: it computes, but only a Tensor is a parameter.",
)
BACKWARDS = Misconception("last layer first", "The layers are called in the wrong order.")
EACH_FROM_X = Misconception(
    "each layer gets x",
    "Every layer is given the first input: hand each one what the layer before it returned.",
)


# Trees of modules


@lifted
def walk(spec, steps=()):
    """Build a tree from plain data, take `steps`, and tell the number in each parameter found.

    A step (number, path, name) goes along the attributes and positions of the path and makes the
    Tensor of that number an attribute there, or, if the name is None, appends it to the list there.
    `parameters()` is asked before the steps, too.
    """
    made = {}

    class Part(Module):
        def __init__(self, attributes):
            super().__init__()
            for name, value in attributes.items():
                setattr(self, name, value)

        def forward(self, x):
            return x

    def build(value):
        if type(value) is int:
            if value not in made:
                made[value] = Tensor([float(value)])
            return made[value]
        if type(value) in (list, tuple):
            return type(value)([build(item) for item in value])
        if type(value) is not dict:
            return len if type(value) is str and value == "function" else value
        key = ("same", value["same"]) if "same" in value else ("module", len(made))
        if key not in made:
            made[key] = None  # takes the place, before the modules inside ask for theirs
            made[key] = Part(
                {name: build(inside) for name, inside in value.items() if name != "same"}
            )
        return made[key]

    model = build(spec)
    model.parameters()
    for number, path, name in steps:
        place = model
        for part in path:
            place = getattr(place, part) if type(part) is str else place[part]
        if name is None:
            place.append(build(number))
        else:
            setattr(place, name, build(number))
    return sorted(float(parameter.data[0]) for parameter in model.parameters())


@lifted
def modes(spec, steps, flag):
    """The mode of every probe in a tree, at the start and after each step; 1.0 is training.

    In `spec` a dictionary is a module, None a probe: a module whose mode is read off its `training`
    if `flag`, else a Dropout which is asked whether it drops. A step is (method, path).
    """
    import numpy as np

    probes = []

    class Part(Module):
        def __init__(self, attributes=None):
            super().__init__()
            for name, value in (attributes or {}).items():
                setattr(self, name, value)

    def build(value):
        if type(value) in (list, tuple):
            return type(value)([build(item) for item in value])
        if type(value) is dict:
            part = Part({name: build(inside) for name, inside in value.items()})
            if flag:
                probes.append(part)
            return part
        if value is None:
            probes.append(Part() if flag else Dropout(0.5, rng=np.random.default_rng(0)))
            return probes[-1]
        return len if value == "function" else value

    def seen():
        if flag:
            return [float(bool(probe.training)) for probe in probes]
        x = Tensor(np.ones(40, dtype=np.float32))
        return [float((probe(x).data == 0).any()) for probe in probes]

    model = build(spec)
    found = [seen()]
    for method, path in steps:
        place = model
        for part in path:
            place = getattr(place, part) if type(part) is str else place[part]
        getattr(place, method)()
        found.append(seen())
    return found


def numbers(spec):
    """The numbers in a tree: what its parameters hold."""
    if type(spec) is int:
        return {spec}
    inside = spec.values() if type(spec) is dict else spec if type(spec) in (list, tuple) else ()
    return set().union(*(numbers(value) for value in inside))


def renumbered(spec, start=1):
    """The tree with a number of its own at each place."""
    count = iter(range(start, 10_000))

    def fresh(value):
        if type(value) is int:
            return next(count)
        if type(value) is dict:
            return {name: fresh(inside) for name, inside in value.items()}
        if type(value) in (list, tuple):
            return type(value)([fresh(inside) for inside in value])
        return value

    return fresh(spec)


def found_in(student, spec, symptoms=None, steps=(), expected=None):
    """Assert that `parameters()` finds the numbers of the tree, each once, in any order."""
    wanted = sorted(numbers(spec) if expected is None else expected)
    seen = walk(student, spec, steps)
    symptom(TWICE, len(seen) > len(wanted) and sorted(set(seen)) == wanted)
    same(
        np.array(seen, float),
        np.array(wanted, float),
        symptoms={why: np.array(sorted(wrong), float) for why, wrong in (symptoms or {}).items()},
    )


OTHER = st.sampled_from([None, 0.5, "text", "function"])
NAMES = ("a", "b", "layers", "weight")


def trees(leaves):
    """Strategy: a module of modules, lists, tuples and `leaves`, up to some depth."""

    def larger(inside):
        return (
            st.lists(inside, max_size=3)
            | st.lists(inside, max_size=3).map(tuple)
            | st.dictionaries(st.sampled_from(NAMES), inside, min_size=1, max_size=3)
        )

    return st.dictionaries(
        st.sampled_from(NAMES), st.recursive(leaves | OTHER, larger, max_leaves=10), min_size=1
    )


SHARED = st.integers(1, 3).map(lambda k: {"same": k, "own": 100 + k, "more": [200 + k]})


def numbers_with_modules(spec):
    """As `numbers`, without the key "same" of shared modules."""
    if type(spec) is dict:
        return numbers_with_modules([inside for name, inside in spec.items() if name != "same"])
    if type(spec) in (list, tuple):
        return set().union(*(numbers_with_modules(value) for value in spec))
    return numbers(spec)


class TestTraversal:
    @pytest.mark.points(2)
    def test_own_tensors(self, student, rng):
        """parameters() finds the Tensors among a module's attributes, and nothing else."""
        one, two = (int(n) for n in rng.choice(90, 2, replace=False) + 1)
        kind("a module with Tensors, None, a number, text, an array and a function as attributes")
        spec = {"weight": one, "bias": None, "p": 0.5, "name": "text", "call": "function"}
        found_in(student, {**spec, "state": rng.normal(size=3), "empty": [], "scale": two})

    @pytest.mark.points(2)
    def test_modules_in_modules(self, student, rng):
        """parameters() finds the parameters of modules in attributes, however deep."""
        a, b, c, d = (int(n) for n in rng.choice(90, 4, replace=False) + 1)
        kind("a module in a module in a module")
        spec = {"first": {"inner": {"weight": a}, "weight": b}, "own": c, "last": {"bias": d}}
        found_in(student, spec, {OWN_ONLY: [c]})
        found_in(student, {"first": {"inner": {"deepest": {"weight": a}}}}, {OWN_ONLY: []})

    @pytest.mark.points(2)
    @pytest.mark.parametrize("sequence", [list, tuple])
    def test_lists_and_tuples(self, student, rng, sequence):
        """parameters() finds Tensors and modules in lists and tuples."""
        a, b, c, d = (int(n) for n in rng.choice(90, 4, replace=False) + 1)
        kind(f"a module with a {sequence.__name__} of Tensors, modules and functions")
        spec = {"own": a, "layers": sequence([{"weight": b}, "function", c, None, {"weight": d}])}
        found_in(student, spec, {NO_LISTS: [a], OWN_ONLY: [a, c]})

    @pytest.mark.points(2)
    def test_lists_in_lists(self, student, rng):
        """parameters() finds what is in lists and tuples inside lists and tuples."""
        a, b, c, d, e = (int(n) for n in rng.choice(90, 5, replace=False) + 1)
        kind("lists in lists and tuples in lists")
        spec = {"own": a, "layers": [b, [{"weight": c}], ([d], {"floors": [[], [[e]]]})]}
        found_in(student, spec, {FLAT_LISTS: [a, b], NO_LISTS: [a], OWN_ONLY: [a, b, d]})

    @pytest.mark.points(2)
    @given(spec=trees(st.integers(0, 9)))
    def test_any_tree(self, student, spec):
        """parameters() finds every Tensor in any tree of modules, lists and tuples."""
        kind("a random tree of modules, lists, tuples, Tensors and other things")
        found_in(student, renumbered(spec))

    @pytest.mark.points(2)
    def test_present_tensors_themselves(self, student, rng):
        """parameters() gives the Tensors that the module holds now, themselves: whoever changes
        them changes the module."""
        kind("modules that get another Tensor, or one more, after parameters() was called")
        steps = [(7, (), "weight"), (8, ("layers",), None), (9, ("layers", 0), "bias")]
        spec = {"weight": 1, "layers": [{"weight": 2, "bias": 3}]}
        found_in(student, spec, steps=steps, expected=[2, 7, 8, 9])
        kind("parameters whose numbers are replaced")
        x, w = rng.normal(size=(2, 4))
        same(moved(student, x, w), x * (w + 1))


@lifted
def moved(x, w):
    """What a module returns after 1 was added to what parameters() gave."""

    class Scale(Module):
        def __init__(self):
            super().__init__()
            self.factors = [Tensor(w)]

        def forward(self, x):
            return x * self.factors[0]

    module = Scale()
    module.parameters()
    for parameter in module.parameters():
        parameter.data = parameter.data + 1
    return module(Tensor(x)).data


class TestSharedOnce:
    @pytest.mark.points(2)
    def test_shared_module(self, student, rng):
        """The parameters of a layer that is used twice are in the list once."""
        a, b, c = (int(n) for n in rng.choice(90, 3, replace=False) + 1)
        shared = {"same": 1, "weight": a, "bias": b}
        kind("a module that stands twice in one list")
        found_in(student, {"layers": [shared, "function", shared], "own": c}, expected=[a, b, c])
        kind("a module that stands in two other modules")
        spec = {"first": {"inner": shared}, "last": [{"inner": shared}], "own": c}
        found_in(student, spec, expected=[a, b, c])

    @pytest.mark.points(2)
    def test_tied_weight(self, student, rng):
        """A Tensor that two modules share is in the list once."""
        a, b, c = (int(n) for n in rng.choice(90, 3, replace=False) + 1)
        kind("a Tensor in attributes of two modules")
        found_in(student, {"read": {"weight": a, "bias": b}, "write": {"weight": a, "bias": c}})
        kind("a Tensor in a module and in a list of a module inside it")
        found_in(student, {"weight": a, "layers": [{"weights": [b, a]}], "again": a})
        kind("a Tensor that stands twice in the same module")
        found_in(student, {"weight": a, "weights": (b, a, [a])})

    @pytest.mark.points(2)
    @pytest.mark.parametrize("where", ["one module", "two modules"])
    def test_equal_is_not_the_same(self, student, rng, where):
        """Two parameters with equal numbers are two parameters."""
        value = rng.normal(size=3)
        kind(f"different Tensors with equal numbers in {where}")
        together = where == "one module"
        seen = equals(student, value, together)
        symptom(BY_VALUE, len(seen) == 1)
        same(np.array(seen), np.tile(value, (2 if together else 4, 1)))

    @pytest.mark.points(2)
    @given(spec=trees(st.integers(1, 4) | SHARED))
    def test_any_shared_tree(self, student, spec):
        """parameters() lists each parameter once, in however many ways it can be reached."""
        kind("a random tree in which Tensors and modules stand at several places")
        found_in(student, spec, expected=numbers_with_modules(spec))


@lifted
def equals(value, together):
    """The parameters of one module that holds two Tensors with equal numbers, or of two such."""
    import numpy as np

    class Pair(Module):
        def __init__(self, *values):
            super().__init__()
            self.first, self.second = values

    one, other = (Pair(*(Tensor(np.array(value)) for _ in range(2))) for _ in range(2))
    model = one if together else Pair(one, other)
    return [parameter.data for parameter in model.parameters()]


def mode_check(student, spec, steps, change, symptoms=None):
    """Assert the modes of all probes after the steps; read off `training`, or else off a Dropout.

    `change(old, flag)` is the list of modes that are right after the steps.
    """

    def check(flag):
        seen = modes(student, spec, steps, flag)
        same(np.array(seen[0], float), np.ones(len(seen[0])))
        wrong = {why: (lambda now, f=f: f(now, flag)) for why, f in (symptoms or {}).items()}
        same(np.array(seen[-1], float), np.array(change(flag), float), symptoms=wrong)

    either(lambda: check(True), lambda: check(False))


class TestMode:
    @pytest.mark.points(3)
    def test_eval_reaches_modules(self, student):
        """eval() switches a module and all modules in its attributes, however deep, to use; before
        it they are in training mode."""
        kind("a module in a module in a module")
        spec = {"first": {"inner": {"probe": None}}, "probe": None, "p": 0.5}
        mode_check(
            student,
            spec,
            [("eval", ())],
            lambda flag: [0] * (5 if flag else 2),
            {NOT_INSIDE: lambda now, flag: now.any() and not now.all()},
        )

    @pytest.mark.points(3)
    def test_eval_reaches_lists(self, student):
        """eval() reaches modules in lists and tuples, and in lists of lists."""
        for text, layers, count in (
            ("a list and a tuple of modules", ([None, "function"], (None, None)), 3),
            ("lists in lists", ([[None], [["function", None]]], ([(None,)],)), 3),
        ):
            kind(text)
            mode_check(
                student,
                {"layers": layers[0], "more": layers[1]},
                [("eval", ())],
                lambda flag, count=count: [0] * (count + flag),
                {NOT_INSIDE: lambda now, flag: now.any()},
            )

    @pytest.mark.points(2)
    def test_train_undoes_eval(self, student):
        """train() switches a module and all modules inside back to training mode, and leaves the
        modules around it alone."""
        spec = {"first": None, "block": {"layers": [[None], {"inner": None}]}}
        kind("eval() of a model, then train() of a block in it")
        steps = [("eval", ()), ("train", ("block",))]
        mode_check(student, spec, steps, lambda flag: [0, 1, 1, 1, 1, 0] if flag else [0, 1, 1])
        kind("train() of a model in which a block is in use")
        steps = [("eval", ("block",)), ("train", ())]
        mode_check(student, spec, steps, lambda flag: [1] * (6 if flag else 3))

    @pytest.mark.points(2)
    def test_modules_are_separate(self, student):
        """eval() changes the mode of this model only."""
        spec = {"mine": {"probe": None}, "other": [{"probe": None}, None]}
        kind("two models, one of which is switched")
        mode_check(
            student,
            spec,
            [("eval", ("mine",))],
            lambda flag: [0, 0, 1, 1, 1, 1] if flag else [0, 1, 1],
            {EVERYWHERE: lambda now, flag: not now.any()},
        )

    @pytest.mark.points(2)
    def test_return_the_module(self, student, rng):
        """train() and eval() return the module, switched, so that model.eval()(x) works."""
        x = numbers_away_from_zero(rng, 40)

        def check(flag):
            kind("the value of eval()")
            with recognise(NO_RETURN, TypeError):
                same(returned(student, x, ["eval"], flag), x)
            kind("the value of train(), after eval()")
            with recognise(NO_RETURN, TypeError):
                y = returned(student, x, ["eval", "train"], flag)
            same(y[y != 0], 2 * x[y != 0])
            assert y.shape == x.shape and 0 < (y == 0).sum() < x.size

        either(lambda: check(True), lambda: check(False))


@lifted
def returned(x, methods, flag):
    """What the result of the last of these methods, called on a module in turn, returns for x.

    If `flag`, the module does by its `training` what else a Dropout does: drop half of x.
    """
    import numpy as np

    class Half(Module):
        def forward(self, x):
            return x * np.resize([2.0, 0.0], x.shape) if self.training else x

    module = Half() if flag else Dropout(0.5, rng=np.random.default_rng(0))
    for method in methods[:-1]:
        getattr(module, method)()
    return getattr(module, methods[-1])()(Tensor(x)).data


# Linear


@lifted
def affine(x, weight, bias):
    """What a Linear with these parameters returns."""
    import numpy as np

    layer = Linear(*weight.shape)
    layer.weight.data = np.array(weight)
    layer.bias.data = np.array(bias)
    return layer(Tensor(np.array(x))).data


@lifted
def are_tensors(n, m):
    """Whether the weight and the bias of a Linear are Tensors."""
    layer = Linear(n, m)
    return [isinstance(parameter, Tensor) for parameter in (layer.weight, layer.bias)]


@lifted
def tensors_kept(n, m):
    """How many Tensors a Linear has as attributes after it was called."""
    layer = Linear(n, m)
    layer(Tensor([[1.0] * n]))
    return len({id(value) for value in vars(layer).values() if isinstance(value, Tensor)})


@lifted
def drawn(shape, seeds):
    """The weight of a Linear for each seed; a repeated generator is `None` in the list of seeds."""
    import numpy as np

    weights = []
    for seed in seeds:
        if seed is not None:
            rng = np.random.default_rng(seed)
        weights.append(Linear(*shape, rng=rng).weight.data)
    return weights


class TestLinear:
    @pytest.mark.points(2)
    def test_shapes(self, student, rng):
        """weight has the shape (in_features, out_features), bias (out_features,), and both are
        Tensors."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 12), 2, replace=False))
        kind("a layer with different numbers of inputs and outputs")
        symptom(ARRAYS, not all(are_tensors(student, n, m)))
        layer = student.Linear(n, m)
        same(layer.weight.data.shape, (n, m), symptoms={TRANSPOSED: (m, n)})
        same(layer.bias.data.shape, (m,))
        kind("a layer that was called")
        symptom(KEPT_TENSOR, tensors_kept(student, n, m) > 2)

    @pytest.mark.points(3)
    def test_affine(self, student, rng):
        """Linear returns x @ weight + bias."""
        n, m, rows = (int(k) for k in rng.choice(np.arange(2, 9), 3, replace=False))
        x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((rows, n), (n, m), (m,)))
        kind("a batch, with weight and bias set to random numbers")
        same(affine(student, x, w, b), x @ w + b, symptoms={NO_BIAS: x @ w})

    @pytest.mark.points(2)
    @pytest.mark.parametrize("leading", [(), (2, 3)])
    def test_any_leading_shape(self, student, rng, leading):
        """Linear works along the last axis, with any number of axes in front of it, in float64
        too."""
        n, m = (int(k) for k in rng.choice(np.arange(4, 9), 2, replace=False))
        x, w, b = (rng.normal(size=s) for s in ((*leading, n), (n, m), (m,)))
        kind(f"a float64 input with {len(leading) + 1} axes")
        same(affine(student, x, w, b), x @ w + b, dtype=np.float64, symptoms={NO_BIAS: x @ w})

    @pytest.mark.points(2)
    def test_without_bias(self, student, rng):
        """With bias=False the bias is None and the result x @ weight."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 9), 2, replace=False))
        x = rng.normal(size=(5, n)).astype(np.float32)
        kind("a layer without bias")
        layer = student.Linear(n, m, bias=False)
        y = layer(student.Tensor(x)).data
        same(y, x @ layer.weight.data)
        assert layer.bias is None
        kind("a layer without bias, and a generator")
        assert student.Linear(n, m, False).bias is None

    @pytest.mark.points(2)
    def test_float32(self, student, rng):
        """Parameters are float32, so a float32 input gives a float32 result."""
        x = rng.normal(size=(3, 4)).astype(np.float32)
        layer = student.Linear(4, 5)
        kind("the parameters of a new layer")
        for parameter in (layer.weight, layer.bias):
            value = parameter.data
            symptom(FLOAT64, value.dtype == np.float64)
            same(value, value, dtype=np.float32)
        kind("a float32 input")
        expected = x @ layer.weight.data + layer.bias.data
        same(layer(student.Tensor(x)).data, expected, dtype=np.float32)

    @pytest.mark.points(2)
    def test_slope(self, student, reference, rng):
        """Linear is made of Tensor operations, so a derivative comes through to input, weight and
        bias."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 7), 2, replace=False))
        kind("the derivative by input, weight and bias, each alone and together")
        program = (
            "lambda x, w, b: [layer := Linear(*w.shape), setattr(layer, 'weight', w), "
            "setattr(layer, 'bias', b), layer(x)][-1]"
        )
        inputs = [rng.normal(size=size) for size in ((3, n), (n, m), (m,))]
        symptom(NO_BIAS, np.allclose(affine(student, *inputs), inputs[0] @ inputs[1]))
        for still in ((1, 2), (0, 2), (0, 1), ()):
            connected(student, reference, rng, program, inputs, still=still)


class TestInit:
    @pytest.mark.points(3)
    def test_size_of_weights(self, student, rng):
        """The standard deviation of new weights goes with 1/√in_features: it is between 0.4 and 1.6
        times that."""
        kind("layers with 100 inputs, 900 outputs, and the reverse")
        shapes, spreads = ((100, 900), (900, 100)), []
        for shape in shapes:
            (weight,) = drawn(student, shape, [int(rng.integers(1 << 30))])
            symptom(TRANSPOSED, weight.shape == shape[::-1])
            assert weight.shape == shape and np.isfinite(weight).all()
            spreads.append(float(weight.std()))
        wide, narrow = spreads  # 100 inputs, 900 inputs
        if not all(0.4 < s * np.sqrt(n) < 1.6 for s, (n, _) in zip(spreads, shapes, strict=True)):
            ratio = wide / max(narrow, 1e-12)
            symptom(UNSCALED, 0.7 < ratio < 1.4)
            symptom(BY_N, 7 < ratio < 12)
            symptom(FAN_OUT, 0.25 < ratio < 0.45)
            raise AssertionError(f"standard deviations {spreads}")

    @pytest.mark.points(2)
    def test_mean_and_independence(self, student, rng):
        """New weights have mean 0 and are independent of each other; the bias starts at 0 or as
        small as they."""
        n, m = 200, 60
        (weight,) = drawn(student, (n, m), [int(rng.integers(1 << 30))])
        kind("the weights of a layer with 200 inputs and 60 outputs")
        spread = float(weight.std())
        symptom(POSITIVE, abs(weight.mean()) > 0.5 * spread > 0)
        assert weight.shape in ((n, m), (m, n)) and spread > 0 and abs(weight.mean()) < 0.1 * spread
        for rows in (weight, weight.T):
            likeness = np.corrcoef(rows) - np.eye(len(rows))
            assert np.abs(likeness).max() < 0.8
        assert len(np.unique(weight)) > weight.size // 4
        kind("the bias of a layer with 200 inputs")
        bias = student.Linear(n, m).bias.data
        assert np.isfinite(bias).all() and np.abs(bias).max() < 8 / np.sqrt(n)

    @pytest.mark.points(2)
    def test_generator_decides(self, student, rng):
        """The same seed gives the same weights, another seed or a second layer from the same
        generator gives others."""
        seed = int(rng.integers(1 << 30))
        kind("layers that are given generators")
        first, again, next_one, other = drawn(student, (5, 7), [seed, seed, None, seed + 1])
        same(again, first, symptoms={RNG_UNUSED: lambda _: True})
        symptom(SEEDED, np.array_equal(first, next_one) or np.array_equal(first, other))
        assert first.size == next_one.size == other.size == 35

    @pytest.mark.points(1)
    def test_fresh_without_generator(self, student):
        """Without a generator each layer draws weights of its own."""
        kind("two layers made without rng")
        first, second = student.Linear(6, 5).weight.data, student.Linear(6, 5).weight.data
        symptom(SEEDED, np.array_equal(first, second))
        assert first.shape == second.shape and first.size == 30


# Dropout


@lifted
def dropped(x, p, seed, calls=1):
    """What a Dropout in training mode returns, call by call; p None is the default."""
    import numpy as np

    rng = np.random.default_rng(seed)
    layer = Dropout(rng=rng) if p is None else Dropout(p, rng=rng)
    return [layer(Tensor(np.array(x))).data for _ in range(calls)]


@lifted
def in_use(x, p, flag):
    """What a new Dropout returns, and after eval(), or, if `flag`, with `training` set to false."""
    import numpy as np

    layer = Dropout(p, rng=np.random.default_rng(0))
    before = layer(Tensor(np.array(x))).data
    if flag:
        layer.training = False
    else:
        layer.eval()
    return before, layer(Tensor(np.array(x))).data


@lifted
def warned(x, p):
    """What Dropout(p) returns, and how many warnings it gives."""
    import warnings

    import numpy as np

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = Dropout(p, rng=np.random.default_rng(0))(Tensor(np.array(x))).data
    return y, len(caught)


@lifted
def around(x, p):
    """The result of a call of Dropout, the input's numbers after it, and how many Tensors the layer
    then keeps."""
    import numpy as np

    layer, tensor = Dropout(p, rng=np.random.default_rng(0)), Tensor(np.array(x))
    y = layer(tensor).data
    kept = sum(isinstance(value, Tensor) for value in vars(layer).values())
    return y, tensor.data, kept


def numbers_away_from_zero(rng, shape):
    return (rng.uniform(0.5, 2, size=shape) * rng.choice([-1, 1], size=shape)).astype(np.float32)


class TestDropout:
    @pytest.mark.points(2)
    def test_zero_or_scaled(self, student, rng):
        """In training mode each entry becomes 0 or x / (1 - p)."""
        x, p = numbers_away_from_zero(rng, (20, 30)), float(rng.uniform(0.15, 0.4))
        kind("a 2-D input with p below a half, in a new layer")
        (y,) = dropped(student, x, p, int(rng.integers(1 << 30)))
        assert y.shape == x.shape and 0 < (y == 0).sum() < x.size
        alive = y != 0
        same(
            y,
            np.where(alive, x / np.float32(1 - p), 0),
            symptoms={
                NOT_INVERTED: np.where(alive, x, 0),
                KEEPS_P: np.where(alive, x / np.float32(p), 0),
            },
        )

    @pytest.mark.points(2)
    @pytest.mark.parametrize("p", [0.2, 0.8, None])
    def test_share(self, student, rng, p):
        """An entry is dropped with probability p; p is 0.5 unless given."""
        x = numbers_away_from_zero(rng, 20_000)
        kind("20,000 numbers")
        (y,) = dropped(student, x, p, int(rng.integers(1 << 30)))
        share, p = float((y == 0).mean()), 0.5 if p is None else p
        symptom(KEEPS_P, p != 0.5 and abs(share - (1 - p)) < 0.03)
        assert y.shape == x.shape and abs(share - p) < 0.03

    @pytest.mark.points(1)
    @pytest.mark.parametrize("p", [0.3, 0.7])
    def test_mean(self, student, rng, p):
        """Dropout preserves the mean."""
        x = np.full(20_000, rng.uniform(1, 2), dtype=np.float32)
        kind("20,000 equal numbers")
        (y,) = dropped(student, x, p, int(rng.integers(1 << 30)))
        ratio = float(y.mean() / x[0])
        symptom(NOT_INVERTED, abs(ratio - (1 - p)) < 0.02)
        assert y.shape == x.shape and abs(ratio - 1) < 0.1 and (y == 0).any()

    @pytest.mark.points(1)
    def test_independent(self, student, rng):
        """Each entry is dropped independently of all others."""
        kind("a 2-D input with 60 rows and 60 columns")
        x = numbers_away_from_zero(rng, (60, 60))
        (y,) = dropped(student, x, 0.5, int(rng.integers(1 << 30)))
        assert y.shape == x.shape and np.isfinite(y).all()
        lines = [(y == 0).mean(axis=axis) for axis in (0, 1)]
        symptom(WHOLE_ROWS, any(((line == 0) | (line == 1)).mean() > 0.5 for line in lines))
        assert all(((line > 0.05) & (line < 0.95)).all() for line in lines)

    @pytest.mark.points(2)
    def test_identity_in_use(self, student, rng):
        """After eval() Dropout, which dropped before, returns its input unchanged."""
        x, p = numbers_away_from_zero(rng, (20, 30)), float(rng.uniform(0.2, 0.4))
        kind("a layer after eval()")
        symptoms = {
            SCALED_IN_USE: lambda y: np.allclose(y, x * (1 - p)) or np.allclose(y, x / (1 - p)),
            ALWAYS_ON: lambda y: (y == 0).any(),
        }

        def check(flag):
            before, after = in_use(student, x, p, flag)
            same(after, x, symptoms=symptoms)
            assert before.shape == x.shape and (before == 0).any()

        either(lambda: check(False), lambda: check(True))

    @pytest.mark.points(2)
    def test_new_mask_each_call(self, student, rng):
        """Each call draws a new mask, and a layer without rng draws its own."""
        x = numbers_away_from_zero(rng, 400)
        kind("three calls of one layer, on the same input")
        ys = dropped(student, x, 0.5, int(rng.integers(1 << 30)), calls=3)
        masks = [y == 0 for y in ys]
        again = any(np.array_equal(mask, masks[1]) for mask in (masks[0], masks[2]))
        symptom(ONE_MASK, again and 0 < masks[1].sum() < masks[1].size)
        assert not again and all(0 < mask.sum() < x.size == mask.size for mask in masks)
        kind("two layers without rng")
        one, two = (student.Dropout(0.5)(student.Tensor(x)).data == 0 for _ in range(2))
        symptom(SEEDED, np.array_equal(one, two))
        assert 0 < one.sum() < x.size == one.size and 0 < two.sum() < x.size == two.size

    @pytest.mark.points(1)
    def test_generator_decides(self, student, rng):
        """The same seed gives the same sequence of masks, another seed another."""
        x, seed = numbers_away_from_zero(rng, 400), int(rng.integers(1 << 30))
        kind("layers that are given generators")
        first, again = (np.array(dropped(student, x, 0.5, seed, calls=3)) for _ in range(2))
        assert first.shape == (3, 400) and (first == 0).any() and (first != 0).any()
        same(again, first, symptoms={RNG_UNUSED: lambda _: True})
        (other,) = dropped(student, x, 0.5, seed + 1)
        symptom(SEEDED, np.array_equal(first[0] == 0, other == 0))

    @pytest.mark.points(1)
    def test_p_is_zero(self, student, rng):
        """With p = 0 the input comes back, and with p = 0.5 it does not."""
        x = numbers_away_from_zero(rng, (10, 10))
        for p in (0, 0.0):
            kind("p = 0")
            same(dropped(student, x, p, 0)[0], x)
        kind("p = 0.5")
        (y,) = dropped(student, x, 0.5, 0)
        assert y.shape == x.shape and (y == 0).any()

    @pytest.mark.points(1)
    def test_p_is_one(self, student, rng):
        """With p = 1 everything becomes 0, without a warning."""
        x = numbers_away_from_zero(rng, (10, 10))
        for p in (1.0, 1):
            kind("p = 1")
            with recognise(ZERO_BY_ZERO, ZeroDivisionError):
                y, warnings = warned(student, x, p)
            same(y, np.zeros_like(x), symptoms={ZERO_BY_ZERO: lambda y: not np.isfinite(y).any()})
            symptom(ZERO_BY_ZERO, warnings != 0)

    @pytest.mark.points(1)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype_and_input(self, student, rng, dtype):
        """The result has the dtype of the input, and the input stays as it is."""
        x = numbers_away_from_zero(rng, (10, 10)).astype(dtype) + dtype(1e-9)
        kind(f"a {np.dtype(dtype).name} input")
        (y,) = dropped(student, x, 0.3, int(rng.integers(1 << 30)))
        same(y, np.where(y == 0, 0, x / dtype(1 - 0.3)), dtype=dtype)
        _, after, _ = around(student, x, 0.3)
        same(after, x, dtype=dtype)

    @pytest.mark.points(1)
    def test_no_parameter(self, student, rng):
        """Dropout has no parameters, also after it was called and has dropped something."""
        x = numbers_away_from_zero(rng, (10, 10))
        kind("a layer that was called")
        y, _, kept = around(student, x, 0.5)
        symptom(KEPT_TENSOR, kept != 0)
        assert y.shape == x.shape and 0 < (y == 0).sum() < x.size

    @pytest.mark.points(1)
    def test_slope(self, student, rng):
        """The derivative comes through where an entry survives, scaled like the entry."""
        x, way = numbers_away_from_zero(rng, (5, 8)).astype(float), rng.normal(size=(5, 8))
        kind("the derivative by the input")
        program = "Dropout(0.4, rng=np.random.default_rng(7))"
        value, slope, _ = derivative(student, program, [x], [way])
        assert value.shape == x.shape and value.any() and not value.all()
        same(slope, way * value / x, rtol=1e-6, symptoms={CUT: lambda seen: not seen.any()})


# Sequential


@lifted
def chain(name, x, a, b, w):
    """What one of these models returns: functions scale, shift and square, and a module."""
    import numpy as np

    class Times(Module):
        def __init__(self):
            super().__init__()
            self.weight = Tensor(np.array(w))

        def forward(self, x):
            return x @ self.weight

    def scale(x):
        return x * a

    def shift(x):
        return x + b

    def square(x):
        return x * x

    models = {
        "order": lambda: Sequential(scale, shift, square),
        "mixed": lambda: Sequential(Times(), shift, Times()),
        "nested": lambda: Sequential(
            Sequential(scale), square, Sequential(Sequential(shift), scale)
        ),
        "empty": lambda: Sequential(),
        "one": lambda: Sequential(shift),
    }
    return models[name]()(Tensor(np.array(x))).data


@lifted
def sequential_parameters(numbers):
    """What parameters() finds in a Sequential of functions, modules and a Sequential; sorted."""

    class Holder(Module):
        def __init__(self, number):
            super().__init__()
            self.weight = Tensor([float(number)])

    a, b, c = map(Holder, numbers)
    model = Sequential(a, abs, Sequential(b, abs), c, a)
    return sorted(float(parameter.data[0]) for parameter in model.parameters())


@lifted
def sequential_modes(flag):
    """The modes of probes in a Sequential, at the start and after eval(); see `modes`."""
    import numpy as np

    class Probe(Module):
        pass

    probes = [Probe() if flag else Dropout(0.5, rng=np.random.default_rng(0)) for _ in range(3)]
    model = Sequential(probes[0], abs, Sequential(probes[1], probes[2]))
    x = Tensor(np.ones(40, dtype=np.float32))

    def seen():
        return [float(bool(p.training) if flag else (p(x).data == 0).any()) for p in probes]

    before = seen()
    model.eval()
    return [before, seen()]


class TestSequential:
    @pytest.mark.points(2)
    def test_order(self, student, rng):
        """Sequential hands the output of each layer to the next, from first to last."""
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        a, b = rng.uniform(1.5, 3, size=2)
        kind("three functions as layers")
        wrong = {BACKWARDS: (x * x + b) * a, EACH_FROM_X: x * x}
        same(chain(student, "order", x, a, b, w), (x * a + b) ** 2, symptoms=wrong)

    @pytest.mark.points(1)
    def test_modules_and_functions(self, student, rng):
        """Sequential takes modules and plain functions alike."""
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        a, b = rng.uniform(1.5, 3, size=2)
        kind("a function between two modules")
        same(chain(student, "mixed", x, a, b, w), (x @ w + b) @ w)

    @pytest.mark.points(1)
    def test_nested_one_and_none(self, student, rng):
        """A Sequential may be a layer of another, may have one layer, or none: then it returns its
        input."""
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        a, b = rng.uniform(1.5, 3, size=2)
        for name, text, value in (
            ("nested", "models as layers", ((x * a) ** 2 + b) * a),
            ("one", "one layer", x + b),
            ("empty", "no layers", x),
        ):
            kind(text)
            same(chain(student, name, x, a, b, w), value)

    @pytest.mark.points(1)
    def test_parameters(self, student, rng):
        """parameters() of a Sequential finds those of all its layers, each once."""
        numbers = [int(n) for n in rng.choice(90, 3, replace=False) + 1]
        kind("modules, functions and a model as layers, one of them twice")
        seen = sequential_parameters(student, numbers)
        symptom(TWICE, sorted(set(seen)) == sorted(numbers) and len(seen) > 3)
        same(seen, sorted(numbers))

    @pytest.mark.points(1)
    def test_mode(self, student):
        """eval() of a Sequential reaches all its layers."""
        kind("modules, a function and a model as layers")

        def check(flag):
            before, after = sequential_modes(student, flag)
            same(before, [1.0] * 3)
            same(after, [0.0] * 3, symptoms={NOT_INSIDE: lambda now: now.any()})

        either(lambda: check(True), lambda: check(False))

    @pytest.mark.points(1)
    def test_slope(self, student, reference, rng):
        """A derivative comes through a Sequential to its input and its parameters."""
        kind("the derivative by the input and by a matrix inside")
        program = "lambda x, w: Sequential(lambda t: t @ w, relu, lambda t: t * t)(x)"
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))
        connected(student, reference, rng, program, [x, w])
