"""Hidden tests of 15_profiling.

Counts are worked out on paper (in Python here), for functions of plain operations and for models
whose sizes are drawn. What is told of seconds is compared with a wait that the driver makes inside
an operation, never with a constant. `watch` is tried with the student's `telling` and once more
with a right one, what stands on `watch` once more with a right `watch`: a region earns the better
of the two. `Whole` has no second way.
"""

import math
from types import FunctionType

import numpy as np
import pytest
from gpt_weights import shapes
from lending import LEND, own_or_lent

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    run_in_worker,
    symptom,
)

KEYWORDS_LOST = Misconception(
    "keywords lost", "`x.sum(axis=1)` needs its keywords: hand on *args and **kwargs."
)
OTHER_RESULT = Misconception("another result", "What the old operation returned is returned.")
BEFORE_AND_AFTER = Misconception(
    "clock read too early", "The second look at the clock comes after the operation."
)
LEFT_ON = Misconception("left watching", "After the `with` the class still has telling methods.")
LEFT_AFTER_ERROR = Misconception(
    "left watching after an error", "After an error, too, the class is to be what it was."
)
SWALLOWED = Misconception(
    "error swallowed", "An error inside is none of your business: __exit__ returns nothing."
)
INHERITED = Misconception(
    "inherited methods", "A method that the class inherited is now its own: delattr gives it back."
)
INNER_ENDS_ALL = Misconception(
    "the inner one ends both", "On leaving give back what was there on entering, watched or not."
)
HALF = Misconception("multiply-adds", "A multiply-add counts 2: a product and a sum.")
LAST_TWO_AXES = Misconception("batch forgotten", "A batch of products is as many products.")
EVERYTHING = Misconception("all operations", "Only `@` counts.")
ADDS_UP = Misconception("adds up", "A second run begins at 0: whose is the total?")
ELEMENTS = Misconception("numbers for bytes", "Bytes, not numbers: float64 has 8 of them each.")
SHORTEST_FIRST = Misconception("shortest first", "The operation that took longest comes first.")
MOST_SECONDS = Misconception("most seconds", "Seconds for each byte: what is much takes long.")
PER_CALL = Misconception("seconds per call", "For each byte that it made, not for each call.")
VIEWS = Misconception("views counted", "A view has no memory of its own.")
SMALL_ONES = Misconception("small ones counted", "Results below `smallest` bytes count nothing.")
PART_LOST = Misconception("part of a page", "A part of a page is a page.")
TWICE = Misconception("counted twice", "A parameter that two parts share is learned once.")

OPERATIONS = (
    *("__add__", "__mul__", "__truediv__", "__pow__", "__matmul__", "__getitem__"),
    *("exp", "log", "maximum", "sum", "max", "reshape", "transpose"),
)

COMMON = (
    LEND
    + f"OPERATIONS = {OPERATIONS!r}"
    + '''
import time

import numpy as np
import tinytorch as tt

RIGHT = {
    "telling": """
def telling(name, operation, tell):
    def told(*args, **kwargs):
        start = time.perf_counter()
        result = operation(*args, **kwargs)
        tell(name, time.perf_counter() - start, result, args)
        return result
    return told
""",
    "watch": """
class watch:
    def __init__(self, tell):
        self.tell = tell

    def wrapped(self, name, operation):
        def told(*args, **kwargs):
            start = time.perf_counter()
            result = operation(*args, **kwargs)
            self.tell(name, time.perf_counter() - start, result, args)
            return result
        return told

    def __enter__(self):
        self.held = {name: vars(tt.Tensor).get(name) for name in OPERATIONS}
        for name in OPERATIONS:
            setattr(tt.Tensor, name, self.wrapped(name, getattr(tt.Tensor, name)))

    def __exit__(self, *error):
        for name, method in self.held.items():
            if method is None:
                delattr(tt.Tensor, name)
            else:
                setattr(tt.Tensor, name, method)
""",
}


def provided(names, theirs):
    right = {"tt": tt, "time": time, "OPERATIONS": OPERATIONS}
    for name in names:
        exec(RIGHT[name], right)
    return {name: right[name] for name in names}


class untouched:
    """Afterwards the class Tensor has what it had before, whoever changed it."""

    def __enter__(self):
        self.held = dict(vars(tt.Tensor))
        return self

    def same(self):
        return dict(vars(tt.Tensor)) == self.held

    def __exit__(self, *error):
        for name in set(vars(tt.Tensor)) - set(self.held):
            delattr(tt.Tensor, name)
        for name, value in self.held.items():
            if vars(tt.Tensor)[name] is not value:
                setattr(tt.Tensor, name, value)


class gradients:
    """Inside, gradients are enabled or not; afterwards they are."""

    def __init__(self, on):
        tt.enable_gradients() if on else tt.disable_gradients()

    def __enter__(self):
        pass

    def __exit__(self, *error):
        tt.enable_gradients()


def wait(seconds):
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        pass
'''
)


# What a model has.


