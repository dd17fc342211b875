"""The streams of one model version: from a closed window to the streams that a detector fired for.

::

    counts → values → minus season → pooled to 200 rows → detectors → found → waits for the fleet?

A stream is *learning* until its histories are complete: until then its values are not used at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.family import RELEARN, RELEARN_FLEET, ChangeFound, Family
from stream_scorer.drift.alarms.fleet import WAIT, Waiting, explains, median_of
from stream_scorer.drift.alarms.nulls import Bool, Int64, nulls_of
from stream_scorer.drift.monitor.stream_history import StreamHistory
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.drift.windows.pooling import Pools
from stream_scorer.models.reference.bands import certain
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.learning import learning_until
from stream_scorer.models.reference.matching import references_of
from stream_scorer.models.reference.season import expected, hour_of_week
from stream_scorer.models.reference.stream_values import StreamLayout, layout_of

_CERTAIN: Final = 3.0
"""Standard errors by which a stream must have moved, to be named in a fleet alarm."""
_NEWEST: Final = 3
"""Number of the newest observations of the fleet that can explain a stream's alarm."""
_BACK_LEAST: Final = 24
"""Minimum number of observations after an alarm that can close its episode."""
_BACK_MOST: Final = 160
_SURE: Final = 12.0
"""Expected logarithm of the likelihood ratio of the observations that are taken."""
_LIKELIER: Final = 7.0
"""Logarithm of the likelihood ratio that closes an episode: a factor of 1,000."""


@dataclass(frozen=True, slots=True)
class StreamAlarm:
    """A stream that a detector fired for, in the window in which it fired.

    Attributes:
        found: What fired.
        start: Start of that window, ms since the epoch.
        end: End of that window.
        fleet: Whether it is the alarm of the fleet.
        part_of: Streams whose alarms are a part of it.
    """

    found: ChangeFound
    start: int
    end: int
    fleet: bool = False
    part_of: tuple[int, ...] = ()


