"""Bundles whose models were fitted to noise; what they decide does not matter."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from stream_scorer.core.features.engines import FIRST_ENGINE
from stream_scorer.models.bundles.bundle import DecisionThresholds, Period, Quality, Training
from stream_scorer.models.bundles.writer import Candidate, write_bundle
from stream_scorer.models.importing.scikit_learn.source import source_of

AMOUNT = {"name": "AMOUNT", "kind": "passthrough", "field": "amount"}
STORED = {"name": "MEDIAN_7D", "kind": "median", "field": "amount", "window": "7d"}
LONGER = {"name": "COUNT_45D", "kind": "count", "window": "45d"}
FIELD = {"name": "TERMINALS_7D", "kind": "distinct", "field": "terminal_id", "window": "7d"}


def write(
    store: Path, version: str, features: tuple[dict[str, Any], ...], engine: int = FIRST_ENGINE
) -> None:
    """Write version VERSION of the model ``fraud`` to a store."""
    numbers = np.random.default_rng(0)
    rows = numbers.normal(size=(400, len(features)))
    model = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows[:, 0] > 1)
    period = Period(first_day=date(2018, 4, 1), last_day=date(2018, 4, 2), rows=400, frauds=60)
    quality = Quality(
        period=period, auc=0.5, average_precision=0.1, review_or_block_rate=0.1, block_rate=0.1
    )
    training = Training(train=period, validation=quality, test=quality, source="a test")
    thresholds = DecisionThresholds(review=0.5, block=0.9)
    source = source_of(model)
    made = Candidate("fraud", version, source, features, thresholds, training, engine=engine)
    write_bundle(store, made, rows)
