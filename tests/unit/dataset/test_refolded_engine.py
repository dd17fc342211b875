"""Other features are computed with the engine of the model, as ``train`` computes them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.writing.encode import Choice
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.dataset import blocked as blocking
from stream_scorer.dataset import run as building
from stream_scorer.dataset import stream as streaming
from stream_scorer.dataset.contract import DatasetOrder
from stream_scorer.dataset.document import SourceRange
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.settings import Models, Registry, Settings
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.features import FEATURES, read_features
from stream_scorer.training.labelled import DatasetFolder
from tests.support.dataset.made_datasets import decided, encoder, raw
from tests.support.models.noise_bundles import AMOUNT, write

POLICY = plan_from({"label_policy": {"unlabelled": "genuine"}})
POLICY_TEXT = '[label_policy]\nunlabelled = "genuine"\n'
KEYS = ("transaction_id", "customer_id", "terminal_id")
RISKS = [at for at, spec in enumerate(FEATURES) if spec["kind"] == "risk"]


def out_of(table: pa.Table) -> Any:
    """Return bool[n]: which transactions were blocked, and so have no label."""
    return np.random.default_rng(2).random(len(table)) < 0.1


@pytest.fixture(scope="module")
def topics(labelled: pa.Table) -> Mapping[str, RawRecords]:
    """All transactions, their decisions, and labels of those that were not blocked."""
    time = labelled["event_time"].cast(pa.int64()).to_numpy()
    out = out_of(labelled)
    columns: dict[str, Any] = {name: labelled[name].combine_chunks() for name in KEYS}
    encode = TransactionEncoder(Registry())
    values = BytesColumn.of(value for batch in labelled.to_batches() for value in encode(batch))
    count = len(values)
    inputs = RawRecords(
        values, BytesColumn.nulls(count), None, np.zeros(count, np.int32), np.arange(count), time
    )  # fmt: skip
    ids = columns["transaction_id"].to_pylist()
    decisions = decided(
        ids, time, np.zeros((count, 1)), customer_id=columns["customer_id"],
        terminal_id=columns["terminal_id"], amount_minor=labelled["amount_minor"].to_numpy(),
        decision=Choice(out.astype(np.int64), ["APPROVE", "BLOCK"]),
    )  # fmt: skip
    rows = np.flatnonzero(~out)
    some = {name: column.take(pa.array(rows)) for name, column in columns.items()}
    some |= {"event_time": time[rows], "label_time": time[rows]}
    some["is_fraud"] = labelled["is_fraud"].to_numpy()[rows]
    said = raw(encoder("label.v1", "labels").encode(some, len(rows)))
    return {"transactions": inputs, "decisions": decisions, "labels": said}


@pytest.fixture(scope="module")
def file(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same transactions, outcomes and labels for ``train``."""
    path = tmp_path_factory.mktemp("file") / "transactions.parquet"
    out = out_of(labelled)
    at = labelled.schema.get_field_index("is_fraud")
    flags = pa.array(labelled["is_fraud"].to_numpy(), mask=out)
    outcome = pa.array(np.where(out, "BLOCK", "APPROVE"))
    write_table(
        labelled.set_column(at, "is_fraud", flags).append_column("outcome", outcome), path
    )  # fmt: skip
    return path


def trained(file: Path, engine: int) -> Any:
    """Return float64[n, m]: what ``train`` computes for the transactions."""
    _, compiled = read_features(None, POLICY, engine)
    return take(file, compiled, POLICY, sort=False, most_rejected=0, unlabelled=True).features


@pytest.mark.parametrize(("engine", "logged"), [(1, False), (2, True), (3, False)])
def test_features_from_the_input_have_the_engine_of_the_model(
    engine: int, topics: Mapping[str, RawRecords], file: Path, labelled: pa.Table,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, logged: bool,
) -> None:  # fmt: skip
    """The policy is that of the newest revision, or if there is none, that of the plan's file."""

    def read(_: object, source: SourceRange, *__: object) -> Iterable[RawRecords]:
        return [topics[source.topic]]

    for module in (blocking, building, streaming):
        monkeypatch.setattr(module, "read", read)
    for module in (building, streaming):
        monkeypatch.setattr(module, "source_of", lambda _, topic: SourceRange(topic, {}, {}))
    revisions = {1: Plan(), 2: POLICY} if logged else {}
    monkeypatch.setattr(building, "_recorded_plans", lambda _: revisions)
    store = tmp_path / "models"
    write(store, "1.0.0", (AMOUNT,), engine)
    (store / "fraud" / "plan.toml").write_text("" if logged else POLICY_TEXT)
    declared = tmp_path / "all.json"
    declared.write_text(json.dumps(list(FEATURES)))
    time = labelled["event_time"].cast(pa.int64()).to_numpy()
    out = tmp_path / "dataset"
    order = DatasetOrder(
        int(time[0]), int(time[-1]) + 1, 2**62, out, declared, 1.0, "fraud:1.0.0"
    )  # fmt: skip
    settings = Settings(models=Models(directory=store))
    building.build_dataset(settings, order)
    folder, kept = DatasetFolder.open(out), ~out_of(labelled)
    assert folder.engine == engine
    expected = trained(file, engine)
    assert folder.take().features.tobytes() == expected[kept].tobytes()
    other = trained(file, 2 if engine == 1 else 1)
    assert (expected[:, RISKS] != other[:, RISKS]).any()
    # So has the reference of drift detection.
    _, compiled = read_features(None, POLICY, engine)
    stream = streaming.read_stream(settings, order, compiled, POLICY, ())
    assert stream.features.tobytes() == expected.tobytes()
