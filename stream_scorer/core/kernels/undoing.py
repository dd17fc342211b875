"""The kernels that undo batches, release the memory of committed ones, and evict complete rings."""

import numpy as np

from stream_scorer.core.kernels.blocks import release, size_class
from stream_scorer.core.kernels.compiled import kernel
from stream_scorer.core.kernels.folding import (
    BLOCK,
    CAPACITY_HEAD,
    COUNT_POSITION,
    HOW,
    HOW_BITS,
    MOVED,
    NEWEST,
    OLD,
    SLOT_HOW,
    TOUCHED,
)
from stream_scorer.core.kernels.observing import sum_before
from stream_scorer.core.kernels.store import NOBODY, REUSED_KEY, REUSED_SLOT, SLOTS, leave

_LOW = np.int64(0xFFFFFFFF)


@kernel
def undo_rows(store, shape, journal, length):
    """Undo the journalled changes, newest first."""
    half, unit_words, fields = shape[0], shape[1], shape[2]
    slots = store.slots
    words = store.words
    times = store.times
    for j in range(length - 1, -1, -1):
        entry = journal[j]
        slot = entry[SLOT_HOW] >> HOW_BITS
        ring = slots[slot]
        block = np.int64(ring.block)
        capacity = np.int64(ring.capacity)
        mask = capacity - 1
        head = np.int64(ring.head)
        count = np.int64(ring.count)
        base = (block * unit_words) << half
        amounts = block * unit_words + (capacity >> half)
        # Close the gap, then restore the tail's cell. The sums of later events include this one's
        # amount.
        first = entry[COUNT_POSITION] & _LOW
        amount = sum_before(words, amounts, head, mask, count, ring.total, first + 1)
        amount -= words[amounts + ((head + first) & mask)]
        for position in range(first, count - 1):
            to = (head + position) & mask
            source = (head + position + 1) & mask
            times[base + to] = times[base + source]
            words[amounts + to] = words[amounts + source] - amount
            for column in range(1, 2 + fields):
                at = amounts + column * capacity
                words[at + to] = words[at + source]
        tail = (head + count - 1) & mask
        times[base + tail] = entry[OLD]
        for column in range(2 + fields):
            words[amounts + column * capacity + tail] = entry[OLD + 1 + column]
        how = entry[SLOT_HOW] & HOW
        if how:
            leave(store, slot, how)
        if entry[SLOT_HOW] & MOVED:
            release(store, unit_words, block, size_class(capacity))
        if not how:
            ring.block = entry[BLOCK]
            ring.capacity = entry[CAPACITY_HEAD] >> 32
            ring.head = entry[CAPACITY_HEAD] & _LOW
            ring.count = entry[COUNT_POSITION] >> 32
            ring.newest = entry[NEWEST]
            ring.total -= amount
            ring.touched = entry[TOUCHED]


@kernel
def release_blocks(store, shape, journal, length):
    """Free the blocks that rings have outgrown, after a commit."""
    for j in range(length):
        entry = journal[j]
        if entry[SLOT_HOW] & MOVED and entry[BLOCK] >= 0:
            release(store, shape[1], entry[BLOCK], size_class(entry[CAPACITY_HEAD] >> 32))


@kernel
def evict_rings(store, shape, cursor, most, edge, oldest_open):
    """Evict rings whose newest event is older than ``edge``.

    At most ``most`` slots are examined, from ``cursor`` on. A ring that a batch with the number
    ``oldest_open`` or a later one has touched is not evicted. Returns (next cursor, evicted rings).
    """
    slots = store.slots
    counters = store.counters
    left = 0
    for _ in range(min(most, counters[SLOTS])):
        if cursor >= counters[SLOTS]:
            cursor = 0
        ring = slots[cursor]
        closed = np.int32(ring.touched - np.uint32(oldest_open)) < 0
        if ring.length != NOBODY and ring.newest < edge and closed:
            release(store, shape[1], np.int64(ring.block), size_class(ring.capacity))
            leave(store, np.int64(cursor), np.int64(REUSED_SLOT | REUSED_KEY))
            left += 1
        cursor += 1
    return cursor, left
