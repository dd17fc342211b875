"""The trees of a CatBoost model, symmetric ones and others, as columns of nodes.

A symmetric tree of depth d has d splits, each for a complete level, and 2**d leaves. The split i is
the bit i of a leaf's number: 1 if the value goes right. Here the last split is at the root, so that
the leaves are numbered from left to right.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.models.importing.catboost.document import (
    entries,
    known_keys,
    number_of,
    numbers_of,
    refuse,
)
from stream_scorer.models.importing.catboost.splits import Splits, StatedSplit, stated_split
from stream_scorer.models.predictors.trees import TREES_MOST, TreeColumns, refuse_many

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

DEPTH_MOST: Final = 16
"""Maximum depth of a symmetric tree, as in CatBoost."""

_SYMMETRIC_KEYS: Final = frozenset({"leaf_values", "leaf_weights", "splits"})
_INNER_KEYS: Final = frozenset({"left", "right", "split"})
_LEAF_KEYS: Final = frozenset({"value", "weight"})
_LEAF: Final = -1


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
    document: dict[str, Any], splits: Splits, margin: Margin
) -> tuple[list[TreeColumns], bool]:
    """Return the trees in the order in which they are added, and whether they are symmetric.

    Args:
        document: The model file.
        splits: The splits of its features.
        margin: Which numbers of the leaves are added.

    Raises:
        ModelError: There is no tree, or too many; or one is malformed, or has a split that its
            features do not have.
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
        found.append(read(tree, f"tree {number}", splits, margin))
        nodes += len(found[-1].feature)
        refuse_many(nodes)
    return found, symmetric


def _symmetric_tree(tree: Any, where: str, splits: Splits, margin: Margin) -> TreeColumns:
    if not isinstance(tree, dict):
        refuse(f"{where} is {quoted(tree)}, not an object")
    known_keys(tree, _SYMMETRIC_KEYS, where)
    levels = entries(tree, "splits", where)
    if len(levels) > DEPTH_MOST:
        refuse(f"{where} has {len(levels)} levels, more than {DEPTH_MOST}")
    leaves = 1 << len(levels)
    values = _leaf_column(tree, "leaf_values", leaves * margin.dimensions, where)
    weights = None
    if tree.get("leaf_weights") is not None:
        weights = _leaf_column(tree, "leaf_weights", leaves, where)
    numbers = splits.numbers_of([stated_split(split, where) for split in reversed(levels)], where)
    inner = np.repeat(numbers, 1 << np.arange(len(levels)))
    children = 2 * np.arange(2 * leaves - 1)
    return _columns(
        np.concatenate([inner, np.full(leaves, _LEAF)]),
        children + 1,
        children + 2,
        _below(leaves - 1, margin.of(values, f"{where}: leaf_values")),
        np.ones(2 * leaves - 1) if weights is None else _below(leaves - 1, weights),
        splits,
    )


def _leaf_column(tree: dict[str, Any], key: str, length: int, where: str) -> Float64:
    values = entries(tree, key, where)
    if len(values) != length:
        refuse(f"{where} has {len(values)} {key}, not {length}")
    return numbers_of(values, f"{where}: {key}")


def _below(inner: int, leaves: Float64) -> Float64:
    """Return a column of a symmetric tree: 0 for the inner nodes, then the leaves' numbers."""
    return np.concatenate([np.zeros(inner), leaves])


def _other_tree(tree: Any, where: str, splits: Splits, margin: Margin) -> TreeColumns:
    """Return a tree whose nodes are objects inside each other; parents come before children."""
    stated, inner = list[StatedSplit](), list[int]()
    left, right = list[int](), list[int]()
    values, weights = list[float](), list[float]()
    waiting: list[tuple[Any, int]] = [(tree, _LEAF)]
    while waiting:
        node, parent = waiting.pop()
        if not isinstance(node, dict):
            refuse(f"{where} has the node {quoted(node)}, not an object")
        own = len(left)
        if parent != _LEAF:
            # The left child is read next after its parent.
            (left if own == parent + 1 else right)[parent] = own
        left.append(own)
        right.append(own)
        if "split" in node:
            known_keys(node, _INNER_KEYS, f"a node of {where}")
            inner.append(own)
            stated.append(stated_split(node["split"], where))
            values.append(0.0)
            weights.append(0.0)
            for side in ("right", "left"):
                if side not in node:
                    refuse(f"a node of {where} has no {side} child")
                waiting.append((node[side], own))
        else:
            known_keys(node, _LEAF_KEYS, f"a leaf of {where}")
            values.append(_leaf_value(node, where, margin))
            weights.append(number_of(node.get("weight", 1.0), f"{where}: weight"))
    numbers = np.full(len(left), _LEAF)
    numbers[inner] = splits.numbers_of(stated, where)
    return _columns(
        numbers, np.array(left), np.array(right), np.array(values), np.array(weights), splits
    )


def _leaf_value(node: dict[str, Any], where: str, margin: Margin) -> float:
    if "value" not in node:
        refuse(f"a node of {where} has neither a split nor a value")
    values = node["value"] if isinstance(node["value"], list) else [node["value"]]
    if len(values) != margin.dimensions:
        refuse(f"a leaf of {where} has {len(values)} values, not {margin.dimensions}")
    return float(margin.of(numbers_of(values, f"the values of a leaf of {where}"), where)[0])


def _columns(
    numbers: Int64, left: Int64, right: Int64, value: Float64, cover: Float64, splits: Splits
) -> TreeColumns:
    """Return the columns of nodes whose splits are numbered, -1 for a leaf."""
    inner = numbers != _LEAF
    used = numbers[inner]
    feature = np.full(len(numbers), _LEAF)
    feature[inner] = splits.column[used]
    missing_left = np.zeros(len(numbers), np.bool_)
    missing_left[inner] = splits.missing_left[used]
    counts = np.zeros(len(numbers), np.int64)
    counts[inner] = splits.first_cut[used + 1] - splits.first_cut[used]
    first_cut = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(first_cut[-1]) - np.repeat(first_cut[:-1], counts)
    return TreeColumns(
        feature=feature,
        first_cut=first_cut,
        cuts=splits.cuts[np.repeat(splits.first_cut[used], counts[inner]) + within],
        starts_left=np.ones(len(numbers), np.bool_),
        left=left,
        right=right,
        missing_left=missing_left,
        value=value,
        cover=cover,
    )
