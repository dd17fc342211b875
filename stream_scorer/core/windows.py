"""Rings: what the core remembers of each customer, and the kernel that folds events into them.

A ring holds a customer's recent accepted events in the order (event time, arrival) as three
parallel int64 columns: event time in ms, amount in minor units, 64-bit hash of the transaction
id. Rings live in blocks of one growable pool; a block's size is a power of two. Sums are exact,
because amounts are integers.

Every change is journalled, so that an aborted batch is undone in reverse, event by event, and
leaves the rings as they were before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.kernels import (
    JOURNAL_WIDTH,
    NEVER,
    SIZE_CLASSES,
    SLOTS,
    SMALLEST_BLOCK,
    fold_rows,
    place_all,
    release_blocks,
    undo_rows,
)

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
_T = TypeVar("_T", bound=np.generic)


def string_views(strings: pa.Array) -> tuple[NDArray[np.int32], UInt8]:
    """Return an Arrow string column as (offsets int32[n+1], data uint8[]), without a copy."""
    _, offsets, data = strings.buffers()
    if offsets is None:
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    view = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return view, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


@dataclass(slots=True)
class Journal:
    """What one batch changed in one partition's rings; it ends by ``release`` or ``undo``."""

    rings: "CustomerRings"
    entries: Int64
    length: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much rings remember; lengths in ms.

    Attributes:
        lateness_ms: An event older than the customer's newest by more than this is not added.
        horizon_ms: Longest window plus lateness: older events leave.
        cap: Events per customer at most.
    """

    lateness_ms: int
    horizon_ms: int
    cap: int


class CustomerRings:
    """The rings of one input partition.

    Args:
        retention: How long and how much to remember.
        windows: int64[w], window lengths in ms, ascending.
    """

    def __init__(self, retention: Retention, windows: Int64) -> None:
        self.retention = retention
        self.windows = np.ascontiguousarray(windows, np.int64)
        self._table = np.full(256, -1, np.int32)
        self._key_hash = np.zeros(64, np.uint64)
        self._key_start = np.zeros(64, np.int64)
        self._key_length = np.zeros(64, np.int32)
        self._key_bytes = np.zeros(1024, np.uint8)
        self._block = np.full(64, -1, np.int64)
        self._capacity = np.zeros(64, np.int32)
        self._head = np.zeros(64, np.int32)
        self._count = np.zeros(64, np.int32)
        self._newest = np.full(64, NEVER, np.int64)
        self._free = np.full(SIZE_CLASSES, -1, np.int64)
        self._counters = np.zeros(3, np.int64)
        self._cell_time = np.zeros(1024, np.int64)
        self._cell_amount = np.zeros(1024, np.int64)
        self._cell_hash = np.zeros(1024, np.uint64)

    def __len__(self) -> int:
        return int(self._counters[SLOTS])

    def fold(
        self,
        rows: Int64,
        skip: NDArray[np.bool_],
        customer_id: pa.Array,
        id_hash: NDArray[np.uint64],
        event_time: Int64,
        amount_minor: Int64,
        verdict: UInt8,
        counts: Int64,
        sums: Int64,
    ) -> Journal:
        """Add the given rows, in order, and read their windows.

        Args:
            rows: int64[r], the rows of this partition, in arrival order.
            skip: bool[n], rows that are rejected already.
            customer_id: n strings.
            id_hash: uint64[n], hash of the transaction id.
            event_time: int64[n], ms.
            amount_minor: int64[n].
            verdict: uint8[n], written: ADDED, DUPLICATE, LATE or CAPPED.
            counts: int64[n, w], written: events per window, this one included.
            sums: int64[n, w], written: minor units per window, this one included.

        Returns:
            The journal of this batch's changes.
        """
        offsets, data = string_views(customer_id)
        journal = Journal(self, np.zeros((len(rows), JOURNAL_WIDTH), np.int64))
        at = 0
        while True:
            at, journal.length = fold_rows(
                rows, at, skip, offsets, data, id_hash, event_time, amount_minor,
                self.retention.lateness_ms, self.retention.horizon_ms, self.retention.cap,
                self.windows,
                self._table, self._key_hash, self._key_start, self._key_length, self._key_bytes,
                self._block, self._capacity, self._head, self._count, self._newest,
                self._free, self._counters,
                self._cell_time, self._cell_amount, self._cell_hash,
                journal.entries, journal.length, verdict, counts, sums,
            )  # fmt: skip
            if at == len(rows):
                return journal
            row = rows[at]
            self._make_room(int(offsets[row + 1] - offsets[row]))

    def _make_room(self, key_length: int) -> None:
        """Enlarge each array that the next event may not fit into."""
        slots, key_bytes, cells = (int(c) for c in self._counters)
        if slots >= len(self._key_hash):
            for name in ("_key_hash", "_key_start", "_key_length", "_capacity", "_head", "_count"):
                setattr(self, name, _grown(getattr(self, name), 0, 2 * slots))
            self._block = _grown(self._block, -1, 2 * slots)
            self._newest = _grown(self._newest, NEVER, 2 * slots)
        if 2 * (slots + 1) > len(self._table):
            self._table = np.full(4 * len(self._table), -1, np.int32)
            place_all(self._table, self._key_hash, slots)
        if key_bytes + key_length > len(self._key_bytes):
            self._key_bytes = _grown(self._key_bytes, 0, 2 * (key_bytes + key_length))
        room = len(self._cell_time) - cells
        if room < 2 * self.retention.cap + SMALLEST_BLOCK:
            size = len(self._cell_time) + max(
                len(self._cell_time) // 2, 4 * self.retention.cap + SMALLEST_BLOCK
            )
            self._cell_time = _grown(self._cell_time, 0, size)
            self._cell_amount = _grown(self._cell_amount, 0, size)
            self._cell_hash = _grown(self._cell_hash, 0, size)

    def undo(self, journal: Journal) -> None:
        """Take a batch back; the rings are then as they were before it."""
        slots = int(self._counters[SLOTS])
        undo_rows(
            journal.entries, journal.length, self._key_length, self._block,
            self._capacity, self._head, self._count, self._newest, self._free, self._counters,
            self._cell_time, self._cell_amount, self._cell_hash,
        )  # fmt: skip
        if int(self._counters[SLOTS]) != slots:
            # New customers leave from the end, but the table may have grown meanwhile, so their
            # places in it are found again by filling it afresh.
            self._table.fill(-1)
            place_all(self._table, self._key_hash, int(self._counters[SLOTS]))

    def release(self, journal: Journal) -> None:
        """After the batch's commit: what only its undo needed may be used again."""
        release_blocks(journal.entries, journal.length, self._free, self._cell_time)

    def events(self) -> Iterator[tuple[bytes, Int64, Int64, NDArray[np.uint64]]]:
        """Yield each customer's (id, times, amounts, hashes), in the order of the ids.

        This is the rings' meaning without their layout: equal rings yield equal sequences.
        """
        keys = {
            self._key_bytes[start : start + length].tobytes(): slot
            for slot, (start, length) in enumerate(
                zip(self._key_start[: len(self)], self._key_length[: len(self)], strict=True)
            )
        }
        for key in sorted(keys):
            slot = keys[key]
            capacity = int(self._capacity[slot])
            cells = int(self._block[slot]) + (
                (int(self._head[slot]) + np.arange(int(self._count[slot]))) % capacity
            )
            yield key, self._cell_time[cells], self._cell_amount[cells], self._cell_hash[cells]


def _grown(array: NDArray[_T], fill: int, size: int) -> NDArray[_T]:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    larger[len(array) :] = fill
    return larger
