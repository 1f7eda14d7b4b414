"""Answers the tester's requests about one notebook: its cells, its objects, the course's package.

It runs in the worker, jailed or not, and needs nothing but Python and IPython.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import importlib
import linecache
import marshal
import math
import operator
import signal
import site
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from proctor.processes import frames as codec
from proctor.processes.countdown import TICK
from proctor.worker.shell import Shell

READY = b"ready"  # the worker's first word, before any of the student's code
# What is imported at first use: a fork that has to do it pays more for it than for all the rest.
LAZY = ("numpy.random", "numpy.linalg", "numpy.fft", "xml.dom.minidom")
WARM = (
    "from IPython.display import HTML; HTML('<p>warm</p>')",
    "print('warm')",
    "1 / 0",
)

# A TimeoutError by name; by descent nothing that `except OSError` or `except Exception` swallows.
TimeIsUp = type("TimeoutError", (BaseException,), {})


class Alarm:
    """Interrupts what runs too long, again and again until it gives up.

    It rings often, and a ring takes off what passed since the last one; but no more than two rings'
    time or the processor time that was used, whatever is more: a process that was stopped, or not
    scheduled, has not run for long.
    """

    def __init__(self) -> None:
        self.left: float | None = None
        self.step = TICK
        self.at = _now()
        self._answer()

    def _answer(self) -> None:
        """Let `_ring` be called whenever it rings."""
        signal.signal(signal.SIGALRM, self._ring)

    def _every(self, seconds: float) -> None:
        """Let it ring so often; 0: no more."""
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def _ring(self, *_: object) -> None:
        if self.left is None:
            return
        (then, used), self.at = self.at, _now()
        self.left -= min(self.at[0] - then, max(2 * self.step, self.at[1] - used))
        if self.left <= 0:
            raise TimeIsUp("this ran longer than it may")

    @contextlib.contextmanager
    def __call__(self, seconds: float) -> Iterator[None]:
        self.step = seconds / math.ceil(seconds / TICK)
        self.at, self.left = _now(), seconds
        self._every(self.step)
        try:
            yield
        finally:
            self.left = None
            self._every(0)


def _now() -> tuple[float, float]:
    """The time, and the processor time of this process."""
    return time.monotonic(), time.process_time()


_OPERATORS = (
    "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift neg pos abs invert "
    "getitem setitem delitem contains iadd isub imul itruediv imatmul eq ne lt le gt ge"
)
_BUILTINS = (
    "len iter next repr str isinstance type dir callable float int divmod round list setattr"
)
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in _OPERATORS.split()},
    **{name: getattr(builtins, name) for name in _BUILTINS.split()},
}


class Server:
    """Answers requests about the objects of one shell."""

    def __init__(
        self, frames: codec.Frames, shell: Shell, alarm: Alarm, package: Package | None
    ) -> None:
        self.frames, self.shell, self.alarm, self.package = frames, shell, alarm, package
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.count = 0

    def reference(self, value: Any) -> int:
        """The number of an object: one object, one number, for as long as the tester holds it."""
        number = self.numbers.get(id(value))
        if number is None:
            self.count += 1
            number = self.numbers[id(value)] = self.count
            self.objects[number] = value
        return number

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            self.numbers.pop(id(self.objects.pop(number, None)), None)

    def serve(self) -> None:
        """Answer until the tester hangs up."""
        while True:
            try:
                request = self.frames.receive()
            except EOFError:
                return
            self.frames.send(self.answer(request))

    def answer(self, request: bytes) -> bytes:
        try:
            name, arguments, options, seconds, forgotten = codec.decode(
                bytearray(request), self.objects.__getitem__
            )
            with self.alarm(seconds):
                try:
                    result = self.perform(name, arguments, options)
                finally:
                    self.forget(forgotten)
            return codec.encode((True, result), self.reference)
        except BaseException as error:
            names = [str(kind.__name__) for kind in type(error).__mro__][:16]
            try:
                message = str(error)[:2000]
            except BaseException:
                message = ""
            where = "".join(traceback.format_exception(error, limit=-4))
            where = self.shell.with_names(where)[-4000:]
            return codec.encode((False, [names, message, where]), self.reference)

    def perform(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if name == "call":
            return arguments[0](*arguments[1:], **options)
        if name == "get":
            return getattr(*arguments)
        if name == "global":
            return self.lookup(arguments[0])
        if name == "cell":
            return self.shell.run(*arguments)
        if name == "package" and self.package is not None:
            return self.package.empty()
        if name == "module" and self.package is not None:
            return self.package.add(*arguments)
        if name == "lift":
            function, source, data = arguments
            names = self.shell.user_ns
            own = {function: names[function]} if function in names else {}  # a helper called alike
            exec(compile(source, f"<{function}>", "exec"), names)
            driver = names.pop(function)
            names.update(own)
            return driver(*data, **options)
        return _OPERATIONS[name](*arguments, **options)

    def lookup(self, name: str) -> Any:
        """A name of the notebook, else of the course's package."""
        if name in self.shell.user_ns:
            return self.shell.user_ns[name]
        if self.package is not None and hasattr(self.package.module, name):
            return getattr(self.package.module, name)
        raise AttributeError(f"the notebook defines no name '{name}'")


