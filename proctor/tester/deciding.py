"""What is decided of one notebook: its visible checks between its cells, then its hidden tests.

It runs in the tester, or wherever else there is a channel to a worker.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import linecache
import re
import time
import traceback
from typing import TYPE_CHECKING, Any

from proctor.processes import frames as codec
from proctor.tester.proxy import ENDED, RemoteError, Student, WorkerGone
from proctor.verdict import MAX_MESSAGE, first_word, syntax_error

if TYPE_CHECKING:
    from proctor.tester.suite import Suite

MAX_OUTPUTS = 16 << 20  # bytes of all outputs of a notebook; what comes after is dropped
PATIENCE = 0.02  # seconds that a decision may wait until the supervisor is told


class Events:
    """What was decided, told to the supervisor soon, so that nothing decided is lost.

    Telling wakes the supervisor, which costs more than most tests: events wait for each other a
    moment, but never while the worker is at work.
    """

    def __init__(self, frames: codec.Frames) -> None:
        self.frames = frames
        self.waiting: list[dict[str, Any]] = []
        self.told = time.monotonic()

    def __call__(self, **event: Any) -> None:
        self.waiting.append(event)
        if time.monotonic() - self.told > PATIENCE:
            self.tell()

    def tell(self) -> None:
        """Send what waits."""
        if self.waiting:
            self.frames.send(json.dumps(self.waiting).encode())
            self.waiting = []
        self.told = time.monotonic()


class Names(dict[str, Any]):
    """The namespace of visible checks: their own names and imports, else the student's by proxy."""

    def __init__(self, student: Student) -> None:
        super().__init__(__name__="__main__", __builtins__=builtins)
        self.student = student

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):  # a student's `all` must not decide
            raise KeyError(name)
        try:
            return getattr(self.student, name)
        except RemoteError as error:
            if error.builtin_name == "AttributeError":
                raise KeyError(name) from None
            raise


def explain_check(error: BaseException, cell: str, syntax_errors: list[str]) -> str:
    """A visible check's failure: its line, since students can read it, and what went wrong.

    What is still to be written is named by its own place. A name may be missing since the cell
    that defines it does not compile: that comes first.
    """
    place = ""
    if isinstance(error, RemoteError) and (frames := _OF_A_CELL.findall(error.remote_traceback)):
        place = "cell '{}', line {}, in {}".format(*frames[-1])
        if error.remote_name == "NotImplementedError":
            said = f"{place} is still to be written: NotImplementedError {error}".strip()
            return said[:MAX_MESSAGE]
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == f"<{cell}>"
    ]
    where = f"line {lines[-1].lineno}: {lines[-1].line}" if lines else ""
    name = error.remote_name if isinstance(error, RemoteError) else type(error).__name__
    said = str(error).strip()
    parts = syntax_errors[:1] if isinstance(error, NameError) else []
    none = "NoneType" in said and name in ("AttributeError", "TypeError")
    hint = none and "Something is None here: does a function lack its `return`?"
    parts += [
        where,
        f"{name}: {said}" if said else name,
        hint or "",
        place and f"raised in {place}",
    ]
    return "\n".join(part for part in parts if part)[:MAX_MESSAGE]


_OF_A_CELL = re.compile(r"""File "cell '([\w-]{1,64})'", line (\d{1,9}), in ([\w<>]{1,64})""")


