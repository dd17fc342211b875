"""Event times of transactions, and of what is not one."""

import io
import json

import fastavro
import pytest

from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.lag.watch.event_times import EventTimes
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings

SETTINGS = Settings(kafka=Kafka(bootstrap="b:1"))
AT = (SETTINGS.kafka.topics.transactions, 3)
TRANSACTION = {
    "transaction_id": "t", "event_time": 1_522_584_000_250, "customer_id": "c",
    "terminal_id": "x", "amount_minor": 1_000, "currency": "EUR", "channel": "POS",
}  # fmt: skip


def framed(schema_id: int) -> bytes:
    schema = fastavro.parse_schema(
        json.loads((SCHEMAS_DIRECTORY / "transaction.v1.avsc").read_text())
    )
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, TRANSACTION)
    return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


def test_a_transaction_has_its_event_time() -> None:
    assert EventTimes(SETTINGS)(AT, framed(1)) == 1_522_584_000.25


@pytest.mark.parametrize("value", [None, b"", b"no avro", b"\0\0\0\0\1x", framed(99)])
def test_what_is_not_a_transaction_has_none(value: bytes | None) -> None:
    times = EventTimes(SETTINGS)
    assert times(AT, value) is None
    assert times(AT, framed(1)) is not None
    assert times(("another", 0), framed(1)) is None


def test_a_registry_that_does_not_answer_is_not_asked_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Down:
        def decode(self, value: bytes) -> dict[str, object]:
            asked.append(value)
            raise RegistryUnavailableError("registry: timed out", "start it")

    times = EventTimes(SETTINGS)
    monkeypatch.setattr(times, "_reader", Down())
    assert [times(AT, b"1"), times(AT, b"2")] == [None, None]
    assert asked == [b"1"]
