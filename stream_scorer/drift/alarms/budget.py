"""The budget of false alarms, as the settings give it."""

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """How many false alarms are accepted, and what does not matter.

    Attributes:
        false_alarm_days: Days between two false alarms, over all streams of a version.
        tolerance: Change of a feature that does not matter, in standard deviations of an
            observation.
        history_from: Time from which histories are complete, ms since the epoch; None if unknown.
        streams_most: Maximum number of streams of a version.
    """

    false_alarm_days: float = 30.0
    tolerance: float = 0.5
    history_from: int | None = None
    streams_most: int = 2_048

    def windows(self, window_ms: int) -> float:
        """Return the budget in windows.

        >>> AlarmBudget(30.0).windows(3_600_000)
        720.0

        Args:
            window_ms: Width of a window.
        """
        return self.false_alarm_days * _DAY_MS / window_ms
