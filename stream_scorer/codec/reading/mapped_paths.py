"""The paths of a mapping in a writer schema: what is there, and how its values are taken.

The walk can store the leaves of a schema if only records, possibly optional, are on the way to a
value, and the value has one type, possibly optional. For a record, an array or a map it stores
whether it is there. If a union has more types, fastavro decodes the record, and the same leaves are
taken from the result. No path goes through an array or a map.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading import opcodes
from stream_scorer.codec.reading.arrow_layout import StoredColumn, longest
from stream_scorer.codec.reading.decode_program import PRESENCE, PathTree
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.leaves import STRUCTURE, LeafPart, Leaves, Wire
from stream_scorer.registry.definition import Definition
from stream_scorer.registry.limits import shown

_KINDS: Final = {
    "boolean": "boolean", "int": "long", "long": "long", "float": "float", "double": "double",
    "string": "text", "enum": "text", "bytes": "bytes", "fixed": "bytes",
}  # fmt: skip
_UNITS: Final = {
    f"{local}timestamp-{name}": (unit, bool(local))
    for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    for local in ("", "local-")
} | {"date": ("date", False), "time-millis": ("time", False), "time-micros": ("time", False)}
_HELD: Final = {
    "boolean": opcodes.BIT, "long": opcodes.INT64, "float": opcodes.FLOAT32,
    "double": opcodes.FLOAT64, "text": opcodes.TEXT, "bytes": opcodes.TEXT,
    "decimal": opcodes.TEXT, "structure": opcodes.TEXT,
}  # fmt: skip
_PYTHON: Final = {
    "boolean": bool, "long": int, "float": float, "double": float, "text": str, "bytes": bytes,
    "decimal": bytes,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What a writer schema has at a path.

    Attributes:
        wires: The kinds of its values; empty if the path is not there, or is always null.
        nullable: Whether null is possible there.
        walked: Whether the walk can store it.
        texts: The symbols of an enum.
        why: Why the path is not there, cannot be read at all, or is not a single value. In the last
            case there are ``wires``, and ``where`` can compare it with null.
        missing: Whether the reason is a missing field.
        symbol_bytes: Bytes of the longest symbol of an enum, also of one in a union.
    """

    wires: tuple[Wire, ...] = ()
    nullable: bool = False
    walked: bool = True
    texts: tuple[str, ...] = ()
    why: str = ""
    missing: bool = False
    symbol_bytes: int = 0


def find(definition: Definition, path: Path) -> Found:
    """Find what a writer schema has at a path.

    Args:
        definition: The writer schema, with its logical types.
        path: Names of fields, from the root.
    """
    return _Search(definition, path).at(definition.root, 0)


