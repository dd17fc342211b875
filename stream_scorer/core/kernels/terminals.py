"""The delayed history of terminals: rows in time order, and the counts in a window of them.

``slots`` has one record for each terminal. Its rows are together in ``cells``, oldest first. Each
has the event time and, packed into one number, how many rows up to it are frauds (low 32 bits) and
how many are unknown (high 32 bits). So a window takes two searches and a subtraction. Cells that a
terminal has outgrown are free again after all rows are packed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import inlined, kernel
from stream_scorer.core.kernels.hashing import place_of
from stream_scorer.core.kernels.store import EMPTY

COUNT, RISK, RISK_KNOWN = range(3)
"""Kinds of operations: all rows; frauds / rows; frauds / rows that are known to be one or not."""
KIND, WINDOW, OUT = range(3)
OPERATION_WIDTH = 3

TIME, PACKED = range(2)
CELL_WIDTH = 2
A_FRAUD, AN_UNKNOWN = 1, 1 << 32
"""What a row adds to the packed number of its cell; a genuine row adds nothing."""
_FRAUDS = np.int64(AN_UNKNOWN - 1)
_UNKNOWN_SHIFT = np.int64(32)
ROWS_MOST = 2**31 - 1
"""Maximum number of rows of a terminal, so that no packed number overflows."""

# Entries of the counters: terminals, cells in use or outgrown, rows.
TERMINALS, CELLS, ROWS = range(3)
COUNTERS = 3

TERMINAL = np.dtype(
    [
        ("hash", np.uint64),
        ("first", np.int64),  # its first cell
        ("room", np.int64),  # number of its cells
        ("head", np.int64),  # where in them the oldest row is
        ("count", np.int64),
        ("before", np.int64),  # packed number of the rows that were evicted
    ]
)
_LEAST_ROOM = 4
_MOST_STEPS = 8


class TerminalStore(NamedTuple):
    """Arrays of a terminal table.

    Attributes:
        counters: int64[COUNTERS].
        table: int32[2^k], slots, or EMPTY.
        places: uint64[2], determines where the table holds a hash (``hashing.random_places``).
        slots: TERMINAL[s].
        cells: int64[c, CELL_WIDTH].
    """

    counters: NDArray[np.int64]
    table: NDArray[np.int32]
    places: NDArray[np.uint64]
    slots: NDArray[np.void]
    cells: NDArray[np.int64]


@inlined
def find_terminal(table, places, slots, h):
    """Return the slot of the terminal whose id has this hash, or -1."""
    mask = np.uint64(len(table) - 1)
    at = place_of(h, places)
    while table[at] != EMPTY:
        slot = np.int64(table[at])
        if slots[slot].hash == h:
            return slot
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


@kernel
def _place(table, places, h, slot):
    mask = np.uint64(len(table) - 1)
    at = place_of(h, places)
    while table[at] != EMPTY:
        at = (at + np.uint64(1)) & mask
    table[at] = slot


@inlined
def up_to(cells, low, high, time):
    """Return the first of the cells ``low`` … ``high`` - 1 that is after a time, or ``high``.

    The search has no branch to mispredict: each step halves the range, whatever the comparison.
    """
    length = high - low
    while length > 0:
        half = (length + 1) >> 1
        low += half & -np.int64(cells[np.uint64(low + half - 1), TIME] <= time)
        length -= half
    return low


@inlined
def walk_to(cells, first, last, cursors, slot, column, time):
    """Return the same as ``up_to``, starting where the terminal's last search ended.

    If times ascend, that takes a step or two. After a few steps it searches.
    """
    at = first + np.int64(cursors[slot, column])
    steps = 0
    while at < last and steps < _MOST_STEPS and cells[np.uint64(at), TIME] <= time:
        at += 1
        steps += 1
    while at > first and steps < _MOST_STEPS and cells[np.uint64(at - 1), TIME] > time:
        at -= 1
        steps += 1
    if steps == _MOST_STEPS:
        at = up_to(cells, first, last, time)
    cursors[slot, column] = at - first
    return at


@inlined
def packed_room(count):
    """Return the number of cells for a terminal with ``count`` rows: about twice as many."""
    return max(np.int64(_LEAST_ROOM), 2 * (count + 1))


@kernel
def _make_room(store, slot):
    """Make room for one more row of a terminal; return whether that was possible."""
    history = store.slots[slot]
    cells = store.cells
    old = history.first + history.head
    if history.head > history.count:
        new = history.first
    else:
        new = store.counters[CELLS]
        room = packed_room(history.count)
        if new + room > len(cells):
            return False
        store.counters[CELLS] += room
        history.first = new
        history.room = room
    for c in range(history.count):
        cells[new + c, TIME] = cells[old + c, TIME]
        cells[new + c, PACKED] = cells[old + c, PACKED]
    history.head = 0
    return True


@kernel
def add_rows(store, start, hashes, times, increments, edge):
    """Add rows from ``start`` on, each at its place in time; skip those at or before the edge.

    Each adds 0, ``A_FRAUD`` or ``AN_UNKNOWN`` to its terminal's packed number (int64[n]).

    Returns:
        The index of the first row without room, or the number of rows.
    """
    counters = store.counters
    slots = store.slots
    cells = store.cells
    for i in range(start, len(hashes)):
        t = times[i]
        if t <= edge:
            continue
        slot = find_terminal(store.table, store.places, slots, hashes[i])
        if slot < 0:
            slot = counters[TERMINALS]
            if slot == len(slots) or 3 * (slot + 1) > 2 * len(store.table):
                return i
            if counters[CELLS] + _LEAST_ROOM > len(cells):
                return i
            fresh = slots[slot]
            fresh.hash = hashes[i]
            fresh.first = counters[CELLS]
            fresh.room = _LEAST_ROOM
            fresh.head = 0
            fresh.count = 0
            fresh.before = 0
            counters[CELLS] += _LEAST_ROOM
            counters[TERMINALS] += 1
            _place(store.table, store.places, hashes[i], slot)
        history = slots[slot]
        if history.head + history.count == history.room and not _make_room(store, slot):
            return i
        first = history.first + history.head
        at = first + history.count
        more = increments[i]
        while at > first and cells[at - 1, TIME] > t:
            cells[at, TIME] = cells[at - 1, TIME]
            cells[at, PACKED] = cells[at - 1, PACKED] + more
            at -= 1
        cells[at, TIME] = t
        cells[at, PACKED] = more + (cells[at - 1, PACKED] if at > first else history.before)
        history.count += 1
        counters[ROWS] += 1
    return len(hashes)


@kernel
def evict_rows(store, edge):
    """Evict rows at or before the edge."""
    cells = store.cells
    for slot in range(store.counters[TERMINALS]):
        history = store.slots[slot]
        first = history.first + history.head
        gone = up_to(cells, first, first + history.count, edge) - first
        if gone:
            history.before = cells[first + gone - 1, PACKED]
            history.head += gone
            history.count -= gone
            store.counters[ROWS] -= gone


@kernel
def measure_packed(store):
    """Return (terminals that have rows, cells that all rows need after packing)."""
    terminals = np.int64(0)
    needed = np.int64(0)
    for slot in range(store.counters[TERMINALS]):
        count = store.slots[slot].count
        if count:
            terminals += 1
            needed += packed_room(count)
    return terminals, needed


@kernel
def pack(store, target):
    """Copy the terminals that have rows into an empty store that is large enough."""
    counters = target.counters
    for slot in range(store.counters[TERMINALS]):
        history = store.slots[slot]
        if not history.count:
            continue
        number = counters[TERMINALS]
        packed = target.slots[number]
        packed.hash = history.hash
        packed.first = counters[CELLS]
        packed.room = packed_room(history.count)
        packed.head = 0
        packed.count = history.count
        packed.before = history.before
        old = history.first + history.head
        for c in range(history.count):
            target.cells[packed.first + c, TIME] = store.cells[old + c, TIME]
            target.cells[packed.first + c, PACKED] = store.cells[old + c, PACKED]
        counters[CELLS] += packed.room
        counters[TERMINALS] += 1
        counters[ROWS] += history.count
        _place(target.table, target.places, history.hash, number)


@kernel
def observe_rows(
    store,
    hashes,
    times,
    delay,
    windows,
    operations,
    watermark,
    edge,
    counts,
    packed,
    rows,
    cursors,
    out,
):
    """Write what each event sees of its terminal: rows of (t - delay - window, t - delay].

    Rows after the watermark and rows at or before the edge are not seen.

    Args:
        store: The table's arrays.
        hashes: uint64[n], of the terminals' ids.
        times: int64[n], event times, ms.
        delay: ms.
        windows: int64[w], ms, ascending.
        operations: int64[k, OPERATION_WIDTH].
        watermark: ms.
        edge: ms.
        counts: float64[w], memory to compute in.
        packed: int64[w], likewise.
        cursors: int32[terminals, 1 + w], zeros: the search for an event begins at the last one of
            its terminal, which is faster if events are in time order. Without rows, each search is
            independent.
        rows: int64[n], the row of each event in ``out``.
        out: float64[r, m]; the operations' columns are written.
    """
    cells = store.cells
    slots = store.slots
    for i in range(len(hashes)):
        row = rows[i]
        slot = find_terminal(store.table, store.places, slots, hashes[i])
        if slot < 0:
            for j in range(len(operations)):
                out[row, operations[j, OUT]] = 0.0
            continue
        history = slots[slot]
        upper = times[i] - delay
        first = history.first + history.head
        last = first + history.count
        if len(cursors):
            end = walk_to(cells, first, last, cursors, slot, 0, min(upper, watermark))
        else:
            end = up_to(cells, first, last, min(upper, watermark))
        known = cells[end - 1, PACKED] if end > first else history.before
        low = end
        for w in range(len(windows)):
            lower = max(upper - windows[w], edge)
            if len(cursors):
                low = min(end, walk_to(cells, first, last, cursors, slot, w + 1, lower))
            else:
                low = up_to(cells, first, low, lower)
            before = cells[low - 1, PACKED] if low > first else history.before
            counts[w] = end - low
            packed[w] = known - before
        for j in range(len(operations)):
            w = operations[j, WINDOW]
            kind = operations[j, KIND]
            frauds = np.float64(packed[w] & _FRAUDS)
            if kind == COUNT:
                out[row, operations[j, OUT]] = counts[w]
                continue
            of = counts[w]
            if kind == RISK_KNOWN:
                of -= np.float64(packed[w] >> _UNKNOWN_SHIFT)
            out[row, operations[j, OUT]] = frauds / of if of > 0 else 0.0
