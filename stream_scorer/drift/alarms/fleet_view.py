"""What the fleet's median says of streams: which it explains, which moved with it, and how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.drift.alarms.family import ChangeFound, Family
from stream_scorer.drift.alarms.fleet import Waiting, explains
from stream_scorer.drift.alarms.nulls import Nulls
from stream_scorer.drift.alarms.stream_history import StreamHistory
from stream_scorer.models.reference.fleet import STREAMS_LEAST

_CERTAIN: Final = 3.0
"""Standard errors by which a stream must have moved, to be named in a fleet alarm."""
_NEWEST: Final = 3
"""Number of the newest observations of the fleet that can explain a stream's alarm."""
_QUORUM: Final = 0.05
"""Share of the levels whose alarms are a fleet's, if the median explains all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class FleetView:
    """The fleet beside its streams, now.

    Attributes:
        nulls: Their nulls.
        family: Their detectors.
        history: Their newest values.
    """

    nulls: Nulls
    family: Family
    history: StreamHistory

    def shift(self, stream: int, age: int) -> float:
        """Return the mean of the newest observations, in standard deviations from the null."""
        centre = (self.family.mean[stream] - self.nulls.mean[stream]) / self.nulls.scale[stream]
        return self.history.mean_of(stream, age) - float(centre)

    def median(self, age: int) -> float:
        """Return how far the newest medians moved, in standard deviations of a stream."""
        return self.shift(len(self.nulls) - 1, age) * float(self.nulls.scale[-1])

    def is_explained(self, found: ChangeFound) -> bool:
        """Whether the median's change, or its newest values, may be what a stream fired for."""
        # A stream that moved before by chance has a longer age than the fleet's change.
        return self._explains(found, found.age) or (
            found.age > _NEWEST and self._explains(found, _NEWEST)
        )

    def moved_with(self, stream: int, age: int) -> bool:
        """Whether a stream moved as the median did."""
        shift = abs(self.shift(stream, age))
        return explains(abs(self.median(age)), shift) and shift * age**0.5 > _CERTAIN

    def together(
        self, waiting: Sequence[Waiting], found: Sequence[ChangeFound]
    ) -> ChangeFound | None:
        """Return the fleet's change if many streams fired for it before its own detector did.

        Where streams have much in common, their median is nearly as noisy as they are, and the
        quickest of many streams fire before it. One of twenty is enough, and eight at least. Their
        number has an expectation below 1 without a change.

        Args:
            waiting: The alarms that wait for the fleet's.
            found: What fired now.
        """
        changes = [(each.found, each.found.age + each.waited) for each in waiting]
        changes += [(each, each.age) for each in found]
        mine = [(each, age) for each, age in changes if self._explains(each, age)]
        if len(mine) < max(STREAMS_LEAST, _QUORUM * int(self.nulls.level.sum())):
            return None
        fleet = len(self.nulls) - 1
        age = sorted(age for _, age in mine)[len(mine) // 2]
        evidence = min(each.log_evidence for each, _ in mine)
        before = float(self.family.mean[fleet])
        return ChangeFound(
            fleet, age, before, before + self.median(age), evidence, "calibrated", evidence
        )

    def _explains(self, found: ChangeFound, age: int) -> bool:
        if not self.nulls.level[found.stream]:
            return False
        shift = float((found.after - found.before) / self.nulls.scale[found.stream])
        return explains(self.median(age), shift)
