"""A dataset from a real scorer's decisions equals what training makes of the same file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.dataset.contract import DatasetOrder, DatasetReport
from stream_scorer.dataset.run import build_dataset
from stream_scorer.dataset.stream import read_stream
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.labels.delay import DelayRange, read_delays
from stream_scorer.labels.run import LabelImportJob, import_labels
from stream_scorer.models.bundles.bundle import REFERENCE
from stream_scorer.producing.transactions import open_feed
from stream_scorer.settings import MODELS_DIRECTORY, Kafka, Registry, Settings
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.days import Days, Split
from stream_scorer.training.features import FEATURES, read_features
from stream_scorer.training.labelled import DatasetFolder, LabelledData
from stream_scorer.training.reference_rows import reference_columns
from stream_scorer.training.run import TrainingJob, train, train_on
from tests.support.faults.process import ScorerProcess, wait_until

pytestmark = pytest.mark.kafka
DAY_MS = 86_400_000
MODEL = "fraud:1.0.0"
BEGIN, DAYS = 1_522_540_800_000, 12


@dataclass(frozen=True)
class Stage:
    """Decided transactions, their labels, and a dataset of all of them.

    Attributes:
        settings: The cluster.
        table: The transactions.
        path: They and their labels, in a file.
        order: The order of the dataset.
        report: Of its build.
    """

    settings: Settings
    table: pa.Table
    path: Path
    order: DatasetOrder
    report: DatasetReport

    @property
    def frauds(self) -> int:
        return int(self.table["is_fraud"].to_numpy().sum())

    def build(self, **changes: Any) -> DatasetReport:
        """Build another dataset, in a folder next to the file."""
        return build_dataset(self.settings, replace(self.order, **changes))


def decide(settings: Settings, table: pa.Table, log: Path) -> None:
    """Send transactions, and let a scorer decide them."""
    kafka = settings.kafka
    with open_feed(kafka, Registry()) as feed:
        feed.send(table)
    with ScorerProcess(kafka, log, "--from", "earliest", "--model", MODEL) as scorer:
        topic = kafka.topics.transactions
        wait_until(
            lambda: sum(committed_offsets(kafka, topic, [0, 1]).values()) >= len(table),
            lambda: f"decided: {scorer.last}",
        )


@pytest.fixture(scope="module")
def stage(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path_factory: pytest.TempPathFactory,
) -> Stage:
    settings = Settings(kafka=kafka_topics(kafka_settings(), 2))
    folder = tmp_path_factory.mktemp("stage")
    table = simulate(days=DAYS, customers=200)
    decide(settings, table, folder / "scorer.log")
    known = pa.array(table["event_time"].cast(pa.int64()).to_numpy() + 2 * DAY_MS)
    columns = [table["transaction_id"], table["is_fraud"], known]
    names = ["transaction_id", "is_fraud", "label_time"]
    pq.write_table(pa.table(columns, names), folder / "labels.parquet")
    imported = import_labels(settings, LabelImportJob(folder / "labels.parquet", source="bank"))
    assert (imported.sent, imported.foreign, imported.ambiguous) == (len(table), 0, 0)
    path = folder / "rows.parquet"
    write_table(table.append_column("label_time", known.cast(pa.timestamp("ms", "UTC"))), path)
    order = DatasetOrder(BEGIN, BEGIN + DAYS * DAY_MS, 2**62, folder / "one", None, 1.0, MODEL)
    return Stage(settings, table, path, order, build_dataset(settings, order))


def by_customer(one: LabelledData) -> Any:
    """Return an order of rows: those of one time are in another order, by partitions."""
    return np.lexsort((one.table["customer_id"].to_pylist(), one.time))


def test_a_dataset_equals_training_on_the_same_rows(stage: Stage, tmp_path: Path) -> None:
    report, rows = stage.report, len(stage.table)
    assert (report.rows, report.frauds, sum(report.left_out.values())) == (rows, stage.frauds, 0)
    dataset = DatasetFolder.open(stage.order.out)
    assert dataset.digest == report.digest
    listed = tmp_path / "features.json"
    listed.write_bytes((MODELS_DIRECTORY / "fraud" / "1.0.0" / "manifest.json").read_bytes())
    specs, compiled = read_features(listed, Plan())
    assert dataset.features == specs
    taken = take(stage.path, compiled, Plan(), sort=True, most_rejected=0)
    found = dataset.take()
    ordered = [(one, by_customer(one)) for one in (taken, found)]
    columns: tuple[Callable[[LabelledData], Any], ...] = (
        lambda one: one.features, lambda one: one.time, lambda one: one.amounts,
        lambda one: one.table["is_fraud"].to_numpy(),
        lambda one: one.table["label_time"].cast(pa.int64()).to_numpy(),
    )  # fmt: skip
    for what in columns:
        first, second = (np.ascontiguousarray(what(one)[at]) for one, at in ordered)
        assert first.tobytes() == second.tobytes()


def test_other_features_equal_those_of_training(stage: Stage, tmp_path: Path) -> None:
    # With terminals: their history depends on the labels.
    declared = tmp_path / "all.json"
    declared.write_text(json.dumps(list(FEATURES)))
    out = tmp_path / "refolded"
    assert stage.build(out=out, features=declared).rows == len(stage.table)
    _, compiled = read_features(None, Plan())
    found = DatasetFolder.open(out).take()
    expected = take(stage.path, compiled, Plan(), sort=True, most_rejected=0)
    first, second = (
        np.ascontiguousarray(one.features[by_customer(one)]) for one in (expected, found)
    )
    assert first.tobytes() == second.tobytes()
    assert found.features[:, -1].any()


def test_the_reference_equals_that_of_training(stage: Stage, tmp_path: Path) -> None:
    specs = [{"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
             {"name": "N", "kind": "count", "window": "1d"}]  # fmt: skip
    declared, out = tmp_path / "some.json", tmp_path / "refolded"
    declared.write_text(json.dumps(specs))
    stage.build(out=out, features=declared)
    first = date(2018, 4, 1)

    def days(begin: int, end: int) -> Days:
        return Days(first + timedelta(begin), first + timedelta(end))

    job = TrainingJob(
        stage.path, "logistic_regression", "1.0.0", store=tmp_path / "file", features=declared,
        split=Split(days(0, 7), days(8, 9), days(10, 11), matured=True), resamples=0, sort=True,
    )  # fmt: skip
    by_file, _ = train(job)
    by_stream, _ = train_on(out, replace(
        job, store=tmp_path / "stream", stream=lambda features: read_stream(
            stage.settings, stage.order, features, Plan(), reference_columns(Plan())
        ),
    ))  # fmt: skip
    assert (by_stream / REFERENCE).read_bytes() == (by_file / REFERENCE).read_bytes()


def test_builds_of_one_range_are_equal_and_labels_matter(stage: Stage, tmp_path: Path) -> None:
    again = stage.build(out=tmp_path / "two")
    assert again.digest == stage.report.digest
    parts = [folder / "part-00000.parquet" for folder in (stage.order.out, tmp_path / "two")]
    assert parts[0].read_bytes() == parts[1].read_bytes()
    # Records arrive when they are sent: nothing was known in 2018, so what was blocked is unknown.
    early = stage.build(out=tmp_path / "early", as_of_ms=BEGIN + DAYS * DAY_MS)
    unknown = early.left_out["blocked"]
    assert unknown > 0
    assert (early.rows, early.frauds) == (len(stage.table) - unknown, 0)
    half = stage.build(out=tmp_path / "half", sample=0.5)
    assert half.frauds == stage.frauds
    assert half.genuine == pytest.approx(stage.report.genuine / 2, rel=0.1)
    with pytest.raises(SettingsError, match="the folder is not empty"):
        stage.build()


def test_delays_of_labels_are_read_from_the_topic(stage: Stage) -> None:
    curve = read_delays(stage.settings, DelayRange(BEGIN, BEGIN + DAYS * DAY_MS))
    assert (curve.frauds, curve.days_for(0.5)) == (stage.frauds, 2.0)
