"""Weights are as good as repeated rows; labels may be missing, and days may have matured."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import DecisionThresholds, ThresholdCosts
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.days import Days, RelativeDays, RelativeSplit, Split
from stream_scorer.training.features import CUSTOMER_FEATURES, read_features
from stream_scorer.training.metrics import Judging, Scored, measures
from stream_scorer.training.models import fit, make_model
from stream_scorer.training.run import train
from stream_scorer.training.thresholds import choose_thresholds
from tests.support.training.train_cases import SPLIT, fitted, on_test_days, order

COSTS = ThresholdCosts(missed_share=1.0, missed_fixed=2.0, review=3.0, false_block=10.0)


def rows(count: int = 2_000) -> tuple[Scored, np.ndarray]:
    """Return scored rows, and int64[count]: how often each counts."""
    numbers = np.random.default_rng(7)
    fraud = (numbers.random(count) < 0.08).astype(np.int64)
    scores = np.clip(numbers.beta(1, 6, count) + 0.4 * fraud * numbers.random(count), 0, 1)
    times = np.where(fraud == 1, 1, numbers.integers(1, 5, count))
    one = Scored(
        scores, fraud, numbers.integers(1, 300, count).astype(np.float64),
        numbers.integers(0, 90, count), numbers.integers(0, 7, count),
    )  # fmt: skip
    return one, times


def repeated(one: Scored, times: np.ndarray) -> Scored:
    at = np.repeat(np.arange(len(times)), times)
    return Scored(one.scores[at], one.fraud[at], one.amount[at], one.card[at], one.day[at])


def test_measures_of_weights_are_those_of_repeated_rows() -> None:
    one, times = rows()
    judging = Judging(DecisionThresholds(review=0.4, block=0.7), COSTS, 5, 30)
    weighted, between = measures(replace(one, weight=times.astype(np.float64)), judging)
    whole, expected = measures(repeated(one, times), judging)
    whole.pop("card_precision")
    assert weighted.keys() == whole.keys()
    for name, value in whole.items():
        assert weighted[name] == pytest.approx(value, rel=1e-12), name
        assert between[name].low == pytest.approx(expected[name].low, rel=1e-9), name


def test_thresholds_of_weights_are_those_of_repeated_rows() -> None:
    one, times = rows()
    again = repeated(one, times)
    weighted = choose_thresholds(one.scores, one.fraud, one.amount, COSTS, times * 1.0)
    assert weighted == choose_thresholds(again.scores, again.fraud, again.amount, COSTS)
    assert weighted != choose_thresholds(one.scores, one.fraud, one.amount, COSTS)


@pytest.mark.parametrize("kind", ["decision_tree", "logistic_regression", "hist_gradient_boosting"])
def test_every_estimator_takes_weights(kind: str) -> None:
    one, times = rows(600)
    features = np.stack([one.scores, one.amount], axis=1)
    scores = []
    for weight in (None, np.ones(len(times)), times * 40.0):
        model = make_model(kind, {"max_depth": 3} if kind == "decision_tree" else {})
        fit(model, features, one.fraud, weight)
        scores.append(model.predict_proba(features)[:, 1])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[2].mean() < scores[0].mean()


@pytest.fixture(scope="module")
def partly(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth row has no label, and every twentieth was blocked."""
    number = np.arange(labelled.num_rows)
    at = labelled.schema.get_field_index("is_fraud")
    flags = pa.array(labelled["is_fraud"].to_numpy(), mask=number % 10 == 0)
    table = labelled.set_column(at, pa.field("is_fraud", pa.bool_()), flags)
    outcome = pa.array(np.where(number % 20 == 0, "BLOCK", "APPROVE"))
    path = tmp_path_factory.mktemp("partly") / "rows.parquet"
    write_table(table.append_column("outcome", outcome), path)
    return path


