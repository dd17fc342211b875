"""River's KSWIN: two samples of a window, compared by their distributions (Raab et al., 2020).

The older sample is drawn at random. Here the draw depends only on the number of values since the
last reset, so that the same values give the same detections. SciPy's test of two samples would take
most of the monitor's time. The p-value of two samples of equal size depends on the statistic alone,
which has 31 values. So River's own code runs with a table of SciPy's p-values.
"""

import random
import warnings
from collections.abc import Sequence
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any, Final

import numpy as np
from river.drift import KSWIN as _KSWIN
from river.drift import kswin as _module
from scipy.stats import ks_2samp

from stream_scorer.drift.detection.river.contract import OnlineDetector, Registered

_River: Any = _KSWIN  # River's classes carry no types


@cache
def p_values(size: int) -> tuple[float, ...]:
    """Return the p-value of each statistic k / size of two samples of this size, by k."""
    found = []
    base = np.arange(size, dtype=np.float64)
    for number in range(size + 1):
        other = np.concatenate([base[number:], base[:number] + size])
        with warnings.catch_warnings():
            # As River does: for the smallest p-values the exact computation fails.
            warnings.simplefilter("ignore", category=RuntimeWarning)
            found.append(float(ks_2samp(base, other).pvalue))
    return tuple(found)


def two_samples(first: Sequence[float], second: Sequence[float], **_: str) -> tuple[float, float]:
    """Return statistic and p-value of two samples of equal size.

    Args:
        first: n values.
        second: n values.
    """
    size = len(first)
    one, two = sorted(first), sorted(second)
    a = b = distance = 0
    while a < size and b < size:
        value = min(one[a], two[b])
        while a < size and one[a] <= value:
            a += 1
        while b < size and two[b] <= value:
            b += 1
        distance = max(distance, abs(a - b))
    return distance / size, p_values(size)[distance]


_update: Final = FunctionType(
    _River.update.__code__,
    {**vars(_module), "stats": SimpleNamespace(ks_2samp=two_samples)},
)
"""River's update with the table instead of SciPy."""


class Reproducible(_River):
    """River's KSWIN with random numbers that depend on the number of values only."""

    def update(self, x: float) -> None:
        """Add one value."""
        self._rng = random.Random(self.n)  # noqa: S311 no secret
        _update(self, x)


def kswin(alpha: float) -> OnlineDetector:
    """Return a KSWIN that compares the newest 30 values with 30 of the 70 before.

    Args:
        alpha: p-value at which there is a change.
    """
    made: Any = Reproducible
    detector: OnlineDetector = made(alpha=alpha)
    return detector


KSWIN: Final = Registered(kswin, "alpha", ((1_739.0, 1e-3), (12_500.0, 1e-4)))
