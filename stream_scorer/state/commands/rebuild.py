"""``state rebuild``: build the checkpoint again from the input alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.rings import CustomerRings
from stream_scorer.errors import OffsetsError
from stream_scorer.kafka.topics.groups import refuse_members
from stream_scorer.missing_input import past_the_gap
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.checkpoints.restore_rules import damaged
from stream_scorer.state.commands.adopt import rejected_by_letters
from stream_scorer.state.commands.inspect import Checkpoint
from stream_scorer.state.commands.refold_input import open_layout
from stream_scorer.state.partitions.checkpoint_writer import dump
from stream_scorer.state.partitions.refold import Refolding
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.stores.file_store import FileStore
from stream_scorer.state.stores.topic_store import publish

Records = Sequence[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One partition's new checkpoint.

    Attributes:
        partition: Input partition.
        first: Where the retained input begins.
        offset: The group's offset, which is every bucket's label; None if the group has none: then
            nothing was written.
        customers: Number of rings.
        unreadable_rejections: Number of deleted segments that were damaged or a later version's.
            Today's plan and registry judge their records.
        adopted_rejections: Number of records for which no segment, but a dead letter with the same
            bytes shows a rejection: a version without segments rejected them.
        unreadable_decisions: Number of records of the decisions' topic that were skipped, because
            they cannot be read; the same for each partition. The topic is only read if there may
            be adopted rejections.
    """

    partition: int
    first: int
    offset: int | None
    customers: int
    unreadable_rejections: int = 0
    adopted_rejections: int = 0
    unreadable_decisions: int = 0


def rebuild(checkpoint: Checkpoint, deployment: Deployment) -> list[Rebuilt]:
    """Build the checkpoint again from the retained input, up to the group's offsets.

    The input of a partition may take long to read, but its transaction covers only the writing.
    Partitions are written one after the other, and an interrupted rebuild can be run again.

    Raises:
        StateError: The group has members.
        OffsetsError: An offset of the group is outside the retained input.
        UnavailableError: The broker or the store does not answer; nothing of the current partition
            is written in a topic.
    """
    refuse_members(checkpoint.settings.kafka)
    for partition, offset in checkpoint.committed.items():
        if offset < checkpoint.low[partition]:
            raise OffsetsError(
                f"group {checkpoint.owner.group}: the offset {offset} of partition {partition} "
                f"is before the oldest retained {checkpoint.low[partition]}",
                past_the_gap(checkpoint.owner.group, checkpoint.owner.topic, partition),
            )
    folding = open_layout(checkpoint.settings, deployment).folding()
    if isinstance(checkpoint.store, FileStore):
        checkpoint.store.discard()
    histories = {
        partition: _rejections(checkpoint, partition) for partition in checkpoint.committed
    }
    retained = {p: (checkpoint.low[p], offset) for p, offset in checkpoint.committed.items()}
    known = {p: each.rejected for p, each in histories.items()}
    unreadable: list[int] = []
    letters = rejected_by_letters(checkpoint.settings, retained, known, unreadable.append)
    for partition, reasons in letters.items():
        histories[partition].adopted = len(reasons)
        histories[partition].changed += histories[partition].rejected.adopt(reasons)
    return [
        replace(
            _rebuild(checkpoint, folding, partition, histories.get(partition)),
            unreadable_decisions=sum(unreadable),
        )
        for partition in range(checkpoint.count)
    ]


@dataclass(slots=True)
class _Rejections:
    """The rejections of a partition up to the group's offset.

    Attributes:
        rejected: The known rejections.
        changed: Records that update the state topic accordingly.
        unreadable: Number of unreadable segments.
        adopted: Number of rejections for which only dead letters are evidence.
    """

    rejected: Rejected
    changed: list[tuple[bytes, bytes | None]]
    unreadable: int
    adopted: int = 0


def _rejections(checkpoint: Checkpoint, partition: int) -> _Rejections:
    try:
        rejected, unreadable = checkpoint.readable_rejections(partition)
    except ValueError as error:
        raise damaged(checkpoint.takeover(partition), error) from error
    # The offset was set back: records after it are to be judged again.
    changed = rejected.without(checkpoint.committed[partition])
    key = checkpoint.owner.rejected_key
    changed += [(key(partition, first), None) for first in unreadable]
    return _Rejections(rejected, changed, len(unreadable))


def _rebuild(
    checkpoint: Checkpoint, folding: Refolding, partition: int, history: _Rejections | None
) -> Rebuilt:
    low, offset = checkpoint.low[partition], checkpoint.committed.get(partition)
    if offset is None or history is None:
        # An existing file would keep the group's first run from starting. Rejections are deleted
        # too: without an offset, all records are to be judged again.
        if isinstance(checkpoint.store, FileStore):
            checkpoint.store.clear(partition)
        _publish(checkpoint, partition, iter([_removals(checkpoint, partition)]))
        return Rebuilt(partition, low, None, 0)
    all_rings, changed = folding.rings(), history.changed
    folding.fold(all_rings, partition, low, offset, history.rejected)
    since = folding.complete_since(low)
    rings = all_rings.of(partition)
    write_format = checkpoint.settings.state.write_format

    def written(rings: CustomerRings) -> Iterator[Records]:
        if changed and not isinstance(checkpoint.store, FileStore):
            yield changed
        for number in range(BUCKETS):
            made = dump(rings, partition, number, offset, checkpoint.count, since, write_format)
            yield made.records(checkpoint.owner)

    if changed and isinstance(checkpoint.store, FileStore):
        _publish(checkpoint, partition, iter([changed]))
    _write(checkpoint, partition, written(rings))
    return Rebuilt(partition, low, offset, len(rings), history.unreadable, history.adopted)


def _removals(checkpoint: Checkpoint, partition: int) -> Records:
    owner = checkpoint.owner
    keys = {key for records in checkpoint.state_topic.read(partition) for key, _ in records if key}
    return [(key, None) for key in sorted(keys)
            if (owner.place(key) or owner.rejected(key) or (-1,))[0] == partition]  # fmt: skip


def _write(checkpoint: Checkpoint, partition: int, buckets: Iterator[Records]) -> None:
    store = checkpoint.store
    if isinstance(store, FileStore):
        for records in buckets:
            store.write(partition, records)
    else:
        _publish(checkpoint, partition, buckets)


def _publish(checkpoint: Checkpoint, partition: int, written: Iterator[Records]) -> None:
    """Write records to the state topic, all in one transaction."""
    each = ((partition, records) for records in written)
    publish(checkpoint.settings.kafka, checkpoint.state_topic.topic, each, {})
