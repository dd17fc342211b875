"""The demo's input: transactions whose behaviour changes half-way, and every kind of bad record."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode_program import HEADER_BYTES
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.demo.city import DAY_MS, sent_days
from stream_scorer.ports import Int64
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.registry.sources import SchemaSource, reader_schema

_CHANGED_OF_TEN: Final = 4
_FACTOR: Final = 2
_NO_SCHEMA: Final = b"\0\x7f\xff\xff\xff"
_AMOUNT_MINOR: Final = 10**15
_LONG_TEXT: Final = "x" * 5_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """n labelled transactions in time order.

    Attributes:
        rows: The simulator's columns; the labels are the simulator's.
        change_ms: From this event time on, four customers of ten spend twice as much.
        changed: bool[n], which amounts were doubled. The simulator labels each amount over 220 as a
            fraud, but does not relabel doubled amounts: a genuine one stays genuine.
    """

    rows: pa.Table
    change_ms: int
    changed: NDArray[np.bool_]

    @property
    def times(self) -> Int64:
        """int64[n], event times, ms since the epoch."""
        return _int64(self.rows, "event_time")


def traffic(days: int) -> Traffic:
    """Return ``days`` simulated days, at most 28; behaviour changes at noon, half-way.

    At midnight it would change in the quietest hours, and each has few transactions.
    """
    rows = sent_days(days)
    times = _int64(rows, "event_time")
    change_ms = int(times[0]) // DAY_MS * DAY_MS + days // 2 * DAY_MS + DAY_MS // 2
    customers = rows["customer_id"].cast(pa.int64()).to_numpy()
    changed = (times >= change_ms) & (customers % 10 < _CHANGED_OF_TEN)
    amounts = _int64(rows, "amount_minor")
    return Traffic(
        _replaced(rows, "amount_minor", pa.array(np.where(changed, _FACTOR * amounts, amounts))),
        change_ms,
        changed,
    )


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that must become a dead letter.

    Attributes:
        kind: What is wrong with it, in words.
        reason: The expected reject reason.
        key: Its key, a customer's.
        value: Its payload.
    """

    kind: str
    reason: RejectReason
    key: bytes
    value: bytes | None


class Spoiler:
    """Makes one bad record of each kind from a good transaction that was sent just before.

    Args:
        encode: Encodes good rows.
        registry: Contains a schema that is not a transaction's.
        now_ms: Today, ms since the epoch.
    """

    def __init__(self, encode: TransactionEncoder, registry: SchemaSource, now_ms: int) -> None:
        self._encode = encode
        labels = registry.id_for("labels-value", reader_schema("label.v1"))
        self._labels = b"\0" + labels.to_bytes(4, "big")
        self._now_ms = now_ms
        self._made = 0
        self.sent: Counter[str] = Counter()

    def kinds(self) -> Iterator[Callable[[pa.Table], Malformed]]:
        """Yield a maker for each kind; it takes a table of one row."""
        reasons = RejectReason
        spoiled: list[tuple[str, RejectReason, Callable[[bytes], bytes | None]]] = [
            ("null value", reasons.EMPTY, lambda _: None),
            ("no bytes", reasons.EMPTY, lambda _: b""),
            ("another magic byte", reasons.FRAMING, lambda v: b"\x07" + v[1:]),
            ("shorter than its frame", reasons.FRAMING, lambda v: v[:3]),
            ("unknown schema id", reasons.UNKNOWN_SCHEMA, lambda v: _NO_SCHEMA + _body(v)),
            ("a label's schema id", reasons.INCOMPATIBLE_SCHEMA, lambda v: self._labels + _body(v)),
            ("truncated", reasons.MALFORMED, lambda v: v[:-4]),
            ("bytes after the record", reasons.TRAILING_BYTES, lambda v: v + b"\0\0"),
        ]
        changed: list[tuple[str, RejectReason, Mapping[str, Any]]] = [
            ("text of 5,000 letters", reasons.TOO_LARGE, {"terminal_id": _LONG_TEXT}),
            ("no customer", reasons.ID_EMPTY, {"customer_id": ""}),
            ("negative amount", reasons.AMOUNT_NEGATIVE, {"amount_minor": -1}),
            ("ten trillion", reasons.AMOUNT_TOO_LARGE, {"amount_minor": _AMOUNT_MINOR}),
            ("currency XXX", reasons.CURRENCY, {"currency": "XXX"}),
            ("before 1970", reasons.TIME_INVALID, {"event_time": -1}),
            ("tomorrow's", reasons.TIME_AHEAD, {"event_time": self._now_ms + DAY_MS}),
            ("sent a second time", reasons.DUPLICATE, {}),
        ]
        for kind, reason, spoil in spoiled:
            yield partial(self._make, kind, reason, {}, spoil)
        for kind, reason, changes in changed:
            yield partial(self._make, kind, reason, changes, bytes)

    def _make(
        self,
        kind: str,
        reason: RejectReason,
        changes: Mapping[str, Any],
        spoil: Callable[[bytes], bytes | None],
        row: pa.Table,
    ) -> Malformed:
        if reason is not RejectReason.DUPLICATE:
            self._made += 1
            row = _with(row, {"transaction_id": f"bad-{self._made}", **changes})
        key = row["customer_id"][0].as_py().encode()
        value = self._encode(row.combine_chunks().to_batches()[0])[0]
        self.sent[reason.value] += 1
        return Malformed(kind, reason, key, spoil(bytes(value)))


def _body(value: bytes) -> bytes:
    return value[HEADER_BYTES:]


def _int64(table: pa.Table, name: str) -> Int64:
    return np.asarray(table[name].cast(pa.int64()).to_numpy())


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values.cast(table.schema.field(at).type))


def _with(row: pa.Table, changes: Mapping[str, Any]) -> pa.Table:
    for name, value in changes.items():
        row = _replaced(row, name, pa.array([value]))
    return row
