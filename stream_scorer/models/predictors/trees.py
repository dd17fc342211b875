"""Fitted tree ensembles of scikit-learn as checked flat arrays, from which predictors are built."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import feature_count_of

Float64 = NDArray[np.float64]

NODES_MOST: Final = 1 << 22
"""Maximum nodes of all trees: an int32 is a node's number, and tables are built node by node."""


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """Trees whose leaf values are added in their order, starting at ``baseline``.

    At an inner node a row goes left if value <= threshold; a missing value goes left if
    ``missing_left`` is set. The nodes of one tree are together, the root first.

    Attributes:
        feature: int32[k], split feature; -1 for a leaf.
        threshold: float64[k].
        left: int32[k], number of the left child; a leaf has its own number.
        right: int32[k], number of the right child; a leaf has its own number.
        missing_left: bool[k].
        value: float64[k]; for an inner node the mean of its leaves, weighted by ``cover``.
        cover: float64[k], training rows (by weight, if the model keeps weights).
        roots: int32[t], number of each tree's root.
        baseline: The start value of the sum.
        feature_count: Number of features with which the model was trained.
    """

    feature: NDArray[np.int32]
    threshold: Float64
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: Float64
    cover: Float64
    roots: NDArray[np.int32]
    baseline: float
    feature_count: int

    def leaves_most(self) -> int:
        """Return the number of leaves of the largest tree."""
        leaves = np.add.reduceat((self.feature < 0).astype(np.int64), self.roots)
        return int(leaves.max())


def _with_inner_means(
    leaf_value: Float64,
    cover: Float64,
    left: NDArray[np.int32],
    right: NDArray[np.int32],
) -> Float64:
    """Return values in which each inner node has the cover-weighted mean of its leaves.

    Children must come after their parents.
    """
    value = leaf_value.copy()
    for node in range(len(value) - 1, -1, -1):
        a, b = left[node], right[node]
        if a != node:
            value[node] = (cover[a] * value[a] + cover[b] * value[b]) / (cover[a] + cover[b])
    return value


