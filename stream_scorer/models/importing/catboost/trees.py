"""The trees of a CatBoost model, symmetric ones and others, as columns of nodes.

A symmetric tree of depth d has d splits, each for a complete level, and 2**d leaves. The split i is
the bit i of a leaf's number: 1 if the value is above the border. Here the last split is at the
root, so that the leaves are numbered from left to right.

The splits of a model are numbered: first the borders of float feature 0, then those of float
feature 1, and so on. CatBoost itself uses the number, and each split also states its feature and
its border. They must agree.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.models.importing.catboost.document import (
    entries,
    entry,
    known_keys,
    number_of,
    numbers_of,
    refuse,
)
from stream_scorer.models.importing.catboost.features import Features
from stream_scorer.models.predictors.trees import TreeColumns, refuse_many

Float64 = NDArray[np.float64]

TREES_MOST: Final = 100_000
"""Maximum trees."""

DEPTH_MOST: Final = 16
"""Maximum depth of a symmetric tree, as in CatBoost."""

_SYMMETRIC_KEYS: Final = frozenset({"leaf_values", "leaf_weights", "splits"})
_INNER_KEYS: Final = frozenset({"left", "right", "split"})
_LEAF_KEYS: Final = frozenset({"value", "weight"})
_SPLIT_KEYS: Final = frozenset({"border", "float_feature_index", "split_index", "split_type"})
_LEAF: Final = -1
_NO_SPLIT: Final = (_LEAF, 0.0)


@dataclass(frozen=True, slots=True)
class Margin:
    """Which of the numbers of a leaf is added to the margin of the fraud class.

    Attributes:
        dimensions: How many numbers a leaf has.
        at: The number of the one that is added.
        negated: Whether its negative is added: the model's positive class is not the fraud class.
    """

    dimensions: int
    at: int
    negated: bool

    def of(self, values: Float64, where: str) -> Float64:
        """Return float64[n]: what n leaves add to the margin.

        Args:
            values: float64[n * dimensions], leaf by leaf.
            where: What they are, for the message.

        Raises:
            ModelError: They are not a multiple of the dimensions.
        """
        if len(values) % self.dimensions:
            refuse(f"{where} are {len(values)} numbers, not {self.dimensions} for each leaf")
        chosen = values[self.at :: self.dimensions]
        return -chosen if self.negated else chosen


def read_trees(
    document: dict[str, Any], features: Features, margin: Margin
) -> tuple[list[TreeColumns], bool]:
    """Return the trees in the order in which they are added, and whether they are symmetric.

    Args:
        document: The model file.
        features: Its features.
        margin: Which numbers of the leaves are added.

    Raises:
        ModelError: There is no tree, or too many; or one is malformed, or has a split that is not
            the border of a float feature.
    """
    symmetric = "oblivious_trees" in document
    if symmetric and "trees" in document:
        refuse("has both oblivious_trees and trees")
    trees = entries(document, "oblivious_trees" if symmetric else "trees", "the file")
    if not 0 < len(trees) <= TREES_MOST:
        refuse(f"has {len(trees)} trees, not 1 to {TREES_MOST}", "train it with fewer iterations")
    read = _symmetric_tree if symmetric else _other_tree
    found, nodes = [], 0
    for number, tree in enumerate(trees):
        found.append(read(tree, f"tree {number}", features, margin))
        nodes += len(found[-1].feature)
        refuse_many(nodes)
    return found, symmetric


def _symmetric_tree(tree: Any, where: str, features: Features, margin: Margin) -> TreeColumns:
    if not isinstance(tree, dict):
        refuse(f"{where} is {quoted(tree)}, not an object")
    known_keys(tree, _SYMMETRIC_KEYS, where)
    splits = entries(tree, "splits", where)
    if len(splits) > DEPTH_MOST:
        refuse(f"{where} has {len(splits)} levels, more than {DEPTH_MOST}")
    leaves = 1 << len(splits)
    values = _leaf_column(tree, "leaf_values", leaves * margin.dimensions, where)
    weights = None
    if tree.get("leaf_weights") is not None:
        weights = _leaf_column(tree, "leaf_weights", leaves, where)
    by_level = _split_numbers(
        [_split(split, where, features) for split in reversed(splits)], where, features
    )
    inner = np.repeat(by_level, 1 << np.arange(len(splits)))
    children = 2 * np.arange(2 * leaves - 1)
    return _columns(
        np.concatenate([inner, np.full(leaves, _LEAF)]),
        children + 1,
        children + 2,
        _below(leaves - 1, margin.of(values, f"{where}: leaf_values")),
        np.ones(2 * leaves - 1) if weights is None else _below(leaves - 1, weights),
        features,
    )


def _leaf_column(tree: dict[str, Any], key: str, length: int, where: str) -> Float64:
    values = entries(tree, key, where)
    if len(values) != length:
        refuse(f"{where} has {len(values)} {key}, not {length}")
    return numbers_of(values, f"{where}: {key}")


def _below(inner: int, leaves: Float64) -> Float64:
    """Return a column of a symmetric tree: 0 for the inner nodes, then the leaves' numbers."""
    return np.concatenate([np.zeros(inner), leaves])


