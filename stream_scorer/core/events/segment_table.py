"""The plan's table ``segments``, checked: the groups of events that summaries count separately.

The table is plain data inside the plan; here it becomes names and values::

    [segments]
    channel = ["POS", "ECOM"]   # channel=POS, channel=ECOM, channel=other
    amount = [20.0, 100.0]      # amount<20, amount<100, amount>=100

Each key is a dimension: an event is in exactly one segment of it. There are no combinations of
dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from stream_scorer.core.mapping.minor_units import minor_per_unit
from stream_scorer.core.mapping.quoting import quoted, quoted_key

SEGMENTS_MOST: Final = 64
"""Maximum number of segments, with the one of all events."""
DIMENSIONS_MOST: Final = 8
NAME_LONGEST: Final = 100
"""Maximum number of characters of a segment's name."""
AMOUNT: Final = "amount"
COLUMNS: Final = ("channel", "country", "currency", "mcc")
"""The transaction schema's fields that may be a dimension, in addition to amount and extras."""
OTHER: Final = "other"
_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """A dimension of the table.

    Attributes:
        column: Name of a text or boolean column; ``amount`` for the amount.
        values: The values that have a segment; empty for the amount. A boolean is ``true`` or
            ``false``.
        bounds: Bounds of the amount in minor units, ascending; otherwise empty.
        names: Names of the segments: of the values, then of all others; or of the amounts below
            each bound, then of those from the last bound on.
    """

    column: str
    values: tuple[str, ...]
    bounds: tuple[int, ...]
    names: tuple[str, ...]


def read_segments(
    table: Mapping[str, Any], exponent: int, extras: Mapping[str, str]
) -> tuple[SegmentKey, ...]:
    """Return the dimensions of a table, by name: the order of its keys does not matter.

    Args:
        table: As TOML or JSON has it; empty for no segments.
        exponent: Of the currency of the amounts: minor units = units x 10^exponent.
        extras: The plan's extra fields, type by name.

    Raises:
        ValueError: A key is unknown, a value is not valid, or there are too many; the message is
            one line that names the key.
    """
    if len(table) > DIMENSIONS_MOST:
        raise ValueError(f"at most {DIMENSIONS_MOST} keys, not {len(table)}")
    read = tuple(_key(name, table[name], exponent, extras) for name in sorted(table))
    count = 1 + sum(len(key.names) for key in read)
    if count > SEGMENTS_MOST:
        raise ValueError(
            f"at most {SEGMENTS_MOST} segments, with the one of all events and each 'other', not "
            f"{count}"
        )
    for key in read:
        for name in key.names:
            if len(name) > NAME_LONGEST:
                raise ValueError(
                    f"{quoted_key(key.column)}: the name {quoted(name, 60)} has more than "
                    f"{NAME_LONGEST} characters"
                )
    return read


def _key(name: str, wanted: Any, exponent: int, extras: Mapping[str, str]) -> SegmentKey:
    if name == AMOUNT:
        return _amount(wanted, exponent)
    kinds = dict.fromkeys(COLUMNS, "string") | {
        extra: kind for extra, kind in extras.items() if kind in ("string", "boolean")
    }
    if name not in kinds:
        if name in extras:
            raise ValueError(f"{name}: is a {extras[name]}; must be a string or boolean")
        known = ", ".join((AMOUNT, *sorted(kinds)))
        raise ValueError(f"{quoted_key(name)}: unknown field; known are {known}")
    if type(wanted) is not list or not wanted:
        raise ValueError(f"{name}: must be a list of values, not {quoted(wanted)}")
    read = _boolean if kinds[name] == "boolean" else _text
    values = tuple(read(name, value) for value in wanted)
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: names a value twice")
    names = tuple(f"{name}={value}" for value in (*values, OTHER))
    if OTHER in values:
        raise ValueError(f"{name}: 'other' is the name of the segment of all other values")
    return SegmentKey(name, values, (), names)


def _text(name: str, value: Any) -> str:
    if type(value) is not str or not value:
        raise ValueError(f"{name}: must list texts that are not empty, not {quoted(value)}")
    if not value.isprintable():
        raise ValueError(f"{name}: {quoted(value)} has characters that cannot be printed")
    return value


def _boolean(name: str, value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must list true or false, not {quoted(value)}")  # noqa: TRY004 all errors of a plan are ValueErrors
    return "true" if value else "false"


def _amount(wanted: Any, exponent: int) -> SegmentKey:
    if type(wanted) is not list or not wanted:
        raise ValueError(f"{AMOUNT}: must be a list of bounds, not {quoted(wanted)}")
    bounds = tuple(_minor(value, exponent) for value in wanted)
    if not all(low < high for low, high in pairwise(bounds)):
        raise ValueError(f"{AMOUNT}: bounds must ascend, and none may be repeated")
    texts = [str(value).removesuffix(".0") for value in wanted]
    names = (*(f"{AMOUNT}<{text}" for text in texts), f"{AMOUNT}>={texts[-1]}")
    return SegmentKey(AMOUNT, (), bounds, names)


def _minor(value: Any, exponent: int) -> int:
    if type(value) not in (int, float) or not 0 < value < _INT64:
        raise ValueError(
            f"{AMOUNT}: must list amounts above 0 that 64 bits hold, not {quoted(value)}"
        )
    # The decimal that was written, not the float that is nearest to it.
    minor = Decimal(repr(value)).scaleb(exponent)
    if minor != minor.to_integral_value() or minor > _INT64:
        unit = minor_per_unit(exponent)
        raise ValueError(f"{AMOUNT}: {value!r} is not a number of minor units, 1/{unit}")
    return int(minor)
