"""The worker: runs the student's cells and answers the tester's requests.

It is a fork of a warm process that holds no test, no answer, no path and no secret. Nothing here is
trusted: student code may take over everything in this file, and the tester believes none of it.
"""

from __future__ import annotations

import ast
import base64
import builtins
import contextlib
import importlib
import marshal
import operator
import os
import random
import re
import signal
import site
import socket
import sys
import sysconfig
import time
import traceback
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from proctor import codec, forks, jail

READY = b"ready"  # the worker's first word, before any of the student's code
# What is imported at first use: a fork that has to do it pays more for it than for all the rest.
LAZY = ("numpy.random", "numpy.linalg", "numpy.fft", "xml.dom.minidom")
WARM = (
    "from IPython.display import HTML; HTML('<p>warm</p>')",
    "print('warm')",
    "1 / 0",
)
MAX_OUTPUT = 1 << 20  # characters that a cell may print; what comes after is dropped

Output = dict[str, Any]


class Outputs:
    """What a cell puts out, in nbformat's words, in order and bounded."""

    def __init__(self) -> None:
        self.items: list[Output] = []
        self.room, self.complained = MAX_OUTPUT, False

    def stream(self, name: str, text: str) -> None:
        if not self._fits(len(text)):
            if name == "stderr" and not self.complained:  # where it decides, that it came counts
                self.complained = True
                self.items.append({"output_type": "stream", "name": name, "text": ["[not shown]"]})
            return
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"].append(text)
        else:
            self.items.append({"output_type": "stream", "name": name, "text": [text]})

    def data(self, kind: str, data: Mapping[str, Any], count: int | None = None) -> None:
        texts = {
            mime: text for mime, text in data.items() if isinstance(text, (str, bytes, dict, list))
        }
        if self._fits(sum(len(str(text)) for text in texts.values())):
            self.items.append({"output_type": kind, "data": texts, "execution_count": count})
        elif kind == "execute_result":  # a value may be a test cell's points
            shown = {"text/plain": str(texts.get("text/plain", ""))[:100]}
            self.items.append({"output_type": kind, "data": shown, "execution_count": count})

    def error(self, name: str, value: str, lines: list[str]) -> None:
        self.items.append(
            {
                "output_type": "error",
                "ename": name,
                "evalue": value[:2000],
                "traceback": lines[-60:],
            }
        )

    def take(self) -> list[Output]:
        items, self.items, self.room, self.complained = self.items, [], MAX_OUTPUT, False
        for item in items:
            if item["output_type"] == "stream":
                item["text"] = "".join(item["text"])
        return items

    def _fits(self, size: int) -> bool:
        if self.room <= 0:
            return False
        self.room -= size
        if self.room <= 0:
            self.items.append(
                {"output_type": "stream", "name": "stdout", "text": ["[output cut here]\n"]}
            )
        return self.room > 0


