"""Whether a dead letter's source offset holds the bytes that it says were rejected there.

Headers are anybody's who may write to the dead-letter topic. What is copied back to the input is
therefore compared with the record that the headers name, as long as the input retains it. Of what a
dead letter leaves out, the lengths are compared; and the record must be one of which a scorer
leaves something out. Such a record is too large for most plans: a forged header cannot have
another one copied.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.dead_letters.format import ORIGINAL_BYTES_MAX, DeadLetter, size_of
from stream_scorer.kafka.topics import config
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

    def same(self, letters: Iterable[DeadLetter]) -> set[Place]:
        """Return the (partition, offset) of those dead letters whose source holds the same.

        Value, key and headers are compared. A source that is not there, as it lies past the
        input's end, was aborted or is a transaction's marker, is not the same. Nor is one that
        cannot be compared, as the dead letter does not know the length of what it leaves out.

        Raises:
            UnavailableError: The broker has been silent for 10 s.
        """
        return {letter.place for letter, _ in self._matches(letters)}

    def originals(self, letters: Iterable[DeadLetter]) -> dict[Place, DeadLetter]:
        """Return, by (partition, offset), those of :meth:`same` with what they leave out.

        Raises:
            UnavailableError: The broker has been silent for 10 s.
        """
        return {
            letter.place: _completed(letter, message) for letter, message in self._matches(letters)
        }

    def _matches(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[DeadLetter, Any]]:
        """Yield dead letters whose source holds the same, with the source."""
        wanted: dict[int, dict[int, list[DeadLetter]]] = {}
        for letter in letters:
            if None in letter.omitted.values():
                continue
            own = wanted.setdefault(letter.source_partition, {})
            own.setdefault(letter.source_offset, []).append(letter)
        for partition, offsets in sorted(wanted.items()):
            for first, last in _stretches(offsets):
                for message in self._read(partition, first, last):
                    for letter in offsets.get(message.offset(), ()):
                        if _equal(letter, message):
                            yield letter, message

    def _read(self, partition: int, first: int, last: int) -> Iterator[Any]:
        """Yield the committed messages from one offset to another, both included."""
        if self._consumer is None:
            self._consumer = Consumer(config.reader(self._kafka, f"{self._kafka.group}-reader"))
        self._consumer.assign([TopicPartition(self._topic, partition, first)])
        for message in self._polled():
            if message.partition() != partition:
                continue  # of the stretch before
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
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                    raise unreachable(self._kafka, error.str()) from KafkaException(error)
                yield message

    def close(self) -> None:
        """Let go of the connection."""
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
    value, key, headers = message.value(), message.key(), message.headers() or []
    for name, ours, theirs in (
        ("value", letter.value, value),
        ("key", letter.key, key),
        ("headers", letter.headers or [], headers),
    ):
        if name in letter.omitted:
            if len(theirs or b"") != letter.omitted[name]:
                return False
        elif ours != theirs:
            return False
    return not letter.omitted or size_of(value, key, headers) > ORIGINAL_BYTES_MAX


def _completed(letter: DeadLetter, message: Any) -> DeadLetter:
    if not letter.omitted:
        return letter
    return replace(
        letter, value=message.value(), key=message.key(), headers=message.headers() or None,
        omitted={},
    )  # fmt: skip
