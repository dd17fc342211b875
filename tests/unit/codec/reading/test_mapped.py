"""Users' records become our transactions, with the same result from every decoder."""

import json
import random
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading.decode import DecodedColumns, TransactionDecoder
from stream_scorer.codec.reading.mapped import (
    JsonDecoder,
    MappedDecoder,
    open_decoder,
    skipped_rows,
)
from stream_scorer.codec.reading.mapped_paths import taker_of
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import validate
from stream_scorer.core.mapping.mapping import BASE_AMOUNT, EventMapping, mapping_of, parse_events
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from tests.support.codec.codec_writers import writer_of
from tests.support.codec.mapped_records import FastavroDecoder, Schemas, case_of
from tests.support.effort import examples

PLAN = Plan()
NATIVE = reader_schema("transaction.v1")
FIELDS = {
    "transaction_id": "id", "event_time": {"path": "ts", "unit": "ms"}, "customer_id": "card",
    "amount": {"path": "sum", "unit": "major"}, "currency": {"constant": "EUR"},
}  # fmt: skip
PAYMENT = [
    ("id", "string"), ("ts", "long"), ("card", "string"), ("sum", "double"),
    ("shop", ["null", {"type": "record", "name": "Shop", "fields": [
        {"name": "id", "type": "string"}, {"name": "mcc", "type": ["null", "string"]}]}]),
]  # fmt: skip
GOOD = {"id": "T1", "ts": 1_700_000_000_000, "card": "C1", "sum": 12.34, "shop": None}


def schema_of(*fields: tuple[str, Any]) -> str:
    listed = [{"name": name, "type": kind} for name, kind in fields]
    return json.dumps({"type": "record", "name": "Payment", "fields": listed})


def mapping(fields: dict[str, Any] | None = None, **sections: Any) -> EventMapping:
    return mapping_of({"fields": FIELDS | (fields or {}), **sections})


def raw_of(values: list[bytes | None]) -> RawRecords:
    column = BytesColumn.of(values)
    at = np.arange(len(column))
    return RawRecords(
        column, BytesColumn.nulls(len(column)), None, at.astype(np.int32), at, at + 2**41
    )


def rows_of(decoded: DecodedColumns) -> dict[int, dict[str, Any]]:
    return dict(zip(decoded.rows.tolist(), decoded.records.to_pylist(), strict=True))


@pytest.mark.parametrize("decoder", [MappedDecoder, FastavroDecoder])
@pytest.mark.parametrize("letters", [512, 513])
@pytest.mark.parametrize("form", ["plain", "optional", "union", "inside"])
def test_symbols_at_the_paths_are_bounded_together(
    decoder: type[MappedDecoder], letters: int, form: str
) -> None:
    symbols = {"type": "enum", "name": "Where", "symbols": ["A", "B" * letters]}
    kinds: dict[str, Any] = {
        "plain": symbols, "optional": ["null", symbols], "union": ["null", "string", symbols],
        "inside": {"type": "record", "name": "Shop", "fields": [{"name": "at", "type": symbols}]},
    }  # fmt: skip
    text = schema_of(
        *PAYMENT[:4], ("shop", kinds[form]), ("unread", symbols | {"name": "Unread"}),
        ("kind", {"type": "enum", "name": "Kind", "symbols": ["C" * 512]}),
    )  # fmt: skip
    path = "shop.at" if form == "inside" else "shop"
    rules = mapping({"terminal_id": path, "device_id": "kind"})
    writer = writer_of(decoder(rules, Schemas(text), PLAN), 1)
    assert isinstance(writer, str) == (letters == 513)
    assert letters == 512 or "1025 bytes together, more than 1024" in writer


def test_renamed_flat_fields_give_the_native_batch() -> None:
    native = json.loads(NATIVE)
    renamed = json.loads(NATIVE)
    for entry in renamed["fields"]:
        entry["name"] = f"their_{entry['name']}"
    fields: dict[str, Any] = {entry["name"]: f"their_{entry['name']}" for entry in native["fields"]}
    fields["amount"] = {"path": fields.pop("amount_minor"), "unit": "minor"}
    source = Schemas(NATIVE, json.dumps(renamed))
    records = [
        {
            "transaction_id": f"T{number}", "event_time": 1_700_000_000_000 + number,
            "customer_id": f"C{number % 7}", "terminal_id": f"M{number % 3}",
            "amount_minor": number * 17, "currency": "EUR", "channel": "POS",
            "mcc": None if number % 2 else "5411", "country": "DE", "card_present": number % 3 == 0,
            "device_id": None,
        }
        for number in range(50)
    ]  # fmt: skip
    ours = raw_of([source.payload(1, record) for record in records] + [None])
    theirs = raw_of(
        [source.payload(2, {f"their_{k}": v for k, v in record.items()}) for record in records]
        + [None]
    )
    events, rows, rejections = TransactionDecoder(source, PLAN).decode(ours)
    mapped = open_decoder(source, replace(PLAN, events={"fields": fields}))
    found, found_rows, found_rejections = mapped.decode(theirs)
    assert found.records.equals(events.records)
    assert found.records.schema.equals(events.records.schema)
    assert found_rows.tolist() == rows.tolist() == list(range(50))
    assert found_rejections.reasons == rejections.reasons == (RejectReason.EMPTY,)
    assert validate(found, PLAN).tolist() == validate(events, PLAN).tolist()


