"""The tester's side of the boundary: the student's objects, by proxy.

`Student` gives the names of a submission. What comes back is plain data or a `Proxy`, whose
operations run in the worker. A proxy refuses whatever would let student code decide: comparisons,
truth, hashing and implicit conversion to an array.
"""

from __future__ import annotations

import builtins
import re
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from proctor.processes import frames as codec
from proctor.processes.countdown import Countdown

ENDED = "the process that ran the code ended"
LONG = 0.02  # seconds after which an answer is waited for without hurry
GRACE = 2.0  # seconds that a worker has, beyond its own alarm, before it counts as stuck
MAX_TRAFFIC = 1 << 30  # bytes that one submission may send
MAX_ITEMS = 100_000  # items that an iteration over a proxy may give


class WorkerGone(Exception):
    """The worker ended, got stuck or broke the protocol: nothing more can be asked of it."""


class RemoteError(Exception):
    """An exception of the student's code; also an instance of the built-in exception it derives
    from.
    """

    remote_name: str = "Exception"
    builtin_name: str = "Exception"
    remote_traceback: str = ""
    missing: str | None = None  # the name that the notebook was asked for and does not define
    syntax_error: str = ""  # of a cell that may have been meant to define it


# What steers the one who catches it is no verdict: it counts as an ordinary failure.
_STEERING = (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit)
_BUILTIN = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _STEERING)
}
_classes: dict[tuple[str, str], type[RemoteError]] = {}


def _exception(details: Any) -> RemoteError:
    """The exception that stands for what the worker says it raised."""
    # Plain text only: to ask an object of the student's for its text may raise the next exception.
    plain = type(details) is list and [type(part) for part in details] == [list, str, str]
    if not plain or any(type(name) is not str for name in details[0]):
        raise codec.ProtocolError("malformed exception")
    names, message, trace = details[0][:16], details[1][:2000], details[2][:4000]
    steering = any(name in {kind.__name__ for kind in _STEERING} for name in names)
    base = "RuntimeError" if steering else next((n for n in names if n in _BUILTIN), "Exception")
    name = names[0] if names and re.fullmatch(r"[A-Za-z_]\w{0,60}", names[0]) else base
    if (name, base) not in _classes:
        try:
            kind = type(name, (RemoteError, _BUILTIN[base]), {})
            kind(message)
        except TypeError:  # a layout or a signature of its own, like UnicodeDecodeError
            kind = type(name, (RemoteError,), {})
        _classes[name, base] = kind
    error = _classes[name, base](message)
    error.remote_name, error.builtin_name, error.remote_traceback = name, base, trace
    return error


class Channel:
    """Requests to one worker and its answers. Not for two threads."""

    def __init__(self, frames: codec.Frames, timeout: float) -> None:
        self.frames, self.timeout = frames, timeout
        self.proxies: weakref.WeakValueDictionary[int, Proxy] = weakref.WeakValueDictionary()
        self.dropped: list[int] = []
        self.gone: str | None = None
        self.traffic = 0
        self.seconds = 0.0
        self.on_wait: Callable[[], None] = lambda: None  # called before a long wait

    def request(
        self, name: str, *arguments: Any, seconds: float | None = None, **options: Any
    ) -> Any:
        """Ask the worker; its value, or its exception raised here."""
        if self.gone:
            raise WorkerGone(self.gone)
        limit = self.timeout if seconds is None else seconds
        dropped = [number for number in self.dropped if number not in self.proxies]
        body = codec.encode((name, arguments, options, float(limit), dropped), self._number)
        self.dropped = []
        started = time.monotonic()
        try:
            self.frames.send(body)
            if not self.frames.wait(LONG):
                self.on_wait()
            reply = self.frames.receive(Countdown(limit + GRACE))
            self.traffic += len(reply)
            if self.traffic > MAX_TRAFFIC:
                raise codec.ProtocolError("too much data")
            answer = codec.decode(reply, self._proxy)
            if type(answer) is not tuple or len(answer) != 2 or type(answer[0]) is not bool:
                raise codec.ProtocolError("malformed answer")
            error = None if answer[0] else _exception(answer[1])
        except (EOFError, OSError) as problem:
            self.gone = (
                "the code did not come back in time and could not be interrupted"
                if isinstance(problem, TimeoutError)
                else ENDED
            )
            raise WorkerGone(self.gone) from None
        except codec.ProtocolError as problem:
            self.gone = f"the process that ran the code sent something unreadable ({problem})"
            raise WorkerGone(self.gone) from None
        finally:
            self.seconds += time.monotonic() - started
        if error is not None:
            raise error
        return answer[1]

    def _number(self, value: Any) -> int:
        if type(value) is Proxy and object.__getattribute__(value, "_channel") is self:
            number: int = object.__getattribute__(value, "_number")
            return number
        raise TypeError(
            f"a {type(value).__name__} cannot be handed to the student's code: plain data and the "
            "student's own objects can; a function must be defined in a read-only cell, or in a "
            "driver that runs in the worker"
        )

    def _proxy(self, number: int) -> Proxy:
        proxy = self.proxies.get(number)
        if proxy is None:
            proxy = self.proxies[number] = Proxy(self, number)
        return proxy


