import io
import json
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading import decode_kernel, opcodes
from stream_scorer.codec.reading.arrow_layout import Layout, StoredColumn
from stream_scorer.codec.reading.decode import (
    PUBLISHED_BYTES_MAX,
    ColumnDecoder,
    TransactionDecoder,
)
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import reader_schema

PLAN = Plan()
TRANSACTION = reader_schema("transaction.v1")


def record(*fields: dict[str, Any], name: str = "R") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def field(kind: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind} | more


class Source:
    """A registry by id; an id of None is an outage."""

    def __init__(self, *schemas: str | None) -> None:
        self.schemas = dict(enumerate(schemas, 1))
        self.asked: list[int] = []

    def writer_schema(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if schema_id not in self.schemas:
            raise SchemaError(f"schema id {schema_id}: unknown")
        schema = self.schemas[schema_id]
        if schema is None:
            raise RegistryUnavailableError("registry: down")
        return schema

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError

    def payload(self, schema_id: int, value: Any) -> bytes:
        body = io.BytesIO()
        schema = self.schemas[schema_id]
        assert schema is not None
        fastavro.schemaless_writer(body, json.loads(schema), value)
        return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


def read(reader: Any, writer: Any, *values: Any, **more: Any) -> tuple[list[Any], list[str]]:
    """Write values as one field and read them back; return values, and rejections by row."""
    source = Source(record(field(writer)))
    decoder = ColumnDecoder(source, record(field(reader, **more)), PLAN)
    decoded = decoder.decode([source.payload(1, {"a": value}) for value in values])
    why = zip(decoded.rejections.reasons, decoded.rejections.details, strict=True)
    return decoded.records.column("a").to_pylist(), [f"{reason}: {text}" for reason, text in why]


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
ABC = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}


@pytest.mark.parametrize(
    ("reader", "writer", "value", "result"),
    [
        ("long", "int", -7, -7),
        ("double", "int", 7, 7.0),
        ("double", "long", 2**53 + 1, float(2**53)),
        ("float", "long", 16777217, 16777216.0),
        ("float", "long", (2**24 + 1) * 2**30 + 1, float(2**54)),  # first rounded to double
        ("double", "float", 0.5, 0.5),
        ("bytes", "string", "é", b"\xc3\xa9"),
        ("string", "bytes", b"\xc3\xa9", "é"),
        ("string", ABC, "B", "B"),
        (["null", "string"], ABC, "C", "C"),
        (["null", "string"], ["null", ABC], None, None),
        (["null", "string"], [ABC, "null"], "A", "A"),
        (["null", "long"], "int", 3, 3),
        (["null", "double"], ["int", "null"], 3, 3.0),
        ("long", ["null", "long"], 3, 3),
        ("boolean", ["null", "boolean"], True, True),
        ("string", ["null", "long", "string"], "x", "x"),
        ({"type": "array", "items": "string"}, {"type": "array", "items": "string"}, ["x"], ["x"]),
        ("bytes", "bytes", b"\xff", b"\xff"),
    ],
)
def test_a_value_is_read_by_avros_rules(reader: Any, writer: Any, value: Any, result: Any) -> None:
    assert read(reader, writer, value) == ([result], [])


def test_a_time_is_read_by_any_logical_type_of_its_writer() -> None:
    for writer in (MILLIS, "long", "int"):
        source = Source(record(field(writer)))
        decoder = ColumnDecoder(source, record(field(MILLIS)), PLAN)
        column = decoder.decode([source.payload(1, {"a": 1500})]).records.column("a")
        assert column.type == pa.timestamp("ms")
        assert column.cast(pa.int64()).to_pylist() == [1500]


def test_a_time_no_date_can_hold_is_left_to_validation() -> None:
    source = Source(record(field("long")))
    decoder = ColumnDecoder(source, record(field(MILLIS)), PLAN)
    decoded = decoder.decode([source.payload(1, {"a": 2**63 - 1})])
    assert decoded.records.column("a").cast(pa.int64()).to_pylist() == [2**63 - 1]


