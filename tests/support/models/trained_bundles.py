"""A bundle as a trainer writes it: with a gate report, its parent, and the trainer's signature."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.models.bundles.bundle import GATE, MANIFEST, ParentLineage, parse_manifest
from stream_scorer.models.bundles.bundle_signature import SIGNATURE, sign
from stream_scorer.models.bundles.trust import GrantedBundle
from stream_scorer.models.bundles.writer import write_copy
from stream_scorer.security.keys import TrustedKey

DATASET = "12" * 32


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def retrained(
    store: Path, parent: Path, version: str, key: Ed25519PrivateKey, **changed: Any
) -> GrantedBundle:
    """Write ``store/fraud/VERSION`` as a copy of a bundle that names it as its parent.

    Args:
        store: The store.
        parent: Directory of the champion's bundle.
        version: Of the new one.
        key: Signs it.
        changed: Attributes of the returned right that differ from the bundle's.

    Returns:
        The right with which it may be loaded.
    """
    data = (parent / MANIFEST).read_bytes()
    manifest = parse_manifest(data, "a test")
    gate = json.dumps({"passed": True}).encode()
    lineage = ParentLineage(
        label=manifest.label, content_hash=manifest.content_hash, dataset_sha256=DATASET,
        gate_sha256=sha(gate),
    )  # fmt: skip
    made = manifest.model_copy(update={"version": version, "lineage_parent": lineage})
    files = {name: (parent / name).read_bytes() for name in manifest.files} | {GATE: gate}
    directory = write_copy(store, made, files)
    written = (directory / MANIFEST).read_bytes()
    whole = parse_manifest(written, "a test")
    (directory / SIGNATURE).write_bytes(sign(whole, written, key))
    right = GrantedBundle(
        whole.label, TrustedKey("trainer", key.public_key()), 2, manifest.label,
        manifest.content_hash, sha(written), sha(gate), DATASET, whole.feature_set,
    )  # fmt: skip
    return replace(right, **changed)
