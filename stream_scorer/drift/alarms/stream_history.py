"""The newest 168 values of each stream: where a change began, and whether a stream is back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.alarms.family import ChangeFound, Family
from stream_scorer.drift.alarms.nulls import Float64, Int64, Nulls
from stream_scorer.drift.alarms.severity import is_of_decisions

Float16 = NDArray[np.float16]
UInt8 = NDArray[np.uint8]
HISTORY: Final = 168
"""Number of windows whose values are kept."""
_MOST = 60_000.0
_KNOWN = 48
"""Usual observations that a known mean before a change counts as."""
_ONE, _CODE_MOST = 11, 15
"""Code of the weight 1, and the largest code."""
_WEIGHTS = 2.0 ** ((np.arange(_CODE_MOST + 1) - _ONE) / 2)
"""Weight by code: 0.02 to 4, each larger than the one before by the square root of 2."""
BACK_LEAST: Final = 24
"""Minimum number of observations after an alarm that can close its episode."""
_BACK_MOST: Final = 160
_SURE: Final = 12.0
"""Expected logarithm of the likelihood ratio of the observations that are taken."""
_RETURNED: Final = 2.0 / 3.0
"""Share of the width of a mean's band within which it is the mean before the change."""
_LIKELIER: Final = 7.0
"""Logarithm of the likelihood ratio that closes an episode: a factor of 1,000."""


