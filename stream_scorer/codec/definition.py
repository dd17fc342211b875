"""Parsed Avro schemas: the one form that the walk, the resolution and the checks work on."""

import json
import re
from dataclasses import dataclass
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from stream_scorer.errors import SchemaError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


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
        """Return the definition behind a name or ``{"type": X}``; other schemas as they are."""
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
        """Return the logical type's name, or nothing; of a union's only non-null branch too."""
        optional = self.optional(schema)
        schema = self.expand(optional[0] if optional else schema)
        return str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""

    def plain(self) -> "Definition":
        """Return the same schema without logical types: values are what is on the wire."""
        return parse_definition(json.dumps(_without_logical(self.root)), "schema")


def _without_logical(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if k not in {"logicalType", "__named_schemas"}}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _without_logical(kept[key])
    if "fields" in kept:
        kept["fields"] = [_without_logical(field) for field in kept["fields"]]
    return kept


def parse_definition(text: str, what: str) -> Definition:
    """Parse a schema.

    Args:
        text: Avro schema in JSON.
        what: Names the schema in the error.

    Raises:
        SchemaError: The text is no JSON, or no Avro schema.
    """
    try:
        document = json.loads(text)
        if isinstance(document, str) and document not in PRIMITIVES:
            raise SchemaError(f"{what}: unknown type {document!r}", "name an Avro type")
        named: dict[str, Any] = {}
        root = fastavro.parse_schema(document, named_schemas=named, _write_hint=False, _force=True)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{what}: not JSON: {error}", "mend the schema") from error
    except UnknownType as error:
        raise SchemaError(f"{what}: unknown type {error.name!r}", "define it first") from error
    except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SchemaError(f"{what}: not an Avro schema: {error}", "mend the schema") from error
    definition = Definition(root, named)
    for schema in (root, *named.values()):
        _check(definition, schema, what)
    return definition


def _check(definition: Definition, schema: Any, what: str) -> None:
    """Refuse what the specification forbids and the parser lets pass."""
    if isinstance(schema, list):
        _check_union(definition, schema, what)
    elif isinstance(schema, dict):
        fields = schema.get("fields", ())
        names = [field["name"] for field in fields]
        for name in (*str(schema.get("name", "A")).split("."), *names):
            if not _NAME.fullmatch(name):
                raise SchemaError(f"{what}: {name!r} is no Avro name", "use letters, digits and _")
        for name in names:
            if names.count(name) > 1:
                raise SchemaError(f"{what}: field {name!r} stands twice", "rename one")
        parts = [schema[key] for key in ("items", "values") if key in schema]
        for part in (*(field["type"] for field in fields), *parts):
            _check(definition, part, what)


def _check_union(definition: Definition, branches: list[Any], what: str) -> None:
    kinds = []
    for use in branches:
        branch = definition.expand(use)
        if isinstance(branch, list):
            raise SchemaError(f"{what}: a union stands in a union", "join the two")
        named = isinstance(branch, dict) and "name" in branch
        kinds.append(branch["name"] if named else definition.kind(branch))
        _check(definition, use, what)
    if len(set(kinds)) < len(kinds):
        raise SchemaError(f"{what}: a union has one type twice", "name each type once")
