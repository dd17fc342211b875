"""The scorer's rolling checkpoint: a few buckets with every batch, as of the batch before it.

With transactional records, the buckets are part of the new batch's transaction; an abort drops
both. A file store is written after the commit, on a separate thread. So a bucket's label is never
past the committed offset, and a slow store does not delay batches.

Once a partition has left, this process writes no more files for it, because its next owner does.
Only the put in flight cannot be stopped; ``state/stores/file_store.py`` describes its effect.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.rings import NEVER, CustomerRings
from stream_scorer.errors import UnavailableError
from stream_scorer.ports import BytesColumn, CheckpointStore, Outgoing
from stream_scorer.readings.scraped import timed
from stream_scorer.state.checkpoints.formats import FORMAT, Bucket, Record
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.schedule import Held, Schedule, Turn
from stream_scorer.telemetry import CheckpointFailed, CheckpointWritten, Listener

_MOST_UNWRITTEN = 4
_RETRY_SECONDS = 5.0
_FLUSH_BYTES = 32_000_000
_FLUSH_SECONDS = 2.0

Dumped = tuple[Held, list[Record]]
"""A bucket's records and their partition."""


@dataclass(slots=True)
class Share:
    """The part of the checkpoint that is written with one batch."""

    turn: Turn
    buckets: list[Dumped] = field(default_factory=list)
    given_up: bool = False
    outgoing: tuple[Outgoing, ...] = ()


def dump(
    rings: CustomerRings, partition: int, number: int, offset: int, partitions: int,
    since: Mapping[str, int], write_format: int, newest: int = NEVER,
) -> Bucket:  # fmt: skip
    """Return one bucket of a partition's rings.

    Its watermark includes batches that are not known to be committed: the rings hold their events,
    and a bucket is as of an offset, not of a commit. If the watermark were older than the events, a
    restore would count a field as known too early, and would evict rings later than a replay does.

    Args:
        rings: The partition's.
        partition: Its number.
        number: The bucket's.
        offset: The rings' next input offset of the partition.
        partitions: Number of partitions of the input.
        since: By reason why history is missing, the event time (ms) from which it is complete.
        write_format: Number of the format that it is to be written in.
        newest: Newest accepted event time of the partition, if the rings do not contain it.
    """
    retention = rings.retention
    return Bucket(
        partition, number, offset, partitions, RINGS_ENGINE, max(rings.newest, int(newest)),
        retention.horizon_ms, since, rings.dump(number), retention.cap, retention.unit,
        write_format,
    )  # fmt: skip


