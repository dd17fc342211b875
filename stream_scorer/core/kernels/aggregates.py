"""The aggregates over the events of a window: one function for each kind.

``values[first:last]`` are int64 values of the window's events, at least one. They are amounts in
minor units or kept values (``core.events.fields``). The result of ``aggregate`` does not depend on
their order.

``whole`` and ``real`` take the values that a filtered operation has chosen, newest first. They read
doubles from the last to the first, so that doubles are always added oldest first: no result depends
on how a ring was built.

Loops count in unsigned numbers. For a signed index numba also supports counting from the end, which
costs a test for each element and prevents vectorisation.
"""

import math

import numpy as np

from stream_scorer.core.kernels.compiled import inlined, kernel
from stream_scorer.core.kernels.hashing import place_of
from stream_scorer.core.kernels.memory import double_of

COUNT, SUM, MEAN, LEAST, MOST, MEDIAN, DISTINCT, SINCE, FIRST, STDDEV = range(10)
"""The last two belong to filtered operations only; see ``observing``."""

_LOW = np.int64(0xFFFFFFFF)
_HIGH = 4294967296.0

_MOST_ROUNDS = 32
"""Maximum number of quickselect rounds; for a ring of 4,096 usual amounts take about eight."""


@inlined
def aggregate(kind, values, first, last, scale, scratch):  # noqa: PLR0911 one line per kind
    """Return the result of a kind as float64; amounts in units: minor units / scale."""
    if kind == COUNT:
        return np.float64(last - first)
    if kind == SUM:
        return np.float64(total(values, first, last)) / scale
    if kind == MEAN:
        return np.float64(total(values, first, last)) / np.float64(last - first) / scale
    if kind == LEAST:
        return np.float64(least(values, first, last)) / scale
    if kind == MOST:
        return np.float64(most(values, first, last)) / scale
    if kind == MEDIAN:
        return median(values, first, last, scale, scratch.copy)
    return np.float64(distinct(values, first, last, scratch))


@inlined
def total(values, first, last):
    """Return the exact sum."""
    found = np.int64(0)
    for c in range(np.uint64(first), np.uint64(last)):
        found += values[c]
    return found


@inlined
def least(values, first, last):
    """Return the smallest value."""
    found = values[first]
    for c in range(np.uint64(first), np.uint64(last)):
        found = min(found, values[c])
    return found


@inlined
def most(values, first, last):
    """Return the largest value."""
    found = values[first]
    for c in range(np.uint64(first), np.uint64(last)):
        found = max(found, values[c])
    return found


@inlined
def median(values, first, last, scale, copy):
    """Return the middle value, or the mean of the two middle ones; ``copy`` is overwritten."""
    n = last - first
    start = np.uint64(first)
    for c in range(np.uint64(n)):
        copy[c] = values[start + c]
    middle = n >> 1
    upper = select(copy, n, middle)
    if n & 1:
        return np.float64(upper) / scale
    lower = most(copy, np.int64(0), middle)
    return np.float64(lower + upper) / 2.0 / scale


@kernel
def select(values, n, rank):
    """Return the value of a rank, 0 for the lowest; ``values[:rank]`` are then the lower ones.

    Quickselect without branches in its inner loop. Equal values are separated, so that many of them
    cost no more. If an adversarial order spoils the pivots, the rest is sorted after some rounds.
    """
    low = np.uint64(0)
    high = np.uint64(n)
    rank = np.uint64(rank)
    one = np.uint64(1)
    for _ in range(_MOST_ROUNDS):
        left, centre, right = values[low], values[(low + high) >> one], values[high - one]
        pivot = max(min(left, centre), min(max(left, centre), right))
        below = low
        for c in range(low, high):
            value = values[c]
            values[c] = values[below]
            values[below] = value
            below += np.uint64(value < pivot)
        if rank < below:
            high = below
            continue
        equal = below
        for c in range(below, high):
            value = values[c]
            values[c] = values[equal]
            values[equal] = value
            equal += np.uint64(value == pivot)
        if rank < equal:
            return pivot
        low = equal
    _sort(values, np.int64(low), np.int64(high - low))
    return values[rank]


