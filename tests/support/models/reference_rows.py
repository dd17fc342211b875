"""Transactions with invented scores, from which tests make references; no model is needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.models.reference.build import ReferenceJob
from stream_scorer.models.reference.rows import ReferenceRows

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MONDAY_MS = 1_521_417_600_000  # 2018-03-19, a Monday
SPECS: tuple[dict[str, Any], ...] = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "COUNT", "kind": "count", "window": "2d"},
    {"name": "NIGHT", "kind": "night"},
)
Int64 = NDArray[np.int64]


def rows_of(
    days: int, an_hour: int = 40, seed: int = 0, *, segments: int = 0, uneven: bool = False
) -> ReferenceRows:
    """Return rows whose values do not depend on the time, except for NIGHT; half is training.

    Args:
        days: Number of days, from a Monday on.
        an_hour: Transactions an hour.
        seed: Of the values.
        segments: Number of segments of one dimension.
        uneven: Whether the last segment has one row in a thousand.
    """
    random = np.random.default_rng(seed)
    hours = np.repeat(np.arange(days * 24), an_hour)
    count = len(hours)
    time = np.sort(MONDAY_MS + hours * HOUR_MS + random.integers(0, HOUR_MS, count))
    amount = np.rint(np.exp(random.normal(8, 1, count))).astype(np.int64)
    night = ((time // HOUR_MS) % 24 < 6).astype(np.float64)
    score = random.beta(0.5, 5, count)
    members = random.integers(1, max(segments, 1) + 1, (count, min(segments, 1))).astype(np.uint8)
    if uneven:
        members[:, 0] = np.where(random.random(count) < 0.001, segments, 1)
    features = np.stack([amount / 100, random.poisson(4, count), night], axis=1)
    table = {
        "event_time": pa.array(time, pa.timestamp("ms", "UTC")),
        "amount_minor": pa.array(amount),
        "currency": pa.array(["EUR"] * count),
        "channel": pa.array(random.choice(["pos", "web", "atm"], count, p=[0.6, 0.3, 0.1])),
    }
    half = time < MONDAY_MS + days // 2 * DAY_MS
    return ReferenceRows(
        events=EventBatch(
            pa.RecordBatch.from_pydict(table), np.zeros(count, np.int32), np.arange(count), time
        ),
        features=np.ascontiguousarray(features), score=score,
        outcome=np.searchsorted([0.3, 0.6], score, "right").astype(np.uint8), members=members,
        training=half, held=~half, rejected={"DUPLICATE": 0.001},
    )  # fmt: skip


def job_of(segments: Sequence[str] = (), **changes: Any) -> ReferenceJob:
    plan = Plan(**changes)
    return ReferenceJob(
        "fraud", "1.0.0", SPECS, compile_features(SPECS, plan), plan, tuple(segments)
    )
