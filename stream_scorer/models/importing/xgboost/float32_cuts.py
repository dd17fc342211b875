"""Comparisons of float32 numbers as cuts between float64 numbers.

XGBoost rounds a row's value x to float32, half to even, and then compares it. Rounding never
changes the order of two numbers. So the float64 numbers with float32(x) < t are all those up to
one of them: the *cut* of t. It is the middle between t and the float32 number below it, if the
middle is rounded down, and otherwise the float64 number just below the middle.
"""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def cuts_of(thresholds: Float32) -> Float64:
    """Return the largest float64 numbers that are less than the thresholds after rounding.

    >>> cuts_of(np.array([0, 1], np.float32)).tolist()
    [-7.006492321624087e-46, 0.9999999701976775]

    Args:
        thresholds: float32[n], no NaN. For -inf there is no such number, and -inf is returned.

    Returns:
        float64[n].
    """
    with np.errstate(over="ignore"):
        lower = np.nextafter(thresholds, np.float32(-np.inf))
    middle = (widened(lower) + widened(thresholds)) / 2
    even = (lower.view(np.int32) & 1) == 0
    cut = np.where(even, middle, np.nextafter(middle, -np.inf))
    return np.where(thresholds == -np.inf, -np.inf, cut)


def widened(singles: Float32) -> Float64:
    """Return float64 numbers in which 2**128 is in the place of infinity, as it is for rounding."""
    wide = singles.astype(np.float64)
    infinite = np.isinf(wide)
    wide[infinite] = np.copysign(2.0**128, wide[infinite])
    return wide
