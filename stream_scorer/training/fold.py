"""Folds past transactions through the stream's own rings: the same features for training.

No ring has two customers, so customers are folded in groups, as many at a time as there are
processors; then terminals likewise. A group's data fit into a processor's cache, those of all
groups do not.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.events.validation import reason_of
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.kernels.columns import by_partition
from stream_scorer.core.kernels.terminals import OUT
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.rings.rings import CustomerRings
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.training.fold_parts import GROUPS, TablePart, group_of, parts_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
_T = TypeVar("_T")
_N = TypeVar("_N", bound=np.generic)
_ROWS_AT_A_TIME = 2**21
# The columns that the core reads of every event, in addition to those that features name. Most
# others need not be copied.
_READ = ["transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor", "currency"]


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Features of the rows of a table that the stream would accept.

    Attributes:
        rows: int64[a], their row numbers, ascending.
        features: float64[a, m], columns in manifest order.
        rejected: Number of other rows, by reason.
    """

    rows: Int64
    features: Float64
    rejected: dict[str, int] = field(default_factory=dict)


def fold(
    table: pa.Table, features: FeatureSet, plan: Plan, state: UInt8 | Bool | None = None
) -> FeatureRows:
    """Compute features in the table's order, as if the stream received the rows.

    The terminals' history is that of all accepted rows, so no features are degraded.

    Args:
        table: n rows, columns of the transaction schema; further ones are ignored.
        features: The manifest's features, compiled.
        plan: Validation limits; the event time is used as the record's timestamp.
        state: uint8[n], what each row counted as when its terminal profile row was due, by the last
            label of at most event time + ``terminal_delay_ms`` - ``terminal_slack_ms``: ``FRAUD``,
            ``GENUINE`` or ``UNKNOWN`` of ``core.labelling.contract``. Or bool[n], whether it was
            known as a fraud; the others are genuine.

    Raises:
        ValueError: A feature is keyed by terminal and ``state`` is not given.
    """
    if state is None and features.by_terminal:
        raise ValueError("features by terminal need labels")
    # Rings add up amounts in the base currency.
    amount = [name for name in table.column_names if name == BASE_AMOUNT]
    batches = _batches(table, [*dict.fromkeys([*_READ, *amount, *features.reads])])
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()
    computed = np.empty((table.num_rows, len(features.names)))
    accepted = np.zeros(table.num_rows, np.bool_)
    engine, direct = features.engine, features.direct
    rings = [CustomerRings(engine.retention, direct, engine.fields) for _ in range(GROUPS)]
    later = features.delayed.operations[:, OUT]
    refused: Counter[int] = Counter()

    for batch, first in zip(batches, starts, strict=False):
        for at in range(0, len(batch), _ROWS_AT_A_TIME):
            records = batch.slice(at, _ROWS_AT_A_TIME)
            rows = np.arange(first + at, first + at + len(records))
            place = slice(first + at, first + at + len(records))
            events = _as_events(records, rows)
            parts = list(parts_of(events, computed[place], accepted[place]))
            _on_threads(lambda part: part.validate(plan, features), parts)
            _on_threads(partial(_fold_group, parts, rings), range(GROUPS))
            _on_threads(lambda part: part.complete(features, later), parts)
            for part in parts:
                refused.update(part.refused.tolist())
    if state is not None and features.by_terminal and batches:
        _add_terminals(batches, features, state, accepted, computed)
    if accepted.all():
        return FeatureRows(np.arange(len(computed)), computed)
    rejected = {reason_of(code)[0].value: count for code, count in sorted(refused.items())}
    return FeatureRows(np.flatnonzero(accepted), computed[accepted], rejected)


def _fold_group(parts: Sequence[TablePart], rings: Sequence[CustomerRings], number: int) -> None:
    """Fold a group's rows, part by part, so that its rings stay in a processor's cache."""
    for part in parts:
        part.fold(number, rings[number])


def _on_threads(work: Callable[[_T], None], pieces: Iterable[_T]) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        # Iterated, so that a thread's exception is raised here.
        for _ in threads.map(work, pieces):
            pass


def _add_terminals(
    batches: Sequence[pa.RecordBatch],
    features: FeatureSet,
    state: UInt8 | Bool,
    accepted: Bool,
    computed: Float64,
) -> None:
    """Write the terminals' columns of accepted rows, and the columns computed from them."""
    column, delayed = "terminal_id", features.delayed
    terminal = _joined([hashes_of(batch.column(column)) for batch in batches])
    time = _joined([_times(batch) for batch in batches])
    whole = accepted.all()
    groups = _groups(terminal)

    def observe_group(number: int) -> None:
        rows = groups[number] if whole else groups[number][accepted[groups[number]]]
        terminals, times = terminal[rows], time[rows]
        table = TerminalTable()
        table.add_hashed(terminals, times, state[rows])
        table.watermark = int(times.max(initial=table.watermark))
        table.observe_hashed(delayed, terminals, times, rows, computed, in_order=True)

    _on_threads(observe_group, range(GROUPS))
    if features.recomputed:
        _recompute(batches, features, accepted, computed)


def _recompute(
    batches: Sequence[pa.RecordBatch], features: FeatureSet, accepted: Bool, computed: Float64
) -> None:
    """Write columns computed from terminals' columns; refused rows have no valid numbers."""
    first = 0
    for batch in batches:
        rows = first + np.flatnonzero(accepted[first : first + batch.num_rows])
        taken = batch if len(rows) == len(batch) else batch.take(pa.array(rows - first))
        out = computed[rows]
        features.recompute(_as_events(taken, rows), out)
        computed[rows] = out
        first += len(batch)


def _batches(table: pa.Table, columns: list[str]) -> list[pa.RecordBatch]:
    """Return columns as one batch, or a few when a column of texts is larger than 2 GiB."""
    chosen = table.select(columns)
    # A single chunk need not be copied.
    whole = all(column.num_chunks <= 1 for column in chosen.columns)
    return (chosen if whole else chosen.combine_chunks()).to_batches()


def _groups(hashes: UInt64) -> list[Int64]:
    """Return the rows of each group of ids, ascending."""
    rows, begins = by_partition(group_of(hashes))
    return np.split(rows, begins[np.minimum(np.arange(1, GROUPS), len(begins) - 1)])


def _as_events(records: pa.RecordBatch, rows: Int64) -> EventBatch:
    """Return records as events; an offset is the row's number in the table."""
    return EventBatch(records, np.zeros(len(rows), np.int32), rows, _times(records))


def _times(records: pa.RecordBatch) -> Int64:
    time: Int64 = records.column("event_time").cast(pa.int64()).to_numpy()
    return time


def _joined(parts: Sequence[NDArray[_N]]) -> NDArray[_N]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
