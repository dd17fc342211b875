"""Turns summaries into drifts: windows, and a detector for each signal of each model version."""

from collections.abc import Iterable, Mapping
from copy import copy, deepcopy
from typing import Any, Final

from stream_scorer.drift.detectors import Drift, SignalDetector
from stream_scorer.drift.windows import Windows

VERSIONS_MOST: Final = 100
"""Maximum number of model versions with detectors; the least recently updated ones are dropped."""


class DriftWatch:
    """A deterministic fold over the summaries; :meth:`copy` keeps a state to go back to.

    Each model version has separate detectors: a difference between versions does not count as
    drift. A version whose detectors were dropped begins again.

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
        self._own: set[tuple[str, str]] = set()

    def copy(self) -> "DriftWatch":
        """Return a copy. Detectors are copied only when one of the two states changes them."""
        made = copy(self)
        self._own = set()
        vars(made).update(
            _windows=self._windows.copy(), _detectors=dict(self._detectors), _own=set()
        )
        return made

    @property
    def late(self) -> int:
        """Number of decisions that arrived after their windows had closed."""
        return self._windows.late

    @property
    def dropped(self) -> int:
        """Number of windows that were dropped because too many were open."""
        return self._windows.dropped

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
        """Return a version's detectors, which no other copy of this state has."""
        key = (model, version)
        found = self._detectors.pop(key, None)
        if found is None:
            found = [SignalDetector(name, self._delta) for name in self._signals]
        elif key not in self._own:
            found = deepcopy(found)
        self._own.add(key)
        # At the last place, so that the first one is that of the least recently updated version.
        self._detectors[key] = found
        if len(self._detectors) > VERSIONS_MOST:
            oldest = next(iter(self._detectors))
            del self._detectors[oldest]
            self._own.discard(oldest)
        return found