@run_in_worker
def parameters_of(kind, size):
    """What `count_parameters` says of a model of this kind."""
    import numpy as np

    import tinytorch as tt

    class Shared(tt.Module):
        def __init__(self, rows, columns):
            self.table = tt.Tensor(np.zeros((rows, columns)))
            self.parts = [(tt.Linear(columns, rows), tt.BatchNorm2d(rows))]
            self.again = self.table
            self.mask = np.zeros((7, 7))
            self.twice = [self.parts[0][0], tt.relu, self.parts]

    if kind == "layers":
        first, middle, last = size
        model = tt.Sequential(
            tt.Linear(first, middle), tt.gelu, tt.Linear(middle, last, bias=False), tt.Dropout(0.5)
        )
    else:
        model = {"shared": Shared, "gpt": tt.GPT}[kind](*size)
    return count_parameters(model)


class TestCountParameters:
    @pytest.mark.points(1)
    def test_layers(self, student, rng):
        """Each weight and each bias counts, nothing else does."""
        a, b, c = size = [int(n) for n in rng.integers(2, 30, 3)]
        assert parameters_of(student, "layers", size) == a * b + b + b * c

    @pytest.mark.points(2)
    def test_shared(self, student, rng):
        """What parts share counts once; masks and running means are not learned."""
        describe_input("modules in lists and tuples, a table and a layer that occur twice")
        rows, columns = size = [int(n) for n in rng.integers(3, 9, 2)]
        found = parameters_of(student, "shared", size)
        once = rows * columns + columns * rows + rows + 2 * rows
        symptom(TWICE, found in (once + rows * columns, once + rows * columns + rows))
        assert found == once
        size = [int(rng.integers(5, 30)), int(rng.integers(5, 30)), 12, 3, 2]
        wanted = sum(math.prod(s) for s in shapes(*size[:3], size[4]).values())
        assert parameters_of(student, "gpt", size) == wanted


# An operation that tells.


@run_in_worker
def told(args, kwargs):
    """What an operation is given, what comes back, what is told."""
    made, seen, said = object(), [], []

    def operation(*args, **kwargs):
        seen.append((args, kwargs))
        return made

    def tell(name, seconds, result, args):
        said.append((name, seconds, result is made, args))
        return "something else"

    new = telling("name of it", operation, tell)
    quiet = len(seen), len(said)
    came = [new(*args, **kwargs) is made for _ in range(2)]
    return quiet, came, seen, said


@run_in_worker
def clocked(common, seconds):
    """Told seconds of two operations that wait so long, and those that really passed."""
    exec(common, names := {})
    time, said, passed = names["time"], [], []
    new = telling("wait", names["wait"], lambda name, took, result, args: said.append(took))
    for each in seconds:
        start = time.perf_counter()
        new(each)
        passed.append(time.perf_counter() - start)
    return said, passed


@run_in_worker
def raised():
    """The names of what a telling operation raises that fails, and whether it works after it."""

    def operation(x):
        if x < 0:
            raise KeyError(x)
        return x

    new = telling("fails", operation, lambda *told: None)
    try:
        new(-1)
    except KeyError:
        return "KeyError", new(3)
    return "nothing", None


class TestTelling:
    @pytest.mark.points(2)
    def test_given(self, student, rng):
        """The old operation is given all arguments, once for each call."""
        describe_input("an operation with three arguments and two keywords, called twice")
        args, kwargs = [float(x) for x in rng.normal(size=3)], {"axis": 1, "keepdims": True}
        _, _, seen, _ = told(student, args, kwargs)
        symptom(KEYWORDS_LOST, len(seen) == 2 and not seen[0][1])
        assert [[list(a), k] for a, k in seen] == [[args, kwargs]] * 2

    @pytest.mark.points(1.5)
    def test_result(self, student, rng):
        """What comes back is the very result."""
        quiet, came, *_ = told(student, [float(rng.normal())], {})
        symptom(OTHER_RESULT, not all(came))
        assert list(came) == [True, True] and list(quiet) == [0, 0]

    @pytest.mark.points(2)
    def test_tells(self, student, rng):
        """Each call tells the name, the result itself, and the positional arguments as a tuple."""
        args = [float(x) for x in rng.normal(size=2)]
        *_, said = told(student, args, {"axis": 0})
        assert len(said) == 2
        for name, seconds, is_result, given in said:
            assert (name, is_result) == ("name of it", True) and seconds >= 0
            assert type(given) is tuple and list(given) == args

    @pytest.mark.points(1.5)
    def test_seconds(self, student, rng):
        """The seconds are those of the operation by the clock on the wall."""
        describe_input("operations that wait for some thousandths of a second")
        waits = [float(x) for x in rng.uniform(0.002, 0.006, 2)]
        said, passed = clocked(student, COMMON, waits)
        assert len(said) == 2
        for seconds, least, most in zip(said, waits, passed, strict=True):
            symptom(BEFORE_AND_AFTER, seconds < least / 10)
            assert least <= seconds <= most

    @pytest.mark.points(1)
    def test_errors(self, student):
        """An error of the operation comes through."""
        assert raised(student) == ("KeyError", 3) or list(raised(student)) == ["KeyError", 3]


# A context around operations.


