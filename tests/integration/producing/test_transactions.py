import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.errors import SettingsError, TransactionError
from stream_scorer.kafka.reading.paced_producer import Feed
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.producing.transactions import TransactionEncoder, open_feed
from stream_scorer.settings import Kafka, Registry
from stream_scorer.simulator.simulate import SCHEMA

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


def table(rows: int) -> pa.Table:
    """Return simulated transactions, including frauds."""
    number = pa.array(np.arange(rows))
    columns = {
        "transaction_id": number.cast(pa.string()),
        "event_time": pa.array(np.arange(rows) + 1_522_585_815_250).cast(pa.timestamp("ms")),
        "customer_id": pa.array(np.arange(rows) % 97).cast(pa.string()),
        "terminal_id": pa.repeat("9", rows),
        "amount_minor": number,
        "currency": pa.repeat("EUR", rows),
        "channel": pa.repeat("POS", rows),
        "is_fraud": pa.repeat(pa.scalar(True), rows),
        "fraud_scenario": pa.repeat(pa.scalar(1, pa.int8()), rows),
    }
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA},
        schema=SCHEMA,
    )


def test_every_row_arrives_once_keyed_and_in_its_customers_order(settings: Kafka) -> None:
    rows = 12_345
    before = time.time() * 1_000
    with open_feed(settings, Registry()) as feed:
        feed.send(table(rows))
    assert feed.sent == rows
    reader = RecordReader(Registry())
    seen: dict[bytes, list[int]] = {}
    places: dict[bytes, set[int]] = {}
    for message in read_all(settings, settings.topics.transactions):
        record = reader.decode(message.value())
        assert message.key() == record["customer_id"].encode()
        assert "is_fraud" not in record
        assert before - 1 <= message.timestamp()[1] <= time.time() * 1_000
        seen.setdefault(message.key(), []).append(record["amount_minor"])
        places.setdefault(message.key(), set()).add(message.partition())
    assert sorted(number for part in seen.values() for number in part) == list(range(rows))
    assert all(part == sorted(part) for part in seen.values())
    assert all(len(place) == 1 for place in places.values())
    assert len(set().union(*places.values())) == 4


def test_key_partitions_match_librdkafkas_murmur2(settings: Kafka) -> None:
    with open_feed(settings, Registry()) as feed:
        feed.send(table(500))
    ours = {m.key(): m.partition() for m in read_all(settings, settings.topics.transactions)}
    other = Producer(client_options.common(settings) | {"partitioner": "murmur2"})
    for key in ours:
        other.produce(settings.topics.decisions, b"x", key)
    other.flush(10)
    theirs = {m.key(): m.partition() for m in read_all(settings, settings.topics.decisions)}
    assert ours == theirs


def test_a_paced_record_has_its_scheduled_time(settings: Kafka) -> None:
    rate, rows = 2_000.0, 1_000
    started = time.time()
    with open_feed(settings, Registry(), rate=rate) as feed:
        feed.send(table(rows // 2))
        feed.send(table(rows // 2))
        took = time.time() - started
    assert took >= (rows - 1) / rate
    stamps = sorted(m.timestamp()[1] for m in read_all(settings, settings.topics.transactions))
    expected = stamps[0] + np.arange(rows) / rate * 1_000
    assert np.abs(np.array(stamps) - expected).max() <= 1.5


def test_payloads_that_are_not_avro_can_be_sent_too(settings: Kafka) -> None:
    with Feed(settings, TransactionEncoder(Registry()), settings.topics.transactions) as feed:
        feed.send_encoded([b"k", None, b"k"], [b"broken", b"", None])
    found = [(m.key(), m.value()) for m in read_all(settings, settings.topics.transactions)]
    assert sorted(found, key=str) == sorted([(b"k", b"broken"), (None, b""), (b"k", None)], key=str)


@pytest.mark.parametrize("rate", [None, 1_000_000.0])
def test_a_record_that_is_refused_is_an_error(settings: Kafka, rate: float | None) -> None:
    feed = Feed(settings, TransactionEncoder(Registry()), settings.topics.transactions, rate)
    with pytest.raises(TransactionError, match=r"a record was refused: .*too large"):
        feed.send_encoded([b"k"] * 3, [b"good", bytes(8_000_000), b"good"])


def test_an_unknown_topic_is_named(settings: Kafka) -> None:
    with pytest.raises(SettingsError, match="topic no-such: does not exist"):
        open_feed(settings, Registry(), "no-such")
