"""A bucket's payload as columns: for the commands that show, compare, export and move rings.

The scorer itself loads payloads into its rings; see ``core.rings.payload`` for the format.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import allocating
from stream_scorer.core.rings import payload as bucket_payload

Int64 = NDArray[np.int64]
_CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class CustomerColumns:
    """c customers with e events, in the order of the payload, each ring's oldest event first.

    Attributes:
        customers: c ids, UTF-8.
        first: int64[c + 1], customer i has the events ``first[i]`` to ``first[i + 1]``.
        newest: int64[c], newest accepted event time, ms.
        time: int64[e], ms.
        amount: int64[e], minor units.
        hash: uint64[e], of the transaction id.
        fields: By name, int64[e]: the further stored fields.
        raw: c byte strings, each ring as the payload holds it.
        header: The bytes before the rings.
    """

    customers: list[bytes]
    first: Int64
    newest: Int64
    time: Int64
    amount: Int64
    hash: NDArray[np.uint64]
    fields: dict[str, Int64]
    raw: list[bytes]
    header: bytes

    def events(
        self, since: int, fields: Mapping[str, int] | None = None
    ) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        """Yield, by customer, the events newer than ``since`` in a form that can be compared.

        Args:
            since: Event time, ms.
            fields: The further fields that count, each from after its event time in ms; None: all.
        """
        further = dict.fromkeys(self.fields, since) if fields is None else fields
        columns = [self.time, self.amount, self.hash]
        columns += [
            np.where(self.time > after, self.fields[name], 0) for name, after in further.items()
        ]
        for number, customer in enumerate(self.customers):
            start, end = self.first[number], self.first[number + 1]
            start += np.searchsorted(self.time[start:end], since, side="right")
            if start < end:
                yield customer, tuple(column[start:end].tobytes() for column in columns)

    def payload(self, customers: list[int]) -> bytes:
        """Return a payload of only the given customers (their numbers, ascending)."""
        if not customers:
            return b""
        body = self.header + _varint(len(customers)) + b"".join(self.raw[i] for i in customers)
        return body + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little")


class Events(NamedTuple):
    """n remembered events, customer after customer.

    Attributes:
        customers: n ids.
        time: int64[n], ms; within a customer ascending.
        amount: int64[n], minor units.
        hash: uint64[n], of the transaction id.
        fields: By name, int64[n].
    """

    customers: pa.Array
    time: Int64
    amount: Int64
    hash: NDArray[np.uint64]
    fields: dict[str, Int64]


def united(
    columns: Sequence[CustomerColumns], customers: Sequence[Sequence[tuple[int, int]]]
) -> Events:
    """Return the events of customers with several rings, each customer's ordered by time.

    Within a ring, events of the same millisecond are in order of arrival. Between two rings that
    order is unknown: the order of the rings decides.

    Args:
        columns: Payloads with the same fields.
        customers: For each customer its rings: (number of the payload, number in the payload).
    """
    names = list(next((each.fields for each in columns if each.customers), {}))
    rows, pieces = [], []
    for number, rings in enumerate(customers):
        piece = np.concatenate([_columns(columns[at], row, names) for at, row in rings], axis=1)
        pieces.append(piece[:, np.argsort(piece[0], kind="stable")])
        rows.append(np.full(piece.shape[1], number))
    whole = np.ascontiguousarray(np.concatenate(pieces, axis=1))
    ids = [columns[rings[0][0]].customers[rings[0][1]].decode() for rings in customers]
    return Events(
        pa.array(ids).take(pa.array(np.concatenate(rows))),
        whole[0], whole[1], whole[2].view(np.uint64), dict(zip(names, whole[3:], strict=True)),
    )  # fmt: skip


def _columns(columns: CustomerColumns, row: int, names: Sequence[str]) -> Int64:
    """Return int64[3 + fields, events] of one ring."""
    own = slice(columns.first[row], columns.first[row + 1])
    found = [columns.time, columns.amount, columns.hash.view(np.int64)]
    return np.array([column[own] for column in (*found, *(columns.fields[n] for n in names))])


def stored_fields(payload: bytes) -> tuple[str, ...]:
    """Return the names of the further stored fields of a payload's rings.

    Raises:
        ValueError: They are damaged.
    """
    return bucket_payload.field_names(payload)[0]


def columns_of(payload: bytes) -> CustomerColumns:
    """Read a payload.

    Raises:
        ValueError: It is damaged or of another version; its lengths are not trusted then.
    """
    if not payload:
        none = np.empty(0, np.int64)
        return CustomerColumns([], np.zeros(1, np.int64), none, none, none, none.view(np.uint64),
                           {}, [], b"")  # fmt: skip
    # The kernels below do not check: they only get payloads that passed this check.
    rings = bucket_payload.sound(payload)
    data, at, names = rings.data, rings.start, rings.fields
    body = payload[:-_CHECKSUM_BYTES]
    customers, events = (int(each) for each in _count(data, at, len(names)))
    key = np.empty((customers, 2), np.int64)
    place = np.empty(customers + 1, np.int64)
    first = np.zeros(customers + 1, np.int64)
    newest = np.empty(customers, np.int64)
    columns = np.empty((3 + len(names), events), np.int64)
    _fill(data, at, key, place, first, newest, columns)
    return CustomerColumns(
        [body[start : start + length] for start, length in key.tolist()], first, newest,
        columns[0], columns[1], columns[2].view(np.uint64),
        dict(zip(names, columns[3:], strict=True)),
        [body[start:end] for start, end in zip(place[:-1].tolist(), place[1:].tolist(),
                                               strict=True)],
        body[:at],
    )  # fmt: skip


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@allocating
def _read(data, at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 numba infers them
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < len(data):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
        if byte < np.uint64(0x80):
            return np.int64(value), at
    return np.int64(0), len(data) + 1


@allocating
def _unzigzag(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 numba infers them
    return np.int64(np.uint64(value) >> np.uint64(1)) ^ -(value & np.int64(1))


@allocating
def _count(data, at, fields):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 numba infers them
    """Return (customers, events) of valid rings."""
    customers, at = _read(data, at)
    events = np.int64(0)
    for _ in range(customers):
        length, at = _read(data, at)
        _, at = _read(data, at + length)
        count, at = _read(data, at)
        for _ in range(2 * count):
            _, at = _read(data, at)
        at += 8 * count * (1 + fields)
        events += count
    return customers, events


@allocating
def _fill(data, at, key, place, first, newest, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 numba infers them
    """Fill the columns; a payload holds each ring's newest event first."""
    customers, at = _read(data, at)
    for i in range(customers):
        place[i] = at
        length, at = _read(data, at)
        key[i, 0] = at
        key[i, 1] = length
        coded, at = _read(data, at + length)
        newest[i] = _unzigzag(coded)
        count, at = _read(data, at)
        start = first[i]
        first[i + 1] = start + count
        time = newest[i]
        for c in range(count - 1, -1, -1):
            step, at = _read(data, at)
            time -= step
            columns[0, start + c] = time
        for c in range(count - 1, -1, -1):
            coded, at = _read(data, at)
            columns[1, start + c] = _unzigzag(coded)
        for column in range(2, len(columns)):
            for c in range(count - 1, -1, -1):
                word = np.uint64(0)
                for b in range(8):
                    word |= np.uint64(data[at + b]) << np.uint64(8 * b)
                columns[column, start + c] = np.int64(word)
                at += 8
    place[customers] = at