@run_in_worker
def each_operation(common, lent, on, x):
    """For each operation: the names that are told while it runs, and its value; then afterwards."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"](), names["gradients"](on):
        Tensor, said = tt.Tensor, []
        x = Tensor(np.array(x))
        calls = {
            "__add__": lambda: x + 1,
            "__mul__": lambda: x * x,
            "__truediv__": lambda: x / 3.0,
            "__pow__": lambda: x**2,
            "__matmul__": lambda: x @ np.ones((x.shape[-1], 2)),
            "__getitem__": lambda: x[1:],
            "exp": lambda: x.exp(),
            "log": lambda: x.log(),
            "maximum": lambda: x.maximum(other=1.0),
            "sum": lambda: x.sum(axis=0),
            "max": lambda: x.max(1, keepdims=True),
            "reshape": lambda: x.reshape(-1),
            "transpose": lambda: x.transpose(1, 0),
        }
        told = {}
        with watch(lambda name, seconds, result, args: said.append((name, args[0] is x))):
            for name, call in calls.items():
                said.clear()
                told[name] = call().data, list(said)
        said.clear()
        for call in calls.values():
            call()
        return told, len(said)


@run_in_worker
def went_through(common, lent, how, on):
    """Enter and leave a context in some way: was the class as before, what was told, what raised.

    how: "plain", "error", "nested", "inner error", "inherited".
    """
    exec(common, names := {})
    tt = names["tt"]
    with names["lend"](globals(), lent), names["untouched"]() as held, names["gradients"](on):
        held.held = dict(vars(tt.Tensor))
        outer, inner, x, error = [], [], tt.Tensor([1.0, 2.0]), None

        def tell(said):
            return lambda name, seconds, result, args: said.append(name)

        try:
            with watch(tell(outer)):
                x.exp()
                if how in ("nested", "inner error"):
                    try:
                        with watch(tell(inner)):
                            x.log()
                            if how == "inner error":
                                raise KeyError
                    except KeyError:
                        pass
                x.sum()
                if how == "error":
                    raise KeyError
        except KeyError:
            error = "KeyError"
        same = held.same()
        x.maximum(0)
        return same, outer, inner, error


@run_in_worker
def inherited(common, lent):
    """What a class holds itself, before and after, that inherits all operations; what was told."""
    exec(common, names := {})
    tt, said = names["tt"], []

    class Heir(tt.Tensor):
        pass

    with names["lend"](globals(), lent), names["untouched"]():
        mine, theirs = globals().get("Tensor"), tt.Tensor
        globals()["Tensor"] = tt.Tensor = Heir
        try:
            before = sorted(vars(Heir))
            with watch(lambda name, seconds, result, args: said.append(name)):
                Heir([1.0]).exp()
            return before, sorted(vars(Heir)), said
        finally:
            globals()["Tensor"], tt.Tensor = mine, theirs


def _slopes(common, lent, x, w, watched):
    """Value and gradients of an expression, computed inside of a context or without one."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"](), names["gradients"](True):
        x, w = (tt.Tensor(np.array(each), requires_grad=True) for each in (x, w))

        def run():
            y = tt.softmax(x @ w) * (x.T.reshape(3, 4).transpose(1, 0) + 1.5)
            y = (y / y.max(axis=0) - x[[0, 1, 1, 3]]).exp().log().maximum(-0.2) ** 2
            loss = y.mean()
            loss.backward()
            return loss.data, x.grad, w.grad

        if not watched:
            return run()
        with watch(lambda *told: None):
            return run()


slopes = run_in_worker(_slopes)


class TestWatch:
    @pytest.mark.points(4)
    @pytest.mark.parametrize("on", [True, False], ids=["gradients", "plain"])
    def test_each(self, student, rng, on):
        """Each operation tells, the Tensor itself is its first argument, and none tells later."""
        describe_input("each of the thirteen by itself, gradients " + ("on" if on else "off"))
        x = rng.uniform(0.5, 2, (3, 4))
        right = [x + 1, x * x, x / 3, x**2, x @ np.ones((4, 2)), x[1:], np.exp(x), np.log(x)]
        right += [np.maximum(x, 1), x.sum(0), x.max(1, keepdims=True), x.reshape(-1), x.T]

        def check(lent):
            found, after = each_operation(student, COMMON, lent, on, x)
            symptom(LEFT_ON, after > 0)
            assert found.keys() == set(OPERATIONS) and after == 0
            for name, wanted in zip(OPERATIONS, right, strict=True):
                value, said = found[name]
                assert_close(value, wanted)
                assert [list(each) for each in said] == [[name, True]]

        own_or_lent(check, "telling")

    @pytest.mark.points(3)
    @pytest.mark.parametrize("on", [True, False], ids=["gradients", "plain"])
    def test_given_back(self, student, on):
        """Afterwards the class holds what it held before."""

        def check(lent):
            same, outer, _, _ = went_through(student, COMMON, lent, "plain", on)
            symptom(LEFT_ON, len(outer) > 2)
            assert list(outer) == ["exp", "sum"] and same

        own_or_lent(check, "telling")

    @pytest.mark.points(2)
    def test_error(self, student):
        """After an error, too; and the error comes through."""

        def check(lent):
            same, outer, _, error = went_through(student, COMMON, lent, "error", True)
            symptom(SWALLOWED, error is None and same)
            symptom(LEFT_AFTER_ERROR, not same)
            assert list(outer) == ["exp", "sum"] and same and error == "KeyError"

        own_or_lent(check, "telling")

    @pytest.mark.points(2)
    @pytest.mark.parametrize("how", ["nested", "inner error"])
    def test_nested(self, student, how):
        """A context in another: both are told, and when the inner one ends the outer goes on."""

        def check(lent):
            same, outer, inner, _ = went_through(student, COMMON, lent, how, True)
            symptom(INNER_ENDS_ALL, list(outer) == ["exp", "log"])
            assert list(outer) == ["exp", "log", "sum"] and list(inner) == ["log"] and same

        own_or_lent(check, "telling")

    @pytest.mark.points(1)
    def test_inherited(self, student):
        """What the class inherits is given back to whom it belongs."""

        def check(lent):
            before, after, said = inherited(student, COMMON, lent)
            assert "exp" in said
            symptom(INHERITED, len(after) > len(before))
            assert list(after) == list(before)

        own_or_lent(check, "telling")

    @pytest.mark.points(2)
    def test_slopes(self, student, reference, rng):
        """Values and gradients inside are those without."""
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        plain = FunctionType(_slopes.__code__, dict(vars(reference)))
        try:
            right = plain(COMMON, (), x, w, False)
        finally:
            reference.disable_gradients()

        def check(lent):
            _, told, _, _ = went_through(student, COMMON, lent, "plain", True)
            assert list(told) == ["exp", "sum"]
            for found, wanted in zip(slopes(student, COMMON, lent, x, w, True), right, strict=True):
                assert_close(found, wanted)

        own_or_lent(check, "telling")


