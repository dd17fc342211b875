"""Training: labelled transactions in, a verified bundle out.

Features come from the stream's own engine, so a model is trained on what it will be given. The
days are split by date: the model is fitted on ``train``, its thresholds are chosen on
``validation``, its quality is measured on ``test``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet, compile_features
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.core.labelling.contract import UNKNOWN
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import (
    LICENCE_LONGEST,
    FeatureSpec,
    Manifest,
    Period,
    Quality,
    ThresholdCosts,
    Training,
)
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.writer import (
    Candidate,
    new_directory,
    refuse_unwritable,
    write_bundle,
)
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.models.predictors.predictors import predictor_of
from stream_scorer.models.reference.build import ReferenceJob
from stream_scorer.models.reference.format import write_reference
from stream_scorer.training.card import Card, card_files
from stream_scorer.training.data import take
from stream_scorer.training.days import (
    PROTOCOLS,
    Days,
    RelativeSplit,
    Split,
    refuse_delay,
)
from stream_scorer.training.features import chosen_engine, read_features
from stream_scorer.training.labelled import (
    DatasetFolder,
    DayRows,
    LabelledData,
    cut_days,
)
from stream_scorer.training.metrics import Judging, Scored, measures
from stream_scorer.training.models import fit, make_model
from stream_scorer.training.reference_rows import (
    DecidingModel,
    ReferenceDays,
    make_reference,
    reference_rows,
    statistics_of,
)
from stream_scorer.training.thresholds import choose_thresholds

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_DAY_MS = 86_400_000
_BOTH = 2


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train; the default split is the handbook's.

    Attributes:
        data: File of labelled transactions, or folder of a dataset.
        model: A key of ``training.models.ESTIMATORS``.
        version: Of the bundle to write.
        name: Of the bundle to write.
        store: Folder of the bundles.
        split: The days of each step; possibly relative to the last day of the data.
        features: File of feature declarations, or None for the default ones. A dataset has its own.
        parameters: Of the estimator, by name, where they differ from the defaults.
        costs: Costs of the outcomes.
        cards_per_day: The k of CP@k.
        resamples: Of the bootstrap, 0 for no intervals.
        plan: Currency, limits, delays.
        sort: Whether the data may be out of order, and are sorted.
        most_rejected: Share of the data that may be left out because the stream would reject it.
        licence: Licence of the model; None: not stated.
        labels: Where the data have their labels; None: in ``is_fraud`` and ``label_time``.
        engine: Number of the bundle's engine. None: that of a dataset; for a file 2 if the plan has
            a label policy, otherwise 1.
    """

    data: Path
    model: str
    version: str
    name: str = "fraud"
    store: Path = Path("models")
    split: Split | RelativeSplit = PROTOCOLS["handbook"]
    features: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    costs: ThresholdCosts = field(default_factory=ThresholdCosts)
    cards_per_day: int = 100
    resamples: int = 200
    plan: Plan = field(default_factory=Plan)
    sort: bool = False
    most_rejected: float = 0.01
    licence: str | None = None
    labels: EventMapping | None = None
    engine: int | None = None


def _period(days: Days, fraud: Int64) -> Period:
    return Period(
        first_day=days.first, last_day=days.last, rows=len(fraud), frauds=int(fraud.sum())
    )


def _quality(days: Days, rows: Scored, judging: Judging) -> Quality:
    found, intervals = measures(rows, judging)
    return Quality.model_validate(
        {"period": _period(days, rows.fraud), "intervals": intervals, **found}
    )


