"""Records as columns, through a real broker, equal those of confluent-kafka's own clients."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.kafka.client.consumer import ColumnConsumer, ConsumerError, Rebalance
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.settings import Kafka
from tests.support.kafka.mock_broker import RawHeaders, produce

pytestmark = pytest.mark.kafka

VALUES: list[bytes | None] = [b"one", None, b"", b"x" * 70_000, b"\0"]
KEYS: list[bytes | None] = [None, b"", b"key", b"\xff", b"k"]
HEADERS: list[Headers] = [
    None, [("a", b"1"), ("a", None), ("", b"")], None, [("größe", b"\0\1")], None,
]  # fmt: skip


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings(), 2)


@pytest.fixture
def producer(settings: Kafka) -> Iterator[ColumnProducer]:
    made = ColumnProducer(client_options.producer(settings, f"{settings.group}-t"))
    made.init_transactions(10.0)
    made.begin_transaction()
    yield made
    made.close()


@pytest.fixture
def consumer(settings: Kafka) -> Iterator[ColumnConsumer]:
    made = ColumnConsumer(client_options.member(settings), settings.topics.decisions)
    yield made
    made.close()


DEADLINE_SECONDS = 60.0


def read(consumer: ColumnConsumer, count: int) -> RawRecords:
    """Poll until there are ``count`` records."""
    pieces: list[RawRecords] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while sum(map(len, pieces)) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, pieces))} of {count} records came"
        polled = consumer.poll(count, 0.1, 0.0)
        assert polled.failures == ()
        if polled.records is not None:
            pieces.append(polled.records)
    return RawRecords.join(pieces)


def send(producer: ColumnProducer, topic: str, headers: list[Headers] | None) -> None:
    producer.produce(
        topic, BytesColumn.of(VALUES), BytesColumn.of(KEYS), np.array([1, 1, 1, 1, 1], np.int32),
        headers,
    )  # fmt: skip
    producer.commit_transaction(10.0)


@pytest.mark.parametrize("headers", [None, HEADERS])
def test_records_are_read_as_they_were_sent(
    settings: Kafka,
    producer: ColumnProducer,
    consumer: ColumnConsumer,
    headers: list[Headers] | None,
) -> None:
    topic = settings.topics.decisions
    send(producer, topic, headers)
    consumer.assign({1: 0})
    found = read(consumer, len(VALUES))
    assert list(found.values) == VALUES
    assert list(found.keys) == KEYS
    assert found.headers == headers
    assert found.partition.tolist() == [1] * len(VALUES)
    assert found.offset.tolist() == list(range(len(VALUES)))

    other = Consumer(client_options.reader(settings, "other") | {"enable.partition.eof": False})
    other.assign([TopicPartition(topic, 1, 0)])
    messages: list[Any] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(messages) < len(VALUES):
        assert time.monotonic() < deadline, f"{len(messages)} of {len(VALUES)} records came"
        messages += other.consume(len(VALUES) - len(messages), 0.5)
    other.close()
    assert [m.value() for m in messages] == VALUES
    assert [m.key() for m in messages] == KEYS
    assert [m.headers() for m in messages] == (headers or [None] * len(VALUES))
    assert found.timestamp.tolist() == [m.timestamp()[1] for m in messages]


def test_of_many_headers_the_first_are_read(settings: Kafka) -> None:
    topic = settings.topics.decisions
    many: RawHeaders = [(b"%d" % n, b"") for n in range(50_000)]
    # One by one, because the topic's largest batch is smaller than all of them.
    for _ in range(20):
        produce(settings.bootstrap, topic, [many])
    produce(settings.bootstrap, topic, [[(b"traceparent", b"1")]])
    # Each poll parses the headers of three records, and reads 128 of each.
    consumer = ColumnConsumer(client_options.member(settings), topic, headers_per_poll=150_000)
    consumer.assign({0: 0})
    counts: list[int] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(counts) < 21:
        assert time.monotonic() < deadline, f"{len(counts)} of 21 records came"
        records = consumer.poll(21, 0.1, 0.5).records
        if records is not None:
            found = [len(each or ()) for each in records.headers or [None] * len(records)]
            whole = [*[128] * 20, 1][len(counts) :][: len(found)]
            assert found == whole[:3] + [0] * len(whole[3:])
            # Read again, they would cost as much again.
            assert records.headless is None
            counts += found
    consumer.close()


def test_headers_that_a_poll_leaves_out_are_read_later(settings: Kafka) -> None:
    # 700 records with 60,000 bytes of headers each: a poll reads those of 559.
    topic, count = settings.topics.decisions, 700
    for number in range(0, count, 10):
        rows = range(number, number + 10)
        produce(settings.bootstrap, topic, [[(b"n", b"%060000d" % row)] for row in rows])
    consumer = ColumnConsumer(client_options.member(settings), topic)
    consumer.assign({0: 0})
    found: list[int] = []
    polls: list[int] = []
    while len(found) < count:
        # It returns as soon as it has all.
        records = consumer.poll(count - len(found), DEADLINE_SECONDS, DEADLINE_SECONDS).records
        assert records is not None
        assert records.headers is not None
        whole = len(records)
        if records.headless is not None:
            whole = int(np.flatnonzero(records.headless)[0])
            assert records.headless[whole:].all()
            assert not any(records.headers[whole:])
            consumer.seek({0: int(records.offset[whole])}, DEADLINE_SECONDS)
        polls.append(whole)
        for headers in records.headers[:whole]:
            assert headers is not None
            ((_, value),) = headers
            found.append(int((value or b"")[-6:]))
    consumer.close()
    assert found == list(range(count))
    assert polls == [559, 141]


def received(settings: Kafka, topic: str, records: int) -> int:
    """Return the number of bytes that a consumer receives for a topic's records."""
    told: list[int] = []

    def take(text: str) -> None:
        told.append(sum(broker["rxbytes"] for broker in json.loads(text)["brokers"].values()))

    options = client_options.reader(settings, "weigh") | {
        "statistics.interval.ms": 50,
        "stats_cb": take,
    }
    consumer = Consumer(options | {"enable.partition.eof": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = records
    deadline = time.monotonic() + DEADLINE_SECONDS
    while left:
        assert time.monotonic() < deadline, f"{left} of {records} records did not come"
        left -= len(consumer.consume(left, 0.5))
    told.clear()
    while not told:
        consumer.poll(0.1)
    consumer.close()
    return told[-1]


def test_checkpoints_are_sent_as_they_are_the_rest_compressed(settings: Kafka) -> None:
    options = client_options.producer(settings, f"{settings.group}-t")
    producer = ColumnProducer(options, client_options.topics(settings))
    producer.init_transactions(10.0)
    producer.begin_transaction()
    value = BytesColumn.of([bytes(900_000)])
    for topic in (settings.topics.state, settings.topics.decisions):
        producer.produce(topic, value, BytesColumn.of([b"k"]), np.zeros(1, np.int32))
    producer.commit_transaction(10.0)
    producer.close()
    assert received(settings, settings.topics.state, 1) > 900_000
    assert received(settings, settings.topics.decisions, 1) < 100_000


def test_a_topic_s_option_that_does_not_exist_is_refused(settings: Kafka) -> None:
    producer = ColumnProducer(
        client_options.producer(settings, f"{settings.group}-t"),
        {"t": {"compression.codec": "rle"}},
    )
    with pytest.raises(KafkaException, match="compression"):
        producer.produce("t", BytesColumn.of([b"v"]), BytesColumn.nulls(1))
    producer.close()


def test_an_offset_out_of_range_is_an_event_of_its_partition(
    settings: Kafka, consumer: ColumnConsumer
) -> None:
    consumer.assign({0: 5})
    failures: list[ConsumerError] = []
    for _ in range(100):
        failures += consumer.poll(10, 0.1, 0.0).failures
        if failures:
            break
    assert [failure.partition for failure in failures] == [0]
    assert failures[0].error.code() == KafkaError._AUTO_OFFSET_RESET


def test_a_full_queue_and_a_too_large_record_raise_unlike_errors(settings: Kafka) -> None:
    topic = settings.topics.decisions
    small = client_options.producer(settings, f"{settings.group}-s") | {
        "queue.buffering.max.messages": 2
    }
    producer = ColumnProducer(small)
    producer.init_transactions(10.0)
    for headers in (None, [None] * 5):
        producer.begin_transaction()
        with pytest.raises(BufferError):
            producer.produce(topic, BytesColumn.of([b"v"] * 5), BytesColumn.nulls(5), None, headers)
        producer.abort_transaction(10.0)
        producer.begin_transaction()
        large = BytesColumn.of([b"v" * 2_000_000])
        with pytest.raises(KafkaException) as caught:
            producer.produce(topic, large, BytesColumn.nulls(1), None, headers and [[("h", b"1")]])
        assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
        producer.abort_transaction(10.0)
    producer.close()


def test_errors_carry_what_they_require(settings: Kafka, producer: ColumnProducer) -> None:
    with pytest.raises(KafkaException) as caught:
        producer.begin_transaction()
    assert caught.value.args[0].code() == KafkaError._STATE
    with pytest.raises(KafkaException, match=r"nonsense"):
        ColumnConsumer(client_options.consumer(settings) | {"nonsense": 1}, "t")
    other = ColumnProducer(client_options.producer(settings, f"{settings.group}-t"))
    other.init_transactions(10.0)
    other.close()
    producer.produce(settings.topics.decisions, BytesColumn.of([b"v"]), BytesColumn.nulls(1))
    with pytest.raises(KafkaException) as caught:
        producer.commit_transaction(10.0)
    assert caught.value.args[0].fatal()
    assert caught.value.args[0].code() == KafkaError._FENCED


def test_an_error_of_a_rebalance_callback_is_raised_by_its_poll(
    settings: Kafka, consumer: ColumnConsumer
) -> None:
    told: list[tuple[int, ...]] = []

    def assigned(partitions: tuple[int, ...]) -> None:
        told.append(partitions)
        consumer.add(dict.fromkeys(partitions, 0))
        raise RuntimeError("seen")

    consumer.subscribe(Rebalance(assigned, consumer.remove, consumer.remove))

    def join() -> None:
        for _ in range(300):
            consumer.poll(10, 0.1, 0.0)

    with pytest.raises(RuntimeError, match="seen"):
        join()
    assert sorted(told[0]) == [0, 1]
    assert consumer.partition_count(10.0) == 2
    assert consumer.watermarks(0, 10.0) == (0, 0)
    assert consumer.committed([0, 1], 10.0) == {0: -1001, 1: -1001}
