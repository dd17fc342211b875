"""A training uses the engine that its plan needs, or the one that is chosen."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.features import FEATURES, chosen_engine, read_features
from stream_scorer.training.fold import fold
from stream_scorer.training.labelled import DatasetFolder, risk_states
from stream_scorer.training.run import train
from tests.support.dataset.made_datasets import build, decided, encoder, known_of, raw
from tests.support.training.train_cases import order

POLICY = plan_from({"label_policy": {"unlabelled": "genuine"}})
IGNORED = plan_from({"label_policy": {"unlabelled": "ignore", "unlabelled_in_risk": "ignore"}})
RISKS = [at for at, spec in enumerate(FEATURES) if spec["kind"] == "risk"]


@pytest.fixture(scope="module")
def blocked(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The city's transactions, a tenth of which were blocked and so have no label."""
    path = tmp_path_factory.mktemp("blocked") / "transactions.parquet"
    out = np.random.default_rng(2).random(len(labelled)) < 0.1
    fraud = labelled["is_fraud"].to_numpy()
    at = labelled.schema.get_field_index("is_fraud")
    table = labelled.set_column(at, "is_fraud", pa.array(fraud, mask=out))
    outcome = pa.array(np.where(out, "BLOCK", "APPROVE"))
    write_table(table.append_column("outcome", outcome), path)
    return path


def test_the_plan_decides_or_the_option() -> None:
    assert [chosen_engine(None, plan) for plan in (Plan(), POLICY)] == [1, 2]
    assert [chosen_engine(3, plan) for plan in (Plan(), POLICY)] == [3, 3]
    assert RINGS_ENGINE == 1
    with pytest.raises(SettingsError, match="--engine 4: not an engine"):
        chosen_engine(4, Plan())


def test_a_label_policy_trains_with_engine_2(blocked: Path, tmp_path: Path) -> None:
    """Its risks leave out the blocked transactions, as those of the stream do."""
    directory, manifest = train(order(blocked, tmp_path, plan=POLICY))
    assert manifest.engine == 2
    assert "## Features (engine 2)" in (directory / "card.md").read_text()
    assert load_bundle(directory).model(POLICY).features.version == 2
    _, one = train(order(blocked, tmp_path, "1.0.1", plan=POLICY, engine=1))
    assert (one.engine, one.content_hash == manifest.content_hash) == (1, False)


def test_terminals_rows_are_settled_as_the_profiler_does(blocked: Path) -> None:
    _, features = read_features(None, POLICY, 2)
    found = take(blocked, features, POLICY, sort=False, most_rejected=0, unlabelled=True)
    table, time = found.table, found.time
    table = (
        table.append_column("label_time", pa.nulls(len(table), pa.timestamp("ms", "UTC")))
        if ("label_time" not in table.column_names)
        else table
    )
    out = table["is_fraud"].is_null().to_numpy()
    fraud = table["is_fraud"].fill_null(False).to_numpy()
    state = risk_states(table, time, POLICY)
    assert state.tolist() == np.where(out, UNKNOWN, np.where(fraud, FRAUD, GENUINE)).tolist()
    assert found.features.tobytes() == fold(table, features, POLICY, state).features.tobytes()
    # With a row's unknown neighbours the risk is larger than that of engine 1.
    _, first = read_features(None, POLICY, 1)
    other = fold(table, first, POLICY, state).features
    assert (found.features[:, RISKS] >= other[:, RISKS]).all()
    assert (found.features[:, RISKS] > other[:, RISKS]).any()
    same = [at for at in range(len(FEATURES)) if at not in RISKS]
    assert found.features[:, same].tobytes() == other[:, same].tobytes()