def test_without_fields_the_native_decoder_reads() -> None:
    assert type(open_decoder(Schemas(), PLAN)) is TransactionDecoder


@settings(max_examples=examples(120))
@given(st.integers(0, 2**32))
def test_walk_fastavro_and_json_give_the_same_columns(seed: int) -> None:
    case = case_of(random.Random(seed), 12)  # noqa: S311 a test's data
    rules = mapping_of(case.events)
    source = Schemas(json.dumps(case.schema))
    payloads = [source.payload(1, record) for record, _, _ in case.records]
    walked = MappedDecoder(rules, source, PLAN).decode(payloads)
    sure = FastavroDecoder(rules, source, PLAN).decode(payloads)
    read = JsonDecoder(
        mapping_of(case.events | {"record": case.events["record"] | {"format": "json"}}), PLAN
    ).decode([text.encode() for _, text, _ in case.records])
    assert sure.records.equals(walked.records)
    assert read.records.equals(walked.records)
    for other in (sure, read):
        assert other.rows.tolist() == walked.rows.tolist()
        assert other.rejections.rows.tolist() == walked.rejections.rows.tolist()
        assert other.rejections.details == walked.rejections.details
    rows, rejected = rows_of(walked), walked.rejections.rows.tolist()
    for row, (_, _, expected) in enumerate(case.records):
        assert (row in rejected) == (expected is None)
        if isinstance(expected, dict):
            found = rows[row]
            found["event_time"] = walked.records.column("event_time")[
                walked.rows.tolist().index(row)
            ].value
            if found.get("x_time") is not None:
                found["x_time"] = walked.records.column("x_time")[
                    walked.rows.tolist().index(row)
                ].value
            assert {name: found[name] for name in expected} == expected


def test_most_random_schemas_are_walked_and_some_are_not() -> None:
    walked = 0
    for seed in range(40):
        case = case_of(random.Random(seed), 0)  # noqa: S311 a test's data
        decoder = MappedDecoder(mapping_of(case.events), Schemas(json.dumps(case.schema)), PLAN)
        walked += writer_of(decoder, 1).stored is not None
    assert 10 <= walked <= 35


def test_leaves_of_a_type_used_before_are_stored_by_the_walk() -> None:
    row = {"type": "record", "name": "Row", "fields": [
        {"name": "id", "type": "string"}, {"name": "ts", "type": "long"},
        {"name": "card", "type": "string"}, {"name": "sum", "type": "double"}]}  # fmt: skip
    source = Schemas(schema_of(("before", ["null", row]), ("op", "string"),
                               ("after", ["null", "Row"])))  # fmt: skip
    fields = {"transaction_id": "after.id", "event_time": {"path": "after.ts", "unit": "ms"},
              "customer_id": "after.card",
              "amount": {"path": "after.sum", "unit": "major"}}  # fmt: skip
    rules = mapping(fields, record={"where": "op in [c, r]"})
    decoder = MappedDecoder(rules, source, PLAN)
    assert writer_of(decoder, 1).stored is not None
    old = {"id": "OLD", "ts": 1, "card": "C0", "sum": 1.0}
    new = {"id": "NEW", "ts": 2, "card": "C1", "sum": 2.5}
    payloads = [
        source.payload(1, {"before": old, "op": "c", "after": new}),
        source.payload(1, {"before": old, "op": "d", "after": None}),
        None,
        source.payload(1, {"before": None, "op": "r", "after": None}),
        b"",
        source.payload(1, {"before": None, "op": "r", "after": old}),
    ]
    decoded = decoder.decode(payloads)
    assert decoded.records.column("transaction_id").to_pylist() == ["NEW", "OLD"]
    assert decoded.records.column("amount_minor").to_pylist() == [250, 100]
    assert dict(zip(decoded.rejections.rows.tolist(), decoded.rejections.details, strict=True)) == {
        3: "after.id: null, and transaction_id takes none",
        4: "no value",
    }
    assert skipped_rows(6, decoded.rows, decoded.rejections).tolist() == [1, 2]


