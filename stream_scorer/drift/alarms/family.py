"""The detectors of a model version's streams under one budget.

The budget is one false alarm in F windows, over everything that is watched. It is split in two
parts, g / F and (1 - g) / F, so the sum of both rates is 1 / F at most.

*Guaranteed.* The e-detectors of the streams in the class; see ``nulls.guaranteed_class``. Stream j
fires when w(j) M(j) reaches F / g, or all together when the sum of w(j) M(j) does. The expected
number of false alarms in n windows is at most g n / F, under any dependence between the streams.

*Calibrated.* Whitened innovations of every stream; stream j has the run length F / (1 - g) / w(j).
Within a window that is a Bonferroni bound, at any correlation of the streams.

The calibrated detectors use up what they get, and the guaranteed ones do not. Without a stream in
the class, all of the budget is calibrated.

An observation that pools several windows counts as one window: both promises then hold with room.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from stream_scorer.drift.alarms.nulls import Bool, Float64, Int64, Nulls, band_with_tolerance
from stream_scorer.drift.alarms.stream_thresholds import LONGEST, SHORTEST, thresholds_of
from stream_scorer.drift.detection.shifts import e_kernels, shift_kernels
from stream_scorer.drift.detection.shifts.autoregression import Autoregression
from stream_scorer.drift.detection.shifts.calibrated import CalibratedDetector, FittedReference
from stream_scorer.drift.detection.shifts.detector import Detector
from stream_scorer.drift.detection.shifts.e_detector import EDetector

GUARANTEED_SHARE: Final = 0.1
"""Share of the budget that the guaranteed detectors spend, if a stream is in their class."""
RELEARN: Final = 48
"""Observations after an alarm that a stream's next null is learned from."""
_NEVER: Final = 1e300
_ERRORS: Final = 3.0
"""Half width of the band of a mean after a change, in standard errors."""


@dataclass(frozen=True, slots=True)
class ChangeFound:
    """A stream that a detector fired for.

    Attributes:
        stream: Its number.
        age: Observations since the change began, at least 1.
        before: Mean before it.
        after: Mean after it.
        log_evidence: Logarithm of the evidence.
        detector: ``e_detector`` or ``calibrated``.
        calibrated: Evidence of the calibrated detector; None if it did not fire.
    """

    stream: int
    age: int
    before: float
    after: float
    log_evidence: float
    detector: str
    calibrated: float | None = None


