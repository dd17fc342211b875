"""How long the terminals' rows wait until scorers have decided their transactions."""

import time
from collections.abc import Callable

from stream_scorer.core.terminals.undecided import StopBefore
from stream_scorer.telemetry import Listener, RowsHeld


class HoldTime:
    """Measures how long the watermark has stopped before the same row.

    Args:
        listener: Notified while a row waits, and once when none does any more.
        clock: Seconds that only grow.
    """

    def __init__(self, listener: Listener, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._clock = clock
        self._watermark: int | None = None
        self._since = 0.0

    def note(self, held: StopBefore | None) -> None:
        """Note where a batch must stop; None: nowhere."""
        if held is None:
            if self._watermark is not None:
                self._watermark = None
                self._listener(RowsHeld(0.0))
            return
        now = self._clock()
        if held.watermark != self._watermark:
            # Another row waits now: scorers decide, so the hold is not one long wait.
            self._watermark, self._since = held.watermark, now
        self._listener(RowsHeld(now - self._since))
