"""A dataset equals what training makes of the same transactions in a file, bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import MODEL
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.features import FEATURES, read_features
from stream_scorer.training.labelled import DatasetFolder, LabelledData
from stream_scorer.training.run import train, train_on
from tests.support.dataset.made_datasets import build, decided, encoder, known_of, raw
from tests.support.training.train_cases import order

SPECS, COMPILED = read_features(None, Plan())
DELAY_MS = 7 * 86_400_000


@pytest.fixture(scope="module")
def dated(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The city's transactions in a file; each label is known after a week."""
    known = labelled["event_time"].cast(pa.int64()).to_numpy() + DELAY_MS
    table = labelled.append_column("label_time", pa.array(known, pa.timestamp("ms", "UTC")))
    path = tmp_path_factory.mktemp("dated") / "transactions.parquet"
    write_table(table, path)
    return path


@pytest.fixture(scope="module")
def taken(dated: Path) -> LabelledData:
    return take(dated, COMPILED, Plan(), sort=False, most_rejected=0)


@pytest.fixture(scope="module")
def dataset(taken: LabelledData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the same transactions: decisions with their features, and their labels."""
    table = taken.table
    columns = {
        "customer_id": table["customer_id"].combine_chunks(),
        "terminal_id": table["terminal_id"].combine_chunks(),
        "amount_minor": table["amount_minor"].to_numpy(),
    }
    ids = table["transaction_id"].to_pylist()
    decisions = decided(ids, taken.time, taken.features, **columns)
    count = len(ids)
    columns |= {"transaction_id": table["transaction_id"].combine_chunks()}
    columns |= {"event_time": taken.time, "label_time": taken.time + DELAY_MS}
    columns.pop("amount_minor")
    columns["is_fraud"] = table["is_fraud"].to_numpy()
    said = raw(encoder("label.v1", "labels").encode(columns, count))
    # Any order: the answer is a function of the set of statements.
    shuffled = said.take(np.random.default_rng(0).permutation(count))
    parts = [decisions.between(at, min(at + 20_000, count)) for at in range(0, count, 20_000)]
    folder = tmp_path_factory.mktemp("dataset")
    built = build(folder, parts, known_of(shuffled), SPECS, COMPILED.names)
    assert built.rows == count
    return folder


def test_features_labels_and_amounts_are_equal(taken: LabelledData, dataset: Path) -> None:
    found = DatasetFolder.open(dataset).take()
    assert found.features.tobytes() == taken.features.tobytes()
    assert np.array_equal(found.time, taken.time)
    assert np.array_equal(found.amounts, taken.amounts)
    assert found.weight is None
    for name in ("customer_id", "is_fraud"):
        assert found.table[name].to_pylist() == taken.table[name].to_pylist(), name
    known = taken.table["label_time"].cast(pa.int64()).to_pylist()
    assert found.table["label_time"].to_pylist() == known
    assert np.array_equal(found.state, taken.state)


@pytest.mark.parametrize(
    "model", ["decision_tree", pytest.param("hist_gradient_boosting", marks=pytest.mark.thorough)]
)
def test_the_model_and_its_quality_are_equal(
    model: str, dated: Path, dataset: Path, tmp_path: Path
) -> None:
    of_file, by_file = train(order(dated, tmp_path, "1.0.0", model=model))
    of_folder, by_folder = train_on(dataset, order(dated, tmp_path, "1.0.1", model=model))
    assert by_folder.content_hash == by_file.content_hash
    assert (of_folder / MODEL).read_bytes() == (of_file / MODEL).read_bytes()
    assert by_folder.training.train == by_file.training.train
    assert by_folder.training.validation == by_file.training.validation
    assert by_folder.training.test == by_file.training.test
    assert by_folder.training.data_sha256 == DatasetFolder.open(dataset).digest
    assert load_bundle(of_folder).manifest == by_folder
    assert "no reference for drift detection" in (of_folder / "card.md").read_text()


def test_a_damaged_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    def copied(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for path in dataset.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return folder

    with pytest.raises(SettingsError, match="no dataset"):
        train_on(tmp_path, order(dataset, tmp_path))
    part = copied("part") / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + b"x")
    with pytest.raises(SettingsError, match="cannot be read"):
        train_on(part.parent, order(dataset, tmp_path))
    part.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(SettingsError, match="differs from its digest"):
        train_on(part.parent, order(dataset, tmp_path))
    few = json.loads((dataset / "dataset.json").read_text())
    few["rows"] = few["parts"][0]["rows"] = 7
    folder = copied("few")
    (folder / "dataset.json").write_text(json.dumps(few))
    with pytest.raises(SettingsError, match="has another number"):
        train_on(folder, order(dataset, tmp_path))
    for name, text in (
        ("json", "{"), ("format", '{"format": 2}'), ("list", "[]"),
        ("path", '{"format":1,"features":[],"rows":1,"parts":[{"name":"../x","rows":1}]}'),
    ):  # fmt: skip
        folder = copied(name)
        (folder / "dataset.json").write_text(text)
        with pytest.raises(SettingsError, match="not that of a dataset"):
            train_on(folder, order(dataset, tmp_path))


def test_a_dataset_has_its_own_features(dataset: Path, declared: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"features": declared}
    with pytest.raises(SettingsError, match="a dataset has its features"):
        train(order(dataset, tmp_path, **given))
    assert FEATURES == SPECS
