"""The pool of blocks for rings: a buddy allocator in which each step can be undone.

A unit is a block of SMALLEST events. A block of class k has 2^k units and begins at a multiple of
its size. Two free buddies are always merged, and the last block of the used part is never free. So
``release`` right after ``allocate`` leaves every list unchanged.

The columns of a ring follow each other in its block: times, for each event the sum of the amounts
before it, hashes, further fields. If the horizon allows, only the lower 32 bits of a time are kept,
in half a word: the rest follows from the newest time. Otherwise a time takes one word.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import kernel
from stream_scorer.core.kernels.store import UNITS

SMALLEST = 4
SIZE_CLASSES = 40


@kernel
def size_class(capacity):
    """Return the class of a block for ``capacity`` events."""
    number = np.int64(0)
    while (np.int64(SMALLEST) << number) < capacity:
        number += 1
    return number


@kernel
def _push(words, unit_words, free, tags, unit, number):
    first = free[number]
    words[unit * unit_words] = first
    words[unit * unit_words + 1] = -1
    if first >= 0:
        words[first * unit_words + 1] = unit
    free[number] = unit
    tags[unit] = number + 1


@kernel
def _remove(words, unit_words, free, tags, unit, number):
    following = words[unit * unit_words]
    preceding = words[unit * unit_words + 1]
    if preceding >= 0:
        words[preceding * unit_words] = following
    else:
        free[number] = following
    if following >= 0:
        words[following * unit_words + 1] = preceding
    tags[unit] = 0


@kernel
def can_allocate(store, number):
    """Return whether a block of a class is free, or the pool has room for one more."""
    for larger in range(number, SIZE_CLASSES):
        if store.free[larger] >= 0:
            return True
    size = np.int64(1) << number
    start = (store.counters[UNITS] + size - 1) & ~(size - 1)
    return start + size <= len(store.tags)


@kernel
def allocate(store, unit_words, number):
    """Allocate a block of a class and return its first unit; ``can_allocate`` must be true."""
    words = store.words
    free = store.free
    tags = store.tags
    size = np.int64(1) << number
    larger = number
    while larger < SIZE_CLASSES and free[larger] < 0:
        larger += 1
    if larger == SIZE_CLASSES:
        at = store.counters[UNITS]
        start = (at + size - 1) & ~(size - 1)
        while at < start:
            step = at & -at
            _push(words, unit_words, free, tags, at, size_class(step * SMALLEST))
            at += step
        store.counters[UNITS] = start + size
        return start
    unit = free[larger]
    _remove(words, unit_words, free, tags, unit, larger)
    while larger > number:
        larger -= 1
        _push(words, unit_words, free, tags, unit + (np.int64(1) << larger), larger)
    return unit


@kernel
def release(store, unit_words, unit, number):
    """Free the block of a class that begins at ``unit``."""
    words = store.words
    free = store.free
    tags = store.tags
    used = store.counters[UNITS]
    while unit + (np.int64(1) << number) < used:
        buddy = unit ^ (np.int64(1) << number)
        if tags[buddy] != number + 1:
            _push(words, unit_words, free, tags, unit, number)
            return
        _remove(words, unit_words, free, tags, buddy, number)
        unit = min(unit, buddy)
        number += 1
    # The used part now ends with its last used block.
    step = np.int64(1)
    below = np.int64(0)
    used = unit
    while step <= used and used & (step - 1) == 0:
        if tags[used - step] == below + 1:
            _remove(words, unit_words, free, tags, used - step, below)
            used -= step
            step = np.int64(1)
            below = np.int64(0)
        else:
            step <<= 1
            below += 1
    store.counters[UNITS] = used
