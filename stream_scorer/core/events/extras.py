"""Extra fields of a plan: further fields of the user's record, by name and type.

Where they are in a record is the matter of :mod:`~stream_scorer.core.mapping.mapping`.
"""

import re
from collections.abc import Mapping

import pyarrow as pa

from stream_scorer.core.mapping.quoting import quoted

STRING, DOUBLE, LONG, BOOLEAN, TIMESTAMP = TYPES = (
    "string",
    "double",
    "long",
    "boolean",
    "timestamp",
)
"""Types of extra fields."""

COLUMN_TYPES = {
    STRING: pa.string(), DOUBLE: pa.float64(), LONG: pa.int64(), BOOLEAN: pa.bool_(),
    TIMESTAMP: pa.timestamp("ms"),
}  # fmt: skip
"""Arrow types of their columns."""

MOST_EXTRAS = 64

_NAME = re.compile("[a-z][a-z0-9_]{0,63}")
_TAKEN = frozenset(
    {
        "transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor", "amount",
        "currency", "channel", "mcc", "country", "card_present", "device_id",
    }
)  # fmt: skip
"""The fields of the transaction schema, and ``amount``, the name of the amount in features."""


def check_extras(extras: object) -> None:
    """Refuse a table of extra fields that is not valid.

    Args:
        extras: Type by name.

    Raises:
        ValueError: Not a table, more than 64 fields, an invalid or taken name, or an unknown type;
            the message names it.
    """
    if not isinstance(extras, Mapping):
        raise ValueError("extras: must be a table of name = type")  # noqa: TRY004 all errors of a plan are ValueErrors
    if len(extras) > MOST_EXTRAS:
        raise ValueError(f"extras: at most {MOST_EXTRAS} fields, not {len(extras)}")
    for name, kind in extras.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError(
                f"extras: {str(name)[:80]!r} is not a name; write a lower-case letter, then at "
                "most 63 lower-case letters, digits and _"
            )
        if name in _TAKEN:
            raise ValueError(f"extras: {name!r} is a field of the transaction schema already")
        if kind not in TYPES:
            given = quoted(kind, 80, str)
            raise ValueError(
                f"extras: type {given!r} of {name} is not known; known: {', '.join(TYPES)}"
            )
