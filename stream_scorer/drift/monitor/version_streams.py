"""The streams of one model version: from a closed window to the streams that a detector fired for.

::

    counts → values → minus season → pooled to 200 rows → detectors → found → waits for the fleet?

A stream is *learning* until its histories are complete: until then its values are not used at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.fleet import StreamAlarm
from stream_scorer.drift.alarms.nulls import Bool, Float64, Int64, nulls_of
from stream_scorer.drift.alarms.stream_changes import StreamChanges
from stream_scorer.drift.alarms.stream_history import StreamHistory
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.drift.windows.pooling import Pools
from stream_scorer.models.reference.bands import certain
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.learning import learning_until
from stream_scorer.models.reference.matching import references_of
from stream_scorer.models.reference.season import expected, hour_of_week
from stream_scorer.models.reference.stream_values import StreamLayout, layout_of


class StreamsOfVersion(StreamChanges):
    """All streams of a version.

    Args:
        reference: The version's reference.
        segments: Names of the running plan's segments.
        budget: The budget of its alarms.
        first_start: Start of the first window of the input, ms.

    Attributes:
        keys: Names of the streams; the last is the fleet.
        reference: As above.
        segments: As above.
        since: int64[k], start of the first window that counts, ms; 0 while a stream is learning.
    """

    def __init__(
        self, reference: DriftReference, segments: Sequence[str], budget: AlarmBudget,
        first_start: int,
    ) -> None:  # fmt: skip
        self.reference, self.segments = reference, tuple(segments)
        self._layout: StreamLayout = layout_of(reference, self.segments)
        found = references_of(reference, self._layout.keys)
        self._columns = np.array([n for n, each in enumerate(found) if each is not None], np.int64)
        streams = [each for each in found if each is not None]
        nulls = nulls_of(streams, budget.tolerance, reference.fleet)
        super().__init__(nulls, budget.windows(reference.window_ms))
        self.keys = nulls.keys
        self._season = np.vstack([*(expected(each.season) for each in streams), np.zeros(168)])
        reach = {each.field.name: each.reach_ms for each in reference.fields}
        self.learning_until = np.array(
            [
                learning_until(first_start, budget.history_from, reach.get(key.field, 0))
                for key in self.keys
            ]
        )
        daily = np.array([each.season is None for each in streams] + [False])
        self._pools = Pools.empty(daily)
        self.since = np.zeros(len(self.keys), np.int64)

    def copy(self) -> "StreamsOfVersion":
        """Return a copy that can change separately."""
        made = super().copy()
        vars(made).update(
            _pools=self._pools.copy(), since=self.since.copy(),
            learning_until=self.learning_until.copy(),
        )  # fmt: skip
        return made

    def with_segments(
        self, segments: Sequence[str], budget: AlarmBudget, first_start: int
    ) -> "StreamsOfVersion":
        """Return the streams under other segments; those with equal names continue."""
        made = StreamsOfVersion(self.reference, segments, budget, first_start)
        made.load(self.arrays(), self.keys, self.history, self.learning_until, self.waiting())
        return made

    def judge(self, closed: ClosedWindow) -> list[StreamAlarm]:
        """Add a tiled window of this reference and these segments; return the alarms.

        Raises:
            ValueError: Its counts have another shape.
        """
        values, rows = self._layout.values(closed.counts, closed.score_sum, closed.log_sum)
        k = len(self.keys)
        seen, held = np.full(k, np.nan), np.zeros(k, np.int64)
        seen[:-1], held[:-1] = values[self._columns], rows[self._columns]
        season = self._season[:, int(hour_of_week(np.array(closed.start)))]
        covered = closed.start >= self.learning_until
        self.since[covered & (self.since == 0)] = closed.start
        used = np.where(covered, seen - season, np.nan)
        many = self._pools.rows + np.where(np.isfinite(used), held, 0)
        pooled = self._pools.add(used, held, closed.end)
        typical = self.nulls.typical
        weight = np.where(typical > 0, many / np.maximum(typical, 1.0), 1.0)
        return self.observe(
            pooled, closed.start, closed.end, kept=certain(many, typical), season=season,
            weight=weight,
        )  # fmt: skip

    def _begin(self, streams: Bool, band: Float64, count: Float64) -> None:
        super()._begin(streams, band, count)
        self._pools.clear(streams)

    # -- state ------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state without the history, which is in the document: a row for each stream."""
        return super().arrays() | {
            "pool_rows": self._pools.rows, "pool_total": self._pools.total, "since": self.since,
        }  # fmt: skip

    def load(
        self, arrays: dict[str, NDArray[Any]], keys: Sequence[StreamKey], history: StreamHistory,
        learning: Int64, waiting: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Continue from a state; streams that it does not have begin anew.

        Args:
            arrays: See :meth:`arrays`.
            keys: Names of its streams.
            history: Their history.
            learning: int64[k], their ``learning_until``.
            waiting: See :meth:`waiting`; alarms of streams that are not there now are left out.

        Raises:
            KeyError: An array is missing.
            ValueError: An array has another shape.
        """
        rows = {key: row for row, key in enumerate(keys)}
        mine = np.array([n for n, key in enumerate(self.keys) if key in rows], np.int64)
        theirs = np.array([rows[self.keys[n]] for n in mine], np.int64)
        self._load(arrays, mine, theirs, waiting)
        for into, name in (
            (self._pools.rows, "pool_rows"), (self._pools.total, "pool_total"),
            (self.since, "since"),
        ):  # fmt: skip
            into[mine] = arrays[name][theirs]
        self.learning_until[mine] = learning[theirs]
        self.history = history.of(len(self.keys), mine, theirs)