OTHER_KINDS: list[tuple[Any, Any]] = [
    ("double", 0.5),
    ("float", 0.5),
    ("bytes", b""),
    ({"type": "fixed", "name": "Fixed", "size": 2}, b"ab"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("0.50")),
    ({"type": "array", "items": "string"}, []),
    ({"type": "map", "values": "long"}, {"a": 1}),
    ({"type": "record", "name": "Empty", "fields": []}, {}),
    ({"type": "record", "name": "Full", "fields": [{"name": "x", "type": "string"}]}, {"x": ""}),
]


@pytest.mark.parametrize("decoder", [MappedDecoder, FastavroDecoder])
@pytest.mark.parametrize(("kind", "value"), OTHER_KINDS)
def test_where_compares_values_of_each_type_with_null(
    decoder: type[MappedDecoder], kind: Any, value: Any
) -> None:
    inside = {"type": "record", "name": "Inside", "fields": [{"name": "x", "type": kind}]}
    source = Schemas(schema_of(*PAYMENT, ("x", ["null", kind])),
                     schema_of(*PAYMENT, ("x", kind)),
                     schema_of(*PAYMENT, ("a", ["null", inside])))  # fmt: skip
    payloads = [
        source.payload(1, GOOD | {"x": value}),
        source.payload(1, GOOD | {"x": None}),
        source.payload(2, GOOD | {"x": value}),
    ]
    deep = [
        source.payload(3, GOOD | {"a": {"x": value}}),
        source.payload(3, GOOD | {"a": None}),
    ]
    for operator, rows in (("!=", [0, 2]), ("==", [1])):
        found = decoder(mapping(record={"where": f"x {operator} null"}), source, PLAN)
        decoded = found.decode(payloads)
        assert (decoded.rows.tolist(), decoded.rejections.details) == (rows, ())
        found = decoder(mapping(record={"where": f"a.x {operator} null"}), source, PLAN)
        decoded = found.decode(deep)
        assert (decoded.rows.tolist(), decoded.rejections.details) == (rows[:1], ())


@pytest.mark.parametrize(("kind", "value"), OTHER_KINDS)
def test_where_refuses_to_compare_other_types_with_a_value(kind: Any, value: Any) -> None:
    source = Schemas(schema_of(*PAYMENT, ("x", ["null", kind])))
    payload = source.payload(1, GOOD | {"x": value})
    for where in ("x == 0.5", "x not in [null, a]"):
        decoder = MappedDecoder(mapping(record={"where": where}), source, PLAN)
        (detail,) = decoder.decode([payload]).rejections.details
        assert detail.startswith("schema id 1: record.where: x: is a")
        assert detail.endswith("; where can only compare it with null")


def test_the_walk_stores_what_is_inside_of_a_compared_record() -> None:
    row = {"type": "record", "name": "Row", "fields": [
        {"name": "id", "type": "string"}, {"name": "ts", "type": "long"},
        {"name": "tags", "type": ["null", {"type": "array", "items": "string"}]},
        {"name": "card", "type": "string"}, {"name": "sum", "type": "double"}]}  # fmt: skip
    source = Schemas(schema_of(("before", ["null", row]), ("after", ["null", "Row"])))
    fields = {"transaction_id": "after.id", "event_time": {"path": "after.ts", "unit": "ms"},
              "customer_id": "after.card",
              "amount": {"path": "after.sum", "unit": "major"}}  # fmt: skip
    where = "after != null and after.tags == null and before != null"
    new = {"id": "NEW", "ts": 2, "tags": None, "card": "C1", "sum": 2.5}
    records = [
        {"before": new, "after": new},
        {"before": new, "after": None},
        {"before": None, "after": new},
        {"before": new, "after": new | {"tags": []}},
        {"before": new | {"tags": ["x"]}, "after": new | {"id": "OTHER"}},
    ]
    payloads = [source.payload(1, record) for record in records]
    rules = mapping(fields, record={"where": where})
    walked = MappedDecoder(rules, source, PLAN)
    assert writer_of(walked, 1).stored is not None
    decoded = walked.decode(payloads)
    assert decoded.rows.tolist() == [0, 4]
    assert decoded.records.column("transaction_id").to_pylist() == ["NEW", "OTHER"]
    assert decoded.rejections.details == ()
    sure = FastavroDecoder(rules, source, PLAN).decode(payloads)
    read = JsonDecoder(mapping(fields, record={"where": where, "format": "json"}), PLAN).decode(
        [json.dumps(record).encode() for record in records]
    )
    for other in (sure, read):
        assert other.rows.tolist() == [0, 4]
        assert other.records.equals(decoded.records)