class Package:
    """The course's package: modules without files, added in order; its names are their `__all__`.

    The reference's are made of compiled code: imports resolve, `inspect.getsource` fails. A job may
    empty the package and add modules of the student's: only in a fork, once it is in its jail.
    """

    def __init__(self, name: str, reference: Iterable[tuple[str, str]]) -> None:
        self.name = name
        self.reference: dict[str, types.CodeType] = {}
        self.empty()
        self.extend(reference)

    def extend(self, reference: Iterable[tuple[str, str]]) -> None:
        """Add modules of the reference's, compiled."""
        for stem, code in reference:
            self.reference[stem] = marshal.loads(base64.b64decode(code))
            self.add(stem, None)

    def empty(self) -> None:
        """Begin anew."""
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]
        self.module = sys.modules[self.name] = types.ModuleType(self.name)
        self.module.__path__ = []

    def add(self, stem: str, source: str | None) -> None:
        """Add a module: of this source, or the reference's. One that raises is not there."""
        filename = f"<{self.name}/{stem}.py>"
        if source is None:
            code = self.reference[stem]
        else:
            code = compile(source, filename, "exec")
            lines = source.splitlines(keepends=True)  # for tracebacks
            linecache.cache[filename] = len(source), None, lines, filename
        module = types.ModuleType(f"{self.name}.{stem}")
        sys.modules[module.__name__] = module
        extend = extend_in(vars(module))
        if source is not None:
            vars(module)["extend"] = extend
        try:
            exec(code, module.__dict__)
            if vars(module).get("extend") is extend:
                del vars(module)["extend"]
            public = getattr(
                module, "__all__", [key for key in vars(module) if not key.startswith("_")]
            )
            offered = {key: getattr(module, key) for key in public}
        except BaseException:
            sys.modules.pop(module.__name__, None)
            raise
        setattr(self.module, stem, module)
        vars(self.module).update(offered)


def extend_in(names: dict[str, Any]) -> Callable[[type], type]:
    """The decorator `extend` of notebooks whose classes grow from cell to cell: it adds what stands
    in a class statement to the class of that name. `proctor export` writes such a class in one
    piece; here its pieces come as they were handed in.
    """

    def extend(part: type) -> type:
        whole: type = names.get(part.__name__, part)
        for name, value in vars(part).items():
            if name not in ("__dict__", "__weakref__", "__doc__"):
                setattr(whole, name, value)
        return whole

    return extend


def warm(configuration: dict[str, Any]) -> tuple[Shell, Package | None]:
    """Import what a notebook may need; a shell that is as before the first cell, and the package.

    Configured are the names of the course's package, its `modules`, and of what is imported: it
    must be there if it is one of the `packages`, and need not if it is `wanted`.
    """
    sys.path[:] = installed()
    shell = Shell.warm()
    name, modules = configuration["package"], configuration["modules"]
    package = Package(name, modules) if name else None
    for name in configuration["packages"]:
        importlib.import_module(name)
    for name in (*configuration["wanted"], *LAZY):
        with contextlib.suppress(Exception):  # `from package import name`: a module, or not
            importlib.import_module(name)
    if "matplotlib" in sys.modules:  # what shows its figures in a notebook
        with contextlib.suppress(Exception):
            importlib.import_module("matplotlib_inline.backend_inline")
    for source in WARM:
        shell.run(source)
    shell.reset()  # type: ignore[no-untyped-call]
    shell.user_ns.update(dict.fromkeys(("_", "__", "___"), ""))  # as before the first cell
    shell.execution_count = 1
    return shell, package


def installed() -> list[str]:
    """Where what is installed lies, and nothing that a .pth file or PYTHONPATH points at: a
    course's folder may be there.
    """
    places = {sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()}
    places = {"/lib" if place == "/" else place for place in places if place}  # in a browser
    return [path for path in sys.path if path.startswith((*places,))]
