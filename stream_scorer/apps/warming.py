"""Compile and touch everything once before the first event, so that it is not the one to wait."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.apps.outcomes import Codecs
from stream_scorer.apps.profiling import Decoders, ProfilerWork, RowEncoder
from stream_scorer.codec.avro import ColumnDecoder, TransactionDecoder
from stream_scorer.codec.record import RecordCodec
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.deciding import Model
from stream_scorer.core.kernels.profiles import merge
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Rings, remember, score
from stream_scorer.core.summaries import summarize
from stream_scorer.core.terminals import TerminalTable
from stream_scorer.core.windows import bucket_of
from stream_scorer.kafka.replay import InputReplay
from stream_scorer.kafka.work import Stages
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import SCHEMAS_DIRECTORY

_EVENT_TIME_MS = 1_600_000_000_000
_NOW_MS = 1_700_000_000_000


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
    decoder = TransactionDecoder(FileRegistry(SCHEMAS_DIRECTORY), plan)
    for count in (1, 300):
        raw = _raw(_transactions(plan, count))
        events, _, _ = decoder.decode(raw)
        scored = score(events, rings, plan, model, terminals=terminals)
        model.predictor.attributions(scored.decisions.features)
        codecs.decisions.encode(scored.decisions, _EVENT_TIME_MS)
        told = [(scored.decisions, plan.summary_window_ms)]
        codecs.summaries.encode(summarize(raw.partition, raw.offset, told, ())[0][0])
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


def warm_profiler(rows: RowEncoder, plan: Plan) -> None:
    """Take made-up transactions and labels through all that a profiler does; nothing is kept.

    Args:
        rows: Rows to bytes.
        plan: Delay, slack, lateness, limits.
    """
    schemas = FileRegistry(SCHEMAS_DIRECTORY)
    decoders = Decoders(
        TransactionDecoder(schemas, plan),
        ColumnDecoder(schemas, reader_schema("label.v1", SCHEMAS_DIRECTORY), plan),
    )
    settles = plan.terminal_delay_ms - plan.terminal_slack_ms + plan.lateness_ms
    # Columns that were taken apart are others to a compiler: with a duplicate, and none at all.
    for paid, labels in ((1, 1), (300, 300), (300, 0), (0, 300)):
        first = _transactions(plan, paid)
        # The later ones let the rows of the others leave.
        later = _transactions(plan, paid, settles)
        twice = first[:1] if labels == 0 else []
        values = [*first, *later, *twice, *_labels(labels)]
        partition = np.repeat(np.array([0, 1], np.int32), (len(values) - labels, labels))
        raw = _raw(values, partition)
        work = ProfilerWork(plan, 1, 2, decoders, rows, {}, lambda _: None, _no_replay)
        stages = Stages()
        work.keep(work.compute(raw, stages), stages, raw)
    one = np.zeros(1, np.int64)
    merge(one, one.copy(), one + 1, one + 1, np.ones(1, np.bool_), 1, one.copy())


def _no_replay(partition: int, _: int, __: int) -> InputReplay:
    raise RuntimeError(f"partition {partition}: made-up records have no past")


def _transactions(plan: Plan, count: int, later_ms: int = 0) -> list[bytes]:
    return _encoded(
        "transaction",
        [
            {
                "transaction_id": f"warm-{row}",
                "event_time": _EVENT_TIME_MS + later_ms,
                "customer_id": f"{row % 7}",
                "terminal_id": "1",
                "amount_minor": 100 * row,
                "currency": plan.currency,
            }
            for row in range(count)
        ],
    )


def _labels(count: int) -> list[bytes]:
    return _encoded(
        "label",
        [
            {
                "transaction_id": f"warm-{row}",
                "event_time": _EVENT_TIME_MS,
                "customer_id": f"{row % 7}",
                "terminal_id": "1",
                "is_fraud": True,
            }
            for row in range(count)
        ],
    )


def _encoded(name: str, records: Sequence[dict[str, Any]]) -> list[bytes]:
    schema = reader_schema(f"{name}.v1", SCHEMAS_DIRECTORY)
    identity = FileRegistry(SCHEMAS_DIRECTORY).id_for(f"{name}s-value", schema)
    codec = RecordCodec(identity, schema)
    return [codec.encode(record) for record in records]


def _raw(values: Sequence[bytes], partition: NDArray[np.int32] | None = None) -> RawRecords:
    count = len(values)
    return RawRecords(
        values=BytesColumn.of(values),
        keys=BytesColumn.nulls(count),
        headers=None,
        partition=np.zeros(count, np.int32) if partition is None else partition,
        offset=np.arange(count, dtype=np.int64),
        # Far ahead of the events: none is too early.
        timestamp=np.full(count, _NOW_MS, np.int64),
    )
