"""Kafka time: the newest Kafka timestamp of the summaries, as far as it can be believed.

A scorer whose clock is wrong, or a forger, can write any timestamp. So a timestamp that is more
than a day away from Kafka time counts only when as many successive summaries agree that a clock
alone cannot be the reason. That holds in both directions: time goes back when a wrong clock that
was believed is corrected.

Of timestamps that agree, time becomes the newest one that no gap separates from the smallest. So it
has caught up after a pause, whether thirty summaries take a second or a month.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

JUMP_MS: Final = 24 * 3_600_000
"""A timestamp that is further away than this is not believed at once."""
AGREE: Final = 30
"""So many successive summaries on the same side move Kafka time anyway."""


@dataclass(slots=True)
class KafkaTime:
    """Kafka time.

    Attributes:
        now: The time, ms since the epoch; -1 before any summary.
        doubted: The newest timestamps that are not believed yet, all before or all after ``now``.
    """

    now: int = -1
    doubted: tuple[int, ...] = ()

    def copy(self) -> "KafkaTime":
        """Return a copy."""
        return replace(self)

    def move(self, published_ms: int) -> int:
        """Note the timestamp of a summary; return the time."""
        if self.now < 0 or abs(published_ms - self.now) <= JUMP_MS:
            self.now, self.doubted = max(self.now, published_ms), ()
            return self.now
        ahead = published_ms > self.now
        same = [each for each in self.doubted if (each > self.now) == ahead]
        self.doubted = (*same, published_ms)
        if len(self.doubted) == AGREE:
            self.now = _newest_without_gap(self.doubted) if ahead else max(self.doubted)
            self.doubted = ()
        return self.now

    def allows(self, time_ms: int, ahead_ms: int = 0) -> bool:
        """Whether an input that was read until now can be of this time.

        Args:
            time_ms: An event time, or a Kafka timestamp of the input.
            ahead_ms: By how much an event time may be after its Kafka timestamp.
        """
        return time_ms <= self.now + ahead_ms + JUMP_MS

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {"now": self.now, "doubted": list(self.doubted)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "KafkaTime":
        """Return the time of a state.

        Raises:
            KeyError: A part is missing.
            ValueError: It is not a state.
        """
        return cls(int(document["now"]), tuple(int(each) for each in document["doubted"]))


def _newest_without_gap(timestamps: Sequence[int]) -> int:
    """Return the largest timestamp below a gap: a day, or twice the usual distance if that is more.

    What is above a gap may be of a wrong clock.
    """
    known = sorted(timestamps)
    steps = [later - before for before, later in pairwise(known)]
    most = max(JUMP_MS, 2 * sorted(steps)[len(steps) // 2])
    gap = next((n for n, step in enumerate(steps) if step > most), len(steps))
    return known[gap]
