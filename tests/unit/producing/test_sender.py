"""The producer of requests' records: places by delivery reports, and errors that end it."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Message

from stream_scorer.producing.sender import (
    TOO_LARGE,
    VALUE_BYTES_MOST,
    RecordTooLargeError,
    Sender,
    place_of,
)
from stream_scorer.settings import Kafka


@pytest.mark.parametrize(
    ("code", "offset", "place"),
    [
        (None, 7, (2, 7)),
        (None, 0, (2, 0)),
        # The broker had the record of a repeated request already.
        (None, None, (-1, -1)),
        (KafkaError._MSG_TIMED_OUT, 7, (-1, -1)),
        (KafkaError._MSG_TIMED_OUT, None, (-1, -1)),
        (KafkaError.MSG_SIZE_TOO_LARGE, None, (-1, TOO_LARGE)),
        (KafkaError.RECORD_LIST_TOO_LARGE, None, (-1, TOO_LARGE)),
    ],
)
def test_only_an_acknowledged_offset_is_a_place(
    code: int | None, offset: int | None, place: tuple[int, int]
) -> None:
    message = Message(topic="t", partition=2, offset=-1001 if offset is None else offset)
    assert message.offset() == offset
    assert place_of(None if code is None else KafkaError(code), message) == place


@pytest.fixture
def opened() -> Iterator[Sender]:
    found = Sender(Kafka(bootstrap="127.0.0.1:1"), "transactions", lambda *_: None)
    yield found
    found.close()


def test_a_fatal_error_is_a_failure(opened: Sender) -> None:
    opened._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert not opened.connected
    assert opened.failure is None
    opened._on_error(KafkaError(KafkaError._FATAL, "out of order sequence", fatal=True))
    assert opened.failure is not None
    assert "out of order sequence" in str(opened.failure)
    assert opened.failure.exit_code == 5


def test_a_broker_that_answers_another_client_is_reached(opened: Sender) -> None:
    for _ in range(2):
        opened._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        assert not opened.connected
        # A single broker that is away is not all of them.
        opened._on_error(KafkaError(KafkaError._TRANSPORT))
        opened.reached()
        assert opened.connected
        opened._on_error(KafkaError(KafkaError._TRANSPORT))
        assert opened.connected


def test_the_largest_value_is_sent_and_a_larger_record_is_not(opened: Sender) -> None:
    headers = [("scorer-client", bytes(255)), ("tracestate", bytes(512))]
    opened.send(None, bytes(1_024), bytes(VALUE_BYTES_MOST), headers)
    with pytest.raises(RecordTooLargeError):
        opened.send(None, bytes(1_024), bytes(VALUE_BYTES_MOST + 65_536), headers)
