"""Kernels that find windows and segments, and count a batch by window; see ``summaries``."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, inlined, kernel

SCORE_BINS = 10
AMOUNT_BINS = 32

# Columns of a window.
START, PARTITION = range(2)
_KEY_WIDTH = 2

# Columns of a window's counts; the bins of scores and of amounts follow.
(
    WINDOW_COUNT,
    WINDOW_REVIEW,
    WINDOW_BLOCK,
    WINDOW_LATE,
    WINDOW_SCORE,
    WINDOW_SUM,
    WINDOW_MIN,
    WINDOW_MAX,
) = range(8)
SCORE_AT = 8
AMOUNT_AT = SCORE_AT + SCORE_BINS
WINDOW_WIDTH = AMOUNT_AT + AMOUNT_BINS
SEARCHED_BASE, SEARCHED_PER_ROW = 4_096, 64
"""Maximum number of windows that the search of a batch may look at, and more for each row."""
_LATE = 1
FIXED_ONE = 4294967296
"""1 as a fixed-point number: a sum of whole numbers does not depend on the order of its parts."""
_FIXED = float(FIXED_ONE)


@inlined
def fixed_score(score):
    """Return a score as a whole number of 2^-32, rounded down."""
    return np.int64(np.floor(score * _FIXED))


@kernel
def number_texts(texts, keys, numbers, out):
    """Write the number of each text's segment.

    Args:
        texts: uint64[n], hashes.
        keys: uint64[k], hashes, ascending, at least one.
        numbers: uint8[k + 1], their segments, then that of all other texts.
        out: uint8[n].
    """
    for i in range(len(texts)):
        place = place_of_text(keys, len(keys), texts[i])
        known = keys[place] == texts[i]
        out[i] = numbers[place] if known else numbers[len(keys)]


@kernel
def number_amounts(amounts, bounds, numbers, out):
    """Write the number of each amount's segment.

    Args:
        amounts: int64[n].
        bounds: int64[k], ascending; a segment begins with its bound.
        numbers: uint8[k + 1].
        out: uint8[n].
    """
    for i in range(len(amounts)):
        place = 0
        for k in range(len(bounds)):
            place += amounts[i] >= bounds[k]
        out[i] = numbers[place]


@inlined
def place_of_text(keys, length, wanted):
    """Return the index of the last key that is not above a number; 0 if there is none."""
    low = 0
    while length > 1:
        half = length >> 1
        low += half if keys[low + half] <= wanted else 0
        length -= half
    return low


@inlined
def _search(windows, used, start, partition):
    # Event times are nearly sorted, so the window is usually among the newest.
    for k in range(used - 1, -1, -1):
        if windows[k, START] == start and windows[k, PARTITION] == partition:
            return k
    return -1


@allocating
def find_windows(partition, time, width):
    """Return (int32[n] each row's window, int64[k, 2] start and partition of each window).

    Windows are in order of appearance. If the search for windows takes too long, both are shorter
    than they should be: the first has fewer than n items.

    Args:
        partition: int32[n].
        time: int64[n], ms.
        width: Width of the windows, ms.
    """
    n = len(time)
    row = np.empty(n, np.int32)
    windows = np.empty((16, _KEY_WIDTH), np.int64)
    used = 0
    last = 0
    left = SEARCHED_BASE + SEARCHED_PER_ROW * n
    for i in range(n):
        start = time[i] - time[i] % width
        if used and windows[last, START] == start and windows[last, PARTITION] == partition[i]:
            row[i] = last
            continue
        found = _search(windows, used, start, partition[i])
        left -= used - max(found, 0)
        if left < 0:
            return row[:0], windows[:0]
        if found < 0:
            if used == len(windows):
                more = np.empty((2 * used, _KEY_WIDTH), np.int64)
                more[:used] = windows
                windows = more
            found = used
            used += 1
            windows[found, START] = start
            windows[found, PARTITION] = partition[i]
        last = found
        row[i] = found
    return row, windows[:used]


@allocating
def rows_by_window(row, windows):
    """Return (int64[n] the rows by window, int64[windows + 1] where each window begins in them).

    Args:
        row: int32[n], the window of each row.
        windows: Number of windows.
    """
    begins = np.zeros(windows + 1, np.int64)
    for i in range(len(row)):
        begins[row[i] + 1] += 1
    for k in range(windows):
        begins[k + 1] += begins[k]
    at = begins.copy()
    rows = np.empty(len(row), np.int64)
    for i in range(len(row)):
        rows[at[row[i]]] = i
        at[row[i]] += 1
    return rows, begins


@allocating
def count_windows(row, windows, amount, score, outcome, flags):
    """Return int64[k, WINDOW_WIDTH], the counts of each window.

    Args:
        row: int32[n], the window of each event.
        windows: k, the number of windows; each has an event.
        amount: int64[n], minor units, not negative.
        score: float64[n]; NaN is in no bin and in no sum.
        outcome: uint8[n].
        flags: uint8[n].
    """
    counts = np.zeros((windows, WINDOW_WIDTH), np.int64)
    for k in range(windows):
        counts[k, WINDOW_MIN] = np.iinfo(np.int64).max
    for i in range(len(row)):
        mine = counts[row[i]]
        mine[WINDOW_COUNT] += 1
        mine[WINDOW_REVIEW] += outcome[i] == 1
        mine[WINDOW_BLOCK] += outcome[i] == 2  # noqa: PLR2004 Outcome.BLOCK
        mine[WINDOW_LATE] += flags[i] & _LATE
        mine[WINDOW_SUM] += amount[i]
        mine[WINDOW_MIN] = min(mine[WINDOW_MIN], amount[i])
        mine[WINDOW_MAX] = max(mine[WINDOW_MAX], amount[i])
        if score[i] == score[i]:
            mine[WINDOW_SCORE] += fixed_score(score[i])
            mine[SCORE_AT + min(int(score[i] * SCORE_BINS), SCORE_BINS - 1)] += 1
        digits = 0
        rest = amount[i]
        while rest > 0:
            rest >>= 1
            digits += 1
        mine[AMOUNT_AT + min(digits, AMOUNT_BINS - 1)] += 1
    return counts
