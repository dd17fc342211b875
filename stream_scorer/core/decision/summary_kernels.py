"""The kernel that counts a batch by partition and event-time window; see ``decision.summaries``."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, inlined

SCORE_BINS = 10
AMOUNT_BINS = 32

# Columns of a window's counts; the bins of scores and of amounts follow.
(
    WINDOW_PARTITION,
    WINDOW_START,
    WINDOW_COUNT,
    WINDOW_REVIEW,
    WINDOW_BLOCK,
    WINDOW_SUM,
    WINDOW_MIN,
    WINDOW_MAX,
) = range(8)
SCORE_AT = 8
AMOUNT_AT = SCORE_AT + SCORE_BINS
WINDOW_WIDTH = AMOUNT_AT + AMOUNT_BINS
SEARCHED_BASE, SEARCHED_PER_ROW = 4_096, 64
"""Maximum number of windows that the search of a batch may look at, and more for each row."""


@inlined
def _search(rows, used, start, partition):
    # Event times are nearly sorted, so the window is usually among the newest.
    for k in range(used - 1, -1, -1):
        if rows[k, WINDOW_START] == start and rows[k, WINDOW_PARTITION] == partition:
            return k
    return -1


@allocating
def _grown(rows, sums):
    used = len(rows)
    more = np.zeros((2 * used, WINDOW_WIDTH), np.int64)
    more[:used] = rows
    more_sums = np.zeros(2 * used, np.float64)
    more_sums[:used] = sums
    return more, more_sums


@allocating
def count_windows(partition, time, amount, score, outcome, width, numbers):
    """Return (int64[k, WINDOW_WIDTH], score sums float64[k]), windows in order of appearance.

    Both are empty if the search for windows takes too long; then ``numbers`` are needed.

    Args:
        partition: int32[n].
        time: int64[n], event times, ms.
        amount: int64[n], minor units, not negative.
        score: float64[n]; NaN is in no bin and in no sum.
        outcome: uint8[n].
        width: Width of the windows, ms.
        numbers: int64[n], the number of each row's window in this order; or int64[0].
    """
    n = len(time)
    rows = np.zeros((16, WINDOW_WIDTH), np.int64)
    sums = np.zeros(16, np.float64)
    used = 0
    last = 0
    left = SEARCHED_BASE + SEARCHED_PER_ROW * n
    for i in range(n):
        start = time[i] - time[i] % width
        found = -1
        if (
            used
            and rows[last, WINDOW_START] == start
            and rows[last, WINDOW_PARTITION] == partition[i]
        ):
            found = last
        elif len(numbers):
            if numbers[i] < used:
                found = numbers[i]
        else:
            found = _search(rows, used, start, partition[i])
            left -= used - max(found, 0)
            if left < 0:
                return rows[:0], sums[:0]
        if found < 0:
            if used == len(rows):
                rows, sums = _grown(rows, sums)
            found = used
            used += 1
            rows[found, WINDOW_PARTITION] = partition[i]
            rows[found, WINDOW_START] = start
            rows[found, WINDOW_MIN] = amount[i]
            rows[found, WINDOW_MAX] = amount[i]
        last = found
        row = rows[found]
        row[WINDOW_COUNT] += 1
        row[WINDOW_REVIEW] += outcome[i] == 1
        row[WINDOW_BLOCK] += outcome[i] == 2  # noqa: PLR2004 Outcome.BLOCK
        row[WINDOW_SUM] += amount[i]
        row[WINDOW_MIN] = min(row[WINDOW_MIN], amount[i])
        row[WINDOW_MAX] = max(row[WINDOW_MAX], amount[i])
        if score[i] == score[i]:
            sums[found] += score[i]
            row[SCORE_AT + min(int(score[i] * SCORE_BINS), SCORE_BINS - 1)] += 1
        digits = 0
        rest = amount[i]
        while rest > 0:
            rest >>= 1
            digits += 1
        row[AMOUNT_AT + min(digits, AMOUNT_BINS - 1)] += 1
    return rows[:used], sums[:used]
