"""What the calibrated detector of a family is made of: thresholds for each stream's reference."""

from typing import Final

import numpy as np

from stream_scorer.drift.alarms.nulls import Float64, Nulls
from stream_scorer.drift.detection.shifts.thresholds import look_up, seasonal_excess

SHORTEST: Final = 200.0
"""Shortest reference of the table of thresholds, in windows."""
LONGEST: Final = 15_000.0


def thresholds_of(nulls: Nulls, run_length: Float64) -> Float64:
    """Return the evidence that each stream needs.

    The excess over the threshold of a long reference is inversely proportional to the length. So
    thresholds are extrapolated to references shorter than the table's. A season that was fitted to
    few weeks raises them.
    """
    shortest, longest = (
        look_up(nulls.phi, np.full(len(nulls), length), run_length)
        for length in (SHORTEST, LONGEST)
    )
    length = np.clip(nulls.length, 1, LONGEST)
    inside = look_up(nulls.phi, np.maximum(length, SHORTEST), run_length)
    outside = longest + (shortest - longest) * SHORTEST / length
    excess = seasonal_excess(nulls.phi, nulls.weeks)
    return np.where(length < SHORTEST, outside, inside) * (1 + excess)
