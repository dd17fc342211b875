"""Parsed Avro schemas: the form that the walk, the resolution and the checks use."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import fastavro
from fastavro.schema import UnknownType

from stream_scorer.errors import SchemaError
from stream_scorer.registry.limits import STANDARD, SchemaLimits, read_document, shown

_WHY = 200
"""Maximum number of letters of a parser's error that are shown: it may repeat the schema."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One Avro schema.

    Attributes:
        root: The schema with full names; a later use of a named type is its name.
        named: Named types by full name.
    """

    root: Any
    named: dict[str, Any]

    def expand(self, schema: Any) -> Any:
        """Return the definition of a name or of ``{"type": X}``; other schemas unchanged."""
        while True:
            if isinstance(schema, str) and schema in self.named:
                schema = self.named[schema]
            elif isinstance(schema, dict) and not isinstance(schema["type"], str):
                schema = schema["type"]
            elif isinstance(schema, dict) and schema["type"] in self.named:
                schema = self.named[schema["type"]]
            else:
                return schema

    def kind(self, schema: Any) -> str:
        """Return the Avro type: a primitive's name, ``record``, ``union``, ..."""
        schema = self.expand(schema)
        if isinstance(schema, list):
            return "union"
        return str(schema["type"]) if isinstance(schema, dict) else str(schema)

    def optional(self, schema: Any) -> tuple[Any, int] | None:
        """Return (X, position of null) for a union of null and one other type, else None."""
        schema = self.expand(schema)
        if not isinstance(schema, list) or len(schema) != 2:  # noqa: PLR2004 null and X
            return None
        kinds = [self.kind(branch) for branch in schema]
        if kinds.count("null") != 1:
            return None
        null = kinds.index("null")
        return schema[1 - null], null

    def logical(self, schema: Any) -> str:
        """Return the logical type's name, or nothing; a union's only non-null branch counts."""
        optional = self.optional(schema)
        schema = self.expand(optional[0] if optional else schema)
        return str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""

    def plain(self, types: AbstractSet[str] | None = None) -> "Definition":
        """Return the same schema without logical types, so that values are as on the wire.

        Args:
            types: The logical types to remove; None: all.
        """
        return _parsed(_without_logical(self.root, types), "schema")


def _without_logical(schema: Any, types: AbstractSet[str] | None) -> Any:
    if isinstance(schema, list):
        return [_without_logical(branch, types) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    gone = types is None or schema.get("logicalType") in types
    kept = {key: value for key, value in schema.items() if key != "logicalType" or not gone}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _without_logical(kept[key], types)
    if "fields" in kept:
        kept["fields"] = [_without_logical(field, types) for field in kept["fields"]]
    return kept


def parse_definition(text: str, what: str, limits: SchemaLimits = STANDARD) -> Definition:
    """Parse a schema.

    Args:
        text: Avro schema in JSON.
        what: The schema's name in errors.
        limits: Size limits.

    Raises:
        SchemaError: The text is not JSON, not an Avro schema, or over a limit.
    """
    document = read_document(text, what, limits)
    return _parsed(document, what)


def _parsed(document: Any, what: str) -> Definition:
    named: dict[str, Any] = {}
    try:
        root = fastavro.parse_schema(document, named_schemas=named, _write_hint=False, _force=True)
    except UnknownType as error:
        raise SchemaError(f"{what}: unknown type {shown(error.name)}", "define it first") from error
    except MemoryError:
        raise
    except Exception as error:  # fastavro's exceptions depend on the document
        why = str(error)[:_WHY]
        raise SchemaError(f"{what}: not an Avro schema: {why}", "fix the schema") from error
    definition = Definition(root, named)
    _check(definition, root, what)
    return definition


def _check(definition: Definition, schema: Any, what: str) -> None:
    """Refuse unions that the specification forbids but the parser accepts."""
    if isinstance(schema, list):
        _check_union(definition, schema, what)
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            _check(definition, field["type"], what)
        for key in ("items", "values"):
            if key in schema:
                _check(definition, schema[key], what)


def _check_union(definition: Definition, branches: list[Any], what: str) -> None:
    kinds = []
    for use in branches:
        branch = definition.expand(use)
        if isinstance(branch, list):
            raise SchemaError(f"{what}: a union is inside a union", "join the two")
        named = isinstance(branch, dict) and "name" in branch
        kinds.append(branch["name"] if named else definition.kind(branch))
        _check(definition, use, what)
    if len(set(kinds)) < len(kinds):
        raise SchemaError(f"{what}: a union has one type twice", "name each type once")
