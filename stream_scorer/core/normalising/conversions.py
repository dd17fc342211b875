"""Conversions from one column of raw leaves to one of our columns, for each kind of column.

Each gives the column and a fault for each value that cannot be converted. Which rows are rejected
for it is up to ``normalise``.
"""

from collections.abc import Callable
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from enum import IntEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.mapping import iso_time_kernels
from stream_scorer.core.mapping.mapping import FieldRule
from stream_scorer.core.normalising import decimal_kernels as decimals
from stream_scorer.core.normalising.leaves import LeafPart, Wire

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Converted = tuple[pa.Array, UInt8]
"""n values, and uint8[n]: SOUND or a :class:`Fault` for each; a faulty value has no meaning."""


class Fault(IntEnum):
    """Why a value cannot be converted."""

    NULL = 1
    KIND = 2
    TABLE = 3
    NOT_A_NUMBER = 4
    NOT_FINITE = 5
    NEGATIVE_ZERO = 6
    DIGITS = 7
    OVERFLOW = 8
    CURRENCY = 9
    NOT_A_TIME = 10
    NO_OFFSET = 11
    TIME_RANGE = 12
    NOT_WHOLE = 13


SOUND: Final = 0
NULL: Final = Fault.NULL

TOLD: Final = {
    Fault.NULL: (RejectReason.MAPPING, "null, and {} takes none"),
    Fault.KIND: (RejectReason.MAPPING, "a value of this kind cannot become {}"),
    Fault.TABLE: (RejectReason.MAPPING, "the table for {} does not have this value"),
    Fault.NOT_A_NUMBER: (RejectReason.MAPPING, "not a decimal number of at most 64 characters"),
    Fault.NOT_FINITE: (RejectReason.MAPPING, "NaN or infinite"),
    Fault.NEGATIVE_ZERO: (RejectReason.MAPPING, "negative zero"),
    Fault.DIGITS: (RejectReason.MAPPING, "more digits than the currency's minor unit has"),
    Fault.OVERFLOW: (RejectReason.AMOUNT_TOO_LARGE, "more than 64 bits hold"),
    Fault.CURRENCY: (RejectReason.CURRENCY, "the plan does not list this currency"),
    Fault.NOT_A_TIME: (RejectReason.TIME_INVALID, "not a time in ISO 8601"),
    Fault.NO_OFFSET: (RejectReason.TIME_INVALID, "a time without a UTC offset"),
    Fault.TIME_RANGE: (RejectReason.TIME_INVALID, "more than 64 bits of milliseconds"),
    Fault.NOT_WHOLE: (RejectReason.MAPPING, "not a whole number of 64 bits"),
}
"""Reason and text of each fault; ``{}`` is the column's name."""

_OF_SCALING: Final = np.zeros(decimals.NO_EXPONENT + 1, np.uint8)
_OF_SCALING[decimals.NOT_A_NUMBER] = Fault.NOT_A_NUMBER
_OF_SCALING[decimals.NOT_FINITE] = Fault.NOT_FINITE
_OF_SCALING[decimals.NEGATIVE_ZERO] = Fault.NEGATIVE_ZERO
_OF_SCALING[decimals.DIGITS] = Fault.DIGITS
_OF_SCALING[decimals.OVERFLOW] = Fault.OVERFLOW
_OF_SCALING[decimals.NO_EXPONENT] = Fault.CURRENCY
_OF_TIMES: Final = np.array([SOUND, Fault.NOT_A_TIME, Fault.NO_OFFSET], np.uint8)

_DIGITS_MOST: Final = 40
"""Maximum decimal exponent of a scaled number that is computed; larger ones overflow 64 bits."""
_BITS_MOST: Final = 2_048
"""Maximum bits of a decimal that is computed; a larger one is too large at any scale."""
_INT64: Final = 2**63 - 1
_TO_MS: Final = {"s": 3, "ms": 0, "us": -3, "ns": -6}
_EXACT_DOUBLE: Final = 2**53
_EXACT_POWER: Final = 22
_DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_FLAGS: Final = pa.array(["true", "1", "false", "0"], pa.string())
_FLAG_VALUES: Final = pa.array([True, True, False, False], pa.bool_())
_WHOLE: Final = r"^(0|-?[1-9][0-9]{0,18})$"


