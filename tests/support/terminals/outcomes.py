"""Outcomes of transactions for tests of the profiler: what is known, and what was blocked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import LabelPolicy

Int64 = NDArray[np.int64]


@dataclass
class FakeOutcomes:
    """What scorers have decided so far.

    Attributes:
        known: int64[p], outcomes before these offsets are known.
        blocks: (partition, offset) of blocked transactions.
        policy: The label policy of every row from ``since`` on, the others have none.
        since: By partition, the first offset with the policy; 0 if not given.
    """

    known: Int64
    blocks: set[tuple[int, int]] = field(default_factory=set)
    policy: LabelPolicy = field(default_factory=lambda: LabelPolicy(on=True))
    since: dict[int, int] = field(default_factory=dict)

    def blocked(self, partition: NDArray[np.int32], offset: Int64) -> NDArray[np.bool_]:
        """Return bool[n]."""
        places = zip(partition.tolist(), offset.tolist(), strict=True)
        return np.array([place in self.blocks for place in places], np.bool_)

    def policies(
        self, partition: NDArray[np.int32], offset: Int64
    ) -> Sequence[tuple[LabelPolicy, int, Int64]]:
        """Return each policy with its rows."""
        first = np.array([self.since.get(p, 0) for p in partition.tolist()], np.int64)
        on = offset >= first
        found = [
            (self.policy, 3, np.flatnonzero(on)),
            (LabelPolicy.absent(), 0, np.flatnonzero(~on)),
        ]
        return [each for each in found if len(each[2])]
