"""From a bundle's directory to a predictor: verify first, then load.

No file is used before its hash was compared. Each file is read once, so that the bytes that were
verified are the bytes that are loaded. Content hash and golden rows show whether anything changed.

A bundle of format 1 has a skops file. It cannot extend the set of trusted types: they are this
program's list and those of the settings. scikit-learn promises nothing across versions, so the
installed MAJOR.MINOR must be the bundle's. A bundle of format 2 has neither limit. An ONNX model
needs ONNX Runtime, and the golden rows must have the same bits with the installed version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import Engine, compile_features, compile_together
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import (
    GOLDEN,
    MANIFEST,
    REFERENCE,
    Manifest,
    content_hash,
)
from stream_scorer.models.bundles.onnx_table import onnx_model, onnx_predictor
from stream_scorer.models.bundles.read_files import Folder, LocalFolder
from stream_scorer.models.bundles.trust import ANY, Trust
from stream_scorer.models.bundles.verify_files import BundleContents, read_seal, verified_files
from stream_scorer.models.files.model_file import read_model
from stream_scorer.models.predictors.onnx_session import OnnxModel, OnnxPredictor
from stream_scorer.models.predictors.parts import ScoringModel
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import read_reference


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        seal: Its manifest, and its signer.
        predictor: Scores rows.
        folder: Where it was loaded from.
        trust: What it was verified by, also when it is verified again.
        reference: What drift detection compares a stream with; None if the bundle has none.
    """

    seal: BundleContents
    predictor: ScoringPredictor | OnnxPredictor
    folder: Folder
    trust: Trust
    reference: DriftReference | None = None

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
    sets = compile_together(
        [(bundle.manifest.features, plan) for bundle, plan in asked], rings,
        [bundle.manifest.engine for bundle, _ in asked],
    )  # fmt: skip
    return tuple(
        Model(
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            predictor=bundle.predictor,
            features=features,
            thresholds=bundle.manifest.policy,
            on_model_error=bundle.manifest.error_outcome,
            bins=None if bundle.reference is None else bundle.reference.bins,
        )
        for (bundle, _), features in zip(asked, sets, strict=True)
    )


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
    files = needed_files(place, seal)
    predictor = bundle_predictor(model_of(files.model, manifest, trust.types), manifest)
    golden.check(files.golden, predictor, manifest.label)
    data = files.reference
    reference = None if data is None else reference_of(data, manifest)
    return Bundle(seal, predictor, place, trust, reference)


@dataclass(frozen=True, slots=True)
class NeededFiles:
    """The verified files of a bundle that a program reads.

    Attributes:
        model: The model file.
        golden: The golden rows.
        reference: The reference of drift detection; None if there is none.
    """

    model: bytes
    golden: bytes
    reference: bytes | None


def needed_files(place: Folder, seal: BundleContents) -> NeededFiles:
    """Return the files of a bundle that are read, after comparing all its files' hashes.

    Raises:
        ModelError: A file cannot be read, is too large, or has another hash.
        UnavailableError: The store does not answer.
    """
    wanted = (seal.manifest.model_file, GOLDEN, REFERENCE)
    kept = {name: data for name, data in verified_files(place, seal) if name in wanted}
    return NeededFiles(kept[wanted[0]], kept[GOLDEN], kept.get(REFERENCE))


def reference_of(data: bytes, manifest: Manifest) -> DriftReference:
    """Return the reference of drift detection of a bundle.

    Args:
        data: Its verified file.
        manifest: The bundle's manifest.

    Raises:
        ModelError: The file is malformed, of another version, or watches a feature that the model
            does not have.
    """
    reference = read_reference(data, manifest.label)
    for each in reference.fields:
        kind, _, number = each.field.source.partition(":")
        if kind == "feature" and int(number) >= len(manifest.features):
            raise ModelError(
                f"bundle {manifest.label}: {REFERENCE}: watches feature {number}, the model has "
                f"{len(manifest.features)}",
                "make it again with `models reference`",
            )
    return reference


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


