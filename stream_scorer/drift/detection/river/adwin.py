"""River's ADWIN: it drops the older part of its window when two parts differ.

(Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", 2007.) River keeps
its buckets out of reach. So the state is the latest values, and a restore replays them. To make
that exact, ADWIN starts again with the newer half of the values whenever the state is full.
"""

from typing import Any, Final

import numpy as np
from river.drift import ADWIN

from stream_scorer.drift.detection.river.adapter import unexplained
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.ports import Float64

HORIZON: Final = 240
"""Number of values that are kept, at most."""


class AdwinDetector(Detector):
    """Gives each stream a River ADWIN.

    Args:
        streams: Number of streams.
        bounded: Whether it looks at :data:`HORIZON` values at most; otherwise it is River's as it
            is, and has no snapshot.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, *, bounded: bool = True, **options: Any) -> None:
        # The first number is the count of the values that follow.
        super().__init__(np.zeros((streams, 1 + HORIZON)))
        self._bounded = bounded
        self._options = options
        self._detectors = [self._made() for _ in range(streams)]

    def update(self, values: Float64) -> Alarms:
        """Add one step; a NaN is not passed on."""
        fired = []
        for stream, value in enumerate(values.tolist()):
            if value == value and self._sees(stream, value):  # noqa: PLR0124 the test for NaN
                fired.append(stream)
        return unexplained(fired)

    def snapshot(self) -> bytes:
        """Return the complete memory: little-endian float64, row by row.

        Raises:
            ValueError: The detector is not bounded.
        """
        if not self._bounded:
            raise ValueError("an unbounded ADWIN has no snapshot")
        return super().snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot of a detector with the same configuration.

        Raises:
            ValueError: The snapshot does not fit.
        """
        super().restore(snapshot)
        counts = self._state[:, 0]
        if not ((counts >= 0) & (counts <= HORIZON) & (counts % 1 == 0)).all():
            raise ValueError("a snapshot of ADWIN has counts that are not possible")
        for stream in range(self.streams):
            self._replay(stream)

    def _made(self) -> Any:
        made: Any = ADWIN  # River's classes carry no types
        return made(**self._options)

    def _replay(self, stream: int) -> None:
        row = self._state[stream]
        self._detectors[stream] = self._made()
        for value in row[1 : 1 + int(row[0])].tolist():
            self._detectors[stream].update(value)

    def _sees(self, stream: int, value: float) -> bool:
        detector, row = self._detectors[stream], self._state[stream]
        detector.update(value)
        if not self._bounded:
            return bool(detector.drift_detected)
        if detector.drift_detected:
            # River resets itself before the next value.
            row[:] = 0.0
            self._detectors[stream] = self._made()
            return True
        row[1 + int(row[0])] = value
        row[0] += 1
        if row[0] == HORIZON:
            half = HORIZON // 2
            row[1 : 1 + half] = row[1 + half :].copy()
            row[1 + half :] = 0.0
            row[0] = half
            self._replay(stream)
        return False
