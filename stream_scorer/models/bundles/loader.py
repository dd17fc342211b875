"""From a bundle's directory to a predictor: verify first, then load.

Nothing is read as a model before its hash is right; each file is read once, so that what was
verified is what is loaded. Nothing in a bundle can widen what may be loaded: the trusted types
are this program's list and the settings', never the file's. scikit-learn promises nothing across
versions, so the installed MAJOR.MINOR must be the bundle's; patch releases may differ, because
the content hash and the golden vectors then show whether anything changed.
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
        seal: What it says of itself, and who vouches for it.
        predictor: Scores rows.
        folder: Where it was loaded from.
        trust: By which it was verified, and is again.
    """

    seal: BundleContents
    predictor: FittedPredictor
    folder: Folder
    trust: Trust

    @property
    def manifest(self) -> Manifest:
        """What it says of itself."""
        return self.seal.manifest

    def model(self, plan: Plan) -> Model:
        """Return the model as the core takes it.

        Raises:
            ModelError: The plan and the feature list do not fit together.
        """
        return models_of((self,), plan)[0]


def models_of(bundles: Sequence[Bundle], plan: Plan) -> tuple[Model, ...]:
    """Return models as the core takes them, all computed from the same rings.

    Raises:
        ModelError: The plan and a feature list do not fit together.
    """
    return models_under([(bundle, plan) for bundle in bundles])


def models_under(
    asked: Sequence[tuple[Bundle, Plan]], rings: Engine | None = None
) -> tuple[Model, ...]:
    """Return models as the core takes them, each under its own plan, computed from the same rings.

    Args:
        asked: Bundles, each with the plan by which its events are read.
        rings: The engine that the rings were made for, if there are rings.

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
        trust: Whose signatures count, whether there must be one, and which types a skops file may
            hold beside :data:`TRUSTED_TYPES`.

    Raises:
        ModelError: Anything is missing, extra, altered, unsigned though it must be, untrusted, of
            another version, or does not score as it did at training.
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
    """Compare the files of a loaded bundle, where they lie, with what was loaded.

    As the manifest is the one that was loaded and names each file's sha256, what passes would load
    as it did. One file is in memory at a time. Its signature is verified as at a start.

    Raises:
        ModelError: Anything is missing, extra, altered, or no longer signed though it must be; or
            it is whole and another bundle.
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
        ModelError: Not a model of the known kinds, or not of the manifest's kind and features.
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
        ModelError: Names the versions.
    """
    check_engine(manifest)
    _check_scikit_learn(manifest)


def check_engine(manifest: Manifest) -> None:
    """Refuse other feature semantics, and features that this engine lacks.

    Raises:
        ModelError: Names the engine's version or the feature.
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
        plan: None judges the list alone: under which plan it decides is not known yet.

    Raises:
        ModelError: Names the feature.
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
    """Refuse a model that is not what the manifest says."""
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
