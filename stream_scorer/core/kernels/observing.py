"""What an event sees of its ring: where its windows begin, and the features over them.

An operation is a row of int64. KIND is a kind of ``aggregates``; WINDOW an index into the windows;
LAST the number of newest events that are used, 0 for all; KEY the further field in which counted
events equal the event, or -1; COLUMN the column of the values, 0 for amounts, 2 + f for further
field f; OUT the column that is written.

A filtered operation selects events by a second field, leaves the event itself out, or reads numbers
other than amounts. Its row continues: WHERE is the further field that must equal WANTED, or -1;
TYPE the type of the values; WITHOUT 1 to leave the event itself out. Filtered operations are
computed separately, so that the others stay fast.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.aggregates import (
    COUNT,
    DISTINCT,
    FIRST,
    MEAN,
    SINCE,
    SUM,
    aggregate,
    distinct,
    real,
    whole,
)
from stream_scorer.core.kernels.compiled import inlined, kernel

KIND, WINDOW, LAST, KEY, COLUMN, OUT = range(6)
OPERATION_WIDTH = 6

WHERE, WANTED, TYPE, WITHOUT = range(OPERATION_WIDTH, OPERATION_WIDTH + 4)
FILTERED_WIDTH = OPERATION_WIDTH + 4

MINOR, WHOLE, REAL, CODE = range(4)
"""Types of values: amounts, longs and times, doubles, and kept values without conversion."""

LONG_CODE = np.int64(np.iinfo(np.int64).min)
"""A long is kept exclusive-or this constant."""

DOUBLE_CODE = np.int64(0x7FF8000000000002)
"""A double's bits are kept exclusive-or this constant; 0 and 1 are then codes of NaNs."""

_NULL = np.uint64(1)
_ALL = np.int64(np.iinfo(np.int64).max)

CHUNK = 16
"""Number of rows whose memory is prefetched together."""

AMOUNTS, FIRST_FIELD = 0, 2
_MILLISECONDS = 1_000.0


class RingProgram(NamedTuple):
    """The operations of all features over rings.

    Attributes:
        operations: int64[k, OPERATION_WIDTH].
        windows: int64[w], ms, ascending, no two alike.
        memories: int64[k], ms: an operation does not use events that are older than the newest by
            this or more, even if the ring keeps them. It only affects late events.
        missing: float64[k], what an operation without a result writes.
        scale: float64[1], minor units per unit of the currency.
        line: bool[1], whether an operation needs each of the amounts, not only their sum.
        filtered: int64[f, FILTERED_WIDTH], the filtered operations.
        filtered_memories: int64[f], as ``memories``.
        filtered_missing: float64[f], as ``missing``.
        filtered_scales: float64[f], the divisor of kept numbers.
    """

    operations: NDArray[np.int64]
    windows: NDArray[np.int64]
    memories: NDArray[np.int64]
    missing: NDArray[np.float64]
    scale: NDArray[np.float64]
    line: NDArray[np.bool_]
    filtered: NDArray[np.int64]
    filtered_memories: NDArray[np.int64]
    filtered_missing: NDArray[np.float64]
    filtered_scales: NDArray[np.float64]


class Scratch(NamedTuple):
    """Memory to compute in; apart from the call counter in ``stamps`` it keeps nothing.

    Attributes:
        hints: int64[CHUNK], the slots that the customers of a chunk probably have.
        lows: int64[at least w + 1], the number of events of a ring that are older than each of an
            event's windows; then the number of those beyond the horizon.
        ages: int64[as long as ``lows``], how far these begin before the newest event, ms.
        used: uint64[MOST_CELLS / 64], bits of the cells of a ring that hold events.
        line: int64[cap + 1], amounts.
        chosen: int64[cap + 1], values of the events that an operation selects.
        copy: int64[cap + 1].
        marks: int64[2^k], more than twice the cap.
        stamps: int64[2^k + 1].
        places: uint64[2], determines where ``marks`` holds a value (``hashing.random_places``).
    """

    hints: NDArray[np.int64]
    lows: NDArray[np.int64]
    ages: NDArray[np.int64]
    used: NDArray[np.uint64]
    line: NDArray[np.int64]
    chosen: NDArray[np.int64]
    copy: NDArray[np.int64]
    marks: NDArray[np.int64]
    stamps: NDArray[np.int64]
    places: NDArray[np.uint64]


