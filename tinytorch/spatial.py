"""Spatial layers: convolution, pooling and normalisation of pictures, from one new operation.

Exported from source/09_spatial/09_spatial.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Module, Tensor, operation

__all__ = ["AvgPool2d", "BatchNorm2d", "Conv2d", "Flatten", "MaxPool2d", "windows"]


def windows(x, size, stride=1, padding=0):
    """All windows of pictures: Tensor (N, C, H, W) to Tensor (N, C, size, size, OH, OW).

    Entry [n, c, a, b, i, j] is that of `x`, with `padding` zeros around, in row stride * i + a and
    column stride * j + b. With the numbers of a window on two axes, a convolution is one product.
    """
    n, c, h, w = x.shape
    whole = np.zeros((n, c, h + 2 * padding, w + 2 * padding), x.dtype)
    whole[:, :, padding : padding + h, padding : padding + w] = x.data
    rows, columns = ((length - size) // stride + 1 for length in whole.shape[2:])
    down, right = whole.strides[2:]
    strides = *whole.strides, stride * down, stride * right
    shape = n, c, size, size, rows, columns
    return Tensor(np.ndarray(shape, x.dtype, whole, strides=strides))


def windows_vjp(g, out, x, size, stride=1, padding=0):
    """The rule of `windows`: each pixel gets the gradients of all its places, summed.

    What it returns has the dtype of x; `g` stays as it was.
    """
    n, c, h, w = x.shape
    whole = np.zeros((n, c, h + 2 * padding, w + 2 * padding), x.dtype)
    rows, columns = (stride * length for length in out.shape[-2:])
    for a, b in np.ndindex(size, size):
        whole[:, :, a : a + rows : stride, b : b + columns : stride] += g[:, :, a, b]
    return (whole[:, :, padding : padding + h, padding : padding + w],)


windows = operation(windows_vjp)(windows)


class Conv2d(Module):
    """A convolution: Tensor (N, in_channels, H, W) to Tensor (N, out_channels, OH, OW).

    weight: (out_channels, in_channels, k, k) with k = kernel_size, uniform in ±1/sqrt(in_channels *
    k * k), from `rng` (None: a generator of its own). bias: zeros, or None with bias=False. OH is
    (H + 2 * padding - k) // stride + 1, and OW likewise. (Y. LeCun and others, 1989.)
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, rng=None
    ):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        rng = np.random.default_rng() if rng is None else rng
        shape = out_channels, in_channels, kernel_size, kernel_size
        bound = (in_channels * kernel_size**2) ** -0.5
        self.weight = Tensor(rng.uniform(-bound, bound, shape).astype(np.float32))
        self.bias = Tensor(np.zeros((out_channels, 1), np.float32)) if bias else None

    def forward(self, x):
        """x: Tensor (N, in_channels, H, W). Returns a Tensor (N, out_channels, OH, OW)."""
        patches = windows(x, self.kernel_size, self.stride, self.padding)
        n, c, k, _, rows, columns = patches.shape
        out = self.weight.shape[0]
        weight = self.weight.reshape(out, c * k * k)
        y = weight @ patches.reshape(n, c * k * k, rows * columns)
        y = y if self.bias is None else y + self.bias
        return y.reshape(n, out, rows, columns)


class Pool2d(Module):
    """What both kinds of pooling share; stride=None: as far as a window is wide."""

    def __init__(self, kernel_size, stride=None):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride


class MaxPool2d(Pool2d):
    """The largest number of each window: Tensor (N, C, H, W) to Tensor (N, C, OH, OW)."""

    def forward(self, x):
        return windows(x, self.kernel_size, self.stride).max(3).max(2)


class AvgPool2d(Pool2d):
    """The mean of each window: Tensor (N, C, H, W) to Tensor (N, C, OH, OW)."""

    def forward(self, x):
        return windows(x, self.kernel_size, self.stride).mean((2, 3))


class Flatten(Module):
    """All axes but the first become one: Tensor (N, ...) to Tensor (N, the product of the rest)."""

    def forward(self, x):
        return x.reshape(x.shape[0], -1)


class BatchNorm2d(Module):
    """Each channel with mean 0 and variance 1, times weight, plus bias. (Ioffe and Szegedy, 2015.)

    In training by the batch's own mean and variance; running_mean and running_var follow them by
    `momentum`, the latter unbiased, and are what counts in the mode for use. A batch has more than
    one number a channel.
    """

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        self.momentum, self.eps = momentum, eps
        shape, dtype = (channels, 1, 1), np.float32  # meets (N, C, H, W) at its channels
        self.weight, self.bias = Tensor(np.ones(shape, dtype)), Tensor(np.zeros(shape, dtype))
        self.running_mean, self.running_var = np.zeros(shape, dtype), np.ones(shape, dtype)

    def forward(self, x):
        """x: Tensor (N, channels, H, W). Returns a Tensor of its shape."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = x.mean((0, 2, 3), keepdims=True)
            var = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
            m, old = x.size // mean.size, 1 - self.momentum
            news = self.momentum * mean.data[0], self.momentum * m / (m - 1) * var.data[0]
            self.running_mean = (old * self.running_mean + news[0]).astype(np.float32)
            self.running_var = (old * self.running_var + news[1]).astype(np.float32)
        return (x - mean) / (var + self.eps) ** 0.5 * self.weight + self.bias
