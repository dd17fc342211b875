"""A dataset from a real scorer's decisions equals what training makes of the same file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.dataset.contract import DatasetOrder
from stream_scorer.dataset.run import build_dataset
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.labels.delay import DelayRange, read_delays
from stream_scorer.labels.run import ImportJob, import_labels
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.producing.transactions import open_feed
from stream_scorer.settings import MODELS_DIRECTORY, Kafka, Registry, Settings
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.features import CUSTOMER_FEATURES, FEATURES, read_features
from stream_scorer.training.labelled import DatasetFolder
from tests.support.faults.process import ScorerProcess, wait_until

pytestmark = pytest.mark.kafka
DAY_MS = 86_400_000
MODEL = "fraud:1.0.0"
BEGIN, DAYS = 1_522_540_800_000, 12


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return simulate(days=DAYS, customers=200)


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Settings:
    return Settings(kafka=kafka_topics(kafka_settings(), 2))


def decided(settings: Settings, table: pa.Table, log: Path) -> None:
    """Send transactions, and let a scorer decide them."""
    kafka = settings.kafka
    with open_feed(kafka, Registry()) as feed:
        feed.send(table)
    arguments = ("--from", "earliest", "--model", MODEL)
    with ScorerProcess(kafka, log, *arguments) as scorer:
        topic = kafka.topics.transactions
        wait_until(
            lambda: sum(committed_offsets(kafka, topic, [0, 1]).values()) >= len(table),
            lambda: f"decided: {scorer.last}",
        )


def test_a_dataset_equals_training_on_the_same_rows(
    settings: Settings, table: pa.Table, tmp_path: Path
) -> None:
    decided(settings, table, tmp_path / "scorer.log")
    time = table["event_time"].cast(pa.int64()).to_numpy()
    known = time + 2 * DAY_MS
    labels = tmp_path / "labels.parquet"
    pq.write_table(
        pa.table(
            {
                "transaction_id": table["transaction_id"], "is_fraud": table["is_fraud"],
                "label_time": pa.array(known),
            }
        ),
        labels,
    )  # fmt: skip
    imported = import_labels(settings, ImportJob(labels, source="bank"))
    assert (imported.sent, imported.foreign, imported.ambiguous) == (len(table), 0, 0)
    order = DatasetOrder(BEGIN, BEGIN + DAYS * DAY_MS, 2**62, tmp_path / "one", None, 1.0, MODEL)
    report = build_dataset(settings, order)
    frauds = int(table["is_fraud"].to_numpy().sum())
    blocked = report.left_out["blocked"]
    assert (report.rows, report.frauds, blocked) == (len(table), frauds, 0)
    dataset = DatasetFolder.open(tmp_path / "one")
    assert dataset.digest == report.digest
    assert dataset.features == tuple(
        read_manifest(find(FolderStore(MODELS_DIRECTORY), MODEL)).features
    )

    # The same rows from a file, through the code of `train`.
    path = tmp_path / "rows.parquet"
    write_table(table.append_column("label_time", pa.array(known, pa.timestamp("ms", "UTC"))), path)
    listed = tmp_path / "features.json"
    listed.write_bytes((MODELS_DIRECTORY / "fraud" / "1.0.0" / "manifest.json").read_bytes())
    _, compiled = read_features(listed, Plan())
    assert len(compiled.names) == len(CUSTOMER_FEATURES)
    taken = take(path, compiled, Plan(), sort=True, most_rejected=0)
    found = dataset.take()
    # Rows of one time may be in another order: they are of other partitions.
    orders = [
        np.lexsort((each.table["customer_id"].to_pylist(), each.time)) for each in (taken, found)
    ]
    rows = list(zip((taken, found), orders, strict=True))
    for what in (
        lambda one: one.features, lambda one: one.time, lambda one: one.amounts,
        lambda one: one.table["is_fraud"].to_numpy(),
        lambda one: one.table["label_time"].cast(pa.int64()).to_numpy(),
    ):  # fmt: skip
        first, second = (np.ascontiguousarray(what(one)[at]) for one, at in rows)
        assert first.tobytes() == second.tobytes()

    # Other features, from the input: with terminals, whose history depends on the labels.
    _, whole = read_features(None, Plan())
    declared = tmp_path / "all.json"
    declared.write_text(json.dumps(list(FEATURES)))
    refolded = replace(order, out=tmp_path / "refolded", features=declared)
    assert build_dataset(settings, refolded).rows == len(table)
    more = DatasetFolder.open(tmp_path / "refolded").take()
    expected = take(path, whole, Plan(), sort=True, most_rejected=0)
    by_customer = np.lexsort((more.table["customer_id"].to_pylist(), more.time))
    first = np.ascontiguousarray(expected.features[orders[0]])
    assert first.tobytes() == np.ascontiguousarray(more.features[by_customer]).tobytes()
    assert more.features[:, -1].any()

    # Again: equal bytes. Earlier: fewer labels. Half of the genuine ones: all frauds.
    again = build_dataset(settings, replace(order, out=tmp_path / "two"))
    assert again.digest == report.digest
    assert (tmp_path / "two" / "part-00000.parquet").read_bytes() == (
        tmp_path / "one" / "part-00000.parquet"
    ).read_bytes()
    # Records arrive when they are sent: nothing was known in 2018.
    early = build_dataset(
        settings, replace(order, out=tmp_path / "early", as_of_ms=BEGIN + DAYS * DAY_MS)
    )
    # So what was blocked is unknown.
    unknown = early.left_out["blocked"]
    assert unknown > 0
    assert (early.rows, early.frauds) == (len(table) - unknown, 0)
    half = build_dataset(settings, replace(order, out=tmp_path / "half", sample=0.5))
    assert half.frauds == frauds
    assert half.genuine == pytest.approx(report.genuine / 2, rel=0.1)
    with pytest.raises(SettingsError, match="the folder is not empty"):
        build_dataset(settings, order)

    curve = read_delays(settings, DelayRange(BEGIN, BEGIN + DAYS * DAY_MS))
    assert (curve.frauds, curve.days_for(0.5)) == (frauds, 2.0)
