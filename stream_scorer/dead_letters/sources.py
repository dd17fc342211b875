"""Whether a dead letter's source offset contains the bytes that the dead letter claims.

Any client that may write to the dead-letter topic can forge headers. So before a copy, a dead
letter is compared with the record that its headers name, as long as the input retains it. For
omitted parts the lengths are compared, and the record must be one from which a scorer omits parts.
Such a record is too large for most plans. So a forged header cannot cause the copy of another
record.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.dead_letters.format import ORIGINAL_BYTES_MAX, DeadLetter, size_of
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.ports import Headers, RawRecords
from stream_scorer.settings import Kafka

_FAR = 5_000
"""If two wanted offsets are this far apart, a new read costs less than reading on."""
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 30.0
_RECORDS_AT_ONCE = 16
"""Few: the headers of each must be read, without a limit on their total."""
_NO_LIMIT = 1 << 62

Place = tuple[int, int]


class LetterSources:
    """Reads the records of the input that dead letters name.

    Args:
        kafka: The cluster and its input.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._topic = kafka.topics.transactions
        self._consumer: PassingConsumer | None = None

    def same(self, letters: Iterable[DeadLetter]) -> set[Place]:
        """Return the (partition, offset) of those dead letters that equal their source.

        Value, key and headers are compared; both sides are read within the same limits. A dead
        letter may have only the first headers of its source. It does not match if the source does
        not exist: past the input's end, aborted, or a transaction's marker. Nor does it match if it
        does not contain the length of an omitted part.

        Raises:
            UnavailableError: There was no progress for 30 s.
        """
        return {letter.place for letter, _ in self._matches(letters)}

    def originals(self, letters: Iterable[DeadLetter]) -> dict[Place, DeadLetter]:
        """Return the dead letters of :meth:`same` with their omitted parts, by (partition, offset).

        Raises:
            UnavailableError: There was no progress for 30 s.
        """
        return {
            letter.place: _completed(letter, source) for letter, source in self._matches(letters)
        }

    def _matches(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[DeadLetter, RawRecords]]:
        """Yield dead letters that equal their source, each with that record."""
        wanted: dict[int, dict[int, list[DeadLetter]]] = {}
        for letter in letters:
            if None in letter.omitted.values():
                continue
            own = wanted.setdefault(letter.source_partition, {})
            own.setdefault(letter.source_offset, []).append(letter)
        for partition, offsets in sorted(wanted.items()):
            # A read that begins past the end would begin again at the oldest record.
            end = self._end(partition)
            for first, last in _stretches([offset for offset in offsets if offset < end]):
                for raw in self._read(partition, first, last):
                    for row, offset in enumerate(raw.offset.tolist()):
                        for letter in offsets.get(offset, ()):
                            if _equal(letter, raw, row):
                                yield letter, raw.take(np.array([row]))

    def _reader(self) -> PassingConsumer:
        if self._consumer is None:
            options = client_options.reader(self._kafka, f"{self._kafka.group}-reader")
            self._consumer = PassingConsumer(options, self._topic, _NO_LIMIT)
        return self._consumer

    def _end(self, partition: int) -> int:
        """Return the offset after a partition's last record."""
        try:
            return self._reader().watermarks(partition, _ANSWER_SECONDS)[1]
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error

    def _read(self, partition: int, first: int, last: int) -> Iterator[RawRecords]:
        """Yield the committed records between two offsets, both included, and possibly more."""
        consumer = self._reader()
        consumer.assign({partition: first})
        position = first
        limit = ReadLimit(self._topic, {partition: last + 1})
        while position <= last:
            polled = consumer.poll(_RECORDS_AT_ONCE, _POLL_SECONDS, 0.0)
            if polled.records is not None:
                position = max(position, polled.records.next_offsets().get(partition, position))
                yield polled.records.where(polled.records.partition == partition)
            if self._ends(polled.failures, partition):
                return  # what is wanted past it is not there
            limit.note({partition: position}, _POLL_SECONDS)

    def _ends(self, failures: Iterable[ConsumerError], partition: int) -> bool:
        """Return whether the partition's end is among the events; raise for any other event."""
        ended = False
        for failure in failures:
            if failure.error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                cause = KafkaException(failure.error)
                raise unreachable(self._kafka, failure.error.str()) from cause
            ended |= failure.partition == partition
        return ended

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()


def _stretches(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges that contain all offsets; each begins and ends with a wanted offset.

    >>> list(_stretches([7, 9, 10_000]))
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


def _equal(letter: DeadLetter, raw: RawRecords, row: int) -> bool:
    if raw.unreadable is not None and raw.unreadable[row]:
        return False
    value, key = raw.values[row], raw.keys[row]
    headers = (None if raw.headers is None else raw.headers[row]) or []
    for name, ours, theirs in (("value", letter.value, value), ("key", letter.key, key)):
        if name in letter.omitted:
            if len(theirs or b"") != letter.omitted[name]:
                return False
        elif ours != theirs:
            return False
    if "headers" in letter.omitted:
        if len(headers) != letter.omitted["headers"]:
            return False
    elif not _begin(letter.headers, headers):
        return False
    return not letter.omitted or size_of(value, key, headers) > ORIGINAL_BYTES_MAX


def _begin(letter: Headers, source: Headers) -> bool:
    """Return whether a dead letter's headers are its source's, or the first of them.

    >>> _begin([("a", b"1")], [("a", b"1"), ("b", b"2")]), _begin([("b", b"2")], None)
    (True, False)
    """
    ours = letter or []
    return ours == (source or [])[: len(ours)]


def _completed(letter: DeadLetter, source: RawRecords) -> DeadLetter:
    """Return a dead letter with its omitted parts, from its source record."""
    if not letter.omitted:
        return letter
    headers = None if source.headers is None else source.headers[0]
    return replace(
        letter, value=source.values[0], key=source.keys[0], headers=headers or None, omitted={}
    )
