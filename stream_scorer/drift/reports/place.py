"""Where a change is in a stream's history, by ADWIN: a second opinion on the onset.

River's ADWIN reports that a window contains a change, and then drops its oldest bucket, not all
that is before the change. So the place is looked for here: it is the cut at which the difference of
the means is largest by ADWIN's own measure, weighted by the harmonic mean of both lengths.
"""

from typing import Any, Final

import numpy as np
from river.drift import ADWIN

from stream_scorer.ports import Float64

_DELTA: Final = 0.01
"""Probability of a false place in a history without a change. Only an alarm asks for a place."""
_LEAST: Final = 3
"""Values on both sides of a cut."""


def locate(history: Float64) -> tuple[int, float, float]:
    """Return the place of the newest change that ADWIN finds, and the means around it.

    >>> locate(np.repeat([0.0, 1.0], 60))
    (60, 0.0, 1.0)

    Args:
        history: float64[n], values by window, oldest first.

    Returns:
        The first value after the change, 0 if there is no change; mean before; mean after.
    """
    spread = float(history.std()) or 1.0
    begin = previous = at = 0
    adwin = _adwin()
    while at < len(history):
        adwin.update(float(history[at]) / spread)
        at += 1
        if adwin.drift_detected and at - begin >= 2 * _LEAST:
            previous, begin = begin, begin + _cut(history[begin:at])
            adwin, at = _adwin(), begin
    if not begin:
        mean = float(np.mean(history))
        return 0, mean, mean
    begin = previous + _cut(history[previous:])
    return begin, float(history[previous:begin].mean()), float(history[begin:].mean())


def _cut(values: Float64) -> int:
    """Return the first value after the largest change of the mean."""
    before = np.arange(_LEAST, len(values) - _LEAST + 1)
    sums = np.cumsum(values)[before - 1]
    after = len(values) - before
    difference = sums / before - (values.sum() - sums) / after
    return int(before[np.argmax(difference**2 * before * after)])


def _adwin() -> Any:
    made: Any = ADWIN  # River's classes carry no types
    return made(delta=_DELTA, clock=1, grace_period=5, min_window_length=5)
