"""Rings: the recent events of each customer of a partition, in memory.

A ring has a customer's recent accepted events in the order (event time, arrival) as parallel
columns: event time in ms, the sum of all amounts before it in minor units, the 64-bit hash of the
transaction id, and a 64-bit value for each further field that a feature needs. Rings are stored in
blocks of one growable pool; the size of a block is a power of two. Sums are exact, because amounts
are integers.

Every change is journalled. An aborted batch is undone in reverse order, event by event, which
restores the rings as they were before it. The loops are in ``core.kernels``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.fields import MISSING
from stream_scorer.core.events.read_only import read_only
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.kernels.dumping import load_rings
from stream_scorer.core.kernels.folding import JOURNAL_WIDTH, fold_rows
from stream_scorer.core.kernels.hashing import place_strings
from stream_scorer.core.kernels.observing import RingProgram
from stream_scorer.core.kernels.store import CUSTOMERS, NEVER, NOBODY, SLOTS
from stream_scorer.core.kernels.undoing import evict_rings, release_blocks, undo_rows
from stream_scorer.core.rings import payload as bucket_payload
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.storage import new_scratch, new_store, shape_of, with_room

__all__ = [
    "NEVER",
    "CustomerRings",
    "Journal",
    "Retention",
    "RingColumns",
]

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


_SPARE_BYTES = 2**20
"""The memory of a longer journal is freed instead of kept for the next one."""


@dataclass(frozen=True, slots=True)
class RingColumns:
    """The columns that rings read of n events.

    Attributes:
        customer_id: n strings.
        customer: uint64[n], their hashes.
        transaction: uint64[n], hashes of the transactions' ids.
        event_time: int64[n], ms since the epoch.
        amount_minor: int64[n].
        kept: int64[f, n], values of the further fields.
    """

    customer_id: pa.Array
    customer: NDArray[np.uint64]
    transaction: NDArray[np.uint64]
    event_time: Int64
    amount_minor: Int64
    kept: Int64

    @classmethod
    def of(cls, events: EventBatch, kept: Int64) -> "RingColumns":
        """Return the columns of a batch; ``kept`` is int64[f, n]."""
        return cls(
            events.records.column("customer_id"), events.hashes("customer_id"),
            events.hashes("transaction_id"), events.int64("event_time"),
            events.amounts, kept,
        )  # fmt: skip

    def take(self, rows: Int64) -> "RingColumns":
        """Return the given rows, in the given order."""
        return RingColumns(
            self.customer_id.take(pa.array(rows)), self.customer[rows], self.transaction[rows],
            self.event_time[rows], self.amount_minor[rows], self.kept[:, rows],
        )  # fmt: skip


@dataclass(slots=True)
class Journal:
    """The changes of one batch to one partition's rings; ``release`` or ``undo`` ends it.

    Attributes:
        rings: The partition's rings.
        number: Batches are numbered in their order.
        entries: int64[r, width], one row for each event that changed a ring.
        length: Number of rows that are written.
        newest: Newest accepted event time, ms; NEVER if nothing was accepted.
    """

    rings: "CustomerRings"
    number: int
    entries: Int64
    length: int = 0
    newest: int = field(default=int(NEVER))


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long rings keep events, and how many; lengths in ms.

    Attributes:
        lateness_ms: An event that is older than the customer's newest event by more than this is
            not added.
        horizon_ms: Longest window plus lateness; an event that is older than the customer's newest
            event by this or more is evicted.
        cap: Maximum number of events of a customer.
        unit: The unit of amounts, as in :attr:`Plan.unit`; it does not affect sums.
    """

    lateness_ms: int
    horizon_ms: int
    cap: int
    unit: str = ""


