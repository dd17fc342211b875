"""Transactions from Parquet, CSV and JSON lines, in batches, so that memory stays bounded.

Columns are matched by name; others are left out. A value that does not fit is one error that names
file, row (from 1; a JSON row is its line) and column. Times are ISO 8601 (UTC) or milliseconds.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream_scorer.errors import SettingsError

_ROWS = 10_000
_BLOCK_BYTES = 4 << 20
_MILLISECONDS = pa.timestamp("ms", "UTC")

Pieces = Iterator[tuple[int, dict[str, pa.Array]]]
"""Raw columns by name, each piece with the number of its first row."""


def read_transactions(
    path: Path, schema: pa.Schema, defaults: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    """Yield the file's rows in their order, with the columns and types of ``schema``.

    Args:
        path: Named ``*.parquet``, ``*.csv``, ``*.jsonl``, ``*.ndjson`` or ``*.json`` (lines).
        schema: Columns to give.
        defaults: Values for columns that the file may lack.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, column.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise SettingsError(f"{path}: unknown kind of file", f"name it {', '.join(_READERS)}")
    try:
        for first, columns in read(path, schema.names):
            yield _conform(path, first, columns, schema, defaults)
    except OSError as error:
        what = " ".join((error.strerror or str(error)).split())
        # So Arrow says that bytes do not unpack; every other error has a number.
        mend = "it is damaged: write it anew" if error.errno is None else "name a readable file"
        raise SettingsError(f"{path}: {what}", mend) from error
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{path}: {what}", f"make it a sound {path.suffix} file") from error


def refuse_repeated(source: str, present: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a known column that is there more than once: which one is meant cannot be told.

    Args:
        source: What errors call the file.
        present: Its columns.
        known: Those that are read.

    Raises:
        SettingsError: Names file and column.
    """
    for name in known:
        if present.count(name) > 1:
            raise SettingsError(f"{source}: column {name!r} is there twice", "rename one")


def _parquet(path: Path, names: list[str]) -> Pieces:
    with pq.ParquetFile(path) as file:
        refuse_repeated(str(path), file.schema_arrow.names, names)
        present = [name for name in names if name in file.schema_arrow.names]
        first = 1
        for batch in file.iter_batches(_ROWS, columns=present):
            yield first, dict(zip(batch.schema.names, batch.columns, strict=True))
            first += len(batch)


def _csv(path: Path, names: list[str]) -> Pieces:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        header = next(csv.reader(lines), [])
    refuse_repeated(str(path), header, names)
    present = [name for name in names if name in header]
    # Texts first: a value that does not convert is then found with its row.
    convert = pa_csv.ConvertOptions(
        include_columns=present,
        column_types=dict.fromkeys(present, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    options = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    first = 1
    with closing(pa_csv.open_csv(path, options, convert_options=convert)) as reader:
        for batch in reader:
            yield first, dict(zip(batch.schema.names, batch.columns, strict=True))
            first += len(batch)


def _json_lines(path: Path, names: list[str]) -> Pieces:
    with path.open(encoding="utf-8") as lines:
        first = 1
        while rows := list(islice(lines, _ROWS)):
            records = [_record(path, number, row) for number, row in enumerate(rows, first)]
            present = {name for name in names if any(name in record for record in records)}
            yield (
                first,
                {name: _column(path, first, name, records) for name in present},
            )
            first += len(rows)


def _column(path: Path, first: int, name: str, records: list[dict[str, Any]]) -> pa.Array:
    values = [record.get(name) for record in records]
    try:
        return array_of(values)
    except UnicodeEncodeError as error:
        row = next(at for at, value in enumerate(values) if not _is_unicode(value))
        raise SettingsError(
            f"{path}: row {first + row}: column {name!r}: half of a surrogate pair is no text",
            "correct the value",
        ) from error


def _is_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


_READERS: dict[str, Callable[[Path, list[str]], Pieces]] = {
    ".parquet": _parquet, ".csv": _csv,
    ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_lines,
}  # fmt: skip


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: row {number}: not JSON: {error}", "mend the line") from error
    if not isinstance(record, dict):
        raise SettingsError(f"{path}: row {number}: not an object", "write {...} on each line")
    return record


def array_of(values: list[Any]) -> pa.Array:
    """Return values of one column as they were read; of mixed types, as texts."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # Mixed types: texts are converted one by one, and the one that does not fit is named.
        return pa.array(
            [v if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
        )


def _conform(
    path: Path,
    first: int,
    columns: Mapping[str, pa.Array],
    schema: pa.Schema,
    defaults: Mapping[str, Any],
) -> pa.RecordBatch:
    rows = len(next(iter(columns.values()))) if columns else 0
    made = []
    for field in schema:
        column = columns.get(field.name)
        if column is None:
            if field.name not in defaults:
                raise SettingsError(
                    f"{path}: column {field.name!r} is missing", "it has no default; add it"
                )
            made.append(pa.repeat(pa.scalar(defaults[field.name], field.type), rows))
            continue
        try:
            converted = convert(column, field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            row = _first_bad(column, field.type)
            value = json.dumps(column[row].as_py(), default=str)
            raise SettingsError(
                f"{path}: row {first + row}: column {field.name!r}: {value} is no {field.type}",
                "correct the value",
            ) from error
        if not field.nullable and converted.null_count:
            default = defaults.get(field.name)
            if default is None:
                row = pc.index(converted.is_null(), True).as_py()
                raise SettingsError(
                    f"{path}: row {first + row}: column {field.name!r} is empty", "give a value"
                )
            converted = pc.fill_null(converted, default)
        made.append(converted)
    return pa.RecordBatch.from_arrays(made, schema=schema)


def convert(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Return the column with the target's type, or raise ``ArrowInvalid``."""
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
        text = pc.utf8_trim_whitespace(column)
        numbers = pc.match_substring_regex(text, r"^-?\d+$")
        none = pa.scalar(None, text.type)
        milliseconds = pc.if_else(numbers, text, none).cast(pa.int64()).cast(_MILLISECONDS)
        # A bare date or time is UTC; Arrow converts a column only if all its texts are zoned.
        zoned = pc.replace_substring_regex(text, r"^(\d{4}-\d\d-\d\d)$", r"\1 00:00")
        bare = pc.invert(pc.match_substring_regex(zoned, r"(Z|[+-]\d\d(:?\d\d)?)$"))
        zoned = pc.if_else(bare, pc.binary_join_element_wise(zoned, "Z", ""), zoned)
        times = pc.if_else(numbers, none, zoned).cast(pa.timestamp("us", "UTC"))
        column = pc.coalesce(milliseconds, times.cast(_MILLISECONDS, safe=False))
    if pa.types.is_timestamp(column.type):
        # Finer times are cut to the millisecond, as every Avro producer does.
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_null(column.type) or _is_number(column.type):
        column = column.cast(pa.int64())
    else:
        raise pa.ArrowInvalid("not a time")
    return column.cast(target)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _first_bad(column: pa.Array, target: pa.DataType) -> int:
    """Return the first row whose value does not convert, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low), target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low
