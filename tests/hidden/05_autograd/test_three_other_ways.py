"""Hidden tests of 05_autograd's second notebook: subclass, tape and function.

Expected values are derivatives known in closed form, by NumPy; in Agree they are the gradients of
the reference's upgraded Tensor, checked by central differences. Functions that are handed to the
student's code stand in drivers that run in the worker. They read `.data` of a gradient, so a Tensor
and an array both pass.
"""

import contextlib

import numpy as np
import pytest

from proctor.testing import (
    Misconception,
    any_passes,
    assert_close,
    describe_input,
    recognise,
    run_in_worker,
    symptom,
)

LEAVES = Misconception(
    "leaves the class",
    "The result of an operation on GradTensors is a plain Tensor, and its memory ends there: every "
    "result must be boxed again.",
)
FORGETS = Misconception(
    "results are not marked",
    "No gradient arrives, though the arguments are marked: a result must require a gradient "
    "itself, and keep its record, or the next operation has nothing to go on.",
)
FIRST_ONLY = Misconception(
    "only the first argument is asked",
    "A marked tensor on the right of an operation is overlooked: in c * x it is the second "
    "argument that requires a gradient.",
)
ALL_MARKED = Misconception(
    "all arguments must be marked",
    "Nothing is recorded unless every argument requires a gradient: one of them is enough.",
)
LIST_OR_TENSOR = Misconception(
    "a list for a Tensor",
    "One source, one gradient; a list of sources, a list of gradients: here the one stood for the "
    "other.",
)
NOT_FRESH = Misconception(
    "perturbation confusion",
    "The same Tensor was used inside and outside as two different variables, and they were taken "
    "for one: start with a fresh variable.",
)
CUT = Misconception(
    "cut off from the outer derivative",
    "The first derivative is right, and the derivative of it is zero: a new Tensor was made from "
    ".data, and the outer grad sees no connection to its own variable.",
)
CUT_VALUE = Misconception(
    "value cut off",
    "The value has lost its past: hand on the Tensor that f returned, not a new one of its .data.",
)
NOT_RECORDED = Misconception(
    "nothing on the tape",
    "The value is right and the gradient zero: f must run while the tape is open, and after its "
    "argument was watched.",
)
SWAPPED = Misconception(
    "value and gradient swapped",
    "The pair is (value, gradient), in this order.",
)


@run_in_worker
def lend_a_tape():
    def gradient(tape, target, source):
        if id(target) not in tape.watched:  # as the one that is given
            raise ValueError("the target is not on this tape")
        return pull(tape.records, target).get(id(source))

    GradientTape.lent = GradientTape.gradient
    GradientTape.gradient = gradient


@run_in_worker
def take_it_back():
    GradientTape.gradient = GradientTape.lent


def with_any_tape(student, check):
    """Run `check`, with the student's tape or else with a lent one: their own may be unfinished."""

    def with_a_lent_tape():
        lend_a_tape(student)
        with contextlib.ExitStack() as stack:
            stack.callback(take_it_back, student)
            check()

    any_passes(check, with_a_lent_tape)


# Subclass


@run_in_worker
def product(a, b, mark_a, mark_b):
    x, y = GradTensor(a, requires_grad=mark_a), GradTensor(b, requires_grad=mark_b)
    out = (x * y + x).sum()
    try:
        out.backward()
    except NotImplementedError:
        raise
    except RuntimeError:  # nothing was recorded
        return None, None
    return x.grad, y.grad


@run_in_worker
def names_of_classes(a, b):
    x, y, marked = GradTensor(a), GradTensor(b), GradTensor(b, requires_grad=True)
    results = [x + y, 2 * x, x.exp(), x[0], x.sum(), x / y - 1, marked * x, marked.max()]
    return [type(r).__name__ for r in results], [(r.requires_grad, r.data) for r in results]


@run_in_worker
def gradient_with_options(a, c):
    x = GradTensor(a, requires_grad=True)
    columns = x.sum(axis=0, keepdims=True) * c
    rows = x.max(axis=1) ** 2
    (columns.sum() + rows.sum()).backward()
    return x.grad