@dataclass(slots=True, eq=False)
class StreamHistory:
    """Values of k streams on a common row of windows.

    Attributes:
        start: int64[168], start of each window, ms; -1 where there is none.
        end: int64[168], end of it.
        residual: float16[k, 168], observations in standard deviations from the reference's mean;
            NaN where a stream had none. Half precision is enough, and is a quarter of the bytes.
        season: float16[k, 168], the season there.
        weight: uint8[k, 168], code of each observation's weight: its rows, as a share of the usual
            number, on a coarse scale. An hour of a night varies twice as much as one of a day, or
            more, and says that much less.
    """

    start: Int64
    end: Int64
    residual: Float16
    season: Float16
    weight: UInt8

    @classmethod
    def empty(cls, streams: int) -> "StreamHistory":
        """Return the history of streams without observations."""
        none = np.full(HISTORY, -1)
        return cls(
            none, none.copy(), np.full((streams, HISTORY), np.nan, np.float16),
            np.zeros((streams, HISTORY), np.float16), np.full((streams, HISTORY), _ONE, np.uint8),
        )  # fmt: skip

    def copy(self) -> "StreamHistory":
        """Return a copy that can change separately."""
        return StreamHistory(
            self.start.copy(), self.end.copy(), self.residual.copy(), self.season.copy(),
            self.weight.copy(),
        )  # fmt: skip

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
        made.weight[mine] = self.weight[theirs]
        return made

    def add(
        self, residual: Float64, season: Float64, weight: Float64, start: int, end: int
    ) -> None:  # fmt: skip
        """Add a window.

        Args:
            residual: float64[k], NaN for no observation.
            season: float64[k].
            weight: float64[k], rows of each observation, as a share of the usual number.
            start: Start of the window, ms.
            end: Its end.
        """
        for row, value in ((self.start, start), (self.end, end)):
            row[:-1] = row[1:]
            row[-1] = value
        for table, column in ((self.residual, residual), (self.season, season)):
            table[:, :-1] = table[:, 1:]
            table[:, -1] = np.clip(column, -_MOST, _MOST)
        self.weight[:, :-1] = self.weight[:, 1:]
        code = np.rint(2 * np.log2(np.maximum(weight, 1e-9))) + _ONE
        self.weight[:, -1] = np.clip(code, 0, _CODE_MOST).astype(np.uint8)

    def packed(self) -> UInt8:
        """Return uint8[k, 84], the codes of weights, two in a byte."""
        found: UInt8 = self.weight[:, ::2] | (self.weight[:, 1::2] << np.uint8(4))
        return found

    @staticmethod
    def unpacked(packed: UInt8) -> UInt8:
        """Return the codes of :meth:`packed`."""
        found: UInt8 = np.stack([packed & _CODE_MOST, packed >> 4], axis=2)
        return found.reshape(len(packed), -1)

    def mean_of(self, stream: int, observations: int) -> float:
        """Return the mean of a stream's newest observations by weight, or 0 without any."""
        mean, _ = self.newest(stream, observations)
        return mean

    def newest(self, stream: int, observations: int) -> tuple[float, float]:
        """Return the mean of a stream's newest observations, and their weight; 0 without any."""
        return self._mean(stream, self._seen(stream)[-observations:])

    def mean_before(self, stream: int, observations: int, age: int, otherwise: float) -> float:
        """Return the mean of a stream's newest observations without the very newest.

        Args:
            stream: Its number.
            observations: Number of the newest observations.
            age: Number of those that are left out.
            otherwise: What is returned if none is left.
        """
        seen = self._seen(stream)[-observations:]
        kept = seen[: max(len(seen) - age, 0)]
        return self._mean(stream, kept)[0] if len(kept) else otherwise

    def _seen(self, stream: int) -> Int64:
        return np.flatnonzero(np.isfinite(self.residual[stream]))

    def _mean(self, stream: int, seen: Int64) -> tuple[float, float]:
        if not len(seen):
            return 0.0, 0.0
        weight = _WEIGHTS[self.weight[stream, seen]]
        values = self.residual[stream, seen].astype(np.float64)
        return float(np.average(values, weights=weight)), weight.sum()

    def located(
        self, found: ChangeFound, nulls: Nulls, before: Float64, spread: Float64, most: Int64,
        together: Sequence[int],
    ) -> ChangeFound:  # fmt: skip
        """Return a change with its age and the mean after it by the streams' history.

        Args:
            found: What a detector found.
            nulls: The streams' nulls.
            before: float64[k], means before the change.
            spread: float64[k], standard deviations as factors of the reference's.
            most: int64[k], observations since each stream's null was last set: what is older
                belongs to the change before.
            together: Streams that change at the same time, the found one among them.
        """
        stream = found.stream
        centre = (before - nulls.mean) / nulls.scale
        age = self.split_of(stream, together, centre, spread, most)
        if age == np.isfinite(self.residual[stream]).sum() < found.age:
            return found  # it began before the history
        mean = float(nulls.mean[stream] + nulls.scale[stream] * self.mean_of(stream, age))
        return replace(found, age=age, after=mean)

    def split_of(
        self, stream: int, together: Sequence[int], before: Float64, spread: Float64, most: Int64
    ) -> int:
        """Return the likeliest number of a stream's observations since a change, at least 1.

        It is the split with the largest likelihood ratio (Hinkley, "Inference about the
        change-point in a sequence of random variables", 1970) of all streams that change together:
        one alone may be the weakest of them. A detector's own split is later: it fires for the
        part that is most above the tolerance, such as a burst in the middle of a change.

        Args:
            stream: Its number.
            together: Numbers of the streams that change at the same time, this one among them.
            before: float64[k], means before the change, in standard deviations from the
                reference's mean; each counts as much as two days of observations.
            spread: float64[k], standard deviations as factors of the reference's.
            most: int64[k], maximum number of observations of each stream.
        """
        gain = sum(
            self._gain(each, before[each], int(most[each])) / spread[each] ** 2 for each in together
        )
        seen = np.flatnonzero(np.isfinite(self.residual[stream]))[-int(most[stream]) :]
        return len(seen) - int(np.argmax((gain + np.zeros(HISTORY))[seen])) if len(seen) else 1

    def _gain(self, stream: int, before: float, most: int) -> Float64:
        """Return float64[168], twice the logarithm of the likelihood ratio of a change by window.

        Windows before the maximum number of observations have that of the first one within.
        """
        seen = np.flatnonzero(np.isfinite(self.residual[stream]))[-most:]
        if not len(seen):
            return np.zeros(HISTORY)
        weight, value = np.zeros(HISTORY), np.zeros(HISTORY)
        weight[seen] = _WEIGHTS[self.weight[stream, seen]]
        value[seen] = self.residual[stream, seen] - before
        # Sums from each window to the newest.
        count = np.cumsum(weight[::-1])[::-1]
        after = np.cumsum((weight * value)[::-1])[::-1]
        whole = count[0] + _KNOWN
        excess = after - count * after[0] / whole
        gain: Float64 = excess**2 / np.maximum(count * (1 - count / whole), 1e-9)
        gain[: seen[0]] = gain[seen[0]]
        return gain

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


