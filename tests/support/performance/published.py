"""Decisions and labels of a small city in a cluster, and what performance published of them."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka

FILES = FileRegistry(SCHEMAS_DIRECTORY)
DECISION = RecordCodec(19, reader_schema("decision.v3"))
LABEL = RecordCodec(17, reader_schema("label.v2"))
WINDOW = RecordCodec(20, reader_schema("performance.v1"))
EVENT = RecordCodec(16, reader_schema("drift-event.v3"))
DAY_MS = 86_400_000
START = 1_704_067_200_000
DAYS, CHANGED = 48, 36
"""Days, and the day from which on the model misses what it found before.

A day closes when labels are mature and no late one is expected: eight days after its end.
"""
PER_DAY = 210
PARTITIONS = 4


@dataclass(frozen=True)
class SentRecord:
    """A record for a topic: a decision or a label.

    Attributes:
        label: Whether it is a label.
        partition: Its partition.
        timestamp: Its Kafka time, ms.
        value: Its value.
    """

    label: bool
    partition: int
    timestamp: int
    value: bytes


def decision(**changes: Any) -> dict[str, Any]:
    """Return the fields of a decision."""
    return {
        "transaction_id": "t1", "customer_id": "c1", "terminal_id": "s1", "event_time": START,
        "decided_at": START, "score": 0.1, "decision": "APPROVE", "model": "fraud",
        "model_version": "1.0.0", "arm": "champion", "engine": 1, "features": b"",
        "source_topic": "transactions", "source_partition": 0, "source_offset": 0,
        "amount_minor": 5_000, "currency": "EUR", **changes,
    }  # fmt: skip


def label(**changes: Any) -> dict[str, Any]:
    """Return the fields of a label."""
    return {
        "transaction_id": "t1", "customer_id": "c1", "terminal_id": "s1", "event_time": START,
        "is_fraud": True, "label_time": START + DAY_MS, "source": "bank", **changes,
    }  # fmt: skip


def city(days: int = DAYS) -> list[SentRecord]:
    """Return the records of a city in the order of their Kafka times, which are of the last hour.

    From day ``CHANGED`` on, frauds are approved that would have been blocked before. Some labels
    come twice, late, or are retracted.
    """
    chance = np.random.default_rng(11)
    made: list[tuple[int, bool, int, dict[str, Any]]] = []
    for number in range(days * PER_DAY):
        day, within = divmod(number, PER_DAY)
        at = START + day * DAY_MS + within * (DAY_MS // PER_DAY)
        customer = int(chance.integers(0, 300))
        fraud = bool(chance.random() < 0.1)
        found = fraud and chance.random() < (0.9 if day < CHANGED else 0.05)
        score = float(np.round(chance.uniform(0.9, 1.0) if found else chance.uniform(0, 0.6), 3))
        named = {
            "transaction_id": f"t{number}", "customer_id": f"c{customer}", "event_time": at,
        }  # fmt: skip
        fields = decision(
            **named, score=score, decision="BLOCK" if found else "APPROVE",
            amount_minor=int(chance.integers(500, 15_000)), source_offset=number,
        )  # fmt: skip
        made.append((at, False, customer % PARTITIONS, fields))
        known = at + int(chance.integers(1, 9)) * DAY_MS
        told = label(**named, is_fraud=fraud, label_time=known, label_id=f"l{number}")
        if fraud or chance.random() < 0.2:
            made.append((known, True, customer % PARTITIONS, told))
        if fraud and chance.random() < 0.1:
            again = {**told, "label_id": f"r{number}", "retracts": f"l{number}"}
            made.append((known + DAY_MS // 2, True, customer % PARTITIONS, again))
            made.append((known + DAY_MS, True, customer % PARTITIONS, told))
    made.sort(key=lambda each: each[0])
    first = time.time_ns() // 1_000_000 - 3_600_000
    return [
        SentRecord(is_label, partition, first + n, (LABEL if is_label else DECISION).encode(fields))
        for n, (_, is_label, partition, fields) in enumerate(made)
    ]


def publish(kafka: Kafka, records: Sequence[SentRecord]) -> None:
    """Publish records in one transaction, with their partitions and times."""
    producer = Producer(client_options.producer(kafka, f"{kafka.group}-test"))
    producer.init_transactions(10)
    producer.begin_transaction()
    topics = kafka.topics
    for each in records:
        topic = topics.labels if each.label else topics.decisions
        producer.produce(topic, each.value, partition=each.partition, timestamp=each.timestamp)
        producer.poll(0)
    producer.commit_transaction(10)


def published(kafka: Kafka) -> tuple[list[bytes], list[bytes]]:
    """Return the values of the topics ``performance`` and ``drift-events``, in their order."""
    topics = kafka.topics
    found = [
        [message.value() for message in read_all(kafka, topic)]
        for topic in (topics.performance, topics.drift_events)
    ]
    return found[0], found[1]


def digest(values: Sequence[bytes]) -> str:
    """Return a digest of values."""
    return hashlib.sha256(b"".join(values)).hexdigest()[:16]