@run_in_worker
def plain_on_the_left(a, c, m):
    found = []
    for other in (Tensor(c), c):
        for operation in (
            lambda x, other=other: other + x,
            lambda x, other=other: other - x,
            lambda x, other=other: other * x,
            lambda x, other=other: other / x,
            lambda x: 2.0 / x + (3 - x),
        ):
            x = GradTensor(a, requires_grad=True)
            (operation(x) * c).sum().backward()
            found.append(x.grad)
        x = GradTensor(a, requires_grad=True)
        ((Tensor(m) if isinstance(other, Tensor) else m) @ x).sum().backward()
        found.append(x.grad)
    return found


@run_in_worker
def shared(a, c):
    x = GradTensor(a, requires_grad=True)
    b = x + x
    (b + b).sum().backward()
    first = np.array(x.grad)
    (x * c).sum().backward()
    return first, x.grad


@run_in_worker
def long_chain(a, length):
    import gc

    gc.disable()  # it would look at all these objects again and again
    try:
        x = GradTensor(a, requires_grad=True)
        y = x * 1
        for _ in range(length):
            y = y + 1.0
        (y * y).sum().backward()
        return x.grad
    finally:
        gc.enable()


class TestSubclass:
    @pytest.mark.points(1)
    def test_both_arguments(self, student, rng):
        """The gradient of sum(x * y + x) is y + 1 for x and x for y, when both are marked."""
        a, b = rng.normal(size=(2, 3, 4))
        describe_input("two (3, 4) GradTensors, both with requires_grad=True")
        with recognise(LEAVES, AttributeError):
            to_a, to_b = product(student, a, b, True, True)
        symptom(FORGETS, to_a is None and to_b is None)
        assert_close(to_a, b + 1)
        assert_close(to_b, a)

    @pytest.mark.points(1)
    def test_either_argument(self, student, rng):
        """One marked argument is enough, on either side; the grad of an unmarked one stays None."""
        a, b = rng.normal(size=(2, 5))
        both = product(student, a, b, True, True)
        describe_input("x * y + x, where only x is marked")
        to_a, to_b = product(student, a, b, True, False)
        symptom(ALL_MARKED, to_a is None and both[0] is not None)
        assert_close(to_a, b + 1)
        assert to_b is None
        describe_input("x * y + x, where only y is marked")
        to_a, to_b = product(student, a, b, False, True)
        symptom(FIRST_ONLY, to_b is None and both[0] is not None)
        assert_close(to_b, a)
        assert to_a is None

    @pytest.mark.points(1)
    def test_results_stay_in_the_class(self, student, rng):
        """GradTensor + GradTensor is a GradTensor, marked only if one of the arguments is."""
        a, b = rng.random((2, 4)) + 0.5
        describe_input("+, *, exp, an index, sum, / and max of GradTensors, marked ones and others")
        with recognise(LEAVES, AttributeError):
            classes, results = names_of_classes(student, a, b)
        symptom(LEAVES, "Tensor" in classes)
        assert classes == ["GradTensor"] * 8
        expected = [a + b, 2 * a, np.exp(a), a[0], a.sum(), a / b - 1, b * a, b.max()]
        for i, value in enumerate(expected):
            requires_grad, actual = results[i]
            assert_close(actual, value)
            assert requires_grad is (i >= 6)

    @pytest.mark.points(0.5)
    def test_options(self, student, rng):
        """Options such as axis and keepdims reach the rule as they reached the operation."""
        a, c = rng.normal(size=(3, 5)), rng.normal(size=(1, 5))
        describe_input("sum(axis=0, keepdims=True) and max(axis=1) of a (3, 5) GradTensor")
        top = a.max(axis=1, keepdims=True)
        assert_close(gradient_with_options(student, a, c), c + 2 * top * (a == top))

    @pytest.mark.points(0.5)
    def test_plain_operands_on_the_left(self, student, rng):
        """Tensor + GradTensor, array + GradTensor and number + GradTensor pass the gradient on."""
        a, c, m = rng.random((4, 3)) + 0.5, rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
        describe_input("+, -, *, / and @ with a Tensor, an array or a number on the left")
        with recognise(LEAVES, AttributeError):
            found = plain_on_the_left(student, a, c, m)
        columns = np.repeat(m.sum(axis=0)[:, None], 3, axis=1)
        expected = [c, -c, c * c, -c * c / a**2, -c * (2 / a**2 + 1), columns]
        for i, gradient in enumerate(expected * 2):
            assert_close(found[i], gradient)

    @pytest.mark.points(0.5)
    def test_shared_values(self, student, rng):
        """A value used twice receives both gradients, and a second backward() adds to the first."""
        a, c = rng.normal(size=(2, 4))
        describe_input("b = x + x; b + b, and then another loss of the same x")
        first, second = shared(student, a, c)
        assert_close(first, np.full(4, 4.0))
        assert_close(second, 4 + c)

    @pytest.mark.points(0.5)
    def test_long_chain(self, student, rng):
        """A chain of thousands of operations works, and the gradient has the dtype of the data."""
        a = rng.normal(size=3).astype(np.float32)
        describe_input("1,200 additions to a float32 GradTensor")
        assert_close(long_chain(student, a, 1200), 2 * (a + np.float32(1200)), dtype=np.float32)