@kernel
def _sort(values, first, count):
    """Sort ``count`` values from ``first`` on, by heapsort."""
    for top in range(count // 2 - 1, -1, -1):
        _sift(values, first, top, count)
    for last in range(count - 1, 0, -1):
        values[first], values[first + last] = values[first + last], values[first]
        _sift(values, first, 0, last)


@kernel
def _sift(values, first, top, count):
    """Move the value at ``top`` of a heap down to its place."""
    value = values[first + top]
    while 2 * top + 1 < count:
        child = first + 2 * top + 1
        if 2 * top + 2 < count and values[child] < values[child + 1]:
            child += 1
        if value >= values[child]:
            break
        values[first + top] = values[child]
        top = child - first
    values[first + top] = value


@inlined
def distinct(values, first, last, scratch):
    """Return the number of different values, except 0, which is a value that was not stored.

    ``marks`` is a hash table. ``stamps`` has the number of the call that filled each place; its
    last entry counts the calls.
    """
    marks, stamps, places = scratch.marks, scratch.stamps, scratch.places
    mask = np.uint64(len(marks) - 1)
    one = np.uint64(1)
    now = stamps[mask + one] + 1
    stamps[mask + one] = now
    found = np.int64(0)
    for c in range(np.uint64(first), np.uint64(last)):
        value = values[c]
        if value == 0:
            continue
        at = place_of(np.uint64(value), places)
        while stamps[at] == now and marks[at] != value:
            at = (at + one) & mask
        if stamps[at] != now:
            stamps[at] = now
            marks[at] = value
            found += 1
    return found


@inlined
def exact_sum(values, count):
    """Return the exact sum of int64 values, rounded once, to the nearest float64.

    The upper and lower halves are added separately. Their sums fit into 53 bits for the largest
    ring, so both are exact as float64, and only their addition rounds.
    """
    high = np.int64(0)
    low = np.int64(0)
    for c in range(np.uint64(count)):
        high += values[c] >> np.int64(32)
        low += values[c] & _LOW
    return np.float64(high) * _HIGH + np.float64(low)


@inlined
def whole_difference(value, base):
    """Return value - base of int64 values, rounded once, to the nearest float64."""
    # A difference may need 64 bits.
    if value < base:
        return -np.float64(np.uint64(base) - np.uint64(value))
    return np.float64(np.uint64(value) - np.uint64(base))


@inlined
def whole_deviation(values, count):
    """Return the population standard deviation of int64 values, in two passes.

    Both passes add differences from the oldest value, so that it is 0 if all values are equal.
    """
    base = values[count - 1]
    mean = 0.0
    for c in range(count - 1, -1, -1):
        mean += whole_difference(values[c], base)
    mean /= np.float64(count)
    squares = 0.0
    for c in range(count - 1, -1, -1):
        difference = whole_difference(values[c], base) - mean
        squares += difference * difference
    return math.sqrt(squares / np.float64(count))


@inlined
def whole_median(values, count, copy):
    """Return the middle one of int64 values, or the mean of the two middle ones.

    ``copy`` is overwritten.
    """
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
    """Return the sum of doubles, given as bits, added from the last to the first."""
    found = 0.0
    for c in range(count - 1, -1, -1):
        found += double_of(values[c])
    return found


@inlined
def real_deviation(values, count):
    """Return the population standard deviation of doubles, as ``whole_deviation`` does."""
    base = double_of(values[count - 1])
    mean = 0.0
    for c in range(count - 1, -1, -1):
        mean += double_of(values[c]) - base
    mean /= np.float64(count)
    squares = 0.0
    for c in range(count - 1, -1, -1):
        difference = (double_of(values[c]) - base) - mean
        squares += difference * difference
    return math.sqrt(squares / np.float64(count))


@inlined
def ordered(bits):
    """Return an int64 in the order of the doubles for a double's bits; the function is its inverse.

    -0.0 is less than 0.0.
    """
    return bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))


@inlined
def real_rank(kind, values, count, copy):
    """Return the smallest, the largest or the middle one of doubles, given as bits."""
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
    lower = double_of(ordered(most(copy, np.int64(0), middle)))
    above = double_of(ordered(upper))
    mean = (lower + above) / 2.0
    if math.isinf(mean):
        # Halving numbers of this size is exact.
        mean = lower / 2.0 + above / 2.0
    return mean


@kernel
def whole(kind, values, count, copy):
    """Return the result of a kind over int64 values, at least one."""
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
    """Return the result of a kind over doubles, given as bits, at least one."""
    if kind == SUM:
        return real_sum(values, count)
    if kind == MEAN:
        return real_sum(values, count) / np.float64(count)
    if kind == STDDEV:
        return real_deviation(values, count)
    return real_rank(kind, values, count, copy)
