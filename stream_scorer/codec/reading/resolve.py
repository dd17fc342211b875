"""How values of a writer schema become columns of the reader schema.

Avro's rules apply: fields match by name or by the reader's alias; a missing field takes its
default; numbers are widened; a union's branch and an enum's symbol are judged for each record.
There are two more rules. An enum is read as a string if the reader has a string. Two different
logical types with one base name (milliseconds and microseconds) do not match, because the values
would mean something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from stream_scorer.codec.reading import opcodes
from stream_scorer.codec.reading.arrow_layout import StoredColumn, longest
from stream_scorer.errors import SchemaError
from stream_scorer.registry.compatibility import incompatibilities
from stream_scorer.registry.definition import Definition

_ARROW: Final = {
    "null": pa.null(), "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(),
    "float": pa.float32(), "double": pa.float64(), "bytes": pa.binary(), "string": pa.string(),
    "enum": pa.string(),
}  # fmt: skip
_TIMES: Final = {
    "timestamp-millis": pa.timestamp("ms"), "timestamp-micros": pa.timestamp("us"),
    "local-timestamp-millis": pa.timestamp("ms"), "local-timestamp-micros": pa.timestamp("us"),
    "date": pa.date32(),
}  # fmt: skip
_WIDER: Final = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "double": {"double"},
    "boolean": {"boolean"},
    "string": {"string", "bytes"},
    "bytes": {"bytes"},
    "enum": {"enum", "string"},
}
_HELD: Final = {
    pa.bool_(): opcodes.BIT, pa.int32(): opcodes.INT32, pa.int64(): opcodes.INT64,
    pa.float32(): opcodes.FLOAT32, pa.float64(): opcodes.FLOAT64,
    pa.string(): opcodes.TEXT, pa.binary(): opcodes.TEXT,
    pa.date32(): opcodes.INT32,
    pa.timestamp("ms"): opcodes.INT64, pa.timestamp("us"): opcodes.INT64,
}  # fmt: skip
_HOLDS: Final = {
    "boolean": {opcodes.BIT},
    "int": {opcodes.INT32, opcodes.INT64, opcodes.FLOAT32, opcodes.FLOAT64},
    "long": {opcodes.INT64, opcodes.FLOAT32, opcodes.FLOAT64},
    "float": {opcodes.FLOAT32, opcodes.FLOAT64},
    "double": {opcodes.FLOAT64},
    "string": {opcodes.TEXT}, "bytes": {opcodes.TEXT}, "enum": {opcodes.TEXT},
}  # fmt: skip


def arrow_type(definition: Definition, schema: Any) -> pa.DataType:
    """Return the Arrow type for values of a reader's field, regardless of nullability."""
    optional = definition.optional(schema)
    if optional:
        schema = optional[0]
    kind = definition.kind(schema)
    time = _TIMES.get(definition.logical(schema))
    if time is not None:
        return time
    if kind in _ARROW:
        return _ARROW[kind]
    schema = definition.expand(schema)
    if kind == "array" and definition.kind(schema["items"]) in _ARROW:
        return pa.list_(arrow_type(definition, schema["items"]))
    raise SchemaError(f"reader schema: no column holds a {kind}", "use one type and null")


def arrow_field(definition: Definition, field: Any) -> pa.Field:
    """Return the column of a reader's field."""
    nullable = definition.optional(field["type"]) is not None
    return pa.field(field["name"], arrow_type(definition, field["type"]), nullable=nullable)


def arrow_schema(definition: Definition) -> pa.Schema:
    """Return the columns of a reader schema.

    Raises:
        SchemaError: The schema is not a record, or a field has no column type.
    """
    if definition.kind(definition.root) != "record":
        raise SchemaError("reader schema: not a record", "wrap it in one")
    return pa.schema([arrow_field(definition, field) for field in definition.root["fields"]])


def writer_field(written: dict[str, int], field: Any) -> int | None:
    """Return the position of the written field for a reader's field, by name or alias, or None."""
    for name in (field["name"], *field.get("aliases", ())):
        if name in written:
            return written[name]
    return None


