"""Pooled window values, their spread and autocorrelation, and the band of a stream's mean."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.reference.contract import Season

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_DAYS_LEAST: Final = 4
"""With fewer days, the error of a mean is computed from its windows alone."""
_WEEK, _WEEKS_LEAST = 7, 3
_PHI_MOST: Final = 0.99
_PAIRS_LEAST: Final = 3
_WEEKS: Final = 2.0
"""Standard deviations of the weeks' means that a band includes."""


@dataclass(frozen=True, slots=True)
class PooledValues:
    """The values of k streams after pooling successive windows.

    Attributes:
        values: float64[w, k], at the last window of each pool; NaN elsewhere.
        rows: int64[w, k], rows of each pool; 0 elsewhere.
    """

    values: Float64
    rows: Int64


def pool(values: Float64, rows: Int64, least: int, whole: Int64, by_period: Bool) -> PooledValues:
    """Add up successive windows until a pool has enough rows.

    What is left at the end is no pool.

    Args:
        values: float64[w, k], values of the windows without their season; NaN counts as no rows.
        rows: int64[w, k].
        least: Minimum number of rows of a pool.
        whole: int64[w], the number of the period (the day) of each window.
        by_period: bool[k], whether a stream's pools end at the end of a period only.
    """
    windows, streams = values.shape
    found, counted = np.full((windows, streams), np.nan), np.zeros((windows, streams), np.int64)
    used = np.where(np.isnan(values), 0, rows)
    sums = np.where(used > 0, values, 0.0) * used
    held, total = np.zeros(streams, np.int64), np.zeros(streams)
    ends = np.append(whole[1:] != whole[:-1], np.array([True] * min(windows, 1)))
    for at in range(windows):
        held += used[at]
        total += sums[at]
        full = (held >= least) & (ends[at] | ~by_period)
        if full.any():
            found[at, full] = total[full] / held[full]
            counted[at, full] = held[full]
            held[full], total[full] = 0, 0.0
    return PooledValues(found, counted)


def certain(rows: Int64, typical: Float64) -> Float64:
    """Return float64[...], how much of its distance from the mean a value keeps, 0 to 1.

    A value of few rows varies more. The quiet hours of a night would decide about alarms, at a
    threshold for the day. So values of fewer rows than usual are moved toward the mean until they
    vary as those of the usual number do.

    >>> certain(np.array([250, 1000, 4000]), np.array([1000.0]))
    array([0.5, 1. , 1. ])

    Args:
        rows: int64[...], rows of each value.
        typical: float64[...], the usual number of rows; 0 if it is unknown, which moves nothing.
    """
    usual = np.where(typical > 0, typical, 1.0)
    kept: Float64 = np.sqrt(np.where(typical > 0, np.minimum(rows / usual, 1.0), 1.0))
    return kept


def spread_of(values: Float64) -> tuple[float, float]:
    """Return the standard deviation and the lag-1 autocorrelation of successive values.

    Args:
        values: float64[n], pooled values in order, without NaN.

    Returns:
        (0, 0) for fewer than three values or for equal ones.
    """
    if len(values) < _PAIRS_LEAST:
        return 0.0, 0.0
    centred = values - values.mean()
    variance = float((centred**2).mean())
    # Equal values differ from their mean by roundings.
    if variance <= (np.finfo(np.float64).eps * max(abs(float(values.mean())), 1e-300)) ** 2:
        return 0.0, 0.0
    phi = float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
    scale = math.sqrt(variance * len(values) / (len(values) - 1))
    return scale, min(max(phi, -_PHI_MOST), _PHI_MOST)


def error_of_mean(values: Float64, days: Int64, scale: float, phi: float) -> float:
    """Return the standard error of the mean of dependent values.

    It is the larger of two estimates: by the autocorrelation, and by moving blocks of days.

    Source of the second: H. R. Künsch, "The jackknife and the bootstrap for general stationary
    observations", Annals of Statistics 17 (1989); its variance has a closed form for a mean.

    Args:
        values: float64[n], pooled values in order.
        days: int64[n], the day of each value, ascending.
        scale: Standard deviation of a value.
        phi: Autocorrelation of successive values.
    """
    count = len(values)
    if not count:
        return math.inf
    positive = max(phi, 0.0)
    by_windows = scale * math.sqrt((1 + positive) / (1 - positive) / count)
    _, place, number = np.unique(days, return_inverse=True, return_counts=True)
    if len(number) < _DAYS_LEAST:
        return by_windows
    means = np.bincount(place, values) / number
    width = max(round(len(means) ** (1 / 3)), 1)
    blocks = np.convolve(means, np.full(width, 1 / width), "valid")
    by_blocks = math.sqrt(width * float(blocks.var(ddof=1)) / len(means))
    return max(by_windows, by_blocks)


def wander_of(values: Float64, days: Int64, scale: float, phi: float) -> float:
    """Return how far the means of weeks spread, beyond what the error of a week's mean explains.

    A feature over a window of 30 days moves slowly, without a change of anything. Its windows show
    almost no dependence, because each has so much noise of its own.

    Args:
        values: float64[n], pooled values in order, without their season.
        days: int64[n], the day of each value, ascending.
        scale: Standard deviation of a value.
        phi: Autocorrelation of successive values.

    Returns:
        A standard deviation; 0 with fewer than three weeks.
    """
    if not len(values):
        return 0.0
    _, place, number = np.unique((days - days[0]) // _WEEK, return_inverse=True, return_counts=True)
    # The last week is usually not complete.
    held = number * 2 >= number.max()
    if held.sum() < _WEEKS_LEAST:
        return 0.0
    means = (np.bincount(place, values) / number)[held]
    positive = max(phi, 0.0)
    error = scale**2 * (1 + positive) / (1 - positive) * float((1 / number[held]).mean())
    return math.sqrt(max(float(means.var(ddof=1)) - error, 0.0))


def reach_of(quantile: float, error: float, wander: float, season: Season | None) -> float:
    """Return half the width of the band of a mean.

    Args:
        quantile: See :func:`quantile_of`.
        error: See :func:`error_of_mean`.
        wander: See :func:`wander_of`.
        season: The stream's; None for none.
    """
    return quantile * error + _WEEKS * wander + (0.0 if season is None else season.error)


def quantile_of(eta: float, means: int) -> float:
    """Return how many standard errors the band of each of some means reaches to both sides.

    All bands hold together with probability 1 - eta, whatever the dependence (Bonferroni).

    >>> round(quantile_of(0.05, 1), 2)
    1.96
    """
    return NormalDist().inv_cdf(1 - eta / (2 * max(means, 1)))
