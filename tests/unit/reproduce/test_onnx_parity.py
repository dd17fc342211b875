"""An ONNX model decides alike in a stream, in a batch job, and when it is reproduced."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.job import Order
from stream_scorer.batch.run import run_batch
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.plans import RecordedPlans
from stream_scorer.reproduce.rescore import Bundles
from stream_scorer.reproduce.run import compare_recorded
from stream_scorer.settings import Models, Settings
from tests.support.batch.batch_cases import AS_OF, by_core, transactions, write
from tests.support.models import onnx_bundles
from tests.support.reproduce.reproduction_cases import PLAN, altered, published

MODEL = "fraud:1.0.0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    onnx_bundles.write(store, onnx_bundles.of_amounts())
    (store / "fraud" / "plan.toml").write_text("")
    return store


def recomputed(decisions: pa.RecordBatch, store: Path) -> Reproduction:
    found = Reproduction("recorded", read=len(decisions), chosen=len(decisions))
    bundles, plans = Bundles(FolderStore(store), ANY), RecordedPlans(FolderStore(store))
    compare_recorded(decisions, bundles, plans, found)
    return found


def test_a_batch_job_decides_as_a_stream_in_any_batches(store: Path, tmp_path: Path) -> None:
    settings = Settings(models=Models(directory=store))
    table = transactions(20, 30)
    source = write(table, tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    run_batch(settings, Order(str(source), out, MODEL, as_of=AS_OF, part_rows=333))
    read = pq.read_table(out)
    scores = read["score"].to_numpy()
    assert set(read["decision"].to_pylist()) == {"APPROVE", "REVIEW", "BLOCK"}
    made = [scored.decisions for scored in by_core(table, 97, settings, MODEL)]
    assert np.concatenate([each.score for each in made]).tobytes() == scores.tobytes()
    reasons = made[0].reasons
    assert any(reasons.values())
    assert all(read["reasons"][row].as_py() == list(told) for row, told in reasons.items())


def test_published_decisions_are_recomputed_bit_for_bit(store: Path) -> None:
    decisions = published(load_bundle(store / "fraud" / "1.0.0").model(PLAN))
    assert set(decisions.column("decision").to_pylist()) == {"APPROVE", "REVIEW", "BLOCK"}
    found = recomputed(decisions, store)
    assert (found.equal, found.differing, found.fields) == (len(decisions), 0, {})
    found.refuse()
    score = decisions.column("score")[17].as_py()
    other = altered(decisions, 17, score=float(np.nextafter(score, 1)))
    assert recomputed(other, store).fields == {"score": 1}
