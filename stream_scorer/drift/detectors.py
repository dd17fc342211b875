"""Online detectors on window means: ADWIN on standardised values, with a minimum change.

ADWIN (Bifet and Gavaldà, 2007; River's implementation) keeps a window of observations and drops
its older part when two parts differ by more than chance allows. Its bound assumes values of about
unit size and equal variance. So windows are pooled until an observation is the mean of
:data:`LEAST_COUNT` transactions or more (a quiet night's hours together), and observations are
standardised by the mean and deviation of the first :data:`BASELINE` ones. A change is reported if
the means before and after its most likely place differ by the signal's least relative change: with
enough data any difference is significant, but not every one matters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from river.drift import ADWIN

from stream_scorer.drift.windows import Window

LEAST_COUNT: Final = 200
"""Minimum number of transactions of one observation."""
SETTLING: Final = 24
"""Number of observations ignored at first, while the customers' histories are empty."""
BASELINE: Final = 24
"""Number of observations that determine mean and deviation."""
HISTORY: Final = 1_024
"""Number of observations in which the place of a change is searched."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A watched quantity.

    Attributes:
        mean: Returns the mean over a window's transactions.
        least_change: Smallest relative change that is reported.
    """

    mean: Callable[[Window], float]
    least_change: float


def _score(window: Window) -> float:
    return window.score_sum / window.count


def _amount(window: Window) -> float:
    return window.amount_minor_sum / window.count


def _review_rate(window: Window) -> float:
    return window.review / window.count


def _block_rate(window: Window) -> float:
    return window.block / window.count


SIGNALS: Final = {
    "score": Signal(_score, 0.5),
    "amount": Signal(_amount, 0.05),
    "review_rate": Signal(_review_rate, 1.0),
    "block_rate": Signal(_block_rate, 2.0),
}
"""Signals by name; amounts are in minor units."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that a detector reports.

    Attributes:
        signal: Name of the signal.
        detector: Name of the detector.
        model: Model whose decisions were watched.
        version: Its version.
        start: Start of the windows whose mean triggered the detector, ms since the epoch.
        end: Their end.
        value: Their mean.
        reference: Mean before the change.
        estimate: Mean after it.
        observations: Observations since the detector's last reset.
    """

    signal: str
    detector: str
    model: str
    version: str
    start: int
    end: int
    value: float
    reference: float
    estimate: float
    observations: int


class SignalDetector:
    """Watches one signal of one model; deterministic, and copied by ``copy.deepcopy``.

    Args:
        name: A key of :data:`SIGNALS`.
        delta: ADWIN's confidence: the allowed probability of a false alarm.
    """

    def __init__(self, name: str, delta: float) -> None:
        self._name = name
        self._delta = delta
        self._settling = SETTLING
        self._pool: Window | None = None
        self._reset()

    def _reset(self) -> None:
        self._adwin: Any = None
        self._center = 0.0
        self._scale = 1.0
        self._values: list[float] = []
        self._observations = 0

    def update(self, window: Window) -> Drift | None:
        """Add the next closed window; return the change that it reveals, if any."""
        if self._pool is None:
            self._pool = Window(window.model, window.version, window.start, window.end)
        self._pool.end = window.end
        self._pool.add(window)
        if self._pool.count < LEAST_COUNT:
            return None
        pooled, self._pool = self._pool, None
        if self._settling:
            self._settling -= 1
            return None
        return self._observe(pooled)

    def _observe(self, pooled: Window) -> Drift | None:
        value = SIGNALS[self._name].mean(pooled)
        self._observations += 1
        self._values.append(value)
        del self._values[:-HISTORY]
        if self._adwin is None:
            if self._observations == BASELINE:
                self._begin()
            return None
        if not self._sees_change(value):
            return None
        before, after = self._sides()
        if abs(after - before) < SIGNALS[self._name].least_change * abs(before):
            return None
        drift = Drift(
            self._name, "adwin", pooled.model, pooled.version, pooled.start, pooled.end,
            value, before, after, self._observations,
        )  # fmt: skip
        self._reset()
        return drift

    def _begin(self) -> None:
        """Set mean and deviation, and pass the observations so far to ADWIN."""
        self._center = float(np.mean(self._values))
        # Equal values, such as rates of 0, have no deviation: then later values are not scaled.
        self._scale = float(np.std(self._values)) or 1.0
        adwin: Any = ADWIN  # River's classes carry no types
        self._adwin = adwin(delta=self._delta, clock=1)
        for value in self._values:
            self._sees_change(value)

    def _sees_change(self, value: float) -> bool:
        self._adwin.update((value - self._center) / self._scale)
        return bool(self._adwin.drift_detected)

    def _sides(self) -> tuple[float, float]:
        """Return the means before and after the most likely place of one change of the mean."""
        values = np.array(self._values)
        before = np.arange(1, len(values))
        after = len(values) - before
        sums = np.cumsum(values)
        left = sums[before - 1] / before
        right = (sums[-1] - sums[before - 1]) / after
        # The split with the least squared error.
        best = int(np.argmax(before * after * (right - left) ** 2))
        return float(left[best]), float(right[best])