def text(rule: FieldRule, part: LeafPart, _: Int64) -> Converted:
    """Convert text, an enum's symbol or an integer to text, by the rule's table if it has one.

    Args:
        rule: Of a column of strings.
        part: n values.
        _: Not used.
    """
    values, codes = _as_text(part)
    return _by_table(rule, values, codes, pa.string()) if rule.table else (values, codes)


def boolean(rule: FieldRule, part: LeafPart, _: Int64) -> Converted:
    """Convert a boolean, or by the rule's table a text or number; arguments as for ``text``."""
    if rule.table:
        return _by_table(rule, *_as_text(part), pa.bool_())
    if part.wire.kind == "cell":
        index = pc.index_in(pc.ascii_lower(part.values), _FLAGS)
        strange = pc.and_(pc.is_null(index), pc.is_valid(part.values))
        codes = np.where(strange.to_numpy(zero_copy_only=False), Fault.KIND, SOUND)
        return _FLAG_VALUES.take(index), codes.astype(np.uint8)
    return part.values, _sound(part.values)


def amount(rule: FieldRule, part: LeafPart, exponents: Int64) -> Converted:
    """Convert a number in major or minor units to minor units.

    Args:
        rule: Of the amount.
        part: n values.
        exponents: int64[n], digits after the decimal point in each row's currency; 0 if the number
            is in minor units.
    """
    mode = decimals.HALF_EVEN if rule.half_even else decimals.EXACT
    return _scaled(part, exponents, mode)


def time(rule: FieldRule, part: LeafPart, _: Int64) -> Converted:
    """Convert a count of s, ms, us or ns, or ISO 8601, to milliseconds, rounded down.

    Args:
        rule: Of a time.
        part: n values.
        _: Not used.
    """
    count = len(part.values)
    if rule.unit == "iso8601":
        times = np.empty(count, np.int64)
        status = np.empty(count, np.uint8)
        iso_time_kernels.read_times(*string_views(part.values), rule.utc, times, status)
        codes = _OF_TIMES[status]
    else:
        unit = part.wire.unit or rule.unit
        scaled, codes = _scaled(part, np.full(count, _TO_MS[unit]), decimals.FLOOR)
        times = scaled.fill_null(0).to_numpy(zero_copy_only=False)
        codes[codes == Fault.OVERFLOW] = Fault.TIME_RANGE
        if rule.since_ms:
            late = times > _INT64 - abs(rule.since_ms)
            early = times < abs(rule.since_ms) - _INT64
            codes[(late | early) & (codes == SOUND)] = Fault.TIME_RANGE
            times = np.where(late | early, 0, times) + rule.since_ms
    return _column(times, part.values, codes, pa.timestamp("ms"))


def whole(rule: FieldRule, part: LeafPart, _: Int64) -> Converted:  # noqa: ARG001 all kinds have one signature
    """Convert an integer of 64 bits; arguments as for ``text``."""
    if part.wire.kind not in {"number", "cell"}:
        return part.values, _sound(part.values)
    good = _is_whole(part.values)
    readable = pc.if_else(good, part.values, "0")
    numbers = _integers(readable)
    valid = pc.is_valid(numbers)
    codes = np.where(pc.or_(pc.is_null(part.values), valid), SOUND, Fault.NOT_WHOLE)
    bad = np.asarray(pc.fill_null(pc.invert(good), False).to_numpy(zero_copy_only=False))
    codes[bad] = Fault.NOT_WHOLE
    return _nulled(numbers, part.values, codes.astype(np.uint8))


