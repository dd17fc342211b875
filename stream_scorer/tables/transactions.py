"""Reads the transactions of one local file, in batches, so that memory stays bounded.

Columns are matched by name; others are left out. A value that does not fit is an error that names
file, row (from 1; a JSON row is its line) and column. Times are ISO 8601 (UTC) or milliseconds.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.errors import SettingsError
from stream_scorer.tables.columns import as_read, fit
from stream_scorer.tables.files import InputFile, columns_of, local_file, read_pieces, reading
from stream_scorer.tables.pieces import Piece


def read_transactions(
    path: Path, schema: pa.Schema, defaults: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    """Yield the file's rows in their order, with the columns and types of ``schema``.

    Args:
        path: Parquet, CSV, Avro or JSON lines, by the ending of its name.
        schema: Columns to return.
        defaults: Values for columns that may be missing in the file.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, column.
        UnavailableError: The disk does not answer.
    """
    file = local_file(path)
    present = columns_of(file, schema.names)
    for name in schema.names:
        if present is not None and name not in present and name not in defaults:
            raise SettingsError(
                f"{file.name}: column {name!r} is missing", "it has no default; add it"
            )
    for piece in read_pieces(file, schema.names, 0):
        yield conform(file, piece, schema, defaults)


def conform(
    file: InputFile, piece: Piece, schema: pa.Schema, defaults: Mapping[str, Any], what: str = ""
) -> pa.RecordBatch:
    """Return the rows of a piece with the columns and types of ``schema``.

    Args:
        file: The piece's file.
        piece: Has each column that has no default.
        schema: Columns to return.
        defaults: Values for columns that the piece does not have, and for empty values of columns
            that are not nullable.
        what: Text before the file's name in errors.

    Raises:
        SettingsError: A row does not fit; names file, row, column.
    """

    def refused(row: int, told: str, mend: str) -> SettingsError:
        return SettingsError(f"{what}{file.name}: row {piece.first + row + 1}: {told}", mend)

    if piece.faults:
        row, (told, _) = min(piece.faults.items())
        raise refused(row, told, "correct the row")
    made = []
    for field in schema:
        raw = piece.columns.get(field.name)
        default = defaults.get(field.name)
        if raw is None:
            made.append(pa.repeat(pa.scalar(default, field.type), piece.rows))
            continue
        with reading(file):
            converted, bad = fit(raw, field.type)
        if bad:
            value = json.dumps(as_read(raw, bad[0]))
            told = f"column {field.name!r}: {value} is not of type {field.type}"
            raise refused(bad[0], told, "correct the value")
        if not field.nullable and converted.null_count:
            if default is None:
                row = pc.index(converted.is_null(), True).as_py()
                raise refused(row, f"column {field.name!r} is empty", "give a value")
            converted = pc.fill_null(converted, default)
        made.append(converted)
    return pa.RecordBatch.from_arrays(made, schema=schema)
