"""From a fitted model to a bundle on disk, which appears complete or not at all."""

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sklearn
import skops
import skops.io
from numpy.typing import NDArray

from stream_scorer.core.features.compile import ENGINE
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import (
    GOLDEN,
    MANIFEST,
    MODEL,
    NAME_PATTERN,
    VERSION_PATTERN,
    DecisionThresholds,
    FeatureSpec,
    Libraries,
    Manifest,
    Training,
    content_hash,
)
from stream_scorer.models.bundles.loader import kind_of, parameters_of
from stream_scorer.models.bundles.reference_statistics import Reference
from stream_scorer.models.predictors.predictors import predictor_for

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model, ready to become a bundle.

    Attributes:
        name: Model name.
        version: Semantic version.
        model: The fitted estimator.
        features: Declarations in column order.
        thresholds: Where REVIEW and BLOCK begin.
        training: The origin of the model.
        on_model_error: Outcome of rows for which the model fails.
        card: The model card's files by name, or none.
        licence: Under which it may be used.
        reference: Distributions of features and score on the training days.
    """

    name: str
    version: str
    model: Any
    features: tuple[FeatureSpec, ...]
    thresholds: DecisionThresholds
    training: Training
    on_model_error: Literal["REVIEW", "APPROVE", "BLOCK"] = "REVIEW"
    card: Mapping[str, bytes] = field(default_factory=dict)
    licence: str | None = None
    reference: Reference | None = None


def write_bundle(store: Path, candidate: Candidate, rows: Float64) -> Path:
    """Write ``store/NAME/VERSION/``.

    Args:
        store: Model store; created if it does not exist.
        candidate: The model to write.
        rows: float64[n, m], feature rows from which the golden rows are chosen.

    Returns:
        The bundle's directory.

    Raises:
        ModelError: The version exists already, the name or version is malformed, or the store
            cannot be written.
    """
    directory = new_directory(store, candidate.name, candidate.version)
    predictor = predictor_for(candidate.model)
    probes = golden.choose(rows, predictor.scores(rows))
    expected = np.ascontiguousarray(candidate.model.predict_proba(probes)[:, 1])
    files = {
        MODEL: skops.io.dumps(candidate.model, compression=zipfile.ZIP_DEFLATED),
        GOLDEN: golden.write(probes, expected, predictor),
        **candidate.card,
    }
    kind: Any = kind_of(candidate.model)
    parameters = parameters_of(candidate.model)
    manifest = Manifest(
        name=candidate.name,
        version=candidate.version,
        kind=kind,
        engine=ENGINE,
        features=candidate.features,
        thresholds=candidate.thresholds,
        on_model_error=candidate.on_model_error,
        parameters=parameters,
        libraries=Libraries(
            scikit_learn=sklearn.__version__, skops=skops.__version__, numpy=np.__version__
        ),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        content_hash=content_hash(
            kind=kind,
            engine=ENGINE,
            features=candidate.features,
            thresholds=candidate.thresholds,
            on_model_error=candidate.on_model_error,
            parameters=parameters,
            arrays=predictor.arrays(),
        ),
        training=candidate.training,
        licence=candidate.licence,
        reference=candidate.reference,
    )
    files[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    try:
        _place(directory, files)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory


def _place(directory: Path, files: dict[str, bytes]) -> None:
    """Write the files next to the directory's place, then move them there in one step."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # The name of an unfinished bundle is not a version, so no store lists it.
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=directory.parent))
    try:
        for name, data in files.items():
            (making / name).write_bytes(data)
        making.chmod(0o755)
        making.rename(directory)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def refuse_unwritable(directory: Path) -> None:
    """Refuse a place where a bundle cannot be written; nothing is left there.

    Permissions are not enough: a file system may be read-only, or not allow directories.

    Args:
        directory: The bundle's directory; neither it nor its parents need to exist.

    Raises:
        ModelError: The message names the directory and the cause.
    """
    above = directory.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    try:
        Path(tempfile.mkdtemp(prefix=".making-", dir=above)).rmdir()
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> ModelError:
    return ModelError(
        f"bundle {directory}: cannot be written ({error.strerror or error})",
        "name a store that can be written with --out",
    )


def new_directory(store: Path, name: str, version: str) -> Path:
    """Return the directory of a new bundle. It must not exist, because versions never change.

    Raises:
        ModelError: The name or version is malformed, or the directory exists.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ModelError(
            f"model name {name!r}: not a name", "use lower-case letters, digits, - and _"
        )
    if re.fullmatch(VERSION_PATTERN, version) is None:
        raise ModelError(f"version {version!r}: not a version", "write MAJOR.MINOR.PATCH")
    directory = store / name / version
    if directory.exists():
        raise ModelError(
            f"bundle {directory} exists already", "choose a new --version; versions never change"
        )
    return directory
