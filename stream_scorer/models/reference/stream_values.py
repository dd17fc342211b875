"""The values of streams from the counts of a window; the reference and the monitor share them.

A *level* of a number is the mean rank of its values among the reference's values, from 0 to 1: the
reference itself has 0.5. The levels of score and amount are means: of the score, and of ln(1 +
amount in minor units) as a share of 30. All other values are shares of rows. So every value is
from 0 to 1.

The sums are of whole numbers below 2^53, so they are exact, and the values have the same bits on
every machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import (
    ALL,
    NUMBER,
    NUMBER_BINS,
    OUTCOME,
    TEXT,
    ReferenceBins,
    StreamKey,
    WatchedField,
)
from stream_scorer.models.reference.contract import DriftReference

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SCORE, OUTCOMES, AMOUNT, SEGMENT = "score", "outcome", "amount", "segment"
"""Fields of streams that every reference has."""
LEVEL, TAIL, MISSING = "level", "tail", "missing"
OUT_OF_RANGE, UNSEEN, SHARE = "out_of_range", "unseen", "share"
VALUES_MOST: Final = 3
"""Number of values of a text whose shares are watched."""
LOGARITHM_MOST: Final = 30.0
"""The logarithm of an amount in minor units is less than this."""
FIXED: Final = 2.0**32
"""Units of the sums of scores and logarithms."""
_RANKS: Final = 2.0**20
"""Units of ranks: a count of 2^32 rows times a rank is less than 2^53."""
_WATCHED_OUTCOMES: Final = (("REVIEW", 1), ("BLOCK", 2))
_FIRST: Final = (
    (SCORE, NUMBER, "score"), (OUTCOMES, OUTCOME, "outcome"), (AMOUNT, NUMBER, "column:amount"),
)  # fmt: skip
_SCORE_AT, _AMOUNT_AT = 0, 2
_MISSING_CELL, _OUT_CELL = NUMBER_BINS, NUMBER_BINS + 1


@dataclass(frozen=True, slots=True)
class _Measure:
    """A value of a field: the cells that it adds up, and the cells that are its rows.

    Attributes:
        field: Number of the field.
        name: Name of the measure.
        everywhere: Whether each segment has it; otherwise all events together only.
        weights: Weight of each cell of the field, in units of 2^-20.
        rows: 1 for each cell that counts as a row, otherwise 0.
    """

    field: int
    name: str
    everywhere: bool
    weights: Float64
    rows: Float64


def stream_keys(bins: ReferenceBins, segments: Sequence[str]) -> tuple[StreamKey, ...]:
    """Return the names of k streams, in the order of their values.

    Args:
        bins: The watched fields.
        segments: Names of segments 1, 2, ...
    """
    measures = list(_measures(bins.fields, [_no_ranks(field) for field in bins.fields]))
    return tuple(key for key, _, _ in _streams(bins.fields, measures, segments))


class StreamLayout:
    """The streams of a reference under a plan's segments, and how their values are computed.

    Args:
        bins: f fields; the first three are score, outcome and amount.
        ranks: For each number, float64[10]: the middle rank of each bin; for other fields empty.
        segments: Names of segments 1, 2, ...

    Attributes:
        keys: The k streams.

    Raises:
        ValueError: The first three fields are others.
    """

    def __init__(
        self, bins: ReferenceBins, ranks: Sequence[Float64], segments: Sequence[str]
    ) -> None:
        refuse_fields(bins.fields)
        measures = list(_measures(bins.fields, ranks))
        found = list(_streams(bins.fields, measures, segments))
        self.keys = tuple(key for key, _, _ in found)
        self._segment = np.array([segment for _, segment, _ in found], np.int64)
        self._measure = np.array([measure for _, _, measure in found], np.int64)
        first = bins.first_cell
        cells = int(first[-1])
        self._weights = np.zeros((cells, len(measures)))
        self._rows = np.zeros((cells, len(measures)))
        for at, measure in enumerate(measures):
            mine = slice(first[measure.field], first[measure.field + 1])
            self._weights[mine, at] = measure.weights
            self._rows[mine, at] = measure.rows
        self._score, self._amount = (_place(measures, at) for at in (_SCORE_AT, _AMOUNT_AT))
        self._events = slice(first[_AMOUNT_AT], first[_AMOUNT_AT + 1])

    def __len__(self) -> int:
        return len(self.keys)

    def values(self, counts: Int64, score_sum: Int64, log_sum: Int64) -> tuple[Float64, Int64]:
        """Return the values of k streams in some windows, and the rows of each value.

        Args:
            counts: int64[..., s, c], events by segment and cell; at most 2^32 in a segment.
            score_sum: int64[..., s], sums of scores in units of 2^-32.
            log_sum: int64[..., s], sums of ln(1 + amount in minor units), in the same units.

        Returns:
            values: float64[..., k], from 0 to 1; NaN without rows.
            rows: int64[..., k].
        """
        numbers = counts.astype(np.float64)
        rows = numbers @ self._rows
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (numbers @ self._weights) / (rows * _RANKS)
            score, amount = self._score, self._amount
            found[..., score] = score_sum / (rows[..., score] * FIXED)
            found[..., amount] = log_sum / (rows[..., amount] * (FIXED * LOGARITHM_MOST))
            events = numbers[..., self._events].sum(axis=-1)
            share = events / events[..., :1]
        found = np.concatenate([found, share[..., None]], axis=-1)
        all_rows = np.broadcast_to(events[..., :1], events.shape)
        rows = np.concatenate([rows, all_rows[..., None]], axis=-1)
        at = (..., self._segment, self._measure)
        return found[at], rows[at].astype(np.int64)


def layout_of(reference: DriftReference, segments: Sequence[str]) -> StreamLayout:
    """Return the streams of a reference under a plan's segments.

    Args:
        reference: Its fields and counts.
        segments: Names of segments 1, 2, ...; they may be others than the reference's.
    """
    ranks = [ranks_of(each.field, each.counts[0]) for each in reference.fields]
    return StreamLayout(reference.bins, ranks, segments)


def refuse_fields(fields: Sequence[WatchedField]) -> None:
    """Refuse fields whose first three are not score, outcome and amount.

    Raises:
        ValueError: They are others.
    """
    found = [(field.name, field.kind, field.source) for field in fields[: len(_FIRST)]]
    if found != list(_FIRST):
        raise ValueError(f"fields: must begin with {', '.join(name for name, _, _ in _FIRST)}")


def ranks_of(field: WatchedField, counts: Int64) -> Float64:
    """Return float64[10], the middle rank of each bin of a number; empty for other fields.

    Args:
        field: The field.
        counts: int64[cells of the field], counts of the reference.
    """
    if field.kind != NUMBER:
        return np.empty(0)
    upper = np.cumsum(counts[:NUMBER_BINS])
    middle: Float64 = upper - counts[:NUMBER_BINS] / 2.0
    return middle / max(int(upper[-1]), 1)


def last_bin(field: WatchedField) -> int:
    """Return the number of the last bin that a value can be in: the one above the last edge."""
    return int(np.isfinite(field.edges).sum())


def _no_ranks(field: WatchedField) -> Float64:
    return np.zeros(NUMBER_BINS if field.kind == NUMBER else 0)


def _measures(fields: Sequence[WatchedField], ranks: Sequence[Float64]) -> Iterator[_Measure]:
    """Yield the measures of all fields, in the order of the streams of all events."""
    for number, (field, middle) in enumerate(zip(fields, ranks, strict=True)):
        every = np.ones(field.cells)

        def share(
            name: str, *cells: int, number: int = number, every: Float64 = every,
            everywhere: bool = False, rows: Float64 | None = None,
        ) -> _Measure:  # fmt: skip
            weights = np.zeros(len(every))
            weights[list(cells)] = _RANKS
            return _Measure(number, name, everywhere, weights, every if rows is None else rows)

        if field.kind == OUTCOME:
            for name, cell in _WATCHED_OUTCOMES:
                yield share(f"{SHARE}:{name}", cell, everywhere=True)
        elif field.kind == TEXT:
            known = len(field.values)
            yield share(MISSING, known)
            yield share(UNSEEN, known + 1)
            for cell, value in enumerate(field.values[:VALUES_MOST]):
                yield share(f"{SHARE}:{value}", cell)
        else:
            mean = number in (_SCORE_AT, _AMOUNT_AT)
            present = every.copy()
            present[_MISSING_CELL] = 0
            binned = present.copy()
            binned[_OUT_CELL] = 0
            weights = np.zeros(len(every))
            weights[:NUMBER_BINS] = np.rint(middle * _RANKS)
            everywhere = mean or field.source.startswith("feature:")
            yield _Measure(number, LEVEL, everywhere, weights, present if mean else binned)
            yield share(TAIL, last_bin(field), _OUT_CELL, rows=present)
            if number != _AMOUNT_AT:
                yield share(MISSING, _MISSING_CELL)
            yield share(OUT_OF_RANGE, _OUT_CELL)


def _streams(
    fields: Sequence[WatchedField], measures: Sequence[_Measure], segments: Sequence[str]
) -> Iterator[tuple[StreamKey, int, int]]:
    """Yield each stream's name, the number of its segment, and the number of its measure."""
    for at, measure in enumerate(measures):
        yield StreamKey(fields[measure.field].name, measure.name, ALL), 0, at
    for number, segment in enumerate(segments, 1):
        for at, measure in enumerate(measures):
            if measure.everywhere:
                yield StreamKey(fields[measure.field].name, measure.name, segment), number, at
        yield StreamKey(SEGMENT, SHARE, segment), number, len(measures)


def _place(measures: Sequence[_Measure], field: int) -> int:
    """Return the number of a field's level."""
    return next(at for at, each in enumerate(measures) if (each.field, each.name) == (field, LEVEL))
