"""`class Tensor` fits in 50 lines and the gradient upgrade in 100, as the course counts them."""

import pytest

from tests.course.budget import TENSOR, UPGRADE, code_lines, tensor_lines, upgrade_lines


def test_the_tensor_fits() -> None:
    print(f"class Tensor: {tensor_lines()} lines")
    assert tensor_lines() <= TENSOR


def test_the_upgrade_fits() -> None:
    print(f"the upgrade of 05: {upgrade_lines()} lines")
    assert upgrade_lines() <= UPGRADE


SNIPPET = '''"""A module: counted are the lines with a number."""

import math  # 1


# a comment
@decorator  # 2
class A:  # 3
    """A docstring

    of several lines.
    """

    text = """4
    5"""

    def f(self, x):  # 6
        "A docstring too."
        # a comment
        return x  # 7


def b():  # 8
    """Only a docstring."""


c = [1, 2]  # 9
'''


def test_the_counter_counts_code_only() -> None:
    assert code_lines(SNIPPET) == 9
    assert code_lines(SNIPPET, only="A") == 6
    assert code_lines(SNIPPET, without=["A"]) == 3
    assert code_lines(SNIPPET, without=["A", "b"]) == 2


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        code_lines(SNIPPET, without=["B"])


def test_no_style_of_writing_makes_code_shorter_or_longer() -> None:
    crammed = "def f(x): y = x + 1; return y"
    spread = "def f(\n    x\n):\n\n    y = (\n        x + 1\n    )\n\n\n    return y\n"
    assert code_lines(crammed) == code_lines(spread) == 3
    assert code_lines("x = [" + "1, " * 40 + "]") > code_lines("x = [" + "1, " * 20 + "]")
