"""From a bundle's directory to a predictor: verify first, then load.

Nothing is read as a model before its hash is right; each file is read once, so that what was
verified is what is loaded. Nothing in a bundle can widen what may be loaded: the trusted types
are this program's list and the settings', never the file's. scikit-learn promises nothing across
versions, so the installed MAJOR.MINOR must be the bundle's; patch releases may differ, because
the content hash and the golden vectors then show whether anything changed.
"""

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn
import skops.io
from sklearn.pipeline import Pipeline

from stream_scorer.core.features import ENGINE, compile_features, compile_union
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Model
from stream_scorer.errors import ModelError
from stream_scorer.models import golden
from stream_scorer.models.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    MODEL,
    PLOTS,
    Manifest,
    content_hash,
    read_manifest,
)
from stream_scorer.models.predictors import FittedPredictor, predictor_for

TRUSTED_TYPES = frozenset(
    {
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types beyond skops's own list that models of the known kinds consist of."""

_KINDS = {
    "HistGradientBoostingClassifier": "hist_gradient_boosting",
    "RandomForestClassifier": "random_forest",
    "DecisionTreeClassifier": "decision_tree",
    "LogisticRegression": "logistic_regression",
}
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".p", ".dill", ".cloudpickle"})
_MEMBERS = frozenset({".json", ".npy"})
_FILE_BYTES_MOST = 512 * 1024 * 1024
_UNPACKED_BYTES_MOST = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        manifest: What it says of itself.
        predictor: Scores rows.
        directory: Where it was loaded from.
    """

    manifest: Manifest
    predictor: FittedPredictor
    directory: Path

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
    for bundle in bundles:
        try:
            compile_features(bundle.manifest.features, plan)
        except ValueError as error:
            raise ModelError(
                f"bundle {bundle.manifest.label}: {error}", "correct the manifest or the plan"
            ) from None
    sets = compile_union([bundle.manifest.features for bundle in bundles], plan)
    return tuple(
        Model(
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            predictor=bundle.predictor,
            features=features,
            thresholds=bundle.manifest.policy,
            on_model_error=bundle.manifest.error_outcome,
        )
        for bundle, features in zip(bundles, sets, strict=True)
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


def load_bundle(directory: Path, trusted: Iterable[str] = ()) -> Bundle:
    """Verify a bundle and load it.

    Args:
        directory: ``NAME/VERSION``.
        trusted: Types that a skops file may hold beside :data:`TRUSTED_TYPES`; from the settings.

    Raises:
        ModelError: Anything is missing, extra, altered, untrusted, of another version, or does
            not score as it did at training.
    """
    manifest = read_manifest(directory)
    files = dict(_verified_files(directory, manifest))
    _check_versions(manifest)
    model = _unpack(files[MODEL], manifest, frozenset(trusted) | TRUSTED_TYPES)
    try:
        predictor = predictor_for(model)
    except ModelError as error:
        raise ModelError(f"bundle {manifest.label}: {error.what}", error.mend) from None
    _check_agreement(manifest, model, predictor)
    golden.check(
        files[GOLDEN], predictor, manifest.label, linear=manifest.kind == "logistic_regression"
    )
    bundle = Bundle(manifest, predictor, directory)
    bundle.model(Plan())
    return bundle


def verify_again(bundle: Bundle) -> None:
    """Compare the files of a loaded bundle, where they lie, with what was loaded.

    As the manifest is the one that was loaded and names each file's sha256, what passes would load
    as it did. One file is in memory at a time.

    Raises:
        ModelError: Anything is missing, extra or altered, or whole and another bundle.
    """
    if read_manifest(bundle.directory) != bundle.manifest:
        raise ModelError(
            f"bundle {bundle.manifest.label}: {MANIFEST} is not the one that was loaded",
            "a version never changes: put it back, and give what is new a version of its own",
        )
    for _ in _verified_files(bundle.directory, bundle.manifest):
        pass


def _verified_files(directory: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Yield each listed file's name and bytes after comparing their hash."""
    label = f"bundle {manifest.label}"
    listed = set(manifest.files)
    if listed not in ({MODEL, GOLDEN}, {MODEL, GOLDEN, CARD, PLOTS}):
        raise ModelError(
            f"{label}: the manifest lists {', '.join(sorted(listed)) or 'no files'}",
            f"it must list {GOLDEN} and {MODEL}, and {CARD} with {PLOTS} or neither",
        )
    expected = {MANIFEST, *listed}
    try:
        present = {path.name: path for path in directory.iterdir()}
    except OSError as error:
        raise ModelError(
            f"{label}: {directory} cannot be read ({error.strerror})", "let this user read it"
        ) from error
    for name in sorted(set(present) - expected):
        if Path(name).suffix.lower() in _PICKLES:
            raise ModelError(
                f"{label}: {name} is a pickle or joblib file", "remove it; models are skops files"
            )
        raise ModelError(f"{label}: {name} is not in the manifest", "remove it")
    for name, digest in manifest.files.items():
        if name not in present:
            raise ModelError(f"{label}: {name} is missing", "copy the whole bundle")
        content = _read(present[name], label)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(
                f"{label}: {name} is not the file that the manifest names (sha256 differs)",
                "copy the bundle again from where it was trained",
            )
        yield name, content


