"""The event's fields that features may name, and how rings keep those that they need.

A string is kept as the 64-bit hash of its bytes, a boolean as one of two numbers. Null is a value
of its own; an event that was stored without the field has none.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch

Int64 = NDArray[np.int64]

AMOUNT = "amount"
BOOLEANS = ("card_present",)
STRINGS = ("terminal_id", "channel", "mcc", "country", "device_id")
STORABLE = (*STRINGS, *BOOLEANS)
"""Fields that rings can keep beside time, amount and the hash of the transaction id."""

MISSING = 0
"""Kept value of an event that was stored without the field."""

NULL = 1
"""Kept value of null."""

_FIRST_VALUE = 2


def kept_values(events: EventBatch, names: Sequence[str]) -> Int64:
    """Return int64[f, n], what rings keep of the named fields.

    Args:
        events: n transactions.
        names: f of ``STORABLE``.
    """
    kept = np.empty((len(names), len(events)), np.int64)
    for row, name in zip(kept, names, strict=True):
        column = events.records.column(name)
        if name in BOOLEANS:
            row[:] = column.cast(pa.int64()).fill_null(0).to_numpy() + _FIRST_VALUE
        else:
            row[:] = events.hashes(name).view(np.int64)
            row[(row == MISSING) | (row == NULL)] += _FIRST_VALUE
        if column.null_count:
            row[column.is_null().to_numpy(zero_copy_only=False)] = NULL
    return kept
