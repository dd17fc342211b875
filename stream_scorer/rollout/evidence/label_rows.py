"""Columns of the delayed label join: decisions and labels in, matured decisions out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

NO_OUTCOME: Final = 255
"""In place of a shadow's outcome if there was no shadow."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingDecisions:
    """n decisions that wait for their labels.

    Attributes:
        key: uint64[n], hash of what identifies the transaction in labels.
        event_time: int64[n], ms.
        partition: int32[n], source.
        offset: int64[n], source; with the partition it identifies the decision.
        arm: uint8[n], set by the caller and returned unchanged.
        bucket: int64[n], likewise.
        amount: float64[n], in units of the currency.
        outcome: uint8[n], values of ``core.events.batch.Outcome``.
        shadow: uint8[n], a shadow's outcome, or :data:`NO_OUTCOME`.
    """

    key: UInt64
    event_time: Int64
    partition: NDArray[np.int32]
    offset: Int64
    arm: UInt8
    bucket: Int64
    amount: Float64
    outcome: UInt8
    shadow: UInt8

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Int64 | slice) -> "PendingDecisions":
        """Return some rows, in the given order."""
        return PendingDecisions(
            self.key[rows], self.event_time[rows], self.partition[rows], self.offset[rows],
            self.arm[rows], self.bucket[rows], self.amount[rows], self.outcome[rows],
            self.shadow[rows],
        )  # fmt: skip

    def tuples(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows in the order of the table's columns."""
        columns = (
            self.event_time, self.partition, self.offset, self.key.view(np.int64), self.arm,
            self.bucket, self.amount, self.outcome, self.shadow,
        )  # fmt: skip
        return zip(*(column.tolist() for column in columns), strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class LabelColumns:
    """n labels.

    Attributes:
        key: uint64[n], as :attr:`PendingDecisions.key`.
        event_time: int64[n], event times of their transactions, ms, or upper bounds of these.
        label_time: int64[n], when they became known, ms.
        partition: int32[n], partition of the label's record.
        offset: int64[n], likewise.
        fraud: bool[n].
    """

    key: UInt64
    event_time: Int64
    label_time: Int64
    partition: NDArray[np.int32]
    offset: Int64
    fraud: Bool

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Int64 | slice) -> "LabelColumns":
        """Return some rows, in the given order."""
        return LabelColumns(
            self.key[rows], self.event_time[rows], self.label_time[rows], self.partition[rows],
            self.offset[rows], self.fraud[rows],
        )  # fmt: skip

    def tuples(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows in the order of the table's columns."""
        columns = (
            self.key.view(np.int64), self.event_time, self.label_time, self.partition, self.offset,
            self.fraud,
        )  # fmt: skip
        return zip(*(column.tolist() for column in columns), strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Ripe:
    """n matured decisions, ordered by event time and source; each is returned once.

    Attributes:
        event_time: int64[n], ms.
        arm: uint8[n], as it was given.
        bucket: int64[n].
        amount: float64[n], in units of the currency.
        outcome: uint8[n].
        shadow: uint8[n].
        fraud: bool[n], by the last label that was known in time; False without one.
        others: Number of further matured decisions that were only counted; see
            ``LabelJoin.pass_by``.
    """

    event_time: Int64
    arm: UInt8
    bucket: Int64
    amount: Float64
    outcome: UInt8
    shadow: UInt8
    fraud: Bool
    others: int = 0

    def __len__(self) -> int:
        return len(self.event_time)
