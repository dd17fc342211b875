"""Decisions as the scorer publishes them, and changes by an attacker."""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.codec.writing.encode import DecisionEncoder
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.reproduce.decisions import DecisionReader
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY, Settings
from stream_scorer.simulator.simulate import simulate
from tests.support.core.deciding import score

PLAN = Plan()
TOPIC = "transactions"


@cache
def model(version: str = "1.0.0") -> Model:
    return load_bundle(MODELS_DIRECTORY / "fraud" / version).model(PLAN)


@cache
def events(count: int = 4_000) -> EventBatch:
    table = simulate(40, 150, 60)
    columns = [name for name in table.column_names if "fraud" not in name]
    records = table.select(columns).slice(0, count).combine_chunks().to_batches()[0]
    assert len(records) == count
    times = records.column("event_time").cast(pa.int64()).to_numpy()
    partition = np.zeros(count, np.int32)
    return EventBatch(records, partition, np.arange(count, dtype=np.int64), times)


def published(by: Model | None = None) -> pa.RecordBatch:
    """Return a scorer's decisions as a reader of the topic decodes them."""
    deciding = by or model()
    scored = score(events(), PartitionRings(deciding.features), PLAN, deciding)
    return decoded(scored.decisions, "decision.v2")


def decoded(decisions: DecisionBatch, named: str) -> pa.RecordBatch:
    """Return decisions as a reader of the topic decodes them, of a version of their schema."""
    registry, schema = FileRegistry(SCHEMAS_DIRECTORY), reader_schema(named)
    identity = registry.id_for("decisions-value", schema)
    encoder = DecisionEncoder(identity, schema, TOPIC)
    values = encoder.encode(decisions, 1_600_000_000_000)
    n = len(decisions)
    assert n > 3_900
    zeros = np.zeros(n, np.int64)
    raw = RawRecords(
        values, BytesColumn.nulls(n), None, zeros.astype(np.int32), np.arange(n), zeros
    )
    return DecisionReader(Settings(), registry).decode(raw)


def altered(decisions: pa.RecordBatch, row: int, **values: Any) -> pa.RecordBatch:
    """Return decisions in which one has other values."""
    columns: list[pa.Array] = []
    for field, column in zip(decisions.schema, decisions.columns, strict=True):
        if field.name in values:
            told = column.to_pylist()
            told[row] = values[field.name]
            columns.append(pa.array(told, field.type))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=decisions.schema)
