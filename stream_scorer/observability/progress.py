"""Slow is not stuck: stuck is lag with a position that does not move."""

import time
from collections.abc import Callable

from stream_scorer.happenings import (
    BatchCommitted,
    Happening,
    LagObserved,
    Listener,
    PartitionsAssigned,
    ReplayProgress,
    Stuck,
    TerminalsRead,
)


class Progress:
    """A listener that tells another one when there is lag and nothing moves.

    Args:
        listener: Told of :class:`~stream_scorer.happenings.Stuck`, at every observation of lag
            for as long as it lasts.
        stuck_seconds: How long nothing may move.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        listener: Listener,
        stuck_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._moved = clock()

    def __call__(self, happening: Happening) -> None:
        """Take note of movement; judge when lag was observed."""
        match happening:
            case BatchCommitted() | ReplayProgress() | PartitionsAssigned() | TerminalsRead():
                self._moved = self._clock()
            case LagObserved():
                # Offsets alone are no lag: markers of transactions and aborted records take some,
                # and nobody is given a record there, so it has no age.
                if not any(
                    count and happening.seconds.get(partition, 1.0)
                    for partition, count in happening.to_stable.items()
                ):
                    self._moved = self._clock()
                    return
                silent = self._clock() - self._moved
                if silent >= self._stuck_seconds:
                    self._listener(Stuck(silent))
            case _:
                pass
