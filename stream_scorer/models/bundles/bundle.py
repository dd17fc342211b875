"""A model bundle's manifest: everything that may change a decision, and the origin of the model.

A bundle is a directory ``NAME/VERSION/`` with ``manifest.json``, the model, and ``golden.json``
(rows and their scores). In format 2 the model is ``model.safetensors`` (see ``models.files``), or
``model.onnx`` if its library is ONNX, and the file of its own library is next to it as
``original.*``, which is never loaded. In format 1 the model is ``model.skops``, a fitted
scikit-learn model. A bundle may have a model card for people:
``card.md`` and its picture ``card.png``, both or none. It may have ``reference.json``, with which
drift detection compares a stream (see ``models.reference``). A version that was retrained has
``gate.json``, its comparison with the champion. The manifest lists the sha256 of each of these
files. The only other file is ``signature.json`` (see ``bundle_signature``).
"""

import hashlib
import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Outcome
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.onnx_table import MODEL_ONNX, OnnxTable
from stream_scorer.models.bundles.read_files import Folder, LocalFolder
from stream_scorer.models.bundles.reference_statistics import Reference
from stream_scorer.security.canonical_json import parse

MANIFEST = "manifest.json"
MODEL = "model.safetensors"
MODEL_1 = "model.skops"
"""The model of a bundle of format 1."""
ORIGINALS = {
    "catboost": ("json",), "lightgbm": ("txt",), "onnx": ("onnx",), "scikit_learn": ("skops",),
    "xgboost": ("json", "ubj"),
}  # fmt: skip
"""The endings of ``original.*``, by library."""
GOLDEN = "golden.json"
CARD = "card.md"
PLOTS = "card.png"
REFERENCE = "reference.json"
GATE = "gate.json"
GATE_BYTES_MOST = 1024 * 1024
FORMAT: Literal[2] = 2
MANIFEST_BYTES_MOST = 1024 * 1024
LICENCE_LONGEST = 200

LINEAGE_TEXT_LONGEST = 600
"""Maximum characters of a text in a manifest's lineage."""
DATA_SETS_MOST = 32
"""Maximum number of data sets in a manifest's lineage."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"

KINDS_1 = ("hist_gradient_boosting", "random_forest", "decision_tree", "logistic_regression")
"""The kinds of models of format 1."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FeatureSpec = dict[str, str | int | float | bool | list[str] | dict[str, str | bool]]


class _ManifestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DecisionThresholds(_ManifestPart):
    """The scores from which a transaction is reviewed or blocked, and the rule that chose them."""

    review: Annotated[float, Field(gt=0, le=1)]
    block: Annotated[float, Field(gt=0, le=1)]
    rule: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> "DecisionThresholds":
        Thresholds(self.review, self.block)
        return self


class Libraries(_ManifestPart):
    """Versions of the libraries with which a model of format 1 was trained and saved."""

    scikit_learn: str
    skops: str
    numpy: str


class Origin(_ManifestPart):
    """Where a model of format 2 comes from; it changes no decision.

    Attributes:
        library: The library that trained it, e.g. ``lightgbm``.
        version: The library's version, as its file states it; empty if it does not.
        file: Name of the library's own file in the bundle.
    """

    library: Literal["catboost", "lightgbm", "onnx", "scikit_learn", "xgboost"]
    version: Annotated[str, Field(max_length=200)]
    file: str

    @model_validator(mode="after")
    def _known(self) -> "Origin":
        if self.file not in {f"original.{ending}" for ending in ORIGINALS[self.library]}:
            raise ValueError(f"{self.file!r} is not a file of {self.library}")
        return self


def _printable_text(text: str) -> str:
    """Refuse a text that a terminal would act on."""
    if not text.isprintable():
        raise ValueError("has control characters")
    return text


LineageText = Annotated[
    str, Field(max_length=LINEAGE_TEXT_LONGEST), AfterValidator(_printable_text)
]


class LineageData(_ManifestPart):
    """A data set that a run names.

    Attributes:
        name: Its name.
        digest: Its digest, by the rule of the program that logged it.
    """

    name: LineageText
    digest: LineageText


