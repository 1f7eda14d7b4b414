"""Hidden tests of 03_layers: modules, their parameters and modes, the layers made of them, a model.

Trees of modules are written as plain data and built in the worker (`walks`): a number is a Tensor
with that number in it (the same number is the same Tensor), a dictionary is a module with these
attributes (the same "same" is the same module), lists and tuples are themselves, and so is all
else. What `parameters()` must find can be read off the data.
"""

import numpy as np
import pytest
from forward_mode import CUT, descent, flows, forward

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

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
REMEMBERED = Misconception(
    "remembers other models",
    "Parameters of modules that were asked before, and are not inside this one, are listed: is "
    "something kept on the class, or a `{}` or `[]` a default value, which all calls share?",
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
DEALT = Misconception(
    "always the same number",
    "Exactly the share p is dropped at each call: the entries are not independent of each other.",
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


@run_in_worker
def walks(trees, lent):
    """Build trees from plain data, take steps, and tell the number in each parameter found.

    A step (number, path, name) goes along the attributes and positions of the path and makes the
    Tensor of that number an attribute there, or, if the name is None, appends it to the list there.
    `parameters()` is asked before the steps, too. If `lent`, with a right `contents`.
    """

    def walk_lists(value):
        for item in value if isinstance(value, (list, tuple)) else ():
            yield from walk_lists(item)
        if not isinstance(value, (list, tuple)):
            yield value

    theirs, made = globals().get("contents"), {}
    globals()["contents"] = walk_lists if lent else theirs

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

    told = []
    try:
        for spec, steps in trees:
            made.clear()
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
            told.append(sorted(float(parameter.data[0]) for parameter in model.parameters()))
    finally:
        globals()["contents"] = theirs
    return told


def numbers(spec):
    """The numbers in a tree: what its parameters hold. A shared module's name is none of them."""
    if type(spec) is int:
        return {spec}
    if type(spec) is dict:
        spec = [inside for name, inside in spec.items() if name != "same"]
    return set().union(*map(numbers, spec)) if type(spec) in (list, tuple) else set()


def found_in(student, *specs, symptoms=None, steps=(), expected=None, alone=True):
    """Assert that `parameters()` finds the numbers of each tree, each once, in any order.

    If `alone`, with the student's own `contents`, or else with a right one.
    """

    def check(lent):
        told = walks(student, [(spec, steps) for spec in specs], lent)
        for spec, seen in zip(specs, told, strict=True):
            wanted = sorted(numbers(spec) if expected is None else expected)
            symptom(REMEMBERED, not steps and set(seen) > set(wanted))
            symptom(TWICE, len(seen) > len(wanted) and sorted(set(seen)) == wanted)
            assert_close(
                np.array(seen, float),
                np.array(wanted, float),
                symptoms={why: np.array(sorted(n), float) for why, n in (symptoms or {}).items()},
            )

    any_passes(*[lambda: check(False), lambda: check(True)][: 1 + alone])


def some(rng, count):
    """Different small numbers."""
    return [int(n) for n in rng.choice(90, count, replace=False) + 1]


def tree(rng, leaf, nested=True, depth=4):
    """A random module of modules, lists, tuples, leaves and other things.

    If not `nested`, no list or tuple stands in another one.
    """

    def value(depth, listed=False):
        draw = rng.integers(0, 8 if depth else 3)
        if draw < 2 or (draw in (3, 4) and listed and not nested):
            return leaf()
        if draw == 2:
            return [None, 0.5, "text", "function"][rng.integers(4)]
        inside = [value(depth - 1, draw < 5) for _ in range(rng.integers(0, 4))]
        if draw < 5:
            return inside if draw == 3 else tuple(inside)
        names = rng.permutation(["a", "b", "layers", "weight"])
        return {str(name): each for name, each in zip(names, inside, strict=False)} or leaf()

    return {"first": value(depth), "second": value(depth), "third": leaf()}


@run_in_worker
def yielded():
    """For values that are no list or tuple: whether each that `contents` yields is the value. And
    what it yields of empty lists.
    """
    import numpy as np

    others = np.zeros(3), {"a": 1}, "four", range(2), None
    own = [[item is value for item in contents(value)] for value in others]
    return own, [list(contents(value)) for value in ([], (), [[], ([],)])]


class TestTraversal:
    @pytest.mark.points(1)
    def test_own_tensors(self, student, rng):
        """parameters() finds the Tensors among a module's attributes, and nothing else."""
        one, two = some(rng, 2)
        describe_input(
            "a module with Tensors, None, a number, text, an array and a function as attributes"
        )
        spec = {"weight": one, "bias": None, "p": 0.5, "name": "text", "call": "function"}
        found_in(student, {**spec, "state": rng.normal(size=3), "empty": [], "scale": two})

    @pytest.mark.points(2)
    def test_modules_in_modules(self, student, rng):
        """parameters() finds the parameters of modules in attributes, however deep."""
        a, b, c, d = some(rng, 4)
        describe_input("a module in a module in a module")
        spec = {"first": {"inner": {"weight": a}, "weight": b}, "own": c, "last": {"bias": d}}
        found_in(student, spec, symptoms={OWN_ONLY: [c]})
        deep = {"first": {"inner": {"deepest": {"weight": a}}}}
        found_in(student, deep, symptoms={OWN_ONLY: []})

    @pytest.mark.points(1)
    @pytest.mark.parametrize("sequence", [list, tuple])
    def test_lists_and_tuples(self, student, rng, sequence):
        """parameters() finds Tensors and modules in lists and tuples."""
        a, b, c, d = some(rng, 4)
        describe_input(f"a module with a {sequence.__name__} of Tensors, modules and functions")
        spec = {"own": a, "layers": sequence([{"weight": b}, "function", c, None, {"weight": d}])}
        found_in(student, spec, symptoms={NO_LISTS: [a], OWN_ONLY: [a, c]}, alone=False)

    @pytest.mark.points(1)
    def test_lists_in_lists(self, student, rng):
        """parameters() finds what is in lists and tuples inside lists and tuples."""
        a, b, c, d, e = some(rng, 5)
        describe_input("lists in lists and tuples in lists")
        spec = {"own": a, "layers": [b, [{"weight": c}], ([d], {"floors": [[], [[e]]]})]}
        symptoms = {FLAT_LISTS: [a, b], NO_LISTS: [a], OWN_ONLY: [a, b, d]}
        found_in(student, spec, symptoms=symptoms, alone=False)
        describe_input("an array, a dictionary, text, a range and None, which contents yields")
        themselves, nothing = yielded(student)
        assert themselves == [[True]] * 5
        describe_input("empty lists, of which contents yields nothing")
        assert nothing == [[], [], []]

    @pytest.mark.points(2)
    def test_any_tree(self, student, rng):
        """parameters() finds every Tensor in any tree of modules, lists and tuples."""
        describe_input("random trees of modules, lists, tuples, Tensors and other things")
        count = iter(range(1, 10_000))
        found_in(student, *(tree(rng, lambda: next(count)) for _ in range(20)))

    @pytest.mark.points(1)
    def test_present_tensors_themselves(self, student, rng):
        """parameters() gives the Tensors that the module holds now, themselves: whoever changes
        them changes the module."""
        describe_input(
            "modules that get another Tensor, or one more, after parameters() was called"
        )
        steps = [(7, (), "weight"), (8, ("layers",), None), (9, ("layers", 0), "bias")]
        spec = {"weight": 1, "layers": [{"weight": 2, "bias": 3}]}
        found_in(student, spec, steps=steps, expected=[2, 7, 8, 9])
        describe_input("parameters whose numbers are replaced")
        x, w = rng.normal(size=(2, 4))
        assert_close(moved(student, x, w), x * (w + 1))


@run_in_worker
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
    @pytest.mark.points(1)
    def test_shared_module(self, student, rng):
        """The parameters of a layer that is used twice are in the list once."""
        a, b, c = some(rng, 3)
        shared = {"same": 1, "weight": a, "bias": b}
        describe_input("a module that stands twice in one list, then in two other modules")
        found_in(
            student,
            {"layers": [shared, "function", shared], "own": c},
            {"first": {"inner": shared}, "last": [{"inner": shared}], "own": c},
        )

    @pytest.mark.points(1)
    def test_tied_weight(self, student, rng):
        """A Tensor that two modules share is in the list once."""
        a, b, c = some(rng, 3)
        describe_input(
            "a Tensor in two modules, in a module and a list inside it, twice in one module"
        )
        found_in(
            student,
            {"read": {"weight": a, "bias": b}, "write": {"weight": a, "bias": c}},
            {"weight": a, "layers": [{"weights": [b, a]}], "again": a},
            {"weight": a, "weights": (b, a, [a])},
        )

    @pytest.mark.points(2)
    @pytest.mark.parametrize("where", ["one module", "two modules"])
    def test_equal_is_not_the_same(self, student, rng, where):
        """Two parameters with equal numbers are two parameters."""
        value = rng.normal(size=3)
        describe_input(f"different Tensors with equal numbers in {where}")
        together = where == "one module"
        seen = equals(student, value, together)
        symptom(BY_VALUE, len(seen) == 1)
        assert_close(np.array(seen), np.tile(value, (2 if together else 4, 1)))

    @pytest.mark.points(2)
    def test_any_shared_tree(self, student, rng):
        """parameters() lists each parameter once, in however many ways it can be reached."""
        describe_input("random trees in which Tensors and modules stand at several places")

        def leaf():
            k = int(rng.integers(1, 4))
            return k if rng.random() < 0.5 else {"same": k, "own": 100 + k, "more": [200 + k]}

        found_in(student, *(tree(rng, leaf, nested=False) for _ in range(20)))


@run_in_worker
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


@run_in_worker
def modes(spec, steps, lent):
    """The mode of every module in a tree, at the start and after the steps; 1.0 is training.

    In `spec` a dictionary is a module. A step is (method, path). The order is that of creation:
    what is inside comes first. If `lent`, with a right `contents`.
    """

    def walk_lists(value):
        for item in value if isinstance(value, (list, tuple)) else ():
            yield from walk_lists(item)
        if not isinstance(value, (list, tuple)):
            yield value

    theirs, parts = globals().get("contents"), []
    globals()["contents"] = walk_lists if lent else theirs

    class Part(Module):
        def __init__(self, attributes):
            super().__init__()
            for name, value in attributes.items():
                setattr(self, name, value)
            parts.append(self)

    def build(value):
        if type(value) in (list, tuple):
            return type(value)([build(item) for item in value])
        if type(value) is dict:
            return Part({name: build(inside) for name, inside in value.items()})
        return len if value == "function" else value

    def seen():
        return [float(bool(part.training)) for part in parts]

    try:
        model = build(spec)
        before = seen()
        for method, path in steps:
            place = model
            for part in path:
                place = getattr(place, part) if type(part) is str else place[part]
            getattr(place, method)()
    finally:
        globals()["contents"] = theirs
    return before, seen()


def check_modes(student, spec, steps, expected, symptoms=None, alone=True):
    """Assert that all modules of a tree start in training mode, and their modes after the steps."""

    def check(lent):
        before, after = modes(student, spec, steps, lent)
        assert_close(before, [1.0] * len(expected))
        assert_close(after, np.array(expected, float), symptoms=symptoms)

    any_passes(*[lambda: check(False), lambda: check(True)][: 1 + alone])


class TestMode:
    @pytest.mark.points(2)
    def test_eval_reaches_modules(self, student):
        """eval() switches a module and all modules in its attributes, however deep, to use; before
        it they are in training mode."""
        describe_input("a module in a module in a module")
        spec = {"first": {"inner": {"probe": {}}}, "probe": {}, "p": 0.5}
        symptoms = {NOT_INSIDE: lambda now: now.any() and not now.all()}
        check_modes(student, spec, [("eval", ())], [0] * 5, symptoms)

    @pytest.mark.points(2)
    def test_eval_reaches_lists(self, student):
        """eval() reaches modules in lists and tuples, and in lists of lists."""
        for text, layers, more, count in (
            ("a list and a tuple of modules", [{}, "function"], ({}, {}), 4),
            ("lists in lists", [[{}], [["function", {}]]], ([({},)],), 4),
        ):
            describe_input(text)
            symptoms = {NOT_INSIDE: lambda now: now.any() and not now.all()}
            spec = {"layers": layers, "more": more}
            check_modes(student, spec, [("eval", ())], [0] * count, symptoms, alone=False)

    @pytest.mark.points(2)
    def test_train_undoes_eval(self, student):
        """train() switches a module and all modules inside back to training mode, and leaves the
        modules around it alone."""
        spec = {"first": {}, "block": {"layers": [[{}], {"inner": {}}]}}
        describe_input("eval() of a model, then train() of a block in it")
        steps = [("eval", ()), ("train", ("block",))]
        check_modes(student, spec, steps, [0, 1, 1, 1, 1, 0])
        describe_input("train() of a model in which a block is in use")
        check_modes(student, spec, [("eval", ("block",)), ("train", ())], [1] * 6)
        check_modes(student, spec, [("eval", ("block",))], [1, 0, 0, 0, 0, 1])

    @pytest.mark.points(1)
    def test_modules_are_separate(self, student):
        """eval() changes the mode of this model only."""
        spec = {"mine": {"probe": {}}, "other": [{"probe": {}}, {}]}
        describe_input("two models, one of which is switched")
        symptoms = {EVERYWHERE: lambda now: not now.any()}
        check_modes(student, spec, [("eval", ("mine",))], [0, 0, 1, 1, 1, 1], symptoms)

    @pytest.mark.points(1)
    def test_return_the_module(self, student, rng):
        """train() and eval() return the module, switched, so that model.eval()(x) works."""
        x = numbers_away_from_zero(rng, 40)
        describe_input("the values of eval(), and of train() after it")
        with recognise(NO_RETURN, TypeError):
            used, trained = returned(student, x)
        assert_close(used, x)
        assert_close(trained, 2 * x)


@run_in_worker
def returned(x):
    """What the results of eval(), and of train() after it, return for x.

    The module doubles x in training mode.
    """

    class Twice(Module):
        def forward(self, x):
            return x * (2 if self.training else 1)

    module = Twice()
    used = module.eval()(Tensor(x)).data
    return used, module.train()(Tensor(x)).data


# Linear


@run_in_worker
def affine(x, weight, bias):
    """What a Linear with these parameters returns."""
    import numpy as np

    layer = Linear(*weight.shape)
    layer.weight.data = np.array(weight)
    layer.bias.data = np.array(bias)
    return layer(Tensor(np.array(x))).data


@run_in_worker
def anatomy(n, m):
    """Of a new Linear: which parameters are Tensors, and their arrays."""
    layer = Linear(n, m)
    parts = layer.weight, layer.bias
    tensors = [isinstance(part, Tensor) for part in parts]
    return tensors, [part.data for part in parts] if all(tensors) else []


@run_in_worker
def drawn(shape, seeds):
    """The weight of a Linear for each seed; a repeated generator is `None` in the list of seeds."""
    import numpy as np

    weights = []
    for seed in seeds:
        if seed is not None:
            rng = np.random.default_rng(seed)
        weights.append(Linear(*shape, rng=rng).weight.data)
    return weights


LINEAR = (
    "lambda x, w, b: [layer := Linear(*w.shape), setattr(layer, 'weight', w), "
    "setattr(layer, 'bias', b), layer(x)][-1]"
)


class TestLinear:
    @pytest.mark.points(1)
    def test_parameters(self, student, rng):
        """weight has the shape (in_features, out_features), bias (out_features,), and both are
        Tensors in float32."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 12), 2, replace=False))
        describe_input("a layer with different numbers of inputs and outputs")
        tensors, arrays = anatomy(student, n, m)
        symptom(ARRAYS, not all(tensors))
        weight, bias = arrays
        assert_close(weight.shape, (n, m), symptoms={TRANSPOSED: (m, n)})
        assert_close(bias.shape, (m,))
        symptom(FLOAT64, np.float64 in (weight.dtype, bias.dtype))
        assert weight.dtype == bias.dtype == np.float32

    @pytest.mark.points(2)
    def test_affine(self, student, rng):
        """Linear returns x @ weight + bias, along the last axis, with any number of axes in front
        of it, in float32 and float64."""
        n, m = (int(k) for k in rng.choice(np.arange(4, 9), 2, replace=False))
        for leading in ((5,), (), (1,), (2, 3), (0,)):
            for dtype in (np.float32, np.float64):
                sizes = ((*leading, n), (n, m), (m,))
                x, w, b = (rng.normal(size=size).astype(dtype) for size in sizes)
                describe_input(f"a {np.dtype(dtype).name} input with {len(leading) + 1} axes")
                assert_close(
                    affine(student, x, w, b), x @ w + b, symptoms={NO_BIAS: x @ w}, dtype=dtype
                )

    @pytest.mark.points(1)
    def test_without_bias(self, student, rng):
        """With bias=False the bias is None and the result x @ weight."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 9), 2, replace=False))
        x = rng.normal(size=(5, n)).astype(np.float32)
        describe_input("a layer without bias")
        for layer in (student.Linear(n, m, bias=False), student.Linear(n, m, False)):
            assert_close(layer(student.Tensor(x)).data, x @ layer.weight.data)
            assert layer.bias is None

    @pytest.mark.points(7)
    @pytest.mark.parametrize("moving", ["input", "weight", "bias"])
    def test_connected(self, student, rng, moving):
        """Linear is made of Tensor operations, so a derivative comes through to input, weight and
        bias."""
        n, m = (int(k) for k in rng.choice(np.arange(2, 7), 2, replace=False))
        describe_input(f"the derivative by the {moving}, alone")
        inputs = [rng.normal(size=size) for size in ((3, n), (n, m), (m,))]
        still = {0, 1, 2} - {["input", "weight", "bias"].index(moving)}
        flows(student, rng, LINEAR, inputs, still=still)


class TestInit:
    @pytest.mark.points(2)
    def test_size_of_weights(self, student, rng):
        """The standard deviation of new weights goes with 1/√in_features: it is between 0.4 and 1.6
        times that."""
        describe_input("layers with 100 inputs, 900 outputs, and the reverse")
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
        describe_input("the weights of a layer with 200 inputs and 60 outputs")
        spread = float(weight.std())
        symptom(POSITIVE, abs(weight.mean()) > 0.5 * spread > 0)
        assert weight.shape in ((n, m), (m, n)) and spread > 0 and abs(weight.mean()) < 0.1 * spread
        for rows in (weight, weight.T):
            likeness = np.corrcoef(rows) - np.eye(len(rows))
            assert np.abs(likeness).max() < 0.8
        assert len(np.unique(weight)) > weight.size // 4
        describe_input("the bias of a layer with 200 inputs")
        bias = student.Linear(n, m).bias.data
        assert np.isfinite(bias).all() and np.abs(bias).max() < 8 / np.sqrt(n)

    @pytest.mark.points(1)
    def test_generator_decides(self, student, rng):
        """The same seed gives the same weights, another seed or a second layer from the same
        generator gives others."""
        seed = int(rng.integers(1 << 30))
        describe_input("layers that are given generators")
        first, again, next_one, other = drawn(student, (5, 7), [seed, seed, None, seed + 1])
        assert_close(again, first, symptoms={RNG_UNUSED: lambda _: True})
        symptom(SEEDED, np.array_equal(first, next_one) or np.array_equal(first, other))
        assert first.size == next_one.size == other.size == 35

    @pytest.mark.points(1)
    def test_fresh_without_generator(self, student):
        """Without a generator each layer draws weights of its own."""
        describe_input("two layers made without rng")
        first, second = student.Linear(6, 5).weight.data, student.Linear(6, 5).weight.data
        symptom(SEEDED, np.array_equal(first, second))
        assert first.shape == second.shape and first.size == 30


# Dropout


@run_in_worker
def dropped(cases):
    """What a Dropout in training mode returns, call by call: cases are (x, p, seed, calls).

    p None is the default, seed None no generator. With it the input's numbers afterwards, how many
    Tensors the layer then keeps, and how many warnings there were.
    """
    import warnings

    import numpy as np

    told = []
    for x, p, seed, calls in cases:
        options = {} if seed is None else {"rng": np.random.default_rng(seed)}
        layer = Dropout(**options) if p is None else Dropout(p, **options)
        layer.training = True  # another's eval() is not to be paid for
        tensor = Tensor(np.array(x))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = [layer(tensor).data for _ in range(calls)]
        kept = sum(isinstance(value, Tensor) for value in vars(layer).values())
        told.append((results, tensor.data, kept, len(caught)))
    return told


@run_in_worker
def in_use(x, p):
    """What a new Dropout returns, and after eval()."""
    import numpy as np

    layer = Dropout(p, rng=np.random.default_rng(0))
    before = layer(Tensor(np.array(x))).data
    layer.eval()
    return before, layer(Tensor(np.array(x))).data


@run_in_worker
def in_use_alone(x, p):
    """The same, where `training` is set by hand: another's eval() is not to be paid for."""
    import numpy as np

    layer = Dropout(p, rng=np.random.default_rng(0))
    before = layer(Tensor(np.array(x))).data
    layer.training = False
    return before, layer(Tensor(np.array(x))).data


def numbers_away_from_zero(rng, shape):
    return (rng.uniform(0.5, 2, size=shape) * rng.choice([-1, 1], size=shape)).astype(np.float32)


def a_seed(rng):
    return int(rng.integers(1 << 30))


def in_mode(training):
    """The program of a Dropout in this mode, whatever another's eval() has left."""
    made = "d := Dropout(0.4, rng=np.random.default_rng(7))"
    return f"[{made}, setattr(d, 'training', {training}), d][-1]"


class TestDropout:
    @pytest.mark.points(1)
    def test_zero_or_scaled(self, student, rng):
        """In training mode each entry becomes 0 or x / (1 - p)."""
        x, p = numbers_away_from_zero(rng, (20, 30)), float(rng.uniform(0.15, 0.4))
        describe_input("a 2-D input with p below a half, in a new layer")
        inputs = x, x.astype(float)
        for x, ([y], *_) in zip(
            inputs, dropped(student, [(x, p, a_seed(rng), 1) for x in inputs]), strict=True
        ):
            assert y.shape == x.shape and 0 < (y == 0).sum() < x.size
            alive = y != 0
            assert_close(
                y,
                np.where(alive, x / x.dtype.type(1 - p), 0),
                rtol=1e-5 if x.dtype == np.float32 else 1e-10,
                atol=0,
                symptoms={
                    NOT_INVERTED: np.where(alive, x, 0),
                    KEEPS_P: np.where(alive, x / x.dtype.type(p), 0),
                },
            )

    @pytest.mark.points(1)
    def test_share(self, student, rng):
        """An entry is dropped with probability p, independently of all others; p is 0.5 unless
        given."""
        x = numbers_away_from_zero(rng, (100, 200))
        describe_input("20,000 numbers")
        chances = (0.2, 0.8, None)
        told = dropped(student, [(x, p, a_seed(rng), 2) for p in chances])
        dealt = [
            np.count_nonzero(y == 0) - round((p or 0.5) * x.size)
            for p, (results, *_) in zip(chances, told, strict=True)
            for y in results
        ]
        symptom(DEALT, not any(dealt))  # by chance six times in 10 to the 13
        for p, ([y, _], *_) in zip(chances, told, strict=True):
            assert y.shape == x.shape
            share, p = float((y == 0).mean()), 0.5 if p is None else p
            # a row has 200 numbers, a column 100: of independent draws none is off by 0.45
            lines = [(y == 0).mean(axis=axis) for axis in (0, 1)]
            off = any((np.abs(line - line.mean()) > 0.45).any() for line in lines)
            symptom(WHOLE_ROWS, off and any(np.isin(line, (0, 1)).all() for line in lines))
            assert not off
            symptom(KEEPS_P, p != 0.5 and abs(share - (1 - p)) < 0.03)
            assert abs(share - p) < 0.03

    @pytest.mark.points(1)
    def test_identity_in_use(self, student, rng):
        """After eval() Dropout, which dropped before, returns its input unchanged."""
        x, p = numbers_away_from_zero(rng, (20, 30)), float(rng.uniform(0.2, 0.4))
        describe_input("a layer after eval()")
        symptoms = {
            SCALED_IN_USE: lambda y: np.allclose(y, x * (1 - p)) or np.allclose(y, x / (1 - p)),
            ALWAYS_ON: lambda y: (y == 0).any(),
        }

        def check(driver):
            before, after = driver(student, x, p)
            assert_close(after, x, symptoms=symptoms)
            assert before.shape == x.shape and (before == 0).any()

        any_passes(lambda: check(in_use), lambda: check(in_use_alone))

    @pytest.mark.points(0.5)
    def test_new_mask_each_call(self, student, rng):
        """Each call draws a new mask, and a layer without rng draws its own."""
        x = numbers_away_from_zero(rng, 400)
        cases = [(x, 0.5, a_seed(rng), 3), (x, 0.5, None, 1), (x, 0.5, None, 1)]
        told = [results for results, *_ in dropped(student, cases)]
        describe_input("three calls of one layer, on the same input")
        masks = [y == 0 for y in told[0]]
        again = any(np.array_equal(mask, masks[1]) for mask in (masks[0], masks[2]))
        symptom(ONE_MASK, again and 0 < masks[1].sum() < masks[1].size)
        assert not again and all(0 < mask.sum() < x.size == mask.size for mask in masks)
        describe_input("two layers without rng")
        one, two = told[1][0] == 0, told[2][0] == 0
        symptom(SEEDED, np.array_equal(one, two))
        assert 0 < one.sum() < x.size == one.size and 0 < two.sum() < x.size == two.size

    @pytest.mark.points(0.5)
    def test_generator_decides(self, student, rng):
        """The same seed gives the same sequence of masks, another seed another."""
        x, seed = numbers_away_from_zero(rng, 400), a_seed(rng)
        describe_input("layers that are given generators")
        cases = [(x, 0.5, seed, 3), (x, 0.5, seed, 3), (x, 0.5, seed + 1, 1)]
        first, again, other = (np.array(results) for results, *_ in dropped(student, cases))
        assert first.shape == (3, 400) and (first == 0).any() and (first != 0).any()
        assert_close(again, first, symptoms={RNG_UNUSED: lambda _: True})
        symptom(SEEDED, np.array_equal(first[0] == 0, other[0] == 0))

    @pytest.mark.points(0.5)
    def test_ends_of_p(self, student, rng):
        """With p = 1 everything becomes 0, without a warning; with p = 0 the input comes back."""
        x = numbers_away_from_zero(rng, (10, 10))
        for p in (1.0, 1):
            describe_input("p = 1")
            with recognise(ZERO_BY_ZERO, ZeroDivisionError):
                [([y], _, _, warnings)] = dropped(student, [(x, p, 0, 1)])
            assert_close(
                y, np.zeros_like(x), symptoms={ZERO_BY_ZERO: lambda y: not np.isfinite(y).any()}
            )
            symptom(ZERO_BY_ZERO, warnings != 0)
        describe_input("p = 0")
        for [y], *_ in dropped(student, [(x, 0, 0, 1), (x, 0.0, 0, 1)]):
            assert_close(y, x)

    @pytest.mark.points(0.5)
    def test_dtype_and_input(self, student, rng):
        """The result has the dtype of the input, the input stays as it is, and the layer, which
        drops, has no parameters, also after it was called."""
        x = numbers_away_from_zero(rng, (10, 10))
        describe_input("a float32 input, then a float64 one")
        for dtype in (np.float32, np.float64):
            [([y], after, kept, _)] = dropped(student, [(x.astype(dtype), 0.3, a_seed(rng), 1)])
            assert y.dtype == dtype and 0 < (y == 0).sum() < x.size
            [([nothing], *_)] = dropped(student, [(x.astype(dtype), 1.0, a_seed(rng), 1)])
            assert nothing.dtype == dtype
            assert_close(after, x, dtype=dtype)
            symptom(KEPT_TENSOR, kept != 0)

    @pytest.mark.points(3)
    def test_connected(self, student, rng):
        """The derivative comes through where an entry survives, scaled like the entry."""
        x, way = numbers_away_from_zero(rng, (5, 8)).astype(float), rng.normal(size=(5, 8))
        describe_input("the derivative by the input")
        [(value, slope, _)], _, _ = forward(student, in_mode(True), [x], [([way], [])])
        assert value.shape == x.shape and value.any() and not value.all()
        assert_close(slope, way * value / x, rtol=1e-6, symptoms={CUT: lambda seen: not seen.any()})

    @pytest.mark.points(1)
    def test_connected_in_use(self, student, rng):
        """In use, the derivative comes through a Dropout, which else drops, unchanged."""
        x, way = numbers_away_from_zero(rng, (5, 8)).astype(float), rng.normal(size=(5, 8))
        describe_input("the derivative by the input, in a layer whose training is False")
        [(dropping, _, _)], _, _ = forward(student, in_mode(True), [x], [([way], [])])
        assert not dropping.all()
        [(_, slope, _)], _, _ = forward(student, in_mode(False), [x], [([way], [])])
        assert_close(slope, way, symptoms={CUT: lambda seen: not seen.any()})


# Sequential and Residual


@run_in_worker
def chains(names, x, a, b, w):
    """What these models return: functions scale, shift and square, and a module."""
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
        "order": Sequential(scale, shift, square),
        "mixed": Sequential(Times(), shift, Times()),
        "nested": Sequential(Sequential(scale), square, Sequential(Sequential(shift), scale)),
        "one": Sequential(shift),
        "none": Sequential(),
    }
    return {name: models[name](Tensor(np.array(x))).data for name in names}


class TestSequential:
    @pytest.mark.points(2)
    def test_order(self, student, rng):
        """Sequential hands the output of each layer to the next, from first to last: modules,
        functions and other models; without layers it returns its input."""
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        a, b = (float(number) for number in rng.uniform(1.5, 3, size=2))
        told = chains(student, ("order", "mixed", "nested"), x, a, b, w)
        describe_input("three functions as layers")
        wrong = {BACKWARDS: (x * x + b) * a, EACH_FROM_X: x * x}
        assert_close(told["order"], (x * a + b) ** 2, symptoms=wrong)
        describe_input("a function between two modules")
        assert_close(told["mixed"], (x @ w + b) @ w)
        describe_input("models as layers")
        assert_close(told["nested"], ((x * a) ** 2 + b) * a)
        describe_input("one layer, and none")
        told = chains(student, ("one", "none"), x, a, b, w)
        assert_close(told["one"], x + b)
        assert_close(told["none"], x)

    @pytest.mark.points(3)
    def test_connected(self, student, rng):
        """A derivative comes through a Sequential to its input and its parameters."""
        describe_input("the derivative by the input and by a matrix inside")
        program = "lambda x, w: Sequential(lambda t: t @ w, tanh, lambda t: t * t)(x)"
        inputs = [rng.normal(size=(4, 3)), rng.normal(size=(3, 5))]
        for still in ((1,), (0,)):
            flows(student, rng, program, inputs, still=still)


@run_in_worker
def residuals(x, a):
    """What a Residual of a few functions, of one, and of none returns."""

    def scale(x):
        return x * a

    def square(x):
        return x * x

    layers = (scale, square, scale), (square,), ()
    return [Residual(*those)(Tensor(x)).data for those in layers]


class TestResidual:
    @pytest.mark.points(1)
    def test_values(self, student, rng):
        """Residual adds its input to what its layers make of it."""
        x, a = rng.normal(size=(4, 3)), float(rng.uniform(1.5, 3))
        describe_input("three layers, one, and none")
        told = residuals(student, x, a)
        for seen, right in zip(told, (x + (x * a) ** 2 * a, x + x * x, 2 * x), strict=True):
            assert_close(seen, right)

    @pytest.mark.points(2)
    def test_connected(self, student, rng):
        """A derivative comes through both ways of a Residual, to its input and its parameters."""
        describe_input("the derivative by the input and by a matrix inside")
        program = "lambda x, w: Residual(lambda t: t @ w, tanh)(x)"
        inputs = [rng.normal(size=(4, 3)), rng.normal(size=(3, 3))]
        for still in ((1,), (0,)):
            flows(student, rng, program, inputs, still=still)


@run_in_worker
def broken(x):
    """The numbers that the student's counterexample leaves after hasty_eval, and after eval."""

    def hasty_eval(module):
        module.training = False
        for value in vars(module).values():
            if isinstance(value, Module):
                hasty_eval(value)

    Module.training = True  # another's eval() is not to be paid for
    model = breaks_it()
    hasty_eval(model)
    hasty = model(Tensor(x)).data
    model.eval()
    return hasty, model(Tensor(x)).data


class TestBug:
    @pytest.mark.points(1)
    def test_breaks_it(self, student, rng):
        """hasty_eval leaves a layer of your model in training mode, and eval() does not."""
        x = numbers_away_from_zero(rng, (8, 8))
        describe_input("numbers other than 0")
        hasty, right = broken(student, x)
        assert (hasty == 0).any() and (right != 0).all()


# A model of everything: a Linear, a module of one's own, a Residual, a Dropout, a Linear. No two of
# its parameters have the same shape.

MODEL = (
    "[own := type('Own', (Module,), {'forward': lambda self, x: tanh(self.inner(x)) * self.scale})"
    "(), setattr(own, 'inner', Linear(4, 5, bias=False)), setattr(own, 'scale', "
    "Tensor(np.ones(5, dtype=np.float32))), Sequential(Linear(3, 4), own, Residual(Linear(5, 5, "
    "bias=False), tanh), Dropout(0.5, rng=np.random.default_rng(3)), Linear(5, 2))][-1]"
)
SHAPES = (3, 4), (4,), (4, 5), (5,), (5, 5), (5, 2), (2,)


def numpy_model(x, w1, b1, inner, scale, w2, w3, b3):
    x = np.tanh((x @ w1 + b1) @ inner) * scale
    return (x + np.tanh(x @ w2)) @ w3 + b3


@run_in_worker
def inspected(x, program):
    """Of a model: its parameters' arrays before and after a call, answers in training mode (two),
    in use (two), and in training again (two)."""
    import numpy as np

    import tinytorch

    model = eval(program, {**vars(tinytorch), **globals(), "np": np})
    tensor = Tensor(x)
    before = [parameter.data for parameter in model.parameters()]
    answers = [model(tensor).data, model(tensor).data]
    for switch in ("eval", "train"):
        model = getattr(model, switch)()
        answers += [model(tensor).data, model(tensor).data]
    return before, [parameter.data for parameter in model.parameters()], answers


class TestWhole:
    @pytest.mark.points(5)
    def test_answers(self, student, rng):
        """A model of all layers, and of a module of its own, gives the right answers in use."""
        describe_input("five layers in use, with random parameters")
        x, parameters = rng.normal(size=(6, 3)), [rng.normal(size=shape) for shape in SHAPES]
        still = [np.zeros(x.shape)], [np.zeros(shape) for shape in SHAPES]
        told, _, _ = forward(student, f"{MODEL}.eval()", [x], [still], parameters)
        assert_close(told[0][0], numpy_model(x, *parameters))

    @pytest.mark.points(4)
    def test_parameters(self, student, rng):
        """parameters() of such a model finds all there are, each once, in float32, also where a
        block is used twice, and two layers start with equal biases."""
        x = rng.normal(size=(6, 3)).astype(np.float32)
        describe_input("five layers, then the same twice in a larger model")
        twice = f"(lambda m: Sequential(m, Linear(2, 3), Linear(3, 3), m))({MODEL})"
        for program, shapes in ((MODEL, SHAPES), (twice, (*SHAPES, (2, 3), (3,), (3, 3), (3,)))):
            before, after, _ = inspected(student, x, program)
            symptom(KEPT_TENSOR, len(after) > len(before))
            for found in (before, after):
                assert sorted(array.shape for array in found) == sorted(shapes)
                assert {array.dtype for array in found} == {np.dtype(np.float32)}

    @pytest.mark.points(4)
    def test_modes(self, student, rng):
        """Such a model answers differently at each call while it learns, and always the same in
        use; train() undoes eval()."""
        x = rng.normal(size=(6, 3)).astype(np.float32)
        describe_input("five layers, a Dropout among them")
        _, _, (one, two, used, again, three, four) = inspected(student, x, MODEL)
        assert {answer.shape for answer in (one, two, used, again, three, four)} == {(6, 2)}
        assert_close(again, used, atol=0, symptoms={ALWAYS_ON: lambda _: True})
        for first, second in ((one, two), (two, used), (three, four)):
            assert not np.allclose(first, second)

    @pytest.mark.points(4)
    def test_slopes(self, student, rng):
        """The slope of a model's answer comes through to its input and to every parameter, also
        while it learns."""
        describe_input("five layers in training mode, all moving together")
        x, parameters = rng.normal(size=(6, 3)), [rng.normal(size=shape) for shape in SHAPES]
        flows(student, rng, MODEL, [x], parameters=parameters)

    @pytest.mark.points(4)
    def test_descent(self, student, reference, rng):
        """A model of your layers learns, step by step as the reference does."""
        describe_input("twelve steps of a small model, each along a random direction")
        x = rng.normal(size=(8, 3))
        constants = {"x": x, "y": np.stack([x.sum(1), x[:, 0] * x[:, 1]], axis=1)}
        parameters = [rng.normal(size=shape) for shape in ((3, 6), (6,), (6, 2), (2,))]
        program = (
            "(lambda model: (model, lambda: ((model(Tensor(x)) - y) ** 2).mean()))"
            "(Sequential(Linear(3, 6), tanh, Linear(6, 2)))"
        )
        descent(
            student,
            reference,
            rng,
            program,
            parameters=parameters,
            constants=constants,
            rate=0.2,
        )