# Tape


@run_in_worker
def tape_of_one(a, c):
    x = Tensor(a)
    with GradientTape() as tape:
        tape.watch(x)
        y = (x * x * c).sum()
    g = tape.gradient(y, x)
    if isinstance(g, (list, tuple)):
        return [np.asarray(one.data) for one in g]
    return np.asarray(g.data)


@run_in_worker
def tape_of_several(arrays, order):
    tensors = [Tensor(a) for a in arrays]
    with GradientTape() as tape:
        for t in tensors:
            tape.watch(t)
        a, b, c = tensors
        y = (a * b + c * c * a).sum()
    g = tape.gradient(y, type(order)(tensors[i] for i in order))
    if isinstance(g, (list, tuple)):
        return [np.asarray(one.data) for one in g]
    return np.asarray(g.data)


@run_in_worker
def tape_with_an_idler(a, b):
    x, idler, y = Tensor(a), Tensor(a), Tensor(b)
    with GradientTape() as tape:
        for t in (x, idler, y):
            tape.watch(t)
        idler.exp()
        z = (x * y).sum()
    g = tape.gradient(z, [x, idler, y])
    return [None if one is None else np.asarray(one.data) for one in g]


@run_in_worker
def tape_of_many_numbers(a, b):
    x, y = Tensor(a), Tensor(b)
    with GradientTape() as tape:
        tape.watch(x)
        tape.watch(y)
        z = (x + y) * x
    return [np.asarray(g.data) for g in tape.gradient(z, [x, y])]


@run_in_worker
def tape_after_an_exception(a):
    def methods():
        names = ("__add__", "__mul__", "__getitem__", "exp", "sum")
        return [vars(Tensor).get(name) for name in names]

    def connected(tape, y, x):
        try:
            g = tape.gradient(y, x)
        except ValueError:  # never seen
            return False
        return g is not None and bool(np.any(g.data))

    x, before, escaped = Tensor(a), methods(), False
    try:
        with GradientTape() as broken:
            broken.watch(x)
            x * x
            raise KeyError("on purpose")
    except KeyError:
        escaped = True
    restored = methods() == before
    later = connected(broken, (x * x).sum(), x)
    with GradientTape() as tape:
        tape.watch(x)
        y = (x * x * x).sum()
    g = np.asarray(tape.gradient(y, x).data)
    return escaped, restored and methods() == before, later, g


@run_in_worker
def strangers_on_the_tape(a, times):
    def connected(tape, y, x):
        try:
            g = tape.gradient(y, x)
        except ValueError:  # never seen
            return False
        return g is not None and bool(np.any(g.data))

    with GradientTape() as tape:
        x = Tensor(a)
        tape.watch(x)
        unwatched = Tensor(a)
        before = connected(tape, unwatched * 2.0, unwatched)
        strangers = []
        for _ in range(times):
            tape.watch(Tensor(a))  # gone at once: its id is free
            t = Tensor(a)
            strangers.append((t, t * 2.0))
        y = (x * x).sum()
    after = [connected(tape, result, t) for t, result in strangers]
    return before, after, np.asarray(tape.gradient(y, x).data)


