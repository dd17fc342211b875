"""The hash chain of a device's rows, and the signature over it."""

import hashlib
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream_scorer.edge.claims.contract import EdgeRow

_PURPOSE: Final = b"stream-scorer edge 1"
"""No other kind of signature begins with it."""


def chained(previous: bytes, device: str, row: EdgeRow) -> bytes:
    """Return the chain after a row, 32 bytes.

    It is the SHA-256 of the chain before and of the signed fields, each after its length as uint32
    (little-endian): the purpose, the device, the sequence number as uint64, SHA-256 of the value,
    the key, SHA-256 of the decision.

    Args:
        previous: The chain before the row, 32 bytes; that of the row itself is not read.
        device: The device.
        row: The row; neither its ``previous`` nor its ``signature`` is read.
    """
    fields = (
        _PURPOSE,
        device.encode(),
        row.sequence.to_bytes(8, "little"),
        hashlib.sha256(row.value).digest(),
        row.key,
        hashlib.sha256(row.decision).digest(),
    )
    told = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
    return hashlib.sha256(previous + told).digest()


def signed_row(
    device: str, sequence: int, key: bytes, value: bytes, decision: bytes, previous: bytes,
    signing_key: Ed25519PrivateKey,
) -> tuple[EdgeRow, bytes]:  # fmt: skip
    """Return a new row and the chain after it.

    Args:
        device: The device.
        sequence: Number of the row, one more than that of the row before.
        key: Key of the transaction's record.
        value: Value of the transaction's record.
        decision: The device's decision, encoded.
        previous: The chain after the row before; ``NO_CHAIN`` for the first row.
        signing_key: The device's.
    """
    row = EdgeRow(sequence, key, value, decision, previous, b"")
    chain = chained(previous, device, row)
    return replace(row, signature=signing_key.sign(chain)), chain


def is_signed(row: EdgeRow, device: str, key: Ed25519PublicKey) -> bool:
    """Whether the key's owner signed a row, with the chain that it names as ``previous``."""
    try:
        key.verify(row.signature, chained(row.previous, device, row))
    except InvalidSignature:
        return False
    return True
