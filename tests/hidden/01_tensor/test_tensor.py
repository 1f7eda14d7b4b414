"""01 · Tensor: what the operations of `Tensor` must do, with NumPy as the specification.

Each class of tests looks at one section. What it needs of the others is lent to it where it is
missing (`alone`), so a section that is left blank costs its own points; `Whole` has no such help.
A test looks at one property: values, dtypes, or that operands stay as they were.
"""

import itertools
import operator

import numpy as np
import pytest
from forward_mode import connected, forward, on
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proctor.testing import (
    Misconception,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

ALWAYS_FLOAT32 = Misconception(
    "float64 is lost",
    "An array of float64 came back as float32. Does the dtype rule first ask whether the data is a "
    "NumPy array or scalar that has a floating dtype already?",
)
NOT_CONVERTED = Misconception(
    "not made float32",
    "Something without a floating dtype of its own (a number, a list, integers, booleans) did not "
    "become float32. NumPy alone would choose float64, int64 or bool for it.",
)
NUMBER_ROUNDED = Misconception(
    "numbers lose digits",
    "Next to a float64 tensor a plain number was rounded to float32: 0.1 became 0.10000000149. "
    "Which dtype does a number get inside an operation?",
)
SCALAR_IS_NO_NUMBER = Misconception(
    "scalar taken for a number",
    "Beside float32 a NumPy scalar of float64 lost its dtype, as if it were a plain number. Is it "
    "told apart by isinstance(other, float)? np.float64(0.1) is a float, too.",
)
IN_PLACE = Misconception(
    "changes its operand",
    "After an operation one of its operands holds other numbers than before. Does a method write "
    "into self.data, instead of making a new Tensor?",
)
SWALLOWED = Misconception(
    "shape error swallowed",
    "Two shapes that do not fit gave no ValueError. Is the error caught, or an axis cut off? Who "
    "uses the tensor must learn of it.",
)
WRAPPED = Misconception(
    "unsigned numbers wrap",
    "-y was computed on an array of unsigned integers or booleans, where it wraps around or fails: "
    "make y a Tensor first, then negate it.",
)
SWAPPED = Misconception(
    "operands swapped",
    "With the number or array on the left, the result is that of the operands in the other order: "
    "in a reflected method, self stands on the right.",
)
OBJECTS = Misconception(
    "array of objects",
    "array + tensor came back as no Tensor of numbers: NumPy took the sum apart, element by "
    "element. Is `__array_ufunc__ = None` still in the class, and the reflected method?",
)
THROUGH_DATA = Misconception(
    "derived through .data",
    "The values may be right, but a derived operation reaches into .data or NumPy instead of using "
    "operations: what the primitives learn one day does not reach it.",
)
UNHASHABLE = Misconception(
    "unhashable",
    "A tensor cannot be the key of a dictionary, and later assignments need it to be one. A class "
    "that defines `__eq__`, as a plain @dataclass also does, loses its `__hash__`.",
)
KEY_BY_VALUE = Misconception(
    "equal tensors are one key",
    "Two tensors that hold equal numbers are one and the same key of a dictionary. Is there an "
    "`__eq__` that compares numbers? Each tensor has to be a key of its own.",
)
CLOSED = Misconception(
    "closed",
    "A tensor takes no new attribute or no new .data: later assignments pin notes to tensors, and "
    "change what they hold. Is there a `__slots__`, a frozen dataclass, or a property without a "
    "setter?",
)
NO_REPR = Misconception(
    "repr gives no text",
    "repr(x) raises or shows no numbers. `__repr__` has to return a string, not print one.",
)
NO_RETURN = Misconception(
    "no return",
    "An operation gave None: is there a `return` in the method?",
)
BARE_ARRAY = Misconception(
    "returns an array",
    "An operation gave a NumPy array or scalar instead of a Tensor: is the result wrapped in "
    "Tensor(...)?",
)
OTHER_LOG = Misconception(
    "another logarithm",
    "This is a logarithm, but not the natural one: log must undo exp.",
)
PADDED = Misconception(
    "padded at the edge",
    "The argument was shifted or bounded, so that no infinity or NaN comes out. It changes the "
    "values nearby, and hides where a computation went wrong.",
)
NAN_HIDDEN = Misconception(
    "NaN hidden",
    "A NaN went in and a number came out: comparisons with NaN are false, so a choice made by one "
    "drops it. Which NumPy function passes NaN on?",
)
OTHER_AXIS = Misconception(
    "the other axis",
    "The reduction ran over another axis than the one that was named: `axis` is the axis that "
    "disappears.",
)
KEEPDIMS_IGNORED = Misconception(
    "keepdims ignored",
    "The numbers are right and the axis is gone, although keepdims=True asked to keep it with "
    "length 1.",
)
MEAN_OVER_SIZE = Misconception(
    "mean divides by the size",
    "The mean over an axis was divided by the number of all elements. How many were added up for "
    "each element of the result?",
)
RESHAPED = Misconception(
    "transposed by reshape",
    "The shape is that of the transpose, but the numbers stand in their old reading order: that is "
    "a reshape.",
)
BY_COLUMNS = Misconception(
    "divided by the columns' sums",
    "Each column was divided, not each row: without keepdims the sums of the rows lie along the "
    "last axis, as if they were a row.",
)
CANCELLED = Misconception(
    "digits cancel",
    "Far from 0 the digits are lost: numbers are squared before they are subtracted, and what is "
    "left of two large squares is their rounding. Subtract first.",
)
LIST_CHANGED = Misconception(
    "changes the list of layers",
    "After the call the list `layers` is another: it belongs to the caller, who uses it again. "
    "Does network take something out of it, as pop() does?",
)

ARITHMETIC = {"+": operator.add, "*": operator.mul, "/": operator.truediv}
ALL_FOUR = {**ARITHMETIC, "-": operator.sub}
# For values alone, where a number or a result that was rounded to float32 has tests of its own.
ROUNDED = {"rtol": 1e-5, "atol": 1e-6}
# E[x²] - E[x]² loses digits, which has a test of its own: in float32, for five numbers that lie
# close together, it was up to 1.3e-4 off in 20,000 draws.
THREE_DIGITS = {"rtol": 1e-3, "atol": 1e-4}
REDUCTIONS = ["sum", "max", "mean"]

seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
two_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=1, max_side=4, max_dims=3)

# Which names a class of tests is about. All others are lent to it if they raise.
SECTIONS = {
    "TestArithmetic": "__add__ __mul__ __truediv__ __pow__",
    "TestDerived": "__neg__ __sub__ __radd__ __rsub__ __rmul__ __rtruediv__ __rmatmul__ mean T "
    "as_tensor __init__",
    "TestReflected": "__radd__ __rsub__ __rmul__ __rtruediv__ __rmatmul__",
    "TestMatmul": "__matmul__",
    "TestElementwise": "exp log maximum",
    "TestReductions": "sum max mean",
    "TestShapes": "__getitem__ reshape transpose",
    "TestPuzzles": "shares distances",
}


