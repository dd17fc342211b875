"""Which version of a model is meant: ``NAME:1.2.3``, or ``NAME`` for the highest in the store."""

import re
from collections.abc import Callable, Sequence

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.read_files import Folder
from stream_scorer.models.stores.store import BundleStore, Stored

_REFERENCE = re.compile(r"([a-z][a-z0-9_-]{0,63})(?::([0-9]+\.[0-9]+\.[0-9]+))?")


def find(store: BundleStore, reference: str) -> Folder:
    """Return the folder of a bundle.

    Args:
        store: The store.
        reference: ``NAME:VERSION``, or ``NAME`` for the highest version.

    Raises:
        ModelError: It is not a reference, or there is no such bundle.
        UnavailableError: The store does not answer.
    """
    return store.folder(choose(store, reference))


def finder(store: BundleStore) -> Callable[[str], Folder]:
    """List the bundles of a store once, and return a function that finds one of them as ``find``.

    Args:
        store: The store.

    Raises:
        ModelError: The store does not exist.
        UnavailableError: The store does not answer.
    """
    stored = store.bundles()
    return lambda reference: store.folder(_chosen(*_parsed(reference), stored, store.shown))


def choose(store: BundleStore, reference: str) -> Stored:
    """Return the bundle that a reference names; see :func:`find`."""
    name, version = _parsed(reference)
    return _chosen(name, version, store.bundles(), store.shown)


def _parsed(reference: str) -> tuple[str, str | None]:
    """Return name and version of a reference."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelError(f"model {reference!r}: not a reference", "write NAME or NAME:1.2.3")
    return match[1], match[2]


def _chosen(name: str, version: str | None, stored: Sequence[Stored], place: str) -> Stored:
    versions = [bundle for bundle in stored if bundle.name == name]
    chosen = [bundle for bundle in versions if version in (None, bundle.version)]
    if not chosen:
        known = ", ".join(bundle.label for bundle in versions or stored) or "none"
        reference = name if version is None else f"{name}:{version}"
        raise ModelError(f"model {reference}: not in {place}", f"there are: {known}")
    return chosen[-1]
