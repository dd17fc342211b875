"""The ``state`` commands that write: both need the group's scorers to be stopped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from stream_scorer.apps.refolding import Refolding
from stream_scorer.apps.scorer import Deployment
from stream_scorer.apps.state import Checkpoint, ring_columns
from stream_scorer.core.batch import EventBatch
from stream_scorer.core.features import ENGINE
from stream_scorer.core.scorer import Rings
from stream_scorer.core.windows import BUCKETS, NEVER, bucket_of
from stream_scorer.errors import OffsetsError, StateError
from stream_scorer.kafka.groups import refuse_members
from stream_scorer.kafka.offsets import bounds
from stream_scorer.kafka.partitioner import partition_of
from stream_scorer.kafka.reading import read
from stream_scorer.kafka.state_topic import TopicStore, publish
from stream_scorer.kafka.topics import grow
from stream_scorer.state.checkpoint import Bucket, partitions_of
from stream_scorer.state.history import merged, outlived, since_of
from stream_scorer.state.restore import labels_of, refuse_misfit, replay_start
from stream_scorer.state.rings import columns_of

Writing = Iterator[tuple[int, list[tuple[bytes, bytes | None]]]]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One partition's new checkpoint.

    Attributes:
        partition: Input partition.
        first: Where the retained input begins.
        offset: The group's offset, which every bucket is as of; None where the group has none,
            and so nothing was written.
        customers: Rings in it.
    """

    partition: int
    first: int
    offset: int | None
    customers: int


def rebuild(checkpoint: Checkpoint, deployment: Deployment) -> list[Rebuilt]:
    """Build the checkpoint anew from the retained input, up to the group's offsets.

    Raises:
        StateError: The group has members.
        OffsetsError: An offset of the group lies outside the retained input.
        UnavailableError: The broker or the store does not answer; in a topic nothing is written.
    """
    refuse_members(checkpoint.settings.kafka)
    for partition, offset in checkpoint.committed.items():
        if offset < checkpoint.low[partition]:
            raise OffsetsError(
                f"group {checkpoint.owner.group}: the offset {offset} of partition {partition} "
                f"lies before the oldest retained {checkpoint.low[partition]}",
                "decide what to do about the gap, set the offset forward, then rebuild",
            )
    folding = Refolding(checkpoint.settings, deployment)
    reports: list[Rebuilt] = []

    def written() -> Writing:
        for partition in range(checkpoint.count):
            low, offset = checkpoint.low[partition], checkpoint.committed.get(partition)
            if offset is None:
                # What is there would keep the group's first run from starting.
                yield partition, _removals(checkpoint, partition)
                reports.append(Rebuilt(partition, low, None, 0))
                continue
            rings = folding.rings()
            folding.fold(rings, partition, low, offset)
            since = folding.complete_since(low)
            own = rings.of(partition)
            for bucket in range(BUCKETS):
                made = Bucket(partition, bucket, offset, checkpoint.count, ENGINE,
                              int(own.watermark), own.retention.horizon_ms, since,
                              own.dump(bucket))  # fmt: skip
                yield partition, [*made.records(checkpoint.owner)]
            reports.append(Rebuilt(partition, low, offset, len(own)))

    _write(checkpoint, written(), {})
    return reports


def _removals(checkpoint: Checkpoint, partition: int) -> list[tuple[bytes, bytes | None]]:
    keys = {key for records in checkpoint.store.read(partition) for key, _ in records if key}
    return [(key, None) for key in sorted(keys)
            if (checkpoint.owner.place(key) or (-1,))[0] == partition]  # fmt: skip


def _write(checkpoint: Checkpoint, records: Writing, offsets: Mapping[int, int]) -> None:
    """Write records and set offsets: in a topic in one transaction."""
    kafka = checkpoint.settings.kafka
    if isinstance(checkpoint.store, TopicStore):
        publish(kafka, checkpoint.store.topic, records, offsets)
        return
    if offsets:
        # First: a run in between stops, as the files still tell of the old partitions.
        publish(kafka, "", iter(()), offsets)
    for partition, each in records:
        checkpoint.store.write(partition, each)


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """What became of a checkpoint whose input has more partitions now.

    Attributes:
        before: Partitions that it was written for.
        after: Partitions that the input has.
        customers: Customers in it.
        moved: Those whose partition is another now.
        stranded: Records that are not decided yet and lie in a partition that is not their
            customer's any more: they will be decided without the history, and the customer's
            later history will lack them.
    """

    before: int
    after: int
    customers: int
    moved: int
    stranded: int


