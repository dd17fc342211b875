"""Runs everything that a profiler uses once, so that no event waits for compilation."""

import numpy as np

from stream_scorer.codec.reading.decode import ColumnDecoder, TransactionDecoder
from stream_scorer.codec.records.warm_up_records import (
    as_polled,
    made_up_labels,
    made_up_transactions,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.terminals.profile_kernels import merge
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.terminals.profiler_work import Decoders, ProfilerWork, RowEncoder


def warm_profiler(rows: RowEncoder, plan: Plan) -> None:
    """Run made-up transactions and labels through the profiler's work; no state of them remains.

    Args:
        rows: Encodes rows to bytes.
        plan: Delay, slack, lateness, limits.
    """
    schemas = FileRegistry(SCHEMAS_DIRECTORY)
    decoders = Decoders(
        TransactionDecoder(schemas, plan),
        ColumnDecoder(schemas, reader_schema("label.v2", SCHEMAS_DIRECTORY), plan),
    )
    settles = plan.terminal_delay_ms - plan.terminal_slack_ms + plan.lateness_ms
    # Selected rows have other array types for a compiler: cover a duplicate, and no rows at all.
    for paid, labels in ((1, 1), (300, 300), (300, 0), (0, 300)):
        first = made_up_transactions(plan, paid)
        # The later ones move the watermark, so that the rows of the others are published.
        later = made_up_transactions(plan, paid, settles)
        twice = first[:1] if labels == 0 else []
        values = [*first, *later, *twice, *made_up_labels(labels)]
        partition = np.repeat(np.array([0, 1], np.int32), (len(values) - labels, labels))
        raw = as_polled(values, partition)
        work = ProfilerWork(plan, 1, 2, decoders, rows, {}, lambda _: None, _no_replay)
        stages = Stages()
        work.keep(work.compute(raw, stages), stages, raw)
    one = np.zeros(1, np.int64)
    merge(one, one.copy(), one + 1, one + 1, np.ones(1, np.bool_), 1, one.copy())


def _no_replay(partition: int, _: int, __: int) -> InputReplay:
    raise RuntimeError(f"partition {partition}: made-up records have no past")
