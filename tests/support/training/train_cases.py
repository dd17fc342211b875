"""Training jobs for tests: days of the small city, and an order that is quick."""

from datetime import date
from pathlib import Path
from typing import Any

from stream_scorer.models.bundles.bundle import Period, Quality, Training
from stream_scorer.training.days import Days, Split
from stream_scorer.training.run import TrainingJob

SPLIT = Split(
    train=Days(date(2018, 4, 20), date(2018, 5, 5)),
    validation=Days(date(2018, 5, 6), date(2018, 5, 10)),
    test=Days(date(2018, 5, 18), date(2018, 5, 22)),
)


def fitted(training: Training) -> Period:
    """Return the days on which a model was fitted."""
    assert training.train is not None
    return training.train


def on_test_days(training: Training) -> Quality:
    """Return the quality on the test days."""
    assert training.test is not None
    return training.test


def order(data: Path, store: Path, version: str = "1.0.0", **changes: Any) -> TrainingJob:
    given = {"model": "decision_tree", "split": SPLIT, "resamples": 20, **changes}
    return TrainingJob(data, version=version, store=store, **given)
