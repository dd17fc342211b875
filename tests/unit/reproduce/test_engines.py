"""Decisions of either arithmetic are reproduced in one process, each by its version's engine."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.models.bundles.loader import load_bundle, models_of
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.plans import RecordedPlans
from stream_scorer.reproduce.rescore import Bundles
from stream_scorer.reproduce.run import compare_recorded
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from tests.support.reproduce.reproduction_cases import PLAN, altered, published

OLD, NEW = "1.0.1", "9.0.0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of engine 1, and the same model with engine 3."""
    made = tmp_path_factory.mktemp("store")
    shutil.copytree(MODELS_DIRECTORY / "fraud" / OLD, made / "fraud" / OLD)
    (made / "fraud" / "plan.toml").write_text("")
    upgrade(Settings(models=Models(directory=made)), f"fraud:{OLD}", NEW, None, 3)
    return made


@pytest.fixture(scope="module")
def decisions(store: Path) -> dict[str, pa.RecordBatch]:
    """What both versions published about the same transactions, with shared rings."""
    bundles = [load_bundle(store / "fraud" / version) for version in (OLD, NEW)]
    models = models_of(bundles, PLAN)
    return {model.version: published(model) for model in models}


def recomputed(decisions: pa.RecordBatch, store: Path) -> Reproduction:
    found = Reproduction("recorded", read=len(decisions), chosen=len(decisions))
    bundles, plans = Bundles(FolderStore(store), ANY), RecordedPlans(FolderStore(store))
    compare_recorded(decisions, bundles, plans, found)
    return found


def test_both_are_recomputed_bit_for_bit(decisions: dict[str, pa.RecordBatch], store: Path) -> None:
    together = pa.concat_batches(list(decisions.values()))
    assert together.column("engine").unique().to_pylist() == [1, 3]
    found = recomputed(together, store)
    assert (found.equal, found.differing, found.fields) == (len(together), 0, {})
    found.refuse()


def test_only_scores_and_names_differ(decisions: dict[str, pa.RecordBatch]) -> None:
    old, new = decisions[OLD], decisions[NEW]
    scores = [each.column("score").to_numpy() for each in (old, new)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-15
    assert old.column("features") == new.column("features")
    assert old.column("decision") == new.column("decision")


def test_a_decision_with_another_engine_is_reported(
    decisions: dict[str, pa.RecordBatch], store: Path
) -> None:
    other = altered(decisions[OLD], 17, engine=3)
    assert recomputed(other, store).fields == {"engine": 1}
