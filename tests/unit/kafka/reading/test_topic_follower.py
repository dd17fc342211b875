"""Records that are polled together with an error are returned before it."""

import numpy as np
import pytest
from confluent_kafka import KafkaError

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError, Polled
from stream_scorer.kafka.reading import topic_follower
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Kafka

FORBIDDEN = ConsumerError(0, -1, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
ENDED = ConsumerError(0, 2, KafkaError(KafkaError._PARTITION_EOF))
RECORDS = RawRecords(
    BytesColumn.of([b"a", b"b"]), BytesColumn.nulls(2), None, np.zeros(2, np.int32), np.arange(2),
    np.zeros(2, np.int64),
)  # fmt: skip


class Consumer:
    """A consumer whose first poll has records and errors."""

    def __init__(self, *_: object) -> None:
        self._coming = [Polled(RECORDS, (FORBIDDEN, ENDED))]

    def assign(self, _: object) -> None: ...

    def poll(self, *_: object) -> Polled:
        return self._coming.pop() if self._coming else Polled(None, ())


def test_no_record_is_lost_to_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_follower, "bounds", lambda *_, **__: ({0: 0}, {0: 2}))
    monkeypatch.setattr(topic_follower, "PassingConsumer", Consumer)
    follower = TopicFollower(Kafka(), "rollout")
    follower.mark_end()
    assert follower.poll(10, 0.0) is RECORDS
    assert follower.left == 0
    with pytest.raises(UnavailableError, match="cannot be read"):
        follower.poll(10, 0.0)
    assert follower.poll(10, 0.0) is None
