"""05 · Autograd

Exported from source/05_autograd/05_autograd.ipynb by `proctor export`; edit the notebook.
"""

import contextlib

import numpy as np

from tinytorch import Tensor

__all__ = ["disable_gradients", "draw", "enable_gradients", "gradcheck", "no_grad"]


class Drawing:
    """The picture that `draw` makes: it shows itself in a notebook; `svg` is its text."""

    SIGNS = {"__add__": "+", "__mul__": "×", "__truediv__": "÷", "__pow__": "**"}
    SIGNS |= {"__matmul__": "@", "__getitem__": "[ ]"}

    def __init__(self, root, names):
        self.names, self.parts, self.level, self.order = names, [], {id(root): 0}, []
        self.visit(root, set())
        self.total, self.sent = {id(root): np.ones_like(root.data)}, {}
        for node in reversed(self.order):
            for parent in node._parents:
                deeper = self.level[id(node)] + 1
                self.level[id(parent)] = max(self.level.get(id(parent), 0), deeper)
            self.send(node)
        self.paint(root)

    def visit(self, node, seen):
        seen.add(id(node))
        if len(seen) > 60:
            raise ValueError("draw is for small expressions; this one has more than 60 boxes")
        for parent in node._parents:
            if id(parent) not in seen:
                self.visit(parent, seen)
        self.order.append(node)

    def send(self, node):
        if hasattr(node, "_sent"):  # the sketch: what its backward() really sent, visit by visit
            self.sent[id(node)], self.total[id(node)] = node._sent, node.grad
        elif node._parents:
            sent = node._pull(self.total[id(node)])
            self.sent[id(node)] = [[g] for g in sent]
            for parent, g in zip(node._parents, sent):
                self.total[id(parent)] = self.total.get(id(parent), 0) + g

    def paint(self, root):
        columns = [[] for _ in range(max(self.level.values()) + 1)]
        for node in self.order:
            columns[-1 - self.level[id(node)]].append(node)
        tall, place = max(map(len, columns)), {}
        for i, column in enumerate(columns):
            for j, node in enumerate(column):
                place[id(node)] = 80 + 210 * i, 70 + 110 * (j + (tall - len(column)) / 2)
        for node in self.order:
            inputs = [id(parent) for parent in node._parents]
            for k, parent in enumerate(inputs):
                same, nth = inputs.count(parent), inputs[:k].count(parent)
                bend = 84 * (nth - (same - 1) / 2)
                bend += 84 * (self.level[parent] - self.level[id(node)] - 1)
                texts = [self.text(g) for g in self.sent[id(node)][k]]
                self.edge(place[parent], place[id(node)], bend, ", then ".join(texts))
        for node in self.order:
            self.box(node, *place[id(node)], node is root)
        lowest = max(y for x, y in place.values())
        self.width, self.height = 210 * len(columns) - 50, int(lowest) + 90
        low = self.height - 12
        note = "values flow right, <tspan fill='#b4411f'>gradients flow left</tspan>"
        self.write(self.width / 2, low, note, "#7b8794", 12)

    def box(self, node, x, y, last):
        fill, line = ("#fff8e1", "#b78103") if not node._parents else ("#eef5fb", "#4a7fa8")
        fill, line = ("#e9f6ec", "#3f8f56") if last and node._parents else (fill, line)
        self.parts.append(
            f"<rect x='{x - 50}' y='{y - 27}' width='100' height='54' rx='9' fill='{fill}' "
            f"stroke='{line}' stroke-width='1.6'/>"
        )
        name, op = self.names.get(id(node), ""), self.SIGNS.get(node._op, node._op)
        made_by = f"= {op}" if name and op else op
        title = f"{name}<tspan dx='{5 * bool(name)}' font-weight='400'>{made_by}</tspan>"
        self.write(x, y - 7, title if name or op else "leaf", line, 13, "600")
        self.write(x, y + 14, self.text(node.data), "#1f2933", 14)
        if self.total.get(id(node)) is not None:
            self.write(x, y + 44, "grad " + self.text(self.total[id(node)]), "#b4411f", 12)

    def edge(self, start, end, bend, text):
        (x1, y1), (x2, y2) = (start[0] + 50, start[1]), (end[0] - 54, end[1])
        reach = (x2 - x1) / 2
        self.parts.append(
            f"<path d='M{x1} {y1} C{x1 + reach} {y1 + bend} {x2 - reach} {y2 + bend} {x2} {y2}' "
            "fill='none' stroke='#9aa5b1' stroke-width='1.6' marker-end='url(#tip)'/>"
        )
        x, y, half = (x1 + x2) / 2, (y1 + y2) / 2 + 0.75 * bend, 3.4 * len(text) + 15
        self.parts.append(
            f"<rect x='{x - half}' y='{y - 11}' width='{2 * half}' height='22' rx='11' "
            "fill='#fdf1ec' stroke='#e3b5a4'/>"
        )
        self.write(x, y + 4.5, "← " + text, "#b4411f", 13)

    def write(self, x, y, text, fill, size, weight="400"):
        self.parts.append(
            f"<text x='{x}' y='{y}' text-anchor='middle' fill='{fill}' font-size='{size}' "
            f"font-weight='{weight}'>{text}</text>"
        )

    @staticmethod
    def text(value):
        value = np.asarray(value)
        if value.size > 3:
            return "×".join(map(str, value.shape)) + " array"
        return " ".join(f"{v:.3g}".replace("-", "−") for v in value.ravel())

    @property
    def svg(self):
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' height='{self.height}' "
            f"viewBox='0 0 {self.width} {self.height}' style='max-width: 100%; height: auto' "
            "font-family='Helvetica, Arial, sans-serif'>"
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
            "markerHeight='7' orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='#9aa5b1'/></marker>"
            "</defs><rect width='100%' height='100%' rx='12' fill='#ffffff'/>"
            + "".join(self.parts)
            + "</svg>"
        )

    def _repr_svg_(self):
        return self.svg


