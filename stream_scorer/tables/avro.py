"""Reads Avro container files as pieces of raw columns.

fastavro stops at the first time that is outside of Python's dates (years 1 to 9999), and at the
first text that is not UTF-8. Here each is a value of its row. Times are read as their numbers, by
removing their logical types from the header; invalid UTF-8 is read as lone surrogates, which no
valid text has.
"""

import json
import lzma
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

import fastavro

from stream_scorer.errors import SchemaError
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.limits import STANDARD, check_decoded_unions
from stream_scorer.tables.avro_blocks import HEADER, InflatedContainer
from stream_scorer.tables.avro_growth import refuse_growth
from stream_scorer.tables.pieces import PIECE_ROWS, DamagedError, Piece

_ERRORS = (
    ValueError, EOFError, IndexError, KeyError, TypeError, StopIteration, OverflowError,
    RecursionError, OSError, zlib.error, lzma.LZMAError,
)  # fmt: skip
_TIMES = {
    f"{local}timestamp-{unit}": over
    for unit, over in (("millis", 1), ("micros", 1_000), ("nanos", 1_000_000))
    for local in ("", "local-")
}
"""Logical types of times, and how many of their units a millisecond has."""
_SCHEMA = "avro.schema"


def is_damage(error: Exception) -> bool:
    """Whether an error of fastavro's is of the file's bytes; bz2's is an OSError without a number.

    Args:
        error: From reading a file that fastavro can open.
    """
    return isinstance(error, _ERRORS) and getattr(error, "errno", None) is None


def avro_names(stream: BinaryIO) -> list[str]:
    """Return the fields of a file.

    Raises:
        DamagedError: It is not a container, or is one of other values than records.
    """
    return [entry["name"] for entry in avro_definition(stream).root["fields"]]


def avro_definition(stream: BinaryIO) -> Definition:
    """Return the schema of a file, with its logical types; raises as ``avro_names``."""
    try:
        header: Any = fastavro.schemaless_reader(stream, HEADER, None)
        # Before fastavro parses it: see docs/SECURITY.md, "Schemas and records".
        definition = parse_definition(header["meta"][_SCHEMA].decode(), "its Avro schema")
        check_decoded_unions(definition.root, "its Avro schema", STANDARD)
        refuse_growth(definition)
        schema: Any = fastavro.reader(InflatedContainer(header, stream)).writer_schema  # type: ignore[arg-type]
    except SchemaError as error:
        raise DamagedError(error.what) from error
    except _ERRORS as error:
        if not is_damage(error):
            raise
        raise DamagedError(f"no Avro container: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise DamagedError("its Avro schema is not a record")
    return definition


def plain_records(stream: BinaryIO, definition: Definition) -> Iterator[Any]:
    """Yield a file's records as values without logical types.

    A record of a union is a pair of its name and the record.

    Args:
        stream: From its beginning.
        definition: What ``avro_definition`` returned.

    Raises:
        DamagedError: The file is truncated or damaged.
    """
    row = 0
    try:
        header: Any = fastavro.schemaless_reader(stream, HEADER, None)
        schema = json.dumps(definition.plain().root).encode()
        meta = {**header["meta"], _SCHEMA: schema}
        records: Any = fastavro.reader(
            InflatedContainer({**header, "meta": meta}, stream),  # type: ignore[arg-type]
            return_record_name=True,
            handle_unicode_errors="surrogateescape",
        )  # fmt: skip
        for record in records:
            yield record
            row += 1
    except _ERRORS as error:
        if not is_damage(error):
            raise
        raise broken_off(row, error) from error


def broken_off(row: int, error: Exception) -> DamagedError:
    """Return the error for a container file that can be read only up to a row."""
    return DamagedError(
        f"the Avro container breaks off or is damaged after row {row}: "
        f"{type(error).__name__}: {error}"
    )


def avro_pieces(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    """Yield a file's rows from its beginning.

    Args:
        stream: A file that ``avro_names`` accepts, from its beginning.
        names: Fields to read; the file has them.

    Raises:
        DamagedError: It is truncated or damaged.
    """
    at = 0
    try:
        numbered, finer = _with_numbers(stream, names)
        records = fastavro.reader(numbered, handle_unicode_errors="surrogateescape")  # type: ignore[arg-type]
        while rows := list(islice(records, PIECE_ROWS)):
            columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names}  # type: ignore[call-overload,index]
            for name, over in finer.items():
                columns[name] = [
                    value // over if type(value) is int else value for value in columns[name]
                ]
            yield Piece(at, columns, len(rows), read=stream.tell())
            at += len(rows)
    except _ERRORS as error:
        if not is_damage(error):
            raise
        raise broken_off(at, error) from error


def _with_numbers(stream: BinaryIO, names: list[str]) -> tuple[InflatedContainer, dict[str, int]]:
    """Return the file, inflated, with times as numbers; and the units per ms of each such field."""
    header: Any = fastavro.schemaless_reader(stream, HEADER, None)
    schema = json.loads(header["meta"][_SCHEMA])
    finer = {
        entry["name"]: over
        for entry in schema["fields"]
        if entry["name"] in names and (over := _as_number(entry))
    }
    meta = {**header["meta"], _SCHEMA: json.dumps(schema).encode()}
    return InflatedContainer({**header, "meta": meta}, stream), finer


def _as_number(entry: dict[str, Any]) -> int:
    """Make a field's times plain numbers; return their units per millisecond, or 0."""
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    for kind in kinds:
        if isinstance(kind, dict) and kind.get("logicalType") in _TIMES:
            return _TIMES[kind.pop("logicalType")]
    return 0
