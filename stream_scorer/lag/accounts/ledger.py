"""Which offsets of an input partition have an output, and which have none."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Run = tuple[int, int]
"""The first offset of a run of offsets, and the next one after it."""
OFFSETS_MOST: Final = 50_000_000
"""Offsets that wait to be settled, at most; each takes a byte."""


class OutputKind(IntEnum):
    """What an input record became."""

    DECISION = 1
    DEAD_LETTER = 2


@dataclass(frozen=True, slots=True)
class SettledOffsets:
    """Offsets that were settled.

    Attributes:
        decided: Those with a decision.
        rejected: Those with a dead letter.
        absent: Runs of those without either.
    """

    decided: int
    rejected: int
    absent: Sequence[Run]


class PartitionLedger:
    """Notes the output of each offset of one partition.

    Args:
        begin: The first offset that counts.

    Attributes:
        done: Everything before this offset is settled.
        doubled: Outputs of an offset that already had one.
        overflowed: Whether an output was too far ahead to be noted: begin again.

    Example:
        >>> ledger = PartitionLedger(begin=10)
        >>> ledger.note(np.array([10, 11, 13, 11]), OutputKind.DECISION)
        >>> ledger.doubled, ledger.settle(14)
        (1, SettledOffsets(decided=3, rejected=0, absent=[(12, 13)]))
    """

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._kinds = np.zeros(1_024, np.uint8)
        self.done = begin
        self.doubled = 0
        self.overflowed = False

    def begin_at(self, offset: int) -> None:
        """Leave out what is before an offset, as long as nothing is settled."""
        if self.done == self._begin and offset > self._begin:
            self._drop(offset - self.done)
            self._begin = offset

    @property
    def began(self) -> int:
        """The first offset that counts."""
        return self._begin

    def note(self, offsets: Int64, kind: OutputKind) -> None:
        """Note outputs; those of offsets before the first that counts are left out.

        Args:
            offsets: int64[n], of their input records.
            kind: What they are.
        """
        counted = offsets[offsets >= self._begin]
        unique = np.unique(counted)
        self.doubled += len(counted) - len(unique)
        rows = unique[unique >= self.done] - self.done
        self.doubled += len(unique) - len(rows)
        if len(rows) and rows[-1] >= OFFSETS_MOST:
            self.overflowed = True
            return
        self._grow(int(rows[-1]) + 1 if len(rows) else 0)
        self.doubled += int(np.count_nonzero(self._kinds[rows]))
        self._kinds[rows] = kind

    def settle(self, end: int) -> SettledOffsets:
        """Settle everything before an offset: all its outputs were noted.

        Args:
            end: The next offset after the last one; one before ``done`` settles nothing.
        """
        count = max(end - self.done, 0)
        if count > OFFSETS_MOST:
            self.overflowed = True
            return SettledOffsets(0, 0, [])
        self._grow(count)
        kinds = self._kinds[:count]
        found = SettledOffsets(
            int(np.count_nonzero(kinds == OutputKind.DECISION)),
            int(np.count_nonzero(kinds == OutputKind.DEAD_LETTER)),
            [(first + self.done, after + self.done) for first, after in _runs(kinds == 0)],
        )
        self._drop(count)
        return found

    def _drop(self, count: int) -> None:
        self._kinds = self._kinds[count:].copy() if count < len(self._kinds) else _none()
        self.done += count

    def _grow(self, length: int) -> None:
        if length > len(self._kinds):
            more = max(length, 2 * len(self._kinds)) - len(self._kinds)
            self._kinds = np.concatenate([self._kinds, np.zeros(more, np.uint8)])


def _none() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


def _runs(absent: NDArray[np.bool_]) -> list[Run]:
    """Return the runs of True, ascending."""
    steps = np.diff(np.concatenate([[0], absent.view(np.int8), [0]]))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return list(zip(begins.tolist(), ends.tolist(), strict=True))
