"""Rejections without a segment, recovered from the dead letters: for ``state rebuild``.

A version that wrote no segments has left dead letters. Any client with write access can write a
dead letter, so it is evidence only if all of this holds: the input retains the record that it
names, with the same value, key and headers; no decision for that record was published; and the
decisions of that time are still retained, so that one would be found.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import numpy as np
import pyarrow.compute as pc

from stream_scorer.dead_letters.format import DeadLetter, parse
from stream_scorer.dead_letters.sources import LetterSources
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.registry.sources import open_registry
from stream_scorer.reproduce.compare import whole_numbers
from stream_scorer.reproduce.decisions import recorded
from stream_scorer.settings import Settings
from stream_scorer.state.partitions.rejected_offsets import Rejected

_AT_ONCE = 10_000

Found = dict[int, dict[int, str]]
"""The reason, by partition and offset."""


def rejected_by_letters(
    settings: Settings,
    retained: Mapping[int, tuple[int, int]],
    known: Mapping[int, Rejected],
    skipped: Callable[[int], None] = lambda _: None,
) -> Found:
    """Return the rejections for which only dead letters are evidence.

    A record among the decisions that cannot be read is skipped: another client may have written it.

    Args:
        settings: The cluster, its topics, the registry.
        retained: By partition, the first and the end offset of the input that is folded.
        known: By partition, the rejections in segments.
        skipped: Called with the number of records among the decisions that cannot be read.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: The broker does not answer.
        ValueError: A segment is damaged.
    """
    found: Found = {}
    letters = _candidates(settings, retained, known)
    sources = LetterSources(settings.kafka)
    try:
        while chunk := list(islice(letters, _AT_ONCE)):
            same = sources.same(chunk)
            for letter in chunk:
                if (letter.partition, letter.offset) in same:
                    own = found.setdefault(letter.source_partition, {})
                    own[letter.source_offset] = letter.reason
    finally:
        sources.close()
    return _undecided(settings, found, skipped) if found else {}


def _candidates(
    settings: Settings, retained: Mapping[int, tuple[int, int]], known: Mapping[int, Rejected]
) -> Iterator[DeadLetter]:
    kafka = settings.kafka
    for message in read_all(kafka, kafka.topics.dead_letters):
        try:
            letter = parse(message)
        except ValueError:
            continue
        first, end = retained.get(letter.source_partition, (0, 0))
        if (
            letter.source_topic == kafka.topics.transactions
            and first <= letter.source_offset < end
            and known[letter.source_partition].among(np.array([letter.source_offset])) is None
        ):
            yield letter


def _undecided(settings: Settings, found: Found, skipped: Callable[[int], None]) -> Found:
    """Leave out decided records, and those whose decisions may have been deleted."""
    first, _ = bounds(settings.kafka, settings.kafka.topics.decisions)
    whole = not any(first.values())
    oldest: dict[int, int] = {}
    for partition, offsets in _decided(settings, skipped):
        oldest[partition] = min(int(offsets.min()), oldest.get(partition, int(offsets.min())))
        own = found.get(partition, {})
        for offset in np.intersect1d(offsets, np.fromiter(own, np.int64, len(own))).tolist():
            del own[offset]
    return {
        partition: {
            offset: reason
            for offset, reason in own.items()
            if whole or offset > oldest.get(partition, offset)
        }
        for partition, own in found.items()
    }


def _decided(
    settings: Settings, skipped: Callable[[int], None]
) -> Iterable[tuple[int, np.typing.NDArray[np.int64]]]:
    """Yield partitions of the input with offsets of decided records."""
    topic = settings.kafka.topics.transactions
    for every in recorded(settings, open_registry(settings.registry), lambda *_: None, skipped):
        records = every.records.filter(pc.equal(every.records.column("source_topic"), topic))
        partitions = whole_numbers(records.column("source_partition"))
        offsets = whole_numbers(records.column("source_offset"))
        for partition in np.unique(partitions).tolist():
            yield partition, offsets[partitions == partition]
