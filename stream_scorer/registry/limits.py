"""Limits that every schema must keep before it is compiled or given to a library.

Anyone who may register a schema chooses its text. A valid schema of a few kilobytes can keep a
compiler busy for ever, and an almost valid one can raise any exception in a library. So the text is
measured first, then parsed, then walked once. The result is small and has the shape that the rest
of the codec relies on. The walk takes time in proportion to the text.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Self

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_RESERVED: Final = PRIMITIVES | {"record", "error", "enum", "array", "map", "fixed", "union"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Possessive, and the end of the text may replace a closing quote: there is no backtracking.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z)', re.DOTALL)
_SHOWN: Final = 60
_SYMBOL_MOST: Final = 16_384
"""A batch has up to 100,000 rows, and Arrow uses 31 bits for a column's size in bytes."""
_FIXED_MOST: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """Size limits of a schema.

    Attributes:
        text_bytes: Bytes of its JSON in UTF-8.
        depth: Nesting levels of records, arrays, maps and unions.
        fields: Fields of all its records in total.
        steps: Steps of the program that it compiles to.
        symbol_bytes: Bytes of an enum symbol.
        read_symbol_bytes: Total bytes of the longest symbols of all enums that are read: each
            takes one byte in a record, but its text in a column.
        name_bytes: Bytes of a name, namespace or alias.
        fixed_bytes: Bytes of a ``fixed``.
        decoded_branches: Branches of a union in a schema whose records fastavro decodes: its time
            for a value of a union grows with them.
    """

    text_bytes: int = 256 * 1024
    depth: int = 64
    fields: int = 2_048
    steps: int = 65_536
    symbol_bytes: int = 1_024
    read_symbol_bytes: int = 1_024
    name_bytes: int = 256
    fixed_bytes: int = 65_536
    decoded_branches: int = 128

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return the limits for records under a plan's sizes."""
        return cls(
            symbol_bytes=min(plan.string_bytes_max, _SYMBOL_MOST),
            fixed_bytes=min(plan.record_bytes_max, _FIXED_MOST),
        )


STANDARD: Final = SchemaLimits()


def check_read_symbols(size: int, what: str, limits: SchemaLimits) -> None:
    """Check how many bytes of text one record's enum symbols can become.

    Args:
        size: Total bytes of the longest symbols of all enums that are read.
        what: The schema's name in errors.
        limits: Contains the maximum.

    Raises:
        SchemaError: There are more.
    """
    if size > limits.read_symbol_bytes:
        raise SchemaError(
            f"{what}: the longest symbols of the enums that are read have {size} bytes together, "
            f"more than {limits.read_symbol_bytes}",
            "shorten the symbols, or write strings",
        )


def check_decoded_unions(schema: Any, what: str, limits: SchemaLimits) -> None:
    """Check the unions of a schema whose records fastavro decodes.

    Args:
        schema: Any part of a document that :func:`read_document` returned.
        what: The schema's name in errors.
        limits: Contains the maximum.

    Raises:
        SchemaError: A union has more branches.
    """
    parts: list[Any] = []
    if isinstance(schema, list):
        if len(schema) > limits.decoded_branches:
            raise SchemaError(
                f"{what}: a union of {len(schema)} types, where at most {limits.decoded_branches} "
                "can be decoded",
                "split the union",
            )
        parts = schema
    elif isinstance(schema, dict):
        parts = [schema[key] for key in ("type", "items", "values") if key in schema]
        parts += [field["type"] for field in schema.get("fields", ())]
    for part in parts:
        check_decoded_unions(part, what, limits)


def shown(value: object) -> str:
    """Return a value as an error shows it: escaped, and at most a line long."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def read_document(text: str, what: str, limits: SchemaLimits) -> Any:
    """Parse the JSON of a schema and check its shape and size; an ``error`` becomes a ``record``.

    Args:
        text: Untrusted text.
        what: The schema's name in errors.
        limits: Size limits.

    Raises:
        SchemaError: It is not JSON, not of the shape of an Avro schema, or over a limit.
    """
    document = _load(text, what, limits)
    _Walk(what, limits).schema(document, 1)
    return document


def _load(text: str, what: str, limits: SchemaLimits) -> Any:
    if max(len(text), len(text.encode("utf-8", "surrogatepass"))) > limits.text_bytes:
        raise SchemaError(f"{what}: longer than {limits.text_bytes} bytes", "split the schema")
    if json_depth(text) > 4 * limits.depth:
        raise SchemaError(f"{what}: nested deeper than {limits.depth} types", "flatten it")
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        # An escape can be half of a surrogate pair, which UTF-8 cannot encode.
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise SchemaError(f"{what}: a text is not Unicode", "write whole characters") from None
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{what}: not JSON: {str(error)[:200]}", "fix the schema") from error
    return document


def json_depth(text: str) -> int:
    """Return the maximum nesting depth of the text's brackets; it need not be JSON."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key is there twice")
    if "__fastavro_parsed" in table or "__named_schemas" in table:
        raise ValueError("a key of fastavro's own")
    return table


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


