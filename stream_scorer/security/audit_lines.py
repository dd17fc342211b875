"""A line of the audit log: one action in canonical JSON, chained to the line before.

A line's hash is the sha256 of all its other fields: its number, the hash of the line before, the
action, and the signature if there is one. The signature is Ed25519 over the same without signature
and hash, so it covers the complete log up to there.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream_scorer.security.canonical_json import canonical, parse
from stream_scorer.security.keys import key_id

FORMAT = 1
BEGINNING = "0" * 64
"""The first line's hash of the line before."""
BYTES_MOST = 64 * 1024
TORN = "audit.torn"
"""The action of a line that records bytes left by a crash after the line before."""

_SIGNED = b"stream-scorer audit line 1\n"
"""Prefix of the signed bytes, so that a signature is not valid for another use of the key."""
_HEX = 64
_KEYS = frozenset(
    {
        "format", "number", "time", "actor", "action", "subject", "details", "previous", "key_id",
        "hash",
    }
)  # fmt: skip


class BadLineError(ValueError):
    """Bytes that are not a line of ours; the message is the reason.

    Attributes:
        torn: Whether they may be the beginning of a line that a crash cut off.
    """

    def __init__(self, why: str, *, torn: bool = False) -> None:
        super().__init__(why)
        self.torn = torn


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done.

    Attributes:
        actor: The person who did it: ``user:NAME``, or ``key:ID`` of the key that was used.
        action: What, as ``model.sign``.
        subject: To what, as ``fraud:1.1.1``.
        details: Further values that JSON can represent.
    """

    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the log.

    Attributes:
        number: Consecutive, from 1.
        time: When, UTC, ISO 8601 with milliseconds.
        deed: What was done.
        previous: Hash of the line before; ``BEGINNING`` for the first.
        hash: Its own.
        key_id: Of the key that signed it; empty if it is not signed.
        data: Its bytes, without the line's end.
    """

    number: int
    time: str
    deed: Deed
    previous: str
    hash: str
    key_id: str
    data: bytes

    def as_record(self) -> dict[str, Any]:
        """Return it as plain data, without the signature's bytes."""
        return {
            "number": self.number, "time": self.time, "actor": self.deed.actor,
            "action": self.deed.action, "subject": self.deed.subject,
            "details": dict(self.deed.details), "key_id": self.key_id, "hash": self.hash,
        }  # fmt: skip


def write(
    deed: Deed, number: int, previous: str, time: datetime, key: Ed25519PrivateKey | None = None
) -> AuditLine:
    """Return the next line of a log.

    Args:
        deed: What was done.
        number: Its number.
        previous: Hash of the line before.
        time: When; with a time zone.
        key: Signs it.

    Raises:
        ValueError: The line would be larger than 64 KiB, or its details are not unambiguous JSON.
    """
    stamp = time.astimezone(UTC).isoformat(timespec="milliseconds")
    content: dict[str, Any] = {
        "format": FORMAT, "number": number, "time": stamp, "actor": deed.actor,
        "action": deed.action, "subject": deed.subject, "details": dict(deed.details),
        "previous": previous, "key_id": key_id(key.public_key()) if key else "",
    }  # fmt: skip
    if key is not None:
        content["signature"] = base64.b64encode(key.sign(_SIGNED + canonical(content))).decode()
    content["hash"] = hashlib.sha256(canonical(content)).hexdigest()
    data = canonical(content)
    if len(data) >= BYTES_MOST:
        raise ValueError(f"a line of {len(data)} bytes: at most {BYTES_MOST - 1} are one")
    return read(data)


def read(data: bytes) -> AuditLine:
    """Read a line and check it against its own hash.

    Args:
        data: Without the line's end.

    Raises:
        BadLineError: It is not a line, is not canonical, or its hash does not match.
    """
    try:
        return _read(data)
    except BadLineError as error:
        if error.torn and _is_line(data[:-1]):
            # A crash leaves the beginning of a line, never all of it with another end.
            raise BadLineError("is a complete line, but does not end with a line feed") from None
        raise


def _is_line(data: bytes) -> bool:
    try:
        _read(data)
    except BadLineError:
        return False
    return True


def _read(data: bytes) -> AuditLine:
    if len(data) >= BYTES_MOST:
        raise BadLineError("is too long for a line")
    try:
        content = parse(data)
    except ValueError as error:
        raise BadLineError(f"is not a line of an audit log: {error}", torn=True) from None
    if content.keys() - {"signature"} != _KEYS:
        raise BadLineError("has other fields than a line of an audit log")
    if content["format"] != FORMAT:
        raise BadLineError(f"is of format {content['format']!r}, which this release does not know")
    texts = ("time", "actor", "action", "subject", "previous", "hash", "key_id", "signature")
    if (
        any(type(content.get(name, "")) is not str for name in texts)
        or type(content["number"]) is not int
        or not isinstance(content["details"], dict)
        or bool(content["key_id"]) != ("signature" in content)
        or len(content["previous"]) != _HEX
    ):
        raise BadLineError("has a field of another kind than a line of an audit log")
    if canonical(content) != data:
        raise BadLineError("is not written as it was")
    told = content.pop("hash")
    if hashlib.sha256(canonical(content)).hexdigest() != told:
        raise BadLineError("is not what its hash was taken of")
    deed = Deed(content["actor"], content["action"], content["subject"], content["details"])
    return AuditLine(
        content["number"], content["time"], deed, content["previous"], told, content["key_id"],
        data,
    )  # fmt: skip


def signed_by(line: AuditLine, key: Ed25519PublicKey) -> bool:
    """Return whether a line that names a key has its signature."""
    content = parse(line.data)
    content.pop("hash")
    try:
        raw = base64.b64decode(content.pop("signature"), validate=True)
        key.verify(raw, _SIGNED + canonical(content))
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True
