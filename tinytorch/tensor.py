"""A Tensor: an n-dimensional array of floats with the arithmetic of NumPy, and nothing else.

Exported from source/01_tensor/01_tensor.ipynb by `proctor export`; edit the notebook.
"""

import operator

import numpy as np

__all__ = ["Tensor"]


def as_array(data, dtype=np.float32):
    """Return the NumPy array that stands for `data`: the dtype rule of the whole course.

    A Tensor gives its own array. A NumPy array or scalar of floats keeps its dtype. Everything
    else (Python numbers, lists, integers, booleans) has no floating dtype, and gets `dtype`.
    """
    if isinstance(data, Tensor):
        return data.data
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind == "f":
        return np.asarray(data)
    return np.asarray(data, dtype)


def as_tensor(data, dtype):
    """Return `data` itself if it is a Tensor, and else a Tensor of `as_array(data, dtype)`."""
    return data if isinstance(data, Tensor) else Tensor(as_array(data, dtype))


def reflected(operation):
    """Make the method that answers `other ∘ self`, where `other` is a number or an array.

    `operation` is one of `operator.add`, `operator.sub`, ...: `operator.sub(a, b)` is `a - b`.
    """

    def method(self, other):
        return operation(as_tensor(other, self.dtype), self)

    return method


class Tensor:
    """An n-dimensional array of floats.

    `data` may be a number, a (nested) list, a NumPy array or a Tensor; `as_array` says which dtype
    it gets. An array of floats may be shared with the caller. Shapes broadcast as in NumPy,
    and shapes that do not fit raise ValueError.
    """

    __array_ufunc__ = None  # tells NumPy to leave `array + tensor` to Tensor.__radd__

    def __init__(self, data):
        self.data = as_array(data)

    shape = property(lambda self: self.data.shape, doc="The length of each axis, a tuple.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    size = property(lambda self: self.data.size, doc="The number of elements.")
    dtype = property(lambda self: self.data.dtype, doc="The type of an element, such as float32.")
    T = property(lambda self: self.transpose(), doc="The tensor with its axes in reverse order.")

    def __repr__(self):
        return f"Tensor({np.array2string(self.data, prefix='Tensor(')}, {self.dtype})"

    # Arithmetic: `other` is a Tensor, a number or an array.

    def __add__(self, other):
        """self + other, element by element."""
        return Tensor(self.data + as_array(other, self.dtype))

    def __mul__(self, other):
        """self * other, element by element."""
        return Tensor(self.data * as_array(other, self.dtype))

    def __truediv__(self, other):
        """self / other, element by element."""
        return Tensor(self.data / as_array(other, self.dtype))

    def __pow__(self, exponent):
        """self ** exponent, element by element; the exponent is a number."""
        return Tensor(self.data**exponent)

    # Derived: written with the operations of Tensor, never with `.data`.

    def __neg__(self):
        """-self."""
        return self * -1

    def __sub__(self, other):
        """self - other, element by element."""
        return self + -as_tensor(other, self.dtype)

    __radd__ = reflected(operator.add)
    __rsub__ = reflected(operator.sub)
    __rmul__ = reflected(operator.mul)
    __rtruediv__ = reflected(operator.truediv)
    __rmatmul__ = reflected(operator.matmul)

    def __matmul__(self, other):
        """self @ other: (..., n, k) @ (..., k, m) is (..., n, m); either may be 1-D."""
        return Tensor(self.data @ as_array(other, self.dtype))

    # Elementwise functions: the shape stays.

    def exp(self):
        """e ** self."""
        return Tensor(np.exp(self.data))

    def log(self):
        """The natural logarithm."""
        return Tensor(np.log(self.data))

    def maximum(self, other):
        """The larger of self and other (a Tensor, a number or an array), element by element."""
        return Tensor(np.maximum(self.data, as_array(other, self.dtype)))

    # Reductions: `axis` is None (all axes), an axis or a tuple of axes, and disappears from the
    # shape, unless `keepdims` leaves it there with length 1.

    def sum(self, axis=None, keepdims=False):
        """The sum over `axis`."""
        return Tensor(self.data.sum(axis=axis, keepdims=keepdims))

    def max(self, axis=None, keepdims=False):
        """The largest element along `axis`."""
        return Tensor(self.data.max(axis=axis, keepdims=keepdims))

    def mean(self, axis=None, keepdims=False):
        """The mean over `axis`: derived, the sum divided by how many elements (not 0) it added."""
        total = self.sum(axis, keepdims)
        return total / (self.size // total.size)

    # Shapes: the same numbers in another arrangement, as a view or a copy.

    def __getitem__(self, index):
        """self[index], with any index that NumPy takes: integers, slices, lists, masks."""
        return Tensor(self.data[index])

    def reshape(self, *shape):
        """The same elements in another shape: `x.reshape(2, -1)` or `x.reshape((2, -1))`."""
        return Tensor(self.data.reshape(*shape))

    def transpose(self, *axes):
        """The axes in the order `axes`, given as numbers or as a tuple; without any, reversed."""
        return Tensor(self.data.transpose(*axes))
