"""A group's checkpoint for the ``state`` commands, and the commands that show it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.offsets import admin, bounds, partitions
from stream_scorer.ports import CheckpointStore
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.checkpoints.restore_rules import Takeover, damaged
from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, columns_of
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.stores.open import owner_of, store_of, topic_of
from stream_scorer.state.stores.topic_store import TopicStore

_READINGS = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A group's checkpoint and its input.

    Attributes:
        settings: Cluster, group, store.
        owner: The owner of the state.
        store: The store of the buckets.
        state_topic: The topic of the rejections, wherever the buckets are.
        count: How many partitions the input has.
        low: Oldest retained offset by partition.
        committed: The group's offsets by partition, if it has one.
    """

    settings: Settings
    owner: Owner
    store: CheckpointStore
    state_topic: TopicStore
    count: int
    low: Mapping[int, int]
    committed: Mapping[int, int]
    _rejected: dict[int, Rejected] = field(default_factory=dict, repr=False)

    def takeover(self, partition: int, partitions: int | None = None) -> Takeover:
        """Return what a scorer that takes over the partition would know."""
        return Takeover(
            self.owner.topic, partition, partitions or self.count,
            self.committed.get(partition, -1), partition not in self.committed,
            self.low.get(partition, 0), RINGS_ENGINE, group=self.owner.group,
        )  # fmt: skip

    def buckets(self, partition: int) -> dict[int, Bucket]:
        """Read a partition's buckets.

        Raises:
            StateError: A record is damaged.
            UnavailableError: The store does not answer.
        """
        for reading in range(_READINGS):
            assembly = Assembly(self.owner, partition)
            rejected = Rejected(self.owner, partition)
            try:
                for records in self.store.read(partition):
                    assembly.add(records)
                    rejected.add(records)
                found = assembly.buckets()
                if self.store is self.state_topic:
                    # Read right after the buckets, so that their offset is known here.
                    rejected.settle()
                    self._rejected[partition] = rejected
            except ValueError as error:
                # Compaction may delete a part that a scorer has just replaced.
                if reading == _READINGS - 1:
                    raise damaged(self.takeover(partition), error) from error
            else:
                return found
        raise AssertionError

    def rejected(self, partition: int) -> Rejected:
        """Return a partition's rejections; after buckets were read, as of that moment or later.

        Raises:
            SettingsError: The state topic does not exist.
            StateError: A record is damaged.
            UnavailableError: The broker does not answer.
        """
        found = self._rejected.pop(partition, None)
        if found is None:
            try:
                found, _ = self.readable_rejections(partition, forgive=False)
            except ValueError as error:
                raise damaged(self.takeover(partition), error) from error
        return found

    def readable_rejections(
        self, partition: int, *, forgive: bool = True
    ) -> tuple[Rejected, list[int]]:
        """Return the readable rejections of a partition, and the offsets of unreadable segments.

        Raises:
            SettingsError: The state topic does not exist.
            ValueError: A record is damaged or a later version's, and that is not forgiven.
            UnavailableError: The broker does not answer.
        """
        found = Rejected(self.owner, partition)
        for records in self.state_topic.read(partition):
            found.add(records)
        return found, found.settle(forgive=forgive)


