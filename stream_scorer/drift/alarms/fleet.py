"""The fleet alarm: everything moves together, so no stream is the cause.

The median of the streams' standardised levels is a stream of its own. A stream's alarm that the
median explains waits for the median's alarm, and is then a part of it. If none comes, the stream's
alarm is reported late.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from stream_scorer.drift.alarms.family import ChangeFound

WAIT: Final = 48
"""Number of windows for which a stream's alarm waits for that of the fleet."""
_EXPLAINED: Final = 0.5
"""A median that moved by this share of a stream's change explains it."""
MOVED: Final = 0.25
"""Shift of a median, in standard deviations of a stream, that explains anything."""


def explains(median: float, shift: float) -> bool:
    """Whether a shift of the median explains that of a stream, both in standard deviations."""
    return bool(abs(median) >= max(MOVED, _EXPLAINED * abs(shift)) and median * shift > 0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream's alarm that waits for that of the fleet.

    Attributes:
        found: The alarm.
        start: Start of its window, ms since the epoch.
        end: End of the window.
        left: Number of windows for which it still waits.
    """

    found: ChangeFound
    start: int
    end: int
    left: int

    @property
    def waited(self) -> int:
        """Number of windows for which it has waited before the newest one closed, that one too."""
        return WAIT + 1 - self.left

    def document(self) -> list[Any]:
        """Return it for JSON."""
        each = self.found
        return [
            each.stream, each.age, each.before, each.after, each.log_evidence, each.detector,
            each.calibrated, self.start, self.end, self.left,
        ]  # fmt: skip

    @classmethod
    def read(cls, values: Sequence[Any]) -> "Waiting":
        """Return the alarm of a document.

        Raises:
            TypeError: It is not one.
        """
        *found, start, end, left = values
        return cls(ChangeFound(*found), int(start), int(end), int(left))

    @classmethod
    def continued(
        cls, documents: Sequence[Sequence[Any]], number: Mapping[int, int]
    ) -> tuple["Waiting", ...]:
        """Return the alarms of documents whose streams are still there.

        Args:
            documents: See :meth:`document`.
            number: New number of each stream by its number in the documents.

        Raises:
            TypeError: One is not a document of an alarm.
        """
        held = [cls.read(each) for each in documents]
        return tuple(
            replace(each, found=replace(each.found, stream=number[each.found.stream]))
            for each in held
            if each.found.stream in number
        )

    @staticmethod
    def one_less(
        waiting: Sequence["Waiting"],
    ) -> tuple[tuple["Waiting", ...], tuple["Waiting", ...]]:
        """Return the alarms that waited for the last time, and those that wait on."""
        rest = tuple(replace(each, left=each.left - 1) for each in waiting if each.left > 1)
        return tuple(each for each in waiting if each.left <= 1), rest


@dataclass(frozen=True, slots=True)
class StreamAlarm:
    """A stream that a detector fired for, in the window in which it fired.

    Attributes:
        found: What fired.
        start: Start of that window, ms since the epoch.
        end: End of that window.
        fleet: Whether it is the alarm of the fleet.
        part_of: Streams whose alarms are a part of it.
    """

    found: ChangeFound
    start: int
    end: int
    fleet: bool = False
    part_of: tuple[int, ...] = ()
