"""The newest 168 values of each stream, and when they were observed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.alarms.nulls import Float64, Int64
from stream_scorer.drift.state.document import HISTORY

Float16 = NDArray[np.float16]
_MOST = 60_000.0


@dataclass(slots=True, eq=False)
class StreamHistory:
    """Values of k streams on a common row of windows.

    Attributes:
        start: int64[168], start of each window, ms; -1 where there is none.
        end: int64[168], end of it.
        residual: float16[k, 168], observations in standard deviations from the reference's mean;
            NaN where a stream had none. Half precision is enough, and is a quarter of the bytes.
        season: float16[k, 168], the season there.
    """

    start: Int64
    end: Int64
    residual: Float16
    season: Float16

    @classmethod
    def empty(cls, streams: int) -> "StreamHistory":
        """Return the history of streams without observations."""
        none = np.full(HISTORY, -1)
        return cls(
            none, none.copy(), np.full((streams, HISTORY), np.nan, np.float16),
            np.zeros((streams, HISTORY), np.float16),
        )  # fmt: skip

    def copy(self) -> "StreamHistory":
        """Return a copy that can change separately."""
        return StreamHistory(
            self.start.copy(), self.end.copy(), self.residual.copy(), self.season.copy()
        )

    def of(self, streams: int, mine: Int64, theirs: Int64) -> "StreamHistory":
        """Return the history of other streams, some of which are among these.

        Args:
            streams: Their number.
            mine: int64[n], rows there.
            theirs: int64[n], rows here.
        """
        made = StreamHistory.empty(streams)
        made.start, made.end = self.start.copy(), self.end.copy()
        made.residual[mine], made.season[mine] = self.residual[theirs], self.season[theirs]
        return made

    def add(self, residual: Float64, season: Float64, start: int, end: int) -> None:
        """Add a window.

        Args:
            residual: float64[k], NaN for no observation.
            season: float64[k].
            start: Start of the window, ms.
            end: Its end.
        """
        for row, value in ((self.start, start), (self.end, end)):
            row[:-1] = row[1:]
            row[-1] = value
        for table, column in ((self.residual, residual), (self.season, season)):
            table[:, :-1] = table[:, 1:]
            table[:, -1] = np.clip(column, -_MOST, _MOST)

    def mean_of(self, stream: int, observations: int) -> float:
        """Return the mean of a stream's newest observations, or 0 without any."""
        values = self.residual[stream]
        seen = np.flatnonzero(np.isfinite(values))[-observations:]
        return float(values[seen].astype(np.float64).mean()) if len(seen) else 0.0

    def age_of(self, stream: int, before: float, after: float, age: int) -> int:
        """Return the likeliest number of observations since a change, from the change's size.

        It is the maximum of the likelihood, as in a CUSUM (Page, "Continuous inspection schemes",
        1954).

        Args:
            stream: Its number.
            before: Mean before the change, in standard deviations from the reference's mean.
            after: Mean after it.
            age: A first estimate.
        """
        values = self.residual[stream]
        newest = values[np.isfinite(values)][::-1][: 3 * age + 24].astype(np.float64)
        if not len(newest) or before == after:
            return age
        gain = np.cumsum((newest - (before + after) / 2) * (after - before))
        return int(np.argmax(gain)) + 1

    def begin_of(self, stream: int, observations: int) -> int:
        """Return the time at which a stream's newest observations begin, ms.

        The first of them begins where the one before it ends. Before the history, observations are
        as long as they are in it.

        Args:
            stream: Its number.
            observations: How many, at least 1.
        """
        seen = np.flatnonzero(np.isfinite(self.residual[stream]))
        if not len(seen):
            return int(self.start[-1])
        if observations < len(seen):
            return int(self.end[seen[-observations - 1]])
        first = int(self.start[seen[0]])
        length = (int(self.end[seen[-1]]) - first) // len(seen)
        return first - (observations - len(seen)) * length
