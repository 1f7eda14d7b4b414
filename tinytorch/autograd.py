"""05 · Autograd

Exported from source/05_autograd/05_autograd.ipynb by `proctor export`; edit the notebook.
"""

import functools

import numpy as np

from tinytorch import Tensor

__all__ = ["disable_gradients", "enable_gradients", "gradcheck", "no_grad", "operation"]


VJPS = {"__add__": lambda g, out, a, b: (g, g)}


VJPS["__mul__"] = lambda g, out, a, b: (g * b, g * a)
VJPS["__truediv__"] = lambda g, out, a, b: (part := g / b, -part * out)
VJPS["__pow__"] = lambda g, out, a, p: (g * p * a ** (p - 1 if p else 0),)
VJPS["exp"] = lambda g, out, a: (g * out,)
VJPS["log"] = lambda g, out, a: (g / a,)


def unbroadcast(g, shape):
    """Sum `g` over the axes that broadcasting added or stretched; the result has shape `shape`."""
    if g.shape == shape:  # nothing was broadcast
        return g
    padded = (1,) * (g.ndim - len(shape)) + shape
    return g.sum(axis=tuple(i for i, n in enumerate(padded) if n == 1)).reshape(shape)


def matmul_vjp(g, out, a, b):
    """The rule of `a @ b`, 1-D operands as in NumPy. The engine unbroadcasts what it returns."""
    A, B = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    g = np.expand_dims(g, (-2,) * (a.ndim == 1) + (-1,) * (b.ndim == 1))
    # one matrix under a batch gets one large product, not a sum of many
    for_a = np.tensordot(g, B, [(*range(g.ndim - 2), -1)] * 2) if A.ndim == 2 < g.ndim else g @ B.mT
    k, m = B.shape[-2:]
    for_b = A.reshape(-1, k).T @ g.reshape(-1, m) if B.ndim == 2 and B.size else A.mT @ g
    return for_a, for_b[:, 0] if b.ndim == 1 else for_b


VJPS["__matmul__"] = matmul_vjp


def put_back(g, axis, keepdims):
    """Give a reduced array its axis back, with length 1, so that it broadcasts with the input."""
    return g if axis is None or keepdims else np.expand_dims(g, axis)


def sum_vjp(g, out, x, axis=None, keepdims=False):
    """The rule of `x.sum(axis, keepdims)`: each entry gets the gradient of its sum."""
    return (np.broadcast_to(put_back(g, axis, keepdims), x.shape),)


def max_vjp(g, out, x, axis=None, keepdims=False):
    """The rule of `x.max(axis, keepdims)`: the gradient goes to the winners."""
    won = (x == put_back(out, axis, keepdims)).astype(x.dtype)
    return (put_back(g, axis, keepdims) * won / won.sum(axis=axis, keepdims=True),)


VJPS |= {"sum": sum_vjp, "max": max_vjp}
# one line more: the rule of maximum
VJPS["maximum"] = lambda g, out, a, b: (g * (a > b), g * (a <= b))


def transpose_vjp(g, out, x, *axes):
    """The rule of `x.transpose(*axes)`: the inverse permutation."""
    return (g.transpose(*np.argsort(np.ravel(axes) % x.ndim)),)  # no axes: reversed, as x was


def getitem_vjp(g, out, x, index):
    """The rule of `x[index]`: each gradient goes back to its place, repeated places add up."""
    gradient, places = np.zeros(x.size, x.dtype), np.arange(x.size).reshape(x.shape)[index]
    np.add.at(gradient, np.ravel(places), np.ravel(g))  # several times as fast as on more axes
    return (gradient.reshape(x.shape),)


VJPS |= {"transpose": transpose_vjp, "__getitem__": getitem_vjp}
# one line more: the rule of reshape
VJPS["reshape"] = lambda g, out, x, *shape: (g.reshape(x.shape),)


ATTRIBUTES = {"requires_grad": False, "grad": None, "_parents": (), "_pull": None, "_op": ()}
recording = [True]


class no_grad:
    """Inside `with no_grad():` results remember nothing. Nests, and survives exceptions."""

    def __enter__(self):
        recording.append(False)

    def __exit__(self, *error):
        recording.pop()


def tracked(forward, vjp):
    """Wrap a Tensor operation so that its result remembers its parents and how to reach them."""

    def op(*args, **kwargs):
        out = forward(*args, **kwargs)
        needed = [k for k, a in enumerate(args) if getattr(a, "requires_grad", False)]
        if recording[-1] and needed:
            values, result = [a.data if isinstance(a, Tensor) else a for a in args], out.data

            def pull(g):
                grads = vjp(g, result, *values, **kwargs)
                return [unbroadcast(grads[k], args[k].shape) for k in needed]

            out.requires_grad, out._parents = True, [args[k] for k in needed]
            out._pull, out._op = pull, (forward.__name__, args)
        return out

    return op