def double_thresholds(threshold: Float64) -> Float64:
    """Return thresholds for float64 rows that split like the given ones for float32 rows.

    scikit-learn's decision trees round a row to float32 (half to even) before they compare. So
    ``float32(x) <= threshold`` holds up to the middle between the largest float32 at or below the
    threshold and the next float32 above. The middle is included if it rounds down.

    Args:
        threshold: float64[k], within float32's range, as in trees that are fitted to float32 rows;
            infinite ones are returned unchanged.
    """
    with np.errstate(over="ignore"):
        below = threshold.astype(np.float32)
        below = np.where(below > threshold, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
    largest = np.finfo(np.float32).max
    above[below == largest] = 2.0**128
    middle = (below.astype(np.float64) + above) / 2
    even = (below.view(np.int32) & 1) == 0
    doubled = np.where(even, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isfinite(threshold), doubled, threshold)


def _refuse_malformed(
    joined: dict[str, NDArray[Any]],
    leaf: NDArray[np.bool_],
    roots: NDArray[np.int64],
    sizes: NDArray[np.int64],
    feature_count: int,
) -> None:
    """Refuse nodes, which come from a file, that would lead a kernel out of its arrays.

    Numbers of children are checked in their own type, before anything is counted or allocated by
    them.
    """
    inner = np.flatnonzero(~leaf)
    past = np.repeat(roots + sizes, sizes)[inner]
    shift = np.repeat(roots, sizes)[inner]
    feature, left, right = (joined[name][inner] for name in ("feature", "left", "right"))
    _refuse_unless(
        all(column.dtype.kind in "iu" for column in (feature, left, right)),
        "numbers of nodes or features that are not integers",
    )
    # They must be below the maximum number of nodes, so that no addition to them overflows.
    for children in (left, right):
        _refuse_unless(bool((children <= NODES_MOST).all()), "a child outside its tree")
        _refuse_unless(bool((children >= 0).all()), "a child before its parent")
    left, right = left.astype(np.int64) + shift, right.astype(np.int64) + shift
    ascending = bool((left > inner).all() and (right > inner).all())
    _refuse_unless(ascending, "a child before its parent")
    _refuse_unless(bool((left < past).all() and (right < past).all()), "a child outside its tree")
    parents = np.bincount(np.concatenate([left, right]), minlength=len(leaf))
    parents[roots] += 1
    _refuse_unless(bool((parents == 1).all()), "a node without just one parent")
    _refuse_unless(bool((feature >= 0).all()), "a split on no feature")
    _refuse_unless(
        bool((feature < feature_count).all()), "a split on a feature that it does not have"
    )
    _refuse_unless(not np.isnan(joined["threshold"][inner]).any(), "a split at no number")
    _refuse_unless(bool(np.isfinite(joined["value"][leaf]).all()), "a leaf without a number")


def _refuse_unless(holds: bool, what: str) -> None:  # noqa: FBT001 it is the condition
    if not holds:
        raise ModelError(f"model: its trees hold {what}", "train the model again")


def _refuse_many(nodes: int) -> None:
    """Refuse too many nodes before they are copied: the same tree may be listed many times."""
    _refuse_unless(nodes <= NODES_MOST, f"more than {NODES_MOST} nodes")


def _assemble(
    trees: list[dict[str, NDArray[Any]]], baseline: float, feature_count: int
) -> TreeEnsemble:
    """Join trees whose nodes are numbered from 0 in each tree, and check them."""
    sizes = np.array([len(tree["feature"]) for tree in trees], np.int64)
    _refuse_unless(len(sizes) > 0 and sizes.min() > 0, "a tree without a node")
    _refuse_many(int(sizes.sum()))
    _refuse_unless(
        all(column.shape == (len(tree["feature"]),) for tree in trees for column in tree.values()),
        "columns of different lengths",
    )
    _refuse_unless(bool(np.isfinite(baseline)), "a baseline that is not a number")
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    shift = np.repeat(roots, sizes)
    own = np.arange(int(sizes.sum()), dtype=np.int32)
    joined = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    leaf = joined["leaf"].astype(np.bool_)
    _refuse_malformed(joined, leaf, roots, sizes, feature_count)
    left = np.where(leaf, own, joined["left"] + shift).astype(np.int32)
    right = np.where(leaf, own, joined["right"] + shift).astype(np.int32)
    cover = joined["cover"].astype(np.float64)
    feature = np.where(leaf, -1, joined["feature"])
    return TreeEnsemble(
        feature=feature.astype(np.int32),
        threshold=joined["threshold"].astype(np.float64),
        left=left,
        right=right,
        missing_left=joined["missing_left"].astype(np.bool_),
        value=_with_inner_means(joined["value"].astype(np.float64), cover, left, right),
        cover=cover,
        roots=roots.astype(np.int32),
        baseline=baseline,
        feature_count=feature_count,
    )


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
        _refuse_many(count)
        trees.append(
            {
                "leaf": nodes["is_leaf"],
                "feature": nodes["feature_idx"],
                "threshold": nodes["num_threshold"],
                "left": nodes["left"].astype(np.int64),
                "right": nodes["right"].astype(np.int64),
                "missing_left": nodes["missing_go_to_left"],
                "value": nodes["value"],
                "cover": nodes["count"],
            }
        )
    return _assemble(
        trees,
        float(model._baseline_prediction.ravel()[0]),  # noqa: SLF001 as above
        feature_count_of(model),
    )


def from_decision_trees(models: list[Any]) -> TreeEnsemble:
    """Flatten fitted binary decision trees; the value of a leaf is its share of class 1.

    Raises:
        ModelError: There is no tree, or one is malformed.
    """
    trees, count = [], 0
    for model in models:
        tree = model.tree_
        # scikit-learn makes its arrays as long as the first number, over memory for the second.
        _refuse_unless(0 < tree.node_count <= tree.capacity, "fewer nodes than they say")
        count += tree.node_count
        _refuse_many(count)
        trees.append(
            {
                "leaf": tree.children_left < 0,
                "feature": tree.feature,
                "threshold": double_thresholds(tree.threshold),
                "left": tree.children_left,
                "right": tree.children_right,
                "missing_left": tree.missing_go_to_left,
                "value": tree.value[:, 0, 1],
                "cover": tree.weighted_n_node_samples,
            }
        )
    _refuse_unless(bool(trees), "no tree")
    return _assemble(trees, 0.0, feature_count_of(models[0]))
