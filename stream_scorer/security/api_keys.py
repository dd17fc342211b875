"""API keys: what a client sends to show who it is.

A key is ``ssk_``, an id of 12 hex digits, ``_``, a secret of 43 letters and digits (256 random
bits), and the CRC-32 of all before it in 8 hex digits. The checksum protects nothing: it shows a
typing mistake, and lets a scanner for leaked secrets find keys without false alarms.

Only the SHA-256 of a key is stored. A slow hash such as Argon2 makes guessing expensive for
passwords, which people choose from few. A secret of 256 random bits cannot be guessed, however fast
the hash is, and a slow one would let every request cost milliseconds, also one with a wrong key.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "ssk_"
KEY_CHARACTERS: Final = 68
"""Length of a key."""
_ALPHABET: Final = string.digits + string.ascii_letters
_ID_BYTES, _SECRET_BITS, _SECRET_CHARACTERS, _CHECKSUM = 6, 256, 43, 8
_KEY: Final = re.compile(r"ssk_([0-9a-f]{12})_[0-9A-Za-z]{43}[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made.

    Attributes:
        text: The key; a secret that is shown once and never stored.
        id: Its id, which is not a secret.
        digest: Its SHA-256, 32 bytes.
    """

    text: str
    id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewKey({self.id})"


def generate_key() -> NewKey:
    """Return a new random key."""
    number = secrets.randbits(_SECRET_BITS)
    secret = ""
    for _ in range(_SECRET_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        secret += _ALPHABET[digit]
    identity = secrets.token_hex(_ID_BYTES)
    text = f"{PREFIX}{identity}_{secret}"
    text += _checksum(text)
    return NewKey(text, identity, digest_of(text))


def key_id_of(text: str) -> str | None:
    """Return the id of a key; None if the text is not a key, or its checksum is wrong.

    >>> key_id_of("ssk_0123456789ab_" + 51 * "0") is None
    True
    """
    found = _KEY.fullmatch(text)
    if found is None or _checksum(text[:-_CHECKSUM]) != text[-_CHECKSUM:]:
        return None
    return found[1]


def digest_of(text: str) -> bytes:
    """Return the SHA-256 of a key, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