class Stream:
    """A `sys.stdout` that writes into the cell's outputs."""

    encoding = "utf-8"

    def __init__(self, name: str, outputs: Outputs) -> None:
        self.name, self.outputs = name, outputs

    def write(self, text: str) -> int:
        self.outputs.stream(self.name, text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


class _Publisher(DisplayPublisher):
    outputs: Outputs

    def publish(self, data: Any, *_: Any, **__: Any) -> None:
        self.outputs.data("display_data", data)

    def clear_output(self, wait: bool = False) -> None:
        self.outputs.take()


class _Hook(DisplayHook):
    outputs: Outputs

    def start_displayhook(self) -> None: ...
    def write_output_prompt(self) -> None: ...
    def finish_displayhook(self) -> None: ...

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.outputs.data("execute_result", format_dict, self.prompt_count)


class _Compiler(CachingCompiler):
    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """The same without a cryptographic hash."""
        return f"<ipython-input-{number}-{hash(transformed_code) & 0xFFFFFFFFFFFF:012x}>"


class Shell(InteractiveShell):
    """IPython's shell without a terminal, a history file or a kernel: magics and display work."""

    outputs: Outputs
    compiler_class = Type(_Compiler)
    usual: list[int]  # `_hooks` of a shell that nobody has touched

    @classmethod
    def warm(cls) -> Shell:
        """The shell of the warm process; every fork goes on with it."""
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.xmode = "Context"
        config.InteractiveShell.cache_size = 0
        shell: Shell = cls.instance(
            config=config, display_pub_class=_Publisher, displayhook_class=_Hook
        )
        shell.outputs, shell.usual = Outputs(), shell._hooks()
        for shows in (shell.display_pub, shell.displayhook):
            vars(shows)["outputs"] = shell.outputs
        return shell

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        self.outputs.error(
            str(getattr(etype, "__name__", etype)), str(evalue), [str(line) for line in stb]
        )

    def enable_gui(self, gui: Any = None) -> None:
        """There is none."""

    def ask_exit(self) -> None:
        """`exit` in a cell ends the cell, not the notebook."""

    def run(self, source: str) -> tuple[bool, list[Output]]:
        """Run a cell; whether it went through, and its outputs."""
        ours = Stream("stdout", self.outputs), Stream("stderr", self.outputs)
        with contextlib.redirect_stdout(ours[0]), contextlib.redirect_stderr(ours[1]):
            went = self._run_python(source)
            if went is None:
                result = self.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
                went = bool(result.success)
        return went, self.outputs.take()

    def _run_python(self, source: str) -> bool | None:
        """What `run_cell` does, for a cell that is Python alone; None if it may be more than that.

        IPython looks for magics first, and touches so much memory on the way that a fork pays
        more for it than for a homework's cells.
        """
        if source[:1].isspace() or source.startswith("In ["):
            return None  # what IPython takes away is no fault
        if "\n" not in source and not _NO_COMMAND.match(source):
            return None  # `ls`, `exit`
        if self._hooks() != self.usual:
            return None
        cell = source if source.endswith("\n") else source + "\n"
        name = self.compile.get_code_name(source, cell, self.execution_count)
        try:
            body = self.compile.ast_parse(cell, filename=name).body  # type: ignore[attr-defined]
            shown = body.pop() if body and isinstance(body[-1], ast.Expr) else None
            parts: list[tuple[Any, str]] = [(ast.Module(body, []), "exec")] if body else []
            if shown is not None:
                parts.append((ast.Interactive([shown]), "single"))
            codes = [self.compile(part, name, mode) for part, mode in parts]
        except Exception:
            return None  # IPython says what is wrong, or knows better
        self.compile.cache(cell, self.execution_count, raw_code=source)
        history: Any = self.history_manager
        history.store_inputs(self.execution_count, cell, source)
        self.execution_count += 1
        self.events.trigger("pre_execute")
        run: Callable[[Any], Coroutine[Any, Any, bool]] = self.run_code
        try:
            with self.builtin_trap, self.display_trap:
                return not any(_finished(run(code)) for code in codes)
        finally:
            self.events.trigger("post_execute")

    def _hooks(self) -> list[int]:
        """How many there are of each kind who want to see a cell, or to change it."""
        transform = self.input_transformer_manager
        lists: list[Any] = [*self.events.callbacks.values(), self.ast_transformers]
        lists += [self.input_transformers_post, transform.cleanup_transforms]
        lists += [transform.line_transforms, transform.token_transformers]
        return [len(hooks) for hooks in lists]


# A line that is no command of IPython's, however a magic may be called.
_NO_COMMAND = re.compile(r"(?:import|from)\s|\w+\s*=[^=]|\w+\(")


def _finished(coroutine: Coroutine[Any, Any, bool]) -> bool:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return bool(end.value)
    raise RuntimeError("a cell waited")


# A TimeoutError by name; by descent nothing that `except OSError` or `except Exception` swallows.
TimeIsUp = type("TimeoutError", (BaseException,), {})


class Alarm:
    """Interrupts what runs too long, again and again until it gives up."""

    def __init__(self) -> None:
        self.armed = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, *_: object) -> None:
        if self.armed:
            raise TimeIsUp("this ran longer than it may")

    @contextlib.contextmanager
    def __call__(self, seconds: float) -> Iterator[None]:
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.25)
        try:
            yield
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


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
        self, frames: codec.Frames, shell: Shell, alarm: Alarm, package: str | None
    ) -> None:
        self.frames, self.shell, self.alarm, self.package = frames, shell, alarm, package
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.count = 0
        self.busy = 0.0  # seconds of CPU for answers, the student's code included

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
            before = time.thread_time()  # the process's is told in ticks, once it has a limit
            self.frames.send(self.answer(request))
            self.busy += time.thread_time() - before

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
            where = "".join(traceback.format_exception(error, limit=-4))[-4000:]
            return codec.encode((False, [names, message, where]), self.reference)

    def perform(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if name == "call":
            return arguments[0](*arguments[1:], **options)
        if name == "get":
            return getattr(*arguments)
        if name == "global":
            return self.lookup(arguments[0])
        if name == "cell":
            return self.shell.run(arguments[0])
        if name == "usage":
            return time.process_time(), self.busy
        if name == "lift":
            function, source, data = arguments
            exec(compile(source, f"<{function}>", "exec"), self.shell.user_ns)
            return self.shell.user_ns.pop(function)(*data, **options)
        return _OPERATIONS[name](*arguments, **options)

    def lookup(self, name: str) -> Any:
        """A name of the notebook, else of the course's package."""
        if name in self.shell.user_ns:
            return self.shell.user_ns[name]
        package = sys.modules.get(self.package or "")
        if package is not None and hasattr(package, name):
            return getattr(package, name)
        raise AttributeError(f"the notebook defines no name '{name}'")


def build_package(name: str, modules: list[tuple[str, types.CodeType]]) -> None:
    """Make the package `name` of compiled modules, in order; its names are their `__all__`.

    There is no file behind it: imports resolve, `inspect.getsource` fails.
    """
    package = types.ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
    for stem, code in modules:
        module = types.ModuleType(f"{name}.{stem}")
        sys.modules[module.__name__] = module
        exec(code, module.__dict__)
        setattr(package, stem, module)
        public = getattr(
            module, "__all__", [key for key in vars(module) if not key.startswith("_")]
        )
        for key in public:
            setattr(package, key, getattr(module, key))


def start(job: dict[str, Any], descriptor: int, readable: list[str], package: str | None) -> None:
    """In the fork: go to jail, then serve one notebook."""
    frames = codec.Frames(socket.socket(fileno=descriptor))
    files, seed = codec.decode(frames.receive(), int)
    try:
        jail.enter(
            jail.Isolation(job["isolation"]),
            readable,
            jail.Limits(**job["limits"]),
            keep=[descriptor],
            slot=job["slot"],
            files=files,
        )
    except Exception as error:
        frames.send(f"{type(error).__name__}: {error}".encode())
        raise
    sys.path.insert(0, "")  # modules beside the notebook, as in a kernel
    random.seed(seed)
    np.random.seed(seed)
    server = Server(frames, Shell.instance(), Alarm(), package)
    with contextlib.suppress(BrokenPipeError):
        frames.send(READY)
        server.serve()


def readable_paths() -> list[str]:
    """What a worker may read: the standard library, shared libraries, packages imported so far."""
    paths = {sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"]}
    for folder in ("/lib", "/usr/lib", "/lib64", "/usr/lib64"):
        # Debian keeps Python packages in /usr/lib, too, and libraries in a folder of their own
        own = [str(path) for path in Path(folder).glob("*-linux-*") if path.is_dir()]
        paths.update(own or [folder] * os.path.isdir(folder))
    # of a Python that brings its own libraries: them alone, other packages lie beside them
    paths |= {str(path) for path in Path(sys.base_prefix, "lib").glob("*.so*")}
    packages = sysconfig.get_paths()["purelib"]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and "." not in name and file.startswith(packages):
            place = os.path.dirname(file)
            paths.add(file if place == packages else place)
            if os.path.isdir(f"{packages}/{name}.libs"):
                paths.add(f"{packages}/{name}.libs")
    return sorted({os.path.realpath(path) for path in paths})


def as_in_a_kernel() -> None:
    """What a notebook finds when nbgrader runs it, and can tell from here."""
    os.environ["NBGRADER_EXECUTION"] = "autograde"
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    vars(builtins)["input"] = no_input


def no_input(prompt: object = "") -> str:
    """Nobody is there to answer."""
    raise StdinNotImplementedError("input was called, but nobody can answer while it is graded")


def main() -> None:
    """The warm worker: import what a notebook may need, then serve."""
    configuration, control = forks.configuration(), forks.control()
    # What is installed, and nothing that a .pth file points at: a course's folder may be there.
    installed = tuple({sys.prefix, sys.base_prefix, *site.getsitepackages()})
    sys.path[:] = [path for path in sys.path if path.startswith(installed)]
    shell = Shell.warm()
    if configuration["plain"]:
        as_in_a_kernel()
    modules = [
        (stem, marshal.loads(base64.b64decode(code))) for stem, code in configuration["modules"]
    ]
    package = configuration["package"]
    if package:
        build_package(package, modules)
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
    shell.execution_count = 1
    readable = readable_paths()
    jail.prepare(readable)
    del modules, configuration
    forks.serve(
        control,
        lambda job, descriptors: start(job, descriptors[0], readable, package),
        reaped=jail.discard,
        fork=lambda job: jail.fork(jail.Isolation(job["isolation"])),
    )


if __name__ == "__main__":
    main()
