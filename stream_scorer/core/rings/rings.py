"""Rings: what the core remembers of each customer, and the kernel that folds events into them.

A ring holds a customer's recent accepted events in the order (event time, arrival) as parallel
columns: event time in ms, the sum of all amounts before it in minor units, 64-bit hash of the
transaction id, and a 64-bit value for each further field that a feature needs. Rings lie in blocks
of one growable pool; a block's size is a power of two. Sums are exact, because amounts are
integers.

Every change is journalled, so that an aborted batch is undone in reverse, event by event, and
leaves the rings as they were before it.
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
"""A longer journal's memory is given back."""


@dataclass(frozen=True, slots=True)
class RingColumns:
    """What rings read of n events.

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
        """Return the columns of a batch; ``kept`` as above."""
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
    """What one batch changed in one partition's rings; it ends by ``release`` or ``undo``.

    Attributes:
        rings: Whose it is.
        number: Batches are numbered as they come.
        entries: int64[r, width], one row per event that changed a ring.
        length: Rows of it that are written.
        newest: Newest accepted event time, ms; NEVER when nothing was accepted.
    """

    rings: "CustomerRings"
    number: int
    entries: Int64
    length: int = 0
    newest: int = field(default=int(NEVER))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much rings remember; lengths in ms.

    Attributes:
        lateness_ms: An event older than the customer's newest by more than this is not added.
        horizon_ms: Longest window plus lateness: older events leave.
        cap: Events per customer at most.
        unit: What amounts are counted in, as :attr:`Plan.unit` says; it changes no sum.
    """

    lateness_ms: int
    horizon_ms: int
    cap: int
    unit: str = ""


class CustomerRings:
    """The rings of one input partition.

    Args:
        retention: How long and how much to remember.
        program: What each event is to see of its ring.
        fields: Names of the further fields that are stored.

    Attributes:
        watermark: Newest accepted event time of the batches that were released, ms; NEVER when
            there is none. A restore sets it.
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
            program: Looks no further back than the rings do, at fields that they store.
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
        """Newest accepted event time that the rings know, ms: of open batches too; or NEVER."""
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
        """Add the given rows, in order, and compute what each sees.

        Args:
            rows: int64[r], the rows of this partition, in arrival order.
            columns: Of n events.
            skip: bool[n], rows that are rejected already.
            verdict: uint8[n], written: ADDED, DUPLICATE, LATE or CAPPED.
            observed: float64[n, k], written but for duplicates: what the program computes; None
                computes nothing.
            places: int64[r], where in ``observed`` each of the rows goes, if not to its own number.

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
            # Such as no memory for more room: what was folded before goes, too.
            self.undo(journal)
            raise

    def undo(self, journal: Journal) -> None:
        """Take a batch back; the rings are then as they were before it.

        Of two open batches the newer one goes first.
        """
        del self._open[journal.number]
        undo_rows(self._store, self._shape, journal.entries, journal.length)
        self._keep(journal.entries)

    def release(self, journal: Journal) -> None:
        """After the batch's commit: what only its undo needed may be used again."""
        del self._open[journal.number]
        release_blocks(self._store, self._shape, journal.entries, journal.length)
        self._keep(journal.entries)
        self.watermark = max(self.watermark, journal.newest)

    def _keep(self, entries: Int64) -> None:
        """Keep the memory of a journal for the next: to get it anew costs as much as the fold."""
        if len(self._spare) < len(entries) and entries.nbytes <= _SPARE_BYTES:
            self._spare = entries

    def evict(self, most: int) -> int:
        """Let whole rings go that the watermark has passed by the horizon and the lateness.

        What an open batch has touched stays. Call it between batches.

        Args:
            most: Customers to look at; the next call goes on where this one ends.

        Returns:
            How many customers left.
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
        """Return all rings of a bucket as bytes; see ``payload``. An empty bucket gives none.

        The bytes tell nothing of the layout in memory: equal rings give equal bytes.

        Args:
            bucket: 0 … BUCKETS-1.

        Raises:
            ValueError: There is no such bucket.
        """
        return bucket_payload.write(self._store, self._shape, self.fields, _checked(bucket))

    def load(
        self, payload: bytes, *, checked: bool = False, bucket: int = bucket_payload.ANY_BUCKET
    ) -> None:
        """Add the rings of a bucket that ``dump`` gave.

        Fields that the payload lacks are MISSING, those that are not stored here are dropped; so
        are events beyond the horizon and the cap.

        Args:
            payload: What ``dump`` gave; no bytes are no customers.
            checked: Whether somebody has made sure that these are the bytes that were written.
            bucket: The only bucket whose customers it may hold.

        Raises:
            ValueError: The bytes are damaged, or hold a customer who is here or whose bucket is
                another; nothing is changed.
            RuntimeError: A batch is open: its undo would not find the rings as it left them.
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

        This is the rings' meaning without their layout: equal rings yield equal sequences.
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
