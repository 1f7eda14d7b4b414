"""What 05 gives to those after it: the upgrade on other people's Tensors, `operation`, the tape's
refusal, the drawing, and the points that the notebook's text promises.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from tests.course.notebooks import notebooks


@pytest.fixture
def tt() -> Iterator[ModuleType]:
    """The reference package, imported anew: enabling gradients changes a class."""
    kept = {name: module for name, module in sys.modules.items() if name.startswith("tinytorch")}
    for name in kept:
        del sys.modules[name]
    yield importlib.import_module("tinytorch")
    for name in [name for name in sys.modules if name.startswith("tinytorch")]:
        del sys.modules[name]
    sys.modules.update(kept)


def triple(tt: ModuleType):
    """3 x, an operation of one's own, with the option to take it more often."""

    def vjp(g, out, x, times=3):
        return (g * times,)

    @tt.operation(vjp)
    def more(x, times=3):
        """So many times x."""
        return tt.Tensor(x.data * times)

    return more


def test_an_operation_works_on_the_plain_class_and_has_its_rule_on_the_upgraded(tt) -> None:
    more = triple(tt)
    assert (more.__name__, more.__doc__) == ("more", "So many times x.")
    assert not hasattr(tt.Tensor, "requires_grad")
    assert np.array_equal(more(tt.Tensor([1.0, 2.0])).data, [3, 6])
    tt.enable_gradients()
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    (more(x, times=4) * x).sum().backward()
    assert np.array_equal(x.grad, [8, 16])


def test_the_upgrade_reaches_aliases_and_inherited_methods_and_takes_itself_back(tt) -> None:
    autograd, plain = sys.modules["tinytorch.autograd"], tt.Tensor

    class Inherited(plain):
        """A Tensor that defines nothing itself, and one method under another name, too."""

    class Base(plain):
        __radd__ = plus = plain.__add__

    Inherited.__bases__ = (Base,)
    for module in (sys.modules["tinytorch.tensor"], autograd):
        module.Tensor = Inherited  # what results and the upgrade are made with
    before = dict(vars(Inherited))
    autograd.enable_gradients()
    x = Inherited([1.0, 2.0], requires_grad=True)
    ((5.0 + x) * x.plus(x)).sum().backward()  # (5 + x) 2x, whose slope is 10 + 4x
    assert np.array_equal(x.grad, [14, 18])
    autograd.disable_gradients()
    assert dict(vars(Inherited)) == before
    assert not hasattr(Inherited([1.0]) + 1, "requires_grad")


def test_a_tape_raises_where_it_has_no_rule(tt) -> None:
    more, x = triple(tt), tt.Tensor([1.0, 2.0])
    with tt.GradientTape() as tape:
        tape.watch(x)
        known, unknown = (x * x).sum(), more(x).sum()
    assert np.array_equal(tape.gradient(known, x).data, [2, 4])
    with pytest.raises(ValueError, match="no rule"):
        tape.gradient(unknown, x)


def test_a_power_of_zero_is_flat_at_zero_too(tt) -> None:
    """A mean may count by x ** 0, as a right solution of 01 does, also where x is 0."""
    tt.enable_gradients()
    x = tt.Tensor([0.0, 2.0], requires_grad=True)
    (x.sum() / (x**0).sum()).backward()
    assert np.array_equal(x.grad, [0.5, 0.5])


def test_the_rules_of_the_main_notebook_are_those_of_the_second(tt) -> None:
    first, second = (sys.modules[f"tinytorch.{name}"] for name in ("autograd", "three_other_ways"))
    shared = {name for name, rule in first.VJPS.items() if second.RULES[name] is rule}
    assert second.RULES.keys() == first.VJPS.keys()
    assert shared == {*"__add__ __mul__ __truediv__ __pow__ exp log reshape".split()}


def test_a_drawing_shows_constants_as_boxes_without_gradients(tt) -> None:
    tt.enable_gradients()
    w, c = tt.Tensor([2.0], requires_grad=True), tt.Tensor([7.0])
    loss = ((w * 3.0 + c) ** 2)[0]
    svg = tt.draw(loss, w=w, c=c)._repr_svg_()
    assert len(re.findall("<rect x='[^']*' y='[^']*' width='100'", svg)) == 8
    assert svg.count(">constant<") == 2 and ">c<" in svg  # 3 and the exponent; c has a name
    texts = re.findall(">([^<>]+)</text>", svg)
    sent = sorted(text for text in texts if text.startswith("← "))
    assert sent == ["← 1", "← 26", "← 26", "← 78"]
    assert "grad 78" in texts
    with pytest.raises(ValueError, match="more than 60 boxes"):
        for _ in range(60):
            loss = loss * 2.0
        tt.draw(loss)


def test_the_points_in_the_text_are_those_of_the_cells() -> None:
    books = {book.name.removesuffix(".ipynb"): book for book in notebooks("05_autograd")}
    main = books["05_autograd"].cells
    promised = [int(row) for row in re.findall(r"^\| Part .*\| (\d+) \|$", main[0].source, re.M)]
    parts: list[float] = []
    of_hidden = {"Rules": 0, "Unbroadcast": 0, "Gradcheck": 2}  # the others belong to the engine
    for cell in main:
        if re.match(r"# Part \d", cell.source):
            parts.append(0)
        if cell.is_hidden_test:
            part = next((n for name, n in of_hidden.items() if cell.id.startswith(name)), 1)
            parts[part] += cell.points
        elif cell.is_graded:
            parts[-1] += cell.points
    assert parts == promised == [30, 40, 10]
    [whole] = [cell for cell in main if cell.id == "Whole"]
    assert whole.points == 18
    visible = next(cell.points for cell in main if cell.id == "check_whole")
    assert 100 - whole.points - visible <= 79, "whose engine trains nothing has at most 79"
    other = books["three_other_ways"].cells
    assert sum(cell.points for cell in other) == 20
    assert "20 points" in other[0].source
