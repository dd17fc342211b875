"""Converts columns of files to a schema's types, and finds the rows whose values do not fit.

A column is an Arrow array if the file's columns have types (Parquet; CSV: texts), and a list of
Python values if each row has its own types (JSON lines, Avro). Whether a value fits depends on that
value alone, never on its neighbours.
"""

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from stream_scorer.core.events.strings import string_views

Column: TypeAlias = pa.Array | list[Any]

ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
"""What ``convert`` raises."""

_MILLISECONDS, _MICROSECONDS = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")
_TYPES: dict[type, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(),
}  # fmt: skip
_NESTED = frozenset({dict, list, tuple})
"""Types that no target holds. Arrow would make a table of all rows by the keys of all rows."""
_LEAST, _MOST = -(2**63), 2**63 - 1
_ASCII_END = 0x80
_DEEPEST = 20
_UNITS = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}


def texts_of_csv(names: list[str]) -> pa_csv.ConvertOptions:
    """Return options that read these columns of a CSV file as texts, empty ones as nulls.

    A value that does not convert is then found with its row.
    """
    return pa_csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )


def fit(column: Column, target: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Return a column with the target's type, null where a value does not fit.

    Args:
        column: As it was read.
        target: Text, integer, boolean or timestamp[ms].

    Returns:
        The column, and the rows that do not fit, ascending.
    """
    if isinstance(column, list):
        return _fit_values(column, target)
    if not fits(column, target):
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return pa.nulls(len(column), target), rows.tolist()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(target) and is_text(column.type):
        return _fit_times(column, target)
    fitted, bad = _salvaged(column, target, convert)
    if is_text(target):
        fitted, foreign = _only_utf8(fitted)
        bad = sorted({*bad, *foreign})
    return fitted, bad


def _fit_times(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Fit texts to times. What costs much for each call is done once for all texts."""
    sound, foreign = _only_utf8(texts)
    digits, iso = _forms_of_times(sound)
    milliseconds, bad = _salvaged(digits, pa.int64(), convert)
    times, more = _salvaged(iso, _MICROSECONDS, pa.Array.cast)
    return convert(_joined_times(milliseconds, times), target), sorted({*foreign, *bad, *more})


def _only_utf8(texts: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return the texts, null where one is not UTF-8, and those rows."""
    foreign = rows_not_utf8(texts)
    if foreign:
        mask = np.zeros(len(texts), np.bool_)
        mask[foreign] = True
        # By index: a text that is computed from invalid UTF-8 would be invalid, too.
        texts = texts.take(pa.array(np.arange(len(texts)), mask=mask))
    return texts, foreign


def fits(column: pa.Array, target: pa.DataType) -> bool:
    """Whether values of a column's type can fit at all."""
    if pa.types.is_boolean(column.type) and not pa.types.is_boolean(target):
        return False
    try:
        convert(column.slice(0, 0), target)
    except ERRORS:
        return False
    return True


def _fit_values(values: list[Any], target: pa.DataType) -> tuple[pa.Array, list[int]]:
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values), target), []
    if len(kinds) == 1 and not kinds & _NESTED:
        (kind,) = kinds
        try:
            return fit(pa.array(values, _TYPES.get(kind)), target)
        except (*ERRORS, UnicodeError, OverflowError):
            pass  # one value is too large for its type, or not a valid text: value by value
    # The values that fit, type after type, and the index of each row's value in them.
    parts, bad = [], []
    place = np.zeros(len(values), np.int64)
    nothing = np.ones(len(values), np.bool_)
    count = 0
    for kind in kinds:
        rows = [row for row, value in enumerate(values) if type(value) is kind]
        part, worse = _fit_kind([values[row] for row in rows], kind, target)
        bad += [rows[row] for row in worse]
        place[rows] = count + np.arange(len(rows))
        nothing[rows] = False
        parts.append(part)
        count += len(rows)
    return pa.concat_arrays(parts).take(pa.array(place, mask=nothing)), sorted(bad)


