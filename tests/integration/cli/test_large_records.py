"""Compressed records that inflate from a few hundred bytes to megabytes, between valid ones."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchAborted
from tests.support.faults.process import environment
from tests.support.faults.reference_run import (
    Record,
    committed,
    everything_once,
    feed,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

BOMB = bytes(8_000_000)


def bombs(kafka: Kafka, *records: tuple[Record, list[tuple[str, bytes]]]) -> None:
    """Produce compressed records as another client does."""
    options = {"message.max.bytes": 100_000_000, "compression.type": "zstd"}
    producer = Producer(client_options.common(kafka) | options)
    for record, headers in records:
        producer.produce(
            kafka.topics.transactions, record.value, record.key, record.partition, headers=headers
        )
    assert producer.flush(60) == 0


def command(kafka: Kafka, *words: object) -> Any:
    result = CliRunner().invoke(
        app, ["dlq", *map(str, words), "--json"], env=environment(kafka) | {"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_large_records_are_rejected_without_what_is_large(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings())
    records = transactions(days=2, customers=20)
    good = next(record for record in records if not record.bad)
    half = len(records) // 2
    bomb = Record(b"mallory", BOMB, "TOO_LARGE")
    long_key = Record(bytes(2_000_000), good.value, "TOO_LARGE")
    twice = Record(good.key, good.value, "DUPLICATE")
    counts = Counter(feed(ours, records[:half]))
    bombs(ours, (bomb, []), (long_key, []), (twice, [("baggage", bytes(2_000_000))]))
    counts.update(record.partition for record in (bomb, long_key, twice))
    counts.update(feed(ours, records[half:]))

    found, heard = scored(ours, dict(counts))
    assert heard.of(BatchAborted) == []
    # Two dead letters have no value. The oversize header is not read, so its record's dead letter
    # is complete.
    seen = (*(Record(each.key, None, each.bad) for each in (bomb, long_key)), twice)
    everything_once(found, (*records[:half], *seen, *records[half:]))
    listed, _ = command(ours, "list", "--reason", "TOO_LARGE")
    omitted = {each["omitted"]: each["source"] for each in listed["newest"]}
    length = len(good.value or b"")
    assert omitted.keys() == {"value 8000000", f"value {length}, key 2000000"}
    shown, _ = command(ours, "show", "--source", omitted["value 8000000"])
    assert (shown["value"], shown["key"]) == (None, b"mallory".hex())
    assert shown["omitted"] == {"value": 8_000_000}

    # Neither of them can be copied back; all other rejected records can.
    told, lines = command(ours, "replay", "--reason", "TOO_LARGE", "--reason", "CURRENCY")
    assert (told["copied"], told["refused"], told["mismatched"]) == (0, 2, 0)
    assert lines.count("not copied: dead letter ") == 2
    assert lines.count("and a copy has at most 1114112") == 2
    count = Counter(record.bad for record in records if record.bad)
    told, lines = command(ours, "replay")
    assert told["copied"] == count.total() - count["DUPLICATE"]
    assert "not copied" not in lines


def test_an_operator_takes_a_large_record(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings())
    records = transactions(days=2, customers=100)
    bomb = Record(b"mallory", BOMB)
    ends = feed(ours, records)
    # Every partition must have a committed offset.
    assert all(ends.values())
    scored(ours, ends)
    bombs(ours, (bomb, [("trace", b"1")]))
    taken, _ = command(ours, "take", bomb.partition, ends[bomb.partition])
    assert taken["taken"]
    assert committed(ours)[bomb.partition] == ends[bomb.partition] + 1
    *_, letter = sorted(read_all(ours, ours.topics.dead_letters), key=lambda m: m.timestamp()[1])
    assert (letter.value(), letter.key()) == (None, b"mallory")
    assert letter.headers()[:3] == [
        ("trace", b"1"), ("dlq.omitted", b"value 8000000"), ("dlq.reason", b"INTERNAL"),
    ]  # fmt: skip