class Lineage(_ManifestPart):
    """The registered version that an imported model comes from; it changes no decision.

    What the registry states is not proven: who may write to it can state anything. The two hashes
    are computed by the import.

    Attributes:
        server: The registry's address, without user and password.
        asked: The reference that was imported, e.g. ``models:/fraud@champion``.
        parent_version: NAME/VERSION of the registered version.
        run_id: The run that logged it; empty, like the following, if the registry does not have it.
        git_commit: The commit of the run's code.
        author: The user of the run.
        data_sets: The run's data sets.
        plan_sha256: Of the text of ``plan.toml`` under which the model was imported.
        mapping_sha256: Of the text of ``events.toml``; None if the plan has no such file.
    """

    server: LineageText
    asked: LineageText
    parent_version: LineageText
    run_id: LineageText = ""
    git_commit: LineageText = ""
    author: LineageText = ""
    data_sets: Annotated[tuple[LineageData, ...], Field(max_length=DATA_SETS_MOST)] = ()
    plan_sha256: Hash
    mapping_sha256: Hash | None = None


class ParentLineage(_ManifestPart):
    """The champion from which a version was retrained; it changes no decision.

    Attributes:
        label: NAME:VERSION of the champion with which it was compared.
        content_hash: Of the champion's bundle.
        dataset_sha256: Of the ``dataset.json`` that it was trained on.
        gate_sha256: Of its ``gate.json``.
    """

    label: Annotated[str, Field(max_length=LINEAGE_TEXT_LONGEST)]
    content_hash: Hash
    dataset_sha256: Hash
    gate_sha256: Hash


class Period(_ManifestPart):
    """A range of event days, both included, and what it contained.

    The first and the last day have transactions: these are the days that were found among those
    that were requested.
    """

    first_day: date
    last_day: date
    rows: Annotated[int, Field(ge=0)]
    frauds: Annotated[int, Field(ge=0)]


class Interval(_ManifestPart):
    """The 95 % interval of the bootstrap's resamples."""

    low: float
    high: float


class Quality(_ManifestPart):
    """The quality of the model, and of its thresholds, on the days of ``period``.

    Attributes with a default were added to format 1 later; version 1.0.0 does not have them.

    Attributes:
        period: The days and what they contained.
        auc: Area under the ROC curve.
        average_precision: Area under the precision-recall curve, as a step function.
        review_or_block_rate: The alert rate: share of transactions that are not approved.
        block_rate: Share of transactions that are blocked.
        block_precision: Share of frauds among the blocked transactions.
        card_precision: CP@k, mean over the days.
        recall_at_1_percent_fpr: Recall at a false-positive rate of at most 1 %.
        value_recall: Share of the frauds' value that is not approved.
        cost_saved: Costs saved, compared with approving everything, in units of the currency.
        cost_saved_share: The same as a share of the costs of approving everything.
        brier: Brier score: mean squared difference between score and fraud label.
        calibration_error: Mean absolute difference between score and share of frauds over ten bins
            of equal width, weighted by their transactions.
        intervals: The intervals, by measure.
    """

    period: Period
    auc: Share
    average_precision: Share
    review_or_block_rate: Share
    block_rate: Share
    block_precision: Share | None = None
    card_precision: Share | None = None
    recall_at_1_percent_fpr: Share | None = None
    value_recall: Share | None = None
    cost_saved: float | None = None
    cost_saved_share: float | None = None
    brier: Share | None = None
    calibration_error: Share | None = None
    intervals: dict[str, Interval] = Field(default_factory=dict)


class ThresholdCosts(_ManifestPart):
    """The costs of outcomes, in units of the currency; the thresholds minimise their sum.

    Attributes:
        missed_share: The share of an approved fraud's amount that is lost.
        missed_fixed: The cost of each approved fraud, in addition to that.
        review: The cost of a review.
        false_block: The cost of blocking a genuine transaction.
    """

    missed_share: Annotated[float, Field(ge=0)] = 1.0
    missed_fixed: Annotated[float, Field(ge=0)] = 0.0
    review: Annotated[float, Field(ge=0)] = 5.0
    false_block: Annotated[float, Field(ge=0)] = 25.0

    @model_validator(mode="after")
    def _some(self) -> "ThresholdCosts":
        if self.missed_share == self.missed_fixed == 0:
            raise ValueError("a missed fraud that costs nothing is never worth a review")
        return self


