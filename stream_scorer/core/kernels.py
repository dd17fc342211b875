"""The core's kernels: loops over rows that numba compiles; numpy arrays in and out.

They take and give arrays only, release the GIL, and leave their meaning to the rooms' public
functions: rings are explained in ``windows``, summaries in ``summaries``.
"""

import numba
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]

NEVER = np.iinfo(np.int64).min
SMALLEST_BLOCK = 4
SIZE_CLASSES = 40

# What the kernel says of a row.
ADDED, DUPLICATE, LATE, CAPPED = 0, 1, 2, 3

# Columns of the journal: one row per event that changed a ring.
_SLOT, _WAS_NEW, _BLOCK, _CAPACITY, _HEAD, _COUNT, _NEWEST, _POSITION, _CELL = range(9)
_OLD_TIME, _OLD_AMOUNT, _OLD_HASH = 9, 10, 11
JOURNAL_WIDTH = 12

# Entries of the counters.
SLOTS, KEY_BYTES, CELLS = 0, 1, 2


@numba.njit(nogil=True, cache=True, inline="always")
def _hash_bytes(data, start, end):
    """64-bit FNV-1a with the finaliser of MurmurHash3, so that the low bits are well mixed."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h


@numba.njit(nogil=True, cache=True)
def hash_strings(offsets: NDArray[np.int32], data: UInt8) -> NDArray[np.uint64]:
    """Return uint64[n]: a hash of each string of an Arrow column (offsets int32[n+1], data)."""
    n = len(offsets) - 1
    out = np.empty(n, np.uint64)
    for i in range(n):
        out[i] = _hash_bytes(data, offsets[i], offsets[i + 1])
    return out


@numba.njit(nogil=True, cache=True)
def place_all(table, key_hash, slots):
    """Fill an empty hash table with the slots 0 … slots-1."""
    mask = np.uint64(len(table) - 1)
    for slot in range(slots):
        at = key_hash[slot] & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = slot


@numba.njit(nogil=True, cache=True)
def _size_class(capacity: int) -> int:
    size_class = 0
    while (np.int64(1) << size_class) < capacity:
        size_class += 1
    return size_class


@numba.njit(nogil=True, cache=True)
def fold_rows(  # noqa: C901, PLR0912, PLR0915 one pass over the rows; splitting it would copy state
    rows, start_row, skip, key_offsets, key_data, id_hash, time, amount,
    lateness, horizon, cap, windows,
    table, key_hash, key_start, key_length, key_bytes,
    block, capacity, head, count, newest, free, counters,
    cell_time, cell_amount, cell_hash,
    journal, journal_at, verdict, out_count, out_sum,
):  # fmt: skip
    """Fold rows into the rings; stop in front of the first row that needs a larger array.

    Returns (next row index, journal length). Windows are (t - length, t], ascending lengths.
    """
    mask = np.uint64(len(table) - 1)
    width = len(windows)
    for k in range(start_row, len(rows)):
        i = rows[k]
        if skip[i]:
            continue
        t = time[i]
        a = amount[i]
        # Find the customer's slot.
        key_from = key_offsets[i]
        key_to = key_offsets[i + 1]
        h = _hash_bytes(key_data, key_from, key_to)
        at = h & mask
        slot = np.int64(-1)
        while table[at] >= 0:
            candidate = table[at]
            if key_hash[candidate] == h and key_length[candidate] == key_to - key_from:
                first = key_start[candidate]
                same = True
                for b in range(key_to - key_from):
                    if key_bytes[first + b] != key_data[key_from + b]:
                        same = False
                        break
                if same:
                    slot = np.int64(candidate)
                    break
            at = (at + np.uint64(1)) & mask
        was_new = slot < 0
        if was_new:
            # Room is asked for before anything changes, so that a stop leaves nothing half done.
            if (
                counters[SLOTS] >= len(key_hash)
                or 2 * (counters[SLOTS] + 1) > len(table)
                or counters[KEY_BYTES] + (key_to - key_from) > len(key_bytes)
                or counters[CELLS] + SMALLEST_BLOCK > len(cell_time)
            ):
                return k, journal_at
            ring_count = np.int64(0)
            ring_head = np.int64(0)
            ring_capacity = np.int64(0)
            ring_block = np.int64(-1)
            ring_newest = np.int64(NEVER)
        else:
            ring_count = np.int64(count[slot])
            ring_head = np.int64(head[slot])
            ring_capacity = np.int64(capacity[slot])
            ring_block = block[slot]
            ring_newest = newest[slot]
            # A transaction id that the ring holds is a duplicate and touches nothing.
            seen = False
            stop = min(ring_head + ring_count, ring_capacity)
            for c in range(ring_block + ring_head, ring_block + stop):
                seen |= cell_hash[c] == id_hash[i]
            for c in range(ring_block, ring_block + ring_head + ring_count - stop):
                seen |= cell_hash[c] == id_hash[i]
            if seen:
                verdict[i] = DUPLICATE
                continue
        ring_mask = ring_capacity - 1
        if not was_new and t < ring_newest - lateness:
            # Too late to be remembered: sees what is at or before it, and itself.
            verdict[i] = LATE
            position = ring_count - 1
            while (
                position >= 0 and cell_time[ring_block + ((ring_head + position) & ring_mask)] > t
            ):
                position -= 1
            seen_count = np.int64(1)
            seen_sum = np.int64(a)
        else:
            verdict[i] = ADDED
            new_newest = max(ring_newest, t)
            # What no admissible event can see any more leaves.
            new_head = ring_head
            new_count = ring_count
            while (
                new_count > 0
                and cell_time[ring_block + (new_head & ring_mask)] <= new_newest - horizon
            ):
                new_head = (new_head + 1) & ring_mask
                new_count -= 1
            if new_count >= cap:
                verdict[i] = CAPPED
                while new_count >= cap:
                    new_head = (new_head + 1) & ring_mask
                    new_count -= 1
            new_block = ring_block
            new_capacity = ring_capacity
            if new_count == ring_capacity:
                new_capacity = max(2 * ring_capacity, np.int64(SMALLEST_BLOCK))
                size_class = _size_class(new_capacity)
                if free[size_class] >= 0:
                    new_block = free[size_class]
                    free[size_class] = cell_time[new_block]
                elif counters[CELLS] + new_capacity <= len(cell_time):
                    new_block = counters[CELLS]
                    counters[CELLS] += new_capacity
                else:
                    return k, journal_at
                for c in range(new_count):
                    source = ring_block + ((new_head + c) & ring_mask)
                    cell_time[new_block + c] = cell_time[source]
                    cell_amount[new_block + c] = cell_amount[source]
                    cell_hash[new_block + c] = cell_hash[source]
            if was_new:
                slot = counters[SLOTS]
                counters[SLOTS] += 1
                table[at] = slot
                key_hash[slot] = h
                key_start[slot] = counters[KEY_BYTES]
                key_length[slot] = key_to - key_from
                for b in range(key_to - key_from):
                    key_bytes[counters[KEY_BYTES] + b] = key_data[key_from + b]
                counters[KEY_BYTES] += key_to - key_from
            entry = journal[journal_at]
            entry[_SLOT] = slot
            entry[_WAS_NEW] = was_new
            entry[_BLOCK] = ring_block
            entry[_CAPACITY] = ring_capacity
            entry[_HEAD] = ring_head
            entry[_COUNT] = ring_count
            entry[_NEWEST] = ring_newest
            journal_at += 1
            if new_block != ring_block:
                new_head = np.int64(0)
            ring_block = new_block
            ring_capacity = new_capacity
            ring_mask = ring_capacity - 1
            ring_head = new_head
            # Open a gap at the event's place in time; arrival decides among equal times.
            tail = ring_block + ((ring_head + new_count) & ring_mask)
            entry[_CELL] = tail
            entry[_OLD_TIME] = cell_time[tail]
            entry[_OLD_AMOUNT] = cell_amount[tail]
            entry[_OLD_HASH] = cell_hash[tail]
            position = new_count
            to = tail
            while position > 0:
                source = ring_block + ((ring_head + position - 1) & ring_mask)
                if cell_time[source] <= t:
                    break
                cell_time[to] = cell_time[source]
                cell_amount[to] = cell_amount[source]
                cell_hash[to] = cell_hash[source]
                to = source
                position -= 1
            entry[_POSITION] = position
            cell_time[to] = t
            cell_amount[to] = a
            cell_hash[to] = id_hash[i]
            block[slot] = ring_block
            capacity[slot] = ring_capacity
            head[slot] = ring_head
            count[slot] = new_count + 1
            newest[slot] = new_newest
            position -= 1
            seen_count = np.int64(1)
            seen_sum = np.int64(a)
        # Walk back from the event; each window is read off where it ends.
        w = 0
        while position >= 0 and w < width:
            c = ring_block + ((ring_head + position) & ring_mask)
            age = t - cell_time[c]
            while w < width and age >= windows[w]:
                out_count[i, w] = seen_count
                out_sum[i, w] = seen_sum
                w += 1
            seen_count += 1
            seen_sum += cell_amount[c]
            position -= 1
        while w < width:
            out_count[i, w] = seen_count
            out_sum[i, w] = seen_sum
            w += 1
    return len(rows), journal_at


@numba.njit(nogil=True, cache=True)
def undo_rows(
    journal, length, key_length, block, capacity, head, count, newest, free, counters,
    cell_time, cell_amount, cell_hash,
):  # fmt: skip
    """Take the journalled changes back, newest first."""
    for j in range(length - 1, -1, -1):
        entry = journal[j]
        slot = entry[_SLOT]
        ring_block = block[slot]
        ring_mask = np.int64(capacity[slot]) - 1
        ring_head = np.int64(head[slot])
        # Close the gap, then put back what the tail cell held.
        for position in range(entry[_POSITION], np.int64(count[slot]) - 1):
            to = ring_block + ((ring_head + position) & ring_mask)
            source = ring_block + ((ring_head + position + 1) & ring_mask)
            cell_time[to] = cell_time[source]
            cell_amount[to] = cell_amount[source]
            cell_hash[to] = cell_hash[source]
        cell = entry[_CELL]
        cell_time[cell] = entry[_OLD_TIME]
        cell_amount[cell] = entry[_OLD_AMOUNT]
        cell_hash[cell] = entry[_OLD_HASH]
        if ring_block != entry[_BLOCK]:
            size = np.int64(capacity[slot])
            if ring_block + size == counters[CELLS]:
                counters[CELLS] -= size
            else:
                size_class = _size_class(size)
                cell_time[ring_block] = free[size_class]
                free[size_class] = ring_block
        block[slot] = entry[_BLOCK]
        capacity[slot] = entry[_CAPACITY]
        head[slot] = entry[_HEAD]
        count[slot] = entry[_COUNT]
        newest[slot] = entry[_NEWEST]
        if entry[_WAS_NEW]:
            counters[SLOTS] -= 1
            counters[KEY_BYTES] -= key_length[slot]


@numba.njit(nogil=True, cache=True)
def release_blocks(journal, length, free, cell_time):
    """After a commit: hand blocks that rings have outgrown to the free lists."""
    for j in range(length):
        entry = journal[j]
        old = entry[_BLOCK]
        if old < 0:
            continue
        # An event that was written outside its ring's old block moved the ring to a new one.
        cell = entry[_CELL]
        if cell < old or cell >= old + entry[_CAPACITY]:
            size_class = _size_class(entry[_CAPACITY])
            cell_time[old] = free[size_class]
            free[size_class] = old


SCORE_BINS = 10
AMOUNT_BINS = 32

# Columns of a window's counts.
(
    WINDOW_PARTITION,
    WINDOW_START,
    WINDOW_COUNT,
    WINDOW_REVIEW,
    WINDOW_BLOCK,
    WINDOW_SUM,
    WINDOW_MIN,
    WINDOW_MAX,
) = range(8)
SCORE_AT = 8
AMOUNT_AT = SCORE_AT + SCORE_BINS
WINDOW_WIDTH = AMOUNT_AT + AMOUNT_BINS


@numba.njit(nogil=True, cache=True)
def count_windows(partition, time, amount, score, outcome, width):
    """Return (int64[k, WINDOW_WIDTH], score sums float64[k]), windows in order of appearance."""
    n = len(time)
    rows = np.zeros((16, WINDOW_WIDTH), np.int64)
    sums = np.zeros(16, np.float64)
    used = 0
    last = 0
    for i in range(n):
        start = time[i] - time[i] % width
        found = -1
        if (
            used
            and rows[last, WINDOW_START] == start
            and rows[last, WINDOW_PARTITION] == partition[i]
        ):
            found = last
        else:
            # Event times are nearly sorted: the window is among the newest.
            for k in range(used - 1, -1, -1):
                if rows[k, WINDOW_START] == start and rows[k, WINDOW_PARTITION] == partition[i]:
                    found = k
                    break
        if found < 0:
            if used == len(rows):
                more = np.zeros((2 * used, WINDOW_WIDTH), np.int64)
                more[:used] = rows
                rows = more
                more_sums = np.zeros(2 * used, np.float64)
                more_sums[:used] = sums
                sums = more_sums
            found = used
            used += 1
            rows[found, WINDOW_PARTITION] = partition[i]
            rows[found, WINDOW_START] = start
            rows[found, WINDOW_MIN] = amount[i]
            rows[found, WINDOW_MAX] = amount[i]
        last = found
        row = rows[found]
        row[WINDOW_COUNT] += 1
        row[WINDOW_REVIEW] += outcome[i] == 1
        row[WINDOW_BLOCK] += outcome[i] == 2  # noqa: PLR2004 Outcome.BLOCK
        row[WINDOW_SUM] += amount[i]
        row[WINDOW_MIN] = min(row[WINDOW_MIN], amount[i])
        row[WINDOW_MAX] = max(row[WINDOW_MAX], amount[i])
        if score[i] == score[i]:
            sums[found] += score[i]
            row[SCORE_AT + min(int(score[i] * SCORE_BINS), SCORE_BINS - 1)] += 1
        digits = 0
        rest = amount[i]
        while rest > 0:
            rest >>= 1
            digits += 1
        row[AMOUNT_AT + min(digits, AMOUNT_BINS - 1)] += 1
    return rows[:used], sums[:used]
