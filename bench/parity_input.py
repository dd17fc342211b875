"""The input of the parity bench: simulated transactions with everything that memory stumbles on.

Some customers fall silent for longer than anything is remembered and come back; some never come
back; all clocks jump once by more than the horizon. Among the rest lie events out of order, late
within and beyond the bound, of equal times, sent again, and under an id that was used long ago.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.simulator import simulate
from stream_scorer.simulator.simulate import SCHEMA

Int64 = NDArray[np.int64]

_SECOND, _HOUR, _DAY = 1_000, 3_600_000, 86_400_000
_DAYS, _CUSTOMERS_PER_EVENT, _LEAST_CUSTOMERS, _TERMINALS = 125, 1 / 200, 100, 2_000
_QUIET_FROM, _QUIET_TO, _ASKED_AFTER = 20, 60, 57
_JUMP_AT, _JUMP = 75, 35 * _DAY
# Of ten customers one is silent for 40 days, one as long and returns with an id that it used
# before, and one stays away.
_QUIET, _REUSING, _GONE = 1, 2, 3
AFTER_EVICTION = "after_eviction"
_KINDS = {
    # share of the rows, delay of arrival, age of the event time: (from, to) in ms
    "disordered": (0.1, (0, 50 * 60 * _SECOND), (0, 0)),
    "same_time": (0.005, (0, 0), (0, 0)),
    "late_within": (0.02, (0, 0), (_SECOND, _HOUR - _SECOND)),
    "late_beyond": (0.01, (0, 0), (_HOUR + _SECOND, 9 * _DAY)),
    "duplicate": (0.01, (0, 0), (0, 0)),
    "late_duplicate": (0.01, (_SECOND, _DAY), (0, 0)),
    "old_duplicate": (0.002, (10 * _DAY, 20 * _DAY), (0, 0)),
}
_SAME_ID = frozenset({"duplicate", "late_duplicate", "old_duplicate"})


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
    def compared(self) -> NDArray[np.bool_]:
        """bool[n]: the rows whose decision must not depend on the way; see ``AFTER_EVICTION``."""
        return self.kind != AFTER_EVICTION

    def out_of_order(self) -> int:
        """Count the events that are older than one of their customer's that came before."""
        time = self.table.column("event_time").cast(pa.int64()).to_numpy()
        customers = self.table.column("customer_id").combine_chunks().dictionary_encode()
        newest = np.full(len(customers.dictionary), -1)
        count = 0
        for customer, t in zip(customers.indices.to_pylist(), time.tolist(), strict=True):
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
    """Return ``events`` rows that are to be equal, and between them some ``AFTER_EVICTION``.

    Those are events of customers who have been away for longer than the horizon and the lateness,
    with times from when they were last there. Whether their histories have left by then depends on
    the watermark of their partition, so they are told apart; nothing follows them.
    """
    customers = max(int(events * _CUSTOMERS_PER_EVENT), _LEAST_CUSTOMERS)
    table = simulate(_DAYS, customers, _TERMINALS).select(SCHEMA.names[:-2])
    base, asked = _population(table)
    drawn = np.random.default_rng(0)
    pieces = [base, asked]
    for kind, (share, delay, age) in _KINDS.items():
        chosen = np.flatnonzero(drawn.random(len(base.source)) < share)
        if kind == "disordered":
            base.arrival[chosen] += drawn.integers(*delay, len(chosen), endpoint=True)
            base.kind[chosen] = kind
            continue
        copies = base.take(chosen)
        later = drawn.integers(*delay, len(chosen), endpoint=True)
        older = drawn.integers(*age, len(chosen), endpoint=True)
        same = kind in _SAME_ID
        pieces.append(
            _Rows(
                copies.source, copies.time - older, copies.arrival + later,
                copies.identity if same else np.char.add(f"{kind}-", copies.identity),
                np.full(len(chosen), kind),
            )
        )  # fmt: skip
    rows = _Rows.join(pieces)
    rows = rows.take(np.argsort(rows.arrival, kind="stable"))
    counted = np.cumsum(rows.kind != AFTER_EVICTION)
    if counted[-1] < events:
        raise ValueError(f"{events} events are asked for, and {counted[-1]} simulated")
    rows = rows.take(np.arange(np.searchsorted(counted, events) + 1))
    return Input(_table(table, rows), rows.kind)


def _population(table: pa.Table) -> tuple[_Rows, _Rows]:
    """Return the simulated rows that are kept, and what comes of customers who have left."""
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