def test_an_unreadable_value_rejects_its_record_alone() -> None:
    incompatible = RejectReason.INCOMPATIBLE_SCHEMA
    assert read("string", ["null", "string"], "x", None, "y") == (
        ["x", "y"], [f"{incompatible}: a: null, and the reader takes none"],
    )  # fmt: skip
    two = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
    assert read(two, ABC, "A", "C") == (
        ["A"], [f"{incompatible}: a: a symbol that the reader does not know"],
    )  # fmt: skip
    assert read(two | {"default": "B"}, ABC, "A", "C") == (["A", "B"], [])
    values, why = read("string", ["null", "long", "string"], "x", 3)
    assert values == ["x"]
    assert why[0].startswith(incompatible)


@pytest.mark.parametrize(
    ("kind", "default", "result"),
    [
        ("string", "none", "none"),
        (["null", "string"], None, None),
        (["string", "null"], "x", "x"),
        ("long", 5, 5),
        ("boolean", True, True),
        ("bytes", "\u00ff", b"\xff"),
        ({"type": "array", "items": "string"}, ["x"], ["x"]),
    ],
)
def test_a_missing_field_takes_its_default(kind: Any, default: Any, result: Any) -> None:
    source = Source(record(field("int", "b")))
    decoder = ColumnDecoder(source, record(field(kind, default=default)), PLAN)
    decoded = decoder.decode([source.payload(1, {"b": n}) for n in range(3)])
    assert decoded.records.column("a").to_pylist() == [result] * 3


def test_fields_match_by_alias_and_in_any_order() -> None:
    source = Source(record(field("int", "x"), field("string", "old"), field("long", "b")))
    reader = record(field("long", "b"), field("string", "a", aliases=["old"]))
    decoded = ColumnDecoder(source, reader, PLAN).decode(
        [source.payload(1, {"x": 1, "old": "text", "b": 2})]
    )
    assert decoded.records.to_pylist() == [{"b": 2, "a": "text"}]


@pytest.mark.parametrize(
    ("writer", "text"),
    [
        (record(field("string")), "a: written as string, read as long"),
        (record(field("long", "b")), "a: the reader has no default for it, and it is not written"),
        (record(field("long"), name="Other"), "written as record Other, read as R"),
        (record(field(["null", "string"])), "a: written as"),
        ('"long"', "written as long, read as record"),
        ("{", "not JSON"),
    ],
)
def test_an_incompatible_writer_is_reported_with_the_field(writer: str, text: str) -> None:
    source = Source(writer)
    decoded = ColumnDecoder(source, record(field("long")), PLAN).decode([b"\0\0\0\0\1\2"] * 2)
    assert decoded.rejections.reasons == (RejectReason.INCOMPATIBLE_SCHEMA,) * 2
    assert decoded.rejections.details[0].startswith("schema id 1")
    assert text in decoded.rejections.details[0]
    assert len(decoded.records) == 0


def test_microseconds_are_not_taken_for_milliseconds() -> None:
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    _, why = read(MILLIS, micros, 1)
    assert "written as timestamp-micros, read as timestamp-millis" in why[0]


def test_each_bad_payload_has_its_reason_and_the_rest_is_decoded() -> None:
    source = Source(record(field("string")))
    decoder = ColumnDecoder(source, record(field("string")), Plan(record_bytes_max=20))
    good = source.payload(1, {"a": "x"})
    decoded = decoder.decode(
        [good, None, b"", b"\0\0\0", b"\1" + good[1:], good[:4] + b"\x63x", good + b"\0",
         good[:-1], good + bytes(20), good]
    )  # fmt: skip
    assert decoded.rows.tolist() == [0, 9]
    assert decoded.records.to_pylist() == [{"a": "x"}] * 2
    assert decoded.rejections.rows.tolist() == list(range(1, 9))
    assert decoded.rejections.reasons == (
        "EMPTY", "EMPTY", "FRAMING", "FRAMING", "UNKNOWN_SCHEMA", "TRAILING_BYTES", "MALFORMED",
        "TOO_LARGE",
    )  # fmt: skip


@pytest.mark.parametrize("values", [[], [None], [None, b"x"]])
def test_a_batch_without_a_record_gives_no_rows(values: list[bytes | None]) -> None:
    decoder = ColumnDecoder(Source(), TRANSACTION, PLAN)
    decoded = decoder.decode(values)
    assert decoded.records.schema == decoder.schema
    assert len(decoded.records) == len(decoded.rows) == 0
    assert len(decoded.rejections) == len(values)