def test_where_compares_what_several_branches_have() -> None:
    row = {"type": "record", "name": "Row", "fields": [{"name": "x", "type": "string"}]}
    other = {"type": "record", "name": "Other", "fields": [{"name": "y", "type": "long"}]}
    kinds = ["null", "double", "string", row, other]
    source = Schemas(
        schema_of(*PAYMENT, ("u", kinds)), schema_of(*PAYMENT, ("u", kinds[:1] + kinds[3:]))
    )
    values = [None, 1.0, "1.0", ("Row", {"x": "1.0"}), ("Other", {"y": 1})]
    payloads = [source.payload(1, GOOD | {"u": value}) for value in values]
    payloads += [source.payload(2, GOOD | {"u": value}) for value in (None, *values[3:])]
    for where, rows in (
        ("u == null", [0, 5]), ("u != null", [1, 2, 3, 4, 6, 7]), ('u == "1.0"', [2]),
        ('u != "1.0"', [0, 1, 3, 4]),
    ):  # fmt: skip
        decoded = MappedDecoder(mapping(record={"where": where}), source, PLAN).decode(payloads)
        assert decoded.rows.tolist() == rows, where


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("x != null", [0, 1, 2, 3, 4, 5, 6, 7]), ("x == null", [8, 9]), ("x == 0", [0, 4]),
        ('x == "0.0"', [1]), ("x == true", [3]), ("x in [null, a]", [5, 8, 9]),
        ("x not in [0, a]", [1, 2, 3, 6, 7, 8, 9]), ('x == ""', []), ("x.y == null", [8, 9]),
    ],
)  # fmt: skip
def test_where_compares_json_values_as_they_are_written(where: str, rows: list[int]) -> None:
    values = ["0", "0.0", "1e3", "true", '"0"', '"a"', "[0]", '{"a": 0}', "null"]
    good = json.dumps(GOOD)[:-1]
    records = [f'{good}, "x": {value}}}'.encode() for value in values] + [f"{good}}}".encode()]
    if where.startswith("x.y"):
        records[7] = f'{good}, "x": {{"y": 0}}}}'.encode()
    rules = mapping(record={"where": where, "format": "json"})
    decoded = JsonDecoder(rules, PLAN).decode(records)
    assert (decoded.rows.tolist(), decoded.rejections.details) == (rows, ())


def test_where_distinguishes_quoted_null_from_null() -> None:
    records = [json.dumps(GOOD | {"op": value}).encode() for value in ("null", None, "c")]
    for where, rows in (
        ('op == "null"', [0]),
        ("op == null", [1]),
        ('op in [null, "null"]', [0, 1]),
    ):
        decoder = JsonDecoder(mapping(record={"where": where, "format": "json"}), PLAN)
        assert decoder.decode(records).rows.tolist() == rows, where


def test_records_of_several_branches_are_read_by_their_branch() -> None:
    def shop(name: str, scale: int) -> dict[str, Any]:
        sum_ = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}
        return {"type": "record", "name": name, "fields": [{"name": "sum", "type": sum_}]}

    source = Schemas(schema_of(
        ("id", ["string", "long"]), ("ts", "long"), ("card", "string"),
        ("pay", [shop("A", 2), shop("B", 4), "null"]),
    ))  # fmt: skip
    decoder = MappedDecoder(mapping({"amount": {"path": "pay.sum", "unit": "major"}}), source, PLAN)
    base = {"ts": 5, "card": "C"}
    payloads = [
        source.payload(1, {"id": "a", "pay": ("A", {"sum": Decimal("1.25")})} | base),
        source.payload(1, {"id": 7, "pay": ("B", {"sum": Decimal("1.2500")})} | base),
        source.payload(1, {"id": "c", "pay": None} | base),
        source.payload(1, {"id": "d", "pay": ("B", {"sum": Decimal("1.2501")})} | base),
    ]
    decoded = decoder.decode(payloads)
    assert decoded.records.column("transaction_id").to_pylist() == ["a", "7"]
    assert decoded.records.column("amount_minor").to_pylist() == [125, 125]
    assert decoded.rejections.details == (
        "pay.sum: null, and amount_minor takes none",
        "pay.sum: more digits than the currency's minor unit has",
    )


@pytest.mark.parametrize("other", ["record", "error"])
def test_an_error_type_is_read_as_a_record(other: str) -> None:
    def payment(kind: str, name: str, id_kind: str) -> dict[str, Any]:
        return json.loads(schema_of(("id", id_kind), *PAYMENT[1:4])) | {"type": kind, "name": name}

    source = Schemas(
        json.dumps([payment("record", "A", "long"), payment(other, "B", "string")]),
        json.dumps(payment("error", "C", "string")),
    )
    decoder = MappedDecoder(mapping(), source, PLAN)
    base = {key: value for key, value in GOOD.items() if key != "shop"}
    # More records than are quarantined of one batch.
    payloads = [source.payload(1, ("B", base | {"id": f"T{number}"})) for number in range(20)]
    payloads += [source.payload(1, ("A", base | {"id": 7})), source.payload(2, base)]
    decoded = decoder.decode(payloads)
    assert decoded.rejections.details == ()
    ids = decoded.records.column("transaction_id").to_pylist()
    assert sorted(ids) == sorted([f"T{number}" for number in range(20)] + ["7", "T1"])