class Family:
    """Both kinds of detectors, side by side.

    Args:
        nulls: The k streams' nulls.
        run_length: F, the budget in windows.
        relearn: Observations after an alarm that a stream's next null is learned from.

    Attributes:
        low: float64[k], the current null's band; it moves when a change is accepted or followed.
        high: float64[k].
        mean: float64[k], its mean.
        guaranteed_share: Share of the budget that the guaranteed detectors spend.
        calibrated_length: float64[k], run length of each stream's calibrated detector.
        spread: float64[k], standard deviation since a change, as a factor of the reference's.
    """

    def __init__(self, nulls: Nulls, run_length: float, relearn: int = RELEARN) -> None:
        self.nulls, self.observations_relearned = nulls, relearn
        self.run_length = run_length
        self.low, self.high, self.mean = nulls.low.copy(), nulls.high.copy(), nulls.mean.copy()
        self.spread = np.ones(len(nulls))
        self._moments = np.zeros((len(nulls), 3))
        self._members = np.flatnonzero(nulls.guaranteed)
        self._guaranteed_length = run_length / GUARANTEED_SHARE
        self._e: EDetector | None = None
        self._bands()
        self.guaranteed_share = GUARANTEED_SHARE if len(self._members) else 0.0
        self.calibrated_length = run_length / (1 - self.guaranteed_share) / nulls.share
        sigma = np.sqrt(1 - nulls.phi**2) * nulls.noise
        length = np.clip(nulls.length, SHORTEST, LONGEST)
        count = np.maximum(nulls.windows - 1.0, 1.0)
        zeros = np.zeros(len(nulls))
        model = Autoregression(nulls.phi, sigma, length, count, zeros, zeros)
        thresholds = thresholds_of(nulls, self.calibrated_length)
        self._calibrated = CalibratedDetector(
            FittedReference(nulls.mean, nulls.scale, model),
            np.where(nulls.calibrated, thresholds, _NEVER), tolerance=nulls.delta / nulls.scale,
            relearn=relearn,
        )  # fmt: skip

    def copy(self) -> "Family":
        """Return a copy that can change separately."""
        made = Family.__new__(Family)
        vars(made).update(
            vars(self), low=self.low.copy(), high=self.high.copy(), mean=self.mean.copy(),
            spread=self.spread.copy(), _moments=self._moments.copy(), _e=deepcopy(self._e),
            _calibrated=deepcopy(self._calibrated),
        )  # fmt: skip
        return made

    @property
    def learning(self) -> Float64:
        """float64[k], observations until a stream can raise the next alarm; 0 if it can now."""
        return self._calibrated.learning

    @property
    def observations(self) -> Int64:
        """int64[k], observations since each null was last set, the reference's included."""
        return self._calibrated.observations

    @property
    def thresholds(self) -> Float64:
        """float64[k], evidence that each stream's calibrated detector needs."""
        return self._calibrated.thresholds

    @property
    def log_evidence(self) -> Float64:
        """float64[k], logarithm of the e-value; -inf outside of the class and without evidence."""
        found = np.full(len(self.nulls), -np.inf)
        if self._e is not None:
            cells = slice(e_kernels.CUSUM, e_kernels.CUSUM + e_kernels.CELLS)
            with np.errstate(divide="ignore"):
                found[self._members] = np.log(_state_of(self._e)[:, cells].mean(axis=1))
        return found

    @property
    def calibrated(self) -> Float64:
        """float64[k], evidence of the calibrated detectors as a share of what an alarm needs."""
        reached = np.clip(self._calibrated.evidence / self.thresholds, 0.0, 1.0)
        return np.where(self.learning > 0, 0.0, reached)

    def update(self, values: Float64, kept: Float64 | float = 1.0) -> list[ChangeFound]:
        """Add an observation of each stream.

        Args:
            values: float64[k], without the season; NaN for none.
            kept: float64[k] or one number, how much of its distance from the mean each keeps; see
                :func:`~stream_scorer.models.reference.bands.certain`. The guaranteed detectors use
                the values as they are.

        Returns:
            The streams that fired, ascending; a stream is in it once, with the guaranteed detector
            if both fired.
        """
        relearning = self.learning
        distance = kept * (values - self.mean)
        seen = (relearning > 0) & np.isfinite(distance)
        powers = np.stack([np.ones_like(distance), distance, distance**2], axis=1)
        self._moments[seen] += powers[seen]
        found = {each.stream: each for each in self._update_calibrated(self.mean + distance)}
        for each in self._update_guaranteed(values, relearning):
            also = found.get(each.stream)
            found[each.stream] = replace(each, calibrated=also.calibrated if also else None)
        return [found[stream] for stream in sorted(found)]

    def relearn(self, streams: Bool, mean: Float64) -> None:
        """Let streams learn their mean after a change.

        Meanwhile only a change alarms that is above the tolerance by two standard deviations; of
        a smaller one, the mean after it is learned.

        Args:
            streams: bool[k].
            mean: float64[k], what is known of their mean: at which the change was found.
        """
        state = _state_of(self._calibrated)
        state[streams, shift_kernels.BEFORE_COUNT : shift_kernels.PREVIOUS] = 0.0
        state[streams, shift_kernels.COUNTS : shift_kernels.SUMS] = 0.0
        state[streams, shift_kernels.LEARNING] = self.observations_relearned
        self._calibrated.restore(state.tobytes())
        self.mean = np.where(streams, mean, self.mean)
        self._forget_evidence(streams)
        self._moments[streams] = 0.0

    def settle(self, streams: Bool, mean: Float64, observations: Float64) -> None:
        """Take a mean after a change, and the spread since then, as the null of streams.

        A spread below that of the reference is not used: few observations may be quiet by chance.

        Args:
            streams: bool[k].
            mean: float64[k].
            observations: float64[k], from how many observations each mean is.
        """
        nulls = self.nulls
        count = np.maximum(observations, 1.0)
        # One standard error more, since it is from as few observations.
        held, total, squares = np.maximum(self._moments[:, 0], 1.0), *self._moments.T[1:]
        spread = np.sqrt(np.maximum(squares / held - (total / held) ** 2, 0.0)) / nulls.scale
        wider = np.maximum(spread * (1 + np.sqrt(0.5 / count)), 1.0)
        self._widen(np.where(streams, wider, self.spread))
        reach = self.reach(count)
        self.mean = np.where(streams, mean, self.mean)
        self.low = np.where(streams, mean - reach, self.low)
        self.high = np.where(streams, mean + reach, self.high)
        self._bands()
        self._forget_evidence(streams)

    def begin_again(
        self, streams: Bool, low: Float64, high: Float64, count: Float64 | float = np.inf
    ) -> None:
        """Let streams begin again from a null.

        Args:
            streams: bool[k].
            low: float64[k], lowest mean of its band.
            high: float64[k], highest mean.
            count: float64[k] or one number, maximum number of observations that it is known from.
        """
        nulls = self.nulls
        middle = (low + high) / 2
        # A null that never moved has the reference's own mean, which is not always in the middle.
        same = (low == nulls.low) & (high == nulls.high)
        self.mean = np.where(streams, np.where(same, nulls.mean, middle), self.mean)
        self.low = np.where(streams, low, self.low)
        self.high = np.where(streams, high, self.high)
        self._bands()
        self._forget_evidence(streams)
        self._widen(np.where(streams, 1.0, self.spread))
        standard = (self.mean - nulls.mean) / nulls.scale
        gain = np.sqrt(1 - nulls.phi**2) * nulls.noise / (1 - nulls.phi)
        state = _state_of(self._calibrated)
        rows = np.zeros_like(state)
        known = np.minimum(np.maximum(nulls.windows - 1.0, 1.0), count)
        rows[:, shift_kernels.BEFORE_COUNT] = known
        rows[:, shift_kernels.BEFORE_SUM] = known * standard / gain
        rows[:, shift_kernels.PREVIOUS] = standard
        state[streams] = rows[streams]
        self._calibrated.restore(state.tobytes())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state, a row for each stream."""
        e = np.zeros((len(self.nulls), 0))
        if self._e is not None:
            e = np.zeros((len(self.nulls), e_kernels.WIDTH))
            e[self._members] = _state_of(self._e)
        return {
            "low": self.low, "high": self.high, "mean": self.mean, "spread": self.spread,
            "moments": self._moments, "e": e,
            "calibrated": _state_of(self._calibrated),
        }  # fmt: skip

    def reach(self, observations: Float64) -> Float64:
        """Return float64[k], half the width of the band of a mean of so many observations."""
        nulls = self.nulls
        factor = np.sqrt((1 + nulls.phi) / (1 - nulls.phi) / np.maximum(observations, 1.0))
        found: Float64 = _ERRORS * nulls.scale * self.spread * factor
        return found

    def load(self, arrays: dict[str, np.ndarray], mine: Int64, theirs: Int64) -> None:
        """Continue from a state, with this family's own tolerance.

        Args:
            arrays: See :meth:`arrays`.
            mine: int64[n], streams that continue.
            theirs: int64[n], their rows in the state.

        Raises:
            KeyError: An array is missing.
            ValueError: An array has another shape.
        """
        for name in ("low", "high", "mean"):
            getattr(self, name)[mine] = arrays[name][theirs]
        self._moments[mine] = arrays["moments"][theirs]
        spread = self.spread.copy()
        spread[mine] = arrays["spread"][theirs]
        self._widen(spread)
        state = _state_of(self._calibrated)
        state[mine] = arrays["calibrated"][theirs]
        self._calibrated.restore(state.tobytes())
        if self._e is not None and arrays["e"].shape[1]:
            rows = np.zeros((len(self.nulls), e_kernels.WIDTH))
            rows[self._members] = _state_of(self._e)
            rows[mine] = arrays["e"][theirs]
            self._e.restore(np.ascontiguousarray(rows[self._members]).tobytes())
        # Evidence against a band is none against another: the tolerance may have changed.
        self._forget_evidence(self._bands())

    def _update_calibrated(self, values: Float64) -> list[ChangeFound]:
        alarms = self._calibrated.update(np.asarray(values, np.float64))
        return [
            ChangeFound(int(stream), max(int(age), 1), before, after, each, "calibrated", each)
            for stream, age, before, after, each in zip(
                alarms.stream.tolist(), alarms.age.tolist(), alarms.before.tolist(),
                alarms.after.tolist(), alarms.evidence.tolist(), strict=True,
            )
        ]  # fmt: skip

    def _update_guaranteed(self, values: Float64, relearning: Float64) -> list[ChangeFound]:
        if self._e is None:
            return []
        # The band of a mean that was learned after a change may miss it: no part of the promise.
        left = (self.low != self.nulls.low) | (self.high != self.nulls.high)
        seen = np.where(left | (relearning > 0), np.nan, np.clip(values, 0.0, 1.0))
        alarms = self._e.update(seen[self._members])
        streams = self._members[alarms.stream]
        shares = self.nulls.share[self._members] / self.nulls.share[self._members].sum()
        evidence = alarms.evidence / shares[alarms.stream]
        return [
            ChangeFound(
                int(stream), max(int(age), 1), float(self.mean[stream]), after, float(np.log(e)),
                "e_detector",
            )
            for stream, age, after, e in zip(
                streams.tolist(), alarms.age.tolist(), alarms.after.tolist(), evidence.tolist(),
                strict=True,
            )
        ]  # fmt: skip

    def _widen(self, spread: Float64) -> None:
        self.spread = spread
        self._calibrated.widen(spread)

    def _bands(self) -> Bool:
        """Give the e-detector the current bands; its evidence stays.

        Returns:
            bool[k], streams whose band is another one than before.
        """
        changed = np.zeros(len(self.nulls), np.bool_)
        if not len(self._members):
            return changed
        band = band_with_tolerance(self.low, self.high, self.nulls.delta)[:, self._members]
        if self._e is None:
            self._e = EDetector(
                band, self._guaranteed_length, weights=self.nulls.share[self._members]
            )
        state = _state_of(self._e)
        changed[self._members] = (state[:, e_kernels.LOW :] != band.T).any(axis=1)
        state[:, e_kernels.LOW :] = band.T
        self._e.restore(state.tobytes())
        return changed

    def _forget_evidence(self, streams: Bool) -> None:
        if self._e is not None:
            state = _state_of(self._e)
            state[streams[self._members], : e_kernels.LOW] = 0.0
            self._e.restore(state.tobytes())


def _state_of(detector: Detector) -> Float64:
    """Return a copy of a detector's memory, a row for each stream."""
    data = np.frombuffer(detector.snapshot(), "<f8")
    width = detector.state_bytes // data.itemsize
    return data.reshape(-1, width).astype(np.float64)
