"""One tree of a model file as columns for the kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.importing.xgboost.fields import Section
from stream_scorer.models.importing.xgboost.float32_cuts import Float32, Float64, cuts_of
from stream_scorer.models.importing.xgboost.refusals import refuse
from stream_scorer.models.predictors.trees import TreeColumns

NODES_MOST: Final = 1 << 20
"""Of one tree; its lists are Python objects while it is read."""
CATEGORIES_MOST: Final = 1 << 20
"""In the lists of one tree's splits."""
_NO_CHILD: Final = -1
_CATEGORIES_END: Final = 1 << 24
"""XGBoost sends every category from here on left: float32 cannot count further."""


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """What a tree's meaning depends on, outside of the tree.

    Attributes:
        feature_count: Number of the model's features.
        contribution: From a tree's leaf values, float32[k], to what is added to the sum for them.
    """

    feature_count: int
    contribution: Callable[[Float32], Float32]


def node_count(tree: Section) -> int:
    """Return the number of nodes that a tree has by its own account.

    Raises:
        ModelError: It is missing, or more than :data:`NODES_MOST`.
    """
    return tree.section("tree_param").count("num_nodes", 1, NODES_MOST)


def read_tree(tree: Section, settings: TreeSettings) -> TreeColumns:
    """Return a tree, its nodes numbered so that parents come before children.

    Raises:
        ModelError: It is not a tree, or not one whose leaves are single numbers.
    """
    count = node_count(tree)
    _check_parameters(tree.section("tree_param"), settings.feature_count)
    left = tree.integers("left_children", count)
    right = tree.integers("right_children", count)
    order = np.array(_reached(tree, left.tolist(), right.tolist()), np.int64)
    deleted = tree.section("tree_param").count("num_deleted", 0, count)
    if len(order) + deleted != count:
        refuse(f"{tree.where} has {count - len(order) - deleted:,} nodes that no path reaches")
    number = np.full(count, _NO_CHILD, np.int64)
    number[order] = np.arange(len(order))

    leaf = left[order] == _NO_CHILD
    feature = tree.integers("split_indices", count)[order]
    if not ((feature[~leaf] >= 0) & (feature[~leaf] < settings.feature_count)).all():
        refuse(f"{tree.where} splits on a feature that the model does not have")
    threshold = tree.singles("split_conditions", count)[order]
    default_left = tree.integers("default_left", count)[order]
    if not np.isin(default_left, (0, 1)).all():
        refuse(f"{tree.place('default_left')} has other numbers than 0 and 1")
    cover = tree.singles("sum_hessian", count)[order].astype(np.float64)
    if not (np.isfinite(cover) & (cover >= 0)).all():
        refuse(f"{tree.place('sum_hessian')} has a number that is negative or not finite")

    first_cut, cuts, starts_left = _cuts(tree, count, order, leaf, threshold)
    return TreeColumns(
        feature=np.where(leaf, -1, feature),
        first_cut=first_cut,
        cuts=cuts,
        starts_left=starts_left,
        left=number[left[order]],
        right=number[right[order]],
        missing_left=default_left == 1,
        value=_leaf_values(tree, leaf, threshold, settings),
        cover=cover,
    )


def _check_parameters(parameter: Section, feature_count: int) -> None:
    """Refuse a tree with lists as leaves, or of a model with other features."""
    if parameter.has("size_leaf_vector"):
        leaf_size = parameter.count("size_leaf_vector", 0, 1 << 31)
        if leaf_size > 1:
            refuse(
                f"its trees have {leaf_size:,} numbers in each leaf (multi_output_tree)",
                "train it with one target, or with multi_strategy='one_output_per_tree'",
            )
    found = parameter.count("num_feature", 0, 1 << 31)
    if found != feature_count:
        refuse(
            f"{parameter.place('num_feature')} is {found:,}, but the model's is {feature_count:,}"
        )


def _reached(tree: Section, left: list[int], right: list[int]) -> list[int]:
    """Return the nodes below the root, each once, parents first, a left child before its sibling.

    Raises:
        ModelError: A child is out of range, or a node is reached twice.
    """
    order: list[int] = []
    pending = [0]
    seen = bytearray(len(left))
    while pending:
        node = pending.pop()
        if seen[node]:
            refuse(f"{tree.where} reaches node {node:,} on two paths, so it is not a tree")
        seen[node] = 1
        order.append(node)
        child, other = left[node], right[node]
        if child == _NO_CHILD:
            if other != _NO_CHILD:
                refuse(f"{tree.where} has node {node:,} with one child")
            continue
        # XGBoost goes to the node after the left child, whatever the file has as the right child.
        if not 0 <= child < len(left) - 1 or other != child + 1:
            refuse(
                f"{tree.where} has node {node:,} with the children {child:,} and {other:,}, "
                "which are not two neighbours in the tree"
            )
        pending += (other, child)
    return order


