"""A consumer group seen from outside: its members and its stable committed offsets."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import partial
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import ANSWER_SECONDS, admin, unreachable
from stream_scorer.settings import Kafka

SETTLE_SECONDS = 30.0
"""How long to wait for a group's moving coordinator, seconds."""
_BREATH_SECONDS = 0.02
_NEVER_SECONDS = 3_600.0
"""The maximum that librdkafka accepts."""
COORDINATION = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
"""Errors of a group whose coordinator moves, or is not elected yet; waiting resolves them."""
_Answer = TypeVar("_Answer")


def settled(ask: Callable[[], _Answer], seconds: float = SETTLE_SECONDS) -> _Answer:
    """Return the answer to a query about a group, repeated while its coordinator moves.

    A group's coordinator is elected a moment after a cluster has started.

    Args:
        ask: Queries once.
        seconds: How long to wait for a moving coordinator.

    Raises:
        KafkaException: The broker does not answer, or not in that time.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in COORDINATION or time.monotonic() > until:
                raise
        time.sleep(_BREATH_SECONDS)


def refuse_members(kafka: Kafka) -> None:
    """Check that the group has no members, so that no process changes its state meanwhile.

    Raises:
        StateError: It has members.
        UnavailableError: The broker does not answer.
    """
    names = sorted(name for _, name in members(kafka, kafka.group))
    if names:
        raise StateError(
            f"group {kafka.group} has {len(names)} members ({', '.join(names)})",
            "stop every scorer of the group first",
        )


def members(kafka: Kafka, group: str) -> list[tuple[str, str]]:
    """Return (member id, name) of each of a group's members.

    Raises:
        UnavailableError: The broker does not answer.
    """
    found = Groups(kafka).described(group)
    return [(each.member_id, each.client_id) for each in found.members] if found else []


class Groups:
    """Queries the broker about groups, one query at a time.

    librdkafka aborts the process (``rd_kafka_enq_once_del_source_return``, librdkafka#4605) when an
    admin request's own time limit passes while the request is in flight. So requests have no such
    limit: the caller stops waiting, and makes the next query with another client.

    An admin client keeps a group's coordinator as long as it is asked about the group (librdkafka's
    cache forgets it for transactions only). So a broker that was restarted, and is not the
    coordinator any more, would answer NOT_COORDINATOR to every query. Then the client is replaced.

    Args:
        kafka: The cluster.

    Attributes:
        client: The admin client; replaced after each abandoned query, and after a query to a broker
            that is not the coordinator.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.client = admin(kafka)
        self._kafka = kafka

    def described(
        self, group: str, seconds: float = SETTLE_SECONDS
    ) -> ConsumerGroupDescription | None:
        """Return the broker's description of a group; None if it does not know the group.

        Args:
            group: The group.
            seconds: How long to wait for a moving coordinator.

        Raises:
            UnavailableError: The broker does not answer.
        """
        try:
            return settled(lambda: self._answer(group), seconds)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise unreachable(self._kafka, error.args[0].str()) from error

    def _answer(self, group: str) -> ConsumerGroupDescription:
        asked = self.client.describe_consumer_groups([group], request_timeout=_NEVER_SECONDS)[group]
        wait([asked], ANSWER_SECONDS)
        if not asked.done():
            self.client = admin(self._kafka)
            raise unreachable(self._kafka, f"no answer within {ANSWER_SECONDS:.0f} s")
        try:
            found: ConsumerGroupDescription = asked.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NOT_COORDINATOR:
                self.client = admin(self._kafka)
            raise
        return found


def committed_offsets(kafka: Kafka, topic: str, partitions: list[int]) -> dict[int, int]:
    """Return the group's stable committed offsets; a partition without one is left out.

    Waits while an open transaction holds them, partition by partition: under load, a scorer has
    hardly any time without one, and several scorers have none at the same time.

    Raises:
        UnavailableError: The broker does not answer.
    """
    consumer = Consumer(client_options.reader(kafka, kafka.group))
    found: dict[tuple[str, int], int] = {}
    try:
        for partition in partitions:
            wanted = [TopicPartition(topic, partition)]
            found |= settled(partial(committed, consumer, wanted, SETTLE_SECONDS))
    except KafkaException as error:
        raise unreachable(kafka, error.args[0].str()) from error
    finally:
        consumer.close()
    return {partition: offset for (_, partition), offset in found.items()}


def committed(
    consumer: Consumer, wanted: Sequence[TopicPartition], seconds: float
) -> dict[tuple[str, int], int]:
    """Return the offsets that a consumer's group committed; a partition without one is left out.

    Raises:
        KafkaException: The broker does not answer for all of them in that time.
    """
    found = consumer.committed(list(wanted), timeout=seconds)
    for at in found:
        if at.error is not None:
            raise KafkaException(at.error)
    return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}


def noted(
    consumer: ColumnConsumer, group: str, partitions: Sequence[int]
) -> dict[int, tuple[int, bytes]]:
    """Return the group's stable (offset, note) of the partitions with a committed offset.

    Waits while an open transaction holds them.

    Raises:
        UnavailableError: The broker does not answer.
    """
    if not partitions:
        return {}
    try:
        return settled(lambda: consumer.noted(partitions, SETTLE_SECONDS))
    except KafkaException as error:
        raise UnavailableError(
            f"committed offsets of group {group} cannot be read: {error.args[0].str()}",
            "check the brokers",
        ) from error
