"""What the fleet's median says of streams: which it explains, which moved with it, and how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.drift.alarms.family import ChangeFound, Family
from stream_scorer.drift.alarms.fleet import MOVED, Waiting, explains
from stream_scorer.drift.alarms.nulls import Nulls
from stream_scorer.drift.alarms.stream_history import StreamHistory

_CERTAIN: Final = 3.0
"""Standard errors by which a stream must have moved, to be named in a fleet alarm."""
_NEWEST: Final = 3
"""Number of the newest observations of the fleet that can explain a stream's alarm, at least."""
_SEEN: Final = 2.5
"""Standard errors by which a median must have moved, to explain anything."""
_QUORUM: Final = 3
"""Number of alarms that are a fleet's, if the median explains all of them."""


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

    def is_explained(self, found: ChangeFound, waited: int = 0) -> bool:
        """Whether the median's change, or its newest values, may be what a stream fired for.

        A stream that moved before by chance has a longer age than the fleet's change. So the half
        of it is looked at, the half of that, and so on. A median that is noisy, because streams
        have much in common, must have moved by more than chance explains, and what it leaves of the
        stream's change must be no reason for an alarm.

        Args:
            found: What a stream fired for.
            waited: Windows since then.
        """
        phi = float(self.nulls.phi[-1])
        error = float(self.nulls.scale[-1]) * ((1 + phi) / (1 - phi)) ** 0.5
        age = found.age + waited
        while age >= _NEWEST:
            median = self.median(age)
            moved = abs(median) >= max(MOVED, _SEEN * error / age**0.5)
            if moved and self.leaves_nothing(median, found):
                return True
            age //= 2
        return False

    def moved_with(self, stream: int, age: int) -> bool:
        """Whether a stream moved as the median did."""
        shift = abs(self.shift(stream, age))
        return explains(abs(self.median(age)), shift) and shift * age**0.5 > _CERTAIN

    def together(
        self, waiting: Sequence[Waiting], found: Sequence[ChangeFound]
    ) -> ChangeFound | None:
        """Return the fleet's change if many streams fired for it before its own detector did.

        Where streams have much in common, their median is nearly as noisy as they are, and the
        quickest of many streams fire before it. By chance, too, they fire in bursts, when what they
        have in common is far from its mean. Either is one alarm.

        Args:
            waiting: The alarms that wait for the fleet's.
            found: What fired now.
        """
        changes = [(each.found, each.waited) for each in waiting] + [(each, 0) for each in found]
        mine = [(each, waited) for each, waited in changes if self.is_explained(each, waited)]
        if len(mine) < _QUORUM:
            return None
        fleet = len(self.nulls) - 1
        age = sorted(each.age + waited for each, waited in mine)[len(mine) // 2]
        evidence = min(each.log_evidence for each, _ in mine)
        before = float(self.family.mean[fleet])
        return ChangeFound(
            fleet, age, before, before + self.median(age), evidence, "calibrated", evidence
        )

    def leaves_nothing(self, change: float, found: ChangeFound) -> bool:
        """Whether a stream moved as the fleet did, and no further than chance explains.

        Args:
            change: How far the fleet moved, in standard deviations of a stream.
            found: What a stream fired for since.
        """
        shift = self._shift_of(found)
        if not self.nulls.level[found.stream] or change * shift <= 0:
            return False
        phi = self.nulls.phi[found.stream]
        beyond = max(abs(shift) - abs(change), 0.0) / self.family.spread[found.stream]
        evidence = beyond**2 * found.age * (1 - phi) / (1 + phi) / 2
        return bool(evidence < self.family.thresholds[found.stream])

    def _shift_of(self, found: ChangeFound) -> float:
        return float((found.after - found.before) / self.nulls.scale[found.stream])
