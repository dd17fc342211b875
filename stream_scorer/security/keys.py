"""Ed25519 keys that sign bundles and rollouts (RFC 8032), in the file formats of OpenSSL.

A private key is PKCS 8 in PEM, readable only by its owner, and encrypted if there is a passphrase.
A public key is PEM, or the base64 of its 32 bytes.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr

from stream_scorer.durable_files import PRIVATE, write_new
from stream_scorer.errors import SettingsError
from stream_scorer.settings import PASSPHRASE_VARIABLE

_KEY_BYTES = 32
_PEM = "-----BEGIN"
_FILE_BYTES_MOST = 16 * 1024
_FOREIGN_EYES = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The result of ``generate``: the paths of the two files, and the public part."""

    private: Path
    public: Path
    key_id: str
    public_base64: str


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and its owner's name."""

    name: str
    key: Ed25519PublicKey


def key_id(key: Ed25519PublicKey) -> str:
    """Return a public key's name in signatures: 32 hex digits of its sha256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def generate(out: Path, passphrase: bytes | None = None) -> KeyPair:
    """Make a key pair: ``out`` (mode 0600) and ``out.pub``.

    Args:
        out: Path of the private key; neither file may exist.
        passphrase: Encrypts the private key.

    Raises:
        SettingsError: A file exists already, or cannot be written.
    """
    public_file = out.with_name(out.name + ".pub")
    for path in (out, public_file):
        if path.is_symlink() or path.exists():
            raise SettingsError(f"key {path}: exists already", "name another --out")
    key = Ed25519PrivateKey.generate()
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(passphrase)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_key_file(out, private, PRIVATE)
    write_key_file(public_file, public, 0o644)
    told = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return KeyPair(out, public_file, key_id(key.public_key()), told)


def write_key_file(path: Path, data: bytes, mode: int) -> None:
    """Write the file of a key; never over another file.

    Args:
        path: The file.
        data: Its bytes.
        mode: Its permissions.

    Raises:
        SettingsError: It exists already, or cannot be written.
    """
    try:
        write_new(path, data, mode)
    except OSError as error:
        raise SettingsError(f"key {path}: {error.strerror}", "name another --out") from error


def signing_key(path: Path | None, passphrase: SecretStr | None) -> Ed25519PrivateKey | None:
    """Return the private key of the settings; None if they name none.

    Raises:
        SettingsError: As :func:`read_private`.
    """
    if path is None:
        return None
    secret = None if passphrase is None else passphrase.get_secret_value().encode()
    return read_private(path, secret)


def read_private(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key.

    Args:
        path: PEM file that only its owner may access.
        passphrase: Of an encrypted one.

    Raises:
        SettingsError: Unreadable, readable by others, wrong passphrase, or not an Ed25519 key.
    """
    what = f"key {path}"
    data = _read(path, what)
    if stat.S_IMODE(path.stat().st_mode) & _FOREIGN_EYES:
        raise SettingsError(
            f"{what}: others than its owner may read it", f"take their rights: chmod 600 {path}"
        )
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except TypeError:
        if passphrase is None:
            raise SettingsError(
                f"{what}: is encrypted",
                "give --passphrase-file FILE or the variable STREAM_SCORER_KEY_PASSPHRASE",
            ) from None
        raise SettingsError(
            f"{what}: is not encrypted, and a passphrase was given", "give none"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"{what}: no private key in PEM, or another passphrase",
            "name the file that `stream-scorer models keygen` wrote",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{what}: is not an Ed25519 key", "make one: stream-scorer models keygen"
        )
    return key


def read_secret(path: Path, what: str) -> bytes:
    """Read a file that only its owner may access.

    Args:
        path: The file.
        what: The setting and the path, for messages.

    Raises:
        SettingsError: Unreadable, or readable by others.
    """
    data = _read(path, what)
    if stat.S_IMODE(path.stat().st_mode) & _FOREIGN_EYES:
        raise SettingsError(
            f"{what}: others than its owner may read it", f"take their rights: chmod 600 {path}"
        )
    return data


def read_passphrase(path: Path) -> bytes:
    """Return a file's passphrase: all of it except the final line end.

    Raises:
        SettingsError: Unreadable or empty.
    """
    return passphrase_of(_read(path, f"passphrase {path}"), f"passphrase {path}")


def passphrase_from(file: Path | None) -> bytes | None:
    """Return a key's passphrase, from a file or else from its variable; None if there is neither.

    Raises:
        SettingsError: The file cannot be read, or one of them is empty.
    """
    if file is not None:
        return read_passphrase(file)
    variable = os.environ.get(PASSPHRASE_VARIABLE)
    if variable is None:
        return None
    return passphrase_of(os.fsencode(variable), f"variable {PASSPHRASE_VARIABLE}")


def passphrase_of(data: bytes, what: str) -> bytes:
    """Return a passphrase without its final line end.

    Raises:
        SettingsError: It is empty.
    """
    text = data.removesuffix(b"\n").removesuffix(b"\r")
    if not text:
        raise SettingsError(f"{what}: is empty", "write a passphrase, or give none")
    return text


def read_public(value: str, what: str) -> Ed25519PublicKey:
    """Return a public key from a setting's value.

    Args:
        value: PEM, base64 of 32 bytes, or the path of a file with either.
        what: The setting, for messages.

    Raises:
        SettingsError: Unreadable, or not a public Ed25519 key.
    """
    found = _parsed(value.strip(), what)
    if found is None and not value.strip().startswith(_PEM):
        shown = value if value.isprintable() else ascii(value)
        text = _read(Path(value), f"{what}: {shown}").decode("utf-8", "replace")
        found = _parsed(text.strip(), what)
    if found is None:
        raise SettingsError(f"{what}: is not a public key", "name a PEM file, or give its base64")
    return found


def read_trusted(values: Mapping[str, str], setting: str) -> dict[str, TrustedKey]:
    """Return the keys of a setting by their ids; reads their files.

    Args:
        values: By name, as for :func:`read_public`.
        setting: The setting, for messages.

    Raises:
        SettingsError: A key cannot be read, or has two names.
    """
    keys: dict[str, TrustedKey] = {}
    for name, value in values.items():
        what = f"setting {setting}.{name}"
        key = read_public(value, what)
        other = keys.setdefault(key_id(key), TrustedKey(name, key))
        if other.name != name:
            raise SettingsError(f"{what}: is the key of {other.name}, too", "name each key once")
    return keys


def _parsed(text: str, what: str) -> Ed25519PublicKey | None:
    """Return the key of a text; None if it is not a key."""
    if not text.startswith(_PEM):
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
        return Ed25519PublicKey.from_public_bytes(raw) if len(raw) == _KEY_BYTES else None
    if "PRIVATE KEY" in text:
        raise SettingsError(
            f"{what}: is a private key", "name the public one, and keep this away from scorers"
        )
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(
            f"{what}: is not an Ed25519 key", "make one: stream-scorer models keygen"
        )
    return key


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MOST + 1)
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise SettingsError(f"{what}: {told}", "name a file that this user can read") from error
    if len(data) > _FILE_BYTES_MOST:
        raise SettingsError(f"{what}: is larger than 16 KiB", "name a file with one key")
    return data
