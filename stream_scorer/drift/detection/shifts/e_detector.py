"""The e-detector: a guaranteed run length for a named class of streams.

*The class.* Each stream's values lie in [0, 1], and the conditional mean of each value, given all
earlier values of all streams, stays within a band [low, high] around the reference's mean. Nothing
else is assumed: not independence, not a distribution, not how streams depend on each other.

*The guarantee* (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential
change detection", arXiv 2203.03532). For a stake, M(n) = (M(n-1) + 1) L(n) with a bet L of
conditional expectation at most 1. So M(n) - n decreases on average, and so do mixtures over stakes
and the family's sum of weights times mixtures. An alarm needs a sum of ``run_length``, and takes it
away. Therefore the expected number of alarms in n steps is at most n / ``run_length``, for all
streams together. The band itself holds with probability 1 - eta; see
:func:`stream_scorer.models.reference.bands.quantile_of`.

That process (Shiryaev and Roberts) is quick, but grows by nearly 1 per step while a mean is at the
edge of its band, so it uses up the budget without a change. The CUSUM, M(n) = max(M(n-1), 1) L(n),
is never larger and does not grow. It has the same guarantee, and is what is used.
"""

from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts import e_kernels
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.ports import Float64, Int64

_CUSUM: Final = slice(e_kernels.CUSUM, e_kernels.CUSUM + e_kernels.CELLS)


class EDetector(Detector):
    """Watches streams of values in [0, 1].

    Args:
        null: float64[2, streams], lowest and highest conditional mean without a change.
        run_length: Expected steps between two false alarms of all streams together, at least.
        weights: float64[streams], shares of the budget; default: equal.

    Raises:
        ValueError: A band is empty or outside (0, 1), or a weight is not positive.
    """

    def __init__(
        self, null: Float64, run_length: float, *, weights: Float64 | None = None
    ) -> None:  # fmt: skip
        streams = null.shape[1]
        super().__init__(np.zeros((streams, e_kernels.WIDTH)))
        self._state[:, e_kernels.LOW :] = _checked(null).T
        shares = np.ones(streams) if weights is None else np.asarray(weights, float)
        if not (np.isfinite(shares) & (shares > 0)).all():
            raise ValueError("the weights of streams must be positive")
        self._shares = shares / shares.sum()
        self._run_length = run_length

    def update(self, values: Float64) -> Alarms:
        """Add one step.

        Args:
            values: float64[streams], from 0 to 1, or NaN.

        Raises:
            ValueError: A value is outside [0, 1]; nothing was added.
        """
        if not (np.isnan(values) | ((values >= 0) & (values <= 1))).all():
            raise ValueError("values must be from 0 to 1")
        e_kernels.update(self._state, values)
        evidence = self._state[:, _CUSUM].mean(axis=1)
        weighted = self._shares * evidence
        fired = weighted >= self._run_length
        reset = fired
        if weighted[~fired].sum() >= self._run_length:
            # Many streams together have moved, none far enough; the one with most evidence is named
            # and the evidence of all is used up.
            fired = fired.copy()
            fired[np.argmax(np.where(fired, -1.0, weighted))] = True
            reset = np.ones_like(fired)
        alarms = self._describe(np.flatnonzero(fired), evidence)
        self._state[reset, : e_kernels.LOW] = 0.0
        return alarms

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot of a detector with the same configuration.

        Raises:
            ValueError: The snapshot does not fit; the detector is unchanged.
        """
        before = self._state.copy()
        super().restore(snapshot)
        if not (_inside(self._state[:, e_kernels.LOW :].T) and (self._state >= 0).all()):
            self._state[:] = before
            raise ValueError("a snapshot has evidence or a band that is not possible")

    def _describe(self, streams: Int64, evidence: Float64) -> Alarms:
        state = self._state[streams]
        best = state[:, _CUSUM].argmax(axis=1)[:, None]
        age = np.take_along_axis(state, e_kernels.AGE + best, 1)[:, 0]
        total = np.take_along_axis(state, e_kernels.SUM + best, 1)[:, 0]
        return Alarms(
            streams, age.astype(np.int64), state[:, e_kernels.LOW :].mean(axis=1),
            total / np.maximum(age, 1.0), (self._shares * evidence)[streams],
        )  # fmt: skip


def _inside(null: Float64) -> bool:
    return bool(((null[0] > 0) & (null[0] <= null[1]) & (null[1] < 1)).all())


def _checked(null: Float64) -> Float64:
    """Return a band, or raise."""
    if not _inside(null):
        raise ValueError("a band must be inside (0, 1)")
    return null
