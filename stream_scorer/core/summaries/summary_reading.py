"""The windows of a summary with their packed counts as arrays, for readers.

Any client that may write to the topic chooses the bytes, so they are checked here;
``plausible_summary`` checks the other fields first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_cell_kernels import unpack_cells, unpack_sums
from stream_scorer.core.summaries.summary_kernels import FIXED_ONE
from stream_scorer.core.summaries.summary_layout import SUMMARY_CELLS_MOST

Int64 = NDArray[np.int64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOG_MOST: Final = 44
"""ln(1 + amount) of the largest amount that 64 bits hold, rounded up."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowCells:
    """The counts of a window: decisions with event times in [start, start + width_ms).

    Attributes:
        partition: Source partition.
        start: ms since the epoch.
        width_ms: Width, ms.
        count: Number of decisions.
        late: Number of decisions with the flag ``late``.
        counts: int64[s, c], by segment and cell; int64[0, 0] if the summary has no cells, or none
            of the reference that the reader knows.
        score_sum: int64[s], sums of scores in units of 2^-32; all 0 in a summary before v4.
        log_sum: int64[s], sums of ln(1 + amount in minor units), likewise.
    """

    partition: int
    start: int
    width_ms: int
    count: int
    late: int
    counts: Int64
    score_sum: Int64
    log_sum: Int64


@dataclass(frozen=True, slots=True)
class ArrivalWindow:
    """Input records with Kafka timestamps in [start, start + width_ms).

    Attributes:
        partition: Source partition.
        start: ms since the epoch.
        width_ms: Width, ms.
        records: Number of records, with those that are rejected or skipped.
        late: Number of decisions with the flag ``late``.
        rejected: Number of dead letters by reject reason.
    """

    partition: int
    start: int
    width_ms: int
    records: int
    late: int
    rejected: Mapping[str, int]


def read_windows(summary: Mapping[str, Any], cells: int) -> Iterator[WindowCells]:
    """Yield the windows of a summary.

    Args:
        summary: A record of the summary schema, v4 or read as v4, that is plausible.
        cells: Number of cells of the reference that the summary names; 0 if the reader does not
            know it.

    Raises:
        ValueError: The packed bytes are not valid, or the windows have too many cells.
    """
    segments = len(summary.get("segments", ())) + 1
    if cells and len(summary["windows"]) > max(1, SUMMARY_CELLS_MOST // (segments * cells)):
        raise ValueError(
            f"summary: {len(summary['windows'])} windows with {segments} segments of {cells} cells"
        )
    for window in summary["windows"]:
        counts = np.zeros((segments, cells) if summary.get("reference") and cells else (0, 0),
                          np.int64)  # fmt: skip
        if counts.size:
            _unpack_cells(window, counts)
        score_sum, log_sum = _sums(window, segments)
        yield WindowCells(
            window["partition"], milliseconds_of(window["start"]), window["width_ms"],
            window["count"], window.get("late", 0), counts, score_sum, log_sum,
        )  # fmt: skip


def read_arrivals(summary: Mapping[str, Any]) -> Iterator[ArrivalWindow]:
    """Yield the windows of arrival of a summary; none before v4.

    Args:
        summary: A record of the summary schema, v4 or read as v4, that is plausible.
    """
    for each in summary.get("arrivals", ()):
        yield ArrivalWindow(
            each["partition"], milliseconds_of(each["start"]), each["width_ms"], each["records"],
            each["late"], each["rejected"],
        )  # fmt: skip


def milliseconds_of(time: datetime | int) -> int:
    """Return a time of a record, decoded or not, as ms since the epoch."""
    return time if isinstance(time, int) else (time - _EPOCH) // timedelta(milliseconds=1)


def _packed(window: Mapping[str, Any], name: str) -> NDArray[np.uint8]:
    # In a record of an earlier schema, fastavro fills in the default of bytes as a text.
    return np.frombuffer(window.get(name) or b"", np.uint8)


def _unpack_cells(window: Mapping[str, Any], counts: Int64) -> None:
    data = _packed(window, "cells")
    if not unpack_cells(data, window["count"], counts.reshape(-1)):
        raise ValueError(
            f"summary: the cells of a window of {window['count']} decisions are not valid"
        )


def _sums(window: Mapping[str, Any], segments: int) -> tuple[Int64, Int64]:
    sums = np.zeros((segments, 2), np.int64)
    data, count = _packed(window, "sums"), window["count"]
    if (
        not unpack_sums(data, sums)
        or int(sums[:, 0].max()) > count * FIXED_ONE
        or int(sums[:, 1].max()) > count * _LOG_MOST * FIXED_ONE
    ):
        raise ValueError(f"summary: the sums of a window of {count} decisions are not valid")
    return sums[:, 0].copy(), sums[:, 1].copy()
