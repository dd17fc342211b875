"""A consumer group seen from outside: its members and its stable committed offsets."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.errors import StateError
from stream_scorer.kafka import config
from stream_scorer.kafka.offsets import ANSWER_SECONDS, admin, unreachable
from stream_scorer.settings import Kafka

_SETTLE_SECONDS = 30.0
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
    client = admin(kafka)
    answer = client.describe_consumer_groups([kafka.group], request_timeout=ANSWER_SECONDS)
    try:
        members = answer[kafka.group].result().members
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return
        raise unreachable(kafka, error.args[0].str()) from error
    if members:
        names = ", ".join(sorted(member.client_id for member in members))
        raise StateError(
            f"group {kafka.group} has {len(members)} members ({names})",
            "stop every scorer of the group first",
        )


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
