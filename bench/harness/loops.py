"""The two loops that the scorer is compared with, each as short and as fast as we can write it.

Both are exactly-once, with the scorer's own librdkafka options
(``kafka/topics/client_options.py``) and its largest batch. They use what a good engineer would:
``produce_batch``, offsets from the consumer's position, schemas parsed once and without logical
types, one call of the model per batch.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import skops.io
from confluent_kafka import Consumer, Message, Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Settings

_WAIT_SECONDS = 0.1
_LINGER_SECONDS = 0.004
_HEADER_BYTES = 5
_MINOR_UNITS = 100.0
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_SATURDAY, _LAST_NIGHT_HOUR = 5, 6

Record = dict[str, bytes | None]
Work = Callable[[list[Message]], list[Record]]

_SYMBOLS = ("APPROVE", "REVIEW", "BLOCK")
_DECISION = {
    "type": "record",
    "name": "HandwrittenDecision",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "score", "type": "double"},
        {"name": "decision", "type": {"type": "enum", "name": "Verdict", "symbols": _SYMBOLS}},
    ],
}
_DECISION_HEADER = b"\0\0\0\x03\xe8"


def run_loop(settings: Settings, work: Work) -> None:
    """Consume, work, produce and commit until the process is ended."""
    kafka = settings.kafka
    # As large as ours: every row pays the broker's round trips once per as many records.
    most = settings.scorer.maximum_batch
    output = kafka.topics.decisions
    consumer = Consumer(client_options.consumer(kafka) | {"auto.offset.reset": "earliest"})
    consumer.subscribe([kafka.topics.transactions])
    producer = Producer(client_options.producer(kafka, f"{kafka.group}-{kafka.instance}"))
    producer.init_transactions()
    while True:
        first = consumer.poll(_WAIT_SECONDS)
        if first is None:
            continue
        records = work([first, *consumer.consume(most - 1, _LINGER_SECONDS)])
        producer.begin_transaction()
        if producer.produce_batch(output, records) != len(records):
            raise SystemExit(f"topic {output}: the client refused a record")
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        producer.commit_transaction()


def pass_through(settings: Settings) -> None:
    """Run the floor: the bytes on as they are, no decoding, no model."""
    run_loop(settings, lambda messages: [{"value": m.value(), "key": m.key()} for m in messages])


def handwritten(settings: Settings, bundle: Path) -> None:
    """Run fastavro in, three features in numpy, scikit-learn, fastavro out.

    Args:
        settings: Cluster, topics, registry.
        bundle: A model of the event's own columns: amount, weekend, night.
    """
    registry = open_registry(settings.registry)
    thresholds = read_manifest(bundle).thresholds
    edges = np.array([thresholds.review, thresholds.block])
    file = bundle / "original.skops"
    # The bench wrote this file itself, a moment ago.
    model: Any = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    writer = fastavro.parse_schema(_DECISION)
    schemas: dict[bytes, Any] = {}

    def read(value: bytes) -> dict[str, Any]:
        schema = schemas.get(value[:_HEADER_BYTES])
        if schema is None:
            number = int.from_bytes(value[1:_HEADER_BYTES], "big")
            schema = schemas[value[:_HEADER_BYTES]] = _plain(registry.writer_schema(number))
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), schema, None)
        return record

    def write(transaction_id: str, score: float, verdict: int) -> bytes:
        out = io.BytesIO()
        out.write(_DECISION_HEADER)
        fastavro.schemaless_writer(
            out, writer, {"id": transaction_id, "score": score, "decision": _SYMBOLS[verdict]}
        )
        return out.getvalue()

    def work(messages: list[Message]) -> list[Record]:
        events = [read(message.value()) for message in messages]
        time = np.array([event["event_time"] for event in events])
        features = np.empty((len(events), 3))
        features[:, 0] = [event["amount_minor"] for event in events]
        features[:, 0] /= _MINOR_UNITS
        features[:, 1] = (time // _DAY_MS + 3) % 7 >= _SATURDAY
        features[:, 2] = time // _HOUR_MS % 24 <= _LAST_NIGHT_HOUR
        scores = model.predict_proba(features)[:, 1]
        verdicts = np.searchsorted(edges, scores, "right")
        return [
            {"value": write(event["transaction_id"], score, verdict), "key": message.key()}
            for event, message, score, verdict in zip(
                events, messages, scores.tolist(), verdicts.tolist(), strict=True
            )
        ]

    run_loop(settings, work)


def _plain(text: str) -> Any:
    """Return a parsed schema without logical types: fastavro reads it a fifth faster."""

    def strip(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: strip(value) for key, value in part.items() if key != "logicalType"}
        return [strip(member) for member in part] if isinstance(part, list) else part

    return fastavro.parse_schema(strip(json.loads(text)), _force=True)
