"""Rejections as the scorer writes them: in the transaction of the batch that rejects.

A batch that rejects nothing writes nothing. Segments are merged by sixteens of one level, so that
a partition holds few of them, and what is older than the oldest retained input is taken away; both
happen in the transaction of a batch that rejects something anyway.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import StateError, StreamScorerError
from stream_scorer.ports import BytesColumn, Outgoing, RawRecords
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.rejected_segments import (
    MOST_REJECTED,
    MOST_SPAN,
    StoredSegment,
    merged,
    segment,
)
from stream_scorer.state.checkpoints.restore_rules import REBUILD

MERGED_AT_ONCE = 16
"""Segments of one level that become one of the next."""
_ASK_SECONDS = 600.0
"""How long the oldest retained offset is taken for what it was."""

_Record = tuple[int, bytes, bytes | None]


@dataclass(slots=True)
class Noted:
    """What one batch carries of its rejections, and what was kept before it.

    Attributes:
        outgoing: To be published with the batch; empty where it rejects nothing.
        before: By partition that it changed, the segments before it.
        after: And with it.
    """

    outgoing: tuple[Outgoing, ...] = ()
    before: dict[int, tuple[StoredSegment, ...]] = field(default_factory=dict)
    after: dict[int, tuple[StoredSegment, ...]] = field(default_factory=dict)


class RejectionLog:
    """Turns the rejections of each batch into records of the state topic.

    Runs on the compute thread, batch after batch; one may be computed before the commit of its
    predecessor is known, and batches are undone newest first.

    Args:
        topic: The state topic, whose partitions are numbered as the input's.
        owner: Whose state.
        oldest: Returns the oldest retained offset of an input partition; asked on a thread of its
            own, and seldom.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        topic: str,
        owner: Owner,
        oldest: Callable[[int], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._owner = owner
        self._oldest = oldest
        self._clock = clock
        self._segments: dict[int, tuple[StoredSegment, ...]] = {}
        self._low: dict[int, int] = {}
        self._ask_at: dict[int, float] = {}
        self._asking: dict[int, Future[int]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="oldest-offset")

    def start(self, partition: int, segments: Sequence[StoredSegment], low: int) -> None:
        """Begin with a partition whose state is restored.

        Args:
            partition: Input partition.
            segments: What is kept of it, by first offset.
            low: The input's oldest retained offset.
        """
        self._segments[partition] = tuple(segments)
        self._low[partition] = low
        self._ask_at[partition] = self._clock() + _ASK_SECONDS

    def stop(self, partition: int) -> None:
        """Forget a partition that left."""
        for held in (self._segments, self._low, self._ask_at, self._asking):
            held.pop(partition, None)

    def take(self, raw: RawRecords, rows: Sequence[int], reasons: Sequence[str]) -> Noted:
        """Note the rejections of a batch.

        Args:
            raw: The batch.
            rows: r row numbers in it, ascending.
            reasons: r reasons.
        """
        noted = Noted()
        if not rows:
            return noted
        at = np.asarray(rows, np.int64)
        partitions, offsets = raw.partition[at], raw.offset[at]
        records: list[_Record] = []
        for partition in np.unique(partitions).tolist():
            mine = np.flatnonzero(partitions == partition)
            noted.before[partition] = self._segments.get(partition, ())
            records += self._add(partition, offsets[mine], [reasons[row] for row in mine.tolist()])
            noted.after[partition] = self._segments[partition]
        noted.outgoing = (
            Outgoing(
                self._topic,
                BytesColumn.of(value for _, _, value in records),
                BytesColumn.of(key for _, key, _ in records),
                partition=np.array([partition for partition, _, _ in records], np.int32),
            ),
        )
        return noted

    def undo(self, noted: Noted) -> None:
        """The batch is given up: what it wrote is not there."""
        for partition, before in noted.before.items():
            # Not where it left and came back since: then it was read from the topic.
            if self._segments.get(partition) is noted.after[partition]:
                self._segments[partition] = before

    def _add(
        self, partition: int, offsets: NDArray[np.int64], reasons: Sequence[str]
    ) -> list[_Record]:
        """Add segments of a batch's rejections; return the records that make it so."""
        low = self._retained_from(partition)
        before = {kept.first: kept for kept in self._segments.get(partition, ())}
        segments = [kept for kept in before.values() if kept.end > low]
        # No batch has more records than a segment may hold.
        segments.append(StoredSegment.of(segment(partition, offsets, reasons)))
        try:
            full = _merge(segments)
        except ValueError as error:
            # It was written by another client: one that we wrote can be read.
            raise StateError(
                f"rejections of {self._owner.topic} partition {partition}: {error}", REBUILD
            ) from error
        after = {kept.first: kept for kept in segments}
        gone = [first for first in before if first not in after]
        changed = [
            kept for kept in segments
            if kept.first not in before or before[kept.first].end != kept.end
        ]  # fmt: skip
        if full:
            # As large as they get: from now on only where they are is needed.
            segments[-MERGED_AT_ONCE:] = [
                replace(kept, value=b"") for kept in segments[-MERGED_AT_ONCE:]
            ]
        self._segments[partition] = tuple(segments)
        key = self._owner.rejected_key
        return [
            *((partition, *self._owner.rejection(kept)) for kept in changed),
            *((partition, key(partition, first), None) for first in gone),
        ]

    def _retained_from(self, partition: int) -> int:
        """Return the oldest retained offset as it was last known, and ask again now and then."""
        asking = self._asking.get(partition)
        if asking is not None and asking.done():
            del self._asking[partition]
            if asking.exception() is None:
                self._low[partition] = max(self._low.get(partition, 0), asking.result())
            elif not isinstance(asking.exception(), StreamScorerError):
                asking.result()
        elif asking is None and self._clock() >= self._ask_at.get(partition, 0.0):
            self._ask_at[partition] = self._clock() + _ASK_SECONDS
            self._asking[partition] = self._pool.submit(self._oldest, partition)
        return self._low.get(partition, 0)


def _merge(segments: list[StoredSegment]) -> bool:
    """Merge the last segments, level after level, while sixteen of a level are side by side.

    Returns:
        Whether the last sixteen together are more than one segment may hold.
    """
    while len(segments) >= MERGED_AT_ONCE:
        last = segments[-MERGED_AT_ONCE:]
        if len({kept.level for kept in last}) > 1 or not all(kept.value for kept in last):
            return False
        if (
            sum(kept.count for kept in last) > MOST_REJECTED
            or last[-1].end - last[0].first > MOST_SPAN
        ):
            return True
        together = merged([kept.decoded() for kept in last])
        if together is None:
            return True
        segments[-MERGED_AT_ONCE:] = [StoredSegment.of(together)]
    return False
