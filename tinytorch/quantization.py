"""Quantization: weights as small integers and a scale, packed bit by bit.

Exported from source/17_quantization/17_quantization.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Linear, Module

__all__ = [
    "Quantized",
    "QuantizedLinear",
    "dequantize",
    "pack",
    "quantize",
    "quantize_model",
    "unpack",
]


class Quantized:
    """Small integers and what they stand for: (values - zero) * scale.

    values: int8 or uint8, in the shape of the original. scale (floats) and zero (int32) broadcast.
    """

    def __init__(self, values, scale, zero):
        self.values, self.scale, self.zero = values, scale, zero


def quantize(x, bits=8, axis=None, symmetric=True):
    """The nearest marks of a ruler of 2**bits marks, or fewer, for an array of floats.

    axis: each index along it has a ruler of its own; None: one for all. symmetric: zero is 0, the
    marks -t to t in int8; else 0 to t in uint8. Raises ValueError if bits is not 2 to 8, or if x
    is not finite. (B. Jacob and others, "Quantization and Training of Neural Networks", 2018.)
    """
    if not 2 <= bits <= 8 or not np.isfinite(x).all():
        raise ValueError(f"bits from 2 to 8 and finite numbers are wanted, not {bits} and {x}")
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    high, low = (f(axis=others, keepdims=True, initial=0) for f in (x.max, x.min))
    top = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    size = np.abs(x).max(axis=others, keepdims=True)
    scale = (size if symmetric else high - low) / x.dtype.type(top)
    scale = np.where(scale > 0, scale, x.dtype.type(1))
    zero = np.zeros_like(low) if symmetric else np.round(-low / scale)
    values = (np.round(x / scale) + zero).clip(max=top)  # two roundings may reach top + 1
    return Quantized(values.astype("int8" if symmetric else "uint8"), scale, zero.astype("int32"))


def dequantize(q):
    """The floats that a `Quantized` stands for, in the dtype of its scale."""
    return (q.values - q.zero.astype(q.scale.dtype)) * q.scale


def pack(values, bits):
    """Values of `bits` bits each, from -2**(bits - 1), as one row of bytes without gaps."""
    rows = np.unpackbits(values.ravel().view(np.uint8)[:, None], axis=1)
    return np.packbits(rows[:, -bits:])


def unpack(packed, bits, shape):
    """The int8 values (shape) that `pack` wrote."""
    rows = np.unpackbits(packed)[: bits * int(np.prod(shape))].reshape(-1, bits)
    signed = np.pad(rows, ((0, 0), (8 - bits, 0)), "edge")  # the first bit is the sign
    return np.packbits(signed).view(np.int8).reshape(shape)


class QuantizedLinear(Module):
    """A `Linear` whose weight is kept in `bits` bits, symmetric, with a scale for each output.

    Its NumPy arrays hold the packed weight and the scales; the bias is the layer's own Tensor.
    """

    def __init__(self, linear, bits=8):
        q = quantize(linear.weight.data, bits, axis=1)
        self.bits, self.shape = bits, q.values.shape
        self.packed, self.scale = pack(q.values, bits), q.scale[0]
        self.bias = linear.bias

    def forward(self, x):
        """x: a Tensor (..., in_features). Returns a Tensor (..., out_features) of its dtype."""
        y = (x @ unpack(self.packed, self.bits, self.shape)) * self.scale
        return y if self.bias is None else y + self.bias


def quantize_model(model, bits=8):
    """Put a `QuantizedLinear` in the place of each `Linear` of a model; return the model."""
    made = {}  # by the id of a module: what stands in its place

    def replaced(value):
        if isinstance(value, (list, tuple)):
            return type(value)(replaced(each) for each in value)
        if isinstance(value, Module) and id(value) not in made:
            made[id(value)] = QuantizedLinear(value, bits) if isinstance(value, Linear) else value
            for name, each in list(vars(value).items()):
                setattr(value, name, replaced(each))
        return made.get(id(value), value)

    return replaced(model)
