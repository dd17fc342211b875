"""The rolling checkpoint's schedule: which buckets are written with which batch.

Partitions take turns, one with each batch, because a transaction's commit costs a marker for every
partition in it. In each the buckets go round in order, so that the oldest is always the next. What
is written is paid for by the events of the batch, in bytes, whatever the state's size: the cost is
bounded, and the cycle grows with the state. A bucket may overdraw the account; the next events pay
it back. On a quiet topic a few buckets per second are free.

A turn that is undone counts as not written: the cursors and the account go back.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.rings.rings import BUCKETS

BUCKET_BYTES = 4_000
"""What a bucket costs beside its payload, in bytes: dump, header, record."""

UNWRITTEN = -1


@dataclass(slots=True, eq=False)
class Held:
    """A partition whose state is whole.

    Attributes:
        partition: Its number.
        position: Its next input offset, as the rings stand.
        origin: The oldest offset from which its state could be replayed without a checkpoint.
        labels: int64[BUCKETS], offset of each bucket's newest committed record; -1 for none.
        cursor: The bucket that is next.
        failures: How often the store did not take a turn; what was taken before the last time is
            behind the cursor.
        began: When the present cycle began, seconds.
        cycle_seconds: How long the last whole cycle took; 0 before its end.
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
        """Records that a restart would replay: from the oldest label to the position."""
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
    """What was written with one batch, and how the schedule stood before it."""

    written: list[Written] = field(default_factory=list)
    account: float = 0.0
    free: float = 0.0
    next_partition: int = 0
    positions: list[tuple[Held, int]] = field(default_factory=list)


class Schedule:
    """Whose turn it is.

    Args:
        bytes_per_event: What an event of the input pays; 0 pays for nothing.
        buckets_per_second: Buckets that are free in a quiet second.
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
        """Begin to write a partition, with its oldest bucket."""
        held = Held(partition, position, origin, labels.copy(), began=self._clock())
        held.cursor = int(labels.argmin())
        self.held[partition] = held

    def remove(self, partition: int) -> None:
        """Write a partition no more."""
        self.held.pop(partition, None)

    def take(self, events: int, write: Callable[[Held, int], tuple[int, int]]) -> Turn:
        """Write the buckets whose turn it is.

        Args:
            events: Events of the batch that pays.
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
        # Nothing is due: what was not needed is not saved up.
        self._account = min(self._account, 0.0)

    def _fill(self, turn: Turn, held: Held, write: Callable[[Held, int], tuple[int, int]]) -> None:
        """Write what is due of a partition, until it is paid for or once round."""
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
        """The batch of a turn was folded: the rings stand at these offsets now."""
        for partition, position in positions.items():
            held = self.held.get(partition)
            if held is not None:
                turn.positions.append((held, held.position))
                held.position = position

    def keep(self, turn: Turn) -> None:
        """The turn's buckets are safe in the store."""
        for each in turn.written:
            each.held.labels[each.bucket] = each.label
            if each.bucket == 0:
                now = self._clock()
                each.held.cycle_seconds = now - each.held.began
                each.held.began = now

    def failed(self, turn: Turn) -> None:
        """The store did not take the turn's buckets: they are next again."""
        for held in self._go_back(turn):
            held.failures += 1

    def undo(self, turn: Turn) -> None:
        """The turn's buckets were not written; turns are undone newest first."""
        self._go_back(turn)
        for held, position in turn.positions:
            held.position = position
        self._account, self._free = turn.account, turn.free
        self._next = turn.next_partition

    def _go_back(self, turn: Turn) -> set[Held]:
        """Begin with the turn's buckets again, unless those of an older turn failed since.

        Returns:
            The partitions in which that is so.
        """
        back = [each for each in turn.written if each.failures == each.held.failures]
        for each in reversed(back):
            each.held.cursor = each.bucket
        return {each.held for each in back}
