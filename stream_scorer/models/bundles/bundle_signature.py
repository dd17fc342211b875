"""A bundle's signature: ``signature.json`` next to the manifest, Ed25519 over all files' sha256.

What is signed is a statement that is computed from the bundle: its name and version, the key's id,
and the sha256 of each file, the manifest included. So a signature of another version, or of other
files, is invalid here. Because it is a separate file, signing changes neither manifest nor content
hash.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import MANIFEST, Hash, Manifest
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.security.canonical_json import canonical, parse
from stream_scorer.security.keys import key_id

SIGNATURE = "signature.json"
BYTES_MOST = 64 * 1024
ALGORITHM = "Ed25519"
_SIGNED = b"stream-scorer bundle signature 1\n"
"""Precedes what is signed, so that a signature of something else is not valid for a bundle."""


class _BundleSignature(BaseModel):
    """The content of ``signature.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    algorithm: str
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    bundle: str
    files: dict[str, Hash]
    signature: str


@dataclass(frozen=True, slots=True)
class BundleSigner:
    """The signer of a bundle.

    Attributes:
        key_id: Id of the key that the signature names.
        name: The key's name in the settings; the signature is then verified. None for a key that
            the settings do not have; the signature is then not verified.
    """

    key_id: str
    name: str | None

    def __str__(self) -> str:
        return self.name or f"unknown key {self.key_id}"


def hashes(manifest: Manifest, manifest_bytes: bytes) -> dict[str, str]:
    """Return the sha256 of every file of a bundle except the signature, from its manifest."""
    return {**manifest.files, MANIFEST: hashlib.sha256(manifest_bytes).hexdigest()}


def sign(manifest: Manifest, manifest_bytes: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signature file of a bundle whose files have the hashes of its manifest.

    Args:
        manifest: The bundle's manifest.
        manifest_bytes: The bytes of its file.
        key: The key that signs.
    """
    files = hashes(manifest, manifest_bytes)
    signer = key_id(key.public_key())
    signature = key.sign(_statement(manifest.label, signer, files))
    document = {
        "format": 1,
        "algorithm": ALGORITHM,
        "key_id": signer,
        "bundle": manifest.label,
        "files": dict(sorted(files.items())),
        "signature": base64.b64encode(signature).decode(),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def check(
    data: bytes | None, manifest: Manifest, manifest_bytes: bytes, trust: Trust
) -> BundleSigner | None:
    """Verify a bundle's signature.

    Args:
        data: ``signature.json``; None for a bundle that has none.
        manifest: The bundle's manifest.
        manifest_bytes: The bytes of its file.
        trust: The trusted keys, and whether a signature is required.

    Returns:
        The signer; None for an unsigned bundle.

    Raises:
        ModelError: The signature is malformed, of another bundle, of other files, or wrong; or a
            signature is required and there is none, or its key is unknown. A bundle that a
            trainer's plan names needs the trainer's signature.
    """
    label = f"bundle {manifest.label}"
    granted = trust.granted.get(manifest.label)
    if granted is not None:
        trust = Trust(keys={key_id(granted.key.key): granted.key}, required=True)
    if data is None:
        if trust.required:
            raise ModelError(
                f"{label}: is not signed",
                f"sign it: stream-scorer models sign {manifest.label} --key FILE",
            )
        return None
    document = _parse(data, label)
    if document.algorithm != ALGORITHM:
        raise ModelError(
            f"{label}: {SIGNATURE}: algorithm {document.algorithm!r} is not supported",
            f"sign it with {ALGORITHM}: stream-scorer models sign",
        )
    if document.bundle != manifest.label:
        raise ModelError(
            f"{label}: {SIGNATURE} is of another bundle, {document.bundle!r}",
            "put this bundle's own signature there",
        )
    files = hashes(manifest, manifest_bytes)
    if dict(document.files) != files:
        told = document.files
        names = sorted(n for n in {*files, *told} if files.get(n) != told.get(n))
        raise ModelError(
            f"{label}: {SIGNATURE} is of another {', '.join(names)}",
            "restore the bundle that was signed, or look into it and sign this one",
        )
    trusted = trust.keys.get(document.key_id)
    if trusted is None:
        if trust.required:
            raise ModelError(
                f"{label}: {SIGNATURE} is by an unknown key, {document.key_id}",
                "have it signed by a key in models.trusted_keys"
                if granted is None
                else f"grant {granted.grant} trusts its trainer's key alone",
            )
        return BundleSigner(document.key_id, None)
    try:
        raw = base64.b64decode(document.signature, validate=True)
        trusted.key.verify(raw, _statement(manifest.label, document.key_id, files))
    except (binascii.Error, ValueError, InvalidSignature):
        raise ModelError(
            f"{label}: {SIGNATURE} is not a signature by {trusted.name} (key {document.key_id})",
            "copy the bundle again from where it was signed",
        ) from None
    return BundleSigner(document.key_id, trusted.name)


def _statement(label: str, signer: str, files: Mapping[str, str]) -> bytes:
    """Return the bytes that are signed."""
    return _SIGNED + canonical(
        {"algorithm": ALGORITHM, "bundle": label, "files": dict(files), "key_id": signer}
    )


def _parse(data: bytes, label: str) -> _BundleSignature:
    fix = "sign the bundle again: stream-scorer models sign --replace"
    try:
        return _BundleSignature.model_validate(parse(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{label}: {SIGNATURE}: {where}: {first['msg']}", fix) from None
    except ValueError as error:
        raise ModelError(f"{label}: {SIGNATURE}: {error}", fix) from None
