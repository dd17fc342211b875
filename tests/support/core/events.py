"""Transactions as columns, for the tests of the core."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.batch import EventBatch

NOW = 1_522_600_000_000
FIELDS = {
    "transaction_id": pa.utf8(),
    "event_time": pa.timestamp("ms"),
    "customer_id": pa.utf8(),
    "terminal_id": pa.utf8(),
    "amount_minor": pa.int64(),
    "currency": pa.utf8(),
    "channel": pa.utf8(),
    "mcc": pa.utf8(),
    "country": pa.utf8(),
    "card_present": pa.bool_(),
    "device_id": pa.utf8(),
}

EXTRA_TYPES = {
    "string": pa.utf8(), "double": pa.float64(), "long": pa.int64(), "boolean": pa.bool_(),
    "timestamp": pa.timestamp("ms"),
}  # fmt: skip


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a valid transaction; ``partition`` and ``timestamp`` are those of its record."""
    return {
        "transaction_id": f"t{number}", "event_time": NOW + number, "customer_id": "c",
        "terminal_id": "x", "amount_minor": 1_000, "currency": "EUR",
        "channel": "POS", "mcc": None, "country": None, "card_present": None, "device_id": None,
        "partition": 0, "timestamp": NOW + number,
    } | changes  # fmt: skip


def batch(rows: Sequence[Mapping[str, Any]], extras: Mapping[str, str] | None = None) -> EventBatch:
    """Return rows as columns; ``extras`` has the type of each of their extra fields."""
    kinds = FIELDS | {name: EXTRA_TYPES[kind] for name, kind in (extras or {}).items()}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    return EventBatch(
        pa.RecordBatch.from_pydict(columns),
        np.array([row["partition"] for row in rows], np.int32),
        np.arange(len(rows), dtype=np.int64),
        np.array([row["timestamp"] for row in rows], np.int64),
    )
