"""Golden rows: rows and scores that a bundle must reproduce whenever it is loaded.

They are written when a model is trained or imported: the raw scores by the predictor, the scores by
the model's own library, or by the predictor if the library is not there. A tree model must give its
raw scores bit for bit: they are sums in a fixed order, so they are the same on every machine. Its
probabilities go through the C library's ``exp``, whose last bit may differ between machines; their
tolerance is 1e-15, and 2e-7 if the library computes them in float32. For a linear model both
tolerances are 1e-12, because libraries add its products in another order. An ONNX model must give
the same bits: a processor or a version of ONNX Runtime that computes otherwise refuses the bundle.

In a bundle whose engine has an exponential of its own, the scores are the predictor's, too. Raw
scores and scores must then have the same bits, whatever the model. When the bundle is written, its
scores are compared with the library's, by the tolerances above.

Attributions must add up to the raw score within 1e-9. Tolerances are relative for values above 1.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.onnx_session import OnnxModel, OnnxPredictor
from stream_scorer.models.predictors.parts import LinearWeights, ScoringModel, SingleSigmoid
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.ports import Predictor

Float64 = NDArray[np.float64]

ROWS = 64
_LINEAR_TOLERANCE = 1e-12
_PROBABILITY_TOLERANCE = 1e-15
_SINGLE_TOLERANCE = 2e-7
_ATTRIBUTION_TOLERANCE = 1e-9
_ONNX_FIX = (
    "use the processor and the version of onnxruntime of its import, or import it again on a "
    "machine like this one"
)
_OWN_FIX = (
    "its engine has the same bits on every machine: this installation is defective, or the bundle "
    "was made by a defective one"
)
_LIBRARY_FIX = "train it again with the installed libraries"


def choose(features: Float64, scores: Float64) -> Float64:
    """Return at most :data:`ROWS` of the rows, evenly spread over their ranks by score.

    Args:
        features: float64[n, m].
        scores: float64[n].
    """
    order = np.argsort(scores, kind="stable")
    picked = np.unique(np.linspace(0, len(order) - 1, min(ROWS, len(order))).astype(np.int64))
    return np.ascontiguousarray(features[order[picked]])


def write(features: Float64, scores: Float64, predictor: Predictor) -> bytes:
    """Return the golden file: rows, their scores, and the predictor's raw scores.

    Args:
        features: float64[n, m].
        scores: float64[n], the library's scores, or those of a predictor with its own exponential.
        predictor: Computes the raw scores.
    """
    document = {
        "features": features.tolist(),
        "scores": scores.tolist(),
        "raw": predictor.raw(features).tolist(),
    }
    return (json.dumps(document) + "\n").encode()


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """The content of a golden file.

    Attributes:
        features: float64[n, m].
        scores: float64[n], from the model's library; see :func:`write`.
        raw: float64[n], from the predictor.
    """

    features: Float64
    scores: Float64
    raw: Float64


def read(data: bytes, feature_count: int, label: str) -> GoldenRows:
    """Return the content of a golden file.

    Args:
        data: The file.
        feature_count: Number of features of the model.
        label: The bundle, for messages.

    Raises:
        ModelError: It is not a golden file of such a model.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        features, scores, raw = (
            np.array(document[name], np.float64) for name in ("features", "scores", "raw")
        )
        if len(scores) == 0 or features.shape != (len(scores), feature_count):
            raise ValueError("rows and scores do not fit the model")  # noqa: TRY301 one handler for all faults
        if raw.shape != scores.shape:
            raise ValueError("raw and scores differ in length")  # noqa: TRY301 one handler for all faults
        if not (np.isfinite(scores).all() and np.isfinite(raw).all()):
            raise ValueError("a score is not a number")  # noqa: TRY301 one handler for all faults
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelError(
            f"bundle {label}: golden.json is not a golden file ({error})", "train the bundle again"
        ) from None
    return GoldenRows(features, scores, raw)


def _tolerances(model: ScoringModel | OnnxModel) -> tuple[float, float]:
    """Return the tolerances of raw scores and of scores to a library's; 0 for the same bits."""
    if isinstance(model, OnnxModel):
        return 0.0, 0.0
    if any(isinstance(part.body, LinearWeights) for part in model.parts):
        return _LINEAR_TOLERANCE, _LINEAR_TOLERANCE
    if any(SingleSigmoid() in part.after for part in model.parts):
        return 0.0, _SINGLE_TOLERANCE
    return 0.0, _PROBABILITY_TOLERANCE


def check_library(predictor: Predictor, features: Float64, scores: Float64, label: str) -> None:
    """Compare a predictor with the model's own library, whose scores a golden file will not have.

    Args:
        predictor: A :class:`ScoringPredictor`.
        features: float64[n, m].
        scores: float64[n], the library's.
        label: The bundle, for messages.

    Raises:
        ModelError: A score differs by more than the tolerance.
    """
    if isinstance(predictor, ScoringPredictor):
        tolerance = _tolerances(predictor.model)[1]
        _compare("score", predictor.scores(features), scores, tolerance, label, _LIBRARY_FIX)


def _compare(
    what: str, got: Float64, expected: Float64, tolerance: float, label: str, fix: str
) -> None:
    """Refuse scores that differ by more than a tolerance."""
    scale = np.maximum(1.0, np.abs(expected))
    worst = float((np.abs(got - expected) / scale).max())
    differs = not worst <= tolerance
    if tolerance == 0.0:
        differs |= got.tobytes() != expected.tobytes()
    if differs:
        raise ModelError(
            f"bundle {label}: golden vectors: a {what} is off by {worst:.3g}, "
            f"allowed is {tolerance:.3g}",
            fix,
        )


def check(data: bytes, predictor: ScoringPredictor | OnnxPredictor, label: str) -> None:
    """Compare a predictor with a golden file.

    Args:
        data: The file.
        predictor: The loaded predictor.
        label: The bundle, for messages.

    Raises:
        ModelError: It is not a golden file, or a score differs; the message states by how much.
    """
    rows = read(data, predictor.feature_count, label)
    features, scores, raw = rows.features, rows.scores, rows.raw
    onnx = isinstance(predictor, OnnxPredictor)
    if onnx and len(scores) > ROWS:
        # A network may take a second for a row.
        raise ModelError(
            f"bundle {label}: golden.json has {len(scores):,} rows, more than {ROWS}",
            "import the model again",
        )
    contributions, base = predictor.attributions(features)
    own = isinstance(predictor, ScoringPredictor) and predictor.own_exponential
    of_raw, of_scores = (0.0, 0.0) if own else _tolerances(predictor.model)
    fix = _OWN_FIX if own else _ONNX_FIX if onnx else _LIBRARY_FIX
    for what, got, expected, tolerance in (
        ("raw score", predictor.raw(features), raw, of_raw),
        ("score", predictor.scores(features), scores, of_scores),
        ("sum of attributions", contributions.sum(axis=1) + base, raw, _ATTRIBUTION_TOLERANCE),
    ):
        _compare(what, got, expected, tolerance, label, fix)
