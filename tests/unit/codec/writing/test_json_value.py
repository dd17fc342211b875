"""JSON values to Avro bytes: what fastavro decodes is what was written; refusals name the path."""

import io
import json
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.writing.json_text import JsonValueError, json_text, parse_json
from stream_scorer.codec.writing.json_value import JsonValueEncoder, ValueLimits
from stream_scorer.registry.definition import parse_definition

LIMITS = ValueLimits(1 << 20, 1 << 16, 1 << 12)


def encoder(schema: Any, limits: ValueLimits = LIMITS) -> JsonValueEncoder:
    return JsonValueEncoder(parse_definition(json.dumps(schema), "schema"), limits)


def decoded(schema: Any, value: str, limits: ValueLimits = LIMITS) -> Any:
    body = io.BytesIO(encoder(schema, limits).encode(parse_json(value.encode())))
    found = fastavro.schemaless_reader(body, fastavro.parse_schema(schema, _force=True), None)
    assert body.read() == b""
    return found


def refusal(schema: Any, value: str, limits: ValueLimits = LIMITS) -> str:
    with pytest.raises(JsonValueError) as refused:
        encoder(schema, limits).encode(parse_json(value.encode()))
    return str(refused.value)


@dataclass(frozen=True)
class Example:
    """A schema, a JSON text of it, and what fastavro must decode."""

    schema: Any
    text: str
    expected: Any


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KIND: dict[str, Callable[[st.DrawFn], tuple[str, Any]]] = {
    "null": lambda _: ("null", None),
    "boolean": lambda draw: _same(draw(st.booleans())),
    "int": lambda draw: _same(draw(st.integers(-(2**31), 2**31 - 1))),
    "long": lambda draw: _same(draw(st.integers(-(2**63), 2**63 - 1))),
    "double": lambda draw: _same(draw(st.floats(allow_nan=False, allow_infinity=False))),
    "float": lambda draw: _same(draw(st.floats(allow_nan=False, allow_infinity=False, width=32))),
    "string": lambda draw: _same(draw(TEXT)),
    "bytes": lambda draw: _latin(draw(st.binary(max_size=8))),
}


def _same(value: Any) -> tuple[str, Any]:
    return json.dumps(value), value


def _latin(value: bytes) -> tuple[str, bytes]:
    return json.dumps(value.decode("latin-1")), value


@st.composite
def _named(draw: st.DrawFn, kind: str, name: str) -> Example:
    if kind == "enum":
        symbol = draw(st.sampled_from("ABC"))
        schema = {"type": "enum", "name": name, "symbols": list("ABC")}
        return Example(schema, f'"{symbol}"', symbol)
    text, data = _latin(draw(st.binary(min_size=3, max_size=3)))
    return Example({"type": "fixed", "name": name, "size": 3}, text, data)


@st.composite
def examples(draw: st.DrawFn, depth: int = 3, names: list[int] | None = None) -> Example:
    names = [0] if names is None else names
    compound = ["array", "map", "record", "union", "enum", "fixed"] if depth else []
    kind = draw(st.sampled_from([*KIND, *compound]))
    if kind in KIND:
        text, value = KIND[kind](draw)
        return Example(kind, text, value)
    names[0] += 1
    name = f"N{names[0]}"
    if kind in {"enum", "fixed"}:
        return draw(_named(kind, name))
    if kind == "union":
        inner = draw(examples(depth=0, names=names))
        if inner.schema == "null":
            return inner
        null = draw(st.booleans())
        branches = draw(st.permutations(["null", inner.schema]))
        return Example(branches, "null" if null else inner.text, None if null else inner.expected)
    if kind == "record":
        parts = draw(st.lists(examples(depth=depth - 1, names=names), max_size=4))
        fields = [{"name": f"f{at}", "type": each.schema} for at, each in enumerate(parts)]
        text = ", ".join(f'"f{at}": {each.text}' for at, each in enumerate(parts))
        value = {f"f{at}": each.expected for at, each in enumerate(parts)}
        return Example({"type": "record", "name": name, "fields": fields}, f"{{{text}}}", value)
    return draw(_several(kind, draw(examples(depth=depth - 1, names=names))))


@st.composite
def _several(draw: st.DrawFn, kind: str, inner: Example) -> Example:
    count = draw(st.integers(0, 3))
    if kind == "array":
        text = f"[{', '.join([inner.text] * count)}]"
        return Example({"type": "array", "items": inner.schema}, text, [inner.expected] * count)
    keys = draw(st.lists(TEXT, min_size=count, max_size=count, unique=True))
    text = ", ".join(f"{json.dumps(key)}: {inner.text}" for key in keys)
    schema = {"type": "map", "values": inner.schema}
    return Example(schema, f"{{{text}}}", dict.fromkeys(keys, inner.expected))


