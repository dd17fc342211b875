from collections.abc import Callable

import pytest
from confluent_kafka import Consumer

from stream_scorer.kafka import config
from stream_scorer.kafka.partitioner import partition_of
from stream_scorer.kafka.producer import Outgoing, TransactionalProducer
from stream_scorer.ports import BytesColumn
from stream_scorer.settings import Kafka


@pytest.mark.kafka
def test_output_lies_where_kafkas_own_clients_would_put_its_key(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings(), 4)
    producer = TransactionalProducer(kafka, kafka.group, lambda _: None)
    keys = BytesColumn.of(b"%d" % number for number in range(200))
    plain, traced = (BytesColumn.of([text] * 200) for text in (b"plain", b"traced"))
    producer.begin()
    producer.send(Outgoing(kafka.topics.decisions, plain, keys))
    producer.send(Outgoing(kafka.topics.decisions, traced, keys, [[("h", b"1")]] * 200))
    producer.commit()
    producer.close()
    reader = Consumer(config.reader(kafka, "reader") | {"enable.partition.eof": False})
    reader.subscribe([kafka.topics.decisions])
    found: list[tuple[bytes, int]] = []
    while len(found) < 400:
        found += [(m.key(), m.partition()) for m in reader.consume(400, 1.0) if m.error() is None]
    reader.close()
    assert all(partition == partition_of(key, 4) for key, partition in found)
