"""Shared by the tests of the batch job: transactions, orders, and the core's decisions on them."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from stream_scorer.batch.job import Order
from stream_scorer.batch.run import Report, run_batch
from stream_scorer.codec.writing.encode import DecisionEncoder
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Settings, load_settings
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from tests.support.core.deciding import Scored, score
from tests.support.models.upgraded import upgraded_store

MODEL = "fraud:1.0.0"
AS_OF = 1_600_000_000_000
SETTINGS = load_settings({"models": {"directory": str(upgraded_store())}})
STORE = "STREAM_SCORER_MODELS__DIRECTORY"
ENVIRONMENT = {**os.environ, STORE: str(upgraded_store())}
"""Of a process that has the same settings."""


def transactions(days: int = 45, customers: int = 40) -> pa.Table:
    """Simulated transactions with all columns, as an upstream team's file has them."""
    return simulate(days=days, customers=customers)


def write(table: pa.Table, path: Path) -> Path:
    """Write transactions in the format of the name's ending, Avro too."""
    if path.suffix != ".avro":
        write_table(table, path)
        return path
    schema: Any = fastavro.parse_schema(json.loads(reader_schema("transaction.v1")))
    names = [field["name"] for field in schema["fields"]]
    with path.open("wb") as file:
        fastavro.writer(file, schema, table.select(names).to_pylist(), codec="deflate")
    return path


def run(source: Path | str, out: Path, **options: Any) -> Report:
    """Run a job at a fixed time."""
    return run_batch(SETTINGS, Order(str(source), out, MODEL, **{"as_of": AS_OF, **options}))


def content(out: Path) -> dict[str, bytes]:
    """Return the bytes of an output by file name: of one file, or of each file of a folder."""
    if out.is_dir():
        return {path.name: path.read_bytes() for path in out.iterdir()}
    return {"": out.read_bytes()}


def delete(out: Path) -> None:
    """Delete an output, a file or a folder, and its rejects."""
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()
    out.with_name(f"{out.name}.rejects.jsonl").unlink()


def by_core(
    table: pa.Table, rows_at_once: int, settings: Settings = SETTINGS, model_label: str = MODEL
) -> list[Scored]:
    """Decide rows as a stream of one partition gets them, some at a time."""
    model, plan = load_model(settings, Deployment(model_label))
    rings = PartitionRings(model.features)
    names = [each["name"] for each in json.loads(reader_schema("transaction.v1"))["fields"]]
    made = []
    for first in range(0, table.num_rows, rows_at_once):
        (records,) = table.slice(first, rows_at_once).select(names).combine_chunks().to_batches()
        rows = len(records)
        events = EventBatch(
            records, np.zeros(rows, np.int32), first + np.arange(rows), np.full(rows, AS_OF)
        )
        scored = score(events, rings, plan, model)
        rings.release(scored.journals)
        made.append(scored)
    return made


def decisions_by_core(table: pa.Table, source: str) -> list[dict[str, Any]]:
    """Return the stream's own records of decisions, but for the names of source and time."""
    schema = reader_schema("decision.v2")
    encoder = DecisionEncoder(None, schema, source)
    parsed = fastavro.parse_schema(json.loads(schema))
    read: Any = fastavro.schemaless_reader
    return [
        read(io.BytesIO(value), parsed, None)
        for scored in by_core(table, 777)
        for value in encoder.encode(scored.decisions, AS_OF).to_list()
    ]