@pytest.mark.parametrize("kind", ["long", "string", "bytes", "boolean"])
def test_a_value_of_another_type_than_its_schema_is_refused(kind: str) -> None:
    take = taker_of(parse_definition(json.dumps(kind), "test"), ())
    with pytest.raises(TypeError, match="float, not"):
        take(1.5)


@pytest.mark.parametrize(
    ("record", "fields", "reason", "detail"),
    [
        ({"sum": float("nan")}, {}, "MAPPING", "sum: NaN or infinite"),
        ({"sum": float("inf")}, {}, "MAPPING", "sum: NaN or infinite"),
        ({"sum": -0.0}, {}, "MAPPING", "sum: negative zero"),
        ({"sum": 0.1 + 0.2}, {}, "MAPPING", "sum: more digits than the currency's minor unit has"),
        ({"sum": 1e300}, {}, "AMOUNT_TOO_LARGE", "sum: more than 64 bits hold"),
        ({"sum": 12.345}, {}, "MAPPING", "sum: more digits than the currency's minor unit has"),
        ({"ts": 2**62}, {"event_time": {"path": "ts", "unit": "s"}}, "TIME_INVALID",
         "ts: more than 64 bits of milliseconds"),
        ({"card": "not a time"}, {"event_time": {"path": "card", "unit": "iso8601"}},
         "TIME_INVALID", "card: not a time in ISO 8601"),
        ({"card": "2026-01-01T00:00:00"}, {"event_time": {"path": "card", "unit": "iso8601"}},
         "TIME_INVALID", "card: a time without a UTC offset"),
        ({"card": "USDT"}, {"currency": {"path": "card"}}, "CURRENCY",
         "sum: the plan does not list this currency"),
        ({"card": "XYZ"}, {"channel": {"path": "card", "table": {"EUR": "POS"}}}, "MAPPING",
         "card: the table for channel does not have this value"),
        ({"u": "5"}, {"transaction_id": "shop.id"}, "MAPPING",
         "shop.id: null, and transaction_id takes none"),
        ({"card": "12,50"}, {"amount": {"path": "card", "unit": "major"}}, "MAPPING",
         "card: not a decimal number of at most 64 characters"),
        ({"card": "9" * 65}, {"amount": {"path": "card", "unit": "major"}}, "MAPPING",
         "card: not a decimal number of at most 64 characters"),
        ({"card": "-0.00"}, {"amount": {"path": "card", "unit": "major"}}, "MAPPING",
         "card: negative zero"),
        ({"card": "92233720368547758.08"}, {"amount": {"path": "card", "unit": "major"}},
         "AMOUNT_TOO_LARGE", "card: more than 64 bits hold"),
        ({"sum": 2.5}, {"amount": {"path": "sum", "unit": "minor"}}, "MAPPING",
         "sum: more digits than the currency's minor unit has"),
    ],
)  # fmt: skip
def test_a_hostile_value_rejects_its_record_alone(
    record: dict[str, Any], fields: dict[str, Any], reason: str, detail: str
) -> None:
    # The first record is valid under every mapping.
    good: dict[str, Any] = {"card": "EUR"} if "channel" in fields or "currency" in fields else {}
    if fields.get("event_time", {}).get("path") == "card":
        good = {"card": "2026-01-01T00:00:00Z"}
    if fields.get("amount", {}).get("path") == "card":
        good = {"card": "1.00"}
    if fields.get("amount", {}).get("unit") == "minor":
        good = {"sum": 12.0}
    if fields.get("transaction_id") == "shop.id":
        good = {"shop": {"id": "S", "mcc": None}}
    source = Schemas(schema_of(*PAYMENT, ("u", ["null", "string", "long"])))
    decoder = MappedDecoder(mapping(fields), source, PLAN)
    decoded = decoder.decode(
        [
            source.payload(1, GOOD | {"u": None} | good),
            source.payload(1, GOOD | {"u": None} | good | {"shop": None} | record),
        ]
    )
    assert decoded.rows.tolist() == [0]
    assert decoded.rejections.reasons == (reason,)
    assert decoded.rejections.details == (detail,)


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ({"type": "array", "items": "string"}, {"transaction_id": "x"}, "x: is an array"),
        ({"type": "array", "items": "string"}, {"transaction_id": "x.y"}, "through an array"),
        ({"type": "map", "values": "string"}, {"transaction_id": "x.y"}, "through a map"),
        ({"type": "record", "name": "X", "fields": []}, {"transaction_id": "x"}, "x: is a record"),
        ("string", {"transaction_id": "x.y"}, "x: is a string, and has no field 'y'"),
        ("string", {"transaction_id": "z"}, "fields.transaction_id: z: the writer schema has no"),
        ("double", {"transaction_id": "x"}, "x: is a double, which cannot become a string"),
        ("bytes", {"amount": {"path": "x", "unit": "minor"}}, "x: is a bytes, which cannot"),
        ("boolean", {"amount": {"path": "x", "unit": "minor"}}, "x: is a boolean, which cannot"),
        ("long", {"event_time": "x"}, "x: has no logical type of a time, so it needs a unit"),
        ({"type": "long", "logicalType": "timestamp-micros"},
         {"event_time": {"path": "x", "unit": "ms"}}, "x: counts us, and unit is ms"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, {"event_time": "x"},
         "x: is a local time"),
        ({"type": "int", "logicalType": "date"}, {"event_time": "x"}, "x: is a date alone"),
        ("string", {"card_present": "x"}, "x: is a text, which cannot become a boolean"),
        (["float", "double"], {"amount": {"path": "x", "unit": "major"}}, "do not tell apart"),
        # A map with the key y would otherwise be read as the record.
        ([{"type": "record", "name": "X", "fields": [{"name": "y", "type": "string"}]},
          {"type": "map", "values": "string"}], {"mcc": "x.y"}, "do not tell apart"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 50},
         {"amount": {"path": "x", "unit": "major"}}, "is a decimal of scale 50"),
        ("null", {"transaction_id": "x"}, "x: is always null"),
    ],
)  # fmt: skip
def test_a_schema_that_does_not_fit_is_refused_with_key_and_path(
    kind: Any, fields: dict[str, Any], why: str
) -> None:
    source = Schemas(schema_of(*PAYMENT, ("x", kind)))
    decoder = MappedDecoder(mapping(fields), source, PLAN)
    decoded = decoder.decode([b"\0\0\0\0\1"])
    assert decoded.rejections.reasons == (RejectReason.INCOMPATIBLE_SCHEMA,)
    assert why in decoded.rejections.details[0]
    assert f"fields.{next(iter(fields))}: " in decoded.rejections.details[0]


