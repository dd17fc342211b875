"""A MAC on every record of a state store: who may write there, but has no key, can forge none.

A sealed value is, little-endian::

    "SMAC", 1 uint16, key's id 8 bytes, HMAC-SHA256 32 bytes, the value itself

It is the outermost layer: what a value means, and in which format it is, is the business of what
stands behind. The MAC covers a name of this use, the record's key and the whole value, so a value
is no other key's, and no other group's or topic's, whose names the key holds. An earlier value of
the same key is still one that was sealed: it costs a longer replay, as its label says what it
knows.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stream_scorer.errors import SettingsError
from stream_scorer.security.keys import read_secret

_PREFIX = struct.Struct("<4sH8s32s")
_MAGIC = b"SMAC"
_VERSION = 1
_USE = b"stream-scorer state record 1\n"
_LENGTH = struct.Struct("<I")
_KEY_BYTES_LEAST = 32


class SealError(ValueError):
    """A record's MAC is missing or wrong."""


@dataclass(frozen=True, slots=True)
class RecordMac:
    """The keys of a state store.

    Attributes:
        keys: By id, the secrets; what is written is sealed with the first.
        required: Whether a record without a MAC is refused; one that is wrong always is.
    """

    keys: Mapping[bytes, bytes] = field(default_factory=dict)
    required: bool = True

    def close(self, key: bytes, value: bytes) -> bytes:
        """Return the value of a record as it is written; as it is without keys.

        Args:
            key: The record's.
            value: What it is to hold.

        >>> open_seal = RecordMac()
        >>> open_seal.close(b"g/t/0/0/0", b"SCKP")
        b'SCKP'
        """
        for number, secret in self.keys.items():
            mac = _mac(secret, key, value)
            return _PREFIX.pack(_MAGIC, _VERSION, number, mac) + value
        return value

    def open(self, key: bytes, value: bytes) -> bytes:
        """Return the value inside of a record that was read.

        Without keys nothing is checked: a sealed value is taken like another.

        Raises:
            SealError: The MAC is missing, wrong, or made with a key that is not known.
        """
        if not self.keys:
            return bare(value)
        if not value.startswith(_MAGIC):
            if self.required:
                raise SealError("it carries no MAC, and state.mac_key_file is set")
            return value
        if len(value) < _PREFIX.size:
            raise SealError("its MAC is cut off")
        _, version, number, mac = _PREFIX.unpack_from(value)
        if version != _VERSION:
            raise SealError(f"its MAC is of version {version}; this release knows {_VERSION}")
        secret = self.keys.get(number)
        if secret is None:
            raise SealError(f"its MAC was made with the key {number.hex()}, which is not known")
        inside = value[_PREFIX.size :]
        if not hmac.compare_digest(mac, _mac(secret, key, inside)):
            raise SealError("its MAC is wrong: a client without the key wrote it")
        return inside


OPEN = RecordMac()
"""No keys: nothing is sealed, and nothing is checked."""


def bare(value: bytes) -> bytes:
    """Return the value inside of a record, whose MAC is not looked at.

    >>> bare(b"SCKP"), bare(b"SMAC" + bytes(42) + b"SCKP")
    (b'SCKP', b'SCKP')
    """
    return value[_PREFIX.size :] if value.startswith(_MAGIC) else value


def read_seal(path: Path | None, *, required: bool) -> RecordMac:
    """Return the keys of a file; none where no file is named.

    Args:
        path: One key a line, hex or base64 of 32 bytes or more: the first seals, all open.
        required: As in :class:`RecordMac`.

    Raises:
        SettingsError: The file cannot be read, others may read it, or it holds no such key.
    """
    if path is None:
        return OPEN
    what = f"setting state.mac_key_file: {path}"
    return RecordMac(dict(_keys(read_secret(path, what).split(), what)), required)


def _keys(words: Iterable[bytes], what: str) -> list[tuple[bytes, bytes]]:
    found = []
    for word in words:
        secret = _secret(word)
        if secret is None or len(secret) < _KEY_BYTES_LEAST:
            raise SettingsError(
                f"{what}: holds a line that is not the hex or base64 of 32 bytes or more",
                "make one: openssl rand -hex 32",
            )
        found.append((hashlib.sha256(_USE + secret).digest()[:8], secret))
    if not found:
        raise SettingsError(f"{what}: holds no key", "make one: openssl rand -hex 32")
    return found


def _secret(word: bytes) -> bytes | None:
    try:
        return bytes.fromhex(word.decode("ascii"))
    except ValueError:
        pass
    try:
        return base64.b64decode(word, validate=True)
    except binascii.Error:
        return None


def _mac(secret: bytes, key: bytes, value: bytes) -> bytes:
    code = hmac.new(secret, _USE + _LENGTH.pack(len(key)) + key, hashlib.sha256)
    code.update(value)
    return code.digest()
