"""05 · Three other ways to ask for a gradient

Exported from source/05_autograd/three_other_ways.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Tensor
from tinytorch.autograd import VJPS, unbroadcast

__all__ = ["GradTensor", "GradientTape", "grad", "value_and_grad"]


def spread(t, x, axis):
    """Give `t`, a reduction of `x` over `axis`, its lost axes back, with length 1."""
    lost = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    return t.reshape(tuple(1 if i in lost else n for i, n in enumerate(x.shape)))


def matmul_rule(g, y, a, b):
    b = b if isinstance(b, Tensor) else Tensor(b)
    left = a.reshape(1, -1) if a.ndim == 1 else a  # a 1-D operand is a row on the left
    right = b.reshape(-1, 1) if b.ndim == 1 else b  # and a column on the right
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    g = g.reshape(*batch, left.shape[-2], right.shape[-1])
    swapped = (*range(len(batch)), -1, -2)
    for_a = g @ right.transpose(*swapped[-right.ndim :] if right.ndim < g.ndim else swapped)
    for_b = left.transpose(*swapped[-left.ndim :] if left.ndim < g.ndim else swapped) @ g
    for_a, for_b = unbroadcast(for_a, left.shape), unbroadcast(for_b, right.shape)
    return for_a.reshape(a.shape), for_b.reshape(b.shape)


def maximum_rule(g, y, a, b):
    first = np.asarray(a.data > (b.data if isinstance(b, Tensor) else b)).astype(g.dtype)
    return g * first, g * (1 - first)  # who is larger is a constant: `.data` does no harm


def sum_rule(g, y, x, axis=None, keepdims=False):
    return (spread(g, x, axis) * np.ones(x.shape, x.dtype),)


def max_rule(g, y, x, axis=None, keepdims=False):
    won = x.data == spread(y, x, axis).data
    return (spread(g, x, axis) * (won / won.sum(axis, keepdims=True)).astype(x.dtype),)


def getitem_rule(g, y, x, index):
    """x[[0, 0, 2]] is `pick @ x`, with a matrix of zeros and ones: so its gradient is g @ pick."""
    places = np.arange(x.size).reshape(x.shape)[index].ravel()
    pick = np.zeros((places.size, x.size), x.dtype)
    pick[np.arange(places.size), places] = 1
    return ((g.reshape(-1) @ pick).reshape(x.shape),)


def transpose_rule(g, y, x, *axes):
    return (g.transpose(*np.argsort(np.ravel(axes) % x.ndim).tolist()),)


RULES = VJPS | {"__matmul__": matmul_rule, "__getitem__": getitem_rule, "maximum": maximum_rule}
RULES |= {"sum": sum_rule, "max": max_rule, "transpose": transpose_rule}
known = {id(getattr(Tensor, name)): rule for name, rule in RULES.items()}
aliases = {name: known.get(id(getattr(Tensor, name))) for name in dir(Tensor)}
RULES |= {name: rule for name, rule in aliases.items() if rule}  # as in `__radd__ = __add__`


def pull(records, target, seed=None):
    """Pull a gradient back from `target` through `records`, the last one first.

    `records` are (rule, result, arguments, options), in the order in which they were computed.
    `seed` is the gradient of `target`, ones by default. Returns {id(tensor): gradient, a Tensor}
    for the target and everything that it was computed from.
    """
    grads = {id(target): Tensor(np.ones_like(target.data) if seed is None else seed)}
    for rule, result, arguments, options in reversed(records):
        if id(result) in grads:
            gradients = rule(grads[id(result)], result, *arguments, **options)
            for t, g in zip(arguments, gradients):
                if isinstance(t, Tensor):
                    g = unbroadcast(g, t.shape)
                    grads[id(t)] = grads[id(t)] + g if id(t) in grads else g
    return grads


class GradTensor(Tensor):
    """A Tensor that remembers which operation made it.

    `requires_grad` marks a variable, whose gradient `backward` leaves in `grad` (a NumPy array of
    the shape and dtype of `data`, or None). `record` is (rule, arguments, options), and None for a
    variable.
    """

    def __init__(self, data, requires_grad=False):
        super().__init__(data)
        self.requires_grad, self.grad, self.record = requires_grad, None, None

    def history(self):
        """This tensor and all GradTensors behind it, arguments before results, each once."""
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            t, finished = stack.pop()
            if finished:
                order.append(t)
            elif isinstance(t, GradTensor) and id(t) not in seen:
                seen.add(id(t))
                stack.append((t, True))
                stack += [(a, False) for a in (t.record[1] if t.record else ())]
        return order

    def backward(self, grad=None):
        """Add the gradient of this tensor (of its sum, unless `grad` says more) to all `.grad`.

        Raises RuntimeError if no tensor behind this one was marked with `requires_grad=True`.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a tensor that no gradient flows to: "
                "make a tensor that it is computed from with GradTensor(data, requires_grad=True)."
            )
        order = self.history()
        twin = {id(t): Tensor(t.data) for t in order}  # plain: the way back is not recorded again
        records = [
            (rule, twin[id(t)], [twin.get(id(a), a) for a in arguments], options)
            for t in order
            if t.record
            for rule, arguments, options in [t.record]
        ]
        grads = pull(records, twin[id(self)], grad)
        for t in order:
            g = grads.get(id(twin[id(t)]))
            if t.requires_grad and t.record is None and g is not None:
                t.grad = np.array(g.data if t.grad is None else t.grad + g.data, t.dtype)


