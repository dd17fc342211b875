"""JSON schemas of records: they accept what the encoder accepts, and refuse what it refuses."""

import json
from typing import Any

import jsonschema
import pytest

from stream_scorer.codec.writing.json_text import JsonValueError, parse_json
from stream_scorer.codec.writing.json_value import JsonValueEncoder, ValueLimits
from stream_scorer.registry.definition import parse_definition
from stream_scorer.serving.openapi.record_schema import RecordSchemas

LIMITS = ValueLimits(1_000, 8, 3)
CARD = {"type": "record", "name": "a.Card", "doc": "A card.", "fields": [
    {"name": "token", "type": "string", "doc": "Its token."},
    {"name": "mcc", "type": ["null", "string"]},
    {"name": "kind", "type": "string", "default": "x"},
]}  # fmt: skip
TREE = {"type": "record", "name": "Tree", "fields": [
    {"name": "inner", "type": ["null", "Tree"], "default": None}]}  # fmt: skip
LOGICAL: dict[str, Any] = {
    "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
    "unknown": {"type": "bytes", "logicalType": "other"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "int", "logicalType": "time-millis"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "local": {"type": "long", "logicalType": "local-timestamp-millis"},
    "duration": {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"},
}
UNCLEAR = ["null", "string", "bytes"]
PLACED = {"months": 1, "days": 2, "milliseconds": 3}
ACCEPTED: list[tuple[Any, Any]] = [
    ("null", None), ("boolean", True), ("int", -(2**31)), ("long", 2**63 - 1), ("float", 1.5),
    ("double", 3), ("string", "é" * 4), ("bytes", "\x00ÿ"),
    ({"type": "fixed", "name": "F", "size": 2}, "ab"),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
    ({"type": "array", "items": "int"}, [1, 2, 3]), ({"type": "map", "values": "int"}, {"a": 1}),
    (CARD, {"token": "t"}), (CARD, {"token": "t", "mcc": None, "kind": "k"}),
    (TREE, {"inner": {"inner": {}}}), (["null", "string"], None), (["null", "string"], "a"),
    (UNCLEAR, {"bytes": "a"}), (UNCLEAR, None), (["int", "double"], 1.5),
    (["null", CARD], {"token": "t"}),
    (LOGICAL["decimal"], "-12.50"), (LOGICAL["decimal"], "12.500"),
    (LOGICAL["unknown"], "a"),
    (LOGICAL["uuid"], "0af76519-16cd-43dd-8448-eb211c80319c"), (LOGICAL["date"], "2026-01-31"),
    (LOGICAL["date"], 7), (LOGICAL["time"], "23:59"), (LOGICAL["time"], "23:59:59.5"),
    (LOGICAL["timestamp"], "2026-01-31T12:00:00.5+02:00"),
    (LOGICAL["timestamp"], "2026-01-31 12:00z"), (LOGICAL["timestamp"], 1),
    (LOGICAL["local"], "2026-01-31T12:00:00"), (LOGICAL["duration"], PLACED),
]  # fmt: skip
REFUSED: list[tuple[Any, Any]] = [
    ("null", 0), ("boolean", 1), ("int", 2**31), ("long", -(2**63) - 1), ("int", 1.5),
    ("double", "1"), ("string", "x" * 9), ("string", 1), ("bytes", "Ā"),
    ({"type": "fixed", "name": "F", "size": 2}, "abc"),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "C"),
    ({"type": "array", "items": "int"}, [1] * 4), ({"type": "array", "items": "int"}, ["1"]),
    ({"type": "map", "values": "int"}, {str(n): n for n in range(4)}), (CARD, {}), (CARD, []),
    (CARD, {"token": "t", "other": 1}), (TREE, {"inner": 1}), (["null", "string"], 1),
    (UNCLEAR, 1), (UNCLEAR, {"other": "a"}), (LOGICAL["decimal"], 12.5),
    (LOGICAL["decimal"], "1e3"), (LOGICAL["uuid"], "0af76519"), (LOGICAL["time"], "7"),
    (LOGICAL["timestamp"], "2026-01-31T12:00:00"), (LOGICAL["local"], "2026-01-31T12:00:00Z"),
    (LOGICAL["duration"], {"days": 1}), (LOGICAL["duration"], {**PLACED, "days": -1}),
]  # fmt: skip


def validator(schema: Any) -> jsonschema.Draft202012Validator:
    made = RecordSchemas(parse_definition(json.dumps(schema), "test"), "record.", LIMITS)
    document = {**made.root, "components": {"schemas": made.named}}
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def encode(schema: Any, value: Any) -> bytes:
    definition = parse_definition(json.dumps(schema), "test")
    return JsonValueEncoder(definition, LIMITS).encode(parse_json(json.dumps(value).encode()))


@pytest.mark.parametrize(("schema", "value"), ACCEPTED)
def test_what_is_encoded_is_valid(schema: Any, value: Any) -> None:
    encode(schema, value)
    validator(schema).validate(value)


@pytest.mark.parametrize(("schema", "value"), REFUSED)
def test_what_is_not_valid_is_refused(schema: Any, value: Any) -> None:
    assert not validator(schema).is_valid(value)
    with pytest.raises(JsonValueError):
        encode(schema, value)


def test_a_record_shows_its_texts_and_what_is_required() -> None:
    made = RecordSchemas(parse_definition(json.dumps(CARD), "test"), "record.", LIMITS)
    assert made.root == {"$ref": "#/components/schemas/record.a.Card"}
    card = made.named["record.a.Card"]
    assert (card["description"], card["required"]) == ("A card.", ["token"])
    assert card["properties"]["token"]["description"] == "Its token."


def test_what_the_server_writes_has_all_fields_and_no_limits() -> None:
    made = RecordSchemas(parse_definition(json.dumps(CARD), "test"), "x.")
    assert made.root == {"$ref": "#/components/schemas/x.a.Card"}
    card = made.named["x.a.Card"]
    assert card["required"] == ["token", "mcc", "kind"]
    assert "maxLength" not in card["properties"]["token"]
