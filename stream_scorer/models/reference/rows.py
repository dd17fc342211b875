"""The transactions that a reference is made from, and their cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.extras import BOOLEAN, DOUBLE, LONG
from stream_scorer.core.events.fields import AMOUNT, Field, numbers
from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    NUMBER_BINS,
    OUTCOME,
    WatchedField,
)

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

FEATURE, COLUMN = "feature:", "column:"


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """Accepted transactions with features, scores and outcomes; n rows, by event time.

    Attributes:
        events: n transactions.
        features: float64[n, m], columns in manifest order.
        score: float64[n]; NaN where the model failed, and where the row is not held.
        outcome: uint8[n], by the plan's policy; it counts where the row is held.
        members: uint8[n, d], the segment of each row in each dimension, numbered from 1.
        training: bool[n], the rows for features and fields of the event.
        held: bool[n], the rows for score and outcome: none of them was used for fitting.
        rejected: Share of the input records that the stream would reject, by reason.
    """

    events: EventBatch
    features: Float64
    score: Float64
    outcome: NDArray[np.uint8]
    members: NDArray[np.uint8]
    training: Bool
    held: Bool
    rejected: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.events)

    @property
    def time(self) -> Int64:
        """int64[n], event times, ms."""
        return self.events.int64("event_time")

    def column(self, field: WatchedField, rows: slice = slice(None)) -> Any:
        """Return a field: float64[n] with NaN for null or with outcomes, or n texts.

        Args:
            field: The field.
            rows: Which rows.
        """
        if field.kind == OUTCOME:
            return self.outcome[rows].astype(np.float64)
        if field.source.startswith(FEATURE):
            return self.features[rows, int(field.source.removeprefix(FEATURE))]
        if field.source == "score":
            return self.score[rows]
        name = field.source.removeprefix(COLUMN)
        if name == AMOUNT:
            return self.events.amounts[rows].astype(np.float64)
        return _column(self.events, name)[rows]


def _column(events: EventBatch, name: str) -> Any:
    column = events.records.column(name)
    if pa.types.is_string(column.type):
        return column
    types = {pa.bool_(): BOOLEAN, pa.int64(): LONG, pa.float64(): DOUBLE}
    return numbers(events, Field(name, types[column.type], name))


def cells_of(field: WatchedField, values: Any) -> Int64:
    """Return int64[n], the cell of each value.

    Args:
        field: The field.
        values: As :meth:`ReferenceRows.column` returns them.
    """
    if field.kind == OUTCOME:
        return np.asarray(values, np.int64)
    if field.kind == NUMBER:
        found = np.searchsorted(field.edges, values, "left").astype(np.int64)
        found[(values < field.low) | (values > field.high)] = NUMBER_BINS + 1
        found[np.isnan(values)] = NUMBER_BINS
        return found
    known = pa.array(field.values, pa.string())
    place = pc.index_in(values, value_set=known).fill_null(len(field.values) + 1)
    cells: Int64 = place.to_numpy(zero_copy_only=False).astype(np.int64)
    if values.null_count:
        cells[values.is_null().to_numpy(zero_copy_only=False)] = len(field.values)
    return cells


def table_of(
    fields: Sequence[WatchedField], cells: Sequence[Int64], members: NDArray[np.uint8],
    window: Int64, windows: int, segments: int,
) -> Int64:  # fmt: skip
    """Return int64[w, s, c], events by window, segment and cell.

    Args:
        fields: f fields.
        cells: f times int64[n], the cell of each row; -1 where a row does not count.
        members: uint8[n, d].
        window: int64[n], number of each row's window.
        windows: w.
        segments: s, with the one of all events.
    """
    total = sum(field.cells for field in fields)
    counts = np.zeros(windows * segments * total, np.int64)
    of_segment = [np.zeros(len(window), np.int64), *members.T.astype(np.int64)]
    first = 0
    for field, cell in zip(fields, cells, strict=True):
        held = cell >= 0
        for segment in of_segment:
            flat = ((window * segments + segment) * total + first + cell)[held]
            counts += np.bincount(flat, minlength=len(counts))
        first += field.cells
    return counts.reshape(windows, segments, total)