class Training(_ManifestPart):
    """The days of the model, and its quality; they change no decision.

    Attributes:
        train: The days on which it was fitted; None for an imported model.
        validation: The days on which the thresholds were chosen; for an imported model, those on
            which the quality was measured.
        test: The days on which the quality was measured; None for an imported model.
        test_new_cards: The same days without the cards that were known to be compromised.
        delay_days: Days until a label is known. All days that were used for fitting and for the
            thresholds are more than this before the first test day.
        cards_per_day: The k of CP@k.
        costs: The costs with which the thresholds were chosen.
        resamples: Number of resamples of the bootstrap.
        source: Name of the data file.
        asked: The requested days as ``FIRST:LAST``, by ``train``, ``validation`` and ``test``; the
            periods have the days that were found.
        rows: Number of transactions of the data, on all days.
        rejected: How many of them were left out, as the stream would reject them, by reason.
        data_sha256: Of the data file.
        trained_at: The time of the training; it differs for each training.
    """

    train: Period | None = None
    validation: Quality
    test: Quality | None = None
    test_new_cards: Quality | None = None
    delay_days: Annotated[int, Field(ge=0)] | None = None
    cards_per_day: Annotated[int, Field(ge=1)] | None = None
    costs: ThresholdCosts | None = None
    resamples: Annotated[int, Field(ge=0)] | None = None
    source: str = ""
    asked: dict[str, str] = Field(default_factory=dict)
    rows: Annotated[int, Field(ge=0)] | None = None
    rejected: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    data_sha256: Hash | None = None
    trained_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _trained_or_imported(self) -> "Training":
        if (self.train is None) != (self.test is None):
            raise ValueError("train and test are both there, or neither")
        return self


def _plain_names(files: dict[str, str]) -> dict[str, str]:
    """Refuse names that lead out of the folder, or that some file systems treat as another name."""
    for name in files:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not a plain file name")
    return files


class Manifest(_ManifestPart):
    """The content of ``manifest.json``.

    Attributes:
        format: Version of this format.
        name: Model name.
        version: Semantic version, MAJOR.MINOR.PATCH.
        kind: Kind of the model, e.g. ``random_forest``.
        engine: Number of the engine; see ``core.features.engines``.
        features: Declarations in column order; ``core.features.compile`` defines their meaning.
        thresholds: Where REVIEW and BLOCK begin.
        on_model_error: Outcome of rows for which the model fails.
        parameters: The estimator's parameters, or facts about an imported model.
        libraries: Format 1: versions of the libraries with which it was trained and saved.
        origin: Format 2: the library that trained it.
        files: sha256 of every other file: model, golden rows, and the card and the reference of
            drift detection if there are any.
        content_hash: sha256 of what may change a decision: model, engine, features, thresholds,
            on_model_error, and the table onnx; in format 1 also kind and parameters. Two trainings
            on the same data have the same one, whatever the names, versions and times.
        onnx: How ``model.onnx`` is run; None for models of other libraries.
        training: The origin of the model.
        licence: Under which the model may be used; None if that is not stated.
        reference: Distributions of features and score on the training days, which nothing reads;
            drift detection has the file ``reference.json``. Neither licence nor reference is part
            of the content hash; bundles of earlier releases have neither.
        lineage: The registered version that it was imported from; None for every other model. It is
            not part of the content hash either.
        lineage_parent: The champion from which it was retrained; None for every other model, whose
            manifest does not have the key. It is not part of the content hash.
    """

    format: Literal[1, 2] = FORMAT
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    engine: Annotated[int, Field(ge=1)]
    features: Annotated[tuple[FeatureSpec, ...], Field(min_length=1)]
    thresholds: DecisionThresholds
    on_model_error: Literal["REVIEW", "APPROVE", "BLOCK"] = "REVIEW"
    parameters: dict[str, Any]
    libraries: Libraries | None = None
    origin: Origin | None = None
    files: Annotated[dict[str, Hash], AfterValidator(_plain_names)]
    content_hash: Hash
    onnx: OnnxTable | None = None
    training: Training
    licence: Annotated[str, Field(min_length=1, max_length=LICENCE_LONGEST)] | None = None
    reference: Reference | None = None
    lineage: Lineage | None = None
    lineage_parent: ParentLineage | None = None

    @model_validator(mode="after")
    def _of_its_format(self) -> "Manifest":
        if self.format == 1:
            if self.libraries is None or self.origin is not None:
                raise ValueError("format 1 has libraries, and no origin")
            if self.training.train is None:
                raise ValueError("format 1 has the days on which the model was fitted")
            if self.kind not in KINDS_1:
                raise ValueError(f"the kind {self.kind!r} is not one of {', '.join(KINDS_1)}")
        elif self.origin is None or self.libraries is not None:
            raise ValueError("format 2 has an origin, and no libraries")
        if (self.onnx is not None) != (self.origin is not None and self.origin.library == "onnx"):
            raise ValueError("the table onnx is there if the library is onnx, and only then")
        if self.onnx is not None and len(self.onnx.reference) != len(self.features):
            raise ValueError(
                f"onnx.reference has {len(self.onnx.reference)} numbers, there are "
                f"{len(self.features)} features"
            )
        return self

    @property
    def feature_set(self) -> str:
        """Digest of what the model reads: the declarations in their order, and the engine."""
        meaning = {"engine": self.engine, "features": list(self.features)}
        return hashlib.sha256(b"stream-scorer feature set 1\n" + _text(meaning)).hexdigest()

    @property
    def model_file(self) -> str:
        """The name of the file of the model that is loaded."""
        if self.format == 1:
            return MODEL_1
        return MODEL if self.onnx is None else MODEL_ONNX

    @property
    def model_files(self) -> frozenset[str]:
        """The files of the model: the one that is loaded, and in format 2 its original."""
        files = {self.model_file}
        return frozenset(files if self.origin is None else files | {self.origin.file})

    @property
    def label(self) -> str:
        """The bundle's name in messages: NAME:VERSION."""
        return f"{self.name}:{self.version}"

    @property
    def policy(self) -> Thresholds:
        """The thresholds, for the core."""
        return Thresholds(self.thresholds.review, self.thresholds.block)

    @property
    def error_outcome(self) -> Outcome:
        """Outcome of rows for which the model fails."""
        return Outcome[self.on_model_error]


