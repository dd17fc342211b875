"""A city whose frauds come at night, with large amounts; its decisions and its labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.codec.writing.encode import Column
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.ports import RawRecords
from tests.support.dataset.made_datasets import decided, labels
from tests.support.models.noise_bundles import AMOUNT

DAY = 86_400_000
FIRST, DAYS, ROWS = 20_000, 6, 400
"""First day since 1970, number of days, and transactions a day."""
HOUR: FeatureSpec = {"name": "HOUR", "kind": "hour", "timezone": "UTC"}
FEATURES: tuple[FeatureSpec, ...] = (dict(AMOUNT), HOUR)


def city() -> tuple[Any, Any, Any, Any]:
    """Return times, amounts, hours and frauds of all days."""
    random = np.random.default_rng(3)
    n = DAYS * ROWS
    time = np.sort(FIRST * DAY + random.integers(0, DAYS * DAY, n))
    amount, hour = random.exponential(80.0, n), (time % DAY) // 3_600_000
    return time, amount, hour, (hour < 6) & (amount > 60) & (random.random(n) < 0.8)


def columns(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return float64[n, m]: features of the city by their names."""
    time, amount, hour, _ = city()
    tokyo = ((time + 9 * 3_600_000) % DAY) // 3_600_000
    known = {"AMOUNT": amount, "HOUR": hour, "TOKYO": tokyo}
    return np.column_stack([known[name] for name in names]).astype(float)


def decisions(names: Sequence[str], **more: Column) -> RawRecords:
    """Return the decisions, which recorded the named features."""
    time, amount, _, _ = city()
    n = len(time)
    return decided(
        [f"t{i}" for i in range(n)], time, columns(names),
        amount_minor=np.round(amount * 100).astype(np.int64),
        customer_id=pa.array([f"c{i % 50}" for i in range(n)]), **more,
    )  # fmt: skip


def fraud_labels() -> RawRecords:
    """Return a label of each fraud."""
    time, _, _, fraud = city()
    return labels([
        {"transaction_id": f"t{i}", "event_time": int(time[i]), "customer_id": f"c{i % 50}"}
        for i in np.flatnonzero(fraud)
    ])  # fmt: skip
