"""Kernels that walk a tree ensemble node by node: sums of large trees, and attributions.

Rows are taken in blocks, so that the nodes of one tree stay in the cache. Four rows walk a tree
together, or a single row walks eight trees together, so that their memory latencies overlap. Each
row still adds its leaves in tree order, so neither affects a bit of its sum. A single row's walk
stops at the trees' depth, so that it does not read the nodes of leaves.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import inlined, numeric

_ROWS = 256
TREES = 8
"""Trees that a single row walks together."""


@numeric
def breadth_first(feature, left, right, roots, order, depths):
    """Write the nodes to ``order``, tree by tree, level by level, and each tree's depth."""
    past = 0
    for tree in range(len(roots)):
        at = past
        order[past] = roots[tree]
        past += 1
        level_end = past
        depths[tree] = 0
        while at < past:
            if at == level_end:
                level_end = past
                depths[tree] += 1
            node = order[at]
            at += 1
            if feature[node] >= 0:
                order[past] = left[node]
                order[past + 1] = right[node]
                past += 2


@inlined
def _child(nodes, at, row):
    """Return the child to which a row goes from a node with one cut; a leaf is its own child."""
    node = nodes[at]
    value = row[np.uint16(node.feature)]
    right = np.uint32(value > node.threshold)
    if value != value:  # noqa: PLR0124 the test for NaN
        right = np.uint32(node.missing)
    return np.uint32(node.left) + right


@inlined
def _child_by_cuts(nodes, first_cut, cuts, at, row):
    """Return the child to which a row goes from any node; a leaf is its own child."""
    node = nodes[at]
    value = row[np.uint16(node.feature)]
    threshold = node.threshold
    if value != value or threshold == threshold:  # noqa: PLR0124 the tests for NaN
        return _child(nodes, at, row)
    low = first_cut[at]
    high = first_cut[at + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if cuts[middle] < value:
            low = middle + 1
        else:
            high = middle
    return np.uint32(node.left) + np.uint32((low - first) & 1)


@numeric
def sums(rows, nodes, value, roots, depths, baseline, out):
    """Write the baseline plus the leaf values in tree order to ``out`` ([n], as the values).

    Args:
        rows: float64[n, m].
        nodes: NODE[k], each with one cut at most.
        value: float64[k] or float32[k].
        roots: int32[t].
        depths: int64[ceil(t / 8)], the depth of the deepest of each eight trees.
        baseline: The start value of a sum.
        out: [n], written.
    """
    n = rows.shape[0]
    out[:] = baseline
    for block in range(0, n, _ROWS):
        past = min(n, block + _ROWS)
        together = block + ((past - block) & ~3)
        if together > block:
            for root in roots:
                for row in range(block, together, 4):
                    a = b = c = d = np.uint32(root)
                    while True:
                        e = _child(nodes, a, rows[row])
                        f = _child(nodes, b, rows[row + 1])
                        g = _child(nodes, c, rows[row + 2])
                        h = _child(nodes, d, rows[row + 3])
                        if ((a ^ e) | (b ^ f) | (c ^ g) | (d ^ h)) == 0:
                            break
                        a = e
                        b = f
                        c = g
                        d = h
                    out[row] += value[a]
                    out[row + 1] += value[b]
                    out[row + 2] += value[c]
                    out[row + 3] += value[d]
        for row in range(together, past):
            out[row] = _sum_of_row(rows[row], nodes, value, roots, depths, out[row])


@inlined
def _sum_of_row(row, nodes, value, roots, depths, total):
    """Return ``total`` plus the leaf values of one row, which walks eight trees at a time."""
    whole = len(roots) // TREES * TREES
    for tree in range(0, whole, TREES):
        a = np.uint32(roots[tree])
        b = np.uint32(roots[tree + 1])
        c = np.uint32(roots[tree + 2])
        d = np.uint32(roots[tree + 3])
        e = np.uint32(roots[tree + 4])
        f = np.uint32(roots[tree + 5])
        g = np.uint32(roots[tree + 6])
        h = np.uint32(roots[tree + 7])
        for _ in range(depths[tree // TREES]):
            i = _child(nodes, a, row)
            j = _child(nodes, b, row)
            k = _child(nodes, c, row)
            m = _child(nodes, d, row)
            n = _child(nodes, e, row)
            o = _child(nodes, f, row)
            p = _child(nodes, g, row)
            q = _child(nodes, h, row)
            if ((a ^ i) | (b ^ j) | (c ^ k) | (d ^ m) | (e ^ n) | (f ^ o) | (g ^ p) | (h ^ q)) == 0:
                break
            a = i
            b = j
            c = k
            d = m
            e = n
            f = o
            g = p
            h = q
        total += value[a]
        total += value[b]
        total += value[c]
        total += value[d]
        total += value[e]
        total += value[f]
        total += value[g]
        total += value[h]
    for tree in range(whole, len(roots)):
        a = np.uint32(roots[tree])
        b = _child(nodes, a, row)
        while a != b:
            a = b
            b = _child(nodes, a, row)
        total += value[a]
    return total


@numeric
def sums_by_cuts(rows, nodes, first_cut, cuts, value, roots, baseline, out):
    """Do the same for nodes with any number of cuts.

    Args:
        rows: float64[n, m].
        nodes: NODE[k].
        first_cut: int64[k + 1], as in an ensemble.
        cuts: float64, as in an ensemble.
        value: float64[k] or float32[k].
        roots: int32[t].
        baseline: The start value of a sum.
        out: [n], written.
    """
    n = rows.shape[0]
    out[:] = baseline
    for block in range(0, n, _ROWS):
        for root in roots:
            for row in range(block, min(n, block + _ROWS)):
                a = np.uint32(root)
                b = _child_by_cuts(nodes, first_cut, cuts, a, rows[row])
                while a != b:
                    a = b
                    b = _child_by_cuts(nodes, first_cut, cuts, a, rows[row])
                out[row] += value[a]


@numeric
def attribute(rows, nodes, first_cut, cuts, value, roots, out):
    """Add the change of value at each step to ``out`` (float64[n, m], zeros), at its feature.

    Args:
        rows: float64[n, m].
        nodes: NODE[k].
        first_cut: int64[k + 1], as in an ensemble.
        cuts: float64, as in an ensemble.
        value: float64[k].
        roots: int32[t].
        out: Written.
    """
    for row in range(rows.shape[0]):
        for root in roots:
            a = np.uint32(root)
            b = _child_by_cuts(nodes, first_cut, cuts, a, rows[row])
            while a != b:
                out[row, np.uint16(nodes[a].feature)] += value[b] - value[a]
                a = b
                b = _child_by_cuts(nodes, first_cut, cuts, a, rows[row])
