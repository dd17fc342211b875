"""Measures equal those by hand, by scikit-learn, and by a plain implementation of CP@k."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from stream_scorer.models.bundles.bundle import DecisionThresholds, ThresholdCosts
from stream_scorer.training.metrics import Judging, Scored, calibration, measures

THRESHOLDS = DecisionThresholds(review=0.5, block=0.9)
COSTS = ThresholdCosts(missed_share=1.0, missed_fixed=2.0, review=3.0, false_block=10.0)


def judging(resamples: int = 0, k: int = 2) -> Judging:
    return Judging(THRESHOLDS, COSTS, k, resamples)


def scored(
    scores: Any, fraud: Any, amount: Any = None, card: Any = None, day: Any = None
) -> Scored:
    n = len(scores)
    return Scored(
        np.array(scores, np.float64),
        np.array(fraud, np.int64),
        np.ones(n) if amount is None else np.array(amount, np.float64),
        np.arange(n) if card is None else np.array(card, np.int64),
        np.zeros(n, np.int64) if day is None else np.array(day, np.int64),
    )


def random_rows(n: int = 3_000, cards: int = 150) -> Scored:
    numbers = np.random.default_rng(5)
    fraud = (numbers.random(n) < 0.05).astype(np.int64)
    scores = np.clip(numbers.beta(1, 6, n) + 0.4 * fraud * numbers.random(n), 0, 1)
    return scored(
        scores, fraud, numbers.integers(1, 300, n), numbers.integers(0, cards, n),
        numbers.integers(0, 7, n),
    )  # fmt: skip


def test_decisions_and_costs_by_hand() -> None:
    rows = scored(
        scores=[0.1, 0.2, 0.6, 0.7, 0.95, 1.0],
        fraud=[0, 1, 1, 0, 0, 1],
        amount=[10, 20, 40, 80, 160, 60],
    )
    found, intervals = measures(rows, judging())
    assert intervals == {}
    assert found["review_or_block_rate"] == 4 / 6
    assert found["block_rate"] == 2 / 6
    assert found["block_precision"] == 1 / 2
    assert found["value_recall"] == 100 / 120
    # Without decisions: 20 + 40 + 60, and 2 for each. With decisions: 22 missed, two reviews, and a
    # false block.
    assert found["cost_saved"] == pytest.approx(126 - (22 + 2 * 3 + 10))
    assert found["cost_saved_share"] == pytest.approx(88 / 126)


def test_ranks_are_those_of_scikit_learn() -> None:
    rows = random_rows()
    found, _ = measures(rows, judging())
    assert found["auc"] == roc_auc_score(rows.fraud, rows.scores)
    assert found["average_precision"] == average_precision_score(rows.fraud, rows.scores)
    assert found["brier"] == brier_score_loss(rows.fraud, rows.scores)
    genuine = np.sort(rows.scores[rows.fraud == 0])[::-1]
    # The score that a hundredth of the genuine transactions reach.
    edge = genuine[int(0.01 * len(genuine))]
    assert found["recall_at_1_percent_fpr"] == (rows.scores[rows.fraud == 1] > edge).mean()


def test_recall_at_1_percent_of_the_genuine_includes_ties() -> None:
    # Each of four scores has 5 of 1000 genuine transactions, so two scores are exactly 1 %. All
    # four points of the curve are on one line, and half of the frauds have at least the second
    # score.
    tied = [0.9, 0.8, 0.7, 0.6]
    rows = scored(
        np.concatenate([np.repeat(tied, 10), np.full(980, 0.1)]),
        np.concatenate([np.tile(np.repeat([1, 0], 5), 4), np.zeros(980)]),
    )
    found, _ = measures(rows, judging())
    assert found["recall_at_1_percent_fpr"] == 0.5


def test_calibration_is_that_of_scikit_learn() -> None:
    rows = random_rows()
    mean, share, held = calibration(rows)
    expected_share, expected_mean = calibration_curve(rows.fraud, rows.scores, n_bins=10)
    assert np.allclose(mean, expected_mean)
    assert np.allclose(share, expected_share)
    found, _ = measures(rows, judging())
    assert found["calibration_error"] == pytest.approx(
        (np.abs(mean - share) * held).sum() / len(rows.scores)
    )
    assert calibration(scored([1.0, 0.0], [1, 0]))[0].tolist() == [0.0, 1.0]


def test_what_is_not_there_is_left_out() -> None:
    found, _ = measures(scored([0.1, 0.2], [0, 1]), judging())
    assert "block_precision" not in found
    assert found["cost_saved"] == 0
    nothing = scored([0.1, 0.2], [0, 1], amount=[0, 0])
    assert "value_recall" not in measures(nothing, judging())[0]


def plain_card_precision(rows: Scored, k: int) -> float:
    """Return CP@k as the handbook describes it, one card after another."""
    found: set[int] = set()
    shares = []
    for day in sorted(set(rows.day.tolist())):
        best: dict[int, float] = {}
        defrauded: set[int] = set()
        for score, fraud, card, of_day in zip(
            rows.scores.tolist(), rows.fraud.tolist(), rows.card.tolist(), rows.day.tolist(),
            strict=True,
        ):  # fmt: skip
            if of_day != day or card in found:
                continue
            best[card] = max(score, best.get(card, -1.0))
            if fraud:
                defrauded.add(card)
        top = sorted(best, key=lambda card: (-best[card], card))[:k]
        hit = defrauded & set(top)
        shares.append(len(hit) / k)
        found |= hit
    return float(np.mean(shares))


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(2, 40), st.just(4)), elements=st.integers(0, 5)),
    st.integers(1, 8),
)
def test_card_precision_agrees_with_a_plain_one(table: NDArray[np.int64], k: int) -> None:
    fraud = table[:, 1] >= 4
    fraud[:2] = (True, False)
    rows = scored(table[:, 0] / 5, fraud, card=table[:, 2], day=table[:, 3])
    found, _ = measures(rows, judging(k=k))
    assert found["card_precision"] == pytest.approx(plain_card_precision(rows, k))


def test_intervals_repeat_and_hold_the_value() -> None:
    rows = random_rows()
    found, intervals = measures(rows, judging(resamples=100, k=20))
    assert measures(rows, judging(resamples=100, k=20)) == (found, intervals)
    assert set(intervals) == set(found)
    for name in ("auc", "average_precision", "brier", "value_recall", "cost_saved"):
        assert intervals[name].low < found[name] < intervals[name].high, name


def test_intervals_hold_95_percent_of_the_resamples() -> None:
    rows = random_rows(400, 80)
    value, resamples = "review_or_block_rate", 200
    numbers = np.random.default_rng(0)
    alerted, cards = rows.scores >= THRESHOLDS.review, np.unique(rows.card)
    shares = []
    for _ in range(resamples):
        times = np.bincount(numbers.choice(cards, len(cards)), minlength=cards[-1] + 1)[rows.card]
        shares.append(times[alerted].sum() / times.sum())
    interval = measures(rows, judging(resamples))[1][value]
    shares.sort()
    # 2.5 % of 200 resamples are the five lowest and the five highest.
    assert shares[4] <= interval.low <= shares[5] < shares[9]
    assert shares[-10] < shares[-6] <= interval.high <= shares[-5]


def test_intervals_are_as_wide_as_independent_cards_make_them() -> None:
    # Ten copies of one card's transaction give no more information than one.
    rows = random_rows(600, 600)
    one = scored(rows.scores, rows.fraud)
    ten = scored(
        np.repeat(rows.scores, 10), np.repeat(rows.fraud, 10), card=np.repeat(np.arange(600), 10)
    )
    narrow, wide = (measures(r, judging(resamples=200))[1]["auc"] for r in (one, ten))
    assert (wide.high - wide.low) == pytest.approx(narrow.high - narrow.low, rel=1e-6)


def test_a_share_is_never_more_than_all() -> None:
    # In 41 of these, the sum of the found frauds' amounts exceeds that of all rows by a rounding.
    for seed in range(200):
        numbers = np.random.default_rng(seed)
        fraud = (numbers.random(400) < 0.3).astype(np.int64)
        amount = np.round(numbers.exponential(80, 400), 2)
        found, _ = measures(scored(fraud.astype(float), fraud, amount), judging())
        assert found["value_recall"] == pytest.approx(1.0)
        assert max(value for name, value in found.items() if name != "cost_saved") <= 1.0