class Grading:
    """One job: a notebook's cells, its checks and its hidden tests."""

    def __init__(
        self, job: dict[str, Any], student: Student, events: Events, suite: Suite | None
    ) -> None:
        self.job, self.student, self.events, self.suite = job, student, events, suite
        self.channel = student._channel
        self.names = Names(student)
        self.room = MAX_OUTPUTS

    def run(self) -> None:
        import_all(self.job["imports"], self.names)
        self.build(self.job["modules"])
        for cell in self.job["cells"]:
            (self.check if cell["kind"] == "check" else self.execute)(cell["id"], cell["source"])
        if self.suite is not None:
            wanted = {*self.job["tests"]}
            for event in self.suite.run(
                wanted, self.student, self.job["seed"], self.job["explain"]
            ):
                self.events(**event)
        self.events(event="done", ended=self.channel.gone == ENDED)

    def build(self, modules: list[tuple[str, str | None]]) -> None:
        """Let the worker make the package anew of the student's modules: it is in its jail by now.

        The reference's module stands in for one that raises, if it has one of that name.
        """
        if modules:
            with contextlib.suppress(WorkerGone, RemoteError):
                self.channel.request("package")
        for stem, source in modules:
            message = ""
            try:
                self.channel.request("module", stem, source, seconds=self.job["cell_seconds"])
            except (WorkerGone, RemoteError) as error:
                message = f"{getattr(error, 'remote_name', 'WorkerGone')}: {error}"[:MAX_MESSAGE]
                with contextlib.suppress(WorkerGone, RemoteError):
                    self.channel.request("module", stem, None)
            self.events(event="module", module=stem, message=message)

    def execute(self, cell: str, source: str) -> None:
        """Run a cell of the student's in the worker."""
        limit, before, gone = self.job["cell_seconds"], self.channel.seconds, self.channel.gone
        note, ran, slow = "", False, False
        try:
            answer = self.channel.request("cell", source, cell, seconds=limit)
            ran, outputs = answer if type(answer) is tuple and len(answer) == 2 else (False, [])
        except (WorkerGone, RemoteError) as error:
            name = getattr(error, "remote_name", "WorkerGone")
            outputs = [
                {
                    "output_type": "error",
                    "ename": name,
                    "evalue": str(error),
                    "traceback": [f"{name}: {error}"],
                }
            ]
        if self.channel.gone != gone:
            note = f"{self.channel.gone}; no later cell could be run"
        elif gone is None and ran is not True and self.channel.seconds - before >= limit:
            note, slow = f"ran longer than {limit:g} s and was interrupted", True
        outputs = jsonable(outputs)
        broken = syntax_error(cell, outputs)
        self.student._syntax_errors += [broken] if broken else []
        said = first_word(outputs, ran is True, self.job["ignored"])
        self.events(
            event="cell",
            cell=cell,
            outputs=self.bounded(outputs),
            note=note,
            slow=slow,
            syntax_error=broken,
            word=[said.kind, said.text],
        )

    def bounded(self, outputs: Any) -> Any:
        """A cell's outputs, while there is room: the worker's own bounds are claims."""
        size = len(json.dumps(outputs))
        if size > self.room:
            text = "[The outputs of this notebook are too large: not shown.]\n"
            return [{"output_type": "stream", "name": "stderr", "text": text}]
        self.room -= size
        return outputs

    def check(self, cell: str, source: str) -> None:
        """Run a visible check here, with the student's names as proxies."""
        filename = f"<{cell}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        message, slow, gone = "", False, self.channel.gone
        try:
            exec(compile(source, filename, "exec"), self.names)
        except BaseException as error:
            message = explain_check(error, cell, self.student._syntax_errors)
            slow = getattr(error, "remote_name", "") == "TimeoutError"
        told = {"passed": not message, "message": message, "reached": gone is None}
        self.events(event="check", cell=cell, slow=slow, **told)


def import_all(sources: list[str], names: dict[str, Any]) -> None:
    """Make the instructor's imports; one that only the worker has is missed by who needs it."""
    for source in sources:
        with contextlib.suppress(ImportError, OSError):  # the jail may refuse to look for it
            exec(source, names)


def jsonable(value: Any) -> Any:
    """What the worker says its outputs are, as JSON; anything odd becomes its type's name."""
    if value is None or type(value) in (bool, float, str):
        return value
    if type(value) is int and value.bit_length() < 64:  # Python refuses to write much larger ones
        return value
    if type(value) in (list, tuple):
        return [jsonable(item) for item in value]
    if type(value) is dict:
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if type(value) is bytes:
        import base64

        return base64.b64encode(value).decode()
    return f"<{type(value).__name__}>"
