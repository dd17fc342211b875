"""Raw leaves from Arrow columns: the values of a Parquet or CSV file at the paths of a mapping."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.codec.reading.mapped_paths import Found
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.leaves import STRUCTURE, LeafPart, Wire
from stream_scorer.tables.columns import is_text

CELL: Final = Wire("cell")


def cells_of(names: Sequence[str], paths: Sequence[Path]) -> dict[Path, Found]:
    """Return what a CSV file has at each path: the column of its names, joined by dots.

    Args:
        names: The file's columns.
        paths: Paths of the mapping.
    """
    return {
        path: Found((CELL,), nullable=True)
        if dotted(path) in names
        else Found(why=f"{dotted(path)}: the file has no such column", missing=True)
        for path in paths
    }


def find_columns(schema: pa.Schema, paths: Iterable[Path]) -> dict[Path, Found]:
    """Return what a Parquet file has at each path.

    Args:
        schema: Schema of the file.
        paths: Each has the name of a column, and of the nested fields in it, from the outermost.
    """
    # Once, because it takes time for each column of the file.
    columns = pa.struct(list(schema))
    return {path: _find_column(columns, path) for path in paths}


def _find_column(columns: pa.StructType, path: Path) -> Found:
    kind: pa.DataType = columns
    for depth, name in enumerate(path):
        kind = _plain(kind)
        here = path[: depth + 1]
        if not pa.types.is_struct(kind):
            return Found(why=f"{dotted(path[:depth])}: is a {kind}, and has no field {name!r}")
        places = kind.get_all_field_indices(name)
        if not places:
            return Found(why=f"{dotted(here)}: the file has no such column", missing=True)
        if len(places) > 1:
            return Found(why=f"{dotted(here)}: is there twice")
        kind = kind.field(places[0]).type
    kind = _plain(kind)
    if pa.types.is_nested(kind):
        why = f"{dotted(path)}: is a {kind}, not a single value"
        return Found((STRUCTURE,), nullable=True, why=why)
    if pa.types.is_null(kind):
        return Found(nullable=True)
    return Found((wire_of(kind),), nullable=True)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of an extension type or a dictionary."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def wire_of(kind: pa.DataType) -> Wire:
    """Return the wire type of an Arrow type's values; other single values are bytes."""
    if pa.types.is_decimal(kind):
        return Wire("decimal", kind.scale)
    if pa.types.is_timestamp(kind):
        return Wire("long", 0, kind.unit, kind.tz is None)
    return next((wire for fits, wire in _WIRES if fits(kind)), Wire("bytes"))


_WIRES: Final[tuple[tuple[Callable[[pa.DataType], bool], Wire], ...]] = (
    (pa.types.is_nested, STRUCTURE),
    (pa.types.is_boolean, Wire("boolean")),
    # As its decimal text: half of its values need more than 63 bits.
    (pa.types.is_uint64, Wire("number")),
    (pa.types.is_integer, Wire("long")),
    (pa.types.is_float64, Wire("double")),
    (pa.types.is_floating, Wire("float")),
    (is_text, Wire("text")),
    (pa.types.is_date, Wire("long", 0, "date")),
    (pa.types.is_time, Wire("long", 0, "time")),
)


def leaf_of_column(columns: Mapping[str, pa.Array], path: Path) -> Sequence[LeafPart]:
    """Return the values at a path of a Parquet file; null if a struct on the path is null.

    Args:
        columns: The file's columns by name; the path was found in their schema.
        path: Names from the outermost.
    """
    values = _storage(columns[path[0]])
    for name in path[1:]:
        values = _storage(pc.struct_field(values, values.type.get_field_index(name)))
    if pa.types.is_null(values.type):
        return ()
    wire = wire_of(values.type)
    return (LeafPart(wire, _as_wire(wire, values)),)


def leaf_of_cells(columns: Mapping[str, pa.Array], path: Path) -> Sequence[LeafPart]:
    """Return the values at a path of a CSV file; an empty one is null."""
    return (LeafPart(CELL, columns[dotted(path)]),)


def _storage(values: pa.Array) -> pa.Array:
    while True:
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        elif pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        else:
            return values


def _as_wire(wire: Wire, values: pa.Array) -> pa.Array:
    """Return values in the Arrow type that raw leaves of this wire type have."""
    if wire.kind == "decimal":
        return _big_endian(values)
    if pa.types.is_date(values.type):
        # Days, as Avro's dates; Arrow has no direct cast to 64 bits.
        return values.cast(pa.date32()).cast(pa.int32()).cast(wire.type)
    if pa.types.is_time32(values.type):
        return values.cast(pa.int32()).cast(wire.type)
    if wire.kind in {"bytes", "structure"}:
        return pc.if_else(values.is_valid(), pa.scalar(b""), pa.scalar(None, pa.binary()))
    return values.cast(wire.type)


def _big_endian(values: pa.Array) -> pa.Array:
    """Return decimals as Avro has them: whole numbers in two's complement, big-endian."""
    width = values.type.byte_width
    count = len(values)
    data = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * width :][: count * width]
    turned = np.ascontiguousarray(data.reshape(count, width)[:, ::-1])
    offsets = np.arange(count + 1, dtype=np.int64) * width
    found = pa.Array.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(turned)]
    ).cast(pa.binary())
    if values.null_count:
        found = pc.if_else(values.is_valid(), found, pa.scalar(None, pa.binary()))
    return found
