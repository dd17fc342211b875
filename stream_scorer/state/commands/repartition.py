"""``state repartition``: move the customers' rings to the partitions of the enlarged input."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.rings.buckets import BUCKETS, bucket_of
from stream_scorer.core.rings.rings import NEVER, CustomerRings
from stream_scorer.errors import StateError
from stream_scorer.kafka.reading.read_to_end import read
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.groups import refuse_members
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.checkpoints.formats import Record
from stream_scorer.state.checkpoints.history_coverage import merged, outlived, since_of
from stream_scorer.state.checkpoints.ownership import partitions_of
from stream_scorer.state.checkpoints.restore_rules import (
    damaged,
    labels_of,
    refuse_misfit,
    refuse_rejected,
    replay_start,
)
from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, columns_of, united
from stream_scorer.state.commands.inspect import Checkpoint, ring_columns
from stream_scorer.state.commands.refold_input import open_layout
from stream_scorer.state.partitions.checkpoint_writer import dump
from stream_scorer.state.partitions.refold import Refolding
from stream_scorer.state.stores.file_store import FileStore
from stream_scorer.state.stores.topic_store import publish


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """The result for a checkpoint whose input has more partitions now.

    Attributes:
        before: Number of partitions that it was written for.
        after: Number of partitions of the input.
        customers: Number of customers.
        moved: Customers that had a ring in a partition that is not theirs now.
        merged: Customers that had rings in several partitions. Their events are in one ring now,
            ordered by time, each transaction id once.
        stranded: Undecided records in a partition that is no longer their customer's. They will be
            decided without the history, and the later history will not contain them until the
            next repartition.
    """

    before: int
    after: int
    customers: int
    moved: int
    merged: int
    stranded: int


def repartition(checkpoint: Checkpoint, deployment: Deployment) -> Repartitioned:
    """Assign the customers to the input's present partitions, as its producers do.

    The old partitions' state is first brought to the group's offsets. New partitions begin with
    their oldest record, and the group gets an offset there. All is written together, or nothing. If
    an earlier run was interrupted while it moved files into place, this run finishes that.

    Raises:
        StateError: The group has members, or the old checkpoint does not fit the old input.
        UnavailableError: The broker or the store does not answer.
    """
    kafka, store = checkpoint.settings.kafka, checkpoint.store
    refuse_members(kafka)
    files = store if isinstance(store, FileStore) else None
    if files is not None and (note := files.placing()) is not None:
        files.finish()
        return Repartitioned(**json.loads(note))
    before, after = _written_for(checkpoint), checkpoint.count
    # Rejections are written there, wherever the buckets are.
    grow(kafka, checkpoint.state_topic.topic, after)
    folding = open_layout(checkpoint.settings, deployment).folding()
    old = folding.rings()
    since = merged(
        _bring_up(checkpoint, folding, old, partition, before) for partition in range(before)
    )
    offsets = {p: checkpoint.committed.get(p, checkpoint.low[p]) for p in range(after)}
    stranded = _stranded(checkpoint, offsets, before)
    moving = _Moving(folding, old, before, after)
    write_format = checkpoint.settings.state.write_format

    def written() -> Iterator[tuple[int, list[Record]]]:
        for number in range(BUCKETS):
            for partition, rings in enumerate(moving.of(number)):
                newest = old.of(partition).watermark if partition < before else int(NEVER)
                bucket = dump(
                    rings, partition, number, offsets[partition], after, since, write_format, newest
                )
                yield partition, bucket.records(checkpoint.owner)

    def report() -> Repartitioned:
        return Repartitioned(before, after, moving.customers, moving.moved, moving.merged, stranded)

    if files is None:
        publish(kafka, store.topic, written(), offsets)
        return report()
    files.stage(written())
    # If a run starts in between, it stops, because the files still have the old partitions.
    publish(kafka, "", iter(()), offsets)
    files.place(json.dumps(asdict(report())).encode())
    return report()


class _Moving:
    """Returns the rings of the new partitions, bucket by bucket.

    Args:
        folding: Makes rings, and folds the events of customers with several rings.
        old: The old partitions' rings.
        before: Number of old partitions.
        after: Number of new partitions.

    Attributes:
        customers: Customers returned so far.
        moved: Those of them that had a ring in another partition.
        merged: Those of them that had several rings.
    """

    def __init__(self, folding: Refolding, old: PartitionRings, before: int, after: int) -> None:
        self._folding = folding
        self._old = old
        self._before = before
        self._after = after
        self.customers = self.moved = self.merged = 0

    def of(self, number: int) -> list[CustomerRings]:
        """Return, by new partition, rings with the customers of one bucket only.

        Their watermark is the newest event time in the bucket.
        """
        columns = [
            columns_of(self._old.of(partition).dump(number)) for partition in range(self._before)
        ]
        places: dict[bytes, list[tuple[int, int]]] = {}
        for partition, each in enumerate(columns):
            for row, customer in enumerate(each.customers):
                places.setdefault(customer, []).append((partition, row))
        whole: list[list[list[int]]] = [[[] for _ in columns] for _ in range(self._after)]
        split: list[list[list[tuple[int, int]]]] = [[] for _ in range(self._after)]
        for customer, found in places.items():
            home = partition_of(customer, self._after)
            self.moved += any(partition != home for partition, _ in found)
            if len(found) == 1:
                partition, row = found[0]
                whole[home][partition].append(row)
            else:
                split[home].append(found)
        self.customers += len(places)
        self.merged += sum(map(len, split))
        return [self._filled(columns, *each) for each in zip(whole, split, strict=True)]

    def _filled(
        self,
        columns: list[CustomerColumns],
        whole: list[list[int]],
        split: list[list[tuple[int, int]]],
    ) -> CustomerRings:
        rings = self._folding.rings().of(0)
        for each, rows in zip(columns, whole, strict=True):
            if rows:
                rings.load(each.payload(rows))
                rings.watermark = max(rings.watermark, int(each.newest[rows].max()))
        if split:
            self._folding.insert(rings, united(columns, split))
        return rings


def _written_for(checkpoint: Checkpoint) -> int:
    """Return how many partitions the checkpoint was written for.

    Raises:
        StateError: There is no checkpoint, a record is damaged, or the number cannot be true.
    """
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
            "an earlier rebuild was cut off: stream-scorer state rebuild",
        )
    before = counts.pop()
    # Kafka never removes partitions from a topic. A forged number can be up to 2^62.
    if before > checkpoint.count:
        raise StateError(
            f"checkpoint of {checkpoint.owner.topic}: its partitions were written for {before} "
            f"partitions of the input, which has {checkpoint.count}",
            "the topic was created again, or a record is forged: stream-scorer state rebuild",
        )
    return before


def _bring_up(
    checkpoint: Checkpoint, folding: Refolding, rings: PartitionRings, partition: int, before: int
) -> dict[str, int]:
    """Bring an old partition's rings to the group's offset; return since when they are complete."""
    buckets = checkpoint.buckets(partition)
    if not buckets and partition not in checkpoint.committed:
        return {}
    own = rings.of(partition)
    taken = replace(checkpoint.takeover(partition, before), unit=own.retention.unit)
    refuse_misfit(taken, buckets)
    for bucket in buckets.values():
        ring_columns(checkpoint, bucket)
        try:
            own.load(bucket.payload, bucket=bucket.bucket)
        except ValueError as error:
            raise damaged(taken, f"bucket {bucket.bucket}: {error}") from error
    since = since_of(buckets.values(), own.fields, own.retention)
    labels = labels_of(buckets.values())

    def unknown(events: EventBatch) -> EventBatch:
        own_labels = labels[bucket_of(events.records.column("customer_id"))]
        return events.take(np.flatnonzero(events.offset >= own_labels))

    rejected = checkpoint.rejected(partition)
    refuse_rejected(taken, rejected.end)
    first = replay_start(labels, taken.low)
    folding.fold(rings, partition, first, taken.offset, rejected, unknown)
    own.watermark = max([own.watermark, *(bucket.watermark for bucket in buckets.values())])
    if int(labels.min()) < 0:
        since = merged([since, folding.complete_since(taken.low)])
    return outlived(since, own.watermark, own.retention.horizon_ms)


def _stranded(checkpoint: Checkpoint, offsets: Mapping[int, int], before: int) -> int:
    """Count the undecided records in a partition that is no longer their key's."""
    kafka, topic = checkpoint.settings.kafka, checkpoint.owner.topic
    _, end = bounds(kafka, topic)
    start = {p: offsets[p] for p in range(before)}
    return sum(
        message.key() is not None
        and partition_of(message.key(), checkpoint.count) != message.partition()
        for message in read(kafka, topic, start, end)
    )
