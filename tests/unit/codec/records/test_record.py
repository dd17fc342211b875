import io
import json
import random
import time
import tracemalloc
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder, RecordError
from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

SOURCE = FileRegistry(SCHEMAS_DIRECTORY)
LABEL: dict[str, Any] = {
    "transaction_id": "t", "customer_id": "c", "terminal_id": "x", "event_time": 1500,
    "is_fraud": True,
}  # fmt: skip


def codec() -> RecordCodec:
    schema = reader_schema("label.v1")
    return RecordCodec(SOURCE.id_for("labels-value", schema), schema)


def test_a_record_comes_back_with_defaults_and_times() -> None:
    assert codec().decode(codec().encode(LABEL), SOURCE) == LABEL | {
        "event_time": datetime.fromtimestamp(1.5, UTC), "label_time": None, "source": None,
    }  # fmt: skip


def test_a_decoder_of_any_schema_reads_a_record_with_its_own() -> None:
    value = codec().encode(LABEL)
    assert RecordDecoder(SOURCE).decode(value)["is_fraud"] is True


def test_a_record_of_another_family_is_refused() -> None:
    transaction = RecordCodec(1, reader_schema("transaction.v1"))
    with pytest.raises(
        RecordError, match=r"is not a stream_scorer\.v1\.Transaction, but 'stream_s"
    ):
        transaction.decode(codec().encode(LABEL), SOURCE)


class Written:
    """A registry that has the same schema for every id."""

    def __init__(self, schema: Any) -> None:
        self.text = schema if isinstance(schema, str) else json.dumps(schema)
        self.asked = 0

    def writer_schema(self, schema_id: int) -> str:  # noqa: ARG002 the port's
        self.asked += 1
        return self.text

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [
        ("sequence", {"type": "long", "logicalType": "time-micros"}, 7),
        ("sequence", {"type": "long", "logicalType": "timestamp-millis"}, 7),
        ("sequence", {"type": "int", "logicalType": "date"}, 7),
        ("sequence", ["int", {"type": "long", "logicalType": "time-micros"}], 7),
        ("key_id", {"type": "string", "logicalType": "uuid"}, str(uuid.UUID(int=7))),
        ("previous", {"type": "bytes", "logicalType": "decimal", "precision": 5}, b"\1"),
        ("at", "long", datetime.fromtimestamp(0.007, UTC)),
        ("at", {"type": "int", "logicalType": "date"}, datetime.fromtimestamp(0.007, UTC)),
    ],
)
def test_a_writers_logical_type_gives_no_value_of_its_own(
    field: str, kind: Any, value: Any
) -> None:
    ours = json.loads(reader_schema("rollout.v1"))
    plain = {"sequence": 7, "previous": b"\1", "kind": "plan", "at": 7,
             "key_id": str(uuid.UUID(int=7)), "body": "{}", "signature": b""}  # fmt: skip
    for each in ours["fields"]:
        if each["name"] == field:
            each["type"] = kind
    without = parse_definition(json.dumps(ours), "written").plain().root
    written = io.BytesIO(b"\0\0\0\0\7")
    written.seek(5)
    fastavro.schemaless_writer(written, fastavro.parse_schema(without), plain)
    decoder = RecordDecoder(Written(ours), reader_schema("rollout.v1"))
    found = decoder.decode(written.getvalue())[field]
    assert (found, type(found)) == (value, type(value))


def label(*more: dict[str, Any], without: str = "", **named: str) -> dict[str, Any]:
    """Return the label schema of another version of this program."""
    ours = json.loads(reader_schema("label.v1"))
    fields = [field for field in ours["fields"] if field["name"] != without]
    return ours | named | {"fields": [*fields, *more]}


def written(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    return RecordCodec(77, json.dumps(schema)).encode(record)


def decoded(schema: Any, value: bytes) -> dict[str, Any]:
    return RecordDecoder(Written(schema), reader_schema("label.v1")).decode(value)


def test_a_later_version_of_the_family_is_read_with_our_fields() -> None:
    later = label({"name": "confidence", "type": "double"}, without="source")
    found = decoded(later, written(later, LABEL | {"confidence": 0.5}))
    assert found == codec().decode(codec().encode(LABEL), SOURCE)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (label(name="Lable"), "is not a stream_scorer.v1.Label, but 'stream_scorer.v1.Lable'"),
        (label(namespace="other"), "but 'other.Label'"),
        (label(without="is_fraud"), "does not read as stream_scorer.v1.Label: field is_fraud"),
        ('"string"', "but None"),
        ('{"type": "record"', "not JSON"),
        (label({"name": "x", "type": {"type": "fixed", "name": "F", "size": -9}}), "size must be"),
        (label({"name": "x", "type": "int", "aliases": 5}), "aliases are not a list"),
    ],
)
def test_a_writer_schema_that_is_not_of_the_family_is_refused(schema: Any, why: str) -> None:
    source = Written(schema)
    decoder = RecordDecoder(source, reader_schema("label.v1"))
    for _ in range(3):
        with pytest.raises(RecordError, match=why.replace(".", r"\.")) as caught:
            decoder.decode(codec().encode(LABEL))
        assert len(str(caught.value)) < 300
    assert source.asked == 1


NULLS = [{"name": f"n{number}", "type": "null"} for number in range(100)]
BOMBS = {
    "nulls": "null",
    "empty records": {"type": "record", "name": "X", "fields": []},
    "records of nulls": {"type": "record", "name": "X", "fields": NULLS},
    "fixed of size 0": {"type": "fixed", "name": "X", "size": 0},
    "lists": {"type": "array", "items": "null"},
}


