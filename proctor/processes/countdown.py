"""Seconds of patience that only pass while this process looks at the clock.

When a machine was suspended, or too busy to run us, a deadline on the wall clock has passed
although nobody had the time that it grants. So a wait is made of short looks, and from one to the
next no more than a moment is counted, however late it comes.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

TICK = 0.25  # seconds that a look takes, and that count from one to the next
LATE = 32  # looks at what is there already, when the seconds are over


class Pollable(Protocol):
    """A `select.poll`, or what takes its place."""

    def poll(self, timeout: float, /) -> Any: ...


class Countdown:
    """So many seconds, over one wait or several."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.late = 0
        self.looked = time.monotonic()

    def wait(self, poll: Pollable) -> bool:
        """Whether something is ready before the seconds are over, or when they are: what is there
        is seen, but not without end from one who lets it drip.
        """
        while True:
            look = max(0.0, min(self.left, TICK))
            ready = bool(poll.poll(look * 1000))
            now = time.monotonic()
            self.left -= min(now - self.looked, TICK)
            self.looked = now
            if look == 0:
                self.late += 1
                return ready and self.late <= LATE
            if ready:
                return True
