"""Operations over a ring's events that ``observing`` does not know.

They choose events by a second field, leave the event itself out, or read numbers that are no
amounts. An operation is a row of int64: KIND of ``aggregates``; WINDOW, an index into the windows;
LAST, the newest so many chosen events, 0 for all; KEY, the further field that must be the event's,
or -1; WHERE, the further field that must be WANTED, or -1; COLUMN of the values, 0 for amounts, 2 +
f for further field f; TYPE of the values; WITHOUT, 1 to leave the event itself out; OUT, the column
that it writes.

Values are gathered newest first, nulls left out, and read from the last to the first: doubles are
always added oldest first, so that no result depends on how a ring came to be.
"""

import math

import numpy as np

from stream_scorer.core.kernels.aggregates import (
    COUNT,
    DISTINCT,
    FIRST,
    LEAST,
    MEAN,
    MEDIAN,
    SINCE,
    STDDEV,
    SUM,
    distinct,
    least,
    most,
    select,
)
from stream_scorer.core.kernels.compiled import inlined, kernel
from stream_scorer.core.kernels.memory import double_of
from stream_scorer.core.kernels.observing import FIRST_FIELD, older

KIND, WINDOW, LAST, KEY, WHERE, WANTED, COLUMN, TYPE, WITHOUT, OUT = range(10)
FILTERED_WIDTH = 10

MINOR, WHOLE, REAL, CODE = range(4)
"""Types of values: amounts, longs and times, doubles, and kept values as they are."""

LONG_CODE = np.int64(np.iinfo(np.int64).min)
"""A long is kept exclusive-or this."""

DOUBLE_CODE = np.int64(0x7FF8000000000002)
"""A double's bits are kept exclusive-or this; the codes 0 and 1 are then those of NaNs."""

_NULL = np.uint64(1)
_ALL = np.int64(np.iinfo(np.int64).max)
_LOW = np.int64(0xFFFFFFFF)
_HIGH = 4294967296.0
_MILLISECONDS = 1_000.0


@inlined
def exact_sum(values, count):
    """Return the exact sum of int64 values, rounded once, to the nearest float64.

    The halves' sums fit into 53 bits for the most events that a ring can hold, so that both are
    exact as float64 and only their addition rounds.
    """
    high = np.int64(0)
    low = np.int64(0)
    for c in range(np.uint64(count)):
        high += values[c] >> np.int64(32)
        low += values[c] & _LOW
    return np.float64(high) * _HIGH + np.float64(low)


@inlined
def whole_deviation(values, count):
    """Return the standard deviation of a population of int64 values, in two passes."""
    mean = exact_sum(values, count) / np.float64(count)
    squares = 0.0
    for c in range(count - 1, -1, -1):
        difference = np.float64(values[c]) - mean
        squares += difference * difference
    return math.sqrt(squares / np.float64(count))


@inlined
def whole_median(values, count, copy):
    """Return the middle one of int64 values, or the mean of the two middle ones."""
    for c in range(np.uint64(count)):
        copy[c] = values[c]
    middle = count >> 1
    upper = select(copy, count, middle)
    if count & 1:
        return np.float64(upper)
    copy[0] = most(copy, np.int64(0), middle)
    copy[1] = upper
    return exact_sum(copy, np.int64(2)) / 2.0


@inlined
def real_sum(values, count):
    """Return the sum of doubles, added from the last to the first."""
    found = 0.0
    for c in range(count - 1, -1, -1):
        found += double_of(values[c])
    return found


@inlined
def real_deviation(values, count):
    """Return the standard deviation of a population of doubles, likewise, in two passes."""
    mean = real_sum(values, count) / np.float64(count)
    squares = 0.0
    for c in range(count - 1, -1, -1):
        difference = double_of(values[c]) - mean
        squares += difference * difference
    return math.sqrt(squares / np.float64(count))


@inlined
def ordered(bits):
    """Return a number for a double's bits, or the bits for it: they are in the doubles' order.

    -0.0 is less than 0.0.
    """
    return bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))


@inlined
def real_rank(kind, values, count, copy):
    """Return the smallest, the largest or the middle double."""
    for c in range(np.uint64(count)):
        copy[c] = ordered(values[c])
    if kind == LEAST:
        return double_of(ordered(least(copy, np.int64(0), count)))
    if kind != MEDIAN:
        return double_of(ordered(most(copy, np.int64(0), count)))
    middle = count >> 1
    upper = select(copy, count, middle)
    if count & 1:
        return double_of(ordered(upper))
    lower = most(copy, np.int64(0), middle)
    return (double_of(ordered(lower)) + double_of(ordered(upper))) / 2.0


