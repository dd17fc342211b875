"""Restores a partition's state: its buckets from the store, then the input after them.

To the caller it is one replay (``kafka/reading/replay.py``). Partitions are restored a few at a
time while the loop continues with the complete ones.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.ports import CheckpointStore, Paused, RawRecords, StoredRecords
from stream_scorer.readings.scraped import timed_reading
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.free_memory import give_back, release_early, release_late
from stream_scorer.state.checkpoints.history_coverage import since_of
from stream_scorer.state.checkpoints.ownership import Assembly, Owner, partitions_of
from stream_scorer.state.checkpoints.restore_rules import (
    Takeover,
    damaged,
    labels_of,
    refuse_layout,
    refuse_misfit,
    refuse_rejected,
    replay_start,
)
from stream_scorer.state.checkpoints.schedule import UNWRITTEN
from stream_scorer.state.partitions.rejected_offsets import Rejected

_STEP_SECONDS = 0.05

AT_ONCE = 8
"""How many partitions are restored in turns, so that waiting for one uses another's time."""
_MUCH_BYTES = 8_000_000
_MUCH_INPUT = 20_000
"""A partition that holds this much, or has so much left to read, is restored alone."""


class Input(Protocol):
    """What a restore needs to know about the input; implemented by ``KafkaSource``."""

    def low_watermark(self, partition: int) -> int:
        """Return the oldest retained offset."""
        ...

    def partition_count(self) -> int:
        """Return how many partitions the input has."""
        ...

    def committed(self, partitions: set[int]) -> dict[int, int]:
        """Return the group's stable committed offsets; negative where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of reading the checkpoint.

    Attributes:
        labels: int64[BUCKETS], offset of each bucket; -1 for a missing bucket.
        low: The input's oldest retained offset.
        first: Where the replay begins.
        watermark: Newest event time of the buckets.
        since: By reason why history is missing, the event time (ms) from which it is complete.
        rejected: The partition's rejections so far.
        taken: The partition that was taken over.
    """

    labels: NDArray[np.int64]
    low: int
    first: int
    watermark: int
    since: Mapping[str, int]
    rejected: Rejected
    taken: Takeover

    @property
    def buckets(self) -> int:
        """Number of buckets that were read."""
        return int((self.labels != UNWRITTEN).sum())

    def others(self, raw: RawRecords) -> RawRecords | None:
        """Return the replayed records that were not rejected; None if none is left.

        Raises:
            StateError: The rejections cannot be read.
        """
        try:
            return self.rejected.others(raw)
        except ValueError as error:
            raise damaged(self.taken, error) from error

    def unknown(self, events: EventBatch) -> EventBatch:
        """Return the replayed events that their buckets do not contain yet."""
        newest = int(self.labels.max())
        if not len(events) or newest <= int(events.offset[0]):
            return events
        buckets = bucket_of(events.records.column("customer_id"))
        rows = np.flatnonzero(events.offset >= self.labels[buckets])
        return events if len(rows) == len(events) else events.take(rows)


