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
from stream_scorer.tables.columns import Column, as_read, fit, texts_of_csv

_ROWS = 10_000
_BLOCK_BYTES = 4 << 20

Pieces = Iterator[tuple[int, dict[str, Column]]]
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
    options = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    first = 1
    with closing(pa_csv.open_csv(path, options, convert_options=texts_of_csv(present))) as reader:
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
                {name: [record.get(name) for record in records] for name in present},
            )
            first += len(rows)


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


def _conform(
    path: Path,
    first: int,
    columns: Mapping[str, Column],
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
        converted, bad = fit(column, field.type)
        if bad:
            value = json.dumps(as_read(column, bad[0]))
            raise SettingsError(
                f"{path}: row {first + bad[0]}: column {field.name!r}: {value} is no {field.type}",
                "correct the value",
            )
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
