"""The public keys of a token issuer (JWKS, RFC 7517), each bound to its algorithms.

A key verifies only signatures of its own type: an RSA key never serves as the secret of an HMAC. So
an attacker who knows the public key cannot sign with it. Keys of other types are left out, among
them symmetric and private ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWKError
from jwt.exceptions import PyJWTError

from stream_scorer.security.canonical_json import parse

DOCUMENT_BYTES_MOST: Final = 256 * 1024
_KEYS_MOST: Final = 64
_KEY_ID_CHARACTERS: Final = 256
_RSA_BITS: Final = (2_048, 8_192)
"""Shorter ones are weak, and each signature of a longer one takes milliseconds."""
_RSA_EXPONENT_BITS: Final = 32
_OF_TYPE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("RSA", ""): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_PRIVATE: Final = frozenset({"d", "k", "p", "q"})

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A key that verifies signatures.

    Attributes:
        id: Its ``kid``.
        key: The public key.
        algorithms: Those whose signatures it may verify.
    """

    id: str
    key: PublicKey
    algorithms: frozenset[str]


def read_jwks(data: bytes, allowed: Collection[str]) -> dict[str, VerificationKey]:
    """Return the usable keys of a document by their ids.

    Args:
        data: The document.
        allowed: Algorithms that the settings accept.

    Raises:
        ValueError: Not such a document, too large, without a usable key, or with two of one id.
    """
    if len(data) > DOCUMENT_BYTES_MOST:
        raise ValueError("is larger than 256 KiB")
    entries = parse(data).get("keys")
    if not isinstance(entries, list):
        raise ValueError("has no list of keys")  # noqa: TRY004 what is wrong is the document
    if len(entries) > _KEYS_MOST:
        raise ValueError(f"has more than {_KEYS_MOST} keys")
    found: dict[str, VerificationKey] = {}
    for entry in entries:
        key = _usable(entry, allowed)
        if key is not None and found.setdefault(key.id, key) is not key:
            raise ValueError("has two keys with the same kid")
    if not found:
        raise ValueError("has no key that may verify signatures")
    return found


def _usable(entry: Any, allowed: Collection[str]) -> VerificationKey | None:
    """Return a key that may verify signatures; None for another."""
    if not isinstance(entry, dict) or not _PRIVATE.isdisjoint(entry):
        return None
    identity, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(identity, str) or not 0 < len(identity) <= _KEY_ID_CHARACTERS:
        return None
    if entry.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    curve = entry.get("crv", "")
    algorithms = _OF_TYPE.get((str(entry.get("kty")), str(curve)), frozenset())
    algorithms &= {str(entry["alg"])} if "alg" in entry else algorithms
    algorithms &= frozenset(allowed)
    key = _public_key(entry, algorithms)
    return None if key is None else VerificationKey(identity, key, algorithms)


def _public_key(entry: dict[str, Any], algorithms: frozenset[str]) -> PublicKey | None:
    if not algorithms:
        return None
    try:
        key: Any = PyJWK(entry, min(algorithms)).key
    except (PyJWTError, PyJWKError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        exponent = key.public_numbers().e
        fits = _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]
        return key if fits and exponent.bit_length() <= _RSA_EXPONENT_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey) else None
