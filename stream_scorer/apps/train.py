"""Training: labelled transactions in, a verified bundle out.

Features come from the stream's own engine, so a model is trained on what it will be given. The
days are split by date: the model is fitted on ``train``, its thresholds are chosen on
``validation``, its quality is told on ``test``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from stream_scorer.apps.history import fold
from stream_scorer.apps.transaction_files import read_transactions
from stream_scorer.core.features import compile_features
from stream_scorer.core.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundle import (
    DecisionThresholds,
    FeatureSpec,
    Manifest,
    Period,
    Quality,
    Training,
    read_manifest,
)
from stream_scorer.models.loader import load_bundle
from stream_scorer.models.predictors import predictor_for
from stream_scorer.models.writer import Candidate, new_directory, write_bundle
from stream_scorer.simulator import SCHEMA

Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]

REVIEW_RATE = 0.01
BLOCK_PRECISION = 0.9
BLOCK_ROWS_LEAST = 20

_WINDOWS = ("1", "7", "30")


def _counts() -> list[FeatureSpec]:
    return [
        {"name": f"CUSTOMER_ID_NB_TX_{n}DAY_WINDOW", "kind": "count", "window": f"{n}d"}
        for n in _WINDOWS
    ]


def _means() -> list[FeatureSpec]:
    return [
        {
            "name": f"CUSTOMER_ID_AVG_AMOUNT_{n}DAY_WINDOW",
            "kind": "mean",
            "field": "amount",
            "window": f"{n}d",
        }
        for n in _WINDOWS
    ]


FEATURES: tuple[FeatureSpec, ...] = (
    {"name": "TX_AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "TX_DURING_WEEKEND", "kind": "weekend"},
    {"name": "TX_DURING_NIGHT", "kind": "night"},
    *_counts(),
    *_means(),
)
"""The handbook's event and customer features."""

ESTIMATORS: dict[str, Callable[[], Any]] = {
    # Early stopping would end before 100 iterations; the default turns it on by training size.
    "hist_gradient_boosting": lambda: HistGradientBoostingClassifier(
        early_stopping=False, random_state=0
    ),
    "random_forest": lambda: RandomForestClassifier(random_state=0),
    "decision_tree": lambda: DecisionTreeClassifier(random_state=0),
    "logistic_regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(random_state=0)
    ),
}


@dataclass(frozen=True, slots=True)
class Days:
    """A range of event days in UTC, both included."""

    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> "Days":
        """Read ``FIRST:LAST``.

        Raises:
            SettingsError: Not two ISO dates in order.
        """
        try:
            first, last = (date.fromisoformat(part) for part in text.split(":"))
        except ValueError:
            raise SettingsError(f"days {text!r}: not a range", "write FIRST:LAST dates") from None
        if last < first:
            raise SettingsError(f"days {text!r}: the last lies before the first", "swap them")
        return cls(first, last)


@dataclass(frozen=True, slots=True)
class Order:
    """What to train; the default days are the handbook's.

    Attributes:
        data: Labelled transactions.
        model: A key of :data:`ESTIMATORS`.
        version: Of the bundle to write.
        name: Of the bundle to write.
        store: Where bundles are.
        train: Days that the model is fitted on.
        validation: Days that the thresholds are chosen on.
        test: Days that the quality is told for.
    """

    data: Path
    model: str
    version: str
    name: str = "fraud"
    store: Path = Path("models")
    train: Days = Days(date(2018, 7, 25), date(2018, 7, 31))
    validation: Days = Days(date(2018, 8, 1), date(2018, 8, 7))
    test: Days = Days(date(2018, 8, 8), date(2018, 8, 14))


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one range of days."""

    days: Days
    features: Float64
    fraud: Labels

    def period(self) -> Period:
        return Period(
            first_day=self.days.first,
            last_day=self.days.last,
            rows=len(self.fraud),
            frauds=int(self.fraud.sum()),
        )


def choose_thresholds(scores: Float64, fraud: Labels) -> DecisionThresholds:
    """Choose where REVIEW and BLOCK begin.

    REVIEW begins at the lowest score that at most :data:`REVIEW_RATE` of the rows reach; BLOCK at
    the lowest one from there on for which at least :data:`BLOCK_PRECISION` of the rows that reach
    it, and at least :data:`BLOCK_ROWS_LEAST`, are frauds, or at 1 when there is none.

    Args:
        scores: float64[n].
        fraud: int64[n], 1 for fraud.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # The last row of each run of equal scores: a threshold takes all of them or none.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    reached = ends + 1
    caught = np.cumsum(fraud[order])[ends]
    few = reached <= REVIEW_RATE * len(scores)
    last = int(few.sum()) - 1 if few.any() else 0
    review = max(float(ranked[ends[last]]), float(np.nextafter(0.0, 1.0)))
    sure = (caught >= BLOCK_PRECISION * reached) & (caught >= BLOCK_ROWS_LEAST)
    sure[last + 1 :] = False
    block = float(ranked[ends[np.flatnonzero(sure)[-1]]]) if sure.any() else 1.0
    return DecisionThresholds(
        review=review,
        block=block,
        rule=(
            f"on the validation days: REVIEW from the lowest score that at most {REVIEW_RATE:.0%} "
            f"of the transactions reach; BLOCK from the lowest at which at least "
            f"{BLOCK_PRECISION:.0%} of those that reach it are frauds "
            f"(at least {BLOCK_ROWS_LEAST}), else 1"
        ),
    )


