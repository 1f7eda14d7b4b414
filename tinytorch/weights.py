"""Weights: what a model has learned, in a file that any equally built model can read.

Exported from source/09_spatial/weights.ipynb by `proctor export`; edit the notebook.
"""

import os
from collections import Counter

import numpy as np

from tinytorch import Module, Tensor

__all__ = ["load_weights", "save_weights"]

NUMBERS = "fiub"  # NumPy's kinds of floats, integers and booleans


def leaves(value, name):
    """Yield what lists and tuples hold, from however deep, each with its name."""
    if isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from leaves(item, f"{name}.{place}")
    else:
        yield name, value


def modules_by_name(model):
    """The model and all modules inside, each once: `Linear.1` is the second Linear met."""
    found, seen, count, stack = {}, set(), Counter(), [model]
    while stack:
        module = stack.pop()
        if id(module) not in seen:
            seen.add(id(module))
            kind = type(module).__name__
            found[f"{kind}.{count[kind]}"] = module
            count[kind] += 1
            attributes = [value for _, value in sorted(vars(module).items())]
            inside = [value for _, value in leaves(attributes, "")]
            stack += [value for value in reversed(inside) if isinstance(value, Module)]
    return found


def weights_by_name(modules):
    """The Tensors, each once, and the modules' NumPy arrays (such as running means), by name."""
    found, seen = {}, set()
    for place, module in modules.items():
        for attribute, value in sorted(vars(module).items()):
            if isinstance(value, np.ndarray) and value.dtype.kind in NUMBERS:
                found[f"{place}.{attribute}"] = value
            for name, leaf in leaves(value, f"{place}.{attribute}"):
                if isinstance(leaf, Tensor) and id(leaf) not in seen:
                    seen.add(id(leaf))
                    found[name] = leaf
    return found


def save_weights(path, model):
    """Write the parameters and arrays of `model` to the file `path`, whole or not at all.

    The file is a NumPy archive without pickles, an array per Tensor or NumPy array of a module.
    """
    weights = weights_by_name(modules_by_name(model))
    arrays = {n: w.data if isinstance(w, Tensor) else w for n, w in weights.items()}
    partial = f"{path}.partial"
    try:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def read_arrays(path):
    """All arrays of an archive, by name; ValueError if it is damaged or none."""
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if wrong := archive.zip.testzip():
                raise ValueError(f"the checksum of {wrong} is wrong")
            return {name: archive[name] for name in archive.files}
        except Exception as error:  # of zipfile, zlib, NumPy: each has its own
            raise ValueError(f"{path} is damaged, or holds no weights: {error}") from error


def plain(shape):
    """A shape without axes of length 1: a bias of shape (8,) is one of shape (8, 1), too."""
    return tuple(length for length in shape if length != 1)


def load_weights(path, model):
    """Give `model` what `save_weights` wrote; it must be built as the one that was saved.

    Each parameter keeps its shape and dtype. Raises ValueError, and changes nothing, if the file is
    damaged or another model's. An array that only one of them has is no reason.
    """
    saved, modules = read_arrays(path), modules_by_name(model)
    weights = weights_by_name(modules)
    for name in sorted(weights.keys() | saved.keys()):
        place, attribute = ".".join(name.split(".")[:2]), name.split(".")[2:]
        if name not in saved and isinstance(weights[name], Tensor):
            raise ValueError(f"{path} is of another model: it has no {name}, and this one has")
        if name in weights and name in saved:
            if plain(saved[name].shape) != plain(weights[name].shape):
                shapes = f"{saved[name].shape} there and {weights[name].shape} here"
                raise ValueError(f"{path} is of another model: {name} is {shapes}")
            if saved[name].dtype.kind not in NUMBERS:
                raise ValueError(f"{path} holds no weights: {name} is of {saved[name].dtype}")
        elif name in saved and (
            place not in modules
            or len(attribute) != 1
            or getattr(modules[place], *attribute, None) is not None
        ):
            raise ValueError(f"{path} is of another model: it has {name}, and this one has not")
    for name, array in saved.items():
        if isinstance(weights.get(name), Tensor):
            tensor = weights[name]
            tensor.data = array.reshape(tensor.shape).astype(tensor.dtype)
        else:
            place, _, attribute = name.rpartition(".")
            shape = weights[name].shape if name in weights else array.shape
            setattr(modules[place], attribute, array.reshape(shape))
