"""How values of a writer schema become columns of the reader schema.

Avro's rules: fields match by name or the reader's alias; a missing one takes its default; numbers
widen; a union's branch and an enum's symbol are judged per record. Beyond them, an enum is read as
a string where the reader has a string, and two different logical types of one name (milliseconds
against microseconds) do not match, for the values would mean something else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.compatibility import incompatibilities
from stream_scorer.codec.definition import Definition
from stream_scorer.errors import SchemaError

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
# What pyruhvro decodes exactly as fastavro does; the rest panics or differs.
_FAST: Final = frozenset({"boolean", "int", "long", "float", "double", "string", "enum"})
_WIDER: Final = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "double": {"double"},
    "boolean": {"boolean"},
    "string": {"string", "bytes"},
    "enum": {"enum", "string"},
}

Cast = Callable[[Any], Any]


def arrow_type(definition: Definition, schema: Any) -> pa.DataType:
    """Return the Arrow type that holds values of a reader's field; nullability aside."""
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
        SchemaError: The schema is no record, or a field has no column type.
    """
    if definition.kind(definition.root) != "record":
        raise SchemaError("reader schema: not a record", "wrap it in one")
    return pa.schema([arrow_field(definition, field) for field in definition.root["fields"]])


def writer_field(written: dict[str, int], field: Any) -> int | None:
    """Return the position of a reader's field among the written ones, by name or alias."""
    for name in (field["name"], *field.get("aliases", ())):
        if name in written:
            return written[name]
    return None


@dataclass(frozen=True, slots=True)
class Projection:
    """Written columns to read columns.

    Attributes:
        schema: The columns that come out.
        sources: For each, the written column, or None for the default.
        casts: For each, what turns the written column into it, or None.
        defaults: For each, the default (used where there is no source).
        symbols: For each, the symbols that the reader knows and its default; None if any goes.
        required: Columns that take no null although the writer may send one.
    """

    schema: pa.Schema
    sources: tuple[int | None, ...]
    casts: tuple[Cast | None, ...]
    defaults: tuple[Any, ...]
    symbols: tuple[tuple[frozenset[str], str | None] | None, ...]
    required: tuple[int, ...]

    @property
    def judges(self) -> bool:
        """Whether :meth:`unresolvable` can find anything."""
        return bool(self.required) or any(s is not None and s[1] is None for s in self.symbols)

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the read columns of a written batch (unresolvable rows are gone already)."""
        written = batch.columns
        columns = []
        for number, source in enumerate(self.sources):
            if source is None:
                kind = self.schema.field(number).type
                default = self.defaults[number]
                columns.append(
                    pa.nulls(len(batch), kind)
                    if default is None
                    else pa.repeat(pa.scalar(default, kind), len(batch))
                )
                continue
            column = written[source]
            known = self.symbols[number]
            if known is not None and known[1] is not None:
                column = _known_symbols(column, known[0], known[1])
            cast = self.casts[number]
            columns.append(column if cast is None else cast(column))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def unresolvable(self, batch: pa.RecordBatch) -> dict[int, str]:
        """Return the rows whose values the reader cannot take, each with a text."""
        found: dict[int, str] = {}
        for number, source in enumerate(self.sources):
            if source is None:
                continue
            name = self.schema.field(number).name
            column = batch.column(source)
            if number in self.required and column.null_count:
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                for row in np.flatnonzero(nulls).tolist():
                    found.setdefault(row, f"{name}: null, and the reader takes none")
            known = self.symbols[number]
            if known is not None and known[1] is None:
                for row, symbol in enumerate(column.to_pylist()):
                    if symbol is not None and symbol not in known[0]:
                        found.setdefault(row, f"{name}: a symbol that the reader does not know")
        return found


def _known_symbols(column: pa.Array, known: frozenset[str], default: str) -> pa.Array:
    return pa.array(
        [s if s is None or s in known else default for s in column.to_pylist()], pa.string()
    )


def project(writer: Definition, reader: Definition) -> Projection | None:
    """Plan how pyruhvro's columns become the reader's, or return None where fastavro must.

    Args:
        writer: Compatible with ``reader`` (see :func:`refusals`).
        reader: A record whose columns :func:`arrow_schema` knows.
    """
    if writer.kind(writer.root) != "record":
        return None
    for field in writer.root["fields"]:
        optional = writer.optional(field["type"])
        if writer.kind(optional[0] if optional else field["type"]) not in _FAST:
            return None
    written = {field["name"]: number for number, field in enumerate(writer.root["fields"])}
    schema = arrow_schema(reader)
    sources: list[int | None] = []
    casts: list[Cast | None] = []
    symbols: list[tuple[frozenset[str], str | None] | None] = []
    required: list[int] = []
    for number, field in enumerate(reader.root["fields"]):
        source = writer_field(written, field)
        sources.append(source)
        if source is None:
            if (
                isinstance(field["default"], list | dict)
                or schema.field(number).type == pa.binary()
            ):
                return None
            casts.append(None)
            symbols.append(None)
            continue
        theirs = writer.root["fields"][source]
        kinds = _kinds(writer, theirs, reader, field)
        if kinds is None:
            return None
        casts.append(_cast(kinds[0], schema.field(number).type))
        symbols.append(_symbols(writer, theirs, reader, field))
        if writer.optional(theirs["type"]) and not reader.optional(field["type"]):
            required.append(number)
    defaults = tuple(field.get("default") for field in reader.root["fields"])
    return Projection(
        schema, tuple(sources), tuple(casts), defaults, tuple(symbols), tuple(required)
    )


def _kinds(
    writer: Definition, written: Any, reader: Definition, read: Any
) -> tuple[str, str] | None:
    """Return the written and the read type behind their nulls, if columns can be cast."""
    kinds = []
    for definition, field in ((writer, written), (reader, read)):
        optional = definition.optional(field["type"])
        kinds.append(definition.kind(optional[0] if optional else field["type"]))
    return (kinds[0], kinds[1]) if kinds[1] in _WIDER.get(kinds[0], ()) else None


def _symbols(
    writer: Definition, written: Any, reader: Definition, read: Any
) -> tuple[frozenset[str], str | None] | None:
    """Return the reader's symbols and default where the writer has others."""
    enums = []
    for definition, field in ((writer, written), (reader, read)):
        optional = definition.optional(field["type"])
        inner = definition.expand(optional[0] if optional else field["type"])
        if not isinstance(inner, dict) or inner["type"] != "enum":
            return None
        enums.append(inner)
    known = frozenset(enums[1]["symbols"])
    if known.issuperset(enums[0]["symbols"]):
        return None
    return known, enums[1].get("default")


