"""Measures of the order of scores, for many weightings of the same decisions.

The decisions are sorted once. Each measure is then a pass over them, so that an interval by leaving
groups out costs no further sort. The definitions are those of scikit-learn.
"""

from dataclasses import dataclass

import numpy as np

from stream_scorer.performance.measures.contract import Bool, Float64, Int64

FALSE_POSITIVE_RATE = 0.01
"""False positive rate up to which :meth:`Ranking.recall` counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """n decisions in descending order of their scores.

    Attributes:
        order: int64[n], their indices in this order.
        ends: int64[k], the last index in the order of each of k different scores.
        fraud: bool[n], in this order.
    """

    order: Int64
    ends: Int64
    fraud: Bool

    @classmethod
    def of(cls, score: Float64, fraud: Bool) -> "Ranking":
        """Return the ranking of decisions.

        Args:
            score: float64[n], finite.
            fraud: bool[n].
        """
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        return cls(order, ends[ends >= 0], fraud[order])

    def counts(self, weight: Float64) -> tuple[Float64, Float64]:
        """Return two float64[k]: weights of frauds and of others with a score or a higher one.

        Args:
            weight: float64[n], by index of the decision.
        """
        ranked = weight[self.order]
        # Without weight a score is not a threshold: it would repeat the one before.
        found = np.cumsum(np.where(self.fraud, ranked, 0.0))[self.ends]
        false = np.cumsum(np.where(self.fraud, 0.0, ranked))[self.ends]
        return found, false


def average_precision(found: Float64, false: Float64) -> float:
    """Return the average precision; NaN without a fraud.

    Args:
        found: float64[k], of :meth:`Ranking.counts`.
        false: float64[k], likewise.
    """
    if not len(found) or found[-1] <= 0:
        return float("nan")
    alerts = found + false
    precision = np.divide(found, alerts, out=np.zeros_like(found), where=alerts > 0)
    return float((np.diff(found, prepend=0.0) / found[-1] * precision).sum())


def recall(found: Float64, false: Float64) -> float:
    """Return the largest recall at a false positive rate of at most 1 %; NaN if undefined.

    Args:
        found: float64[k], of :meth:`Ranking.counts`.
        false: float64[k], likewise.
    """
    if not len(found) or found[-1] <= 0 or false[-1] <= 0:
        return float("nan")
    allowed = false / false[-1] <= FALSE_POSITIVE_RATE
    return float(found[allowed].max(initial=0.0) / found[-1])
