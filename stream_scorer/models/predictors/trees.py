"""Tree ensembles as checked flat arrays, from which predictors are built.

A node sends a row's value left or right by *cuts*: ascending numbers c0 < c1 < ... Let j be the
number of cuts that are below the value. The row goes left if j is even and the node starts left, or
if j is odd and it does not. So a node with the one cut t that starts left sends ``value <= t``
left, and a node with many cuts can express any set of categories. A missing value goes left if
``missing_left`` is set.

All numbers come from files, so :func:`assemble` checks each of them before a kernel reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import FEATURES_MOST

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NODES_MOST: Final = 1 << 22
"""Maximum nodes of all trees: an int32 is a node's number, and tables are built node by node."""

TREES_MOST: Final = 1 << 17
"""Maximum trees of an ensemble."""

CUTS_MOST: Final = 1 << 23
"""Maximum cuts of all trees."""

NUMBER_MOST: Final = 1e150
"""Maximum size of a leaf value, a baseline or a cover, so that no product of two overflows."""


@dataclass(frozen=True, slots=True)
class TreeColumns:
    """One tree of k nodes as an importer gives it. The root is node 0; the other order is free.

    Attributes:
        feature: int64[k], split feature; -1 for a leaf.
        first_cut: int64[k + 1]; the cuts of node i are ``cuts[first_cut[i]:first_cut[i + 1]]``.
        cuts: float64, ascending within each node, finite or infinite; those of leaves are ignored.
        starts_left: bool[k], whether a value that no cut is below goes left.
        left: int64[k], number of the left child; of a leaf any value.
        right: int64[k], number of the right child; of a leaf any value.
        missing_left: bool[k], whether a missing value goes left.
        value: float64[k], of leaves; of inner nodes any value.
        cover: float64[k], training rows or their weight, not negative; 1 if the library keeps none.
    """

    feature: Int64
    first_cut: Int64
    cuts: Float64
    starts_left: NDArray[np.bool_]
    left: Int64
    right: Int64
    missing_left: NDArray[np.bool_]
    value: Float64
    cover: Float64

    @classmethod
    def with_thresholds(
        cls,
        *,
        feature: Int64,
        threshold: Float64,
        left: Int64,
        right: Int64,
        missing_left: NDArray[np.bool_],
        value: Float64,
        cover: Float64,
    ) -> "TreeColumns":
        """Return a tree whose nodes send ``value <= threshold`` left.

        Args:
            feature: As in the class, like the others.
            threshold: float64[k]; of leaves any value.
            left: Left children.
            right: Right children.
            missing_left: Whether a missing value goes left.
            value: Values of leaves.
            cover: Training rows or their weight.
        """
        nodes = len(feature)
        return cls(
            feature, np.arange(nodes + 1), threshold, np.ones(nodes, np.bool_), left, right,
            missing_left, value, cover,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """Trees whose leaf values are added in their order, starting at ``baseline``.

    The nodes of one tree are together, the root first, and children are after their parents.

    Attributes:
        feature: int32[k], split feature; -1 for a leaf.
        first_cut: int64[k + 1]; the cuts of node i are ``cuts[first_cut[i]:first_cut[i + 1]]``. A
            leaf has none.
        cuts: float64, strictly ascending within each node, finite or infinite.
        starts_left: bool[k], whether a value that no cut is below goes left.
        left: int32[k], number of the left child; a leaf has its own number.
        right: int32[k], number of the right child; a leaf has its own number.
        missing_left: bool[k].
        value: float64[k]; for an inner node the mean of its leaves, weighted by ``cover``.
        cover: float64[k], training rows (by weight, if the model keeps weights).
        roots: int32[t], number of each tree's root.
        baseline: The start value of the sum.
        feature_count: Number of features with which the model was trained.
        single: Whether the sum is a float32: baseline and leaf values are float32 numbers, and each
            addition is rounded to float32.
    """

    feature: NDArray[np.int32]
    first_cut: Int64
    cuts: Float64
    starts_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: Float64
    cover: Float64
    roots: NDArray[np.int32]
    baseline: float
    feature_count: int
    single: bool = False

    def leaves_most(self) -> int:
        """Return the number of leaves of the largest tree."""
        leaves = np.add.reduceat((self.feature < 0).astype(np.int64), self.roots)
        return int(leaves.max())

    def cut_counts(self) -> Int64:
        """Return int64[k]: the number of cuts of each node."""
        return np.diff(self.first_cut)


@numeric
def _fill_inner_means(value, cover, left, right):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Write the weighted mean of its leaves to each inner node; children are after parents."""
    for node in range(len(value) - 1, -1, -1):
        a = left[node]
        b = right[node]
        if a != node:
            total = cover[a] + cover[b]
            if total > 0:
                value[node] = (cover[a] * value[a] + cover[b] * value[b]) / total
            else:
                value[node] = (value[a] + value[b]) / 2


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


def _refuse_unless(holds: bool, what: str) -> None:  # noqa: FBT001 it is the condition
    if not holds:
        raise ModelError(f"model: its trees hold {what}", "train the model again")


def refuse_many(nodes: int) -> None:
    """Refuse too many nodes before they are copied: the same tree may be listed many times.

    Raises:
        ModelError: There are more than :data:`NODES_MOST`.
    """
    _refuse_unless(nodes <= NODES_MOST, f"more than {NODES_MOST} nodes")


def _integers(column: NDArray[Any]) -> Int64:
    """Return numbers of nodes, cuts or features as int64; no addition to them overflows."""
    _refuse_unless(column.dtype.kind in "iu", "numbers of nodes or features that are not integers")
    if column.size:
        small = int(column.min()) >= -(1 << 31) and int(column.max()) < 1 << 31
        _refuse_unless(small, "a number of a node or feature that is too large")
    return column.astype(np.int64)


def _judged_shapes(tree: TreeColumns) -> None:
    """Refuse columns of other shapes and types, by which the joined ones would be laid out."""
    nodes = len(tree.feature)
    of_nodes = (
        tree.feature, tree.starts_left, tree.left, tree.right, tree.missing_left, tree.value,
        tree.cover,
    )  # fmt: skip
    equal = all(column.shape == (nodes,) for column in of_nodes)
    equal &= tree.first_cut.shape == (nodes + 1,) and tree.cuts.ndim == 1
    _refuse_unless(equal, "columns of different lengths")
    numbers = all(column.dtype.kind == "f" for column in (tree.cuts, tree.value, tree.cover))
    _refuse_unless(numbers, "cuts, values or covers that are not floating-point numbers")
    sides = all(column.dtype.kind == "b" for column in (tree.starts_left, tree.missing_left))
    _refuse_unless(sides, "sides that are not true or false")


def _first_cuts(tree: TreeColumns) -> Int64:
    first = _integers(tree.first_cut)
    holds = first[0] == 0 and first[-1] == len(tree.cuts) and bool((first[1:] >= first[:-1]).all())
    _refuse_unless(bool(holds), "cuts that belong to no node")
    return first


def _parents_first(
    inner: NDArray[np.bool_], left: Int64, right: Int64, roots: Int64
) -> Int64 | None:
    """Return the nodes, tree by tree, parents before children; None if they are in such an order.

    Children are numbered over all trees, and each is in the tree of its parent.

    Raises:
        ModelError: A node is not the child of just one node, or it cannot be reached from its root.
    """
    at = np.flatnonzero(inner)
    parents = np.bincount(np.concatenate([left[at], right[at]]), minlength=len(inner))
    parents[roots] += 1
    _refuse_unless(bool((parents == 1).all()), "a node without just one parent")
    if bool((left[at] > at).all() and (right[at] > at).all()):
        return None
    order: list[int] = []
    for root in roots:
        stack = [int(root)]
        while stack:
            node = stack.pop()
            order.append(node)
            if inner[node]:
                stack += [int(right[node]), int(left[node])]
    # Each node has one parent, so what is not reached is a cycle.
    _refuse_unless(len(order) == len(inner), "a cycle")
    return np.array(order, np.int64)


def _judged_numbers(
    value: Float64, cover: Float64, cuts: Float64, first_cut: Int64, baseline: float
) -> None:
    """Refuse numbers with which a sum or a mean would not be a number."""
    _refuse_unless(bool((np.abs(value) <= NUMBER_MOST).all()), "a leaf without a number")
    usable = bool(((cover >= 0) & (cover <= NUMBER_MOST)).all())
    _refuse_unless(usable, "a cover that is not a number of rows")
    _refuse_unless(not np.isnan(cuts).any(), "a split at no number")
    ascending = np.ones(len(cuts) + 1, np.bool_)
    ascending[1:-1] = cuts[1:] > cuts[:-1]
    ascending[first_cut] = True
    _refuse_unless(bool(ascending.all()), "cuts that do not ascend")
    _refuse_unless(abs(baseline) <= NUMBER_MOST, "a baseline that is not a number")


def _judged_single(largest: Float64, values: Float64, baseline: float) -> None:
    """Refuse a float32 sum of other numbers, or one that may overflow."""
    whole = float(np.abs(largest).sum()) + abs(baseline)
    _refuse_unless(
        whole <= float(np.finfo(np.float32).max), "leaf values whose sum is too large for float32"
    )
    same = (
        bool((values.astype(np.float32) == values).all())
        and float(np.float32(baseline)) == baseline
    )
    _refuse_unless(bool(same), "leaf values that are not float32 numbers")


def assemble(
    trees: Sequence[TreeColumns], *, baseline: float, feature_count: int, single: bool = False
) -> TreeEnsemble:
    """Join trees, and check everything that a kernel relies on.

    Args:
        trees: In the order in which their leaf values are added.
        baseline: The start value of the sum.
        feature_count: Number of features of a row.
        single: Whether the sum is a float32, see :class:`TreeEnsemble`.

    Raises:
        ModelError: There is no tree, or too many nodes or cuts; or they are malformed.
    """
    _refuse_unless(0 < feature_count <= FEATURES_MOST, f"{feature_count} features")
    _refuse_unless(len(trees) > 0, "no tree")
    _refuse_unless(len(trees) <= TREES_MOST, f"more than {TREES_MOST} trees")
    refuse_many(sum(len(tree.feature) for tree in trees))
    _refuse_unless(sum(len(t.cuts) for t in trees) <= CUTS_MOST, f"more than {CUTS_MOST} cuts")
    for tree in trees:
        _judged_shapes(tree)
    sizes = np.array([len(tree.feature) for tree in trees], np.int64)
    _refuse_unless(int(sizes.min()) > 0, "a tree without a node")
    roots = np.cumsum(sizes) - sizes
    shift = np.repeat(roots, sizes)
    own = np.arange(int(sizes.sum()), dtype=np.int64)
    feature = np.concatenate([_integers(tree.feature) for tree in trees])
    inner = feature != -1
    _refuse_unless(bool((feature[inner] >= 0).all()), "a split on no feature")
    _refuse_unless(
        bool((feature < feature_count).all()), "a split on a feature that it does not have"
    )
    children = []
    for side in ("left", "right"):
        columns = [getattr(tree, side) for tree in trees]
        columns = [
            _integers(np.where(tree.feature == -1, 0, column))
            for tree, column in zip(trees, columns, strict=True)
        ]
        column = np.concatenate(columns)
        inside = bool(((column >= 0) & (column < np.repeat(sizes, sizes))).all())
        _refuse_unless(inside, "a child outside its tree")
        children.append(np.where(inner, column + shift, own))
    left, right = children
    order = _parents_first(inner, left, right, roots)

    first_cuts = [_first_cuts(tree) for tree in trees]
    counts = np.where(inner, np.concatenate([np.diff(first) for first in first_cuts]), 0)
    cuts = np.concatenate([
        tree.cuts[np.repeat(tree.feature != -1, np.diff(first))]
        for tree, first in zip(trees, first_cuts, strict=True)
    ]).astype(np.float64)  # fmt: skip
    value = np.where(inner, 0.0, np.concatenate([tree.value for tree in trees]))
    value, cover = value.astype(np.float64), np.concatenate([t.cover for t in trees])
    cover = cover.astype(np.float64)
    starts_left = np.concatenate([tree.starts_left for tree in trees])
    missing_left = np.concatenate([tree.missing_left for tree in trees])
    if order is not None:
        starts = np.cumsum(counts) - counts
        counts = counts[order]
        within = np.arange(len(cuts)) - np.repeat(np.cumsum(counts) - counts, counts)
        cuts = cuts[np.repeat(starts[order], counts) + within]
        moved = np.empty_like(order)
        moved[order] = own
        feature, left, right = feature[order], moved[left[order]], moved[right[order]]
        starts_left, missing_left = starts_left[order], missing_left[order]
        value, cover = value[order], cover[order]
    first_cut = np.concatenate([[0], np.cumsum(counts)])
    _judged_numbers(value, cover, cuts, first_cut, baseline)
    if single:
        _judged_single(np.maximum.reduceat(np.abs(value), roots), value, baseline)
    left, right = left.astype(np.int32), right.astype(np.int32)
    _fill_inner_means(value, cover, left, right)
    return TreeEnsemble(
        feature.astype(np.int32), first_cut, cuts, starts_left, left, right, missing_left, value,
        cover, roots.astype(np.int32), float(baseline), feature_count, single,
    )  # fmt: skip
