"""An operator with a key, the settings that trust it, and a registry with real releases."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.batch import Outcome
from stream_scorer.devkafka.child import as_environment
from stream_scorer.edge.claims.contract import EdgeDecision
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.operator.registrations import DeviceScope, RegistryWriter
from stream_scorer.edge.settings.device import Edge
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.settings import MODELS_DIRECTORY, Kafka, Settings
from tests.support.edge.devices import MadeDevice

ANYWHERE = DeviceScope()


@dataclass
class Operator:
    """An operator whose registrations the processes of a cluster accept."""

    kafka: Kafka
    key: Ed25519PrivateKey
    release: str = "fraud/1.0.0"

    @property
    def trusted(self) -> dict[str, str]:
        """The setting ``edge.trusted_keys``."""
        public = self.key.public_key().public_bytes_raw()
        return {"risk": base64.b64encode(public).decode()}

    @property
    def settings(self) -> Settings:
        """Settings of the operator's commands."""
        return Settings(kafka=self.kafka, edge=Edge(trusted_keys=self.trusted))

    def variables(self, **tables: Any) -> dict[str, str]:
        """Return the environment of a process that accepts what this operator signs."""
        trusted = {"STREAM_SCORER_EDGE__TRUSTED_KEYS": json.dumps(self.trusted)}
        return as_environment(tables) | trusted

    def manifest(self) -> Manifest:
        """Return the manifest of the release."""
        return load_bundle(Path(MODELS_DIRECTORY) / self.release).manifest

    def writer(self) -> RegistryWriter:
        """Return what changes the registry."""
        return RegistryWriter(self.settings, self.key)

    def register(self, *devices: MadeDevice, scope: DeviceScope = ANYWHERE) -> None:
        """Register the release and devices."""
        with self.writer() as writer:
            writer.allow(self.manifest(), "test")
            for device in devices:
                public = device.key.public_key().public_bytes_raw()
                writer.provision(DeviceRequest(device.name, public), scope, None, "test")
            writer.wait_until_known()


def decision_by(
    manifest: Manifest, transaction: str, outcome: Outcome, **changes: Any
) -> EdgeDecision:
    """Return a device's decision with a release."""
    made: dict[str, Any] = {
        "transaction_id": transaction, "model": manifest.name, "version": manifest.version,
        "content_hash": bytes.fromhex(manifest.content_hash), "engine": manifest.engine,
        "plan_sha256": bytes(32), "plan_revision": 0, "margin": 1.0, "score": 0.75,
        "outcome": outcome, "model_outcome": outcome, "flags": 0,
        "reasons": () if outcome == Outcome.APPROVE else ("amount",),
        "features": np.arange(len(manifest.features), dtype="<f8").tobytes(),
        "terminal_watermark": None, "decided_at": 1_522_600_000_000,
    }  # fmt: skip
    return EdgeDecision(**{**made, **changes})