def _check(order: TrainingJob) -> None:
    """Check the job before the data are read."""
    if isinstance(order.split, Split):
        order.split.check()
    else:
        refuse_delay(order.split.delay_days)
    for name, value, least in (
        ("--cards-per-day", order.cards_per_day, 1),
        ("--resamples", order.resamples, 0),
    ):
        if value < least:
            raise SettingsError(f"{name} {value}: less than {least}", "raise it")
    if order.licence is not None and not 0 < len(order.licence) <= LICENCE_LONGEST:
        raise SettingsError(
            f"--licence: {len(order.licence)} characters",
            f"name it in 1 to {LICENCE_LONGEST}, as Apache-2.0",
        )
    if not 0 <= order.most_rejected <= 1:
        raise SettingsError(
            f"--most-rejected {order.most_rejected}: no share", "write a number from 0 to 1"
        )
    chosen_engine(order.engine, order.plan)
    refuse_unwritable(new_directory(order.store, order.name, order.version))


def _split(order: TrainingJob, taken: LabelledData) -> Split:
    """Return the job's days for these data."""
    if isinstance(order.split, Split):
        return order.split
    if not len(taken.time):
        raise SettingsError(
            f"data {order.data}: no transaction is accepted, so they have no last day",
            "name dates with --train, --validation and --test",
        )
    split = order.split.ending(Days.of(taken.time // _DAY_MS).last)
    split.check()
    return split


def _told(
    order: TrainingJob, split: Split, taken: LabelledData, parts: tuple[DayRows, DayRows, DayRows],
    scored: tuple[Scored, Scored], judging: Judging,
) -> Training:  # fmt: skip
    """Return the model's origin and quality."""
    training, validation, test = parts
    validated, tested = scored
    # Without a fraud on new cards, their measures are undefined.
    new = tested.where(test.new_card)
    return Training(
        train=_period(training.days, training.fraud),
        validation=_quality(validation.days, validated, judging),
        test=_quality(test.days, tested, judging),
        test_new_cards=(
            _quality(test.days, new, judging) if len(np.unique(new.fraud)) == _BOTH else None
        ),
        delay_days=None if split.matured else split.delay_days,
        cards_per_day=order.cards_per_day,
        costs=order.costs,
        resamples=order.resamples,
        source=order.data.name,
        asked={name: str(getattr(split, name)) for name in ("train", "validation", "test")},
        rows=taken.rows,
        rejected=taken.rejected,
        data_sha256=(
            DatasetFolder.open(order.data).digest if order.data.is_dir() else _sha256(order.data)
        ),
        trained_at=datetime.now(UTC).replace(microsecond=0),
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"data {path}: {error.strerror}", "name a file with --data") from error


def _reference(
    taken: LabelledData, split: Split, model: DecidingModel, job: ReferenceJob
) -> bytes | None:
    """Return the reference of drift detection; None if none is possible."""
    days = ReferenceDays(split.train, (split.validation, split.test))
    rows = reference_rows(taken, days, model, job)
    return write_reference(make_reference(rows).reference) if rows.possible else None


def _read(order: TrainingJob) -> tuple[tuple[FeatureSpec, ...], FeatureSet, LabelledData]:
    """Return the declared features, what they compile to, and the rows."""
    if not order.data.is_dir():
        engine = chosen_engine(order.engine, order.plan)
        features, compiled = read_features(order.features, order.plan, engine)
        return features, compiled, take(
            order.data, compiled, order.plan, sort=order.sort, most_rejected=order.most_rejected,
            labels=order.labels, unlabelled=True,
        )  # fmt: skip
    if order.features is not None or order.labels is not None:
        raise SettingsError(
            f"data {order.data}: a dataset has its features and labels",
            "leave --features and --labels out; dataset build takes --features",
        )
    dataset = DatasetFolder.open(order.data)
    return dataset.features, _recorded(order, dataset), dataset.take()


def _recorded(order: TrainingJob, dataset: DatasetFolder) -> FeatureSet:
    """Return what the features of a dataset compile to, for the engine of the bundle.

    Raises:
        SettingsError: The plan refuses them, or they mean something else in the engine that is
            asked for.
    """
    engine = dataset.engine if order.engine is None else order.engine
    try:
        recorded = compile_features(dataset.features, order.plan, dataset.engine)
        compiled = compile_features(dataset.features, order.plan, engine)
    except ValueError as error:
        raise SettingsError(f"data {order.data}: {error}", "build the dataset again") from None
    if compiled.identities == recorded.identities:
        return compiled
    raise SettingsError(
        f"--engine {engine}: data {order.data}: has features of engine {dataset.engine}, which has "
        "another risk of terminals",
        "leave --engine out, or train from a file",
    )


def _notes(order: TrainingJob, split: Split, taken: LabelledData) -> tuple[str, ...]:
    """Return sentences about the labels for the card."""
    unknown = int(np.count_nonzero(taken.state == UNKNOWN))
    found = []
    if split.matured:
        found.append("All labels of the data were used on all days: the days had matured.")
    if taken.weight is not None:
        found.append("Rows have weights, since the data are a sample; so have all measures.")
    if unknown:
        found.append(f"{unknown:,} transactions without a known label were left out.")
    if order.data.is_dir():
        found.append("There is no reference for drift detection: a dataset is not all of a stream.")
    return tuple(found)


def train_on(dataset: Path, order: TrainingJob) -> tuple[Path, Manifest]:
    """Train on a dataset; see :func:`train`.

    Args:
        dataset: Folder that ``dataset build`` wrote.
        order: The job; its data and features are not used.
    """
    return train(replace(order, data=dataset, features=None, labels=None))


def train(order: TrainingJob) -> tuple[Path, Manifest]:
    """Train a model, write its bundle, and load it again as a scorer would.

    Returns:
        The bundle's directory and its manifest.

    Raises:
        SettingsError: Unknown model or parameter, features that are refused, data that are
            unreadable, out of order or rejected, days without frauds or with labels that are not
            known in time.
        ModelError: The version exists, the store cannot be written, or the bundle does not load.
    """
    model = make_model(order.model, order.parameters)
    _check(order)
    features, compiled, taken = _read(order)
    split = _split(order, taken)
    parts = cut_days(taken, split, order.data, order.plan)
    training, validation, test = parts
    # One thread: another order of summation would give another model on another machine.
    with threadpool_limits(1):
        try:
            fit(model, training.features, training.fraud, training.rows.weight)
        except ValueError as error:
            what = " ".join(str(error).split())
            raise SettingsError(
                f"model {order.model}: {what}", "change --parameter or --features"
            ) from None
    source = source_of(model)
    predictor = predictor_of(
        source.imported.model, own_exponential=ENGINES[compiled.version].own_exponential
    )
    scored = validation.scored(predictor), test.scored(predictor)
    thresholds = choose_thresholds(
        scored[0].scores, scored[0].fraud, scored[0].amount, order.costs, scored[0].weight
    )
    judging = Judging(thresholds, order.costs, order.cards_per_day, order.resamples)
    told = _told(order, split, taken, parts, scored, judging)
    card = Card(
        label=f"{order.name}:{order.version}", kind=source.imported.kind, features=features,
        thresholds=thresholds, training=told, currency=order.plan.currency, judged=scored[1],
        notes=_notes(order, split, taken), engine=compiled.version,
    )  # fmt: skip
    job = ReferenceJob(order.name, order.version, features, compiled, order.plan)
    deciding = DecidingModel(predictor, Thresholds(thresholds.review, thresholds.block))
    reference = None if order.data.is_dir() else _reference(taken, split, deciding, job)
    directory = write_bundle(
        order.store,
        Candidate(
            name=order.name, version=order.version, source=source, features=features,
            thresholds=thresholds, training=told, card=card_files(card), licence=order.licence,
            reference=statistics_of(
                compiled.names, training, predictor.scores(training.features)
            ),
            drift_reference=reference, engine=compiled.version,
        ),
        validation.features,
    )  # fmt: skip
    return directory, load_bundle(directory).manifest
