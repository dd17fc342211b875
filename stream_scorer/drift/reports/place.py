"""Where a change is in a stream's history, by ADWIN: a second opinion on the onset.

The monitor's own ADWIN follows four streams only. This one looks at the history of any stream, when
a person asks.
"""

from typing import Any, Final

import numpy as np
from river.drift import ADWIN

from stream_scorer.drift.detection.river.adwin import LEAST, cut
from stream_scorer.ports import Float64

_DELTA: Final = 0.01
"""Probability of a false place in a history without a change. Only an alarm asks for a place."""


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
        if adwin.drift_detected and at - begin >= 2 * LEAST:
            previous, begin = begin, begin + cut(history[begin:at])
            adwin, at = _adwin(), begin
    if not begin:
        mean = float(np.mean(history))
        return 0, mean, mean
    begin = previous + cut(history[previous:])
    return begin, float(history[previous:begin].mean()), float(history[begin:].mean())


def _adwin() -> Any:
    made: Any = ADWIN  # River's classes carry no types
    return made(delta=_DELTA, clock=1, grace_period=5, min_window_length=5)
