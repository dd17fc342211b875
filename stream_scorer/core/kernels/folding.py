"""The kernel that folds events into rings, journals the changes, and computes the features."""

import numpy as np

from stream_scorer.core.kernels.blocks import (
    SMALLEST,
    allocate,
    can_allocate,
    size_class,
)
from stream_scorer.core.kernels.cells import MOST_CELLS, count_aged, mark_used
from stream_scorer.core.kernels.compiled import inlined, kernel, prefetch
from stream_scorer.core.kernels.observing import (
    CHUNK,
    observe,
    observe_filtered,
    older,
    sum_before,
)
from stream_scorer.core.kernels.store import (
    NEVER,
    enter,
    find,
    has_room,
    is_of,
)

# The result for a row.
ADDED, DUPLICATE, LATE, CAPPED = 0, 1, 2, 3

# Columns of the journal, one row for each event that changed a ring. From OLD on: the former values
# of the event's cell, which are time, sum of amounts, hash, further fields.
SLOT_HOW, BLOCK, CAPACITY_HEAD, COUNT_POSITION, NEWEST, TOUCHED, OLD = range(7)
JOURNAL_WIDTH = OLD + 3
# Lower bits of SLOT_HOW, below the slot's number: how the slot was made (three bits, see
# ``enter``), and whether the ring moved.
HOW, MOVED, HOW_BITS = 7, 8, 4

_LINE_NUMBERS = 8
MAX = np.iinfo(np.int64).max


@inlined
def pack(high, low):
    """Return two non-negative numbers of 31 bits as one number."""
    return (np.int64(high) << np.int64(32)) | np.int64(low)


@kernel
def move_ring(store, shape, block, capacity, head, count, new_block, new_capacity):
    """Copy a ring's events to the beginning of a new block."""
    words = store.words
    times = store.times
    half, unit_words, fields = shape[0], shape[1], shape[2]
    from_time = (block * unit_words) << half
    to_time = (new_block * unit_words) << half
    mask = capacity - 1
    for c in range(count):
        times[to_time + c] = times[from_time + ((head + c) & mask)]
    source = block * unit_words + (capacity >> half)
    target = new_block * unit_words + (new_capacity >> half)
    for _ in range(2 + fields):
        for c in range(count):
            words[target + c] = words[source + ((head + c) & mask)]
        source += capacity
        target += new_capacity


@kernel
def fetch_ahead(
    store, shape, rows, places, start, end, key_hash, observed, hints
):  # fmt: skip
    """Prefetch the memory for some rows and their rings, so that the cache misses overlap.

    First all places of the table, then all slots, then all rings. ``hints`` gets the slot that each
    customer probably has, or -1.
    """
    half, unit_words, fields = shape[0], shape[1], shape[2]
    slots = store.slots
    table = store.table
    keys = store.keys
    words = store.words
    mask = np.uint64(len(table) - 1)
    width = observed.shape[1]
    for k in range(start, end):
        i = rows[k]
        prefetch(table, np.int64(key_hash[i] & mask))
        for column in range(0, width, _LINE_NUMBERS):
            prefetch(observed, places[k] * width + column)
    for k in range(start, end):
        entry = table[key_hash[rows[k]] & mask]
        hints[k - start] = -1
        if entry >= 0:
            hints[k - start] = entry & np.int64(0x7FFFFFFF)
            prefetch(slots, entry & np.int64(0x7FFFFFFF))
    for k in range(start, end):
        hint = hints[k - start]
        if hint >= 0 and slots[hint].block >= 0:
            ring = slots[hint]
            prefetch(keys, ring.key)
            first = np.int64(ring.block) * unit_words
            size = np.int64(ring.capacity)
            for line in range(first, first + (size >> half) + (2 + fields) * size, 8):
                prefetch(words, line)


