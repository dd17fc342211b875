"""What kinds of features compute over the values of an event's window: one function each.

``values[first:last]`` are int64 values of the window's events, the event itself among them, so
there is always one. All but amounts are 64-bit hashes. No function looks at their order.

Loops count in unsigned numbers: numba lets a signed index count from the end, which costs a test
per element and keeps the loop from being vectorised.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import inlined, kernel

COUNT, SUM, MEAN, LEAST, MOST, MEDIAN, DISTINCT, SINCE, FIRST, STDDEV = range(10)
"""The last two are computed in ``filtered`` alone."""


@inlined
def aggregate(kind, values, first, last, scale, scratch):  # noqa: PLR0911 one line per kind
    """Return what a kind computes, as float64; amounts in units: minor units / scale."""
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
    return np.float64(distinct(values, first, last, scratch.marks, scratch.stamps))


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
    """Return the value of a rank; those before it then stand before its place.

    Quickselect without branches in its inner loop; equal values are set apart, so that many of
    them cost no more.
    """
    low = np.uint64(0)
    high = np.uint64(n)
    rank = np.uint64(rank)
    one = np.uint64(1)
    while True:
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


@inlined
def distinct(values, first, last, marks, stamps):
    """Return how many different values there are; 0, a value that was not stored, is none.

    ``marks`` is a hash table, ``stamps`` says which places this call has filled; its last entry
    counts the calls.
    """
    mask = np.uint64(len(marks) - 1)
    one = np.uint64(1)
    now = stamps[mask + one] + 1
    stamps[mask + one] = now
    found = np.int64(0)
    for c in range(np.uint64(first), np.uint64(last)):
        value = values[c]
        if value == 0:
            continue
        at = np.uint64(value ^ (value >> np.int64(32))) & mask
        while stamps[at] == now and marks[at] != value:
            at = (at + one) & mask
        if stamps[at] != now:
            stamps[at] = now
            marks[at] = value
            found += 1
    return found
