"""Summaries in a cluster, and the drift events that they must give."""

import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.monitor.events import event_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import read_reference
from stream_scorer.settings import Kafka
from tests.support.drift.monitors import EVENT, FILES, SUMMARY
from tests.support.drift.synthetic import START, Shift, summaries
from tests.support.drift.watched_store import VERSION, watched_store

WINDOWS = 150
SHIFTS = {
    40: Shift(score=1.8), 80: Shift(score=1.8, missing={"f1": 0.2}), 100: Shift(score=1.8),
    120: Shift(score=2.6),
}  # fmt: skip
HISTORY = "2024-01-01T00:00:00+00:00"
"""``monitor.history_from``: the start of the first window."""
APART_MS = 20_000
"""Kafka time between two summaries."""
Pair = tuple[dict[str, Any], int]


def store_and_stream(store: Path) -> tuple[DriftReference, list[Pair]]:
    """Write a store; return the reference as the monitor reads it, and summaries that name it."""
    watched_store(store)
    data = (store / "fraud" / VERSION / "reference.json").read_bytes()
    read = read_reference(data, f"fraud:{VERSION}")
    made = [each for each, _ in summaries(WINDOWS, shifts=SHIFTS, parts=2, named=read)]
    # A broker deletes what is older than its retention: the summaries are of the last hours.
    now = time.time_ns() // 1_000_000
    return read, [(each, now - (len(made) - n) * APART_MS) for n, each in enumerate(made)]


def expected(read: DriftReference, stream: list[Pair], partitions: int) -> list[bytes]:
    """Return the events of a fold that is never disturbed.

    Args:
        read: The reference.
        stream: The summaries with their Kafka timestamps.
        partitions: Number of the input's partitions.
    """
    budget = AlarmBudget(30.0, 0.5, START, 2_048)
    state = DriftWatch(budget, range(partitions), 3_600_000, lambda *_: read)
    return [EVENT.encode(event_of(a)) for each, at in stream for a in state.update(each, at)]


def publish(kafka: Kafka, stream: list[Pair], first: int = 0, last: int | None = None) -> None:
    """Publish summaries in transactions of three, with their timestamps."""
    producer = Producer(client_options.producer(kafka, f"{kafka.group}-test"))
    producer.init_transactions(10)
    part = stream[first:last]
    for at in range(0, len(part), 3):
        producer.begin_transaction()
        for each, timestamp in part[at : at + 3]:
            producer.produce(kafka.topics.summaries, SUMMARY.encode(each), timestamp=timestamp)
        producer.commit_transaction(10)


def published(kafka: Kafka) -> list[bytes]:
    """Return the drift events of a cluster, in their order."""
    return [message.value() for message in read_all(kafka, kafka.topics.drift_events)]


def decoded(values: list[bytes]) -> list[dict[str, Any]]:
    """Return events, decoded."""
    return [EVENT.decode(value, FILES) for value in values]
