"""Kernels that write the rings of a bucket as bytes and read them; see ``core.rings.payload``."""

import numpy as np

from stream_scorer.core.kernels.blocks import SMALLEST, allocate, can_allocate, size_class
from stream_scorer.core.kernels.compiled import allocating, inlined, kernel
from stream_scorer.core.kernels.hashing import BUCKET_SHIFT, hash_bytes, placed_hash
from stream_scorer.core.kernels.memory import HIGH_BITS, SLACK, address, low_bytes, store
from stream_scorer.core.kernels.store import bucket_slots, enter, find, has_room

# The faults of a payload; SOUND is none.
SOUND, CUT_OFF, IMPOSSIBLE, UNORDERED, PRESENT, ELSEWHERE = range(6)

_FARTHEST = np.int64(1) << 60
"""Maximum distance of a time from 1970, ms, so that no difference of two times overflows."""

MOST_EVENTS = np.int64(1) << 30
_VARINT = 10
"""Maximum number of bytes of a varint."""
_FIVE_GROUPS = np.uint64(1 << 35)
"""A varint of this number or more has more than five bytes."""


@inlined
def _write(at, value):
    """Write a varint at an address and return its end; the next SLACK bytes may be overwritten."""
    rest = np.uint64(value)
    if rest < _FIVE_GROUPS:
        # The groups of seven bits are spread over a word, which is stored in one step.
        word = (
            (rest & np.uint64(0x7F))
            | ((rest & np.uint64(0x7F << 7)) << np.uint64(1))
            | ((rest & np.uint64(0x7F << 14)) << np.uint64(2))
            | ((rest & np.uint64(0x7F << 21)) << np.uint64(3))
            | ((rest & np.uint64(0x7F << 28)) << np.uint64(4))
        )
        more = (
            np.int64(rest >= np.uint64(1 << 7))
            + np.int64(rest >= np.uint64(1 << 14))
            + np.int64(rest >= np.uint64(1 << 21))
            + np.int64(rest >= np.uint64(1 << 28))
        )
        store(at, word | (HIGH_BITS & low_bytes(more)))
        return at + 1 + more
    while rest >= np.uint64(0x80):
        store(at, np.uint8(rest & np.uint64(0x7F)) | np.uint8(0x80))
        rest >>= np.uint64(7)
        at += 1
    store(at, np.uint8(rest))
    return at + 1


@kernel
def _read(data, at, end):
    """Return (value, next place); the place is -1 if there is no varint of 64 bits.

    With the place -1 nothing is read, so that reads after a failed one fail, too.
    """
    if at < 0:
        return np.int64(0), np.int64(-1)
    value = np.uint64(0)
    for k in range(_VARINT):
        if at >= end:
            return np.int64(0), np.int64(-1)
        byte = np.uint64(data[at])
        at += 1
        if k == _VARINT - 1 and byte > np.uint64(1):
            return np.int64(0), np.int64(-1)
        value |= (byte & np.uint64(0x7F)) << np.uint64(7 * k)
        if byte < np.uint64(0x80):
            # Each value has only one valid encoding.
            if byte == np.uint64(0) and k > 0:
                return np.int64(0), np.int64(-1)
            return np.int64(value), np.int64(at)
    return np.int64(0), np.int64(-1)


@kernel
def _zigzag(value):
    return (value << np.int64(1)) ^ (value >> np.int64(63))


@kernel
def _unzigzag(value):
    return np.int64(np.uint64(value) >> np.uint64(1)) ^ -(value & np.int64(1))


@kernel
def _read_word(data, at):
    value = np.uint64(0)
    for k in range(8):
        value |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return np.int64(value)


@kernel
def _compare(left, left_at, left_length, right, right_at, right_length):
    """Return -1, 0 or 1 if the left bytes sort before, equal to or after the right ones."""
    for b in range(min(left_length, right_length)):
        if left[left_at + b] != right[right_at + b]:
            return -1 if left[left_at + b] < right[right_at + b] else 1
    if left_length == right_length:
        return 0
    return -1 if left_length < right_length else 1


