"""The rolling checkpoint's schedule: which buckets are written with which batch.

Partitions take turns, one per batch, because a transaction's commit writes a marker to every
partition in it. Within a partition, buckets are written in a fixed cycle, so that the oldest is
always next. The number of written bytes depends on the batch's events, not on the state's size:
the cost is bounded, and a larger state has a longer cycle. A bucket may overdraw the account; the
next events pay it back. On a quiet topic a few buckets per second are free.

Undoing a turn marks it as not written: cursors and account are reset.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.rings.buckets import BUCKETS

BUCKET_BYTES = 4_000
"""Cost of a bucket in addition to its payload, in bytes: dump, header, record."""

UNWRITTEN = -1


@dataclass(slots=True, eq=False)
class Held:
    """A partition with complete state.

    Attributes:
        partition: Its number.
        position: The rings' next input offset.
        origin: The oldest offset from which its state could be replayed without a checkpoint.
        labels: int64[BUCKETS], offset of each bucket's newest committed record; -1 for none.
        cursor: The next bucket.
        failures: Number of failed turns. Buckets of turns before the last failure come after
            the cursor.
        began: When the current cycle began, seconds.
        cycle_seconds: Duration of the last complete cycle; 0 before its end.
    """

    partition: int
    position: int
    origin: int
    labels: NDArray[np.int64]
    cursor: int = 0
    failures: int = 0
    began: float = 0.0
    cycle_seconds: float = 0.0

    @property
    def age(self) -> int:
        """Number of records that a restart would replay: from the oldest label to the position."""
        return max(self.position - max(int(self.labels.min()), self.origin), 0)


@dataclass(frozen=True, slots=True)
class Written:
    """One bucket of a turn."""

    held: Held
    bucket: int
    label: int
    records: int
    size: int
    failures: int


@dataclass(slots=True)
class Turn:
    """The buckets written with one batch, and the schedule's state before it."""

    written: list[Written] = field(default_factory=list)
    account: float = 0.0
    free: float = 0.0
    next_partition: int = 0
    positions: list[tuple[Held, int]] = field(default_factory=list)


class Schedule:
    """Decides which buckets are written next.

    Args:
        bytes_per_event: Bytes that each input event adds to the account; may be 0.
        buckets_per_second: Free buckets in a quiet second.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        bytes_per_event: float,
        buckets_per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_event = bytes_per_event
        self._buckets_per_second = buckets_per_second
        self._clock = clock
        self._account = 0.0
        self._free = 0.0
        self._seen = clock()
        self._next = 0
        self.held: dict[int, Held] = {}

    def add(self, partition: int, position: int, origin: int, labels: NDArray[np.int64]) -> None:
        """Add a partition to the schedule, beginning with its oldest bucket."""
        held = Held(partition, position, origin, labels.copy(), began=self._clock())
        held.cursor = int(labels.argmin())
        self.held[partition] = held

    def remove(self, partition: int) -> None:
        """Remove a partition from the schedule."""
        self.held.pop(partition, None)

    def take(self, events: int, write: Callable[[Held, int], tuple[int, int]]) -> Turn:
        """Write the next buckets.

        Args:
            events: Number of events of the batch.
            write: Writes a bucket of a partition; returns (records, bytes).
        """
        turn = Turn(account=self._account, free=self._free, next_partition=self._next)
        try:
            self._take(turn, events, write)
        except BaseException:
            self.undo(turn)
            raise
        return turn

    def _take(self, turn: Turn, events: int, write: Callable[[Held, int], tuple[int, int]]) -> None:
        now = self._clock()
        earned = (now - self._seen) * self._buckets_per_second
        self._free = min(self._free + earned, max(self._buckets_per_second, 1.0))
        self._seen = now
        self._account += events * self._bytes_per_event
        ring = sorted(self.held)
        for _ in ring:
            held = self.held[ring[self._next % len(ring)]]
            self._next = (self._next + 1) % len(ring)
            self._fill(turn, held, write)
            if turn.written or (self._account <= 0 and self._free < 1):
                return
        # Nothing is due: unused budget is not saved.
        self._account = min(self._account, 0.0)

    def _fill(self, turn: Turn, held: Held, write: Callable[[Held, int], tuple[int, int]]) -> None:
        """Write what is due of a partition, until the account is used up or the cycle ends."""
        while self._account > 0 or self._free >= 1:
            bucket = held.cursor
            round_over = bool(turn.written) and turn.written[0].bucket == bucket
            if round_over or held.labels[bucket] >= held.position:
                return
            records, size = write(held, bucket)
            turn.written.append(Written(held, bucket, held.position, records, size, held.failures))
            held.cursor = (bucket + 1) % BUCKETS
            if self._account > 0:
                self._account -= size + BUCKET_BYTES
            self._free = max(self._free - 1, 0.0)

    def advance(self, turn: Turn, positions: Mapping[int, int]) -> None:
        """Note that a turn's batch was folded: the rings are at these offsets now."""
        for partition, position in positions.items():
            held = self.held.get(partition)
            if held is not None:
                turn.positions.append((held, held.position))
                held.position = position

    def keep(self, turn: Turn) -> None:
        """Note that the turn's buckets are safe in the store."""
        for each in turn.written:
            each.held.labels[each.bucket] = each.label
            if each.bucket == 0:
                now = self._clock()
                each.held.cycle_seconds = now - each.held.began
                each.held.began = now

    def failed(self, turn: Turn) -> None:
        """Note that the store did not write the turn's buckets: they are next again."""
        for held in self._go_back(turn):
            held.failures += 1

    def undo(self, turn: Turn) -> None:
        """Note that the turn's buckets were not written; turns are undone newest first."""
        self._go_back(turn)
        for held, position in turn.positions:
            held.position = position
        self._account, self._free = turn.account, turn.free
        self._next = turn.next_partition

    def _go_back(self, turn: Turn) -> set[Held]:
        """Move the cursor back to the turn's buckets, unless an older turn has failed since.

        Returns:
            The partitions whose cursor was moved.
        """
        back = [each for each in turn.written if each.failures == each.held.failures]
        for each in reversed(back):
            each.held.cursor = each.bucket
        return {each.held for each in back}
