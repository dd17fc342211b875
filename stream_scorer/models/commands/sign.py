"""Make keys, and sign bundles and plans with them; each action is written to the audit log.

A bundle is first loaded as a scorer loads it, so that only a valid one is signed.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles import bundle_signature
from stream_scorer.models.bundles.bundle_signature import SIGNATURE, BundleSigner
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.plan_signature import SUFFIX, sign_plan
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.models.stores.remote import open_store
from stream_scorer.security import keys
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import KeyPair, key_id, read_private
from stream_scorer.settings import Settings

_MODE = 0o644


def generate(settings: Settings, out: Path, passphrase: bytes | None) -> KeyPair:
    """Make a key pair and record that in the audit log.

    Args:
        settings: The audit log.
        out: File of the private key; neither key file may exist.
        passphrase: Encrypts the private key; None: it is not encrypted.

    Raises:
        SettingsError: A file exists already, or cannot be written.
        UnavailableError: The audit log cannot be written; the keys exist nevertheless.
    """
    audit = open_audit(settings.audit)
    made = keys.generate(out, passphrase)
    # The key's id is only known now.
    audit.record("key.generate", made.key_id, {"encrypted": passphrase is not None})
    return made


def sign(
    settings: Settings, reference: str, key_file: Path, passphrase: bytes | None, *, replace: bool
) -> tuple[str, BundleSigner]:
    """Verify a bundle and sign it.

    Args:
        settings: The store, the trusted types and keys, and the audit log.
        reference: NAME:VERSION.
        key_file: The private key that signs.
        passphrase: Of the key.
        replace: Whether an existing signature is replaced.

    Returns:
        The bundle's label, and its signer, with the name of the key in the settings.

    Raises:
        ModelError: The reference has no version, the bundle does not load, is signed already, or
            cannot be written to.
        SettingsError: The key cannot be read, or the store is not a folder.
        UnavailableError: The audit log cannot be written; nothing is signed.
    """
    if ":" not in reference:
        raise ModelError(f"model {reference}: names no version", "write NAME:1.2.3")
    key = read_private(key_file, passphrase)
    audit = open_audit(settings.audit)
    trust = trust_of(settings.models)
    folder = find(open_store(settings.models), reference)
    if not isinstance(folder, LocalFolder):
        raise SettingsError(
            f"model {reference}: is behind a URL", "sign it in a folder, and then copy it there"
        )
    if SIGNATURE in folder.names():
        if not replace:
            raise ModelError(f"bundle {reference}: is signed already", "give --replace")
        # The old signature may be of other files; the bundle must be valid without it.
        folder = _Bare(folder.path, folder.expected)
    bundle = load_bundle(folder, Trust(types=trust.types))
    # The loaded manifest is signed, whatever is in the folder by now.
    seal = bundle.seal
    signed = bundle_signature.sign(seal.manifest, seal.manifest_bytes, key)
    signer = key_id(key.public_key())
    manifest = seal.manifest
    deed = {
        "key_id": signer, "content_hash": manifest.content_hash, "replace": replace,
        "manifest_sha256": hashlib.sha256(seal.manifest_bytes).hexdigest(),
    }  # fmt: skip
    # Recorded first, so that every signature is in the log.
    audit.record("model.sign", manifest.label, deed)
    try:
        _place(folder.path, signed)
    except ModelError as error:
        audit.record("model.sign.failed", manifest.label, {"key_id": signer, "why": error.what})
        raise
    known = trust.keys.get(signer)
    return manifest.label, BundleSigner(signer, known.name if known else None)


def sign_plan_file(
    settings: Settings, plan: Path, key_file: Path, passphrase: bytes | None
) -> Path:
    """Check a plan (a file or a folder) and sign it; return the signature's file.

    Raises:
        SettingsError: The plan or the key cannot be read, the plan is not valid, or the signature
            cannot be written.
        UnavailableError: The audit log cannot be written; nothing is signed.
    """
    key = read_private(key_file, passphrase)
    audit = open_audit(settings.audit)
    files = plan_files(plan)
    files.plan()
    out = files.path.with_name(files.path.name + SUFFIX)
    deed = {"key_id": key_id(key.public_key()), "sha256": _sha256(files.text)}
    if files.parts:
        deed |= {name: _sha256(part) for name, part in files.parts.items()}
    audit.record("plan.sign", str(plan), deed)
    try:
        out.write_bytes(sign_plan(files.text, key, files.parts))
    except OSError as error:
        raise SettingsError(f"plan {out}: {error.strerror}", "let this user write there") from error
    return out


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _Bare(LocalFolder):
    """A bundle without its signature."""

    def names(self) -> frozenset[str]:
        """Return all names but the signature's."""
        return super().names() - {SIGNATURE}


def _place(folder: Path, data: bytes) -> None:
    """Write the signature in one step, so that a scorer never reads a part of it."""
    try:
        # Next to the folder, because no other file may be in it, not even for a moment.
        handle, name = tempfile.mkstemp(prefix=".signing-", dir=folder.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        Path(name).chmod(_MODE)
        Path(name).replace(folder / SIGNATURE)
    except OSError as error:
        raise ModelError(
            f"bundle {folder}: cannot be written ({error.strerror})", "let this user write there"
        ) from error
