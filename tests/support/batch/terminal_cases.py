"""Shared by the tests of terminals and labels in a batch job."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.batch.job import Order
from stream_scorer.core.events.plan import Plan
from stream_scorer.models.bundles.bundle import (
    DecisionThresholds,
    FeatureSpec,
    Period,
    Quality,
    Training,
)
from stream_scorer.models.bundles.writer import Candidate, write_bundle
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.settings import Settings, load_settings
from tests.support.batch.batch_cases import AS_OF, transactions

PLAN = Plan()
DAY = 86_400_000


def _by_terminal(kind: str, days: int) -> FeatureSpec:
    name = f"{kind}_{days}"
    window, key = f"{days}d", "terminal_id"
    return {"name": name, "kind": kind, "window": window, "key": key, "delay": "7d"}


FEATURES: tuple[FeatureSpec, ...] = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "WEEK", "kind": "count", "window": "7d"},
    *(_by_terminal(kind, days) for kind in ("count", "risk") for days in (1, 30)),
)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Transactions at few terminals, a tenth of them frauds, some doubled."""
    made = transactions(50, 60)
    numbers = np.random.default_rng(3)
    rows = made.num_rows
    order = np.arange(rows)
    order[numbers.integers(1, rows, 30)] -= 1
    terminal = pa.array([str(number) for number in numbers.integers(0, 12, rows)])
    fraud = pa.array(numbers.random(rows) < 0.1)
    for name, values in (("terminal_id", terminal), ("is_fraud", fraud)):
        made = made.set_column(made.schema.get_field_index(name), name, values)
    return made.take(pa.array(order))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose store has a model with features by terminal."""
    return settings_of(tmp_path_factory.mktemp("store"))


def settings_of(store: Path, engine: int = 1) -> Settings:
    """Return settings whose store gets a model of an engine with features by terminal."""
    rows = np.random.default_rng(0).random((500, len(FEATURES))) * 5
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(rows, rows[:, 5] > 2)
    period = Period(first_day=date(2018, 4, 1), last_day=date(2018, 4, 2), rows=9, frauds=1)
    share = 0.5
    quality = Quality(period=period, auc=share, average_precision=share,
                      review_or_block_rate=share, block_rate=share)  # fmt: skip
    write_bundle(
        store,
        Candidate(
            name="terminals", version="1.0.0", source=source_of(model), features=FEATURES,
            thresholds=DecisionThresholds(review=0.5, block=0.9),
            training=Training(train=period, validation=quality, test=quality), engine=engine,
        ),
        rows,
    )  # fmt: skip
    (store / "terminals" / "plan.toml").write_text("[currencies]\nEUR = 2\n")
    return load_settings({"models": {"directory": store}})


def order_of(source: Path, out: Path, labels: Path | None, **options: Any) -> Order:
    """Order a job at a fixed time with a column for each feature."""
    told = None if labels is None else str(labels)
    return Order(str(source), out, "terminals", labels=told, as_of=AS_OF, features=True, **options)
