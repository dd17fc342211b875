"""From a bundle's directory to a predictor: verify first, then load.

No file is used before its hash was compared. Each file is read once, so that the bytes that were
verified are the bytes that are loaded. A bundle cannot extend the set of trusted types: they are
this program's list and those of the settings. scikit-learn promises nothing across versions, so the
installed MAJOR.MINOR must be the bundle's. Patch releases may differ, because content hash and
golden rows show whether anything changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn
from sklearn.pipeline import Pipeline

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import (
    ENGINE,
    Engine,
    compile_features,
    compile_together,
)
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import GOLDEN, MANIFEST, MODEL, Manifest, content_hash
from stream_scorer.models.bundles.read_files import Folder, LocalFolder
from stream_scorer.models.bundles.trust import ANY, Trust
from stream_scorer.models.bundles.unpack import unpack
from stream_scorer.models.bundles.verify_files import BundleContents, read_seal, verified_files
from stream_scorer.models.predictors.predictors import FittedPredictor, predictor_for

_KINDS = {
    "HistGradientBoostingClassifier": "hist_gradient_boosting",
    "RandomForestClassifier": "random_forest",
    "DecisionTreeClassifier": "decision_tree",
    "LogisticRegression": "logistic_regression",
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        seal: Its manifest, and its signer.
        predictor: Scores rows.
        folder: Where it was loaded from.
        trust: What it was verified by, also when it is verified again.
    """

    seal: BundleContents
    predictor: FittedPredictor
    folder: Folder
    trust: Trust

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.seal.manifest

    def model(self, plan: Plan) -> Model:
        """Return the model for the core.

        Raises:
            ModelError: The plan and the feature list do not fit together.
        """
        return models_of((self,), plan)[0]


def models_of(bundles: Sequence[Bundle], plan: Plan) -> tuple[Model, ...]:
    """Return models for the core, all computed from the same rings.

    Raises:
        ModelError: The plan and a feature list do not fit together.
    """
    return models_under([(bundle, plan) for bundle in bundles])


def models_under(
    asked: Sequence[tuple[Bundle, Plan]], rings: Engine | None = None
) -> tuple[Model, ...]:
    """Return models for the core, each under its own plan, all computed from the same rings.

    Args:
        asked: Bundles, each with the plan by which its events are read.
        rings: The engine for which the rings were made, if there are rings.

    Raises:
        ModelError: A plan and a feature list do not fit together.
    """
    for bundle, plan in asked:
        check_features(bundle.manifest, plan)
    sets = compile_together([(bundle.manifest.features, plan) for bundle, plan in asked], rings)
    return tuple(
        Model(
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            predictor=bundle.predictor,
            features=features,
            thresholds=bundle.manifest.policy,
            on_model_error=bundle.manifest.error_outcome,
        )
        for (bundle, _), features in zip(asked, sets, strict=True)
    )


def kind_of(model: Any) -> str:
    """Return the manifest's name for a fitted model's kind."""
    estimator = model.steps[-1][1] if isinstance(model, Pipeline) else model
    return _KINDS[type(estimator).__name__]


def parameters_of(model: Any) -> dict[str, Any]:
    """Return an estimator's parameters as plain JSON values; a pipeline's are its last step's."""
    estimator = model.steps[-1][1] if isinstance(model, Pipeline) else model
    return {
        name: value if isinstance(value, str | int | float | bool | None) else repr(value)
        for name, value in sorted(estimator.get_params(deep=False).items())
    }


def load_bundle(folder: Path | Folder, trust: Trust = ANY) -> Bundle:
    """Verify a bundle and load it.

    Args:
        folder: ``NAME/VERSION``.
        trust: The trusted keys, whether a signature is required, and which types a skops file may
            contain in addition to ``unpack.TRUSTED_TYPES``.

    Raises:
        ModelError: A file is missing, extra or altered; the bundle is not signed although that is
            required, is not trusted, is of another version, or does not score as at training.
        UnavailableError: The store does not answer.
    """
    place = LocalFolder(folder) if isinstance(folder, Path) else folder
    seal = read_seal(place, trust)
    manifest = seal.manifest
    check_version(manifest)
    files = dict(verified_files(place, seal))
    model = unpack(files[MODEL], manifest.label, trust)
    predictor = predictor_of(model, manifest)
    _check_agreement(manifest, model, predictor)
    golden.check(
        files[GOLDEN], predictor, manifest.label, linear=manifest.kind == "logistic_regression"
    )
    return Bundle(seal, predictor, place, trust)


