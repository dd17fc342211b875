"""``models import``: write a bundle of a model that another library trained.

The validation data are labelled transactions that the model was not fitted on. Their features are
computed by the stream's code. From their scores come the thresholds, unless these are given, the
quality in the manifest, the golden rows, and the model card.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import (
    LICENCE_LONGEST,
    DecisionThresholds,
    Lineage,
    LineageData,
    Manifest,
    Period,
    Quality,
    ThresholdCosts,
    Training,
)
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.reference_statistics import reference_of
from stream_scorer.models.bundles.writer import (
    Candidate,
    new_directory,
    refuse_unwritable,
    write_bundle,
)
from stream_scorer.models.commands.threshold_days import DaySelection
from stream_scorer.models.importing.formats.known import (
    BYTES_MOST,
    OnnxSource,
    read_source,
    source_of,
)
from stream_scorer.models.importing.imported import (
    ImportedModel,
    ImportedOnnx,
    ImportOptions,
    ModelSource,
)
from stream_scorer.models.importing.mlflow_registry.fetch import fetch
from stream_scorer.models.importing.mlflow_registry.reference import ModelReference
from stream_scorer.models.importing.mlflow_registry.registered import RegisteredOrigin
from stream_scorer.models.importing.mlflow_registry.server import open_server
from stream_scorer.models.predictors.predictors import predictor_of
from stream_scorer.ports import Predictor
from stream_scorer.training.card import Card, card_files
from stream_scorer.training.data import take
from stream_scorer.training.days import Days
from stream_scorer.training.features import chosen_engine, read_features
from stream_scorer.training.labelled import LabelledData
from stream_scorer.training.metrics import Judging, Scored, measures
from stream_scorer.training.thresholds import choose_thresholds

Float64 = NDArray[np.float64]

_DAY_MS: Final = 86_400_000
_BOTH: Final = 2
_NUMBERED: Final = ("", "Column_", "f", "x", "feature_")
"""What precedes the number in the names that libraries give to columns without a name."""


@dataclass(frozen=True, slots=True)
class ImportJob:
    """The parameters of an import.

    Attributes:
        file: The model file; or what the user wrote for ``registered``, for messages.
        features: File of feature declarations, in the model's order.
        validation: Labelled transactions.
        version: Of the new bundle.
        name: Of the model.
        store: Where the bundle is written.
        plan: The plan under which the features are computed.
        options: What the model file alone does not decide.
        thresholds: REVIEW and BLOCK; None: the cheapest on the validation data.
        costs: The costs of outcomes.
        days: Days of the validation data that are used; None: those with a complete history, if
            there are at least seven, otherwise all.
        cards_per_day: The k of CP@k.
        resamples: Of the bootstrap.
        sort: Whether the data may be out of order; they are then sorted.
        most_rejected: Maximum share of the data that may be left out because the stream would
            reject it.
        licence: Under which the model may be used.
        labels: Where the data have their labels; None: in ``is_fraud`` and ``label_time``.
        registered: A model of the MLflow server that ``MLFLOW_TRACKING_URI`` names, instead of a
            file.
        plan_text: The text of the plan file, for the lineage.
        mapping_text: The text of ``events.toml``, if there is one.
        engine: Number of the bundle's engine; None: 2 if the plan has a label policy, otherwise 1.
    """

    file: Path
    features: Path
    validation: Path
    version: str
    name: str = "fraud"
    store: Path = Path("models")
    plan: Plan = field(default_factory=Plan)
    options: ImportOptions = field(default_factory=ImportOptions)
    thresholds: tuple[float, float] | None = None
    costs: ThresholdCosts = field(default_factory=ThresholdCosts)
    days: Days | None = None
    cards_per_day: int = 100
    resamples: int = 200
    sort: bool = False
    most_rejected: float = 0.01
    licence: str | None = None
    labels: EventMapping | None = None
    registered: ModelReference | None = None
    plan_text: str = ""
    mapping_text: str | None = None
    engine: int | None = None


def read_thresholds(text: str) -> tuple[float, float]:
    """Return the thresholds in a text such as ``0.5:0.9``.

    Raises:
        SettingsError: It is not such a text.
    """
    parts = text.split(":")
    try:
        review, block = (float(part) for part in parts)
    except ValueError:
        raise SettingsError(
            f"--thresholds {text!r}: not two numbers", "write REVIEW:BLOCK, as 0.5:0.9"
        ) from None
    if not 0 < review <= block <= 1:
        raise SettingsError(
            f"--thresholds {text}: 0 < REVIEW <= BLOCK <= 1 does not hold", "write others"
        )
    return review, block


def import_model(job: ImportJob) -> tuple[Path, Manifest]:
    """Import a model, and load its bundle as a scorer would.

    Returns:
        The bundle's directory and its manifest.

    Raises:
        ModelError: The model file is refused, its features are not the declared ones, its scores
            are not probabilities, or the version exists.
        SettingsError: Features, plan or data are refused, or the data have no frauds; or the MLflow
            server does not have the registered model.
        UnavailableError: The MLflow server does not answer.
    """
    _check(job)
    engine = chosen_engine(job.engine, job.plan)
    specs, features = read_features(job.features, job.plan, engine)
    source, lineage = _source(job)
    _refuse_other_features(job, source, features.names)
    data = take(
        job.validation, features, job.plan, sort=job.sort, most_rejected=job.most_rejected,
        labels=job.labels,
    )  # fmt: skip
    chosen = DaySelection(data, job.days, 0, features, None).chosen
    rows = np.ascontiguousarray(data.features[chosen])
    if isinstance(source, OnnxSource):
        source = source.measured(rows)
    predictor = predictor_of(source.imported.model, own_exponential=ENGINES[engine].own_exponential)
    scored = _scored(job, data, chosen, _scores(job, predictor, rows))
    thresholds = _thresholds(job, scored)
    judging = Judging(thresholds, job.costs, job.cards_per_day, job.resamples)
    training = _training(job, data, scored, judging)
    card = Card(
        label=f"{job.name}:{job.version}", kind=source.imported.kind, features=specs,
        thresholds=thresholds, training=training, currency=job.plan.currency, judged=scored,
        library=_named(source.imported), notes=_notes(source.imported), lineage=lineage,
        engine=engine,
    )  # fmt: skip
    directory = write_bundle(
        job.store,
        Candidate(
            name=job.name, version=job.version, source=source, features=specs,
            thresholds=thresholds, training=training, card=card_files(card), licence=job.licence,
            reference=reference_of(features.names, rows, scored.scores), lineage=lineage,
            engine=engine,
        ),
        rows,
    )  # fmt: skip
    return directory, load_bundle(directory).manifest


def report(directory: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the import as one flat table; measures that the data cannot give are None."""
    quality, origin = manifest.training.validation, manifest.origin
    return {
        "bundle": manifest.label,
        "directory": str(directory),
        "content_hash": manifest.content_hash,
        "library": None if origin is None else f"{origin.library} {origin.version}".strip(),
        "kind": manifest.kind,
        "parent_version": None if manifest.lineage is None else manifest.lineage.parent_version,
        "features": len(manifest.features),
        **_blocks(manifest),
        "review": manifest.thresholds.review,
        "block": manifest.thresholds.block,
        "rows": manifest.training.rows,
        "rejected": manifest.training.rejected,
        "validation_days": f"{quality.period.first_day}:{quality.period.last_day}",
        "validation_rows": quality.period.rows,
        "validation_frauds": quality.period.frauds,
        **quality.model_dump(mode="json", exclude={"period", "intervals"}),
    }