@kernel
def fold_rows(  # noqa: C901, PLR0912, PLR0915 one loop over the rows; splitting it would copy state
    store, shape, limits, program, scratch, rows, places, start_row, skip, key_offsets, key_data,
    key_hash, id_hash, time, amount, extras, batch_number, journal, journal_at, verdict, observed,
    filtered,
):  # fmt: skip
    """Fold rows into the rings; stop before the first row that needs larger arrays.

    The features of row ``rows[k]`` are written to row ``places[k]`` of ``observed``. ``filtered``
    is None if the program has no filtered operations. The kernel is then compiled without them: a
    call that never happens costs 3 % here.

    Returns (next index in ``rows``, journal length, newest accepted event time).
    """
    half, unit_words, fields, age_mask = shape[0], shape[1], shape[2], shape[3]
    lateness, horizon, cap = limits[0], limits[1], limits[2]
    most_age = age_mask if half else np.int64(MAX)
    windows = program.windows
    lows = scratch.lows
    used = scratch.used
    ages = scratch.ages
    slots = store.slots
    table = store.table
    keys = store.keys
    words = store.words
    times = store.times
    newest_of_all = np.int64(NEVER)
    hints = scratch.hints
    all_rows = len(rows)
    for chunk in range(start_row, all_rows, CHUNK):
        chunk_end = min(chunk + CHUNK, all_rows)
        fetch_ahead(store, shape, rows, places, chunk, chunk_end, key_hash, observed, hints)
        for k in range(chunk, chunk_end):
            i = rows[k]
            if skip[i]:
                continue
            t = time[i]
            a = amount[i]
            key_from = key_offsets[i]
            key_to = key_offsets[i + 1]
            h = key_hash[i]
            slot = hints[k - chunk]
            if slot < 0 or not is_of(slots, keys, slot, h, key_data, key_from, key_to):
                slot = find(table, slots, keys, h, key_data, key_from, key_to)
            was_new = slot < 0
            if was_new:
                # Room is checked before anything changes, so a stop leaves nothing half done.
                if not has_room(store, key_to - key_from) or not can_allocate(store, 0):
                    return k, journal_at, newest_of_all
                count = np.int64(0)
                head = np.int64(0)
                capacity = np.int64(0)
                block = np.int64(-1)
                newest = np.int64(NEVER)
                touched = np.int64(0)
                total = np.int64(0)
                amounts = np.int64(0)
            else:
                ring = slots[slot]
                count = np.int64(ring.count)
                head = np.int64(ring.head)
                capacity = np.int64(ring.capacity)
                block = np.int64(ring.block)
                newest = ring.newest
                touched = np.int64(ring.touched)
                total = ring.total
                amounts = block * unit_words + (capacity >> half)
            old_count = count
            old_head = head
            ring_mask = capacity - 1
            base = (block * unit_words) << half
            # Number of events at or before this one, and for each window the number of older ones.
            position = np.int64(0)
            if was_new:
                for w in range(len(windows)):
                    lows[w] = 0
            else:
                # Events that no admissible event can see are evicted first: a duplicate must not
                # depend on whether a ring past its horizon is still in memory.
                ahead = t - newest
                ages[len(windows)] = max(horizon - max(ahead, np.int64(0)), np.int64(0))
                for w in range(len(windows)):
                    ages[w] = min(max(windows[w] - ahead, np.int64(0)), most_age)
                small = capacity <= MOST_CELLS
                if small:
                    mark_used(used, head, count, capacity)
                    count_aged(times, base, capacity, used, newest, ages, lows)
                else:
                    for w in range(len(windows) + 1):
                        lows[w] = older(
                            times, base, head, ring_mask, count, newest, age_mask, ages[w]
                        )
                left = lows[len(windows)]
                for w in range(len(windows)):
                    lows[w] = max(lows[w] - left, np.int64(0))
                position = count - left
                head = (head + left) & ring_mask
                count -= left
                if ahead < 0:
                    position = older(times, base, head, ring_mask, count, newest, age_mask, -ahead)
                # If the ring has the transaction id, the event is a duplicate and changes nothing.
                identity = np.int64(id_hash[i])
                first = amounts + capacity
                seen = False
                if small:
                    # Unused cells are compared, too. A match there is rare, and is checked below.
                    for c in range(np.uint64(first), np.uint64(first + capacity)):
                        seen |= words[c] == identity
                if seen or not small:
                    stop = min(head + count, capacity)
                    seen = False
                    for c in range(np.uint64(first + head), np.uint64(first + stop)):
                        seen |= words[c] == identity
                    for c in range(np.uint64(first), np.uint64(first + head + count - stop)):
                        seen |= words[c] == identity
                if seen:
                    verdict[i] = DUPLICATE
                    continue
            newest_of_all = max(newest_of_all, t)
            before = np.int64(0)
            if not was_new and t < newest - lateness:
                # Too late to be added: it sees itself and the events at or before it.
                verdict[i] = LATE
                before = sum_before(words, amounts, head, ring_mask, count, total, position)
            elif count >= cap and position == 0:
                # The ring is full, and this event is older than all of it: it is not added.
                verdict[i] = CAPPED
            else:
                verdict[i] = ADDED
                old_newest = newest
                if count >= cap:
                    verdict[i] = CAPPED
                    dropped = count - cap + 1
                    head = (head + dropped) & ring_mask
                    count = cap - 1
                    position -= dropped
                    for w in range(len(windows)):
                        lows[w] = max(lows[w] - dropped, np.int64(0))
                old_block = block
                old_capacity = capacity
                how = np.int64(0)
                if count == capacity:
                    capacity = max(2 * capacity, np.int64(SMALLEST))
                    number = size_class(capacity)
                    if not can_allocate(store, number):
                        return k, journal_at, newest_of_all
                    block = allocate(store, unit_words, number)
                    how = np.int64(MOVED)
                    if count:
                        move_ring(
                            store, shape, old_block, old_capacity, head, count, block, capacity
                        )
                    head = np.int64(0)
                    ring_mask = capacity - 1
                    base = (block * unit_words) << half
                    amounts = block * unit_words + (capacity >> half)
                if was_new:
                    slot, made = enter(store, h, key_data, key_from, key_to)
                    how |= made
                # The tail's cell may be one that was just evicted at the head.
                tail = (head + count) & ring_mask
                entry = journal[journal_at]
                journal_at += 1
                entry[SLOT_HOW] = (slot << HOW_BITS) | how
                entry[BLOCK] = old_block
                entry[CAPACITY_HEAD] = pack(old_capacity, old_head)
                entry[NEWEST] = old_newest
                entry[TOUCHED] = touched
                entry[OLD] = np.int64(times[base + tail])
                for column in range(2 + fields):
                    entry[OLD + 1 + column] = words[amounts + column * capacity + tail]
                # Open a gap at the event's place in time; equal times are in order of arrival.
                before = total
                to = tail
                for gap in range(count, position, -1):
                    source = (head + gap - 1) & ring_mask
                    times[base + to] = times[base + source]
                    before = words[amounts + source]
                    words[amounts + to] = before + a
                    for column in range(1, 2 + fields):
                        at = amounts + column * capacity
                        words[at + to] = words[at + source]
                    to = source
                entry[COUNT_POSITION] = pack(old_count, position)
                newest = max(newest, t)
                times[base + to] = t
                words[amounts + to] = before
                words[amounts + capacity + to] = np.int64(id_hash[i])
                for column in range(fields):
                    words[amounts + (2 + column) * capacity + to] = extras[column, i]
                ring = slots[slot]
                ring.block = block
                ring.capacity = capacity
                ring.head = head
                ring.count = count + 1
                ring.newest = newest
                ring.total = total + a
                ring.touched = batch_number
            observe(
                words, times, base, amounts, head, capacity, position, newest, age_mask,
                t, a, before, extras, i, places[k], verdict[i] == LATE, program, scratch, observed,
            )  # fmt: skip
            if filtered is not None:
                observe_filtered(
                    words, times, base, amounts, head, capacity, position, newest, age_mask,
                    t, a, before, extras, i, places[k], verdict[i] == LATE, program, scratch,
                    observed,
                )  # fmt: skip
    return all_rows, journal_at, newest_of_all