@run_in_worker
def lend(own):
    """Take back what was lent; then lend what raises, but for the names in `own`, or nothing."""
    import operator
    from functools import partial

    import numpy as np

    names = globals()
    for put, remove, name, value in names.pop("_lent", [])[::-1]:
        put(name, value) if value is not None else remove(name)
    if own is None:
        return
    if not isinstance(names.get("Tensor"), type):
        names["Tensor"] = type("Tensor", (), {})
    Tensor = names["Tensor"]
    names["_lent"] = lent = []

    def array_of(data, dtype=np.float32):
        if isinstance(data, Tensor):
            return data.data
        floats = isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind == "f"
        return np.asarray(data, None if floats else dtype)

    def tensor_of(data, dtype):
        return data if isinstance(data, Tensor) else Tensor(array_of(data, dtype))

    def binary(operation):
        return lambda self, other: Tensor(operation(self.data, array_of(other, self.data.dtype)))

    def reduction(name):
        return lambda self, axis=None, keepdims=False: Tensor(
            getattr(self.data, name)(axis=axis, keepdims=keepdims)
        )

    def rearranged(name):
        return lambda self, *args: Tensor(getattr(self.data, name)(*args))

    methods = {
        "__add__": binary(operator.add),
        "__mul__": binary(operator.mul),
        "__truediv__": binary(operator.truediv),
        "__matmul__": binary(operator.matmul),
        "__pow__": lambda self, exponent: Tensor(self.data**exponent),
        "__neg__": lambda self: self * -1,
        "__sub__": lambda self, other: self + -tensor_of(other, self.data.dtype),
        "__getitem__": lambda self, index: Tensor(self.data[index]),
        **{name: reduction(name) for name in ("sum", "max")},
        **{name: rearranged(name) for name in ("transpose", "reshape")},
    }
    properties = {
        **{name: lambda self, name=name: getattr(self.data, name) for name in ("shape", "ndim")},
        **{name: lambda self, name=name: getattr(self.data, name) for name in ("size", "dtype")},
        "T": lambda self: self.transpose(),
    }
    none = ("__neg__", "sum", "max", "transpose")
    arguments = {"__pow__": (2,), "__getitem__": (0,), "reshape": (1, 1), **dict.fromkeys(none, ())}

    def works(trial):
        try:
            trial()
        except Exception:
            return False
        return True

    def replace(name, value):
        before = vars(Tensor).get(name)
        lent.append((partial(setattr, Tensor), partial(delattr, Tensor), name, before))
        setattr(Tensor, name, value)

    for name, value in (("as_array", array_of), ("as_tensor", tensor_of)):
        if name not in own and not works(lambda name=name: names[name]([1.0], np.float32)):
            lent.append((names.__setitem__, names.pop, name, names.get(name)))
            names[name] = value
    if "__array_ufunc__" not in vars(Tensor) and not works(lambda: Tensor([1.0])):
        replace("__array_ufunc__", None)
    if "__init__" not in own and not works(lambda: Tensor([[1.0]]).data):
        replace("__init__", lambda self, data: setattr(self, "data", array_of(data)))
    for name, method in methods.items():

        def trial(name=name):
            return getattr(Tensor([[1.0]]), name)(*arguments.get(name, (Tensor([[1.0]]),)))

        if name not in own and not works(trial):
            replace(name, method)
    for name, getter in properties.items():
        if name not in own and not works(lambda name=name: getattr(Tensor([[1.0]]), name)):
            replace(name, property(getter))


prepared = None  # the class of tests that `alone` has seen last


@pytest.fixture(autouse=True)
def alone(student, request):
    """Lend a class of tests what is missing of the other sections."""
    global prepared
    if request.cls is not prepared:
        prepared = request.cls
        own = SECTIONS.get(request.cls.__name__)
        lend(student, own.split() if own else None)


