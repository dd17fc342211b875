from datetime import UTC, datetime
from typing import Any

import pytest

from stream_scorer.codec.record import RecordCodec, RecordError
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.errors import SchemaError
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


def test_a_record_of_another_schema_is_read_with_its_own() -> None:
    transaction = RecordCodec(1, reader_schema("transaction.v1"))
    value = codec().encode(LABEL)
    assert transaction.decode(value, SOURCE)["is_fraud"] is True


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\1\0\0\0\3x", b"\0\0\0\0\3x"])
def test_bytes_that_are_no_record_are_refused_in_one_line(value: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        codec().decode(value, SOURCE)
    assert "\n" not in str(caught.value)


def test_trailing_bytes_and_an_unknown_schema_are_refused() -> None:
    value = codec().encode(LABEL)
    with pytest.raises(RecordError, match="left behind"):
        codec().decode(value + b"\0", SOURCE)
    with pytest.raises(SchemaError, match="99"):
        codec().decode(b"\0\0\0\0\x63" + value[5:], SOURCE)


def test_a_record_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RecordError, match="does not fit"):
        codec().encode({"transaction_id": "t"})
