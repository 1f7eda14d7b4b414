"""Training: the loop around model, loss and optimizer, and checkpoints from which it goes on.

Exported from source/07_training/07_training.ipynb by `proctor export`; edit the notebook.
"""

import json
import os

import numpy as np

from tinytorch import Module, no_grad

__all__ = ["Trainer", "clip_grad_norm", "load_checkpoint", "save_checkpoint"]


def clip_grad_norm(params, limit):
    """Scale all gradients together, if need be, so that their norm is at most `limit`.

    params: a list of Tensors. Returns the norm before, a float: the root of the sum of all squares.
    (R. Pascanu and others, "On the difficulty of training recurrent neural networks", 2013.)
    """
    marked = [p for p in params if p.grad is not None]
    norm = float(sum((p.grad.astype(np.float64) ** 2).sum() for p in marked) ** 0.5)
    if norm > limit:
        for p in marked:
            p.grad = np.array(p.grad * (limit / norm), p.grad.dtype)
    return norm


def modules(module):
    """The module and all modules inside, each once, always in the same order."""
    found, rest = [], [module]
    while rest:
        each = rest.pop()
        if isinstance(each, (list, tuple)):
            rest += each
        elif isinstance(each, Module) and not any(each is one for one in found):
            found.append(each)
            rest += vars(each).values()
    return found


class Trainer:
    """Trains a model: `fit` takes steps, `evaluate` counts right answers.

    loss: a function of what the model returns and the targets. history: the loss of each step.
    """

    def __init__(self, model, loss, optimizer):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.history = []

    def fit(self, batches, epochs, schedule=None, clip=None):
        """Walk `batches`, pairs of inputs and targets, once an epoch, a step each; return self.

        schedule: the rate as a function of the steps so far. clip: a limit for the gradients' norm.
        """
        self.model.train()
        for _ in range(epochs):
            for x, targets in batches:
                if schedule is not None:
                    self.optimizer.lr = schedule(self.optimizer.t)
                self.optimizer.zero_grad()
                loss = self.loss(self.model(x), targets)
                loss.backward()
                if clip is not None:
                    clip_grad_norm(self.optimizer.params, clip)
                self.optimizer.step()
                self.history.append(float(loss.data))
        return self

    def evaluate(self, batches):
        """The share of examples that the model, in the mode for use, gives to the right class."""
        modes = [(each, each.training) for each in modules(self.model)]
        self.model.eval()
        hits = []
        with no_grad():
            for x, targets in batches:
                hits.append(np.ravel(self.model(x).data.argmax(-1) == np.asarray(targets)))
        for each, mode in modes:
            each.training = mode
        return float(np.concatenate(hits).mean())


def layout(model, optimizer):
    """A text that is the same for two runs if one can go on from the other's checkpoint."""
    values = [value for each in modules(model) for value in vars(each).values()]
    drawn = [value.bit_generator for value in values if isinstance(value, np.random.Generator)]
    kinds = [type(each).__name__ for each in (*modules(model), optimizer, *drawn)]
    return repr((kinds, [p.shape for p in (*model.parameters(), *optimizer.params)]))


def pack(model, optimizer):
    """All that the next step depends on, as one dictionary of arrays, texts and numbers."""
    packed = {"layout": layout(model, optimizer), "t": optimizer.t, "lr": optimizer.lr}
    for place, p in enumerate(model.parameters()):
        packed[f"parameter.{place}.data"] = p.data
    for place, module in enumerate(modules(model)):
        for name, value in vars(module).items():
            if isinstance(value, np.ndarray):
                packed[f"array.{place}.{name}"] = value
            elif isinstance(value, np.random.Generator):
                packed[f"generator.{place}.{name}"] = json.dumps(value.bit_generator.state)
    for place, memory in enumerate(optimizer.state):
        packed |= {f"state.{place}.{name}": value for name, value in memory.items()}
    return packed


def save_checkpoint(path, model, optimizer):
    """Write a run to the file `path`, a NumPy archive without pickles: whole or not at all."""
    packed = pack(model, optimizer)
    with open(f"{path}.partial", "wb") as file:
        np.savez(file, **packed)
    os.replace(f"{path}.partial", path)


def read(path):
    """All arrays of an archive, by name; ValueError if it is damaged or none."""
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if wrong := archive.zip.testzip():
                raise ValueError(f"the checksum of {wrong} is wrong")
            return {name: archive[name] for name in archive.files}
        except Exception as error:  # of zipfile, zlib, NumPy: each has its own
            raise ValueError(f"{path} is damaged, or no checkpoint: {error}") from error


def load_checkpoint(path, model, optimizer):
    """Give model and optimizer what `save_checkpoint` wrote; they must be made as they were then.

    Raises ValueError, and changes nothing, if the file is damaged or another model's.
    """
    saved = read(path)
    if str(saved.pop("layout", "")) != layout(model, optimizer):
        raise ValueError(f"{path} is the checkpoint of another model or optimizer")
    optimizer.t, optimizer.lr = int(saved.pop("t")), float(saved.pop("lr"))
    optimizer.state = [{} for _ in optimizer.params]
    owners = {"parameter": model.parameters(), "array": modules(model), "generator": modules(model)}
    for key, value in saved.items():
        kind, _, rest = key.partition(".")
        place, _, name = rest.partition(".")
        if kind == "state":
            optimizer.state[int(place)][name] = value
        elif kind == "generator":
            getattr(owners[kind][int(place)], name).bit_generator.state = json.loads(str(value))
        else:
            setattr(owners[kind][int(place)], name, value)
