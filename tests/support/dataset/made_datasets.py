"""Datasets from decisions and labels in memory: the builder's work without a broker."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.codec.writing.encode import Column, ColumnEncoder, Constant
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.dataset.build import DatasetBuilder, DatasetRange, RevisionPlans
from stream_scorer.dataset.decisions import DecidedDecoder
from stream_scorer.dataset.document import document_of, write_document
from stream_scorer.dataset.statements import KnownStatements, StatementReader
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Registry

REGISTRY = open_registry(Registry())
AGES_MS = 2**62
LABEL: Mapping[str, Any] = {
    "customer_id": "c", "terminal_id": "m", "event_time": 0, "is_fraud": True, "label_time": None,
    "source": None, "label_id": "", "state": None, "reason_code": "", "retracts": "",
    "drawn": None,
}  # fmt: skip


def encoder(schema: str, subject: str) -> ColumnEncoder:
    text = reader_schema(schema)
    return ColumnEncoder(REGISTRY.id_for(f"{subject}-value", text), text)


def raw(values: BytesColumn, timestamp: int = 0, first: int = 0) -> RawRecords:
    """Return records of partition 0, with one Kafka timestamp, ms."""
    count = len(values)
    return RawRecords(
        values, BytesColumn.nulls(count), None, np.zeros(count, np.int32),
        first + np.arange(count), np.full(count, timestamp),
    )  # fmt: skip


def decided(
    transaction_id: Sequence[str], event_time: Any, features: Any, **columns: Column
) -> RawRecords:
    """Return decisions; a column that is not given has one value for all."""
    count = len(transaction_id)
    usual: dict[str, Column] = {
        "transaction_id": pa.array(transaction_id, pa.string()), "customer_id": Constant("c"),
        "terminal_id": Constant("m"), "event_time": np.asarray(event_time, np.int64),
        "decided_at": Constant(0), "score": np.full(count, 0.5), "decision": Constant("APPROVE"),
        "model": Constant("fraud"), "model_version": Constant("1.0.0"), "engine": Constant(1),
        "features": np.ascontiguousarray(features, np.float64),
        "source_topic": Constant("transactions"), "source_partition": Constant(0),
        "source_offset": np.arange(count), "amount_minor": np.full(count, 1_000),
        "currency": Constant("EUR"),
    }  # fmt: skip
    return raw(encoder("decision.v3", "decisions").encode({**usual, **columns}, count))


def labels(rows: Sequence[Mapping[str, Any]], timestamp: int = 0, first: int = 0) -> RawRecords:
    """Return labels of the newest schema, with one Kafka timestamp, ms."""
    full = [{**LABEL, **row} for row in rows]
    kinds = {"event_time": pa.int64(), "label_time": pa.int64(), "is_fraud": pa.bool_()}
    kinds["drawn"] = pa.float64()
    columns: dict[str, Column] = {
        name: pa.array([row[name] for row in full], kinds.get(name, pa.string()))
        for name in ("transaction_id", *LABEL)
        if name != "state"
    }
    columns["state"] = Constant(None)
    values = []
    for row, one in zip(full, range(len(full)), strict=True):
        own = {name: column.slice(one, 1) for name, column in columns.items() if name != "state"}  # type: ignore[union-attr]
        own["state"] = Constant(row["state"])
        values += encoder("label.v2", "labels").encode(own, 1).to_list()
    return raw(BytesColumn.of(values), timestamp, first)


def known_of(
    *records: RawRecords, as_of_ms: int = AGES_MS, plan: Plan | None = None
) -> KnownStatements:
    """Return the statements of some records that were known at a time."""
    reader = StatementReader(REGISTRY, plan or Plan(), as_of_ms)
    for each in records:
        reader.add(each)
    return reader.known()


def build(
    folder: Path,
    decisions: Sequence[RawRecords],
    statements: KnownStatements,
    features: Sequence[FeatureSpec],
    names: Sequence[str],
    *,
    plans: Mapping[int, Plan] | None = None,
    **changes: Any,
) -> DatasetBuilder:
    """Build a dataset in a folder, and return the builder that did it."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = {
        "first_ms": 0, "end_ms": AGES_MS, "as_of_ms": AGES_MS, "sample": 1.0, "model": "fraud",
        "same": lambda _: True,
    }  # fmt: skip
    range_ = DatasetRange(names=tuple(names), **{**usual, **changes})
    builder = DatasetBuilder(
        folder, range_, statements, RevisionPlans(plans or {}, Plan()), DecidedDecoder(REGISTRY)
    )
    for each in decisions:
        builder.add(each)
    parts = builder.close()
    counts = {"rows": builder.rows, "frauds": builder.frauds, "left_out": dict(builder.left_out)}
    write_document(
        folder,
        document_of(
            order={"sample": range_.sample}, features=features, sources={},
            policy=LabelPolicy.absent(), counts=counts, parts=parts,
        ),
    )  # fmt: skip
    return builder
