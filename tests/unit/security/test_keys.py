"""Private keys: readable only by their owner, never overwritten, and refused with a reason."""

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.security.keys import (
    generate,
    key_id,
    passphrase_of,
    read_passphrase,
    read_private,
    read_public,
)
from stream_scorer.settings import Models


def refusal(error: pytest.ExceptionInfo[SettingsError]) -> str:
    assert "\n" not in str(error.value)
    assert error.value.fix
    assert error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_pair_signs_and_verifies(tmp_path: Path, passphrase: bytes | None) -> None:
    made = generate(tmp_path / "k", passphrase)
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in made.private.read_bytes()) == (passphrase is not None)
    private = read_private(made.private, passphrase)
    for told in (str(made.public), made.public.read_text(), made.public_base64):
        public = read_public(told, "setting x")
        assert key_id(public) == made.key_id
        public.verify(private.sign(b"x"), b"x")


def test_no_file_is_written_over(tmp_path: Path) -> None:
    generate(tmp_path / "k")
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SettingsError, match="exists already"):
        generate(tmp_path / "k")
    (tmp_path / "k").unlink()
    # A public key alone is not overwritten either, because verifiers may trust it under this name.
    with pytest.raises(SettingsError, match=r"k\.pub: exists already"):
        generate(tmp_path / "k")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {
        path: data for path, data in kept.items() if path.suffix
    }
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="exists already"):
        generate(tmp_path / "dangling")
    with pytest.raises(SettingsError, match="No such file"):
        generate(tmp_path / "no" / "k")


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = generate(tmp_path / "k")
    for mode in (0o640, 0o604, 0o610):
        made.private.chmod(mode)
        with pytest.raises(SettingsError) as refused:
            read_private(made.private)
        assert "chmod 600" in refusal(refused)
    made.private.chmod(0o400)
    read_private(made.private)


def test_the_passphrase_must_be_the_right_one(tmp_path: Path) -> None:
    locked, bare = generate(tmp_path / "k", b"right").private, generate(tmp_path / "b").private
    for path, passphrase, why in (
        (locked, None, "is encrypted"),
        (locked, b"wrong", "another passphrase"),
        (bare, b"right", "is not encrypted"),
    ):
        with pytest.raises(SettingsError) as refused:
            read_private(path, passphrase)
        assert why in refusal(refused)


def test_a_passphrase_is_all_but_its_line_end(tmp_path: Path) -> None:
    for data, expected in ((b"a b \n", b"a b "), (b"a\r\n", b"a"), (b"a\n\n", b"a\n")):
        (tmp_path / "p").write_bytes(data)
        assert read_passphrase(tmp_path / "p") == expected
    for nothing in (b"", b"\n"):
        with pytest.raises(SettingsError, match="is empty"):
            passphrase_of(nothing, "passphrase p")
    with pytest.raises(SettingsError, match="No such file"):
        read_passphrase(tmp_path / "none")


def test_other_keys_are_refused(tmp_path: Path) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "k"
    path.write_bytes(
        foreign.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="is not an Ed25519 key"):
        read_private(path)
    public = foreign.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()
    path.write_bytes(b"no key")
    for value, why in (
        (public.decode(), "is not an Ed25519 key"),
        (generate(tmp_path / "own").private.read_text(), "is a private key"),
        (str(tmp_path / "own"), "is a private key"),
        (base64.b64encode(other).decode(), "No such file"),
        (str(tmp_path / "none"), "No such file"),
        (str(path), "is not a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(SettingsError) as refused:
            read_public(value, "setting models.trusted_keys.me")
        assert why in refusal(refused)
        assert "setting models.trusted_keys.me" in str(refused.value)


def test_a_key_has_one_name() -> None:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    told = base64.b64encode(raw).decode()
    trust = trust_of(Models(trusted_keys={"a": told}, require_signature=True))
    assert [key.name for key in trust.keys.values()] == ["a"]
    assert trust.required
    with pytest.raises(SettingsError, match="is the key of a, too"):
        trust_of(Models(trusted_keys={"a": told, "b": told}))
