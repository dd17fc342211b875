"""Kernels of the leaf masks: they fill the tables, and look rows up in them."""

from typing import Final

import numpy as np

from stream_scorer.core.kernels.compiled import inlined, numeric
from stream_scorer.models.predictors.line_intrinsics import (
    and_line,
    full_line,
    lowest_bit,
    store_line,
)

_LANES = 8
_ROWS = 512
"""Rows that are scored by one group after the other. Their places and a table fit in the cache."""
_ALL: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO: Final = np.uintp(0)
_ONE: Final = np.uintp(1)


@numeric
def number_leaves(feature, left, right, roots, first, count):
    """Write each node's first leaf in its tree, and the number of leaves below it."""
    for node in range(len(feature) - 1, -1, -1):
        count[node] = 1 if feature[node] < 0 else count[left[node]] + count[right[node]]
    for root in roots:
        first[root] = 0
    for node in range(len(feature)):
        if feature[node] >= 0:
            first[left[node]] = first[node]
            first[right[node]] = first[node] + count[left[node]]


@numeric
def fill_places(pairs, pair_groups, pair_columns, columns, starts, cuts_of_pairs, places):
    """Write the lines for each interval of the pairs of a group and a column.

    Args:
        pairs: int64[q + 1, 2], the pair's first line in its group, and where its cuts start.
        pair_groups: int64[q].
        pair_columns: int64[q].
        columns: As in the tables.
        starts: int64[k], where each column's cuts start among all cuts.
        cuts_of_pairs: int64, numbers of the pairs' cuts among all cuts.
        places: As in the tables, written.
    """
    for pair in range(len(pair_groups)):
        column = pair_columns[pair]
        out = places[pair_groups[pair]]
        start = starts[column]
        place = columns[column, 3]
        count = columns[column, 4] - place - 1
        line = pairs[pair, 0]
        at = pairs[pair, 1]
        past = pairs[pair + 1, 1]
        for interval in range(count + 1):
            out[place + interval] = line
            if at < past and cuts_of_pairs[at] == start + interval:
                at += 1
                line += 1
        out[place + count + 1] = line + 1


@numeric
def fill_table(
    inner, node_pairs, pairs, lines, first_cut, cut_numbers, starts_left, missing_left, words,
    first, count, left, table,
):  # fmt: skip
    """Clear the bits of the leaves that each inner node excludes.

    Args:
        inner: int64[i], the inner nodes.
        node_pairs: int64[k], each inner node's pair of a group and a column.
        pairs: int64[q + 1, 2], as in :func:`fill_places`.
        lines: int64[q], the pair's first line in the table.
        first_cut: int64[k + 1], as in an ensemble.
        cut_numbers: int64, the number of each node's cuts among those of the pairs.
        starts_left: bool[k].
        missing_left: bool[k].
        words: int64[k], the tree's number in its group.
        first: int64[k], the first leaf below a node.
        count: int64[k], the number of leaves below a node.
        left: int32[k].
        table: As in the tables, all bits set; written.
    """
    for node in inner:
        pair = node_pairs[node]
        word = words[node]
        child = left[node]
        below = (_ALL >> np.uint64(64 - count[child])) << np.uint64(first[child])
        keep = table.dtype.type(~below)
        line = lines[pair]
        cuts_before = pairs[pair, 1]
        intervals = pairs[pair + 1, 1] - cuts_before + 1
        at = first_cut[node]
        past = first_cut[node + 1]
        goes_left = starts_left[node]
        for interval in range(intervals):
            if not goes_left:
                table[line + interval, word] &= keep
            if at < past and cut_numbers[at] == cuts_before + interval:
                at += 1
                goes_left = not goes_left
        if not missing_left[node]:
            table[line + intervals, word] &= keep


@inlined
def _stepped(value, cuts, at, level):
    """Return where the search for a value among cuts goes on, after one more step.

    The result of the comparison is shifted: a branch would often be predicted wrongly.
    """
    return at + (np.uintp(cuts[at + ((_ONE << level) - _ONE)] < value) << level)


@inlined
def _place(value, at, first, missing):
    """Return the place of a value whose search ended, or the place for "missing"."""
    return np.int64(at) + first if value == value else missing  # noqa: PLR0124 not NaN


