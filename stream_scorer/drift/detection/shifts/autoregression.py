"""Autoregressions of order 1, fitted to a reference, with the uncertainty that remains.

A value is x(t) = m + phi (x(t-1) - m) + sigma e(t) with innovations e of variance 1. The fit is by
least squares, corrected for its known bias of -(1 + 3 phi) / n (Kendall, "Note on bias in the
estimation of autocorrelation", 1954). The estimates of many streams are shrunk towards their common
mean as far as they differ by no more than chance (Efron and Morris, "Stein's estimation rule and
its competitors", 1973). A shrunk estimate is as good as one from a longer reference, and that
*effective length* selects the thresholds; see
:mod:`stream_scorer.drift.detection.shifts.thresholds`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.ports import Float64

LEAST_REFERENCE: Final = 50
"""Minimum number of values of a reference."""
_STRONGEST: Final = 0.98
_LEAST_VARIANCE: Final = 1e-24
_LONGEST: Final = 50.0
"""The largest factor by which shrinking lengthens a reference."""


@dataclass(frozen=True, slots=True, eq=False)
class Autoregression:
    """One autoregression for each stream.

    Attributes:
        phi: float64[streams], the correlation of successive values, from -0.98 to 0.98.
        sigma: float64[streams], standard deviation of an innovation; 1 where nothing varies.
        length: float64[streams], effective length of the reference in steps.
        count: float64[streams], innovations of the reference.
        total: float64[streams], their sum, in units of sigma.
        last: float64[streams], the reference's last value.
    """

    phi: Float64
    sigma: Float64
    length: Float64
    count: Float64
    total: Float64
    last: Float64


def fit(
    values: Float64, *, unit: Float64 | float = 1.0, fitted: Float64 | float = 1.0,
    added: Float64 | float = 0.0, shrink: bool = True,
) -> Autoregression:  # fmt: skip
    """Fit an autoregression to each stream.

    Args:
        values: float64[steps, streams], finite; at least 50 steps.
        unit: float64[streams] or one number, what each stream was divided by. If that was estimated
            from the same values, only deviations in the original units may be shrunk.
        fitted: float64[streams] or one number, free numbers that were fitted to each stream before,
            its mean included; see
            :class:`~stream_scorer.drift.detection.shifts.season.FittedSeason`.
        added: float64[streams] or one number, of these, those that add to later values' variance.
        shrink: Whether the streams' estimates are shrunk towards their common mean.

    Raises:
        ValueError: Too few steps for what was fitted, or a value that is not finite.
    """
    steps, streams = values.shape
    if steps < LEAST_REFERENCE or steps <= 2 * np.max(fitted):
        raise ValueError(f"a reference needs at least {LEAST_REFERENCE} values, has {steps}")
    if not np.isfinite(values).all():
        raise ValueError("a reference must be finite")
    centred = values - values.mean(0)
    power = np.maximum((centred**2).sum(0), _LEAST_VARIANCE)
    phi = (centred[1:] * centred[:-1]).sum(0) / power
    phi = np.clip(phi + (1 + 3 * phi) / steps, -_STRONGEST, _STRONGEST)
    factor = np.ones(streams)
    if shrink and streams > 2:  # noqa: PLR2004 fewer have no spread to compare
        # On Fisher's scale the variance is (nearly) the same for every phi.
        turned, kept = shrunk(np.arcsin(phi), np.full(streams, 1.0 / steps))
        phi, factor = np.sin(turned), np.maximum(factor / kept, 1.0)
    innovations = centred[1:] - phi * centred[:-1]
    freedom = steps - 1 - fitted
    variance = (innovations**2).sum(0) / freedom * (1 + added / steps)
    constant = variance < _LEAST_VARIANCE
    deviations = np.log(np.sqrt(np.where(constant, 1.0, variance)))
    if shrink and (~constant).sum() > 2:  # noqa: PLR2004 the same
        units = np.log(np.broadcast_to(unit, streams)[~constant])
        nearer, kept = shrunk(deviations[~constant] + units, np.full(len(units), 0.5 / steps))
        deviations[~constant] = nearer - units
        factor[~constant] = np.minimum(factor[~constant], 1.0 / kept)
    else:
        factor = np.ones(streams)
    sigma = np.exp(deviations)
    raw = (values[1:] - phi * values[:-1]) / sigma
    length = steps * np.clip(factor, 1.0, min(_LONGEST, max(streams, 1)))
    return Autoregression(
        phi, sigma, length, np.full(streams, steps - 1.0), raw.sum(0), values[-1].copy()
    )


def shrunk(estimates: Float64, variance: Float64) -> tuple[Float64, Float64]:
    """Return estimates moved towards their mean, and the share of its distance that each keeps.

    Args:
        estimates: float64[n], at least two.
        variance: float64[n], variance of each one's error.
    """
    spread = max(float(estimates.var(ddof=1) - variance.mean()), 0.0)
    weight = 1.0 / (spread + variance)
    centre = float(np.average(estimates, weights=weight))
    kept = spread * weight
    return centre + kept * (estimates - centre), np.maximum(kept, 1e-6)