def model_of(
    data: bytes, manifest: Manifest, types: frozenset[str], *, whole: bool = True
) -> ScoringModel | OnnxModel:
    """Return the model of a bundle.

    Args:
        data: Its verified model file.
        manifest: Its manifest.
        types: Types that a skops file may contain in addition to ``unpack.TRUSTED_TYPES``.
        whole: Whether the content hash must be the manifest's.

    Raises:
        ModelError: The file is malformed or refused, or does not agree with the manifest.
    """
    label = f"bundle {manifest.label}"
    model: ScoringModel | OnnxModel
    if manifest.format == 1:
        from stream_scorer.models.bundles.format_1 import read_model_1  # noqa: PLC0415 scikit-learn loads slowly

        model = read_model_1(data, manifest, types, whole=whole)
    else:
        if manifest.onnx is None:
            model = read_model(data, f"{label}: {manifest.model_file}")
        else:
            model = onnx_model(data, manifest.onnx, manifest.label)
        if whole:
            _check_content(manifest, data)
    if model.feature_count != len(manifest.features):
        raise ModelError(
            f"{label}: the manifest lists {len(manifest.features)} features, the model takes "
            f"{model.feature_count}",
            "train it again",
        )
    return model


def bundle_predictor(
    model: ScoringModel | OnnxModel, manifest: Manifest
) -> ScoringPredictor | OnnxPredictor:
    """Return the predictor of a bundle's model, in the process that will score with it.

    Raises:
        ModelError: ONNX Runtime is needed but not installed, or refuses the model; or the bundle's
            engine has an arithmetic that ONNX Runtime does not have. The message names the bundle.
    """
    own = ENGINES[manifest.engine].own_exponential
    if not isinstance(model, OnnxModel):
        return ScoringPredictor(model, own_exponential=own)
    if own:
        raise ModelError(
            f"bundle {manifest.label}: an ONNX model cannot have engine {manifest.engine}: ONNX "
            "Runtime computes its probabilities",
            "import it again without --engine",
        )
    return onnx_predictor(model, manifest.label)


def check_version(manifest: Manifest) -> None:
    """Refuse a bundle of another engine, or of format 1 and another MAJOR.MINOR of scikit-learn.

    Raises:
        ModelError: The versions differ; the message names them.
    """
    check_engine(manifest)
    if manifest.libraries is not None:
        _check_scikit_learn(manifest, manifest.libraries.scikit_learn)


def check_engine(manifest: Manifest) -> None:
    """Refuse another meaning of features, and features that this engine does not have.

    Raises:
        ModelError: The message names the engine's version or the feature.
    """
    if manifest.engine not in ENGINES:
        raise ModelError(
            f"bundle {manifest.label}: made for feature engine {manifest.engine}, this release has "
            f"{min(ENGINES)} to {max(ENGINES)}",
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
        compile_features(
            manifest.features, plan or declared_plan(manifest.features), manifest.engine
        )
    except ValueError as error:
        raise ModelError(
            f"bundle {manifest.label}: {error}", "correct the manifest or the plan"
        ) from None


def _check_scikit_learn(manifest: Manifest, made: str) -> None:
    found = version("scikit-learn")
    if made.split(".")[:2] != found.split(".")[:2]:
        raise ModelError(
            f"bundle {manifest.label}: made with scikit-learn {made}, installed is {found}",
            "train it again, or install the same MAJOR.MINOR",
        )


def _check_content(manifest: Manifest, model: bytes) -> None:
    """Refuse a manifest that does not agree with its model file."""
    found = content_hash(
        engine=manifest.engine,
        features=manifest.features,
        thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error,
        model=model,
        onnx=manifest.onnx,
    )
    if found != manifest.content_hash:
        raise ModelError(
            f"bundle {manifest.label}: the content hash does not match the model, features, "
            f"thresholds{'' if manifest.onnx is None else ', onnx'} or on_model_error",
            "restore the manifest, or train a new version",
        )