class TestTape:
    @pytest.mark.points(1)
    def test_one_source(self, student, rng):
        """For one source, tape.gradient(y, x) is the gradient of y, of the shape of x."""
        a, c = rng.normal(size=(2, 3, 2))
        describe_input("sum(c x²) of a (3, 2) Tensor")
        expected = 2 * a * c
        assert_close(
            tape_of_one(student, a, c), expected, symptoms={LIST_OR_TENSOR: expected[None]}
        )

    @pytest.mark.points(1)
    def test_several_sources(self, student, rng):
        """For a list or tuple of sources, tape.gradient gives the list of their gradients, in that
        order."""
        arrays = [rng.normal(size=4) for _ in range(3)]
        a, b, c = arrays
        gradients = [b + c * c, a, 2 * c * a]
        for order in ([0, 1, 2], [2, 0], (2, 1, 0), [1]):
            describe_input(f"a {type(order).__name__} of {len(order)} of three watched Tensors")
            expected = np.array([gradients[i] for i in order])
            found = tape_of_several(student, arrays, order)
            assert_close(found, expected, symptoms={LIST_OR_TENSOR: expected[0]})

    @pytest.mark.points(0.5)
    def test_unused_source(self, student, rng):
        """The gradient of a source that the target doesn't depend on is None, in its place."""
        a, b = rng.normal(size=(2, 3))
        describe_input("three watched Tensors, the second of them unused")
        found = tape_with_an_idler(student, a, b)
        assert len(found) == 3
        assert_close(found[0], b)
        assert_close(found[2], a)
        assert found[1] is None

    @pytest.mark.points(0.5)
    def test_target_of_many_numbers(self, student, rng):
        """A target of many numbers counts as their sum; gradients have the shape of the source."""
        a, b = rng.normal(size=(3, 4)), rng.normal(size=4)
        describe_input("(x + y) * x for shapes (3, 4) and (4,)")
        found = tape_of_many_numbers(student, a, b)
        assert_close(found[0], 2 * a + b)
        assert_close(found[1], a.sum(axis=0))

    @pytest.mark.points(0.5)
    def test_exception_in_the_block(self, student, rng):
        """An exception leaves the block and the tape is closed: Tensor's own methods are back."""
        a = rng.random(3) + 0.5
        describe_input("a tape whose block raised, and one after it")
        escaped, restored, later, gradient = tape_after_an_exception(student, a)
        assert escaped is True
        assert_close(gradient, 3 * a * a)
        assert later is False
        assert restored is True

    @pytest.mark.points(0.5)
    def test_tensors_that_are_gone(self, student, rng):
        """A tape knows a tensor by more than its id, which Python gives to the next one."""
        a = rng.random(3) + 0.5
        describe_input("tensors made after other, watched ones were gone")
        before, after, gradient = strangers_on_the_tape(student, a, 40)
        assert_close(gradient, 2 * a)
        assert after == [before] * 40


# Functional


@run_in_worker
def value_and_gradient(a, c, summed):
    def f(t):
        many = (t * c).exp() + t
        return many.sum() if summed else many

    value, gradient = value_and_grad(f)(Tensor(a))
    return np.asarray(value.data), np.asarray(gradient.data)


@run_in_worker
def gradient_only(a):
    f = grad(lambda t: (t.maximum(0) * t).sum())
    x = Tensor(a)
    f(x)
    return np.asarray(f(x).data), x.data


@run_in_worker
def gradient_beside_a_constant(a):
    x = Tensor(a)
    return np.asarray(grad(lambda t: (t * x * x).sum())(x).data)


@run_in_worker
def after_a_failure(a):
    def fails(t):
        raise KeyError(t * 2)

    x, before = Tensor(a), vars(Tensor)["__mul__"]
    try:
        grad(fails)(x)
    except KeyError:
        restored = vars(Tensor)["__mul__"] is before
        value, gradient = value_and_grad(lambda t: (t * t).sum())(x)
        return restored, np.asarray(value.data), np.asarray(gradient.data)


@run_in_worker
def gradient_of_a_constant(a):  # a Tensor of zeros, whose exponentials are ones
    return np.asarray(grad(lambda t: Tensor([2.0]) * 3)(Tensor(a)).exp().data)


