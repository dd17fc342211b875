"""A consumer group seen from outside: its members and its stable committed offsets."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka import config
from stream_scorer.kafka.librdkafka.consumer import ColumnConsumer
from stream_scorer.kafka.offsets import ANSWER_SECONDS, admin, unreachable
from stream_scorer.settings import Kafka

_SETTLE_SECONDS = 30.0
_BREATH_SECONDS = 0.02
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
    found = described(kafka, group)
    return [(each.member_id, each.client_id) for each in found.members] if found else []


def described(
    kafka: Kafka,
    group: str,
    client: AdminClient | None = None,
    seconds: float = _SETTLE_SECONDS,
) -> ConsumerGroupDescription | None:
    """Return what the broker says of a group; None where it knows none of that name.

    Args:
        kafka: The cluster.
        group: The group.
        client: Asks; None opens one.
        seconds: How long a coordinator that moves is waited for.

    Raises:
        UnavailableError: The broker does not say.
    """
    client = client or admin(kafka)
    until = time.monotonic() + seconds
    while True:
        answer = client.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        try:
            found: ConsumerGroupDescription = answer[group].result()
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            # As for ``noted``.
            if cause.code() not in COORDINATION or time.monotonic() > until:
                raise unreachable(kafka, cause.str()) from error
        else:
            return found
        time.sleep(_BREATH_SECONDS)


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
