"""The calibrated detector: shifts of the mean of streams.

Each value is taken relative to its reference, in standard deviations, and whitened by an
autoregression. A change is reported when the likelihood ratio of the best split of the innovations
since the reference passes a threshold. The mean before the split is estimated from the data, so an
imprecise reference mean cannot alarm.

The promise is measured, not proved: it holds if the streams are autoregressions of order 1 with
Gaussian innovations. See :mod:`stream_scorer.drift.detection.shifts.thresholds` for the thresholds,
and :mod:`stream_scorer.drift.detection.shifts.e_detector` for the guaranteed promise.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts import shift_kernels
from stream_scorer.drift.detection.shifts.autoregression import Autoregression
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.drift.detection.shifts.shift_kernels import BUCKETS, LEVELS
from stream_scorer.drift.detection.shifts.thresholds import first_state
from stream_scorer.ports import Float64, Int64

_SUMS: Final = slice(shift_kernels.SUMS, shift_kernels.WIDTH)
RELEARN: Final = 300
"""Maximum number of steps of the new reference after an alarm, and its default."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedReference:
    """What is usual for streams, fitted to their past.

    Attributes:
        centre: float64[streams], mean.
        scale: float64[streams], standard deviation; 1 for a constant stream.
        model: Autoregression of each stream in these units.
    """

    centre: Float64
    scale: Float64
    model: Autoregression


class CalibratedDetector(Detector):
    """Watches streams.

    Args:
        reference: What is usual.
        thresholds: float64[streams], evidence that each stream needs.
        tolerance: float64[streams] or one number, change of the mean that does not matter, in
            standard deviations of the stream.
        relearn: Steps of the new reference after an alarm, at most :data:`RELEARN`.
    """

    def __init__(
        self, reference: FittedReference, thresholds: Float64, *,
        tolerance: Float64 | float = 0.0, relearn: int = RELEARN,
    ) -> None:  # fmt: skip
        streams = len(reference.centre)
        super().__init__(first_state(reference.model))
        self.thresholds = thresholds
        self._reference, self._relearn = reference, float(relearn)
        self._allowed = np.broadcast_to(np.asarray(tolerance, float), streams)
        self._spread = np.ones(streams)
        self._fit_spread()
        self._results = np.zeros((streams, shift_kernels.RESULTS))

    @property
    def learning(self) -> Float64:
        """float64[streams], steps until each stream has a reference; 0 where it has one."""
        return self._state[:, shift_kernels.LEARNING].copy()

    @property
    def evidence(self) -> Float64:
        """float64[streams], each stream's evidence for a change now; -1 for none."""
        results = np.zeros((len(self._state), shift_kernels.RESULTS))
        shift_kernels.evidence(self._state, self._tolerance, results)
        return results[:, shift_kernels.EVIDENCE].copy()

    @property
    def observations(self) -> Int64:
        """int64[streams], innovations since each stream's latest reference began, all of it."""
        held = self._state[:, shift_kernels.COUNTS : shift_kernels.SUMS]
        count = self._state[:, shift_kernels.BEFORE_COUNT] + held @ 2.0 ** np.arange(LEVELS)
        return count.astype(np.int64)

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
        ratio = (self._spread / spread)[:, None]
        for columns in (slice(shift_kernels.BEFORE_SUM, shift_kernels.PREVIOUS), _SUMS):
            self._state[:, columns] *= ratio
        self._spread = spread
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

    def update(self, values: Float64) -> Alarms:
        """Add one step.

        Args:
            values: float64[streams]; NaN where a stream has no observation.

        Returns:
            The alarms; ``before`` and ``after`` are in the streams' units.
        """
        reference = self._reference
        shift_kernels.update(
            self._state, (values - reference.centre) / reference.scale, reference.model.phi,
            self._sigma, self.thresholds, self._tolerance, self._relearn, self._growth,
            self._results,
        )  # fmt: skip
        return self._alarms()

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
        reference = self._reference
        return reference.centre[streams] + (self._gain * reference.scale)[streams] * innovations
