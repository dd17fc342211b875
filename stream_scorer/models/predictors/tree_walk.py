"""The layout of trees that are walked node by node."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors import walk_kernels
from stream_scorer.models.predictors.trees import TreeEnsemble

NODE = np.dtype(
    [("threshold", np.float64), ("left", np.int32), ("feature", np.int16), ("missing", np.int16)]
)
"""A node of 16 bytes; ``missing`` is the child, 0 for left or 1 for right, for a missing value.

The right child follows the left one. A leaf has itself as left child and the threshold infinity,
so that every value stays there. A node with several cuts has the threshold NaN.
"""


class TreeWalk(NamedTuple):
    """An ensemble of t trees as it is walked.

    Attributes:
        trees: The ensemble, numbered breadth-first; all nodes start left.
        nodes: NODE[k].
        depths: int64[ceil(t / 8)], the depth of the deepest of each eight trees.
    """

    trees: TreeEnsemble
    nodes: NDArray[np.void]
    depths: NDArray[np.int64]


def lay_out(trees: TreeEnsemble) -> TreeWalk:
    """Number the nodes breadth-first, so that siblings are neighbours."""
    order = np.empty(len(trees.feature), np.int64)
    depths = np.empty(len(trees.roots), np.int64)
    walk_kernels.breadth_first(trees.feature, trees.left, trees.right, trees.roots, order, depths)
    # A node that starts right is one that starts left, with its children exchanged.
    inner = trees.feature >= 0
    exchanged = inner & ~trees.starts_left
    if exchanged.any():
        return lay_out(
            replace(
                trees,
                starts_left=np.ones(len(order), np.bool_),
                left=np.where(exchanged, trees.right, trees.left),
                right=np.where(exchanged, trees.left, trees.right),
                missing_left=trees.missing_left ^ exchanged,
            )
        )
    moved = np.empty(len(order), np.int32)
    moved[order] = np.arange(len(order), dtype=np.int32)
    counts = trees.cut_counts()[order]
    first_cut = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(len(trees.cuts)) - np.repeat(first_cut[:-1], counts)
    ordered = replace(
        trees,
        feature=trees.feature[order],
        first_cut=first_cut,
        cuts=trees.cuts[np.repeat(trees.first_cut[order], counts) + within],
        starts_left=trees.starts_left[order],
        left=moved[trees.left[order]],
        right=moved[trees.right[order]],
        missing_left=trees.missing_left[order],
        value=trees.value[order],
        cover=trees.cover[order],
        roots=moved[trees.roots],
    )
    leaf = ordered.feature < 0
    threshold = np.full(len(order), np.nan)
    threshold[leaf] = np.inf
    threshold[counts == 1] = ordered.cuts[first_cut[:-1][counts == 1]]
    nodes = np.empty(len(order), NODE)
    nodes["threshold"] = threshold
    nodes["left"] = ordered.left
    nodes["feature"] = np.where(leaf, 0, ordered.feature)
    nodes["missing"] = ~ordered.missing_left & ~leaf
    eights = np.arange(0, len(depths), walk_kernels.TREES)
    return TreeWalk(ordered, nodes, np.maximum.reduceat(depths, eights))
