import json
import time
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import SchemaError
from stream_scorer.registry.compatibility import MODES, incompatibilities, verdicts
from stream_scorer.registry.definition import parse_definition
from tests.support.effort import examples

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
    from avro.schema import parse as avro_parse


def record(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields)} | more


def field(kind: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind} | more


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)} | more


def faults(reader: Any, writer: Any, *, per_value: bool = False) -> list[str]:
    found = incompatibilities(
        parse_definition(json.dumps(reader), "reader"),
        parse_definition(json.dumps(writer), "writer"),
        per_value=per_value,
    )
    return [str(fault) for fault in found]


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        ("long", "int"),
        ("double", "long"),
        ("double", "float"),
        ("bytes", "string"),
        (["null", "string"], "string"),
        (["null", "long"], ["null", "int"]),
        (["string", "null"], ["null", "string"]),
        (enum("A", "B"), enum("A")),
        (enum("A", default="A"), enum("A", "B")),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}),
    ],
)
def test_what_resolves_is_compatible(reader: Any, writer: Any) -> None:
    assert faults(record(field(reader)), record(field(writer))) == []


@pytest.mark.parametrize(
    ("reader", "writer", "fault"),
    [
        ("int", "long", "field a: written as long, read as int"),
        ("string", ["null", "string"], "field a: written as null, read as string"),
        (["null", "long"], ["null", "string"],
         "field a: written as string, read as one of null, long"),
        (enum("A"), enum("A", "B"), "field a: the reader has neither symbol B nor a default"),
        ("string", enum("A"), "field a: written as enum, read as string"),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"},
         "field a[]: written as long, read as int"),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"},
         "field a{}: written as long, read as int"),
        ({"type": "fixed", "name": "F", "size": 2}, {"type": "fixed", "name": "F", "size": 3},
         "field a: written with 3 bytes, read with 2"),
        (record(field("int", "b"), name="S"), record(field("long", "b"), name="S"),
         "field a.b: written as long, read as int"),
        (["null", record(field("int", "b"), field("int", "c"), name="S")],
         ["null", record(field("int", "b"), name="S")],
         "field a.c: the reader has no default for it, and it is not written"),
        (record(name="S"), record(name="T"), "field a: written as record T, read as S"),
    ],
)  # fmt: skip
def test_a_fault_names_the_field_and_the_reason(reader: Any, writer: Any, fault: str) -> None:
    assert faults(record(field(reader)), record(field(writer))) == [fault]


def test_fields_match_by_alias_and_default() -> None:
    old = record(field("int", "old"))
    assert faults(record(field("int", "new", aliases=["old"])), old) == []
    assert faults(record(field("int", "more", default=1)), old) == []
    assert len(faults(record(field("int", "more")), old)) == 1


def test_a_recursive_schema_ends_and_keeps_its_faults() -> None:
    def tree(kind: str) -> Any:
        return record(field(kind, "leaf"), field(["null", "R"], "next"))

    assert faults(tree("long"), tree("int")) == []
    assert "field leaf: written as long, read as int" in faults(tree("int"), tree("long"))


def test_our_own_reading_judges_values_not_schemas() -> None:
    millis, micros = (
        {"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros")
    )
    readable: list[tuple[Any, Any]] = [
        ("string", ["null", "string"]),
        ("string", enum("A")),
        (enum("A"), enum("A", "B")),
        (millis, "long"),
    ]
    for reader, writer in readable:
        assert faults(record(field(reader)), record(field(writer)), per_value=True) == []
    never: list[tuple[Any, Any]] = [
        ("int", ["null", "string"]),
        (["null", "int"], ["null", "string"]),
        (enum("A"), enum("B")),
        (millis, micros),
        (["null", millis], ["null", micros]),
    ]
    for reader, writer in never:
        assert faults(record(field(reader)), record(field(writer)), per_value=True)


def test_an_enum_is_compared_once_however_often_it_is_used() -> None:
    symbols = [f"s{number}" for number in range(2_000)]
    first, *rest = [field(enum(*symbols), "f0"), *(field("E", f"f{n}") for n in range(1, 300))]
    read = record(field(enum(*symbols[1:]), "f0"), *rest)
    began = time.process_time()
    found = faults(read, record(first, *rest))
    assert len(found) == 300
    assert found[0] == "field f0: the reader has neither symbol s0 nor a default"
    assert found[299] == "field f299: the reader has neither symbol s0 nor a default"
    # Compared for each field, they take longer than half a second.
    assert time.process_time() - began < 0.3


V1 = json.dumps(record(field("int")))
V2 = json.dumps(record(field("int"), field("int", "b", default=0)))
V3 = json.dumps(record(field("long"), field("int", "b", default=0)))
V4 = json.dumps(record(field("int", "b")))


@pytest.mark.parametrize(
    ("mode", "candidate", "found"),
    [
        ("NONE", '"string"', []),
        ("BACKWARD", V3, []),
        ("FORWARD", V3, [(2, "forward")]),
        ("FULL", V3, [(2, "forward")]),
        ("FULL", V2, []),
        ("BACKWARD", V4, []),
        ("BACKWARD_TRANSITIVE", V4, [(1, "backward")]),
        ("FORWARD", V4, [(2, "forward")]),
        ("FORWARD_TRANSITIVE", V3, [(1, "forward"), (2, "forward")]),
        ("FULL_TRANSITIVE", V3, [(1, "forward"), (2, "forward")]),
    ],
)
def test_a_mode_defines_the_versions_and_the_direction(
    mode: str, candidate: str, found: list[tuple[int, str]]
) -> None:
    verdict = verdicts(candidate, [(1, V1), (2, V2)], mode)
    assert [(v.version, v.direction) for v in verdict] == found


def test_an_unknown_mode_is_refused() -> None:
    assert len(MODES) == 7
    with pytest.raises(SchemaError, match="SIDEWAYS"):
        verdicts(V1, [], "SIDEWAYS")


@st.composite
def types(draw: st.DrawFn, path: str = "") -> Any:
    primitive = st.sampled_from(["null", "int", "long", "float", "double", "string", "bytes"])
    match draw(st.sampled_from(["p", "p", "p", "array", "union", "enum", "record"])):
        case "array" if len(path) < 2:
            return {"type": "array", "items": draw(types(path=path + "x"))}
        case "union":
            return draw(st.lists(primitive, min_size=1, max_size=3, unique=True))
        case "enum" if not path:
            symbols = draw(st.lists(st.sampled_from("ABC"), min_size=1, unique=True))
            more = {"default": symbols[0]} if draw(st.booleans()) else {}
            return enum(*symbols, **more)
        case "record" if len(path) < 2:
            return record(
                *(
                    field(draw(types(path=path + n)), n)
                    for n in draw(st.lists(st.sampled_from("ab"), unique=True))
                ),
                name=f"S{path}",
            )
        case _:
            return draw(primitive)


@settings(max_examples=examples(500), deadline=None)
@given(types(), types())
def test_the_verdict_is_that_of_the_avro_library(reader: Any, writer: Any) -> None:
    checker: Any = ReaderWriterCompatibilityChecker
    theirs = checker().get_compatibility(
        avro_parse(json.dumps(reader)), avro_parse(json.dumps(writer))
    )
    ours = faults(reader, writer)
    assert (theirs.compatibility is SchemaCompatibilityType.compatible) == (not ours)
