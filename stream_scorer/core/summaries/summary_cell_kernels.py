"""Kernels that count events by segment and cell, and that pack counts into bytes and back.

``summaries.summary_layout`` defines cells and segments. A packed count is two unsigned LEB128
numbers: the cells that are passed over since the previous one, and the count.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import allocating, inlined, kernel
from stream_scorer.core.summaries.summary_kernels import fixed_score, place_of_text

_BLOCK = 128
"""Events that are counted together, so that their cells stay in the fastest cache."""
_MISSING, _OUTSIDE = 10, 11
SCORE_SUM, LOG_SUM, EVENTS = range(3)
SUMS_WIDTH = 3
_VARINT_MOST = 10
"""Bytes of the longest number."""
_CELL_BYTES, _SUM_BYTES = 10, 25
_SEVEN = 7
_MORE = 0x80
_LOW = 0x7F


class CellColumns(NamedTuple):
    """The columns of n events that are counted, and the cells of their values.

    Attributes:
        score: float64[n]; NaN is in no sum.
        outcome: uint8[n].
        logs: int64[n], ln(1 + amount in minor units) as whole numbers of 2^-32.
        members: uint8[n, d], a segment of each dimension.
        features: float64[n, m], C-contiguous.
        feature_columns: int64[k1], columns of the features that are watched.
        others: float64[k2, n], further numbers; NaN for null.
        edges: float64[k1 + k2, 9], of the features, then of the others.
        low: float64[k1 + k2].
        high: float64[k1 + k2].
        number_cells: int64[k1 + k2], the first cell of each.
        texts: uint64[t, n], hashes; 0 for null.
        known: uint64[t, 30], hashes of known texts, ascending, then anything else.
        known_counts: int64[t], how many are known.
        known_cells: int64[t, 32], the cell of each known text, then of missing, then of unseen.
        outcome_cell: The first cell of the outcome; -1 if it is not watched.
    """

    score: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    logs: NDArray[np.int64]
    members: NDArray[np.uint8]
    features: NDArray[np.float64]
    feature_columns: NDArray[np.int64]
    others: NDArray[np.float64]
    edges: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    number_cells: NDArray[np.int64]
    texts: NDArray[np.uint64]
    known: NDArray[np.uint64]
    known_counts: NDArray[np.int64]
    known_cells: NDArray[np.int64]
    outcome_cell: int


# -- counts -----------------------------------------------------------------------------------


@inlined
def _mark_numbers(values, size, edges, low, high, first, found):
    """Write the cell of each number; without branches, so that it is done several at a time."""
    a, b, c = edges[0], edges[1], edges[2]
    d, e, f = edges[3], edges[4], edges[5]
    g, h, j = edges[6], edges[7], edges[8]
    for i in range(size):
        x = values[i]
        bin_ = (
            np.int64(x > a) + np.int64(x > b) + np.int64(x > c) + np.int64(x > d)
            + np.int64(x > e) + np.int64(x > f) + np.int64(x > g) + np.int64(x > h)
            + np.int64(x > j)
        )  # fmt: skip
        cell = bin_ if (x >= low) & (x <= high) else np.int64(_OUTSIDE)
        found[i] = first + (np.int64(_MISSING) if np.isnan(x) else cell)


@inlined
def _mark_texts(texts, rows, size, keys, count, cells, found):
    """Write the cell of each text; ``cells`` ends with those of missing and unseen texts."""
    for i in range(size):
        text = texts[rows[i]]
        place = place_of_text(keys, count, text)
        known = place < count and keys[place] == text
        cell = cells[place] if known else cells[count + 1]
        found[i] = cells[count] if text == 0 else cell


@inlined
def _mark_block(columns, block, values, found):
    """Write the cell of each field and event of a block; return the number of fields."""
    size = len(block)
    features = len(columns.feature_columns)
    numbers = len(columns.edges)
    for k in range(numbers):
        if k < features:
            column = columns.feature_columns[k]
            for i in range(size):
                values[i] = columns.features[block[i], column]
        else:
            other = columns.others[k - features]
            for i in range(size):
                values[i] = other[block[i]]
        _mark_numbers(
            values, size, columns.edges[k], columns.low[k], columns.high[k],
            columns.number_cells[k], found[k],
        )  # fmt: skip
    fields = numbers
    for k in range(len(columns.texts)):
        _mark_texts(
            columns.texts[k], block, size, columns.known[k], columns.known_counts[k],
            columns.known_cells[k], found[fields],
        )  # fmt: skip
        fields += 1
    if columns.outcome_cell >= 0:
        for i in range(size):
            found[fields, i] = columns.outcome_cell + columns.outcome[block[i]]
        fields += 1
    return fields


@inlined
def _fields(columns):
    return len(columns.edges) + len(columns.texts) + (columns.outcome_cell >= 0)


@allocating
def count_rows(columns, rows, counts, sums):
    """Add events to the counts and sums of their segments.

    Args:
        columns: Of n events.
        rows: int64[r], the events that are counted.
        counts: int32[s * c], by segment and cell; changed.
        sums: int64[s, SUMS_WIDTH], sums of scores and logarithms, and number of events; changed.
    """
    cells = len(counts) // len(sums)
    members = columns.members
    values = np.empty(_BLOCK, np.float64)
    found = np.empty((_fields(columns), _BLOCK), np.int64)
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        fields = _mark_block(columns, block, values, found)
        for i in range(len(block)):
            row = block[i]
            score = columns.score[row]
            fixed = np.int64(0) if np.isnan(score) else fixed_score(score)
            for d in range(-1, members.shape[1]):
                segment = np.int64(members[row, d]) if d >= 0 else np.int64(0)
                sums[segment, SCORE_SUM] += fixed
                sums[segment, LOG_SUM] += columns.logs[row]
                sums[segment, EVENTS] += 1
                first = segment * cells
                for k in range(fields):
                    counts[np.uint64(first + found[k, i])] += 1


# -- packing ----------------------------------------------------------------------------------


@inlined
def _write(out, at, number):
    while number > _LOW:
        out[at] = np.uint8((number & _LOW) | _MORE)
        number >>= _SEVEN
        at += 1
    out[at] = np.uint8(number)
    return at + 1


@inlined
def _pack_counts(counts, cells, sums, out, used):
    """Write the counts of a window, and make them 0; return where the bytes end."""
    previous = np.int64(-1)
    for segment in range(len(sums)):
        if sums[segment, EVENTS]:
            first = np.int64(segment) * cells
            for cell in range(first, first + cells):
                if counts[cell]:
                    used = _write(out, used, cell - previous - 1)
                    used = _write(out, used, np.int64(counts[cell]))
                    counts[cell] = 0
                    previous = cell
    return used


@inlined
def _pack_sums(sums, out, used):
    """Write the sums of a window, and make them 0; return where the bytes end."""
    previous = np.int64(-1)
    for segment in range(len(sums)):
        if sums[segment, EVENTS]:
            used = _write(out, used, segment - previous - 1)
            used = _write(out, used, sums[segment, SCORE_SUM])
            used = _write(out, used, sums[segment, LOG_SUM])
            sums[segment] = 0
            previous = np.int64(segment)
    return used


@allocating
def pack_windows(columns, rows, begins, segments, cells):
    """Count and pack the events of each window.

    Args:
        columns: Of n events.
        rows: int64[n], the events by window.
        begins: int64[w + 1], where each window begins in ``rows``.
        segments: Number of segments.
        cells: Number of cells of a segment.

    Returns:
        uint8[b], and int64[w, 3]: where each window's cells begin, where they end and its sums
        begin, and where those end.
    """
    counts = np.zeros(segments * cells, np.int32)
    sums = np.zeros((segments, SUMS_WIDTH), np.int64)
    memberships = 1 + columns.members.shape[1]
    places = np.empty((len(begins) - 1, 3), np.int64)
    out = np.empty(4_096, np.uint8)
    used = 0
    for w in range(len(begins) - 1):
        mine = rows[begins[w] : begins[w + 1]]
        count_rows(columns, mine, counts, sums)
        touched = min(segments, len(mine) * memberships)
        most = min(touched * cells, len(mine) * memberships * _fields(columns))
        need = used + _CELL_BYTES * most + _SUM_BYTES * touched
        if need > len(out):
            more = np.empty(2 * need, np.uint8)
            more[:used] = out[:used]
            out = more
        places[w, 0] = used
        used = _pack_counts(counts, cells, sums, out, used)
        places[w, 1] = used
        used = _pack_sums(sums, out, used)
        places[w, 2] = used
    return out[:used], places


@inlined
def _read(data, at):
    """Return (number, place after it); the place is -1 if no valid number begins at ``at``."""
    number = np.uint64(0)
    for k in range(_VARINT_MOST):
        if at >= len(data):
            return np.int64(0), np.int64(-1)
        byte = np.uint64(data[at])
        at += 1
        number |= (byte & np.uint64(_LOW)) << np.uint64(_SEVEN * k)
        if byte < np.uint64(_MORE):
            # 63 bits at most, and no more bytes than needed.
            if k == _VARINT_MOST - 1 or (k > 0 and byte == np.uint64(0)):
                return np.int64(0), np.int64(-1)
            return np.int64(number), at
    return np.int64(0), np.int64(-1)


@kernel
def unpack_cells(data, most, counts):
    """Write the counts that were packed; return whether the bytes are valid.

    Args:
        data: uint8[b].
        most: Maximum of a count.
        counts: int64[k], zeros; changed.
    """
    at = np.int64(0)
    cell = np.int64(-1)
    while at < len(data):
        gap, at = _read(data, at)
        if at < 0 or gap > len(counts) - cell - 2:
            return False
        cell += gap + 1
        count, at = _read(data, at)
        if at < 0 or not 0 < count <= most:
            return False
        counts[cell] = count
    return True


@kernel
def unpack_sums(data, sums):
    """Write the sums that were packed; return whether the bytes are valid.

    Args:
        data: uint8[b].
        sums: int64[s, 2], zeros; changed.
    """
    at = np.int64(0)
    segment = np.int64(-1)
    while at < len(data):
        gap, at = _read(data, at)
        if at < 0 or gap > len(sums) - segment - 2:
            return False
        segment += gap + 1
        for column in range(2):
            total, at = _read(data, at)
            if at < 0:
                return False
            sums[segment, column] = total
    return True