def real(rule: FieldRule, part: LeafPart, _: Int64) -> Converted:
    """Convert a number to a double, rounded once; arguments as for ``text``."""
    if part.wire.kind == "cell":
        good = pc.match_substring_regex(part.values, _DECIMAL)
        short = pc.less_equal(pc.binary_length(part.values), decimals.TEXT_MOST)
        bad = pc.invert(pc.and_(good, short)).fill_null(False).to_numpy(zero_copy_only=False)
        readable = LeafPart(Wire("number"), pc.if_else(pa.array(bad), "0", part.values))
        column, codes = real(rule, readable, _)
        return column, np.where(bad, np.uint8(Fault.NOT_A_NUMBER), codes)
    if part.wire.kind == "number":
        numbers = [None if each is None else float(each) for each in part.values.to_pylist()]
        column = pa.array(numbers, pa.float64())
        infinite = pc.is_inf(column).fill_null(False).to_numpy(zero_copy_only=False)
        codes = np.where(infinite, np.uint8(Fault.NOT_FINITE), np.uint8(SOUND))
        return _nulled(column, part.values, codes)
    if part.wire.kind == "decimal":
        return _real_decimals(part)
    column = part.values
    if part.wire.kind == "long":
        rounded = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return _nulled(pa.array(rounded), column, _sound(column))
    return column.cast(pa.float64()), _sound(column)


CONVERSIONS: Final[dict[str, Callable[[FieldRule, LeafPart, Int64], Converted]]] = {
    "string": text, "boolean": boolean, "amount": amount, "timestamp": time, "long": whole,
    "double": real,
}  # fmt: skip


def _sound(values: pa.Array) -> UInt8:
    return np.zeros(len(values), np.uint8)


def _as_text(part: LeafPart) -> Converted:
    """Return values as text; a JSON number that is not an integer has a fault."""
    if part.wire.kind in {"text", "cell"}:
        return part.values, _sound(part.values)
    if part.wire.kind != "number":
        return part.values.cast(pa.string()), _sound(part.values)
    good = pc.fill_null(_is_whole(part.values), True)
    fits = pc.and_(good, pc.is_valid(_integers(pc.if_else(good, part.values, "0"))))
    null = pc.is_null(part.values)
    codes = np.where(pc.or_(fits, null), np.uint8(SOUND), np.uint8(Fault.NOT_WHOLE))
    return part.values, codes


def _is_whole(texts: pa.Array) -> pa.Array:
    return pc.match_substring_regex(texts, _WHOLE)


def _integers(texts: pa.Array) -> pa.Array:
    """Return integers of at most 19 digits as int64; null for those of more than 64 bits."""
    numbers = [None if each is None else int(each) for each in texts.to_pylist()]
    fitting = [
        each if each is not None and -_INT64 - 1 <= each <= _INT64 else None for each in numbers
    ]
    return pa.array(fitting, pa.int64())


def _by_table(rule: FieldRule, values: pa.Array, codes: UInt8, kind: pa.DataType) -> Converted:
    keys = pa.array(list(rule.table), pa.string())
    index = pc.index_in(values, keys)
    found = pa.array(list(rule.table.values()), kind).take(index)
    strange = pc.and_(pc.is_null(index), pc.is_valid(values)).to_numpy(zero_copy_only=False)
    if strange.any():
        if rule.unknown is None:
            codes = np.where(strange & (codes == SOUND), np.uint8(Fault.TABLE), codes)
        else:
            found = pc.if_else(pa.array(strange), pa.scalar(rule.unknown, kind), found)
    return found, codes


