"""What the ``models`` commands tell of bundles: documents of plain values."""

from typing import Any

from stream_scorer.models.loader import load_bundle
from stream_scorer.models.remote import open_store
from stream_scorer.models.signature import Signer
from stream_scorer.models.store import find
from stream_scorer.models.trust import trust_of
from stream_scorer.settings import Settings


def verified(settings: Settings, reference: str) -> dict[str, Any]:
    """Load a bundle as a scorer would, and tell who vouches for it.

    Args:
        settings: Where it is, and who and what is trusted.
        reference: NAME or NAME:VERSION.

    Raises:
        ModelError: It is refused.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    bundle = load_bundle(find(open_store(settings.models), reference), trust_of(settings.models))
    manifest = bundle.manifest
    return {
        "model": manifest.label,
        "store": bundle.folder.shown,
        "content_hash": manifest.content_hash,
        **signer_told(bundle.seal.signer),
        "signature_required": bundle.trust.required,
    }


def signer_told(signer: Signer | None) -> dict[str, Any]:
    """Return who signed a bundle: a trusted name, an unknown key, or nobody."""
    if signer is None:
        return {"signature": "none", "signed_by": None, "key_id": None}
    state = "unknown key" if signer.name is None else "trusted"
    return {"signature": state, "signed_by": signer.name, "key_id": signer.key_id}
