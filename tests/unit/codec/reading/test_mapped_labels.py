"""A user's own labels become our labels, with the same result from every decoder."""

import json
import random
from typing import Any

import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder, DecodedColumns
from stream_scorer.codec.reading.mapped import (
    JsonDecoder,
    MappedDecoder,
    open_label_decoder,
    skipped_rows,
)
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.mapping.mapping import EventMapping, mapping_of
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.sources import reader_schema
from tests.support.codec.mapped_records import FastavroDecoder, Schemas

PLAN = Plan()
LABELS: dict[str, Any] = {
    "where": "state == final",
    "transaction_id": "payment.id",
    "customer_id": "payment.card",
    "event_time": {"path": "payment.ts", "unit": "s"},
    "is_fraud": {"path": "reason", "table": {"chargeback": True, "refuted": False}},
    "label_time": {"path": "booked", "unit": "iso8601"},
}
THEIRS = {
    "type": "record", "name": "Dispute", "fields": [
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["open", "final"]}},
        {"name": "payment", "type": ["null", {"type": "record", "name": "Payment", "fields": [
            {"name": "id", "type": "string"}, {"name": "card", "type": "string"},
            {"name": "ts", "type": "long"}]}]},
        {"name": "reason", "type": ["null", "string"]},
        {"name": "booked", "type": ["null", "string"]},
    ],
}  # fmt: skip


def label_mapping(labels: dict[str, Any]) -> EventMapping:
    mapping = mapping_of({"labels": labels}).labels
    assert mapping is not None
    return mapping


def outcome(decoded: DecodedColumns) -> tuple[list[Any], list[Any]]:
    """Return the labels and the rejections of a batch, each with its row."""
    records = decoded.records
    names = records.schema.names
    columns = [
        column.cast("int64") if name.endswith("_time") else column
        for name, column in zip(names, records.columns, strict=True)
    ]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    rejections = decoded.rejections
    return (
        [(row, dict(zip(names, values, strict=True)))
         for row, values in zip(decoded.rows.tolist(), rows, strict=True)],
        list(zip(rejections.rows.tolist(), rejections.reasons, rejections.details, strict=True)),
    )  # fmt: skip


CASES: list[tuple[dict[str, Any], Any]] = [
    ({}, {"is_fraud": True}),
    ({"reason": "refuted"}, {"is_fraud": False}),
    ({"booked": "2026-01-31T13:00:00.5+01:00"}, {"label_time": 1_769_860_800_500}),
    ({"booked": "2026-01-31"}, ("TIME_INVALID", "booked: not a time in ISO 8601")),
    ({"booked": "2026-01-31T13:00"}, ("TIME_INVALID", "booked: a time without a UTC offset")),
    ({"reason": "loan"},
     ("MAPPING", "reason: the table for is_fraud does not have this value")),
    ({"reason": None}, ("MAPPING", "reason: null, and is_fraud takes none")),
    ({"payment": None}, ("MAPPING", "payment.id: null, and transaction_id takes none")),
    ({"payment": {"id": "t", "card": "c", "ts": 2**62}},
     ("TIME_INVALID", "payment.ts: more than 64 bits of milliseconds")),
    ({"state": "open", "reason": None}, "skipped"),
]  # fmt: skip


def test_walk_fastavro_and_json_read_the_same_labels() -> None:
    chance = random.Random(7)  # noqa: S311 a test's data
    records: list[Any] = []
    expected: list[Any] = []
    for number in range(120):
        changed, result = chance.choice(CASES)
        payment = {"id": f"t{number}", "card": f"c{number % 7}", "ts": 1_700_000_000 + number}
        record = {"state": "final", "payment": payment, "reason": "chargeback", "booked": None}
        records.append(record | changed)
        label = {
            "transaction_id": payment["id"], "customer_id": payment["card"],
            "event_time": (1_700_000_000 + number) * 1_000, "is_fraud": True, "label_time": None,
        }  # fmt: skip
        expected.append(label | result if isinstance(result, dict) else result)
    expected.append("skipped")
    source = Schemas(json.dumps(THEIRS))
    mapping = label_mapping(LABELS)
    payloads = [*(source.payload(1, record) for record in records), None]
    texts = [*(json.dumps(record).encode() for record in records), None]
    in_json = plan_from({"events": {"labels": LABELS | {"format": "json"}}})
    in_avro = plan_from({"events": {"labels": LABELS}})
    for decoded in (
        MappedDecoder(mapping, source, PLAN).decode(payloads),
        FastavroDecoder(mapping, source, PLAN).decode(payloads),
        JsonDecoder(mapping, PLAN).decode(texts),
        open_label_decoder(source, in_avro).decode(BytesColumn.of(payloads)),
        open_label_decoder(source, in_json).decode(BytesColumn.of(texts)),
    ):
        labels, rejected = outcome(decoded)
        assert labels == [(row, each) for row, each in enumerate(expected) if type(each) is dict]
        assert [(row, (reason.value, why)) for row, reason, why in rejected] == [
            (row, each) for row, each in enumerate(expected) if type(each) is tuple
        ]
        skipped = skipped_rows(len(records) + 1, decoded.rows, decoded.rejections).tolist()
        assert skipped == [row for row, each in enumerate(expected) if each == "skipped"]


