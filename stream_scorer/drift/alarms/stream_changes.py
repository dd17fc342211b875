"""Changes of k streams and of their fleet: from observations to alarms, and to their end.

A stream's *base* is its null without any open change. After an alarm, its null is its mean since
then; it is back when it returns to its base. The fleet is the median of the streams' distances from
their *centres*. Alarms of the fleet leave centres as they are, so the median has a value during
each of its changes and returns to 0 after it. A stream that changes alone gets another centre, so
it moves the fleet no longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.alarms.accepted_changes import AcceptedChanges
from stream_scorer.drift.alarms.family import RELEARN, ChangeFound, Family
from stream_scorer.drift.alarms.fleet import WAIT, StreamAlarm, Waiting
from stream_scorer.drift.alarms.fleet_view import FleetView
from stream_scorer.drift.alarms.nulls import Bool, Float64, Int64, Nulls
from stream_scorer.drift.alarms.severity import is_trigger
from stream_scorer.drift.alarms.stream_history import (
    BACK_LEAST,
    StreamHistory,
    is_back,
    is_return,
    place_of,
)
from stream_scorer.models.reference.fleet import median_of

AFTERMATH: Final = 190
"""Observations after a fleet alarm in which a stream's older change is a part of it."""
_CERTAIN: Final = 3.0
"""Standard errors that the error of a mean has, as its evidence is told."""
_LEAST: Final = 8
"""Minimum number of observations that a null after a change counts as."""
_ARRAYS: Final = (
    "prior", "after", "accepted", "part", "centre", "known", "held", "seen", "value",
)  # fmt: skip


