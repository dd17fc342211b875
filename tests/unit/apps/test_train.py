"""Training from files: the stream's features, a stated rule, the same bundle from the same data."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from stream_scorer.apps.history import fold
from stream_scorer.apps.train import (
    ESTIMATORS,
    FEATURES,
    Days,
    Order,
    choose_thresholds,
    read_labelled,
    train,
)
from stream_scorer.cli.main import app
from stream_scorer.core.features import compile_features
from stream_scorer.core.plan import Plan
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.loader import load_bundle
from stream_scorer.models.store import find
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table


def days(first: int, last: int) -> Days:
    return Days(date(2018, 5, first), date(2018, 5, last))


SPLIT: dict[str, Any] = {"train": days(1, 10), "validation": days(11, 15), "test": days(16, 20)}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return simulate(days=52, customers=250)


@pytest.fixture(scope="module")
def data(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transactions.parquet"
    write_table(table, path)
    return path


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_same_data_gives_the_same_content_and_it_scores(
    kind: str, data: Path, table: pa.Table, tmp_path: Path
) -> None:
    first, told = train(Order(data, kind, "1.0.0", store=tmp_path, **SPLIT))
    _, again = train(Order(data, kind, "1.0.1", store=tmp_path, **SPLIT))
    assert told.content_hash == again.content_hash
    assert told.kind == kind
    assert find(tmp_path, "fraud:1.0.0") == first

    loaded = load_bundle(first)
    rows = fold(table, loaded.model(Plan()).features, Plan()).features
    scores = loaded.predictor.scores(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(np.unique(scores)) > 1
    assert told.training.test.auc > 0.5
    assert told.training.train.rows > told.training.train.frauds > 0


def test_other_data_gives_another_content(data: Path, tmp_path: Path) -> None:
    model = "hist_gradient_boosting"
    _, one = train(Order(data, model, "1.0.0", store=tmp_path, **SPLIT))
    fewer = SPLIT | {"train": days(2, 10)}
    _, two = train(Order(data, model, "1.0.1", store=tmp_path, **fewer))
    assert one.content_hash != two.content_hash


def test_features_are_those_of_the_handbook(table: pa.Table) -> None:
    folded = fold(table, compile_features(FEATURES, Plan()), Plan())
    frame = table.select(["event_time", "customer_id", "amount_minor"]).to_pandas()
    assert folded.rows.tolist() == list(range(len(frame)))
    amount = frame["amount_minor"] / 100
    time = frame["event_time"]
    expected = [amount, time.dt.day_of_week >= 5, time.dt.hour <= 6]
    counts, means = [], []
    for length in (1, 7, 30):
        count, mean = np.zeros(len(frame)), np.zeros(len(frame))
        for _, rows in frame.assign(amount=amount).groupby("customer_id"):
            # Pandas' window is (t - length, t], but of equal times sees only the earlier rows,
            # which is the order of arrival.
            window = rows.set_index("event_time")["amount"].rolling(f"{length}D")
            count[rows.index] = window.count().to_numpy()
            mean[rows.index] = window.mean().to_numpy()
        counts.append(count)
        means.append(mean)
    oracle = np.column_stack([np.asarray(c, np.float64) for c in (*expected, *counts, *means)])
    assert np.array_equal(folded.features[:, :6], oracle[:, :6])
    assert np.abs(folded.features[:, 6:] - oracle[:, 6:]).max() < 1e-9


def test_thresholds_follow_the_stated_rule() -> None:
    scores = np.arange(1.0, 10_001.0) / 10_000
    fraud = np.zeros(10_000, np.int64)
    fraud[-50:] = 1
    fraud[-3] = 0
    chosen = choose_thresholds(scores, fraud)
    assert (scores >= chosen.review).sum() == 100
    # 49 frauds among the last 54 is the longest run with nine of ten right.
    assert (scores >= chosen.block).sum() == 54


def test_without_a_sure_score_nothing_is_blocked() -> None:
    numbers = np.random.default_rng(0)
    scores = numbers.random(5_000)
    chosen = choose_thresholds(scores, (numbers.random(5_000) < 0.1).astype(np.int64))
    assert chosen.block == 1.0


def test_equal_scores_are_taken_together() -> None:
    scores = np.repeat([0.0, 0.2, 0.9], [9_000, 900, 100])
    chosen = choose_thresholds(scores, (scores > 0.5).astype(np.int64))
    assert (chosen.review, chosen.block) == (0.9, 0.9)
    zeros = choose_thresholds(np.zeros(100), np.zeros(100, np.int64))
    assert zeros.review > 0


def test_text_files_hold_what_parquet_holds(table: pa.Table, tmp_path: Path) -> None:
    few = table.slice(0, 500)
    expected = few.drop_columns("fraud_scenario")
    for ending in ("parquet", "csv", "jsonl"):
        path = tmp_path / f"few.{ending}"
        write_table(few, path)
        assert read_labelled(path).equals(expected), ending


def test_bad_orders_are_refused_in_one_line(data: Path, table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="known are hist_gradient_boosting"):
        train(Order(data, "svm", "1.0.0", store=tmp_path))
    with pytest.raises(SettingsError, match="the train days 2018-07-25:2018-07-31 hold 0"):
        train(Order(data, "decision_tree", "1.0.0", store=tmp_path))
    unlabelled = tmp_path / "unlabelled.csv"
    write_table(table.slice(0, 5).drop_columns(["is_fraud"]), unlabelled)
    with pytest.raises(SettingsError, match="'is_fraud' is missing"):
        train(Order(unlabelled, "decision_tree", "1.0.0", store=tmp_path))
    (tmp_path / "fraud" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ModelError, match="versions never change"):
        train(Order(data, "decision_tree", "1.0.0", store=tmp_path))


@pytest.mark.parametrize("text", ["2018-05-01", "2018-05-01:x", "2018-05-02:2018-05-01", ""])
def test_days_that_are_no_range_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="days"):
        Days.parse(text)


def test_the_commands_report_as_json(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "three.csv"
    simulated = CliRunner().invoke(app, ["simulate", "--days", "3", "--out", str(out), "--json"])
    report = json.loads(simulated.stdout)
    assert report["rows"] == len(pd.read_csv(out)) > 20_000
    assert report["frauds"] == sum(report[f"scenario_{n}"] for n in (1, 2, 3))
    trained = CliRunner().invoke(
        app,
        [
            "train", "--data", str(data), "--model", "decision_tree", "--version", "1.0.0",
            "--out", str(tmp_path), "--train", "2018-05-01:2018-05-10",
            "--validation", "2018-05-11:2018-05-15", "--test", "2018-05-16:2018-05-20", "--json",
        ],
    )  # fmt: skip
    assert json.loads(trained.stdout)["bundle"] == "fraud:1.0.0"
    refused = CliRunner().invoke(app, ["simulate", "--out", str(tmp_path / "x.pickle")])
    assert isinstance(refused.exception, SettingsError)
