"""The signature of a plan: ``plan.toml.sig`` next to it, Ed25519 over the sha256 of its files.

One signature covers all files of a plan that is a folder. So no file can be added, removed, or
replaced by one of another plan.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.security.canonical_json import canonical, parse
from stream_scorer.security.keys import key_id

SUFFIX = ".sig"
BYTES_MOST = 4 * 1024
_SIGNED = b"stream-scorer plan signature 1\n"
"""Precedes what is signed, so that a signature of something else is not valid for a plan."""
_NONE: Mapping[str, str] = MappingProxyType({})


class _PlanSignature(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    algorithm: Literal["Ed25519"]
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    signature: str


def sign_plan(text: str, key: Ed25519PrivateKey, parts: Mapping[str, str] = _NONE) -> bytes:
    """Return the signature file of a plan.

    Args:
        text: The plan file.
        key: The key that signs.
        parts: The plan's further files, texts by name.
    """
    signer = key_id(key.public_key())
    document = {
        "format": 1,
        "algorithm": "Ed25519",
        "key_id": signer,
        "signature": base64.b64encode(key.sign(_statement(text, parts, signer))).decode(),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def check_plan(
    text: str, signature: bytes | None, trust: Trust, what: str, parts: Mapping[str, str] = _NONE
) -> str:
    """Return the name of the trusted key that signed a plan.

    Args:
        text: The plan file.
        signature: The file next to it; None if there is none.
        trust: The trusted keys.
        what: Names the plan in the error.
        parts: The plan's further files, texts by name.

    Raises:
        SettingsError: It is not signed, its key is not trusted, or its files are not those that
            were signed.
    """
    sign = "sign it: stream-scorer models sign-plan FILE --key FILE"
    if signature is None:
        raise SettingsError(f"{what}: is not signed, and mode is production", sign)
    try:
        document = _PlanSignature.model_validate(parse(signature))
    except (ValidationError, ValueError):
        raise SettingsError(f"{what}: its signature file cannot be read", sign) from None
    trusted = trust.keys.get(document.key_id)
    if trusted is None:
        raise SettingsError(
            f"{what}: is signed by an unknown key, {document.key_id}",
            "have it signed by a key in models.trusted_keys",
        )
    try:
        raw = base64.b64decode(document.signature, validate=True)
        trusted.key.verify(raw, _statement(text, parts, document.key_id))
    except (binascii.Error, ValueError, InvalidSignature):
        raise SettingsError(f"{what}: is not what {trusted.name} signed", sign) from None
    return trusted.name


def _statement(text: str, parts: Mapping[str, str], signer: str) -> bytes:
    stated = {"algorithm": "Ed25519", "key_id": signer, "sha256": _digest(text)}
    if not parts:
        return _SIGNED + canonical(stated)
    digests = {name: _digest(part) for name, part in parts.items()}
    return _SIGNED + canonical({**stated, "parts": digests})


def _digest(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()
