"""01 · Tensor: what the operations of `Tensor` must do, with NumPy as the specification."""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proctor.testing import Misconception, kind, same, symptom

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
IN_PLACE = Misconception(
    "changes its operand",
    "After an operation one of its operands holds other numbers than before. Does a method write "
    "into self.data, instead of making a new Tensor?",
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

ARITHMETIC = {"+": operator.add, "*": operator.mul, "/": operator.truediv}
ALL_FOUR = {**ARITHMETIC, "-": operator.sub}
EXACT = {"rtol": 1e-12, "atol": 0, "dtype": np.float64}  # float32 would differ by 1e-8
REDUCTIONS = ["sum", "max", "mean"]

seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
two_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=1, max_side=4, max_dims=3)


def numbers(seed, *shape):
    """Random numbers of both signs, never near 0, so that all may be divided by."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape)


def values(tensor):
    """The array of a result, which must be a Tensor."""
    symptom(NO_RETURN, tensor is None)
    symptom(BARE_ARRAY, isinstance(tensor, np.ndarray | np.generic | float))
    return tensor.data


def is_one_of(got, *candidates):
    """Whether an array has the shape and the numbers of one of the candidates."""
    return any(got.shape == each.shape and np.allclose(got, each) for each in candidates)


class TestConstruct:
    @pytest.mark.points(4)
    @pytest.mark.parametrize("what", ["number", "list", "integers", "booleans"])
    def test_default_dtype(self, student, rng, what):
        """A number, a list, and an array of integers or booleans become float32."""
        data = {
            "number": float(rng.uniform(1, 9)),
            "list": rng.uniform(1, 9, (2, 3)).tolist(),
            "integers": rng.integers(-9, 9, 5),
            "booleans": rng.random((4, 1)) > 0.5,
        }[what]
        kind({"number": "a number", "list": "a nested list"}.get(what, f"an array of {what}"))
        got = student.Tensor(data).data
        same(got, np.asarray(data, np.float32))
        symptom(NOT_CONVERTED, got.dtype != np.float32)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats_keep_their_dtype(self, student, rng, dtype):
        """An array of floats keeps its dtype and its values; a list of them becomes an array."""
        data = rng.normal(size=(3, 2)).astype(dtype)
        kind(f"an array of {data.dtype}")
        got = student.Tensor(data).data
        same(got, data)
        symptom(ALWAYS_FLOAT32, dtype == np.float64 and got.dtype == np.float32)
        same(got, data, dtype=dtype)
        kind("the same numbers in a nested list")
        got = student.Tensor(data.tolist()).data
        same(got, data)
        assert type(got) is np.ndarray

    @pytest.mark.points(2)
    def test_numpy_scalars(self, student, rng):
        """A NumPy scalar of floats keeps its dtype; one of integers becomes float32."""
        for scalar in (np.float64(rng.normal()), np.float32(rng.normal())):
            kind(f"a NumPy scalar of {scalar.dtype}")
            got = student.Tensor(scalar).data
            same(got, scalar)
            symptom(ALWAYS_FLOAT32, scalar.dtype == np.float64 and got.dtype == np.float32)
            same(got, scalar, dtype=scalar.dtype)
        kind("a NumPy integer")
        whole = rng.integers(2, 1000)
        got = student.Tensor(np.int64(whole)).data
        same(got, whole)
        symptom(NOT_CONVERTED, got.dtype != np.float32)

    @pytest.mark.points(1)
    def test_tensor_of_a_tensor(self, student, rng):
        """Tensor(t) holds the numbers and the dtype of the tensor t."""
        for dtype in (np.float64, np.float32):
            data = rng.normal(size=4).astype(dtype)
            kind(f"a Tensor of {data.dtype}")
            same(student.Tensor(student.Tensor(data)).data, data, dtype=dtype)

    @pytest.mark.points(2)
    def test_attributes(self, student, rng):
        """shape, ndim, size and dtype are those of the data."""
        for shape in [(), (5,), (2, 3, 4)]:
            data = np.asarray(rng.normal(size=shape))
            for text, source in (("an array", data), ("numbers in lists", data.tolist())):
                kind(f"{text} of shape {shape}")
                tensor = student.Tensor(source)
                assert tensor.shape == shape
                assert tensor.ndim == len(shape)
                assert tensor.size == np.prod(shape)
                assert source is not data or tensor.dtype == np.float64


class TestArithmetic:
    @pytest.mark.points(6)
    @pytest.mark.parametrize("sign", ARITHMETIC)
    @settings(max_examples=8)
    @given(shapes=two_shapes, seed=seeds)
    def test_two_tensors(self, student, sign, shapes, seed):
        """x + y, x * y and x / y agree with NumPy, for all shapes that broadcast."""
        a, b = shapes.input_shapes
        kind(f"tensors of shapes {a} and {b}, with {sign}")
        a, b = numbers(seed, *a), numbers(seed + 1, *b)
        got = ARITHMETIC[sign](student.Tensor(a), student.Tensor(b))
        same(values(got), ARITHMETIC[sign](a, b))
        assert got.shape == shapes.result_shape

    @pytest.mark.points(4)
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
                kind(f"a tensor {sign} {other} ({type(b).__name__})")
                same(values(operation(student.Tensor(a), b)), operation(a, b), rtol=1e-6)

    @pytest.mark.points(2)
    def test_power(self, student, rng):
        """x ** p raises every element to the power of the number p, which may be any number."""
        a = rng.uniform(0.5, 2, (2, 3))
        for p in (2, 3, -1, 0.5, float(rng.uniform(-2, 2))):
            kind(f"the exponent {p:.3g}")
            same(values(student.Tensor(a) ** p), a**p)
        kind("a negative base and an even exponent")
        same(values(student.Tensor(-a) ** 2), a**2)

    @pytest.mark.points(3)
    def test_numbers_take_the_dtype(self, student, rng):
        """Next to a plain number float32 stays float32, and float64 keeps all its digits."""
        a, number = rng.uniform(1, 2, 5), float(rng.uniform(0.1, 0.9))
        for sign, operation in ARITHMETIC.items():
            kind(f"a float64 tensor {sign} a plain number")
            rounded = operation(a, np.float64(np.float32(number)))
            got = values(operation(student.Tensor(a), number))
            symptoms = {NUMBER_ROUNDED: rounded}
            same(got, operation(a, number), **EXACT, symptoms=symptoms)
            kind(f"a float32 tensor {sign} a plain number")
            single = a.astype(np.float32)
            got = values(operation(student.Tensor(single), number))
            same(got, operation(single, number), dtype=np.float32)
        kind("a float32 tensor ** a plain number")
        same(values(student.Tensor(single) ** number), single**number, dtype=np.float32)

    @pytest.mark.points(1)
    def test_small_denominators(self, student, rng):
        """x / y is as finite as the quotient, even where 1 / y is too large for the dtype."""
        a = rng.uniform(1e-3, 2e-3, 4).astype(np.float32)
        b = rng.uniform(1e-39, 2e-39, 4).astype(np.float32)
        kind("float32 denominators near 1e-39")
        same(values(student.Tensor(a) / student.Tensor(b)), a / b, dtype=np.float32)

    @pytest.mark.points(1)
    def test_operands_stay(self, student, rng):
        """An operation makes a new Tensor: its operands hold the same numbers afterwards."""
        a, b = rng.uniform(1, 2, 3), rng.uniform(1, 2, 3)
        for sign, operation in ARITHMETIC.items():
            kind(f"two tensors made of lists, with {sign}")
            x, y = student.Tensor(a.tolist()), student.Tensor(b.tolist())
            result = values(operation(x, y))
            symptoms = {IN_PLACE: operation(a, b)}
            same(x.data, a, symptoms=symptoms)
            same(y.data, b, symptoms=symptoms)
            same(result, operation(a, b))


class TestReflected:
    @pytest.mark.points(1)
    def test_negative(self, student, rng):
        """-x has the opposite sign, and the dtype of x."""
        for dtype in (np.float64, np.float32):
            a = rng.normal(size=(2, 3)).astype(dtype)
            kind(f"a tensor of {a.dtype}")
            x = student.Tensor(a)
            same(values(-x), -a, dtype=x.data.dtype)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("other", ["a tensor", "a number", "an array"])
    def test_subtraction(self, student, rng, other):
        """x - y is x minus y, where y is a Tensor, a number or a NumPy array."""
        a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
        right = {"a tensor": b, "a number": float(b[0, 0]), "an array": b}[other]
        kind(f"a tensor - {other}")
        y = student.Tensor(right) if other == "a tensor" else right
        same(values(student.Tensor(a) - y), a - right, rtol=1e-6, symptoms={SWAPPED: right - a})

    @pytest.mark.points(4)
    @pytest.mark.parametrize("sign", ALL_FOUR)
    def test_number_on_the_left(self, student, rng, sign):
        """number + x, number - x, number * x and number / x are what they say, in this order."""
        a, operation = rng.uniform(3, 5, (2, 3)), ALL_FOUR[sign]
        for number in (int(rng.integers(1, 3)), float(rng.uniform(1, 2)), np.float64(1.5)):
            kind(f"{type(number).__name__} {sign} a tensor")
            got = values(operation(number, student.Tensor(a)))
            swapped = {SWAPPED: operation(a, number)} if sign in "-/" else {}
            same(got, operation(number, a), rtol=1e-6, symptoms=swapped)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("sign", ALL_FOUR)
    def test_array_on_the_left(self, student, rng, sign):
        """array + x, array - x, array * x and array / x are Tensors, with NumPy's values."""
        operation, b = ALL_FOUR[sign], rng.uniform(3, 5, 4)
        for a in (rng.uniform(1, 2, 4), rng.uniform(1, 2, (3, 1)), rng.integers(1, 3, (2, 4))):
            kind(f"an array of {a.dtype}, of shape {a.shape}, {sign} a tensor")
            got = values(operation(a, student.Tensor(b)))
            symptom(OBJECTS, type(got) is not np.ndarray)
            swapped = {SWAPPED: operation(b, a)} if sign in "-/" else {}
            same(got, operation(a, b), rtol=1e-6, symptoms=swapped)

    @pytest.mark.points(2)
    def test_numbers_take_the_dtype(self, student, rng):
        """In x - number and with the number on the left, float32 stays and float64 is exact."""
        a, number = rng.uniform(1, 2, 5), float(rng.uniform(0.1, 0.9))
        single = a.astype(np.float32)
        cases = {f"a plain number {sign} a tensor": (sign, True) for sign in ALL_FOUR}
        cases["a tensor - a plain number"] = ("-", False)
        for text, (sign, left) in cases.items():

            def compute(x, value, operation=ALL_FOUR[sign], left=left):
                return operation(value, x) if left else operation(x, value)

            kind(f"{text}, in float64")
            got = values(compute(student.Tensor(a), number))
            symptoms = {NUMBER_ROUNDED: compute(a, float(np.float32(number)))}
            same(got, compute(a, number), **EXACT, symptoms=symptoms)
            kind(f"{text}, in float32")
            got = values(compute(student.Tensor(single), number))
            same(got, compute(single, number), dtype=np.float32)