def _check(job: ImportJob) -> None:
    """Check the job before anything is read."""
    if job.licence is not None and not 0 < len(job.licence) <= LICENCE_LONGEST:
        raise SettingsError(
            f"--licence: {len(job.licence)} characters",
            f"name it in 1 to {LICENCE_LONGEST}, as Apache-2.0",
        )
    refuse_unwritable(new_directory(job.store, job.name, job.version))


def _blocks(manifest: Manifest) -> dict[str, Any]:
    """Return the rows of a block of an ONNX model, and on what a row's bits depend in a larger one.

    For other models there are none.
    """
    if manifest.onnx is None:
        return {}
    depends_on = manifest.parameters["depends_on"] or None
    return {"block_rows": manifest.onnx.block_rows, "row_depends_on": depends_on}


def _notes(model: ImportedModel | ImportedOnnx) -> tuple[str, ...]:
    """Return sentences about the model for the card."""
    if isinstance(model, ImportedModel):
        return ()
    size = model.model.block_rows
    note = f"ONNX Runtime scores it in blocks of {size} row{'s' if size > 1 else ''}"
    if model.depends_on:
        note += f", because in a larger block a row's bits depend on {model.depends_on}"
    return (f"{note}.",)


def _source(job: ImportJob) -> tuple[ModelSource | OnnxSource, Lineage | None]:
    """Return the model, and its lineage if it is a registered one."""
    if job.registered is None:
        return read_source(job.file, job.options), None
    found = fetch(open_server(os.environ), job.registered, BYTES_MOST)
    shown = f"{job.file} ({found.path})"
    source = source_of(found.data, shown, job.options)
    library = "onnx" if isinstance(source, OnnxSource) else source.imported.library
    if library != found.library:
        raise ModelError(
            f"model {shown}: is a file of {library}, and MLmodel states {found.library}",
            "log it again",
        )
    return source, _lineage(job, found.origin)


