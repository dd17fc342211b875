"""Reads single records by partition and offset."""

import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.settings import Kafka

_SECONDS = 3.0
_POLL_SECONDS = 0.1
_COUNTED_SECONDS = 1.0
"""Partitions may be added; they are counted again at most once in this time."""
_SILENT_SECONDS = 5.0
"""A partition that did not answer is not asked again for so long: others would wait meanwhile."""


class RecordAt:
    """Reads records of a topic, one at a time. Thread-safe: calls wait for each other.

    Args:
        kafka: The cluster.
        topic: The topic.
        reader: The purpose: a part of the client's name.
    """

    def __init__(self, kafka: Kafka, topic: str, reader: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._lock = threading.Lock()
        options = client_options.reader(kafka, f"{kafka.group}-{reader}") | {
            "auto.offset.reset": "error",
            # Only one record is needed: do not fetch more than one record batch.
            "queued.min.messages": 1,
            "max.partition.fetch.bytes": 1_024,
        }
        self._consumer: Any = Consumer(options)
        self._partitions = 0
        self._counted = float("-inf")
        self._silent: dict[int, float] = {}

    def read(self, partition: int, offset: int) -> Any:
        """Return a committed record as a ``confluent_kafka.Message``; None if there is none.

        Args:
            partition: Its partition.
            offset: Its offset.

        Raises:
            UnavailableError: The broker does not answer, or has not a moment ago.
        """
        with self._lock:
            if not self._exists(partition):
                return None
            if time.monotonic() < self._silent.get(partition, 0.0):
                raise self._no_record()
            try:
                self._consumer.assign([TopicPartition(self._topic, partition, offset)])
                return self._read(partition, offset)
            except KafkaException as error:
                raise unreachable(self._kafka, error.args[0].str()) from error
            finally:
                self._consumer.unassign()

    def _exists(self, partition: int) -> bool:
        """Return whether the topic has a partition; a read of another one would not end."""
        now = time.monotonic()
        if partition >= self._partitions and now - self._counted > _COUNTED_SECONDS:
            try:
                topics = self._consumer.list_topics(self._topic, _SECONDS).topics
            except KafkaException as error:
                raise unreachable(self._kafka, error.args[0].str()) from error
            self._partitions, self._counted = len(topics[self._topic].partitions), now
        return partition < self._partitions

    def _read(self, partition: int, offset: int) -> Any:
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None or message.partition() != partition:
                continue
            # An error event is the end of the partition, or an offset that is not there.
            found = message.error() is None and message.offset() == offset
            return message if found else None
        self._silent[partition] = time.monotonic() + _SILENT_SECONDS
        raise self._no_record()

    def _no_record(self) -> UnavailableError:
        return unreachable(self._kafka, f"no record within {_SECONDS:.0f} s")

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
