"""The arrays of a partition's rings, and the hash table that finds a customer in them.

``slots`` has one record of 64 bytes, a cache line, for each customer. Each place of the ``table``
has 31 bits of the hash and a slot's number, or EMPTY. The slots of a bucket form a doubly linked
list. Ids are stored in ``keys``, in pieces of eight bytes; free pieces form one list for each class
of length.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import allocating, inlined, kernel
from stream_scorer.core.kernels.hashing import BUCKET_SHIFT

NEVER = np.iinfo(np.int64).min
EMPTY = -1
NOBODY = -1
"""Length of the key in a slot without a customer."""

SLOT = np.dtype(
    [
        ("hash", np.uint64),  # placed_hash of the id
        ("key", np.int64),  # where the id begins in ``keys``
        ("newest", np.int64),  # newest accepted event time, ms
        ("total", np.int64),  # of the amounts of all events, from any first value; it may wrap
        ("block", np.int32),  # first unit of the ring's block
        ("touched", np.uint32),  # lower bits of the number of the last batch that changed it
        ("length", np.int32),  # of the id
        ("capacity", np.int32),  # events that the block holds
        ("head", np.int32),  # cell of the oldest event
        ("count", np.int32),
        ("following", np.int32),  # slot, in the bucket or in the list of free slots
        ("preceding", np.int32),
    ]
)

# Entries of the counters: slots ever used, first free slot, customers, bytes of keys ever used,
# units of the pool up to the end of the last used block.
SLOTS, FREE_SLOT, CUSTOMERS, KEY_BYTES, UNITS = range(5)
COUNTERS = 5

EXACT_PIECES = 128
KEY_CLASSES = EXACT_PIECES + 32


class RingStore(NamedTuple):
    """Arrays of one partition; see ``core.rings.rings.CustomerRings``.

    Attributes:
        counters: int64[COUNTERS].
        table: int64[2^k].
        slots: SLOT[s].
        heads: int32[BUCKETS], first slot of each bucket's list.
        keys: uint8[b].
        key_words: The same memory as int64.
        free_keys: int64[KEY_CLASSES], first free piece of each class of length.
        words: int64[w], the pool of blocks.
        times: The same memory as uint32 or int64, the type of times.
        tags: uint8[u], for each unit of the pool 1 + the class of the free block that begins there.
        free: int64[SIZE_CLASSES], first free block of each class of size.
        key: uint64[2], key of the hashes by which customers are found; it affects no result.
    """

    counters: NDArray[np.int64]
    table: NDArray[np.int64]
    slots: NDArray[np.void]
    heads: NDArray[np.int32]
    keys: NDArray[np.uint8]
    key_words: NDArray[np.int64]
    free_keys: NDArray[np.int64]
    words: NDArray[np.int64]
    times: NDArray[np.uint32] | NDArray[np.int64]
    tags: NDArray[np.uint8]
    free: NDArray[np.int64]
    key: NDArray[np.uint64]


@inlined
def table_entry(h, slot):
    """Return the table's entry for a slot."""
    return np.int64((h >> np.uint64(33)) << np.uint64(32)) | np.int64(slot)


@kernel
def place(table, h, slot):
    """Add a slot that is not in the table."""
    mask = np.uint64(len(table) - 1)
    at = h & mask
    while table[at] != EMPTY:
        at = (at + np.uint64(1)) & mask
    table[at] = table_entry(h, slot)


@kernel
def place_all(table, slots, used):
    """Add all slots with a customer to an empty table."""
    for slot in range(used):
        if slots[slot].length != NOBODY:
            place(table, slots[slot].hash, slot)


@kernel
def displace(table, slots, h, slot):
    """Remove a slot from the table so that all others are still found."""
    mask = np.uint64(len(table) - 1)
    entry = table_entry(h, slot)
    hole = h & mask
    while table[hole] != entry:
        hole = (hole + np.uint64(1)) & mask
    at = (hole + np.uint64(1)) & mask
    while table[at] != EMPTY:
        home = slots[table[at] & np.int64(0x7FFFFFFF)].hash & mask
        # The entry may move into the hole unless its search begins after the hole.
        if ((at - home) & mask) >= ((at - hole) & mask):
            table[hole] = table[at]
            hole = at
        at = (at + np.uint64(1)) & mask
    table[hole] = EMPTY


@kernel
def find(table, slots, keys, h, data, start, end):
    """Return the slot of the customer whose id is ``data[start:end]``, or -1."""
    mask = np.uint64(len(table) - 1)
    tag = table_entry(h, 0)
    at = h & mask
    while table[at] != EMPTY:
        entry = table[at]
        slot = entry & np.int64(0x7FFFFFFF)
        if entry - slot == tag and is_of(slots, keys, slot, h, data, start, end):
            return slot
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


