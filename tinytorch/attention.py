"""Attention: each place looks at others, and takes the mean of what it finds there.

Exported from source/12_attention/12_attention.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Linear, Module, Tensor, softmax

__all__ = [
    "MultiHeadAttention",
    "attention_map",
    "causal_mask",
    "scaled_dot_product_attention",
]


def scaled_dot_product_attention(q, k, v, mask=None):
    """softmax(q @ k^T / sqrt(d) + mask) @ v over the last two axes (Vaswani et al., 2017).

    q: (..., T, d), k: (..., S, d), v: (..., S, e), Tensors. mask: an array that broadcasts to
    (..., T, S), 0 where a place may look, -inf where not. Returns (..., T, e) in the
    dtype of q.
    """
    swapped = k.transpose(*range(k.ndim - 2), -1, -2)
    scores = (q * q.shape[-1] ** -0.5) @ swapped
    if mask is not None:
        scores = scores + mask
    return softmax(scores) @ v


def causal_mask(length):
    """An array (length, length) in float32: 0 where a place may look, -inf where it may not.

    Row t is what place t may look at: itself, and what came before.
    """
    places = np.arange(length)
    return np.where(places <= places[:, None], 0, -np.inf).astype(np.float32)


def split(x, heads):
    """(B, T, dim) to (B, heads, T, dim / heads): head h gets the columns from h * dim / heads."""
    batch, length, dim = x.shape
    return x.reshape(batch, length, heads, dim // heads).transpose(0, 2, 1, 3)


def join(x):
    """(B, heads, T, dim / heads) to (B, T, dim): undoes `split`."""
    batch, heads, length, each = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * each)


class MultiHeadAttention(Module):
    """`heads` attentions side by side, each on dim / heads columns of its own.

    q, k, v, out: Linear(dim, dim) with biases. Raises ValueError if dim is no multiple of heads.
    """

    def __init__(self, dim, heads, rng=None):
        if dim % heads:
            raise ValueError(f"{dim} columns cannot be dealt out to {heads} heads")
        self.heads = heads
        self.q = Linear(dim, dim, rng=rng)
        self.k = Linear(dim, dim, rng=rng)
        self.v = Linear(dim, dim, rng=rng)
        self.out = Linear(dim, dim, rng=rng)

    def forward(self, x, mask=None):
        """x: a Tensor (B, T, dim). mask: as in attention, for scores (B, heads, T, T)."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        return self.out(join(scaled_dot_product_attention(q, k, v, mask)))


def attention_map(attention, x, mask=None):
    """Where each head looks: an array (B, heads, T, T) whose rows add up to 1.

    attention: a MultiHeadAttention. x: (B, T, dim). mask: None or (T, T).
    """
    q, k, maps = attention.q(x), attention.k(x), []
    itself = Tensor(np.eye(x.shape[1], dtype=x.dtype))  # as values: what is found is where it was
    for head in range(attention.heads):
        columns = np.arange(x.shape[2]).reshape(attention.heads, -1)[head]
        found = scaled_dot_product_attention(q[..., columns], k[..., columns], itself, mask)
        maps.append(found.data)
    return np.stack(maps, axis=1)