class Checkpoints:
    """Writes the rings of complete partitions, bucket by bucket; all on the compute thread.

    Args:
        store: Where to.
        owner: The owner of the state.
        rings: The rings that are written.
        schedule: Decides which buckets are next.
        listener: Notified of written and failed buckets.
        clock: Seconds, monotonic.
        write_format: Number of the format that buckets are written in.
    """

    def __init__(
        self,
        store: CheckpointStore,
        owner: Owner,
        rings: PartitionRings,
        schedule: Schedule,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        write_format: int = FORMAT,
    ) -> None:
        self._store = store
        self._owner = owner
        self._rings = rings
        self._schedule = schedule
        self._listener = listener
        self._clock = clock
        self._format = write_format
        self._partitions = 0
        self._since: dict[int, Mapping[str, int]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: list[tuple[Share, Future[bool]]] = []
        self._retry_at = 0.0

    def start(
        self,
        partition: int,
        partitions: int,
        position: int,
        origin: int,
        labels: NDArray[np.int64],
        since: Mapping[str, int],
    ) -> None:
        """Begin to write a partition whose state is complete.

        Args:
            partition: Its number.
            partitions: Number of partitions of the input.
            position: Its next input offset.
            origin: The input's oldest retained offset.
            labels: int64[BUCKETS], offsets of the buckets in the store; -1 for none.
            since: By reason why history is missing, the event time (ms) from which it is complete.
        """
        self._partitions = partitions
        self._since[partition] = since
        self._schedule.add(partition, position, origin, labels)

    def lacks(self, partition: int, since: Mapping[str, int]) -> None:
        """Replace the reasons why a partition's history is missing; see ``start``."""
        if partition in self._since:
            self._since[partition] = since

    def stop(self, partition: int) -> None:
        """Stop writing a partition."""
        self._schedule.remove(partition)
        self._since.pop(partition, None)

    def take(self, events: int) -> Share:
        """Dump the buckets that are next, before a batch of ``events`` is folded."""
        share = Share(Turn())
        self._collect()
        if len(self._writing) >= _MOST_UNWRITTEN or self._clock() < self._retry_at:
            return share

        def write(held: Held, bucket: int) -> tuple[int, int]:
            records = self._dump(held, bucket)
            share.buckets.append((held, records))
            return len(records), sum(len(value) for _, value in records)

        share.turn = self._schedule.take(events, write)
        if share.buckets and self._store.transactional:
            share.outgoing = self._outgoing(share.buckets)
        return share

    def advance(self, share: Share, positions: Mapping[int, int]) -> None:
        """Note that the batch is folded: its partitions are at these offsets."""
        self._schedule.advance(share.turn, positions)

    def keep(self, share: Share) -> None:
        """Note that the batch of a share is committed."""
        if not share.turn.written:
            return
        if self._store.transactional:
            self._safe(share)
        else:
            self._writing.append((share, self._pool.submit(self._write, share)))

    def undo(self, share: Share) -> None:
        """Note that the batch of a share was aborted, and its buckets with it."""
        self._schedule.undo(share.turn)

    def flush(self, partitions: set[int]) -> tuple[Outgoing, ...]:
        """Dump the outdated buckets of the given partitions, oldest first, and stop writing them.

        Nothing may be in flight. The new owner's replay then begins later, or is not needed. One
        deadline covers all of it; buckets that do not fit are left to that replay.

        Returns:
            What is to be published in a transaction; nothing with a file store, which is already
            written.
        """
        until = self._clock() + _FLUSH_SECONDS
        due = self._due(partitions, until)
        dumped: list[Dumped] = []
        if self._store.transactional:
            dumped = list(due)
        else:
            self._put_at_once(due, until)
        for partition in partitions:
            self.stop(partition)
        return self._outgoing(dumped) if dumped else ()

    def _due(self, partitions: set[int], until: float) -> Iterator[Dumped]:
        """Dump the outdated buckets of some partitions, oldest first, within bounds."""
        leaving = [held for p, held in sorted(self._schedule.held.items()) if p in partitions]
        size = 0
        for step in range(BUCKETS):
            for held in leaving:
                bucket = (held.cursor + step) % BUCKETS
                if held.labels[bucket] >= held.position:
                    continue
                if size >= _FLUSH_BYTES or self._clock() >= until:
                    return
                records = self._dump(held, bucket)
                size += sum(len(value) for _, value in records)
                yield held, records

    def _put_at_once(self, due: Iterator[Dumped], until: float) -> None:
        """Cancel the waiting writes and put buckets in the file store, up to a deadline."""
        for share, _ in self._writing:
            share.given_up = True
        if not self._waited([future for _, future in self._writing], until):
            return
        self._collect()
        for held, records in due:
            put = self._pool.submit(self._put, held.partition, records)
            if not self._waited([put], until):
                put.cancel()
                return
            try:
                put.result()
            except UnavailableError as error:
                self._listener(CheckpointFailed(str(error)))
                return

    def _waited(self, futures: Sequence[Future[Any]], until: float) -> bool:
        """Wait for all futures; return whether they completed in time."""
        return not wait(futures, max(until - self._clock(), 0.0)).not_done

    def _dump(self, held: Held, bucket: int) -> list[Record]:
        rings, since = self._rings.of(held.partition), self._since[held.partition]
        made = dump(
            rings, held.partition, bucket, held.position, self._partitions, since, self._format
        )
        return made.records(self._owner)

    def _outgoing(self, buckets: Sequence[Dumped]) -> tuple[Outgoing, ...]:
        flat = [(held.partition, *record) for held, records in buckets for record in records]
        return (
            Outgoing(
                self._store.topic,
                BytesColumn.of(value for _, _, value in flat),
                BytesColumn.of(key for _, key, _ in flat),
                partition=np.array([p for p, _, _ in flat], np.int32),
            ),
        )

    def _write(self, share: Share) -> bool:
        """Put a share's buckets in the file store; return whether all were written."""
        for held, records in share.buckets:
            if share.given_up or self._schedule.held.get(held.partition) is not held:
                return False
            self._put(held.partition, records)
        return True

    def _put(self, partition: int, records: list[Record]) -> None:
        with timed("checkpoint_store", "write"):
            self._store.write(partition, records)

    def _collect(self) -> None:
        """Note which buckets the file store has written, and which failed."""
        while self._writing and self._writing[0][1].done():
            share, future = self._writing.pop(0)
            try:
                written = future.result()
            except UnavailableError as error:
                written = False
                self._retry_at = self._clock() + _RETRY_SECONDS
                self._listener(CheckpointFailed(str(error)))
            if written:
                self._safe(share)
            else:
                self._schedule.failed(share.turn)

    def _safe(self, share: Share) -> None:
        self._schedule.keep(share.turn)
        written = share.turn.written
        held = self._schedule.held
        self._listener(
            CheckpointWritten(
                buckets=len(written),
                bytes=sum(each.size for each in written),
                age_records={partition: each.age for partition, each in held.items()},
                cycle_seconds={p: each.cycle_seconds for p, each in held.items()
                               if each.cycle_seconds},
            )
        )  # fmt: skip
