"""Models trained for benches, with the project's own code, on the simulator's first days.

``event``: the event's own columns (amount, weekend, night), for loops without state. All models
have the same kind and number of iterations as the shipped one.
"""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.models.bundles.bundle import (
    DecisionThresholds,
    FeatureSpec,
    Period,
    Quality,
    ThresholdCosts,
    Training,
)
from stream_scorer.models.bundles.writer import Candidate, write_bundle
from stream_scorer.models.importing.imported import ModelSource
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.models.predictors.predictors import predictor_of
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.training.features import CUSTOMER_FEATURES
from stream_scorer.training.fold import fold
from stream_scorer.training.models import ESTIMATORS
from stream_scorer.training.thresholds import choose_thresholds

NAME = "event"
_VERSION = "1.0.0"
_ROWS = 60_000
_DAY_MS = 86_400_000
_EVENT_FEATURES = CUSTOMER_FEATURES[:3]


Train = Callable[[NDArray[np.float64], NDArray[np.int64]], ModelSource]


def _shipped_kind(features: NDArray[np.float64], fraud: NDArray[np.int64]) -> ModelSource:
    return source_of(ESTIMATORS["hist_gradient_boosting"]().fit(features, fraud))


def bundle_directory(store: Path) -> Path:
    """Return where :func:`train_event_model` puts the bundle."""
    return store / NAME / _VERSION


def train_event_model(table: pa.Table, store: Path) -> None:
    """Train ``event``; see :func:`train_model`."""
    train_model(table, store, NAME, _EVENT_FEATURES)


def train_model(
    table: pa.Table, store: Path, name: str, features: tuple[FeatureSpec, ...],
    thresholds: DecisionThresholds | None = None, train: Train | None = None,
) -> DecisionThresholds:  # fmt: skip
    """Train on the table's first rows and write the bundle, with the shipped plan next to it.

    Args:
        table: Labelled transactions.
        store: Model store.
        name: Of the bundle.
        features: The manifest's features.
        thresholds: Where REVIEW and BLOCK begin; None: determined by costs.
        train: Makes a model from features and frauds; None: the shipped kind.

    Returns:
        Its thresholds.
    """
    plan = Plan()
    folded = fold(table.slice(0, _ROWS), compile_features(features, plan), plan)
    fraud = table["is_fraud"].to_numpy()[folded.rows].astype(np.int64)
    minor = table["amount_minor"].to_numpy()[folded.rows]
    amount = in_units(minor, plan.minor_per_unit)
    source = (train or _shipped_kind)(folded.features, fraud)
    scores = predictor_of(source.imported.model).scores(folded.features)
    days = table["event_time"].cast(pa.int64()).to_numpy()[folded.rows[[0, -1]]] // _DAY_MS
    first, last = (date(1970, 1, 1) + timedelta(int(day)) for day in days)
    seen = Period(first_day=first, last_day=last, rows=len(fraud), frauds=int(fraud.sum()))
    # Measured on the days that it was trained on: it is not for deployment.
    quality = Quality(period=seen, auc=0, average_precision=0, review_or_block_rate=0, block_rate=0)
    thresholds = thresholds or choose_thresholds(scores, fraud, amount, ThresholdCosts())
    directory = write_bundle(
        store,
        Candidate(
            name=name,
            version=_VERSION,
            source=source,
            features=features,
            thresholds=thresholds,
            training=Training(train=seen, validation=quality, test=quality, source="bench"),
        ),
        folded.features,
    )
    plan_file = MODELS_DIRECTORY / "fraud" / "plan.toml"
    (directory.parent / plan_file.name).write_text(plan_file.read_text())
    return thresholds
