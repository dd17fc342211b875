"""A decided transaction as log and outbox keep it: the signed row, and what the rings were given.

So a restart folds events as they were folded, whatever release reads them: neither the schema nor
the plan is needed again.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.fields import MISSING
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.rings.rings import RingColumns
from stream_scorer.edge.claims.contract import CHAIN_BYTES, SIGNATURE_BYTES, EdgeRow
from stream_scorer.errors import EdgeError

DIGEST_BYTES: Final = 16
GROUP_BYTES: Final = 256 * 1024
"""Bytes of a frame's events above which the next event begins another frame."""
_HEAD: Final = struct.Struct("<QQqqqHIIIB")
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class DecidedEvent:
    """A transaction that the device decided.

    Attributes:
        row: The signed row.
        customer: The customer.
        transaction: Hash of the transaction's id.
        event_time: ms since the epoch.
        amount: Minor units.
        kept: What the rings keep of further fields.
        noted: The device's clock when it was decided, ms since the epoch.
        digest: Hash of the request, by which a repeat is recognised, 16 bytes.
    """

    row: EdgeRow
    customer: str
    transaction: int
    event_time: int
    amount: int
    kept: tuple[int, ...]
    noted: int
    digest: bytes

    def packed(self) -> bytes:
        """Return the event as bytes."""
        row, customer = self.row, self.customer.encode()
        head = _HEAD.pack(
            row.sequence, self.transaction, self.event_time, self.amount, self.noted,
            len(customer), len(row.key), len(row.value), len(row.decision), len(self.kept),
        )  # fmt: skip
        kept = struct.pack(f"<{len(self.kept)}q", *self.kept)
        return b"".join(
            (
                head, self.digest, row.signature, row.previous, kept, customer,
                row.key, row.value, row.decision,
            )
        )  # fmt: skip

    @classmethod
    def unpacked(cls, data: bytes) -> "DecidedEvent":
        """Return the event of bytes that this program wrote.

        Raises:
            EdgeError: The bytes are not an event.
        """
        try:
            return cls._unpacked(data)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise EdgeError("an event of the device is damaged", "restore the device") from error

    @classmethod
    def _unpacked(cls, data: bytes) -> "DecidedEvent":
        sequence, transaction, time, amount, noted, *lengths = _HEAD.unpack_from(data)
        sizes = (DIGEST_BYTES, SIGNATURE_BYTES, CHAIN_BYTES, 8 * lengths[4], *lengths[:4])
        at, parts = _HEAD.size, []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        if at != len(data):
            raise ValueError("its lengths do not fit its size")
        digest, signature, previous, kept, customer, key, value, decision = parts
        return cls(
            EdgeRow(sequence, key, value, decision, previous, signature), customer.decode(),
            transaction, time, amount, struct.unpack(f"<{lengths[4]}q", kept), noted, digest,
        )  # fmt: skip


def packed_group(events: Iterable[bytes]) -> bytes:
    """Return packed events as the body of one frame."""
    return b"".join(_LENGTH.pack(len(event)) + event for event in events)


def groups_of(events: Iterable[DecidedEvent]) -> Iterator[tuple[int, bytes]]:
    """Yield events as bodies of frames, each with the number of its last row."""
    group: list[bytes] = []
    last = size = 0
    for event in events:
        packed = event.packed()
        if group and size + len(packed) > GROUP_BYTES:
            yield last, packed_group(group)
            group, size = [], 0
        group.append(packed)
        last, size = event.row.sequence, size + len(packed)
    if group:
        yield last, packed_group(group)


def unpacked_group(body: bytes) -> Iterator[DecidedEvent]:
    """Yield the events of a frame.

    Raises:
        EdgeError: The body is not that of a frame.
    """
    at = 0
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        yield DecidedEvent.unpacked(body[at : at + length])
        at += length


def ring_columns(
    events: Sequence[DecidedEvent], stored: Sequence[str], fields: Sequence[str]
) -> RingColumns:
    """Return what the rings read of events.

    Args:
        events: n events.
        stored: Names of the further fields that the events have.
        fields: Names of the further fields that the rings keep.
    """
    kept = np.full((len(fields), len(events)), MISSING, np.int64)
    table = np.array([event.kept for event in events], np.int64).reshape(len(events), len(stored))
    for number, name in enumerate(fields):
        if name in stored:
            kept[number] = table[:, stored.index(name)]
    customers = pa.array([event.customer for event in events], pa.utf8())
    return RingColumns(
        customers,
        hashes_of(customers),
        np.array([event.transaction for event in events], np.uint64),
        np.array([event.event_time for event in events], np.int64),
        np.array([event.amount for event in events], np.int64),
        kept,
    )