def read_labelled(path: Path) -> pa.Table:
    """Read transactions with ``is_fraud``, in the order of the file.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, column.
    """
    labelled = pa.schema([field for field in SCHEMA if field.name != "fraud_scenario"])
    defaults = dict.fromkeys(field.name for field in labelled if field.nullable)
    batches = read_transactions(path, labelled, {**defaults, "channel": "UNKNOWN"})
    return pa.Table.from_batches(batches, labelled)


def _quality(part: _Part, scores: Float64, thresholds: DecisionThresholds) -> Quality:
    blocked = scores >= thresholds.block
    return Quality(
        period=part.period(),
        auc=float(roc_auc_score(part.fraud, scores)),
        average_precision=float(average_precision_score(part.fraud, scores)),
        review_or_block_rate=float((scores >= thresholds.review).mean()),
        block_rate=float(blocked.mean()),
        block_precision=float(part.fraud[blocked].mean()) if blocked.any() else None,
    )


def _parts(table: pa.Table, order: Order, plan: Plan) -> tuple[_Part, _Part, _Part]:
    """Fold the table through the rings and cut out the three ranges of days."""
    folded = fold(table, compile_features(FEATURES, plan), plan)
    day = (table["event_time"].cast(pa.int64()).to_numpy() // 86_400_000)[folded.rows]
    fraud = table["is_fraud"].to_numpy()[folded.rows].astype(np.int64)

    def part(days: Days, name: str) -> _Part:
        epoch = date(1970, 1, 1)
        chosen = (day >= (days.first - epoch).days) & (day <= (days.last - epoch).days)
        labels = fraud[chosen]
        if len(np.unique(labels)) != 2:  # noqa: PLR2004 genuine and fraud
            raise SettingsError(
                f"data {order.data}: the {name} days {days.first}:{days.last} hold {len(labels)} "
                f"transactions and {int(labels.sum())} frauds; both kinds are needed",
                f"name other days with --{name}",
            )
        return _Part(days, np.ascontiguousarray(folded.features[chosen]), labels)

    return (
        part(order.train, "train"),
        part(order.validation, "validation"),
        part(order.test, "test"),
    )


def train(order: Order) -> tuple[Path, Manifest]:
    """Train a model, write its bundle, and load it again as a scorer would.

    Returns:
        The bundle's directory and its manifest.

    Raises:
        SettingsError: Unknown model, unreadable data, days without frauds.
        ModelError: The version exists, or the bundle does not load.
    """
    if order.model not in ESTIMATORS:
        raise SettingsError(
            f"model {order.model!r}: unknown kind", f"known are {', '.join(ESTIMATORS)}"
        )
    new_directory(order.store, order.name, order.version)
    table = read_labelled(order.data)
    training, validation, test = _parts(table, order, Plan())
    # One thread: sums in another order would give another model on another machine.
    with threadpool_limits(1):
        model = ESTIMATORS[order.model]().fit(training.features, training.fraud)
    predictor = predictor_for(model)
    validated = predictor.scores(validation.features)
    thresholds = choose_thresholds(validated, validation.fraud)
    directory = write_bundle(
        order.store,
        Candidate(
            name=order.name,
            version=order.version,
            model=model,
            features=FEATURES,
            thresholds=thresholds,
            training=Training(
                train=training.period(),
                validation=_quality(validation, validated, thresholds),
                test=_quality(test, predictor.scores(test.features), thresholds),
                source=order.data.name,
            ),
        ),
        validation.features,
    )
    load_bundle(directory)
    return directory, read_manifest(directory)