def repartition(checkpoint: Checkpoint, deployment: Deployment) -> Repartitioned:
    """Assign the customers to the input's present partitions, as its producers do.

    The old partitions' state is first brought to the group's offsets. New partitions begin with
    their oldest record, and the group gets an offset there.

    Raises:
        StateError: The group has members, or the old checkpoint does not fit the old input.
        UnavailableError: The broker or the store does not answer; in a topic nothing is written.
    """
    kafka = checkpoint.settings.kafka
    refuse_members(kafka)
    before, after = _written_for(checkpoint), checkpoint.count
    if isinstance(checkpoint.store, TopicStore):
        grow(kafka, checkpoint.store.topic, after)
    folding = Refolding(checkpoint.settings, deployment)
    old = folding.rings()
    since = merged(
        _bring_up(checkpoint, folding, old, partition, before) for partition in range(before)
    )
    offsets = {p: checkpoint.committed.get(p, checkpoint.low[p]) for p in range(after)}
    customers = sum(len(old.of(partition)) for partition in range(before))
    moved = [0]

    def written() -> Writing:
        for number in range(BUCKETS):
            shares = _shares(old, before, after, number, moved)
            for partition in range(after):
                # Never held in one place, so that no two of a customer's rings can meet unseen.
                rings = folding.rings().of(partition)
                for share in shares[partition]:
                    rings.load(share)
                watermark = int(old.of(partition).watermark) if partition < before else int(NEVER)
                bucket = Bucket(partition, number, offsets[partition], after, ENGINE, watermark,
                                rings.retention.horizon_ms, since, rings.dump(number))  # fmt: skip
                yield partition, [*bucket.records(checkpoint.owner)]

    _write(checkpoint, written(), offsets)
    return Repartitioned(before, after, customers, moved[0], _stranded(checkpoint, offsets, before))


def _written_for(checkpoint: Checkpoint) -> int:
    """Return how many partitions the checkpoint was written for."""
    counts = set()
    for key, value in checkpoint.store.sample():
        try:
            counts.add(partitions_of(checkpoint.owner, key or b"", value or b""))
        except ValueError as error:
            raise StateError(f"checkpoint of {checkpoint.owner.topic}: {error}",
                             "stream-scorer state rebuild") from error  # fmt: skip
    if not counts:
        raise StateError(
            f"group {checkpoint.owner.group} has no checkpoint of {checkpoint.owner.topic}",
            "there is nothing to repartition",
        )
    if len(counts) > 1:
        raise StateError(
            f"checkpoint of {checkpoint.owner.topic}: its partitions were written for "
            f"{', '.join(map(str, sorted(counts)))} partitions of the input",
            "an earlier repartition was cut off: stream-scorer state rebuild",
        )
    return counts.pop()


def _bring_up(
    checkpoint: Checkpoint, folding: Refolding, rings: Rings, partition: int, before: int
) -> dict[str, int]:
    """Bring an old partition's rings to the group's offset; return since when they are whole."""
    buckets = checkpoint.buckets(partition)
    if not buckets and partition not in checkpoint.committed:
        return {}
    taken = checkpoint.takeover(partition, before)
    refuse_misfit(taken, buckets)
    own = rings.of(partition)
    since = since_of(buckets.values(), own.fields, own.retention.horizon_ms)
    for bucket in buckets.values():
        ring_columns(checkpoint, bucket)
        own.load(bucket.payload)
    labels = labels_of(buckets.values())

    def unknown(events: EventBatch) -> EventBatch:
        own_labels = labels[bucket_of(events.records.column("customer_id"))]
        return events.take(np.flatnonzero(events.offset >= own_labels))

    folding.fold(rings, partition, replay_start(labels, taken.low), taken.offset, unknown)
    own.watermark = max([own.watermark, *(bucket.watermark for bucket in buckets.values())])
    if int(labels.min()) < 0:
        since = merged([since, folding.complete_since(taken.low)])
    return outlived(since, own.watermark, own.retention.horizon_ms)


def _shares(
    old: Rings, before: int, after: int, number: int, moved: list[int]
) -> list[list[bytes]]:
    """Return, by new partition, the payloads that a bucket's customers come in; count movers."""
    shares: list[list[bytes]] = [[] for _ in range(after)]
    for partition in range(before):
        columns = columns_of(old.of(partition).dump(number))
        places = [partition_of(customer, after) for customer in columns.customers]
        moved[0] += sum(place != partition for place in places)
        for place in sorted(set(places)):
            shares[place].append(columns.payload([i for i, at in enumerate(places) if at == place]))
    return shares


def _stranded(checkpoint: Checkpoint, offsets: Mapping[int, int], before: int) -> int:
    """Count the undecided records that lie in a partition that is not their key's any more."""
    kafka, topic = checkpoint.settings.kafka, checkpoint.owner.topic
    _, end = bounds(kafka, topic)
    start = {p: offsets[p] for p in range(before)}
    return sum(
        message.key() is not None
        and partition_of(message.key(), checkpoint.count) != message.partition()
        for message in read(kafka, topic, start, end)
    )
