"""A release on a device: a folder with one bundle and its plan, as a store of models has them.

NAME/plan.toml              the plan, with its parts and its signature
NAME/VERSION/...            the bundle
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan, table_of
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.edge.claims.contract import DECISION_BYTES_MOST
from stream_scorer.errors import EdgeError
from stream_scorer.models.bundles.loader import Bundle, load_bundle
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.store import FolderStore, Stored
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.security.canonical_json import canonical

_FEATURES_MOST: Final = (DECISION_BYTES_MOST - 4_096) // 8
"""A decision has all features in the header of a record."""
_AGAIN: Final = "export it again: stream-scorer export NAME:VERSION --target device"


@dataclass(frozen=True, slots=True)
class DeviceRelease:
    """A loaded release.

    Attributes:
        bundle: The verified bundle.
        model: Its model, compiled under the plan.
        plan: The plan.
        schemas: The schemas of records, in a folder.
        terminals: The history of terminals; empty if no feature uses it.
    """

    bundle: Bundle
    model: Model
    plan: Plan
    schemas: FileRegistry
    terminals: TerminalTable

    @property
    def label(self) -> str:
        """``NAME:VERSION`` of the bundle."""
        return self.bundle.manifest.label

    @property
    def content_hash(self) -> bytes:
        """SHA-256 of the bundle's content, 32 bytes."""
        return bytes.fromhex(self.bundle.manifest.content_hash)

    @property
    def plan_sha256(self) -> bytes:
        """SHA-256 of the plan's table in canonical JSON, 32 bytes."""
        return hashlib.sha256(canonical(table_of(self.plan))).digest()


def load_release(
    folder: Path, schemas: Path, trust: Trust, plan_trust: Trust | None = None,
    terminals: TerminalTable | None = None,
) -> DeviceRelease:  # fmt: skip
    """Verify a release and load it.

    Args:
        folder: The release.
        schemas: The folder of the schemas of records, with ``registry.json``.
        trust: Whose bundles are accepted.
        plan_trust: Whose plans are accepted; None: it need not be signed.
        terminals: The history of terminals; None: the device has none.

    Raises:
        EdgeError: It is not a release, or its bundle is not one that a device can decide with.
        ModelError: The bundle is refused.
        SchemaError: The schemas are refused.
        SettingsError: The plan is refused.
    """
    store = FolderStore(folder)
    stored = _only_bundle(folder, store)
    bundle = load_bundle(store.folder(stored), trust)
    plan = plan_of(store, stored.name, None, plan_trust)
    model = bundle.model(plan)
    label = bundle.manifest.label
    if model.features.by_terminal and terminals is None:
        raise EdgeError(
            f"release {label}: has features of terminals, and the device has no rows of them",
            "export it with --terminal-rows",
        )
    if len(model.features.names) > _FEATURES_MOST:
        raise EdgeError(
            f"release {label}: has more than {_FEATURES_MOST} features",
            "a device's decision has no room for them: choose a smaller model",
        )
    return DeviceRelease(
        bundle, model, plan, FileRegistry(schemas),
        TerminalTable() if terminals is None else terminals,
    )  # fmt: skip


def _only_bundle(folder: Path, store: FolderStore) -> Stored:
    bundles = store.bundles()
    if len(bundles) != 1:
        raise EdgeError(f"release {folder}: has {len(bundles)} bundles, not one", _AGAIN)
    return bundles[0]
