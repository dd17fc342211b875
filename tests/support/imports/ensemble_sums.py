"""Sums of an ensemble for many rows, with numpy alone and without the kernels."""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors.parts import MissingValue, Part
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]


def part_sums(part: Part, rows: Float64) -> Float64:
    """Return float64[n]: the sums of a part whose only step may be a number that is missing."""
    for step in part.before:
        assert isinstance(step, MissingValue)
        with np.errstate(over="ignore"):
            compared = rows.astype(np.float32) if step.single else rows
        rows = np.where(compared == step.value, np.nan, rows)
    assert isinstance(part.body, TreeEnsemble)
    return sums(part.body, rows)


def sums(trees: TreeEnsemble, rows: Float64) -> Float64:
    """Return float64[n]: the baseline plus the leaf values, in the order of the trees."""
    total = np.full(len(rows), trees.baseline)
    for root in trees.roots:
        total += trees.value[_leaves(trees, int(root), rows)]
        if trees.single:
            # The sum of two float32 numbers, rounded to float64 and then to float32, is the sum
            # rounded once: float64 has more than twice the bits.
            total = total.astype(np.float32).astype(np.float64)
    return total


def _leaves(trees: TreeEnsemble, root: int, rows: Float64) -> NDArray[np.int64]:
    """Return int64[n]: the leaf that each row reaches in a tree."""
    nodes = np.full(len(rows), root, np.int64)
    going = np.flatnonzero(trees.feature[nodes] >= 0)
    while len(going):
        at = nodes[going]
        values = rows[going, trees.feature[at]]
        below = _cuts_below(trees, at, values)
        left = np.where(
            np.isnan(values), trees.missing_left[at], (below % 2 == 0) == trees.starts_left[at]
        )
        nodes[going] = np.where(left, trees.left[at], trees.right[at])
        going = going[trees.feature[nodes[going]] >= 0]
    return nodes


def _cuts_below(
    trees: TreeEnsemble, nodes: NDArray[np.int64], values: Float64
) -> NDArray[np.int64]:
    """Return int64[n]: how many cuts of each node are below its row's value, by bisection."""
    first, past = trees.first_cut[nodes], trees.first_cut[nodes + 1]
    low, high = first.copy(), past.copy()
    while (low < high).any():
        open_ = low < high
        middle = (low + high) // 2
        less = np.zeros(len(nodes), np.bool_)
        less[open_] = trees.cuts[middle[open_]] < values[open_]
        low = np.where(open_ & less, middle + 1, low)
        high = np.where(open_ & ~less, middle, high)
    return low - first
