"""How our path attributions of an imported LightGBM model differ from SHAP values."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.harness.script import missed
from bench.imports_steps.model_files import read_scoring_model
from bench.imports_steps.speed import data, lightgbm_texts
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]

WAYS = ("tree_path_dependent", "interventional")
REASONS = 3
MOST_REMAINDER, MOST_OF_SHAP = 1e-9, 1e-4
"""How far the sums may be from the margins; the package adds float32 numbers in one of its ways."""

_BACKGROUND_ROWS = 100


def agreement(ours: Float64, theirs: Float64, reasons: int = REASONS) -> dict[str, float]:
    """Compare the first reasons of rows: the features with the largest attributions.

    Args:
        ours: float64[n, m], attributions.
        theirs: float64[n, m].
        reasons: How many reasons a row has.

    Returns:
        ``same_first``: the share of rows with the same first reason. ``shared``: the mean share of
        the first reasons that are also theirs. ``rank_correlation``: the mean, over the rows, of
        Spearman's correlation of our first reasons' ranks with those of their attributions of the
        same features.
    """
    order = np.argsort(-ours, axis=1, kind="stable")[:, :reasons]
    other = np.argsort(-theirs, axis=1, kind="stable")[:, :reasons]
    shared = (order[:, :, None] == other[:, None, :]).any(axis=2).mean()
    ranks = rankdata(-np.take_along_axis(theirs, order, axis=1), axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    steps = np.arange(reasons) - (reasons - 1) / 2
    spread = np.sqrt((centred**2).sum(axis=1) * (steps**2).sum())
    # Equal attributions have no order, so no correlation.
    correlation = np.divide(centred @ steps, spread, out=np.zeros(len(ours)), where=spread > 0)
    return {
        "same_first": round(float((order[:, 0] == other[:, 0]).mean()), 3),
        "shared": round(float(shared), 3),
        "rank_correlation": round(float(correlation.mean()), 3),
    }


def compare(trees: int, features: int, count: int) -> dict[str, Any]:
    """Compare the attributions of rows of one model.

    Args:
        trees: Of the model, each with 31 leaves.
        features: Of a row.
        count: How many rows.

    Returns:
        The largest difference of a sum of attributions and base from the margin, for us and for
        each way of the ``shap`` package, and by way :func:`agreement`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, which it imports
        import shap  # type: ignore[import-untyped]  # noqa: PLC0415 it takes seconds

    text = lightgbm_texts([trees], features, num_leaves=31)[trees]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_text(text)
        predictor = ScoringPredictor(read_scoring_model(path, ImportOptions()))
    booster = lightgbm.Booster(model_str=text)
    rows = np.ascontiguousarray(data(features)[0][-count:])
    margins = predictor.raw(rows)
    ours, base = predictor.attributions(rows)
    found: dict[str, Any] = {
        "trees": trees, "features": features, "rows": count, "shap": shap.__version__,
        "remainder": {"ours": _remainder(ours, base, margins)},
    }  # fmt: skip
    for way in WAYS:
        background = data(features)[0][:_BACKGROUND_ROWS] if way == "interventional" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = shap.TreeExplainer(booster, background, feature_perturbation=way)
            theirs = np.asarray(explainer.shap_values(rows, check_additivity=False))
        expected = float(np.ravel(explainer.expected_value)[-1])
        found["remainder"][way] = _remainder(theirs, expected, margins)
        found[way] = agreement(ours, theirs)
    return found


def _remainder(attributions: Float64, base: float, margins: Float64) -> float:
    return float(np.abs(attributions.sum(axis=1) + base - margins).max())


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each kind of attributions that does not add up to the margin."""
    return missed(
        *(
            (
                f"attributions: {way}: {{}} remains of the margin", remainder, "<=",
                MOST_REMAINDER if way == "ours" else MOST_OF_SHAP,
            )
            for way, remainder in document["remainder"].items()
        )
    )  # fmt: skip
