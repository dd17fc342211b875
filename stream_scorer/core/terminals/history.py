"""The history of terminals: a row for each of their transactions, some days late.

A row is fraud, genuine or unknown.

A process cannot see a terminal's complete history in its own input, which is partitioned by
customer. So the rows come from elsewhere, each one once, and only when its label is settled. The
table's *watermark* states how far it is complete: every row up to it is in the table, and no such
row follows.

An event at t sees the rows of (t - delay - window, t - delay]. Later rows are never seen. So the
result does not depend on how far the table is ahead of the event, nor on the pieces in which the
rows arrived.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.hashing import random_places
from stream_scorer.core.kernels.store import EMPTY, NEVER
from stream_scorer.core.kernels.terminals import (
    A_FRAUD,
    AN_UNKNOWN,
    CELL_WIDTH,
    COUNTERS,
    ROWS,
    ROWS_MOST,
    TERMINAL,
    TERMINALS,
    TerminalStore,
    add_rows,
    evict_rows,
    measure_packed,
    observe_rows,
    pack,
)

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
_NEVER = int(NEVER)
_INCREMENTS = np.array([0, A_FRAUD, AN_UNKNOWN, AN_UNKNOWN], np.int64)
"""What a row adds to its terminal's packed number, by its state; one in dispute is unknown."""
_SWEEP_SHARE = 8


@dataclass(frozen=True, slots=True)
class Delayed:
    """The operations over terminals of all manifests that share an engine.

    Attributes:
        operations: int64[k, 3]: the kind, the index of the window, the column that is written.
        windows: int64[w], ms, ascending.
        delay_ms: How long before the event the windows end.
        lateness_ms: The plan's lateness.
    """

    operations: Int64
    windows: Int64
    delay_ms: int
    lateness_ms: int

    def __len__(self) -> int:
        return len(self.operations)

    @property
    def longest_ms(self) -> int:
        """How long before the event the longest window begins, ms; 0 if there is no window."""
        return self.delay_ms + int(self.windows[-1]) if len(self.windows) else 0

    @property
    def memory_ms(self) -> int:
        """How long rows must be kept before the slowest partition's watermark, ms.

        ``table.evict(slowest - memory_ms)`` evicts no row that an event in time can see.
        """
        return self.longest_ms + self.lateness_ms


