"""An issuer's keys: each is bound to its algorithms, and what is not a public key is left out."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from stream_scorer.security.token_keys import DOCUMENT_BYTES_MOST, read_jwks
from tests.support.serving.access import Issuer

ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
DEFAULT = ("RS256", "ES256", "EdDSA")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_each_key_has_the_allowed_algorithms_of_its_type(issuer: Issuer) -> None:
    found = read_jwks(issuer.document(), DEFAULT)
    assert {name: set(key.algorithms) for name, key in found.items()} == {
        "rsa": {"RS256"}, "ec": {"ES256"}, "ed": {"EdDSA"},
    }  # fmt: skip
    assert isinstance(found["ed"].key, Ed25519PublicKey)
    assert set(read_jwks(issuer.document("rsa"), ALL)["rsa"].algorithms) == set(ALL[:6])
    assert set(read_jwks(issuer.document(), ("EdDSA",))) == {"ed"}


def test_a_key_that_names_its_algorithm_has_only_that(issuer: Issuer) -> None:
    key = issuer.jwk("rsa") | {"alg": "PS256"}
    assert set(read_jwks(jwks(key), ALL)["rsa"].algorithms) == {"PS256"}
    good = issuer.jwk("ec")
    # Not allowed, of another type, symmetric, none.
    for wrong in ("RS384", "ES256", "HS256", "none"):
        assert set(read_jwks(jwks(key | {"alg": wrong}, good), DEFAULT)) == {"ec"}


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"}, {"key_ops": ["sign"]}, {"kid": ""}, {"kid": 7}, {"kid": None},
        {"k": "AQAB"},
        {"kid": "x" * 257}, {"d": "AQAB"}, {"kty": "oct", "k": "AQAB"}, {"kty": "EC"},
        {"n": "AQAB"}, {"n": "not base64!"}, {"e": 3}, {"n": None}, {"alg": None},
        {"e": "AQAAAAAAAAAB"}, {"kty": ["RSA"]}, {"crv": "P-256"},
    ],
)  # fmt: skip
def test_what_may_not_verify_is_left_out(issuer: Issuer, change: dict[str, Any]) -> None:
    good = issuer.jwk("ec")
    assert set(read_jwks(jwks(good, issuer.jwk("rsa")), DEFAULT)) == {"ec", "rsa"}
    assert set(read_jwks(jwks(issuer.jwk("rsa") | change, good), DEFAULT)) == {"ec"}
    assert set(read_jwks(json.dumps({"keys": [7, None, [], good]}).encode(), DEFAULT)) == {"ec"}


def test_weak_and_slow_keys_are_left_out(issuer: Issuer) -> None:
    good = issuer.jwk("ec")
    weak = rsa.generate_private_key(65_537, 1_024).public_key()  # noqa: S505 what is refused
    made = RSAAlgorithm.to_jwk(weak, as_dict=True) | {"kid": "weak", "use": "sig"}
    made.pop("key_ops", None)
    slow = issuer.jwk("rsa") | {"kid": "slow", "n": "_" * 2_000}
    assert set(read_jwks(jwks(made, slow, good), DEFAULT)) == {"ec"}


def test_a_curve_is_bound_to_its_algorithm(issuer: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    made = ECAlgorithm.to_jwk(key, as_dict=True) | {"kid": "p384"}
    made.pop("key_ops", None)
    assert set(read_jwks(jwks(made), ALL)["p384"].algorithms) == {"ES384"}
    good = issuer.jwk("ed")
    assert set(read_jwks(jwks(made, good), DEFAULT)) == {"ed"}
    # The point is not on the curve that the key names.
    assert set(read_jwks(jwks(made | {"crv": "P-256"}, good), DEFAULT)) == {"ed"}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [], "keys": []}', b"\xff",
        b'{"keys": [{"kty": "RSA"}]}', b'{"keys": ' + 300 * b"[" + 300 * b"]" + b"}",
    ],
)  # fmt: skip
def test_what_is_not_a_document_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_jwks(data, DEFAULT)


def test_a_document_is_bounded(issuer: Issuer) -> None:
    data = issuer.document("ec")
    assert read_jwks(data + b" " * (DOCUMENT_BYTES_MOST - len(data)), DEFAULT)
    with pytest.raises(ValueError, match="256 KiB"):
        read_jwks(data + b" " * (DOCUMENT_BYTES_MOST - len(data) + 1), DEFAULT)
    keys = [issuer.jwk("ec") | {"kid": f"k{number}"} for number in range(65)]
    assert len(read_jwks(jwks(*keys[:64]), DEFAULT)) == 64
    with pytest.raises(ValueError, match="more than 64"):
        read_jwks(jwks(*keys), DEFAULT)


def test_an_ambiguous_key_id_is_refused(issuer: Issuer) -> None:
    with pytest.raises(ValueError, match="same kid"):
        read_jwks(jwks(issuer.jwk("ec"), issuer.jwk("ed") | {"kid": "ec"}), DEFAULT)
