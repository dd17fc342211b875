"""The broker's topics and offsets, with our errors for failed requests."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka

ANSWER_SECONDS = 5.0
"""How long a command waits for the broker's answer, seconds."""

_ELECTION = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        # We know of a leader before the broker does, or after it.
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
_ELECTION_PAUSE_SECONDS = 0.05

EARLIEST: Any = OffsetSpec.earliest()
LATEST: Any = OffsetSpec.latest()


def admin(kafka: Kafka) -> AdminClient:
    """Return an admin client; connecting happens with its first request."""
    return AdminClient(client_options.common(kafka))


def unreachable(kafka: Kafka, error: object) -> UnavailableError:
    """Return the error for a broker that does not answer."""
    return UnavailableError(
        f"broker {kafka.bootstrap or '(none)'}: {error}", "start it, or name another: --bootstrap"
    )


def partitions(
    client: AdminClient, kafka: Kafka, topics: Iterable[str] | None
) -> dict[str, list[int]]:
    """Return the partitions of the given topics, or of all, ascending.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: The broker does not answer.
    """
    try:
        # All topics: naming one may create it on a broker with automatic creation.
        known = client.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise unreachable(kafka, error.args[0].str()) from error
    found: dict[str, list[int]] = {}
    for topic in known if topics is None else topics:
        if topic not in known:
            raise SettingsError(
                f"topic {topic}: does not exist on {kafka.bootstrap}",
                "create it (stream-scorer topics create) or correct the name",
            )
        found[topic] = sorted(known[topic].partitions)
    return found


def offsets(
    client: AdminClient,
    kafka: Kafka,
    wanted: Iterable[tuple[str, int]],
    spec: Any,
    *,
    stable: bool = False,
) -> dict[tuple[str, int], int]:
    """Return an offset of each (topic, partition).

    Args:
        client: From :func:`admin`.
        kafka: For the error message.
        wanted: Topics and partitions.
        spec: :data:`EARLIEST` or :data:`LATEST`.
        stable: Whether the latest is the last stable offset instead of the high watermark.

    Raises:
        UnavailableError: The broker does not answer.
    """
    specs = {TopicPartition(topic, partition): spec for topic, partition in wanted}
    if not specs:
        return {}
    isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        answers = client.list_offsets(
            specs, isolation_level=isolation, request_timeout=ANSWER_SECONDS
        )
        try:
            return {
                (at.topic, at.partition): future.result().offset for at, future in answers.items()
            }
        except KafkaException as error:
            # Leaders move, and a new topic's are elected a moment after it is listed.
            if error.args[0].code() not in _ELECTION or time.monotonic() > deadline:
                raise unreachable(kafka, error.args[0].str()) from error
        time.sleep(_ELECTION_PAUSE_SECONDS)


def watermarks(consumer: Any, place: TopicPartition) -> tuple[int, int]:
    """Return the first offset of a partition, and its end for the consumer's isolation level.

    A consumer without an assignment keeps the leader that it once knew, for minutes after another
    broker leads. So after an error it asks for the topic's leaders, and again.

    Args:
        consumer: A ``confluent_kafka.Consumer``.
        place: The topic, which exists, and the partition.

    Raises:
        KafkaException: The broker does not answer.
    """
    try:
        found: tuple[int, int] = consumer.get_watermark_offsets(place, ANSWER_SECONDS)
    except KafkaException:
        consumer.list_topics(place.topic, ANSWER_SECONDS)
        found = consumer.get_watermark_offsets(place, ANSWER_SECONDS)
    return found


def bounds(
    kafka: Kafka, topic: str, *, stable: bool = True
) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """Return the first offset and the last stable offset of each of a topic's partitions.

    Args:
        kafka: The cluster.
        topic: The topic.
        stable: Whether the end is the last stable offset instead of the high watermark.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """
    client = admin(kafka)
    wanted = [(topic, partition) for partition in partitions(client, kafka, [topic])[topic]]
    first = offsets(client, kafka, wanted, EARLIEST)
    end = offsets(client, kafka, wanted, LATEST, stable=stable)
    return (
        {partition: offset for (_, partition), offset in first.items()},
        {partition: offset for (_, partition), offset in end.items()},
    )


def offsets_since(kafka: Kafka, topic: str, since_ms: int) -> Mapping[int, int]:
    """Return each partition's first offset with a Kafka timestamp that is not before a time.

    Args:
        kafka: The cluster.
        topic: The topic.
        since_ms: The time, ms. A partition without such a record: its stable end.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """
    # First: what is written meanwhile comes after the end.
    end = bounds(kafka, topic)[1]
    client = admin(kafka)
    spec = OffsetSpec.for_timestamp(max(since_ms, 0))
    found = offsets(client, kafka, [(topic, partition) for partition in end], spec)
    return {p: found[topic, p] if found[topic, p] >= 0 else end[p] for p in end}


def oldest_offset(kafka: Kafka, topic: str, partition: int) -> int:
    """Return the oldest retained offset of one partition.

    Raises:
        UnavailableError: The broker does not answer.
    """
    return offsets(admin(kafka), kafka, [(topic, partition)], EARLIEST)[topic, partition]
