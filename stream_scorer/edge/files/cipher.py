"""Encryption of a device's files at rest: AES-256-GCM, whose tag is also the checksum.

Nonces are random, 96 bits: after a power cut the same place of a file is written again with other
content, so a counter would repeat. With one key, 2**32 encryptions are safe; a device that decides
ten transactions a second needs a new key after 13 years.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream_scorer.errors import EdgeError
from stream_scorer.security.keys import read_secret

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
OVERHEAD: Final = NONCE_BYTES + TAG_BYTES
"""Bytes that encryption adds."""
_KEY_ID: Final = b"stream-scorer edge state key 1"


class Cipher:
    """Encrypts and decrypts with one key; thread-safe.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)
        self.key_id = hashlib.sha256(_KEY_ID + key).digest()[:KEY_ID_BYTES]

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """Return nonce, encrypted bytes and tag.

        Args:
            plain: What is encrypted.
            bound: What must be the same when it is decrypted; it is not in the result.
        """
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, plain, bound)

    def opened(self, sealed: bytes, bound: bytes) -> bytes | None:
        """Return what was encrypted; None if the bytes or ``bound`` are not those of ``seal``."""
        if len(sealed) < OVERHEAD:
            return None
        try:
            return self._key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except InvalidTag:
            return None


def read_state_key(path: Path) -> bytes:
    """Return the key of a device's files.

    Raises:
        EdgeError: The file does not have 32 bytes.
        SettingsError: It cannot be read, or others than its owner may read it.
    """
    key = read_secret(path, f"edge.state_key_file {path}")
    if len(key) != KEY_BYTES:
        raise EdgeError(
            f"edge.state_key_file {path}: has {len(key)} bytes, not {KEY_BYTES}",
            "name the file that `edge init` wrote",
        )
    return key
