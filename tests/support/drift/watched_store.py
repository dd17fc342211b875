"""A model store with a version whose reference is the hand-made one."""

import shutil
from dataclasses import replace
from pathlib import Path

from stream_scorer.drift.monitor.references import References
from stream_scorer.models.bundles.bundle import REFERENCE
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.bundles.verify_files import verified_files
from stream_scorer.models.bundles.writer import write_copy
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import digest_of, write_reference
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import MODELS_DIRECTORY, Models
from stream_scorer.telemetry import Event
from tests.support.drift.synthetic import reference

VERSION = "9.0.0"


def watched_store(store: Path) -> DriftReference:
    """Write the version ``fraud:9.0.0`` and its plan to a store; return its reference."""
    made = replace(reference(), model="fraud", version=VERSION)
    data = write_reference(made)
    bundle = load_bundle(MODELS_DIRECTORY / "fraud" / "1.0.0")
    manifest = bundle.manifest.model_copy(update={"version": VERSION})
    files = dict(verified_files(bundle.folder, bundle.seal))
    files = {name: each for name, each in files.items() if not name.startswith("card")}
    write_copy(store, manifest, {**files, REFERENCE: data})
    shutil.copy(MODELS_DIRECTORY / "fraud" / "plan.toml", store / "fraud" / "plan.toml")
    return replace(made, digest=digest_of(data))


def references(store: Path, told: list[Event] | None = None) -> References:
    """Return the references of a store."""
    models = Models(directory=store)
    listener = (told if told is not None else []).append
    return References(open_store(models), trust_of(models), listener)