# Counts.


@run_in_worker
def flops_of(common, lent, program, inputs, times=1):
    """What `count_flops` says of a function, each time; how often that ran, and what it got."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"]() as held:
        inside = eval(program, {**vars(tt), "np": np})
        got = []

        def f(*inputs):
            got.append(len(inputs))
            return inside(*inputs)

        inputs = [tt.Tensor(np.array(each)) for each in inputs]
        return [count_flops(f, *inputs) for _ in range(times)], got, held.same()


def product_of(a, b):
    """2 · (numbers of a @ b) · (the axis summed over)."""
    out = np.matmul(np.empty(a, np.int8), np.empty(b, np.int8))
    return 2 * out.size * a[-1]


class TestCountFlops:
    @pytest.mark.points(4)
    @pytest.mark.parametrize("kind", ["matrices", "batches", "vectors", "broadcast"])
    def test_shapes(self, student, rng, kind):
        """Two for each multiply-add of one `@`, whatever the shapes."""
        n, k, m, b, c = (int(x) for x in rng.permutation(np.arange(2, 9))[:5])
        pairs = {
            "matrices": [((n, k), (k, m)), ((1, k), (k, 1))],
            "batches": [((b, n, k), (k, m)), ((b, c, n, k), (b, c, k, m))],
            "vectors": [((k,), (k,)), ((n, k), (k,)), ((k,), (k, m)), ((k,), (b, k, m))],
            "broadcast": [((b, 1, n, k), (c, k, m)), ((n, k), (b, k, m))],
        }[kind]
        describe_input(f"shapes such as {pairs[0]}")

        def check(lent):
            for first, second in pairs:
                data = "lambda a, b: a @ b", [np.ones(first), np.ones(second)]
                [found], _, _ = flops_of(student, COMMON, lent, *data)
                right = product_of(first, second)
                symptom(HALF, 2 * found == right)
                symptom(LAST_TWO_AXES, found == 2 * n * k * m != right)
                assert found == right

        own_or_lent(check, "watch")

    @pytest.mark.points(3)
    def test_functions(self, student, rng):
        """All `@` of a function add up, and other operations count nothing."""
        n, k, m = (int(x) for x in rng.permutation(np.arange(2, 9))[:3])
        program = f"""lambda x, w: (
            softmax((x @ w).exp() * 2 - 1) @ w.T + np.ones(({n}, {m})) @ w.T
        ).sum() + sum((x @ w).max() for _ in range(3))"""
        describe_input("six products among other operations, one of an array and a Tensor")

        def check(lent):
            data = program, [rng.normal(size=(n, k)), rng.normal(size=(k, m))]
            [found], got, _ = flops_of(student, COMMON, lent, *data)
            assert found == 12 * n * k * m and list(got) == [2]

        own_or_lent(check, "watch")

    @pytest.mark.points(1)
    def test_none(self, student, rng):
        """A function without `@` has none, and it may return anything."""

        def check(lent):
            found = [
                flops_of(student, COMMON, lent, program, [rng.normal(size=3)])[0][0]
                for program in ("lambda x: (x * x).exp().sum()", "lambda x: None", "lambda x: 3")
            ]
            symptom(EVERYTHING, found[0] > found[1])
            symptom(ADDS_UP, 0 < found[0] == found[1])
            assert found == [0, 0, 0]
            [found], _, _ = flops_of(student, COMMON, lent, "lambda x: x @ x", [np.ones(5)])
            assert found == 10

        own_or_lent(check, "watch")

    @pytest.mark.points(2)
    def test_again(self, student, rng):
        """Counted again it is the same, and the class is what it was."""
        n, k = (int(x) for x in rng.integers(2, 9, 2))

        def check(lent):
            data = "lambda a: a @ a.T", [np.ones((n, k))], 3
            found, got, same = flops_of(student, COMMON, lent, *data)
            symptom(ADDS_UP, found[1] == 2 * found[0])
            assert list(found) == [2 * n * n * k] * 3 and list(got) == [1] * 3 and same

        own_or_lent(check, "watch")


@run_in_worker
def tables(common, lent, program, inputs, times=1):
    """Tables of a function as lists of pairs, and whether the class is what it was."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"]() as held:
        f = eval(program, {**vars(tt), "np": np})
        inputs = [tt.Tensor(np.array(each)) for each in inputs]
        told = []
        for _ in range(times):
            table = profile(f, *inputs)
            rows = [
                (name, row["calls"], row["seconds"], row["bytes"]) for name, row in table.items()
            ]
            told.append((type(table).__name__, rows))
        return told, held.same()