def _scaled(part: LeafPart, exponents: Int64, mode: int) -> Converted:
    """Return values x 10^exponent as int64, with the faults."""
    values, kind = part.values, part.wire.kind
    count = len(values)
    out = np.empty(count, np.int64)
    status = np.empty(count, np.uint8)
    if kind == "decimal":
        # An unknown exponent must remain recognisable.
        known = exponents != decimals.UNKNOWN
        exponents = np.where(known, exponents - part.wire.scale, exponents)
    if kind == "long":
        numbers = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][:count]
        decimals.scale_longs(numbers, exponents, mode, out, status)
    elif kind == "decimal":
        decimals.scale_decimals(*string_views(values), exponents, mode, out, status)
    elif kind in {"text", "number", "cell"}:
        decimals.scale_texts(*string_views(values), exponents, mode, out, status)
    else:
        doubles = values.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        decimals.scale_doubles(doubles, kind == "float", exponents, mode, out, status)
    if values.null_count:
        status[values.is_null().to_numpy(zero_copy_only=False)] = decimals.SCALED
    for row in np.flatnonzero(status == decimals.LARGE).tolist():
        out[row], status[row] = _large(part, row, int(exponents[row]), mode)
    return _column(out, values, _OF_SCALING[status], pa.int64())


def _large(part: LeafPart, row: int, exponent: int, mode: int) -> tuple[int, int]:
    """Return (number, status) of one value that is beyond the kernels' arithmetic."""
    value = part.values[row].as_py()
    if part.wire.kind == "decimal":
        integer = int.from_bytes(value, "big", signed=True)
        # The number of bytes does not count: leading bytes may only repeat the sign.
        number = Decimal(integer) if integer.bit_length() <= _BITS_MOST else None
    elif part.wire.kind == "float":
        number = Decimal(str(np.float32(value)))
    elif part.wire.kind == "double":
        number = Decimal(repr(value))
    else:
        number = Decimal(value)
    if number is None or number.adjusted() + exponent > _DIGITS_MOST:
        return 0, decimals.OVERFLOW
    exact = number.scaleb(exponent, _CONTEXT)
    rounding = ROUND_FLOOR if mode == decimals.FLOOR else ROUND_HALF_EVEN
    result = exact.to_integral_value(rounding)
    if not -_INT64 <= result <= _INT64:
        return 0, decimals.OVERFLOW
    if mode == decimals.EXACT and result != exact:
        return 0, decimals.DIGITS
    return int(result), decimals.SCALED


_CONTEXT: Final = Context(prec=1_000, Emax=999_999, Emin=-999_999)


def _real_decimals(part: LeafPart) -> Converted:
    """Return decimals as the nearest doubles."""
    values: list[float | None] = []
    codes = _sound(part.values)
    scale = part.wire.scale
    for row, data in enumerate(part.values.to_pylist()):
        number = None if data is None else int.from_bytes(data, "big", signed=True)
        if number is None:
            values.append(None)
        elif not data:
            codes[row] = Fault.NOT_A_NUMBER
            values.append(None)
        elif abs(number) <= _EXACT_DOUBLE and scale <= _EXACT_POWER:
            values.append(number / 10**scale)
        else:
            fits = number.bit_length() <= _BITS_MOST
            nearest = float(Decimal(number).scaleb(-scale, _CONTEXT)) if fits else np.inf
            if not np.isfinite(nearest):
                codes[row] = Fault.NOT_FINITE
            values.append(nearest)
    return _nulled(pa.array(values, pa.float64()), part.values, codes)


def _column(found: Int64, values: pa.Array, codes: UInt8, kind: pa.DataType) -> Converted:
    """Return numbers as a column that is null where ``values`` is null."""
    column = pa.Array.from_buffers(kind, len(found), [None, pa.py_buffer(found)])
    return _nulled(column, values, codes)


def _nulled(column: pa.Array, values: pa.Array, codes: UInt8) -> Converted:
    """Return a column that is null, without a fault, where ``values`` is null."""
    if not values.null_count:
        return column, codes
    null = values.is_null()
    codes = codes.copy()
    codes[null.to_numpy(zero_copy_only=False)] = SOUND
    return pc.if_else(null, pa.scalar(None, column.type), column), codes
