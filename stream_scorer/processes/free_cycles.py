"""Frees reference cycles once in a while, and so the arrays that they hold.

An exception refers to the frames that it passed, and a frame can refer to the exception. Such a
cycle of a few objects can hold all arrays of a batch. Python would free it with its next
collection, which comes after 100,000 further objects (``run_process``): after hundreds of faults.
After half an hour of faults, a scorer held 18 MB in 10,817 such objects.
"""

import gc
import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 30.0
"""A collection takes milliseconds: objects that were loaded at the start are not traversed."""


class FreeCycles:
    """A heartbeat that also collects.

    Args:
        heartbeat: Called each time.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, heartbeat: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._heartbeat = heartbeat
        self._clock = clock
        self._due = clock() + EVERY_SECONDS

    def __call__(self) -> None:
        """Send a heartbeat; collect if it is time."""
        self._heartbeat()
        if self._clock() >= self._due:
            gc.collect()
            self._due = self._clock() + EVERY_SECONDS
