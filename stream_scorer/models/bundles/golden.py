"""Golden vectors: rows and scores that a bundle must reproduce before it may decide.

Written at training from scikit-learn's own ``predict_proba``, checked at every load. A tree
model must give its raw scores (sums in a fixed order, so the same on every machine) bit for bit;
their probabilities pass through the C library's ``exp``, which may differ in the last bit from
machine to machine, so they are held to 1e-15. A linear model is held to 1e-12.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.ports import Predictor

Float64 = NDArray[np.float64]

ROWS = 64
_LINEAR_TOLERANCE = 1e-12
_PROBABILITY_TOLERANCE = 1e-15
_ATTRIBUTION_TOLERANCE = 1e-9


def choose(features: Float64, scores: Float64) -> Float64:
    """Return up to :data:`ROWS` of the rows, evenly spread over the range of scores.

    Args:
        features: float64[n, m].
        scores: float64[n].
    """
    order = np.argsort(scores, kind="stable")
    picked = np.unique(np.linspace(0, len(order) - 1, min(ROWS, len(order))).astype(np.int64))
    return np.ascontiguousarray(features[order[picked]])


def write(features: Float64, scores: Float64, predictor: Predictor) -> bytes:
    """Return the file: rows, scikit-learn's scores, and the predictor's raw scores.

    Args:
        features: float64[n, m].
        scores: float64[n], the trained model's ``predict_proba[:, 1]``.
        predictor: Gives the raw scores.
    """
    document = {
        "features": features.tolist(),
        "scores": scores.tolist(),
        "raw": predictor.raw(features).tolist(),
    }
    return (json.dumps(document) + "\n").encode()


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """What a golden file holds.

    Attributes:
        features: float64[n, m].
        scores: float64[n], scikit-learn's.
        raw: float64[n], the predictor's.
    """

    features: Float64
    scores: Float64
    raw: Float64


def read(data: bytes, feature_count: int, label: str) -> GoldenRows:
    """Return what a golden file holds.

    Args:
        data: The file.
        feature_count: Of the model.
        label: The bundle, for messages.

    Raises:
        ModelError: The file is no golden file of such a model.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        features, scores, raw = (
            np.array(document[name], np.float64) for name in ("features", "scores", "raw")
        )
        if len(scores) == 0 or features.shape != (len(scores), feature_count):
            raise ValueError("rows and scores do not fit the model")  # noqa: TRY301 one way out
        if raw.shape != scores.shape:
            raise ValueError("raw and scores differ in length")  # noqa: TRY301 one way out
        if not (np.isfinite(scores).all() and np.isfinite(raw).all()):
            raise ValueError("a score is not a number")  # noqa: TRY301 one way out
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelError(
            f"bundle {label}: golden.json is not a golden file ({error})", "train the bundle again"
        ) from None
    return GoldenRows(features, scores, raw)


def check(data: bytes, predictor: Predictor, label: str, *, linear: bool) -> None:
    """Hold a predictor to a golden file.

    Args:
        data: The file.
        predictor: What was loaded.
        label: The bundle, for messages.
        linear: Whether the model is linear, which widens the tolerance.

    Raises:
        ModelError: The file is no golden file, or a score differs; says by how much.
    """
    rows = read(data, predictor.feature_count, label)
    features, scores, raw = rows.features, rows.scores, rows.raw
    contributions, base = predictor.attributions(features)
    for what, got, expected, tolerance in (
        ("raw score", predictor.raw(features), raw, _LINEAR_TOLERANCE if linear else 0.0),
        (
            "score",
            predictor.scores(features),
            scores,
            _LINEAR_TOLERANCE if linear else _PROBABILITY_TOLERANCE,
        ),
        ("sum of attributions", contributions.sum(axis=1) + base, raw, _ATTRIBUTION_TOLERANCE),
    ):
        scale = np.maximum(1.0, np.abs(expected))
        worst = float((np.abs(got - expected) / scale).max())
        if not worst <= tolerance:
            raise ModelError(
                f"bundle {label}: golden vectors: a {what} is off by {worst:.3g}, "
                f"allowed is {tolerance:.3g}",
                "train it again with the installed libraries",
            )
