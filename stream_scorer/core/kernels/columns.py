"""Kernels over the columns of a batch: rows by partition, the calendar, and copies of columns."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, kernel

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
# 1970-01-01 was a Thursday, which is weekday 3 if Monday is 0.
_FIRST_WEEKDAY = 3

HOUR, DAY, WEEKEND, NIGHT = range(4)
_SATURDAY = 5
_LAST_NIGHT_HOUR = 6


@allocating
def by_partition(partition):
    """Return (rows by partition int64[n], where each partition begins int64[p + 1]).

    Partitions are in ascending order, and the rows of each are in the order of arrival.
    """
    n = len(partition)
    most = np.int64(-1)
    for i in range(n):
        most = max(most, np.int64(partition[i]))
    begins = np.zeros(most + 2, np.int64)
    for i in range(n):
        begins[partition[i] + 1] += 1
    for p in range(most + 1):
        begins[p + 1] += begins[p]
    rows = np.empty(n, np.int64)
    places = begins.copy()
    for i in range(n):
        rows[places[partition[i]]] = i
        places[partition[i]] += 1
    return rows, begins


@kernel
def read_calendar(local, what, out, column):
    """Write hour, weekday (Monday is 0), weekend or night of local times, ms, to a column."""
    for i in range(len(local)):
        days = local[i] // _DAY_MS
        hour = (local[i] - days * _DAY_MS) // _HOUR_MS
        day = (days + _FIRST_WEEKDAY) % 7
        if what == HOUR:
            out[i, column] = hour
        elif what == DAY:
            out[i, column] = day
        elif what == WEEKEND:
            out[i, column] = day >= _SATURDAY
        else:
            out[i, column] = hour <= _LAST_NIGHT_HOUR


@kernel
def copy_columns(observed, sources, out, places):
    """Copy the columns ``sources`` of one matrix to the columns ``places`` of another."""
    for i in range(len(observed)):
        for j in range(len(sources)):
            out[i, places[j]] = observed[i, sources[j]]
