"""The summary of one batch: counts by partition and event-time window; a pure function."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome, RejectReason
from stream_scorer.core.events.partitions import rows_by
from stream_scorer.core.summaries.segments import NO_SEGMENTS
from stream_scorer.core.summaries.summary_kernels import (
    AMOUNT_AT,
    FIXED_ONE,
    PARTITION,
    SCORE_AT,
    START,
    WINDOW_BLOCK,
    WINDOW_COUNT,
    WINDOW_LATE,
    WINDOW_MAX,
    WINDOW_MIN,
    WINDOW_REVIEW,
    WINDOW_SCORE,
    WINDOW_SUM,
    count_windows,
    find_windows,
    rows_by_window,
)
from stream_scorer.core.summaries.summary_layout import (
    SUMMARY_CELLS_MOST,
    ReferenceBins,
    Segments,
)
from stream_scorer.core.summaries.watched_columns import columns_of

Int64 = NDArray[np.int64]

MOST_WINDOWS = 4_000
"""Maximum number of windows in a record."""
MOST_ARRIVALS = 4_000
"""Maximum number of windows of arrival in a record. Each takes 15 to 250 bytes."""
MOST_BYTES = 900_000
"""Bytes of windows from which a record ends; a broker accepts 1 MiB. A window has at most 512 KiB
of cells."""
_WINDOW_BYTES: Final = 260
"""Bytes of a window without cells and sums, at most."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The windows of n rows: w windows in order of appearance.

    Attributes:
        row: int32[n], the window of each row.
        partition: int64[w].
        start: int64[w], ms.
    """

    row: NDArray[np.int32]
    partition: Int64
    start: Int64

    def __len__(self) -> int:
        return len(self.start)

    def sorted(self) -> tuple[Int64, Int64]:
        """Return int64[n], the rows by window, and int64[w + 1], where each window begins."""
        rows, begins = rows_by_window(self.row, len(self))
        return rows, begins


def window_rows(partition: NDArray[np.int32], time: Int64, width: int) -> WindowRows:
    """Return the windows of rows.

    Args:
        partition: int32[n].
        time: int64[n], ms.
        width: Width of the windows, ms.
    """
    row, windows = find_windows(partition, time, width)
    if len(row) < len(time):
        return _sorted_windows(partition, time, width)
    return WindowRows(row, windows[:, PARTITION], windows[:, START])


def _sorted_windows(partition: NDArray[np.int32], time: Int64, width: int) -> WindowRows:
    """Return the same by sorting, for rows that are in many windows and in no order."""
    starts = time - time % width
    order = np.lexsort((partition, starts))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(starts[order]) != 0) | (np.diff(partition[order]) != 0)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    # The sort is stable, so the first row of a group is its first appearance.
    first = order[new]
    appearance = np.argsort(first)
    rank = np.empty(len(first), np.int32)
    rank[appearance] = np.arange(len(rank), dtype=np.int32)
    first = first[appearance]
    return WindowRows(rank[group], partition[first].astype(np.int64), starts[first])


def _none() -> Int64:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class InputRecords:
    """Every input record of a batch, decoded or not.

    Attributes:
        partition: int32[r].
        offset: int64[r].
        timestamp: int64[r], Kafka timestamps, ms since the epoch.
        rejected: int64[x], the rows of the dead letters.
        reasons: x reasons.
        late: int64[l], the rows of the decisions with the flag ``late``.
        skipped: Number of records that are not transactions.
    """

    partition: NDArray[np.int32]
    offset: Int64
    timestamp: Int64
    rejected: Int64 = field(default_factory=_none)
    reasons: Sequence[RejectReason] = ()
    late: Int64 = field(default_factory=_none)
    skipped: int = 0


def arrivals_of(read: InputRecords, window_ms: int) -> list[dict[str, Any]]:
    """Return the counts of each window of arrival, in order of appearance.

    Args:
        read: The records.
        window_ms: Width of the windows.
    """
    windows = window_rows(read.partition, read.timestamp, window_ms)
    records = np.bincount(windows.row, minlength=len(windows))
    late = np.bincount(windows.row[read.late], minlength=len(windows))
    found = [
        {
            "partition": partition, "start": start, "width_ms": window_ms, "records": count,
            "late": of_late, "rejected": {},
        }
        for partition, start, count, of_late in zip(
            windows.partition.tolist(), windows.start.tolist(), records.tolist(), late.tolist(),
            strict=True,
        )
    ]  # fmt: skip
    rejected = Counter(
        (row, str(reason))
        for row, reason in zip(windows.row[read.rejected].tolist(), read.reasons, strict=True)
    )
    for (row, reason), count in rejected.items():
        found[row]["rejected"][reason] = count
    return found


@dataclass(frozen=True, slots=True)
class SummaryInput:
    """The decisions of one arm and model.

    Attributes:
        decisions: n decisions.
        window_ms: Width of the event-time windows, ms.
        bins: Of the model's reference; None: there is none, and no cells are counted.
        segments: Of the plan.
    """

    decisions: DecisionBatch
    window_ms: int
    bins: ReferenceBins | None = None
    segments: Segments = NO_SEGMENTS


def summarize(read: InputRecords, decided: Sequence[SummaryInput]) -> list[list[dict[str, Any]]]:
    """Return the summary of a batch: for each batch of decisions, records of the summary schema.

    A batch of decisions has one record, or several if its windows are many or large, because a
    broker limits the size of a record. The last record of a batch of decisions has its flags. The
    very last record has the counts and sources of the complete batch: a reader that closes windows
    by the sources' watermarks has then seen all windows.

    Args:
        read: Every input record.
        decided: The decisions by arm and model, at least one batch. Windows of arrival are as wide
            as the event-time windows of the last.
    """
    found: list[list[dict[str, Any]]] = []
    for part in decided:
        records = [_record(part, windows) for windows in _cut(_windows(part), _most(part))]
        records[-1]["flagged"] = flag_counts(part.decisions)
        found.append(records)
    arrivals = arrivals_of(read, decided[-1].window_ms)
    last = found[-1]
    cuts = range(0, max(len(arrivals), 1), MOST_ARRIVALS)
    while len(last) < len(cuts):
        last.insert(-1, _record(decided[-1], []))
    for record, begin in zip(last[-len(cuts) :], cuts, strict=True):
        record["arrivals"] = arrivals[begin : begin + MOST_ARRIVALS]
    last[-1] |= {
        "records": len(read.offset),
        "rejected": dict(Counter(str(reason) for reason in read.reasons)),
        "skipped": read.skipped,
        "sources": _sources(read.partition, read.offset, [part.decisions for part in decided]),
    }
    return found


def _record(part: SummaryInput, windows: list[dict[str, Any]]) -> dict[str, Any]:
    decisions = part.decisions
    return {
        "model": decisions.model,
        "model_version": decisions.version,
        "arm": decisions.arm,
        "plan_revision": decisions.plan_revision,
        "records": 0,
        "rejected": {},
        "skipped": 0,
        "flagged": {},
        "sources": [],
        "windows": windows,
        "reference": part.bins.digest if part.bins else "",
        "segments": list(part.segments.names),
        "arrivals": [],
    }


def _most(part: SummaryInput) -> int:
    """Return the maximum number of windows in a record."""
    cells = int(part.bins.first_cell[-1]) if part.bins else 0
    return max(1, min(MOST_WINDOWS, SUMMARY_CELLS_MOST // max(1, part.segments.count * cells)))


def _cut(windows: list[dict[str, Any]], most: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the windows of each record, at least one record."""
    begin = size = 0
    for at, window in enumerate(windows):
        mine = _WINDOW_BYTES + len(window["cells"]) + len(window["sums"])
        size += mine
        if at > begin and (at - begin == most or size > MOST_BYTES):
            yield windows[begin:at]
            begin, size = at, mine
    yield windows[begin:]


