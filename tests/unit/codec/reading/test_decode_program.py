import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading.decode_program import Framed, check, compile_walk
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.registry.definition import parse_definition
from tests.support.effort import examples

PLAN = Plan(string_bytes_max=8, array_items_max=4)
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [{"name": "below", "type": {"type": "array", "items": "Tree"}}],
}


def record(kind: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]})


def refusal(schema: str, body: bytes) -> tuple[RejectReason, str] | None:
    program = compile_walk(parse_definition(schema, "schema"))
    # Bytes before and after the record, which a walk outside of it would read.
    data = np.frombuffer(b"\x02\x02" + b"\0\0\0\0\1" + body + b"\x02\x02", np.uint8)
    framed = Framed(data, np.array([0, 2, len(data) - 2, len(data)]))
    walked = check(framed, np.array([1]), program, PLAN)
    if not walked.status[0]:
        return None
    return program.verdict(int(walked.status[0]), int(walked.step[0]), int(walked.position[0]))


@pytest.mark.parametrize(
    ("kind", "body", "reason", "text"),
    [
        ("long", b"\x80\x00", "MALFORMED", "a: number out of range or not in its shortest form"),
        ("long", b"\xff" * 9 + b"\x03", "MALFORMED", "number out of range"),
        ("long", b"\xff" * 10 + b"\x01", "MALFORMED", "number out of range"),
        ("long", b"\xff", "MALFORMED", "ends inside"),
        ("long", b"", "MALFORMED", "a: the record ends inside a value at byte 5"),
        ("int", b"\x80\x80\x80\x80\x10", "MALFORMED", "number out of range"),
        ("int", b"\x00\x00", "TRAILING_BYTES", "bytes are left after the record, byte 6"),
        ("string", b"\x01", "MALFORMED", "negative length"),
        ("string", b"\x04a", "MALFORMED", "ends inside"),
        ("string", b"\x12" + b"a" * 9, "TOO_LARGE", "longer than string_bytes_max"),
        ("bytes", b"\x12" + b"a" * 9, "TOO_LARGE", "longer than string_bytes_max"),
        ("string", b"\x02\xff", "MALFORMED", "not UTF-8"),
        ("string", b"\x06\xed\xa0\x80", "MALFORMED", "not UTF-8"),
        ("string", b"\x04\xc0\x80", "MALFORMED", "not UTF-8"),
        ("string", b"\x04\xe2\x82", "MALFORMED", "not UTF-8"),
        ("string", b"\x08\xf4\x90\x80\x80", "MALFORMED", "not UTF-8"),
        ("boolean", b"\x02", "MALFORMED", "neither 0 nor 1"),
        ("boolean", b"", "MALFORMED", "ends inside"),
        ("double", b"\0" * 7, "MALFORMED", "ends inside"),
        (["null", "long"], b"\x04", "MALFORMED", "no such union branch"),
        (["null", "long"], b"\x01", "MALFORMED", "no such union branch"),
        (["null", "long", "string"], b"\x06", "MALFORMED", "no such union branch"),
        (["null", "long", "string"], b"\x04\x02", "MALFORMED", "ends inside"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "MALFORMED", "enum symbol"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "MALFORMED", "enum symbol"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab", "MALFORMED", "ends inside"),
        ({"type": "array", "items": "long"}, b"\x0a" + b"\x02" * 5 + b"\0", "TOO_LARGE", "items"),
        ({"type": "array", "items": "null"}, b"\x06\x04\0", "TOO_LARGE", "items"),
        ({"type": "array", "items": "long"}, b"\x03\x02\x02\x02\0", "MALFORMED", "block size"),
        ({"type": "array", "items": "long"}, b"\x01\x7f\x02\0", "MALFORMED", "block size"),
        ({"type": "array", "items": "long"}, b"\x02\x02", "MALFORMED", "ends inside"),
        ({"type": "array", "items": "long"}, b"\xff" * 9 + b"\x01\x00", "TOO_LARGE", "items"),
        ({"type": "map", "values": "long"}, b"\x02\x02\xff\x02\0", "MALFORMED", "a{key}: text"),
        ({"type": "map", "values": "long"}, b"\x02\x02k\0\x01", "MALFORMED", "ends inside"),
        (TREE, b"\x02" * 70 + b"\0" * 71, "TOO_LARGE", "nested deeper"),
    ],
)
def test_invalid_bytes_are_refused_with_reason_and_place(
    kind: Any, body: bytes, reason: str, text: str
) -> None:
    found = refusal(record(kind), body)
    assert found is not None
    assert found[0] == reason
    assert text in found[1]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("long", b"\xff" * 9 + b"\x01"),
        ("int", b"\xff\xff\xff\xff\x0f"),
        ("string", b"\x10" + "€𝄞a".encode()),
        ({"type": "array", "items": "long"}, b"\x01\x02\x02\0"),
        ({"type": "array", "items": "long"}, b"\x02\x02\x04\x02\x02\0"),
        ({"type": "array", "items": "null"}, b"\x08\0"),
        (TREE, b"\x02" * 20 + b"\0" * 21),
    ],
)
def test_valid_bytes_pass(kind: Any, body: bytes) -> None:
    assert refusal(record(kind), body) is None


PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


@st.composite
def kinds(draw: st.DrawFn, depth: int = 0) -> Any:
    """Draw an Avro type; named types get their names later."""
    choices = ["primitive"] * 3 + ([] if depth > 2 else ["array", "map", "record", "union", "enum"])
    match draw(st.sampled_from(choices)):
        case "array":
            return {"type": "array", "items": draw(kinds(depth=depth + 1))}
        case "map":
            return {"type": "map", "values": draw(kinds(depth=depth + 1))}
        case "record":
            parts = draw(st.lists(kinds(depth=depth + 1), max_size=4))
            return {
                "type": "record",
                "fields": [{"name": f"f{i}", "type": part} for i, part in enumerate(parts)],
            }
        case "union":
            branches = draw(st.lists(st.sampled_from(PRIMITIVES), min_size=1, unique=True))
            return branches[:4]
        case "enum":
            return {"type": "enum", "symbols": ["A", "B", "C"]}
        case _:
            return draw(st.sampled_from(PRIMITIVES))


def name(kind: Any, numbers: list[int]) -> Any:
    if isinstance(kind, dict):
        if "fields" in kind or "symbols" in kind:
            numbers.append(0)
            kind = kind | {"name": f"N{len(numbers)}"}
        return {k: name(v, numbers) for k, v in kind.items()}
    if isinstance(kind, list):
        return [name(part, numbers) for part in kind]
    return kind


def values(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, list):
        return st.one_of([st.tuples(st.just(k), values(k)) for k in kind])
    if isinstance(kind, dict):
        match kind["type"]:
            case "array":
                return st.lists(values(kind["items"]), max_size=4)
            case "map":
                return st.dictionaries(
                    st.text("kü", max_size=2), values(kind["values"]), max_size=4
                )
            case "record":
                return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in kind["fields"]})
            case _:
                return st.sampled_from(kind["symbols"])
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32, allow_nan=False),
        "double": st.floats(allow_nan=False),
        "bytes": st.binary(max_size=8),
        "string": st.text("aé€𝄞", max_size=2),
    }[kind]


@settings(max_examples=examples(400), deadline=None)
@given(st.data())
def test_any_schema_decodes_exactly_what_fastavro_can_read(
    data: st.DataObject,
) -> None:
    schema = name({"type": "record", "fields": [{"name": "a", "type": data.draw(kinds())}]}, [])
    parsed = fastavro.parse_schema(schema)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parsed, data.draw(values(schema)))
    sound = body.getvalue()
    assert refusal(json.dumps(schema), sound) is None
    if not sound:
        return
    at = data.draw(st.integers(0, len(sound) - 1))
    changed = sound[:at] + data.draw(st.binary(max_size=3)) + sound[at + 1 :]
    if refusal(json.dumps(schema), changed) is None:
        stream = io.BytesIO(changed)
        fastavro.schemaless_reader(stream, parsed, None)
        assert stream.tell() == len(changed)
    assert refusal(json.dumps(schema), sound[:at]) is not None
    assert refusal(json.dumps(schema), sound + b"\0") is not None