class TestMatmul:
    @pytest.mark.points(3)
    @settings(max_examples=8)
    @given(n=st.integers(1, 4), k=st.integers(1, 4), m=st.integers(1, 4), seed=seeds)
    def test_matrices(self, student, n, k, m, seed):
        """An (n, k) matrix @ a (k, m) matrix is their (n, m) product."""
        kind(f"matrices of shapes {(n, k)} and {(k, m)}")
        a, b = numbers(seed, n, k), numbers(seed + 1, k, m)
        same(values(student.Tensor(a) @ student.Tensor(b)), a @ b)

    @pytest.mark.points(2)
    def test_vectors(self, student, rng):
        """A 1-D operand on either side is a row or a column, and its axis disappears."""
        for a, b in [((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4,))]:
            kind(f"operands of shapes {a} and {b}")
            a, b = rng.normal(size=a), rng.normal(size=b)
            same(values(student.Tensor(a) @ student.Tensor(b)), a @ b)

    @pytest.mark.points(1)
    def test_stacks(self, student, rng):
        """Leading axes are stacks of matrices, and broadcast."""
        for a, b in [((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (4, 3, 2))]:
            kind(f"operands of shapes {a} and {b}")
            a, b = rng.normal(size=a).astype(np.float32), rng.normal(size=b).astype(np.float32)
            same(values(student.Tensor(a) @ student.Tensor(b)), a @ b, dtype=np.float32)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_arrays(self, student, rng, side):
        """Either operand of @ may be a NumPy array; the result is a Tensor."""
        a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
        kind(f"an array on the {side} of @")
        got = a @ student.Tensor(b) if side == "left" else student.Tensor(a) @ b
        product = values(got)
        symptom(OBJECTS, type(product) is not np.ndarray)
        same(product, a @ b, symptoms={SWAPPED: b @ a})


class TestElementwise:
    @pytest.mark.points(2)
    @settings(max_examples=8)
    @given(shape=shapes, seed=seeds)
    def test_exp(self, student, shape, seed):
        """exp raises e to every element, and keeps the shape and the dtype."""
        for dtype in (np.float64, np.float32):
            a = numbers(seed, *shape).astype(dtype)
            kind(f"a tensor of {a.dtype}, of shape {shape}")
            x = student.Tensor(a)
            same(values(x.exp()), np.exp(a), dtype=x.data.dtype)

    @pytest.mark.points(2)
    def test_log(self, student, rng):
        """log is the natural logarithm of every element, and keeps the shape and the dtype."""
        for dtype in (np.float64, np.float32):
            a = rng.uniform(0.1, 9, (3, 2)).astype(dtype)
            kind(f"a tensor of positive {a.dtype}")
            x = student.Tensor(a)
            wrong = {
                OTHER_LOG: lambda got, a=a: is_one_of(got, np.log2(a), np.log10(a), np.log1p(a))
            }
            same(values(x.log()), np.log(a), dtype=x.data.dtype, symptoms=wrong)

    @pytest.mark.points(2)
    @settings(max_examples=8)
    @given(shapes=two_shapes, seed=seeds)
    def test_maximum_of_tensors(self, student, shapes, seed):
        """x.maximum(y) is the larger one, element by element, for all shapes that broadcast."""
        a, b = shapes.input_shapes
        kind(f"tensors of shapes {a} and {b}")
        a, b = numbers(seed, *a), numbers(seed + 1, *b)
        same(values(student.Tensor(a).maximum(student.Tensor(b))), np.maximum(a, b))

    @pytest.mark.points(2)
    @pytest.mark.parametrize("other", ["a number", "an array"])
    def test_maximum_of_others(self, student, rng, other):
        """maximum also takes a number, which takes the tensor's dtype, or a NumPy array."""
        a = rng.normal(size=(3, 4))
        if other == "an array":
            b = rng.normal(size=4)
            kind("an array")
            same(values(student.Tensor(a).maximum(b)), np.maximum(a, b))
            return
        for b in (0, float(rng.uniform(0.1, 0.3))):
            kind(f"the {type(b).__name__} {b:.3g} and a float64 tensor")
            wrong = {NUMBER_ROUNDED: np.maximum(a, float(np.float32(b)))}
            got = values(student.Tensor(a).maximum(b))
            same(got, np.maximum(a, b), **EXACT, symptoms=wrong)
            kind(f"the {type(b).__name__} {b:.3g} and a float32 tensor")
            single = a.astype(np.float32)
            got = values(student.Tensor(single).maximum(b))
            same(got, np.maximum(single, b), dtype=np.float32)


class TestReductions:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_all_axes(self, student, rng, name):
        """Without an axis a reduction gives one number, of shape () and of the same dtype."""
        for shape in [(5,), (3, 4), (2, 3, 4)]:
            for dtype in (np.float64, np.float32):
                a = rng.normal(size=shape).astype(dtype)
                kind(f"{name} of a tensor of {a.dtype}, of shape {shape}")
                x = student.Tensor(a)
                got = values(getattr(x, name)())
                same(got, getattr(a, name)(), dtype=x.data.dtype)
                same(x.data, a)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_one_axis(self, student, rng, name):
        """The axis that is named disappears, whether it counts from the front or from the end."""
        a = rng.normal(size=(4, 5))
        x = student.Tensor(a)
        for axis in (0, 1, -1, -2):
            kind(f"{name} of a (4, 5) tensor over axis {axis}")
            expected, other = getattr(a, name)(axis=axis), getattr(a, name)(axis=1 - axis % 2)
            symptoms = {OTHER_AXIS: other}
            if name == "mean":
                symptoms[MEAN_OVER_SIZE] = a.sum(axis=axis) / a.size
            same(values(getattr(x, name)(axis=axis)), expected, symptoms=symptoms)
            same(values(getattr(x, name)(axis)), expected, symptoms=symptoms)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("name", REDUCTIONS)
    @settings(max_examples=8)
    @given(shape=shapes, seed=seeds, data=st.data())
    def test_several_axes(self, student, name, shape, seed, data):
        """A tuple of axes disappears as one axis does."""
        axis = data.draw(hnp.valid_tuple_axes(len(shape), min_size=1))
        kind(f"{name} of a tensor of shape {shape} over axis {axis}")
        a = numbers(seed, *shape)
        symptoms = {MEAN_OVER_SIZE: a.sum(axis=axis) / a.size} if name == "mean" else {}
        got = values(getattr(student.Tensor(a), name)(axis=axis))
        same(got, getattr(a, name)(axis=axis), symptoms=symptoms)

    @pytest.mark.points(3)
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_keepdims(self, student, rng, name):
        """With keepdims=True the axis stays, with length 1."""
        for shape, axis in [((3, 4), 0), ((3, 4), -1), ((2, 3, 4), (0, 2)), ((2, 3), None)]:
            kind(f"{name} of a tensor of shape {shape} over axis {axis}, keepdims=True")
            a = rng.normal(size=shape)
            got = values(getattr(student.Tensor(a), name)(axis=axis, keepdims=True))
            wrong = {KEEPDIMS_IGNORED: getattr(a, name)(axis=axis)}
            if name == "mean":
                wrong[MEAN_OVER_SIZE] = a.sum(axis=axis, keepdims=True) / a.size
            same(got, getattr(a, name)(axis=axis, keepdims=True), symptoms=wrong)


class TestShapes:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("what", ["integers and slices", "lists of indices", "boolean masks"])
    def test_indexing(self, student, rng, what):
        """x[index] is a Tensor of what NumPy gives for the index."""
        a = rng.normal(size=(4, 5))
        x = student.Tensor(a)
        i, j = int(rng.integers(4)), int(rng.integers(5))
        indices = {
            "integers and slices": [
                i,
                -1,
                (i, j),
                slice(1, 3),
                (slice(None), slice(None, None, 2)),
                (Ellipsis, j),
                (slice(None), None, j),
            ],
            "lists of indices": [[i, 0, i], np.array([j % 4, 2]), ([0, 1, 3], [j, j, 0])],
            "boolean masks": [a > 0.1, np.arange(4) % 2 == 0],
        }[what]
        for index in indices:
            kind(f"a (4, 5) tensor, {what}")
            same(values(x[index]), a[index], dtype=x.data.dtype)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("form", ["numbers", "a tuple"])
    def test_reshape(self, student, rng, form):
        """reshape keeps the elements in reading order; one length may be -1."""
        a = rng.normal(size=(3, 4))
        x = student.Tensor(a)
        for shape in [(4, 3), (2, 2, 3), (-1, 6), (12,), (2, -1)]:
            kind(f"a (3, 4) tensor, reshape to {shape}, given as {form}")
            got = x.reshape(*shape) if form == "numbers" else x.reshape(shape)
            same(values(got), a.reshape(shape))

    @pytest.mark.points(1)
    def test_reversed_axes(self, student, rng):
        """x.T and x.transpose() have the axes in reverse order."""
        for shape in [(3, 4), (2, 3, 4), (5,)]:
            kind(f"a tensor of shape {shape}")
            a = rng.normal(size=shape)
            x = student.Tensor(a)
            wrong = {RESHAPED: a.reshape(shape[::-1])}
            same(values(x.T), a.T, symptoms=wrong)
            same(values(x.transpose()), a.T, symptoms=wrong)

    @pytest.mark.points(2)
    @pytest.mark.parametrize("form", ["numbers", "a tuple"])
    def test_transpose(self, student, rng, form):
        """transpose puts the axes in the order that is given, which may count from the end."""
        a = rng.normal(size=(2, 3, 4))
        x = student.Tensor(a)
        for axes in [(1, 0, 2), (2, 0, 1), (0, 1, 2), (-1, 0, 1), (0, -1, -2)]:
            kind(f"a (2, 3, 4) tensor, axes {axes}, given as {form}")
            got = x.transpose(*axes) if form == "numbers" else x.transpose(axes)
            expected = a.transpose(axes)
            wrong = {RESHAPED: a.reshape(expected.shape)} if axes != (0, 1, 2) else {}
            same(values(got), expected, symptoms=wrong)
