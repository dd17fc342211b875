"""Decisions of a cluster, told again with changes, and asked for again."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer

from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.registry.sources import reader_schema
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.settings import Kafka, Models, Settings

DEPTHS: tuple[Depth, ...] = ("recorded", "input")
EVER = 0
Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def silent(_: str, __: int, ___: int) -> None:
    pass


def reproduced(kafka: Kafka, models: Path, **asked: Any) -> Reproduction:
    """Reproduce decisions, all unless ``asked`` says otherwise, by the versions of a store."""
    settings = Settings(kafka=kafka, models=Models(directory=models))
    return reproduce(settings, Question(**({"first_ms": EVER} | asked)), silent)


@cache
def schema() -> Any:
    return fastavro.parse_schema(json.loads(reader_schema("decision.v3")))


def retold(kafka: Kafka, name: str, change: Change) -> Kafka:
    """Return settings with a copy of the decisions, each as changed; None takes one out."""
    topics = kafka.topics.model_copy(update={"decisions": f"{kafka.topics.decisions}-{name}"})
    other = kafka.model_copy(update={"topics": topics})
    create_topics(other, 4, replication=1)
    producer = Producer(client_options.common(kafka) | {"enable.idempotence": True})
    for message in read_all(kafka, kafka.topics.decisions):
        value = message.value()
        told: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema(), None)
        changed = change(dict(told))
        if changed is None:
            continue
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema(), changed)
        producer.produce(topics.decisions, value[:5] + body.getvalue(), message.key())
    assert producer.flush(30) == 0
    return other


def only(partition: int, offset: int, **values: Any) -> Change:
    """Return a change of one decision; a callable is given what stood there."""

    def change(told: dict[str, Any]) -> dict[str, Any]:
        if (told["source_partition"], told["source_offset"]) == (partition, offset):
            new = {n: v(told[n]) if callable(v) else v for n, v in values.items()}
            return told | new
        return told

    return change


def times(kafka: Kafka) -> list[tuple[int, dict[str, Any]]]:
    """Return (event time, decision) of all, by time."""
    found = []
    for message in read_all(kafka, kafka.topics.decisions):
        told: Any = fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), schema(), None)
        found.append((round(told["event_time"].timestamp() * 1_000), dict(told)))
    return sorted(found, key=lambda each: each[0])
