"""Bundles of format 1, whose model is a skops file: only these need scikit-learn to be loaded."""

import sklearn

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import MODEL_1, Manifest, content_hash_1
from stream_scorer.models.importing.scikit_learn.convert import scoring_model
from stream_scorer.models.importing.scikit_learn.format_1 import arrays_of
from stream_scorer.models.importing.scikit_learn.guard import refused_as
from stream_scorer.models.importing.scikit_learn.read import kind_of, parameters_of
from stream_scorer.models.importing.scikit_learn.unpack import SkopsRules, unpack
from stream_scorer.models.predictors.parts import ScoringModel


def read_model_1(
    data: bytes, manifest: Manifest, types: frozenset[str], *, whole: bool = True
) -> ScoringModel:
    """Return the model of a bundle.

    Args:
        data: Its verified skops file.
        manifest: Its manifest.
        types: Types that the file may contain in addition to ``unpack.TRUSTED_TYPES``.
        whole: Whether the model must agree with the complete manifest; otherwise, only with its
            kind.

    Raises:
        ModelError: It is refused, or not of a known kind, or does not agree with its manifest.
    """
    label = f"bundle {manifest.label}"
    estimator = unpack(data, f"{label}: {MODEL_1}", SkopsRules(types))
    try:
        with refused_as("model: it does not hold what a fitted one does", "train it again"):
            model = scoring_model(estimator)
            arrays = arrays_of(model, estimator)
            kind, parameters = kind_of(estimator), parameters_of(estimator)
    except ModelError as error:
        raise ModelError(f"{label}: {error.what}", error.fix) from None
    if kind != manifest.kind:
        raise ModelError(
            f"{label}: the manifest states {manifest.kind}, the model is a {kind}", "train it again"
        )
    if not whole:
        return model
    if manifest.parameters != parameters:
        raise ModelError(
            f"{label}: the manifest's parameters are not the model's", "train it again"
        )
    found = content_hash_1(
        kind=manifest.kind,
        engine=manifest.engine,
        features=manifest.features,
        thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error,
        parameters=parameters,
        arrays=arrays,
    )
    if found != manifest.content_hash:
        raise ModelError(
            f"{label}: the content hash does not match the model, its parameters, features, "
            "thresholds or on_model_error",
            "restore the manifest, or train a new version",
        )
    return model


def installed() -> str:
    """Return the version of scikit-learn."""
    return str(sklearn.__version__)
