"""The arrays of a model for the content hash of bundles of format 1.

These bundles were written when the predictors had these arrays themselves.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.arrays import fitted
from stream_scorer.models.predictors import tree_walk
from stream_scorer.models.predictors.parts import (
    Affine,
    LinearWeights,
    Part,
    ScoringModel,
    Sigmoid,
)
from stream_scorer.models.predictors.trees import TreeEnsemble, double_thresholds

_NODE = np.dtype(
    [("threshold", np.float64), ("left", np.int32), ("feature", np.int16), ("missing", np.int16)]
)
_FOREST_LEAF: Final = float(double_thresholds(np.array([-2.0]))[0])
"""scikit-learn's decision trees have -2 in the place of a leaf's threshold, boosted ones 0."""


def arrays_of(model: ScoringModel, estimator: Any) -> dict[str, NDArray[Any]]:
    """Return what the content hash of format 1 covers.

    Args:
        model: The model as data.
        estimator: The fitted estimator that it was made from.

    Raises:
        ModelError: Format 1 has no such model.
    """
    if len(model.parts) == 1:
        (part,) = model.parts
        if isinstance(part.body, TreeEnsemble) and not part.before and not part.body.single:
            return _trees(part.body, boosted=part.after == (Sigmoid(),))
        if isinstance(part.body, LinearWeights):
            return _linear(part, part.body, estimator)
    raise _unknown()


def _unknown() -> ModelError:
    return ModelError("model: bundles of format 1 have no such model", "train it again")


def _trees(trees: TreeEnsemble, *, boosted: bool) -> dict[str, NDArray[Any]]:
    ordered = tree_walk.lay_out(trees).trees
    leaf = ordered.feature < 0
    if not (ordered.cut_counts() == ~leaf).all() or not trees.starts_left.all():
        raise _unknown()
    nodes = np.empty(len(leaf), _NODE)
    nodes["threshold"][leaf] = 0.0 if boosted else _FOREST_LEAF
    nodes["threshold"][~leaf] = ordered.cuts
    nodes["left"] = ordered.left
    nodes["feature"] = ordered.feature
    nodes["missing"] = ~ordered.missing_left
    return {
        "nodes": np.frombuffer(nodes.tobytes(), np.uint8),
        "value": ordered.value,
        "roots": ordered.roots,
        "baseline": np.array([trees.baseline]),
    }


def _linear(part: Part, weights: LinearWeights, estimator: Any) -> dict[str, NDArray[Any]]:
    count = len(weights.weight)
    shift, scale, mean = np.zeros(count), np.ones(count), np.zeros(count)
    if part.before:
        if len(part.before) != 1 or not isinstance(part.before[0], Affine):
            raise _unknown()
        shift, scale = part.before[0].shift, part.before[0].scale
        scaler = estimator.steps[0][1]
        if type(scaler) is not StandardScaler:
            raise _unknown()
        if scaler.mean_ is not None:
            mean = fitted("mean_", scaler.mean_, (count,))
    return {
        "weight": weights.weight,
        "intercept": np.array([weights.intercept]),
        "shift": shift,
        "scale": scale,
        "mean": mean,
    }
