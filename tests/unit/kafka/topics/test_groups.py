"""Requests to a group whose coordinator moves."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_scorer.kafka.topics.groups import COORDINATION, committed, settled


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