def test_an_optional_path_may_be_missing_and_another_may_not() -> None:
    source = Schemas(schema_of(*PAYMENT))
    rules = mapping(
        {"mcc": {"path": "shop.code", "optional": True},
         "terminal_id": {"path": "shop.terminal", "optional": True, "default": ""}}
    )  # fmt: skip
    decoded = MappedDecoder(rules, source, PLAN).decode([source.payload(1, GOOD)])
    assert decoded.records.column("mcc").to_pylist() == [None]
    assert decoded.records.column("terminal_id").to_pylist() == [""]


def json_rejection(body: bytes | str) -> tuple[str, str]:
    text = body.encode() if isinstance(body, str) else body
    decoder = JsonDecoder(mapping(record={"format": "json"}), Plan(record_bytes_max=10_000))
    good = json.dumps(GOOD).encode()
    decoded = decoder.decode([good, text, b"\0\0\0\0\7" + good])
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.rejections.rows.tolist() == [1]
    return decoded.rejections.reasons[0], decoded.rejections.details[0]


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (b"", "EMPTY", "no value"),
        (b"\0\0\0", "FRAMING", "no magic byte"),
        (b'{"id": "\xff"}', "MALFORMED", "not UTF-8 at byte 8"),
        ("[1]", "MALFORMED", "not a JSON object"),
        ("{", "MALFORMED", "not JSON at character 1"),
        ('{"id": 1} x', "MALFORMED", "not JSON at character 10"),
        ('{"id": "a", "id": "b"}', "MALFORMED", "a key twice"),
        ('{"a": {"b": 1, "b": 1}}', "MALFORMED", "a key twice"),
        ('{"a": NaN}', "MALFORMED", "NaN and Infinity"),
        ('{"a":' + "[" * 70 + "]" * 70 + "}", "TOO_LARGE", "nested deeper"),
        (" " * 10_001, "TOO_LARGE", "record_bytes_max"),
        (json.dumps(GOOD | {"id": "x" * 2_000}), "TOO_LARGE", "id: longer than string_bytes_max"),
        (json.dumps(GOOD | {"id": "\ud800"}), "MALFORMED", "id: half a surrogate"),
        (json.dumps(GOOD | {"id": {"a": 1}}), "MAPPING", "id: a value of this kind"),
        (json.dumps(GOOD | {"id": [1]}), "MAPPING", "id: a value of this kind"),
        (json.dumps(GOOD | {"id": True}), "MAPPING", "id: a value of this kind"),
        (json.dumps(GOOD | {"id": 1.5}), "MAPPING", "id: not a whole number"),
        (json.dumps(GOOD | {"id": 2**63}), "MAPPING", "id: not a whole number"),
        (json.dumps(GOOD | {"sum": 10**70}), "TOO_LARGE", "sum: a number of more than 64"),
        ('{"sum": 1' + "0" * 5_000 + "}", "TOO_LARGE", "sum: a number of more than 64"),
        (json.dumps(GOOD | {"sum": "12"}).replace('"12"', "1e999"), "AMOUNT_TOO_LARGE", "sum: "),
        (json.dumps(GOOD | {"sum": "12"}).replace('"12"', "-0"), "MAPPING", "sum: negative zero"),
        (json.dumps(GOOD | {"sum": "12"}).replace('"12"', "1e-9"), "MAPPING", "sum: more digits"),
        (json.dumps(GOOD | {"sum": None}), "MAPPING", "sum: null, and amount_minor takes none"),
        ("{}", "MAPPING", "null, and"),
    ],
)
def test_a_hostile_json_record_is_rejected_alone(
    body: bytes | str, reason: str, detail: str
) -> None:
    found = json_rejection(body)
    assert found[0] == reason
    assert detail in found[1]


