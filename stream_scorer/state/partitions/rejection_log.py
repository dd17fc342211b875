"""Writes the scorer's rejections, in the transaction of the batch that rejects.

A batch without rejections writes nothing. Sixteen segments of one level are merged into one, so
that a partition holds few. Segments before the oldest retained input are deleted. Both happen in
the transaction of a batch that has rejections.
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
"""Number of segments of one level that are merged into one of the next."""
_ASK_SECONDS = 600.0
"""How long a value of the oldest retained offset is used, seconds."""

_Record = tuple[int, bytes, bytes | None]


@dataclass(slots=True)
class Noted:
    """The rejections of one batch, and the segments before it.

    Attributes:
        outgoing: To be published with the batch; empty without rejections.
        before: The segments before the batch, by partition that it changed.
        after: The segments after it.
    """

    outgoing: tuple[Outgoing, ...] = ()
    before: dict[int, tuple[StoredSegment, ...]] = field(default_factory=dict)
    after: dict[int, tuple[StoredSegment, ...]] = field(default_factory=dict)


class RejectionLog:
    """Turns the rejections of each batch into records of the state topic.

    Runs on the compute thread, batch after batch. A batch may be computed before the commit of its
    predecessor is known; batches are undone newest first.

    Args:
        topic: The state topic, whose partitions are numbered as the input's.
        owner: The owner of the state.
        oldest: Returns the oldest retained offset of an input partition; called rarely, on a
            separate thread.
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
        """Add a partition whose state is restored.

        Args:
            partition: Input partition.
            segments: Its stored segments, by first offset.
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
        """Record the rejections of a batch.

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
        """Undo the changes of a batch that was aborted."""
        for partition, before in noted.before.items():
            # If the partition left and came back since, its segments were read from the topic.
            if self._segments.get(partition) is noted.after[partition]:
                self._segments[partition] = before

    def _add(
        self, partition: int, offsets: NDArray[np.int64], reasons: Sequence[str]
    ) -> list[_Record]:
        """Add segments of a batch's rejections; return the records to write."""
        low = self._retained_from(partition)
        before = {kept.first: kept for kept in self._segments.get(partition, ())}
        segments = [kept for kept in before.values() if kept.end > low]
        # A batch never has more records than a segment may hold.
        segments.append(StoredSegment.of(segment(partition, offsets, reasons)))
        try:
            full = _merge(segments)
        except ValueError as error:
            # Another client wrote it: our own segments can be read.
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
            # They have the maximum size: from now on only their location is needed.
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
        """Return the last known oldest retained offset, and refresh it now and then."""
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
    """Merge the last segments, level after level, while there are sixteen of a level in a row.

    Returns:
        Whether the last sixteen together exceed the size of a segment.
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