LISTS = {"type": "array", "items": "int"}


@pytest.mark.parametrize("family", [True, False])
@pytest.mark.parametrize("items", BOMBS)
def test_a_small_record_costs_little_memory(items: str, family: bool) -> None:  # noqa: FBT001
    """In an earlier version, ten bytes became 461 MB."""
    bomb = label({"name": "x", "type": {"type": "array", "items": BOMBS[items]}})
    value = written(bomb, LABEL | {"x": []})[:-1]
    decoder = RecordDecoder(Written(bomb), reader_schema("label.v1") if family else None)
    decoder.decode(value + b"\0")
    for count in (b"\xfe\xff\x07", b"\xfe\xff\xff\xff\x0f", b"\x80\xfa\x01"):  # the last: 16,000
        tracemalloc.start()
        with pytest.raises(RecordError, match=r"array_items_max|its size allows|ends inside"):
            decoder.decode(value + count + b"\0")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        tracemalloc.stop()


def test_a_record_of_a_megabyte_costs_a_few_hundred() -> None:
    bomb = label({"name": "x", "type": {"type": "array", "items": LISTS}})
    value = written(bomb, LABEL | {"x": []})[:-1]
    value += b"\x80\x80\x08" + b"\x02\x02\0" * 65_536 + b"\0"
    tracemalloc.start()
    found = RecordDecoder(Written(bomb)).decode(value)
    assert len(found["x"]) == 65_536
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    # The label reader does not need the large field, so it builds nothing of it.
    tracemalloc.reset_peak()
    decoded(bomb, value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
    with pytest.raises(RecordError, match="longer than 1114112 bytes"):
        codec().decode(codec().encode(LABEL) + bytes(1_114_112), SOURCE)


def test_records_in_records_cost_no_more() -> None:
    inner: Any = "null"
    for level in range(50):
        inner = {"type": "record", "name": f"C{level}", "fields": [{"name": "f", "type": inner}]}
    pad = {"name": "pad", "type": "bytes"}
    bomb = label({"name": "x", "type": {"type": "array", "items": inner}}, pad)
    value = written(bomb, LABEL | {"x": [], "pad": bytes(1 << 20)})
    at = value.index(b"\0\x80\x80\x80\x01")
    tracemalloc.start()
    with pytest.raises(RecordError, match="its size allows"):
        # 24,000 lists of 50 empty records.
        RecordDecoder(Written(bomb)).decode(value[:at] + b"\x80\xf7\x02" + value[at:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_decimal_of_any_length_is_shown_as_bytes() -> None:
    """Making a number of 64 KiB would take a second, and of a megabyte minutes."""
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    other = {"type": "record", "name": "R", "fields": [{"name": "d", "type": decimal}]}
    value = b"\0\0\0\0\1\x80\x80\x80\x01" + b"\x7f" * (1 << 20)
    begun = time.thread_time()
    assert RecordDecoder(Written(other)).decode(value) == {"d": b"\x7f" * (1 << 20)}
    assert time.thread_time() - begun < 1


def test_a_time_that_no_calendar_has_is_refused() -> None:
    value = codec().encode(LABEL)
    at = value.index(b"\xb8\x17")
    with pytest.raises(RecordError, match="cannot be decoded"):
        codec().decode(value[:at] + b"\xff" * 9 + b"\x01" + value[at + 2 :], SOURCE)


def test_our_own_id_needs_no_registry() -> None:
    class Out:
        def writer_schema(self, schema_id: int) -> str:
            raise RegistryUnavailableError(f"registry: no answer for {schema_id}")

        def id_for(self, subject: str, schema: str) -> int:
            raise NotImplementedError

    value = codec().encode(LABEL)
    assert codec().decode(value, Out())["is_fraud"] is True
    with pytest.raises(RegistryUnavailableError):
        codec().decode(b"\0\0\0\0\x63" + value[5:], Out())


def test_scrambled_records_raise_one_kind_of_error() -> None:
    chance = random.Random(4)  # noqa: S311 a test's choice, not a secret
    names = ("activation.v1", "drift-event.v1", "label.v1", "rollout.v1", "summary.v2")
    good = 0
    for name in names:
        text = reader_schema(name)
        decoder = RecordDecoder(SOURCE, text)
        head = SOURCE.id_for("any", text).to_bytes(4, "big")
        for _ in range(400):
            body = bytes(chance.choice((0, 1, 2, 4, 0x7F, 0xFF, chance.randrange(256)))
                         for _ in range(chance.randrange(60)))  # fmt: skip
            with suppress(RecordError):
                decoder.decode(b"\0" + head + body)
                good += 1
    assert good < 100


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\1\0\0\0\3x", b"\0\0\0\0\3x"])
def test_bytes_that_are_not_a_record_are_refused_in_one_line(value: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        codec().decode(value, SOURCE)
    assert "\n" not in str(caught.value)


def test_trailing_bytes_and_an_unknown_schema_are_refused() -> None:
    value = codec().encode(LABEL)
    with pytest.raises(RecordError, match="left after the record"):
        codec().decode(value + b"\0", SOURCE)
    with pytest.raises(SchemaError, match="99"):
        codec().decode(b"\0\0\0\0\x63" + value[5:], SOURCE)


def test_a_record_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RecordError, match="does not fit"):
        codec().encode({"transaction_id": "t"})