def numbers(seed, *shape):
    """Random numbers of both signs, never near 0, so that all may be divided by."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape))


def values(tensor):
    """The array of a result, which must be a Tensor."""
    symptom(NO_RETURN, tensor is None)
    symptom(BARE_ARRAY, isinstance(tensor, np.ndarray | np.generic | float))
    return tensor.data


def fresh(tensor, shape, *operands):
    """The array of a result that was computed: of this shape, and no operand's own numbers.

    For the tests of a property that does not ask for the right values.
    """
    got = values(tensor)
    assert isinstance(got, np.ndarray | np.generic)
    assert got.shape == shape
    assert not any(np.array_equal(got, each) for each in operands)
    return got


def is_one_of(*candidates):
    """A predicate: an array has the shape and the numbers of one of the candidates."""
    return lambda got: any(got.shape == c.shape and np.allclose(got, c) for c in candidates)


def less_undefined(expected):
    """A predicate: a number stands where infinity or NaN belongs."""
    return lambda got: (
        got.shape == expected.shape and np.isfinite(got).sum() > np.isfinite(expected).sum()
    )


class TestConstruct:
    @pytest.mark.points(2)
    @pytest.mark.parametrize("what", ["number", "list", "integers", "booleans"])
    def test_default_dtype(self, student, rng, what):
        """A number, a list, and an array of integers or booleans become float32."""
        data = {
            "number": float(rng.uniform(1, 9)),
            "list": rng.uniform(1, 9, (2, 3)).tolist(),
            "integers": rng.integers(-9, 9, 5),
            "booleans": rng.random((4, 1)) > 0.5,
        }[what]
        describe_input(
            {"number": "a number", "list": "a nested list"}.get(what, f"an array of {what}")
        )
        got = student.Tensor(data).data
        assert_close(got, np.asarray(data, np.float32))
        symptom(NOT_CONVERTED, got.dtype != np.float32)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats_keep_their_dtype(self, student, rng, dtype):
        """An array of floats keeps its dtype and its values; a list of them becomes an array."""
        data = rng.normal(size=(3, 2)).astype(dtype)
        describe_input(f"an array of {data.dtype}")
        got = student.Tensor(data).data
        assert_close(got, data)
        symptom(ALWAYS_FLOAT32, dtype == np.float64 and got.dtype == np.float32)
        assert_close(got, data, dtype=dtype)
        describe_input("the same numbers in a nested list")
        got = student.Tensor(data.tolist()).data
        assert_close(got, data)
        assert type(got) is np.ndarray

    @pytest.mark.points(1.5)
    def test_numpy_scalars(self, student, rng):
        """A NumPy scalar of floats keeps its dtype; one of integers becomes float32."""
        for scalar in (np.float64(rng.normal()), np.float32(rng.normal())):
            describe_input(f"a NumPy scalar of {scalar.dtype}")
            got = student.Tensor(scalar).data
            assert_close(got, scalar)
            symptom(ALWAYS_FLOAT32, scalar.dtype == np.float64 and got.dtype == np.float32)
            assert_close(got, scalar, dtype=scalar.dtype)
        describe_input("a NumPy integer")
        whole = rng.integers(2, 1000)
        got = student.Tensor(np.int64(whole)).data
        assert_close(got, whole)
        symptom(NOT_CONVERTED, got.dtype != np.float32)

    @pytest.mark.points(1)
    def test_tensor_of_a_tensor(self, student, rng):
        """Tensor(t) holds the numbers and the dtype of the tensor t."""
        for dtype in (np.float64, np.float32):
            data = rng.normal(size=4).astype(dtype)
            describe_input(f"a Tensor of {data.dtype}")
            assert_close(student.Tensor(student.Tensor(data)).data, data, dtype=dtype)

    @pytest.mark.points(1)
    def test_attributes(self, student, rng):
        """shape, ndim, size and dtype are those of the data."""
        for shape in [(), (5,), (2, 3, 4), (0, 3)]:
            data = np.asarray(rng.normal(size=shape))
            describe_input(f"an array of shape {shape}")
            tensor = student.Tensor(data)
            assert tensor.shape == shape
            assert tensor.ndim == len(shape)
            assert tensor.size == np.prod(shape)
            assert tensor.dtype == np.float64
        describe_input("numbers in lists")
        tensor = student.Tensor(rng.normal(size=(2, 4)).tolist())
        assert (tensor.shape, tensor.ndim, tensor.size) == ((2, 4), 2, 8)

    @pytest.mark.points(1)
    def test_repr(self, student, rng):
        """repr(x) is a string that shows the numbers."""
        wanted = rng.integers(100, 1000, 3)
        describe_input("three whole numbers")
        with recognise(NO_REPR, TypeError):
            text = repr(student.Tensor(wanted.tolist()))
        symptom(NO_REPR, not all(str(number) in text for number in wanted))


class TestArithmetic:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("sign", ARITHMETIC)
    @settings(max_examples=8)
    @given(shapes=two_shapes, seed=seeds)
    @example(shapes=hnp.BroadcastableShapes(((3,), (2, 3)), (2, 3)), seed=1)
    def test_two_tensors(self, student, sign, shapes, seed):
        """x + y, x * y and x / y agree with NumPy, for all shapes that broadcast."""
        a, b = shapes.input_shapes
        describe_input(f"tensors of shapes {a} and {b}, with {sign}")
        a, b = numbers(seed, *a), numbers(seed + 1, *b)
        got = ARITHMETIC[sign](student.Tensor(a), student.Tensor(b))
        assert_close(values(got), ARITHMETIC[sign](a, b))
        assert got.shape == shapes.result_shape

    @pytest.mark.points(2)
    @pytest.mark.parametrize("other", ["a number", "an array"])
    def test_other_operands(self, student, rng, other):
        """The right operand of + * / may be a number or a NumPy array."""
        a = numbers(rng.integers(1000), 3, 4)
        choices = {
            "a number": [float(rng.uniform(1, 3)), int(rng.integers(2, 9)), np.float64(2.5)],
            "an array": [rng.uniform(1, 3, 4), rng.uniform(1, 3, (3, 1)), rng.integers(1, 9, 4)],
        }[other]
        for b in choices:
            for sign, operation in ARITHMETIC.items():
                describe_input(f"a tensor {sign} {other} ({type(b).__name__})")
                assert_close(values(operation(student.Tensor(a), b)), operation(a, b), **ROUNDED)

    @pytest.mark.points(1)
    def test_power(self, student, rng):
        """x ** p raises every element to the power of the number p, which may be any number."""
        a = rng.uniform(0.5, 2, (2, 3))
        for p in (2, 3, -1, 0.5, float(rng.uniform(-2, 2)), 0):
            describe_input(f"the exponent {p:.3g}")
            assert_close(values(student.Tensor(a) ** p), a**p)
        describe_input("a negative base or zero, and a whole exponent")
        a = np.append(-a, 0.0)
        for p in (2, 3):
            assert_close(values(student.Tensor(a) ** p), a**p)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_numbers_take_the_dtype(self, student, rng, dtype):
        """Next to a plain number float32 stays float32, and float64 keeps all its digits."""
        a, number = rng.uniform(1, 2, 5).astype(dtype), float(rng.uniform(0.1, 0.9))
        x = student.Tensor(a)
        for sign, operation in ARITHMETIC.items():
            describe_input(f"a {a.dtype} tensor {sign} a plain number")
            got = fresh(operation(x, number), a.shape, a)
            symptom(ALWAYS_FLOAT32, (dtype, got.dtype) == (np.float64, np.float32))
            assert got.dtype == dtype
            if dtype == np.float64:  # as exact as with a number that has a dtype of its own
                exact = values(operation(x, np.float64(number)))
                symptom(NUMBER_ROUNDED, not np.allclose(got, exact, rtol=1e-12, atol=0))
        describe_input(f"a {a.dtype} tensor ** a plain number")
        got = fresh(x**number, a.shape, a)
        assert got.dtype == dtype
        if dtype == np.float64:
            rounded = values(x ** float(np.float32(number)))
            symptom(NUMBER_ROUNDED, np.allclose(got, rounded, rtol=1e-12, atol=0))

    @pytest.mark.points(0.5)
    def test_scalars_keep_theirs(self, student, rng):
        """A NumPy scalar of float64 keeps its dtype: beside float32 the result is float64."""
        a, scalar = rng.uniform(1, 2, 5).astype(np.float32), np.float64(rng.uniform(0.1, 0.9))
        for sign, operation in ARITHMETIC.items():
            describe_input(f"a float32 tensor {sign} a NumPy scalar of float64")
            got = fresh(operation(student.Tensor(a), scalar), a.shape, a)
            symptom(SCALAR_IS_NO_NUMBER, got.dtype == np.float32)
            assert got.dtype == np.float64

    @pytest.mark.points(0.5)
    def test_at_the_edge(self, student, rng):
        """x / y is as finite as the quotient, and infinite or NaN where y is 0."""
        describe_input("zeros in the denominator")
        a, b = np.array([2.0, -2.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.0, rng.uniform(1, 2)])
        with np.errstate(all="ignore"):
            expected = a / b
        got = values(student.Tensor(a) / student.Tensor(b))
        assert_close(got, expected, symptoms={PADDED: less_undefined(expected)})
        describe_input("float32 denominators near 1e-39")
        a = rng.uniform(1e-3, 2e-3, 4).astype(np.float32)
        b = rng.uniform(1e-39, 2e-39, 4).astype(np.float32)
        assert_close(values(student.Tensor(a) / student.Tensor(b)), a / b)

    @pytest.mark.points(0.5)
    def test_shapes_that_do_not_fit(self, student, rng):
        """Shapes that do not broadcast raise ValueError."""
        for a, b in [((2, 3), (2,)), ((3,), (4,)), ((2, 3), (3, 2))]:
            for sign, operation in ARITHMETIC.items():
                describe_input(f"tensors of shapes {a} and {b}, with {sign}")
                x, y = student.Tensor(rng.normal(size=a)), student.Tensor(rng.normal(size=b))
                raises(lambda x=x, y=y, operation=operation: operation(x, y))

    @pytest.mark.points(1)
    def test_operands_stay(self, student, rng):
        """An operation makes a new Tensor: its operands hold the same numbers afterwards."""
        a, b = rng.uniform(1, 2, 3), rng.uniform(1, 2, 3)
        for sign, operation in ARITHMETIC.items():
            describe_input(f"two tensors made of lists, with {sign}")
            x, y = student.Tensor(a.tolist()), student.Tensor(b.tolist())
            before = np.array(x.data), np.array(y.data)
            result = np.array(values(operation(x, y)))
            symptom(IN_PLACE, changed(before[0], x) or changed(before[1], y))
            assert result.shape == a.shape
            assert not np.array_equal(result, before[0])
        describe_input("a tensor ** 2")
        result = np.array(values(x**2))
        symptom(IN_PLACE, changed(before[0], x))
        assert not np.array_equal(result, before[0])


def changed(before, tensor):
    """Whether a tensor no longer holds the numbers that it held."""
    return not np.array_equal(before, tensor.data)


def raises(action):
    """Assert that it raises ValueError, and nothing else."""
    try:
        action()
    except ValueError:
        return
    symptom(SWALLOWED, True)


# Programs of derived operations, by what they are made of; `a` is an array, and `s` a number.
DERIVED = {
    "-x and x - y": ["-x", "x - y", "x - a", "x - s", "y - x"],
    "a number or an array on the left": [
        *(f"{left} {sign} x" for left in "as" for sign in "+-*/"),
        "a @ x",
    ],
    "mean and .T": ["x.mean()", "x.mean(axis=0)", "x.mean(axis=-1, keepdims=True)", "x.T"],
}


class TestDerived:
    @pytest.mark.points(0.5)
    def test_negative(self, student, rng):
        """-x has the opposite sign."""
        for dtype in (np.float64, np.float32):
            a = np.append(rng.normal(size=5), 0).reshape(2, 3).astype(dtype)
            describe_input(f"a tensor of {a.dtype}")
            assert_close(values(-student.Tensor(a)), -a)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("other", ["a tensor", "a number", "an array", "unsigned numbers"])
    def test_subtraction(self, student, rng, other):
        """x - y is x minus y, where y is a Tensor, a number or a NumPy array."""
        a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
        right = {
            "a tensor": [b],
            "a number": [float(b[0, 0]), 3],
            "an array": [b, rng.integers(1, 9, 4)],
            "unsigned numbers": [rng.integers(1, 9, 4).astype(np.uint8), np.arange(4) > 1],
        }[other]
        for y in right:
            describe_input(f"a tensor - {other}")
            known = {SWAPPED: y - a}
            with recognise(WRAPPED, *[TypeError] * (other == "unsigned numbers")):
                got = values(student.Tensor(a) - (student.Tensor(y) if other == "a tensor" else y))
            if other == "unsigned numbers" and y.dtype != bool:
                known[WRAPPED] = a + -y
            assert_close(got, a - y, **ROUNDED, symptoms=known)

    @pytest.mark.points(6)
    @pytest.mark.parametrize("what", DERIVED)
    def test_made_of_operations(self, student, reference, rng, what):
        """Derived operations are made of operations, and never of .data or NumPy."""
        describe_input(what)
        x, y, a = rng.uniform(1, 2, (3, 3, 3))
        for text in DERIVED[what]:
            connected(
                student,
                reference,
                rng,
                f"lambda x, y: {text}",
                [x, y],
                still=[1],
                constants={"a": a, "s": float(rng.uniform(1, 2))},
                derived=False,
                symptoms={THROUGH_DATA: lambda slope: not slope.any()},
            )

    @pytest.mark.points(3)
    def test_a_key_of_its_own(self, student, rng):
        """Each tensor is a key of its own in a dictionary, also beside one with equal numbers."""
        describe_input("two tensors of equal numbers")
        data = rng.normal(size=3)
        with recognise(UNHASHABLE, TypeError):
            numbers, *found = in_a_dictionary(student, data)
        assert_close(numbers, data)
        symptom(KEY_BY_VALUE, found != [1, 2, 2])

    @pytest.mark.points(1)
    def test_takes_attributes(self, student, rng):
        """A tensor takes an attribute that its class does not know, and other data."""
        describe_input("an attribute of another name")
        data = rng.normal(size=3)
        x = student.Tensor(data)
        assert_close(x.data, data)
        with recognise(CLOSED, AttributeError):
            x.some_note = 2 * data
        assert_close(x.some_note, 2 * data)
        describe_input("another array as .data")
        with recognise(CLOSED, AttributeError):
            x.data = data - 1
        assert_close((x * 1).data, data - 1)


@run_in_worker
def in_a_dictionary(data):
    """The data of one of two equal tensors, and what a dictionary says that has both as keys."""
    x, y = Tensor(data), Tensor(data)
    table = {x: 1}
    table[y] = 2
    return [x.data, table[x], table[y], len(table)]


class TestReflected:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("sign", ALL_FOUR)
    def test_number_on_the_left(self, student, rng, sign):
        """number + x, number - x, number * x and number / x are what they say, in this order."""
        a, operation = rng.uniform(3, 5, (2, 3)), ALL_FOUR[sign]
        for number in (int(rng.integers(1, 3)), float(rng.uniform(1, 2)), np.float64(1.5)):
            describe_input(f"{type(number).__name__} {sign} a tensor")
            got = values(operation(number, student.Tensor(a)))
            swapped = {SWAPPED: operation(a, number)} if sign in "-/" else {}
            assert_close(got, operation(number, a), rtol=1e-6, symptoms=swapped)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("sign", [*ALL_FOUR, "@"])
    def test_array_on_the_left(self, student, rng, sign):
        """array + x, array - x, array * x, array / x and array @ x are what they say."""
        operation, b = {**ALL_FOUR, "@": operator.matmul}[sign], rng.uniform(3, 5, 4)
        b = np.outer(b, rng.uniform(1, 2, 4)) if sign == "@" else b
        for a in (rng.uniform(1, 2, 4), rng.uniform(1, 2, (3, 1)), rng.integers(1, 3, (2, 4))):
            a = np.broadcast_to(a, (3, 4)) * 1 if sign == "@" and a.shape == (3, 1) else a
            describe_input(f"an array of {a.dtype}, of shape {a.shape}, {sign} a tensor")
            got = values(operation(a, student.Tensor(b)))
            symptom(OBJECTS, type(got) is not np.ndarray)
            swapped = {SWAPPED: operation(b, a)} if sign in "-/" else {}
            assert_close(got, operation(a, b), rtol=1e-6, symptoms=swapped)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_numbers_take_the_dtype(self, student, rng, dtype):
        """In x - number and with the number on the left, float32 stays and float64 is exact."""
        a, number = rng.uniform(1, 2, 5).astype(dtype), float(rng.uniform(0.1, 0.9))
        x = student.Tensor(a)
        cases = {f"a plain number {sign} a tensor": (sign, True) for sign in ALL_FOUR}
        cases["a tensor - a plain number"] = ("-", False)
        for text, (sign, left) in cases.items():

            def compute(value, operation=ALL_FOUR[sign], left=left):
                return operation(value, x) if left else operation(x, value)

            describe_input(f"{text}, in {a.dtype}")
            got = fresh(compute(number), a.shape, a)
            symptom(ALWAYS_FLOAT32, (dtype, got.dtype) == (np.float64, np.float32))
            assert got.dtype == dtype
            if dtype == np.float64:
                exact = values(compute(np.float64(number)))
                symptom(NUMBER_ROUNDED, not np.allclose(got, exact, rtol=1e-12, atol=0))


class TestMatmul:
    @pytest.mark.points(1)
    @settings(max_examples=8)
    @given(n=st.integers(1, 4), k=st.integers(1, 4), m=st.integers(1, 4), seed=seeds)
    def test_matrices(self, student, n, k, m, seed):
        """An (n, k) matrix @ a (k, m) matrix is their (n, m) product."""
        describe_input(f"matrices of shapes {(n, k)} and {(k, m)}")
        a, b = numbers(seed, n, k), numbers(seed + 1, k, m)
        assert_close(values(student.Tensor(a) @ student.Tensor(b)), a @ b)

    @pytest.mark.points(1)
    def test_vectors(self, student, rng):
        """A 1-D operand on either side is a row or a column, and its axis disappears."""
        for a, b in [((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4,))]:
            describe_input(f"operands of shapes {a} and {b}")
            a, b = rng.normal(size=a), rng.normal(size=b)
            assert_close(values(student.Tensor(a) @ student.Tensor(b)), a @ b)

    @pytest.mark.points(0.5)
    def test_stacks(self, student, rng):
        """Leading axes are stacks of matrices, and broadcast."""
        for a, b in [((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (4, 3, 2))]:
            describe_input(f"operands of shapes {a} and {b}")
            a, b = rng.normal(size=a).astype(np.float32), rng.normal(size=b).astype(np.float32)
            assert_close(values(student.Tensor(a) @ student.Tensor(b)), a @ b)

    @pytest.mark.points(0.5)
    def test_an_array_on_the_right(self, student, rng):
        """The right operand of @ may be a NumPy array; the result is a Tensor."""
        for b in (rng.normal(size=(3, 2)), rng.integers(1, 9, (3, 3))):
            describe_input(f"an array of {b.dtype} on the right of @")
            a = rng.normal(size=(3, 3))
            assert_close(values(student.Tensor(a) @ b), a @ b, rtol=1e-6)

    @pytest.mark.points(0.5)
    def test_shapes_that_do_not_fit(self, student, rng):
        """Where the inner lengths differ, @ raises ValueError."""
        for a, b in [((2, 3), (2, 3)), ((3,), (4,)), ((2, 3, 4), (3, 2))]:
            describe_input(f"operands of shapes {a} and {b}")
            x, y = student.Tensor(rng.normal(size=a)), student.Tensor(rng.normal(size=b))
            raises(lambda x=x, y=y: x @ y)

    @pytest.mark.points(0.5)
    def test_dtype(self, student, rng):
        """The product of two float32 tensors is float32, that of two float64 tensors float64."""
        for dtype in (np.float32, np.float64):
            a = rng.uniform(1, 2, (3, 3)).astype(dtype)
            describe_input(f"two tensors of {a.dtype}")
            assert fresh(student.Tensor(a) @ student.Tensor(a), a.shape, a).dtype == dtype


class TestElementwise:
    @pytest.mark.points(1)
    def test_exp(self, student, rng):
        """exp raises e to the power of each element."""
        a = rng.uniform(-3, 3, (2, 5))
        describe_input("a (2, 5) tensor")
        assert_close(values(student.Tensor(a).exp()), np.exp(a))
        describe_input("large and small exponents that are still finite")
        a = np.array([rng.uniform(600, 705), rng.uniform(-120, -90), 0.0])
        assert_close(
            values(student.Tensor(a).exp()), np.exp(a), rtol=1e-7, atol=0, symptoms={PADDED: True}
        )

    @pytest.mark.points(1)
    def test_log(self, student, rng):
        """log is the natural logarithm of each element."""
        a = rng.uniform(0.1, 9, (3, 2))
        describe_input("a (3, 2) tensor of positive numbers")
        wrong = {OTHER_LOG: is_one_of(np.log2(a), np.log10(a), np.log1p(a))}
        assert_close(values(student.Tensor(a).log()), np.log(a), symptoms=wrong)
        describe_input("tiny positive numbers")
        a = 10.0 ** rng.uniform([-300, -16, -10], [-200, -12, -8])
        assert_close(values(student.Tensor(a).log()), np.log(a), symptoms={PADDED: True})

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("other", ["a tensor", "a number", "an array"])
    def test_maximum(self, student, rng, other):
        """x.maximum(y) is the larger of the two, element by element; shapes broadcast."""
        a, b = rng.normal(size=(3, 4)), rng.normal(size=(4,))
        right = {"a tensor": [b], "a number": [float(b[0]), 0], "an array": [b, np.arange(4)]}
        for y in right[other]:
            describe_input(f"{other} as the other operand")
            got = student.Tensor(a).maximum(student.Tensor(y) if other == "a tensor" else y)
            assert_close(values(got), np.maximum(a, y), rtol=1e-6)
        describe_input("equal numbers")
        assert_close(values(student.Tensor(a).maximum(student.Tensor(a * 1))), a)
        assert_close(values(student.Tensor(a).maximum(student.Tensor(a + 1))), a + 1)

    @pytest.mark.points(0.5)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype(self, student, rng, dtype):
        """exp, log and maximum keep the dtype, beside a plain number too."""
        a, number = rng.uniform(1, 2, 5).astype(dtype), float(rng.uniform(2.1, 2.9))
        for text, action in {
            "exp": lambda x: x.exp(),
            "log": lambda x: x.log(),
            "maximum with a plain number": lambda x: x.maximum(number),
        }.items():
            describe_input(f"{text}, a tensor of {a.dtype}")
            got = fresh(action(student.Tensor(a)), a.shape, a)
            assert got.dtype == dtype
        if dtype == np.float64:
            symptom(NUMBER_ROUNDED, np.allclose(got, np.float32(number), rtol=1e-12, atol=0))

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("name", ["exp", "log", "maximum"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_at_the_edge(self, student, rng, name, dtype):
        """Where NumPy says inf or NaN, so do exp, log and maximum: nothing is hidden."""
        edge = {
            "exp": [1e3, 1e5, np.inf, -np.inf, np.nan, rng.uniform(0, 1)],
            "log": [0.0, -1.0, np.inf, np.nan, rng.uniform(1, 2)],
            "maximum": [np.nan, -np.inf, np.inf, np.nan, rng.uniform(1, 2)],
        }[name]
        a = np.array(edge, dtype)
        others = {"maximum": ["a tensor", "a number", "the other way round"]}.get(name, ["itself"])
        for other in others:
            describe_input(f"{name} of infinities, NaN and numbers too large ({other}, {a.dtype})")
            x = student.Tensor(a)
            b = np.array([0, 0, 1, np.inf, 0], dtype)
            with np.errstate(all="ignore"):
                if name != "maximum":
                    got, expected = getattr(x, name)(), getattr(np, name)(a)
                elif other == "a number":
                    got, expected = x.maximum(0), np.maximum(a, 0)
                elif other == "a tensor":
                    got, expected = x.maximum(student.Tensor(b)), np.maximum(a, b)
                else:
                    got, expected = student.Tensor(b).maximum(x), np.maximum(b, a)
            known = {NAN_HIDDEN if name == "maximum" else PADDED: less_undefined(expected)}
            assert_close(values(got), expected, symptoms=known)

    @pytest.mark.points(0.5)
    def test_operands_stay(self, student, rng):
        """A function makes a new Tensor: its operand holds the same numbers afterwards."""
        x = student.Tensor(rng.uniform(1, 2, 5).tolist())
        before = np.array(x.data)
        for name, action in {
            "exp": lambda: x.exp(),
            "log": lambda: x.log(),
            "maximum": lambda: x.maximum(3),
        }.items():
            describe_input(f"{name} of a tensor made of a list")
            result = np.array(values(action()))
            symptom(IN_PLACE, changed(before, x))
            assert result.shape == before.shape
            assert not np.array_equal(result, before)


class TestReductions:
    @pytest.mark.points(1)
    @pytest.mark.parametrize("name", REDUCTIONS)
    @settings(max_examples=8)
    @given(shape=shapes, seed=seeds)
    def test_all_axes(self, student, name, shape, seed):
        """Without an axis all elements are reduced to a tensor of shape ()."""
        describe_input(f"{name} of a tensor of shape {shape}")
        a = abs(numbers(seed, *shape))
        assert_close(values(getattr(student.Tensor(a), name)()), getattr(a, name)())

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_one_axis(self, student, rng, name):
        """The axis that is named disappears; a negative one counts from the end."""
        a = rng.uniform(1, 9, (4, 5))
        x = student.Tensor(a)
        for axis in (0, 1, -1, -2):
            describe_input(f"{name} of a (4, 5) tensor over axis {axis}")
            expected, other = getattr(a, name)(axis=axis), getattr(a, name)(axis=1 - axis % 2)
            symptoms = {OTHER_AXIS: other}
            if name == "mean":
                symptoms[MEAN_OVER_SIZE] = a.sum(axis=axis) / a.size
            assert_close(values(getattr(x, name)(axis=axis)), expected, symptoms=symptoms)
            assert_close(values(getattr(x, name)(axis)), expected, symptoms=symptoms)

    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_several_axes(self, student, rng, name):
        """A tuple of axes disappears as one axis does."""
        for shape, axis in [((2, 3, 4), (0, 2)), ((4, 3, 2), (-1, 1)), ((3, 4), (0, 1))]:
            describe_input(f"{name} of a tensor of shape {shape} over axis {axis}")
            a = rng.uniform(1, 9, shape)
            symptoms = {MEAN_OVER_SIZE: a.sum(axis=axis) / a.size} if name == "mean" else {}
            got = values(getattr(student.Tensor(a), name)(axis=axis))
            assert_close(got, getattr(a, name)(axis=axis), symptoms=symptoms)

    @pytest.mark.points(1)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_keepdims(self, student, rng, name):
        """With keepdims=True the axis stays, with length 1."""
        for shape, axis in [((3, 4), 0), ((3, 4), -1), ((2, 3, 4), (0, 2)), ((2, 3), None)]:
            describe_input(f"{name} of a tensor of shape {shape} over axis {axis}, keepdims=True")
            a = rng.uniform(1, 9, shape)
            got = values(getattr(student.Tensor(a), name)(axis=axis, keepdims=True))
            wrong = {KEEPDIMS_IGNORED: getattr(a, name)(axis=axis)}
            if name == "mean":
                wrong[MEAN_OVER_SIZE] = a.sum(axis=axis, keepdims=True) / a.size
            assert_close(got, getattr(a, name)(axis=axis, keepdims=True), symptoms=wrong)

    @pytest.mark.points(0.5)
    def test_at_the_edge(self, student, rng):
        """Negative numbers, equal ones, one alone, none, infinity and NaN are reduced as well."""
        negative = -rng.uniform(1, 2, (3, 4))
        for text, a in {
            "negative numbers": negative,
            "equal numbers": np.full((3, 4), negative[0, 0]),
            "one element": negative[:1, :1],
            "infinities": np.where(negative < -1.5, -np.inf, negative),
            "NaN": np.where(np.eye(3, 4) > 0, np.nan, negative),
        }.items():
            x = student.Tensor(a)
            for name in REDUCTIONS:
                describe_input(f"{name} of {text}")
                got, expected = values(getattr(x, name)(axis=1)), getattr(a, name)(axis=1)
                assert_close(got, expected, rtol=1e-12 if text == "one element" else None)
        describe_input("sum of no rows")
        assert_close(values(student.Tensor(np.zeros((0, 3))).sum(axis=0)), np.zeros(3))

    @pytest.mark.points(0.5)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype(self, student, rng, dtype):
        """sum, max and mean keep the dtype."""
        a = rng.uniform(1, 2, (3, 4)).astype(dtype)
        for name in REDUCTIONS:
            describe_input(f"{name} of a tensor of {a.dtype}")
            assert fresh(getattr(student.Tensor(a), name)(axis=0), (4,)).dtype == dtype


class TestShapes:
    @pytest.mark.points(1.5)
    @pytest.mark.parametrize("what", ["integers and slices", "lists of indices", "boolean masks"])
    def test_indexing(self, student, rng, what):
        """x[index] is a Tensor of what NumPy gives for the index."""
        a = rng.normal(size=(4, 5)).astype(np.float32)
        x = student.Tensor(a)
        i, j = int(rng.integers(4)), int(rng.integers(5))
        indices = {
            "integers and slices": [
                i,
                -1,
                (i, j),
                slice(1, 3),
                slice(2, 2),
                (slice(None), slice(None, None, 2)),
                (Ellipsis, j),
                (slice(None), None, j),
            ],
            "lists of indices": [[i, 0, i], np.array([j % 4, 2]), ([0, 1, 3], [j, j, 0])],
            "boolean masks": [a > 0.1, np.arange(4) % 2 == 0],
        }[what]
        for index in indices:
            describe_input(f"a (4, 5) tensor, {what}")
            assert_close(values(x[index]), a[index], dtype=np.float32)

    @pytest.mark.points(1)
    @pytest.mark.parametrize("form", ["numbers", "a tuple"])
    def test_reshape(self, student, rng, form):
        """reshape keeps the elements in reading order; one length may be -1; x keeps its shape."""
        a = rng.normal(size=(3, 4))
        x = student.Tensor(a)
        for shape in [(4, 3), (2, 2, 3), (-1, 6), (12,), (2, -1)]:
            describe_input(f"a (3, 4) tensor, reshape to {shape}, given as {form}")
            got = x.reshape(*shape) if form == "numbers" else x.reshape(shape)
            assert_close(values(got), a.reshape(shape))
            symptom(IN_PLACE, x.shape != (3, 4))
        describe_input("a (3, 4) tensor, reshape to (5, 3)")
        raises(lambda: x.reshape(5, 3))

    @pytest.mark.points(0.5)
    def test_reversed_axes(self, student, rng):
        """x.T and x.transpose() have the axes in reverse order."""
        for shape in [(3, 4), (2, 3, 4), (5,)]:
            describe_input(f"a tensor of shape {shape}")
            a = rng.normal(size=shape)
            x = student.Tensor(a)
            wrong = {RESHAPED: a.reshape(shape[::-1])}
            assert_close(values(x.T), a.T, symptoms=wrong)
            assert_close(values(x.transpose()), a.T, symptoms=wrong)

    @pytest.mark.points(1)
    @pytest.mark.parametrize("form", ["numbers", "a tuple"])
    def test_transpose(self, student, rng, form):
        """transpose puts the axes in the order that is given, which may count from the end."""
        a = rng.normal(size=(2, 3, 4))
        x = student.Tensor(a)
        for axes in [(1, 0, 2), (2, 0, 1), (0, 1, 2), (-1, 0, 1), (0, -1, -2)]:
            describe_input(f"a (2, 3, 4) tensor, axes {axes}, given as {form}")
            got = x.transpose(*axes) if form == "numbers" else x.transpose(axes)
            expected = a.transpose(axes)
            wrong = {RESHAPED: a.reshape(expected.shape)} if axes != (0, 1, 2) else {}
            assert_close(values(got), expected, symptoms=wrong)


class TestPuzzles:
    @pytest.mark.points(0.75)
    def test_shares(self, student, rng):
        """shares(x) divides each row of x by its own sum."""
        for shape, scale in [((3, 3), 1), ((2, 5), 1), ((1, 4), 1e-6)]:
            describe_input(f"a {shape} tensor of numbers near {scale}")
            a = rng.uniform(1, 2, shape) * scale
            wrong = {BY_COLUMNS: a / a.sum(axis=1)} if shape == (3, 3) else {}
            expected = a / a.sum(axis=1, keepdims=True)
            assert_close(values(student.shares(student.Tensor(a))), expected, symptoms=wrong)

    @pytest.mark.points(0.5)
    def test_distances(self, student, rng):
        """distances(x, y)[i, j] is the squared distance of row i of x from row j of y."""
        for n, m, d in [(3, 3, 3), (2, 4, 3), (5, 1, 2)]:
            describe_input(f"{n} and {m} points of {d} coordinates")
            a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d))
            expected = ((a[:, None] - b) ** 2).sum(axis=-1)
            assert_close(values(student.distances(student.Tensor(a), student.Tensor(b))), expected)

    @pytest.mark.points(0.25)
    def test_distances_far_from_zero(self, student):
        """Two points that lie near each other and far from 0 have a distance, too."""
        describe_input("points like (1000.1, 1000.1) and (1000.3, 1000.3), in float32")
        a, b = np.float32([[1000.1, 1000.1], [-3000, 5000]]), np.float32([[1000.3, 1000.3]])
        expected = ((a.astype(float) - b) ** 2).sum(axis=1, keepdims=True)
        got = values(student.distances(student.Tensor(a), student.Tensor(b)))
        assert got.shape == expected.shape
        symptom(CANCELLED, not np.allclose(got[0], expected[0], rtol=1e-2))
        assert np.isfinite(got).all()

    @pytest.mark.points(0.5)
    @pytest.mark.parametrize("name", ["shares", "distances"])
    def test_made_of_operations(self, student, reference, rng, name):
        """shares and distances are made of Tensor operations."""
        describe_input(name)
        made_of_operations(student, reference, rng, name, rng.uniform(1, 2, (3, 4)))


# The functions of the last sections as one expression, on a tensor x and an array a.
EXPRESSIONS = {
    "shares": ("shares(x)", "x / x.sum(axis=1, keepdims=True)"),
    "distances": ("distances(x, x * 2 + a)", "((x[:, None] - x * 2 - a) ** 2).sum(axis=-1)"),
    "network": (
        "network(x, [(x.T, x.T * a), (x, x * a)])",
        "(x @ x.T + x.T * a).maximum(0) @ x + x * a",
    ),
    "standardise": (
        "standardise(x)",
        "(x - x.mean(axis=0)) / ((x - x.mean(axis=0)) ** 2).mean(axis=0) ** 0.5",
    ),
}


def made_of_operations(student, reference, rng, name, x):
    """Assert that a change of x passes through one of the functions above."""
    theirs, ours = EXPRESSIONS[name]
    data = [x], [([rng.normal(size=x.shape)], [])], [], {"a": rng.normal(size=x.shape)}
    [(_, slope, _)], _, _ = forward(student, f"lambda x: {theirs}", *data)
    [(_, expected, _)], _, _ = on(reference, f"lambda x: {ours}", *data)
    assert_close(
        slope, expected, rtol=1e-4, atol=1e-6, symptoms={THROUGH_DATA: lambda it: not it.any()}
    )


@run_in_worker
def through_one_layer_twice(x, weights, biases):
    """What comes out of a network whose last layer is its first one, too."""
    layer = Tensor(weights), Tensor(biases)
    return network(Tensor(x), [layer, layer]).data


@run_in_worker
def layers_stay(x, pairs):
    """Whether a network gives something, and leaves the list of its layers and their numbers."""
    layers = [(Tensor(weights), Tensor(biases)) for weights, biases in pairs]
    kept = list(layers)
    before = [[tensor.data.copy() for tensor in layer] for layer in kept]
    got = network(Tensor(x), layers)
    same = len(layers) == len(kept) and all(map(operator.is_, layers, kept))
    after = [tensor.data for layer in kept for tensor in layer]
    numbers = all(map(np.array_equal, [array for layer in before for array in layer], after))
    return got.shape, same, numbers


class TestWhole:
    @pytest.mark.points(4)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_network(self, student, rng, dtype):
        """network(x, layers) is the output of a network of two, three or one layers."""
        for widths in [(4, 8, 2), (3, 5, 6, 1), (2, 3)]:
            describe_input(f"layers of widths {widths}, in {np.dtype(dtype)}")
            h = x = rng.normal(size=(6, widths[0])).astype(dtype)
            layers = [
                (rng.normal(size=pair).astype(dtype), rng.normal(size=pair[1]).astype(dtype))
                for pair in itertools.pairwise(widths)
            ]
            for number, (weights, biases) in enumerate(layers):
                h = (np.maximum(h, 0) if number else h) @ weights + biases
            theirs = [
                (student.Tensor(weights), student.Tensor(biases)) for weights, biases in layers
            ]
            assert_close(values(student.network(student.Tensor(x), theirs)), h, dtype=dtype)
        describe_input("one and the same layer twice")
        x, weights, biases = (rng.normal(size=n).astype(dtype) for n in [(6, 3), (3, 3), 3])
        h = np.maximum(x @ weights + biases, 0) @ weights + biases
        assert_close(through_one_layer_twice(student, x, weights, biases), h, dtype=dtype)

    @pytest.mark.points(1)
    def test_layers_stay(self, student, rng):
        """network(x, layers) leaves the list and its tensors as they were."""
        describe_input("a list of two layers")
        shapes = [((3, 4), (4,)), ((4, 2), (2,))]
        pairs = [tuple(rng.normal(size=shape) for shape in layer) for layer in shapes]
        shape, same, numbers = layers_stay(student, rng.normal(size=(5, 3)), pairs)
        symptom(LIST_CHANGED, not same)
        symptom(IN_PLACE, not numbers)
        assert shape == (5, 2)

    @pytest.mark.points(3.5)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_standardise(self, student, rng, dtype):
        """standardise(x) shifts and scales each column to mean 0 and spread 1."""
        tolerance = THREE_DIGITS if dtype == np.float32 else {}
        for shape in [(20, 4), (5, 5)]:
            describe_input(f"a tensor of shape {shape}, in {np.dtype(dtype)}")
            a = rng.normal(rng.uniform(-3, 3, shape[1]), rng.uniform(1, 2, shape[1]), shape)
            a = a.astype(dtype)
            expected = (a - a.mean(axis=0)) / a.std(axis=0)
            got = values(student.standardise(student.Tensor(a)))
            assert_close(got, expected, dtype=dtype, **tolerance)
        describe_input("columns of a spread near a millionth")
        got = values(student.standardise(student.Tensor(a * dtype(1e-6))))
        assert_close(
            got,
            expected,
            **tolerance,
            symptoms={PADDED: lambda it: abs(it).sum() < abs(expected).sum()},
        )

    @pytest.mark.points(0.5)
    def test_standardise_far_from_zero(self, student):
        """Columns far from 0 are standardised as those around 0 are."""
        describe_input("columns of whole numbers around 5000 and -20,000, in float32")
        a = np.float32([[4998, -20_001], [4999, -20_003], [5001, -19_999], [5002, -19_997]])
        expected = (a - a.mean(axis=0)) / a.std(axis=0)
        got = values(student.standardise(student.Tensor(a)))
        assert got.shape == expected.shape
        assert not np.allclose(got, a)
        symptom(CANCELLED, not np.allclose(got, expected, rtol=1e-2, atol=1e-2))

    @pytest.mark.points(4)
    def test_fitted_line(self, student, rng):
        """Weights that are improved step by step in Tensor operations arrive where NumPy's do."""
        a = rng.normal(size=(30, 3))
        wanted, start = rng.normal(size=(3, 1)), rng.normal(size=(3, 1))
        labels = (a @ wanted > 0) * 1.0
        for text, program in FITS.items():
            describe_input(text)
            got = fit(student, program, a, labels, start)
            assert_close(got, on_arrays(program, a, labels, start), **ROUNDED)

    @pytest.mark.points(4)
    def test_made_of_operations(self, student, reference, rng):
        """What weights do to the error of a network goes through operations alone."""
        w, b = rng.normal(size=(3, 2)), rng.normal(size=2)
        data = {"a": rng.normal(size=(6, 3)), "y": rng.uniform(size=(6, 2))}
        for text, program in LOSSES.items():
            describe_input(text)
            connected(
                student,
                reference,
                rng,
                f"lambda w, b: {program}",
                [w, b],
                constants=data,
                derived=False,
                symptoms={THROUGH_DATA: lambda slope: not slope.any()},
            )

    @pytest.mark.points(1)
    @pytest.mark.parametrize("name", ["network", "standardise"])
    def test_functions_of_operations(self, student, reference, rng, name):
        """network and standardise are made of Tensor operations."""
        describe_input(name)
        made_of_operations(student, reference, rng, name, rng.uniform(1, 2, (4, 4)))


