"""Are a student's functions connected? Derivatives of the plain Tensor, before gradients exist.

From 05 on, whatever is made of Tensor operations has a gradient. Whether the functions of 02 to 04
will have one is seen here by forward mode: for one call, each operation of the student's Tensor
also carries the derivative along a random direction (a dual number); afterwards the class is as it
was. `flows` compares it with a central difference of *the same student's* function: a wrong value
is the business of other tests. `connected` compares it with the reference's. Only derivatives are
judged, never the text: a softmax whose shift goes through `.data` is right, a relu made by
`np.maximum(x.data, 0)` is cut.

In a suite (02, 03 and 04 alike):

    from forward_mode import connected, descent, flows

    flows(student, rng, "relu", [x])
    flows(student, rng, "lambda x: softmax(x, axis=0)", [x])

The program is the source of an expression over the student's names and `np`; its value is called
with one Tensor per input. Lambdas are fine, for the text is evaluated on the other side. Data that
are not differentiated are named `constants`, and reach the program as they are:

    flows(student, rng, "lambda z: cross_entropy(z, targets)", [z],
          constants={"targets": targets})

`lent` gives the student's functions a right helper in the place of one of theirs, so that a wrong
sigmoid isn't paid for again by tanh: `lent={"sigmoid": "lambda x: 1 / (1 + (-x).exp())"}`.

With respect to parameters: the program's value is then a Module, or a pair of a Module and what is
called, and each array of `parameters` replaces the values of the one parameter of that shape (also
transposed, or with axes of length 1: choose sizes that differ):

    flows(student, rng, "Sequential(Linear(3, 4), relu, Linear(4, 2))", [x],
          parameters=[w1, b1, w2, b2])

A module that draws gets its generator in the program, which is evaluated anew on each call:
`"Dropout(0.5, rng=np.random.default_rng(7))"`. Keep away from kinks, where a central difference is
no derivative. Ties of `max` are fine where the maximum cancels.

`descent` trains without gradients: each step goes along a random direction, as far as the slope
along it says (Baydin et al., "Gradients without Backpropagation", 2022). Student and reference take
the same directions, so they must arrive at the same place.
"""

from types import FunctionType

import numpy as np

from proctor.testing import Misconception, assert_close, run_in_worker

CUT = Misconception(
    "cut",
    "The value is right, but no derivative comes through: somewhere the computation leaves the "
    "Tensor (through .data or NumPy) and a new Tensor starts without a past.",
)
STEP = 1e-6


