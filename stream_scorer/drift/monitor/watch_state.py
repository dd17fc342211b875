"""What faults and commands see of the monitor's complete state, and may change in it."""

from typing import Protocol

from stream_scorer.drift.alarms.episodes import Episodes
from stream_scorer.drift.monitor.version_watch import VersionWatch
from stream_scorer.drift.windows.windows import Windows


class WatchState(Protocol):
    """The parts of :class:`~stream_scorer.drift.monitor.watch.DriftWatch` that its books need.

    Attributes:
        windows: The open windows of events.
        versions: Model versions by name, the least recently updated first.
        episodes: All episodes.
    """

    windows: Windows
    versions: dict[tuple[str, str], VersionWatch]
    episodes: Episodes

    @property
    def detected_at(self) -> int:
        """Kafka time, ms since the epoch; -1 before any summary."""

    def owned(self, name: tuple[str, str]) -> VersionWatch | None:
        """Return a version that no other copy of the state has."""

    def snoozed(self, model: str, version: str, stream: str) -> bool:
        """Whether the alarms of a stream are notes now; ``stream`` may be the name of a fault."""