@inlined
def older(times, base, head, mask, end, newest, age_mask, age):
    """Return how many of the first ``end`` events are at least ``age`` older than the newest."""
    low = np.int64(0)
    left = np.int64(end)
    # Without a branch on the comparison, which could not be predicted.
    while left > 0:
        half = (left + 1) >> 1
        cell = base + ((head + low + half - 1) & mask)
        low += half * np.int64(((newest - np.int64(times[cell])) & age_mask) >= age)
        left -= half
    return low


@inlined
def sum_before(words, amounts, head, mask, count, total, position):
    """Return the sum of the amounts of all events before a position, evicted ones included."""
    if position == count:
        return total
    return words[amounts + ((head + position) & mask)]


@inlined
def gather_amounts(words, amounts, head, mask, low, end, before, target):
    """Copy the amounts of events ``low`` … ``end`` - 1.

    ``before`` is the sum of the amounts of all events before the event ``end``.
    """
    if low >= end:
        return
    gather(words, amounts, head, mask, low, end, target)
    last = np.uint64(end - low - 1)
    for c in range(last):
        target[c] = target[c + np.uint64(1)] - target[c]
    target[last] = before - target[last]


@inlined
def gather(words, column, head, mask, low, end, target):
    """Copy the values of events ``low`` … ``end`` - 1 of a column, oldest first."""
    if low >= end:
        return
    start = (head + low) & mask
    n = end - low
    straight = min(n, mask + 1 - start)
    source = np.uint64(column + start)
    for c in range(np.uint64(straight)):
        target[c] = words[source + c]
    source = np.uint64(column)
    behind = np.uint64(straight)
    for c in range(np.uint64(n - straight)):
        target[behind + c] = words[source + c]


@inlined
def count_equal(words, column, head, mask, low, end, value):
    """Return how many of the events ``low`` … ``end`` - 1 have a value in a column."""
    if low >= end:
        return np.int64(0)
    start = column + ((head + low) & mask)
    n = end - low
    stop = min(start + n, column + mask + 1)
    found = np.int64(0)
    for c in range(np.uint64(start), np.uint64(stop)):
        found += words[c] == value
    for c in range(np.uint64(column), np.uint64(column + n - (stop - start))):
        found += words[c] == value
    return found


@inlined
def choose(words, keys, value, column, head, mask, low, end, most, target):
    """Copy values of a column where ``keys`` equals ``value``, newest first, at most ``most``."""
    found = np.int64(0)
    position = end - 1
    while position >= low and found < most:
        cell = (head + position) & mask
        target[np.uint64(found)] = words[np.uint64(column + cell)]
        found += words[np.uint64(keys + cell)] == value
        position -= 1
    return found


@inlined
def choose_amounts(words, keys, value, amounts, head, mask, low, end, before, most, target):
    """Copy amounts in the same way.

    ``before`` is the sum of the amounts of all events before the event ``end``.
    """
    found = np.int64(0)
    position = end - 1
    while position >= low and found < most:
        cell = (head + position) & mask
        sum_of_older = words[np.uint64(amounts + cell)]
        target[np.uint64(found)] = before - sum_of_older
        before = sum_of_older
        found += words[np.uint64(keys + cell)] == value
        position -= 1
    return found


