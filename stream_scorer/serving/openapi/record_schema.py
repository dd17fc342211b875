"""JSON schemas of Avro types, as ``codec.writing.json_value`` reads their values.

A JSON schema cannot say everything: it counts characters, where limits are on bytes. So a value
that it refuses is always refused, and one that it accepts may still be.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.codec.writing.json_logical import TIMES
from stream_scorer.codec.writing.json_value import ValueLimits
from stream_scorer.registry.definition import Definition
from stream_scorer.serving.openapi.operation import schema_ref

_BITS: Final = {"int": 31, "long": 63}
_TIMES: Final[Mapping[str, dict[str, Any]]] = {
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "pattern": r"^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?$"},
    "timestamp": {
        "type": "string", "description": "ISO 8601 with an offset or Z", "maxLength": 64,
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
        r"([Zz]|[+-][0-9]{2}:[0-9]{2})$",
    },
    "local-timestamp": {
        "type": "string", "description": "ISO 8601 without an offset", "maxLength": 64,
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?$",
    },
}  # fmt: skip
_UUID: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_UINT32_MOST: Final = (1 << 32) - 1
_BYTES: Final = "^[\\u0000-\\u00ff]*$"


class RecordSchemas:
    """The JSON schemas of one Avro schema's types.

    Args:
        definition: The Avro schema.
        prefix: Of the names of its types in the document.
        limits: Limits on a value; None: of values that the server writes.

    Attributes:
        named: Those of named types, by their names in the document.
    """

    def __init__(
        self, definition: Definition, prefix: str, limits: ValueLimits | None = None
    ) -> None:
        self._definition = definition
        self._prefix = prefix
        self._limits = limits
        self.named: dict[str, Any] = {}

    @property
    def root(self) -> dict[str, Any]:
        """The JSON schema of a value of the Avro schema."""
        return self.of(self._definition.root)

    def of(self, schema: Any) -> dict[str, Any]:
        """Return the JSON schema of a type."""
        schema = self._definition.expand(schema)
        if isinstance(schema, list):
            return self._union(schema)
        if not isinstance(schema, dict):
            return self._simple(str(schema), {})
        kind, name = str(schema["type"]), schema.get("name")
        if kind not in {"record", "enum", "fixed"} or name is None:
            return self._simple(kind, schema)
        own = self._prefix + str(name)
        if own not in self.named:
            # A record may contain itself.
            self.named[own] = {}
            self.named[own] = self._simple(kind, schema)
        return dict(schema_ref(own))

    def _simple(self, kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        special = _logical(kind, schema)
        if special is not None:
            return special
        limits = self._limits
        made: dict[str, Callable[[], dict[str, Any]]] = {
            "record": lambda: self._record(schema),
            "array": lambda: {
                "type": "array", "items": self.of(schema["items"]),
                **({} if limits is None else {"maxItems": limits.items_max}),
            },
            "map": lambda: {
                "type": "object", "additionalProperties": self.of(schema["values"]),
                **({} if limits is None else {"maxProperties": limits.items_max}),
            },
            "enum": lambda: {"enum": list(schema["symbols"])},
            "fixed": lambda: {
                "type": "string", "pattern": _BYTES, "minLength": schema["size"],
                "maxLength": schema["size"],
            },
            "null": lambda: {"type": "null"}, "boolean": lambda: {"type": "boolean"},
            "int": lambda: _whole(kind), "long": lambda: _whole(kind),
            "float": lambda: {"type": "number"}, "double": lambda: {"type": "number"},
            "string": lambda: {"type": "string", **self._length()},
            "bytes": lambda: {"type": "string", "pattern": _BYTES, **self._length()},
        }  # fmt: skip
        return made[kind]()

    def _length(self) -> dict[str, int]:
        return {} if self._limits is None else {"maxLength": self._limits.string_bytes_max}

    def _record(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required = []
        for each in schema["fields"]:
            name = each["name"]
            own = self.of(each["type"])
            text = str(each.get("doc", ""))
            # Next to a reference, a description is allowed since OpenAPI 3.1.
            properties[name] = {**own, "description": text} if text else own
            written = self._limits is None
            if written or not ("default" in each or self._optional(each["type"])):
                required.append(name)
        made: dict[str, Any] = {
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": False,
        }  # fmt: skip
        return {"description": schema["doc"], **made} if schema.get("doc") else made

    def _optional(self, schema: Any) -> bool:
        found = self._definition.expand(schema)
        branches = found if isinstance(found, list) else [found]
        return any(self._definition.kind(each) == "null" for each in branches)

    def _union(self, branches: list[Any]) -> dict[str, Any]:
        found = [self.of(each) for each in branches]
        others = [each for each in branches if self._definition.kind(each) != "null"]
        if len(others) > 1 and self._limits is not None:
            # A value that fits several of them needs a tag.
            found += [_tagged(self._name(each), self.of(each)) for each in others]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _name(self, schema: Any) -> str:
        plain = self._definition.expand(schema)
        kind = self._definition.kind(schema)
        return str(plain.get("name", kind)) if isinstance(plain, dict) else kind


def _tagged(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": {name: schema}, "required": [name],
        "additionalProperties": False,
    }  # fmt: skip


def _whole(kind: str) -> dict[str, Any]:
    end = 1 << _BITS[kind]
    return {
        "type": "integer",
        "minimum": -end,
        "maximum": end - 1,
        "format": f"int{_BITS[kind] + 1}",
    }


def _logical(kind: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON schema of a logical type; None for one that is read as its plain type."""
    logical = str(schema.get("logicalType", ""))
    if (kind, logical) in TIMES:
        text = _TIMES[logical.rpartition("-")[0] or logical]
        return {"anyOf": [_whole(kind), dict(text)]}
    size = schema.get("size") if kind == "fixed" else None
    if logical == "uuid" and (kind == "string" or size == 16):  # noqa: PLR2004 bytes of a UUID
        return {"type": "string", "format": "uuid", "pattern": _UUID}
    if logical == "duration" and size == 12:  # noqa: PLR2004 bytes of a duration
        part = {"type": "integer", "minimum": 0, "maximum": _UINT32_MOST}
        names = ("months", "days", "milliseconds")
        return {
            "type": "object", "properties": dict.fromkeys(names, part), "required": list(names),
            "additionalProperties": False,
        }  # fmt: skip
    if logical == "decimal" and kind in {"bytes", "fixed"}:
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if type(precision) is int and type(scale) is int and 0 <= scale <= precision:
            return {
                "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "maxLength": 256,
                "description": f"a decimal number with at most {precision} digits, {scale} of them "
                "after the point",
            }  # fmt: skip
    return None
