"""Summaries of simulated transactions, made by the core and the shipped model."""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.settings import Settings
from stream_scorer.simulator import SCHEMA, simulate
from tests.support.core.deciding import score

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FIRST_MS = 1_522_540_800_000
PARTITIONS = 4
_BATCH = 5_000
NOW_MS = 1_700_000_000_000


@cache
def transactions(days: int) -> pa.Table:
    return simulate(days)


def changed(table: pa.Table, day: int, factor: float, of_ten: int) -> pa.Table:
    """Multiply the amounts of ``of_ten`` customers of ten by ``factor`` from ``day`` on."""
    times = table["event_time"].cast(pa.int64()).to_numpy()
    customers = table["customer_id"].cast(pa.int64()).to_numpy()
    amounts = table["amount_minor"].to_numpy()
    grown = (times >= FIRST_MS + day * DAY_MS) & (customers % 10 < of_ten)
    column = SCHEMA.get_field_index("amount_minor")
    values = np.where(grown, amounts * factor, amounts).astype(np.int64)
    return table.set_column(column, SCHEMA.field(column), pa.array(values))


def summaries(table: pa.Table, batch: int = _BATCH) -> list[dict[str, Any]]:
    """Score a table in time order and return each batch's summary."""
    model, plan = load_model(Settings(), Deployment("fraud:1.0.0"))
    rings = PartitionRings(model.features)
    made = []
    seen = 0
    for rows in table.combine_chunks().to_batches(max_chunksize=batch):
        n = rows.num_rows
        partition = (rows.column("customer_id").cast(pa.int32()).to_numpy() % PARTITIONS).astype(
            np.int32
        )
        offset = np.arange(seen, seen + n)
        seen += n
        events = EventBatch(rows, partition, offset, np.full(n, NOW_MS, np.int64))
        scored = score(events, rings, plan, model)
        rings.release(scored.journals)
        read = InputRecords(partition, offset, events.timestamp)
        made += summarize(read, [SummaryInput(scored.decisions, plan.summary_window_ms)])[0]
    return made
