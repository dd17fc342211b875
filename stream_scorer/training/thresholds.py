"""Thresholds from costs: a missed fraud, a review, a false block."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import DecisionThresholds, ThresholdCosts

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_DEARER = 0.01
"""How much more a pair of thresholds may cost, as a share, if it meets a budget better."""
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_MISSED = re.compile(rf"(?:(?:({_NUMBER})\*)?(amount)(?:\+({_NUMBER}))?|({_NUMBER}))")


def read_costs(missed: str, review: float, false_block: float) -> ThresholdCosts:
    """Return the costs from a job's options.

    Args:
        missed: Of a missed fraud: ``amount``, ``20``, ``0.8*amount`` or ``0.8*amount+20``.
        review: Of a review, in units of the currency.
        false_block: Of blocking a genuine transaction.

    Raises:
        SettingsError: Another syntax, or a number that is negative or not finite.
    """
    match = _MISSED.fullmatch(missed.replace(" ", ""))
    if match is None:
        raise SettingsError(
            f"cost of a missed fraud {missed!r}: not understood",
            "write amount, 20, 0.8*amount or 0.8*amount+20",
        )
    share, of_amount, beside, fixed = match.groups()
    try:
        return ThresholdCosts(
            missed_share=float(share or 1) if of_amount else 0.0,
            missed_fixed=float((beside if of_amount else fixed) or 0),
            review=review,
            false_block=false_block,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"costs: {where + ': ' if where else ''}{first['msg']}",
            "give numbers of 0 or more, and a missed fraud that costs something",
        ) from None


def missed_cost(amount: Float64, fraud: Int64, costs: ThresholdCosts) -> Float64:
    """Return float64[n], the cost of approving each transaction.

    Args:
        amount: float64[n], in units of the currency.
        fraud: int64[n], 1 for fraud.
        costs: Costs of the outcomes.
    """
    missed: Float64 = fraud * (costs.missed_share * amount + costs.missed_fixed)
    return missed


@dataclass(frozen=True, slots=True)
class RankedScores:
    """Scores as k possible thresholds, with the cost of the transactions below each.

    A pair of indices (i, j), i <= j, means REVIEW from ``candidates[i]`` and BLOCK from
    ``candidates[j]``: it reviews ``below[j] - below[i]`` transactions.

    Attributes:
        candidates: float64[k], ascending: the scores above 0 that occur, and 1.
        below: int64[k], number of transactions below each.
        to_review: float64[k], the part of a pair's cost that its REVIEW determines.
        to_block: float64[k], the part that its BLOCK determines.
    """

    candidates: Float64
    below: Int64
    to_review: Float64
    to_block: Float64

    @classmethod
    def of(
        cls,
        scores: Float64,
        fraud: Int64,
        amount: Float64,
        costs: ThresholdCosts,
        weight: Float64 | None = None,
    ) -> "RankedScores":
        """Rank transactions.

        Args:
            scores: float64[n], 0 to 1.
            fraud: int64[n], 1 for fraud.
            amount: float64[n], in units of the currency.
            costs: Costs of the outcomes.
            weight: float64[n], how often each counts in the costs; None: once.
        """
        candidates = np.unique(np.append(scores[scores > 0], 1.0))
        order = np.argsort(scores, kind="stable")
        below = np.searchsorted(scores[order], candidates, side="left")
        lost, good = missed_cost(amount, fraud, costs)[order], (1 - fraud[order]).astype(np.float64)
        counted = below.astype(np.float64)
        if weight is not None:
            lost, good = lost * weight[order], good * weight[order]
            counted = np.append(0.0, np.cumsum(weight[order]))[below]
        missed = np.append(0.0, np.cumsum(lost))[below]
        genuine = np.append(0.0, np.cumsum(good))
        reviews = costs.review * counted
        # Missed below REVIEW, reviews between the two, false blocks from BLOCK on.
        to_block = reviews + costs.false_block * (genuine[-1] - genuine[below])
        return cls(candidates, below, missed - reviews, to_block)

    def cheapest(self) -> tuple[int, int]:
        """Return the indices of the cheapest pair; of several such, the highest.

        All pairs are compared: the cost is the sum of a part for REVIEW and a part for BLOCK, so
        one pass finds the best.
        """
        # The best REVIEW at or below each candidate for BLOCK: the last index of the running
        # minimum.
        lowest = np.minimum.accumulate(self.to_review)
        places = np.where(self.to_review == lowest, np.arange(len(self.candidates)), 0)
        total = lowest + self.to_block
        block = int(np.flatnonzero(total == total.min())[-1])
        return int(np.maximum.accumulate(places)[block]), block

    @property
    def most_reviews(self) -> int:
        """Maximum number of reviews: transactions with scores above 0 and below 1."""
        return int(self.below[-1] - self.below[0])

    def within(self, reviews: float) -> tuple[int, int]:
        """Return the indices of the pair that reviews a number of transactions.

        Equal scores cannot be separated, so the number may not be met exactly. The cost of meeting
        it exactly is estimated as if they could be. Of the pairs that cost at most 1 % more than
        that, the result is the one that meets the number best; of several such, the cheapest, and
        then the highest. For each BLOCK, REVIEW is where the number is met best; of two equally
        near, the one that reviews fewer.

        Args:
            reviews: Transactions to review, 0 to ``most_reviews``.
        """
        places = np.arange(len(self.candidates))
        wanted = self.below - reviews
        fewer = np.minimum(np.searchsorted(self.below, wanted, side="left"), places)
        more = np.maximum(fewer - 1, 0)
        nearer = np.abs(self.below[more] - wanted) < np.abs(self.below[fewer] - wanted)
        review = np.where(nearer, more, fewer)
        enough = wanted >= self.below[0]
        ideal = np.where(enough, np.interp(wanted, self.below, self.to_review), np.inf)
        ideal += self.to_block
        cost = self.to_review[review] + self.to_block
        cheap = enough & (cost <= ideal.min() + _DEARER * abs(ideal.min()))
        cheap[int(np.flatnonzero(ideal == ideal.min())[-1])] = True
        distance = np.where(cheap, np.abs(self.below[review] - wanted), np.inf)
        cost = np.where(distance == distance.min(), cost, np.inf)
        block = int(np.flatnonzero(cost == cost.min())[-1])
        return int(review[block]), block


def choose_thresholds(
    scores: Float64,
    fraud: Int64,
    amount: Float64,
    costs: ThresholdCosts,
    weight: Float64 | None = None,
) -> DecisionThresholds:
    """Return the thresholds with the cheapest decisions; of several such, the highest.

    Candidates are the scores that occur, and 1; see :meth:`RankedScores.cheapest`.

    Args:
        scores: float64[n], 0 to 1.
        fraud: int64[n], 1 for fraud.
        amount: float64[n], in units of the currency.
        costs: Costs of the outcomes.
        weight: float64[n], how often each counts; None: once.
    """
    ranked = RankedScores.of(scores, fraud, amount, costs, weight)
    review, block = ranked.cheapest()
    return DecisionThresholds(
        review=float(ranked.candidates[review]),
        block=float(ranked.candidates[block]),
        rule=(
            "on the validation days the decisions cost least when a missed fraud costs "
            f"{costs.missed_share:g} x its amount + {costs.missed_fixed:g}, a review "
            f"{costs.review:g}, and blocking a genuine transaction {costs.false_block:g}"
        ),
    )
