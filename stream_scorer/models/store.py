"""Where bundles live: ``DIRECTORY/NAME/VERSION/``."""

import re
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.errors import ModelError
from stream_scorer.models.bundle import MANIFEST, read_manifest

_REFERENCE = re.compile(r"([a-z][a-z0-9_-]{0,63})(?::([0-9]+\.[0-9]+\.[0-9]+))?")
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Stored:
    """One bundle in the store."""

    name: str
    version: str
    directory: Path

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """What bundles are sorted by: name, then version as numbers."""
        return self.name, tuple(int(part) for part in self.version.split("."))


def list_bundles(directory: Path) -> list[Stored]:
    """Return the bundles under a directory, by name and ascending version.

    Raises:
        ModelError: The directory does not exist.
    """
    if not directory.is_dir():
        raise ModelError(f"model store {directory}: no such directory", "set models.directory")
    found = [
        Stored(manifest.parent.parent.name, manifest.parent.name, manifest.parent)
        for manifest in directory.glob(f"*/*/{MANIFEST}")
        if _VERSION.fullmatch(manifest.parent.name)
    ]
    return sorted(found, key=lambda stored: stored.order)


def find(directory: Path, reference: str) -> Path:
    """Return the directory of a bundle.

    Args:
        directory: The store.
        reference: ``NAME:VERSION``, or ``NAME`` for the highest version.

    Raises:
        ModelError: Not a reference, no such bundle, or the bundle there has another name.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelError(f"model {reference!r}: not a reference", "write NAME or NAME:1.2.3")
    name, version = match.groups()
    stored = list_bundles(directory)
    versions = [bundle for bundle in stored if bundle.name == name]
    chosen = [bundle for bundle in versions if version in (None, bundle.version)]
    if not chosen:
        known = ", ".join(f"{b.name}:{b.version}" for b in versions or stored) or "none"
        raise ModelError(f"model {reference}: not in {directory}", f"there are: {known}")
    found = chosen[-1]
    manifest = read_manifest(found.directory)
    if (manifest.name, manifest.version) != (found.name, found.version):
        raise ModelError(
            f"model {reference}: the bundle in {found.directory} calls itself {manifest.label}",
            "move it to NAME/VERSION as its manifest says",
        )
    return found.directory