def test_the_policy_for_risks_and_late_labels_count(labelled: pa.Table) -> None:
    few = labelled.slice(0, 4)
    time = few["event_time"].cast(pa.int64()).to_numpy()
    at = few.schema.get_field_index("is_fraud")
    few = few.set_column(at, "is_fraud", pa.array([True, False, None, True]))
    due = time + POLICY.terminal_delay_ms - POLICY.terminal_slack_ms
    known = due + np.array([0, 0, 0, 1])
    few = few.append_column("label_time", pa.array(known, pa.timestamp("ms", "UTC")))
    assert risk_states(few, time, POLICY).tolist() == [FRAUD, GENUINE, GENUINE, GENUINE]
    assert risk_states(few, time, IGNORED).tolist() == [FRAUD, GENUINE, UNKNOWN, UNKNOWN]
    assert risk_states(few, time, Plan()).tolist() == [1, 0, 0, 0]


def test_engine_3_trains_with_our_own_arithmetic(data: Path, tmp_path: Path) -> None:
    directory, manifest = train(order(data, tmp_path, engine=3, model="logistic_regression"))
    bundle = load_bundle(directory)
    assert isinstance(bundle.predictor, ScoringPredictor)
    assert (manifest.engine, bundle.predictor.own_exponential) == (3, True)
    _, one = train(order(data, tmp_path, "1.0.1", model="logistic_regression"))
    assert one.engine == 1
    assert manifest.features == one.features
    assert manifest.training.test is not None
    assert one.training.test is not None
    assert manifest.training.test.auc == pytest.approx(one.training.test.auc, abs=1e-9)


def test_an_unknown_engine_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--engine 9: not an engine"):
        train(order(tmp_path / "nothing.parquet", tmp_path, engine=9))


@pytest.fixture(scope="module")
def dataset(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with features of engine 1, some of which are risks."""
    path = tmp_path_factory.mktemp("file") / "transactions.parquet"
    write_table(labelled, path)
    specs, compiled = read_features(None, Plan())
    taken = take(path, compiled, Plan(), sort=False, most_rejected=0)
    table = taken.table
    columns: dict[str, Any] = {
        name: table[name].combine_chunks() for name in ("customer_id", "terminal_id")
    }
    ids = table["transaction_id"]
    decisions = decided(
        ids.to_pylist(), taken.time, taken.features,
        **columns, amount_minor=table["amount_minor"].to_numpy(),
    )  # fmt: skip
    columns |= {"transaction_id": ids.combine_chunks(), "event_time": taken.time}
    columns |= {"label_time": taken.time, "is_fraud": table["is_fraud"].to_numpy()}
    said = raw(encoder("label.v1", "labels").encode(columns, len(table)))
    folder = tmp_path_factory.mktemp("dataset")
    build(folder, [decisions], known_of(said), specs, compiled.names)
    return folder


def of_engine(dataset: Path, folder: Path, engine: int) -> Path:
    made = Path(shutil.copytree(dataset, folder))
    document = json.loads((made / "dataset.json").read_text())
    (made / "dataset.json").write_text(json.dumps(document | {"engine": engine}))
    return made


def test_a_dataset_keeps_the_meaning_of_its_features(dataset: Path, tmp_path: Path) -> None:
    assert DatasetFolder.open(dataset).engine == 1
    _, manifest = train(order(dataset, tmp_path, "1.0.0", plan=POLICY))
    # A grant for retraining names the feature set, with the engine: it must not change by itself.
    assert manifest.engine == 1
    with pytest.raises(SettingsError, match="features of engine 1, which has another risk"):
        train(order(dataset, tmp_path, "1.0.1", plan=POLICY, engine=3))
    third = of_engine(dataset, tmp_path / "third", 3)
    _, manifest = train(order(third, tmp_path, "1.0.2", plan=POLICY))
    assert manifest.engine == 3
    _, manifest = train(order(third, tmp_path, "1.0.3", plan=POLICY, engine=2))
    assert manifest.engine == 2
    with pytest.raises(SettingsError, match="is not that of a dataset"):
        DatasetFolder.open(of_engine(dataset, tmp_path / "ninth", 9))
