"""A silent replay: reads a partition's retained input again, up to an offset, to rebuild state."""

from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka import config
from stream_scorer.kafka.source import columns_of
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

_CHUNK = 10_000
_STEP_SECONDS = 0.05


class InputReplay:
    """One partition's input from its oldest retained record up to, not including, ``end``.

    Args:
        kafka: Cluster.
        topic: Input topic.
        partition: Its partition.
        low: Oldest retained offset.
        end: The offset at which live reading goes on.
    """

    def __init__(self, kafka: Kafka, topic: str, partition: int, low: int, end: int) -> None:
        self.partition = partition
        self.low = low
        self.end = end
        self.next_offset = low
        self._topic = topic
        self._consumer = Consumer(config.reader(kafka, f"{kafka.group}-replay"))
        self._consumer.assign([TopicPartition(topic, partition, low)])

    def step(self) -> RawRecords | None:
        """Return some records before ``end``, or None when a short while brought none.

        Raises:
            UnavailableError: The input cannot be read.
        """
        messages = []
        for message in self._consumer.consume(_CHUNK, _STEP_SECONDS):
            error = message.error()
            if error is None:
                self.next_offset = message.offset() + 1
                if message.offset() < self.end:
                    messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                # Control records and aborted records may fill the rest up to the end.
                self.next_offset = max(self.next_offset, message.offset())
            elif not error.retriable() and error.fatal():
                raise UnavailableError(
                    f"{self._topic} partition {self.partition} cannot be replayed: {error.str()}",
                    "check the brokers",
                )
        return columns_of(messages) if messages else None

    @property
    def done(self) -> bool:
        """Whether everything before ``end`` has been returned."""
        return self.next_offset >= self.end

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()