class StreamsOfVersion:
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
        history: Their newest values.
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
        self.nulls = nulls_of(streams, budget.tolerance)
        self.keys = self.nulls.keys
        self.family = Family(self.nulls, budget.windows(reference.window_ms))
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
        k = len(self.keys)
        self.history = StreamHistory.empty(k)
        self.base = np.stack([self.nulls.low, self.nulls.high])
        self.after = np.full(k, -1)
        self.accepted = np.zeros(k, np.bool_)
        self.seen = np.zeros(k, np.int64)
        self.since = np.zeros(k, np.int64)
        self.value = np.full(k, np.nan)
        self.fleet_end = -1
        self._waiting: tuple[Waiting, ...] = ()

    def copy(self) -> "StreamsOfVersion":
        """Return a copy that can change separately."""
        made = StreamsOfVersion.__new__(StreamsOfVersion)
        vars(made).update(
            vars(self), family=self.family.copy(), _pools=self._pools.copy(),
            history=self.history.copy(), base=self.base.copy(), after=self.after.copy(),
            accepted=self.accepted.copy(),
            seen=self.seen.copy(), since=self.since.copy(), value=self.value.copy(),
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
        nulls = self.nulls
        kept = certain(many, nulls.typical)
        standard = (pooled - nulls.mean) / nulls.scale
        moved = (self.family.mean - nulls.mean) / nulls.scale
        ready = nulls.level & (self.family.learning == 0)
        pooled[-1] = median_of(np.where(ready, kept * (standard - moved), np.nan), nulls.level)
        standard[-1] = pooled[-1]
        observed = np.isfinite(pooled)
        self.value = np.where(observed, pooled + season, self.value)
        self.history.add(standard, season / nulls.scale, closed.start, closed.end)
        relearning = self.family.learning > 0
        most = np.minimum(self.family.observations, self.seen) + 1
        fired = self.family.update(pooled, kept)
        found = [self.history.located(each, nulls, self.family.mean, most) for each in fired]
        self.seen[observed] += 1
        self.after[(self.after >= 0) & observed] += 1
        self._settle(relearning & (self.family.learning == 0))
        return self._alarms(found, closed)

    def shift(self, stream: int, age: int) -> float:
        """Return the mean of the newest observations, in standard deviations from the null."""
        centre = (self.family.mean[stream] - self.nulls.mean[stream]) / self.nulls.scale[stream]
        return self.history.mean_of(stream, age) - float(centre)

    def onset(self, found: ChangeFound, until: int) -> int:
        """Return when a change that was found in the window until then began, ms of event time."""
        return self.history.begin_of(found.stream, found.age, until)

    def back(self) -> Bool:
        """bool[k], streams after an alarm whose newest observations are those of before it."""
        settled = (self.after >= _BACK_LEAST) & ~self.accepted & (self.family.learning == 0)
        found = np.zeros(len(self.keys), np.bool_)
        for stream in np.flatnonzero(settled).tolist():
            found[stream] = self._is_back(stream)
        return found

    def _is_back(self, stream: int) -> bool:
        """Whether the mean before the alarm is far likelier than that after it, or the same."""
        scale = float(self.nulls.scale[stream])
        low, high = self.base[:, stream]
        before, after = float(low + high) / 2, float(self.family.mean[stream])
        if abs(after - before) <= self.nulls.delta[stream]:
            return True
        distance = (after - before) / scale
        need = int(np.clip(np.ceil(2 * _SURE / distance**2), _BACK_LEAST, _BACK_MOST))
        if self.after[stream] < need:
            return False
        newest = self.nulls.mean[stream] + self.history.mean_of(stream, need) * scale
        ratio = need * distance * float((before + after) / 2 - newest) / scale
        return ratio >= _LIKELIER

    def restart(self, streams: Bool) -> None:
        """Let streams begin again from their base null."""
        if streams.any():
            self.family.begin_again(streams, self.base[0], self.base[1])
            self._pools.clear(streams)
            self.after[streams], self.seen[streams] = -1, 0
            self.accepted[streams] = False

    def accept(self, stream: int) -> None:
        """Take a stream's mean after its change as its base null."""
        age = max(int(self.after[stream]), 1)
        mean = (
            self.nulls.mean[stream]
            + self.history.mean_of(stream, min(age, RELEARN)) * (self.nulls.scale[stream])
        )
        width = (self.nulls.high[stream] - self.nulls.low[stream]) / 2
        self.base[:, stream] = mean - width, mean + width
        self.after[stream] = -1

    def _alarms(self, found: Sequence[ChangeFound], closed: ClosedWindow) -> list[StreamAlarm]:
        fleet_number = len(self.keys) - 1
        fleet = next((each for each in found if each.stream == fleet_number), None)
        alarms = [each for each in found if each.stream != fleet_number]
        alarms = self._without_aftermath(alarms, closed.end)
        k = len(self.keys)
        if fleet is not None:
            part = {each.stream for each in alarms if self._is_explained(each)}
            part |= {each.found.stream for each in self._waiting}
            part |= {n for n in range(k - 1) if self._moved_with(n, fleet.age)}
            alarms = [each for each in alarms if each.stream not in part]
            self._waiting = ()
            self.fleet_end = closed.end
            together = np.zeros(k, np.bool_)
            together[[*part, fleet_number]] = True
            self.family.relearn(together, RELEARN_FLEET)
            self.after[together], self.accepted[together] = 0, False
            first = [
                StreamAlarm(
                    fleet, closed.start, closed.end, fleet=True, part_of=tuple(sorted(part))
                )
            ]
        else:
            first = []
        now: list[ChangeFound] = []
        waits: list[ChangeFound] = []
        for each in alarms:
            explained = fleet is None and self._is_explained(each)
            (waits if explained else now).append(each)
        late = [each for each in self._waiting if each.left <= 1]
        self._waiting = tuple(
            [replace(each, left=each.left - 1) for each in self._waiting if each.left > 1]
            + [Waiting(each, closed.start, closed.end, WAIT) for each in waits]
        )
        fired = np.zeros(k, np.bool_)
        fired[[each.stream for each in alarms]] = True
        self.family.relearn(fired, RELEARN)
        self.after[fired], self.accepted[fired] = 0, False
        return [
            *first,
            *(StreamAlarm(each.found, each.start, each.end) for each in late),
            *(StreamAlarm(each, closed.start, closed.end) for each in now),
        ]

    def _without_aftermath(self, found: Sequence[ChangeFound], end: int) -> list[ChangeFound]:
        """Leave out streams that began to move before the last fleet alarm: it reported them."""
        parts = np.zeros(len(self.keys), np.bool_)
        if self.family.learning[-1] > 0:
            parts[[each.stream for each in found if self.onset(each, end) < self.fleet_end]] = True
        if parts.any():
            self.family.relearn(parts, RELEARN_FLEET)
            self.after[parts], self.accepted[parts] = 0, False
        return [each for each in found if not parts[each.stream]]

    def _is_explained(self, found: ChangeFound) -> bool:
        stream = found.stream
        if not self.nulls.level[stream]:
            return False
        shift = float((found.after - found.before) / self.nulls.scale[stream])
        # A stream that moved before by chance has a longer age than the fleet's change.
        ages = {found.age, min(found.age, _NEWEST)}
        return any(explains(self.shift(len(self.keys) - 1, age), shift) for age in ages)

    def _moved_with(self, stream: int, age: int) -> bool:
        shift = self.shift(stream, age)
        median = abs(self.shift(len(self.keys) - 1, age))
        return explains(median, abs(shift)) and abs(shift) * age**0.5 > _CERTAIN

    def _settle(self, streams: Bool) -> None:
        """Take the mean since the alarm as the null of streams that have learned it."""
        if not streams.any():
            return
        count = np.clip(self.after, 1, RELEARN)
        mean = np.array(
            [
                self.history.mean_of(stream, int(count[stream])) if streams[stream] else 0.0
                for stream in range(len(self.keys))
            ]
        )
        self.family.settle(
            streams, self.nulls.mean + mean * self.nulls.scale, count.astype(np.float64)
        )

    # -- state ------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state without the history, which is in the document: a row for each stream."""
        return self.family.arrays() | {
            "pool_rows": self._pools.rows, "pool_total": self._pools.total,
            "base": self.base.T.copy(), "after": self.after,
            "accepted": self.accepted, "seen": self.seen, "since": self.since, "value": self.value,
        }  # fmt: skip

    def waiting(self) -> dict[str, Any]:
        """Return the alarms that wait for the fleet's, for JSON."""
        return {"fleet_end": self.fleet_end, "found": [each.document() for each in self._waiting]}

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
            waiting: See :meth:`waiting`; what it names is left out if there are other keys.

        Raises:
            KeyError: An array is missing.
            ValueError: An array has another shape.
        """
        rows = {key: row for row, key in enumerate(keys)}
        mine = np.array([n for n, key in enumerate(self.keys) if key in rows], np.int64)
        theirs = np.array([rows[self.keys[n]] for n in mine], np.int64)
        self.family.load(arrays, mine, theirs)
        for into, name in (
            (self._pools.rows, "pool_rows"), (self._pools.total, "pool_total"),
            (self.after, "after"),
            (self.accepted, "accepted"), (self.seen, "seen"),
            (self.since, "since"), (self.value, "value"), (self.base.T, "base"),
        ):  # fmt: skip
            into[mine] = arrays[name][theirs]
        self.learning_until[mine] = learning[theirs]
        self.history = history.of(len(self.keys), mine, theirs)
        self.fleet_end = int(waiting["fleet_end"])
        if tuple(keys) == self.keys:
            self._waiting = tuple(Waiting.read(each) for each in waiting["found"])
