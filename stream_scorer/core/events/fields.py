"""The event's fields that features may name, and the values that rings keep of them.

A kept value has 64 bits. A string is kept as the hash of its bytes, a boolean as one of two
numbers. A number is kept exactly: its bits, exclusive-or a constant for each type, so that no
number has one of the two codes ``MISSING`` and ``NULL``. An event that was stored without the field
has ``MISSING``, which is different from null.

Two kinds of values count as null: a double that is not finite, and the two smallest longs, -2^63
and -2^63 + 1, which would have those codes.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.extras import BOOLEAN, DOUBLE, LONG, STRING, TIMESTAMP
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.observing import DOUBLE_CODE, LONG_CODE

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

AMOUNT = "amount"
EVENT_TIME = "event_time"
BOOLEANS = ("card_present",)
STRINGS = ("terminal_id", "channel", "mcc", "country", "device_id")
STORABLE = (*STRINGS, *BOOLEANS)
"""Fields of the transaction schema that rings can keep, in addition to time, amount and id hash."""

NUMBERS = (LONG, DOUBLE, TIMESTAMP)
"""Types of extra fields that are aggregated as numbers."""

MISSING = 0
"""Kept value of an event that was stored without the field."""

NULL = 1
"""Kept value of null."""

MILLISECONDS = 1_000.0
_FIRST_VALUE = 2
_LEAST_LONG = np.iinfo(np.int64).min + _FIRST_VALUE


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the event.

    Attributes:
        name: Its column in ``EventBatch.records``; ``amount`` is the amount in units.
        type: One of ``extras.TYPES``; ``amount`` for the amount.
        stored: Its name in rings and checkpoints. For an extra field, this includes the type and a
            digest of the definition in events.toml. A field with another type or definition is a
            different field, without history.
    """

    name: str
    type: str
    stored: str


def fields_of(plan: Plan) -> dict[str, Field]:
    """Return the fields that features may name, by name: the schema's, then the plan's extras."""
    ours = [
        Field(AMOUNT, AMOUNT, AMOUNT),
        Field(EVENT_TIME, TIMESTAMP, EVENT_TIME),
        *(_stored(name) for name in STORABLE),
    ]
    defined = plan.events.get("extra", {})
    extras = [
        Field(name, kind, f"{name}:{kind}{_digest(defined.get(name))}")
        for name, kind in plan.extras.items()
    ]
    return {field.name: field for field in (*ours, *extras)}


def _digest(definition: object) -> str:
    """Return a suffix that identifies an extra field's definition; empty if there is none."""
    if definition is None:
        return ""
    text = json.dumps(definition, sort_keys=True)
    return ":" + hashlib.sha256(text.encode()).hexdigest()[:16]


def field_text(stored: str) -> str:
    """Return the name of a stored field for people.

    >>> field_text("gross:double:0123456789abcdef")
    'gross (double) as this events.toml defines it'
    """
    name, kind, defined = [*stored.split(":"), "", ""][:3]
    return f"{name} ({kind}) as this events.toml defines it" if defined else stored


def _stored(stored: str) -> Field:
    """Return the field with this name in rings."""
    name, kind, *_ = [*stored.split(":"), ""]
    return Field(name, kind or (BOOLEAN if name in BOOLEANS else STRING), stored)


def in_order(stored: Iterable[str]) -> tuple[str, ...]:
    """Return the names of stored fields in the order in which rings keep them, without repeats."""
    found = set(stored)
    ours = [name for name in STORABLE if name in found]
    return (*ours, *sorted(found.difference(STORABLE)))


def columns_of(stored: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of events from which stored fields are read."""
    return tuple(_stored(name).name for name in stored)


def kept_values(events: EventBatch, names: Sequence[str]) -> Int64:
    """Return int64[f, n], what rings keep of the named fields.

    If there is a column with a field's stored name, the field is read from it: the mapping that
    read the events defines the field in another way. Otherwise it is read from the column with its
    name.

    Args:
        events: n transactions.
        names: f stored fields, as :attr:`Field.stored` names them.
    """
    kept = np.empty((len(names), len(events)), np.int64)
    for row, stored in zip(kept, names, strict=True):
        field = _stored(stored)
        other = events.records.schema.get_field_index(stored) >= 0
        place = stored if other else field.name
        column = events.records.column(place)
        if field.type == STRING:
            _keep_hashes(row, events.hashes(place))
            null = _nulls(column)
        elif field.type == BOOLEAN:
            row[:] = column.cast(pa.int64()).fill_null(0).to_numpy() + _FIRST_VALUE
            null = _nulls(column)
        else:
            values, null = _values(column, field.type)
            code = DOUBLE_CODE if field.type == DOUBLE else LONG_CODE
            np.bitwise_xor(values.view(np.int64), code, out=row)
        if null is not None:
            row[null] = NULL
    return kept


def kept_value(value: str | bool) -> int:  # noqa: FBT001 a value, not a switch
    """Return the kept value of a text or a boolean.

    >>> kept_value(True)
    3
    """
    if isinstance(value, bool):
        return value + _FIRST_VALUE
    kept = np.empty(1, np.int64)
    _keep_hashes(kept, hashes_of(pa.array([value], pa.string())))
    return int(kept[0])


def numbers(events: EventBatch, field: Field) -> Float64:
    """Return float64[n], a field that is not a text; NaN for null.

    A boolean is 1 or 0. A time is in seconds since 1970. A long is rounded to the nearest double.
    """
    column = events.records.column(field.name)
    if field.type == BOOLEAN:
        values, null = column.cast(pa.int64()).fill_null(0).to_numpy(), _nulls(column)
    else:
        values, null = _values(column, field.type)
    found = np.array(values, np.float64)
    if field.type == TIMESTAMP:
        found /= MILLISECONDS
    if null is not None:
        found[null] = np.nan
    return found


def _keep_hashes(row: Int64, hashes: NDArray[np.uint64]) -> None:
    row[:] = hashes.view(np.int64)
    row[(row == MISSING) | (row == NULL)] += _FIRST_VALUE


def _values(column: pa.Array, kind: str) -> tuple[NDArray[Any], Bool | None]:
    """Return float64[n] or int64[n] (times in ms), and which of them are null; None for no null."""
    null = _nulls(column)
    values = column if kind == DOUBLE else column.cast(pa.int64())
    found: NDArray[Any] = values.fill_null(0).to_numpy()
    bad = ~np.isfinite(found) if kind == DOUBLE else found < _LEAST_LONG
    if bad.any():
        null = bad if null is None else null | bad
    return found, null


def _nulls(column: pa.Array) -> Bool | None:
    if not column.null_count:
        return None
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
