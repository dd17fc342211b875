"""Decisions whose summaries have cells: a reference's bins, segments, and rows as plain data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import DecisionBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT,
    ReferenceBins,
    Segments,
    WatchedField,
)
from tests.support.core.events import batch, event

Int64 = NDArray[np.int64]

WIDTH_MS = 3_600_000
DIGEST = "0123456789abcdef"
EXTRAS = {"items": "long", "gift": "boolean", "shop": "string"}
FEATURES = 3
TABLE = {"channel": ["POS", "ECOM"], "amount": [20.0, 100.0], "gift": [True], "shop": ["a"]}


def number(name: str, source: str, low: float, high: float) -> WatchedField:
    """Return a watched number with nine edges at equal distances."""
    return WatchedField(name, NUMBER, source, np.linspace(low, high, 11)[1:-1], low, high, ())


def text(name: str, *values: str) -> WatchedField:
    return WatchedField(name, TEXT, f"column:{name}", np.empty(0), 0.0, 0.0, values)


def bins_of(features: int) -> ReferenceBins:
    """Return bins of all kinds of fields, of a model with this many features, all in [0, 1]."""
    outcome = WatchedField("outcome", OUTCOME, "outcome", np.empty(0), 0.0, 0.0, ())
    return ReferenceBins(
        DIGEST,
        (
            number("score", "score", 0.0, 1.0), outcome,
            number("amount", "column:amount", 0.0, 10_000.0), text("currency", "EUR"),
            *(number(f"f{n}", f"feature:{n}", 0.0, 1.0) for n in range(features)),
            text("channel", "POS", "ECOM", "ATM"), number("items", "column:items", 0.0, 10.0),
        ),
    )  # fmt: skip


def segments(table: dict[str, Any]) -> Segments:
    """Return the segments of a plan with our extra fields."""
    return segments_of(Plan(extras=EXTRAS, segments=table))


def decided(rows: Sequence[dict[str, Any]]) -> DecisionBatch:
    """Return decisions; a row has an event's fields, and score, outcome, flags and features."""
    own = ("score", "outcome", "flags", "features")
    events = batch([{k: v for k, v in row.items() if k not in own} for row in rows], EXTRAS)
    features = [row["features"] for row in rows]
    return DecisionBatch(
        events=events,
        score=np.array([row["score"] for row in rows], np.float64),
        outcome=np.array([row["outcome"] for row in rows], np.uint8),
        flags=np.array([row["flags"] for row in rows], np.uint8),
        features=np.array(features, np.float64).reshape(len(rows), -1),
        reasons={}, model="m", version="1.2.3",
    )  # fmt: skip


def summary_of(
    decisions: DecisionBatch, bins: ReferenceBins | None, chosen: Segments
) -> dict[str, Any]:
    """Return the only record of the summary of decisions."""
    events = decisions.events
    read = InputRecords(events.partition, events.offset, events.timestamp)
    ((made,),) = summarize(read, [SummaryInput(decisions, WIDTH_MS, bins, chosen)])
    return made


def full(number: int, **changes: Any) -> dict[str, Any]:
    """Return a row of :func:`decided`."""
    return event(
        number, items=1, gift=True, shop="a", score=0.5, outcome=0, flags=0,
        features=[0.5] * FEATURES,
    ) | changes  # fmt: skip
