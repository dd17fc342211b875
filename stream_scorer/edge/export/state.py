"""``export --state``: the histories of a device's customers, from the scorers' checkpoint."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.rings import Retention
from stream_scorer.edge.files.seed import SeededBucket, StateSeed, hashes_ascending
from stream_scorer.errors import EdgeError, StateError
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.ports import CheckpointStore
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.history_coverage import since_of
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, columns_of
from stream_scorer.state.stores.open import owner_of, store_of

_READINGS: Final = 3
_WAIT: Final = "let the scorers run until their next checkpoint, or export without --state"


@dataclass(frozen=True, slots=True)
class ExportedState:
    """Histories for a device, and what was found.

    Attributes:
        seed: The histories.
        cold: The customers without a history.
        events: Number of events.
        offsets: By partition, the lowest and the highest input offset of its buckets.
        newest: Newest event time in the histories, ms; None without one.
    """

    seed: StateSeed
    cold: tuple[str, ...]
    events: int
    offsets: dict[int, tuple[int, int]]
    newest: int | None


def export_state(
    settings: Settings, device: str, customers: Sequence[str], features: FeatureSet
) -> ExportedState:
    """Read the histories of customers from the checkpoint of the scorers' group.

    Args:
        settings: The cluster, the group and the store of the checkpoint.
        device: The device.
        customers: Their ids.
        features: Of the release that the device will decide with.

    Raises:
        EdgeError: The histories cannot serve the release.
        SettingsError: The input or the store does not exist.
        StateError: A bucket is damaged.
        UnavailableError: The broker or the store does not answer.
    """
    kafka, owner = settings.kafka, owner_of(settings)
    topic = kafka.topics.transactions
    store = store_of(settings, owner)
    numbers = partitions(admin(kafka), kafka, [topic])[topic]
    now = time.time_ns() // 1_000_000
    return read_state(CheckpointOf(store, owner, tuple(numbers)), device, customers, features, now)


@dataclass(frozen=True, slots=True)
class CheckpointOf:
    """A checkpoint.

    Attributes:
        store: Where its buckets are.
        owner: Whose it is.
        partitions: The input partitions.
    """

    store: CheckpointStore
    owner: Owner
    partitions: tuple[int, ...]


def read_state(
    checkpoint: CheckpointOf, device: str, customers: Sequence[str], features: FeatureSet, now: int
) -> ExportedState:
    """Read the histories of customers from a checkpoint.

    Args:
        checkpoint: The checkpoint.
        device: The device.
        customers: Their ids.
        features: Of the release that the device will decide with.
        now: ms since the epoch.

    Raises:
        EdgeError: As for :func:`export_state`.
        StateError: As for :func:`export_state`.
        UnavailableError: The store does not answer.
    """
    ids = sorted(set(customers))
    wanted = {each.encode() for each in ids}
    numbers = set(bucket_of(pa.array(ids, pa.utf8())).tolist())
    found: list[SeededBucket] = []
    known: set[bytes] = set()
    chosen: list[Bucket] = []
    events, newest = 0, int(NEVER)
    for bucket in _buckets(checkpoint, numbers):
        columns = _columns(checkpoint.owner, bucket)
        rows = [row for row, each in enumerate(columns.customers) if each in wanted]
        if not rows:
            continue
        chosen.append(bucket)
        known |= {columns.customers[row] for row in rows}
        events += sum(int(columns.first[row + 1] - columns.first[row]) for row in rows)
        newest = max(newest, *(int(columns.newest[row]) for row in rows))
        payload = columns.payload(rows)
        found.append(SeededBucket(bucket.partition, bucket.bucket, bucket.offset, payload))
    until = _complete_from(chosen, features) + features.need.window_ms
    warm = sorted(each.decode() for each in known)
    if until > now:
        # The scorers' own history is not complete: no customer's features are.
        warm = []
    seed = StateSeed(
        device, now, max((each.watermark for each in chosen), default=int(NEVER)),
        max(until, now + features.need.window_ms), _rings(chosen, features.retention),
        features.engine.fields, hashes_ascending(hashes_of(pa.array(warm, pa.utf8())).tolist()),
        tuple(found),
    )  # fmt: skip
    offsets: dict[int, tuple[int, int]] = {}
    for each in found:
        low, high = offsets.get(each.partition, (each.offset, each.offset))
        offsets[each.partition] = min(low, each.offset), max(high, each.offset)
    cold = tuple(each for each in ids if each.encode() not in known)
    return ExportedState(seed, cold, events, offsets, None if newest == NEVER else newest)


def _columns(owner: Owner, bucket: Bucket) -> CustomerColumns:
    try:
        return columns_of(bucket.payload)
    except ValueError as error:
        raise _damaged(owner, bucket.partition, error) from error


def _damaged(owner: Owner, partition: int, error: ValueError) -> StateError:
    return StateError(
        f"checkpoint of {owner.group}, partition {partition}: {error}",
        "see docs/RUNBOOK.md: state verify",
    )


def _buckets(checkpoint: CheckpointOf, numbers: set[int]) -> Iterable[Bucket]:
    """Yield the buckets of these numbers in every partition."""
    owner = checkpoint.owner
    for partition in checkpoint.partitions:
        for reading in range(_READINGS):
            assembly = Assembly(owner, partition)
            try:
                for records in checkpoint.store.read(partition):
                    assembly.add(records)
                buckets = assembly.buckets()
            except ValueError as error:
                # Compaction may delete a part that a scorer has just replaced.
                if reading == _READINGS - 1:
                    raise _damaged(owner, partition, error) from error
            else:
                break
        for number in sorted(numbers & buckets.keys()):
            if buckets[number].payload:
                yield buckets[number]


def _rings(chosen: Sequence[Bucket], needed: Retention) -> tuple[int, int, int, str]:
    """Return lateness, horizon, cap and unit of the device's rings.

    Raises:
        EdgeError: The checkpoint's rings cannot serve the release.
    """
    for bucket in chosen:
        if bucket.engine != RINGS_ENGINE:
            raise EdgeError(
                f"the checkpoint has rings of engine {bucket.engine}, not {RINGS_ENGINE}", _WAIT
            )
        if bucket.unit and bucket.unit != needed.unit:
            raise EdgeError(
                f"the checkpoint's amounts are in {bucket.unit}, the release's in {needed.unit}",
                "export under the plan that the scorers run",
            )
    return needed.lateness_ms, needed.horizon_ms, needed.cap, needed.unit


def _complete_from(chosen: Sequence[Bucket], features: FeatureSet) -> int:
    """Return the event time from which the checkpoint's histories are complete, ms."""
    if not chosen:
        return 0
    since = since_of(chosen, features.engine.fields, features.retention)
    return max(0, *since.values()) if since else 0
