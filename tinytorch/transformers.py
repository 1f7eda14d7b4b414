"""Transformers: LayerNorm, blocks, a GPT, and how it writes.

Exported from source/13_transformers/13_transformers.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import (
    Dropout,
    Embedding,
    Linear,
    Module,
    MultiHeadAttention,
    PositionalEmbedding,
    Sequential,
    Tensor,
    causal_mask,
    cross_entropy,
    gelu,
    no_grad,
    softmax,
)
from tinytorch.training import modules

__all__ = ["GPT", "LayerNorm", "TransformerBlock", "generate", "next_token_loss"]


class LayerNorm(Module):
    """Each row to mean 0 and variance 1, then times weight plus bias (Ba and others, 2016).

    weight: ones, bias: zeros, Tensors (dim,) in float32. eps is added to the variance.
    """

    def __init__(self, dim, eps=1e-5):
        self.weight = Tensor(np.ones(dim, dtype=np.float32))
        self.bias = Tensor(np.zeros(dim, dtype=np.float32))
        self.eps = eps

    def forward(self, x):
        """x: a Tensor (..., dim). Returns its shape."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * (variance + self.eps) ** -0.5 * self.weight + self.bias


class TransformerBlock(Module):
    """Attention and an MLP, each after a LayerNorm, each added to x (pre-norm, as in GPT-2).

    norm1, attention, norm2, mlp: its parts; the MLP is 4 * dim wide, with gelu.
    """

    def __init__(self, dim, heads, rng=None, dropout=0.0):
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, rng)
        wide, back = Linear(dim, 4 * dim, rng=rng), Linear(4 * dim, dim, rng=rng)
        self.mlp = Sequential(wide, gelu, back)
        self.dropout = Dropout(dropout, rng)

    def forward(self, x, mask=None):
        """x: a Tensor (B, T, dim), mask: as in attention. Returns (B, T, dim)."""
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(Module):
    """A decoder-only transformer with learned positions and a tied head (GPT-2's form).

    context: the most tokens that it sees at once. token, position, blocks, norm: its parts.
    """

    def __init__(self, vocab, context, dim, heads, layers, rng=None, dropout=0.0):
        self.context = context
        self.token = Embedding(vocab, dim, rng)
        self.position = PositionalEmbedding(context, dim, rng)
        for table in (self.token, self.position):
            table.weight.data *= 0.1
        self.blocks = [TransformerBlock(dim, heads, rng, dropout) for _ in range(layers)]
        self.norm = LayerNorm(dim)

    def forward(self, ids):
        """ids: integers (B, T), T at most context, else ValueError. Returns (B, T, vocab)."""
        x = self.position(self.token(ids))
        mask = causal_mask(x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x) @ self.token.weight.T


def generate(model, ids, count, temperature=1.0, rng=None):
    """The prompt `ids` and `count` tokens that the model adds to it, a list of ints.

    model: ids (1, T) -> logits (1, T, vocab), T up to model.context. temperature: 0 takes the
    likeliest token each time. rng: a NumPy generator, None makes a fresh one.
    """
    rng = np.random.default_rng() if rng is None else rng
    ids, modes = [int(i) for i in ids], [(each, each.training) for each in modules(model)]
    model.eval()
    with no_grad():
        for _ in range(count):
            logits = model([ids[-model.context :]]).data[0, -1]
            if temperature == 0:
                ids.append(int(logits.argmax()))
            else:
                shares = softmax(Tensor(logits / temperature)).data
                ids.append(int(rng.choice(len(shares), p=shares)))
    for each, mode in modes:
        each.training = mode
    return ids


def next_token_loss(logits, targets):
    """Mean cross-entropy of the last K places: logits (B, T, V), targets (B, K), K at most T."""
    targets = np.asarray(targets)
    last = logits[:, -targets.shape[1] :]
    return cross_entropy(last.reshape(-1, logits.shape[-1]), targets.ravel())