class StreamChanges(AcceptedChanges):
    """The streams under one budget.

    Args:
        nulls: Their nulls.
        run_length: F, the budget in windows.
        relearn: Observations after an alarm that a stream's next null is learned from.

    Attributes:
        nulls: As above.
        family: Their detectors.
        history: Their newest values.
        base: float64[2, k], band of the mean without an open change.
        prior: float64[k], mean before the latest alarm.
        after: int32[k], observations since it; -1 without an open change.
        accepted: bool[k], whether the mean after it becomes the base as soon as it is learned.
        part: bool[k], whether the change is a part of a fleet's.
        centre: float32[k], what a stream's distance is measured from for the fleet's median.
        known: int32[k], observations that the mean at the latest alarm was of.
        held: float32[k, 2], band of the null at the begin of a fault; NaN for none.
        seen: int32[k], observations since the stream began.
        value: float64[k], newest observation with its season.
        observed: float64[k], what the calibrated detector got of the newest window; NaN for none.
        fleet_end: End of the window of the latest fleet alarm, ms; -1 before any.
    """

    def __init__(self, nulls: Nulls, run_length: float, relearn: int = RELEARN) -> None:
        k = len(nulls)
        self.nulls = nulls
        self.family = Family(nulls, run_length, relearn)
        self.history = StreamHistory.empty(k)
        self.base = np.stack([nulls.low, nulls.high])
        self.prior, self.centre = nulls.mean.copy(), nulls.mean.astype(np.float32)
        self.after, self.known = np.full(k, -1, np.int32), np.zeros(k, np.int32)
        self.accepted, self.part = np.zeros(k, np.bool_), np.zeros(k, np.bool_)
        self.held = np.full((k, 2), np.nan, np.float32)
        self.seen = np.zeros(k, np.int32)
        self.value, self.observed = np.full(k, np.nan), np.full(k, np.nan)
        self.fleet_end = -1
        self._waiting: tuple[Waiting, ...] = ()
        self._returned = np.zeros(k, np.bool_)

    def copy(self) -> Self:
        """Return a copy that can change separately."""
        made = type(self).__new__(type(self))
        vars(made).update(
            vars(self), family=self.family.copy(), history=self.history.copy(),
            base=self.base.copy(), _returned=self._returned.copy(),
            **{name: getattr(self, name).copy() for name in _ARRAYS},
        )  # fmt: skip
        return made

    def observe(
        self, values: Float64, start: int, end: int, *, kept: Float64 | float = 1.0,
        season: Float64 | float = 0.0, weight: Float64 | float = 1.0,
    ) -> list[StreamAlarm]:  # fmt: skip
        """Add a window; return the alarms.

        Args:
            values: float64[k], without the season; NaN for no observation. The last one, of the
                fleet, is filled.
            start: Start of the window, ms.
            end: Its end.
            kept: How much of its distance each value keeps; see :meth:`Family.update`.
            season: float64[k], what was subtracted from the values.
            weight: float64[k], rows of each observation, as a share of the usual number.
        """
        nulls, k = self.nulls, len(self.nulls)
        values[-1] = median_of(kept * (values - self.centre) / nulls.scale, nulls.level)
        present = np.isfinite(values)
        self.value = np.where(present, values + season, self.value)
        self.history.add(
            (values - nulls.mean) / nulls.scale, season / nulls.scale,
            np.broadcast_to(weight, k), start, end,
        )  # fmt: skip
        relearning = self.family.learning > 0
        most = np.minimum(self.family.observations, self.seen) + 1
        self.observed = self.family.mean + kept * (values - self.family.mean)
        fired = self.family.update(values, kept)
        found = [place_of(each, most, self.prior, self.family, self.history) for each in fired]
        self.seen[present] += 1
        self.after[(self.after >= 0) & present] += 1
        grown = self._settle(relearning & (self.family.learning == 0), most)
        self._returned = self._mask(each.stream for each in found if self._is_return(each))
        found = [each for each in found if not self._returned[each.stream]]
        return self._alarms(found, start, end) + [StreamAlarm(each, start, end) for each in grown]

    @property
    def _fleet(self) -> FleetView:
        return FleetView(self.nulls, self.family, self.history)

    def onset(self, found: ChangeFound, until: int) -> int:
        """Return when a change that was found in the window until then began, ms of event time."""
        return self.history.begin_of(found.stream, found.age, until)

    def back(self) -> Bool:
        """bool[k], streams that are as before their alarms; with the fleet, all its parts."""
        settled = (self.after >= BACK_LEAST) & ~self.accepted & np.isnan(self.held[:, 0])
        found = self._returned.copy()
        for stream in np.flatnonzero(settled & (self.family.learning == 0)).tolist():
            found[stream] |= is_back(
                stream, self.base[:, stream], int(self.after[stream]), self.family, self.history
            )
        if found[-1]:
            found |= self.part
        self._waiting = tuple(each for each in self._waiting if not found[each.found.stream])
        return found

    def restart(self, streams: Bool) -> None:
        """Let streams begin again from their base null."""
        if streams.any():
            self._begin(streams, self.base, np.full(len(self.nulls), np.inf))
            self.after[streams] = -1

    def hold(self, streams: Bool) -> None:
        """Remember the nulls of those streams that have an open change: a fault begins."""
        # What comes now is the fault's: a mean that was accepted is that of before.
        self.take_accepted(streams)
        mine = streams & (self.after >= 0)
        family = self.family
        unsettled = family.reach(np.maximum(self.after, _LEAST))
        half = np.where(family.learning > 0, unsettled, (family.high - family.low) / 2)
        self.held[mine] = np.stack([family.mean - half, family.mean + half], axis=1)[mine]

    def release(self, streams: Bool) -> None:
        """Let streams continue after a fault: what they saw meanwhile was the fault's.

        A stream whose change was open when it began continues from the null of that time; another
        one begins again from its base.
        """
        mine = streams & np.isfinite(self.held[:, 0])
        self.restart(streams & ~mine)
        if mine.any():
            band = self.held.T.astype(np.float64)
            half = np.maximum(band[1] - band[0], 1e-300) / 2
            known = (self.family.reach(np.ones(1)) / half) ** 2
            self._begin(mine, band, np.clip(known, _LEAST, RELEARN))
            self.after[mine] = 0

    def _begin(self, streams: Bool, band: Float64, count: Float64) -> None:
        self.family.begin_again(streams, band[0], band[1], count)
        self.prior[streams] = self.family.mean[streams]
        self._recentre(streams, self.base[:, -1].mean())
        self.accepted[streams], self.part[streams] = False, False
        self.held[streams], self.seen[streams] = np.nan, 0

    def _recentre(self, streams: Bool, fleet: float) -> None:
        """Let streams have the same distance as the fleet, so that they do not move it."""
        centre = self.family.mean - fleet * self.nulls.scale
        self.centre = np.where(streams, centre, self.centre).astype(np.float32)
        self.centre[-1] = 0.0

    def _is_return(self, found: ChangeFound) -> bool:
        """Whether a change is the way back to the base of a stream with an open change."""
        stream = found.stream
        if self.after[stream] < 0 or self.accepted[stream] or np.isfinite(self.held[stream, 0]):
            return False
        return is_return(found, self.base[:, stream], self.family)

    def _alarms(self, found: Sequence[ChangeFound], start: int, end: int) -> list[StreamAlarm]:
        fleet_number = len(self.nulls) - 1
        fleet = next((each for each in found if each.stream == fleet_number), None)
        alarms = self._without_aftermath([each for each in found if each is not fleet], end)
        if fleet is None and self.after[-1] < 0:
            fleet = self._fleet.together(self._waiting, alarms)
        first: list[StreamAlarm] = []
        if fleet is not None:
            part = {each.stream for each in alarms if self._fleet.is_explained(each)}
            part |= {each.found.stream for each in self._waiting}
            part |= {n for n in range(fleet_number) if self._fleet.moved_with(n, fleet.age)}
            alarms = [each for each in alarms if each.stream not in part]
            self._waiting = ()
            self.fleet_end = end
            nulls = self.nulls
            moved = {
                n: nulls.mean[n] + nulls.scale[n] * self.history.mean_of(n, fleet.age)
                for n in sorted(part)
            }
            self._relearn(moved | {fleet_number: fleet.after}, fleet.age, part=True)
            first = [StreamAlarm(fleet, start, end, fleet=True, part_of=tuple(sorted(part)))]
        now: list[ChangeFound] = []
        for each in alarms:
            explained = fleet is None and self._fleet.is_explained(each)
            self._relearn({each.stream: each.after}, each.age, part=explained)
            if explained:
                self._waiting += (Waiting(each, start, end, WAIT + 1),)
            else:
                now.append(each)
        late, self._waiting = Waiting.one_less(self._waiting)
        alone = self._mask(each.found.stream for each in late)
        self.part[alone] = False
        self._recentre(alone, float(self.family.mean[-1]))
        return [
            *first,
            *(StreamAlarm(each.found, each.start, each.end) for each in late),
            *(StreamAlarm(each, start, end) for each in now),
        ]

    def _relearn(self, means: Mapping[int, float], age: int, *, part: bool) -> None:
        """Let streams learn their means after an alarm.

        Args:
            means: By stream, the mean of its newest observations.
            age: Number of these.
            part: Whether their changes are the fleet's.
        """
        mean = self.family.mean.copy()
        mean[list(means)] = list(means.values())
        streams = self._mask(means)
        self.take_accepted(streams, age)
        self.prior[streams] = self.family.mean[streams]
        self.family.relearn(streams, mean)
        self.known[streams], self.after[streams] = age, 0
        self.accepted[streams], self.part[streams] = False, part
        if not part:
            self._recentre(streams, float(self.family.mean[-1]))

    def _without_aftermath(self, found: Sequence[ChangeFound], end: int) -> list[ChangeFound]:
        """Leave out streams that moved with the last fleet alarm or before it: it reported them.

        A fleet can alarm before most of its streams show anything. Such a stream still has its null
        of before, and its change is the fleet's, wherever it seems to begin.
        """
        if not 0 <= self.after[-1] < AFTERMATH:
            return list(found)
        change = float(self.family.mean[-1] - self.prior[-1])
        parts = [
            each
            for each in found
            if self.onset(each, end) < self.fleet_end
            or (not self.part[each.stream] and self._fleet.leaves_nothing(change, each))
        ]
        for each in parts:
            self._relearn({each.stream: each.after}, each.age, part=True)
        return [each for each in found if each not in parts]

    def _mask(self, streams: Iterable[int]) -> Bool:
        found = np.zeros(len(self.nulls), np.bool_)
        found[list(streams)] = True
        return found

    def _settle(self, streams: Bool, most: Int64) -> list[ChangeFound]:
        """Take the mean since the alarm as the null; return what has moved on far since then."""
        if not streams.any():
            return []
        found: list[ChangeFound] = []
        nulls, family = self.nulls, self.family
        count = np.clip(self.after, 1, family.observations_relearned)
        residual = np.zeros(len(nulls))
        for stream in np.flatnonzero(streams).tolist():
            residual[stream] = self.history.mean_of(stream, int(count[stream]))
        before, error = family.mean, family.reach(self.known.astype(np.float64))
        mean = nulls.mean + residual * nulls.scale
        far = np.abs(mean - before) > np.maximum(nulls.delta, nulls.scale * family.spread) + error
        far &= streams & ~self.accepted & nulls.calibrated
        for stream in np.flatnonzero(far).tolist():
            if self.part[stream] and not is_trigger(nulls.keys[stream]):
                continue
            change = ChangeFound(
                stream, int(count[stream]), float(before[stream]), float(mean[stream]),
                float(((mean - before)[stream] / error[stream] * _CERTAIN) ** 2 / 2), "calibrated",
            )  # fmt: skip
            if not self._is_return(change):
                most[stream] = count[stream]
                found.append(place_of(change, most, self.prior, family, self.history))
                self.prior[stream], self.part[stream] = before[stream], False
        family.settle(streams, mean, count.astype(np.float64))
        for stream in np.flatnonzero(streams & self.accepted).tolist():
            self._rebase(stream, float(residual[stream]))
        return found

    # -- state ------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state without the history, which is in the document: a row for each stream."""
        own = {name: getattr(self, name) for name in _ARRAYS}
        return self.family.arrays() | own | {"base": self.base.T.copy()}

    def waiting(self) -> dict[str, Any]:
        """Return the alarms that wait for the fleet's, for JSON."""
        return {"fleet_end": self.fleet_end, "found": [each.document() for each in self._waiting]}

    def _load(
        self, arrays: Mapping[str, NDArray[Any]], mine: Int64, theirs: Int64,
        waiting: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.family.load(dict(arrays), mine, theirs)
        for name in _ARRAYS:
            getattr(self, name)[mine] = arrays[name][theirs]
        self.base.T[mine] = arrays["base"][theirs]
        self.fleet_end = int(waiting["fleet_end"])
        number = dict(zip(theirs.tolist(), mine.tolist(), strict=True))
        self._waiting = Waiting.continued(waiting["found"], number)
