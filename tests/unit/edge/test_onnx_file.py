"""ONNX files have the model's splits and numbers; what they cannot have is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.edge.export.onnx_file import differences, onnx_file
from stream_scorer.errors import EdgeError
from stream_scorer.models.predictors.parts import (
    Affine,
    Clip,
    Part,
    Platt,
    ScoringModel,
    Sigmoid,
    SingleSigmoid,
)
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.edge.edge_models import case_of, ensembles
from tests.support.edge.exported import exported, store_of
from tests.support.models import random_models

NUMBERS = np.random.default_rng(2)
TREES = random_models.ensemble(3, trees=20, leaves=31, features=4)
SINGLE = random_models.ensemble(4, trees=9, leaves=90, features=4, single=True)
WEIGHTS = random_models.linear(NUMBERS, 4)
SCALER = Affine(NUMBERS.normal(size=4), np.array([0.5, -3.0, 2.0, 1e-3]))
PARTS = {
    "trees": Part((), TREES, after=(Sigmoid(),)),
    "scaled sums": Part((), TREES, 3.0, 0.5, -0.25, (Sigmoid(2.0, 0.5),)),
    "float32": Part((), SINGLE, after=(SingleSigmoid(),)),
    "a mean of leaves": Part((), TREES, divisor=20.0, after=(Platt(-2.0, 0.3),)),
    "weights": Part((), WEIGHTS, after=(Sigmoid(),)),
    "scaled weights": Part((SCALER,), WEIGHTS, after=(Sigmoid(),)),
    "no sigmoid": Part((), replace(WEIGHTS, weight=np.full(4, 1e-9), intercept=0.5)),
}


@pytest.mark.parametrize("kind", list(PARTS))
def test_onnx_runtime_has_nearly_the_same_scores(kind: str) -> None:
    model = ScoringModel((PARTS[kind],), 4)
    case = case_of(model)
    # Infinite products are failures here, and NaN there.
    rows = case.rows[(np.abs(case.rows) < 1e3).all(axis=1) | np.isnan(case.rows).any(axis=1)]
    if "weights" in kind or kind == "no sigmoid":
        rows = rows[np.isfinite(rows).all(axis=1)]
    assert len(rows) > 30
    predictor = ScoringPredictor(model, own_exponential=True)
    margin, score = predictor.raw(rows), predictor.scores(rows)
    apart = differences(onnx_file(model), rows, margin, score)
    assert max(apart) < 1e-6
    other = margin + 0.01 * np.abs(margin).max()
    assert differences(onnx_file(model), rows, other, score)[0] > 1e-3


def refused(model: ScoringModel) -> str:
    with pytest.raises(EdgeError, match="cannot be expressed") as error:
        onnx_file(model)
    return str(error.value)


def test_what_onnx_cannot_express_is_refused() -> None:
    part = PARTS["trees"]
    assert "mean of 2 models" in refused(ScoringModel((part, part), 4))
    clipped = replace(part, before=(Clip(0.0, 1.0),))
    assert "step Clip" in refused(ScoringModel((clipped,), 4))
    assert "categories" in refused(ensembles()["walked sets"])
    assert "one sigmoid" in refused(ensembles()["a table"])


def test_the_folder_states_the_difference(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    # An engine whose bits depend on the machine will do: the bits differ anyway.
    report = exported(store, "onnx", tmp_path / "onnx", reference="fraud:1.0.1")
    told: Any = json.loads((tmp_path / "onnx" / "differences.json").read_text())
    assert report.differences == told
    assert 0.0 < told["score"] < 1e-5
    readme = (tmp_path / "onnx" / "README.md").read_text()
    assert f"scores by at most\n{told['score']:.3g}" in readme
    assert "same bits" not in readme
    assert not (tmp_path / "onnx" / "tables.bin").exists()
