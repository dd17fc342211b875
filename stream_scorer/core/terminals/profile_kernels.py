"""The loops of the profiler: a merge by time, the watermark that moves with it, and a hash."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, kernel

NONE_AFTER = np.int64(2**63 - 1)


@kernel
def merge(timestamp, begins, ends, free, at_end, most, order):
    """Merge sources by the times of their records; at equal times the first source comes first.

    Args:
        timestamp: int64[n], the records of all sources, one source after the other.
        begins: int64[s], where each source's records begin; moved to the first one that is left.
        ends: int64[s], where they end.
        free: int64[s], records before this index need not wait for a source without records.
        at_end: bool[s], whether a source without records has reached its end.
        most: Maximum number of records to take.
        order: int64[most], written: the records in their order.

    Returns:
        The number of records taken. None is taken before one that may still arrive.
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
        timestamp: int64[n], Kafka timestamps, ms.
        newest: int64[p], newest event time of each partition; updated.
        heard: int64[p], newest Kafka timestamp of each partition; updated.
        behind: How much earlier than the event times the watermark is, ms.
        idle: A partition that was silent for longer does not delay the watermark, ms.
        watermark: The watermark before the first transaction, ms.
        out: int64[n], written: the watermark after each transaction.
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
    """Return uint64[n]: one hash of two columns (uint64[n], and int64[n] or uint64[n])."""
    out = np.empty(len(left), np.uint64)
    for i in range(len(left)):
        h = left[i] ^ (np.uint64(right[i]) * np.uint64(0x9E3779B97F4A7C15))
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xC4CEB9FE1A85EC53)
        out[i] = h ^ (h >> np.uint64(33))
    return out