def open_checkpoint(settings: Settings) -> Checkpoint:
    """Open a group's checkpoint.

    Raises:
        SettingsError: The input or the store does not exist.
        UnavailableError: The broker does not answer.
    """
    kafka = settings.kafka
    topic = kafka.topics.transactions
    numbers = partitions(admin(kafka), kafka, [topic])[topic]
    owner = owner_of(settings)
    low, _ = bounds(kafka, topic)
    store = store_of(settings, owner)
    return Checkpoint(
        settings, owner, store, topic_of(settings, owner, store), len(numbers), low,
        committed_offsets(kafka, topic, numbers),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PartitionCheckpoint:
    """One partition's checkpoint; offsets and the watermark are None where there is no bucket.

    Attributes:
        partition: Input partition.
        buckets: Number of buckets.
        customers: Number of rings in them.
        events: Number of events in the rings.
        bytes: Size of their payloads.
        oldest: Oldest label, where a replay begins.
        newest: Newest label.
        committed: The group's offset.
        lag: Records between the oldest label and the group's offset.
        partitions: How many partitions the input had.
        engine: Version of the rules by which features are computed.
        formats: Number of buckets by format number.
        watermark: Newest accepted event time, ms.
    """

    partition: int
    buckets: int
    customers: int
    events: int
    bytes: int
    oldest: int | None
    newest: int | None
    committed: int | None
    lag: int | None
    partitions: int | None
    engine: int | None
    formats: Mapping[int, int]
    watermark: int | None


def inspect(checkpoint: Checkpoint) -> list[PartitionCheckpoint]:
    """Describe the checkpoint of every partition.

    Raises:
        StateError: A bucket is damaged.
        UnavailableError: The store does not answer.
    """
    return [_inspect(checkpoint, partition) for partition in range(checkpoint.count)]


def _inspect(checkpoint: Checkpoint, partition: int) -> PartitionCheckpoint:
    buckets = checkpoint.buckets(partition)
    committed = checkpoint.committed.get(partition)
    customers = events = 0
    for bucket in buckets.values():
        rings = ring_columns(checkpoint, bucket)
        customers += len(rings.customers)
        events += len(rings.time)
    if not buckets:
        return PartitionCheckpoint(
            partition, 0, 0, 0, 0, None, None, committed, None, None, None, {}, None
        )
    labels = [bucket.offset for bucket in buckets.values()]
    newest = max(buckets.values(), key=lambda bucket: bucket.offset)
    watermark = max(bucket.watermark for bucket in buckets.values())
    return PartitionCheckpoint(
        partition, len(buckets), customers, events,
        sum(len(bucket.payload) for bucket in buckets.values()),
        min(labels), max(labels), committed,
        None if committed is None else committed - min(labels),
        newest.partitions, newest.engine,
        dict(sorted(Counter(bucket.format for bucket in buckets.values()).items())),
        None if watermark == NEVER else watermark,
    )  # fmt: skip


def ring_columns(checkpoint: Checkpoint, bucket: Bucket) -> CustomerColumns:
    """Read a bucket's payload.

    Raises:
        StateError: It is damaged.
    """
    try:
        return columns_of(bucket.payload)
    except ValueError as error:
        raise damaged(
            checkpoint.takeover(bucket.partition), f"bucket {bucket.bucket}: {error}"
        ) from error


def export(checkpoint: Checkpoint, path: Path) -> tuple[int, int]:
    """Write all rings to a Parquet file: one row per remembered event.

    Columns are the partition, the bucket, the customer, the event time, the amount, the hash of
    the transaction id, and each further stored field as the rings hold it (64 bits).

    Returns:
        (customers, events).

    Raises:
        SettingsError: The file cannot be written.
        StateError: A bucket is damaged.
        UnavailableError: The store does not answer.
    """
    names: list[str] = []
    for partition in range(checkpoint.count):
        for bucket in checkpoint.buckets(partition).values():
            names += [n for n in ring_columns(checkpoint, bucket).fields if n not in names]
    schema = pa.schema(
        [("partition", pa.int32()), ("bucket", pa.int32()), ("customer_id", pa.string()),
         ("event_time", pa.timestamp("ms", tz="UTC")), ("amount_minor", pa.int64()),
         ("transaction_hash", pa.uint64()), *((name, pa.int64()) for name in names)]
    )  # fmt: skip
    customers = events = 0
    try:
        writing = pq.ParquetWriter(path, schema)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror or error}", "name another file"
        ) from error
    with writing as writer:
        for partition in range(checkpoint.count):
            for bucket in checkpoint.buckets(partition).values():
                rings = ring_columns(checkpoint, bucket)
                count = len(rings.time)
                customers += len(rings.customers)
                events += count
                if not count:
                    continue
                each = np.repeat(np.arange(len(rings.customers)), np.diff(rings.first))
                ids = pa.array([customer.decode() for customer in rings.customers])
                nothing = pa.nulls(count, pa.int64())
                columns = [
                    pa.array(np.full(count, partition, np.int32)),
                    pa.array(np.full(count, bucket.bucket, np.int32)),
                    ids.take(pa.array(each)),
                    pa.array(rings.time).cast(pa.timestamp("ms", tz="UTC")),
                    pa.array(rings.amount), pa.array(rings.hash),
                    *(pa.array(rings.fields[n]) if n in rings.fields else nothing for n in names),
                ]  # fmt: skip
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return customers, events
