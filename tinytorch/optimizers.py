"""Optimizers: which way a parameter goes when its gradient is known, and how far.

Exported from source/06_optimizers/06_optimizers.ipynb by `proctor export`; edit the notebook.
"""

import math

import numpy as np

__all__ = ["Adam", "AdamW", "SGD", "cosine_schedule"]


class Optimizer:
    """What all optimizers share. A subclass has `update(value, grad, state)`: a new value.

    params: Tensors, which are marked. lr: the rate; it may be changed between steps. t: the number
    of steps so far. state: a dict of arrays for each parameter, by its place in `params`. Nothing
    else is remembered: another optimizer that is given state and t goes on as this one would.
    """

    def __init__(self, params, lr):
        self.params, self.lr, self.t = list(params), lr, 0
        self.state = [{} for _ in self.params]
        for p in self.params:
            p.requires_grad = True

    def zero_grad(self):
        """Forget all gradients: each is None again."""
        for p in self.params:
            p.grad = None

    def step(self):
        """Take one step: each parameter that has a gradient gets a new array."""
        self.t += 1
        for p, state in zip(self.params, self.state):
            if p.grad is not None:
                p.data = np.array(self.update(p.data, p.grad, state), p.dtype)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak, 1964); decay is added to the gradient."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0):
        super().__init__(params, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def update(self, value, grad, state):
        """Where a parameter goes; `state` keeps its velocity."""
        grad = grad + self.weight_decay * value
        state["velocity"] = self.momentum * state.get("velocity", 0) + grad
        return value - self.lr * state["velocity"]


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015); decay is added to the gradient."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, value, grad, state):
        """Where a parameter goes; `state` keeps the means of its gradient and of its square."""
        beta1, beta2 = self.betas
        grad = grad + self.weight_decay * value
        state["mean"] = beta1 * state.get("mean", 0) + (1 - beta1) * grad
        state["square"] = beta2 * state.get("square", 0) + (1 - beta2) * grad**2
        mean = state["mean"] / (1 - beta1**self.t)
        square = state["square"] / (1 - beta2**self.t)
        return value - self.lr * mean / (square**0.5 + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): lr * weight_decay * value."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps)
        self.decay = weight_decay

    def update(self, value, grad, state):
        """Where a parameter goes; `state` as in Adam."""
        return super().update(value, grad, state) - self.lr * self.decay * value


def cosine_schedule(step, total, peak, warmup=0, floor=0.0):
    """The rate for a step: a linear climb, then half a cosine (Loshchilov and Hutter, 2017).

    step: from 0. `peak` is reached after `warmup` steps, `floor` at `step = total`; it stays there.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / (total - warmup), 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2
