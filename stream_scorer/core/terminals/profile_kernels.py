"""The loops of the profiler: a merge by time, and the watermark that moves with it."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, kernel

NONE_AFTER = np.int64(2**63 - 1)


@kernel
def merge(timestamp, begins, ends, free, at_end, most, order):
    """Merge sources by their records' times; on equal times the first source goes first.

    Args:
        timestamp: int64[n], all sources' records one behind the other.
        begins: int64[s], where each source's records begin; moved to what is left.
        ends: int64[s], where they end.
        free: int64[s], up to where a record need not wait for a source that has nothing.
        at_end: bool[s], whether a source without records has none to give.
        most: Records to take at most.
        order: int64[most], written: the records in their order.

    Returns:
        How many records were taken: none is taken before one that may still come.
    """
    count = 0
    while count < most:
        best = -1
        newest = NONE_AFTER
        waiting = False
        for source in range(len(begins)):
            if begins[source] == ends[source]:
                if not at_end[source]:
                    return count
                waiting = True
            elif best < 0 or timestamp[begins[source]] < newest:
                best = source
                newest = timestamp[begins[source]]
        if best < 0 or (waiting and begins[best] >= free[best]):
            return count
        order[count] = begins[best]
        begins[best] += 1
        count += 1
    return count


@kernel
def advance(partition, event_time, timestamp, newest, heard, behind, idle, watermark, out):
    """Move the watermark over n transactions in order.

    Args:
        partition: int32[n].
        event_time: int64[n], ms.
        timestamp: int64[n], Kafka's, ms.
        newest: int64[p], newest event time by partition; moved.
        heard: int64[p], newest Kafka timestamp by partition; moved.
        behind: How far the watermark stays behind event time, ms.
        idle: A partition that has been silent for longer holds nothing back, ms.
        watermark: Where it stands, ms.
        out: int64[n], written: where it stands after each.
    """
    clock = np.int64(-(2**62))
    for p in range(len(heard)):
        clock = max(clock, heard[p])
    for i in range(len(partition)):
        p = partition[i]
        newest[p] = max(newest[p], event_time[i])
        heard[p] = max(heard[p], timestamp[i])
        clock = max(clock, timestamp[i])
        least = newest[p]
        for q in range(len(heard)):
            if heard[q] >= clock - idle:
                least = min(least, newest[q])
        watermark = max(watermark, least - behind)
        out[i] = watermark


@allocating
def mixed(left, right):
    """Return uint64[n]: one hash of two (uint64[n], int64[n] or uint64[n])."""
    out = np.empty(len(left), np.uint64)
    for i in range(len(left)):
        h = left[i] ^ (np.uint64(right[i]) * np.uint64(0x9E3779B97F4A7C15))
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xC4CEB9FE1A85EC53)
        out[i] = h ^ (h >> np.uint64(33))
    return out
