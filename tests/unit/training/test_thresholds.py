"""Thresholds that cost least, or meet a budget, equal the result of trying all pairs."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import DecisionThresholds, ThresholdCosts
from stream_scorer.training.thresholds import (
    RankedScores,
    choose_thresholds,
    missed_cost,
    read_costs,
)

ROW = st.tuples(st.integers(0, 10), st.booleans(), st.integers(0, 50))
COST = st.integers(0, 40).map(float)


def policy_cost(
    scores: NDArray[np.float64],
    fraud: NDArray[np.int64],
    amount: NDArray[np.float64],
    thresholds: DecisionThresholds,
    costs: ThresholdCosts,
) -> float:
    """Return the cost of the decisions by these thresholds."""
    missed = missed_cost(amount, fraud, costs)
    blocked = scores >= thresholds.block
    reviewed = (scores >= thresholds.review) & ~blocked
    return (
        float(missed[scores < thresholds.review].sum())
        + costs.review * int(reviewed.sum())
        + costs.false_block * int((blocked & (fraud == 0)).sum())
    )


@given(
    st.lists(ROW, min_size=1, max_size=25),
    st.builds(ThresholdCosts, missed_fixed=COST, review=COST, false_block=COST),
)
def test_no_pair_of_scores_costs_less(
    rows: list[tuple[int, bool, int]], costs: ThresholdCosts
) -> None:
    scores = np.array([score / 10 for score, _, _ in rows])
    fraud = np.array([int(fraud) for _, fraud, _ in rows])
    amount = np.array([float(amount) for _, _, amount in rows])
    chosen = choose_thresholds(scores, fraud, amount, costs)
    cost = policy_cost(scores, fraud, amount, chosen, costs)
    grid = [step / 10 for step in range(1, 11)]
    least = min(
        policy_cost(scores, fraud, amount, DecisionThresholds(review=r, block=b), costs)
        for r in grid for b in grid if r <= b
    )  # fmt: skip
    assert cost == pytest.approx(least, abs=1e-9)


def test_expensive_frauds_are_reviewed_and_cheap_ones_approved() -> None:
    scores = np.array([0.1, 0.3, 0.3, 0.5, 0.9])
    fraud = np.array([0, 1, 0, 0, 1])
    amount = np.array([5.0, 100.0, 5.0, 5.0, 100.0])
    dear = choose_thresholds(scores, fraud, amount, ThresholdCosts(review=5, false_block=1_000))
    assert (dear.review, dear.block) == (0.3, 0.9)
    cheap = choose_thresholds(
        scores, fraud, amount / 100, ThresholdCosts(review=5, false_block=1_000)
    )
    assert (cheap.review, cheap.block) == (0.9, 0.9)
    assert "a review 5, and blocking a genuine transaction 1000" in dear.rule


def test_of_thresholds_that_cost_the_same_the_highest_are_chosen() -> None:
    # A false block costs nothing, so blocking from 0.2 on costs the same as from 0.4 on.
    scores, fraud = np.array([0.2, 0.4, 0.6]), np.array([0, 1, 0])
    costs = ThresholdCosts(review=5, false_block=0)
    amount = np.array([9.0, 5.0, 9.0])
    cost = {
        (review, block): policy_cost(
            scores, fraud, amount, DecisionThresholds(review=review, block=block), costs
        )
        for review in (0.2, 0.4, 0.6, 1.0)
        for block in (0.2, 0.4, 0.6, 1.0)
        if review <= block
    }
    least = [pair for pair, spent in cost.items() if spent == min(cost.values())]
    chosen = choose_thresholds(scores, fraud, amount, costs)
    assert len({block for _, block in least}) > 1
    highest = max(block for _, block in least)
    assert (chosen.review, chosen.block) == (
        max(review for review, block in least if block == highest), highest
    )  # fmt: skip


def test_nothing_worth_a_review_leaves_both_at_one() -> None:
    chosen = choose_thresholds(np.array([0.2, 0.4]), np.array([0, 0]), np.ones(2), ThresholdCosts())
    assert (chosen.review, chosen.block) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "share", "fixed"),
    [
        ("amount", 1.0, 0.0),
        ("20", 0.0, 20.0),
        ("0.8*amount", 0.8, 0.0),
        ("0.8 * amount + 12.5", 0.8, 12.5),
        ("amount+7", 1.0, 7.0),
    ],
)
def test_the_cost_of_a_missed_fraud_is_read(text: str, share: float, fixed: float) -> None:
    costs = read_costs(text, 1.0, 2.0)
    assert (costs.missed_share, costs.missed_fixed) == (share, fixed)
    assert (costs.review, costs.false_block) == (1.0, 2.0)


@pytest.mark.parametrize(
    "text", ["", "amounts", "-3", "2*", "amount*2", "1e3", "amount+", "nan", "\u0663"]
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not understood"):
        read_costs(text, 1.0, 2.0)


@pytest.mark.parametrize(
    ("missed", "review", "block", "named"),
    [
        ("amount", -1.0, 2.0, "review"),
        ("amount", 1.0, float("nan"), "false_block"),
        ("amount", float("inf"), 2.0, "review"),
        ("0", 1.0, 2.0, "never worth a review"),
    ],
)
def test_invalid_costs_are_refused(missed: str, review: float, block: float, named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        read_costs(missed, review, block)
    assert "\n" not in str(caught.value)


def ideal_cost(rows: list[tuple[float, int, float]], block: float, reviews: int) -> Fraction | None:
    """Return the cost if the highest scores below BLOCK are reviewed; of equal ones only a part."""
    scored = sorted((row for row in rows if 0 < row[0] < block), reverse=True)
    if len(scored) < reviews:
        return None
    cost = Fraction(25 * sum(1 for score, fraud, _ in rows if score >= block and not fraud))
    cost += sum(Fraction(amount) for score, fraud, amount in rows if fraud and score == 0)
    for value in sorted({score for score, _, _ in scored}, reverse=True):
        tied = [row for row in scored if row[0] == value]
        taken = min(reviews, len(tied))
        reviews -= taken
        missed = sum(Fraction(amount) for _, fraud, amount in tied if fraud)
        cost += 5 * taken + missed * Fraction(len(tied) - taken, len(tied))
    return cost


@given(st.lists(ROW, min_size=1, max_size=25), st.integers(0, 25))
def test_a_budget_is_met_as_closely_as_the_scores_allow(
    drawn: list[tuple[int, bool, int]], number: int
) -> None:
    rows = [(score / 10, int(fraud), float(amount)) for score, fraud, amount in drawn]
    scores, fraud, amount = (np.array(column) for column in zip(*rows, strict=True))
    ranked = RankedScores.of(scores, fraud, amount, ThresholdCosts())
    assert ranked.most_reviews == sum(0 < score < 1 for score, _, _ in rows)
    reviews = number % (ranked.most_reviews + 1)
    review, block = (float(ranked.candidates[place]) for place in ranked.within(reviews))

    candidates = sorted({score for score, _, _ in rows if score > 0} | {1.0})
    costs = {b: ideal_cost(rows, b, reviews) for b in candidates}
    ideal = {b: cost for b, cost in costs.items() if cost is not None}
    least = min(ideal.values())
    pairs = []
    for b in ideal:
        # (distance, cost, lower thresholds last) of the REVIEW that meets the number best.
        made = [(abs(count - reviews), count, r) for r in candidates if r <= b
                for count in [sum(r <= score < b for score, _, _ in rows)]]  # fmt: skip
        distance, _, r = min(made, key=lambda each: (each[0], each[1], -each[2]))
        pair = DecisionThresholds(review=r, block=b)
        cost = policy_cost(scores, fraud, amount, pair, ThresholdCosts())
        best = b == max(b for b, each in ideal.items() if each == least)
        if best or cost <= float(least) * 1.01:
            pairs.append((distance, cost, -b, r))
    assert (review, block) == next((r, -b) for _, _, b, r in [min(pairs)])


def test_a_small_budget_blocks_no_more_than_a_larger_one_would() -> None:
    # Groups are of 7, so exactly 10 reviews would be possible only by blocking nearly all.
    scores = np.concatenate([np.repeat(np.arange(1, 100) / 200, 7), np.full(10, 0.01)])
    fraud = (scores > 0.45).astype(np.int64)
    ranked = RankedScores.of(scores, fraud, np.full(len(scores), 100.0), ThresholdCosts())
    review, block = ranked.within(10)
    assert ranked.candidates[block] > 0.4
    assert ranked.below[block] - ranked.below[review] == 7
