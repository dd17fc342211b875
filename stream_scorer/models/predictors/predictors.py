"""From a fitted scikit-learn model to the predictor that the stream, files and requests share.

The same code scores one row or a batch, and a row has the same bits in both. For trees these are
the bits of ``predict_proba(...)[:, 1]``: the leaves' values are added in the order of the trees,
starting at the baseline; then ``scipy.special.expit`` is applied (boosting), or the sum is divided
by the number of trees (forests).

Measured on one thread, 9 features, µs for a row, scikit-learn 1.9 in the same process:

======================================  ===========  ===========  ==============
model                                   one row      5,000 rows   sklearn, 5,000
======================================  ===========  ===========  ==============
HistGradientBoosting, 100 trees of 31   2.5 (498)    0.37         2.3
random forest, 100 trees of up to 846   23 (3,844)   5.5          8.2
decision tree, unlimited                2.3 (85)     0.07         0.10
logistic regression after a scaler      2.9 (248)    0.016        0.08
======================================  ===========  ===========  ==============

In brackets: scikit-learn for one row.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors import leaf_masks, tree_walk
from stream_scorer.models.predictors.linear import LinearPredictor
from stream_scorer.models.predictors.rows import checked
from stream_scorer.models.predictors.trees import (
    TreeEnsemble,
    double_thresholds,
    from_decision_trees,
    from_hist_gradient_boosting,
)
from stream_scorer.ports import Predictor

Float64 = NDArray[np.float64]

KNOWN = (
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "DecisionTreeClassifier",
    "LogisticRegression (alone, or in a Pipeline after StandardScaler)",
)


LEAF_THRESHOLD = float(double_thresholds(np.array([-2.0]))[0])
"""What scikit-learn's decision trees have in the place of a leaf's threshold: -2, for float64."""


class FittedPredictor(Predictor, Protocol):
    """A predictor that also gives the arrays that its scores depend on."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array that a score depends on, by name."""
        ...


class TreePredictor:
    """A boosted ensemble or a forest.

    If no tree has more than 64 leaves and the tables are not too large, leaf masks are used;
    otherwise the trees are walked.

    Args:
        trees: The ensemble.
        boosted: Whether the sum is the log-odds; otherwise the score is the mean of the trees.
    """

    def __init__(self, trees: TreeEnsemble, *, boosted: bool) -> None:
        self.feature_count = trees.feature_count
        self._boosted = boosted
        self._trees, self._nodes = tree_walk.lay_out(trees, 0.0 if boosted else LEAF_THRESHOLD)
        self._masks = leaf_masks.build(self._trees)
        roots = self._trees.value[self._trees.roots]
        total = self._trees.baseline + float(roots.sum())
        self._base = total if boosted else total / len(roots)

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: the probability of fraud, bit for bit scikit-learn's."""
        raw = self.raw(features)
        if self._boosted:
            expit(raw, out=raw)
        return raw

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: the log-odds of a boosted ensemble, or the mean of a forest."""
        rows = checked(features, self.feature_count)
        trees, masks = self._trees, self._masks
        out = np.empty(len(rows))
        if masks is None:
            tree_walk.sums(rows, self._nodes, trees.value, trees.roots, trees.baseline, out)
        else:
            leaf_masks.sums(
                rows, masks.features, masks.starts, masks.counts, masks.rows, masks.thresholds,
                masks.table, masks.leaves, masks.baseline, out,
            )  # fmt: skip
        if not self._boosted:
            out /= len(trees.roots)
        return out

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return (float64[n, m], base): path attributions, summed over trees (forests: their mean).

        On the way down a tree, each change of the node's value is attributed to the split's
        feature. The value of an inner node is the mean of its leaves, weighted by training rows.
        The attributions of a row and the base add up to its raw score.
        """
        rows = checked(features, self.feature_count)
        out = np.zeros(rows.shape)
        tree_walk.attribute(rows, self._nodes, self._trees.value, self._trees.roots, out)
        if not self._boosted:
            out /= len(self._trees.roots)
        return out, self._base

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that a score or an attribution depends on."""
        trees = self._trees
        return {
            "nodes": np.frombuffer(self._nodes.tobytes(), np.uint8),
            "value": trees.value,
            "roots": trees.roots,
            "baseline": np.array([trees.baseline]),
        }


def predictor_for(model: object) -> FittedPredictor:
    """Return the predictor of a fitted binary classifier.

    A model that was loaded from a file may be of a known type and still contain anything.

    Args:
        model: One of :data:`KNOWN`; class 1 is fraud.

    Raises:
        ModelError: It is of another kind, not fitted, not binary, or has other arrays than a fitted
            one. For another kind the fix names the known ones.
    """
    try:
        return _predictor_for(model)
    except ModelError:
        raise
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"model: this {type(model).__name__} does not hold what a fitted one does "
            f"({type(error).__name__}: {cause})",
            "train the model again",
        ) from error


def _predictor_for(model: object) -> FittedPredictor:
    scaler: Any = None
    fitted: Any = model
    if type(fitted) is Pipeline:
        steps = [step for _, step in fitted.steps]
        if [type(step) for step in steps] != [StandardScaler, LogisticRegression]:
            raise ModelError(
                f"model: a Pipeline of {', '.join(type(step).__name__ for step in steps)}",
                f"known are {'; '.join(KNOWN)}",
            )
        scaler, fitted = steps
    kind: Any = type(fitted)
    known = (
        HistGradientBoostingClassifier, RandomForestClassifier, DecisionTreeClassifier,
        LogisticRegression,
    )  # fmt: skip
    if kind not in known:
        raise ModelError(
            f"model: {kind.__name__} is not supported", f"known are {'; '.join(KNOWN)}"
        )
    if not hasattr(fitted, "classes_"):
        raise ModelError(f"model: this {kind.__name__} is not fitted", "fit it before it is saved")
    if not np.array_equal(fitted.classes_, [0, 1]):
        raise ModelError(
            f"model: classes are {list(fitted.classes_)}", "train on labels 0 and 1, 1 being fraud"
        )
    if kind is LogisticRegression:
        return LinearPredictor(fitted, scaler)
    if kind is HistGradientBoostingClassifier:
        return TreePredictor(from_hist_gradient_boosting(fitted), boosted=True)
    forest = [fitted] if kind is DecisionTreeClassifier else list(fitted.estimators_)
    return TreePredictor(from_decision_trees(forest), boosted=False)
