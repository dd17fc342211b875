"""The handbook bench's own logic: training and test sets, measures, and gates."""

from copy import deepcopy
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench import handbook
from bench.handbook_steps.polars_handbook import NAMES, WAYS, frame
from bench.handbook_steps.protocol import (
    Rows,
    card_precision,
    first_leaf,
    fit,
    judge,
    split,
    split_on,
)
from stream_scorer.simulator import simulate
from tests.oracle.handbook import handbook_features

FIRST = (date(2018, 7, 25) - date(1970, 1, 1)).days


def rows(*told: tuple[int, int, bool]) -> Rows:
    """Return rows of (day since training began, card, fraud); the feature is the row's number."""
    return Rows(
        features=np.arange(len(told), dtype=np.float64)[:, None],
        fraud=np.array([fraud for _, _, fraud in told], np.bool_),
        day=np.array([FIRST + day for day, _, _ in told], np.int64),
        card=np.array([card for _, card, _ in told], np.int64),
    )


def test_cards_leave_the_test_when_their_fraud_is_known() -> None:
    training, testing = split(
        rows(
            (-1, 1, True), (0, 2, True), (6, 3, False), (7, 4, True), (13, 5, True),
            (14, 1, False), (14, 2, False), (14, 3, False), (14, 4, True), (14, 5, False),
            (15, 4, False), (19, 5, True), (20, 5, False), (20, 2, True), (21, 1, False),
        )
    )  # fmt: skip
    assert training.features[:, 0].tolist() == [1, 2]
    # Card 4's fraud of day 7 is known on day 15; card 5's fraud of day 13 only on day 21.
    assert testing.features[:, 0].tolist() == [5, 7, 8, 9, 11, 12]


def test_card_precision_by_hand() -> None:
    judged = rows(
        (0, 1, False), (0, 1, True), (0, 2, False), (0, 3, True),
        (1, 1, True), (1, 2, True), (1, 3, False), (1, 4, False),
    )  # fmt: skip
    scores = np.array([0.9, 0.1, 0.8, 0.3, 1.0, 0.5, 0.2, 0.5])
    # Card 1 is found on the first day and ignored on the second; equal scores are ranked by number.
    assert card_precision(judged, scores, cards=2) == [0.5, 0.5]
    assert card_precision(judged, scores, cards=1) == [1.0, 1.0]
    assert card_precision(judged, -scores, cards=1) == [1.0, 0.0]


def test_a_tree_prints_its_splits_in_the_features_unit() -> None:
    told = rows(*((0, n, n >= 60) for n in range(100)))
    tree = fit("decision_tree_2", told)
    assert split_on(tree, 0) == pytest.approx(59.5)
    assert np.isnan(split_on(tree, 1))
    assert first_leaf(tree) == (0, 60)
    measures, days = judge(tree, told)
    assert measures == {"auc": 1.0, "ap": 1.0, "cp100": 0.4}
    assert days == [0.4]


def test_both_ways_of_polars_compute_what_the_oracle_does() -> None:
    table = simulate(days=60, customers=60)
    expected = handbook_features(table).to_numpy()
    assert np.count_nonzero(expected[:, -1]) > 100
    for name, way in WAYS.items():
        found = way(frame(table))
        assert tuple(found.columns) == NAMES
        assert handbook.agreement(found.to_numpy(), expected) == 1, name


def test_agreement_is_of_complete_rows() -> None:
    ours = np.zeros((4, 3))
    theirs = ours.copy()
    theirs[0] = 1e-10
    theirs[1, 2] = 1e-8
    theirs[2] = np.nan
    assert handbook.agreement(ours, theirs) == 0.5


def test_rows_frauds_and_scenarios_are_counted() -> None:
    table = pa.table({"is_fraud": [True, False, True], "fraud_scenario": [3, None, 1]})
    assert handbook.counts(table) == {
        "rows": 3, "frauds": 2, "scenario_1": 1, "scenario_2": 0, "scenario_3": 1
    }  # fmt: skip


GOOD: dict[str, Any] = {
    **handbook.EXACT,
    "models": deepcopy(handbook.PUBLISHED),
    "amount_split": 218.67,
    "daily_cp100": list(handbook.DAILY_CARD_PRECISION),
    "oracle_agreement": 1.0,
    "simulate_seconds": 30.0,
    **handbook.timings({"ours": [3, 1, 2], "rolling_sum_by": [2, 2, 9], "packed_sums": [1, 1, 1]}),
}


def test_a_published_report_passes_and_contains_medians() -> None:
    assert handbook.failures(GOOD) == []
    assert (GOOD["feature_seconds"], GOOD["polars_seconds"]) == (2, 2)
    assert GOOD["polars"] == {"rolling_sum_by": 2, "packed_sums": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_rows": 58_263}, "test_rows is 58,263, must be 58,264"),
        ({"scenario_2": 0}, "scenario_2 is 0, must be 9,077"),
        ({"first_leaf_frauds": 235}, "first_leaf_frauds is 235, must be 236"),
        ({"amount_split": 218.7}, "the depth-2 tree splits the amount at 218.700, must be 218.67"),
        ({"amount_split": float("nan")}, "the depth-2 tree splits the amount at nan"),
        ({"daily_cp100": [0.24, 0.32, 0.29, 0.25, 0.23, 0.26, 0.12]}, "the depth-2 tree's CP@100"),
        ({"oracle_agreement": 0.9989}, "0.99890 of the rows agree with the oracle"),
        (
            {"simulate_seconds": 30.01},
            "simulating and writing 183 days takes 30.01 s, must be at most 30",
        ),
        ({"feature_seconds": 2.001}, "our features take 2.001 s, polars' rolling_sum_by 2 s"),
    ],
)
def test_what_is_not_as_published_fails_by_name(changes: dict[str, Any], message: str) -> None:
    (line,) = handbook.failures(GOOD | changes)
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("model", "which", "change"),
    [
        ("logistic_regression", "auc", 0.006), ("logistic_regression", "ap", -0.006),
        ("decision_tree_2", "auc", 0.003), ("random_forest", "ap", -0.021),
        ("decision_tree", "cp100", 0.011), ("random_forest", "cp100", float("nan")),
        # Just past the tolerance: the rounding of the published digits adds nothing.
        ("logistic_regression", "auc", 0.0051), ("decision_tree_2", "ap", -0.0021),
        ("random_forest", "auc", 0.0201), ("decision_tree", "cp100", -0.0101),
    ],
)  # fmt: skip
def test_a_measure_too_far_from_the_published_one_fails(
    model: str, which: str, change: float
) -> None:
    report = deepcopy(GOOD)
    report["models"][model][which] += change
    (line,) = handbook.failures(report)
    assert line.startswith(f"{model}: {which} is ")
    report["models"][model][which] = handbook.PUBLISHED[model][which] + 0.001
    assert handbook.failures(report) == []


def test_a_measure_as_far_as_it_may_be_passes() -> None:
    report = deepcopy(GOOD)
    for name, most in handbook.MAY_DIFFER.items():
        for which in ("auc", "ap"):
            report["models"][name][which] += most
    for name in handbook.PUBLISHED:
        report["models"][name]["cp100"] -= handbook.CARD_PRECISION_MAY_DIFFER
    assert handbook.failures(report) == []