@allocating
def ordered_slots(store, bucket):
    """Return int64[k]: the slots of a bucket, ordered by hash and id."""
    found = bucket_slots(store.slots, store.heads, bucket)
    hashes = np.empty(len(found), np.uint64)
    for k in range(len(found)):
        ring = store.slots[found[k]]
        hashes[k] = hash_bytes(store.keys, ring.key, ring.key + ring.length)
    by_hash = np.argsort(hashes, kind="mergesort")
    order = found[by_hash]
    first = 0
    for k in range(1, len(order) + 1):
        if k == len(order) or hashes[by_hash[k]] != hashes[by_hash[first]]:
            if k - first > 1:
                _order_by_id(store, order, first, k - first)
            first = k
    return order


@kernel
def _order_by_id(store, order, first, count):
    """Sort slots by id, with heapsort: anyone can create thousands of ids with equal hashes."""
    for top in range(count // 2 - 1, -1, -1):
        _sift(store, order, first, top, count)
    for last in range(count - 1, 0, -1):
        order[first], order[first + last] = order[first + last], order[first]
        _sift(store, order, first, 0, last)


@kernel
def _sift(store, order, first, top, count):
    """Move the slot at ``top`` of a heap down to its place."""
    slot = order[first + top]
    while 2 * top + 1 < count:
        child = 2 * top + 1
        if child + 1 < count and _precedes(store, order[first + child], order[first + child + 1]):
            child += 1
        if not _precedes(store, slot, order[first + child]):
            break
        order[first + top] = order[first + child]
        top = child
    order[first + top] = slot


@kernel
def _precedes(store, left, right):
    """Return whether one slot's id sorts before another's."""
    one, other = store.slots[left], store.slots[right]
    return _compare(store.keys, one.key, one.length, store.keys, other.key, other.length) < 0


@kernel
def dump_rings(store_of, shape, order, out):
    """Write rings in the given order and return the number of bytes.

    ``out`` has at least as many bytes as ``most_bytes`` returns.
    """
    half, unit_words, fields, age_mask = shape[0], shape[1], shape[2], shape[3]
    words = store_of.words
    times = store_of.times
    keys = store_of.keys
    begin = address(out)
    at = _write(begin, np.int64(len(order)))
    for k in range(len(order)):
        ring = store_of.slots[order[k]]
        length = np.int64(ring.length)
        at = _write(at, length)
        for b in range(length):
            store(at + b, keys[ring.key + b])
        newest = ring.newest
        at = _write(at + length, _zigzag(newest))
        count = np.int64(ring.count)
        at = _write(at, count)
        capacity = np.int64(ring.capacity)
        mask = capacity - 1
        head = np.int64(ring.head)
        block = np.int64(ring.block)
        base = (block * unit_words) << half
        before = newest
        for c in range(count - 1, -1, -1):
            cell = base + ((head + c) & mask)
            time = newest - ((newest - np.int64(times[np.uint64(cell)])) & age_mask)
            at = _write(at, before - time)
            before = time
        amounts = block * unit_words + (capacity >> half)
        behind = ring.total
        for c in range(count - 1, -1, -1):
            sum_before = words[np.uint64(amounts + ((head + c) & mask))]
            at = _write(at, _zigzag(behind - sum_before))
            behind = sum_before
        for column in range(1, 2 + fields):
            first = amounts + column * capacity
            for c in range(count - 1, -1, -1):
                store(at, words[np.uint64(first + ((head + c) & mask))])
                at += 8
    return at - begin


@kernel
def most_bytes(store, shape, order):
    """Return the maximum number of bytes that ``dump_rings`` may write to, slack included."""
    most = np.int64(_VARINT + SLACK)
    for k in range(len(order)):
        ring = store.slots[order[k]]
        most += 3 * _VARINT + np.int64(ring.length)
        most += np.int64(ring.count) * (2 * _VARINT + 8 * (1 + shape[2]))
    return most


@kernel
def check_rings(store, data, start, end, fields, bucket):  # noqa: C901, PLR0911 one check after the other
    """Return SOUND if the bytes are valid rings in order; otherwise the code of the first fault.

    A customer who is in the store already is a fault. So is a customer of another bucket than
    ``bucket``; -1 accepts every bucket.
    """
    customers, at = _read(data, start, end)
    if at < 0 or customers < 1 or customers > end - start:
        return CUT_OFF
    last_hash = np.uint64(0)
    last_key = np.int64(0)
    last_length = np.int64(-1)
    for _ in range(customers):
        length, at = _read(data, at, end)
        if at < 0 or length < 0 or length > end - at:
            return CUT_OFF
        h = hash_bytes(data, at, at + length)
        if last_length >= 0 and (
            h < last_hash
            or (h == last_hash and _compare(data, last_key, last_length, data, at, length) >= 0)
        ):
            return UNORDERED
        last_hash, last_key, last_length = h, at, length
        if bucket >= 0 and np.int64(h >> BUCKET_SHIFT) != bucket:
            return ELSEWHERE
        placed = placed_hash(h, data, at, at + length, store.key)
        if find(store.table, store.slots, store.keys, placed, data, at, at + length) >= 0:
            return PRESENT
        at += length
        coded, at = _read(data, at, end)
        newest = _unzigzag(coded)
        if newest > _FARTHEST or newest < -_FARTHEST:
            return IMPOSSIBLE
        count, at = _read(data, at, end)
        if at < 0 or count < 0 or count > MOST_EVENTS or count * (10 + 8 * fields) > end - at:
            return CUT_OFF
        time = newest
        for _ in range(count):
            step, at = _read(data, at, end)
            if step < 0 or step > _FARTHEST or time - step < -_FARTHEST:
                return IMPOSSIBLE
            time -= step
        for _ in range(count):
            _, at = _read(data, at, end)
        if at < 0 or count * 8 * (1 + fields) > end - at:
            return CUT_OFF
        at += count * 8 * (1 + fields)
    return SOUND if at == end else CUT_OFF


@kernel
def load_rings(  # noqa: C901, PLR0915 one column after the other
    store, shape, limits, data, at, left, column_of, missing, field_count
):
    """Add checked rings; stop before the first one that needs larger arrays.

    ``column_of`` gives for each of our fields its column in the payload, where column 0 are the
    hashes of the transaction ids; -1 if the payload does not have the field. In the first call
    ``left`` is -1.

    Returns (next place, rings left, length of the id and number of events of the ring that did not
    fit).
    """
    half, unit_words, fields = shape[0], shape[1], shape[2]
    horizon, cap = limits[1], limits[2]
    words = store.words
    end = len(data)
    if left < 0:
        left, at = _read(data, at, end)
    while left > 0:
        here = at
        length, at = _read(data, at, end)
        key = at
        coded, at = _read(data, at + length, end)
        newest = _unzigzag(coded)
        count, at = _read(data, at, end)
        # Events that no later event can see are left out.
        kept = np.int64(0)
        time = newest
        place = at
        for _ in range(count):
            step, at = _read(data, at, end)
            time -= step
            if time > newest - horizon and kept < cap:
                kept += 1
        number = size_class(max(kept, np.int64(SMALLEST)))
        if not has_room(store, length) or not can_allocate(store, number):
            return here, left, length, kept
        capacity = np.int64(SMALLEST) << number
        block = allocate(store, unit_words, number)
        h = hash_bytes(data, key, key + length)
        placed = placed_hash(h, data, key, key + length, store.key)
        slot, _ = enter(store, placed, data, key, key + length)
        ring = store.slots[slot]
        ring.block = block
        ring.capacity = capacity
        ring.head = 0
        ring.count = kept
        ring.newest = newest
        ring.touched = 0
        base = (block * unit_words) << half
        amounts = block * unit_words + (capacity >> half)
        time = newest
        for c in range(kept):
            step, place = _read(data, place, end)
            time -= step
            store.times[base + kept - 1 - c] = time
        # Only differences of the sums are used, so they may end with zero.
        behind = np.int64(0)
        for c in range(count):
            coded, at = _read(data, at, end)
            if c < kept:
                behind -= _unzigzag(coded)
                words[amounts + kept - 1 - c] = behind
        ring.total = 0
        for column in range(1 + fields):
            theirs = np.int64(0) if column == 0 else column_of[column - 1]
            first = amounts + (1 + column) * capacity
            for c in range(kept):
                words[first + kept - 1 - c] = (
                    _read_word(data, at + 8 * (theirs * count + c)) if theirs >= 0 else missing
                )
        at += 8 * count * (1 + field_count)
        left -= 1
    return at, left, np.int64(0), np.int64(0)