def _cast(kind: str, target: pa.DataType) -> Cast | None:
    """Return what turns a written column of ``kind`` into ``target``; None if nothing must."""
    if _ARROW[kind] == target:
        return None
    if kind == "long" and pa.types.is_timestamp(target):
        return lambda column: column.view(target)
    if kind == "int" and pa.types.is_date32(target):
        return lambda column: column.view(target)
    if pa.types.is_float32(target):
        # By way of double, as a Python float goes: once rounded twice, in every way of decoding.
        return lambda column: column.cast(pa.float64(), safe=False).cast(target, safe=False)
    if pa.types.is_timestamp(target):
        return lambda column: column.cast(pa.int64()).view(target)
    return lambda column: column.cast(target, safe=False)


def column(field: pa.Field, records: Sequence[dict[str, Any]]) -> pa.Array:
    """Return one field of decoded records as a column."""
    values = [record[field.name] for record in records]
    if pa.types.is_binary(field.type):
        # A default for bytes stands in the schema as text, one character a byte.
        values = [v.encode("iso-8859-1") if isinstance(v, str) else v for v in values]
    return pa.array(values, field.type)


def refusals(writer: Definition, reader: Definition) -> list[str]:
    """Return why no record of ``writer`` can become one of ``reader``; empty if some can."""
    return [
        f"{fault.path}: {fault.why}" if fault.path else fault.why
        for fault in incompatibilities(reader, writer, per_value=True)
    ]


def adapted(reader: Definition, writer: Definition) -> Any:
    """Return the reader's root with the writer's enums in the place of the reader's strings.

    fastavro, as the specification, matches an enum with an enum only; read with the writer's own
    enum, it gives the symbol, which is the string.
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