def test_a_plan_without_labels_reads_our_own_schema() -> None:
    ours = reader_schema("label.v1")
    source = Schemas(ours)
    record = {
        "transaction_id": "t", "customer_id": "c", "terminal_id": "x", "event_time": 5,
        "is_fraud": True, "label_time": None, "source": None,
    }  # fmt: skip
    payloads = BytesColumn.of([source.payload(1, record), None, b"\0\0\0\0\1"])
    # Version 1 has no states: its fields of version 2 have their defaults.
    expected = outcome(ColumnDecoder(source, reader_schema("label.v2"), PLAN).decode(payloads))
    assert expected[0][0][1]["state"] is None
    rates = {"rates": {"base": "EUR"}}
    for plan in (PLAN, plan_from({"events": rates})):
        assert outcome(open_label_decoder(source, plan).decode(payloads)) == expected


def flags_of(rule: Any, kind: Any, values: list[Any]) -> list[Any]:
    """Return the results of a rule for values of an Avro type; None for a rejection."""
    fields = [{"name": "id", "type": "string"}, {"name": "ts", "type": "long"},
              {"name": "flag", "type": kind}]  # fmt: skip
    source = Schemas(json.dumps({"type": "record", "name": "L", "fields": fields}))
    mapping = label_mapping(
        {"transaction_id": "id", "event_time": {"path": "ts", "unit": "ms"}, "is_fraud": rule}
    )
    records = [{"id": "t", "ts": 5, "flag": value} for value in values]
    found: list[Any] = [None] * len(records)
    decoded = MappedDecoder(mapping, source, PLAN).decode(
        [source.payload(1, record) for record in records]
    )
    assert "customer_id" not in decoded.records.schema.names
    for row, label in outcome(decoded)[0]:
        found[row] = label["is_fraud"]
    return found


@pytest.mark.parametrize(
    ("rule", "kind", "values", "flags"),
    [
        ("flag", "boolean", [True, False], [True, False]),
        ("flag", "int", [1, 0, 2, -1], [True, False, None, None]),
        ("flag", "string", ["1", "false", "True", "yes", ""], [True, False, True, None, None]),
        ("flag", ["null", "long"], [1, None], [True, None]),
        ({"path": "flag", "default": False}, ["null", "long"], [1, None], [True, False]),
        ({"path": "flag", "table": {"7": True}, "unknown": False}, "int", [7, 1], [True, False]),
        ("flag", "double", [1.0], [None]),
        ("flag", "bytes", [b"1"], [None]),
        ({"constant": True}, "string", ["any"], [True]),
    ],
)
def test_a_flag_is_a_boolean_0_or_1_or_by_a_table(
    rule: Any, kind: Any, values: list[Any], flags: list[Any]
) -> None:
    assert flags_of(rule, kind, values) == flags


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"id": "string", "ts": "long"}, "labels.is_fraud: flag: the writer schema has no such"),
        ({"id": "string", "ts": "long", "flag": {"type": "array", "items": "int"}},
         "labels.is_fraud: flag: is an array, not a single value"),
        ({"id": "bytes", "ts": "long", "flag": "int"}, "labels.transaction_id: id: is a bytes"),
        ({"id": "string", "ts": "boolean", "flag": "int"}, "labels.event_time: ts: is a boolean"),
        ({"id": "string", "ts": "long", "flag": "int", "op": {"type": "map", "values": "int"}},
         "labels.where: op: is a map, not a single value"),
    ],
)  # fmt: skip
def test_a_schema_that_gives_no_label_rejects_its_records(schema: dict[str, Any], why: str) -> None:
    names = {"op": "string", **schema}
    fields = [{"name": name, "type": kind} for name, kind in names.items()]
    source = Schemas(json.dumps({"type": "record", "name": "L", "fields": fields}))
    mapping = label_mapping(
        {"where": "op == c", "transaction_id": "id", "is_fraud": "flag",
         "event_time": {"path": "ts", "unit": "ms"}}
    )  # fmt: skip
    decoded = MappedDecoder(mapping, source, PLAN).decode([b"\0\0\0\0\1abc", b"\0\0\0\0\1"])
    assert [reason.value for reason in decoded.rejections.reasons] == ["INCOMPATIBLE_SCHEMA"] * 2
    assert why in decoded.rejections.details[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "EMPTY"),
        (b"[" * 70, "TOO_LARGE"),
        (b"[]", "MALFORMED"),
        (b'{"id": "a", "id": "b"}', "MALFORMED"),
        (b'{"id": "a", "ts": NaN, "flag": 1}', "MALFORMED"),
        (b'{"id": "' + b"a" * 1_025 + b'", "ts": 5, "flag": 1}', "TOO_LARGE"),
        (b'{"id": "a", "ts": 5, "flag": 1' + b" " * 65_536 + b"}", "TOO_LARGE"),
        (b'{"id": "a", "ts": ' + b"9" * 65 + b', "flag": 1}', "TOO_LARGE"),
        (b'{"id": "a", "ts": 1e99, "flag": 1}', "TIME_INVALID"),
        (b'{"id": {"a": 1}, "ts": 5, "flag": 1}', "MAPPING"),
        (b'{"id": "a", "ts": 5, "flag": 1.0}', "MAPPING"),
        (b'{"id": "a", "ts": 5, "flag": 1}', None),
        (b'\0\0\0\0\x07{"id": "a", "ts": 5, "flag": true}', None),
    ],
)
def test_hostile_labels_in_json_spoil_themselves_alone(text: bytes, reason: str | None) -> None:
    labels = {
        "format": "json", "transaction_id": "id", "is_fraud": "flag",
        "event_time": {"path": "ts", "unit": "ms"},
    }  # fmt: skip
    good = b'{"id": "t", "ts": 5, "flag": 0}'
    decoded = JsonDecoder(label_mapping(labels), PLAN).decode([good, text, good])
    assert [each.value for each in decoded.rejections.reasons] == ([reason] if reason else [])
    assert {0, 2} <= set(decoded.rows.tolist())
