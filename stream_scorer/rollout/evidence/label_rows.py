"""Decisions and labels as the columns that the delayed join takes, and what comes out of it."""

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
"""In place of a shadow's outcome where none scored along."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingDecisions:
    """n decisions that wait for their labels.

    Attributes:
        key: uint64[n], hash of customer and transaction id.
        event_time: int64[n], ms.
        partition: int32[n], source.
        offset: int64[n], source; with the partition it identifies the decision.
        arm: uint8[n], what the caller counts it for; comes back as it is.
        bucket: int64[n], likewise.
        amount: float64[n], in units of the currency.
        outcome: uint8[n], values of ``core.batch.Outcome``.
        shadow: uint8[n], what a shadow would have decided, or :data:`NO_OUTCOME`.
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
        """Yield the rows as the table has them."""
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
        event_time: int64[n], their transactions', ms; or a time that these are not after.
        label_time: int64[n], when they became known, ms.
        partition: int32[n], where the label lay.
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
        """Yield the rows as the table has them."""
        columns = (
            self.key.view(np.int64), self.event_time, self.label_time, self.partition, self.offset,
            self.fraud,
        )  # fmt: skip
        return zip(*(column.tolist() for column in columns), strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Ripe:
    """n decisions that have matured, by event time and source; each is told once.

    Attributes:
        event_time: int64[n], ms.
        arm: uint8[n], as it came.
        bucket: int64[n].
        amount: float64[n], in units of the currency.
        outcome: uint8[n].
        shadow: uint8[n].
        fraud: bool[n], what the last label in time said; False without one.
        others: How many have matured beside these that nobody waited for.
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
