"""The median of all streams' standardised levels: what moves when everything does."""

from typing import Final

import numpy as np

from stream_scorer.models.reference.bands import Bool, Float64, spread_of
from stream_scorer.models.reference.contract import FleetReference

STREAMS_LEAST: Final = 8
"""Minimum number of streams of a median."""
_SCALE_LEAST: Final = 0.05
"""Smallest standard deviation of a median: what is smaller is an accident of the reference."""
_WINDOWS_LEAST: Final = 50
"""Minimum number of windows that a spread is computed from."""


def median_of(standard: Float64, level: Bool) -> float:
    """Return the median of the streams that have an observation; NaN for fewer than eight.

    Args:
        standard: float64[k], observations in standard deviations from their means; NaN for none.
        level: bool[k], the streams that count.
    """
    usable = standard[level & np.isfinite(standard)]
    return float(np.median(usable)) if len(usable) >= STREAMS_LEAST else float("nan")


def fleet_of(standard: Float64, level: Bool) -> FleetReference | None:
    """Return how the median varies without a change; None with too few windows of a median.

    It varies as much as a stream if all streams move together, and far less if they do not.

    Args:
        standard: float64[w, k], observations by window, as :func:`median_of` has them.
        level: bool[k], the streams that count.
    """
    medians = np.array([median_of(each, level) for each in standard])
    medians = medians[np.isfinite(medians)]
    if len(medians) < _WINDOWS_LEAST:
        return None
    scale, phi = spread_of(medians)
    return FleetReference(max(scale, _SCALE_LEAST), phi, len(medians))
