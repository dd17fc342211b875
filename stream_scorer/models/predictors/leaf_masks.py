"""Score ensembles of small trees without walking: which leaves does a value exclude?

The idea is that of QuickScorer (Lucchese et al., SIGIR 2015). A tree's leaves are numbered from
left to right. A node that sends a row right excludes the leaves below its left child. After all
such nodes are applied, the lowest leaf that is left is the row's leaf.

Here the nodes of each feature are evaluated once, when the tables are built. For each interval
between two cuts of a feature (and for "missing") a line of the table has the leaves of each tree
that are still possible. To score a row, look up one line for each feature, AND them, find the
lowest set bit of each tree, and add the leaves' values in the order of the trees. This order makes
the sum equal to the library's bit for bit.

A line has 64 bytes, which are 16 trees of up to 32 leaves, or 8 of up to 64. Such trees are a
group. A group has its own table, with the cuts of its own nodes only, so that it stays in the
cache while many rows are scored. A row's interval among all cuts of a feature is searched once.
``places`` leads from it to the group's line.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors import leaf_kernels
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

LEAVES_MOST = 64
TABLE_BYTES_MOST = 64 * 1024 * 1024
_LINE_BYTES = 64
_LINES_MOST = 1 << 16
"""Maximum lines of a group: their numbers are uint16."""


@dataclass(frozen=True, slots=True)
class LeafMasks:
    """Lookup tables of an ensemble of t trees in g groups.

    Attributes:
        columns: int64[k, 5], for each feature that any tree uses: its number, where its cuts start,
            the binary logarithm of their number + 1, its first place, and the place for "missing".
        cuts: float64, ascending for each feature; infinity fills them up to a power of two - 1.
        places: uint16[g, p], the line within the group's table for each interval of a feature; the
            place after its last interval is "missing".
        groups: int64[g + 1, 2], the group's first line, and where its columns start in ``used``.
        used: int64, the columns that each group uses.
        table: uint32[r, 16] or uint64[r, 8], possible leaves by line and tree of the group.
        leaves: float64 or float32 of [t, 32 or 64], leaf values from left to right.
        baseline: The start value of a sum, of the type of the leaves.
    """

    columns: Int64
    cuts: Float64
    places: NDArray[np.uint16]
    groups: Int64
    used: Int64
    table: NDArray[np.uint32] | NDArray[np.uint64]
    leaves: Float64 | NDArray[np.float32]
    baseline: np.float64 | np.float32

    def arguments(self) -> tuple[Any, ...]:
        """Return the fields in their order, as the kernel takes them."""
        return tuple(getattr(self, field.name) for field in fields(self))


def _sorted_cuts(columns: Int64, cuts: Float64, count: int) -> tuple[Int64, Float64, Int64]:
    """Return the distinct cuts of each column.

    Args:
        columns: int64[c], the column of each cut.
        cuts: float64[c].
        count: Number of columns.

    Returns:
        The number of each given cut among the distinct ones; those, by column and ascending; and
        int64[count + 1], where the distinct cuts of a column start. Each column has at least one.
    """
    # A column that no cut divides gets one that no value is above.
    columns = np.concatenate([columns, np.setdiff1d(np.arange(count), columns)])
    padded = np.full(len(columns), np.inf)
    padded[: len(cuts)] = cuts
    order = np.lexsort((padded, columns))
    in_order, values = columns[order], padded[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (in_order[1:] != in_order[:-1]) | (values[1:] != values[:-1])
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    starts = np.searchsorted(in_order[new], np.arange(count + 1))
    return numbers[: len(cuts)], values[new], starts


def _columns(
    features: Int64, cuts: Float64, starts: Int64, first_places: Int64
) -> tuple[Int64, Float64]:
    """Return the columns and the cuts of the tables.

    Args:
        features: int64[k], the numbers of the features.
        cuts: float64, their distinct cuts, by feature and ascending.
        starts: int64[k + 1], where a feature's cuts start.
        first_places: int64[k].
    """
    counts = np.diff(starts)
    levels = np.array([int(count).bit_length() for count in counts], np.int64)
    sizes = (1 << levels) - 1
    begins = np.cumsum(sizes) - sizes
    padded = np.full(int(sizes.sum()), np.inf)
    padded[np.repeat(begins - starts[:-1], counts) + np.arange(len(cuts))] = cuts
    missing = first_places + counts + 1
    return np.stack([features, begins, levels, first_places, missing], axis=1), padded


def _aligned(lines: int, in_line: int, word: np.dtype[Any]) -> NDArray[Any]:
    """Return lines in which all bits are set; each is one line of the processor's cache."""
    memory = np.full((lines + 1) * _LINE_BYTES, 0xFF, np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    end = start + lines * _LINE_BYTES
    return memory[start:end].view(word).reshape(lines, in_line)


def build(trees: TreeEnsemble) -> LeafMasks | None:
    """Return the tables; None if trees or tables are too large, or if there is no split."""
    leaves_most = trees.leaves_most()
    inner = np.flatnonzero(trees.feature >= 0)
    if leaves_most > LEAVES_MOST or len(inner) == 0:
        return None
    word = np.dtype(np.uint32 if leaves_most <= 32 else np.uint64)  # noqa: PLR2004 bits
    in_line = _LINE_BYTES // word.itemsize
    tree_count, node_count = len(trees.roots), len(trees.feature)
    group_count = -(-tree_count // in_line)

    features = np.unique(trees.feature[inner]).astype(np.int64)
    column_of = np.searchsorted(features, trees.feature)
    node_of_cut = np.repeat(np.arange(node_count), trees.cut_counts())
    numbers, cuts, starts = _sorted_cuts(column_of[node_of_cut], trees.cuts, len(features))
    counts = np.diff(starts)
    first_places = np.cumsum(counts + 2) - (counts + 2)
    columns, padded = _columns(features, cuts, starts, first_places)
    place_count = int((counts + 2).sum())
    if group_count * place_count * 2 > TABLE_BYTES_MOST:
        return None

    tree_of = np.searchsorted(trees.roots, np.arange(node_count), side="right") - 1
    group_of = tree_of // in_line
    # The cuts of a group, by column and ascending, and the pairs of a group and a column.
    keys, cut_numbers = np.unique(group_of[node_of_cut] * len(cuts) + numbers, return_inverse=True)
    cuts_of_pairs = keys % len(cuts)
    pair_of_cut = keys // len(cuts) * len(features) + (
        np.searchsorted(starts, cuts_of_pairs, side="right") - 1
    )
    pair_of_node = group_of * len(features) + column_of
    pair_keys = np.unique(pair_of_node[inner])
    pair_groups, pair_columns = pair_keys // len(features), pair_keys % len(features)
    first_cuts = np.searchsorted(pair_of_cut, np.concatenate([pair_keys, [np.iinfo(np.int64).max]]))
    line_counts = np.diff(first_cuts) + 2
    lines = np.cumsum(line_counts) - line_counts
    line_count = int(line_counts.sum())
    group_bounds = np.searchsorted(pair_groups, np.arange(group_count + 1))
    group_lines = np.concatenate([lines, [line_count]])[group_bounds]
    if np.diff(group_lines).max() > _LINES_MOST or line_count * _LINE_BYTES > TABLE_BYTES_MOST:
        return None

    pairs = np.stack([np.append(lines - group_lines[pair_groups], 0), first_cuts], axis=1)
    places = np.zeros((group_count, place_count), np.uint16)
    leaf_kernels.fill_places(
        pairs, pair_groups, pair_columns, columns, starts, cuts_of_pairs, places
    )
    first, count = np.zeros(node_count, np.int64), np.zeros(node_count, np.int64)
    leaf_kernels.number_leaves(trees.feature, trees.left, trees.right, trees.roots, first, count)
    table = _aligned(line_count, in_line, word)
    leaf_kernels.fill_table(
        inner, np.searchsorted(pair_keys, pair_of_node), pairs, lines, trees.first_cut,
        cut_numbers, trees.starts_left, trees.missing_left, tree_of % in_line, first, count,
        trees.left, table,
    )  # fmt: skip

    number = np.float32 if trees.single else np.float64
    leaves = np.zeros((tree_count, word.itemsize * 8), number)
    at_leaf = np.flatnonzero(trees.feature < 0)
    leaves[tree_of[at_leaf], first[at_leaf]] = trees.value[at_leaf]
    groups = np.stack([group_lines, group_bounds], axis=1)
    return LeafMasks(
        columns, padded, places, groups, pair_columns, table, leaves, number(trees.baseline)
    )