@run_in_worker
def gradient_of_a_value(a):
    value = lambda t: value_and_grad(lambda u: (u * u * u).sum())(t)[0]  # noqa: E731
    return np.asarray(grad(value)(Tensor(a)).data)


class TestFunctional:
    @pytest.mark.points(0.5)
    def test_value_and_gradient(self, student, rng):
        """value_and_grad(f)(x) is the pair of f(x) and the gradient of f at x."""
        a, c = rng.normal(size=(2, 2, 3))

        def check():
            describe_input("sum(exp(c x) + x) of a (2, 3) Tensor")
            first, second = value_and_gradient(student, a, c, True)
            value, gradient = (np.exp(a * c) + a).sum(), c * np.exp(a * c) + 1
            assert_close(first, value, symptoms={SWAPPED: gradient})
            assert_close(second, gradient, symptoms={NOT_RECORDED: np.zeros((2, 3))})

        with_any_tape(student, check)

    @pytest.mark.points(0.5)
    def test_many_numbers(self, student, rng):
        """Where f gives many numbers, they are the value, and the gradient is that of their sum."""
        a, c = rng.normal(size=(2, 2, 3))

        def check():
            describe_input("exp(c x) + x of a (2, 3) Tensor")
            first, second = value_and_gradient(student, a, c, False)
            gradient = c * np.exp(a * c) + 1
            assert_close(first, np.exp(a * c) + a, symptoms={SWAPPED: gradient})
            assert_close(second, gradient, symptoms={NOT_RECORDED: np.zeros((2, 3))})

        with_any_tape(student, check)

    @pytest.mark.points(0.5)
    def test_gradient_only(self, student, rng):
        """grad(f)(x) is the gradient alone, each time it is called, and leaves x as it was."""
        a = rng.normal(size=(4, 2)).astype(np.float32)

        def check():
            describe_input("sum(relu(x) * x) of a float32 Tensor, asked for twice")
            gradient, x = gradient_only(student, a)
            value = (np.maximum(a, 0) ** 2).sum()
            assert_close(
                gradient, 2 * np.maximum(a, 0), dtype=np.float32, symptoms={SWAPPED: value}
            )
            assert_close(x, a)
            describe_input("a function that does not use its argument")
            zeros = gradient_of_a_constant(student, a)
            assert_close(zeros, np.ones((4, 2)), dtype=np.float32)

        with_any_tape(student, check)

    @pytest.mark.points(1)
    def test_fresh_variable(self, student, rng):
        """grad(lambda t: (t * x * x).sum())(x) is x²: the x in the function is a constant."""
        a = rng.random(4) + 0.5

        def check():
            describe_input(
                "a function that also uses the very Tensor at which it is differentiated"
            )
            assert_close(
                gradient_beside_a_constant(student, a), a * a, symptoms={NOT_FRESH: 3 * a * a}
            )

        with_any_tape(student, check)

    @pytest.mark.points(0.5)
    def test_exception_in_the_function(self, student, rng):
        """An exception in f reaches the caller, and the next gradient is right."""
        a = rng.normal(size=3)

        def check():
            describe_input("a function that raises, and one after it")
            restored, value, gradient = after_a_failure(student, a)
            assert_close(gradient, 2 * a, symptoms={SWAPPED: (a * a).sum()})
            assert_close(value, (a * a).sum())
            assert restored is True

        with_any_tape(student, check)


# Nested


@run_in_worker
def derivative(order, a):
    def cube(t):
        return (t**3).sum()

    def slope(f):
        return lambda t: grad(f)(t).sum()

    f = cube
    for _ in range(order - 1):
        f = slope(f)
    g = grad(f)(Tensor(a))
    return np.zeros_like(a) if g is None else np.asarray(g.data)


@run_in_worker
def by_two_tapes(a):
    x = Tensor(a)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = (x * x * x).sum()
        slope = inner.gradient(y, x).sum()
    return np.asarray(outer.gradient(slope, x).data)


@run_in_worker
def confusing(a):
    return np.asarray(grad(lambda u: u * grad(lambda v: u + v)(u))(Tensor(a)).data)


@run_in_worker
def confusing_products(a):
    return np.asarray(grad(lambda u: (u * grad(lambda v: (u * v).sum())(u)).sum())(Tensor(a)).data)


