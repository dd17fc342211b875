"""Sealed data opens with one key and for one purpose, unaltered; everything else is refused."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.security.keys import generate
from stream_scorer.security.sealing import SealingKey, generate_sealing, read_sealing, seal

PURPOSE = "state of till-17"


@pytest.fixture
def key(tmp_path: Path) -> SealingKey:
    return generate_sealing(tmp_path / "sealing.key")


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4_096])
def test_what_is_sealed_opens(key: SealingKey, data: bytes) -> None:
    sealed = seal(data, key.public, PURPOSE)
    assert key.open(sealed, PURPOSE) == data
    assert len(sealed) == len(data) + 56
    assert seal(data, key.public, PURPOSE) != sealed


def test_the_file_of_a_key_is_private_and_kept(tmp_path: Path, key: SealingKey) -> None:
    path = tmp_path / "sealing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_sealing(path).public == key.public
    with pytest.raises(SettingsError, match="exists already"):
        generate_sealing(path)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="others than its owner"):
        read_sealing(path)


@pytest.mark.parametrize("at", [0, 7, 8, 39, 40, 45, -1])
def test_an_altered_byte_is_refused(key: SealingKey, at: int) -> None:
    sealed = bytearray(seal(b"state", key.public, PURPOSE))
    sealed[at] ^= 1
    with pytest.raises(EdgeError):
        key.open(bytes(sealed), PURPOSE)


def test_every_shorter_file_is_refused(key: SealingKey) -> None:
    sealed = seal(b"state", key.public, PURPOSE)
    for length in range(len(sealed)):
        with pytest.raises(EdgeError):
            key.open(sealed[:length], PURPOSE)
    with pytest.raises(EdgeError):
        key.open(sealed + b"\0", PURPOSE)


def test_another_key_and_another_purpose_are_refused(tmp_path: Path, key: SealingKey) -> None:
    sealed = seal(b"state", key.public, PURPOSE)
    with pytest.raises(EdgeError, match="does not open"):
        key.open(sealed, "state of till-18")
    with pytest.raises(EdgeError, match="does not open"):
        generate_sealing(tmp_path / "other.key").open(sealed, PURPOSE)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32), bytes([1]) + bytes(31)])
def test_nothing_is_sealed_to_what_is_not_a_key(public: bytes) -> None:
    with pytest.raises(EdgeError, match="not a public X25519 key"):
        seal(b"state", public, PURPOSE)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "signing.key")
    (tmp_path / "text").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "text").chmod(0o600)
    for name in ("signing.key", "text"):
        with pytest.raises(SettingsError, match="not an X25519 key"):
            read_sealing(tmp_path / name)


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, hashlib.sha256)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    text = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, text + b"\x01", hashlib.sha256)[:length]


def test_it_is_hpke_as_in_the_rfc() -> None:
    """Open sealed data by RFC 9180's formulas, written here from the text."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    sealed = seal(b"state", public, PURPOSE).removeprefix(b"SSSEAL1\0")
    enc, ciphertext = sealed[:32], sealed[32:]
    kem, suite = b"KEM" + bytes([0, 0x20]), b"HPKE" + bytes([0, 0x20, 0, 1, 0, 2])
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))
    shared = _expand(
        kem, _extract(kem, b"", b"eae_prk", exchanged), b"shared_secret", enc + public, 32
    )
    info = b"stream-scorer sealed 1\0" + PURPOSE.encode()
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"")
    context += _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret, b"key", context, 32)
    nonce = _expand(suite, secret, b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, ciphertext, b"") == b"state"
