"""Verify that a bundle is complete, unaltered and signed; its files are only bytes and JSON here.

The manifest names the files, the signature seals the manifest with these names, and only then is
a file read.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import bundle_signature
from stream_scorer.models.bundles.bundle import (
    CARD,
    GATE,
    GATE_BYTES_MOST,
    GOLDEN,
    MANIFEST,
    MANIFEST_BYTES_MOST,
    PLOTS,
    REFERENCE,
    Manifest,
    parse_manifest,
)
from stream_scorer.models.bundles.bundle_signature import SIGNATURE, BundleSigner
from stream_scorer.models.bundles.read_files import Folder
from stream_scorer.models.bundles.trust import GrantedBundle, Trust
from stream_scorer.models.importing.onnx.file import BYTES_MOST as ONNX_BYTES_MOST
from stream_scorer.models.reference.format import BYTES_MOST as REFERENCE_BYTES_MOST

_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".p", ".dill", ".cloudpickle"})
_MODEL_BYTES_MOST = 512 * 1024 * 1024
_FILE_BYTES_MOST = 16 * 1024 * 1024
"""Maximum bytes of golden rows, card and plots; JSON takes up to forty times as much in memory."""


@dataclass(frozen=True, slots=True)
class BundleContents:
    """The manifest and the signer of a bundle.

    Attributes:
        manifest: The manifest.
        manifest_bytes: The bytes of its file.
        signer: The signer; None for an unsigned bundle.
    """

    manifest: Manifest
    manifest_bytes: bytes
    signer: BundleSigner | None


def read_seal(folder: Folder, trust: Trust) -> BundleContents:
    """Read a bundle's manifest and signature, and check which files are there.

    Args:
        folder: The bundle's folder.
        trust: The trusted keys, and whether a signature is required.

    Raises:
        ModelError: The manifest is invalid or another bundle's, a file is missing or not in it, or
            the signature is refused. Or it is not the bundle that a trainer's plan names.
        UnavailableError: The store does not answer.
    """
    data = folder.read(MANIFEST, MANIFEST_BYTES_MOST)
    manifest = parse_manifest(data, folder.shown)
    if folder.expected not in (None, manifest.label):
        raise ModelError(
            f"model {folder.expected}: the bundle in {folder.shown} calls itself {manifest.label}",
            "move it to NAME/VERSION as its manifest states",
        )
    present = folder.names()
    _refuse_names(present, manifest)
    signed = folder.read(SIGNATURE, bundle_signature.BYTES_MOST) if SIGNATURE in present else None
    contents = BundleContents(manifest, data, bundle_signature.check(signed, manifest, data, trust))
    if (granted := trust.granted.get(manifest.label)) is not None:
        _refuse_ungranted(contents, granted)
    return contents


def _refuse_ungranted(contents: BundleContents, granted: GrantedBundle) -> None:
    """Refuse a bundle that is not the one that an accepted plan of its trainer names."""
    manifest = contents.manifest
    parent = manifest.lineage_parent
    of_parent = None if parent is None else (parent.label, parent.content_hash)
    for what, found, wanted in (
        (MANIFEST, hashlib.sha256(contents.manifest_bytes).hexdigest(), granted.manifest_sha256),
        ("feature set", manifest.feature_set, granted.feature_set),
        (GATE, manifest.files.get(GATE), granted.gate_sha256),
        ("parent", of_parent, (granted.parent, granted.parent_content)),
        ("gate report of the parent", parent and parent.gate_sha256, granted.gate_sha256),
        ("dataset", parent and parent.dataset_sha256, granted.dataset_sha256),
    ):
        if found != wanted:
            raise ModelError(
                f"bundle {manifest.label}: its {what} is not the one that the trainer's plan names "
                f"(grant {granted.grant})",
                "the trainer proposes another version; see docs/RETRAINING.md",
            )


def verified_files(
    folder: Folder, seal: BundleContents, *, near: bool = True
) -> Iterator[tuple[str, bytes]]:
    """Yield each listed file's name and bytes after comparing their hash.

    Args:
        folder: The bundle's folder.
        seal: From :func:`read_seal`.
        near: Whether a cached copy of a remote file may be used.

    Raises:
        ModelError: A file cannot be read, is too large, or has another hash.
        UnavailableError: The store does not answer.
    """
    for name, digest in seal.manifest.files.items():
        most = _FILE_BYTES_MOST
        if name in seal.manifest.model_files:
            most = _MODEL_BYTES_MOST if seal.manifest.onnx is None else ONNX_BYTES_MOST
        elif name == REFERENCE:
            most = REFERENCE_BYTES_MOST
        elif name == GATE:
            most = GATE_BYTES_MOST
        content = folder.read(name, most, digest if near else None)
        refuse_other(name, content, seal.manifest)
        yield name, content


def refuse_other(name: str, content: bytes, manifest: Manifest) -> None:
    """Refuse bytes that are not the file of a manifest.

    Args:
        name: A name that the manifest lists.
        content: The bytes.
        manifest: It.

    Raises:
        ModelError: The hash differs.
    """
    if hashlib.sha256(content).hexdigest() != manifest.files[name]:
        raise ModelError(
            f"bundle {manifest.label}: {name} is not the file that the manifest names "
            "(sha256 differs)",
            "copy the bundle again from where it was trained",
        )


def _refuse_names(present: frozenset[str], manifest: Manifest) -> None:
    """Refuse a manifest with other files than bundles have, and files that it does not list."""
    label = f"bundle {manifest.label}"
    listed = frozenset(manifest.files)
    needed = manifest.model_files | {GOLDEN}
    if listed - {REFERENCE, GATE} not in (needed, needed | {CARD, PLOTS}):
        raise ModelError(
            f"{label}: the manifest lists {', '.join(sorted(listed)) or 'no files'}",
            f"it must list {' and '.join(sorted(needed))}, {CARD} with {PLOTS} or neither, and it "
            f"may list {REFERENCE} and {GATE}",
        )
    for name in sorted(present - listed - {MANIFEST, SIGNATURE}):
        endings = {ending.lower() for ending in PurePosixPath(name).suffixes}
        shown = name if name.isprintable() else ascii(name)
        if endings & _PICKLES:
            raise ModelError(
                f"{label}: {shown} is a pickle or joblib file",
                "remove it; bundles have no such file",
            )
        if any(ending.startswith(".onnx") for ending in endings):
            raise ModelError(
                f"{label}: {shown} belongs to ONNX, whose data may be in any file of the machine",
                "remove it; the manifest does not list it",
            )
        raise ModelError(f"{label}: {shown} is not in the manifest", "remove it")
    for name in sorted(listed - present):
        raise ModelError(f"{label}: {name} is missing", "copy the complete bundle")
