"""Reads a topic from its first record to the end that it had at the beginning."""

from collections.abc import Callable, Iterable
from functools import partial

from stream_scorer.dataset.decisions import in_order
from stream_scorer.dataset.document import SourceRange
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

Told = Callable[[str, int], None]
"""Called with the name of a topic and the number of its records that were read."""


def source_of(kafka: Kafka, topic: str) -> SourceRange:
    """Return the records that a topic has now.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """
    first, end = bounds(kafka, topic, stable=False)
    return SourceRange(topic, first, end)


def read(kafka: Kafka, source: SourceRange, told: Told | None = None) -> Iterable[RawRecords]:
    """Yield the committed records of a source, one partition after the other.

    Args:
        kafka: The cluster.
        source: The records.
        told: Called with the progress.

    Raises:
        UnavailableError: No offset could be read for 30 s.
    """
    count = 0
    for raw in in_order(kafka, source.topic, source.first, source.next):
        count += len(raw)
        if told is not None:
            told(source.topic, count)
        yield raw


def each_of(records: Iterable[RawRecords], add: Callable[[RawRecords], None]) -> None:
    """Give all records to ``add``; while the registry does not answer, it is tried again."""
    for raw in records:
        read_patiently(partial(add, raw))