def test_mixed_writers_come_out_in_input_order() -> None:
    source = Source(
        record(field("long")), record(field("int"), field("string", "b")), record(field("float"))
    )
    values = [source.payload(n % 2 + 1, {"a": n, "b": "x"}) for n in range(50)]
    values[7] = b"\0\0\0\0\3" + bytes(4)
    decoded = ColumnDecoder(source, record(field("long")), PLAN).decode(values)
    rows = [n for n in range(50) if n != 7]
    assert decoded.rows.tolist() == rows
    assert decoded.records.column("a").to_pylist() == rows
    assert decoded.rejections.reasons == (RejectReason.INCOMPATIBLE_SCHEMA,)


def test_corrupt_headers_with_many_ids_reject_only_their_records() -> None:
    source = Source(record(field("long")))
    values = [source.payload(1, {"a": n}) for n in range(60)]
    for n in range(0, 60, 2):
        values[n] = b"\0" + (100 + n % 40).to_bytes(4, "big") + b"\2"
    decoded = ColumnDecoder(source, record(field("long")), PLAN).decode(values)
    assert decoded.records.column("a").to_pylist() == list(range(1, 60, 2))
    assert decoded.rejections.rows.tolist() == list(range(0, 60, 2))
    assert decoded.rejections.details[21] == "schema id 102: unknown"


def test_an_outage_decodes_nothing_and_blames_no_record() -> None:
    source = Source(record(field("long")), None)
    decoder = ColumnDecoder(source, record(field("long")), PLAN)
    values = [source.payload(1, {"a": 1}), b"\0\0\0\0\2\2"]
    with pytest.raises(RegistryUnavailableError):
        decoder.decode(values)
    source.schemas[2] = source.schemas[1]
    assert decoder.decode(values).records.column("a").to_pylist() == [1, 1]


def test_a_writer_schema_is_asked_for_once() -> None:
    source = Source(record(field("long")))
    decoder = ColumnDecoder(source, record(field("long")), PLAN)
    for _ in range(3):
        decoder.decode([source.payload(1, {"a": 1})])
    assert source.asked == [1]


def test_the_first_of_several_unreadable_fields_is_named() -> None:
    source = Source(record(field(["null", "long"], "b"), field(["null", "string"], "a")))
    decoder = ColumnDecoder(source, record(field("string"), field("long", "b")), PLAN)
    values = [{"b": None, "a": None}, {"b": 1, "a": "x"}, {"b": None, "a": "x"}]
    payloads = [source.payload(1, value) for value in values]
    decoded = decoder.decode([*payloads, payloads[0] + b"\0", payloads[1]])
    assert decoded.records.to_pylist() == [{"a": "x", "b": 1}] * 2
    assert decoded.rejections.details[:2] == (
        "a: null, and the reader takes none", "b: null, and the reader takes none",
    )  # fmt: skip
    assert decoded.rejections.reasons[2] is RejectReason.TRAILING_BYTES


def test_fastavro_decides_between_fields_with_one_written_field() -> None:
    source = Source(record(field("long")))
    reader = record(field("long"), field("double", "b", aliases=["a"], default=0.5))
    payload = source.payload(1, {"a": 3})
    decoded = ColumnDecoder(source, reader, PLAN).decode([payload])
    expected = fastavro.schemaless_reader(
        io.BytesIO(payload[5:]), json.loads(record(field("long"))), json.loads(reader)
    )
    assert decoded.records.to_pylist() == [expected]


def test_a_column_ends_where_the_next_begins() -> None:
    fields = [field("string", "a"), field(ABC, "b"), field(["null", "boolean"], "c"),
              field("string", "d")]  # fmt: skip
    source = Source(record(*fields))
    rows = [{"a": "x" * (n % 40), "b": "ABC"[n % 3], "c": (None, True, False)[n % 3],
             "d": "€" * (40 - n % 40)} for n in range(2000)]  # fmt: skip
    decoded = ColumnDecoder(source, record(*fields), PLAN).decode(
        [source.payload(1, row) for row in rows]
    )
    decoded.records.validate(full=True)
    assert decoded.records.to_pylist() == rows


