"""What a hidden suite is written with: comparisons that cannot be fooled, and failures that speak.

A hidden test is ordinary pytest. Three fixtures come from proctor: `student` (the submission,
behind proxies), `reference` (the course's own package) and `rng` (a NumPy generator seeded per
submission and test). What a student is told when a test fails is the first paragraph of its
docstring, the input as `describe_input` says it, and, where the symptom is recognised, a named
`Misconception`. Assertion messages and tracebacks are for the author and never leave the tester.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Misconception",
    "any_passes",
    "assert_close",
    "describe_input",
    "recognise",
    "run_in_worker",
    "symptom",
]


@dataclass(frozen=True)
class Misconception:
    """A wrong idea with a name, known by its symptom.

    `name` is what the instructor counts ("once per path"); `advice` is what the student reads ("The
    gradient is a multiple of the right one: is a node visited once per path?").
    """

    name: str
    advice: str


class Recognised(AssertionError):
    """A failure whose cause is known by name."""

    def __init__(self, misconception: Misconception) -> None:
        super().__init__(misconception.advice)
        self.misconception = misconception


# Relative and absolute tolerance by the coarser of two dtypes. float16 has 10 bits of fraction, so
# neighbours are up to 0.001 of their size apart: four of these steps.
TOLERANCES = {"float16": (4e-3, 1e-3), "float32": (1e-4, 1e-5)}
EXACT = (1e-7, 1e-9)

_input: str = ""


def describe_input(text: str) -> None:
    """Say what kind of input the test is about to use; the last one said is shown on failure."""
    global _input
    _input = text


def take_input() -> str:
    """The kind of input that the test described last; forgets it."""
    global _input
    text, _input = _input, ""
    return text


def _equal(
    actual: np.ndarray, expected: np.ndarray, rtol: float | None, atol: float | None
) -> bool:
    if actual.shape != expected.shape:
        return False
    dtypes = actual.dtype, expected.dtype
    defaults = next((each for name, each in TOLERANCES.items() if np.dtype(name) in dtypes), EXACT)
    rtol = defaults[0] if rtol is None else rtol
    atol = defaults[1] if atol is None else atol
    if np.dtype("float16") in dtypes:  # where a difference or a tolerance may leave its range
        actual, expected = (
            np.asarray(each, np.result_type(each, float)) for each in (actual, expected)
        )
    with np.errstate(all="ignore"):
        return bool(np.all(np.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)))


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    dtype: Any = None,
    symptoms: Mapping[Misconception, Any] | None = None,
) -> None:
    """Assert that `actual`, fetched from the student, is `expected`: same shape, same values.

    `actual` must be a plain array or number (compare `.data`, `.grad` or `.shape`, never a proxy).
    It must be finite wherever `expected` is. Tolerances default to what the coarser dtype of the
    two can hold: float64, float32 or float16. The dtype is compared only when `dtype` is given.
    `symptoms` maps a misconception to the wrong value that it produces, or to a predicate of
    `actual`; a match raises it by name.
    """
    if type(actual) not in (np.ndarray, bool, int, float, complex, list, tuple) and not isinstance(
        actual, np.generic
    ):
        raise AssertionError(f"expected plain numbers, got {type(actual).__name__}")
    try:
        value, wanted = np.asarray(actual), np.asarray(expected)
    except ValueError as error:
        raise AssertionError(f"expected an array, got a ragged list: {error}") from None
    if value.dtype.kind not in "biufc":
        raise AssertionError(f"expected numbers, got dtype {value.dtype}")
    right = _equal(value, wanted, rtol, atol)
    if not right:
        for misconception, wrong in (symptoms or {}).items():
            symptom(
                misconception,
                wrong(value) if callable(wrong) else _equal(value, np.asarray(wrong), rtol, atol),
            )
        if value.shape != wanted.shape:
            raise AssertionError(f"shape {value.shape} instead of {wanted.shape}")
        raise AssertionError(f"values differ:\n{value}\ninstead of\n{wanted}")
    if dtype is not None and value.dtype != np.dtype(dtype):
        raise AssertionError(f"dtype {value.dtype} instead of {np.dtype(dtype)}")


def symptom(misconception: Misconception, seen: Any) -> None:
    """Raise the misconception by name if its symptom was seen."""
    if bool(seen):
        raise Recognised(misconception)


@contextlib.contextmanager
def recognise(misconception: Misconception, *exceptions: type[BaseException]) -> Iterator[None]:
    """Name the misconception when the block raises one of `exceptions`, as in
    `with recognise(RECURSES, RecursionError): y.backward()`."""
    try:
        yield
    except (Recognised, NotImplementedError):  # what is not yet written is no misconception
        raise
    except exceptions as error:
        raise Recognised(misconception) from error


def any_passes(*checks: Callable[[], None]) -> None:
    """Pass if one of the checks passes; otherwise fail as the one did that recognised a
    misconception, or else as the first.

    For a region that is tested end to end and alone, and earns the better of the two.
    """
    failures: list[Exception] = []
    for check in checks:
        try:
            return check()
        except Exception as error:  # the student's exceptions arrive as Exceptions too
            failures.append(error)
    assert failures, "any_passes() needs at least one check"
    raise next((error for error in failures if isinstance(error, Recognised)), failures[0])


class run_in_worker:
    """Decorates a driver that runs in the worker: `driver(student, *data)` sends its source there.

    Inside, the student's names are globals; the driver imports what else it needs in its body and
    returns plain data. It makes loops cheap and may pass callbacks to student code. The student can
    read it, so it holds no expected value.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("def "))
        self.source = "\n".join(lines[start:])
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, student: Any, *data: Any, **options: Any) -> Any:
        return student._lift(self.name, self.source, data, options)
