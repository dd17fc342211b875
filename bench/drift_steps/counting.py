"""How long counting takes: nanoseconds per event, in one thread, without Kafka."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT,
    ReferenceBins,
    Segments,
    WatchedField,
)
from stream_scorer.core.summaries.watched_columns import columns_of
from tests.support.core.events import NOW, batch, event

SEGMENTS: dict[str, Any] = {
    "amount": [5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 70.0, 90.0, 120.0],
    "channel": ["POS", "ECOM", "MOTO", "ATM"],
    "mcc": ["5411", "5812", "7995"],
}
"""19 segments in three dimensions, and the one of all events."""
_EVENTS, _ROUNDS = 25_000, 40


def kernel_ns() -> float:
    """Return the nanoseconds per event of counting 15 features x 10 bins x 4 memberships."""
    chance = np.random.default_rng(1)
    fields = tuple(
        WatchedField(f"f{n}", NUMBER, f"feature:{n}", np.linspace(0, 1, 11)[1:-1], 0.0, 1.0, ())
        for n in range(15)
    )
    watched = columns_of(_decisions(chance), ReferenceBins("", fields), _segments())
    rows, begins = np.arange(_EVENTS), np.array([0, _EVENTS])
    watched.packed(rows, begins)
    return _fastest(lambda: watched.packed(rows, begins))


def summary_ns() -> float:
    """Return the nanoseconds per event of all that a reference adds: columns, cells, packing."""
    chance = np.random.default_rng(1)
    decisions, segments = _decisions(chance), _segments()
    bins = ReferenceBins(
        "",
        (
            WatchedField("score", NUMBER, "score", np.linspace(0, 1, 11)[1:-1], 0.0, 1.0, ()),
            WatchedField("outcome", OUTCOME, "outcome", np.empty(0), 0.0, 0.0, ()),
            *(
                WatchedField(
                    f"f{n}", NUMBER, f"feature:{n}", np.linspace(0, 1, 11)[1:-1], 0.0, 1.0, ()
                )
                for n in range(15)
            ),
            *(
                WatchedField(name, TEXT, f"column:{name}", np.empty(0), 0.0, 0.0, ("POS", "ECOM"))
                for name in ("channel", "currency", "country")
            ),
        ),
    )
    rows, begins = np.arange(_EVENTS), np.array([0, _EVENTS])

    def made() -> None:
        columns_of(decisions, bins, segments).packed(rows, begins)

    made()
    return _fastest(made)


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return round(min(seconds) / _EVENTS * 1e9, 1)


def _segments() -> Segments:
    return segments_of(Plan(segments=SEGMENTS))


def _decisions(chance: np.random.Generator) -> DecisionBatch:
    count = _EVENTS
    one = batch([event(0)]).records
    records = pa.table(
        {name: pa.chunked_array([one.column(name)] * count).combine_chunks() for name in
         one.schema.names}
    ).combine_chunks().to_batches()[0]  # fmt: skip
    amounts = pa.array(chance.integers(0, 15_000, count))
    channels = pa.array(np.array(["POS", "ECOM", "MOTO", "X"])[chance.integers(0, 4, count)])
    for name, column in (("amount_minor", amounts), ("channel", channels)):
        at = records.schema.get_field_index(name)
        records = records.set_column(at, name, column)
    zeros = np.zeros(count, np.int64)
    return DecisionBatch(
        events=EventBatch(records, zeros.astype(np.int32), zeros, zeros + NOW),
        score=chance.random(count), outcome=zeros.astype(np.uint8), flags=zeros.astype(np.uint8),
        features=chance.random((count, 15)), reasons={}, model="m", version="1",
    )  # fmt: skip
