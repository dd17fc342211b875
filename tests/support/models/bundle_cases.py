"""Small bundles, and changes by an attacker with write access to their folder."""

import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.models.bundles.bundle import DecisionThresholds, Period, Quality, Training
from stream_scorer.models.bundles.writer import Candidate
from stream_scorer.models.importing.imported import ModelSource
from stream_scorer.models.importing.scikit_learn.source import source_of

MODELS: dict[str, Any] = {
    "hist_gradient_boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "random_forest": RandomForestClassifier(n_estimators=5, random_state=0),
    "decision_tree": DecisionTreeClassifier(random_state=0),
    "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression()),
}
NUMBERS = np.random.default_rng(3)
ROWS = NUMBERS.normal(0, 1, (400, 3))
FRAUD = (ROWS[:, 0] + NUMBERS.normal(0, 0.5, 400) > 0.5).astype(np.int64)
FEATURES: Any = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "NIGHT", "kind": "night"},
    {"name": "COUNT", "kind": "count", "window": "7d"},
)


def candidate(model: Any, version: str = "1.0.0") -> Candidate:
    return candidate_of(source_of(model), version)


def candidate_of(source: ModelSource, version: str = "1.0.0") -> Candidate:
    period = Period(first_day=date(2018, 4, 1), last_day=date(2018, 4, 2), rows=400, frauds=100)
    quality = Quality(
        period=period, auc=0.9, average_precision=0.8, review_or_block_rate=0.1, block_rate=0.0
    )
    return Candidate(
        name="fraud",
        version=version,
        source=source,
        features=FEATURES,
        thresholds=DecisionThresholds(review=0.5, block=0.9),
        training=Training(train=period, validation=quality, test=quality),
    )


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace(bundle: Path, name: str, data: bytes) -> None:
    """Put another file in, with its right hash: what someone with write access can do."""
    (bundle / name).write_bytes(data)
    edit(bundle, lambda m: m["files"].update({name: hashlib.sha256(data).hexdigest()}))


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