@dataclass(frozen=True, slots=True)
class Projection:
    """How the fields of a writer schema become the reader's columns, stored by the walk itself.

    Attributes:
        schema: The resulting columns.
        kept: The column of each stored field of the writer, by the field's number.
        defaults: For each resulting column its default, as an Arrow scalar; None if it is written.
    """

    schema: pa.Schema
    kept: dict[int, StoredColumn]
    defaults: tuple[pa.Scalar | None, ...]

    def apply(self, stored: Sequence[pa.Array], count: int) -> pa.RecordBatch:
        """Return the columns of ``count`` rows, from those that the walk stored."""
        following = iter(stored)
        columns = [
            next(following) if default is None else pa.repeat(default, count)
            for default in self.defaults
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def project(writer: Definition, reader: Definition) -> Projection | None:
    """Plan how the walk stores the reader's columns; return None if fastavro must decode.

    Args:
        writer: Compatible with ``reader`` (see :func:`refusals`).
        reader: A record with columns by :func:`arrow_schema`.
    """
    if writer.kind(writer.root) != "record":
        return None
    fields = writer.expand(writer.root)["fields"]
    written = {entry["name"]: number for number, entry in enumerate(fields)}
    schema = arrow_schema(reader)
    kept: dict[int, StoredColumn] = {}
    defaults: list[pa.Scalar | None] = []
    for number, entry in enumerate(reader.root["fields"]):
        source = writer_field(written, entry)
        kind = schema.field(number).type
        if source is None:
            if isinstance(entry["default"], list | dict) or kind == pa.binary():
                return None
            defaults.append(pa.scalar(entry["default"], kind))
            continue
        held = _held(writer, fields[source], reader, entry, kind)
        # Two fields of the reader may match one written field, by name and by alias.
        if held is None or source in kept:
            return None
        optional = writer.optional(fields[source]["type"]) and reader.optional(entry["type"])
        texts = _texts(writer, fields[source], reader, entry)
        kept[source] = StoredColumn(len(kept), entry["name"], held, kind, bool(optional), texts)
        defaults.append(None)
    return Projection(schema, kept, tuple(defaults))


def _inner(definition: Definition, entry: Any) -> Any:
    """Return a field's type without null."""
    optional = definition.optional(entry["type"])
    return optional[0] if optional else entry["type"]


def _held(
    writer: Definition, written: Any, reader: Definition, read: Any, kind: pa.DataType
) -> int | None:
    """Return the kind of a column of Arrow type ``kind`` for a written field, or None."""
    source = writer.kind(_inner(writer, written))
    if reader.kind(_inner(reader, read)) not in _WIDER.get(source, ()):
        return None
    held = _HELD.get(kind)
    return held if held in _HOLDS[source] else None


def _texts(
    writer: Definition, written: Any, reader: Definition, read: Any
) -> tuple[str | None, ...]:
    """Return the reader's text for each symbol of a written enum; None for an unknown symbol."""
    inner = writer.expand(_inner(writer, written))
    if writer.kind(inner) != "enum":
        return ()
    symbols: list[str] = inner["symbols"]
    target = reader.expand(_inner(reader, read))
    if reader.kind(target) != "enum":
        return tuple(symbols)
    known, default = frozenset(target["symbols"]), target.get("default")
    return tuple(symbol if symbol in known else default for symbol in symbols)


def read_symbol_bytes(writer: Definition, reader: Definition) -> int:
    """Return the maximum bytes of text that a record's enum symbols give the reader's columns.

    Args:
        writer: Compatible with ``reader`` (see :func:`refusals`).
        reader: A record with columns by :func:`arrow_schema`.
    """
    if writer.kind(writer.root) != "record":
        return 0
    fields = writer.expand(writer.root)["fields"]
    written = {entry["name"]: number for number, entry in enumerate(fields)}
    size = 0
    for entry in reader.root["fields"]:
        source = writer_field(written, entry)
        if source is not None:
            kind = writer.expand(fields[source]["type"])
            branches = kind if isinstance(kind, list) else [kind]
            size += max(
                longest(_texts(writer, {"type": branch}, reader, entry)) for branch in branches
            )
    return size


def column(field: pa.Field, records: Sequence[dict[str, Any]]) -> pa.Array:
    """Return one field of decoded records as a column."""
    values = [record[field.name] for record in records]
    if pa.types.is_binary(field.type):
        # In a schema, a default for bytes is text with one character for each byte.
        values = [v.encode("iso-8859-1") if isinstance(v, str) else v for v in values]
    return pa.array(values, field.type)


def refusals(writer: Definition, reader: Definition) -> list[str]:
    """Return why no record of ``writer`` can become one of ``reader``; empty if some can."""
    return [
        f"{fault.path}: {fault.why}" if fault.path else fault.why
        for fault in incompatibilities(reader, writer, per_value=True)
    ]


def adapted(reader: Definition, writer: Definition) -> Any:
    """Return the reader's root, with the writer's enums in place of the reader's strings.

    By the specification, and in fastavro, an enum only matches an enum. Read with the writer's
    enum, fastavro returns the symbol, which is the string.
    """
    if reader.kind(reader.root) != "record" or writer.kind(writer.root) != "record":
        return reader.root
    written = {field["name"]: number for number, field in enumerate(writer.root["fields"])}
    fields = []
    placed: set[str] = set()
    for field in reader.root["fields"]:
        source = writer_field(written, field)
        if source is None:
            fields.append(field)
            continue
        enum = _enum(writer, writer.root["fields"][source]["type"])
        if enum is None:
            fields.append(field)
            continue
        stand_in: Any = enum["name"] if enum["name"] in placed else enum
        if reader.kind(field["type"]) == "string":
            replaced = stand_in
        elif (optional := reader.optional(field["type"])) and reader.kind(optional[0]) == "string":
            replaced = ["null", stand_in]
        else:
            fields.append(field)
            continue
        placed.add(enum["name"])
        fields.append({k: v for k, v in field.items() if k != "default"} | {"type": replaced})
    return {**reader.root, "fields": fields}


def _enum(writer: Definition, schema: Any) -> Any | None:
    optional = writer.optional(schema)
    inner = writer.expand(optional[0] if optional else schema)
    return inner if isinstance(inner, dict) and inner["type"] == "enum" else None