def _refuse(self: Proxy, *_: object) -> NoReturn:
    raise TypeError(
        "the student's object would decide this: fetch its data (.data, .grad, .shape) and compare "
        "that"
    )


class Proxy:
    """An object of the student's, in the worker. One worker object is always one proxy."""

    __slots__ = ("__weakref__", "_channel", "_number")
    _channel: Channel
    _number: int

    def __init__(self, channel: Channel, number: int) -> None:
        object.__setattr__(self, "_channel", channel)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__")
            and name.endswith("__")
            and name not in ("__name__", "__doc__", "__dict__")
        ):
            raise AttributeError(name)  # no __array__, no __array_interface__
        return self._channel.request("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._channel.request("setattr", self, name, value)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._channel.request("call", self, *arguments, **options)

    def __del__(self) -> None:
        self._channel.dropped.append(self._number)

    def __instancecheck__(self, instance: Any) -> bool:
        """A claim: the worker says whether `instance` is one."""
        return bool(self._channel.request("isinstance", instance, self) is True)

    def __repr__(self) -> str:
        return self._text("repr")

    def __str__(self) -> str:
        return self._text("str")

    def _text(self, name: str) -> str:
        text = self._channel.request(name, self)
        if type(text) is not str:
            raise TypeError(f"{name}() of the student's object is no string")
        return text[:10_000]

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __len__(self) -> int:
        length = self._channel.request("len", self)
        if type(length) is not int or not 0 <= length < 1 << 31:
            raise TypeError("len() of the student's object is no length")
        return length

    def __iter__(self) -> Iterator[Any]:
        iterator = self._channel.request("iter", self)
        for _ in range(MAX_ITEMS):
            try:
                item = self._channel.request("next", iterator)
            except RemoteError as error:
                if error.remote_name == "StopIteration":
                    return
                raise
            yield item
        raise RuntimeError(f"the student's object gave more than {MAX_ITEMS} items")

    def __next__(self) -> Any:
        try:
            return self._channel.request("next", self)
        except RemoteError as error:
            if error.remote_name == "StopIteration":
                raise StopIteration from None
            raise

    def __contains__(self, item: Any) -> NoReturn:
        _refuse(self)

    def __float__(self) -> float:
        _refuse(self)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        _refuse(self)

    __array_ufunc__ = None  # sends `ndarray + proxy` to the student's __radd__
    __hash__ = None  # type: ignore[assignment]
    __bool__ = __int__ = __index__ = __complex__ = _refuse
    __eq__ = __ne__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse


def _install(name: str, operation: str, reflected: bool = False) -> None:
    def forward(self: Proxy, *operands: Any) -> Any:
        return self._channel.request(operation, self, *operands)

    def backward(self: Proxy, other: Any) -> Any:
        return self._channel.request(operation, other, self)

    setattr(Proxy, name, backward if reflected else forward)


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "lshift",
    "rshift",
):
    _install(f"__{_name}__", _name)
    _install(f"__r{_name}__", _name, reflected=True)
for _name in ("and", "or", "xor"):
    _install(f"__{_name}__", _name if _name == "xor" else f"{_name}_")
for _name in ("iadd", "isub", "imul", "itruediv", "imatmul", "neg", "pos", "abs", "invert"):
    _install(f"__{_name}__", _name)
for _name in ("getitem", "setitem", "delitem"):
    _install(f"__{_name}__", _name)


class Student:
    """The names of a submission, by proxy: `student.Tensor([1.0, 2.0])` runs in the worker."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._syntax_errors: list[str] = []  # of its cells

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._channel.request("global", name)
        except RemoteError as error:
            error.missing = name
            error.syntax_error = next(iter(self._syntax_errors), "")
            raise

    def _lift(self, name: str, source: str, data: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return self._channel.request("lift", name, source, data, **options)
