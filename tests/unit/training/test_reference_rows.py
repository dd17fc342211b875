"""The rows of a reference: days of training, days outside of it, scores and outcomes."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.reference.build import ReferenceJob
from stream_scorer.training.data import take
from stream_scorer.training.days import Days, Split
from stream_scorer.training.features import CUSTOMER_FEATURES
from stream_scorer.training.labelled import LabelledData
from stream_scorer.training.reference_rows import (
    DecidingModel,
    ReferenceDays,
    RowsOfReference,
    reference_rows,
)
from stream_scorer.training.run import train
from tests.support.training.train_cases import SPLIT, order

Array = NDArray[Any]

DAY_MS = 86_400_000
PLAN = Plan(segments={"amount": [20.0, 100.0]})
FEATURES = compile_features(CUSTOMER_FEATURES, PLAN)


class ByAmount:
    """Scores by the amount; fails above 500 units."""

    feature_count = 9

    def scores(self, rows: Array) -> Array:
        return np.where(rows[:, 0] > 500, np.nan, np.minimum(rows[:, 0] / 200, 1.0))

    def raw(self, rows: Array) -> Array:
        return self.scores(rows)

    def attributions(self, rows: Array) -> tuple[Array, float]:
        return np.zeros_like(rows), 0.0


@pytest.fixture(scope="module")
def taken(data: Path) -> LabelledData:
    return take(data, FEATURES, PLAN, sort=False, most_rejected=0.0)


def rows_on(taken: LabelledData, days: ReferenceDays, plan: Plan = PLAN) -> RowsOfReference:
    job = ReferenceJob("fraud", "1.0.0", CUSTOMER_FEATURES, FEATURES, plan)
    return reference_rows(taken, days, DecidingModel(ByAmount(), Thresholds(0.5, 0.9)), job)


def test_only_held_days_are_scored(taken: LabelledData) -> None:
    found = rows_on(taken, ReferenceDays(SPLIT.train, (SPLIT.validation, SPLIT.test)))
    rows = found.rows
    day = rows.time // DAY_MS
    held = SPLIT.validation.holds(day) | SPLIT.test.holds(day)
    assert (rows.held == held).all()
    assert (rows.training == SPLIT.train.holds(day)).all()
    amount = rows.events.amounts / 100
    assert (np.isnan(rows.score) == (~held | (amount > 500))).all()
    # A row for which the model fails has the outcome of the bundle: REVIEW.
    expected = np.where(amount > 500, 1, np.searchsorted([0.5, 0.9], amount / 200, "right"))
    assert (rows.outcome[held] == expected[held]).all()
    assert found.job.segments == ("amount<20", "amount<100", "amount>=100")
    assert (rows.members[:, 0] == np.searchsorted([20, 100], amount, "right") + 1).all()


def test_outcomes_are_those_of_the_plans_policy(taken: LabelledData) -> None:
    plan = Plan(policy={"default": {"review": 0.1, "block": 0.2}})
    rows = rows_on(taken, ReferenceDays(None, (SPLIT.test,)), plan).rows
    assert (rows.outcome[rows.held & (rows.score >= 0.2)] == 2).all()
    # An imported model has no training days: the held ones count for its features, too.
    assert (rows.training == rows.held).all()


def test_rows_are_in_the_order_of_time(taken: LabelledData) -> None:
    assert (np.diff(rows_on(taken, ReferenceDays(None, (SPLIT.test,))).rows.time) >= 0).all()


def test_held_days_of_the_training_are_refused(taken: LabelledData) -> None:
    days = ReferenceDays(SPLIT.train, (Days(date(2018, 5, 5), date(2018, 5, 9)),))
    with pytest.raises(SettingsError, match=r"held days .* fitted on 2018-04-20:2018-05-05"):
        rows_on(taken, days)


def test_training_without_complete_histories_has_no_reference(data: Path, tmp_path: Path) -> None:
    early = Split(
        Days(date(2018, 4, 10), date(2018, 4, 15)), Days(date(2018, 4, 3), date(2018, 4, 9)),
        Days(date(2018, 4, 24), date(2018, 4, 28)),
    )  # fmt: skip
    directory, manifest = train(order(data, tmp_path, split=early))
    assert "reference.json" not in manifest.files
    assert load_bundle(directory).reference is None


def test_two_trainings_have_the_same_reference(data: Path, tmp_path: Path) -> None:
    first, second = (train(order(data, tmp_path / name, resamples=0))[0] for name in "ab")
    assert (first / "reference.json").read_bytes() == (second / "reference.json").read_bytes()
    reference = load_bundle(first).reference
    assert reference is not None
    fields = {each.field.name: each for each in reference.fields}
    # In the training days, no window of 30 days at a terminal has a complete history of 37 days.
    assert "TERMINAL_ID_RISK_30DAY_WINDOW" not in fields
    assert fields["TERMINAL_ID_RISK_7DAY_WINDOW"].reach_ms == 14 * DAY_MS
    assert fields["TERMINAL_ID_RISK_7DAY_WINDOW"].depends_on == ("terminal_id",)
    assert fields["score"].reach_ms == 37 * DAY_MS