def read_manifest(folder: Path | Folder) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        ModelError: It is missing, not JSON, or not a manifest of this format; the message names the
            field.
    """
    place = LocalFolder(folder) if isinstance(folder, Path) else folder
    return parse_manifest(place.read(MANIFEST, MANIFEST_BYTES_MOST), place.shown)


def parse_manifest(data: bytes, shown: str) -> Manifest:
    """Check a manifest's bytes.

    Args:
        data: The file.
        shown: Where the bundle is, for messages.

    Raises:
        ModelError: It is not JSON, has duplicate keys, or is not a manifest of this format; the
            message names the field.
    """
    what = f"bundle {shown}: {MANIFEST}"
    try:
        parse(data)
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ModelError(f"{what}: {where}: {first['msg']}", "train the bundle again") from None
    except ValueError as error:
        raise ModelError(f"{what}: {error}", "train the bundle again") from None


def content_hash(
    *,
    engine: int,
    features: tuple[FeatureSpec, ...],
    thresholds: DecisionThresholds,
    on_model_error: str,
    model: bytes,
    onnx: OnnxTable | None = None,
) -> str:
    """Return the sha256 of what may change a decision of a bundle of format 2.

    Args:
        engine: Number of the engine.
        features: Declarations in column order.
        thresholds: Where REVIEW and BLOCK begin; the text of their rule is not included.
        on_model_error: Outcome of rows for which the model fails.
        model: The file of the model; equal models have equal files.
        onnx: How an ONNX model is run.
    """
    meaning: dict[str, Any] = {
        "format": FORMAT, "engine": engine, "features": features, "review": thresholds.review,
        "block": thresholds.block, "on_model_error": on_model_error,
        "model": hashlib.sha256(model).hexdigest(),
    }  # fmt: skip
    if onnx is not None:
        meaning["onnx"] = onnx.meaning()
    return hashlib.sha256(_text(meaning)).hexdigest()


def content_hash_1(
    *,
    kind: str,
    engine: int,
    features: tuple[FeatureSpec, ...],
    thresholds: DecisionThresholds,
    on_model_error: str,
    parameters: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> str:
    """Return the sha256 of what may change a decision of a bundle of format 1.

    Args:
        kind: As in the manifest, like the next five.
        engine: Number of the engine.
        features: Declarations in column order.
        thresholds: Where REVIEW and BLOCK begin; the text of their rule is not included.
        on_model_error: Outcome of rows for which the model fails.
        parameters: The estimator's parameters.
        arrays: The model's arrays.
    """
    digest = hashlib.sha256()
    meaning = {
        "format": 1, "kind": kind, "engine": engine, "features": features,
        "review": thresholds.review, "block": thresholds.block,
        "on_model_error": on_model_error, "parameters": parameters,
    }  # fmt: skip
    digest.update(_text(meaning))
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"\n{name} {little.dtype.str} {little.shape}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def _text(meaning: dict[str, Any]) -> bytes:
    return json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()