@run_in_worker
def hessian_of_cross_entropy(z, target):
    from tinytorch import cross_entropy

    slope = grad(lambda t: cross_entropy(t, [target]))
    rows = [grad(lambda t, i=i: slope(t)[0, i])(Tensor(z)) for i in range(z.shape[1])]
    return [np.zeros(z.shape[1]) if row is None else np.asarray(row.data)[0] for row in rows]


def cut_off(student, a, wrong):
    """The symptom of a lost connection: the first derivative is right, and another `wrong`."""
    first = derivative(student, 1, a)
    right = type(first) is np.ndarray and first.shape == a.shape and np.allclose(first, 3 * a * a)
    return {CUT: wrong} if right else {}


class TestNested:
    @pytest.mark.points(0.5)
    def test_second_derivative(self, student, rng):
        """The second derivative of x³ is 6 x: grad may be applied to a function that uses grad."""
        a = rng.random(3) + 0.5

        def check():
            describe_input("grad(lambda t: grad(cube)(t).sum())")
            symptoms = cut_off(student, a, np.zeros(3))
            assert_close(derivative(student, 2, a), 6 * a, symptoms=symptoms)

        with_any_tape(student, check)

    @pytest.mark.points(0.25)
    def test_a_tape_records_a_tape(self, student, rng):
        """A gradient that is asked of a tape is a Tensor, which an outer tape has recorded."""
        a = rng.random(3) + 0.5
        describe_input("the gradient of x³, asked for while an outer tape is open")
        assert_close(by_two_tapes(student, a), 6 * a)

    @pytest.mark.points(0.25)
    def test_third_derivative(self, student, rng):
        """The third derivative of x³ is 6."""
        a = rng.random(3) + 0.5

        def check():
            describe_input("grad within grad within grad")
            symptoms = cut_off(student, a, np.zeros(3))
            assert_close(derivative(student, 3, a), np.full(3, 6.0), symptoms=symptoms)

        with_any_tape(student, check)

    @pytest.mark.points(0.5)
    def test_perturbation_confusion(self, student, rng):
        """An inner grad takes the outer variable for a constant: a · d(a+b)/db has the slope 1."""
        a = rng.random(3) + 0.5

        def check():
            describe_input("a function that hands its own argument to a grad inside")
            assert_close(confusing(student, a), np.ones(3), symptoms={NOT_FRESH: np.full(3, 2.0)})
            assert_close(confusing_products(student, a), 2 * a, symptoms={NOT_FRESH: 4 * a})

        with_any_tape(student, check)

    @pytest.mark.points(0.25)
    def test_derivative_of_the_value(self, student, rng):
        """The value that value_and_grad gives is connected, too: its slope is the gradient."""
        a = rng.random(3) + 0.5

        def check():
            describe_input("a function whose result is the value of an inner value_and_grad")
            slope = gradient_of_a_value(student, a)
            assert_close(slope, 3 * a * a, symptoms={CUT_VALUE: np.zeros(3)})

        with_any_tape(student, check)

    @pytest.mark.points(0.25)
    def test_hessian(self, student, rng):
        """The second derivatives of the cross-entropy of logits are diag(p) - p pᵀ, p = softmax."""
        z, target = rng.normal(size=(1, 4)), int(rng.integers(4))
        p = np.exp(z[0]) / np.exp(z[0]).sum()

        def check():
            describe_input("every pair of four logits")
            symptoms = cut_off(student, z[0], np.zeros((4, 4)))
            assert_close(
                hessian_of_cross_entropy(student, z, target),
                np.diag(p) - np.outer(p, p),
                symptoms=symptoms,
            )

        with_any_tape(student, check)


# Agree