class CheckpointedReplay:
    """Loads one partition's buckets, then replays the input after them.

    Args:
        taken: Returns the current takeover; called again when the buckets are read.
        owner: The owner of the state.
        store: The store of the buckets.
        topic: The topic of the rejections.
        sample: Returns one record of each partition in the store that holds any.
        rings: Where the buckets are loaded.
        open_input: Opens the input of (first offset, end offset).
        begun: The partitions whose replays have begun and are not closed; all share it.
        rest: Called when the last of these is closed.
    """

    def __init__(
        self,
        taken: Callable[[], Takeover],
        owner: Owner,
        store: CheckpointStore,
        topic: CheckpointStore,
        sample: Callable[[], StoredRecords],
        rings: PartitionRings,
        open_input: Callable[[int, int], InputReplay],
        begun: set[int],
        rest: Callable[[], None],
    ) -> None:
        start = taken()
        self.partition = start.partition
        self.end = start.offset
        self.restored: Restored | None = None
        self._taken = taken
        self._owner = owner
        self._store = store
        self._topic = topic
        self._sample = sample
        self._rings = rings
        self._open_input = open_input
        self._begun = begun
        self._rest = rest
        self._assembly = Assembly(owner, start.partition)
        self._rejected = Rejected(owner, start.partition)
        self._held_bytes = 0
        self._reading: Iterator[StoredRecords] | None = None
        self._loading: list[Bucket] | None = None
        self._input: InputReplay | None = None
        # Until the replay's beginning is known, all retained input counts.
        self._low = min(start.low, self.end - 1)

    @property
    def next_offset(self) -> int:
        """The replay's next offset."""
        if self._input is not None:
            return self._input.next_offset
        return self.end if self.done else self._low

    @property
    def done(self) -> bool:
        """Whether the state is as of ``end``."""
        if self._input is not None:
            return self._input.done
        return self.restored is not None and not self._loading

    @property
    def alone(self) -> bool:
        """Whether it holds, or has to read, so much that other partitions should wait."""
        if self._input is not None:
            return self._input.end - self._input.next_offset > _MUCH_INPUT
        return self._held_bytes > _MUCH_BYTES

    def step(self) -> RawRecords | None:
        """Read some records, load some buckets, or return some input.

        Raises:
            Paused: The store does not answer.
            StateError: The checkpoint does not fit.
        """
        if self._input is not None:
            return self._input.step()
        if self._loading is None:
            self._read()
        else:
            self._load(self._loading)
        if self.restored is not None and not self._loading and self.restored.first < self.end:
            self._input = self._open_input(self.restored.first, self.end)
        return None

    def close(self) -> None:
        """Close the connections."""
        if self._input is not None:
            self._input.close()
        self._reading = None
        give_back()
        self._begun.discard(self.partition)
        if not self._begun:
            self._rest()
            release_late()

    def _read(self) -> None:
        try:
            if self._reading is None:
                self._begun.add(self.partition)
                release_early()
                self._reading = self._records()
            try:
                records = next(self._reading, None)
                if records is not None:
                    self._assembly.add(records)
                    self._rejected.add(records)
                    self._held_bytes += sum(len(value or b"") for _, value in records)
                    return
                buckets = self._assembly.buckets()
                self._rejected.settle()
            except ValueError as error:
                raise damaged(self._taken(), error) from error
            taken = self._taken()
            if not buckets:
                self._refuse_moved(taken)
        except UnavailableError as error:
            self._reading, self._assembly = None, Assembly(self._owner, self.partition)
            self._rejected = Rejected(self._owner, self.partition)
            self._held_bytes = 0
            raise Paused("checkpoints", str(error)) from error
        refuse_misfit(taken, buckets)
        refuse_rejected(taken, self._rejected.end)
        rings = self._rings.of(self.partition)
        try:
            since = since_of(buckets.values(), rings.fields, rings.retention)
        except ValueError as error:
            raise damaged(taken, error) from error
        labels = labels_of(buckets.values())
        self._loading = [buckets[number] for number in sorted(buckets, reverse=True)]
        self._held_bytes = sum(len(bucket.payload) for bucket in self._loading)
        self.restored = Restored(
            labels, taken.low, replay_start(labels, taken.low),
            max((bucket.watermark for bucket in buckets.values()), default=np.iinfo(np.int64).min),
            since, self._rejected, taken,
        )  # fmt: skip

    def _records(self) -> Iterator[StoredRecords]:
        """Yield the partition's stored records: its buckets and its rejections."""
        stored = self._store.read(self.partition)
        yield from timed_reading("checkpoint_store", "read_partition", stored)
        if self._topic is not self._store:
            yield from self._topic.read(self.partition)

    def _refuse_moved(self, taken: Takeover) -> None:
        """Refuse a partition without buckets if the input had fewer partitions before."""
        for key, value in self._sample():
            try:
                partitions = partitions_of(self._owner, key or b"", value or b"")
            except ValueError:
                continue  # its own partition's restore reports it
            refuse_layout(taken, partitions)

    def _load(self, buckets: list[Bucket]) -> None:
        rings = self._rings.of(self.partition)
        until = time.monotonic() + _STEP_SECONDS
        while buckets and time.monotonic() < until:
            bucket = buckets.pop()
            self._held_bytes -= len(bucket.payload)
            try:
                rings.load(bucket.payload, checked=bucket.checked, bucket=bucket.bucket)
            except ValueError as error:
                raise damaged(self._taken(), f"bucket {bucket.bucket}: {error}") from error
        if not buckets:
            give_back()


class Restoration:
    """Opens the replay of each partition that is taken over.

    Args:
        topic: The input.
        source: Answers questions about the input.
        owner: The owner of the state.
        store: The store of the buckets.
        rings: Where they are loaded.
        open_input: Opens the input of (partition, first offset, end offset).
        rest: Called when no partition is being restored: connections may be closed.
        rejections: The topic of the rejections; None if the buckets are there, too.
    """

    def __init__(
        self,
        topic: str,
        source: Input,
        owner: Owner,
        store: CheckpointStore,
        rings: PartitionRings,
        open_input: Callable[[int, int, int], InputReplay],
        rest: Callable[[], None] = lambda: None,
        rejections: CheckpointStore | None = None,
    ) -> None:
        self._topic = topic
        self._source = source
        self._owner = owner
        self._store = store
        self._rejections = rejections or store
        self._rings = rings
        self._open_input = open_input
        self._rest = rest
        self._fresh: set[int] = set()
        self._begun: set[int] = set()
        self._sample: StoredRecords | None = None
        self.partitions = 0

    def expect(self, partitions: set[int]) -> None:
        """Note how many partitions there are, and for which the group has no offset yet."""
        self.partitions = self._source.partition_count()
        committed = self._source.committed(partitions)
        self._fresh -= partitions
        self._fresh |= {p for p in partitions if committed[p] < 0}
        self._sample = None

    def _sampled(self) -> StoredRecords:
        """Sample the store once for all partitions that came together: their layout is the same."""
        if self._sample is None:
            self._sample = self._store.sample()
        return self._sample

    def open(self, partition: int, offset: int) -> CheckpointedReplay:
        """Return the replay of a partition up to an offset; it reads nothing yet."""
        fresh = partition in self._fresh
        return CheckpointedReplay(
            lambda: Takeover(
                self._topic, partition, self.partitions, offset, fresh,
                self._source.low_watermark(partition), RINGS_ENGINE,
                self._rings.of(partition).retention.unit, group=self._owner.group,
            ),
            self._owner, self._store, self._rejections, self._sampled, self._rings,
            lambda first, end: self._open_input(partition, first, end), self._begun,
            self._rest,
        )  # fmt: skip
