"""Are a student's functions connected? Derivatives of the plain Tensor, before gradients exist.

From 05 on, whatever is made of Tensor operations has a gradient. Whether the functions of 02 to 04
will have one is seen here by forward mode: for one call, each primitive of the student's Tensor
also carries the derivative along a random direction (a dual number); afterwards the class is as it
was. The result is compared with a central difference *of the reference*. Only gradients are judged:
a softmax whose shift goes through `.data` is right, a relu made by `np.maximum(x.data, 0)` is cut.

In a suite (02, 03 and 04 alike):

    from forward_mode import CUT, connected

    connected(student, reference, rng, "relu", [x])
    connected(student, reference, rng, "lambda x: softmax(x, axis=0)", [x])

The program is the source of an expression over the student's names and `np`; its value is called
with one Tensor per input. Lambdas are fine, for the text is evaluated on the other side. Data that
are not differentiated are named `constants`, and reach the program as they are:

    connected(student, reference, rng, "lambda z: cross_entropy(z, targets)", [z],
              constants={"targets": targets})

With respect to parameters: the program's value is then a Module, and each array of `parameters`
replaces the values of the one parameter of that shape (also transposed, or with axes of length 1:
choose sizes that differ). Inputs may be left out of the question by a direction of zeros, or the
other way round:

    connected(student, reference, rng, "Sequential(Linear(3, 4), relu, Linear(4, 2))", [x],
              parameters=[w1, b1, w2, b2])

A module that draws gets its generator in the program, which is evaluated anew on each call:
`"Dropout(0.5, rng=np.random.default_rng(7))"`. But two right dropouts draw differently, so compare
the student's slope with the student's own value: `value, slope, _ = derivative(student, ...)`.
Keep away from ties of `maximum` and `max`, where any split of the derivative is right.
"""

from types import FunctionType

import numpy as np

from proctor.testing import Misconception, lifted, same

CUT = Misconception(
    "cut",
    "The value is right, but no derivative comes through: somewhere the computation leaves the "
    "Tensor (through .data or NumPy) and a new Tensor starts without a past.",
)


