"""``models upgrade``: write a bundle again, in format 2 or for another engine.

From format 1 to format 2 no decision changes. Another engine may change the last bits of a
probability, and so a decision; the report counts both on the golden rows. It never changes what a
feature means: for that, a model must be trained again.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_scorer.core.decision.policy import decide
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import (
    CARD,
    GOLDEN,
    MODEL,
    MODEL_1,
    PLOTS,
    REFERENCE,
    Manifest,
    content_hash,
)
from stream_scorer.models.bundles.loader import (
    Bundle,
    bundle_predictor,
    check_version,
    load_bundle,
    model_of,
)
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.bundles.verify_files import read_seal, verified_files
from stream_scorer.models.bundles.writer import Candidate, write_copy, write_with_rows
from stream_scorer.models.importing.imported import ImportedModel, ModelSource
from stream_scorer.models.predictors.onnx_session import OnnxPredictor
from stream_scorer.models.predictors.parts import ScoringModel
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.reference.format import read_reference, write_reference
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import folder_for, open_store
from stream_scorer.settings import Settings


def upgrade(
    settings: Settings, reference: str, version: str, out: Path | None, engine: int | None = None
) -> dict[str, Any]:
    """Write a new version with the model, features and thresholds of an old one.

    Args:
        settings: The store, and what is trusted.
        reference: NAME or NAME:VERSION of a bundle; without ``engine``, of one of format 1.
        version: The version of the new bundle.
        out: The store of the new bundle; None: the store of the old one.
        engine: Number of the new bundle's engine; None: that of the old one.

    Returns:
        The report: both labels, the new directory, engine and content hash, and of the golden rows
        their number, how many have a score with the same bits, how many another outcome, and the
        largest difference of a score.

    Raises:
        ModelError: The old bundle is refused, is already what it would become, or cannot have the
            engine; or the new version exists.
        SettingsError: The store is at a URL, and there is no ``out``.
        UnavailableError: The store does not answer.
    """
    trust = trust_of(settings.models)
    folder = find(open_store(settings.models), reference)
    seal = read_seal(folder, trust)
    manifest = seal.manifest
    _refuse_same(manifest, engine)
    store = folder_for(out, settings.models)
    check_version(manifest)
    wanted = manifest.engine if engine is None else engine
    _refuse_other_features(manifest, wanted)
    files = dict(verified_files(folder, seal))
    model = model_of(files[manifest.model_file], manifest, trust.types)
    if not isinstance(model, ScoringModel):
        raise ModelError(
            f"bundle {manifest.label}: is an ONNX model, whose probabilities ONNX Runtime computes",
            "use it as it is, or import the model from its library's file",
        )
    old, new = manifest.label, f"{manifest.name}:{version}"
    files |= _texts(files, manifest, version, wanted)
    rows = golden.read(files[GOLDEN], model.feature_count, old)
    if wanted != manifest.engine:
        predictor = ScoringPredictor(model, own_exponential=ENGINES[wanted].own_exponential)
        golden.check_library(predictor, rows.features, rows.scores, new)
        files[GOLDEN] = golden.write(rows.features, predictor.scores(rows.features), predictor)
    if manifest.libraries is None:
        directory = _copied(store, manifest, version, wanted, files)
    else:
        directory = _from_format_1(store, manifest, version, wanted, files, model)
    # It is not signed yet.
    written = load_bundle(directory, Trust(types=trust.types))
    return {
        "old": old,
        "new": new,
        "directory": str(directory),
        "content_hash": written.manifest.content_hash,
        "engine": wanted,
        **_differences(bundle_predictor(model, manifest), written, rows),
    }


def _refuse_same(manifest: Manifest, engine: int | None) -> None:
    """Refuse a bundle that would not change, and an engine that does not exist."""
    if engine is not None and engine not in ENGINES:
        raise ModelError(
            f"engine {engine}: not an engine", f"known are {', '.join(map(str, ENGINES))}"
        )
    if manifest.libraries is not None:
        return
    if engine is None:
        raise ModelError(
            f"bundle {manifest.label}: is of format 2 already",
            "use it as it is, or name another engine with --engine",
        )
    if engine == manifest.engine:
        raise ModelError(f"bundle {manifest.label}: has engine {engine} already", "use it as it is")


def _refuse_other_features(manifest: Manifest, engine: int) -> None:
    """Refuse an engine in which a feature means something else than the model has learned."""
    plan = declared_plan(manifest.features)
    before, after = (
        compile_features(manifest.features, plan, each) for each in (manifest.engine, engine)
    )
    pairs = zip(before.names, before.identities, after.identities, strict=True)
    changed = [name for name, old, new in pairs if old != new]
    if changed:
        raise ModelError(
            f"bundle {manifest.label}: {', '.join(changed)}: a risk of terminals means something "
            f"else in engine {engine} than in engine {manifest.engine}",
            f"train it again: train --engine {engine}",
        )


def _texts(
    files: Mapping[str, bytes], manifest: Manifest, version: str, engine: int
) -> dict[str, bytes]:
    """Return the files that name the version, for the new one."""
    found = {}
    if CARD in files:
        card = files[CARD]
        for before, after in (
            (f"# {manifest.label}\n", f"# {manifest.name}:{version}\n"),
            (f"\n## Features (engine {manifest.engine})\n", f"\n## Features (engine {engine})\n"),
        ):
            card = card.replace(before.encode(), after.encode(), 1)
        found[CARD] = card
    if REFERENCE in files:
        kept = read_reference(files[REFERENCE], manifest.label)
        found[REFERENCE] = write_reference(replace(kept, version=version))
    return found


def _copied(
    store: Path, manifest: Manifest, version: str, engine: int, files: Mapping[str, bytes]
) -> Path:
    """Write a bundle of format 2 again."""
    digest = content_hash(
        engine=engine,
        features=manifest.features,
        thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error,
        model=files[MODEL],
    )
    changes = {"version": version, "engine": engine, "content_hash": digest}
    return write_copy(store, manifest.model_copy(update=changes), files)


def _from_format_1(
    store: Path, manifest: Manifest, version: str, engine: int, files: Mapping[str, bytes],
    model: ScoringModel,
) -> Path:  # fmt: skip
    """Write a bundle of format 1 in format 2."""
    imported = ImportedModel(
        model=model,
        library="scikit_learn",
        library_version="" if manifest.libraries is None else manifest.libraries.scikit_learn,
        kind=manifest.kind,
        parameters=manifest.parameters,
    )
    candidate = Candidate(
        name=manifest.name,
        version=version,
        source=ModelSource(imported, files[MODEL_1], "skops"),
        features=manifest.features,
        thresholds=manifest.thresholds,
        training=manifest.training,
        on_model_error=manifest.on_model_error,
        card={name: files[name] for name in (CARD, PLOTS) if name in files},
        licence=manifest.licence,
        reference=manifest.reference,
        drift_reference=files.get(REFERENCE),
        engine=engine,
    )
    return write_with_rows(store, candidate, files[GOLDEN])


def _differences(
    old: ScoringPredictor | OnnxPredictor, written: Bundle, rows: golden.GoldenRows
) -> dict[str, Any]:
    """Return what changed on the golden rows."""
    before, after = (each.scores(rows.features) for each in (old, written.predictor))
    policy = written.manifest.policy
    return {
        "golden_rows": len(before),
        "golden_rows_with_the_same_bits": int(
            (before.view(np.uint64) == after.view(np.uint64)).sum()
        ),
        "golden_rows_with_another_outcome": int(
            (decide(before, policy) != decide(after, policy)).sum()
        ),
        "largest_difference": float(np.abs(before - after).max()),
    }
