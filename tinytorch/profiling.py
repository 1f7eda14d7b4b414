"""Profiling: what a model counts, and where its time goes.

Exported from source/15_profiling/15_profiling.ipynb by `proctor export`; edit the notebook.
"""

from time import perf_counter

import numpy as np

from tinytorch import Tensor

__all__ = ["count_flops", "count_pages", "count_parameters", "profile", "watch"]


def count_parameters(model):
    """How many numbers a Module learns; a parameter that is used twice counts once."""
    return sum(p.size for p in model.parameters())


def telling(name, operation, tell):
    """A method as `operation`, which also calls tell(name, seconds, result, args)."""

    def told(*args, **kwargs):
        start = perf_counter()
        result = operation(*args, **kwargs)
        tell(name, perf_counter() - start, result, args)
        return result

    return told


OPERATIONS = (
    *("__add__", "__mul__", "__truediv__", "__pow__", "__matmul__", "__getitem__"),
    *("exp", "log", "maximum", "sum", "max", "reshape", "transpose"),
)


class watch:
    """Inside `with watch(tell):` each operation calls tell(name, seconds, result, args)."""

    def __init__(self, tell):
        self.tell = tell

    def __enter__(self):
        self.held = {name: vars(Tensor).get(name) for name in OPERATIONS}
        for name in OPERATIONS:
            setattr(Tensor, name, telling(name, getattr(Tensor, name), self.tell))

    def __exit__(self, *error):
        for name, method in self.held.items():
            if method is None:
                delattr(Tensor, name)
            else:
                setattr(Tensor, name, method)


def count_flops(f, *inputs):
    """Floating-point operations of all @ in f(*inputs): two for each multiply-add."""
    counts = []

    def tell(name, seconds, result, args):
        if name == "__matmul__":
            counts.append(2 * result.size * args[0].shape[-1])

    with watch(tell):
        f(*inputs)
    return sum(counts)


def profile(f, *inputs):
    """What f(*inputs) spends, by operation: calls, seconds, bytes of results; longest first."""
    table = {}

    def tell(name, seconds, result, args):
        row = table.setdefault(name, {"calls": 0, "seconds": 0.0, "bytes": 0})
        row["calls"] += 1
        row["seconds"] += seconds
        row["bytes"] += result.data.nbytes

    with watch(tell):
        f(*inputs)
    return dict(sorted(table.items(), key=lambda item: -item[1]["seconds"]))


def count_pages(f, *inputs, smallest=131072):
    """Pages of 4096 bytes in the results of f(*inputs), but for small ones and views."""
    pages = []

    def tell(name, seconds, result, args):
        size, arrays = result.data.nbytes, (result.data, args[0].data)
        if size >= smallest and not np.shares_memory(*arrays):
            pages.append(-(-size // 4096))

    with watch(tell):
        f(*inputs)
    return sum(pages)
