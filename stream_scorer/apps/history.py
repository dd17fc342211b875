"""Past transactions folded through the stream's own rings: the same features for training."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.batch import EventBatch
from stream_scorer.core.features import FeatureSet
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Rings, remember

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_ROWS_AT_A_TIME = 50_000


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
    rings = Rings(features)
    rows: list[Int64] = [np.empty(0, np.int64)]
    computed: list[Float64] = [np.empty((0, len(features.names)))]
    seen = 0
    for batch in table.combine_chunks().to_batches(max_chunksize=_ROWS_AT_A_TIME):
        n = batch.num_rows
        number = np.arange(seen, seen + n)
        time = batch.column("event_time").cast(pa.int64()).to_numpy()
        events = EventBatch(batch, np.zeros(n, np.int32), number, time)
        folded = remember(events, rings, plan, features)
        rings.release(folded.journals)
        kept = folded.accepted
        computed.append(features.compute(events.take(kept), folded.observed[kept]))
        rows.append(number[kept])
        seen += n
    return FeatureRows(np.concatenate(rows), np.concatenate(computed))
