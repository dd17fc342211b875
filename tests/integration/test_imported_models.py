"""An imported model of each kind decides alike in a stream, in a batch job and in ``reproduce``."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier

from stream_scorer.batch.job import Order
from stream_scorer.batch.run import run_batch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from stream_scorer.models.importing.onnx.read import read_onnx
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.models.importing.xgboost.read import read_xgboost
from stream_scorer.settings import Kafka, Models, Settings
from stream_scorer.simulator.simulate import simulate
from stream_scorer.training.fold import fold
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    Record,
    committed,
    everything_once,
    feed,
    outcome,
    transaction_codec,
)
from tests.support.models.bundle_cases import FEATURES, candidate_of
from tests.support.models.onnx_bundles import of_amounts
from tests.support.reproduce.retelling import DEPTHS, reproduced

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
TRANSACTIONS = 3_000
OPTIONS = ImportOptions()
SAME = ("score", "decision", "reasons", "model_version")


def lightgbm_model(rows: Float64, fraud: Int64, folder: Path) -> ModelSource:
    import lightgbm  # noqa: PLC0415 one library each

    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 15}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, fraud), 40)
    data = booster.model_to_string().encode()
    return ModelSource(read_lightgbm(data, OPTIONS), data, "txt")


def xgboost_model(rows: Float64, fraud: Int64, folder: Path) -> ModelSource:
    import xgboost  # noqa: PLC0415 one library each

    settings = {"objective": "binary:logistic", "nthread": 1, "max_depth": 4}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, fraud), 40)
    data = bytes(booster.save_raw("ubj"))
    return ModelSource(read_xgboost(data, OPTIONS), data, "ubj")


def catboost_model(rows: Float64, fraud: Int64, folder: Path) -> ModelSource:
    import catboost  # noqa: PLC0415 one library each

    model = catboost.CatBoostClassifier(
        iterations=40, depth=4, thread_count=1, verbose=False, allow_writing_files=False
    )
    model.fit(rows, fraud)
    model.save_model(str(folder / "model.json"), format="json")
    data = (folder / "model.json").read_bytes()
    return ModelSource(read_catboost(data, OPTIONS), data, "json")


def scikit_learn_model(rows: Float64, fraud: Int64, folder: Path) -> ModelSource:
    inner = GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0)
    return source_of(CalibratedClassifierCV(inner, method="isotonic", cv=3).fit(rows, fraud))


def onnx_model(rows: Float64, fraud: Int64, folder: Path) -> ModelSource:
    data = of_amounts()
    return ModelSource(read_onnx(data, OPTIONS, rows), data, "onnx")


@pytest.mark.parametrize(
    "model", [lightgbm_model, xgboost_model, catboost_model, scikit_learn_model, onnx_model]
)
def test_stream_batch_and_reproduction_have_the_same_bits(
    model: Callable[..., ModelSource], kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka], tmp_path: Path,
) -> None:  # fmt: skip
    table = simulate(40, 150, 60).slice(0, TRANSACTIONS)
    assert len(table) == TRANSACTIONS
    store = tmp_path / "store"
    made = fold(table, compile_features(FEATURES, Plan()), Plan())
    # The larger the amount, the likelier a fraud here, so that all outcomes occur.
    amount = made.features[:, 0]
    likely = amount / np.quantile(amount, 0.8)
    fraud = (np.random.default_rng(1).random(len(amount)) < likely).astype(np.int64)
    source = model(made.features, fraud, tmp_path)
    write_bundle(store, candidate_of(source), made.features)
    (store / "fraud" / "plan.toml").write_text("")

    kafka = kafka_topics(kafka_settings())
    encode = transaction_codec().encode
    names = [name for name in table.column_names if "fraud" not in name]
    rows = table.select(names).to_pylist()
    records = tuple(Record(row["customer_id"].encode(), encode(row)) for row in rows)
    ends = feed(kafka, records)
    variables = {"STREAM_SCORER_MODELS__DIRECTORY": str(store)}
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(lambda: committed(kafka) == ends, lambda: f"all: {scorer.said}", 120)
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0
    found = outcome(kafka)
    everything_once(found, records)
    stream = {told["transaction_id"]: told for told in found.decisions.values()}
    assert {told["decision"] for told in stream.values()} == {"APPROVE", "REVIEW", "BLOCK"}

    for depth in DEPTHS:
        again = reproduced(kafka, store, depth=depth)
        again.refuse()
        assert (again.read, again.equal) == (TRANSACTIONS, TRANSACTIONS)

    source_file, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source_file)
    settings = Settings(models=Models(directory=store))
    run_batch(settings, Order(str(source_file), out, "fraud:1.0.0", part_rows=777))
    assert in_batch(pq.read_table(out)) == {
        name: tuple(repr(told[key]) for key in SAME) for name, told in stream.items()
    }


def in_batch(table: pa.Table) -> dict[Any, tuple[str, ...]]:
    """Return the decisions of a batch job by transaction."""
    rows = table.select(["transaction_id", *SAME]).to_pylist()
    return {row["transaction_id"]: tuple(repr(row[key]) for key in SAME) for row in rows}