class _Search:
    """Looks up a path, and each record type once at each of its names.

    Otherwise unions of records on the way would multiply: n branches at each of d names are n^d.
    """

    def __init__(self, definition: Definition, path: Path) -> None:
        self._definition = definition
        self._path = path
        self._known: dict[tuple[int, int], Found] = {}

    def at(self, schema: Any, depth: int) -> Found:  # noqa: PLR0911 a line for each kind
        """Return what a type has at the names of the path from ``depth`` on."""
        schema = self._definition.expand(schema)
        kind = self._definition.kind(schema)
        if kind == "union":
            return self._union(schema, depth)
        names, at = self._path[depth:], self._path[:depth]
        if kind == "record":
            if not names:
                return Found((STRUCTURE,), why=_said(at, "is a record, not a single value"))
            key = id(schema), depth
            if key not in self._known:
                self._known[key] = self._record(schema, depth)
            return self._known[key]
        if kind in {"array", "map"}:
            if names:
                return Found(why=_said(at, f"a path cannot go through {_A[kind]}"))
            return Found((STRUCTURE,), why=_said(at, f"is {_A[kind]}, not a single value"))
        if kind == "null":
            return Found(nullable=True, walked=False)
        if names:
            return Found(why=_said(at, f"is a {kind}, and has no field {shown(names[0])}"))
        wire = wire_of(schema, kind)
        texts = tuple(schema["symbols"]) if kind == "enum" else ()
        return Found((wire,), texts=texts, symbol_bytes=longest(texts))

    def _record(self, schema: Any, depth: int) -> Found:
        for entry in schema["fields"]:
            if entry["name"] == self._path[depth]:
                return self.at(entry["type"], depth + 1)
        why = _said(self._path[: depth + 1], "the writer schema has no such field")
        return Found(why=why, missing=True)

    def _union(self, schema: Any, depth: int) -> Found:  # noqa: PLR0911 likewise
        definition, at = self._definition, self._path[:depth]
        optional = definition.optional(schema)
        if optional:
            inner = self.at(optional[0], depth)
            return replace(inner, nullable=True)
        branches = [branch for branch in schema if definition.kind(branch) != "null"]
        # Both are decoded as dicts: a map that has a key of the path would be read as the record.
        if "map" in map(definition.kind, branches) and "record" in map(definition.kind, branches):
            return Found(why=_said(at, _ALIKE))
        found = [self.at(branch, depth) for branch in branches]
        good = [each for each in found if not each.why]
        if not good:
            if found:
                told = max(found, key=lambda each: (bool(each.wires), each.missing))
                return replace(told, nullable=len(branches) < len(schema), walked=False)
            return Found(nullable=True, walked=False)
        wires = tuple(dict.fromkeys(wire for each in good for wire in each.wires))
        if len(wires) > _MOST_WIRES:
            return Found(why=_said(at, f"has more than {_MOST_WIRES} kinds of values"))
        leaves = {_PYTHON[wire.kind] for wire in wires}
        if depth == len(self._path) and len(leaves) < len(wires):
            return Found(why=_said(at, _ALIKE))
        nullable = len(branches) < len(schema) or any(
            each.nullable or each.missing for each in found
        )
        size = max(each.symbol_bytes for each in good)
        return Found(wires, nullable, walked=False, symbol_bytes=size)


_ALIKE: Final = "a union of types that decoded values do not tell apart"
_MOST_WIRES: Final = 64
_A: Final = {"array": "an array", "map": "a map"}


def _said(path: Path, why: str) -> str:
    return f"{dotted(path)}: {why}"


def wire_of(schema: Any, kind: str) -> Wire:
    """Return the kind of the values of a type that is not a union."""
    logical = str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""
    if kind in {"bytes", "fixed"} and logical == "decimal":
        scale = schema.get("scale", 0)
        # By Avro's specification, an invalid logical type is ignored.
        if type(scale) is int and scale >= 0:
            return Wire("decimal", scale)
    if kind in {"int", "long"} and logical in _UNITS:
        unit, local = _UNITS[logical]
        return Wire("long", 0, unit, local)
    return Wire(_KINDS[kind])


@dataclass(slots=True)
class StoredPaths:
    """The columns in which the walk stores the leaves of a schema.

    Attributes:
        tree: The columns by path.
        columns: Path and kind of each column, in the order of the columns.
    """

    tree: PathTree = field(default_factory=dict)
    columns: list[tuple[Path, Wire]] = field(default_factory=list)

    def leaves(self, stored: Sequence[pa.Array], paths: Sequence[Path]) -> Leaves:
        """Return the leaves at ``paths`` from the columns that the walk stored."""
        found: dict[Path, Sequence[LeafPart]] = dict.fromkeys(paths, ())
        for (path, wire), column in zip(self.columns, stored, strict=True):
            found[path] = (LeafPart(wire, column),)
        return found


