"""Reads a complete topic, read-committed and without a group."""

from typing import Final

from confluent_kafka import KafkaError

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.client.kernels import BATCH_HEADER_BYTES_MOST, HEADER_BYTES_MOST
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import refuse_unreadable
from stream_scorer.kafka.topics.offsets import bounds, offsets_since
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

RECORDS_WITH_HEADERS: Final = BATCH_HEADER_BYTES_MOST // HEADER_BYTES_MOST
"""Maximum records of a poll that never leaves out headers of some for those of the others."""


class TopicFollower:
    """Reads all partitions of a topic from the oldest record on, or from a time on.

    Args:
        kafka: Cluster.
        topic: The topic.
        reader: The purpose: a part of the client's name.
        since_ms: The first record has this Kafka timestamp or a later one; None: the oldest.

    Attributes:
        topic: The topic.
        partitions: Its partitions.
        first: The offset at which each partition begins.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(
        self, kafka: Kafka, topic: str, reader: str = "terminals", since_ms: int | None = None
    ) -> None:
        self.topic = topic
        self._kafka = kafka
        self.first, _ = bounds(kafka, topic)
        if since_ms is not None:
            self.first = offsets_since(kafka, topic, since_ms)
        self.partitions = tuple(sorted(self.first))
        self._next = dict(self.first)
        self._end: dict[int, int] = {}
        self._limit = ReadLimit(topic, self._end)
        self._refusal: UnavailableError | None = None
        self._consumer = PassingConsumer(
            client_options.reader(kafka, f"{kafka.group}-{reader}"), topic
        )
        self._consumer.assign(self._next)

    def mark_end(self, *, stable: bool = True) -> None:
        """Note the topic's current end.

        Args:
            stable: Whether that is the last stable offset. Otherwise it is the high watermark, and
                reading up to it waits for open transactions.

        Raises:
            UnavailableError: The broker does not answer.
        """
        self._end = dict(bounds(self._kafka, self.topic, stable=stable)[1])
        self._limit = ReadLimit(self.topic, self._end)

    def partitions_now(self) -> tuple[int, ...]:
        """Return the topic's current partitions, whether or not they are read.

        Raises:
            UnavailableError: The broker does not answer.
        """
        return tuple(sorted(bounds(self._kafka, self.topic)[0]))

    @property
    def left(self) -> int:
        """Number of offsets before the noted end."""
        return sum(max(end - self._next.get(p, end), 0) for p, end in self._end.items())

    def poll(self, maximum: int, wait: float) -> RawRecords | None:
        """Return up to ``maximum`` records, or None if there are none for ``wait`` seconds.

        Raises:
            UnavailableError: The topic is gone or may not be read. What was polled with this error
                is returned before it is raised.
        """
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal
        polled = self._consumer.poll(maximum, wait, 0.0)
        raw = polled.records
        if raw is not None:
            self._next |= raw.next_offsets()
        # An end event among records means the end after them.
        for failure in polled.failures:
            try:
                self._judge(failure)
            except UnavailableError as error:
                if raw is None:
                    raise
                self._refusal = error
        return raw

    def poll_to_end(self, maximum: int, wait: float) -> RawRecords | None:
        """Poll for a caller that reads to the noted end and has nothing else to do.

        Raises:
            UnavailableError: As :meth:`poll`; or no offset could be read for 30 s.
        """
        raw = self.poll(maximum, wait)
        self._limit.note(self._next, wait)
        return raw

    def _judge(self, failure: ConsumerError) -> None:
        code = failure.error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
            # The rest up to the end may be transaction markers and aborted records.
            self._next[failure.partition] = max(self._next[failure.partition], failure.offset)
        else:
            refuse_unreadable(self.topic, failure)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
