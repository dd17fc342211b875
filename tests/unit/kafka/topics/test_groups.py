"""Requests to a group whose coordinator moves."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics import groups
from stream_scorer.kafka.topics.groups import (
    COORDINATION,
    Groups,
    committed,
    committed_offsets,
    settled,
)
from stream_scorer.settings import Kafka


def refusing(code: int, times: int) -> Callable[[], int]:
    """Return a request that is refused a number of times, and then returns that number."""
    asked = 0

    def ask() -> int:
        nonlocal asked
        asked += 1
        if asked <= times:
            raise KafkaException(KafkaError(code))
        return asked

    return ask


@pytest.mark.parametrize("code", sorted(COORDINATION))
def test_it_is_asked_again_until_there_is_a_coordinator(code: int) -> None:
    assert settled(refusing(code, 3)) == 4


def test_without_waiting_it_is_asked_once() -> None:
    with pytest.raises(KafkaException):
        settled(refusing(KafkaError.NOT_COORDINATOR, 1), seconds=-1.0)


def test_another_error_is_not_waited_for() -> None:
    with pytest.raises(KafkaException):
        settled(refusing(KafkaError.GROUP_AUTHORIZATION_FAILED, 1))


class _Partitions:
    """A consumer whose group has committed only the first partition."""

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout == 5.0
        for at, offset in zip(wanted, (7, -1_001), strict=True):
            at.offset = offset
        return wanted


def test_a_partition_without_a_commit_is_left_out() -> None:
    wanted = [TopicPartition("t", 0), TopicPartition("t", 1)]
    assert committed(_Partitions(), wanted, 5.0) == {("t", 0): 7}


class _Busy:
    """A consumer of a group in which never two partitions have no open transaction."""

    def __init__(self, options: dict[str, Any]) -> None:
        assert options["isolation.level"] == "read_committed"

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        if len(wanted) > 1:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        wanted[0].offset = 10 * wanted[0].partition
        return wanted

    def close(self) -> None: ...


def test_stable_offsets_are_asked_for_one_partition_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.topics.groups.Consumer", _Busy)
    found = committed_offsets(Kafka(bootstrap="b:1"), "t", [0, 1, 2])
    assert found == {0: 0, 1: 10, 2: 20}


class _KnowingAdmin:
    """An admin client that asks for the coordinator once, as librdkafka's does.

    Attributes:
        coordinator: The broker that is the coordinator now.
        made: How many there are.
    """

    coordinator = 0
    made = 0

    def __init__(self, kafka: Kafka) -> None:
        assert kafka.bootstrap == "127.0.0.1:1"
        _KnowingAdmin.made += 1
        self._known = self.coordinator

    def describe_consumer_groups(
        self, names: Sequence[str], request_timeout: float
    ) -> Mapping[str, Future[Any]]:
        # A limit on the query itself would abort the process.
        assert request_timeout == 3_600.0
        answer: Future[Any] = Future()
        if self._known == self.coordinator:
            answer.set_result("described")
        else:
            answer.set_exception(KafkaException(KafkaError(KafkaError.NOT_COORDINATOR)))
        return dict.fromkeys(names, answer)


def test_a_moved_coordinator_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "admin", _KnowingAdmin)
    found = Groups(Kafka(bootstrap="127.0.0.1:1"))
    assert [found.described("g", 0.0) for _ in range(3)] == ["described"] * 3
    _KnowingAdmin.coordinator = 1
    with pytest.raises(UnavailableError):
        found.described("g", -1.0)
    assert found.described("g", -1.0) == "described"
    _KnowingAdmin.coordinator = 2
    assert found.described("g") == "described"
    # A client is made for each move, and none as long as the coordinator stays.
    assert _KnowingAdmin.made == 3
