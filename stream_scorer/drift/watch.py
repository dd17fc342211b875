"""Turns summaries into drifts: windows, and a detector for each signal of each model version."""

from collections.abc import Iterable, Mapping
from typing import Any

from stream_scorer.drift.detectors import Drift, SignalDetector
from stream_scorer.drift.windows import Windows


class DriftWatch:
    """A deterministic fold over the summaries; ``copy.deepcopy`` keeps a state to go back to.

    Each model version has separate detectors: a difference between versions does not count as
    drift.

    Args:
        signals: Keys of :data:`stream_scorer.drift.detectors.SIGNALS`.
        delta: ADWIN's confidence.
        partitions: The input's partitions.
        lateness_ms: The plan's lateness.
    """

    def __init__(
        self, signals: Iterable[str], delta: float, partitions: Iterable[int], lateness_ms: int
    ) -> None:
        self._signals = tuple(signals)
        self._delta = delta
        self._windows = Windows(partitions, lateness_ms)
        self._detectors: dict[tuple[str, str], list[SignalDetector]] = {}

    @property
    def late(self) -> int:
        """Number of decisions that arrived after their windows had closed."""
        return self._windows.late

    def update(self, summary: Mapping[str, Any], published_ms: int) -> list[Drift]:
        """Add one summary; return the changes that it reveals.

        Args:
            summary: A record of the summary schema.
            published_ms: Its Kafka timestamp.
        """
        found = []
        for window in self._windows.update(summary, published_ms):
            for detector in self._of(window.model, window.version):
                drift = detector.update(window)
                if drift is not None:
                    found.append(drift)
        return found

    def _of(self, model: str, version: str) -> list[SignalDetector]:
        key = (model, version)
        if key not in self._detectors:
            self._detectors[key] = [SignalDetector(name, self._delta) for name in self._signals]
        return self._detectors[key]
