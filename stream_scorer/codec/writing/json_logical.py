"""JSON values of Avro's logical types: decimals, UUIDs, times and durations."""

import re
import struct
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

from stream_scorer.codec.writing.json_text import JsonNumber, JsonValueError, kind_of
from stream_scorer.codec.writing.varints import put_long

Write = Callable[[bytearray, Any], None]

_NANOS: Final = 1_000_000_000
TIMES: Final = {
    ("int", "date"): 0,
    ("int", "time-millis"): 1_000, ("long", "time-micros"): 1_000_000,
    ("long", "timestamp-millis"): 1_000, ("long", "timestamp-micros"): 1_000_000,
    ("long", "timestamp-nanos"): _NANOS,
    ("long", "local-timestamp-millis"): 1_000, ("long", "local-timestamp-micros"): 1_000_000,
    ("long", "local-timestamp-nanos"): _NANOS,
}  # fmt: skip
"""Units of a second by type and logical type; 0 counts days."""
OBJECTS: Final = frozenset({("fixed", "duration")})
_BITS: Final = {"int": 31, "long": 63}
_DURATION_BYTES, _UUID_BYTES = 12, 16
_DECIMAL: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_DECIMAL_MOST: Final = 256
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_CLOCK = r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
_TIME: Final = re.compile(_CLOCK)
_LOCAL: Final = re.compile(_DATE.pattern + "[Tt ]" + _CLOCK)
_INSTANT: Final = re.compile(_LOCAL.pattern + r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = date(1970, 1, 1)
_UINT32_END: Final = 1 << 32
_PARTS: Final = ("months", "days", "milliseconds")
_TEXT_MOST: Final = 64


def writer(kind: str, logical: str, schema: Mapping[str, Any]) -> Write | None:
    """Return the writer of a logical type; None for one that is written as its plain type.

    Args:
        kind: The Avro type.
        logical: Its logical type; may be empty or unknown.
        schema: The type, with the precision and scale of a decimal and the size of a fixed.
    """
    if (kind, logical) in TIMES:
        return _timed(kind, logical)
    if kind == "string" and logical == "uuid":
        return _uuid_text
    size = schema.get("size") if kind == "fixed" else None
    if logical == "uuid" and size == _UUID_BYTES:
        return lambda out, value: out.extend(_uuid(value).bytes)
    if logical == "duration" and size == _DURATION_BYTES:
        return _duration
    if logical == "decimal" and kind in {"bytes", "fixed"}:
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        # An invalid decimal counts as its plain type, as Avro demands.
        if type(precision) is int and type(scale) is int and 0 <= scale <= precision:
            return _decimal(precision, scale, size)
    return None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        raise JsonValueError(f"must be {what}, not {kind_of(value)}")
    return value


def _decimal(precision: int, scale: int, size: int | None) -> Write:
    def write(out: bytearray, value: Any) -> None:
        text = _text(value, 'a string with a decimal number, such as "12.50"')
        match = _DECIMAL.fullmatch(text) if len(text) <= _DECIMAL_MOST else None
        if match is None:
            raise JsonValueError('must be a decimal number, such as "12.50"')
        sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
        if len(fraction) > scale:
            raise JsonValueError(f"more than {scale} digits after the point")
        digits = (whole + fraction.ljust(scale, "0")).lstrip("0") or "0"
        if len(digits) > precision:
            raise JsonValueError(f"more than {precision} digits")
        number = int(sign + digits)
        if size is None:
            length = ((number if number >= 0 else ~number).bit_length() + 8) // 8
            put_long(out, length)
        else:
            length = size
        try:
            out += number.to_bytes(length, "big", signed=True)
        except OverflowError:
            raise JsonValueError(f"more than {size} bytes hold") from None

    return write


def _uuid(value: Any) -> uuid.UUID:
    text = _text(value, "a string with a UUID")
    if _UUID.fullmatch(text) is None:
        raise JsonValueError("must be a UUID: 8-4-4-4-12 hexadecimal digits")
    return uuid.UUID(text)


def _uuid_text(out: bytearray, value: Any) -> None:
    text = str(_uuid(value)).encode()
    put_long(out, len(text))
    out += text


def _duration(out: bytearray, value: Any) -> None:
    if not isinstance(value, dict) or set(value) != set(_PARTS):
        raise JsonValueError(f"must be an object with {', '.join(_PARTS)}")
    numbers = []
    for name in _PARTS:
        part = value[name]
        if not isinstance(part, JsonNumber) or not part.whole or not 0 <= int(part) < _UINT32_END:
            raise JsonValueError("must be a whole number of 32 bits").inside(name)
        numbers.append(int(part))
    out += struct.pack("<3I", *numbers)


def _timed(kind: str, logical: str) -> Write:
    per_second, end = TIMES[kind, logical], 1 << _BITS[kind]
    parse = _PARSERS[logical.rpartition("-")[0] or logical]

    def write(out: bytearray, value: Any) -> None:
        if isinstance(value, JsonNumber):
            if not value.whole:
                raise JsonValueError("must be a whole number, without fraction and exponent")
            number = int(value)
        else:
            text = _text(value, "a whole number or a time in ISO 8601")
            if len(text) > _TEXT_MOST:
                raise JsonValueError("is not a time in ISO 8601")
            seconds, nanos = parse(text)
            if not per_second:
                number = seconds
            else:
                number, rest = divmod(nanos, _NANOS // per_second)
                if rest:
                    raise JsonValueError(f"is more precise than {logical}")
                number += seconds * per_second
        if not -end <= number < end:
            raise JsonValueError(f"more than {_BITS[kind] + 1} bits hold")
        put_long(out, number)

    return write


def _date(text: str) -> tuple[int, int]:
    match = _DATE.fullmatch(text)
    if match is None:
        raise JsonValueError("must be a date such as 2026-01-31")
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise JsonValueError("is not a date of the calendar") from None
    return (day - _DAY).days, 0


def _clock(hour: str, minute: str, second: str | None, fraction: str | None) -> tuple[int, int]:
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 59:  # noqa: PLR2004 a clock's
        raise JsonValueError("is not a time of the day")
    return hours * 3_600 + minutes * 60 + seconds, int((fraction or "").ljust(9, "0"))


def _time(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise JsonValueError("must be a time such as 23:59:59.5")
    return _clock(*match.groups())


def _local(text: str) -> tuple[int, int]:
    match = _LOCAL.fullmatch(text)
    if match is None:
        raise JsonValueError("must be a local time such as 2026-01-31T12:00:00, without an offset")
    return _moment(match, UTC)


def _instant(text: str) -> tuple[int, int]:
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise JsonValueError("must be a time with an offset, such as 2026-01-31T12:00:00.5Z")
    zone = UTC
    if match[8] is None:
        hours, minutes = int(match[10]), int(match[11])
        if hours > 23 or minutes > 59:  # noqa: PLR2004 a clock's
            raise JsonValueError("is not an offset of a zone")
        offset = timedelta(hours=hours, minutes=minutes)
        zone = timezone(-offset if match[9] == "-" else offset)
    return _moment(match, zone)


def _moment(match: re.Match[str], zone: timezone) -> tuple[int, int]:
    seconds, nanos = _clock(*match.group(4, 5, 6, 7))
    try:
        day = datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=zone)
    except ValueError:
        raise JsonValueError("is not a date of the calendar") from None
    return (day - _EPOCH) // timedelta(seconds=1) + seconds, nanos


_PARSERS: Final[Mapping[str, Callable[[str], tuple[int, int]]]] = {
    "date": _date, "time": _time, "timestamp": _instant, "local-timestamp": _local,
}  # fmt: skip