def _windows(part: SummaryInput) -> list[dict[str, Any]]:
    decisions, events = part.decisions, part.decisions.events
    if not len(events):
        return []
    found = window_rows(events.partition, events.int64("event_time"), part.window_ms)
    counts = count_windows(
        found.row, len(found), events.amounts, decisions.score, decisions.by_policy, decisions.flags
    )
    packed = columns_of(decisions, part.bins, part.segments).packed(*found.sorted())
    return [
        {
            "partition": partition,
            "start": start,
            "width_ms": part.window_ms,
            "count": row[WINDOW_COUNT],
            "review": row[WINDOW_REVIEW],
            "block": row[WINDOW_BLOCK],
            "score_sum": row[WINDOW_SCORE] / FIXED_ONE,
            "amount_minor_sum": row[WINDOW_SUM],
            "amount_minor_min": row[WINDOW_MIN],
            "amount_minor_max": row[WINDOW_MAX],
            "score_bins": row[SCORE_AT:AMOUNT_AT],
            "amount_bins": row[AMOUNT_AT:],
            "late": row[WINDOW_LATE],
            "cells": cells,
            "sums": sums,
        }
        for partition, start, row, (cells, sums) in zip(
            found.partition.tolist(), found.start.tolist(), counts.tolist(), packed, strict=True
        )
    ]


def _sources(
    partition: NDArray[np.int32], offset: Int64, decided: Sequence[DecisionBatch]
) -> list[dict[str, int]]:
    """Return, for each partition, the offsets that were read and the newest accepted event time."""
    newest: dict[int, int] = {}
    for decisions in decided:
        time = decisions.events.int64("event_time")
        for source, rows in rows_by(decisions.events.partition):
            newest[source] = max(newest.get(source, 0), int(time[rows].max()))
    sources = []
    for source, rows in rows_by(partition):
        mine = offset[rows]
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
