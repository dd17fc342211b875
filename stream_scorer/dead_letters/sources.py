"""Whether a dead letter's source offset holds the bytes that it says were rejected there.

Headers are anybody's who may write to the dead-letter topic. What is copied back to the input is
therefore compared with the record that the headers name, as long as the input retains it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.kafka.reading.unreadable_batches import BatchEnds
from stream_scorer.kafka.topics import config
from stream_scorer.kafka.topics.consumer_errors import cannot_inflate
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.settings import Kafka

_FAR = 5_000
"""Offsets between two wanted ones from which on a new read costs less than reading on."""
_SILENCE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_RECORDS_AT_ONCE = 1_000

Place = tuple[int, int]


class LetterSources:
    """Reads the records of the input that dead letters name.

    Args:
        kafka: The cluster and its input.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._topic = kafka.topics.transactions
        self._consumer: Any = None
        self._options = config.reader(kafka, f"{kafka.group}-reader")
        self._ends = BatchEnds(self._options, self._topic)

    def same(self, letters: Iterable[DeadLetter]) -> set[Place]:
        """Return the (partition, offset) of those dead letters whose source holds the same.

        Value, key and headers are compared. A source that is not there, as it lies past the
        input's end, was aborted or is a transaction's marker, is not the same.

        Raises:
            UnavailableError: The broker has been silent for 10 s.
        """
        wanted: dict[int, dict[int, list[DeadLetter]]] = {}
        for letter in letters:
            own = wanted.setdefault(letter.source_partition, {})
            own.setdefault(letter.source_offset, []).append(letter)
        found: set[Place] = set()
        for partition, offsets in sorted(wanted.items()):
            for first, last in _stretches(offsets):
                for message in self._read(partition, first, last):
                    for letter in offsets.get(message.offset(), ()):
                        if _equal(letter, message):
                            found.add((letter.partition, letter.offset))
        return found

    def _read(self, partition: int, first: int, last: int) -> Iterator[Any]:
        """Yield the committed messages from one offset to another, both included."""
        if self._consumer is None:
            self._consumer = Consumer(self._options)
        self._consumer.assign([TopicPartition(self._topic, partition, first)])
        for message in self._polled():
            if message.partition() != partition:
                continue  # of the stretch before
            if message.error() is not None and cannot_inflate(message.error()):
                # Nothing is equal to what cannot be read.
                behind = self._ends.end(partition, message.offset())
                if behind > last:
                    return
                self._consumer.seek(TopicPartition(self._topic, partition, behind))
                continue
            if message.error() is None and message.offset() <= last:
                yield message
            # Else the partition's end: what is wanted past it is not there.
            if message.error() is not None or message.offset() >= last:
                return

    def _polled(self) -> Iterator[Any]:
        """Yield what comes, ends of partitions included."""
        heard = time.monotonic()
        while True:
            one: Any = self._consumer.poll(_POLL_SECONDS)
            messages = [] if one is None else [one, *self._consumer.consume(_RECORDS_AT_ONCE, 0)]
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise unreachable(self._kafka, f"silent for {_SILENCE_SECONDS:.0f} s")
            for message in messages:
                error = message.error()
                if error is not None and not (
                    error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 its public name
                    or cannot_inflate(error)
                ):
                    raise unreachable(self._kafka, error.str()) from KafkaException(error)
                yield message

    def close(self) -> None:
        """Let go of the connection."""
        self._ends.close()
        if self._consumer is not None:
            self._consumer.close()


def _stretches(offsets: Mapping[int, object]) -> Iterator[tuple[int, int]]:
    """Return stretches that hold all offsets, each from a wanted one to a wanted one.

    >>> list(_stretches({7: "", 9: "", 10_000: ""}))
    [(7, 9), (10000, 10000)]
    """
    first = last = None
    for offset in sorted(offsets):
        if first is None or last is None or offset - last > _FAR:
            if first is not None and last is not None:
                yield first, last
            first = offset
        last = offset
    if first is not None and last is not None:
        yield first, last


def _equal(letter: DeadLetter, message: Any) -> bool:
    same = (letter.value, letter.key) == (message.value(), message.key())
    return same and (letter.headers or []) == (message.headers() or [])
