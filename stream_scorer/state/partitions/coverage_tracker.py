"""Tracks since when the histories of the held partitions are complete, and reports gaps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.rings.rings import CustomerRings
from stream_scorer.state.checkpoints.history_coverage import DEGRADING, outlived
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.telemetry import Listener, StateComplete, StateIncomplete

Int64 = NDArray[np.int64]


@dataclass(slots=True)
class _Lacking:
    """A partition whose history is not complete yet.

    Attributes:
        since: By reason why history is missing, the event time (ms) from which it is complete.
        beginning: Collects the first events until the beginning of the input's history is known.
        oldest_offset: The input's oldest retained offset.
    """

    since: dict[str, int]
    beginning: Beginning
    oldest_offset: int

    @property
    def degrading(self) -> tuple[str, ...]:
        """The reasons for which decisions are made on incomplete history."""
        return tuple(reason for reason in DEGRADING if reason in self.since)


class Histories:
    """Keeps each partition's reasons until the watermark has passed them.

    Args:
        listener: Notified when history is missing, and when it no longer is.
        changed: Notified of a partition's reasons, for its checkpoint.
    """

    def __init__(
        self, listener: Listener, changed: Callable[[int, Mapping[str, int]], None]
    ) -> None:
        self._listener = listener
        self._changed = changed
        self._lacking: dict[int, _Lacking] = {}

    def begin(
        self, partition: int, since: dict[str, int], beginning: Beginning, oldest_offset: int
    ) -> None:
        """Begin with a partition whose state is complete except for these reasons.

        Args:
            partition: Input partition.
            since: By reason why history is missing, the event time (ms) from which it is complete.
            beginning: What the replay has seen of the input's beginning.
            oldest_offset: The input's oldest retained offset.
        """
        self._lacking.pop(partition, None)
        if not since:
            return
        lacking = self._lacking[partition] = _Lacking(since, beginning, oldest_offset)
        if lacking.degrading:
            self._listener(StateIncomplete(partition, oldest_offset, lacking.degrading))

    def end(self, partition: int) -> None:
        """Forget a partition that left."""
        self._lacking.pop(partition, None)

    def since(self, partition: int) -> Mapping[str, int]:
        """Return, by reason why history is missing, the event time (ms) that completes it."""
        lacking = self._lacking.get(partition)
        return lacking.since if lacking is not None else {}

    def committed(
        self, partition: int, rings: CustomerRings, events: EventBatch, accepted: Int64
    ) -> None:
        """Note that a batch was committed.

        Args:
            partition: One of the partitions that it changed.
            rings: Their rings, with the batch.
            events: n transactions, of all partitions.
            accepted: int64[a], the accepted ones.
        """
        lacking = self._lacking.get(partition)
        if lacking is None:
            return
        before, told = lacking.since, lacking.degrading
        if not lacking.beginning.known:
            own = accepted[events.partition[accepted] == partition]
            lacking.beginning.see(events.int64("event_time")[own])
        retention = rings.retention
        settled = lacking.beginning.settled(before, retention.lateness_ms)
        lacking.since = outlived(settled, rings.watermark, retention.horizon_ms)
        if lacking.since != before:
            self._changed(partition, lacking.since)
        if lacking.degrading != told:
            self._listener(
                StateIncomplete(partition, lacking.oldest_offset, lacking.degrading)
                if lacking.degrading
                else StateComplete(partition)
            )
        if not lacking.since:
            del self._lacking[partition]
