"""Record batches that the client library refuses to decompress, and how a reader skips them.

A batch comes from one producer, which may compress zeros a thousandfold. librdkafka decompresses a
zstd batch up to ``receive.message.max.bytes`` (100 MB). It answers every fetch inside a larger one
with an error that names the batch's first offset, for ever, but not its end. So the end is searched
for: a fetch before the end gets the same error again, a fetch after it does not.

No readable record is skipped: the search ends at the first offset at which the error no longer
occurs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import (
    HEADERS_PER_POLL,
    ColumnConsumer,
    ConsumerError,
    Polled,
)
from stream_scorer.kafka.topics.consumer_errors import cannot_inflate
from stream_scorer.ports import BytesColumn, RawRecords

NO_TIME = -1
"""The timestamp of a record that was not read, as in Kafka."""
_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.1
_SEEK_SECONDS = 30.0
_MEMBERS_ONLY = frozenset(
    {
        "group.instance.id", "group.protocol", "heartbeat.interval.ms",
        "partition.assignment.strategy", "session.timeout.ms",
    }
)  # fmt: skip


class BatchEnds:
    """Finds the ends of batches that cannot be decompressed.

    Args:
        options: librdkafka's, of the reader that met the batch.
        topic: The topic.
    """

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        kept = {name: value for name, value in options.items() if name not in _MEMBERS_ONLY}
        self._options = kept | {
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.error.backoff.ms": 10,
            # Only one batch is needed.
            "queued.min.messages": 1,
            "max.partition.fetch.bytes": 1_024,
        }
        self._topic = topic
        self._consumer: Any = None
        self._found: dict[int, tuple[int, int]] = {}

    def end(self, partition: int, base: int) -> int:
        """Return the next offset after a batch; its own first offset if it can be read after all.

        Args:
            partition: Its partition.
            base: Its first offset.

        Raises:
            UnavailableError: The brokers sent nothing for 20 s.
        """
        known = self._found.get(partition)
        if known is not None and known[0] == base:
            return known[1]
        if not self._holds(partition, base, base):
            return base
        inside, step = base, 1
        while self._holds(partition, base, inside + step):
            inside, step = inside + step, 2 * step
        behind = inside + step
        while behind - inside > 1:
            middle = (inside + behind) // 2
            if self._holds(partition, base, middle):
                inside = middle
            else:
                behind = middle
        self._found[partition] = (base, behind)
        return behind

    def _holds(self, partition: int, base: int, offset: int) -> bool:
        """Whether a fetch at an offset meets the batch."""
        if self._consumer is None:
            self._consumer = Consumer(self._options)
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        until = monotonic() + _PATIENCE_SECONDS
        while monotonic() < until:
            message: Any = self._consumer.poll(_POLL_SECONDS)
            if message is None or message.partition() != partition:
                continue
            error = message.error()
            if error is None or error.code() in {
                KafkaError._PARTITION_EOF,  # noqa: SLF001 the binding's public constants
                KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 the same: past the end
            }:
                return False
            if cannot_inflate(error):
                return bool(message.offset() == base)
        raise UnavailableError(
            f"topic {self._topic} partition {partition}: a batch at offset {base} cannot be "
            f"inflated, and the brokers sent nothing after it for {_PATIENCE_SECONDS:.0f} s",
            "check the brokers",
        )

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class PassingConsumer(ColumnConsumer):
    """A consumer that returns a record that cannot be decompressed without key and value.

    Such records are marked (:attr:`RawRecords.unreadable`), arrive in order, and count for a poll's
    maximum. A reader may begin or stop at any of them.

    Args:
        options: librdkafka's.
        topic: The topic.
        headers_per_poll: As of :class:`ColumnConsumer`.

    Raises:
        KafkaException: An option is refused.
    """

    def __init__(
        self, options: Mapping[str, Any], topic: str, headers_per_poll: int = HEADERS_PER_POLL
    ) -> None:
        super().__init__(options, topic, headers_per_poll)
        self._ends = BatchEnds(options, topic)
        self._moved: set[int] = set()

    def add(self, offsets: Mapping[int, int]) -> None:
        """Add partitions that were assigned."""
        super().add(offsets)
        self._moved |= offsets.keys()

    def remove(self, partitions: Sequence[int]) -> None:
        """Remove partitions that were revoked."""
        super().remove(partitions)
        self._moved |= set(partitions)

    def poll(self, maximum: int, wait: float, linger: float) -> Polled:
        """Wait for a record, and then for more; see :class:`ColumnConsumer`.

        Raises:
            KafkaException: The client cannot continue.
        """
        self._moved.clear()
        polled = super().poll(maximum, wait, linger)
        if not any(cannot_inflate(failure.error) for failure in polled.failures):
            return polled
        pieces = [] if polled.records is None else [polled.records]
        others: list[ConsumerError] = []
        for failure in polled.failures:
            if not cannot_inflate(failure.error):
                others.append(failure)
            elif (place := failure.partition) in self._from and place not in self._moved:
                # If this fails, the next fetch meets the batch again.
                with suppress(KafkaException, UnavailableError):
                    pieces += self._passed(failure, maximum - sum(map(len, pieces)))
        return Polled(RawRecords.join(pieces) if pieces else None, tuple(others))

    def _passed(self, failure: ConsumerError, most: int) -> list[RawRecords]:
        """Skip a batch, or as much of it as may be returned."""
        partition, base = failure.partition, failure.offset
        first = max(base, self._from[partition])
        end = min(self._ends.end(partition, base), first + most)
        if end <= first:
            return []
        self.seek({partition: end}, _SEEK_SECONDS)
        return [unread(partition, first, end)]

    def close(self) -> None:
        """Leave the group and free the client; further calls do nothing."""
        self._ends.close()
        super().close()


def unread(partition: int, first: int, end: int) -> RawRecords:
    """Return the records of ``[first, end)``, marked as unreadable."""
    n = end - first
    return RawRecords(
        BytesColumn.nulls(n),
        BytesColumn.nulls(n),
        None,
        np.full(n, partition, np.int32),
        np.arange(first, end, dtype=np.int64),
        np.full(n, NO_TIME, np.int64),
        unreadable=np.ones(n, np.bool_),
    )


@dataclass(frozen=True, slots=True)
class UnreadMessage:
    """Replaces a ``confluent_kafka.Message`` that cannot be decompressed: null key and value."""

    _topic: str
    _partition: int
    _offset: int

    def topic(self) -> str:
        """Return its topic."""
        return self._topic

    def partition(self) -> int:
        """Return its partition."""
        return self._partition

    def offset(self) -> int:
        """Return its offset."""
        return self._offset

    def key(self) -> None:
        """Return None."""

    def value(self) -> None:
        """Return None."""

    def headers(self) -> None:
        """Return None."""

    def error(self) -> None:
        """Return None, so that readers continue."""

    def timestamp(self) -> tuple[int, int]:
        """Return that it has no timestamp."""
        return 0, NO_TIME


def unread_messages(topic: str, partition: int, first: int, end: int) -> Iterator[Any]:
    """Yield the replacements for the messages of ``[first, end)``."""
    for offset in range(first, end):
        yield UnreadMessage(topic, partition, offset)
