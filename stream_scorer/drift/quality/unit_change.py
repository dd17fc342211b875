"""Rule ``unit_change``: amounts in another unit, such as cents for euros.

The mean of ln(1 + amount) of a segment moves by k · ln 10, within 5 %, for a whole number k that is
not 0. Twice the amount (0.69) or 1.5 times (0.41) is no unit: those are drift.

Where only a part of the events is in another unit, all other ways to divide the events show a
mixture, which may look like another unit: if half of the amounts are multiplied by 100, the mean
moves by ln 10. So a segment is named only if its dimension separates the events that moved from
those that did not, and all events only if every segment moved alike. Bands of amounts are left out:
a moved amount changes its band.
"""

import math
from itertools import groupby
from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import ALL
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.pooled_window import Float64, Int64, PooledWindow
from stream_scorer.drift.quality.reference_view import ReferenceView, dimension
from stream_scorer.models.reference.stream_values import AMOUNT

_LN_10: Final = math.log(10)
_NEAR: Final = 0.05
_MOST_POWER: Final = 6
_Z: Final = 2.326
"""99 %, one-sided."""
_LEAST_PART: Final = 30
"""Events of a segment from which it can refute that all events moved alike."""


def powers_of_ten(shift: Float64, error: Float64) -> Int64:
    """Return int64[n]: the power of ten by which the amounts moved; 0 for none.

    Args:
        shift: float64[n], difference of the mean logarithms; NaN if it is unknown.
        error: float64[n], its standard error.

    >>> powers_of_ten(np.log([100.0, 0.1, 2.0, 1.5, 8.0]), np.full(5, 0.05)).tolist()
    [2, -1, 0, 0, 0]
    """
    known = np.isfinite(shift) & np.isfinite(error)
    ratio = np.where(known, shift, 0.0) / _LN_10
    power = np.rint(ratio)
    size = np.abs(power)
    sure = (np.abs(ratio) - size / 2) * _LN_10 >= _Z * np.where(known, error, 0.0)
    near = np.abs(ratio - power) <= _NEAR * size
    found = known & near & sure & (size >= 1) & (size <= _MOST_POWER)
    return np.where(found, power, 0).astype(np.int64)


def unit_change(window: PooledWindow, expected: ReferenceView) -> list[QualityFault]:
    """Return a fault for all events, or for each segment whose amounts changed their unit."""
    if not window.ready[0]:
        return []
    spread = expected.log_spread[[expected.row(name) for name in window.segments]]
    band = np.array([expected.log_amount_error(name) for name in window.segments])
    error = np.hypot(spread / np.sqrt(np.maximum(window.rows, 1)), band)
    shift = window.log_amount - window.expected_log_amount
    power = powers_of_ten(shift, error)
    if power[0] and not _refuted(window, int(power[0]), spread, band):
        return [_fault(window, 0, shift, error, power)]
    separated = _separated(window, shift, power)
    return [_fault(window, at, shift, error, power) for at in separated]


def _refuted(window: PooledWindow, power: int, spread: Float64, band: Float64) -> bool:
    """Whether a segment has not moved as all events have.

    Small segments have their say too, by the events of this window: those before it are in the
    old unit.
    """
    error = np.hypot(spread / np.sqrt(np.maximum(window.newest_rows, 1)), band)
    away = np.abs(window.newest_shift - power * _LN_10)
    moved_otherwise = away > _NEAR * abs(power) * _LN_10 + _Z * error
    parts = np.array([dimension(name) not in {ALL, AMOUNT} for name in window.segments])
    return bool((moved_otherwise & parts & (window.newest_rows >= _LEAST_PART)).any())


def _separated(window: PooledWindow, shift: Float64, power: Int64) -> list[int]:
    """Return the moved segments of the dimension that separates moved from unmoved best.

    Segments with events of an earlier window are a mixture, too: they are left out if there are
    others.
    """
    ready = [
        at
        for at, name in enumerate(window.segments)
        if at and window.ready[at] and dimension(name) != AMOUNT
    ]
    parts = [at for at in ready if window.alone[at]] or ready
    best: tuple[float, list[int]] = (_LN_10 / 2, [])
    for _, group in groupby(parts, key=lambda at: dimension(window.segments[at])):
        members = list(group)
        moved = [at for at in members if power[at]]
        left = [abs(float(shift[at])) for at in members if not power[at]]
        if moved and left and max(left) < best[0]:
            best = (max(left), moved)
    return best[1]


def _fault(
    window: PooledWindow, at: int, shift: Float64, error: Float64, power: Int64
) -> QualityFault:
    limit = abs(int(power[at])) * _LN_10 / 2 + _Z * float(error[at])
    return QualityFault(
        name="unit_change", field=AMOUNT, segment=window.segments[at] if at else ALL,
        window_start=window.start, window_end=window.end,
        value=float(window.log_amount[at]), usual=float(window.expected_log_amount[at]),
        evidence=abs(float(shift[at])) / limit, open=True,
    )  # fmt: skip
