"""What was let through, and further estimates of the cost of an arm's decisions.

The deciding estimate is that of Horvitz and Thompson (1952), unclipped: unbiased for known
probabilities, and a sum over transactions, so that exchanging arms exchanges its terms. Others have
less variance and are biased. They are printed next to it, and decide nothing:

- *self-normalised* (Hájek, 1971; Swaminathan and Joachims, "The self-normalized estimator for
  counterfactual learning", 2015): the weights are divided by their sum.
- *clipped* (Ionides, "Truncated importance sampling", 2008; Bottou et al., "Counterfactual
  reasoning and learning systems", 2013): no weight is above sqrt(n) times the median weight.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import FRAUD, GENUINE
from stream_scorer.rollout.evidence.costs import BoundedCosts, WeightedCosts
from stream_scorer.rollout.evidence.label_rows import Ripe

Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

_REVIEW, _BLOCK = 1, 2
ESTIMATOR: Final = "Horvitz-Thompson, unclipped"
"""Name of the estimate that decides."""


@dataclass(slots=True)
class LetThrough:
    """What was let through for one arm; the memory does not grow with the transactions.

    Attributes:
        found: By propensity: number of transactions that were let through, how many of them are
            genuine, and the sum of their costs without weights.
        drawn: Number of transactions that could be let through, whether they were or not.
        outside: Number of transactions that are outside the estimand.
        rows: Number of all transactions.
        lost: Money that was lost by frauds that were let through: the cost of the experiment.
    """

    found: dict[float, list[float]] = field(default_factory=dict)
    drawn: int = 0
    outside: int = 0
    rows: int = 0
    lost: float = 0.0

    def add(self, rows: Ripe, decided: UInt8, costs: BoundedCosts) -> WeightedCosts:
        """Count matured decisions, and return what they cost.

        Args:
            rows: n decisions.
            decided: uint8[n], what the arm's policy says.
            costs: The costs of single decisions.
        """
        review, block, through = decided == _REVIEW, decided == _BLOCK, rows.through
        weighted = costs.weighted(
            rows.amount, rows.state, review, block, through, rows.propensity,
            published=rows.policy_outcome == _BLOCK, inside=rows.inside,
        )  # fmt: skip
        self.rows += len(rows)
        self.outside += int(np.count_nonzero(~rows.inside))
        weighs = rows.inside & (through | (rows.propensity < 1)) & ~review
        self.drawn += int(np.count_nonzero(weighs))
        at = np.flatnonzero(weighs & through)
        plain = costs.of(rows.amount, rows.state == FRAUD, review, block)
        genuine = rows.state == GENUINE
        for row in at.tolist():
            sums = self.found.setdefault(float(rows.propensity[row]), [0, 0, 0.0])
            sums[0] += 1
            sums[1] += bool(genuine[row])
            sums[2] += float(plain[row])
        # Inside the estimand, amounts are bounded. A forged one might not be finite.
        lost = rows.inside & through & (rows.propensity < 1) & (rows.state == FRAUD)
        self.lost += float(costs.missed(rows.amount[lost]).sum())
        return weighted

    @property
    def raw(self) -> int:
        """Number of transactions that were let through."""
        return int(sum(count for count, _, _ in self.found.values()))

    @property
    def genuine(self) -> int:
        """How many of them are genuine."""
        return int(sum(count for _, count, _ in self.found.values()))

    def corrections(self) -> tuple[float, float]:
        """Return what to add to the arm's costs for the self-normalised and the clipped estimate.

        >>> found = LetThrough({0.5: [1, 1, 25.0], 0.1: [1, 0, 0.0]}, drawn=20)
        >>> [round(each, 6) for each in found.corrections()]
        [33.333333, 0.0]
        """
        if not self.raw:
            return 0.0, 0.0
        weights = {p: 1 / p for p in self.found}
        plain = sum(cost * weights[p] for p, (_, _, cost) in self.found.items())
        total = sum(count * weights[p] for p, (count, _, _) in self.found.items())
        most = math.sqrt(self.raw) * self._median()
        clipped = sum(cost * min(weights[p], most) for p, (_, _, cost) in self.found.items())
        return self.drawn * plain / total - plain, clipped - plain

    def _median(self) -> float:
        ordered = sorted((1 / p, int(count)) for p, (count, _, _) in self.found.items())
        half, seen = (self.raw + 1) // 2, 0
        for weight, count in ordered:
            seen += count
            if seen >= half:
                return weight
        return 0.0

    @property
    def effective_sample(self) -> float:
        """(sum of weights)^2 / sum of squared weights, of those that were let through."""
        total = sum(count / p for p, (count, _, _) in self.found.items())
        squares = sum(count / p**2 for p, (count, _, _) in self.found.items())
        return total**2 / squares if squares else 0.0

    def plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        found = sorted([p, *sums] for p, sums in self.found.items())
        return {"found": found, "drawn": self.drawn, "outside": self.outside, "rows": self.rows,
                "lost": self.lost}  # fmt: skip

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "LetThrough":
        """Return it from a result of :meth:`plain`; empty data: nothing was let through."""
        found = {p: list(sums) for p, *sums in told.get("found", ())}
        return cls(**{**told, "found": found})


def numbers_of(
    sides: Sequence[LetThrough], costs: Sequence[float], counts: Sequence[float]
) -> dict[str, float]:
    """Return the numbers to print next to a judgement.

    Args:
        sides: Of the canary, and of the control.
        costs: Sums of their costs.
        counts: Numbers of their decisions.
    """
    rows = sum(side.rows for side in sides)
    found = {
        "let_through_raw": float(sum(side.raw for side in sides)),
        "let_through_genuine": float(sum(side.genuine for side in sides)),
        "effective_sample": sum(side.effective_sample for side in sides),
        "outside_share": sum(side.outside for side in sides) / rows if rows else 0.0,
        "exploration_lost": sum(side.lost for side in sides),
    }
    if min(counts) > 0:
        corrections = [(0.0, *side.corrections()) for side in sides]
        for at, name in enumerate(("benefit_ht", "benefit_hajek", "benefit_clipped")):
            canary, control = (
                (cost + correction[at]) / count
                for cost, correction, count in zip(costs, corrections, counts, strict=True)
            )
            found[name] = float(control - canary)
    return found