def _read(path: Path, label: str) -> bytes:
    """Return a regular file's bytes."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(
                f"{label}: {path.name} is no regular file", "copy the file itself, no link"
            )
        if status.st_size > _FILE_BYTES_MOST:
            raise ModelError(f"{label}: {path.name} is larger than 512 MiB", "train a smaller one")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{label}: {path.name} cannot be read ({error.strerror})", "let this user read it"
        ) from error


def _check_versions(manifest: Manifest) -> None:
    """Refuse other feature semantics and another scikit-learn."""
    label = f"bundle {manifest.label}"
    if manifest.engine != ENGINE:
        raise ModelError(
            f"{label}: made for feature engine {manifest.engine}, this is engine {ENGINE}",
            "train it again with this release",
        )
    made, installed = manifest.libraries.scikit_learn, sklearn.__version__
    if made.split(".")[:2] != installed.split(".")[:2]:
        raise ModelError(
            f"{label}: made with scikit-learn {made}, installed is {installed}",
            "train it again, or install the same MAJOR.MINOR",
        )


def _unpack(data: bytes, manifest: Manifest, trusted: frozenset[str]) -> object:
    """Return the model inside a skops file, after looking at what the file consists of."""
    label = f"bundle {manifest.label}"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{label}: {MODEL} is no skops file; pickle and joblib files are refused",
            "save the model with `stream-scorer train`",
        ) from None
    for member in members:
        if Path(member.filename).suffix not in _MEMBERS or "/" in member.filename:
            raise ModelError(
                f"{label}: {MODEL} holds {member.filename!r}, which no skops model of ours does",
                "save the model with `stream-scorer train`",
            )
    if sum(member.file_size for member in members) > _UNPACKED_BYTES_MOST:
        raise ModelError(f"{label}: {MODEL} unpacks to over 1 GiB", "train a smaller model")
    unknown = set(_guarded(label, lambda: skops.io.get_untrusted_types(data=data))) - trusted
    if unknown:
        raise ModelError(
            f"{label}: {MODEL} holds types that are not trusted: {', '.join(sorted(unknown))}",
            "after review, add them to the setting models.trusted_types",
        )
    return _guarded(label, lambda: skops.io.loads(data, trusted=sorted(trusted)))


def _guarded(label: str, read: Callable[[], Any]) -> Any:
    """Turn whatever skops raises on a malformed file into one line of ours."""
    try:
        return read()
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{label}: {MODEL} cannot be loaded ({type(error).__name__}: {cause})",
            "save the model with `stream-scorer train`",
        ) from error


def _check_agreement(manifest: Manifest, model: object, predictor: FittedPredictor) -> None:
    """Refuse a model that is not what the manifest says."""
    label = f"bundle {manifest.label}"
    kind = kind_of(model)
    if kind != manifest.kind:
        raise ModelError(
            f"{label}: the manifest says {manifest.kind}, the model is a {kind}", "train it again"
        )
    if predictor.feature_count != len(manifest.features):
        raise ModelError(
            f"{label}: the manifest lists {len(manifest.features)} features, the model takes "
            f"{predictor.feature_count}",
            "train it again",
        )
    parameters = parameters_of(model)
    if manifest.parameters != parameters:
        raise ModelError(
            f"{label}: the manifest's parameters are not the model's", "train it again"
        )
    found = content_hash(
        kind=kind,
        engine=manifest.engine,
        features=manifest.features,
        thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error,
        parameters=parameters,
        arrays=predictor.arrays(),
    )
    if found != manifest.content_hash:
        raise ModelError(
            f"{label}: the content hash does not fit the model, its parameters, features, "
            "thresholds or on_model_error",
            "restore the manifest, or train a new version",
        )
