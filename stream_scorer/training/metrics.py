"""Quality of scores and decisions: ranking of transactions and cards, value, and intervals.

The intervals come from a bootstrap over cards, not rows, because a card's transactions are alike: a
resample draws cards with replacement, and a card that is drawn twice counts as two.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    roc_auc_score,
    roc_curve,
)

from stream_scorer.models.bundles.bundle import DecisionThresholds, Interval, ThresholdCosts
from stream_scorer.training.thresholds import missed_cost

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FALSE_POSITIVE_RATE = 0.01
CALIBRATION_BINS = 10
_CONFIDENCE = (2.5, 97.5)
_SEED = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """Transactions with their scores.

    Attributes:
        scores: float64[n].
        fraud: int64[n], 1 for fraud.
        amount: float64[n], in units of the currency.
        card: int64[n], number of the card, from 0.
        day: int64[n], number of the day.
        weight: float64[n], how often each counts; None: once.
    """

    scores: Float64
    fraud: Int64
    amount: Float64
    card: Int64
    day: Int64
    weight: Float64 | None = None

    def with_scores(self, scores: Float64) -> "Scored":
        """Return the same transactions with these scores."""
        return replace(self, scores=scores)

    def where(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Return the chosen transactions."""
        return Scored(
            self.scores[chosen], self.fraud[chosen], self.amount[chosen],
            self.card[chosen], self.day[chosen],
            None if self.weight is None else self.weight[chosen],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judging:
    """Parameters of the measures.

    Attributes:
        thresholds: Where REVIEW and BLOCK begin.
        costs: Costs of the outcomes.
        cards_per_day: The k of CP@k.
        resamples: Of the bootstrap, 0 for none.
    """

    thresholds: DecisionThresholds
    costs: ThresholdCosts
    cards_per_day: int
    resamples: int


def measures(rows: Scored, judging: Judging) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return every measure of ``models.bundle.Quality`` by name, and its interval.

    Undefined measures (the precision of blocks if none is blocked) are left out. So is CP@k of rows
    with weights: which cards would be among the k is not known of a sample.

    Args:
        rows: With frauds and genuine transactions.
        judging: Thresholds, costs, k, resamples.
    """
    by_card = None if rows.weight is not None else _card_precision(rows, judging)
    base = np.ones(len(rows.fraud)) if rows.weight is None else rows.weight
    found = _measures(rows, judging, base, by_card)
    random = np.random.default_rng(_SEED)
    cards = np.unique(rows.card)
    resampled: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(judging.resamples):
        drawn = np.zeros(int(cards[-1]) + 1)
        np.add.at(drawn, random.choice(cards, len(cards)), 1.0)
        weight = drawn[rows.card] * base
        if not weight[rows.fraud == 1].any():
            continue  # ranking is undefined without a fraud
        for name, value in _measures(rows, judging, weight, by_card).items():
            if name in found:
                resampled[name].append(value)
    intervals = {
        name: Interval(low=float(low), high=float(high))
        for name, values in resampled.items()
        if values
        for low, high in [np.percentile(values, _CONFIDENCE)]
    }
    return found, intervals


def _measures(
    rows: Scored,
    judging: Judging,
    weight: Float64,
    card_precision: Callable[[Float64], float] | None,
) -> dict[str, float]:
    """Return the measures of rows with a weight."""
    scores, fraud, total = rows.scores, rows.fraud, float(weight.sum())
    blocked = scores >= judging.thresholds.block
    alerted = scores >= judging.thresholds.review
    # By default only the ends of collinear points are kept; the best one up to 1 % may be between.
    false, true, _ = roc_curve(fraud, scores, sample_weight=weight, drop_intermediate=False)
    value = weight * rows.amount * fraud
    missed = weight * missed_cost(rows.amount, fraud, judging.costs)
    costs = judging.costs
    saved = (
        missed[alerted].sum()
        - costs.review * weight[alerted & ~blocked].sum()
        - costs.false_block * weight[blocked & (fraud == 0)].sum()
    )
    found = {
        "auc": roc_auc_score(fraud, scores, sample_weight=weight),
        "average_precision": average_precision_score(fraud, scores, sample_weight=weight),
        "review_or_block_rate": weight[alerted].sum() / total,
        "block_rate": weight[blocked].sum() / total,
        "card_precision": None if card_precision is None else card_precision(weight),
        "recall_at_1_percent_fpr": true[false <= FALSE_POSITIVE_RATE].max(),
        "value_recall": value[alerted].sum() / value.sum() if value.any() else None,
        "cost_saved": saved,
        "cost_saved_share": saved / missed.sum() if missed.any() else None,
        "brier": brier_score_loss(fraud, scores, sample_weight=weight),
        "calibration_error": _calibration_error(rows, weight),
        "block_precision": (
            (weight * fraud)[blocked].sum() / weight[blocked].sum()
            if weight[blocked].any()
            else None
        ),
    }
    known = {name: float(value) for name, value in found.items() if value is not None}
    # The sum of a part may exceed that of all by a rounding: they are added in another order.
    return {
        name: value if name == "cost_saved" else min(value, 1.0) for name, value in known.items()
    }


def calibration(rows: Scored, weight: Float64 | None = None) -> tuple[Float64, Float64, Float64]:
    """Return mean score, share of frauds and weight of each non-empty bin, ascending.

    There are :data:`CALIBRATION_BINS` bins of equal width. scikit-learn's ``calibration_curve``
    takes no weights, which the bootstrap needs.

    Args:
        rows: The transactions.
        weight: float64[n], how often each counts; once by default.
    """
    counts = np.ones(len(rows.scores)) if weight is None else weight
    where = np.minimum((rows.scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    held = np.bincount(where, counts, CALIBRATION_BINS).astype(np.float64)
    used = held > 0
    mean = np.bincount(where, counts * rows.scores, len(held))[used] / held[used]
    share = np.bincount(where, counts * rows.fraud, len(held))[used] / held[used]
    return mean, share, held[used]


def _calibration_error(rows: Scored, weight: Float64) -> float:
    mean, share, held = calibration(rows, weight)
    return float(np.average(np.abs(mean - share), weights=held))


def _card_precision(rows: Scored, judging: Judging) -> Callable[[Float64], float]:
    """Return CP@k as a function of the rows' weights; the rest is computed here, once.

    Source: the handbook. Per day, the k cards with the highest score of that day are taken; CP@k is
    the share of them that is defrauded on that day, averaged over the days. Found cards are left
    out on later days. Of cards with equal scores, the one with the lower number comes first.
    """
    days: list[tuple[Int64, Int64, Int64]] = []
    for day in np.unique(rows.day):
        at = np.flatnonzero(rows.day == day)
        # Ranked by score, then card; the first row of each card has its highest score.
        ranked = at[np.lexsort((rows.card[at], -rows.scores[at]))]
        _, first = np.unique(rows.card[ranked], return_index=True)
        top = ranked[np.sort(first)]
        defrauded = np.isin(rows.card[top], rows.card[at[rows.fraud[at] == 1]])
        days.append((top, rows.card[top], defrauded.astype(np.int64)))
    most = int(rows.card.max()) + 1
    k = judging.cards_per_day

    def precision(weight: Float64) -> float:
        left = np.ones(most, np.bool_)
        shares = []
        for top, card, defrauded in days:
            copies = np.where(left[card], weight[top], 0.0)
            # Number of copies of each card among the first k.
            taken = np.clip(k - (np.cumsum(copies) - copies), 0, copies)
            shares.append(float((taken * defrauded).sum()) / k)
            left[card[(taken > 0) & (defrauded == 1)]] = False
        return float(np.mean(shares))

    return precision
