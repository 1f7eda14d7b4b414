"""Seconds of patience that only pass while this process looks at the clock.

When a machine was suspended, or too busy to run us, a deadline on the wall clock has passed
although nobody had the time that it grants. So a wait is made of short looks, and each costs at
most what it was to take, however late it returns.
"""

from __future__ import annotations

import select
import time

TICK = 0.25  # seconds of a look


class Countdown:
    """So many seconds, over one wait or several."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def wait(self, poll: select.poll) -> bool:
        """Whether something is ready before the seconds are over; what is, is seen first."""
        while True:
            look = max(0.0, min(self.left, TICK))
            started = time.monotonic()
            ready = bool(poll.poll(look * 1000))
            self.left -= min(time.monotonic() - started, look)
            if ready or look == 0:
                return ready
