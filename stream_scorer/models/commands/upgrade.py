"""``models upgrade``: write a bundle of format 1 again in format 2, with the same decisions."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import CARD, GOLDEN, MODEL_1, PLOTS, REFERENCE
from stream_scorer.models.bundles.loader import check_version, load_bundle, model_of
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.bundles.verify_files import read_seal, verified_files
from stream_scorer.models.bundles.writer import Candidate, write_with_rows
from stream_scorer.models.importing.imported import ImportedModel, ModelSource
from stream_scorer.models.predictors.parts import ScoringModel  # noqa: TC001 it is named in a cast
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.reference.format import read_reference, write_reference
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import folder_for, open_store
from stream_scorer.settings import Settings


def upgrade(settings: Settings, reference: str, version: str, out: Path | None) -> dict[str, Any]:
    """Write a new version with the model, features, thresholds and golden rows of an old one.

    Args:
        settings: The store, and what is trusted.
        reference: NAME or NAME:VERSION of a bundle of format 1.
        version: The version of the new bundle.
        out: The store of the new bundle; None: the store of the old one.

    Returns:
        The report: both labels, the new directory and content hash, and the number of golden rows
        whose scores have the same bits.

    Raises:
        ModelError: The old bundle is refused or of format 2, or the new version exists.
        SettingsError: The store is at a URL, and there is no ``out``.
        UnavailableError: The store does not answer.
    """
    trust = trust_of(settings.models)
    folder = find(open_store(settings.models), reference)
    seal = read_seal(folder, trust)
    manifest = seal.manifest
    if manifest.libraries is None:
        raise ModelError(f"bundle {manifest.label}: is of format 2 already", "use it as it is")
    store = folder_for(out, settings.models)
    check_version(manifest)
    files = dict(verified_files(folder, seal))
    # A bundle of format 1 has no ONNX model.
    model = cast("ScoringModel", model_of(files[MODEL_1], manifest, trust.types))
    imported = ImportedModel(
        model=model,
        library="scikit_learn",
        library_version=manifest.libraries.scikit_learn,
        kind=manifest.kind,
        parameters=manifest.parameters,
    )
    old, new = manifest.label, f"{manifest.name}:{version}"
    card = {name: files[name] for name in (CARD, PLOTS) if name in files}
    if card:
        card[CARD] = card[CARD].replace(f"# {old}\n".encode(), f"# {new}\n".encode(), 1)
    candidate = Candidate(
        name=manifest.name,
        version=version,
        source=ModelSource(imported, files[MODEL_1], "skops"),
        features=manifest.features,
        thresholds=manifest.thresholds,
        training=manifest.training,
        on_model_error=manifest.on_model_error,
        card=card,
        licence=manifest.licence,
        reference=manifest.reference,
        drift_reference=_reference(files.get(REFERENCE), old, version),
    )
    directory = write_with_rows(store, candidate, files[GOLDEN])
    written = load_bundle(directory)
    rows = golden.read(files[GOLDEN], model.feature_count, old).features
    scores = [each.scores(rows) for each in (ScoringPredictor(model), written.predictor)]
    same = int((scores[0].view(np.uint64) == scores[1].view(np.uint64)).sum())
    return {
        "old": old,
        "new": new,
        "directory": str(directory),
        "content_hash": written.manifest.content_hash,
        "golden_rows": len(rows),
        "golden_rows_with_the_same_bits": same,
    }


def _reference(data: bytes | None, label: str, version: str) -> bytes | None:
    """Return a bundle's reference of drift detection as that of its new version."""
    if data is None:
        return None
    return write_reference(replace(read_reference(data, label), version=version))
