"""The store of the bundles, as a trainer uses it: new versions, and complete bundles."""

import shutil
import tempfile
from pathlib import Path

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import MANIFEST
from stream_scorer.models.stores.remote import UrlStore
from stream_scorer.models.stores.store import BundleStore, FolderStore, Stored


def publish(store: BundleStore, directory: Path, manifest: bytes) -> None:
    """Copy a signed bundle to the store; it appears complete or not at all.

    Args:
        store: The store.
        directory: Of the bundle, NAME/VERSION.
        manifest: The bytes of its ``manifest.json``.

    Raises:
        ModelError: The version is there with another manifest, or the store cannot be written.
        UnavailableError: The store does not answer.
    """
    if isinstance(store, UrlStore):
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        store.add(Stored(directory.parent.name, directory.name), files)
        return
    if not isinstance(store, FolderStore):
        raise ModelError(f"model store {store.shown}: is not written to")
    target = store.directory / directory.parent.name / directory.name
    if target.exists():
        if (target / MANIFEST).read_bytes() == manifest:
            return
        raise ModelError(f"bundle {target}: another one is there", "the next takes a new one")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
        shutil.copytree(directory, making, dirs_exist_ok=True)
        making.chmod(0o755)
        making.rename(target)
    except OSError as error:
        raise ModelError(
            f"bundle {target}: cannot be written ({error.strerror or error})",
            "give the trainer the right to write there",
        ) from error


def next_version(store: BundleStore, named: frozenset[str], model: str) -> str:
    """Return the version of a new bundle: the next minor one that no bundle and no plan has.

    Args:
        store: The store.
        named: All versions that plans named, as NAME:VERSION.
        model: Name of the model.
    """
    known = [each.version for each in store.bundles() if each.name == model]
    known += [label.partition(":")[2] for label in named if label.startswith(f"{model}:")]
    numbers = [tuple(map(int, each.split("."))) for each in known] or [(0, 0, 0)]
    major, minor, _ = max(numbers)
    return f"{major}.{minor + 1}.0"
