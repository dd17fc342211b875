"""``state verify``: compare the checkpoint with the state computed from its input."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.errors import StateError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.checkpoints.history_coverage import NOT_YET
from stream_scorer.state.checkpoints.restore_rules import gone, labels_of
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.state.commands.inspect import Checkpoint, ring_columns
from stream_scorer.state.commands.refold_input import open_refolding
from stream_scorer.state.partitions.refold import Refolding


@dataclass(frozen=True, slots=True)
class PartitionComparison:
    """How one partition's checkpoint compares with its input.

    Attributes:
        partition: Input partition.
        buckets: Buckets compared.
        differing: Those that differ.
        replayed: Number of input records that were read.
        events: Number of comparable events in the checkpoint.
        since: Event time in ms up to which nothing could be compared, because earlier input is
            deleted; None with complete input.
        blind: Why nothing could be compared; empty if something was.
        missing: Buckets that were written once but no longer exist.
    """

    partition: int
    buckets: int
    differing: tuple[int, ...]
    replayed: int
    events: int
    since: int | None
    blind: str = ""
    missing: tuple[int, ...] = ()


def verify(checkpoint: Checkpoint, deployment: Deployment) -> list[PartitionComparison]:
    """Compute the state from the input again and compare it, bucket by bucket.

    Each bucket is compared as of its label. Two kinds of events are left out: those so old that
    their ring may have been evicted, and those that depend on deleted input.

    Raises:
        StateError: A bucket is damaged or needs input that is deleted.
        UnavailableError: The broker or the store does not answer.
    """
    folding = open_refolding(checkpoint.settings, deployment)
    return [_verify(checkpoint, folding, partition) for partition in range(checkpoint.count)]


def _verify(checkpoint: Checkpoint, folding: Refolding, partition: int) -> PartitionComparison:
    buckets = checkpoint.buckets(partition)
    if not buckets:
        # A partition without a bucket and without an offset has not been taken over yet.
        blind = "it has no bucket" if checkpoint.committed.get(partition) else ""
        return PartitionComparison(partition, 0, (), 0, 0, None, blind)
    labels = labels_of(buckets.values())
    low, end = checkpoint.low[partition], int(labels.max())

    def known(events: EventBatch) -> EventBatch:
        own = labels[bucket_of(events.records.column("customer_id"))]
        return events.take(np.flatnonzero(events.offset < own))

    all_rings = folding.rings()
    folding.fold(all_rings, partition, low, end, checkpoint.rejected(partition), known)
    rings = all_rings.of(partition)
    since = max(folding.complete_since(low).values(), default=None)
    kept_ms = folding.retention.horizon_ms + folding.retention.lateness_ms
    differing, compared = [], 0
    for number, bucket in sorted(buckets.items()):
        edge = max(
            bucket.watermark - kept_ms if bucket.watermark > NEVER else NEVER, since or NEVER
        )
        columns = ring_columns(checkpoint, bucket)
        compared += int(np.count_nonzero(columns.time > edge))
        expected = rings.dump(number)
        if expected == bucket.payload:
            continue
        if dict(columns.events(edge)) != dict(columns_of(expected).events(edge)):
            differing.append(number)
    return PartitionComparison(
        partition, len(buckets), tuple(differing), max(end - low, 0), compared, since,
        # With complete input, empty rings are a valid result; otherwise they are not evidence.
        "" if compared or differing or since is None else _blind(low, since),
        tuple(gone(labels)),
    )  # fmt: skip


def _blind(low: int, since: int) -> str:
    if since == NOT_YET:
        return f"too little of the input is retained from offset {low} on"
    return f"no remembered event is newer than {since} ms, where the retained input becomes whole"


def refuse_differences(verifications: Iterable[PartitionComparison]) -> None:
    """Raise if something differs, is gone, or could not be compared.

    Raises:
        StateError: It names the buckets, or the partitions with the reason.
    """
    told = list(verifications)
    differing = [f"{v.partition}/{number}" for v in told for number in v.differing]
    if differing:
        raise StateError(
            f"{len(differing)} buckets differ from the input: {', '.join(differing)}",
            "keep them for a report, then, with the group stopped: stream-scorer state rebuild",
        )
    missing = [f"{v.partition}/{number}" for v in told for number in v.missing]
    if missing:
        raise StateError(
            f"{len(missing)} buckets are missing, though later ones were written: "
            f"{', '.join(missing)}",
            "find out who removed them, then, with the group stopped: stream-scorer state rebuild",
        )
    if not any(v.buckets for v in told):
        raise StateError(
            "nothing could be compared: the group has no checkpoint of this input",
            "name the group that has: kafka.group",
        )
    blind = [f"partition {v.partition}: {v.blind}" for v in told if v.blind]
    if blind:
        raise StateError(
            f"nothing could be compared in {'; '.join(blind)}",
            "verify again when more input has been retained since; raise the input's retention",
        )
