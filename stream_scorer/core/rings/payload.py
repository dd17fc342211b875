"""The bytes of a bucket: all its rings, as a pure function of their content.

    version         1 byte
    fields          1 byte: how many; for each field 1 byte: length, and its name in ASCII
    rings           see below
    CRC-32          4 bytes, little-endian, of everything before it

A number is a varint; a signed one is encoded as zigzag. Rings are in the order of (hash, bytes) of
the customer's id:

    number of rings
    for each ring: length of the id, the id's bytes, newest accepted event time (ms, signed),
              number of events; then column by column, newest event first: ms back from the previous
              entry (the first: from the newest time), amounts (minor units, signed), hashes of the
              transaction ids (8 bytes, little-endian), and for each field its 64-bit values
              likewise

Where the bytes are stored, and when, is up to ``state.checkpoints``.
"""

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.dumping import (
    CUT_OFF,
    ELSEWHERE,
    IMPOSSIBLE,
    PRESENT,
    SOUND,
    UNORDERED,
    check_rings,
    dump_rings,
    most_bytes,
    ordered_slots,
)
from stream_scorer.core.kernels.store import RingStore
from stream_scorer.core.rings.storage import new_store, shape_of

Int64 = NDArray[np.int64]

VERSION = 1
_CHECKSUM_BYTES = 4
_FAULTS = {
    CUT_OFF: "its lengths do not fit its size",
    IMPOSSIBLE: "it holds an impossible time",
    UNORDERED: "its customers are not in order",
    PRESENT: "a customer is in the rings already",
    ELSEWHERE: "it holds a customer of another bucket",
}
ANY_BUCKET = -1
"""Accepts customers of every bucket, as in files of events, which do not have one bucket only."""


class PayloadRings(NamedTuple):
    """The checked rings of a payload.

    Attributes:
        data: uint8[b], the payload without its checksum.
        start: Where in it the rings begin.
        fields: Names of the stored fields, in the order of the payload's columns.
    """

    data: NDArray[np.uint8]
    start: int
    fields: tuple[str, ...]


def write(store: RingStore, shape: Int64, fields: tuple[str, ...], bucket: int) -> bytes:
    """Return the rings of a bucket as bytes; no bytes if it has no customer.

    Args:
        store: The partition's arrays.
        shape: As ``storage.shape_of`` returns it.
        fields: Names of the stored fields.
        bucket: 0 … BUCKETS-1.
    """
    order = ordered_slots(store, bucket)
    if not len(order):
        return b""
    names = b"".join(bytes([len(name)]) + name.encode("ascii") for name in fields)
    header = bytes([VERSION, len(fields)]) + names
    out = np.empty(most_bytes(store, shape, order), np.uint8)
    written = dump_rings(store, shape, order, out)
    body = header + out[:written].tobytes()
    return body + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little")


def read(
    store: RingStore, payload: bytes, *, checked: bool = False, bucket: int = ANY_BUCKET
) -> PayloadRings:
    """Check a payload, also against the rings of the store; nothing is changed.

    Every length is compared with the bytes that are left before memory is allocated for it. Every
    ring is read in full, so that the kernels that load it need not check again.

    Args:
        store: The partition's arrays.
        payload: From ``write``, of this version.
        checked: Whether the caller has verified that these are the bytes that were written, so that
            their checksum is not computed again.
        bucket: The only bucket whose customers it may contain.

    Raises:
        ValueError: The bytes are damaged or of another version, or contain a customer who is in the
            store already or belongs to another bucket.
    """
    if len(payload) < 2 + _CHECKSUM_BYTES:
        raise ValueError("bucket: the bytes are cut off")
    if payload[0] != VERSION:
        raise ValueError(f"bucket: version {payload[0]} is not known; known: {VERSION}")
    body = payload[:-_CHECKSUM_BYTES]
    if not checked and zlib.crc32(body) != int.from_bytes(payload[-_CHECKSUM_BYTES:], "little"):
        raise ValueError("bucket: the bytes are damaged: the checksum does not match")
    fields, start = field_names(body)
    data = np.frombuffer(body, np.uint8)
    fault = check_rings(store, data, start, len(data), len(fields), bucket)
    if fault != SOUND:
        raise ValueError(f"bucket: {_FAULTS[fault]}")
    return PayloadRings(data, start, fields)


def sound(payload: bytes) -> PayloadRings:
    """Check a payload without a store.

    Raises:
        ValueError: As for :func:`read`.
    """
    return read(new_store(shape_of(1, 0)), payload)


def field_names(body: bytes) -> tuple[tuple[str, ...], int]:
    """Return the names of the stored fields, and the place after the last one.

    Args:
        body: A payload, or the beginning of one.

    Raises:
        ValueError: They are cut off or not ASCII, or a name occurs twice.
    """
    names: list[str] = []
    at = 2
    for _ in range(body[1] if len(body) > 1 else 0):
        length = body[at] if at < len(body) else 0
        name = body[at + 1 : at + 1 + length]
        if not name or len(name) < length or not name.isascii() or name.decode() in names:
            raise ValueError("bucket: the names of its fields are damaged")
        names.append(name.decode())
        at += 1 + length
    return tuple(names), at
