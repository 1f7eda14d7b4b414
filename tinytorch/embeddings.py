"""Embeddings: a row of learned numbers for each token, and one for each place.

Exported from source/11_embeddings/11_embeddings.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Module, Tensor

__all__ = ["Embedding", "PositionalEmbedding", "sinusoidal_positions"]


def table(count, dim, rng=None):
    """A parameter (count, dim), float32, normal, whose rows have a length of about 1.

    rng: a NumPy generator, None makes a fresh one.
    """
    rng = np.random.default_rng() if rng is None else rng
    return Tensor((rng.normal(size=(count, dim)) * dim**-0.5).astype(np.float32))


class Embedding(Module):
    """A table with a row for each of `count` tokens. weight: (count, dim), as `table` draws it."""

    def __init__(self, count, dim, rng=None):
        self.weight = table(count, dim, rng)

    def forward(self, ids):
        """ids: an integer array, or lists. Returns a Tensor (*ids, dim) of the table's dtype."""
        return self.weight[np.asarray(ids)]


def sinusoidal_positions(count, dim):
    """An array (count, dim) in float32, a row for each place (Vaswani et al., 2017).

    Column 2i holds sin(place / 10000 ** (2i / dim)), column 2i + 1 the cosine of the same.
    """
    columns = np.arange(dim)
    angles = np.arange(count)[:, None] * 10000 ** (-(columns // 2 * 2) / dim)
    return np.where(columns % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


class PositionalEmbedding(Module):
    """Adds to each place its own row of a learned table. weight: as `table` draws it."""

    def __init__(self, count, dim, rng=None):
        self.weight = table(count, dim, rng)

    def forward(self, x):
        """x: a Tensor (B, T, dim). Returns its shape. T > count raises ValueError."""
        count, length = len(self.weight.data), x.shape[-2]
        if length > count:
            raise ValueError(f"{length} places, but only {count} have a row")
        return x + self.weight[:length]
