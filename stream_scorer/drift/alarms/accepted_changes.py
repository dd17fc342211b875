"""What a person accepts: the mean after a change is the stream's base from then on."""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.alarms.family import Family
from stream_scorer.drift.alarms.nulls import Bool, Float64, Nulls
from stream_scorer.drift.alarms.stream_history import StreamHistory


class AcceptedChanges:
    """The base nulls of k streams; the attributes are those of ``StreamChanges``."""

    nulls: Nulls
    family: Family
    history: StreamHistory
    base: Float64
    prior: Float64
    after: NDArray[np.int32]
    accepted: Bool
    part: Bool
    known: NDArray[np.int32]

    def accept(self, stream: int) -> None:
        """Take a stream's mean after its change as its base null, as soon as it is learned."""
        if self.family.learning[stream] > 0:
            self.accepted[stream] = True
            return
        self._rebase(stream, self.history.mean_of(stream, max(int(self.after[stream]), 1)))

    def accept_part(self, stream: int) -> None:
        """Take what the fleet's change moved a stream by as usual; its own older change stays open.

        Its base moves with the fleet, so the change is over when nothing but the fleet's is left.
        """
        if not self.part[stream]:
            return
        mean = self.nulls.mean[stream] + self._since(stream, 0) * self.nulls.scale[stream]
        self.base[:, stream] += mean - self.prior[stream]
        self.part[stream] = False

    def take_accepted(self, streams: Bool, age: int = 0) -> None:
        """Take the means that were accepted and are not learned yet as base nulls.

        Args:
            streams: bool[k].
            age: Number of the newest observations that are of another change, and left out.
        """
        for stream in np.flatnonzero(streams & self.accepted).tolist():
            self._rebase(stream, self._since(stream, age))

    def _since(self, stream: int, age: int) -> float:
        """Return the mean since a stream's latest alarm, in standard deviations."""
        since = int(self.after[stream] + self.known[stream])
        known = (self.family.mean[stream] - self.nulls.mean[stream]) / self.nulls.scale[stream]
        return self.history.mean_before(stream, since, age, float(known))

    def _rebase(self, stream: int, residual: float) -> None:
        mean = self.nulls.mean[stream] + residual * self.nulls.scale[stream]
        width = (self.nulls.high[stream] - self.nulls.low[stream]) / 2
        self.base[:, stream] = mean - width, mean + width
        self.after[stream], self.accepted[stream] = -1, False
