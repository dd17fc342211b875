"""The records of a topic from given offsets on, read committed and without a group."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import SettingsError
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import refuse_unreadable
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

_WAIT_SECONDS = 0.1
_LINGER_SECONDS = 0.02


class PartitionReader:
    """Reads partitions of a topic.

    Args:
        kafka: The cluster.
        topic: The topic.
        start: First offset by partition; a partition that is not listed is not read.

    Raises:
        SettingsError: librdkafka refuses an option of ``kafka.client``.
    """

    def __init__(self, kafka: Kafka, topic: str, start: Mapping[int, int]) -> None:
        self._kafka = kafka
        self._topic = topic
        self._next = dict(start)
        options = client_options.reader(kafka, f"{kafka.group}-client")
        # What retention deletes before it is read is reported, not skipped.
        options["auto.offset.reset"] = "error"
        try:
            self._consumer = PassingConsumer(options, topic)
        except KafkaException as error:
            raise client_options.refused_option(error) or unreachable(kafka, error) from error
        self._consumer.assign(self._next)

    def to(self, ends: Mapping[int, int], maximum: int) -> Iterator[RawRecords]:
        """Yield the committed records before ``ends``, some at a time.

        Args:
            ends: Next offset after the last one by partition. Open transactions before it are
                waited for.
            maximum: Maximum number of records at a time.

        Raises:
            UnavailableError: No offset could be read for 30 s; or the topic cannot be read.
        """
        ends = {partition: end for partition, end in ends.items() if partition in self._next}
        limit = ReadLimit(self._topic, ends)
        while any(self._next[partition] < end for partition, end in ends.items()):
            raw = self._poll(maximum)
            limit.note(self._next, _WAIT_SECONDS)
            if raw is not None:
                yield from _before(raw, ends)

    def follow(self, stop: Callable[[], bool], maximum: int) -> Iterator[RawRecords]:
        """Yield committed records as they arrive, until ``stop`` returns true.

        Args:
            stop: Called ten times a second while nothing arrives, and after each batch.
            maximum: Maximum number of records at a time.

        Raises:
            UnavailableError: The topic cannot be read.
        """
        while not stop():
            raw = self._poll(maximum)
            if raw is not None:
                yield raw

    def _poll(self, maximum: int) -> RawRecords | None:
        try:
            polled = self._consumer.poll(maximum, _WAIT_SECONDS, _LINGER_SECONDS)
        except KafkaException as error:
            raise unreachable(self._kafka, error) from error
        if polled.records is not None:
            self._next |= polled.records.next_offsets()
        # An end that is reported together with records is after them.
        for failure in polled.failures:
            self._judge(failure)
        return polled.records

    def _judge(self, failure: ConsumerError) -> None:
        code = failure.error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
            # Transaction markers and aborted records may fill the rest up to the end.
            at = max(self._next.get(failure.partition, 0), failure.offset)
            self._next[failure.partition] = at
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 the binding's own name
            raise SettingsError(
                f"topic {self._topic} partition {failure.partition}: offset "
                f"{self._next.get(failure.partition)} is not there: its retention has deleted it, "
                "or it was never written",
                'start at an offset that is there, or at "earliest"',
            )
        else:
            refuse_unreadable(self._topic, failure)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def _before(raw: RawRecords, ends: Mapping[int, int]) -> Iterator[RawRecords]:
    """Yield the records that are before the ends, if there are any."""
    end = np.zeros(max(ends) + 1, np.int64)
    end[list(ends)] = list(ends.values())
    wanted = raw.where(raw.offset < end[raw.partition])
    if len(wanted):
        yield wanted
