"""Evidence that the day's loss has risen, for many streams at a time.

Both classes use the CUSUM of bets, M(d) = max(M(d-1), 1) L(d), with the mean over stakes. While the
loss has not risen, each L has a conditional expectation of at most 1. So the expected number of
alarms in n days is at most n / threshold (Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532).

*Guaranteed*: the conditional mean of each day's loss, given all days before, is at most ``limit``;
losses are 0 or more. Nothing else is assumed. L = 1 + s (x - limit) / limit with a stake s < 1.
These are the only possible bets (Clerico, "On the optimality of coin-betting for mean estimation",
arXiv 2412.02640). A loss that triples multiplies the evidence by less than 3 a day.

*Sub-Gaussian*: r = (x - limit - phi (y - high)+) / scale, where y is the day before. L = exp(l r -
l^2 / 2). Its class: the residual r is conditionally sub-Gaussian with variance 1, for the phi and
scale of the reference. That is an assumption, and named so in every alarm.

*Drawn*, for decisions that were drawn at random: s is the sum of their losses, each at most 1.
Given the mean of the day, the draws are independent, and the sum is sub-Poisson. The day's mean is
assumed to be sub-Gaussian: with an expected sum of at most m, and a standard deviation v of that
from day to day, L = exp(l s - m (e^l - 1) - v^2 (e^l - 1)^2 / 2). So the noise of the draws is
accounted for exactly, however few they are.
"""

from typing import Final

import numpy as np

from stream_scorer.performance.measures.contract import Bool, Float64

STAKES: Final = np.array([0.9, 0.45, 0.225, 0.1125])
LAMBDAS: Final = np.array([0.5, 1.0, 2.0, 3.0])
GUARANTEED, GAUSSIAN = 0, 1
CLASSES: Final = ("guaranteed", "gaussian")
_MOST_RATE: Final = float(np.log(4.0))
"""Largest stake on drawn decisions: it is best where losses have risen to four times."""
_TINY: Final = 1e-300
_MOST: Final = 1e6
"""Largest gain and residual that count, so that every sum is finite."""


class LossEvidence:
    """The evidence of s streams.

    Attributes:
        cusum: float64[2, s, 4], logarithms, by class, stream and stake.
        age: float64[2, s, 4], days since each began again.
        before: float64[s], the loss of the day before; NaN before the first.
    """

    def __init__(self, streams: int) -> None:
        self.cusum = np.zeros((2, streams, len(STAKES)))
        self.age = np.zeros((2, streams, len(STAKES)))
        self.before = np.full(streams, np.nan)

    def update(
        self, loss: Float64, high: Float64, phi: Float64, scale: Float64, tolerance: Float64
    ) -> Float64:
        """Add one day, and return float64[2, s]: the logarithm of the evidence by class.

        Args:
            loss: float64[s]; NaN: no day. It need not be in [0, 1]; the guaranteed class needs 0 or
                more.
            high: float64[s], upper bound of the mean of the reference.
            phi: float64[s], autocorrelation.
            scale: float64[s], standard deviation of a residual.
            tolerance: float64[s], rise of the mean that does not matter.
        """
        seen = np.isfinite(loss)
        limit = high + tolerance
        gain = (loss - limit) / np.maximum(limit, _TINY)
        bets = np.log(np.maximum(1.0 + STAKES * np.minimum(gain, _MOST)[:, None], _TINY))
        excess = np.maximum(np.where(np.isnan(self.before), high, self.before) - high, 0.0)
        rest = np.clip((loss - limit - phi * excess) / scale, -_MOST, _MOST)
        self._bet(GUARANTEED, seen, bets)
        self._bet(GAUSSIAN, seen, LAMBDAS * rest[:, None] - LAMBDAS**2 / 2)
        self.before = np.where(seen, loss, self.before)
        top = self.cusum.max(axis=2, keepdims=True)
        mean = np.exp(self.cusum - top).mean(axis=2)
        evidence: Float64 = top[:, :, 0] + np.log(mean)
        return evidence

    def _bet(self, number: int, seen: Bool, growth: Float64) -> None:
        """Add the logarithm of each bet's factor, float64[s, 4]."""
        cusum, age = self.cusum[number], self.age[number]
        grown = np.maximum(cusum, 0.0) + growth
        older = np.where(cusum <= 0.0, 1.0, age + 1.0)
        self.cusum[number] = np.where(seen[:, None], grown, cusum)
        self.age[number] = np.where(seen[:, None], older, age)

    def days(self, number: int, stream: int) -> int:
        """Return since how many days a class's strongest bet has grown: the estimated onset."""
        best = int(self.cusum[number, stream].argmax())
        return int(self.age[number, stream, best])


class DrawnEvidence:
    """The evidence of s streams by drawn decisions.

    Attributes:
        cusum: float64[s, 4], logarithms, by stream and stake.
        age: float64[s, 4], days since each began again.
    """

    def __init__(self, streams: int) -> None:
        self.cusum = np.zeros((streams, len(LAMBDAS)))
        self.age = np.zeros((streams, len(LAMBDAS)))

    def update(self, hits: Float64, expected: Float64, spread: Float64) -> Float64:
        """Add one day, and return float64[s]: the logarithm of the evidence.

        Args:
            hits: float64[s], sums of the drawn decisions' losses, each from 0 to 1.
            expected: float64[s], upper bounds of their expected sums.
            spread: float64[s], standard deviations of the expected sums from day to day.
        """
        noise = np.sqrt(np.maximum(expected + spread**2, _TINY))[:, None]
        rate = np.minimum(LAMBDAS / noise, _MOST_RATE)
        odds = np.expm1(rate)
        growth = rate * hits[:, None] - odds * expected[:, None]
        growth -= (odds * spread[:, None]) ** 2 / 2
        self.age = np.where(self.cusum <= 0.0, 1.0, self.age + 1.0)
        self.cusum = np.maximum(self.cusum, 0.0) + growth
        top = self.cusum.max(axis=1, keepdims=True)
        evidence: Float64 = top[:, 0] + np.log(np.exp(self.cusum - top).mean(axis=1))
        return evidence

    def days(self, stream: int) -> int:
        """Return since how many days the strongest bet has grown: the estimated onset."""
        return int(self.age[stream, int(self.cusum[stream].argmax())])
