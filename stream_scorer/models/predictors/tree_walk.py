"""Kernels that walk a tree ensemble node by node: sums of large trees, and attributions.

Rows are taken in blocks, so that the nodes of one tree stay in the cache. Four rows walk a tree
together, so that their memory latencies overlap. Each row still adds its leaves in tree order, so
neither affects a bit of its sum.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.trees import TreeEnsemble

# A node has 16 bytes. Its right child follows the left one. The feature of a leaf is -1.
NODE = np.dtype(
    [("threshold", np.float64), ("left", np.int32), ("feature", np.int16), ("missing", np.int16)]
)


def lay_out(trees: TreeEnsemble, of_leaves: float = 0.0) -> tuple[TreeEnsemble, NDArray[np.void]]:
    """Number the nodes breadth-first, so that siblings are neighbours.

    Args:
        trees: The ensemble.
        of_leaves: The threshold of leaves, which no kernel reads.

    Returns:
        The same ensemble in that numbering, and its nodes as NODE[k]; ``missing`` is the child, 0
        for left or 1 for right, to which a missing value goes.
    """
    order: list[int] = []
    for root in trees.roots:
        level = [int(root)]
        while level:
            order += level
            level = [
                int(child)
                for node in level
                if trees.feature[node] >= 0
                for child in (trees.left[node], trees.right[node])
            ]
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
    threshold = ordered.thresholds(of_leaves)
    if threshold is None:
        raise ModelError("model: its nodes have several cuts", "wait for the kernels for them")
    nodes = np.empty(len(order), NODE)
    nodes["threshold"] = threshold
    nodes["left"] = ordered.left
    nodes["feature"] = ordered.feature
    nodes["missing"] = ~ordered.missing_left
    return ordered, nodes


@numeric
def _step(node, value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Return the child to which ``value`` goes from an inner node."""
    if value != value:  # noqa: PLR0124 the test for NaN
        return node.left + node.missing
    return node.left + (1 - (value <= node.threshold))


@numeric
def sums(rows, nodes, value, roots, baseline, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 numba types them
    """Write the baseline plus the leaf values in tree order to ``out`` (float64[n]).

    Args:
        rows: float64[n, m].
        nodes: NODE[k].
        value: float64[k].
        roots: int32[t].
        baseline: The start value of a sum.
        out: float64[n], written.
    """
    n = rows.shape[0]
    out[:] = baseline
    for block in range(0, n, 256):
        past = min(n, block + 256)
        for root in roots:
            row = block
            while row + 4 <= past:
                a = root
                b = root
                c = root
                d = root
                while True:
                    fa = nodes[a].feature
                    fb = nodes[b].feature
                    fc = nodes[c].feature
                    fd = nodes[d].feature
                    if (fa & fb & fc & fd) < 0:
                        break
                    a = a if fa < 0 else _step(nodes[a], rows[row, fa])
                    b = b if fb < 0 else _step(nodes[b], rows[row + 1, fb])
                    c = c if fc < 0 else _step(nodes[c], rows[row + 2, fc])
                    d = d if fd < 0 else _step(nodes[d], rows[row + 3, fd])
                out[row] += value[a]
                out[row + 1] += value[b]
                out[row + 2] += value[c]
                out[row + 3] += value[d]
                row += 4
            while row < past:
                at = root
                while nodes[at].feature >= 0:
                    at = _step(nodes[at], rows[row, nodes[at].feature])
                out[row] += value[at]
                row += 1


@numeric
def attribute(rows, nodes, value, roots, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 numba types them
    """Add the change of value at each step to ``out`` (float64[n, m], zeros), at its feature."""
    for row in range(rows.shape[0]):
        for root in roots:
            at = root
            while nodes[at].feature >= 0:
                feature = nodes[at].feature
                child = _step(nodes[at], rows[row, feature])
                out[row, feature] += value[child] - value[at]
                at = child
