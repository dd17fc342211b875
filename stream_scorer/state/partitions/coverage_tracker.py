"""Since when the histories of the partitions held are whole, told while they are not."""

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
    """A partition whose history is not whole yet.

    Attributes:
        since: By reason why history is missing, from which event time on it is whole, ms.
        beginning: Sees the first events, until it is known where the input's history begins.
        oldest_offset: The input's oldest retained offset.
    """

    since: dict[str, int]
    beginning: Beginning
    oldest_offset: int

    @property
    def degrading(self) -> tuple[str, ...]:
        """The reasons for which decisions are made with less than they should have."""
        return tuple(reason for reason in DEGRADING if reason in self.since)


class Histories:
    """Keeps each partition's reasons until the watermark has left them behind.

    Args:
        listener: Told where history is missing, and where no longer.
        changed: Told of a partition's reasons, for its checkpoint.
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
        """A partition's state is whole, up to what these reasons say.

        Args:
            partition: Input partition.
            since: By reason why history is missing, from which event time on it is whole, ms.
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
        """A partition left."""
        self._lacking.pop(partition, None)

    def since(self, partition: int) -> Mapping[str, int]:
        """Return by reason why history is missing, from which event time on it is whole, ms."""
        lacking = self._lacking.get(partition)
        return lacking.since if lacking is not None else {}

    def committed(
        self, partition: int, rings: CustomerRings, events: EventBatch, accepted: Int64
    ) -> None:
        """A batch was committed.

        Args:
            partition: One of those that it changed.
            rings: Their rings, with the batch.
            events: n transactions, of all partitions.
            accepted: int64[a], those that were accepted.
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
