"""Successive windows, added up by segment until there are enough rows for a rule."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL
from stream_scorer.drift.quality.reference_view import ReferenceView
from stream_scorer.drift.windows.contract import ClosedWindow, fits
from stream_scorer.models.reference.stream_values import FIXED

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

LEAST_ROWS: Final = 200
"""Rows of a segment from which a rule judges it."""


@dataclass(frozen=True, slots=True)
class PooledWindow:
    """What the rules for a model version judge: s segments with f fields.

    Attributes:
        start: Start of the window that completed it, ms since the epoch.
        end: End of that window.
        segments: s names; the first is ``all``.
        ready: bool[s], segments with 200 rows or more: only these are judged.
        alone: bool[s], whether all rows of a segment are of this window, and none of one before.
        rows: int64[s], events.
        log_amount: float64[s], mean of ln(1 + amount in minor units).
        expected_log_amount: float64[s], the mean that the reference expects.
        missing: int64[s, f], events without a value.
        other: int64[s, f], events out of the reference's range, or with an unseen value.
        newest_rows: int64[s], events of the window that completed it, without those before.
        newest_shift: float64[s], by how much their mean of ln(1 + amount) exceeds the expected one.
    """

    start: int
    end: int
    segments: tuple[str, ...]
    ready: Bool
    alone: Bool
    rows: Int64
    log_amount: Float64
    expected_log_amount: Float64
    missing: Int64
    other: Int64
    newest_rows: Int64
    newest_shift: Float64


@dataclass(slots=True)
class Pool:
    """The rows that wait for a judgement.

    Attributes:
        segments: s names; empty before the first window.
    """

    segments: tuple[str, ...] = ()
    _rows: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _log_sum: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _expected: Float64 = field(default_factory=lambda: np.zeros(0))
    _missing: Int64 = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    _other: Int64 = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def add(self, closed: ClosedWindow, expected: ReferenceView) -> PooledWindow:
        """Add a window; return what can be judged now, and begin again with it.

        Another list of segments than before, or a sum that does not fit into 64 bits, begins again
        with all of them.

        Raises:
            ValueError: The window's cells are not those of the reference.
        """
        segments = (ALL, *closed.segments)
        fields = len(expected.reference.fields)
        cells = int(expected.reference.bins.first_cell[-1])
        if closed.counts.shape != (len(segments), cells):
            raise ValueError(
                f"window of {closed.model}:{closed.version}: cells {closed.counts.shape}, "
                f"not {(len(segments), cells)}"
            )
        if segments != self.segments or not fits(self._log_sum, closed.log_sum):
            self._begin(segments, fields)
        first = expected.reference.bins.first_cell
        rows = closed.counts[:, : first[1]].sum(1)
        alone = self._rows == 0
        means = [expected.log_amount(name, closed.start) for name in segments]
        self._rows = self._rows + rows
        self._log_sum = self._log_sum + closed.log_sum
        self._expected = self._expected + rows * np.array(means)
        self._missing = self._missing + closed.counts[:, expected.missing_cell]
        self._other = self._other + closed.counts[:, expected.other_cell]
        ready = self._rows >= LEAST_ROWS
        counted = np.maximum(self._rows, 1)
        found = PooledWindow(
            closed.start, closed.end, segments, ready, alone, self._rows,
            self._log_sum / (FIXED * counted), self._expected / counted,
            self._missing, self._other, rows,
            closed.log_sum / (FIXED * np.maximum(rows, 1)) - np.array(means),
        )  # fmt: skip
        self._keep(~ready)
        return found

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "segments": list(self.segments),
            "rows": self._rows.tolist(),
            "log_sum": self._log_sum.tolist(),
            "expected": [None if np.isnan(each) else each for each in self._expected.tolist()],
            "missing": self._missing.tolist(),
            "other": self._other.tolist(),
        }

    @classmethod
    def read(cls, document: dict[str, Any], fields: int) -> Self:
        """Return the pool of a state.

        Raises:
            ValueError: It is not one, or one of another number of fields.
        """
        segments = tuple(map(str, document["segments"]))
        shape = (len(segments), fields if segments else 0)
        pool = cls(
            segments,
            np.array(document["rows"], np.int64),
            np.array(document["log_sum"], np.int64),
            np.array([np.nan if e is None else e for e in document["expected"]], np.float64),
            np.array(document["missing"], np.int64).reshape(shape),
            np.array(document["other"], np.int64).reshape(shape),
        )
        lengths = {len(pool._rows), len(pool._log_sum), len(pool._expected)}
        if lengths != {len(segments)}:
            raise ValueError("the pool's columns are not of one length")
        return pool

    def _begin(self, segments: tuple[str, ...], fields: int) -> None:
        self.segments = segments
        self._rows = np.zeros(len(segments), np.int64)
        self._log_sum = np.zeros(len(segments), np.int64)
        self._expected = np.zeros(len(segments))
        self._missing = np.zeros((len(segments), fields), np.int64)
        self._other = np.zeros((len(segments), fields), np.int64)

    def _keep(self, waits: Bool) -> None:
        self._rows = np.where(waits, self._rows, 0)
        self._log_sum = np.where(waits, self._log_sum, 0)
        self._expected = np.where(waits, self._expected, 0.0)
        self._missing = np.where(waits[:, None], self._missing, 0)
        self._other = np.where(waits[:, None], self._other, 0)
