"""The columns of decisions that a reference watches, and their counts by segment and cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.arithmetic.logarithm_kernels import fixed_logarithms
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.events.extras import BOOLEAN, DOUBLE, LONG, TIMESTAMP
from stream_scorer.core.events.fields import Field, numbers
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.core.summaries.summary_cell_kernels import (
    LOG_SUM,
    SCORE_SUM,
    SUMS_WIDTH,
    CellColumns,
    count_rows,
    pack_windows,
)
from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT_MOST,
    ReferenceBins,
    Segments,
    WatchedField,
)

UInt8 = NDArray[np.uint8]
UInt64 = NDArray[np.uint64]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_FEATURE, _COLUMN = "feature:", "column:"
_EDGES: Final = 9
_KINDS: Final[Mapping[Any, str]] = {
    pa.bool_(): BOOLEAN, pa.float64(): DOUBLE, pa.int64(): LONG, pa.timestamp("ms"): TIMESTAMP,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class CompiledBins:
    """Bins as arrays: k1 features, k2 other numbers, t texts.

    Attributes:
        features: int64[k1], columns of features.
        others: k2 sources, such as ``score`` and ``column:amount``.
        edges: float64[k1 + k2, 9].
        low: float64[k1 + k2].
        high: float64[k1 + k2].
        number_cells: int64[k1 + k2], first cells.
        texts: t columns.
        known: uint64[t, 30], hashes of known values, ascending, padded.
        known_counts: int64[t].
        known_cells: int64[t, 32], cells of known values, then of missing and of unseen ones.
        outcome_cell: First cell of the outcome; -1 if it is not watched.
        cells: Number of cells.
    """

    features: Int64
    others: tuple[str, ...]
    edges: Float64
    low: Float64
    high: Float64
    number_cells: Int64
    texts: tuple[str, ...]
    known: UInt64
    known_counts: Int64
    known_cells: Int64
    outcome_cell: int
    cells: int

    @property
    def last_feature(self) -> int:
        """The largest column of a feature; -1 if no feature is watched."""
        return int(self.features.max(initial=-1))


_NOTHING: Final = ReferenceBins("", ())


@dataclass(frozen=True, slots=True, eq=False)
class WatchedColumns:
    """What is counted of n decisions.

    Attributes:
        columns: Their columns, and the cells of values.
        segments: Number of segments, s.
        cells: Number of cells of a segment, c.
    """

    columns: CellColumns
    segments: int
    cells: int

    def counted(self) -> tuple[Int64, Int64, Int64]:
        """Return the counts of all n decisions, as a reader of their summary has them.

        Returns:
            int64[s, c], counts by segment and cell; int64[s], sums of scores, and int64[s], sums of
            logarithms of amounts, both in units of 2^-32.
        """
        counts = np.zeros(self.segments * self.cells, np.int32)
        sums = np.zeros((self.segments, SUMS_WIDTH), np.int64)
        count_rows(self.columns, np.arange(len(self.columns.score)), counts, sums)
        shaped = counts.reshape(self.segments, self.cells).astype(np.int64)
        return shaped, sums[:, SCORE_SUM].copy(), sums[:, LOG_SUM].copy()

    def packed(self, rows: Int64, begins: Int64) -> list[tuple[bytes, bytes]]:
        """Return the packed cells and sums of each window.

        Args:
            rows: int64[n], the decisions by window.
            begins: int64[w + 1], where each window begins in ``rows``.
        """
        data, places = pack_windows(self.columns, rows, begins, self.segments, self.cells)
        text = data.tobytes()
        return [(text[a:b], text[b:c]) for a, b, c in places.tolist()]


def columns_of(
    decisions: DecisionBatch, bins: ReferenceBins | None, segments: Segments
) -> WatchedColumns:
    """Return what is counted of decisions.

    A watched column that the events do not have, or that has another type, is missing in all rows.

    Args:
        decisions: n decisions.
        bins: Of their model's reference; None: only the sums of segments are counted.
        segments: Of the plan.

    Raises:
        ValueError: The reference watches a feature that the model does not have, or it does not
            name its column.
    """
    compiled = _compiled(_NOTHING if bins is None else bins)
    events, features = decisions.events, decisions.features
    if compiled.last_feature >= features.shape[1]:
        raise ValueError(
            f"reference: watches feature {compiled.last_feature} of a model with "
            f"{features.shape[1]} features"
        )
    others = np.empty((len(compiled.others), len(events)), np.float64)
    for row, source in zip(others, compiled.others, strict=True):
        row[:] = decisions.score if source == "score" else _numbers(events, source)
    texts = np.empty((len(compiled.texts), len(events)), np.uint64)
    for at, source in enumerate(compiled.texts):
        texts[at] = events.texts(source)
    columns = CellColumns(
        np.ascontiguousarray(decisions.score), np.ascontiguousarray(decisions.by_policy),
        fixed_logarithms(events.amounts), segments.members(events),
        np.ascontiguousarray(features), compiled.features, others,
        compiled.edges, compiled.low, compiled.high, compiled.number_cells,
        texts, compiled.known, compiled.known_counts, compiled.known_cells, compiled.outcome_cell,
    )  # fmt: skip
    return WatchedColumns(columns, segments.count, compiled.cells)


def _numbers(events: EventBatch, source: str) -> Float64:
    name = source.removeprefix(_COLUMN)
    if name == "amount":
        return events.amounts.astype(np.float64)
    place = events.records.schema.get_field_index(name)
    kind = _KINDS.get(events.records.schema.types[place]) if place >= 0 else None
    if kind is None:
        return np.full(len(events), np.nan)
    return numbers(events, Field(name, kind, name))


@lru_cache(maxsize=64)
def _compiled(bins: ReferenceBins) -> CompiledBins:
    placed = list(zip(bins.fields, bins.first_cell.tolist(), strict=False))
    measured = [(field, cell) for field, cell in placed if field.kind == NUMBER]
    features = [each for each in measured if each[0].source.startswith(_FEATURE)]
    ordered = [*features, *(each for each in measured if each not in features)]
    texts = [(field, cell) for field, cell in placed if field.kind not in {NUMBER, OUTCOME}]
    edges = np.full((len(ordered), _EDGES), np.inf)
    for row, (field, _) in zip(edges, ordered, strict=True):
        row[: len(field.edges)] = field.edges
    known = np.full((len(texts), TEXT_MOST), np.iinfo(np.uint64).max, np.uint64)
    known_cells = np.zeros((len(texts), TEXT_MOST + 2), np.int64)
    for at, (field, cell) in enumerate(texts):
        count = len(field.values)
        hashes, order = _hashed(field)
        known[at, :count] = hashes
        known_cells[at, : count + 2] = cell + np.append(order, (count, count + 1))
    return CompiledBins(
        np.array([_column_of(each) for each, _ in features], np.int64),
        tuple(each.source for each, _ in ordered[len(features) :]),
        edges,
        np.array([each.low for each, _ in ordered], np.float64),
        np.array([each.high for each, _ in ordered], np.float64),
        np.array([cell for _, cell in ordered], np.int64),
        tuple(each.source.removeprefix(_COLUMN) for each, _ in texts),
        known,
        np.array([len(each.values) for each, _ in texts], np.int64),
        known_cells,
        next((cell for each, cell in placed if each.kind == OUTCOME), -1),
        int(bins.first_cell[-1]),
    )


def _column_of(field: WatchedField) -> int:
    number = field.source.removeprefix(_FEATURE)
    # A negative number would be a place before the row.
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"reference: {quoted(field.source)} is not a feature's column")
    return int(number)


def _hashed(field: WatchedField) -> tuple[UInt64, Int64]:
    """Return the hashes of a text's known values, ascending, and the number of each value."""
    hashes = hashes_of(pa.array(field.values, pa.string()))
    order = np.argsort(hashes)
    return hashes[order], order