def _derivative(
    program, inputs, directions, parameters=(), turns=(), constants=None, derived=True, step=1e-6
):
    """Value, forward-mode derivative and central difference of a program along a direction.

    `inputs` and `directions` are lists of arrays, as are `parameters` and `turns` (the directions
    of the parameters). With `derived` false only primitives carry the derivative, as in 05. Returns
    three float64 arrays of the output's shape; where nothing arrives the derivative is 0.
    """
    import numpy as np

    try:
        import tinytorch  # the earlier assignments, where the student imported only some of them
    except ImportError:
        earlier = {}
    else:
        earlier = vars(tinytorch)
    names = {**earlier, **globals(), "np": np, **(constants or {})}
    Tensor = names["Tensor"]

    def spread(y, axis, keepdims):
        return y if axis is None or keepdims else np.expand_dims(y, axis)

    def of_sum(d, y, x, axis=None, keepdims=False):
        return np.sum(d, axis=axis, keepdims=keepdims)

    def of_mean(d, y, x, axis=None, keepdims=False):
        return np.mean(d, axis=axis, keepdims=keepdims)

    def of_max(d, y, x, axis=None, keepdims=False):
        hit = x == spread(y, axis, keepdims)
        return of_sum(d * hit, y, x, axis, keepdims) / of_sum(hit, y, x, axis, keepdims)

    # One row per operation: what a change d of each operand adds to the change of the result y.
    # The primitives are enough for the reference; the derived forms serve a Tensor that is built
    # otherwise. Products as in reverse mode: 0 * inf is NaN here where it is NaN there.
    rules = {
        "__add__": (lambda d, y, a, b: d, lambda d, y, a, b: d),
        "__sub__": (lambda d, y, a, b: d, lambda d, y, a, b: -d),
        "__mul__": (lambda d, y, a, b: d * b, lambda d, y, a, b: a * d),
        "__truediv__": (lambda d, y, a, b: d / b, lambda d, y, a, b: -d * y / b),
        "__matmul__": (lambda d, y, a, b: d @ b, lambda d, y, a, b: a @ d),
        "__pow__": (lambda d, y, a, p: d * p * a ** np.where(p == 0, 1.0, p - 1.0),),
        "__neg__": (lambda d, y, a: -d,),
        "__radd__": (lambda d, y, a, b: d, lambda d, y, a, b: d),
        "__rsub__": (lambda d, y, a, b: -d, lambda d, y, a, b: d),
        "__rmul__": (lambda d, y, a, b: d * b, lambda d, y, a, b: a * d),
        "__rtruediv__": (lambda d, y, a, b: -d * y / a, lambda d, y, a, b: d / a),
        "__rmatmul__": (lambda d, y, a, b: b @ d, lambda d, y, a, b: d @ a),
        "__getitem__": (lambda d, y, a, index: d[index],),
        "exp": (lambda d, y, a: d * y,),
        "log": (lambda d, y, a: d / a,),
        "maximum": (lambda d, y, a, b: d * (a > b), lambda d, y, a, b: d * (a <= b)),
        "sum": (of_sum,),
        "mean": (of_mean,),
        "max": (of_max,),
        "reshape": (lambda d, y, a, *shape: d.reshape(*shape),),
        "transpose": (lambda d, y, a, *axes: d.transpose(*axes),),
        "T": (lambda d, y, a: d.T,),
    }
    if not derived:
        for name in ("__sub__", "__neg__", "mean", "T"):
            del rules[name]
        for name in ("__radd__", "__rsub__", "__rmul__", "__rtruediv__", "__rmatmul__"):
            del rules[name]
    changes = {}  # id of a Tensor -> (the Tensor, so that its id stays its own; its change)

    def plain(value):
        return value.data if isinstance(value, Tensor) else value

    def dual(forward, rule):
        def operation(*operands, **options):
            out = forward(*operands, **options)
            if not isinstance(out, Tensor):
                return out
            if len(rule) == 2:  # also as in x.maximum(other=0)
                operands, options = (*operands, *options.values()), {}
            values = [plain(operand) for operand in operands]
            if len(rule) == 2:
                values = [np.asarray(value) for value in values]
            changed = [
                np.broadcast_to(
                    partial(changes[id(operand)][1], out.data, *values, **options), out.shape
                )
                for operand, partial in zip(operands, rule, strict=False)
                if id(operand) in changes
            ]
            if changed:
                changes[id(out)] = (out, sum(changed))
            return out

        return operation

    def place(parameter, value):
        if parameter.data.squeeze().shape != value.squeeze().shape:
            value = value.T
        return np.array(value, dtype=np.float64).reshape(parameter.data.shape)

    def match(model):
        pairs, free = [], list(model.parameters()) if len(parameters) else []
        for value in parameters:
            shapes = (value.squeeze().shape, value.squeeze().shape[::-1])
            found = [k for k, p in enumerate(free) if p.data.squeeze().shape in shapes]
            if not found:
                raise ValueError(f"no parameter has shape {value.shape}")
            pairs.append(free.pop(found[0]))
        return pairs

    def evaluate(distance, carry=False):
        model = eval(program, names)
        tensors = [Tensor(x + distance * v) for x, v in zip(inputs, directions, strict=True)]
        ways = list(directions)
        for parameter, value, turn in zip(match(model), parameters, turns, strict=True):
            parameter.data = place(parameter, value + distance * turn)
            tensors.append(parameter)
            ways.append(place(parameter, turn))
        if carry:
            changes.update(
                (id(t), (t, np.array(way))) for t, way in zip(tensors, ways, strict=True)
            )
        out = model(*tensors[: len(inputs)])
        if not isinstance(out, Tensor):
            raise TypeError(f"the result is of type {type(out).__name__}, not a Tensor")
        return out

    inputs = [np.array(x, dtype=np.float64) for x in inputs]
    directions = [np.array(v, dtype=np.float64) for v in directions]
    own = dict(vars(Tensor))
    # inherited methods count, and so do aliases, as in `__radd__ = __add__`
    every = {name: value for kind in Tensor.__mro__[::-1] for name, value in vars(kind).items()}
    found = {name: (every[name], rules[name]) for name in rules if name in every}
    for name, value in every.items():
        for forward, rule in [found[known] for known in rules if known in found]:
            if value is forward and name not in rules:
                found[name] = forward, rule
    with np.errstate(all="ignore"):
        above, below = evaluate(step).data, evaluate(-step).data
        try:
            for name, (forward, rule) in found.items():
                if isinstance(forward, property):
                    setattr(Tensor, name, property(dual(forward.fget, rule)))
                else:
                    setattr(Tensor, name, dual(forward, rule))
            out = evaluate(0.0, carry=True)
        finally:
            for name in found:
                if name in own:
                    setattr(Tensor, name, own[name])
                elif name in vars(Tensor):
                    delattr(Tensor, name)
    slope = changes[id(out)][1] if id(out) in changes else np.zeros(out.shape)
    return (
        np.array(out.data, dtype=np.float64),
        np.array(slope, dtype=np.float64),
        np.asarray(above, dtype=np.float64) / (2 * step) - np.asarray(below) / (2 * step),
    )


derivative = lifted(_derivative)


def on(package, *data, **options):
    """The same as `derivative(student, ...)`, on a package in this process: the reference."""
    here = FunctionType(
        _derivative.__code__, dict(vars(package)), "derivative", _derivative.__defaults__
    )
    return here(*data, **options)


def connected(
    student,
    reference,
    rng,
    program,
    inputs,
    *,
    parameters=(),
    constants=None,
    derived=True,
    symptoms=None,
    still=(),
):
    """Assert that the program's derivative along a random direction is that of the reference.

    The directions are drawn from `rng`; inputs whose position is in `still` do not move. With
    `derived` false, only primitives carry it. `symptoms` maps further misconceptions to a wrong
    derivative, or to a predicate of it.
    """
    directions = [rng.normal(size=np.shape(x)) for x in inputs]
    for position in still:
        directions[position] = np.zeros_like(directions[position])
    turns = [rng.normal(size=np.shape(p)) for p in parameters]
    data = program, list(inputs), directions, list(parameters), turns, constants, derived
    _, slope, _ = derivative(student, *data)
    _, _, expected = on(reference, *data)
    known = {**(symptoms or {}), CUT: lambda seen: expected.any() and not seen.any()}
    same(slope, expected, rtol=1e-4, atol=1e-6, symptoms=known)
