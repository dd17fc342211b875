"""Data that only one device can read: HPKE (RFC 9180) to its X25519 key.

The suite is X25519, HKDF-SHA256 and AES-256-GCM, in base mode. Sealing does not show who sealed:
whoever has the public key can do it, so what is sealed is also signed, or named by something
signed. Data sealed for one purpose cannot be opened for another.

A private key is PKCS 8 in PEM, readable only by its owner. A public key is its 32 bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from stream_scorer.durable_files import PRIVATE
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.security.keys import read_secret, write_key_file

PUBLIC_BYTES: Final = 32
_MAGIC: Final = b"SSSEAL1\0"
_PREFIX: Final = b"stream-scorer sealed 1\0"
"""Begins the context of each sealing, so that nothing else that is sealed to the key opens here."""
_OVERHEAD: Final = PUBLIC_BYTES + 16
"""Bytes of the encapsulated key and of the tag."""
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The private key of a device, which opens what is sealed to it.

    Attributes:
        public: The public key, 32 bytes.
    """

    _key: X25519PrivateKey
    public: bytes

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return the data that was sealed to this key.

        Args:
            sealed: From :func:`seal`.
            purpose: The purpose that it was sealed for.

        Raises:
            EdgeError: It is altered or cut, for another key, or for another purpose.
        """
        if not sealed.startswith(_MAGIC) or len(sealed) < len(_MAGIC) + _OVERHEAD:
            raise EdgeError(f"{purpose}: is not sealed data", "copy the file again")
        try:
            return _SUITE.decrypt(sealed[len(_MAGIC) :], self._key, _context(purpose))
        except (InvalidTag, ValueError):
            raise EdgeError(
                f"{purpose}: does not open with this device's key",
                "copy it again, or let it be sealed to the key in the device's request",
            ) from None


def generate_sealing(out: Path) -> SealingKey:
    """Make a key, and write its private part to a file (mode 0600).

    Args:
        out: The file; it may not exist.

    Raises:
        SettingsError: It exists already, or cannot be written.
    """
    if out.is_symlink() or out.exists():
        raise SettingsError(f"key {out}: exists already", "name another file")
    key = X25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_key_file(out, private, PRIVATE)
    return _with_public(key)


def read_sealing(path: Path) -> SealingKey:
    """Read a private key.

    Raises:
        SettingsError: Unreadable, readable by others, or not such a key.
    """
    data = read_secret(path, f"key {path}")
    try:
        key = serialization.load_pem_private_key(data, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise SettingsError(
            f"key {path}: is not an X25519 key in PEM without a passphrase",
            "name the file that `stream-scorer edge init` wrote",
        )
    return _with_public(key)


def seal(data: bytes, public: bytes, purpose: str) -> bytes:
    """Return data that only the owner of a key can read; 56 bytes longer.

    Args:
        data: The data, in memory.
        public: The owner's public key, 32 bytes.
        purpose: What the data is, and for whom, as in ``state of till-17``; the reader must name
            the same.

    Raises:
        EdgeError: The key is not one to which data can be sealed.
    """
    try:
        key = X25519PublicKey.from_public_bytes(public)
        return _MAGIC + _SUITE.encrypt(data, key, _context(purpose))
    except ValueError:  # another length, or a point of small order
        raise EdgeError(
            f"{purpose}: the device's sealing key is not a public X25519 key",
            "take the request that `stream-scorer edge init` wrote",
        ) from None


def _context(purpose: str) -> bytes:
    return _PREFIX + purpose.encode()


def _with_public(key: X25519PrivateKey) -> SealingKey:
    return SealingKey(key, key.public_key().public_bytes_raw())
