"""What the oldest retained events tell of those that were deleted before them.

History is whole from the event time on that no deleted event exceeds. The deleted events cannot be
asked any more, so that time is concluded, and on the safe side:

1. No accepted event before the oldest retained offset is newer than the partition's watermark
   there, W0.
2. An event that comes in order is at most the lateness behind the watermark at its arrival, which
   is W0 or more. So each such event at t says: W0 <= t + lateness.
3. Which events come in order cannot be seen without W0: one that is late may be years older than
   all that was deleted, and stand first. So not the first event is asked, nor the oldest, but the
   newest of the first ``FIRST`` valid ones: if any of these came in order, W0 is at most its time
   + lateness, and so at most the newest time + lateness.

That claims too much only where a thousand late events in a row happen to stand at the beginning,
and too little, by as long as a thousand events take, always. Fewer events say nothing: history
has then not begun. Rejected records say nothing either, as they move no watermark. The answer is a
function of the retained input and the plan, however it is read in pieces.
"""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import validate
from stream_scorer.state.checkpoints.history_coverage import INPUT, NOT_YET

FIRST = 1_000
"""How many valid events are asked."""


class Beginning:
    """Takes a partition's valid events from the oldest retained offset on.

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
        """Whether enough events were seen; further ones change nothing."""
        return not self._left

    def see(self, times: NDArray[np.int64]) -> None:
        """Take the event times, ms, of the valid events that come next."""
        first = times[: self._left]
        self._left -= len(first)
        if len(first):
            newest = int(first.max())
            self._newest = newest if self._newest is None else max(self._newest, newest)

    def read(self, events: EventBatch, plan: Plan) -> None:
        """Take the decoded events that come next; those that the plan refuses say nothing."""
        if not self.known:
            self.see(events.int64("event_time")[validate(events, plan) == 0])

    def whole_from(self, lateness_ms: int) -> int:
        """Return the event time, ms, behind which history is whole; NOT_YET while unknown."""
        if self._newest is None or not self.known:
            return NOT_YET
        return self._newest + lateness_ms

    def settled(self, since: dict[str, int], lateness_ms: int) -> dict[str, int]:
        """Return the reasons why history is missing, with the time of the input's where known."""
        if since.get(INPUT) != NOT_YET:
            return since
        return {**since, INPUT: self.whole_from(lateness_ms)}
