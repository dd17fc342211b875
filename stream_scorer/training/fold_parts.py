"""A part of a table: validated, folded by groups of customers, completed.

Within a part, rows are ordered by group, so that the rings read a group's data from contiguous
memory. Results are written to the row's own place in the table.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import validated
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import DUPLICATE_CODE
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.kernels.columns import by_partition
from stream_scorer.core.kernels.folding import DUPLICATE
from stream_scorer.core.rings.rings import CustomerRings

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

GROUPS = 16
_GROUP_BITS = np.uint64(60)
_ROWS = 2**17


class TablePart:
    """Consecutive rows of a table, and where their results are written.

    Args:
        events: n rows.
        computed: float64[n, m], the table's features of these rows, to be written.
        accepted: bool[n], likewise.

    Attributes:
        refused: uint8[r], the reason of each refused row: codes of ``core.events.validation``.
    """

    def __init__(self, events: EventBatch, computed: Float64, accepted: Bool) -> None:
        self._events = events
        self._computed = computed
        self._accepted = accepted
        self.refused = np.empty(0, np.uint8)

    def validate(self, plan: Plan, features: FeatureSet) -> None:
        """Validate the rows and collect each group's data."""
        batch = validated(self._events, plan, features)
        self._order, begins = by_partition(group_of(self._events.hashes("customer_id")))
        self._begins = begins[np.minimum(np.arange(GROUPS + 1), len(begins) - 1)].tolist()
        self._batch = batch.take(self._order)
        self._verdict = np.zeros(len(self._events), np.uint8)

    def fold(self, number: int, rings: CustomerRings) -> None:
        """Fold the rows of a group into its rings, which write features in place."""
        begin, end = self._begins[number], self._begins[number + 1]
        if begin == end:
            return
        journal = self._batch.fold(
            rings, np.arange(begin, end), self._verdict, self._computed, self._order[begin:end]
        )
        rings.release(journal)

    def complete(self, features: FeatureSet, later: Int64) -> None:
        """Compute the features that neither rings nor terminals write.

        Args:
            features: The features.
            later: Columns of terminals, which are not known yet.
        """
        again = (self._verdict == DUPLICATE) & ~self._batch.refused
        refused = self._batch.refused | again
        self._accepted[self._order] = ~refused
        self._computed[:, later] = np.nan
        if not refused.any():
            features.complete(self._events, self._computed)
            return
        self.refused = np.where(again, np.uint8(DUPLICATE_CODE), self._batch.codes)[refused]
        # Refused rows may contain anything.
        rows = np.flatnonzero(self._accepted)
        out = self._computed[rows]
        features.complete(self._events.take(rows), out)
        self._computed[rows] = out


def group_of(hashes: UInt64) -> NDArray[np.int32]:
    """Return int32[n], each id's group, 0 … GROUPS-1."""
    # By the upper bits: rings and tables find an id by the lower ones.
    return (hashes >> _GROUP_BITS).astype(np.int32)


def parts_of(events: EventBatch, computed: Float64, accepted: Bool) -> Iterator[TablePart]:
    """Yield the rows in order, in parts.

    Args:
        events: n rows.
        computed: float64[n, m], their features, to be written.
        accepted: bool[n], likewise.
    """
    for at in range(0, len(events), _ROWS):
        rows = slice(at, at + _ROWS)
        records = events.records.slice(at, _ROWS)
        some = EventBatch(
            records, events.partition[rows], events.offset[rows], events.timestamp[rows]
        )
        yield TablePart(some, computed[rows], accepted[rows])