# What is lost by weights w and b, on arrays.
LOSSES = {
    "the mean of squared errors": "((y - (a @ w + b).maximum(-9)) ** 2).mean()",
    "the chance of yes or no": "-(y * (1 / (1 + (-(a @ w) - b).exp())).log()).mean(axis=0)",
    "scores beside the best": "(a @ w - (a @ w + 9).max(axis=1, keepdims=True) - b).T.mean()",
}

# One step each, with numbers, arrays and Tensors on either side; `w` is what is fitted.
FITS = {
    "a line, fitted by least squares": "w - 0.1 * (2 * x.T @ (x @ w - y)) / len(y)",
    "the chance of yes or no": "w - (x * (1 / (1 + exp(-x @ w)) - y)).mean(axis=0).reshape(-1, 1)",
    "shares that add up to 1": (
        "w + ((y + 1) * log(exp(z / 9) / total(exp(z / 9)))).mean(0)[:, None] / 9"
    ),
    "what comes near the best": (
        "w - ((z - best(z * z)).maximum(-11) * (1 - y)).sum((0,))[:, None] / 99"
    ),
}


@run_in_worker
def fit(program, data, labels, w):
    """The weights after some steps in Tensors; y stays an array."""
    x, w = Tensor(data), Tensor(w)
    names = {
        "exp": lambda t: t.exp(),
        "log": lambda t: t.log(),
        "best": lambda t: t.max(axis=-1, keepdims=True),
        "total": lambda t: t.sum(axis=-1, keepdims=True),
    }
    for _ in range(20):
        w = eval(program, {**names, "x": x, "y": labels, "w": w, "z": x * w.T})
    return w.data


def on_arrays(program, x, labels, w):
    """What `fit` finds, in NumPy."""
    names = {
        "exp": np.exp,
        "log": np.log,
        "best": lambda t: t.max(axis=-1, keepdims=True),
        "total": lambda t: t.sum(axis=-1, keepdims=True),
    }
    program = program.replace(".maximum(-11)", ".clip(-11)")
    for _ in range(20):
        w = eval(program, {**names, "x": x, "y": labels, "w": w, "z": x * w.T})
    return w
