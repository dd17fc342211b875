"""A consumer without an assignment learns of a new leader when its question fails."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_scorer.kafka.topics.offsets import watermarks

PLACE = TopicPartition("transactions", 2)


class StaleConsumer:
    """Knows an old leader until it asks for the topic's leaders."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.asked: list[str] = []
        self._reachable = reachable
        self._current = False

    def get_watermark_offsets(self, place: Any, seconds: float) -> tuple[int, int]:
        assert (place, seconds) == (PLACE, 5.0)
        self.asked.append("offsets")
        if not self._current:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return 3, 17

    def list_topics(self, topic: str, seconds: float) -> None:
        assert (topic, seconds) == ("transactions", 5.0)
        self.asked.append("leaders")
        self._current = self._reachable


def test_the_leaders_are_asked_for_after_an_error_only() -> None:
    consumer = StaleConsumer()
    assert watermarks(consumer, PLACE) == (3, 17)
    assert watermarks(consumer, PLACE) == (3, 17)
    assert consumer.asked == ["offsets", "leaders", "offsets", "offsets"]


def test_a_broker_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(KafkaException):
        watermarks(StaleConsumer(reachable=False), PLACE)