def _lineage(job: ImportJob, origin: RegisteredOrigin) -> Lineage:
    mapping = job.mapping_text
    return Lineage(
        server=origin.server, asked=origin.asked, parent_version=origin.parent_version,
        run_id=origin.run_id, git_commit=origin.git_commit, author=origin.author,
        data_sets=tuple(LineageData(name=n, digest=d) for n, d in origin.data_sets),
        plan_sha256=_sha256(job.plan_text),
        mapping_sha256=None if mapping is None else _sha256(mapping),
    )  # fmt: skip


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_other_features(
    job: ImportJob, source: ModelSource | OnnxSource, names: Sequence[str]
) -> None:
    """Refuse a model whose features are not the declared ones in their order."""
    if isinstance(source, OnnxSource):
        count, told = source.judged.file.feature_count, None
    else:
        count, told = source.imported.model.feature_count, source.imported.feature_names
    if count is not None and count != len(names):
        raise ModelError(
            f"model {job.file}: takes {count} features, {job.features} declares {len(names)}",
            "declare the model's features in its order",
        )
    if told is None or (_numbered(told) and not set(told) & set(names)):
        return
    for number, (own, declared) in enumerate(zip(told, names, strict=True), 1):
        if own != declared:
            raise ModelError(
                f"model {job.file}: its feature {number} is {own!r}, {job.features} declares "
                f"{declared!r} there",
                "declare the model's features by its names and in its order",
            )


def _numbered(names: Sequence[str]) -> bool:
    """Return whether a library numbered the columns because they had no names."""
    return any(
        all(name == f"{before}{at}" for at, name in enumerate(names, first))
        for before in _NUMBERED
        for first in (0, 1)
    )


def _scores(job: ImportJob, predictor: Predictor, rows: Float64) -> Float64:
    scores = predictor.scores(rows)
    missing = int(np.isnan(scores).sum())
    if missing:
        raise ModelError(
            f"model {job.file}: its score of {missing:,} of {len(rows):,} transactions is not a "
            "number",
            "export it with values for missing features, or give the features values",
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ModelError(
            f"model {job.file}: its scores are not probabilities from 0 to 1",
            "import a classifier, with its sigmoid or calibration",
        )
    return scores


def _scored(
    job: ImportJob, data: LabelledData, chosen: NDArray[np.bool_], scores: Float64
) -> Scored:
    fraud = data.table["is_fraud"].to_numpy()[chosen].astype(np.int64)
    if len(np.unique(fraud)) != _BOTH:
        raise SettingsError(
            f"data {job.validation}: hold {len(fraud)} transactions and {int(fraud.sum())} frauds "
            "on the chosen days; both kinds are needed",
            "name other data, or other days with --days",
        )
    cards = pc.dictionary_encode(data.table["customer_id"].combine_chunks()).indices.to_numpy()
    amounts = in_units(data.amounts, job.plan.minor_per_unit)
    return Scored(
        scores, fraud, amounts[chosen], cards.astype(np.int64)[chosen],
        data.time[chosen] // _DAY_MS,
    )  # fmt: skip


def _thresholds(job: ImportJob, scored: Scored) -> DecisionThresholds:
    if job.thresholds is None:
        return choose_thresholds(scored.scores, scored.fraud, scored.amount, job.costs)
    review, block = job.thresholds
    return DecisionThresholds(review=review, block=block, rule="they were given")


def _training(job: ImportJob, data: LabelledData, scored: Scored, judging: Judging) -> Training:
    days = Days.of(scored.day)
    period = Period(
        first_day=days.first, last_day=days.last, rows=len(scored.fraud),
        frauds=int(scored.fraud.sum()),
    )  # fmt: skip
    found, intervals = measures(scored, judging)
    with job.validation.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Training(
        validation=Quality.model_validate({"period": period, "intervals": intervals, **found}),
        cards_per_day=job.cards_per_day,
        costs=job.costs,
        resamples=job.resamples,
        source=job.validation.name,
        asked={} if job.days is None else {"validation": str(job.days)},
        rows=data.rows,
        rejected=data.rejected,
        data_sha256=digest,
    )


def _named(model: ImportedModel | ImportedOnnx) -> str:
    """Return the library that trained a model, for the card; an ONNX file does not name it."""
    if isinstance(model, ImportedOnnx):
        by = model.library_version
        return f"another library (exported by {by})" if by else "another library"
    return f"{model.library} {model.library_version}".strip()