@run_in_worker
def slow_table(common, lent, waits):
    """The table of operations that wait, as (name, calls, seconds), and the seconds of it all."""
    exec(common, names := {})
    time, tt = names["time"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"]():

        def slow(method, seconds):
            def operation(*args, **kwargs):
                names["wait"](seconds)
                return method(*args, **kwargs)

            return operation

        for name, seconds in waits.items():
            setattr(tt.Tensor, name, slow(getattr(tt.Tensor, name), seconds))
        start = time.perf_counter()
        table = profile(lambda x: x.exp().log().exp().log().exp().sum(), tt.Tensor([1.0]))
        passed = time.perf_counter() - start
        return [(name, row["calls"], row["seconds"]) for name, row in table.items()], passed


@run_in_worker
def scripted(common, script):
    """The seconds in the table, where a right `watch` tells of each operation what is scripted."""
    exec(common, names := {})
    tt = names["tt"]
    with names["lend"](globals(), ["watch"]), names["untouched"]():
        right, script = globals()["watch"], list(script)

        def watch(tell):
            return right(lambda name, seconds, *others: tell(name, script.pop(0), *others))

        globals()["watch"] = watch
        table = profile(lambda x: x.exp().log().exp().log().exp().sum(), tt.Tensor([1.0]))
        return {name: row["seconds"] for name, row in table.items()}


class TestProfile:
    @pytest.mark.points(5)
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_counts(self, student, rng, dtype):
        """Each operation that occurred has its calls and the bytes of its results."""
        describe_input(f"a function of seven operations, some several times, in {dtype}")
        n, k, many = int(rng.integers(3, 9)), int(rng.integers(3, 9)), int(rng.integers(2, 6))
        program = f"""lambda x: [
            (x @ x.T), [x.exp() for _ in range({many})], x[1:], x[0], x.reshape(-1),
            x.sum(), x.sum(axis=0), x * x, x.max(axis=1, keepdims=True),
        ]"""
        each = np.dtype(dtype).itemsize
        right = {
            "__matmul__": (1, n * n),
            "transpose": (1, n * k),
            "exp": (many, many * n * k),
            "__getitem__": (2, (n - 1) * k + k),
            "reshape": (1, n * k),
            "sum": (2, 1 + k),
            "__mul__": (1, n * k),
            "max": (1, n),
        }

        def check(lent):
            x = rng.normal(size=(n, k)).astype(dtype)
            [(kind, rows)], same = tables(student, COMMON, lent, program, [x])
            found = {name: (calls, size) for name, calls, _, size in rows}
            assert kind == "dict" and same and found.keys() == right.keys()
            for name, (calls, numbers) in right.items():
                symptom(ELEMENTS, found[name] == (calls, numbers))
                assert found[name] == (calls, numbers * each)

        own_or_lent(check, "watch")

    @pytest.mark.points(1)
    def test_sums(self, student, rng):
        """The seconds of all calls of an operation add up."""
        script = [float(x) for x in rng.uniform(1, 9, 6)]
        found = scripted(student, COMMON, script)
        assert found.keys() == {"exp", "log", "sum"}
        assert_close(found["exp"], sum(script[:5:2]))
        assert_close(found["log"], script[1] + script[3])
        assert_close(found["sum"], script[5])

    @pytest.mark.points(2)
    def test_seconds(self, student, rng):
        """The seconds are those that the operations took."""
        describe_input("exp, log and sum that wait for some thousandths of a second each")
        exp, log, total = (float(x) for x in rng.uniform(0.001, 0.004, 3))

        def check(lent):
            waits = {"exp": exp, "log": log, "sum": total}
            rows, passed = slow_table(student, COMMON, lent, waits)
            found = {name: (calls, seconds) for name, calls, seconds in rows}
            for name, calls, seconds in (("exp", 3, exp), ("log", 2, log), ("sum", 1, total)):
                assert found[name][0] == calls and found[name][1] >= calls * seconds
            assert sum(seconds for _, seconds in found.values()) <= passed

        own_or_lent(check, "watch")

    @pytest.mark.points(2)
    def test_order(self, student, rng):
        """The operation that took longest comes first, and so on."""
        describe_input("operations that wait, in another order each time")

        def check(lent):
            for slowest in rng.permutation(["exp", "log", "sum"])[:2]:
                waits = {str(slowest): 0.004}
                rows, _ = slow_table(student, COMMON, lent, waits)
                seconds = [each for *_, each in rows]
                symptom(SHORTEST_FIRST, seconds == sorted(seconds))
                assert len(rows) == 3 and seconds == sorted(seconds, reverse=True)
                assert dict((name, each) for name, _, each in rows)[str(slowest)] >= 0.004

        own_or_lent(check, "watch")

    @pytest.mark.points(1)
    def test_again(self, student, rng):
        """A second table begins at nothing."""

        def check(lent):
            data = "lambda x: (x + 1).exp() + 2", [rng.normal(size=3)], 2
            told, _ = tables(student, COMMON, lent, *data)
            counts = [{name: calls for name, calls, *_ in rows} for _, rows in told]
            symptom(ADDS_UP, counts[1].get("exp") == 2)
            assert counts == [{"__add__": 2, "exp": 1}] * 2

        own_or_lent(check, "watch")


class TestCulprit:
    @pytest.mark.points(2)
    def test_tables(self, student, rng):
        """The most seconds for each byte; rows without bytes do not count."""
        describe_input("tables of four operations, one of which makes nothing")
        for _ in range(8):
            names = [str(name) for name in rng.permutation(["exp", "sum", "log", "max"])]
            seconds = np.array([0.3, 2.0, 9.0, 5.0]) * rng.uniform(0.9, 1.1, 4)
            made, calls = [10, 1000, 90_000, 0], [1, 500, 2, 1]
            order = rng.permutation(4)
            table = {
                names[i]: {"calls": calls[i], "seconds": float(seconds[i]), "bytes": made[i]}
                for i in order
            }
            found = student.culprit(table)
            symptom(MOST_SECONDS, found == names[2] != names[0])
            assert found == names[0]


# The quick gelu.


@run_in_worker
def quick(x):
    """Values, slopes in x, and their dtypes."""
    import numpy as np

    import tinytorch as tt

    tt.enable_gradients()
    x = tt.Tensor(np.array(x), requires_grad=True)
    with np.errstate(all="ignore"):
        y = quick_gelu(x)
        value = y.data
        y.sum().backward()
    return value, x.grad, str(value.dtype)


@run_in_worker
def quick_operations(common, x):
    """The operations of quick_gelu, as the suite's own watch hears them."""
    exec(common, names := {})
    tt, said = names["tt"], []
    with names["lend"](globals(), ["watch"]), watch(lambda name, *others: said.append(name)):
        quick_gelu(tt.Tensor(x))
    return said


@run_in_worker
def race(x, rounds):
    """Seconds, the least of some rounds in turns, of the paper's gelu and of the quick one."""
    import math
    import time

    import numpy as np

    import tinytorch as tt

    def paper(x):
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1 + (2 * tt.sigmoid(2 * inner) - 1))

    x, least = tt.Tensor(np.array(x)), [1e9, 1e9]
    for _ in range(rounds):
        for n, f in enumerate((paper, quick_gelu)):
            start = time.perf_counter()
            f(x)
            least[n] = min(least[n], time.perf_counter() - start)
    return least


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class TestQuickGelu:
    @pytest.mark.points(1.5)
    def test_value(self, student, rng):
        """It is the same function."""
        describe_input("numbers from -6 to 6, float64 and float32, 0 among them")
        x = np.append(rng.uniform(-6, 6, 30), 0.0)
        for dtype in (np.float64, np.float32):
            value, _, kind = quick(student, x.astype(dtype))
            rtol, atol = (1e-4, 1e-6) if dtype is np.float32 else (1e-10, 1e-13)
            assert_close(value, gelu(x.astype(dtype)), rtol=rtol, atol=atol)
            assert kind == np.dtype(dtype).name

    @pytest.mark.points(1.5)
    def test_slope(self, student, rng):
        """It has the same slope."""
        x, step = np.append(rng.uniform(-6, 6, 30), 0.0), 1e-6
        _, slope, _ = quick(student, x)
        assert_close(slope, (gelu(x + step) - gelu(x - step)) / (2 * step), rtol=1e-6, atol=1e-8)

    @pytest.mark.points(0.5)
    def test_large(self, student):
        """Far out it is 0 or x, and its slope 0 or 1."""
        describe_input("±20, ±100 and ±10,000 in float32")
        x = np.array([20, 100, 1e4], np.float32)
        for sign in (1, -1):
            value, slope, _ = quick(student, sign * x)
            assert_close(value, x * (sign > 0), rtol=1e-5, atol=1e-5)
            assert_close(slope, np.full(3, float(sign > 0), np.float32), atol=1e-5)

    @pytest.mark.points(0.5)
    def test_operations(self, student, rng):
        """At most eleven operations, and no power."""
        said = quick_operations(student, COMMON, rng.normal(size=7))
        assert 3 <= len(said) <= 11 and "__pow__" not in said

    @pytest.mark.points(1)
    def test_faster(self, student, rng):
        """It is faster than the paper's, side by side in one process."""
        describe_input("a float32 array of 60,000 normal numbers, the best of several rounds")
        x = rng.normal(size=(200, 300)).astype(np.float32)
        paper, own = race(student, x, 6)
        value, _, _ = quick(student, x[:2])
        assert_close(value, gelu(x[:2]), atol=1e-5)
        assert own < paper / 1.2


