"""The calibrated detector: shifts of streams against a common part, and of the common part itself.

Each value is taken relative to its reference, without its season, in standard deviations. The
median over the streams is the *common part*; it is a stream of its own, whose alarm is the *fleet
alarm*. What remains of each stream is whitened by an autoregression. A change is reported when the
likelihood ratio of the best split of the innovations since the reference passes a threshold. The
mean before the split is estimated from the data, so an imprecise reference mean cannot alarm.

The promise is measured, not proved: a family of streams raises one false alarm per ``run_length``
steps if they are autoregressions of order 1 with Gaussian innovations. See
:mod:`stream_scorer.drift.detection.shifts.thresholds` for the thresholds, and
:mod:`stream_scorer.drift.detection.shifts.e_detector` for the guaranteed promise.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts import autoregression, shift_kernels
from stream_scorer.drift.detection.shifts.autoregression import Autoregression
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.drift.detection.shifts.season import HOURS_PER_WEEK, FittedSeason, fit_season
from stream_scorer.drift.detection.shifts.shift_kernels import BUCKETS, LEVELS
from stream_scorer.drift.detection.shifts.thresholds import first_state, look_up, seasonal_excess
from stream_scorer.ports import Float64, Int64

LEAST_COMMON: Final = 8
"""Minimum number of streams whose median is a common part."""
FLEET_SHARE: Final = 0.1
"""The fleet alarm's share of the budget."""
FLEET_TOLERANCE: Final = 0.12
"""Shift of the median, in standard deviations of a stream, that is not reported: a tenth of the
streams moves it by up to 0.09."""
_SUMS: Final = slice(shift_kernels.SUMS, shift_kernels.WIDTH)
RELEARN: Final = 300
"""Steps of the new reference after an alarm."""
AFTERMATH: Final = 5.0
"""Additional evidence that a stream needs while the common part learns after a fleet alarm: streams
do not move by exactly the common shift, and that has just been reported."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedReference:
    """What is usual for a family of streams, fitted to their past.

    Attributes:
        centre: float64[streams], mean.
        scale: float64[streams], standard deviation without the season; 1 for a constant stream.
        season: What is subtracted by hour of the week; None for streams without hours.
        model: Autoregression of each stream relative to the common part, and of the common part as
            the last one.
        common: Whether there is a common part; otherwise it is 0.
        weeks: Weeks that the season was fitted to; infinite without one.
    """

    centre: Float64
    scale: Float64
    season: FittedSeason | None
    model: Autoregression
    common: bool
    weeks: float = np.inf


def learn(values: Float64, hour: Int64 | None = None, *, common: bool = True) -> FittedReference:
    """Fit a reference.

    Args:
        values: float64[steps, streams], finite; at least 200 steps.
        hour: int64[steps], hour of the week of each step, to fit a season; or None.
        common: Whether the streams' median is taken as their common part.

    Raises:
        ValueError: Too few steps, or a value that is not finite.
    """
    season = None if hour is None else fit_season(values, hour)
    rest = values if season is None or hour is None else values - season.effect[hour]
    centre, scale = rest.mean(0), rest.std(0)
    scale[scale <= np.abs(centre) * 1e-12] = 1.0
    standard = (rest - centre) / scale
    common = common and standard.shape[1] >= LEAST_COMMON
    middle = np.median(standard, axis=1) if common else np.zeros(len(standard))
    fitted, added = (1.0, 0.0) if season is None else (season.fitted, season.added)
    streams = autoregression.fit(standard - middle[:, None], unit=scale, fitted=fitted, added=added)
    fleet = autoregression.fit(
        middle[:, None], fitted=float(np.median(fitted)), added=float(np.median(added))
    )
    model = Autoregression(
        *(
            np.concatenate([getattr(streams, name), getattr(fleet, name)])
            for name in Autoregression.__slots__
        )
    )
    weeks = np.inf if season is None else len(values) / HOURS_PER_WEEK
    return FittedReference(centre, scale, season, model, common, weeks)


class CalibratedDetector(Detector):
    """Watches a family of streams, and their common part as the stream :attr:`fleet`.

    Args:
        reference: What is usual.
        run_length: Steps between two false alarms of the whole family.
        weights: float64[streams], shares of the budget without the fleet's; default: equal.
        tolerance: float64[streams] or one number, change of the mean that does not matter, in
            standard deviations of the stream.
        thresholds: float64[streams + 1], evidence needed by each stream and the fleet; default:
            from the table.

    Raises:
        ValueError: Weights are not positive, or the table has no thresholds for the reference.
    """

    def __init__(
        self, reference: FittedReference, run_length: float, *, weights: Float64 | None = None,
        tolerance: Float64 | float = 0.0, thresholds: Float64 | None = None,
    ) -> None:  # fmt: skip
        streams = len(reference.centre)
        super().__init__(first_state(reference.model))
        shares = np.ones(streams) if weights is None else np.asarray(weights, float)
        if not (np.isfinite(shares) & (shares > 0)).all():
            raise ValueError("the weights of streams must be positive")
        fleet_share = FLEET_SHARE if reference.common else 0.0
        shares = np.append(shares / shares.sum() * (1 - fleet_share), max(fleet_share, 1e-9))
        model = reference.model
        self._reference = reference
        self.thresholds = (
            look_up(model.phi, model.length, run_length / shares)
            * (1 + seasonal_excess(model.phi, np.full(streams + 1, reference.weeks)))
            if thresholds is None
            else thresholds
        )
        self._aftermath = self.thresholds + AFTERMATH
        allowed = np.append(np.broadcast_to(np.asarray(tolerance, float), streams), FLEET_TOLERANCE)
        self._allowed = allowed
        self._spread = np.ones(streams + 1)
        self._fit_spread()
        self._values = np.empty(streams + 1)
        self._results = np.zeros((streams + 1, shift_kernels.RESULTS))

    @property
    def streams(self) -> int:
        """Number of streams without the common part."""
        return len(self._state) - 1

    @property
    def fleet(self) -> int:
        """Number of the common part in :class:`Alarms`."""
        return len(self._state) - 1

    @property
    def learning(self) -> Float64:
        """float64[streams + 1], steps until each stream can alarm again; 0 where it can now."""
        return self._state[:, shift_kernels.LEARNING].copy()

    @property
    def observations(self) -> Int64:
        """int64[streams + 1], innovations since each stream's latest reference began, all of it."""
        held = self._state[:, shift_kernels.COUNTS : shift_kernels.SUMS]
        count = self._state[:, shift_kernels.BEFORE_COUNT] + held @ 2.0 ** np.arange(LEVELS)
        return count.astype(np.int64)

    @property
    def levels(self) -> Float64:
        """float64[streams + 1], each stream's present mean, in the units of :meth:`update`.

        It is the mean since the latest reference began; NaN before its first value.
        """
        sums = self._state[:, shift_kernels.SUMS :].reshape(len(self._state), LEVELS, BUCKETS + 1)
        held = self._state[:, shift_kernels.COUNTS : shift_kernels.SUMS]
        used = np.arange(BUCKETS + 1) < held[:, :, None]
        count = self._state[:, shift_kernels.BEFORE_COUNT] + held @ 2.0 ** np.arange(LEVELS)
        total = self._state[:, shift_kernels.BEFORE_SUM] + np.where(used, sums, 0.0).sum((1, 2))
        with np.errstate(invalid="ignore"):
            return self._in_units(np.arange(len(self._state)), total / count)

    def relearn(self, stream: int) -> None:
        """Forget a stream's past: its next :data:`RELEARN` values are its reference.

        Args:
            stream: Number of the stream, or :attr:`fleet`.
        """
        row = self._state[stream]
        row[shift_kernels.BEFORE_COUNT : shift_kernels.PREVIOUS] = 0.0
        row[shift_kernels.COUNTS : shift_kernels.SUMS] = 0.0
        row[shift_kernels.LEARNING] = RELEARN

    def widen(self, spread: Float64) -> None:
        """Take other standard deviations of the streams, since a change often changes them, too.

        What a stream remembers is converted. Restore a snapshot after this, not before.

        Args:
            spread: float64[streams], as factors of those of the reference.

        Raises:
            ValueError: A factor is not positive.
        """
        if not (np.isfinite(spread) & (spread > 0)).all():
            raise ValueError("factors of standard deviations must be positive")
        wider = np.append(spread, 1.0)
        ratio = (self._spread / wider)[:, None]
        for columns in (slice(shift_kernels.BEFORE_SUM, shift_kernels.PREVIOUS), _SUMS):
            self._state[:, columns] *= ratio
        self._spread = wider
        self._fit_spread()

    def _fit_spread(self) -> None:
        model = self._reference.model
        self._sigma = model.sigma * self._spread
        self._gain = self._sigma / (1 - model.phi)
        self._tolerance = self._allowed / self._gain
        self._growth = shift_kernels.SECOND * self._spread / self._gain

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot of a detector with the same configuration.

        Raises:
            ValueError: The snapshot does not fit; the detector is unchanged.
        """
        before = self._state.copy()
        super().restore(snapshot)
        held = self._state[:, shift_kernels.COUNTS : shift_kernels.SUMS]
        learning = self._state[:, shift_kernels.LEARNING]
        possible = ((held >= 0) & (held <= BUCKETS) & (held % 1 == 0)).all()
        if not possible or not ((learning >= 0) & (learning <= RELEARN)).all():
            self._state[:] = before
            raise ValueError("a snapshot has counts that are not possible")

    def update(self, values: Float64, hour: int = 0) -> Alarms:
        """Add one step.

        Args:
            values: float64[streams]; NaN where a stream has no observation.
            hour: Hour of the week; ignored without a season.

        Returns:
            The alarms; ``before`` and ``after`` are in the streams' units, without common part and
            season; those of the common part are in standard deviations.
        """
        reference = self._reference
        standard = values - reference.centre
        if reference.season is not None:
            standard -= reference.season.effect[hour % HOURS_PER_WEEK]
        standard /= reference.scale
        if reference.common:
            self._values[-1] = self._common(standard)
            self._values[:-1] = standard - self._values[-1]
        else:
            self._values[-1] = np.nan
            self._values[:-1] = standard
        model = reference.model
        changing = self._state[-1, shift_kernels.LEARNING] > 0
        shift_kernels.update(
            self._state, self._values, model.phi, self._sigma,
            self._aftermath if changing else self.thresholds, self._tolerance, float(RELEARN),
            self._growth, self._results,
        )  # fmt: skip
        return self._alarms()

    def _common(self, standard: Float64) -> float:
        """Return the median over the streams that have a value and, if enough have, a reference."""
        state = self._state[:-1]
        usable = ~np.isnan(standard)
        settled = usable & (state[:, shift_kernels.LEARNING] == 0.0)
        if settled.sum() >= LEAST_COMMON:
            usable = settled
        rest = (standard - state[:, shift_kernels.OFFSET])[usable]
        return float(np.median(rest)) if len(rest) else float("nan")

    def _alarms(self) -> Alarms:
        fired = np.flatnonzero(self._results[:, shift_kernels.FIRED])
        found = self._results[fired]
        return Alarms(
            fired,
            found[:, shift_kernels.AGE].astype(np.int64),
            self._in_units(fired, found[:, shift_kernels.BEFORE]),
            self._in_units(fired, found[:, shift_kernels.AFTER]),
            found[:, shift_kernels.EVIDENCE].copy(),
        )

    def _in_units(self, streams: Int64, innovations: Float64) -> Float64:
        """Return means of innovations as means of the streams' values."""
        centre = np.append(self._reference.centre, 0.0)[streams]
        return centre + (self._gain * np.append(self._reference.scale, 1.0))[streams] * innovations
