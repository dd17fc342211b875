"""What identifies a transaction and its body, to recognise a repeat."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

_KEY_BYTES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_MARK: Final = re.compile(rb"([0-9]{1,10}):([0-9a-f]{32})")


def key_of(customer: str, transaction_id: str) -> bytes:
    """Return the 16 bytes by which the window knows a transaction.

    A customer's ids are unique, so the key is a hash of both; the length of the first part keeps
    ("ab", "c") and ("a", "bc") apart.
    """
    first = customer.encode()
    hashed = hashlib.blake2b(len(first).to_bytes(4, "big"), digest_size=_KEY_BYTES)
    hashed.update(first)
    hashed.update(transaction_id.encode())
    return hashed.digest()


def public_id(key: bytes) -> str:
    """Return a key as the last segment of ``/v1/decisions/ID``.

    >>> public_id(bytes(16))
    'AAAAAAAAAAAAAAAAAAAAAA'
    """
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def key_of_id(text: str) -> bytes | None:
    """Return the key of such a segment; None if it is not one."""
    if _ID.fullmatch(text) is None:
        return None
    try:
        key = base64.urlsafe_b64decode(f"{text}==")
    except binascii.Error:  # pragma: no cover the pattern excludes it
        return None
    # The last character has four unused bits: one spelling only.
    return key if public_id(key) == text else None


@dataclass(frozen=True, slots=True)
class BodyMark:
    """Which body a transaction has, whatever its spaces and the order of its keys.

    Attributes:
        schema_id: Of the schema that encoded it; 0 for a JSON record. Marks of different schemas
            cannot be compared.
        digest: Hash of the encoded record.
    """

    schema_id: int
    digest: bytes

    @classmethod
    def of(cls, schema_id: int, encoded: bytes) -> Self:
        """Return the mark of an encoded body."""
        return cls(schema_id, hashlib.blake2b(encoded, digest_size=_KEY_BYTES).digest())

    @classmethod
    def parsed(cls, header: bytes | None) -> Self | None:
        """Return the mark in a header; None if it is not one."""
        match = _MARK.fullmatch(header or b"")
        return cls(int(match[1]), bytes.fromhex(match[2].decode())) if match else None

    @property
    def header(self) -> bytes:
        """The mark as the value of a header."""
        return b"%d:%s" % (self.schema_id, self.digest.hex().encode())
