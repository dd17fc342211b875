"""Open transactions by partition, from the topic in which the brokers keep them.

librdkafka has no request for them yet (KIP-664, librdkafka#5497). The topic has what a
transaction's coordinator knows. A transaction of which only the partition knows, because its end
was lost, is not in it; then ``kafka-transactions.sh find-hanging`` finds its producer.
"""

import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.closing import Closing
from stream_scorer.kafka.topics import client_options
from stream_scorer.lag.broker.looks import Place
from stream_scorer.settings import Kafka

TOPIC: Final = "__transaction_state"
_OPEN: Final = frozenset({1, 2, 3, 7})
"""Ongoing, PrepareCommit, PrepareAbort and PrepareEpochFence."""
_ENTRIES_MOST: Final = 10_000
"""Partitions of one transaction that are read: a record with more is malformed."""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that has not ended.

    Attributes:
        transactional_id: Of its producer, which names the application.
        producer_id: The broker's number for that producer.
        started: Seconds since the epoch, by the coordinator's clock.
        timeout: After this many seconds the coordinator aborts it.
        places: Its partitions.
    """

    transactional_id: str
    producer_id: int
    started: float
    timeout: float
    places: tuple[Place, ...] = ()


class OpenTransactions(Closing):
    """Follows the transactions of the cluster; each call reads what is new.

    Args:
        kafka: The cluster.
        seconds: How long a call may take; the next one continues.

    Attributes:
        complete: Whether the last call read the topic to its end.
    """

    def __init__(self, kafka: Kafka, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._consumer: Any = Consumer(
            client_options.reader(kafka, f"{kafka.group}-lag")
            | {"isolation.level": "read_uncommitted"}
        )
        self._next: dict[int, int] = {}
        self._at_end: set[int] = set()
        self._open: dict[str, OpenTransaction] = {}
        self.complete = False

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def by_place(self) -> dict[Place, OpenTransaction]:
        """Return the oldest open transaction of each partition that has one.

        Empty if the topic cannot be read: that needs the right READ on it.
        """
        self.complete = False
        try:
            self._read()
        except KafkaException:
            return {}
        found: dict[Place, OpenTransaction] = {}
        for transaction in self._open.values():
            for at in transaction.places:
                if at not in found or transaction.started < found[at].started:
                    found[at] = transaction
        return found

    def _read(self) -> None:
        known = self._consumer.list_topics(TOPIC, self._seconds).topics[TOPIC]
        partitions = sorted(known.partitions)
        deadline = time.monotonic() + self._seconds
        self._at_end.clear()
        self._consumer.assign([TopicPartition(TOPIC, p, self._next.get(p, 0)) for p in partitions])
        try:
            while len(self._at_end) < len(partitions) and time.monotonic() < deadline:
                for message in self._consumer.consume(1_000, 0.05):
                    self._take(message)
        finally:
            self._consumer.unassign()
        self.complete = bool(partitions) and len(self._at_end) == len(partitions)

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                self._at_end.add(message.partition())
            return
        self._next[message.partition()] = message.offset() + 1
        name = transactional_id(message.key())
        if name is None:
            return
        found = open_transaction(name, message.value())
        if found is None:
            self._open.pop(name, None)
        else:
            self._open[name] = found


def transactional_id(key: bytes | None) -> str | None:
    """Return the transactional id of a record's key; None if it is not one."""
    if key is None or len(key) < 4 or key[:2] != b"\0\0":  # noqa: PLR2004 version and length
        return None
    (length,) = struct.unpack_from(">h", key, 2)
    return key[4:].decode(errors="replace") if len(key) == 4 + length else None


def open_transaction(name: str, value: bytes | None) -> OpenTransaction | None:
    """Return the transaction of a record's value; None: it has ended, or is malformed.

    Args:
        name: Its transactional id.
        value: TransactionLogValue, version 0 or 1.
    """
    if value is None:
        return None
    try:
        return _decoded(name, value)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError):
        return None


def _decoded(name: str, value: bytes) -> OpenTransaction | None:
    reader = _Reader(value)
    version = reader.number(">h")
    if version not in (0, 1):
        return None
    producer_id = reader.number(">q")
    reader.number(">h")
    timeout, status = reader.number(">i"), reader.number(">b")
    if status not in _OPEN:
        return None
    places = reader.places(compact=version == 1)
    reader.number(">q")
    started = reader.number(">q")
    return OpenTransaction(name, producer_id, started / 1_000, timeout / 1_000, tuple(places))


class _Reader:
    """Reads Kafka's binary format; every length is checked against what is there."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._at = 0

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(form, self._value, self._at)
        self._at += struct.calcsize(form)
        return int(found)

    def varint(self) -> int:
        found = shift = 0
        while shift <= 28:  # noqa: PLR2004 five bytes
            byte = self._value[self._at]
            self._at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 the last byte
                return found
            shift += 7
        raise ValueError("a number of more than five bytes")

    def count(self, *, compact: bool) -> int:
        count = self.varint() - 1 if compact else self.number(">i")
        if count > _ENTRIES_MOST:
            raise ValueError("too many entries")
        return max(count, 0)

    def text(self, *, compact: bool) -> str:
        length = self.varint() - 1 if compact else self.number(">h")
        if length < 0 or self._at + length > len(self._value):
            raise ValueError("a text that is longer than its record")
        self._at += length
        return self._value[self._at - length : self._at].decode()

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self._at += self.varint()

    def places(self, *, compact: bool) -> list[Place]:
        found: list[Place] = []
        for _ in range(self.count(compact=compact)):
            topic = self.text(compact=compact)
            numbers = [self.number(">i") for _ in range(self.count(compact=compact))]
            found += [(topic, number) for number in numbers]
            if compact:
                self.skip_tags()
        return found
