"""Costs of decisions; each cost is bounded, and what no label can tell is only bounded.

A blocked transaction yields no honest label. Where would-be BLOCKs are let through at random, those
that were let through stand for all, with the weight 1/p: the estimator of Horvitz and Thompson ("A
generalization of sampling without replacement from a finite universe", 1952), which is unbiased for
a known p. Without that, the costs of what was blocked are between two bounds (Manski,
"Nonparametric bounds on treatment effects", 1990).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import FRAUD, UNKNOWN

Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class WeightedCosts:
    """What n decisions contribute to sums of costs; currency units.

    Attributes:
        cost: float64[n], contributions to the sum of the costs. Where that is not known, ``low``.
        count: float64[n], contributions to the number of decisions: 1, or 0 for a decision of which
            nothing is known.
        low: float64[n], the lowest contribution that is possible; equal to ``cost`` where it is
            known.
        high: float64[n], the highest one.
    """

    cost: Float64
    count: Float64
    low: Float64
    high: Float64

    @property
    def known(self) -> Bool:
        """bool[n], whether the contribution to the costs is known."""
        return np.asarray(self.low == self.high, np.bool_)


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
        cost = (
            np.where(fraud & ~review & ~block, self.missed(amount), 0.0)
            + self.review * review
            + self.false_block * (block & ~fraud)
        )
        return np.minimum(cost, self.most)

    def missed(self, amount: Float64) -> Float64:
        """Return float64[n], what approved frauds cost, without the bound.

        Args:
            amount: float64[n], in units of the currency.
        """
        # A forged decision may have any amount.
        return self.missed_share * np.maximum(amount, 0.0) + self.missed_fixed

    def weighted(
        self, amount: Float64, state: UInt8, review: Bool, block: Bool, through: Bool,
        propensity: Float64, *, published: Bool | None = None, inside: Bool | None = None,
    ) -> WeightedCosts:  # fmt: skip
        """Return what each decision contributes to the costs of the arm that made it.

        An arm is charged for what its policy says: a would-be BLOCK that was let through costs a
        false block if it is genuine, and nothing if it is a fraud.

        - Where the published outcome could have been let through, the cost is that of the decisions
          that were, times 1/p; those that were blocked contribute 0. Both count as one decision. A
          review costs the same whatever the label, so it needs no weight.
        - Where a BLOCK could not be let through, and there is no label, the cost is bounded.
        - Any other decision without a label contributes neither costs nor a number.

        Args:
            amount: float64[n], in units of the currency.
            state: uint8[n], what the transactions turned out to be: ``GENUINE``, ``FRAUD`` or
                ``UNKNOWN``, as :meth:`LabelPolicy.settle` returns.
            review: bool[n], whether the arm's policy says REVIEW.
            block: bool[n], whether it says BLOCK.
            through: bool[n], whether the transaction was let through at random.
            propensity: float64[n], ``outcome_propensity`` of the published decision, in (0, 1].
            published: bool[n], whether the policy of the *published* decision said BLOCK; None:
                ``block``. It differs for a shadow.
            inside: bool[n], whether the decision belongs to the estimand; others contribute
                nothing. None: all do.

        >>> yes, no, p = np.array([True]), np.array([False]), np.array([0.05])
        >>> genuine, costs = np.array([0], np.uint8), BoundedCosts(most=200)
        >>> float(costs.weighted(np.array([70.0]), genuine, no, yes, yes, p).cost[0])
        500.0
        >>> found = costs.weighted(np.array([70.0]), genuine + UNKNOWN, no, yes, no, p**0)
        >>> float(found.low[0]), float(found.high[0])
        (0.0, 25.0)
        """
        published = block if published is None else published
        fraud, unknown = state == FRAUD, state == UNKNOWN
        ends = [self.of(amount, np.full(len(amount), is_fraud), review, block)
                for is_fraud in (False, True)]  # fmt: skip
        exact = self.of(amount, fraud, review, block)
        low = np.where(unknown, np.minimum(*ends), exact)
        high = np.where(unknown, np.maximum(*ends), exact)
        drawn = through | (propensity < 1)
        weight = np.where(drawn & ~review, np.where(through, 1 / propensity, 0.0), 1.0)
        counted = drawn | ~unknown | published
        if inside is not None:
            counted = counted & inside
        low, high = (np.where(counted, weight * bound, 0.0) for bound in (low, high))
        return WeightedCosts(low, counted.astype(np.float64), low, high)
