"""A consumer group seen from outside: its members and its stable committed offsets."""

import time
from collections.abc import Sequence
from concurrent.futures import wait

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.topics import config
from stream_scorer.kafka.topics.offsets import ANSWER_SECONDS, admin, unreachable
from stream_scorer.settings import Kafka

_SETTLE_SECONDS = 30.0
_BREATH_SECONDS = 0.02
_NEVER_SECONDS = 3_600.0
"""The longest that librdkafka takes."""
COORDINATION = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
"""Errors of a group whose coordinator moves, or is not elected yet; waiting mends them."""


def refuse_members(kafka: Kafka) -> None:
    """Check that nobody is in the group, so that nobody's state moves meanwhile.

    Raises:
        StateError: It has members.
        UnavailableError: The broker does not say.
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
        UnavailableError: The broker does not say.
    """
    found = Groups(kafka).described(group)
    return [(each.member_id, each.client_id) for each in found.members] if found else []


class Groups:
    """What the broker says of groups, asked one question at a time.

    librdkafka ends the process (``rd_kafka_enq_once_del_source_return``, librdkafka#4605) when an
    admin request's own time limit passes while the request is on its way. So none has a limit that
    passes: who waits gives up by itself, and asks again by another client.

    Args:
        kafka: The cluster.

    Attributes:
        client: By whom is asked; another one after each question that was given up.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.client = admin(kafka)
        self._kafka = kafka

    def described(
        self, group: str, seconds: float = _SETTLE_SECONDS
    ) -> ConsumerGroupDescription | None:
        """Return what the broker says of a group; None where it knows none of that name.

        Args:
            group: The group.
            seconds: How long a coordinator that moves is waited for.

        Raises:
            UnavailableError: The broker does not say.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                return self._answer(group)
            except KafkaException as error:
                cause = error.args[0]
                if cause.code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return None
                # As for ``noted``.
                if cause.code() not in COORDINATION or time.monotonic() > until:
                    raise unreachable(self._kafka, cause.str()) from error
            time.sleep(_BREATH_SECONDS)

    def _answer(self, group: str) -> ConsumerGroupDescription:
        asked = self.client.describe_consumer_groups([group], request_timeout=_NEVER_SECONDS)[group]
        wait([asked], ANSWER_SECONDS)
        if not asked.done():
            self.client = admin(self._kafka)
            raise unreachable(self._kafka, f"no answer within {ANSWER_SECONDS:.0f} s")
        found: ConsumerGroupDescription = asked.result()
        return found


def committed_offsets(kafka: Kafka, topic: str, partitions: list[int]) -> dict[int, int]:
    """Return the group's stable committed offsets; a partition without one is left out.

    Waits while an open transaction holds them.

    Raises:
        UnavailableError: The broker does not answer.
    """
    consumer = Consumer(config.reader(kafka, kafka.group))
    try:
        found = consumer.committed(
            [TopicPartition(topic, partition) for partition in partitions], _SETTLE_SECONDS
        )
    except KafkaException as error:
        raise unreachable(kafka, error.args[0].str()) from error
    finally:
        consumer.close()
    for place in found:
        if place.error is not None:
            raise unreachable(kafka, place.error.str())
    return {place.partition: place.offset for place in found if place.offset >= 0}


def noted(
    consumer: ColumnConsumer, group: str, partitions: Sequence[int]
) -> dict[int, tuple[int, bytes]]:
    """Return the group's stable (offset, note) of those partitions that it has committed.

    Waits while an open transaction holds them.

    Raises:
        UnavailableError: The broker does not say.
    """
    until = time.monotonic() + _SETTLE_SECONDS
    while partitions:
        try:
            return consumer.noted(partitions, _SETTLE_SECONDS)
        except KafkaException as error:
            cause = error.args[0]
            # A group's coordinator moves, and is elected a moment after a cluster has started.
            if cause.code() not in COORDINATION or time.monotonic() > until:
                raise UnavailableError(
                    f"committed offsets of group {group} cannot be read: {cause.str()}",
                    "check the brokers",
                ) from error
        time.sleep(_BREATH_SECONDS)
    return {}