@kernel
def whole(kind, values, count, copy):
    """Return what a kind computes of int64 values, at least one."""
    if kind == SUM:
        return exact_sum(values, count)
    if kind == MEAN:
        return exact_sum(values, count) / np.float64(count)
    if kind == STDDEV:
        return whole_deviation(values, count)
    if kind == MEDIAN:
        return whole_median(values, count, copy)
    if kind == LEAST:
        return np.float64(least(values, np.int64(0), count))
    return np.float64(most(values, np.int64(0), count))


@kernel
def real(kind, values, count, copy):
    """Return what a kind computes of doubles, given as bits, at least one."""
    if kind == SUM:
        return real_sum(values, count)
    if kind == MEAN:
        return real_sum(values, count) / np.float64(count)
    if kind == STDDEV:
        return real_deviation(values, count)
    return real_rank(kind, values, count, copy)


@kernel
def observe_filtered(  # noqa: C901, PLR0912, PLR0915 the same values in all its branches
    words, times, base, amounts, head, capacity, end, newest, age_mask, t, amount, before, extras,
    i, place, late, program, scratch, observed,
):  # fmt: skip
    """Write the features of event i that need more than ``observe``; it takes the same.

    ``end`` is how many events of the ring are before it.
    """
    operations = program.filtered
    lows = scratch.lows
    chosen = scratch.chosen
    mask = capacity - 1
    for j in range(len(operations)):
        kind = operations[j, KIND]
        low = lows[operations[j, WINDOW]]
        if late:
            memory = program.filtered_memories[j]
            forgotten = older(times, base, head, mask, end, newest, age_mask, memory)
            low = max(low, forgotten)
        key = operations[j, KEY]
        where = operations[j, WHERE]
        wanted = operations[j, WANTED]
        column = operations[j, COLUMN]
        kept_type = operations[j, TYPE]
        missing = program.filtered_missing[j]
        keys = amounts + (FIRST_FIELD + key) * capacity
        mine = extras[key, i] if key >= 0 else np.int64(0)
        wheres = amounts + (FIRST_FIELD + where) * capacity
        values = amounts + column * capacity
        own = amount if kept_type == MINOR else extras[column - FIRST_FIELD, i]
        value = missing
        if kind in (SINCE, FIRST):
            step = np.int64(1) if kind == FIRST else np.int64(-1)
            position = low if kind == FIRST else end - 1
            while low <= position < end:
                cell = (head + position) & mask
                if (
                    (key < 0 or words[keys + cell] == mine)
                    and (where < 0 or words[wheres + cell] == wanted)
                    and (kind == SINCE or words[values + cell] == own)
                ):
                    age = (newest - np.int64(times[base + cell])) & age_mask
                    value = np.float64(t - newest + age) / _MILLISECONDS
                    break
                position += step
            observed[place, operations[j, OUT]] = value
            continue
        room = operations[j, LAST]
        if room == 0:
            room = _ALL
        code = np.int64(0)
        if kept_type == WHOLE:
            code = LONG_CODE
        elif kept_type == REAL:
            code = DOUBLE_CODE
        nullable = kept_type in (WHOLE, REAL)
        seen = np.int64(0)
        found = np.int64(0)
        if operations[j, WITHOUT] == 0 and (where < 0 or extras[where, i] == wanted):
            seen = np.int64(1)
            chosen[0] = own ^ code
            found = np.int64(not nullable or np.uint64(own) > _NULL)
        sum_before = before
        position = end - 1
        while position >= low and seen < room:
            cell = (head + position) & mask
            number = words[values + cell]
            if kept_type == MINOR:
                # The column holds the sums of all amounts before an event.
                number, sum_before = sum_before - number, number
            if (key < 0 or words[keys + cell] == mine) and (
                where < 0 or words[wheres + cell] == wanted
            ):
                seen += 1
                chosen[found] = number ^ code
                found += np.int64(not nullable or np.uint64(number) > _NULL)
            position -= 1
        if kind == COUNT:
            value = np.float64(seen)
        elif kind == DISTINCT:
            value = np.float64(distinct(chosen, np.int64(0), found, scratch.marks, scratch.stamps))
        elif found == 0:
            value = 0.0 if kind == SUM else missing
        elif kept_type == REAL:
            value = real(kind, chosen, found, scratch.copy)
            if value - value != 0.0:
                value = np.nan
        else:
            value = whole(kind, chosen, found, scratch.copy) / program.filtered_scales[j]
        observed[place, operations[j, OUT]] = value
