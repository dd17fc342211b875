"""Decisions and labels as records, and their topics: for what reads both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.writing.encode import Column, ColumnEncoder, Constant
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Registry

Float64 = NDArray[np.float64]
BEGIN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class DecisionRows:
    """n decisions; a column that is not named has one value for all.

    Attributes:
        transaction_id: n texts.
        customer_id: n texts.
        event_time: int64[n], ms.
        columns: Further columns of the schema, by name.
    """

    transaction_id: list[str]
    customer_id: list[str]
    event_time: NDArray[np.int64]
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.transaction_id)


def numbered(count: int, customers: int = 50, prefix: str = "t") -> DecisionRows:
    """Return decisions about transactions that are numbered, one a minute."""
    numbers = range(count)
    return DecisionRows(
        [f"{prefix}{number}" for number in numbers],
        [f"c{number % customers}" for number in numbers],
        BEGIN_MS + np.arange(count, dtype=np.int64) * 60_000,
    )


def encoded_decisions(rows: DecisionRows, topic: str = "transactions") -> BytesColumn:
    """Return the payloads of decisions, as a scorer writes them."""
    schema = reader_schema("decision.v2")
    encoder = ColumnEncoder(open_registry(Registry()).id_for("decisions-value", schema), schema)
    count = len(rows)
    columns: dict[str, Column] = {
        "transaction_id": pa.array(rows.transaction_id, pa.string()),
        "customer_id": pa.array(rows.customer_id, pa.string()),
        "terminal_id": pa.array([f"m{at % 7}" for at in range(count)], pa.string()),
        "event_time": rows.event_time, "decided_at": rows.event_time, "score": np.full(count, 0.1),
        "decision": Constant("APPROVE"), "model": Constant("fraud"),
        "model_version": Constant("1.1.0"), "engine": Constant(1), "features": Constant(b""),
        "source_topic": Constant(topic), "source_partition": Constant(0),
        "source_offset": np.arange(count), "amount_minor": np.full(count, 1_000),
        "currency": Constant("EUR"),
    }  # fmt: skip
    return encoder.encode({**columns, **rows.columns}, count)


def send(
    kafka: Kafka, topic: str, values: BytesColumn, keys: list[str], name: str = "test"
) -> None:
    """Send records in one Kafka transaction."""
    producer = TransactionalProducer(kafka, f"{kafka.group}-test", lambda _: None)
    try:
        producer.begin()
        producer.send(Outgoing(topic, values, BytesColumn.of(key.encode() for key in keys)))
        producer.commit()
    finally:
        producer.close()


def send_decisions(kafka: Kafka, rows: DecisionRows) -> None:
    """Send decisions to their topic."""
    values = encoded_decisions(rows, kafka.topics.transactions)
    send(kafka, kafka.topics.decisions, values, rows.customer_id)
