"""Devices' rows in the topics: published as a gateway does, or by someone else, and what came."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import Outcome
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.claims.headers import headers_of
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import Headers
from stream_scorer.settings import Kafka
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator, decision_by
from tests.support.faults.reference_run import PARTITIONS, Record, transaction_codec
from tests.support.way_back.gateways import FILES, EdgeGateway

OUTCOMES = (Outcome.APPROVE, Outcome.REVIEW, Outcome.BLOCK)


def id_of(record: Record) -> str:
    """Return the id of an input record's transaction."""
    return str(transaction_codec().decode(record.value, FILES)["transaction_id"])


def of_device(
    operator: Operator, device: MadeDevice, records: Sequence[Record], **changes: Any
) -> list[EdgeRow]:
    """Return a device's rows for transactions, with outcomes in turn."""
    manifest = operator.manifest()
    rows = []
    for number, record in enumerate(records):
        decision = decision_by(manifest, id_of(record), OUTCOMES[number % 3], **changes)
        rows.append(device.row(record.value or b"", decision, record.key))
    return rows


def publish(operator: Operator, device: MadeDevice, rows: Sequence[EdgeRow]) -> None:
    """Publish rows as a gateway does, which judges no signature."""
    with closing(EdgeGateway(operator.kafka)) as gateway:
        for at in range(0, len(rows), 1_000):
            gateway.publisher.publish(device.name, rows[at : at + 1_000])


def produce(kafka: Kafka, rows: Sequence[tuple[EdgeRow, Headers]]) -> None:
    """Produce rows with any headers, as only someone can who may write the topic."""
    producer = Producer(client_options.common(kafka) | {"enable.idempotence": True})
    for row, headers in rows:
        producer.produce(
            kafka.topics.transactions, row.value, row.key, headers=list(headers or ()),
            partition=partition_of(row.key, PARTITIONS),
        )  # fmt: skip
    assert producer.flush(30) == 0


def named(device: str, row: EdgeRow, **changed: bytes) -> Headers:
    """Return the headers of a row, some with another value; an underscore is a hyphen."""
    other: Mapping[str, bytes] = {k.replace("_", "-"): value for k, value in changed.items()}
    return [(name, other.get(name, value)) for name, value in headers_of(device, row)]


def decoded(kafka: Kafka, topic: str, codec: RecordCodec) -> list[tuple[dict[str, Any], Any]]:
    """Return the records of a topic, each with its headers."""
    return [
        (codec.decode(message.value(), FILES), dict(message.headers() or ()))
        for message in read_all(kafka, topic)
    ]


def count_of(kafka: Kafka, *topics: str) -> int:
    """Return how many records topics have."""
    return sum(sum(1 for _ in read_all(kafka, topic)) for topic in topics)
