"""The newest 168 values of each stream, and when they were observed."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.nulls import Float64, Int64, Nulls
from stream_scorer.drift.state.document import HISTORY

Float16 = NDArray[np.float16]
_MOST = 60_000.0
_KNOWN = 48
"""Observations that a known mean before a change counts as."""


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

    def located(self, found: ChangeFound, nulls: Nulls, usual: Float64, most: Int64) -> ChangeFound:
        """Return a change with its age and the mean after it by the stream's history.

        Args:
            found: What a detector found.
            nulls: The streams' nulls.
            usual: float64[k], means before a change.
            most: int64[k], observations since each stream's null was last set: what is older
                belongs to the change before.
        """
        stream = found.stream
        mean, scale = float(nulls.mean[stream]), float(nulls.scale[stream])
        age, after = self.split_of(stream, (float(usual[stream]) - mean) / scale, int(most[stream]))
        if age == np.isfinite(self.residual[stream]).sum() < found.age:
            return found  # it began before the history
        return replace(found, age=age, after=mean + scale * after)

    def split_of(self, stream: int, before: float, most: int) -> tuple[int, float]:
        """Return the likeliest number of observations since a change, and their mean.

        It is the split with the largest likelihood ratio (Hinkley, "Inference about the
        change-point in a sequence of random variables", 1970). A detector's own split is later: it
        fires for the part that is most above the tolerance, such as a burst in the middle of a
        change.

        Args:
            stream: Its number.
            before: Mean before the change, in standard deviations from the reference's mean; it
                counts as much as two days of observations.
            most: Maximum number of observations.
        """
        values = self.residual[stream]
        newest = values[np.isfinite(values)][::-1][:most].astype(np.float64)
        if not len(newest):
            return 1, before
        age = np.arange(1, len(newest) + 1)
        after = np.cumsum(newest)
        held = len(newest) + _KNOWN
        mean = (after[-1] + _KNOWN * before) / held
        gain = (after - age * mean) ** 2 / (age * (1 - age / held))
        best = int(np.argmax(gain))
        return best + 1, float(after[best] / (best + 1))

    def begin_of(self, stream: int, observations: int, until: int) -> int:
        """Return the time at which a stream's newest observations until then begin, ms.

        The first of them begins where the one before it ends. Before the history, observations are
        as long as they are in it.

        Args:
            stream: Its number.
            observations: How many, at least 1.
            until: End of the last of them, ms.
        """
        seen = np.flatnonzero(np.isfinite(self.residual[stream]) & (self.end <= until))
        if not len(seen):
            return int(self.start[-1])
        if observations < len(seen):
            return int(self.end[seen[-observations - 1]])
        first = int(self.start[seen[0]])
        length = (int(self.end[seen[-1]]) - first) // len(seen)
        return first - (observations - len(seen)) * length
