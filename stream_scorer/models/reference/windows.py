"""Count the rows of a reference by window, and compute the values of its streams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.arithmetic.logarithm_kernels import fixed_logarithms
from stream_scorer.core.summaries.summary_layout import WatchedField
from stream_scorer.models.reference.rows import ReferenceRows, cells_of, table_of
from stream_scorer.models.reference.stream_values import FIXED, StreamLayout

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class WindowTable:
    """The values of k streams in w successive windows.

    Attributes:
        start: int64[w], ms since the epoch; no window is left out.
        values: float64[w, k]; NaN without rows.
        rows: int64[w, k].
    """

    start: Int64
    values: Float64
    rows: Int64


class WindowCounter:
    """Counts rows by window, segment and cell.

    Args:
        rows: n rows, by event time, at least one.
        fields: f fields.
        segments: Number of segments with the one of all events.
    """

    def __init__(self, rows: ReferenceRows, fields: Sequence[WatchedField], segments: int) -> None:
        self._rows = rows
        self._fields = fields
        self._segments = segments

    def totals(self, masks: Sequence[Bool]) -> list[Int64]:
        """Return int64[s, cells] of each field.

        Args:
            masks: f times bool[n], which rows count.
        """
        found = [np.zeros((self._segments, field.cells), np.int64) for field in self._fields]
        ends = np.cumsum([field.cells for field in self._fields])[:-1]
        for part in self._days():
            counts = self._counts(part, masks, np.zeros(part.stop - part.start, np.int64), 1)
            parts = np.split(counts[0], ends, axis=1)
            found = [total + more for total, more in zip(found, parts, strict=True)]
        return found

    def by_window(
        self, layout: StreamLayout, masks: Sequence[Bool], width: int, lap: Callable[[int], None]
    ) -> WindowTable:
        """Return the values of the streams by window.

        Args:
            layout: The k streams.
            masks: f times bool[n], which rows count; the first one is that of the score.
            width: Width of the windows, ms; a part of a day.
            lap: Called with a time of each day after its rows are counted.
        """
        time = self._rows.time
        first, last = int(time[0]) // _DAY_MS, int(time[-1]) // _DAY_MS
        windows = _DAY_MS // width
        start = first * _DAY_MS + np.arange((last - first + 1) * windows) * width
        values = np.full((len(start), len(layout)), np.nan)
        counted = np.zeros((len(start), len(layout)), np.int64)
        for part in self._days():
            day = int(time[part.start]) // _DAY_MS
            window = (time[part] - day * _DAY_MS) // width
            counts = self._counts(part, masks, window, windows)
            score, amount = self._sums(part, masks[0], window, windows)
            at = slice((day - first) * windows, (day - first + 1) * windows)
            values[at], counted[at] = layout.values(counts, score, amount)
            lap(day * _DAY_MS)
        return WindowTable(start, values, counted)

    def _days(self) -> list[slice]:
        """Return the rows of each day."""
        day = self._rows.time // _DAY_MS
        ends = [*(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
        return [slice(first, end) for first, end in zip([0, *ends], ends, strict=False)]

    def _counts(self, part: slice, masks: Sequence[Bool], window: Int64, windows: int) -> Int64:
        cells = []
        for field, mask in zip(self._fields, masks, strict=True):
            cell = cells_of(field, self._rows.column(field, part))
            cell[~mask[part]] = -1
            cells.append(cell)
        members = self._rows.members[part]
        return table_of(self._fields, cells, members, window, windows, self._segments)

    def _sums(self, part: slice, scored: Bool, window: Int64, windows: int) -> tuple[Int64, Int64]:
        """Return int64[w, s] twice: sums of scores and of logarithms, in units of 2^-32."""
        score = np.where(scored[part], self._rows.score[part], 0.0)
        fixed = (np.floor(np.nan_to_num(score) * FIXED)).astype(np.int64)
        logs = fixed_logarithms(self._rows.events.amounts[part])
        sums = np.zeros((2, windows, self._segments), np.int64)
        members = self._rows.members[part]
        for of_segment in (np.zeros(len(window), np.int64), *members.T):
            np.add.at(sums[0], (window, of_segment), fixed)
            np.add.at(sums[1], (window, of_segment), logs)
        return sums[0], sums[1]
