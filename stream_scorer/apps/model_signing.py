"""Signing a bundle: loaded as a scorer would, then sealed with an operator's key."""

import os
import tempfile
from pathlib import Path

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.keys import key_id, read_private
from stream_scorer.models import signature
from stream_scorer.models.folder import LocalFolder
from stream_scorer.models.loader import load_bundle
from stream_scorer.models.remote import open_store
from stream_scorer.models.signature import SIGNATURE, Signer
from stream_scorer.models.store import find
from stream_scorer.models.trust import Trust, trust_of
from stream_scorer.settings import Settings

_MODE = 0o644


def sign(
    settings: Settings, reference: str, key_file: Path, passphrase: bytes | None, *, replace: bool
) -> tuple[str, Signer]:
    """Verify a bundle and sign it.

    Args:
        settings: Where it is, and which types it may hold.
        reference: NAME:VERSION.
        key_file: Whose signature it is.
        passphrase: Of the key.
        replace: Whether a signature that is there already is to go.

    Returns:
        The bundle's label, and who has signed it, by the name that the settings give the key.

    Raises:
        ModelError: No whole version is named, the bundle does not load, is signed already, or
            cannot be written to.
        SettingsError: The key cannot be read, or the store is no folder.
    """
    if ":" not in reference:
        raise ModelError(f"model {reference}: names no version", "write NAME:1.2.3")
    key = read_private(key_file, passphrase)
    trust = trust_of(settings.models)
    folder = find(open_store(settings.models), reference)
    if not isinstance(folder, LocalFolder):
        raise SettingsError(
            f"model {reference}: lies behind a URL", "sign it in a folder, and then copy it there"
        )
    if SIGNATURE in folder.names():
        if not replace:
            raise ModelError(f"bundle {reference}: is signed already", "give --replace")
        # What is replaced may be of other files; the bundle has to be whole without it.
        folder = _Bare(folder.path, folder.expected)
    bundle = load_bundle(folder, Trust(types=trust.types))
    # What was loaded is what is signed, whatever lies there by now.
    seal = bundle.seal
    signed = signature.sign(seal.manifest, seal.manifest_bytes, key)
    _place(folder.path, signed)
    signer = key_id(key.public_key())
    known = trust.keys.get(signer)
    return seal.manifest.label, Signer(signer, known.name if known else None)


class _Bare(LocalFolder):
    """A bundle without its signature."""

    def names(self) -> frozenset[str]:
        """Return all names but the signature's."""
        return super().names() - {SIGNATURE}


def _place(folder: Path, data: bytes) -> None:
    """Put the signature there in one step; a scorer that looks never sees a part of it."""
    try:
        # Beside the folder, in which nothing strange may lie, not even for a moment.
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
