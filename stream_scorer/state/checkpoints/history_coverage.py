"""Since when the histories are complete, and which features may therefore be used.

Rings hold raw events, so a new aggregate over stored fields needs no backfill. History can be
missing for four reasons. Each has the event time after which history is complete:

- ``input``: the input's beginning was deleted before it was folded; see ``beginning``;
- ``ring_cap``: full rings were kept with a smaller cap than now;
- ``horizon``: the rings were kept for a shorter horizon than is needed now;
- the name of a field: the rings were kept without it.

A feature is covered once its window begins after the times of all reasons that concern it. Until
then its value differs from that with complete history, and the value alone does not show it. The
first two reasons do not depend on the deciding model: it decides, and health reports *degraded*.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stream_scorer.core.rings.rings import NEVER, Retention
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ring_columns import columns_of, stored_fields

INPUT = "input"
CAP = "ring_cap"
HORIZON = "horizon"
DEGRADING = (INPUT, CAP)
"""Reasons that do not depend on the model: it decides anyway, and health reports *degraded*."""

NOT_YET = 1 << 60
"""The time of ``INPUT`` before it is known where history begins."""


class HistoryNeed(Protocol):
    """What a feature needs from the rings.

    Attributes:
        window_ms: How far back it looks; 0 for the event alone.
        fields: Further fields that must be stored.
    """

    @property
    def window_ms(self) -> int: ...  # noqa: D102 see above
    @property
    def fields(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether a feature's window is covered by history.

    Attributes:
        name: The feature's name.
        covered: Whether it is covered, at the watermark.
        covered_from: Event time from which it is covered, ms; None if it always was.
    """

    name: str
    covered: bool
    covered_from: int | None


def merged(sinces: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the latest time of each reason.

    >>> merged([{"mcc": 5}, {"mcc": 7, "input": 1}])
    {'mcc': 7, 'input': 1}
    """
    latest: dict[str, int] = {}
    for since in sinces:
        for reason, ms in since.items():
            latest[reason] = max(latest.get(reason, ms), ms)
    return latest


def since_of(
    buckets: Iterable[Bucket], fields: Sequence[str], retention: Retention
) -> dict[str, int]:
    """Return since when loaded buckets are complete for rings with these fields and this horizon.

    Raises:
        ValueError: A payload is damaged.
    """
    found: list[Mapping[str, int]] = []
    for bucket in buckets:
        found.append(bucket.since)
        if bucket.horizon < retention.horizon_ms and bucket.watermark > NEVER:
            # The customer with the partition's newest event has nothing older left; others have
            # more. A bucket is empty if its rings were all evicted.
            found.append({HORIZON: bucket.watermark - bucket.horizon})
        if not bucket.payload:
            continue
        try:
            stored = stored_fields(bucket.payload)
            if 0 < bucket.cap < retention.cap:
                found.append(_cut_short(bucket))
        except ValueError as error:
            raise ValueError(f"bucket {bucket.bucket}: {error}") from error
        found.append({name: bucket.watermark for name in fields if name not in stored})
    return merged(found)


def _cut_short(bucket: Bucket) -> dict[str, int]:
    """Return since when full rings, which may have evicted events, are complete."""
    rings = columns_of(bucket.payload)
    full = np.flatnonzero(np.diff(rings.first) >= bucket.cap)
    return {CAP: int(rings.time[rings.first[full]].max())} if len(full) else {}


def outlived(since: Mapping[str, int], watermark: int, horizon_ms: int) -> dict[str, int]:
    """Return the reasons that still matter: some window begins before their time."""
    return {reason: ms for reason, ms in since.items() if watermark - horizon_ms < ms}


def history(
    features: Iterable[tuple[str, HistoryNeed]],
    since: Mapping[str, int],
    watermark: int,
    lateness_ms: int,
) -> list[Coverage]:
    """Return for each feature whether its window is covered, or when it will be.

    Args:
        features: (name, what it needs).
        since: Event time in ms by reason, the latest of all partitions.
        watermark: Newest accepted event time in ms, the earliest of all partitions.
        lateness_ms: How much older than it an event may be that still counts.
    """
    told = []
    for name, need in features:
        reasons = (INPUT, CAP, HORIZON, *need.fields)
        times = [since[reason] for reason in reasons if reason in since]
        if not times or not need.window_ms:
            told.append(Coverage(name, covered=True, covered_from=None))
            continue
        covered_from = max(times) + need.window_ms + lateness_ms
        told.append(Coverage(name, watermark >= covered_from, covered_from))
    return told
