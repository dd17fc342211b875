"""Rows that wait for a decision: the watermark stays before them until their outcome is known.

A blocked transaction without a label is unknown, so its row may not leave before the profiler knows
whether it was blocked. Scorers decide each partition in order, so the outcomes that are known are
those before one offset of each partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import LabelPolicy

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

NOWHERE = 2**62
"""After every offset, and after every time, ms."""


class RowOutcomes(Protocol):
    """What was decided for transactions, and the policies by which their rows settle."""

    @property
    def known(self) -> Int64:
        """int64[p]: outcomes before these offsets are known."""
        ...

    def blocked(self, partition: Int32, offset: Int64) -> Bool:
        """Return bool[n]: whether transactions were blocked."""
        ...

    def policies(self, partition: Int32, offset: Int64) -> Sequence[tuple[LabelPolicy, int, Int64]]:
        """Return (policy, revision, int64[k]): the rows that each policy settles; each row once."""
        ...


@dataclass(frozen=True, slots=True)
class StopBefore:
    """Where a batch must stop.

    Attributes:
        taken: Number of its records, of the merged order, that come before.
        watermark: The watermark after them, ms.
    """

    taken: int
    watermark: int


@dataclass(slots=True)
class _Piece:
    """Rows of one partition with ascending offsets; ``first_ms`` is their smallest event time."""

    offset: Int64
    event_time: Int64
    first_ms: int


class Undecided:
    """Event times of pending rows whose outcome is not known.

    Args:
        partitions: Number of partitions of the transactions.
    """

    def __init__(self, partitions: int) -> None:
        self._pieces: list[list[_Piece]] = [[] for _ in range(partitions)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(piece.offset) for pieces in self._pieces for piece in pieces)

    def add(self, partition: Int32, offset: Int64, event_time: Int64) -> None:
        """Add n rows, after all rows of their partitions that were added before."""
        for number in np.unique(partition).tolist():
            mine = np.flatnonzero(partition == number)
            mine = mine[np.argsort(offset[mine], kind="stable")]
            times = event_time[mine]
            self._pieces[number].append(_Piece(offset[mine], times, int(times.min())))

    def first_ms(self, known: Int64) -> int:
        """Forget rows whose outcome is known; return the smallest event time of the others, ms.

        Args:
            known: int64[p], as of :class:`RowOutcomes`.

        Returns:
            :data:`NOWHERE` if there are no others.
        """
        first = NOWHERE
        for number, pieces in enumerate(self._pieces):
            gone = 0
            for piece in pieces:
                if int(piece.offset[-1]) >= known[number]:
                    break
                gone += 1
            del pieces[:gone]
            if pieces and int(pieces[0].offset[0]) < known[number]:
                piece = pieces[0]
                left = int(np.searchsorted(piece.offset, known[number]))
                times = piece.event_time[left:]
                pieces[0] = _Piece(piece.offset[left:], times, int(times.min()))
            first = min([first, *(piece.first_ms for piece in pieces)])
        return first


def newest_before(partition: Int32, event_time: Int64, newest: Int64) -> Int64:
    """Return int64[n], ms: the newest event time of its partition before each row.

    Args:
        partition: int32[n].
        event_time: int64[n], ms, in the order of offsets within each partition.
        newest: int64[p], before the first row; updated.
    """
    found = np.empty(len(partition), np.int64)
    for number in np.unique(partition).tolist():
        mine = np.flatnonzero(partition == number)
        times = np.concatenate([newest[number : number + 1], event_time[mine]])
        most = np.maximum.accumulate(times)
        found[mine], newest[number] = most[:-1], most[-1]
    return found
