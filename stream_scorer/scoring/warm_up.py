"""Runs everything that a scorer uses once, so that no event waits for compilation."""

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.decode import TransactionDecoder
from stream_scorer.codec.records.codecs import Codecs
from stream_scorer.codec.records.warm_up_records import (
    EVENT_TIME_MS,
    as_polled,
    made_up_transactions,
    with_extras,
    with_kept,
)
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY

_LATER = Plan(segments={"amount": [1.0], "channel": ["POS"]})
"""A later plan may have segments that the first one has not."""


def warm(codecs: Codecs, model: Model, plan: Plan) -> None:
    """Run made-up transactions through decode, core and encode; no state of them remains.

    Args:
        codecs: Bytes to columns and back.
        model: The deployed model.
        plan: The plan that all models share.
    """
    rings = PartitionRings(model.features)
    terminals = TerminalTable()
    terminals.add(pa.array(["1"]), np.array([EVENT_TIME_MS]), np.array([False]))
    terminals.evict(0)
    decoder = TransactionDecoder(FileRegistry(SCHEMAS_DIRECTORY), plan)
    for count in (1, 300):
        raw = as_polled(made_up_transactions(plan, count))
        events = _events(decoder, raw, plan, model)
        made = decide_alone(events, rings, model, plan, terminals=terminals)
        decisions = made.decided[0].decisions
        model.predictor.attributions(decisions.features)
        codecs.decisions.encode(decisions, EVENT_TIME_MS)
        read = InputRecords(raw.partition, raw.offset, raw.timestamp)
        for segments in (segments_of(plan), segments_of(_LATER)):
            told = SummaryInput(decisions, plan.summary_window_ms, model.bins, segments)
            codecs.summaries.encode(summarize(read, [told])[0][0])
        rings.undo(made.journals)
    _warm_checkpoints(decoder, raw, plan, model)


def _events(decoder: TransactionDecoder, raw: RawRecords, plan: Plan, model: Model) -> EventBatch:
    """Return made-up events with all fields that the plan's mapping reads or the rings keep."""
    events = with_extras(decoder.decode(raw)[0], plan)
    own = {each.stored for each in fields_of(plan).values()}
    return with_kept(events, [each for each in model.features.engine.read_by if each not in own])


def _warm_checkpoints(
    decoder: TransactionDecoder, raw: RawRecords, plan: Plan, model: Model
) -> None:
    """Fold a batch, dump its rings, load them into other rings, and evict them."""
    first, second = PartitionRings(model.features), PartitionRings(model.features)
    events = _events(decoder, raw, plan, model)
    first.release(observe(events, first, plan, model.features).journals)
    rings = first.of(0)
    for bucket in set(bucket_of(events.records.column("customer_id")).tolist()):
        second.of(0).load(rings.dump(bucket))
    rings.watermark += 3 * rings.retention.horizon_ms
    rings.evict(len(rings))