def test_a_blocked_row_without_a_label_is_unknown(partly: Path) -> None:
    _, compiled = read_features(None, Plan())
    ignoring = Plan(label_policy={"unlabelled": "ignore"})
    for plan, step in ((Plan(), 20), (ignoring, 10)):
        found = take(partly, compiled, plan, sort=False, most_rejected=0, unlabelled=True)
        number = np.arange(len(found.table))
        assert found.outcomes
        assert np.array_equal(found.state == UNKNOWN, number % step == 0)
        told = found.table["is_fraud"].to_pylist()
        kinds = {None: GENUINE, False: GENUINE, True: FRAUD}
        assert all(
            found.state[row] == kinds[told[row]] for row in np.flatnonzero(number % step).tolist()
        )
    with pytest.raises(SettingsError, match="row 1: column 'is_fraud' is empty"):
        take(partly, compiled, Plan(), sort=False, most_rejected=0)


def test_training_leaves_unknown_rows_out(partly: Path, data: Path, tmp_path: Path) -> None:
    _, told = train(order(partly, tmp_path))
    _, all_known = train(order(data, tmp_path, "1.0.1"))
    whole = fitted(all_known.training).rows
    assert fitted(told.training).rows == pytest.approx(whole * 0.95, rel=0.01)
    card = (tmp_path / "fraud" / "1.0.0" / "card.md").read_text()
    assert "transactions without a known label were left out" in card


def test_an_outcome_that_is_not_ours_is_refused(labelled: pa.Table, tmp_path: Path) -> None:
    few = labelled.slice(0, 3)
    few = few.append_column("outcome", pa.array(["APPROVE", None, "DECLINED"]))
    write_table(few, tmp_path / "few.csv")
    _, compiled = read_features(None, Plan())
    with pytest.raises(SettingsError, match=r"row 3: column 'outcome': \"DECLINED\" is not one of"):
        take(tmp_path / "few.csv", compiled, Plan(), sort=False, most_rejected=0)


MATURED = Split(
    train=Days(date(2018, 4, 20), date(2018, 5, 5)),
    validation=Days(date(2018, 5, 6), date(2018, 5, 10)),
    test=Days(date(2018, 5, 11), date(2018, 5, 15)),
    matured=True,
)


def test_matured_days_follow_each_other_with_all_labels(labelled: pa.Table, tmp_path: Path) -> None:
    MATURED.check()
    with pytest.raises(SettingsError, match="labels are known up to"):
        replace(MATURED, matured=False).check()
    with pytest.raises(SettingsError, match="the test begins on 2018-05-11, not after them"):
        replace(MATURED, validation=Days(date(2018, 5, 6), date(2018, 5, 11))).check()
    with pytest.raises(SettingsError, match="not after them"):
        replace(MATURED, train=Days(date(2018, 5, 20), date(2018, 5, 21))).check()
    # Labels that are known a week later count on all days.
    known = labelled["event_time"].cast(pa.int64()).to_numpy() + 7 * 86_400_000
    dated = labelled.append_column("label_time", pa.array(known, pa.timestamp("ms", "UTC")))
    path = tmp_path / "dated.parquet"
    write_table(dated, path)
    directory, told = train(order(path, tmp_path, split=MATURED))
    time = labelled["event_time"].cast(pa.int64()).to_numpy() // 86_400_000
    fraud = labelled["is_fraud"].to_numpy()
    assert fitted(told.training).frauds == fraud[MATURED.train.holds(time)].sum()
    assert on_test_days(told.training).period.frauds == fraud[MATURED.test.holds(time)].sum()
    assert told.training.delay_days is None
    card = (directory / "card.md").read_text()
    assert "the days had matured" in card
    assert "Labels take" not in card
    assert SPLIT.matured is False


def test_relative_days_may_have_matured() -> None:
    relative = RelativeSplit(
        RelativeDays(9, 4), RelativeDays(3, 2), RelativeDays(1, 0), matured=True
    )
    split = relative.ending(date(2018, 5, 10))
    assert split.matured
    split.check()
    assert (split.test.first, split.validation.last) == (date(2018, 5, 9), date(2018, 5, 8))
    assert CUSTOMER_FEATURES
