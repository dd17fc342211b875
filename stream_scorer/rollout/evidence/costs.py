"""Costs of decisions whose labels are known; each cost is bounded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BoundedCosts:
    """Costs of single decisions, in units of the currency; all 0 or more.

    Attributes:
        most: Upper bound of each cost, so that no single fraud decides a rollout.
        missed_share: Share of an approved fraud's amount that is lost.
        missed_fixed: Fixed cost of every approved fraud, in addition.
        review: Cost of a review; a reviewed fraud counts as found.
        false_block: Cost of blocking a genuine transaction.
    """

    most: float
    missed_share: float = 1.0
    missed_fixed: float = 0.0
    review: float = 5.0
    false_block: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.most < math.inf:
            raise ValueError(f"most: a bound must be more than 0 and finite, not {self.most}")
        for name in ("missed_share", "missed_fixed", "review", "false_block"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: must be 0 or more, not {getattr(self, name)}")

    def of(self, amount: Float64, fraud: Bool, review: Bool, block: Bool) -> Float64:
        """Return float64[n], the cost of each decision.

        Args:
            amount: float64[n], in units of the currency.
            fraud: bool[n], by the matured label.
            review: bool[n], whether the decision was REVIEW.
            block: bool[n], whether it was BLOCK; the rest was approved.

        >>> yes, no = np.array([True]), np.array([False])
        >>> costs = BoundedCosts(most=200)
        >>> [float(costs.of(np.array([a]), yes, no, no)[0]) for a in (70.0, 700.0)]
        [70.0, 200.0]
        """
        # A forged decision may have any amount.
        missed = self.missed_share * np.maximum(amount, 0.0) + self.missed_fixed
        cost = (
            np.where(fraud & ~review & ~block, missed, 0.0)
            + self.review * review
            + self.false_block * (block & ~fraud)
        )
        return np.minimum(cost, self.most)