def _forward(
    program,
    inputs,
    moves,
    parameters=(),
    constants=None,
    lent=None,
    derived=True,
    step=None,
    rate=0.0,
):
    """Value, forward-mode derivative and central difference of a program, for each move.

    `inputs` and `parameters` are lists of arrays, a move is a pair of such lists: the direction.
    After each, everything goes `rate` times the derivative against it. With `derived` false only
    primitives carry the derivative, as in 05. Returns a list of triples
    of float64 arrays of the output's shape (where nothing arrives the derivative is 0; without a
    `step` there is no difference, but zeros), and the inputs and parameters after the last move.
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
        pairs, free = [], list(model.parameters()) if parameters else []
        for value in parameters:
            shapes = (value.squeeze().shape, value.squeeze().shape[::-1])
            found = [k for k, p in enumerate(free) if p.data.squeeze().shape in shapes]
            if not found:
                raise ValueError(f"no parameter has shape {value.shape}")
            pairs.append(free.pop(found[0]))
        return pairs

    def evaluate(directions, turns, distance=None):
        made = eval(program, names)
        model, call = made if type(made) is tuple else (made, made)
        far = distance or 0.0
        tensors = [Tensor(x + far * v) for x, v in zip(inputs, directions, strict=True)]
        ways = list(directions)
        for parameter, value, turn in zip(match(model), parameters, turns, strict=True):
            parameter.data = place(parameter, value + far * turn)
            tensors.append(parameter)
            ways.append(place(parameter, turn))
        changes.clear()
        if distance is None:
            changes.update(
                (id(t), (t, np.array(way))) for t, way in zip(tensors, ways, strict=True)
            )
        out = call(*tensors[: len(inputs)])
        if not isinstance(out, Tensor):
            raise TypeError(f"the result is of type {type(out).__name__}, not a Tensor")
        return out

    def floats(arrays):
        return [np.array(array, dtype=np.float64) for array in arrays]

    inputs, parameters, told, missing = floats(inputs), floats(parameters), [], object()
    own = dict(vars(Tensor))
    # inherited methods count, and so do aliases, as in `__radd__ = __add__`
    every = {name: value for kind in Tensor.__mro__[::-1] for name, value in vars(kind).items()}
    found = {name: (every[name], rules[name]) for name in rules if name in every}
    for name, value in every.items():
        for forward, rule in [found[known] for known in rules if known in found]:
            if value is forward and name not in rules:
                found[name] = forward, rule
    kept = {name: globals().pop(name, missing) for name in lent or ()}
    try:
        for name, (forward, rule) in found.items():
            if isinstance(forward, property):
                setattr(Tensor, name, property(dual(forward.fget, rule)))
            else:
                setattr(Tensor, name, dual(forward, rule))
        globals().update((name, eval(lent[name], names)) for name in kept)
        with np.errstate(all="ignore"):
            for move in moves:
                directions, turns = map(floats, move)
                out = evaluate(directions, turns)
                value = np.array(out.data, dtype=np.float64)
                slope = changes[id(out)][1] if id(out) in changes else np.zeros(out.shape)
                slope, difference = np.array(slope, dtype=np.float64), np.zeros(out.shape)
                if step:
                    ends = [evaluate(directions, turns, far).data for far in (step, -step)]
                    difference = (np.asarray(ends[0]) - np.asarray(ends[1])) / (2 * step)
                told.append((value, slope, difference))
                if rate:
                    inputs = [x - rate * slope * v for x, v in zip(inputs, directions, strict=True)]
                    parameters = [
                        p - rate * slope * v for p, v in zip(parameters, turns, strict=True)
                    ]
    finally:
        for name, theirs in kept.items():
            globals().pop(name, None)
            if theirs is not missing:
                globals()[name] = theirs
        for name in found:
            if name in own:
                setattr(Tensor, name, own[name])
            elif name in vars(Tensor):
                delattr(Tensor, name)
    return told, inputs, parameters


forward = run_in_worker(_forward)


def on(package, *data, **options):
    """The same as `forward(student, ...)`, on a package in this process: the reference."""
    here = FunctionType(_forward.__code__, dict(vars(package)), "forward", _forward.__defaults__)
    return here(*data, **options)


def flows(
    student,
    rng,
    program,
    inputs,
    *,
    parameters=(),
    constants=None,
    lent=None,
    derived=True,
    symptoms=None,
    still=(),
    reference=None,
):
    """Assert that the program's derivative along a random direction is that of its values.

    The directions are drawn from `rng`; inputs whose position is in `still` do not move. With
    `derived` false, only primitives carry it. `symptoms` maps further misconceptions to a wrong
    derivative, or to a predicate of it, or is a function of the directions that gives such a map.
    Where numbers are so large that a difference is too rough, or where the value is to be right as
    well, the derivative of a `reference` is what is right.
    """
    directions = [rng.normal(size=np.shape(x)) for x in inputs]
    for position in still:
        directions[position] = np.zeros_like(directions[position])
    turns = [rng.normal(size=np.shape(p)) for p in parameters]
    moves = [(directions, turns)]
    data = program, list(inputs), moves, list(parameters), constants, lent, derived
    if reference is None:
        [(value, slope, expected)], _, _ = forward(student, *data, STEP)
        # What rounding does to a difference of two values of this size (or of inputs of theirs).
        sizes = [1.0, *(np.abs(x).max() for x in (*inputs, *parameters, value) if np.size(x))]
        noise = 16 * np.finfo(float).eps * np.nanmax(sizes) / STEP
    else:
        [(_, slope, _)], _, _ = forward(student, *data)
        [(_, expected, _)], _, _ = on(reference, *data)
        noise = 1e-6
    expected = np.nan_to_num(expected, posinf=0.0, neginf=0.0)
    known = dict(symptoms(*directions) if callable(symptoms) else symptoms or {})
    known[CUT] = lambda seen: expected.any() and not seen.any()
    assert_close(slope, expected, rtol=1e-4, atol=noise, symptoms=known)
    if reference is None:
        assert expected.any(), "nothing changes with the inputs"
        for way in directions:  # what hands its input back is connected, and does nothing
            assert slope.shape != way.shape or not np.allclose(slope, way)


def connected(student, reference, rng, program, inputs, **options):
    """Assert that the program's derivative along a random direction is that of the reference.

    Options as those of `flows`.
    """
    flows(student, rng, program, inputs, reference=reference, **options)


def descent(
    student, reference, rng, program, *, inputs=(), parameters=(), constants, rate, steps=12
):
    """Assert that student and reference descend to the same place, by the same directions.

    The program returns one number; it may move with `inputs`, with `parameters`, or with both.
    """
    moves = []
    for _ in range(steps):
        ways = [[rng.normal(size=np.shape(x)) for x in those] for those in (inputs, parameters)]
        length = np.sqrt(sum((way**2).sum() for those in ways for way in those))
        moves.append(tuple([way / length for way in those] for those in ways))
    data = program, list(inputs), moves, list(parameters), constants, None, True, None, rate
    told, *found = forward(student, *data)
    wanted, *expected = on(reference, *data)
    assert_close([value for value, _, _ in told], [value for value, _, _ in wanted], rtol=1e-5)
    for those, right in zip(found, expected, strict=True):
        for seen, place in zip(those, right, strict=True):
            assert_close(seen, place, rtol=1e-4, atol=1e-6)
