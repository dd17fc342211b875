"""Thresholds from costs: a missed fraud, a review, a false block."""

import re

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import DecisionThresholds, ThresholdCosts

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_MISSED = re.compile(rf"(?:(?:({_NUMBER})\*)?(amount)(?:\+({_NUMBER}))?|({_NUMBER}))")


def read_costs(missed: str, review: float, false_block: float) -> ThresholdCosts:
    """Return the costs that an order names.

    Args:
        missed: Of a missed fraud: ``amount``, ``20``, ``0.8*amount`` or ``0.8*amount+20``.
        review: Of a review, in units of the currency.
        false_block: Of blocking a genuine transaction.

    Raises:
        SettingsError: Not such a text, or a negative or endless number.
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
    """Return float64[n], what approving each transaction costs.

    Args:
        amount: float64[n], in units of the currency.
        fraud: int64[n], 1 for fraud.
        costs: What outcomes cost.
    """
    missed: Float64 = fraud * (costs.missed_share * amount + costs.missed_fixed)
    return missed


def policy_cost(
    scores: Float64,
    fraud: Int64,
    amount: Float64,
    thresholds: DecisionThresholds,
    costs: ThresholdCosts,
) -> tuple[float, float]:
    """Return what the decisions cost, and what approving everything does.

    Args:
        scores: float64[n].
        fraud: int64[n], 1 for fraud.
        amount: float64[n], in units of the currency.
        thresholds: Where REVIEW and BLOCK begin.
        costs: What outcomes cost.
    """
    missed = missed_cost(amount, fraud, costs)
    blocked = scores >= thresholds.block
    reviewed = (scores >= thresholds.review) & ~blocked
    cost = (
        float(missed[scores < thresholds.review].sum())
        + costs.review * int(reviewed.sum())
        + costs.false_block * int((blocked & (fraud == 0)).sum())
    )
    return cost, float(missed.sum())


def choose_thresholds(
    scores: Float64, fraud: Int64, amount: Float64, costs: ThresholdCosts
) -> DecisionThresholds:
    """Return the thresholds whose decisions cost least; of several such, the highest.

    Candidates are the scores that occur, and 1. All pairs are compared: along the ranked scores
    the cost falls into a part of REVIEW's beginning and one of BLOCK's, so one pass finds the best.

    Args:
        scores: float64[n], 0 to 1.
        fraud: int64[n], 1 for fraud.
        amount: float64[n], in units of the currency.
        costs: What outcomes cost.
    """
    # Ascending thresholds; below[i] counts the transactions that do not reach the i-th.
    candidates = np.unique(np.append(scores[scores > 0], 1.0))
    order = np.argsort(scores, kind="stable")
    below = np.searchsorted(scores[order], candidates, side="left")
    missed = np.append(0.0, np.cumsum(missed_cost(amount, fraud, costs)[order]))[below]
    genuine = np.append(0, np.cumsum(1 - fraud[order]))
    reviews = costs.review * below
    # Missed below REVIEW, reviews between the two, false blocks from BLOCK on.
    to_review = missed - reviews
    to_block = reviews + costs.false_block * (genuine[-1] - genuine[below])
    # The best REVIEW at or below each candidate for BLOCK: the last place of the running minimum.
    lowest = np.minimum.accumulate(to_review)
    places = np.where(to_review == lowest, np.arange(len(candidates)), 0)
    total = lowest + to_block
    block = int(np.flatnonzero(total == total.min())[-1])
    review = int(np.maximum.accumulate(places)[block])
    return DecisionThresholds(
        review=float(candidates[review]),
        block=float(candidates[block]),
        rule=(
            "on the validation days the decisions cost least when a missed fraud costs "
            f"{costs.missed_share:g} x its amount + {costs.missed_fixed:g}, a review "
            f"{costs.review:g}, and blocking a genuine transaction {costs.false_block:g}"
        ),
    )
