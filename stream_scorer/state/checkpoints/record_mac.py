"""A MAC on every record of a state store, so that a writer without a key cannot forge records.

A value with a MAC is, little-endian::

    "SMAC", 1 uint16, key's id 8 bytes, HMAC-SHA256 32 bytes, the inner value

The MAC is the outermost layer, independent of the inner value's meaning and format. It covers a
name of this use, the record's key and the complete inner value. The key contains group and topic,
so a value is not valid under another key, group or topic. An earlier value of the same key is
still valid. Restoring it costs only a longer replay, because its label states its input offset.
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
    """The MAC keys of a state store.

    Attributes:
        keys: The secrets by id; records are written with the first.
        required: Whether a record without a MAC is refused; a wrong MAC always is.
    """

    keys: Mapping[bytes, bytes] = field(default_factory=dict)
    required: bool = True

    def close(self, key: bytes, value: bytes) -> bytes:
        """Return a record's value with its MAC; without keys, the value itself.

        Args:
            key: The record's key.
            value: The inner value.

        >>> open_seal = RecordMac()
        >>> open_seal.close(b"g/t/0/0/0", b"SCKP")
        b'SCKP'
        """
        for number, secret in self.keys.items():
            mac = _mac(secret, key, value)
            return _PREFIX.pack(_MAGIC, _VERSION, number, mac) + value
        return value

    def open(self, key: bytes, value: bytes) -> bytes:
        """Check a record that was read, and return its inner value.

        Without keys nothing is checked: the inner value is returned with or without a MAC.

        Raises:
            SealError: The MAC is missing, wrong, or made with an unknown key.
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
"""No keys: values get no MAC, and nothing is checked."""


def bare(value: bytes) -> bytes:
    """Return the inner value of a record without checking its MAC.

    >>> bare(b"SCKP"), bare(b"SMAC" + bytes(42) + b"SCKP")
    (b'SCKP', b'SCKP')
    """
    return value[_PREFIX.size :] if value.startswith(_MAGIC) else value


def read_seal(path: Path | None, *, required: bool) -> RecordMac:
    """Return the keys of a file; no keys without a file.

    Args:
        path: One key per line, hex or base64 of 32 bytes or more: the first writes, all read.
        required: As in :class:`RecordMac`.

    Raises:
        SettingsError: The file cannot be read, others may read it, or it contains no valid key.
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
