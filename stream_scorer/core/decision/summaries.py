"""The summary of one batch: counts by partition and event-time window; a pure function."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.summary_kernels import (
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
from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome, RejectReason

Int64 = NDArray[np.int64]

MOST_WINDOWS = 4_000
"""Maximum number of windows in a record. Each takes 60 to 230 bytes; a broker accepts 1 MiB."""


def summarize(
    partition: NDArray[np.int32],
    offset: Int64,
    decided: Sequence[tuple[DecisionBatch, int]],
    rejected: Sequence[RejectReason],
    skipped: int = 0,
) -> list[list[dict[str, Any]]]:
    """Return the summary of a batch: for each batch of decisions, records of the summary schema.

    A batch of decisions has one record, or several if it has more than ``MOST_WINDOWS`` windows,
    because a broker limits the size of a record. The last record of a batch of decisions has its
    flags. The very last record has the counts and sources of the complete batch: a reader that
    closes windows by the sources' watermarks has then seen all windows.

    Args:
        partition: int32[r], of every input record, decoded or not.
        offset: int64[r], likewise.
        decided: The decisions by arm and model, at least one batch, each with the width of its
            event-time windows in ms.
        rejected: The reason of each dead letter.
        skipped: Number of records that are not transactions.
    """
    found: list[list[dict[str, Any]]] = []
    for decisions, window_ms in decided:
        windows = _windows(decisions, window_ms)
        records: list[dict[str, Any]] = [
            {
                "model": decisions.model,
                "model_version": decisions.version,
                "arm": decisions.arm,
                "plan_revision": decisions.plan_revision,
                "records": 0,
                "rejected": {},
                "skipped": 0,
                "flagged": {},
                "sources": [],
                "windows": windows[begin : begin + MOST_WINDOWS],
            }
            for begin in range(0, max(len(windows), 1), MOST_WINDOWS)
        ]
        records[-1]["flagged"] = flag_counts(decisions)
        found.append(records)
    found[-1][-1] |= {
        "records": len(offset),
        "rejected": dict(Counter(str(reason) for reason in rejected)),
        "skipped": skipped,
        "sources": _sources(partition, offset, [decisions for decisions, _ in decided]),
    }
    return found


def _windows(decisions: DecisionBatch, window_ms: int) -> list[dict[str, Any]]:
    events = decisions.events
    columns = (
        events.partition, events.int64("event_time"), events.amounts,
        decisions.score, decisions.outcome, window_ms,
    )  # fmt: skip
    rows, sums = count_windows(*columns, np.empty(0, np.int64))
    if len(events) and not len(rows):
        numbers = _window_numbers(events.partition, events.int64("event_time"), window_ms)
        rows, sums = count_windows(*columns, numbers)
    return [
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


def _window_numbers(partition: NDArray[np.int32], time: Int64, width: int) -> Int64:
    """Return int64[n]: the number of each row's window, in order of appearance."""
    starts = time // width
    order = np.lexsort((partition, starts))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(starts[order]) != 0) | (np.diff(partition[order]) != 0)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    # The sort is stable, so the first row of a group is its first appearance.
    rank = np.empty(int(group.max()) + 1, np.int64)
    rank[np.argsort(order[new])] = np.arange(len(rank))
    return rank[group]


def _sources(
    partition: NDArray[np.int32], offset: Int64, decided: Sequence[DecisionBatch]
) -> list[dict[str, int]]:
    """Return, for each partition, the offsets that were read and the newest accepted event time."""
    newest: dict[int, int] = {}
    for decisions in decided:
        time, of = decisions.events.int64("event_time"), decisions.events.partition
        for source in np.unique(of).tolist():
            newest[source] = max(newest.get(source, 0), int(time[of == source].max()))
    sources = []
    for source in np.unique(partition).tolist():
        mine = offset[partition == source]
        sources.append(
            {
                "partition": source,
                "first_offset": int(mine.min()),
                "next_offset": int(mine.max()) + 1,
                "watermark": newest.get(source, 0),
            }
        )
    return sources


def flag_counts(decisions: DecisionBatch) -> dict[str, int]:
    """Return the number of decisions by flag; flags that no decision has are left out."""
    if not decisions.flags.any():
        return {}
    counts = {
        str(flag.name).lower(): int(np.count_nonzero(decisions.flags & flag.value)) for flag in Flag
    }
    return {name: count for name, count in counts.items() if count}


def outcome_counts(decisions: DecisionBatch) -> dict[str, int]:
    """Return the number of decisions by outcome, including outcomes with no decision."""
    counts = np.bincount(decisions.outcome, minlength=len(Outcome)).tolist()
    return {outcome.name: counts[outcome] for outcome in Outcome}
