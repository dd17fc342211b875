"""A scorer of a foreign topic decides as one of the same transactions in our schema."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Registry
from stream_scorer.telemetry import BatchCommitted
from tests.support.codec.foreign_events import (
    foreign,
    other,
    plan_of_foreign,
    with_foreign_schema,
)
from tests.support.faults.reference_run import Record, feed, scored, transactions

pytestmark = pytest.mark.kafka

FILES = FileRegistry(SCHEMAS_DIRECTORY)
SUMMARY = RecordCodec(12, reader_schema("summary.v3"))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return plan_of_foreign(tmp_path)


def test_mapped_records_are_decided_as_our_own(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
    plan: Path,
) -> None:
    records = tuple(record for record in transactions(days=6) if record.value is not None)
    native, mapped = (kafka_topics(kafka_settings()) for _ in range(2))
    expected, _ = scored(native, feed(native, records))
    theirs: list[Record] = []
    kept: list[bool] = []
    for number, record in enumerate(records):
        theirs.append(foreign(record))
        kept.append(True)
        if number % 5 == 0:
            theirs.append(other(record) if number % 2 else Record(record.key, None))
            kept.append(False)
    found, heard = scored(
        mapped, feed(mapped, tuple(theirs)),
        deployment=Deployment("fraud:1.0.0", start="earliest", plan=plan),
        registry=Registry(directory=with_foreign_schema(tmp_path)),
    )  # fmt: skip
    place = places(theirs, kept)
    assert found.doubled == []
    assert {place[at]: each for at, each in found.decisions.items()} == expected.decisions
    reasons = {place[at]: letter[0] for at, letter in found.dead_letters.items()}
    assert reasons == {at: letter[0] for at, letter in expected.dead_letters.items()}
    assert found.rings == expected.rings
    assert found.dumps == expected.dumps
    assert sum(found.offsets.values()) == len(theirs)
    skipped = len(theirs) - len(records)
    assert sum(batch.skipped for batch in heard.of(BatchCommitted)) == skipped
    summaries = [
        SUMMARY.decode(m.value(), FILES) for m in read_all(mapped, mapped.topics.summaries)
    ]
    assert sum(each["skipped"] for each in summaries) == skipped
    counted = len(found.decisions) + len(found.dead_letters) + skipped
    assert sum(each["records"] for each in summaries) == counted == len(theirs)


def places(
    records: Sequence[Record], kept: Sequence[bool]
) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the places in a topic without the skipped records, by those in the other topic."""
    every, left = Counter[int](), Counter[int]()
    found = {}
    for record, stays in zip(records, kept, strict=True):
        partition = record.partition
        if stays:
            found[partition, every[partition]] = (partition, left[partition])
            left[partition] += 1
        every[partition] += 1
    return found
