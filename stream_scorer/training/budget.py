"""The decisions of a day in numbers, and how reliably a budget of reviews is kept.

The number of reviews varies from day to day. If transactions were independent, it would have a
Poisson distribution, whose variance is its mean. The *Poisson share* is the mean over the variance
of the daily numbers. At 100 % chance alone explains the differences; the rest has causes that
differ between days, such as fraud that comes in waves.

A threshold that is chosen on D days, and then decides for H days, misses the budget by chance on
both sides. With the daily variance v, the relative error of the mean has the standard deviation
sqrt(v / D + v / H) / budget, if the days are independent and the traffic does not change. On
few days a small budget is met only roughly: 40 reviews a day for 7 days are 280, an error of
1 / sqrt(280), or 6 %.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Outcome
from stream_scorer.models.bundles.bundle import ThresholdCosts
from stream_scorer.training.thresholds import missed_cost

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

_TWO_SIGMA = 1.96
"""95 % of a normal distribution is within so many standard deviations."""


@dataclass(frozen=True, slots=True)
class DailyNumbers:
    """Mean and variance of a daily number.

    Attributes:
        mean: Per day.
        variance: Of the days, unbiased; NaN for one day.
    """

    mean: float
    variance: float

    @classmethod
    def of(cls, counts: Int64) -> "DailyNumbers":
        """Summarise the numbers of some days, int64[d]."""
        several = len(counts) > 1
        return cls(float(counts.mean()), float(counts.var(ddof=1)) if several else math.nan)

    @property
    def poisson_share(self) -> float:
        """Share of the variance that chance explains; NaN if the days do not differ."""
        return self.mean / self.variance if self.variance > 0 else math.nan

    def likely_error(self, days: int, later: int) -> float:
        """Return the bound of the relative error of the mean for 95 % of choices.

        Args:
            days: Days that the threshold was chosen on.
            later: Days for which it decides.
        """
        if not self.mean:
            return math.nan
        return _TWO_SIGMA * math.sqrt(self._spread * (1 / days + 1 / later)) / self.mean

    def days_for(self, error: float, later: int) -> int | None:
        """Return the days to choose on, so that 95 % of choices stay below a relative error.

        Args:
            error: Such as 0.05.
            later: Days for which it decides.

        Returns:
            None if no number of days is enough: the later days alone vary more.
        """
        if not self.mean:
            return None
        left = (error * self.mean / _TWO_SIGMA) ** 2 / self._spread - 1 / later
        return math.ceil(1 / left) if left > 0 else None

    @property
    def _spread(self) -> float:
        # A few days may happen to be more alike than chance predicts.
        return max(self.variance, self.mean) if self.variance > 0 else self.mean


@dataclass(frozen=True, slots=True)
class DailyOutcomes:
    """The outcomes of decisions in numbers; costs are in units of the currency.

    Attributes:
        reviews: Per day.
        blocks: Per day.
        precision: Share of frauds among reviewed or blocked transactions; NaN if there are none.
        recall: Share of the frauds that are reviewed or blocked; NaN without frauds.
        cost: Per day: missed frauds, reviews, blocked genuine transactions.
    """

    reviews: DailyNumbers
    blocks: DailyNumbers
    precision: float
    recall: float
    cost: float


@dataclass(frozen=True, slots=True)
class JudgedDays:
    """Transactions of some days, with labels and amounts to judge decisions.

    Attributes:
        day: int64[n], index of each transaction's day, 0 ... days - 1.
        days: Number of days, including those without a transaction.
        fraud: int64[n], 1 for fraud.
        amount: float64[n], in units of the currency.
    """

    day: Int64
    days: int
    fraud: Int64
    amount: Float64

    def judge(self, outcome: UInt8, costs: ThresholdCosts) -> DailyOutcomes:
        """Return the outcomes of decisions in numbers.

        Args:
            outcome: uint8[n], values of :class:`Outcome`.
            costs: Costs of the outcomes.
        """
        reviewed, blocked = outcome == Outcome.REVIEW, outcome == Outcome.BLOCK
        alerts, frauds = int((reviewed | blocked).sum()), int(self.fraud.sum())
        found = int(self.fraud[reviewed | blocked].sum())
        missed = missed_cost(self.amount, self.fraud, costs)
        cost = (
            float(missed[outcome == Outcome.APPROVE].sum())
            + costs.review * int(reviewed.sum())
            + costs.false_block * int((blocked & (self.fraud == 0)).sum())
        )
        return DailyOutcomes(
            DailyNumbers.of(np.bincount(self.day[reviewed], minlength=self.days)),
            DailyNumbers.of(np.bincount(self.day[blocked], minlength=self.days)),
            found / alerts if alerts else math.nan,
            found / frauds if frauds else math.nan,
            cost / self.days,
        )
