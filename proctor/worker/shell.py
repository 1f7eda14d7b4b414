"""The shell that runs a notebook's cells: IPython's, without a terminal or a kernel around it.

It is a part of the worker: nothing here is trusted.
"""

from __future__ import annotations

import ast
import codeop
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.text import SList
from traitlets import Type
from traitlets.config import Config

MAX_OUTPUT = 1 << 20  # characters that a cell may print; what comes after is dropped

Output = dict[str, Any]


class Outputs:
    """What a cell puts out, in nbformat's words, in order and bounded."""

    def __init__(self) -> None:
        self.items: list[Output] = []
        self.room, self.complained = MAX_OUTPUT, False
        self.stale = False  # what is there goes when something new comes

    def clear(self, wait: bool) -> None:
        """As `clear_output` has it."""
        if wait:
            self.stale = True
        else:
            self.take()

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
        self._make_way()
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
        self.stale = False
        for item in items:
            if item["output_type"] == "stream":
                item["text"] = "".join(item["text"])
        return items

    def _make_way(self) -> None:
        if self.stale:
            self.take()

    def _fits(self, size: int) -> bool:
        self._make_way()
        if self.room <= 0:
            return False
        self.room -= size
        if self.room <= 0:
            self.items.append(
                {"output_type": "stream", "name": "stdout", "text": ["[output cut here]\n"]}
            )
        return self.room > 0


class Stream(io.TextIOBase):
    """A `sys.stdout` that writes into the cell's outputs."""

    encoding = "utf-8"

    def __init__(self, name: str, outputs: Outputs) -> None:
        self.name, self.outputs = name, outputs

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.outputs.stream(self.name, str(text))
        return len(text)

    def fileno(self) -> int:
        return 1 if self.name == "stdout" else 2


class _Publisher(DisplayPublisher):
    outputs: Outputs

    def publish(self, data: Any, *_: Any, **__: Any) -> None:
        self.outputs.data("display_data", data)

    def clear_output(self, wait: bool = False) -> None:
        self.outputs.clear(wait)


class _Hook(DisplayHook):
    outputs: Outputs

    def start_displayhook(self) -> None: ...
    def write_output_prompt(self) -> None: ...
    def finish_displayhook(self) -> None: ...

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.outputs.data("execute_result", format_dict, self.prompt_count)


class _Compiler(CachingCompiler):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # for a prompt where the rest may follow: "incomplete input" instead of what is wrong
        self.flags &= ~codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """The same without a cryptographic hash."""
        return f"<ipython-input-{number}-{hash(transformed_code) & 0xFFFFFFFFFFFF:012x}>"


