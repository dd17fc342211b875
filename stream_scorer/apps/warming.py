"""Compile and touch everything once before the first event, so that it is not the one to wait."""

import numpy as np
import pyarrow as pa

from stream_scorer.apps.scoring import Codecs
from stream_scorer.codec.avro import TransactionDecoder
from stream_scorer.codec.record import RecordCodec
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Model, Rings, remember, score
from stream_scorer.core.summaries import summarize
from stream_scorer.core.terminals import TerminalTable
from stream_scorer.core.windows import bucket_of
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import SCHEMAS_DIRECTORY

_EVENT_TIME_MS = 1_600_000_000_000


def warm(codecs: Codecs, model: Model, plan: Plan) -> None:
    """Send made-up transactions through decode, core and encode; nothing of them stays.

    Args:
        codecs: Bytes to columns and back.
        model: The deployed model.
        plan: What all models share.
    """
    rings = Rings(model.features)
    terminals = TerminalTable()
    terminals.add(pa.array(["1"]), np.array([_EVENT_TIME_MS]), np.array([False]))
    terminals.evict(0)
    schemas = FileRegistry(SCHEMAS_DIRECTORY)
    schema = reader_schema("transaction.v1", SCHEMAS_DIRECTORY)
    example = RecordCodec(schemas.id_for("transactions-value", schema), schema)
    decoder = TransactionDecoder(schemas, plan)
    for count in (1, 300):
        values = [
            example.encode(
                {
                    "transaction_id": f"warm-{row}",
                    "event_time": _EVENT_TIME_MS,
                    "customer_id": f"{row % 7}",
                    "terminal_id": "1",
                    "amount_minor": 100 * row,
                    "currency": plan.currency,
                }
            )
            for row in range(count)
        ]
        raw = RawRecords(
            values=BytesColumn.of(values),
            keys=BytesColumn.nulls(count),
            headers=None,
            partition=np.zeros(count, np.int32),
            offset=np.arange(count, dtype=np.int64),
            timestamp=np.full(count, _EVENT_TIME_MS, np.int64),
        )
        events, _, _ = decoder.decode(raw)
        scored = score(events, rings, plan, model, terminals=terminals)
        model.predictor.attributions(scored.decisions.features)
        codecs.decisions.encode(scored.decisions, _EVENT_TIME_MS)
        codecs.summaries.encode(
            summarize(raw.partition, raw.offset, scored.decisions, (), plan.summary_window_ms)
        )
        rings.undo(scored.journals)
    _warm_checkpoints(decoder, raw, plan, model)


def _warm_checkpoints(
    decoder: TransactionDecoder, raw: RawRecords, plan: Plan, model: Model
) -> None:
    """Keep a batch, dump its rings, load them into others, and let them go."""
    first, second = Rings(model.features), Rings(model.features)
    events, _, _ = decoder.decode(raw)
    first.release(remember(events, first, plan, model.features).journals)
    rings = first.of(0)
    for bucket in set(bucket_of(events.records.column("customer_id")).tolist()):
        second.of(0).load(rings.dump(bucket))
    rings.watermark += 3 * rings.retention.horizon_ms
    rings.evict(len(rings))