class _Walk:
    """One walk over a document; counts its fields."""

    def __init__(self, what: str, limits: SchemaLimits) -> None:
        self._what = what
        self._limits = limits
        self._fields = 0

    def schema(self, schema: Any, depth: int) -> None:
        if depth > self._limits.depth:
            raise self._error(f"nested deeper than {self._limits.depth} types", "flatten it")
        if isinstance(schema, str):
            self._name(schema, "type")
        elif isinstance(schema, list):
            if not schema:
                raise self._error("a union of nothing", "name its types")
            for branch in schema:
                self.schema(branch, depth + 1)
        elif isinstance(schema, dict):
            self._complex(schema, depth)
        else:
            raise self._error(f"not an Avro schema: {shown(schema)} is not a type")

    def _complex(self, schema: dict[str, Any], depth: int) -> None:
        kind = schema.get("type")
        if not isinstance(kind, str):
            raise self._error(f"not an Avro schema: {shown(kind)} is not the name of a type")
        if not isinstance(schema.get("logicalType", ""), str):
            raise self._error("not an Avro schema: a logicalType is not a text")
        if kind == "error":
            # Avro's other name for a record, which fastavro decodes in another form.
            kind = schema["type"] = "record"
        if kind == "record":
            self._named(schema)
            self._record(schema, depth)
        elif kind == "enum":
            self._named(schema)
            self._enum(schema)
        elif kind == "fixed":
            self._named(schema)
            size = schema.get("size")
            if type(size) is not int or not 0 <= size <= self._limits.fixed_bytes:
                raise self._error(
                    f"fixed {shown(schema['name'])}: size must be a whole number from 0 to "
                    f"{self._limits.fixed_bytes}, not {shown(size)}"
                )
        elif kind in {"array", "map"}:
            part = "items" if kind == "array" else "values"
            if part not in schema:
                raise self._error(f"not an Avro schema: a type {kind} has no {part}")
            self.schema(schema[part], depth + 1)
        else:
            self._name(kind, "type")

    def _record(self, schema: dict[str, Any], depth: int) -> None:
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise self._error(f"record {shown(schema['name'])}: fields are not a list")
        self._fields += len(fields)
        if self._fields > self._limits.fields:
            raise self._error(f"more than {self._limits.fields} fields", "split the schema")
        seen: set[str] = set()
        for field in fields:
            if not isinstance(field, dict) or "type" not in field:
                raise self._error(f"record {shown(schema['name'])}: a field has no type")
            name = field.get("name")
            self._name(name, "field", dotted=False)
            self._aliases(field)
            if name in seen:
                raise self._error(f"field {shown(name)} is there twice", "rename one")
            seen.add(str(name))
            self.schema(field["type"], depth + 1)

    def _enum(self, schema: dict[str, Any]) -> None:
        symbols = schema.get("symbols")
        if not isinstance(symbols, list):
            raise self._error(f"enum {shown(schema['name'])}: symbols are not a list")
        for symbol in (*symbols, schema.get("default", "A")):
            if not isinstance(symbol, str):
                raise self._error(f"enum {shown(schema['name'])}: {shown(symbol)} is not a symbol")
            # Characters first: a character has one byte or more.
            if max(len(symbol), len(symbol.encode())) > self._limits.symbol_bytes:
                raise self._error(
                    f"enum {shown(schema['name'])}: a symbol is longer than "
                    f"{self._limits.symbol_bytes} bytes",
                    "shorten it",
                )

    def _named(self, schema: dict[str, Any]) -> None:
        name, space = schema.get("name"), schema.get("namespace")
        self._name(name, "type")
        if name in _RESERVED:
            raise self._error(f"{shown(name)} is Avro's own name", "rename the type")
        if space is not None and space != "":
            self._name(space, "namespace")
        self._aliases(schema)

    def _aliases(self, schema: dict[str, Any]) -> None:
        aliases = schema.get("aliases", [])
        if not isinstance(aliases, list):
            raise self._error("aliases are not a list")
        for alias in aliases:
            self._name(alias, "alias")

    def _name(self, name: Any, of: str, *, dotted: bool = True) -> None:
        if not isinstance(name, str):
            raise self._error(f"{of}: {shown(name)} is not an Avro name", "use a text")
        if len(name) > self._limits.name_bytes:
            raise self._error(
                f"{of}: {shown(name)} is longer than {self._limits.name_bytes} bytes",
                "shorten it",
            )
        for part in name.split(".") if dotted else [name]:
            if not _NAME.fullmatch(part):
                raise self._error(
                    f"{of}: {shown(name)} is not an Avro name", "use letters, digits and _"
                )

    def _error(self, why: str, fix: str = "fix the schema") -> SchemaError:
        return SchemaError(f"{self._what}: {why}", fix)