def stored_paths(places: Mapping[Path, Found]) -> StoredPaths | None:
    """Plan how the walk stores leaves; return None if fastavro must decode.

    Args:
        places: What the writer schema has at each path; one that is ``missing`` is null.
    """
    planned = StoredPaths()
    for path, place in places.items():
        if place.missing:
            continue
        if not place.walked or len(place.wires) != 1:
            return None
        wire = place.wires[0]
        column = StoredColumn(
            len(planned.columns), dotted(path), _HELD[wire.kind], wire.type, place.nullable,
            place.texts,
        )  # fmt: skip
        names = (*path, PRESENCE) if wire == STRUCTURE else path
        below = planned.tree
        for name in names[:-1]:
            inside = below.setdefault(name, {})
            if isinstance(inside, StoredColumn):
                return None
            below = inside
        if names[-1] in below:
            return None
        below[names[-1]] = column
        planned.columns.append((path, wire))
    return planned


Leaf = tuple[Any, Wire] | None
"""A value and its kind; None is null."""
Taker = Callable[[Any], Leaf]
"""Takes the value at a path from a record that fastavro decoded without logical types.

In such a record, a record of a union is a pair of its name and itself.
"""


def taker_of(definition: Definition, path: Path) -> Taker:
    """Return the function that takes the value at a path.

    Args:
        definition: The writer schema, with its logical types.
        path: A path that :func:`find` has found.
    """
    return _Takers(definition, path).at(definition.root, 0)


def _structure(_: Any) -> Leaf:
    return b"", STRUCTURE


def _leaf(wire: Wire) -> Taker:
    expected = _PYTHON[wire.kind]

    def take(value: Any) -> Leaf:
        # A column of the wrong type would fail for all of its rows.
        if type(value) is not expected:
            raise TypeError(f"{type(value).__name__}, not {expected.__name__}")
        return value, wire

    return take


class _Takers:
    """Makes what takes the value at a path; each record type once at each name, as in _Search."""

    def __init__(self, definition: Definition, path: Path) -> None:
        self._definition = definition
        self._path = path
        self._known: dict[tuple[int, int], Taker] = {}

    def at(self, schema: Any, depth: int) -> Taker:
        """Return what takes it from a value of a type, by the names from ``depth`` on."""
        schema = self._definition.expand(schema)
        if isinstance(schema, list):
            return self._union(schema, depth)
        kind = self._definition.kind(schema)
        if kind == "null":
            return lambda _: None
        below = depth < len(self._path)
        if kind == "record" and below:
            key = id(schema), depth
            if key not in self._known:
                self._known[key] = self._record(schema, depth)
            return self._known[key]
        if below or kind not in _KINDS:
            return _structure
        return _leaf(wire_of(schema, kind))

    def _record(self, schema: Any, depth: int) -> Taker:
        name = self._path[depth]
        entry = next((each for each in schema["fields"] if each["name"] == name), None)
        if entry is None:
            return lambda _: None  # of a union, in which another record has the field
        below = self.at(entry["type"], depth + 1)
        return lambda record: below(record[name])

    def _union(self, schema: list[Any], depth: int) -> Taker:
        named: dict[str, Taker] = {}
        by_type: dict[type, Taker] = {}
        for use in schema:
            branch = self._definition.expand(use)
            below = self.at(branch, depth)
            by_type.setdefault(_TYPES[self._definition.kind(branch)], below)
            if isinstance(branch, dict) and "name" in branch:
                named[branch["name"]] = below

        def take(value: Any) -> Leaf:
            if value is None:
                return None
            if type(value) is tuple:
                return named[value[0]](value[1])
            return by_type.get(type(value), _structure)(value)

        return take


_TYPES: Final = {
    **{kind: _PYTHON[wire] for kind, wire in _KINDS.items()},
    "null": type(None), "record": dict, "map": dict, "array": list,
}  # fmt: skip


def parts_of(values: Sequence[Leaf]) -> Sequence[LeafPart]:
    """Return n values at a path, each with its kind, as parts with one kind each."""
    kinds: dict[Wire, list[int]] = {}
    for row, found in enumerate(values):
        if found is not None:
            kinds.setdefault(found[1], []).append(row)
    return [
        LeafPart(
            wire,
            pa.array([values[row][0] for row in rows], wire.type),  # type: ignore[index]
            np.array(rows, np.int64),
        )
        for wire, rows in kinds.items()
    ]
