"""Made-up records for the warm-up, which compiles and touches everything before the first event."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.extras import BOOLEAN, COLUMN_TYPES, DOUBLE, LONG, STRING, TIMESTAMP
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

EVENT_TIME_MS = 1_600_000_000_000
"""Event time of made-up transactions by default, ms since the epoch."""
_NOW_MS = 1_700_000_000_000
_VALUES: Final = {STRING: "a", DOUBLE: 1.5, LONG: 1, BOOLEAN: True, TIMESTAMP: EVENT_TIME_MS}


def made_up_transactions(plan: Plan, count: int, later_ms: int = 0) -> list[bytes]:
    """Return ``count`` encoded transactions of seven customers; ``later_ms`` moves their times."""
    return _encoded(
        "transaction",
        [
            {
                "transaction_id": f"warm-{row}",
                "event_time": EVENT_TIME_MS + later_ms,
                "customer_id": f"{row % 7}",
                "terminal_id": "1",
                "amount_minor": 100 * row,
                "currency": plan.currency,
            }
            for row in range(count)
        ],
    )


def made_up_labels(count: int) -> list[bytes]:
    """Return encoded labels of the first ``count`` made-up transactions."""
    return _encoded(
        "label",
        [
            {
                "transaction_id": f"warm-{row}",
                "event_time": EVENT_TIME_MS,
                "customer_id": f"{row % 7}",
                "terminal_id": "1",
                "is_fraud": True,
            }
            for row in range(count)
        ],
    )


def with_extras(events: EventBatch, plan: Plan) -> EventBatch:
    """Return made-up events with the columns that a plan's mapping adds, without nulls."""
    records, count = events.records, len(events)
    for name, kind in plan.extras.items():
        column = pa.array([_VALUES[kind]] * count, COLUMN_TYPES[kind])
        records = records.append_column(name, column)
    if plan.events.get("rates"):
        records = records.append_column(BASE_AMOUNT, records.column("amount_minor"))
    return replace(events, records=records)


def with_kept(events: EventBatch, stored: Iterable[str]) -> EventBatch:
    """Return made-up events with columns of extra fields that rings keep, by their stored names."""
    records = events.records
    for each in stored:
        kind = each.split(":")[1]
        column = pa.array([_VALUES[kind]] * len(events), COLUMN_TYPES[kind])
        records = records.append_column(each, column)
    return replace(events, records=records)


def _encoded(name: str, records: Sequence[dict[str, Any]]) -> list[bytes]:
    schema = reader_schema(f"{name}.v1", SCHEMAS_DIRECTORY)
    identity = FileRegistry(SCHEMAS_DIRECTORY).id_for(f"{name}s-value", schema)
    codec = RecordCodec(identity, schema)
    return [codec.encode(record) for record in records]


def as_polled(values: Sequence[bytes], partition: NDArray[np.int32] | None = None) -> RawRecords:
    """Return values as a poll returns them, without keys; ``partition`` is int32[n], 0 if None."""
    count = len(values)
    return RawRecords(
        values=BytesColumn.of(values),
        keys=BytesColumn.nulls(count),
        headers=None,
        partition=np.zeros(count, np.int32) if partition is None else partition,
        offset=np.arange(count, dtype=np.int64),
        # Far after the events, so that no event time is ahead of it.
        timestamp=np.full(count, _NOW_MS, np.int64),
    )