class Shell(InteractiveShell):
    """IPython's shell without a terminal, a history file or a kernel: magics and display work."""

    outputs: Outputs
    compiler_class = Type(_Compiler)
    usual: list[Any]  # `_habits` of a shell that nobody has touched
    names: dict[int, str]  # of the cells, by their numbers
    loop: Any = None  # once a cell speaks of it
    new_loop: Callable[[], Any]  # makes it

    @classmethod
    def warm(cls) -> Shell:
        """The shell of the warm process; every fork goes on with it."""
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.xmode = "Context"
        # By this, libraries tell a notebook from a terminal.
        config.IPKernelApp.connection_file = ""
        shell: Shell = cls.instance(
            config=config, display_pub_class=_Publisher, displayhook_class=_Hook
        )
        shell.outputs, shell.usual, shell.names = Outputs(), shell._habits(), {}
        shell.new_loop = _new_loop
        shell.db = {}  # %cd keeps something, where nothing can be kept
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

    def system(self, cmd: str) -> None:
        """`!command`: there is none here. As for one that isn't found, that is no exception: the
        rest of a cell that begins with `!pip install` runs.
        """
        print(f"{cmd}: no command can be run while this is graded")
        self.user_ns["_exit_code"] = 127

    system_piped = system_raw = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """`lines = !command`: no lines."""
        return SList() if split else ""

    def with_names(self, trace: str) -> str:
        """A traceback with the cells' names in the place of IPython's."""
        return re.sub(
            r"<ipython-input-(\d+)-[0-9a-f]+>",
            lambda found: f"cell '{self.names.get(int(found[1]), '')}'",
            trace,
        )

    def run(self, source: str, name: str = "") -> tuple[bool, list[Output]]:
        """Run a cell; whether it went through, and its outputs."""
        self.names[self.execution_count] = name
        ours = Stream("stdout", self.outputs), Stream("stderr", self.outputs)
        with contextlib.redirect_stdout(ours[0]), contextlib.redirect_stderr(ours[1]):
            if self.loop is None and not _ASYNCHRONOUS.search(source):
                went = self._run_python(source)
                if went is None:
                    result = self.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
                    went = bool(result.success)
            else:
                went = self._run_in_loop(source)
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
        if self._habits() != self.usual:
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

    def _habits(self) -> list[Any]:
        """How many there are of each kind who want to see a cell, or to change it; which of its
        values are shown; whether it is logged.
        """
        transform = self.input_transformer_manager
        lists: list[Any] = [*self.events.callbacks.values(), self.ast_transformers]
        lists += [self.input_transformers_post, transform.cleanup_transforms]
        lists += [transform.line_transforms, transform.token_transformers]
        hooks = [len(each) for each in lists]
        return [*hooks, self.ast_node_interactivity, self.logger.log_active]

    def _run_in_loop(self, source: str) -> bool:
        """Run a cell while an event loop runs, as in a kernel: it can `await`, and it cannot
        `asyncio.run`.
        """
        if self.loop is None or self.loop.is_closed():
            self.loop = self.new_loop()
        task = self.loop.create_task(self._run_task(source))
        try:
            return bool(self.loop.run_until_complete(task))
        except BaseException:  # time is up while it awaits something: it is told, once
            task.cancel()
            with contextlib.suppress(BaseException):
                self.loop.run_until_complete(task)
            return False

    async def _run_task(self, source: str) -> bool:
        import asyncio

        try:
            code, failure = self.transform_cell(source), None  # type: ignore[no-untyped-call]
        except Exception:
            code, failure = source, sys.exc_info()
        options: dict[str, Any] = {"transformed_cell": code, "preprocessing_exc_tuple": failure}
        if self.should_run_async(source, **options):
            result = await self.run_cell_async(source, store_history=True, **options)
            self.events.trigger("post_execute")
            self.events.trigger("post_run_cell", result)
        else:
            result = self.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
        await asyncio.sleep(0)  # tasks that the cell has left begin
        return bool(result.success)


# A line that is no command of IPython's, however a magic may be called.
_NO_COMMAND = re.compile(r"(?:import|from)\s|\w+\s*=[^=]|\w+\(")
_ASYNCHRONOUS = re.compile("async|await")


def _finished(coroutine: Coroutine[Any, Any, bool]) -> bool:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return bool(end.value)
    raise RuntimeError("a cell waited")


# Libraries know a notebook from a terminal by this name: pandas for one shows a table accordingly.
Shell.__name__ = Shell.__qualname__ = "ZMQInteractiveShell"


class _End:
    """One end of a pipe, as far as an event loop takes it for a socket."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor

    def recv(self, size: int) -> bytes:
        return os.read(self.descriptor, size)

    def send(self, data: bytes) -> int:
        return os.write(self.descriptor, data)

    def close(self) -> None:
        os.close(self.descriptor)


def _new_loop() -> Any:
    import asyncio.selector_events  # megabytes that few notebooks need, in every fork

    vars(asyncio.selector_events)["BaseSelectorEventLoop"]._make_self_pipe = _make_self_pipe
    return asyncio.new_event_loop()


def _make_self_pipe(loop: Any) -> None:
    """What wakes an event loop: a pipe. asyncio takes a pair of sockets, which the jail refuses."""
    loop._ssock, loop._csock = map(_End, os.pipe())
    loop._internal_fds += 1
    loop._add_reader(loop._ssock.fileno(), loop._read_from_self)