def _other_tree(tree: Any, where: str, features: Features, margin: Margin) -> TreeColumns:
    """Return a tree whose nodes are objects inside each other; parents come before children."""
    splits, values, weights = list[tuple[int, float]](), list[float](), list[float]()
    left, right = list[int](), list[int]()
    waiting: list[tuple[Any, int]] = [(tree, _LEAF)]
    while waiting:
        node, parent = waiting.pop()
        if not isinstance(node, dict):
            refuse(f"{where} has the node {quoted(node)}, not an object")
        own = len(splits)
        if parent != _LEAF:
            # The left child is read next after its parent.
            (left if own == parent + 1 else right)[parent] = own
        left.append(own)
        right.append(own)
        if "split" in node:
            known_keys(node, _INNER_KEYS, f"a node of {where}")
            splits.append(_split(node["split"], where, features))
            values.append(0.0)
            weights.append(0.0)
            for side in ("right", "left"):
                if side not in node:
                    refuse(f"a node of {where} has no {side} child")
                waiting.append((node[side], own))
        else:
            known_keys(node, _LEAF_KEYS, f"a leaf of {where}")
            splits.append(_NO_SPLIT)
            values.append(_leaf_value(node, where, margin))
            weights.append(number_of(node.get("weight", 1.0), f"{where}: weight"))
    return _columns(
        _split_numbers(splits, where, features), np.array(left), np.array(right), np.array(values),
        np.array(weights), features,
    )  # fmt: skip


def _leaf_value(node: dict[str, Any], where: str, margin: Margin) -> float:
    if "value" not in node:
        refuse(f"a node of {where} has neither a split nor a value")
    values = node["value"] if isinstance(node["value"], list) else [node["value"]]
    if len(values) != margin.dimensions:
        refuse(f"a leaf of {where} has {len(values)} values, not {margin.dimensions}")
    return float(margin.of(numbers_of(values, f"the values of a leaf of {where}"), where)[0])


def _columns(
    splits: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    value: Float64,
    cover: Float64,
    features: Features,
) -> TreeColumns:
    """Return the columns of nodes whose splits are numbered, -1 for a leaf."""
    leaf = splits == _LEAF
    number = np.where(leaf, 0, splits)
    feature = np.searchsorted(features.first_border, number, side="right") - 1
    # A model of single leaves has no border at all.
    cuts = np.zeros(len(splits)) if leaf.all() else features.cuts[number]
    return TreeColumns.with_thresholds(
        feature=np.where(leaf, _LEAF, features.columns[np.where(leaf, 0, feature)]),
        threshold=cuts,
        left=left,
        right=right,
        missing_left=~features.missing_right[np.where(leaf, 0, feature)],
        value=value,
        cover=cover,
    )


def _split(split: Any, where: str, features: Features) -> tuple[int, float]:
    """Return a split's number, which is one of its feature's, and its border."""
    if not isinstance(split, dict):
        refuse(f"{where} has the split {quoted(split)}, not an object")
    kind = entry(split, "split_type", str, f"a split of {where}")
    if kind != "FloatFeature":
        refuse(f"{where} has a split of the type {quoted(kind)}", "train it on numeric features")
    known_keys(split, _SPLIT_KEYS, f"a split of {where}")
    feature = entry(split, "float_feature_index", int, f"a split of {where}")
    number = entry(split, "split_index", int, f"a split of {where}")
    border = number_of(split.get("border"), f"{where}: the border of a split")
    if not 0 <= feature < len(features.columns):
        refuse(f"{where} has a split on the float feature {feature}, which does not exist")
    first, past = features.first_border[feature : feature + 2]
    if not first <= number < past:
        refuse(f"{where} has the split {number}, which is not of float feature {feature}")
    return number, border


def _split_numbers(
    splits: list[tuple[int, float]], where: str, features: Features
) -> NDArray[np.int64]:
    """Return the numbers of the splits, after comparing the borders with those of the features."""
    numbers = np.array([number for number, _ in splits], np.int64)
    with np.errstate(over="ignore"):
        stated = np.array([border for _, border in splits]).astype(np.float32)
    at = numbers != _LEAF
    if (features.borders[numbers[at]] != stated[at]).any():
        refuse(f"{where} has a split at another border than its feature has")
    return numbers
