"""Past transactions folded through the stream's own rings: the same features for training.

No feature sees two customers, so customers are folded in groups, as many at a time as there are
processors. The rings of one group fit into a processor's cache, those of all customers do not.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.batch import EventBatch
from stream_scorer.core.features import FeatureSet
from stream_scorer.core.fields import STORABLE, string_views
from stream_scorer.core.kernels.hashing import hash_strings
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Rings, remember

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_GROUPS = 16  # by four bits of a hash
_ROWS_AT_A_TIME = 50_000
# What the core reads of an event. The rest, and that is most of a row, need not be copied.
_READ = {"transaction_id", "event_time", "customer_id", "amount_minor", "currency", *STORABLE}


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Features of the rows of a table that the stream would accept.

    Attributes:
        rows: int64[a], their row numbers, ascending.
        features: float64[a, m], columns in manifest order.
    """

    rows: Int64
    features: Float64


def fold(table: pa.Table, features: FeatureSet, plan: Plan) -> FeatureRows:
    """Compute features in the table's order, as the stream would see the rows arrive.

    Args:
        table: Columns of the transaction schema; further ones are ignored.
        features: The manifest's features, compiled.
        plan: Validation limits; the record's timestamp is taken to be the event time.
    """
    batches = _batches(table)
    groups = [_groups(batch) for batch in batches]
    computed = np.empty((table.num_rows, len(features.names)))
    accepted = np.zeros(table.num_rows, np.bool_)

    def fold_group(number: int) -> None:
        rings = Rings(features)
        first = 0
        for batch, rows_of in zip(batches, groups, strict=True):
            for events in _events(batch, rows_of[number], first):
                folded = remember(events, rings, plan, features)
                rings.release(folded.journals)
                kept, observed = events, folded.observed
                if len(folded.accepted) < len(events):
                    kept, observed = events.take(folded.accepted), observed[folded.accepted]
                rows = kept.offset
                computed[rows] = features.compute(kept, observed)
                accepted[rows] = True
            first += batch.num_rows

    with ThreadPoolExecutor(min(_GROUPS, os.cpu_count() or 1)) as threads:
        # Taken one by one, so that what a thread raised is raised here.
        for _ in threads.map(fold_group, range(_GROUPS)):
            pass
    whole = bool(accepted.all())
    return FeatureRows(np.flatnonzero(accepted), computed if whole else computed[accepted])


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    """Return the table as one batch, or a few when a column of texts is larger than 2 GiB."""
    return (
        table.select([name for name in table.schema.names if name in _READ])
        .combine_chunks()
        .to_batches()
    )


def _groups(batch: pa.RecordBatch) -> list[Int64]:
    """Return the rows of each group of customers, ascending."""
    hashes = hash_strings(*string_views(batch.column("customer_id")))
    # By the upper bits: the rings find a customer by the lower ones.
    group = (hashes >> np.uint64(60)).astype(np.uint8)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.searchsorted(group[order], np.arange(1, _GROUPS)))


def _events(batch: pa.RecordBatch, rows: Int64, first: int) -> Iterator[EventBatch]:
    """Yield rows of a batch as events; an offset is the row's number in the table."""
    taken = batch.take(pa.array(rows))
    for at in range(0, len(rows), _ROWS_AT_A_TIME):
        records = taken.slice(at, _ROWS_AT_A_TIME)
        n = records.num_rows
        time = records.column("event_time").cast(pa.int64()).to_numpy()
        yield EventBatch(records, np.zeros(n, np.int32), first + rows[at : at + n], time)