@settings(max_examples=300, deadline=None)
@given(examples())
def test_fastavro_decodes_what_was_written(example: Example) -> None:
    assert decoded(example.schema, example.text) == example.expected


@settings(max_examples=200, deadline=None)
@given(examples())
def test_json_is_written_as_it_was_read(example: Example) -> None:
    parsed = parse_json(example.text.encode())
    again = json_text(parsed)
    assert parse_json(again.encode()) == parsed
    assert json.loads(again) == json.loads(example.text)


@settings(max_examples=300, deadline=None)
@given(examples(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
))  # fmt: skip
def test_any_value_is_written_or_refused(example: Example, value: Any) -> None:
    text = json.dumps(value)
    try:
        found = decoded(example.schema, text)
    except JsonValueError:
        return
    # What is accepted is written again as the same.
    assert decoded(example.schema, text) == found


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 30), st.data())
def test_decimals_are_exact(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    unscaled = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    with localcontext(prec=100):
        value = Decimal(unscaled).scaleb(-scale)
    kinds: list[dict[str, Any]] = [
        {"type": "bytes"}, {"type": "fixed", "name": "F", "size": 16}
    ]  # fmt: skip
    for kind in kinds:
        schema = {**kind, "logicalType": "decimal", "precision": precision, "scale": scale}
        with localcontext(prec=100):
            assert decoded(schema, f'"{value:f}"') == value


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (DECIMAL, '"12.5"', Decimal("12.50")),
        (DECIMAL, '"12.5000"', Decimal("12.50")),
        (DECIMAL, '"-0.01"', Decimal("-0.01")),
        ({"type": "int", "logicalType": "date"}, '"2026-01-31"', date(2026, 1, 31)),
        ({"type": "int", "logicalType": "date"}, "0", date(1970, 1, 1)),
        ({"type": "int", "logicalType": "time-millis"}, '"23:59:59.5"', time(23, 59, 59, 500_000)),
        ({"type": "long", "logicalType": "time-micros"}, '"01:02"', time(1, 2)),
        ({"type": "long", "logicalType": "timestamp-millis"}, '"2026-01-31T12:00:00.125+01:00"',
         datetime(2026, 1, 31, 11, 0, 0, 125_000, UTC)),
        ({"type": "long", "logicalType": "timestamp-micros"}, '"1969-12-31T23:59:59.999999Z"',
         datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)),
        ({"type": "long", "logicalType": "timestamp-millis"}, "1000",
         datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, '"2026-01-31T12:00:00"',
         datetime(2026, 1, 31, 12)),  # noqa: DTZ001 a local time has no zone
        ({"type": "long", "logicalType": "timestamp-nanos"}, '"1970-01-01T00:00:01.000000001Z"',
         1_000_000_001),
        ({"type": "string", "logicalType": "uuid"}, '"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"',
         uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")),
        ({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"},
         '{"months": 1, "days": 2, "milliseconds": 3}', struct.pack("<3I", 1, 2, 3)),
    ],
)  # fmt: skip
def test_logical_types(schema: Any, value: str, expected: Any) -> None:
    assert decoded(schema, value) == expected


RECORD = {
    "type": "record", "name": "Card", "namespace": "bank",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "limit", "type": ["null", "long"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
         "default": "B"},
        {"name": "tags", "type": {"type": "array", "items": "int"}, "default": [1, 2]},
        {"name": "data", "type": "bytes", "default": "\u00ff"},
        {"name": "inner", "type": ["null", "Card"], "default": None},
    ],
}  # fmt: skip


def test_a_missing_field_has_its_default_or_null() -> None:
    found = decoded(RECORD, '{"id": "x", "inner": {"id": "y", "limit": 5, "kind": "A"}}')
    default = {"kind": "B", "tags": [1, 2], "data": b"\xff"}
    inner = default | {"id": "y", "limit": 5, "kind": "A", "inner": None}
    assert found == default | {"id": "x", "limit": None, "inner": inner}


