"""One tree of LightGBM's text format, as columns."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.lightgbm import splits
from stream_scorer.models.importing.lightgbm.number_lists import (
    decimals,
    integer,
    integers,
    malformed,
)
from stream_scorer.models.predictors.trees import CUTS_MOST, NODES_MOST, TreeColumns

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

LEAVES_MOST: Final = (NODES_MOST + 1) // 2
"""Maximum leaves of one tree."""

ROWS_MOST: Final = (1 << 31) - 1
"""Maximum training rows: the library counts them as int32."""

WORDS_MOST: Final = 1 << 23
"""Maximum words of a tree's sets of categories; a category below 2**28 then fits."""

CATEGORICAL: Final = 1
DEFAULT_LEFT: Final = 2
MISSING_SHIFT: Final = 2
DECISION_MOST: Final = (splits.MISSING_NAN << MISSING_SHIFT) | DEFAULT_LEFT | CATEGORICAL


def columns(number: int, values: dict[str, bytes], feature_count: int) -> TreeColumns:
    """Return a tree: its inner nodes in the file's order, then its leaves.

    The cover of a leaf is its number of training rows, and that of an inner node is the sum of its
    leaves' covers.

    Args:
        number: The tree's number, for errors.
        values: Its lines.
        feature_count: Number of the model's features.

    Raises:
        ModelError: It has linear models in its leaves, or is malformed.
    """
    tree = _Tree(number, values)
    leaves = tree.integer("num_leaves", 1, LEAVES_MOST)
    if tree.values.get("is_linear", b"0") != b"0":
        raise ModelError(
            f"model: tree {number} has linear models in its leaves, which are not supported",
            "train it with linear_tree=false",
        )
    inner = leaves - 1
    value = tree.decimals("leaf_value", leaves)
    if inner == 0:
        return _constant(value)
    rows = tree.integers("leaf_count", leaves, 0, ROWS_MOST)
    children = [_children(tree, side, inner) for side in ("left_child", "right_child")]
    decision = tree.integers("decision_type", inner, 0, DECISION_MOST)
    categorical = (decision & CATEGORICAL) != 0
    default_left = (decision & DEFAULT_LEFT) != 0
    missing = decision >> MISSING_SHIFT
    # A split between NaN and all numbers has the threshold "inf".
    threshold = tree.decimals("threshold", inner, infinite=True)
    of_sets, set_counts = _category_cuts(tree, threshold[categorical])

    numeric = splits.numeric_cuts(threshold, missing, default_left)
    numeric[categorical] = np.nan
    counts = (~np.isnan(numeric)).sum(axis=1)
    counts[categorical] = set_counts
    first_cut = np.concatenate([[0], np.cumsum(counts), np.full(leaves, counts.sum())])
    cuts = np.empty(int(counts.sum()))
    of_category = np.repeat(categorical, counts)
    cuts[~of_category] = numeric[~np.isnan(numeric)]
    cuts[of_category] = of_sets
    missing_left = splits.missing_left(threshold, missing, default_left) & ~categorical

    of_leaves = np.zeros(leaves, np.bool_)
    feature = tree.integers("split_feature", inner, 0, feature_count - 1)
    return TreeColumns(
        feature=np.concatenate([feature, np.full(leaves, -1)]),
        first_cut=first_cut,
        cuts=cuts,
        starts_left=np.concatenate([~categorical, of_leaves]),
        left=np.concatenate([children[0], np.zeros(leaves, np.int64)]),
        right=np.concatenate([children[1], np.zeros(leaves, np.int64)]),
        missing_left=np.concatenate([missing_left, of_leaves]),
        value=np.concatenate([np.zeros(inner), value]),
        cover=_covers(children[0], children[1], rows),
    )


class _Tree:
    """The lines of a tree, with its number for errors."""

    def __init__(self, number: int, values: dict[str, bytes]) -> None:
        self.number = number
        self.values = values

    def what(self, key: str) -> str:
        return f"{key} of tree {self.number}"

    def text(self, key: str) -> bytes:
        if key not in self.values:
            raise malformed(f"tree {self.number} has no {key}")
        return self.values[key]

    def integer(self, key: str, low: int, high: int) -> int:
        return integer(self.what(key), self.text(key), low, high)

    def integers(self, key: str, count: int, low: int, high: int) -> Int64:
        return integers(self.what(key), self.text(key), count, low, high)

    def decimals(self, key: str, count: int, *, infinite: bool = False) -> Float64:
        return decimals(self.what(key), self.text(key), count, infinite=infinite)


def _constant(value: Float64) -> TreeColumns:
    """Return a tree of one leaf, for which LightGBM before 4.6 writes no number of rows."""
    zero, no_side = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    return TreeColumns(
        np.full(1, -1), np.zeros(2, np.int64), np.empty(0), no_side, zero, zero, no_side, value,
        np.ones(1),
    )  # fmt: skip


def _children(tree: _Tree, key: str, inner: int) -> Int64:
    """Return int64[inner], children in our numbering; the file's leaf k is the child -k - 1."""
    child = tree.integers(key, inner, -inner - 1, inner - 1)
    # The library numbers nodes in the order of their splits, so a child is after its parent.
    is_node = child >= 0
    if (child[is_node] <= np.flatnonzero(is_node)).any():
        raise malformed(f"{tree.what(key)} leads back to an earlier node")
    return np.where(is_node, child, inner - 1 - child)


def _covers(left: Int64, right: Int64, rows: Int64) -> Float64:
    """Return float64: the rows of each node. Children are after their parents."""
    covers = [0] * len(left) + rows.tolist()
    pairs = list(zip(left.tolist(), right.tolist(), strict=True))
    for node in range(len(pairs) - 1, -1, -1):
        a, b = pairs[node]
        covers[node] = covers[a] + covers[b]
    return np.array(covers, np.float64)


def _category_cuts(tree: _Tree, numbers: Float64) -> tuple[Float64, Int64]:
    """Return (cuts of all categorical nodes, int64[k] number of each node's cuts).

    Args:
        tree: The tree.
        numbers: float64[k], the number of each categorical node's set, which is in the place of a
            threshold.
    """
    count = tree.integer("num_cat", 0, LEAVES_MOST)
    if len(numbers) != count or not np.array_equal(numbers, np.arange(count)):
        raise malformed(f"tree {tree.number} does not have one set of categories for each split")
    if count == 0:
        return np.empty(0), np.empty(0, np.int64)
    bounds = tree.integers("cat_boundaries", count + 1, 0, WORDS_MOST)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise malformed(f"{tree.what('cat_boundaries')} does not ascend from 0")
    words = tree.integers("cat_threshold", int(bounds[-1]), 0, (1 << splits.WORD_BITS) - 1)
    sets = words.astype(np.uint32)
    cuts = 2 * splits.run_count(sets, bounds)
    if cuts > CUTS_MOST:
        raise ModelError(
            f"model: the categories of tree {tree.number} have {cuts} cuts, more than {CUTS_MOST}",
            "group rare categories before the training",
        )
    return splits.category_cuts(sets, bounds)
