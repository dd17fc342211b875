"""``state verify``: compare the checkpoint with the state computed from its input."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.rings import NEVER, Retention
from stream_scorer.errors import StateError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.history_coverage import HORIZON, NOT_YET
from stream_scorer.state.checkpoints.restore_rules import damaged, gone, labels_of
from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, columns_of, stored_fields
from stream_scorer.state.commands.inspect import Checkpoint, ring_columns
from stream_scorer.state.commands.refold_input import GroupLayout, open_layout


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
    their ring may have been evicted, and those that depend on deleted input. A field is
    compared only for events after the event time from which the bucket stores it.

    Raises:
        ModelError: A version is missing or refused.
        RolloutError: The control log or the activations are not complete.
        StateError: A bucket is damaged or needs input that is deleted.
        UnavailableError: The broker or the store does not answer.
    """
    layout = open_layout(checkpoint.settings, deployment)
    return [_verify(checkpoint, layout, partition) for partition in range(checkpoint.count)]


def _verify(checkpoint: Checkpoint, layout: GroupLayout, partition: int) -> PartitionComparison:
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

    folding = layout.folding(_stored(checkpoint, buckets.values()))
    all_rings = folding.rings()
    folding.fold(all_rings, partition, low, end, checkpoint.rejected(partition), known)
    rings = all_rings.of(partition)
    since = max(folding.complete_since(low).values(), default=None)
    differing, compared = [], 0
    for number, bucket in sorted(buckets.items()):
        edge = max(_kept_since(bucket, folding.retention), since or NEVER)
        columns = ring_columns(checkpoint, bucket)
        compared += int(np.count_nonzero(columns.time > edge))
        expected = rings.dump(number)
        if expected == bucket.payload:
            continue
        needed = layout.needed(partition, bucket.offset)
        if _differs(columns, columns_of(expected), edge, bucket.since, needed):
            differing.append(number)
    return PartitionComparison(
        partition, len(buckets), tuple(differing), max(end - low, 0), compared, since,
        # With complete input, empty rings are a valid result; otherwise they are not evidence.
        "" if compared or differing or since is None else _blind(low, since),
        tuple(gone(labels)),
    )  # fmt: skip


def _stored(checkpoint: Checkpoint, buckets: Iterable[Bucket]) -> set[str]:
    """Return the stored fields of a partition's buckets."""
    found: set[str] = set()
    for bucket in buckets:
        try:
            found.update(stored_fields(bucket.payload))
        except ValueError as error:
            taken = checkpoint.takeover(bucket.partition)
            raise damaged(taken, f"bucket {bucket.bucket}: {error}") from error
    return found


def _kept_since(bucket: Bucket, retention: Retention) -> int:
    """Return the event time, ms, after which both a bucket's rings and ours have every event."""
    kept_ms = retention.horizon_ms + retention.lateness_ms
    if bucket.horizon != retention.horizon_ms:
        # The rings of one forget earlier than those of the other.
        kept_ms = min(bucket.horizon, retention.horizon_ms)
    edge = bucket.watermark - kept_ms if bucket.watermark > NEVER else int(NEVER)
    return max(edge, bucket.since.get(HORIZON, int(NEVER)))


def _differs(
    stored: CustomerColumns, expected: CustomerColumns, edge: int, since: Mapping[str, int],
    needed: frozenset[str],
) -> bool:  # fmt: skip
    """Return whether a bucket differs from what its input makes, in events newer than ``edge``.

    Args:
        stored: The bucket.
        expected: What the input makes.
        edge: Event time, ms.
        since: Event time, ms, from which the bucket has a field, by stored name.
        needed: Stored fields that it must have.
    """
    counted = {name: since.get(name, edge) for name in stored.fields}
    if not needed <= counted.keys() <= expected.fields.keys():
        return any(True for each in (stored, expected) for _ in each.events(edge))
    return dict(stored.events(edge, counted)) != dict(expected.events(edge, counted))


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