class CustomerRings:
    """The rings of one input partition.

    Args:
        retention: For how long to keep events, and how many.
        program: The features to compute for each event.
        fields: Names of the further fields that are stored.

    Attributes:
        watermark: Newest accepted event time of the released batches, ms; NEVER if there is none. A
            restore sets it.
    """

    def __init__(
        self, retention: Retention, program: RingProgram, fields: tuple[str, ...] = ()
    ) -> None:
        self.retention = retention
        self.fields = fields
        self.watermark = int(NEVER)
        self._limits = np.array(
            [retention.lateness_ms, retention.horizon_ms, retention.cap], np.int64
        )
        self._shape = shape_of(retention.horizon_ms, len(fields))
        self.run(program)
        self._batches = 0
        self._open: dict[int, Journal] = {}
        self._cursor = 0
        self._spare = np.empty((0, JOURNAL_WIDTH + len(fields)), np.int64)
        self._store = new_store(self._shape)

    def run(self, program: RingProgram) -> None:
        """Compute another program from now on; the rings stay as they are.

        Args:
            program: It looks back no further than the rings, and reads only fields that they store.
        """
        self._program = program
        self._silent = program._replace(
            operations=program.operations[:0], line=np.array([False]),
            filtered=program.filtered[:0],
        )  # fmt: skip
        self._scratch = new_scratch(self.retention.cap, len(program.windows))

    def __len__(self) -> int:
        return int(self._store.counters[CUSTOMERS])

    @property
    def newest(self) -> int:
        """Newest accepted event time, ms, also of open batches; NEVER if there is none."""
        return max([self.watermark, *(journal.newest for journal in self._open.values())])

    def fold(
        self,
        rows: Int64,
        columns: RingColumns,
        skip: NDArray[np.bool_],
        verdict: UInt8,
        observed: NDArray[np.float64] | None,
        places: Int64 | None = None,
    ) -> Journal:
        """Add the given rows, in order, and compute what each one sees.

        Args:
            rows: int64[r], the rows of this partition, in arrival order.
            columns: Of n events.
            skip: bool[n], rows that are rejected already.
            verdict: uint8[n], written for the rows that are not skipped: ADDED, DUPLICATE, LATE or
                CAPPED.
            observed: float64[n, k], what the program computes, written for each of these rows that
                is not a duplicate; None: nothing is computed.
            places: int64[r], the row in ``observed`` for each of ``rows``; None: the same row.

        Returns:
            The journal of this batch's changes.
        """
        offsets, data = string_views(columns.customer_id)
        times, amounts = read_only(columns.event_time), read_only(columns.amount_minor)
        places = rows if places is None else places
        self._batches += 1
        width = JOURNAL_WIDTH + len(self.fields)
        entries, self._spare = self._spare, np.empty((0, width), np.int64)
        if len(entries) < len(rows):
            entries = np.empty((len(rows), width), np.int64)
        journal = Journal(self, self._batches, entries)
        self._open[journal.number] = journal
        program = self._program if observed is not None else self._silent
        written = observed if observed is not None else np.empty((0, 0))
        placed = np.empty(len(columns.customer), np.uint64)
        place_strings(rows, offsets, data, columns.customer, self._store.key, placed)
        at = 0
        try:
            while True:
                at, journal.length, newest = fold_rows(
                    self._store, self._shape, self._limits, program, self._scratch,
                    rows, places, at, skip, offsets, data, placed, columns.transaction,
                    times, amounts, columns.kept, journal.number,
                    journal.entries, journal.length, verdict, written,
                    program.filtered if len(program.filtered) else None,
                )  # fmt: skip
                journal.newest = max(journal.newest, int(newest))
                if at == len(rows):
                    return journal
                row = rows[at]
                key_length = int(offsets[row + 1] - offsets[row])
                self._store = with_room(self._store, self._shape, key_length, self.retention.cap)
        except BaseException:
            # For example, if there is no memory to grow: the rows so far are undone, too.
            self.undo(journal)
            raise

    def undo(self, journal: Journal) -> None:
        """Undo a batch; the rings are then as they were before it.

        If several batches are open, the newest must be undone first.
        """
        del self._open[journal.number]
        undo_rows(self._store, self._shape, journal.entries, journal.length)
        self._keep(journal.entries)

    def release(self, journal: Journal) -> None:
        """End a batch after its commit: memory that only its undo needed is free again."""
        del self._open[journal.number]
        release_blocks(self._store, self._shape, journal.entries, journal.length)
        self._keep(journal.entries)
        self.watermark = max(self.watermark, journal.newest)

    def _keep(self, entries: Int64) -> None:
        """Keep a journal's memory for the next one: allocating it costs as much as the fold."""
        if len(self._spare) < len(entries) and entries.nbytes <= _SPARE_BYTES:
            self._spare = entries

    def evict(self, most: int) -> int:
        """Evict rings that the watermark has passed by more than the horizon and the lateness.

        A ring that an open batch has touched is not evicted. Call it between batches.

        Args:
            most: Number of slots to examine; the next call continues where this one ends.

        Returns:
            Number of customers that were evicted.
        """
        if self.watermark == NEVER:
            return 0
        edge = self.watermark - self.retention.horizon_ms - self.retention.lateness_ms
        oldest_open = min(self._open, default=self._batches + 1)
        self._cursor, left = evict_rings(
            self._store, self._shape, self._cursor, most, edge, oldest_open
        )
        return int(left)

    # -- checkpoints ------------------------------------------------------------------------

    def dump(self, bucket: int) -> bytes:
        """Return the rings of a bucket as bytes (see ``payload``); no bytes for an empty bucket.

        The bytes do not depend on the layout in memory: equal rings give equal bytes.

        Args:
            bucket: 0 … BUCKETS-1.

        Raises:
            ValueError: The number is out of range.
        """
        return bucket_payload.write(self._store, self._shape, self.fields, _checked(bucket))

    def load(
        self, payload: bytes, *, checked: bool = False, bucket: int = bucket_payload.ANY_BUCKET
    ) -> None:
        """Add the rings of a bucket from the bytes of ``dump``.

        A field that the payload does not have is MISSING. A field that is not stored here is
        dropped, and so are events beyond the horizon and the cap.

        Args:
            payload: From ``dump``; empty if there are no customers.
            checked: Whether the caller has verified that these are the bytes that were written.
            bucket: The only bucket whose customers it may contain.

        Raises:
            ValueError: The bytes are damaged, or contain a customer who is here already or belongs
                to another bucket; nothing is changed.
            RuntimeError: A batch is open: it could not be undone afterwards.
        """
        if self._open:
            raise RuntimeError("rings are loaded while a batch is open")
        if not payload:
            return
        rings = bucket_payload.read(self._store, payload, checked=checked, bucket=bucket)
        column_of = np.array(
            [1 + rings.fields.index(name) if name in rings.fields else -1 for name in self.fields],
            np.int64,
        )
        at, left = rings.start, -1
        while left:
            at, left, key_length, events = load_rings(
                self._store, self._shape, self._limits, rings.data, at, left,
                column_of, MISSING, len(rings.fields),
            )  # fmt: skip
            if left:
                self._store = with_room(self._store, self._shape, int(key_length), int(events))

    def events(self) -> Iterator[tuple[bytes, Int64, Int64, NDArray[np.uint64]]]:
        """Yield each customer's (id, times, amounts, hashes), in the order of the ids.

        This is the content of the rings without their layout: equal rings yield equal sequences.
        """
        store = self._store
        slots = store.slots[: int(store.counters[SLOTS])]
        keys = {
            store.keys[ring["key"] : ring["key"] + ring["length"]].tobytes(): ring
            for ring in slots[slots["length"] != NOBODY]
        }
        short, unit_words, _, mask = self._shape.tolist()
        for key in sorted(keys):
            ring = keys[key]
            newest, capacity = int(ring["newest"]), int(ring["capacity"])
            cells = (int(ring["head"]) + np.arange(int(ring["count"]))) % capacity
            first = int(ring["block"]) * unit_words
            ages = (newest - store.times[(first << short) + cells].astype(np.int64)) & mask
            amounts = first + (capacity >> short)
            sums = np.append(store.words[amounts + cells], ring["total"])
            yield (
                key,
                newest - ages,
                np.diff(sums),
                store.words[amounts + capacity + cells].view(np.uint64),
            )


def _checked(bucket: int) -> int:
    if not 0 <= bucket < BUCKETS:
        raise ValueError(f"bucket {bucket} is not one of 0 to {BUCKETS - 1}")
    return bucket