@inlined
def observe(  # noqa: C901, PLR0912, PLR0915 the same values in all its branches
    words, times, base, amounts, head, capacity, end, newest, age_mask, t, amount, before, extras,
    i, place, late, program, scratch, observed,
):  # fmt: skip
    """Write the features of event i, which follows the first ``end`` events of its ring.

    They are written to row ``place``. ``before`` is the sum of all amounts before the event.
    ``scratch.lows`` must be filled.
    """
    operations = program.operations
    memories = program.memories
    missing = program.missing
    scale = program.scale[0]
    lows = scratch.lows
    line = scratch.line
    chosen = scratch.chosen
    mask = capacity - 1
    widest = len(program.windows) - 1
    line_low = lows[widest] if widest >= 0 else np.int64(0)
    if program.line[0]:
        gather_amounts(words, amounts, head, mask, line_low, end, before, line)
        line[end - line_low] = amount
    for j in range(len(operations)):
        kind = operations[j, KIND]
        low = lows[operations[j, WINDOW]]
        if late:
            forgotten = older(times, base, head, mask, end, newest, age_mask, memories[j])
            low = max(low, forgotten)
        most = operations[j, LAST] - 1
        key = operations[j, KEY]
        column = operations[j, COLUMN]
        if kind == SINCE:
            position = end - 1
            if key >= 0:
                keys = amounts + (FIRST_FIELD + key) * capacity
                while (
                    position >= low and words[keys + ((head + position) & mask)] != extras[key, i]
                ):
                    position -= 1
            if position >= low:
                age = (newest - np.int64(times[base + ((head + position) & mask)])) & age_mask
                value = np.float64(t - newest + age) / _MILLISECONDS
            else:
                value = missing[j]
        elif key < 0:
            if most >= 0:
                low = max(low, end - most)
            if kind <= MEAN:
                number = np.float64(end - low + 1)
                value = number
                if kind != COUNT:
                    sum_of_all = amount
                    if low < end:
                        sum_of_all += before - words[amounts + ((head + low) & mask)]
                    value = np.float64(sum_of_all)
                    if kind == MEAN:
                        value /= number
                    value /= scale
            elif column == AMOUNTS:
                value = aggregate(kind, line, low - line_low, end - line_low + 1, scale, scratch)
            else:
                gather(words, amounts + column * capacity, head, mask, low, end, chosen)
                chosen[end - low] = extras[column - FIRST_FIELD, i]
                value = aggregate(kind, chosen, np.int64(0), end - low + 1, scale, scratch)
        else:
            keys = amounts + (FIRST_FIELD + key) * capacity
            mine = extras[key, i]
            if kind == COUNT:
                found = count_equal(words, keys, head, mask, low, end, mine)
                if most >= 0:
                    found = min(found, most)
            else:
                if most < 0:
                    most = end
                values = amounts + column * capacity
                if column == AMOUNTS:
                    found = choose_amounts(
                        words, keys, mine, values, head, mask, low, end, before, most, chosen
                    )
                    chosen[found] = amount
                else:
                    found = choose(words, keys, mine, values, head, mask, low, end, most, chosen)
                    chosen[found] = extras[column - FIRST_FIELD, i]
            value = aggregate(kind, chosen, np.int64(0), found + 1, scale, scratch)
        observed[place, operations[j, OUT]] = value


@kernel
def observe_filtered(  # noqa: C901, PLR0912, PLR0915 the same values in all its branches
    words, times, base, amounts, head, capacity, end, newest, age_mask, t, amount, before, extras,
    i, place, late, program, scratch, observed,
):  # fmt: skip
    """Write the results of the filtered operations for event i, with the parameters of ``observe``.

    Values are gathered newest first; nulls are left out.
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
            value = np.float64(distinct(chosen, np.int64(0), found, scratch))
        elif found == 0:
            value = 0.0 if kind == SUM else missing
        elif kept_type == REAL:
            value = real(kind, chosen, found, scratch.copy)
            if value - value != 0.0:
                value = np.nan
        else:
            value = whole(kind, chosen, found, scratch.copy) / program.filtered_scales[j]
        observed[place, operations[j, OUT]] = value
