"""KV caching: a GPT that reads each token once.

Exported from source/14_kvcaching/14_kvcaching.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import (
    GPT,
    MultiHeadAttention,
    Tensor,
    no_grad,
    scaled_dot_product_attention,
    softmax,
)
from tinytorch.training import modules

__all__ = ["KVCache", "disable_cache", "enable_cache"]


class KVCache:
    """The keys and values of one text, or of a batch of texts, for each attention of a model.

    context: how many tokens fit. length: how many are in it.
    """

    def __init__(self, context):
        self.context, self.length = context, 0
        self.kept = {}

    def extend(self, attention, k, v):
        """Keep k and v, (B, heads, new, d), after the first `length` tokens of `attention`.

        Returns all keys and all values, Tensors (B, heads, length + new, d). `length` stays.
        """
        batch, heads, new, d = k.shape
        if attention not in self.kept:
            shape = batch, heads, self.context, d
            self.kept[attention] = np.empty(shape, k.dtype), np.empty(shape, v.dtype)
        end = self.length + new
        for room, each in zip(self.kept[attention], (k, v)):
            room[:, :, self.length : end] = each.data
        keys, values = self.kept[attention]
        return Tensor(keys[:, :, :end]), Tensor(values[:, :, :end])


def late_mask(start, new):
    """The last `new` rows of `causal_mask(start + new)`, float32: (new, start + new)."""
    places, last = np.arange(start + new), start + np.arange(new)[:, None]
    return np.where(places <= last, 0, -np.inf).astype(np.float32)


active = [None]  # the last one is the cache in use


class using:
    """Inside `with using(cache):` attention remembers; afterwards as before, also after errors."""

    def __init__(self, cache):
        self.cache = cache

    def __enter__(self):
        active.append(self.cache)

    def __exit__(self, *error):
        active.pop()


def split(x, heads):
    """(B, T, dim) to (B, heads, T, dim / heads)."""
    batch, length, dim = x.shape
    return x.reshape(batch, length, heads, dim // heads).transpose(0, 2, 1, 3)


def join(x):
    """(B, heads, T, dim / heads) to (B, T, dim): undoes `split`."""
    batch, heads, length, each = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * each)


def attention_with_cache(forward):
    """A `forward` for MultiHeadAttention that looks at what the cache in use holds, too.

    forward: the plain one, which answers when no cache is in use.
    """

    def remembering(self, x, mask=None):
        """x: (B, new, dim). mask: for scores (B, heads, new, all). Returns (B, new, dim)."""
        cache = active[-1]
        if cache is None:
            return forward(self, x, mask)
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        k, v = cache.extend(self, k, v)
        return self.out(join(scaled_dot_product_attention(q, k, v, mask)))

    return remembering


def model_with_cache(forward):
    """A `forward` for GPT that takes a cache: ids are then the new tokens only.

    forward: the plain one, which answers without a cache.
    """

    def forward_on(self, ids, cache=None):
        """ids: integers (B, new). Returns (B, new, vocab). ValueError if they do not fit."""
        if cache is None:
            return forward(self, ids)
        start, new = cache.length, np.shape(ids)[1]
        fits = min(self.context, cache.context)
        if start + new > fits:
            raise ValueError(f"{new} tokens after {start} others: only {fits} fit in all")
        x = self.token(ids) + self.position.weight[start : start + new]
        mask = late_mask(start, new)
        with using(cache):
            for block in self.blocks:
                x = block(x, mask)
        cache.length = start + new
        return self.norm(x) @ self.token.weight.T

    return forward_on


def enable_cache():
    """Upgrade MultiHeadAttention and GPT, for models old and new. Calling it again does no harm."""
    disable_cache()
    for kind, upgrade in ((MultiHeadAttention, attention_with_cache), (GPT, model_with_cache)):
        kind._plain = kind.forward
        kind.forward = upgrade(kind.forward)


def disable_cache():
    """Give both classes back as 12 and 13 wrote them; does nothing if they are plain."""
    for kind in (MultiHeadAttention, GPT):
        if "_plain" in vars(kind):
            kind.forward = kind._plain
            del kind._plain


def choice(logits, temperature, rng):
    """A token by its logits, an array (vocab,): the likeliest at temperature 0, else drawn."""
    logits = logits.astype(np.float64)
    if temperature == 0:
        return int(logits.argmax())
    shares = softmax(Tensor(logits / temperature)).data
    return int(rng.choice(len(shares), p=shares))


def generate(model, ids, count, temperature=1.0, rng=None, cache=None):
    """The prompt `ids` and `count` tokens that the model adds to it, a list of ints.

    As 13's. With a cache, prompt and new tokens (but the last, which is not read) must fit into
    the context beside what the cache holds: else ValueError, and nothing is read.
    """
    if cache is not None:
        fits = min(model.context, cache.context) - cache.length
        if len(ids) + count - 1 > fits:
            raise ValueError(f"{len(ids)} tokens and {count} more: only {fits} can be read")
    rng = np.random.default_rng() if rng is None else rng
    ids, read, modes = [int(i) for i in ids], 0, [(each, each.training) for each in modules(model)]
    model.eval()
    with no_grad():
        for _ in range(count):
            new = [ids[-model.context :]] if cache is None else [ids[read:]]
            logits, read = model(new) if cache is None else model(new, cache=cache), len(ids)
            ids.append(choice(logits.data[0, -1], temperature, rng))
    for each, mode in modes:
        each.training = mode
    return ids