def test_amounts_of_the_base_currency_follow_the_rates() -> None:
    events = parse_events("""
        [rates]
        base = "EUR"
        [rates.JPY]
        2026-01-01 = "1/160"
    """)
    plan = Plan(currencies={"EUR": 2, "JPY": 0}, events=events)
    source = Schemas(NATIVE)
    day = 1_767_225_600_000  # 2026-01-01
    rows = [("EUR", 150, day), ("JPY", 1_000, day), ("JPY", 1_000, day - 1), ("USD", 1, day)]
    records = [
        {"transaction_id": "T", "event_time": time, "customer_id": "C", "terminal_id": "M",
         "amount_minor": amount, "currency": code}
        for code, amount, time in rows
    ]  # fmt: skip
    values: list[bytes | None] = [source.payload(1, record) for record in records]
    decoder = open_decoder(source, plan)
    found, kept, rejections = decoder.decode(raw_of([b"", *values]))
    assert found.records.column(BASE_AMOUNT).to_pylist() == [150, 625]
    assert found.records.column("amount_minor").to_pylist() == [150, 1_000]
    assert kept.tolist() == [1, 2]
    assert rejections.rows.tolist() == [0, 3, 4]
    assert rejections.reasons[1:] == (RejectReason.CURRENCY, RejectReason.CURRENCY)
    assert rejections.details[1:] == (
        "the event is before the first rate of its currency",
        "the rates do not list this currency",
    )
    assert found.timestamp.tolist() == [2**41 + 1, 2**41 + 2]
    assert validate(found, plan).tolist() == [0, 0]


@pytest.mark.parametrize("decoder", [MappedDecoder, FastavroDecoder])
def test_a_field_that_one_of_several_records_has_may_be_null(
    decoder: type[MappedDecoder],
) -> None:
    card = {"type": "record", "name": "Card", "fields": [{"name": "x", "type": "string"}]}
    transfer = {"type": "record", "name": "Transfer", "fields": []}
    source = Schemas(schema_of(*PAYMENT, ("u", ["null", transfer, card])))
    values = [("Card", {"x": "a"}), ("Transfer", {}), None]
    payloads = [source.payload(1, GOOD | {"u": value}) for value in values]
    decoded = decoder(mapping({"mcc": "u.x"}), source, PLAN).decode(payloads)
    assert decoded.records.column("mcc").to_pylist() == ["a", None, None]
    decoded = decoder(mapping(record={"where": "u.x == null"}), source, PLAN).decode(payloads)
    assert decoded.rows.tolist() == [1, 2]
    decoded = decoder(mapping({"customer_id": "u.x"}), source, PLAN).decode(payloads)
    assert decoded.rejections.details == ("u.x: null, and customer_id takes none",) * 2


