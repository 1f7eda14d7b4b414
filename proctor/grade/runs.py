"""A run of one notebook, whoever makes it: what is sent to begin it, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from proctor.errors import ProctorError, Rejected
from proctor.processes.countdown import Countdown
from proctor.processes.frames import MAX_FRAME, Frames, encode

SLACK = 5.0  # seconds that the tester has, beyond the notebook's own, to tell what it decided

Event = dict[str, Any]
# Is told of each event; what it says of one ends the run, and is its note.
Watch = Callable[[Event], str | None]


@dataclass(frozen=True)
class Run:
    """What was decided of a notebook, in order; a note if it was cut short; and whether somebody
    else than proctor killed its worker.
    """

    events: list[Event]
    note: str | None = None
    unsure: bool = False


class Runner(Protocol):
    """What runs an assignment's notebooks: `with runner: runner.run(...)`."""

    watch: Watch

    @property
    def isolation(self) -> str: ...
    @property
    def levels(self) -> Sequence[str]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    def inventory(self) -> list[Any]: ...
    def run(self, job: dict[str, Any], files: Mapping[str, bytes], slot: int = 0) -> Run: ...


class NoWorker(ProctorError):
    """No worker could be started for a notebook."""


def beginning(job: dict[str, Any], files: Mapping[str, bytes]) -> bytes:
    """What a worker hears first, as a frame. Raises Rejected where it is too large for one."""
    first = dict(files), int(job["seed"][:8], 16), job["beside"]
    frame = encode(first, _no_reference)
    if len(frame) > MAX_FRAME:
        raise Rejected(
            f"The notebook and the files beside it, the course's own among them, have "
            f"{len(frame) >> 20} MB, and a worker takes {MAX_FRAME >> 20} MB: hand in fewer or "
            "smaller files."
        )
    return frame


def _no_reference(value: Any) -> int:
    raise TypeError(f"{type(value).__name__} cannot cross")


def collect(
    tester: Frames, countdown: Countdown, seconds: float, watch: Watch
) -> tuple[list[Event], str | None]:
    """What a tester tells until it is done, or stopped, or its `seconds` are over; and the note
    that says so. Raises EOFError if it ends before.
    """
    events: list[Event] = []
    try:
        while True:
            for event in json.loads(tester.receive(countdown)):
                events.append(event)
                if note := watch(event):
                    return events, note
            if events[-1]["event"] == "done":
                return events, None
            if events[-1]["event"] == "no worker":
                raise NoWorker(f"no worker could be started: {events[-1]['why']}")
    except TimeoutError:
        return events, f"took longer than {seconds:.0f} s: what was decided by then counts"