def draw(tensor, **names):
    """A picture of the computation that led to `tensor`, with the gradient on each edge.

    Draw before `backward()`, which frees the graph. `draw(loss, w=w, b=b)` puts names on the boxes.
    Raises ValueError if there are more than 60 boxes.
    """
    return Drawing(tensor, {id(t): name for name, t in names.items()})


VJPS = {"__add__": lambda g, out, a, b: (g, g)}


VJPS |= {
    "__mul__": lambda g, out, a, b: (g * b, g * a),
    "__truediv__": lambda g, out, a, b: (g / b, -g * out / b),
    "__pow__": lambda g, out, a, p: (g * p * a ** (p - 1),),
    "exp": lambda g, out, a: (g * out,),
    "log": lambda g, out, a: (g / a,),
}


def unbroadcast(g, shape):
    """Sum `g` over the axes that broadcasting added or stretched; the result has shape `shape`."""
    padded = (1,) * (g.ndim - len(shape)) + shape
    axes = tuple(i for i, n in enumerate(padded) if n == 1)
    return g.sum(axis=axes).reshape(shape) if axes else g


def matmul_vjp(g, out, a, b):
    """The rule of `a @ b`, 1-D operands as in NumPy; a broadcast batch is left to unbroadcast."""
    A, B = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    g = np.expand_dims(g, (-2,) * (a.ndim == 1) + (-1,) * (b.ndim == 1))
    for_a, for_b = g @ np.swapaxes(B, -1, -2), np.swapaxes(A, -1, -2) @ g
    return for_a[..., 0, :] if a.ndim == 1 else for_a, for_b[..., 0] if b.ndim == 1 else for_b


VJPS["__matmul__"] = matmul_vjp


def put_back(g, axis, keepdims):
    """Give a reduced array its axis back, with length 1, so that it broadcasts with the input."""
    return g if axis is None or keepdims else np.expand_dims(g, axis)


def max_vjp(g, out, x, axis=None, keepdims=False):
    """The rule of `x.max(axis, keepdims)`: the gradient goes to the winners, in equal shares."""
    won = (x == put_back(out, axis, keepdims)).astype(x.dtype)
    return (put_back(g, axis, keepdims) * won / won.sum(axis=axis, keepdims=True),)


def sum_vjp(g, out, x, axis=None, keepdims=False):
    """The rule of `x.sum(axis, keepdims)`: each entry gets the gradient of its sum."""
    return (np.broadcast_to(put_back(g, axis, keepdims), x.shape),)


VJPS |= {"sum": sum_vjp, "max": max_vjp}
VJPS["maximum"] = lambda g, out, a, b: (g * (a > b), g * (a <= b))


def transpose_vjp(g, out, x, *axes):
    """The rule of `x.transpose(*axes)`: the inverse permutation."""
    return (g.transpose(np.argsort(np.ravel(axes) % x.ndim) if axes else None),)


def getitem_vjp(g, out, x, index):
    """The rule of `x[index]`: each gradient goes back to its place, repeated places add up."""
    gradient = np.zeros_like(x)
    np.add.at(gradient, index, g)
    return (gradient,)


VJPS["reshape"] = lambda g, out, x, *shape: (g.reshape(x.shape),)
VJPS |= {"transpose": transpose_vjp, "__getitem__": getitem_vjp}


ATTRIBUTES = {"requires_grad": False, "grad": None, "_parents": (), "_pull": None, "_op": ""}
recording = True


@contextlib.contextmanager
def no_grad():
    """Inside `with no_grad():` results remember nothing. Nests, and survives exceptions."""
    global recording
    before, recording = recording, False
    try:
        yield
    finally:
        recording = before


def tracked(forward, vjp):
    """Wrap a Tensor operation so that its result remembers its parents and how to reach them."""

    def op(*args, **kwargs):
        out = forward(*args, **kwargs)
        needed = [k for k, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        if recording and needed:
            values, result = [a.data if isinstance(a, Tensor) else a for a in args], out.data

            def pull(g):
                grads = vjp(g, result, *values, **kwargs)
                return [unbroadcast(grads[k], args[k].shape) for k in needed]

            out.requires_grad, out._parents = True, [args[k] for k in needed]
            out._pull, out._op = pull, forward.__name__
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
                grads[parent] = grads.get(parent, 0) + part
            tensor._parents, tensor._pull = (), freed


def init_with_grad(self, data, requires_grad=False):
    """`Tensor(data, requires_grad=False)`: what 01 does, and a mark."""
    self._plain["__init__"](self, data)
    self.requires_grad = requires_grad


def zero_grad(self):
    """Forget the gradient: `.grad` is None again."""
    self.grad = None


def enable_gradients():
    """Upgrade the class Tensor in place, for tensors old and new. Calling it again does no harm."""
    disable_gradients()
    upgrade = {name: tracked(getattr(Tensor, name), vjp) for name, vjp in VJPS.items()}
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
