"""Checkpoints in a compacted topic, each record in the partition of its input partition's number.

The scorer publishes them in its own transaction. A reader gets the committed records, up to the
high watermark at its start. It waits while a transaction before that offset is open.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from stream_scorer.errors import FencedError, StateError, UnavailableError
from stream_scorer.kafka.membership.transactional_id import command, fence_former
from stream_scorer.kafka.reading.read_to_end import Readers, read
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin, bounds, partitions
from stream_scorer.ports import StoredRecords
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.telemetry import Listener, RecordsSkipped

_TRANSACTION_MS = 900_000
_SECONDS = 30.0

_LOOK_BACK = 200
"""Number of records at a partition's end that are read first to find its newest bucket."""


class TopicStore:
    """The state records of one group and input in ``kafka.topics.state``.

    Args:
        kafka: The cluster, the topics' names, the group.
        owner: Whose state.
        listener: Receives which records cannot be inflated and are left out.
    """

    transactional = True

    def __init__(self, kafka: Kafka, owner: Owner, listener: Listener = lambda _: None) -> None:
        self.topic = kafka.topics.state
        self._kafka = kafka
        self._owner = owner
        self._listener = listener
        self._partitions: list[int] = []
        self._readers = Readers(kafka, self.topic, self._left_out)

    def refuse_layout(self) -> None:
        """Check that the topic has as many partitions as the input.

        Raises:
            StateError: It has another number of partitions.
            SettingsError: A topic does not exist.
            UnavailableError: The broker does not answer.
        """
        topics = [self._kafka.topics.transactions, self.topic]
        found = partitions(admin(self._kafka), self._kafka, topics)
        wanted, here = (len(found[topic]) for topic in topics)
        if wanted != here:
            raise StateError(
                f"topic {self.topic}: has {here} partitions, and the input {topics[0]} {wanted}",
                "with every scorer of the group stopped: stream-scorer state repartition",
            )

    def read(self, partition: int) -> Iterator[StoredRecords]:
        """Yield a partition's committed records, oldest first, some at a time.

        Raises:
            UnavailableError: The broker does not answer.
        """
        if partition not in self._partitions:
            # The number of partitions never decreases.
            self._partitions = partitions(admin(self._kafka), self._kafka, [self.topic])[self.topic]
        if partition not in self._partitions:
            return
        for messages in self._readers.read(partition):
            records = ((message.key(), message.value()) for message in messages)
            yield [record for record in records if self._is_ours(record[0] or b"")]

    def _is_ours(self, key: bytes) -> bool:
        return self._owner.place(key) is not None or self._owner.rejected(key) is not None

    def _left_out(self, partition: int, offset: int, records: int) -> None:
        why = "its batch is too large to be inflated"
        self._listener(RecordsSkipped("state", records, partition, offset, why))

    def rest(self) -> None:
        """Close the connections until the next partition is read."""
        self._readers.close()

    def sample(self) -> StoredRecords:
        """Return the newest record of each partition that holds any.

        Older ones may have a replaced layout that is not compacted yet.

        Raises:
            UnavailableError: The broker does not answer.
        """
        first, end = bounds(self._kafka, self.topic)
        found: dict[int, tuple[bytes | None, bytes | None]] = {}
        left, span = set(first), _LOOK_BACK
        while left:
            # All remaining partitions together: starting a reader takes longer than the reading.
            start = {partition: max(first[partition], end[partition] - span) for partition in left}
            for message in read(self._kafka, self.topic, start, end):
                place = self._owner.place(message.key() or b"")
                if place is not None and place[-1] == 0 and message.value():
                    found[message.partition()] = message.key(), message.value()
            left = {p for p in left if p not in found and start[p] > first[p]}
            span *= 100
        return [found[partition] for partition in sorted(found)]

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write one partition's records in a separate transaction.

        Raises:
            UnavailableError: The broker does not answer or refuses them.
        """
        publish(self._kafka, self.topic, [(partition, records)], {})


def publish(
    kafka: Kafka,
    topic: str,
    records: Iterable[tuple[int, Sequence[tuple[bytes, bytes | None]]]],
    offsets: Mapping[int, int],
) -> None:
    """Write records, and set the group's input offsets, in one transaction.

    Args:
        kafka: The cluster and the group; the group has no members.
        topic: The records' topic.
        records: (partition, records) pairs; a null value deletes a key's record.
        offsets: Next input offsets by partition of the input.

    Raises:
        FencedError: Another such command runs.
        UnavailableError: The broker does not answer or refuses them.
    """
    identity = command(kafka.group, "state-command")
    fence_former(kafka, identity)
    options = client_options.producer(kafka, identity.current) | {
        "transaction.timeout.ms": _TRANSACTION_MS
    }
    producer = Producer(options)
    try:
        producer.init_transactions(_SECONDS)
        producer.begin_transaction()
        for partition, each in records:
            for key, value in each:
                _produce(producer, topic, partition, key, value)
        if offsets:
            _send_offsets(producer, kafka, offsets)
        producer.commit_transaction(_TRANSACTION_MS / 1_000)
    except KafkaException as error:
        cause = error.args[0]
        producer.purge()
        if cause.fatal():
            raise FencedError(
                f"another state command runs for group {kafka.group}: {cause.str()}",
                "wait for its end",
            ) from error
        raise UnavailableError(
            f"topic {topic}: {cause.str()}", "nothing was written; fix the cause and try again"
        ) from error
    finally:
        producer.close()


def _produce(producer: Any, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _send_offsets(producer: Any, kafka: Kafka, offsets: Mapping[int, int]) -> None:
    member = Consumer(client_options.consumer(kafka))
    try:
        places = [
            TopicPartition(kafka.topics.transactions, partition, offset)
            for partition, offset in offsets.items()
        ]
        producer.send_offsets_to_transaction(places, member.consumer_group_metadata(), _SECONDS)
    finally:
        member.close()
