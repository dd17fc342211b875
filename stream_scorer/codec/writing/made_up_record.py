"""A made-up record that a plan's mapping reads as a valid transaction, to compile what reads it."""

from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.codec.writing.json_logical import TIMES
from stream_scorer.codec.writing.json_text import DEPTH, JsonNumber, JsonValueError
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import FieldRule
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.core.mapping.record_filter import Clause
from stream_scorer.registry.definition import Definition

_ONE: Final = JsonNumber("1")
_TEXT: Final = "1"
"""Also a number, if a text of a mapping is one in a schema."""
_ISO_TIME: Final = "2020-01-01T00:00:00Z"
_MS: Final = 1_577_836_800_000
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NUMBERS: Final = frozenset({"int", "long", "float", "double"})
_UUID: Final = "00000000-0000-0000-0000-000000000001"
_VALUES_MOST: Final = 10_000
_OBJECTS: Final = {"duration": dict.fromkeys(("months", "days", "milliseconds"), _ONE)}


def made_up_record(plan: Plan, definition: Definition | None) -> Any:
    """Return a record as ``parse_json`` returns it, with a value at each path of the mapping.

    It is not valid if a schema or a mapping has rules that depend on several values.

    Args:
        plan: Its mapping; without one, the record has our own schema.
        definition: The record's Avro schema; None: it is a JSON object.

    Raises:
        JsonValueError: A record of the schema would be too large or too deep.
    """
    wanted = _wanted(plan)
    if definition is not None:
        return _Walk(definition, wanted).value(definition.root, ())
    record: dict[str, Any] = {}
    for path, value in wanted.items():
        below = record
        for name in path[:-1]:
            below = below.setdefault(name, {})
        below[path[-1]] = value
    return record


def _wanted(plan: Plan) -> dict[Path, Any]:
    """Return the value at each path, as it is in JSON."""
    mapping = plan.mapping
    if mapping is None or not mapping.fields:
        names = ("transaction_id", "customer_id", "terminal_id")
        own: dict[Path, Any] = {(name,): _TEXT for name in names}
        others = {"event_time": JsonNumber(_MS), "amount_minor": _ONE, "currency": plan.currency}
        return own | {(name,): value for name, value in others.items()}
    found = {rule.path: _of_rule(rule, plan) for rule in mapping.rules if rule.path is not None}
    found |= {clause.path: _chosen(clause) for clause in mapping.where}
    # A condition such as `after != null` is met by the object with the other values.
    above = {path[:end] for path in found for end in range(1, len(path))}
    return {path: value for path, value in found.items() if path not in above}


def _of_rule(rule: FieldRule, plan: Plan) -> Any:
    text = plan.currency if rule.column == "currency" else _TEXT
    if rule.table:
        return next((key for key in rule.table if rule.table[key] == text), next(iter(rule.table)))
    if rule.kind == "timestamp":
        if rule.unit in _PER_SECOND:
            return JsonNumber((_MS - rule.since_ms) * _PER_SECOND[rule.unit] // 1_000)
        return _ISO_TIME
    values: Mapping[str, Any] = {"boolean": True, "string": text}
    return values.get(rule.kind, _ONE)


def _chosen(clause: Clause) -> str | None:
    """Return a value by which a condition chooses the record."""
    if clause.negated:
        return "".join(sorted(clause.values)) + _TEXT
    return min(clause.values) if clause.values else None


class _Walk:
    """Makes a value of a schema: its required fields, and those that are wanted."""

    def __init__(self, definition: Definition, wanted: Mapping[Path, Any]) -> None:
        self._definition = definition
        self._wanted = wanted
        self._count = 0
        self._inside = {path[:end] for path in wanted for end in range(1, len(path) + 1)}

    def value(self, schema: Any, path: Path) -> Any:
        self._count += 1
        if self._count > _VALUES_MOST or len(path) > DEPTH:
            raise JsonValueError("has too many values, or is nested too deeply")
        schema = self._definition.expand(schema)
        if isinstance(schema, list):
            return self._of_union(schema, path)
        table = schema if isinstance(schema, dict) else {"type": schema}
        kind = self._definition.kind(schema)
        if kind == "record":
            fields = table["fields"]
            return {
                each["name"]: self.value(each["type"], (*path, each["name"]))
                for each in fields
                if (*path, each["name"]) in self._inside or "default" not in each
            }
        if kind in {"array", "map"}:
            return [] if kind == "array" else {}
        return self._leaf(table, kind, self._wanted.get(path))

    def _of_union(self, branches: list[Any], path: Path) -> Any:
        others = [each for each in branches if self._definition.kind(each) != "null"]
        needed = path in self._inside and self._wanted.get(path, path) is not None
        if not others or (len(others) < len(branches) and not needed):
            return None
        return self.value(others[0], path)

    def _leaf(self, table: Mapping[str, Any], kind: str, wanted: Any) -> Any:
        logical = str(table.get("logicalType", ""))
        if (kind, logical) in TIMES:
            return JsonNumber(_MS * TIMES[kind, logical] // 1_000)
        if kind in _NUMBERS:
            return JsonNumber(wanted) if str(wanted).isdigit() else _ONE
        if kind == "enum":
            symbols = table["symbols"]
            return wanted if wanted in symbols else symbols[0]
        if logical in {"decimal", "uuid"}:
            return _TEXT if logical == "decimal" else _UUID
        if logical in _OBJECTS:
            return _OBJECTS[logical]
        plain = {
            "null": None,
            "boolean": wanted != "false",
            "fixed": "1" * int(table.get("size", 0)),
        }
        return plain[kind] if kind in plain else str(wanted or _TEXT)
