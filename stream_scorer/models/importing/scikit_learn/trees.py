"""Fitted trees of scikit-learn as an ensemble.

scikit-learn's decision trees round a row to float32 before they compare, except those of
``HistGradientBoostingClassifier``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import feature_count_of
from stream_scorer.models.predictors.trees import (
    TreeColumns,
    TreeEnsemble,
    assemble,
    double_thresholds,
    refuse_many,
)

_LEAF = -1


def from_hist_gradient_boosting(model: Any) -> TreeEnsemble:
    """Flatten a fitted binary ``HistGradientBoostingClassifier``.

    Raises:
        ModelError: It splits on categories, or is malformed.
    """
    if model.is_categorical_ is not None:
        raise ModelError(
            "model: HistGradientBoostingClassifier with categorical features is not supported",
            "train it on numeric features",
        )
    trees, count = [], 0
    for (predictor,) in model._predictors:  # noqa: SLF001 scikit-learn publishes no other view
        nodes = predictor.nodes
        count += len(nodes)
        refuse_many(count)
        trees.append(
            TreeColumns.with_thresholds(
                feature=np.where(nodes["is_leaf"], _LEAF, nodes["feature_idx"]),
                threshold=nodes["num_threshold"],
                left=nodes["left"],
                right=nodes["right"],
                missing_left=nodes["missing_go_to_left"] != 0,
                value=nodes["value"],
                cover=nodes["count"].astype(np.float64),
            )
        )
    return assemble(
        trees,
        baseline=float(model._baseline_prediction.ravel()[0]),  # noqa: SLF001 as above
        feature_count=feature_count_of(model),
    )


def from_decision_trees(models: Iterable[Any], fraud: int) -> TreeEnsemble:
    """Flatten fitted decision trees; the value of a leaf is the share of the fraud class.

    Args:
        models: The fitted trees.
        fraud: Number of the fraud class.

    Raises:
        ModelError: There is no tree, or one is malformed.
    """
    trees, count, features = [], 0, 0
    for model in models:
        tree = _counted(model.tree_)
        count += tree.node_count
        refuse_many(count)
        features = features or feature_count_of(model)
        trees.append(_columns(tree, tree.value[:, 0, fraud], tree.missing_go_to_left != 0))
    if not trees:
        raise ModelError("model: its trees hold no tree", "train the model again")
    return assemble(trees, baseline=0.0, feature_count=features)


def from_gradient_boosting(model: Any, baseline: float) -> TreeEnsemble:
    """Flatten a fitted binary ``GradientBoostingClassifier``.

    It accepts no missing values; its trees would send them right.

    Args:
        model: The model.
        baseline: Its initial log-odds.

    Raises:
        ModelError: It is malformed.
    """
    rate = float(model.learning_rate)
    trees, count = [], 0
    for (stage,) in model.estimators_:
        tree = _counted(stage.tree_)
        count += tree.node_count
        refuse_many(count)
        sides = np.zeros(tree.node_count, np.bool_)
        trees.append(_columns(tree, rate * tree.value[:, 0, 0], sides))
    return assemble(trees, baseline=baseline, feature_count=feature_count_of(model))


def _counted(tree: Any) -> Any:
    # scikit-learn makes its arrays as long as the first number, over memory for the second.
    if not 0 < tree.node_count <= tree.capacity:
        raise ModelError("model: its trees hold fewer nodes than they say", "train the model again")
    return tree


def _columns(tree: Any, value: Any, missing_left: Any) -> TreeColumns:
    return TreeColumns.with_thresholds(
        feature=np.where(tree.children_left < 0, _LEAF, tree.feature),
        threshold=double_thresholds(tree.threshold),
        left=tree.children_left,
        right=tree.children_right,
        missing_left=missing_left,
        value=value,
        cover=tree.weighted_n_node_samples,
    )
