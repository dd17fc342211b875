"""The kernel that simulates thresholds: many streams in step, without alarms.

It computes what :mod:`stream_scorer.drift.detection.shifts.shift_kernels` computes, bit for bit,
but the streams are the inner loop: as all of them have the same number of buckets, the compiler
works on several streams at a time.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, inlined
from stream_scorer.drift.detection.shifts.shift_kernels import BUCKETS, LEAST, LEVELS, PRICE

_RING = BUCKETS + 1


@inlined
def _push(buckets, head, held, carried):
    """Add ``carried`` to the buckets; return whether it then has what left the last level."""
    for level in range(LEVELS):
        head[level] = (head[level] + _RING - 1) % _RING
        newest = buckets[level, head[level]]
        for stream in range(len(carried)):
            newest[stream] = carried[stream]
        if held[level] < BUCKETS:
            held[level] += 1
            return False
        oldest = buckets[level, (head[level] + BUCKETS) % _RING]
        older = buckets[level, (head[level] + BUCKETS - 1) % _RING]
        for stream in range(len(carried)):
            carried[stream] = oldest[stream] + older[stream]
        held[level] = BUCKETS - 1
    return True


@inlined
def _average(buckets, head, held, count, sums, mean):
    """Write each stream's mean; return the number of innovations."""
    width = 1.0
    for stream in range(len(mean)):
        mean[stream] = sums[stream]
    for level in range(LEVELS):
        count += held[level] * width
        width *= 2.0
        for number in range(held[level]):
            bucket = buckets[level, (head[level] + number) % _RING]
            for stream in range(len(mean)):
                mean[stream] += bucket[stream]
    for stream in range(len(mean)):
        mean[stream] /= count
    return count


@inlined
def _scan(buckets, head, held, count, mean, after, best):
    """Write the evidence of each stream's best split."""
    for stream in range(len(mean)):
        after[stream] = 0.0
        best[stream] = -1.0
    width = 1.0
    after_count = 0.0
    for level in range(LEVELS):
        for number in range(held[level]):
            after_count += width
            bucket = buckets[level, (head[level] + number) % _RING]
            for stream in range(len(mean)):
                after[stream] += bucket[stream]
            if after_count < LEAST or count - after_count < LEAST:
                continue
            share = after_count * (count - after_count) / count
            price = PRICE[int(after_count) - 1]
            for stream in range(len(mean)):
                excess = abs(after[stream] - after_count * mean[stream])
                best[stream] = max(best[stream], 0.5 * excess * excess / share - price)
        width *= 2.0


@allocating
def maxima(values, phi, sigma, count, sums, last, block, highest):
    """Write the highest evidence of each block of steps.

    Args:
        values: float64[steps, streams].
        phi: float64[streams].
        sigma: float64[streams].
        count: Innovations of each reference.
        sums: float64[streams], their sums; changed.
        last: float64[streams], the references' last values; changed.
        block: Steps of a block.
        highest: float64[steps / block, streams], filled.
    """
    streams = values.shape[1]
    buckets = np.zeros((LEVELS, _RING, streams))
    carried, mean = np.zeros(streams), np.zeros(streams)
    after, best = np.zeros(streams), np.zeros(streams)
    head = np.zeros(LEVELS, np.int64)
    held = np.zeros(LEVELS, np.int64)
    for step in range(highest.shape[0] * block):
        row = values[step]
        for stream in range(streams):
            carried[stream] = (row[stream] - phi[stream] * last[stream]) / sigma[stream]
            last[stream] = row[stream]
        if _push(buckets, head, held, carried):
            count += 2.0**LEVELS
            for stream in range(streams):
                sums[stream] += carried[stream]
        total = _average(buckets, head, held, count, sums, mean)
        _scan(buckets, head, held, total, mean, after, best)
        filled = highest[step // block]
        for stream in range(streams):
            filled[stream] = max(filled[stream], best[stream])