def _leaf_values(
    tree: Section, leaf: NDArray[np.bool_], threshold: Float32, settings: TreeSettings
) -> NDArray[np.float64]:
    """Return float64[k]: what the leaves add to the sum, float32 numbers; 0 for other nodes."""
    value = np.zeros(len(leaf))
    with np.errstate(over="ignore", invalid="ignore"):
        value[leaf] = settings.contribution(threshold[leaf])
    if not np.isfinite(value).all():
        refuse(f"{tree.where} has a leaf without a finite number")
    return value


def _cuts(
    tree: Section,
    count: int,
    order: NDArray[np.int64],
    leaf: NDArray[np.bool_],
    threshold: Float32,
) -> tuple[NDArray[np.int64], Float64, NDArray[np.bool_]]:
    """Return (int64[k + 1], float64[c], bool[k]): where each node's cuts begin, the cuts, sides.

    A split at a number has its cut; at -inf it has none and sends every number right. A split on
    categories starts left. Leaves have no cut.
    """
    sets = _category_sets(tree, count)
    numeric = ~leaf & ~np.isin(order, np.array(list(sets), np.int64))
    if np.isnan(threshold[numeric]).any():
        refuse(f"{tree.where} splits at NaN")
    limits = cuts_of(np.where(numeric, threshold, np.float32(0)))
    starts_left = ~numeric | (limits > -np.inf)
    each = [limits[at : at + 1] if starts_left[at] else limits[:0] for at in range(len(order))]
    for at in np.flatnonzero(~numeric):
        each[at] = sets[int(order[at])] if not leaf[at] else limits[:0]
    first_cut = np.concatenate([[0], np.cumsum([len(cuts) for cuts in each])]).astype(np.int64)
    return first_cut, np.concatenate(each), starts_left


def _category_sets(tree: Section, count: int) -> dict[int, Float64]:
    """Return the cuts of the nodes that split on categories, by the file's numbers of them.

    The categories in the file go right. A row's value, rounded to float32, is truncated to a
    category. So category 3 means 3 <= float32(x) < 4, and category 0 also -0. Every other number
    goes left: unseen categories, negative numbers and those from 16,777,216 on.
    """
    if not tree.has("split_type"):
        return {}
    kinds = tree.integers("split_type", count)
    if not np.isin(kinds, (0, 1)).all():
        refuse(f"{tree.place('split_type')} has other numbers than 0 and 1")
    nodes = tree.integers("categories_nodes")
    if not np.array_equal(nodes, np.flatnonzero(kinds)):
        refuse(f"{tree.place('categories_nodes')} does not fit split_type")
    starts = tree.integers("categories_segments", len(nodes))
    sizes = tree.integers("categories_sizes", len(nodes))
    listed = tree.length("categories")
    if listed > CATEGORIES_MOST:
        refuse(f"{tree.place('categories')} has {listed:,} numbers, more than {CATEGORIES_MOST:,}")
    categories = tree.integers("categories", listed)
    if not ((sizes > 0) & (sizes <= len(categories))).all():
        refuse(f"{tree.place('categories_sizes')} does not fit its categories")
    ends = np.cumsum(sizes)
    if not np.array_equal(starts, ends - sizes) or ends[-1:].sum() != len(categories):
        refuse(f"{tree.place('categories_segments')} does not fit its categories")
    if not ((categories >= 0) & (categories < _CATEGORIES_END)).all():
        refuse(f"{tree.place('categories')} has one out of range 0 to {_CATEGORIES_END - 1:,}")
    ascending = np.diff(categories) > 0
    ascending[ends[:-1] - 1] = True
    if not ascending.all():
        refuse(f"{tree.place('categories')} is not in ascending order")
    return {
        int(node): _category_cuts(categories[start:end])
        for node, start, end in zip(nodes, starts, ends, strict=True)
    }


def _category_cuts(categories: NDArray[np.int64]) -> Float64:
    """Return two cuts for each run of categories: those around the numbers that go right.

    Args:
        categories: int64[k], ascending, k > 0.
    """
    gap = np.flatnonzero(np.diff(categories) > 1)
    first = categories[np.concatenate([[0], gap + 1])]
    past = categories[np.concatenate([gap, [len(categories) - 1]])] + 1
    limits = np.stack([first, past], axis=1).ravel().astype(np.float32)
    return cuts_of(limits)
