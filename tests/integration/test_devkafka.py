"""Kafka that devkafka starts is a real one: real clients, Kafka's own tools, real signals."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer

from stream_scorer.kafka.config import reader
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka


def _produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(20) == 0


def _consume(settings: Kafka, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(reader(settings, settings.group) | {"enable.partition.eof": False})
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def test_what_is_produced_is_consumed(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    _produce(settings.bootstrap, settings.topics.transactions, b"one", b"two")
    found = _consume(settings, settings.topics.transactions, 2)
    assert sorted(found) == [b"one", b"two"]
