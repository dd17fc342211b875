"""Makes a report of measured runs, and judges a report by its gates."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.harness.script import missed
from stream_scorer.ports import Int64

ROWS = (
    "floor", "handwritten", "ours_stateless", "ours_full",
    "one_percent_malformed", "mixed_writer_schemas",
)  # fmt: skip
RATIOS = {
    "full_to_floor": ("ours_full", "floor", 0.6),
    "full_to_handwritten": ("ours_full", "handwritten", 1.3),
    "malformed_to_clean": ("one_percent_malformed", "ours_full", 0.8),
    "mixed_to_clean": ("mixed_writer_schemas", "ours_full", 0.8),
}
"""By name: numerator, denominator, and the minimum that passes."""

_WARM_UP_SHARE = 0.2


def rate(times_ms: Int64) -> float:
    """Return records per second from the broker's times of arrival of a run's output records.

    The first fifth is left out: connections, first fetches, partitions being taken over. The clock
    starts with the arrival of its last record and stops with that of the last of all.

    Args:
        times_ms: int64[n], in any order.

    Raises:
        ValueError: All arrived at the same time.
    """
    ordered = np.sort(times_ms)
    start = ordered[int(len(ordered) * _WARM_UP_SHARE)]
    seconds = float(ordered[-1] - start) / 1_000
    if seconds <= 0:
        raise ValueError("too few records: all arrived within a millisecond")
    return float((ordered > start).sum()) / seconds


def report(
    rates: Mapping[str, Sequence[float]], sizes: Mapping[str, Mapping[str, float]], events: int
) -> dict[str, Any]:
    """Return the report: the median rate of each row, ratios of those, bytes.

    Args:
        rates: Events per second by row, one for each round.
        sizes: Mean bytes per record by row and kind.
        events: Records of one run.
    """
    medians = {row: statistics.median(rates[row]) for row in ROWS}
    return {
        **{row: round(median) for row, median in medians.items()},
        "ratios": {
            name: round(medians[above] / medians[below], 3)
            for name, (above, below, _) in RATIOS.items()
        },
        "events": events,
        "rounds": len(rates["floor"]),
        "bytes": {row: {k: round(v, 1) for k, v in sizes[row].items()} for row in ROWS},
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each ratio of a report that is below its least."""
    return missed(
        *(
            (f"{name} is {{:.3f}}", document["ratios"][name], ">=", least)
            for name, (_, _, least) in RATIOS.items()
        )
    )