def topological_order(root):
    """All tensors that lead to `root`, each once, parents before results; the last is `root`."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        tensor, parents_done = stack.pop()
        if parents_done:
            order.append(tensor)
        elif tensor not in seen:
            seen.add(tensor)
            stack += [(tensor, True), *((parent, False) for parent in tensor._parents)]
    return order


def freed(g):
    """Stands in for the `_pull` of a graph that `backward` has used up."""
    raise RuntimeError("backward() has already used and freed this graph: compute the loss again")


def backward(self, grad=None):
    """Send `grad` (default: ones) back from this tensor; add what arrives to each leaf's `.grad`.

    Frees the graph. Raises RuntimeError if no gradient flows to this tensor, or if a part of its
    graph has been freed. (Reverse accumulation: S. Linnainmaa, 1970.)
    """
    if not self.requires_grad:
        raise RuntimeError("no gradient flows: you or an optimizer must set requires_grad=True")
    grads = {self: np.full(self.shape, 1.0 if grad is None else Tensor(grad).data, self.dtype)}
    for tensor in reversed(topological_order(self)):
        g = grads.pop(tensor)
        if tensor._pull is None:
            tensor.grad = np.array(g if tensor.grad is None else tensor.grad + g, tensor.dtype)
        else:
            for parent, part in zip(tensor._parents, tensor._pull(g)):
                grads[parent] = grads[parent] + part if parent in grads else part
            tensor._parents, tensor._pull, tensor._op = (), freed, ()


def operation(vjp):
    """A decorator: the function or method below it gets the rule `vjp(g, out, *args, **kwargs)`.

    It returns a new Tensor, never one of its arguments.
    """
    return lambda forward: functools.wraps(forward)(tracked(forward, vjp))


def zero_grad(self):
    """Forget the gradient: `.grad` is None again."""
    self.grad = None


def enable_gradients():
    """Upgrade the class Tensor in place, for tensors old and new. Calling it again does no harm."""
    disable_gradients()
    methods = {name: getattr(Tensor, name) for name in dir(Tensor)}

    def init_with_grad(self, data, requires_grad=False):
        methods["__init__"](self, data)
        self.requires_grad = requires_grad

    rules = {id(methods[name]): vjp for name, vjp in VJPS.items()}
    upgrade = {n: operation(rules[id(m)])(m) for n, m in methods.items() if id(m) in rules}
    upgrade |= ATTRIBUTES | dict(__init__=init_with_grad, backward=backward, zero_grad=zero_grad)
    Tensor._plain = {name: vars(Tensor).get(name) for name in upgrade}
    for name, attribute in upgrade.items():
        setattr(Tensor, name, attribute)


def disable_gradients():
    """Give the class Tensor back as 01 wrote it; does nothing if it is plain."""
    for name, attribute in vars(Tensor).get("_plain", {}).items():
        if attribute is None:
            delattr(Tensor, name)
        else:
            setattr(Tensor, name, attribute)
    if "_plain" in vars(Tensor):
        del Tensor._plain


def gradcheck(f, *inputs, tolerance=1e-5):
    """True if backward() through f agrees with central differences at `inputs`, in float64.

    `f` takes Tensors and returns a Tensor of any shape; `inputs` are Tensors or arrays. Raises
    AssertionError if a gradient is wrong. Stay away from kinks such as relu's at 0.
    """
    arrays = [np.array(Tensor(x).data, dtype=np.float64) for x in inputs]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    for tensor in tensors:
        tensor.grad = np.zeros(tensor.shape)
    out = f(*tensors)
    g = np.linspace(1, 2, out.size).reshape(out.shape)

    def slopes(k, eps=1e-6):
        """The gradient of (f(...) * g).sum() in input k, by central differences."""
        result = np.zeros_like(arrays[k])
        for i in np.ndindex(result.shape):
            for sign in (1, -1):
                moved = [array.copy() for array in arrays]
                moved[k][i] += sign * eps
                result[i] += sign * (f(*map(Tensor, moved)).data * g).sum() / (2 * eps)
        return result

    out.backward(g)
    for k, tensor in enumerate(tensors):
        np.testing.assert_allclose(tensor.grad, slopes(k), tolerance, tolerance)
    return True
