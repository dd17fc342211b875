"""From an imported model to a bundle on disk, which appears complete or not at all."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.features.engines import ENGINES, FIRST_ENGINE
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import (
    GOLDEN,
    MANIFEST,
    MODEL,
    NAME_PATTERN,
    REFERENCE,
    VERSION_PATTERN,
    DecisionThresholds,
    FeatureSpec,
    Lineage,
    Manifest,
    Origin,
    Training,
    content_hash,
)
from stream_scorer.models.bundles.onnx_table import MODEL_ONNX, onnx_table
from stream_scorer.models.bundles.reference_statistics import Reference
from stream_scorer.models.files.model_file import write_model
from stream_scorer.models.importing.imported import ModelSource
from stream_scorer.models.predictors.onnx_session import OnnxModel
from stream_scorer.models.predictors.predictors import predictor_of

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained or imported model, ready to become a bundle.

    Attributes:
        name: Model name.
        version: Semantic version.
        source: The model, and the file of its library.
        features: Declarations in column order.
        thresholds: Where REVIEW and BLOCK begin.
        training: The origin of the model.
        on_model_error: Outcome of rows for which the model fails.
        card: The model card's files by name, or none.
        licence: Under which it may be used.
        reference: Distributions of features and score on the training days.
        lineage: The registered version that it was imported from.
        drift_reference: The file ``reference.json`` of drift detection, or none.
        engine: Number of the engine, a key of ``core.features.engines.ENGINES``.
    """

    name: str
    version: str
    source: ModelSource
    features: tuple[FeatureSpec, ...]
    thresholds: DecisionThresholds
    training: Training
    on_model_error: Literal["REVIEW", "APPROVE", "BLOCK"] = "REVIEW"
    card: Mapping[str, bytes] = field(default_factory=dict)
    licence: str | None = None
    reference: Reference | None = None
    lineage: Lineage | None = None
    drift_reference: bytes | None = None
    engine: int = FIRST_ENGINE


def write_bundle(store: Path, candidate: Candidate, rows: Float64) -> Path:
    """Write ``store/NAME/VERSION/``.

    Args:
        store: Model store; created if it does not exist.
        candidate: The model to write.
        rows: float64[n, m], feature rows from which the golden rows are chosen.

    Returns:
        The bundle's directory.

    Raises:
        ModelError: The version exists already, the name or version is malformed, the store cannot
            be written, or the engine is not possible for the model.
    """
    source = candidate.source
    own = ENGINES[candidate.engine].own_exponential
    predictor = predictor_of(source.imported.model, own_exponential=own)
    probes = golden.choose(rows, predictor.scores(rows))
    scores = np.ascontiguousarray((source.scores or predictor.scores)(probes))
    if own:
        golden.check_library(predictor, probes, scores, f"{candidate.name}:{candidate.version}")
        scores = predictor.scores(probes)
    return write_with_rows(store, candidate, golden.write(probes, scores, predictor))


def write_with_rows(store: Path, candidate: Candidate, golden_rows: bytes) -> Path:
    """Write ``store/NAME/VERSION/`` with a golden file that exists already.

    Args:
        store: Model store; created if it does not exist.
        candidate: The model to write.
        golden_rows: The golden file.

    Returns:
        The bundle's directory.

    Raises:
        ModelError: As for :func:`write_bundle`.
    """
    directory = new_directory(store, candidate.name, candidate.version)
    source = candidate.source
    imported = source.imported
    original = f"original.{source.ending}"
    model = imported.model
    onnx = onnx_table(model) if isinstance(model, OnnxModel) else None
    data = model.data if isinstance(model, OnnxModel) else write_model(model)
    files = {
        MODEL if onnx is None else MODEL_ONNX: data,
        GOLDEN: golden_rows,
        original: source.original,
        **candidate.card,
        **({} if candidate.drift_reference is None else {REFERENCE: candidate.drift_reference}),
    }
    origin = {"library": imported.library, "version": imported.library_version, "file": original}
    manifest = Manifest(
        name=candidate.name,
        version=candidate.version,
        kind=imported.kind,
        engine=candidate.engine,
        features=candidate.features,
        thresholds=candidate.thresholds,
        on_model_error=candidate.on_model_error,
        parameters=imported.parameters,
        origin=Origin.model_validate(origin),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        content_hash=content_hash(
            engine=candidate.engine,
            features=candidate.features,
            thresholds=candidate.thresholds,
            on_model_error=candidate.on_model_error,
            model=data,
            onnx=onnx,
        ),
        onnx=onnx,
        training=candidate.training,
        licence=candidate.licence,
        reference=candidate.reference,
        lineage=candidate.lineage,
    )
    _write(directory, manifest, files)
    return directory


def write_copy(store: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write ``store/NAME/VERSION/`` with the files of a bundle that exists, and perhaps others.

    Args:
        store: Model store; created if it does not exist.
        manifest: Of the new bundle; the hashes of its files are replaced by those of ``files``.
        files: Its files, without the manifest.

    Returns:
        The bundle's directory.

    Raises:
        ModelError: As for :func:`write_bundle`.
    """
    directory = new_directory(store, manifest.name, manifest.version)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    _write(directory, manifest.model_copy(update={"files": hashes}), files)
    return directory


def _write(directory: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the files and the manifest of a bundle.

    Raises:
        ModelError: The store cannot be written.
    """
    absent = {"libraries"} if manifest.libraries is None else {"origin"}
    if manifest.onnx is None:
        absent.add("onnx")
    if manifest.lineage_parent is None:
        # Programs of earlier releases do not know the key.
        absent.add("lineage_parent")
    text = (manifest.model_dump_json(indent=2, exclude=absent) + "\n").encode()
    try:
        _place(directory, {**files, MANIFEST: text})
    except OSError as error:
        raise _unwritable(directory, error) from error


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
