"""Weights of a GPT of 13, by the names of its parts: drawn here, put into any model of that form.

Parts go by the names that 12 and 13 fix, those of an MLP by their shapes, so that a model is known
whose attributes stand in another order. `PLACE` is source for drivers: `place(model, weights)`.
"""

import numpy as np

PLACE = '''
def parts(model):
    """The parameters of a GPT by name."""
    found = {"token": model.token.weight, "position": model.position.weight}
    for number, block in enumerate(model.blocks):
        owners = {name: getattr(block, name) for name in ("norm1", "norm2")}
        owners |= {name: getattr(block.attention, name) for name in ("q", "k", "v", "out")}
        for name, owner in owners.items():
            found |= {f"{number}.{name}.weight": owner.weight, f"{number}.{name}.bias": owner.bias}
        found |= {f"{number}.mlp.{p.shape}": p for p in block.mlp.parameters()}
    return found | {"norm.weight": model.norm.weight, "norm.bias": model.norm.bias}


def place(model, weights):
    for name, p in parts(model).items():
        p.data = np.array(weights[name])
    return model
'''


def shapes(vocab, context, dim, layers):
    """The shape of each part of `GPT(vocab, context, dim, heads, layers)`."""
    found = {"token": (vocab, dim), "position": (context, dim)}
    for number in range(layers):
        for name in ("norm1", "norm2"):
            found |= {f"{number}.{name}.weight": (dim,), f"{number}.{name}.bias": (dim,)}
        for name in ("q", "k", "v", "out"):
            found |= {f"{number}.{name}.weight": (dim, dim), f"{number}.{name}.bias": (dim,)}
        for shape in ((dim, 4 * dim), (4 * dim,), (4 * dim, dim), (dim,)):
            found[f"{number}.mlp.{shape}"] = shape
    return found | {"norm.weight": (dim,), "norm.bias": (dim,)}


def drawn(rng, size, dtype=np.float64):
    """Weights for a size (vocab, context, dim, heads, layers) that make every part count."""
    vocab, context, dim, _, layers = size
    found = {}
    for name, shape in shapes(vocab, context, dim, layers).items():
        found[name] = rng.normal(size=shape) * (0.5 if "." not in name else shape[0] ** -0.5)
        if "norm" in name and name.endswith("weight"):
            found[name] = 1 + 0.3 * found[name]
    return {name: value.astype(dtype) for name, value in found.items()}


def placed(reference, size, weights):
    """The reference's GPT with these weights, in use."""
    exec(PLACE, names := {"np": np})
    return names["place"](reference.GPT(*size), weights).eval()
