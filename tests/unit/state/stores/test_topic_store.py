"""Batches of the state topic that cannot be inflated are skipped; a missing topic is refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading import read_to_end
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.stores import topic_store
from stream_scorer.state.stores.topic_store import TopicStore
from stream_scorer.telemetry import Event, RecordsSkipped

FIRST, BEHIND = 3, 9


class ErrorEvent:
    def __init__(self, offset: int, code: int) -> None:
        self._offset = offset
        self._error = KafkaError(code, "failed")

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError:
        return self._error


class OneBatch:
    """A partition with only that batch, whose error comes twice before the seek."""

    def __init__(self) -> None:
        self.seeks: list[int] = []

    def assign(self, _: object) -> None:
        batch = ErrorEvent(FIRST, KafkaError._BAD_COMPRESSION)
        self.events = [batch, batch, ErrorEvent(BEHIND, KafkaError._PARTITION_EOF)]

    def poll(self, _: float) -> ErrorEvent:
        return self.events.pop(0)

    def consume(self, *_: object) -> list[ErrorEvent]:
        return self.events

    def seek(self, place: Any) -> None:
        self.seeks.append(place.offset)

    def get_watermark_offsets(self, *_: object, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, BEHIND

    def unassign(self) -> None: ...


class End:
    def __init__(self, *_: object) -> None: ...

    def end(self, partition: int, base: int) -> int:
        assert (partition, base) == (0, FIRST)
        return BEHIND


def test_a_batch_that_cannot_be_inflated_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = OneBatch()
    monkeypatch.setattr(read_to_end, "Consumer", lambda _: consumer)
    monkeypatch.setattr(read_to_end, "BatchEnds", End)
    told: list[Event] = []
    store = TopicStore(Kafka(), Owner("g", "t"), told.append)
    store._partitions = [0]
    for _ in range(2):
        assert [record for records in store.read(0) for record in records] == []
    assert set(consumer.seeks) == {BEHIND}
    why = "its batch is too large to be inflated"
    assert told == [RecordsSkipped("state", BEHIND - FIRST, 0, FIRST, why)]


@pytest.mark.parametrize("name", ["transactions", "state"])
def test_a_missing_topic_is_a_wrong_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka()
    topics = (kafka.topics.transactions, kafka.topics.state)
    missing = getattr(kafka.topics, name)
    there = {topic: SimpleNamespace(partitions=[0]) for topic in topics if topic != missing}
    client = SimpleNamespace(list_topics=lambda **_: SimpleNamespace(topics=there))
    monkeypatch.setattr(topic_store, "admin", lambda _: client)
    with pytest.raises(SettingsError, match=f"topic {missing}: does not exist") as raised:
        TopicStore(kafka, Owner("g", "t")).refuse_layout()
    assert raised.value.exit_code == 2