@inlined
def _find_places(rows, cuts, columns, found):
    """Write the places of rows to ``found`` (int32[n, k]).

    Eight rows are searched together, so that the latencies of their steps overlap.
    """
    n = rows.shape[0]
    for k in range(columns.shape[0]):
        feature = np.uintp(columns[k, 0])
        start = np.uintp(columns[k, 1])
        levels = np.uintp(columns[k, 2])
        first = columns[k, 3] - columns[k, 1]
        missing = columns[k, 4]
        row = 0
        while row + _LANES <= n:
            i = rows[row, feature]
            j = rows[row + 1, feature]
            m = rows[row + 2, feature]
            o = rows[row + 3, feature]
            p = rows[row + 4, feature]
            q = rows[row + 5, feature]
            r = rows[row + 6, feature]
            s = rows[row + 7, feature]
            a = b = c = d = e = f = g = h = start
            level = levels
            while level > _ZERO:
                level -= _ONE
                a = _stepped(i, cuts, a, level)
                b = _stepped(j, cuts, b, level)
                c = _stepped(m, cuts, c, level)
                d = _stepped(o, cuts, d, level)
                e = _stepped(p, cuts, e, level)
                f = _stepped(q, cuts, f, level)
                g = _stepped(r, cuts, g, level)
                h = _stepped(s, cuts, h, level)
            found[row, k] = _place(i, a, first, missing)
            found[row + 1, k] = _place(j, b, first, missing)
            found[row + 2, k] = _place(m, c, first, missing)
            found[row + 3, k] = _place(o, d, first, missing)
            found[row + 4, k] = _place(p, e, first, missing)
            found[row + 5, k] = _place(q, f, first, missing)
            found[row + 6, k] = _place(r, g, first, missing)
            found[row + 7, k] = _place(s, h, first, missing)
            row += _LANES
        while row < n:
            value = rows[row, feature]
            a = start
            level = levels
            while level > _ZERO:
                level -= _ONE
                a = _stepped(value, cuts, a, level)
            found[row, k] = _place(value, a, first, missing)
            row += 1


@inlined
def _possible_leaves(places, group_places, used, table, first, start, past, out, lane):
    """Write the leaves of a group's trees that no feature of a row excludes to a line of ``out``.

    Args:
        places: int32[k], the row's places.
        group_places: uint16[p].
        used: As in the tables; from ``start`` to ``past`` are the group's.
        table: uint64[r, 8].
        first: uint64, the group's first line.
        start: int64.
        past: int64.
        out: uint64[8, 8], written.
        lane: The number of the line.
    """
    possible = full_line()
    for at in range(start, past):
        line = first + np.uintp(group_places[np.uintp(places[np.uintp(used[at])])])
        possible = and_line(possible, table[line])
    store_line(possible, out[lane])


@inlined
def _add_eight(words, leaves, base, bits, count, out):
    """Add the leaf values of a group's trees to the sums of eight rows, in the order of the trees.

    Args:
        words: uint32[8, 16] or uint64[8, 8], the possible leaves by row and tree.
        leaves: The leaf values of all trees.
        base: uint64, where the values of the first tree start.
        bits: uint64, the number of values of a tree.
        count: The number of trees.
        out: [8], the sums.
    """
    a = out[0]
    b = out[1]
    c = out[2]
    d = out[3]
    e = out[4]
    f = out[5]
    g = out[6]
    h = out[7]
    for t in range(count):
        a += leaves[base + lowest_bit(words[0, t])]
        b += leaves[base + lowest_bit(words[1, t])]
        c += leaves[base + lowest_bit(words[2, t])]
        d += leaves[base + lowest_bit(words[3, t])]
        e += leaves[base + lowest_bit(words[4, t])]
        f += leaves[base + lowest_bit(words[5, t])]
        g += leaves[base + lowest_bit(words[6, t])]
        h += leaves[base + lowest_bit(words[7, t])]
        base += bits
    out[0] = a
    out[1] = b
    out[2] = c
    out[3] = d
    out[4] = e
    out[5] = f
    out[6] = g
    out[7] = h


@numeric
def sums(rows, columns, cuts, places, groups, used, table, leaves, baseline, out):
    """Write the baseline plus the leaf values in tree order to ``out`` ([n], as the leaves).

    Eight rows are added together, so that the latencies of their additions overlap. The other
    arguments are the fields of :class:`LeafMasks`; ``rows`` is float64[n, m].
    """
    trees = leaves.shape[0]
    bits = np.uintp(leaves.shape[1])
    flat = leaves.ravel()
    lines = table.view(np.uint64)
    in_line = table.shape[1]
    possible = np.empty((_LANES, lines.shape[1]), np.uint64)
    words = possible.view(table.dtype)
    n = rows.shape[0]
    found = np.empty((min(n, _ROWS), columns.shape[0]), np.int32)
    for block in range(0, n, _ROWS):
        size = min(_ROWS, n - block)
        _find_places(rows[block : block + size], cuts, columns, found)
        out[block : block + size] = baseline
        for group in range(len(groups) - 1):
            first = np.uintp(groups[group, 0])
            start = np.uintp(groups[group, 1])
            past = np.uintp(groups[group + 1, 1])
            tree = group * in_line
            count = min(in_line, trees - tree)
            row = 0
            while row + _LANES <= size:
                for lane in range(_LANES):
                    _possible_leaves(
                        found[row + lane], places[group], used, lines, first, start, past,
                        possible, np.uintp(lane),
                    )  # fmt: skip
                at = block + row
                _add_eight(words, flat, np.uintp(tree) * bits, bits, count, out[at : at + _LANES])
                row += _LANES
            while row < size:
                _possible_leaves(
                    found[row],
                    places[group],
                    used,
                    lines,
                    first,
                    start,
                    past,
                    possible,
                    np.uintp(0),
                )
                a = out[block + row]
                base = np.uintp(tree) * bits
                for t in range(count):
                    a += flat[base + lowest_bit(words[0, t])]
                    base += bits
                out[block + row] = a
                row += 1
