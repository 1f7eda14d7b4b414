"""Draws a computation: the values that flow through it, and the gradients that flow back.

Exported from source/05_autograd/drawing.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

__all__ = ["draw"]


SIGNS = {"__add__": "+", "__mul__": "×", "__truediv__": "÷", "__pow__": "**", "__matmul__": "@"}
LIMIT = 60


class Constant:
    """A number or an array that an operation took: a box to which no gradient goes."""

    requires_grad, _parents, _op = False, (), ()

    def __init__(self, value):
        self.data = np.asarray(value)


def operands(tensor):
    """The tensors that `tensor` was computed from; numbers and arrays, where its sign takes some.

    The index of `x[index]` and the axis of a sum are no operands.
    """
    name, arguments = tensor._op or ("", ())
    tensors = [hasattr(a, "requires_grad") for a in arguments]
    shown = [a for a, is_one in zip(arguments, tensors) if is_one or name in {*SIGNS, "maximum"}]
    return [a if hasattr(a, "requires_grad") else Constant(a) for a in shown]


class Drawing:
    """The picture that `draw` makes: it shows itself in a notebook; `svg` is its text."""

    def __init__(self, root, names):
        self.names, self.parts = {id(t): name for name, t in names.items()}, []
        self.order, self.inputs = [], {}  # the boxes, and what each was computed from
        self.visit(root)
        self.level = {id(root): 0}
        self.total, self.sent = {id(root): np.ones_like(root.data)}, {}
        for tensor in reversed(self.order):
            for each in self.inputs[id(tensor)]:
                deeper = self.level[id(tensor)] + 1
                self.level[id(each)] = max(self.level.get(id(each), 0), deeper)
            self.send(tensor)
        self.paint(root)

    def visit(self, tensor):
        """List what leads to `tensor`, and then the tensor: a depth-first search."""
        inputs = self.inputs[id(tensor)] = operands(tensor)
        if len(self.inputs) > LIMIT:
            raise ValueError(f"draw is for small expressions; this one has more than {LIMIT} boxes")
        for each in inputs:
            if id(each) not in self.inputs:
                self.visit(each)
        self.order.append(tensor)

    def send(self, tensor):
        """Find what the tensor sends along each edge: a list per operand, empty for constants."""
        if hasattr(tensor, "_sent"):  # the sketch of 05: what its backward() has sent
            sent, self.total[id(tensor)] = iter(tensor._sent), tensor.grad
        elif tensor._parents:
            pulled = tensor._pull(self.total[id(tensor)])
            sent = iter([g] for g in pulled)
            for parent, g in zip(tensor._parents, pulled):
                self.total[id(parent)] = self.total.get(id(parent), 0) + g
        inputs = self.inputs[id(tensor)]
        self.sent[id(tensor)] = [next(sent) if each.requires_grad else [] for each in inputs]

    def paint(self, root):
        columns = [[] for _ in range(max(self.level.values()) + 1)]
        for tensor in self.order:
            columns[-1 - self.level[id(tensor)]].append(tensor)
        tall, place = max(map(len, columns)), {}
        for i, column in enumerate(columns):
            for j, tensor in enumerate(column):
                place[id(tensor)] = 80 + 210 * i, 70 + 110 * (j + (tall - len(column)) / 2)
        for tensor in self.order:
            inputs = [id(each) for each in self.inputs[id(tensor)]]
            for k, start in enumerate(inputs):
                same, nth = inputs.count(start), inputs[:k].count(start)
                bend = 84 * (nth - (same - 1) / 2)
                bend += 84 * (self.level[start] - self.level[id(tensor)] - 1)
                texts = [self.text(g) for g in self.sent[id(tensor)][k]]
                self.edge(place[start], place[id(tensor)], bend, ", then ".join(texts))
        for tensor in self.order:
            self.box(tensor, *place[id(tensor)], tensor is root)
        lowest = max(y for x, y in place.values())
        self.width, self.height = 210 * len(columns) - 50, int(lowest) + 90
        note = "values flow right, <tspan fill='#b4411f'>gradients flow left</tspan>"
        self.write(self.width / 2, self.height - 12, note, "#7b8794", 12)

    def box(self, tensor, x, y, last):
        constant = not tensor.requires_grad
        fill, line = ("#eef5fb", "#4a7fa8") if tensor._parents else ("#fff8e1", "#b78103")
        fill, line = ("#e9f6ec", "#3f8f56") if last and tensor._parents else (fill, line)
        fill, line = ("#f5f5f5", "#7b8794") if constant else (fill, line)
        self.parts.append(
            f"<rect x='{x - 50}' y='{y - 27}' width='100' height='54' rx='9' fill='{fill}' "
            f"stroke='{line}' stroke-width='1.6'/>"
        )
        op = tensor._op[0] if tensor._op else ""
        name, op = self.names.get(id(tensor), ""), SIGNS.get(op, op.strip("_"))
        made_by = f"= {op}" if name and op else op
        title = f"{name}<tspan dx='{5 * bool(name)}' font-weight='400'>{made_by}</tspan>"
        plain = "constant" if constant else "leaf"
        self.write(x, y - 7, title if name or op else plain, line, 13, "600")
        self.write(x, y + 14, self.text(tensor.data), "#1f2933", 14)
        if self.total.get(id(tensor)) is not None:
            self.write(x, y + 44, "grad " + self.text(self.total[id(tensor)]), "#b4411f", 12)

    def edge(self, start, end, bend, text):
        (x1, y1), (x2, y2) = (start[0] + 50, start[1]), (end[0] - 54, end[1])
        reach = (x2 - x1) / 2
        self.parts.append(
            f"<path d='M{x1} {y1} C{x1 + reach} {y1 + bend} {x2 - reach} {y2 + bend} {x2} {y2}' "
            "fill='none' stroke='#9aa5b1' stroke-width='1.6' marker-end='url(#tip)'/>"
        )
        if text:
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
    Constants are boxes, too. Raises ValueError if there are more than 60 boxes.
    """
    return Drawing(tensor, names)