def test_a_default_without_end_is_refused() -> None:
    fields = [{"name": "r", "type": "Loop", "default": {}}]
    assert "has no end" in refusal({"type": "record", "name": "Loop", "fields": fields}, "{}")


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        (RECORD, "{}", "id: is missing"),
        (RECORD, '{"id": "x", "inner": {"id": 1}}', "inner.id: must be a string, not a number"),
        (RECORD, '{"id": "x", "lmit": 1}', "'lmit' is not a field of the schema"),
        (RECORD, '{"id": "x", "tags": [1, "2"]}',
         "tags[1]: must be a whole number, not a string"),
        (RECORD, '{"id": "x", "kind": "C"}', "kind: 'C' is not a symbol of the schema"),
        (RECORD, '{"id": "x", "data": "\u0100"}',
         "data: bytes are characters from U+0000 to U+00FF"),
        (RECORD, "[]", "must be an object, not an array"),
        ("int", "2147483648", "more than 32 bits hold"),
        ("long", "9223372036854775808", "more than 64 bits hold"),
        ("long", "1.0", "must be a whole number, without fraction and exponent"),
        ("long", "1e3", "must be a whole number, without fraction and exponent"),
        ("double", "1e999", "more than a double holds"),
        ("float", "1e39", "more than a float holds"),
        ("boolean", "1", "must be true or false, not a number"),
        ("string", "1", "must be a string, not a number"),
        (DECIMAL, "1.5", 'must be a string with a decimal number, such as "12.50", not a number'),
        (DECIMAL, '"1.505"', "more than 2 digits after the point"),
        (DECIMAL, '"100.00"', "more than 4 digits"),
        (DECIMAL, '"1e2"', 'must be a decimal number, such as "12.50"'),
        (DECIMAL, '"NaN"', 'must be a decimal number, such as "12.50"'),
        (DECIMAL, '"\uff11"', 'must be a decimal number, such as "12.50"'),
        ({"type": "long", "logicalType": "timestamp-millis"}, '"2026-01-31T12:00:00"',
         "must be a time with an offset, such as 2026-01-31T12:00:00.5Z"),
        ({"type": "long", "logicalType": "timestamp-millis"}, '"2026-01-31T12:00:00.0001Z"',
         "is more precise than timestamp-millis"),
        ({"type": "int", "logicalType": "date"}, '"2026-02-30"', "is not a date of the calendar"),
        (["null", "string"], "1", "must be null or a string, not a number"),
    ],
)  # fmt: skip
def test_refusals_name_the_path(schema: Any, value: str, why: str) -> None:
    assert refusal(schema, value) == why


STRINGS = ["null", "string", "bytes", {"type": "map", "values": "int"}]


def test_numbers_choose_the_first_branch_that_holds_them() -> None:
    schema = ["double", "long", "int"]

    def branch(text: str) -> int:
        return encoder(schema).encode(parse_json(text.encode()))[0] // 2

    assert [branch(text) for text in ("1", "2147483648", "9223372036854775808", "1.0", "1e0")] == [
        2, 1, 0, 0, 0,
    ]  # fmt: skip


def test_an_ambiguous_value_needs_a_tag() -> None:
    assert refusal(STRINGS, '"x"') == (
        'a string needs a tag here: {"string": ...} or {"bytes": ...}'
    )
    assert decoded(STRINGS, '{"bytes": "x"}') == b"x"
    assert decoded(STRINGS, '{"string": "x"}') == "x"
    assert decoded(STRINGS, '{"map": {"string": 1}}') == {"string": 1}
    assert refusal(STRINGS, '{"a": 1}') == 'an object needs a tag here: {"map": ...}'
    assert refusal(STRINGS, '{"string": 1}') == "string: must be a string, not a number"
    assert decoded(STRINGS, "null") is None


def test_a_time_beside_a_string_is_a_number_only() -> None:
    schema = ["null", "string", {"type": "long", "logicalType": "timestamp-millis"}]
    assert decoded(schema, '"2026-01-31T12:00:00Z"') == "2026-01-31T12:00:00Z"
    assert decoded(schema, "0") == datetime(1970, 1, 1, tzinfo=UTC)
    alone = ["null", {"type": "long", "logicalType": "timestamp-millis"}]
    assert decoded(alone, '"1970-01-01T00:00:00Z"') == datetime(1970, 1, 1, tzinfo=UTC)


def test_limits() -> None:
    small = ValueLimits(bytes_max=8, string_bytes_max=4, items_max=2)
    assert refusal("string", '"\u00e9\u00e9\u00e9"', small) == "longer than 4 bytes"
    assert refusal({"type": "array", "items": "int"}, "[1,2,3]", small) == "more than 2 items"
    wide = {"type": "map", "values": "string"}
    assert "longer than 8 bytes" in refusal(wide, '{"a": "bbbb", "c": "dddd"}', small)
    assert refusal(wide, '{"aaaaa": "b"}', small) == "aaaaa: longer than 4 bytes"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": 1, "a": 2}', "an object has a key twice"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b"[" * 100_000, "nested deeper than 64"),
        (b"NaN", "NaN and Infinity are not JSON"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"1" * 65, "a number of more than 64 characters"),
        (b"{", "not JSON at character 1: Expecting property name enclosed in double quotes"),
        (b"1 2", "not JSON at character 2: Extra data"),
    ],
)
def test_texts_that_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(JsonValueError) as refused:
        parse_json(body)
    assert str(refused.value) == why
