"""Closed windows: what rules and detectors judge."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
_SUM_MOST: Final = 2**63 - 1


@dataclass(slots=True)
class ClosedWindow:
    """An event-time window of one model version, of all partitions together.

    Attributes:
        model: Name of the model.
        version: Its version.
        reference: Digest of the reference whose cells were counted; empty without one.
        segments: Names of segments 1, 2, ...
        start: Start of the window, ms since the epoch.
        end: End of the window, likewise.
        count: Decisions.
        late: Decisions with the flag ``late``.
        counts: int64[s, c], decisions by segment and cell; int64[0, 0] without a reference.
        score_sum: int64[s], sum of the scores in units of 2^-32.
        log_sum: int64[s], sum of ln(1 + amount in minor units), in units of 2^-32.
        tiled: Whether its summaries cover the input without a gap and without an overlap, and its
            sums fit into 64 bits. A window that is not tiled is neither judged nor learned.
    """

    model: str
    version: str
    reference: str
    segments: tuple[str, ...]
    start: int
    end: int
    count: int
    late: int
    counts: Int64
    score_sum: Int64
    log_sum: Int64
    tiled: bool


@dataclass(slots=True)
class ClosedArrivals:
    """A window of the input by Kafka timestamp, of all partitions and versions together.

    Attributes:
        start: Start of the window, ms since the epoch.
        end: End of the window, likewise.
        records: Input records.
        late: Decisions with the flag ``late``.
        rejected: Dead letters by reject reason.
        tiled: As of :class:`ClosedWindow`.
    """

    start: int
    end: int
    records: int
    late: int
    rejected: dict[str, int]
    tiled: bool


def fits(known: Int64, more: Int64) -> bool:
    """Return whether sums that are not negative have a sum of 64 bits."""
    return bool((known <= _SUM_MOST - more).all())
