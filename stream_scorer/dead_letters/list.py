"""Lists the dead-letter topic: counts by reason, the newest records, one record."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from stream_scorer import settings
from stream_scorer.dead_letters.format import DeadLetter, parse
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading.read_to_end import read, read_all
from stream_scorer.kafka.topics.offsets import bounds

FOREIGN = "(foreign)"
"""The reason under which records that are not our dead letters are counted."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The contents of a dead-letter topic.

    Attributes:
        counts: Records by reason, most frequent first.
        newest: The last ones of the chosen reason, newest first.
    """

    counts: dict[str, int]
    newest: list[DeadLetter]


def list_dead_letters(kafka: settings.Kafka, reason: str | None, limit: int) -> Listing:
    """Count all dead letters and keep the newest.

    Args:
        kafka: The cluster and its dead-letter topic.
        reason: Which to keep; None keeps any.
        limit: How many to keep.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """
    counts: Counter[str] = Counter()
    kept: dict[int, deque[DeadLetter]] = {}
    for message in read_all(kafka, kafka.topics.dead_letters):
        letter = _parsed(message)
        counts[letter.reason if letter else FOREIGN] += 1
        if letter and reason in {None, letter.reason}:
            # Within a partition records are in order; only across partitions times decide.
            kept.setdefault(letter.partition, deque(maxlen=limit)).append(letter)
    letters = sorted(
        (letter for part in kept.values() for letter in part),
        key=lambda letter: (letter.timestamp, letter.offset),
        reverse=True,
    )
    return Listing(dict(counts.most_common()), letters[:limit])


def dead_letter_at(kafka: settings.Kafka, partition: int, offset: int) -> DeadLetter:
    """Return the dead letter at an offset of the dead-letter topic.

    Raises:
        SettingsError: There is none.
        UnavailableError: The broker does not answer.
    """
    topic = kafka.topics.dead_letters
    first, end = bounds(kafka, topic)
    if partition in end and first[partition] <= offset < end[partition]:
        for message in read(kafka, topic, {partition: offset}, {partition: offset + 1}):
            letter = _parsed(message)
            if letter:
                return letter
    raise SettingsError(
        f"{topic}: no dead letter at partition {partition}, offset {offset}",
        "see the coordinates in `stream-scorer dlq list`",
    )


def dead_letter_of(kafka: settings.Kafka, source: str) -> DeadLetter:
    """Return the dead letter of an input record, the newest if it was sent again.

    Args:
        kafka: The cluster and its dead-letter topic.
        source: TOPIC:PARTITION:OFFSET of the input record.

    Raises:
        SettingsError: There is none.
        UnavailableError: The broker does not answer.
    """
    topic = kafka.topics.dead_letters
    found = [
        letter
        for letter in map(_parsed, read_all(kafka, topic))
        if letter and letter.source == source
    ]
    if not found:
        raise SettingsError(
            f"{topic}: no dead letter of {source}",
            "write TOPIC:PARTITION:OFFSET; the record may have been decided instead",
        )
    return max(found, key=lambda letter: letter.timestamp)


def _parsed(message: Any) -> DeadLetter | None:
    try:
        return parse(message)
    except ValueError:
        return None