def gradients(design, x, w, v):
    """The gradients of many functions at `x` (4, 3), by one of the designs: {name: array}."""
    import tinytorch as tt

    Tensor = tt.Tensor

    targets = np.arange(12).reshape(4, 3) % 2  # others a right loss may weigh as it likes
    functions = {
        "relu": tt.relu,
        "sigmoid": tt.sigmoid,
        "tanh": tt.tanh,
        "gelu": tt.gelu,
        "softmax": tt.softmax,
        "log_softmax": tt.log_softmax,
        "cross_entropy": lambda t: tt.cross_entropy(t, [0, 2, 1, 1]),
        "binary_cross_entropy": lambda t: tt.binary_cross_entropy(tt.sigmoid(t), targets),
        "matrix by matrix": lambda t: (t @ w).exp(),
        "matrix by vector": lambda t: t @ v,
        "vector by matrix": lambda t: np.ones(4) @ t,
        "a batch of matrices": lambda t: t.reshape(2, 2, 3) @ w,
        "t.T @ t": lambda t: t.T @ t,
        "transpose with axes": lambda t: t.reshape(2, 2, 3).transpose(1, 2, 0)[:, 1] * t[0, 0],
        "an index twice": lambda t: t[[0, 0, 2]] ** 2,
        "a slice": lambda t: t[1:, ::2] * t[:3, 1:],
        "division": lambda t: 2 / (t * t + 1) - t,
        "mean over an axis": lambda t: t.mean(0),
        "max of rows": lambda t: t.max(1, keepdims=True) * t,
        "logarithm": lambda t: (t * t + 1).log().sum(axis=-1),
        "reshape": lambda t: t.reshape(3, 4) @ t,
        "broadcasting": lambda t: t + t[0] * t[:, :1],
    }

    def squares(f):
        return lambda t: (f(t) * f(t)).sum()

    def gradient(f):
        if design == "value":
            return np.asarray(f(Tensor(x)).data)
        if design == "patch":
            t = Tensor(x, requires_grad=True)
            f(t).backward()
            return t.grad
        if design == "subclass":
            t, plain = GradTensor(x, requires_grad=True), Tensor.maximum

            def handed_over(a, b):
                return GradTensor.maximum(a, b) if isinstance(b, GradTensor) else plain(a, b)

            # The notebook shows that Tensor(0).maximum(t) escapes from this design: a relu that
            # begins so is right, and none of the student's business here.
            Tensor.maximum = handed_over
            try:
                f(t).backward()
            finally:
                Tensor.maximum = plain
            return t.grad
        if design == "tape":
            t = Tensor(x)
            with GradientTape() as tape:
                tape.watch(t)
                y = f(t)
            return np.asarray(tape.gradient(y, t).data)
        return np.asarray(grad(f)(Tensor(x)).data)

    found = {}
    for name, f in functions.items():
        try:
            found[name] = gradient(squares(f))
        except Exception as error:
            found[name] = type(error).__name__
    return found


gradients_by = run_in_worker(gradients)


# The functions of 02 to 04 may be the student's own, and hold a constant such as gelu's in float32.
OWN = "relu sigmoid tanh gelu softmax log_softmax cross_entropy binary_cross_entropy".split()

table = []  # what `trusted_gradients` found for this submission: the three designs share it


def trusted_gradients(reference, rng):
    """Random x, w, v and the gradients there, by the reference's upgraded Tensor, and checked by
    central differences in one direction.
    """
    if table:
        return table[0]
    x, w, v = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), rng.normal(size=3)
    reference.enable_gradients()
    try:
        expected = gradients("patch", x, w, v)
    finally:
        reference.disable_gradients()
    step = 1e-6 * rng.normal(size=x.shape)
    above, below = gradients("value", x + step, w, v), gradients("value", x - step, w, v)
    for name, g in expected.items():
        assert_close((above[name] - below[name]) / 2, (g * step).sum(), rtol=1e-5, atol=1e-12)
    table.append((x, w, v, expected))
    return table[0]


class TestAgree:
    @pytest.mark.points(3)
    @pytest.mark.parametrize("design", ["subclass", "tape", "function"])
    def test_agrees(self, student, reference, rng, design):
        """The subclass, the tape and grad(f) give the gradients of the upgraded Tensor."""
        x, w, v, expected = trusted_gradients(reference, rng)

        def check():
            describe_input(f"a table of functions, by the {design}")
            found = gradients_by(student, design, x, w, v)
            for name, gradient in expected.items():
                describe_input(f"{name}, by the {design}")
                rtol, atol = (1e-5, 1e-6) if name in OWN else (1e-9, 1e-11)  # nudging is coarser
                assert_close(found[name], gradient, rtol=rtol, atol=atol)

        with_any_tape(student, check) if design == "function" else check()
