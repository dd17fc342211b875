"""The references of the versions that summaries name, from the model store.

A reference is a verified file of a bundle. Summaries name model, version and digest; any client
that may write them chooses the names. So a name that is not found is not looked up again while it
is among the newest ones, and a batch has a limited number of look-ups. Names that waited in most
batches come first. A real version is named again and again: new forged names delay its look-up by
one batch, and forged ones that wait as long as it are looked up once.
"""

from collections.abc import Iterable
from typing import Final

from stream_scorer.errors import ModelError, UnavailableError
from stream_scorer.models.bundles.bundle import REFERENCE
from stream_scorer.models.bundles.loader import reference_of
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.bundles.verify_files import read_seal, refuse_other
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import BYTES_MOST
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import BundleStore
from stream_scorer.ports import Paused
from stream_scorer.telemetry import DriftReferenceMissing, Listener

NAMES_MOST: Final = 100
"""Maximum number of names that are remembered: those that were named last."""
LOOKED_UP_MOST: Final = 50
"""Maximum number of names that are looked up for a batch; others wait for the next one."""
WAITING_MOST: Final = 10_000
"""Maximum number of names that wait; of more, those that waited in fewest batches are forgotten."""

Name = tuple[str, str, str]
"""Model, version and digest."""


class References:
    """References by model, version and digest.

    Args:
        store: The model store.
        trust: Whose signatures count.
        listener: Notified of a reference that is not found.
    """

    def __init__(self, store: BundleStore, trust: Trust, listener: Listener) -> None:
        self._store = store
        self._trust = trust
        self._listener = listener
        self._known: dict[Name, DriftReference | None] = {}
        self._waited: dict[Name, int] = {}

    def prepare(self, names: Iterable[Name]) -> None:
        """Read the references that are not known yet.

        Args:
            names: What a batch of summaries names.

        Raises:
            Paused: The store does not answer.
        """
        asked = dict.fromkeys(name for name in names if name[2])
        for name in [name for name in asked if name in self._known]:
            # The one that was named last is at the end.
            self._known[name] = self._known.pop(name)
        new = sorted(
            (name for name in asked if name not in self._known),
            key=lambda name: -self._waited.get(name, 0),
        )
        for name in new[:LOOKED_UP_MOST]:
            self._known[name] = self._read(name)
            self._waited.pop(name, None)
        self._wait(new[LOOKED_UP_MOST:])
        while len(self._known) > NAMES_MOST:
            del self._known[next(iter(self._known))]
        if len(new) > LOOKED_UP_MOST:
            self._missing(
                new[LOOKED_UP_MOST], f"more than {LOOKED_UP_MOST} unknown names in one batch"
            )

    def _wait(self, names: Iterable[Name]) -> None:
        """Count one more batch for names that wait."""
        waiting = {name: self._waited.pop(name, 0) + 1 for name in names} | self._waited
        kept = sorted(waiting.items(), key=lambda each: -each[1])
        self._waited = dict(kept[:WAITING_MOST])

    def of(self, model: str, version: str, digest: str) -> DriftReference | None:
        """Return a reference that was prepared; None if it is not known."""
        return self._known.get((model, version, digest))

    def _read(self, name: Name) -> DriftReference | None:
        model, version, digest = name
        try:
            reference = self._verified(model, version)
        except UnavailableError as error:
            raise Paused("models", str(error)) from error
        except ModelError as error:
            self._missing(name, error.what)
            return None
        if reference is None:
            self._missing(name, "the bundle has no reference")
            return None
        if reference.digest != digest:
            self._missing(name, f"the bundle's reference is {reference.digest}")
            return None
        return reference

    def _verified(self, model: str, version: str) -> DriftReference | None:
        folder = find(self._store, f"{model}:{version}")
        manifest = read_seal(folder, self._trust).manifest
        if REFERENCE not in manifest.files:
            return None
        data = folder.read(REFERENCE, BYTES_MOST)
        refuse_other(REFERENCE, data, manifest)
        return reference_of(data, manifest)

    def _missing(self, name: Name, why: str) -> None:
        self._listener(DriftReferenceMissing(name[0], name[1], why))