@inlined
def is_of(slots, keys, slot, h, data, start, end):
    """Return whether a slot is that of the id ``data[start:end]``."""
    ring = slots[slot]
    if ring.hash != h or np.int64(ring.length) != np.int64(end) - np.int64(start):
        return False
    first = ring.key
    same = True
    for b in range(np.int64(end) - np.int64(start)):
        same &= keys[first + b] == data[start + b]
    return same


@kernel
def key_class(length):
    """Return (class, bytes) of the piece for an id of a length."""
    pieces = max((np.int64(length) + 7) >> 3, np.int64(1))
    if pieces <= EXACT_PIECES:
        return pieces - 1, pieces << 3
    size = np.int64(EXACT_PIECES)
    number = np.int64(EXACT_PIECES) - 1
    while size < pieces:
        size <<= 1
        number += 1
    return number, size << 3


@kernel
def has_room(store, key_length):
    """Return whether slots, table and keys have room for one more customer."""
    number, size = key_class(key_length)
    counters = store.counters
    return (
        (counters[FREE_SLOT] >= 0 or counters[SLOTS] < len(store.slots))
        and 3 * (counters[CUSTOMERS] + 1) <= 2 * len(store.table)
        and (store.free_keys[number] >= 0 or counters[KEY_BYTES] + size <= len(store.keys))
    )


FRESH, REUSED_SLOT, REUSED_KEY = 1, 2, 4


@kernel
def enter(store, h, data, start, end):
    """Give a new customer a slot without a ring; there must be room.

    Returns (slot, how it was made: FRESH, possibly with REUSED_SLOT and REUSED_KEY).
    """
    counters = store.counters
    slots = store.slots
    how = np.int64(FRESH)
    slot = counters[FREE_SLOT]
    if slot >= 0:
        how |= REUSED_SLOT
        counters[FREE_SLOT] = slots[slot].following
    else:
        slot = counters[SLOTS]
        counters[SLOTS] += 1
    counters[CUSTOMERS] += 1
    number, size = key_class(end - start)
    at = store.free_keys[number]
    if at >= 0:
        how |= REUSED_KEY
        store.free_keys[number] = store.key_words[at >> 3]
    else:
        at = counters[KEY_BYTES]
        counters[KEY_BYTES] += size
    keys = store.keys
    for b in range(np.int64(end) - np.int64(start)):
        keys[at + b] = data[start + b]
    ring = slots[slot]
    ring.hash = h
    ring.key = at
    ring.length = end - start
    ring.block = -1
    ring.capacity = 0
    ring.head = 0
    ring.count = 0
    ring.newest = NEVER
    ring.total = 0
    bucket = h >> BUCKET_SHIFT
    first = store.heads[bucket]
    ring.following = first
    ring.preceding = -1
    if first >= 0:
        slots[first].preceding = slot
    store.heads[bucket] = slot
    place(store.table, h, slot)
    return slot, how


@kernel
def leave(store, slot, how):
    """Undo ``enter``, given its second result.

    To remove a customer later, pass REUSED_SLOT | REUSED_KEY: the slot and the key become free.
    """
    counters = store.counters
    slots = store.slots
    ring = slots[slot]
    displace(store.table, slots, ring.hash, slot)
    bucket = ring.hash >> BUCKET_SHIFT
    if ring.preceding >= 0:
        slots[ring.preceding].following = ring.following
    else:
        store.heads[bucket] = ring.following
    if ring.following >= 0:
        slots[ring.following].preceding = ring.preceding
    number, size = key_class(ring.length)
    if how & REUSED_KEY:
        store.key_words[ring.key >> 3] = store.free_keys[number]
        store.free_keys[number] = ring.key
    else:
        counters[KEY_BYTES] -= size
    ring.length = NOBODY
    counters[CUSTOMERS] -= 1
    if how & REUSED_SLOT:
        ring.following = counters[FREE_SLOT]
        counters[FREE_SLOT] = slot
    else:
        counters[SLOTS] -= 1


@allocating
def bucket_slots(slots, heads, bucket):
    """Return int64[k], the slots of a bucket."""
    k = 0
    slot = np.int64(heads[bucket])
    while slot >= 0:
        k += 1
        slot = np.int64(slots[slot].following)
    found = np.empty(k, np.int64)
    slot = np.int64(heads[bucket])
    for i in range(k):
        found[i] = slot
        slot = np.int64(slots[slot].following)
    return found
