"""The arrays of a partition's rings: how they are created and how they grow.

New arrays consist of zeros that were never written, so they take no memory before they are used.
Large ones come directly from the operating system: the heap could return used memory, and would
have to write the zeros.
"""

import mmap
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.blocks import SIZE_CLASSES, SMALLEST, size_class
from stream_scorer.core.kernels.cells import MOST_CELLS
from stream_scorer.core.kernels.hashing import BUCKETS, random_key, random_places
from stream_scorer.core.kernels.observing import CHUNK, Scratch
from stream_scorer.core.kernels.store import (
    COUNTERS,
    CUSTOMERS,
    EMPTY,
    FREE_SLOT,
    KEY_BYTES,
    KEY_CLASSES,
    SLOT,
    SLOTS,
    UNITS,
    RingStore,
    key_class,
    place_all,
)

Int64 = NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)

_SHORT_HORIZON_MS = 2**32
"""With a shorter horizon the lower 32 bits of a time suffice: the ring's newest time is known."""

_OWN_PAGES = 1 << 20
_HUGE_PAGES = 16 << 20
"""Sizes in bytes from which an array has separate pages, and huge pages of two megabytes."""


def shape_of(horizon_ms: int, fields: int) -> Int64:
    """Return the layout of rings in the pool.

    Args:
        horizon_ms: No event is older than its ring's newest event by more than this.
        fields: Number of further fields that are stored.

    Returns:
        int64[4]: whether a time takes half a word (1) or one word (0); words in a unit of the
        pool; the number of fields; the mask of a time's distance from the newest time.
    """
    short = horizon_ms < _SHORT_HORIZON_MS
    unit_words = SMALLEST * (2 + fields) + (SMALLEST // 2 if short else SMALLEST)
    return np.array([short, unit_words, fields, _SHORT_HORIZON_MS - 1 if short else -1], np.int64)


def new_store(shape: Int64) -> RingStore:
    """Return the arrays of a partition without customers.

    Args:
        shape: From ``shape_of``.
    """
    counters = np.zeros(COUNTERS, np.int64)
    counters[FREE_SLOT] = -1
    keys = np.zeros(1024, np.uint8)
    words = np.zeros(256 * int(shape[1]), np.int64)
    return RingStore(
        counters=counters,
        table=np.full(256, EMPTY, np.int64),
        slots=_slots(64),
        heads=np.full(BUCKETS, -1, np.int32),
        keys=keys,
        key_words=keys.view(np.int64),
        free_keys=np.full(KEY_CLASSES, -1, np.int64),
        words=words,
        times=_times(words, shape),
        tags=np.zeros(256, np.uint8),
        free=np.full(SIZE_CLASSES, -1, np.int64),
        key=random_key(),
    )


def new_scratch(cap: int, windows: int) -> Scratch:
    """Return the memory in which a fold computes.

    Args:
        cap: Maximum number of events of a ring.
        windows: Number of windows.
    """
    # One for each window and one for the horizon, rounded up to a multiple of four.
    marks = (windows + 4) // 4 * 4
    places = 1 << (2 * (cap + 1)).bit_length()
    return Scratch(
        hints=np.zeros(CHUNK, np.int64),
        lows=np.zeros(marks, np.int64),
        ages=np.zeros(marks, np.int64),
        used=np.zeros(MOST_CELLS // 64, np.uint64),
        line=np.zeros(cap + 1, np.int64),
        chosen=np.zeros(cap + 1, np.int64),
        copy=np.zeros(cap + 1, np.int64),
        marks=np.zeros(places, np.int64),
        stamps=np.zeros(places + 1, np.int64),
        places=random_places(places),
    )


def with_room(store: RingStore, shape: Int64, key_length: int, events: int) -> RingStore:
    """Return a store in which each array has room for one more customer or ring.

    Args:
        store: The current arrays.
        shape: From ``shape_of``.
        key_length: Bytes of the customer's id.
        events: Number of events that the ring may have.
    """
    counters = store.counters
    if counters[FREE_SLOT] < 0 and counters[SLOTS] >= len(store.slots):
        slots = _slots(len(store.slots) + len(store.slots) // 2)
        slots[: len(store.slots)] = store.slots
        store = store._replace(slots=slots)
    if 3 * (counters[CUSTOMERS] + 1) > 2 * len(store.table):
        table = np.full(2 * len(store.table), EMPTY, np.int64)
        place_all(table, store.slots, counters[SLOTS])
        store = store._replace(table=table)
    _, key_size = key_class(key_length)
    if counters[KEY_BYTES] + key_size > len(store.keys):
        keys = _grown(store.keys, len(store.keys) + len(store.keys) // 16 * 8 + key_size)
        store = store._replace(keys=keys, key_words=keys.view(np.int64))
    # Room for the block and for the gap before it: it begins at a multiple of its size.
    largest = 2 << int(size_class(events))
    units = len(store.tags)
    if int(counters[UNITS]) + largest > units:
        units += max(units // 2, 2 * largest)
        words = _grown(store.words, units * int(shape[1]))
        store = store._replace(
            words=words, times=_times(words, shape), tags=_grown(store.tags, units)
        )
    return store


def _times(words: Int64, shape: Int64) -> NDArray[Any]:
    return words.view(np.uint32) if shape[0] else words.view(np.int64)


def _slots(size: int) -> NDArray[np.void]:
    """Return slots, each in one cache line; a slot without a customer is never read."""
    line = SLOT.itemsize
    memory = _zeros((size + 1) * line, np.dtype(np.uint8))
    skip = -memory.ctypes.data % line
    return memory[skip : skip + size * line].view(SLOT)


def _grown(array: NDArray[_T], size: int) -> NDArray[_T]:
    larger = _zeros(size, array.dtype)
    larger[: len(array)] = array
    return larger


def _zeros(size: int, dtype: np.dtype[_T]) -> NDArray[_T]:
    length = size * dtype.itemsize
    if length < _OWN_PAGES:
        return np.zeros(size, dtype)
    pages = mmap.mmap(-1, length)
    if length >= _HUGE_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype)