def place_of(
    found: ChangeFound, held: Int64, prior: Float64, family: Family, history: StreamHistory
) -> ChangeFound:
    """Return a change with its likeliest age, by all streams of the same event.

    Score and outcomes of the same transactions change together.

    Args:
        found: What a detector found.
        held: int64[k], observations since each stream's null was last set.
        prior: float64[k], each stream's mean before its latest alarm.
        family: The detectors.
        history: The newest values.
    """
    stream, nulls, spread = found.stream, family.nulls, family.spread
    before = family.mean.copy()
    alone = history.located(found, nulls, before, spread, held, [stream])
    key = nulls.keys[stream]
    if not is_of_decisions(key):
        return alone
    together = [
        number
        for number, each in enumerate(nulls.keys)
        if is_of_decisions(each) and each.segment == key.segment and nulls.calibrated[number]
    ]
    # A stream whose alarm of the same event came before has forgotten the mean before it.
    same = [each for each in together if each != stream and held[each] <= alone.age]
    before[same] = prior[same]
    known = held.copy()
    known[same] = held[stream]
    return history.located(found, nulls, before, spread, known, together)


def is_back(
    stream: int, base: Float64, after: int, family: Family, history: StreamHistory
) -> bool:  # fmt: skip
    """Return whether a stream's mean before an alarm is far likelier than that after it.

    A change within the tolerance is back, too.

    Args:
        stream: Its number.
        base: float64[2], the band of the mean before the alarm.
        after: Observations since the alarm.
        family: The detectors.
        history: The newest values.
    """
    nulls = family.nulls
    usual, changed = float(base.mean()), float(family.mean[stream])
    if abs(changed - usual) <= nulls.delta[stream]:
        return True
    # In standard deviations since the change: what varies more says less.
    scale = float(nulls.scale[stream] * family.spread[stream])
    # The mean after the change is from few observations: nearer by two standard errors, but not by
    # more than half, so that an overestimated change is not over by chance.
    error = float(family.high[stream] - family.low[stream]) / 2 * _RETURNED
    changed -= math.copysign(min(error, abs(changed - usual) / 2), changed - usual)
    distance = (changed - usual) / scale
    # So many dependent observations say as much as one independent one.
    phi = float(nulls.phi[stream])
    same = (1 + phi) / (1 - phi)
    need = int(np.clip(np.ceil(2 * _SURE * same / distance**2), BACK_LEAST, _BACK_MOST))
    if after < need:
        return False
    mean, weight = history.newest(stream, need)
    newest = float(nulls.mean[stream] + mean * nulls.scale[stream])
    return weight / same * distance * ((usual + changed) / 2 - newest) / scale >= _LIKELIER


def is_return(found: ChangeFound, base: Float64, family: Family) -> bool:
    """Return whether a change leads back to the mean before an open change.

    Args:
        found: What a detector found.
        base: float64[2], the band of the mean before the open change.
        family: The detectors.
    """
    low, high = base
    error = float(family.reach(np.full(1, found.age))[found.stream]) * _RETURNED
    error += float(family.nulls.delta[found.stream])
    near = low - error <= found.after <= high + error
    return bool(near and abs(found.after - (low + high) / 2) < abs(found.after - found.before))
