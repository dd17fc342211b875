from collections.abc import Callable

import pytest

from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.settings import Kafka


@pytest.mark.kafka
def test_output_partitions_match_those_of_kafkas_own_clients(
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
    found = [(m.key(), m.partition()) for m in read_all(kafka, kafka.topics.decisions)]
    assert len(found) == 400
    assert all(partition == partition_of(key, 4) for key, partition in found)