@run_in_worker
def pages_of(common, lent, cases):
    """What `count_pages` says of each (program, input, options)."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["lend"](globals(), lent), names["untouched"]():
        return [
            count_pages(eval(program, {"np": np}), tt.Tensor(np.array(x)), **options)
            for program, x, options in cases
        ]


class TestCountPages:
    @pytest.mark.points(2)
    def test_counts(self, student, rng):
        """The results that are large enough count their bytes in whole pages."""
        describe_input("results just below and above `smallest`, with and without a part of a page")
        sizes = [int(n) for n in rng.integers(300, 9000, 3)] + [512, 513, 1024]
        cases = [("lambda x: (x * 2).exp().sum()", np.ones(n), {"smallest": 2000}) for n in sizes]
        cases += [("lambda x: x + 1", np.ones(n), {}) for n in (16383, 16384, 16385)]

        def check(lent):
            found = pages_of(student, COMMON, lent, cases)
            for (_, x, _), pages in zip(cases[: len(sizes)], found, strict=False):
                size = x.nbytes
                symptom(PART_LOST, pages == 2 * (size // 4096) and size % 4096)
                symptom(SMALL_ONES, pages == 2 * -(-size // 4096) + 1)
                assert pages == 2 * -(-size // 4096)
            assert list(found[len(sizes) :]) == [0, 32, 33]

        own_or_lent(check, "watch")

    @pytest.mark.points(2)
    def test_views(self, student, rng):
        """A view has no pages of its own, a copy has."""
        describe_input("slices, transposes and reshapes, some of which are copies")
        x = np.ones((int(rng.integers(20, 60)), 512))  # a page a row
        rows, options = len(x), {"smallest": 1}
        cases = [
            ("lambda x: [x.T, x[1:], x.reshape(-1), x.T[::2]]", x, options),
            ("lambda x: x.T.reshape(-1)", x, options),
            ("lambda x: x[[0, 2, 2]]", x, options),
            ("lambda x: (x + x)[2:].exp()", x, options),
        ]

        def check(lent):
            found = pages_of(student, COMMON, lent, cases)
            symptom(VIEWS, found[0] > 0)
            assert list(found) == [0, rows, 3, rows + rows - 2]

        own_or_lent(check, "watch")


class TestBug:
    @pytest.mark.points(1)
    def test_third(self, student):
        """For these shapes the hasty count is a third of the right one."""
        a, b = (tuple(int(n) for n in shape) for shape in student.breaks_it())
        assert min(a + b) > 0 and math.prod(a) * math.prod(b) < 1_000_000
        assert product_of(a, b) == 3 * (2 * a[-2] * a[-1] * b[-1])


# The whole: models, nothing lent.


@run_in_worker
def counts_of(common, kind, size, on):
    """Parameters, flops, and the table of a model of the course: calls and bytes."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["gradients"](on):
        if kind == "mlp":
            a, b, c, rows = size
            model = tt.Sequential(tt.Linear(a, b), tt.relu, tt.Linear(b, c, bias=False))
            x = tt.Tensor(np.ones((rows, a), np.float32))
        elif kind == "gpt":
            *size, rows, length = size
            model, x = tt.GPT(*size), np.zeros((rows, length), dtype=int)
        elif kind == "cnn":
            channels, rows, wide, classes = size
            model = tt.Sequential(
                tt.Conv2d(1, channels, 3, padding=1),
                tt.BatchNorm2d(channels),
                tt.relu,
                tt.MaxPool2d(2),
                tt.Flatten(),
                tt.Linear(channels * (wide // 2) ** 2, classes),
            )
            x = tt.Tensor(np.ones((rows, 1, wide, wide), np.float32))
        else:

            class Recurrent(tt.Module):
                """A model that the course does not have: h = tanh(x @ w + h @ u + b)."""

                def __init__(self, inputs, hidden):
                    self.w = tt.Tensor(np.ones((inputs, hidden)))
                    self.gate = {"u": tt.Tensor(np.ones((hidden, hidden)))}
                    self.u, self.b = [self.gate["u"]], tt.Tensor(np.ones(hidden))

                def forward(self, x):
                    h = x[:, 0] @ self.w
                    for t in range(1, x.shape[1]):
                        h = (x[:, t] @ self.w + h @ self.u[0] + self.b).maximum(0)
                    return h.exp()

            inputs, hidden, rows, length = size
            model, x = Recurrent(inputs, hidden), tt.Tensor(np.ones((rows, length, inputs)))
        table = profile(model, x)
        found = {name: (row["calls"], row["bytes"]) for name, row in table.items()}
        return count_parameters(model), count_flops(model, x), found


@run_in_worker
def cached_flops(size, pieces):
    """The flops of each piece of a text, which a model reads with 14's cache."""
    import numpy as np

    import tinytorch as tt

    tt.enable_cache()
    try:
        model, cache = tt.GPT(*size).eval(), tt.KVCache(size[1])
        return [
            count_flops(lambda ids: model(ids, cache=cache), np.zeros((1, n), dtype=int))
            for n in pieces
        ]
    finally:
        tt.disable_cache()


def _trained(common, size, weights, x, targets, steps, watched):
    """The weights of a network after some steps, each of which is profiled; calls of `@`."""
    exec(common, names := {})
    np, tt = names["np"], names["tt"]
    with names["gradients"](True):
        before = dict(vars(tt.Tensor))
        net = tt.Sequential(tt.Linear(*size[:2]), tt.gelu, tt.Linear(*size[1:]))
        for p, w in zip(net.parameters(), weights, strict=True):
            p.data = np.array(w)
        optimizer, calls = tt.AdamW(net.parameters(), lr=0.05), []

        def step():
            optimizer.zero_grad()
            loss = tt.cross_entropy(net(tt.Tensor(np.array(x))), targets)
            loss.backward()
            optimizer.step()

        for _ in range(steps):
            if watched:
                calls.append(profile(step)["__matmul__"]["calls"])
            else:
                step()
        same = dict(vars(tt.Tensor)) == before
        return [p.data for p in net.parameters()], calls, same


trained = run_in_worker(_trained)


def read_flops(new, length, dim, layers, vocab):
    return 2 * new * (layers * (12 * dim * dim + 2 * length * dim) + dim * vocab)


class TestWhole:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("kind", ["mlp", "cnn", "gpt"])
    def test_models(self, student, rng, kind):
        """Parameters, flops and products of models of the course, with gradients and without."""
        describe_input({"mlp": "two Linears", "cnn": "a small CNN", "gpt": "a small GPT"}[kind])
        n = [int(x) for x in rng.integers(2, 7, 4)]
        if kind == "mlp":
            a, b, c, rows = size = n
            wanted = a * b + b + b * c, 2 * rows * (a * b + b * c), (2, 4 * rows * (b + c))
        elif kind == "cnn":
            channels, rows, wide, classes = size = n[0], n[1], 2 * n[2], n[3]
            flat = channels * (wide // 2) ** 2
            parameters = 9 * channels + channels + 2 * channels + flat * classes + classes
            made = rows * (channels * wide * wide + classes)
            wanted = parameters, 2 * rows * (9 * channels * wide**2 + flat * classes), (2, 4 * made)
        else:
            vocab, context, dim, heads, layers, rows, length = size = (
                *(n[0] + 5, 9, 4 * n[1], 2, int(rng.integers(1, 4))),
                *(n[2], int(rng.integers(2, 10))),
            )
            parameters = sum(math.prod(s) for s in shapes(vocab, context, dim, layers).values())
            made = layers * rows * length * (4 * dim + 5 * dim + heads * length + dim)
            made += rows * length * vocab
            flops = rows * read_flops(length, length, dim, layers, vocab)
            wanted = parameters, flops, (8 * layers + 1, 4 * made)
        for on in (True, False):
            parameters, flops, table = counts_of(student, COMMON, kind, list(size), on)
            assert (parameters, flops, table["__matmul__"]) == wanted

    @pytest.mark.points(4)
    def test_hidden_model(self, student, rng):
        """A model that the course does not have is counted as exactly: all of its operations."""
        describe_input("a recurrent network, float64")
        inputs, hidden, rows, length = size = [int(x) for x in rng.integers(3, 8, 4)]
        steps, made = length - 1, 8 * rows * hidden
        table = {
            "__getitem__": (length, 8 * rows * inputs * length),
            "__matmul__": (1 + 2 * steps, made * (1 + 2 * steps)),
            "__add__": (2 * steps, made * 2 * steps),
            "maximum": (steps, made * steps),
            "exp": (1, made),
        }
        for on in (True, False):
            parameters, flops, found = counts_of(student, COMMON, "other", size, on)
            assert parameters == inputs * hidden + hidden * hidden + hidden
            assert flops == 2 * rows * (length * inputs * hidden + steps * hidden * hidden)
            assert found == table

    @pytest.mark.points(4)
    def test_training(self, student, reference, rng):
        """Steps of training that are profiled are the steps that they were."""
        describe_input("five steps of AdamW in float64, each of them in a profile")
        size = 4, 6, 3
        weights = [rng.normal(size=s) for s in ((4, 6), (6,), (6, 3), (3,))]
        x, targets = rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
        plain = FunctionType(_trained.__code__, dict(vars(reference)))
        try:
            right, _, _ = plain(COMMON, size, weights, x, targets, 5, False)
        finally:
            reference.disable_gradients()
        found, calls, same = trained(student, COMMON, size, weights, x, targets, 5, True)
        symptom(LEFT_ON, len(set(calls)) > 1 or not same)
        for mine, wanted in zip(found, right, strict=True):
            assert_close(mine, wanted, rtol=1e-6)
        assert list(calls) == [2] * 5 and same

    @pytest.mark.points(4)
    def test_cached(self, student, rng):
        """A text that is read with 14's cache costs what 14 counted, piece by piece."""
        describe_input("a GPT that reads a text in pieces with a cache")
        vocab, dim, layers = int(rng.integers(5, 20)), 2 * int(rng.integers(2, 9)), 2
        pieces = [int(n) for n in rng.integers(1, 6, 5)]
        found = cached_flops(student, (vocab, sum(pieces), dim, 2, layers), pieces)
        ends = np.cumsum(pieces)
        wanted = [
            read_flops(n, int(e), dim, layers, vocab) for n, e in zip(pieces, ends, strict=True)
        ]
        assert list(found) == wanted