def verify_again(bundle: Bundle) -> None:
    """Compare the files of a loaded bundle, in their store, with what was loaded.

    The manifest must be the one that was loaded. It has the sha256 of each file, so a bundle that
    passes would load as before. One file at a time is in memory. The signature is verified as at
    the start.

    Raises:
        ModelError: A file is missing, extra or altered; the bundle is no longer signed although
            that is required; or it is a valid bundle, but another one.
        UnavailableError: The store does not answer.
    """
    seal = read_seal(bundle.folder, bundle.trust)
    if seal.manifest != bundle.manifest:
        raise ModelError(
            f"bundle {bundle.manifest.label}: {MANIFEST} is not the one that was loaded",
            "a version never changes: put it back, and give the new model a new version",
        )
    for _ in verified_files(bundle.folder, seal, near=False):
        pass


def predictor_of(model: object, manifest: Manifest) -> FittedPredictor:
    """Return a model's predictor.

    Raises:
        ModelError: The model is not of a known kind, or not of the manifest's kind and features.
    """
    label = f"bundle {manifest.label}"
    try:
        predictor = predictor_for(model)
    except ModelError as error:
        raise ModelError(f"{label}: {error.what}", error.fix) from None
    kind = kind_of(model)
    if kind != manifest.kind:
        raise ModelError(
            f"{label}: the manifest states {manifest.kind}, the model is a {kind}", "train it again"
        )
    if predictor.feature_count != len(manifest.features):
        raise ModelError(
            f"{label}: the manifest lists {len(manifest.features)} features, the model takes "
            f"{predictor.feature_count}",
            "train it again",
        )
    return predictor


def check_version(manifest: Manifest) -> None:
    """Refuse a bundle of another engine or of another MAJOR.MINOR of scikit-learn.

    Raises:
        ModelError: The versions differ; the message names them.
    """
    check_engine(manifest)
    _check_scikit_learn(manifest)


def check_engine(manifest: Manifest) -> None:
    """Refuse another meaning of features, and features that this engine does not have.

    Raises:
        ModelError: The message names the engine's version or the feature.
    """
    if manifest.engine != ENGINE:
        raise ModelError(
            f"bundle {manifest.label}: made for feature engine {manifest.engine}, this is engine "
            f"{ENGINE}",
            "train it again with this release",
        )
    check_features(manifest, None)


def check_features(manifest: Manifest, plan: Plan | None) -> None:
    """Refuse a plan and a feature list that do not fit together.

    Args:
        manifest: Lists the features.
        plan: None checks the list alone, if the plan under which it decides is not known yet.

    Raises:
        ModelError: They do not; the message names the feature.
    """
    try:
        compile_features(manifest.features, plan or declared_plan(manifest.features))
    except ValueError as error:
        raise ModelError(
            f"bundle {manifest.label}: {error}", "correct the manifest or the plan"
        ) from None


def _check_scikit_learn(manifest: Manifest) -> None:
    made, installed = manifest.libraries.scikit_learn, sklearn.__version__
    if made.split(".")[:2] != installed.split(".")[:2]:
        raise ModelError(
            f"bundle {manifest.label}: made with scikit-learn {made}, installed is {installed}",
            "train it again, or install the same MAJOR.MINOR",
        )


def _check_agreement(manifest: Manifest, model: object, predictor: FittedPredictor) -> None:
    """Refuse a model that does not agree with its manifest."""
    label = f"bundle {manifest.label}"
    parameters = parameters_of(model)
    if manifest.parameters != parameters:
        raise ModelError(
            f"{label}: the manifest's parameters are not the model's", "train it again"
        )
    found = content_hash(
        kind=manifest.kind,
        engine=manifest.engine,
        features=manifest.features,
        thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error,
        parameters=parameters,
        arrays=predictor.arrays(),
    )
    if found != manifest.content_hash:
        raise ModelError(
            f"{label}: the content hash does not match the model, its parameters, features, "
            "thresholds or on_model_error",
            "restore the manifest, or train a new version",
        )