def test_any_schema_meets_the_one_compiled_walk() -> None:
    source = Source(record(field("long")), record(field({"type": "array", "items": "string"})))
    values = [source.payload(1, {"a": 1}), source.payload(2, {"a": ["x"]}), None]
    for reader in (record(field("long")), record(field({"type": "array", "items": "string"}))):
        ColumnDecoder(source, reader, PLAN).decode(values)
    assert len(decode_kernel.walk.signatures) == 1


def test_more_text_than_a_column_can_hold_is_refused() -> None:
    kept = StoredColumn(0, "a", opcodes.TEXT, pa.string())
    with pytest.raises(OverflowError, match="a: 2147483648 bytes in one batch"):
        Layout([kept], 1, 2**31)


def test_a_reader_schema_without_columns_is_refused() -> None:
    for reader in ('"long"', record(field({"type": "map", "values": "long"}))):
        with pytest.raises(SchemaError, match="reader schema"):
            ColumnDecoder(Source(), reader, PLAN)


def test_transactions_keep_their_source_coordinates() -> None:
    source = Source(TRANSACTION)
    value = {
        "transaction_id": "t", "event_time": 1, "customer_id": "c", "terminal_id": "x",
        "amount_minor": 5, "currency": "EUR",
    }  # fmt: skip
    good = source.payload(1, value)
    raw = RawRecords(
        BytesColumn.of([good, None, good]), BytesColumn.of([b"k"] * 3), None,
        np.array([0, 0, 1], np.int32), np.array([5, 6, 7]), np.array([50, 60, 70]),
    )  # fmt: skip
    batch, rows, rejections = TransactionDecoder(source, PLAN).decode(raw)
    assert rows.tolist() == [0, 2]
    assert batch.offset.tolist() == [5, 7]
    assert batch.partition.tolist() == [0, 1]
    assert batch.timestamp.tolist() == [50, 70]
    assert batch.int64("amount_minor").tolist() == [5, 5]
    assert batch.records.column("channel").to_pylist() == ["UNKNOWN"] * 2
    assert rejections.reasons == (RejectReason.EMPTY,)


def keyed(plan: Plan, *records: tuple[int, int]) -> list[tuple[int, str]]:
    """Return the rejections of transactions with keys and ids of these lengths."""
    source = Source(TRANSACTION)
    value = {
        "event_time": 1, "customer_id": "c", "terminal_id": "x", "amount_minor": 5,
        "currency": "EUR", "channel": "WEB", "mcc": None, "country": None, "card_present": None,
        "device_id": None,
    }  # fmt: skip
    n = len(records)
    raw = RawRecords(
        BytesColumn.of(source.payload(1, value | {"transaction_id": "t" * t}) for _, t in records),
        BytesColumn.of(bytes(k) for k, _ in records), None,
        np.zeros(n, np.int32), np.arange(n), np.arange(n),
    )  # fmt: skip
    batch, rows, rejections = TransactionDecoder(source, plan).decode(raw)
    assert batch.offset.tolist() == rows.tolist()
    assert sorted([*rows.tolist(), *rejections.rows.tolist()]) == list(range(n))
    assert set(rejections.reasons) <= {RejectReason.TOO_LARGE}
    return list(zip(rejections.rows.tolist(), rejections.details, strict=True))


def test_a_key_that_decisions_cannot_copy_is_too_large() -> None:
    assert keyed(PLAN, (65_536, 9), (65_537, 9), (0, 9), (8_000_000, 2_000), (9, 9)) == [
        (1, "the key is longer than record_bytes_max"),
        (3, "transaction_id: longer than string_bytes_max at byte 7"),
    ]


def test_key_and_texts_fit_a_decision_whatever_the_plan_allows() -> None:
    plan = Plan(record_bytes_max=1 << 30, string_bytes_max=1 << 30)
    texts = len("c" + "x" + "EUR" + "WEB")
    most = PUBLISHED_BYTES_MAX - texts - 9
    why = f"key and texts are longer than {PUBLISHED_BYTES_MAX} bytes together"
    found = keyed(plan, (most, 9), (most + 1, 9), (9, most), (9, most + 1), (2_000_000, 1))
    assert found == [(1, why), (3, why), (4, why)]
