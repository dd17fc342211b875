"""Which version of a model is meant: ``NAME:1.2.3``, or ``NAME`` for the highest in the store."""

import re

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.read_files import Folder
from stream_scorer.models.stores.store import BundleStore, Stored

_REFERENCE = re.compile(r"([a-z][a-z0-9_-]{0,63})(?::([0-9]+\.[0-9]+\.[0-9]+))?")


def find(store: BundleStore, reference: str) -> Folder:
    """Return where a bundle is.

    Args:
        store: Of bundles.
        reference: ``NAME:VERSION``, or ``NAME`` for the highest version.

    Raises:
        ModelError: Not a reference, or no such bundle.
        UnavailableError: The store does not answer.
    """
    return store.folder(choose(store, reference))


def choose(store: BundleStore, reference: str) -> Stored:
    """Return which bundle a reference means; see :func:`find`."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelError(f"model {reference!r}: not a reference", "write NAME or NAME:1.2.3")
    name, version = match.groups()
    stored = store.bundles()
    versions = [bundle for bundle in stored if bundle.name == name]
    chosen = [bundle for bundle in versions if version in (None, bundle.version)]
    if not chosen:
        known = ", ".join(bundle.label for bundle in versions or stored) or "none"
        raise ModelError(f"model {reference}: not in {store.shown}", f"there are: {known}")
    return chosen[-1]
