"""Rule ``volume``: far more or far fewer events than usual at this hour of the week.

The number of events of a window is usual between a third and three times the mean of the reference.
Small numbers may be further away: four standard deviations of a count that varies by 15 % more than
a Poisson count does. So an hour without an event is a fault where 26 or more are usual.

Versions share the traffic, by parts that a rollout changes. Each event is decided by one of them,
and shadows decide none, so the number is that of all versions together.
"""

import math
from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import ALL
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.models.reference.season import HOUR_MS, Float64, hour_of_week

_TIMES: Final = 3.0
_Z: Final = 4.0
_SPREAD: Final = 0.15
"""Standard deviation of the hourly mean, as its share."""
_WEEK_MS: Final = 168 * HOUR_MS


def usual_count(start: int, end: int, volume: Float64, width: int = HOUR_MS) -> float:
    """Return the usual number of events of a window; NaN if a part of it is unknown.

    Args:
        start: Start of the window, ms since the epoch.
        end: End of the window.
        volume: float64[168], usual events of the reference's windows by the hour of the week in
            which they start: of each hour, or of windows of several hours with NaN between.
        width: Width of the reference's windows, ms.
    """
    windows = (end - start) / width
    # A window that is longer than a week repeats it.
    looked_up = min(max(math.ceil(windows), 1), _WEEK_MS // width)
    hours_of = hour_of_week(start + np.arange(looked_up) * width)
    total = float(volume[hours_of].sum())
    return total * windows / looked_up


def volume_fault(start: int, end: int, count: int, usual: float) -> QualityFault | None:
    """Return the fault of a window's number of events, if it has one.

    Args:
        start: Start of the window, ms since the epoch.
        end: End of the window.
        count: Events of all versions.
        usual: Usual number of events.
    """
    allowance = _Z * math.sqrt(usual + (_SPREAD * usual) ** 2)
    low, high = min(usual / _TIMES, usual - allowance), max(usual * _TIMES, usual + allowance)
    if low <= count <= high:
        return None
    evidence = low / max(count, 1) if count < low else count / high
    return QualityFault(
        name="volume", field="", segment=ALL, window_start=start, window_end=end,
        value=float(count), usual=usual, evidence=evidence, open=True,
    )  # fmt: skip
