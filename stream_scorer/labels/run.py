"""``labels import``: finds the transactions of labels, and sends the labels that are missing."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.writing.encode import ColumnEncoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.terminals.profile_kernels import mixed
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.labels.columns import LabelNames
from stream_scorer.labels.known import read_known
from stream_scorer.labels.lookup import find_transactions
from stream_scorer.labels.read import EXAMPLES, LabelRows, read_label_rows, with_ids
from stream_scorer.labels.report import ImportReport
from stream_scorer.labels.send import LabelSender
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Settings

Bool = NDArray[np.bool_]

_SCHEMA = "label.v2"


@dataclass(frozen=True, slots=True)
class LabelImportJob:
    """What to import.

    Attributes:
        file: Labels: Parquet, CSV, Avro or JSON lines.
        source: Source of rows that name none; None: none.
        names: The names of the file's columns and states.
        strict: Whether nothing is sent if a row is foreign, ambiguous or invalid.
        model: Model whose plan is used, NAME or NAME:VERSION.
        plan: Plan file or folder; None: the model's.
    """

    file: Path
    source: str | None = None
    names: LabelNames = field(default_factory=LabelNames)
    strict: bool = False
    model: str = "fraud"
    plan: Path | None = None


def import_labels(settings: Settings, job: LabelImportJob) -> ImportReport:
    """Send the labels of a file that the topic does not have.

    Args:
        settings: The cluster, its topics, and the registry.
        job: What to import.

    Raises:
        SettingsError: The file cannot be read, a topic does not exist, labels have the user's own
            format, or the job is strict and a row is foreign, ambiguous or invalid.
        ModelError: The store does not have the model.
        SchemaError: The registry does not have the schema of labels.
        FencedError: A later import has begun.
        TransactionError: The broker refuses a record permanently.
        UnavailableError: Broker or registry do not answer.
    """
    began = time.monotonic()
    kafka, registry = settings.kafka, open_registry(settings.registry)
    _refuse_own_format(deployed_plan(settings, Deployment(job.model, job.plan)), kafka)
    partitions(admin(kafka), kafka, (kafka.topics.decisions, kafka.topics.labels))
    schema = reader_schema(_SCHEMA, settings.registry.directory)
    encoder = ColumnEncoder(registry.id_for(f"{kafka.topics.labels}-value", schema), schema)
    read = read_label_rows(job.file, job.names, job.source)
    ids = _one(read.table["transaction_id"])
    transactions = find_transactions(kafka, registry, ids, settings.registry.directory)
    foreign, ambiguous = ~transactions.found, transactions.found & transactions.ambiguous
    if job.strict:
        _refuse(job.file, read, foreign, ambiguous)
    chosen = pa.array(~foreign & ~ambiguous)
    table = read.table.filter(chosen)
    found = transactions.table.filter(chosen)
    table = with_ids(table, found["customer_id"])
    again = _repeated(table)
    table, found = table.filter(pa.array(~again)), found.filter(pa.array(~again))
    for name in found.column_names:
        table = table.append_column(name, found[name])
    sent = 0
    if len(table):
        sender = LabelSender(kafka, encoder)
        try:
            sent = sender.send_missing(
                table,
                lambda: (
                    ~read_known(kafka, registry, settings.registry.directory).has(
                        table, table["customer_id"]
                    )
                ),
            )
        finally:
            sender.close()
    return ImportReport(
        rows=read.rows,
        sent=sent,
        already_there=len(table) - sent + int(np.count_nonzero(again)),
        foreign=int(np.count_nonzero(foreign)),
        ambiguous=int(np.count_nonzero(ambiguous)),
        invalid=read.invalid,
        seconds=round(time.monotonic() - began, 3),
        examples={
            "foreign": _first(ids, foreign),
            "ambiguous": _first(ids, ambiguous),
            "invalid": read.examples,
        },
    )


def _refuse_own_format(plan: Plan, kafka: Kafka) -> None:
    """Refuse a topic whose labels are read by a mapping: it would not read ours."""
    if plan.labels is not None:
        raise SettingsError(
            f"topic {kafka.topics.labels}: the plan reads labels of your own format there, so an "
            "imported one could not be read",
            "send labels in that format, or name another plan: --plan",
        )


def _refuse(file: Path, read: LabelRows, foreign: Bool, ambiguous: Bool) -> None:
    counts = {
        "foreign": int(np.count_nonzero(foreign)),
        "ambiguous": int(np.count_nonzero(ambiguous)),
        "invalid": read.invalid,
    }
    if any(counts.values()):
        shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        raise SettingsError(
            f"{file}: of {read.rows:,} rows, {shown}; nothing was sent",
            "correct them, or leave --strict out: the report names the first ones",
        )


def _repeated(table: pa.Table) -> Bool:
    """Return bool[m]: labels whose id an earlier row of the file has."""
    hashes = mixed(hashes_of(_one(table["source"])), hashes_of(_one(table["label_id"])))
    again = np.ones(len(table), np.bool_)
    again[np.unique(hashes, return_index=True)[1]] = False
    return again


def _first(ids: pa.Array, rows: Bool) -> tuple[str, ...]:
    return tuple(ids.take(pa.array(np.flatnonzero(rows)[:EXAMPLES])).to_pylist())


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        return found.chunk(0) if found.num_chunks else pa.nulls(0, found.type)
    return found