class TerminalTable:
    """Rows of terminals, in time order; a terminal is identified by the 64-bit hash of its id.

    >>> table = TerminalTable()
    >>> table.add(pa.array(["x", "x"]), np.array([1_000, 2_000]), np.array([True, False]))
    >>> table.watermark = 2_500
    >>> len(table), table.watermark
    (2, 2500)
    """

    def __init__(self) -> None:
        self._store = _new_store(0, 0)
        self._watermark = self._edge = _NEVER
        self._added = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._store.counters[ROWS])

    @property
    def watermark(self) -> int:
        """Every row up to this event time is in the table, ms; NEVER at first."""
        return self._watermark

    @watermark.setter
    def watermark(self, time_ms: int) -> None:
        if time_ms < self._watermark:
            raise ValueError(
                f"the terminals' watermark goes from {self._watermark} back to {time_ms}"
            )
        self._watermark = time_ms

    @property
    def edge(self) -> int:
        """Rows up to this event time were evicted, ms; NEVER at first."""
        return self._edge

    def add(self, terminal_id: pa.Array, event_time: Int64, state: UInt8 | Bool) -> None:
        """Add rows, in any order; rows at or before the edge are ignored.

        Args:
            terminal_id: n strings.
            event_time: int64[n], ms.
            state: uint8[n], ``GENUINE``, ``FRAUD`` or ``UNKNOWN`` of ``labelling.contract``. A
                bool[n], fraud or genuine, will do.

        Raises:
            ValueError: There would be more than ``ROWS_MOST`` rows.
        """
        self.add_hashed(hashes_of(terminal_id), event_time, state)

    def add_hashed(
        self, terminal: NDArray[np.uint64], event_time: Int64, state: UInt8 | Bool
    ) -> None:
        """Add rows whose terminals are given as uint64[n] hashes of their ids."""
        if len(self) + len(terminal) > ROWS_MOST:
            raise ValueError(f"a table of terminals takes at most {ROWS_MOST} rows")
        more = _INCREMENTS[state.astype(np.uint8)]
        at = add_rows(self._store, 0, terminal, event_time, more, self._edge)
        while at < len(terminal):
            self._store = _with_room(self._store)
            at = add_rows(self._store, at, terminal, event_time, more, self._edge)
        self._added += len(terminal)

    def as_of(self, watermark: int) -> "TerminalTable":
        """Return a table with the rows up to an earlier watermark, which must only be read.

        Args:
            watermark: Event time, ms; a time after this table's watermark makes no difference.
        """
        earlier = TerminalTable()
        earlier._store, earlier._edge = self._store, self._edge
        earlier._watermark = min(watermark, self._watermark)
        return earlier

    def evict(self, edge_ms: int) -> None:
        """Evict the rows up to an edge: no event sees them afterwards.

        They are removed once as many rows were added as an eighth of those in the table. Their
        memory is free again when all rows are packed.

        Args:
            edge_ms: Event time; an edge before the current one changes nothing.
        """
        self._edge = max(self._edge, edge_ms)
        if self._added * _SWEEP_SHARE >= len(self):
            evict_rows(self._store, self._edge)
            self._added = 0

    def observe(
        self, delayed: Delayed, terminal_id: pa.Array, event_time: Int64, observed: Float64
    ) -> Bool:
        """Write what events see of their terminals.

        Args:
            delayed: The operations.
            terminal_id: n strings.
            event_time: int64[n], ms.
            observed: float64[n, k]; the operations' columns are written.

        Returns:
            bool[n]: whether rows of the event's windows are missing, because they have not arrived
            yet or were evicted already.
        """
        terminal = hashes_of(terminal_id)
        return self.observe_hashed(
            delayed, terminal, event_time, np.arange(len(terminal)), observed
        )

    def observe_hashed(
        self,
        delayed: Delayed,
        terminal: NDArray[np.uint64],
        event_time: Int64,
        rows: Int64,
        observed: Float64,
        *,
        in_order: bool = False,
    ) -> Bool:
        """Do the same for terminals given as uint64[n] hashes of their ids.

        Event i is written to row ``rows[i]``. ``in_order`` states that there are many events,
        approximately in time order. That saves searches, and does not change what is written.
        """
        windows = delayed.windows
        terminals = int(self._store.counters[TERMINALS]) if in_order else 0
        observe_rows(
            self._store, terminal, event_time, delayed.delay_ms, windows, delayed.operations,
            self._watermark, self._edge, np.empty(len(windows)), np.empty(len(windows), np.int64),
            rows, np.zeros((terminals, 1 + len(windows)), np.int32), observed,
        )  # fmt: skip
        lacking: Bool = event_time - delayed.delay_ms > self._watermark
        return lacking | (event_time - delayed.longest_ms < self._edge)


def used_up_to(table: TerminalTable, delayed: Delayed, event_time: Int64) -> Int64:
    """Return int64[n], ms: the newest time of rows that each event could see; NEVER for none.

    That is the event time less the delay, or the table's watermark if that is earlier. So it does
    not depend on how far the table was ahead, which differs in each run.
    """
    return np.minimum(event_time - delayed.delay_ms, table.watermark)


def _new_store(terminals: int, cells: int) -> TerminalStore:
    """Return an empty store with room for more terminals and cells than given."""
    slots = 64 + 2 * terminals
    places = 1 << (2 * slots - 1).bit_length()
    return TerminalStore(
        counters=np.zeros(COUNTERS, np.int64),
        table=np.full(places, EMPTY, np.int32),
        places=random_places(places),
        slots=np.zeros(slots, TERMINAL),
        cells=np.empty((256 + cells + cells // 2, CELL_WIDTH), np.int64),
    )


def _with_room(store: TerminalStore) -> TerminalStore:
    """Return a store in which all rows are packed and new ones have room."""
    terminals, cells = measure_packed(store)
    target = _new_store(int(terminals), int(cells))
    pack(store, target)
    return target
