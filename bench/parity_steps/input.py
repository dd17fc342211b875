"""The input of the parity bench: simulated transactions with every difficulty for memory.

Some customers fall silent for longer than anything is remembered and come back; some never come
back; all clocks jump once by more than the horizon. Other events are out of order, late within and
beyond the bound, of equal times, sent again (under a later event time too), or have an id that was
used long ago. Labels are in ``bench/parity_steps/labels.py``.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.ports import Int64
from stream_scorer.simulator import simulate
from stream_scorer.simulator.simulate import SCHEMA

Bool = NDArray[np.bool_]

_SECOND, _HOUR, _DAY = 1_000, 3_600_000, 86_400_000
_DAYS, _CUSTOMERS_PER_EVENT, _LEAST_CUSTOMERS, _TERMINALS = 125, 1 / 200, 100, 2_000
_QUIET_FROM, _QUIET_TO, _ASKED_AFTER = 20, 60, 57
_JUMP_AT, _JUMP = 75, 35 * _DAY
# Of ten customers one is silent for 40 days, one as long and returns with an id that it used
# before, and one stays away.
_QUIET, _REUSING, _GONE = 1, 2, 3
AFTER_EVICTION = "after_eviction"
LATE = frozenset({"late_beyond", "late_without_row"})
"""Past the lateness: a file cannot contain them, and the rows that they look for are removed."""
_LATE_TERMINALS = 20
"""One in so many terminals has late events, whose rows only the streams have."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How some rows are copied.

    Attributes:
        share: Of the rows that may be chosen.
        delay: Of the arrival, from and to, ms.
        age: Of the event time, likewise.
        of: Which rows may be chosen: ``any``, those that are ``plain`` yet, those at terminals
            that have ``late`` events.
        again: Whether it is the same transaction once more.
        moved: Whether the event time moves with the arrival.
    """

    share: float
    delay: tuple[int, int] = (0, 0)
    age: tuple[int, int] = (0, 0)
    of: str = "any"
    again: bool = False
    moved: bool = False


# A row leaves the profiler when it is older than the newest event by six days and the lateness. An
# event that is late by 5 days still has one, by 8 days not, whatever the partitions' skew.
_KINDS = {
    "disordered": _Kind(0.1, (0, 50 * 60 * _SECOND)),
    "same_time": _Kind(0.005),
    "late_within": _Kind(0.025, age=(_SECOND, _HOUR - _SECOND), of="plain"),
    "late_beyond": _Kind(0.15, age=(_HOUR + _SECOND, 5 * _DAY), of="late"),
    "late_without_row": _Kind(0.05, age=(8 * _DAY, 9 * _DAY), of="late"),
    "duplicate": _Kind(0.01, again=True),
    "late_duplicate": _Kind(0.01, (_SECOND, _DAY), again=True),
    "old_duplicate": _Kind(0.002, (10 * _DAY, 20 * _DAY), again=True),
    "resent": _Kind(0.01, (_SECOND, 20 * _DAY), of="plain", again=True, moved=True),
}
AGAIN = frozenset(name for name, kind in _KINDS.items() if kind.again)


@dataclass(frozen=True, slots=True)
class Input:
    """n transactions in the order in which they arrive.

    Attributes:
        table: n rows with the columns of the transaction schema.
        kind: n names: why a row is here.
    """

    table: pa.Table
    kind: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def late(self) -> Bool:
        """bool[n]: the rows past the lateness; see ``LATE``."""
        return np.isin(self.kind, list(LATE))

    @property
    def compared(self) -> Bool:
        """bool[n]: the rows whose decision must not depend on the way; see ``AFTER_EVICTION``."""
        return (self.kind != AFTER_EVICTION) & ~self.late

    @property
    def shared(self) -> Bool:
        """bool[n]: those of them that see no terminal whose late rows a file cannot hold."""
        terminal = self.table.column("terminal_id").cast(pa.int64()).to_numpy()
        return self.compared & (terminal % _LATE_TERMINALS != 0)

    @property
    def clock(self) -> Int64:
        """int64[n], the newest event time when each row has arrived, ms."""
        return np.maximum.accumulate(self.time)

    @property
    def time(self) -> Int64:
        """int64[n], event times, ms."""
        return np.asarray(self.table.column("event_time").cast(pa.int64()).to_numpy())

    def out_of_order(self) -> int:
        """Count the events that are older than one of their customer's that came before."""
        customers = self.table.column("customer_id").combine_chunks().dictionary_encode()
        newest = np.full(len(customers.dictionary), -1)
        count = 0
        for customer, t in zip(customers.indices.to_pylist(), self.time.tolist(), strict=True):
            count += t < newest[customer]
            newest[customer] = max(newest[customer], t)
        return int(count)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows to be: copies of simulated ones with other times and ids."""

    source: Int64
    time: Int64
    arrival: Int64
    identity: NDArray[np.str_]
    kind: NDArray[np.str_]

    @classmethod
    def join(cls, pieces: list["_Rows"]) -> "_Rows":
        """Return the rows of all pieces."""
        return cls(
            np.concatenate([piece.source for piece in pieces]),
            np.concatenate([piece.time for piece in pieces]),
            np.concatenate([piece.arrival for piece in pieces]),
            np.concatenate([piece.identity for piece in pieces]),
            np.concatenate([piece.kind for piece in pieces]),
        )

    def take(self, rows: Int64) -> "_Rows":
        """Return the given rows."""
        return _Rows(
            self.source[rows], self.time[rows], self.arrival[rows], self.identity[rows],
            self.kind[rows],
        )  # fmt: skip


def build(events: int) -> Input:
    """Return ``events`` rows that are to be equal; between them some ``LATE``, ``AFTER_EVICTION``.

    The latter are events of customers who have been away for longer than the horizon and the
    lateness, with times from when they were last active. Whether their histories are evicted by
    then depends on their partition's watermark, so they are counted separately; no event follows.
    """
    customers = max(int(events * _CUSTOMERS_PER_EVENT), _LEAST_CUSTOMERS)
    table = simulate(_DAYS, customers, _TERMINALS).select(SCHEMA.names[:-2])
    base, asked = _population(table)
    drawn = np.random.default_rng(0)
    pieces = [base, asked]
    late = table.column("terminal_id").cast(pa.int64()).to_numpy() % _LATE_TERMINALS == 0
    jump = base.time[0] // _DAY * _DAY + _JUMP_AT * _DAY
    for name, kind in _KINDS.items():
        chosen = np.flatnonzero(drawn.random(len(base.source)) < kind.share)
        if kind.of == "plain":
            chosen = chosen[base.kind[chosen] == "plain"]
        elif kind.of == "late":
            chosen = chosen[late[base.source[chosen]]]
        later = drawn.integers(*kind.delay, len(chosen), endpoint=True)
        if name == "disordered":
            base.arrival[chosen] += later
            base.kind[chosen] = name
            continue
        if kind.moved:
            # No clock runs while all clocks jump.
            there = base.time[chosen]
            kept = (there >= jump) | (there + later < jump)
            chosen, later = chosen[kept], later[kept]
        copies = base.take(chosen)
        older = drawn.integers(*kind.age, len(chosen), endpoint=True)
        pieces.append(
            _Rows(
                copies.source, copies.time - older + (later if kind.moved else 0),
                copies.arrival + later,
                copies.identity if kind.again else np.char.add(f"{name}-", copies.identity),
                np.full(len(chosen), name),
            )
        )  # fmt: skip
    rows = _Rows.join(pieces)
    rows = rows.take(np.argsort(rows.arrival, kind="stable"))
    counted = np.cumsum(~np.isin(rows.kind, [AFTER_EVICTION, *LATE]))
    if counted[-1] < events:
        raise ValueError(f"{events} events are asked for, and {counted[-1]} simulated")
    rows = rows.take(np.arange(np.searchsorted(counted, events) + 1))
    return Input(_table(table, rows), rows.kind)


def _population(table: pa.Table) -> tuple[_Rows, _Rows]:
    """Return the simulated rows that are kept, and the later rows of customers who have left."""
    time = table.column("event_time").cast(pa.int64()).to_numpy()
    customer = table.column("customer_id").cast(pa.int64()).to_numpy()
    identity = table.column("transaction_id").to_numpy().astype("U40")
    day = (time - time[0] // _DAY * _DAY) // _DAY
    role = customer % 10
    away = np.isin(role, (_QUIET, _REUSING)) & (day >= _QUIET_FROM) & (day < _QUIET_TO)
    away |= (role == _GONE) & (day >= _QUIET_FROM)
    kept = np.flatnonzero(~away)
    kind = np.full(len(time), "plain", "U16")
    last = {int(customer[row]): row for row in np.flatnonzero(~away & (day < _QUIET_FROM))}
    back = np.flatnonzero(np.isin(role, (_QUIET, _REUSING)) & (day >= _QUIET_TO))
    returned, first = np.unique(customer[back], return_index=True)
    for who, row in zip(returned.tolist(), back[first].tolist(), strict=True):
        kind[row] = "returning"
        if role[row] == _REUSING and who in last:
            kind[row], identity[row] = "id_again", identity[last[who]]
    jumped = time + np.where(day >= _JUMP_AT, _JUMP, 0)
    base = _Rows(kept, jumped[kept], jumped[kept], identity[kept], kind[kept])
    lost = np.array([row for who, row in last.items() if who % 10 == _GONE], np.int64)
    # The same transaction once more, one of two hours before and one of half an hour after.
    turn = np.arange(len(lost)) % 3
    shift = np.choose(turn, (0, -2 * _HOUR, _HOUR // 2))
    names = np.where(turn == 0, identity[lost], np.char.add("after-", identity[lost]))
    arrival = time[0] // _DAY * _DAY + _ASKED_AFTER * _DAY + np.arange(len(lost)) * _SECOND
    kinds = np.full(len(lost), AFTER_EVICTION)
    return base, _Rows(lost, time[lost] + shift, arrival, names, kinds)


def _table(table: pa.Table, rows: _Rows) -> pa.Table:
    taken = table.take(pa.array(rows.source))
    for name, column in (
        ("transaction_id", pa.array(rows.identity.tolist(), pa.string())),
        ("event_time", pa.array(rows.time).cast(pa.timestamp("ms"))),
    ):
        at = taken.schema.get_field_index(name)
        taken = taken.set_column(at, taken.schema.field(at), column)
    return taken
