"""Activations: the bends between layers. Written in Tensor operations only.

Exported from source/02_activations/02_activations.ipynb by `proctor export`; edit the notebook.
"""

import math

import numpy as np

from tinytorch import Tensor

__all__ = ["clamp", "gelu", "log_softmax", "relu", "sigmoid", "softmax", "tanh"]


def relu(x):
    """The positive part of each element, max(x, 0). Any shape; the result has the same.

    Its curve has a corner at 0: which of the two slopes, 0 or 1, it has there is up to you.
    """
    return x.maximum(0)


def clamp(x, low, high):
    """Each element of `x`, moved to the nearer end if it is not between `low` and `high`.

    It may be off by as much as a number of the size of `low` or `high` is rounded.
    """
    return -((-x.maximum(low)).maximum(-high))


def sigmoid(x):
    """1 / (1 + exp(-x)), elementwise, without overflow in the value or on the way to it."""
    opposite = -x
    below = -opposite.maximum(0)  # x, or 0 if that is less
    one, other = below.exp(), (opposite + below).exp()
    return one / (one + other)


def tanh(x):
    """The hyperbolic tangent, elementwise, between -1 and 1."""
    return 2 * sigmoid(2 * x) - 1


def gelu(x):
    """x times (nearly) the probability that a standard normal number is below x, elementwise.

    The tanh form of Hendrycks and Gimpel, 2016 (arXiv:1606.08415), in half the operations.
    """
    scale = math.sqrt(8 / math.pi)
    return x * sigmoid(x * (scale + scale * 0.044715 * (x * x)))


def softmax(x, axis=-1):
    """Shares along `axis`: exp(x) / sum(exp(x)), positive, adding up to 1. The shape of `x`.

    The maximum that is subtracted, one along `axis`, cancels: it may come from `x.data`.
    """
    shifted = x - x.data.max(axis, keepdims=True)  # cancels: no slope has to come through it
    e = shifted.exp()
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    """The logarithm of softmax along `axis`, finite for all finite `x`. The shape of `x`."""
    shifted = x - x.data.max(axis, keepdims=True)
    return shifted - shifted.exp().sum(axis, keepdims=True).log()
