"""Reads a topic read-committed, up to its end at the start of the read, or continuously.

A bounded read ends at offsets: at the record before the end, or at the partition-end event if
aborted records or transaction markers are there. If it cannot reach the end, it raises. A record
that cannot be decompressed has neither key nor value; see ``unreadable_batches``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.read_limit import STALLED_SECONDS, ReadLimit
from stream_scorer.kafka.reading.unreadable_batches import BatchEnds, unread_messages
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import cannot_inflate
from stream_scorer.kafka.topics.offsets import bounds, unreachable
from stream_scorer.settings import Kafka

_OPEN_SECONDS = 60.0
_POLL_SECONDS = 0.1
_TURN_SECONDS = 0.05
_RECORDS_AT_ONCE = 1_000

_ONE_OF_SEVERAL = {
    # Records that no partition's reader has taken yet are held for all.
    "queued.max.messages.kbytes": 8_192,
    # How long the broker waits for more before it answers that there is none.
    "fetch.wait.max.ms": 5,
}


def read(
    kafka: Kafka,
    topic: str,
    start: Mapping[int, int],
    end: Mapping[int, int],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Any]:
    """Yield the committed messages of ``[start, end)``, each partition's in order.

    Args:
        kafka: The cluster.
        topic: An existing topic.
        start: First offset by partition; other partitions are not read.
        end: Next offset after the last one by partition. If it is after the last stable offset,
            the read waits for the open transactions before it.
        stop: Called while waiting for the broker; true ends the read early.

    Raises:
        UnavailableError: No offset could be read for 30 s; all that could be read was yielded.
    """
    positions = {p: offset for p, offset in start.items() if offset < end[p]}
    if not positions:
        return
    limit = ReadLimit(topic, {p: end[p] for p in positions})
    options = client_options.reader(kafka, f"{kafka.group}-reader")
    consumer, ends = Consumer(options), BatchEnds(options, topic)
    try:
        consumer.assign([TopicPartition(topic, p, at) for p, at in sorted(positions.items())])
        while positions and not stop():
            # Not one call for all, which would wait the full time for the last ones.
            first: Any = consumer.poll(_POLL_SECONDS)
            messages = [] if first is None else [first, *consumer.consume(_RECORDS_AT_ONCE, 0)]
            for message in messages:
                partition, offset = message.partition(), message.offset()
                if partition not in positions:
                    continue
                if message.error() and cannot_inflate(message.error()):
                    first, behind = max(positions[partition], offset), ends.end(partition, offset)
                    if behind > first:
                        consumer.seek(TopicPartition(topic, partition, behind))
                        last = min(behind, end[partition])
                        yield from unread_messages(topic, partition, first, last)
                        positions[partition] = behind
                elif message.error():
                    _refuse(kafka, message.error())
                    positions[partition] = offset
                else:
                    positions[partition] = offset + 1
                    if offset < end[partition]:
                        yield message
                if positions[partition] >= end[partition]:
                    del positions[partition]
            limit.note(positions, _POLL_SECONDS)
    finally:
        ends.close()
        consumer.close()


class Readers:
    """Consumers that read one partition after another, several of them in turns.

    A consumer that has read a partition to its end knows the cluster, and begins with the next
    immediately. A new one takes some hundred milliseconds, most of them waiting.

    Args:
        kafka: The cluster.
        topic: What is read.
        unread: Given partition, first offset and records of each batch that cannot be inflated,
            once.
    """

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        unread: Callable[[int, int, int], None] = lambda *_: None,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._unread = unread
        self._told: dict[int, int] = {}
        self._idle: list[Consumer] = []
        self._ends = BatchEnds(client_options.reader(kafka, f"{kafka.group}-reader"), topic)

    def read(self, partition: int) -> Iterator[list[Any]]:
        """Yield the committed messages of an existing partition, in order, some at a time.

        While it connects, it yields empty lists, so that the caller can do other work. It ends at
        the partition's end when the broker first reports that there is no more. That end includes
        open transactions, and the read waits for their records. So it also reads a transaction that
        was committed before the read began, but whose marker is not written yet.

        Raises:
            UnavailableError: The broker sent nothing for 30 s, or refuses, or a transaction
                stays open for 60 s.
        """
        consumer = self._idle.pop() if self._idle else self._new()
        ended = False
        place = TopicPartition(self._topic, partition)
        end: int | None = None
        try:
            consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
            yield []
            # Only our own waits count, not the caller's work in between.
            waited = 0.0
            while not ended:
                first: Any = consumer.poll(_TURN_SECONDS)
                found = [] if first is None else [first, *consumer.consume(_RECORDS_AT_ONCE, 0)]
                waited = 0.0 if found else waited + _TURN_SECONDS
                if end is None and waited > STALLED_SECONDS:
                    raise unreachable(self._kafka, f"sent nothing for {STALLED_SECONDS:.0f} s")
                if end is not None and waited > _OPEN_SECONDS:
                    raise UnavailableError(
                        f"topic {self._topic} partition {partition}: a transaction has been open "
                        f"for {_OPEN_SECONDS:.0f} s before offset {end}",
                        "it ends at its producer's transaction.timeout.ms; one that hangs: "
                        "kafka-transactions.sh find-hanging, then abort",
                    )
                for message in found:
                    if message.error():
                        if self._passed(consumer, partition, message):
                            continue
                        _refuse(self._kafka, message.error())
                        if message.partition() != partition:
                            continue  # an event of the previous partition does not matter
                        if end is None:
                            # As of the last fetch, with open transactions.
                            _, end = consumer.get_watermark_offsets(place, cached=True)
                    ended = end is not None and _next(message) >= end
                yield [message for message in found if not message.error()]
            consumer.unassign()
            self._idle.append(consumer)
        finally:
            if not ended:
                consumer.close()

    def _passed(self, consumer: Consumer, partition: int, message: Any) -> bool:
        """Skip a batch that cannot be decompressed; return whether an error event reports one.

        It is left out: records in the topics that are read this way are never so large.
        """
        if not cannot_inflate(message.error()):
            return False
        if message.partition() == partition:
            first = message.offset()
            behind = self._ends.end(partition, first)
            consumer.seek(TopicPartition(self._topic, partition, behind))
            # It may be met again before the seek, and when the partition is read again.
            if behind > max(first, self._told.get(partition, 0)):
                self._told[partition] = behind
                self._unread(partition, first, behind - first)
        return True

    def _new(self) -> Consumer:
        options = client_options.reader(self._kafka, f"{self._kafka.group}-reader")
        return Consumer(options | _ONE_OF_SEVERAL)

    def close(self) -> None:
        """Close the idle connections; another read opens new ones."""
        self._ends.close()
        while self._idle:
            self._idle.pop().close()


def read_all(kafka: Kafka, topic: str) -> Iterator[Any]:
    """Yield every committed message of the records that the topic holds now.

    The read waits for open transactions. A scorer's offsets are visible a moment before its
    outputs: a read to the last stable offset would miss outputs that were just reported as
    committed.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer, or a transaction stays open for 30 s; all that
            could be read was yielded.
    """
    return read(kafka, topic, *bounds(kafka, topic, stable=False))


def newest(kafka: Kafka, topic: str, count: int) -> Iterator[Any]:
    """Yield the newest ``count`` committed messages by timestamp, oldest first.

    Reads backwards in growing steps, because markers and aborted records take offsets too. Waits
    for open transactions as :func:`read_all` does.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: As :func:`read_all`; the newest that could be read were yielded.
    """
    first, end = bounds(kafka, topic, stable=False)
    span = 2 * count
    while count:
        start = {partition: max(first[partition], end[partition] - span) for partition in end}
        found, failure = _read_as_far_as_possible(kafka, topic, start, end)
        per_partition = Counter(message.partition() for message in found)
        if failure or all(per_partition[p] >= count or start[p] == first[p] for p in end):
            found.sort(key=lambda message: message.timestamp()[1])
            yield from found[max(len(found) - count, 0) :]
            if failure:
                raise failure
            return
        span *= 8


def _read_as_far_as_possible(
    kafka: Kafka, topic: str, start: Mapping[int, int], end: Mapping[int, int]
) -> tuple[list[Any], UnavailableError | None]:
    """Return the messages of a bounded read, and the error that ended it early, if any."""
    found: list[Any] = []
    try:
        found.extend(read(kafka, topic, start, end))
    except UnavailableError as error:
        return found, error
    return found, None


def follow(
    kafka: Kafka, topic: str, start: Mapping[int, int], stop: Callable[[], bool]
) -> Iterator[Any]:
    """Yield committed messages from ``start`` on as they arrive, until the caller stops.

    Args:
        kafka: The cluster.
        topic: An existing topic.
        start: First offset by partition.
        stop: Called ten times a second, and before each message; true ends the read.

    Raises:
        UnavailableError: The broker is gone.
    """
    options = client_options.reader(kafka, f"{kafka.group}-reader")
    consumer, ends = Consumer(options), BatchEnds(options, topic)
    passed: dict[int, int] = dict(start)
    try:
        consumer.assign([TopicPartition(topic, part, at) for part, at in sorted(start.items())])
        while not stop():
            message: Any = consumer.poll(_POLL_SECONDS)
            if message is None:
                continue
            if message.error() and cannot_inflate(message.error()):
                partition, base = message.partition(), message.offset()
                first, behind = max(passed[partition], base), ends.end(partition, base)
                if behind > first:
                    consumer.seek(TopicPartition(topic, partition, behind))
                    passed[partition] = behind
                    yield from unread_messages(topic, partition, first, behind)
            elif message.error():
                _refuse(kafka, message.error())
            else:
                yield message
    finally:
        ends.close()
        consumer.close()


def _next(message: Any) -> int:
    """Return the next offset: a record's own + 1, or the partition's end."""
    return int(message.offset()) + (message.error() is None)


def _refuse(kafka: Kafka, error: Any) -> None:
    """Raise for every error event except a partition's end."""
    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's public constant
        raise unreachable(kafka, error.str()) from KafkaException(error)