def _fit_kind(values: list[Any], kind: type, target: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Fit values of one Python type."""
    if kind in _NESTED:
        return pa.nulls(len(values), target), list(range(len(values)))
    if kind is int and is_text(target):
        values, kind = list(map(str, values)), str
    held = [value if _holds(value) else None for value in values]
    try:
        column, bad = fit(pa.array(held, _TYPES.get(kind)), target)
    except (*ERRORS, UnicodeError, OverflowError):  # no Arrow type has these values
        return pa.nulls(len(values), target), list(range(len(values)))
    return column, sorted({*bad, *(row for row, value in enumerate(held) if value is None)})


def _holds(value: object) -> bool:
    """Whether Arrow can have a value: not an integer over 64 bits, not a lone surrogate."""
    if isinstance(value, str):
        return is_unicode(value)
    return not isinstance(value, int) or _LEAST <= value <= _MOST


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded in UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _salvaged(
    column: pa.Array, target: pa.DataType, how: Callable[[pa.Array, pa.DataType], pa.Array]
) -> tuple[pa.Array, list[int]]:
    """Return the converted column, null where a value does not convert, and those rows.

    ``how`` is called about twice for each value that does not convert, so it must be cheap.
    """
    try:
        return how(column, target), []
    except ERRORS:
        if len(column) == 1:
            return pa.nulls(1, target), [0]
    middle = len(column) // 2
    low, bad = _salvaged(column.slice(0, middle), target, how)
    high, more = _salvaged(column.slice(middle), target, how)
    return pa.concat_arrays([low, high]), [*bad, *(middle + row for row in more)]


def rows_not_utf8(texts: pa.Array) -> list[int]:
    """Return the rows whose text is not UTF-8; Parquet may have such, and Arrow accepts them."""
    offsets, data = string_views(texts)
    used = data[int(offsets[0]) : int(offsets[-1])]
    if not len(used) or int(used.max()) < _ASCII_END:
        return []
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        found = texts.cast(pa.binary()).to_pylist()
        return [row for row, text in enumerate(found) if text is not None and not _decodes(text)]
    return []


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def convert(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Return the column with the target's type, or raise one of ``ERRORS``."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(target):
        return _times(column, target)
    if pa.types.is_null(column.type):
        return column.cast(target)
    if pa.types.is_boolean(target) and not (
        pa.types.is_boolean(column.type) or is_text(column.type)
    ):
        raise pa.ArrowInvalid("not a boolean")
    if is_text(target) and not (is_text(column.type) or pa.types.is_integer(column.type)):
        raise pa.ArrowInvalid("not a text")
    return column.cast(target)


def _times(column: pa.Array, target: pa.DataType) -> pa.Array:
    if is_text(column.type):
        digits, iso = _forms_of_times(column)
        column = _joined_times(digits.cast(pa.int64()), iso.cast(_MICROSECONDS))
    if pa.types.is_timestamp(column.type):
        # Finer times are truncated to the millisecond, as every Avro producer does.
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_null(column.type) or _is_number(column.type):
        column = column.cast(pa.int64())
    else:
        raise pa.ArrowInvalid("not a time")
    return column.cast(target)


def _forms_of_times(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return n texts that are digits, and n other ones with a zone; null where it is another."""
    text = pc.utf8_trim_whitespace(texts)
    digits = pc.match_substring_regex(text, r"^-?\d+$")
    none = pa.scalar(None, text.type)
    # A bare date or time is UTC; Arrow converts a column only if all its texts are zoned.
    zoned = pc.replace_substring_regex(text, r"^(\d{4}-\d\d-\d\d)$", r"\1 00:00")
    bare = pc.invert(pc.match_substring_regex(zoned, r"(Z|[+-]\d\d(:?\d\d)?)$"))
    zoned = pc.if_else(bare, pc.binary_join_element_wise(zoned, "Z", ""), zoned)
    return pc.if_else(digits, text, none), pc.if_else(digits, none, zoned)


def _joined_times(milliseconds: pa.Array, times: pa.Array) -> pa.Array:
    """Return n times of two halves: int64 and timestamp[us]; each row has one of them, or none."""
    return pc.coalesce(milliseconds.cast(_MILLISECONDS), times.cast(_MILLISECONDS, safe=False))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def as_read(column: Column, row: int) -> Any:
    """Return a value as it was read, in a type of JSON: a timestamp as milliseconds."""
    if isinstance(column, list):
        return plain(column[row])
    one = column.slice(row, 1)
    scalar = (one.dictionary_decode() if pa.types.is_dictionary(one.type) else one)[0]
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(scalar.type):
        times, over = _UNITS[scalar.type.unit]
        return scalar.value * times // over
    if is_text(scalar.type):
        return scalar.as_buffer().to_pybytes().decode(errors="backslashreplace")
    try:
        return plain(scalar.as_py())
    except (OverflowError, ValueError):  # a date outside of Python's range
        return f"a {scalar.type}"


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as one of strict JSON.

    What JSON cannot represent becomes a text: NaN and infinities, bytes, dates, and what is nested
    too deeply. A lone surrogate is written as an escape.
    """
    if isinstance(value, dict | list) and depth < _DEEPEST:
        if isinstance(value, list):
            return [plain(each, depth + 1) for each in value]
        return {_text(name): plain(each, depth + 1) for name, each in value.items()}
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else json.dumps(value)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return "nested too deeply"
    if not isinstance(value, bytes):
        try:
            value = str(value).encode(errors="surrogateescape")
        except UnicodeEncodeError:
            value = str(value).encode(errors="backslashreplace")
    return str(value.decode(errors="backslashreplace"))
