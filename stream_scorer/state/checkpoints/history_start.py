"""What the oldest retained events show about those that were deleted before them.

History is complete after the event time that no deleted event exceeds. The deleted events cannot be
read, so that time is an upper bound, computed as follows:

1. No accepted event before the oldest retained offset is newer than the partition's watermark
   there, W0.
2. An event that arrives in order is older than the watermark at its arrival by at most the
   lateness. That watermark is W0 or more. So for each such event at t: W0 <= t + lateness.
3. Which events arrived in order is unknown without W0: a late event may be years older than all
   deleted ones, and come first. So the bound uses neither the first event nor the oldest, but the
   newest of the first ``FIRST`` valid ones. If any of these arrived in order, W0 is at most its
   time + lateness, and therefore at most the newest time + lateness.

The bound is too early only if the input begins with a thousand late events in a row. It is always
too late, by the time that a thousand events take. With fewer events the bound is unknown: history
has not begun. Rejected records do not count, as they do not move the watermark. The result is a
function of the retained input and the plan, independent of the pieces in which it is read.
"""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import validate
from stream_scorer.state.checkpoints.history_coverage import INPUT, NOT_YET

FIRST = 1_000
"""Number of valid events that the bound uses."""


class Beginning:
    """Collects a partition's valid events from the oldest retained offset.

    >>> beginning = Beginning()
    >>> beginning.see(np.array([5]))
    >>> beginning.whole_from(lateness_ms=3) == NOT_YET
    True
    >>> beginning.see(np.arange(1_000, 3_000))
    >>> beginning.whole_from(lateness_ms=3)
    2001
    """

    def __init__(self) -> None:
        self._left = FIRST
        self._newest: int | None = None

    @property
    def known(self) -> bool:
        """Whether enough events were seen; further events change nothing."""
        return not self._left

    def see(self, times: NDArray[np.int64]) -> None:
        """Add the event times, ms, of the next valid events."""
        first = times[: self._left]
        self._left -= len(first)
        if len(first):
            newest = int(first.max())
            self._newest = newest if self._newest is None else max(self._newest, newest)

    def read(self, events: EventBatch, plan: Plan) -> None:
        """Add the next decoded events; those that the plan refuses do not count."""
        if not self.known:
            self.see(events.int64("event_time")[validate(events, plan) == 0])

    def whole_from(self, lateness_ms: int) -> int:
        """Return the event time, ms, after which history is complete; NOT_YET while unknown."""
        if self._newest is None or not self.known:
            return NOT_YET
        return self._newest + lateness_ms

    def settled(self, since: dict[str, int], lateness_ms: int) -> dict[str, int]:
        """Return the reasons why history is missing, with the time of ``input`` if it is known."""
        if since.get(INPUT) != NOT_YET:
            return since
        return {**since, INPUT: self.whole_from(lateness_ms)}