def boxed(forward, rule):
    """Wrap an operation of Tensor: its result is a GradTensor that remembers where it came from."""

    def op(*args, **kwargs):
        out = GradTensor(forward(*args, **kwargs))
        if any(isinstance(a, GradTensor) and a.requires_grad for a in args):
            out.requires_grad = True
            out.record = (rule, args, kwargs)
        return out

    return op


def reflected(name):
    """The operation for `other ∘ self`: `other` becomes a GradTensor, without a mark.

    Python asks the right operand first if its class derives from the left one's and has an
    `__radd__` of its own; an inherited one does not count.
    """

    def op(self, other):
        other = other if hasattr(other, "dtype") else np.asarray(other, self.dtype)
        return getattr(GradTensor(other), f"__{name}__")(self)

    return op


for name, rule in RULES.items():
    setattr(GradTensor, name, boxed(getattr(Tensor, name), rule))
for name in ("add", "sub", "mul", "truediv", "matmul"):
    setattr(GradTensor, f"__r{name}__", reflected(name))


OPEN, METHODS = [], {}  # the tapes that are open, and Tensor's own methods while one is


def taped(forward, rule):
    """Wrap an operation of Tensor: every open tape that watches an argument records it."""

    def op(*args, **kwargs):
        out = forward(*args, **kwargs)
        for tape in OPEN:
            if any(id(a) in tape.watched for a in args):
                tape.watch(out)
                tape.records.append((rule, out, args, kwargs))
        return out

    return op


class GradientTape:
    """Records, while it is open (`with`), what is computed from the tensors that it watches."""

    def __init__(self):
        self.records, self.watched = [], {}

    def __enter__(self):
        if not OPEN:
            for name, rule in RULES.items():
                METHODS[name] = getattr(Tensor, name)
                setattr(Tensor, name, taped(METHODS[name], rule))
        OPEN.append(self)
        return self

    def __exit__(self, *error):
        OPEN.remove(self)
        if not OPEN:
            for name, method in METHODS.items():
                setattr(Tensor, name, method)

    def watch(self, tensor):
        """Record from now on what is computed from `tensor`."""
        self.watched[id(tensor)] = tensor

    def gradient(self, target, sources):
        """What `tape_gradient` gives. Raises ValueError if the target is not on this tape."""
        if id(target) not in self.watched:
            raise ValueError(
                "the target is not on this tape: nothing that it is computed from was watched, or "
                "an operation has no rule in RULES, so that the record ends there"
            )
        return tape_gradient(self, target, sources)


def on_tape(f, *inputs):
    """Run `f` on the inputs while a tape watches them: (the tape, the result)."""
    with GradientTape() as tape:
        for tensor in inputs:
            tape.watch(tensor)
        result = f(*inputs)
    return tape, result


def tape_gradient(tape, target, sources):
    """The gradient of `target` (of its sum) with respect to `sources`, by what `tape` recorded.

    `sources` is a Tensor, and a Tensor of its shape comes back, or a list or tuple of Tensors, and
    a list comes back in the same order. The gradient is None where the target does not depend on
    a source.
    """
    grads = pull(tape.records, target)
    if isinstance(sources, Tensor):
        return grads.get(id(sources))
    return [grads.get(id(source)) for source in sources]


def value_and_grad(f):
    """Make the function x -> (f(x), the gradient of f at x), of Tensors.

    The gradient has the shape and dtype of `x`, and is zero where `f` does not depend on `x`. If
    `f(x)` is many numbers, it is the gradient of their sum. The new function may itself be
    differentiated.
    """

    def both(x):
        x = x + 0  # a fresh variable: an outer grad sees it, but it is not the outer x
        with GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        g = pull(tape.records, y).get(id(x))
        return y, Tensor(np.zeros_like(x.data)) if g is None else g

    return both


def grad(f):
    """Make the function x -> the gradient of f at x, a Tensor. See `value_and_grad`."""
    return lambda x: value_and_grad(f)(x)[1]
