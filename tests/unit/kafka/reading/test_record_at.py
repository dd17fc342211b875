"""A partition that does not answer keeps the others waiting once, not with each read."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading import record_at
from stream_scorer.kafka.reading.record_at import RecordAt
from stream_scorer.settings import Kafka

HEALTHY, SILENT = 0, 1


class Record:
    """A record at the place that was asked for."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


class OneSilentPartition:
    """A consumer of two partitions, of which one has no leader."""

    asked: ClassVar[list[int]] = []

    def __init__(self, *_: object) -> None:
        self._place = (0, 0)

    def list_topics(self, topic: str, _: float) -> Any:
        known = SimpleNamespace(partitions={HEALTHY: None, SILENT: None})
        return SimpleNamespace(topics={topic: known})

    def assign(self, places: list[Any]) -> None:
        self._place = places[0].partition, places[0].offset
        self.asked.append(self._place[0])

    def unassign(self) -> None: ...

    def poll(self, _: float) -> Record | None:
        return Record(*self._place) if self._place[0] == HEALTHY else None


def test_a_silent_partition_is_not_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_at, "Consumer", OneSilentPartition)
    monkeypatch.setattr(record_at, "_SECONDS", 0.02)
    OneSilentPartition.asked.clear()
    records = RecordAt(Kafka(), "transactions", "test")
    for _ in range(3):
        with pytest.raises(UnavailableError):
            records.read(SILENT, 7)
        assert records.read(HEALTHY, 7).offset() == 7
    assert OneSilentPartition.asked == [SILENT, HEALTHY, HEALTHY, HEALTHY]
    # After some time it is asked again.
    records._silent[SILENT] = 0.0
    with pytest.raises(UnavailableError):
        records.read(SILENT, 7)
    assert OneSilentPartition.asked.count(SILENT) == 2
