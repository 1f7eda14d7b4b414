"""Layers: modules that hold parameters, and the three that every network starts with.

Exported from source/03_layers/03_layers.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Tensor

__all__ = ["Dropout", "Linear", "Module", "Sequential"]


def contents(value):
    """Yield what a list or tuple holds, from however deep; any other value is yielded itself."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from contents(item)
    else:
        yield value


class Module:
    """The base of all layers: a subclass sets Tensors and modules as attributes, defines `forward`.

    A Tensor attribute is a parameter; other state is NumPy. Lists and tuples are looked into,
    dictionaries are not. No module contains itself.
    """

    training = True

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def eval(self):
        """Set this module and all modules inside to the mode for use; return the module."""
        return self.train(False)

    def parameters(self):
        """Return a list of the Tensors of this module and of all modules inside, each once."""
        found = {}
        for value in contents(list(vars(self).values())):
            if isinstance(value, Tensor):
                found[id(value)] = value
            elif isinstance(value, Module):
                found.update((id(tensor), tensor) for tensor in value.parameters())
        return list(found.values())

    def train(self, mode=True):
        """Set this module and all modules inside to training mode; return the module."""
        self.training = mode
        for value in contents(list(vars(self).values())):
            if isinstance(value, Module):
                value.train(mode)
        return self


class Linear(Module):
    """y = x @ weight + bias.

    weight: float32, shape (in_features, out_features), uniform in ±1/sqrt(in_features), drawn from
    `rng` (a NumPy generator; None: one of its own). bias: float32 zeros of shape (out_features,),
    or None with bias=False.
    """

    def __init__(self, in_features, out_features, bias=True, rng=None):
        rng = np.random.default_rng() if rng is None else rng
        bound = in_features**-0.5
        weight = rng.uniform(-bound, bound, (in_features, out_features))
        self.weight = Tensor(weight.astype(np.float32))
        self.bias = Tensor(np.zeros(out_features, dtype=np.float32)) if bias else None

    def forward(self, x):
        """x: Tensor of shape (..., in_features). Returns a Tensor of shape (..., out_features)."""
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Dropout(Module):
    """While training, set each entry to 0 with probability p and divide the others by 1 - p.

    p: from 0 to 1. rng: a NumPy generator, None makes a fresh one. After `eval()` the layer is the
    identity. Srivastava et al., "Dropout", JMLR 15 (2014); the inverted form.
    """

    def __init__(self, p=0.5, rng=None):
        self.p = p
        self.rng = np.random.default_rng() if rng is None else rng

    def forward(self, x):
        """x: Tensor of any shape. Returns a Tensor of its shape and dtype."""
        if not self.training:
            return x
        if self.p == 1:
            return x * 0
        keep = self.rng.random(x.shape) >= self.p
        return x * (keep / (1 - self.p)).astype(x.dtype)


class Sequential(Module):
    """One layer after the other; a layer is a module or a function of one Tensor, such as relu."""

    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x):
        """x: whatever the first layer takes. Returns what the last one gives."""
        for layer in self.layers:
            x = layer(x)
        return x
