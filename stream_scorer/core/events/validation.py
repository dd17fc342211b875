"""Validation of decoded transactions: a reason code for each rejected row.

Each row is judged without history. Duplicates are found by the rings.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.mapping.mapping import mapping_in, required_ids

UInt8 = NDArray[np.uint8]

# 9999-12-31T23:59:59.999Z: the latest time that the date types of all our readers can represent.
LATEST_MS = 253_402_300_799_999

ACCEPTED = 0
_CODES: tuple[RejectReason, ...] = (
    RejectReason.ID_EMPTY,
    RejectReason.TIME_INVALID,
    RejectReason.TIME_AHEAD,
    RejectReason.CURRENCY,
    RejectReason.AMOUNT_NEGATIVE,
    RejectReason.AMOUNT_TOO_LARGE,
    RejectReason.DUPLICATE,
)
DUPLICATE_CODE = _CODES.index(RejectReason.DUPLICATE) + 1

_DETAILS = {
    RejectReason.ID_EMPTY: "transaction_id, customer_id or terminal_id is empty",
    RejectReason.TIME_INVALID: "event_time is before 1970 or after 9999",
    RejectReason.TIME_AHEAD: "event_time is further after the Kafka timestamp than allowed",
    RejectReason.CURRENCY: "the plan does not list this currency",
    RejectReason.AMOUNT_NEGATIVE: "amount_minor is negative",
    RejectReason.AMOUNT_TOO_LARGE: "amount_minor is over the plan's limit",
    RejectReason.DUPLICATE: "the customer's recent history holds this transaction_id",
}


_COLUMNS = {
    RejectReason.TIME_INVALID: ("event_time",),
    RejectReason.TIME_AHEAD: ("event_time",),
    RejectReason.CURRENCY: ("currency",),
    RejectReason.AMOUNT_NEGATIVE: ("amount_minor",),
    RejectReason.AMOUNT_TOO_LARGE: ("amount_minor",),
    RejectReason.DUPLICATE: ("transaction_id",),
}
"""The columns that a reason concerns. ``ID_EMPTY`` concerns all required ids."""


def reason_of(code: int, events: Mapping[str, Any] | None = None) -> tuple[RejectReason, str]:
    """Return the reason of a code, and a sentence for the reader of the dead letter.

    Args:
        code: The code of a rejected row.
        events: Table ``events`` of the plan; the sentence then begins with the paths of the values.
    """
    reason = _CODES[code - 1]
    rules = mapping_in(events).fields if events else ()
    columns = _COLUMNS.get(reason) or required_ids(events or {})
    places = [rule.place for rule in rules if rule.column in columns and rule.path is not None]
    return reason, f"{', '.join(places)}: {_DETAILS[reason]}" if places else _DETAILS[reason]


def validate(events: EventBatch, plan: Plan) -> UInt8:
    """Judge each row without history; DUPLICATE is found by the rings.

    Args:
        events: n decoded transactions.
        plan: Currencies and limits.

    Returns:
        uint8[n]: ACCEPTED, or the code of the first rule that the row breaks.
    """
    time = events.int64("event_time")
    amount = events.int64("amount_minor")
    broken = (
        _empty_ids(events, required_ids(plan.events)),
        (time < 0) | (time > LATEST_MS),
        time > events.timestamp + plan.ahead_ms,
        _other_currency(events.records.column("currency"), plan.currencies),
        amount < 0,
        amount > plan.amount_minor_max,
    )
    codes = np.zeros(len(events), np.uint8)
    # The rules are written from last to first, so that the first broken one stays.
    for code in range(len(broken), 0, -1):
        codes[broken[code - 1]] = code
    return codes


def _empty_ids(events: EventBatch, names: Sequence[str]) -> NDArray[np.bool_]:
    empty = np.zeros(len(events), np.bool_)
    for name in names:
        offsets, _ = string_views(events.records.column(name))
        empty |= offsets[1:] == offsets[:-1]
    return empty


def _other_currency(column: pa.Array, currencies: Collection[str]) -> NDArray[np.bool_]:
    if len(currencies) > 1:
        listed = pc.is_in(column, pa.array(list(currencies), pa.string()))
        return ~np.asarray(listed.to_numpy(zero_copy_only=False), np.bool_)
    other = pc.not_equal(column, next(iter(currencies)))
    return np.asarray(other.to_numpy(zero_copy_only=False), np.bool_)