def test_a_rejection_by_the_rates_names_the_path() -> None:
    rates = {"base": "EUR", "USD": {"2026-01-01": "1000000"}}
    plan = Plan(currencies={"EUR": 2, "USD": 2}, events={"rates": rates})
    fields: dict[str, Any] = {"currency": "coin"}
    rules = mapping(fields, rates=rates, record={"format": "json"})
    decoder = JsonDecoder(rules, plan)
    day = 1_767_225_600_000  # 2026-01-01
    rows = [("EUR", -1, 1), ("USD", day, 1), ("USD", day - 1, 1), ("USD", day, 10**7),
            ("JPY", day, 1)]  # fmt: skip
    decoded = decoder.decode(
        [json.dumps(GOOD | {"coin": c, "ts": ts, "sum": sum_}).encode() for c, ts, sum_ in rows]
    )
    assert decoded.rows.tolist() == [0, 1]
    assert decoded.rejections.details == (
        "ts: the event is before the first rate of its currency",
        "sum: more than 64 bits in the base currency",
        "sum: the plan does not list this currency",
    )
    assert decoded.records.column(BASE_AMOUNT).to_pylist() == [100, 100_000_000]


def test_without_a_terminal_the_id_is_empty_and_valid() -> None:
    events = {"fields": FIELDS}
    plan = Plan(events=events)
    source = Schemas(schema_of(*PAYMENT))
    found, _, _ = open_decoder(source, plan).decode(raw_of([source.payload(1, GOOD)]))
    assert found.records.column("terminal_id").to_pylist() == [""]
    assert validate(found, plan).tolist() == [0]
    assert validate(found, Plan()).tolist() == [1]


def test_a_batch_without_records_has_the_columns() -> None:
    rules = mapping(extra={"x": {"path": "sum", "type": "double"}})
    decoded = MappedDecoder(rules, Schemas(), PLAN).decode([])
    assert decoded.records.schema.field("x") == pa.field("x", pa.float64())
    assert decoded.records.num_rows == 0


@pytest.mark.parametrize("form", ["json", "avro"])
def test_a_mapped_record_with_a_long_key_is_too_large(form: str) -> None:
    plan = Plan(record_bytes_max=1 << 30, string_bytes_max=1 << 30)
    events: dict[str, Any] = {"fields": FIELDS}
    values: list[bytes | None] = [json.dumps(GOOD).encode()] * 3
    source = Schemas(schema_of(*PAYMENT))
    if form == "json":
        events |= {"record": {"format": "json"}}
    else:
        values = [source.payload(1, GOOD)] * 3
    raw = replace(raw_of(values), keys=BytesColumn.of([b"k", bytes(900_000), b"k"]))
    found, rows, rejections = open_decoder(source, replace(plan, events=events)).decode(raw)
    assert (found.offset.tolist(), rows.tolist()) == ([0, 2], [0, 2])
    assert rejections.rows.tolist() == [1]
    assert rejections.reasons == (RejectReason.TOO_LARGE,)


def test_unions_of_records_on_the_way_do_not_multiply() -> None:
    # 20 records at each of five names: 20^5 ways to the value, and 100 record types.
    kinds: list[Any] = [
        {"type": "record", "name": f"L{number}", "fields": [{"name": "value", "type": "string"}]}
        for number in range(20)
    ]
    fields: list[tuple[str, Any]] = []
    for level in range(4):
        fields.append((f"first{level}", ["null", *kinds]))
        names = [kind["name"] for kind in kinds]
        kinds = [
            {"type": "record", "name": f"L{level}_{number}", "fields": [
                {"name": f"n{level}", "type": names}]}
            for number in range(20)
        ]  # fmt: skip
    text = schema_of(*PAYMENT[:4], *fields, ("top", kinds))
    path = "top.n3.n2.n1.n0.value"
    source = Schemas(text)
    begun = time.thread_time()
    decoder = MappedDecoder(mapping({"device_id": path}), source, PLAN)
    assert not isinstance(writer_of(decoder, 1), str)
    assert time.thread_time() - begun < 2.0
    record = dict(GOOD) | {f"first{level}": None for level in range(4)}
    inner: Any = ("L7", {"value": "found"})
    for level in range(4):
        inner = (f"L{level}_{level}", {f"n{level}": inner})
    del record["shop"]
    decoded = decoder.decode([source.payload(1, record | {"top": inner})])
    assert rows_of(decoded)[0]["device_id"] == "found"


@pytest.mark.parametrize("branches", [128, 129])
@pytest.mark.parametrize("several", [["string", "long"], "string"])
def test_a_wide_union_is_refused_where_fastavro_decodes(branches: int, several: Any) -> None:
    wide = ["null", *({"type": "fixed", "name": f"F{n}", "size": 1} for n in range(1, branches))]
    text = schema_of(*PAYMENT[:4], ("shop", several), ("unread", {"type": "array", "items": wide}))
    writer = writer_of(MappedDecoder(mapping({"device_id": "shop"}), Schemas(text), PLAN), 1)
    refused = several != "string" and branches == 129
    assert isinstance(writer, str) == refused
    assert not refused or "a union of 129 types, where at most 128 can be decoded" in writer
