"""River's ADWIN: two parts of a window differ, wherever it is cut.

(Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", 2007.) ADWIN itself
drops its oldest bucket only. So the place of the change is the cut at which the means differ most
by ADWIN's own measure, weighted by the harmonic mean of both lengths.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import drift

from stream_scorer.drift.detection.river.contract import OnlineDetector, Registered

LEAST: Final = 3
"""Values on both sides of a cut."""


def adwin(delta: float) -> OnlineDetector:
    """Return an ADWIN that looks at every value.

    Args:
        delta: Probability of a false detection, by ADWIN's own bound.
    """
    made: Any = drift.ADWIN  # River's classes carry no types
    detector: OnlineDetector = made(delta=delta, clock=1)
    return detector


def cut(values: NDArray[np.floating[Any]]) -> int:
    """Return the first value after the largest change of the mean.

    >>> cut(np.repeat([0.0, 1.0], 60))
    60

    Args:
        values: At least six of them.
    """
    before = np.arange(LEAST, len(values) - LEAST + 1)
    sums = np.cumsum(values, dtype=np.float64)
    after = len(values) - before
    difference = sums[before - 1] / before - (sums[-1] - sums[before - 1]) / after
    return int(before[np.argmax(difference**2 * before * after)])


ADWIN: Final = Registered(
    adwin, "delta", ((3_101.0, 0.3), (6_154.0, 0.2), (21_053.0, 0.1)), locates=True
)
