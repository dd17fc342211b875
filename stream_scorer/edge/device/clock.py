"""The device's clock: it never goes back, whatever happens to the clock of the machine."""

import time
from collections.abc import Callable
from typing import Final

_NANOSECONDS: Final = 1_000_000


def wall_ms() -> int:
    """Return the machine's time, ms since the epoch."""
    return time.time_ns() // _NANOSECONDS


class DeviceClock:
    """Stamps decisions, and judges whether an event is too far ahead. No feature reads it.

    >>> times = iter([1_000, 400, 1_001])
    >>> clock = DeviceClock(lambda: next(times), newest=0)
    >>> [clock(), clock(), clock()]
    [1000, 1000, 1001]

    Args:
        wall: The machine's time, ms since the epoch.
        newest: The newest time that the device has noted.
    """

    def __init__(self, wall: Callable[[], int] = wall_ms, newest: int = 0) -> None:
        self._wall = wall
        self._newest = newest

    def __call__(self) -> int:
        """Return the time, ms since the epoch."""
        self._newest = max(self._newest, self._wall())
        return self._newest
