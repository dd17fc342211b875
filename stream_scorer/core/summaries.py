"""The summary of one batch: counts by partition and event-time window; a pure function."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.batch import DecisionBatch, Flag, RejectReason
from stream_scorer.core.kernels.summaries import (
    AMOUNT_AT,
    SCORE_AT,
    WINDOW_BLOCK,
    WINDOW_COUNT,
    WINDOW_MAX,
    WINDOW_MIN,
    WINDOW_PARTITION,
    WINDOW_REVIEW,
    WINDOW_START,
    WINDOW_SUM,
    count_windows,
)

Int64 = NDArray[np.int64]

MOST_WINDOWS = 4_000
"""Windows of one record; each takes 60 to 230 bytes, and a broker takes 1 MiB."""


def summarize(
    partition: NDArray[np.int32],
    offset: Int64,
    decisions: DecisionBatch,
    rejected: Sequence[RejectReason],
    window_ms: int,
) -> dict[str, Any]:
    """Return the summary of a batch as a record of the summary schema.

    Args:
        partition: int32[r], of every input record, decoded or not.
        offset: int64[r], likewise.
        decisions: What was decided.
        rejected: The reason of each dead letter.
        window_ms: Width of the event-time windows.
    """
    events = decisions.events
    time = events.int64("event_time")
    rows, sums = count_windows(
        events.partition, time, events.int64("amount_minor"), decisions.score, decisions.outcome,
        window_ms,
    )  # fmt: skip
    windows = [
        {
            "partition": row[WINDOW_PARTITION],
            "start": row[WINDOW_START],
            "width_ms": window_ms,
            "count": row[WINDOW_COUNT],
            "review": row[WINDOW_REVIEW],
            "block": row[WINDOW_BLOCK],
            "score_sum": total,
            "amount_minor_sum": row[WINDOW_SUM],
            "amount_minor_min": row[WINDOW_MIN],
            "amount_minor_max": row[WINDOW_MAX],
            "score_bins": row[SCORE_AT:AMOUNT_AT],
            "amount_bins": row[AMOUNT_AT:],
        }
        for row, total in zip(rows.tolist(), sums.tolist(), strict=True)
    ]
    sources = []
    for source in np.unique(partition).tolist():
        mine = offset[partition == source]
        accepted = time[events.partition == source]
        sources.append(
            {
                "partition": source,
                "first_offset": int(mine.min()),
                "next_offset": int(mine.max()) + 1,
                "watermark": int(accepted.max()) if len(accepted) else 0,
            }
        )
    return {
        "model": decisions.model,
        "model_version": decisions.version,
        "plan_revision": decisions.plan_revision,
        "records": len(offset),
        "rejected": dict(Counter(str(reason) for reason in rejected)),
        "flagged": flag_counts(decisions),
        "sources": sources,
        "windows": windows,
    }


def parts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a summary as records that a broker takes: one, unless it has very many windows.

    Where there are several, the last carries the counts of the batch and its sources: a reader that
    closes windows by the sources' watermarks has then seen all of its windows.
    """
    windows = summary["windows"]
    begins = range(0, max(len(windows), 1), MOST_WINDOWS)
    found = [
        summary
        | {"records": 0, "rejected": {}, "flagged": {}, "sources": []}
        | {"windows": windows[begin : begin + MOST_WINDOWS]}
        for begin in begins[:-1]
    ]
    return [*found, summary | {"windows": windows[begins[-1] :]}]


def flag_counts(decisions: DecisionBatch) -> dict[str, int]:
    """Return the number of decisions by flag, flags without one left out."""
    if not decisions.flags.any():
        return {}
    counts = {
        str(flag.name).lower(): int(np.count_nonzero(decisions.flags & flag.value)) for flag in Flag
    }
    return {name: count for name, count in counts.items() if count}
