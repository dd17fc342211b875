"""What River's detectors say of the streams of all events that matter most: a second opinion.

They get what the calibrated detector gets: the innovations of the autoregression, in standard
deviations. A stream without a fitted autoregression gives its window means, in standard deviations.
They raise no alarm, because they are not a part of the budget. Their settings give about one false
detection of all of them together in as many windows as the budget has, if one is measured for that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.drift.alarms.nulls import Bool, Float64, Int64, Nulls
from stream_scorer.drift.detection.river.kept_values import (
    DETECTED,
    DETECTIONS,
    PLACE,
    SINCE,
    SIZE,
    KeptValues,
)
from stream_scorer.drift.detection.river.registry import DETECTORS

KEYS: Final = (
    StreamKey("score", "level", ALL),
    StreamKey("outcome", "share:REVIEW", ALL),
    StreamKey("outcome", "share:BLOCK", ALL),
    StreamKey("amount", "level", ALL),
)
"""The streams that they follow."""
_PREFIX: Final = "river_"


@dataclass(frozen=True, slots=True)
class RiverDetection:
    """A change that one of River's detectors found in a stream.

    Attributes:
        detector: Its name.
        detected_at: End of the window in which it found the change, ms of event time.
        place: Likely begin of the change, ms of event time; 0 if it does not tell.
        size: The change, in standard deviations of the stream; 0 if it does not tell.
    """

    detector: str
    detected_at: int
    place: int
    size: float


@dataclass(frozen=True, slots=True)
class RiverState:
    """A detector of a stream.

    Attributes:
        stream: Text of the stream's key.
        detector: Its name.
        setting: Its setting.
        since: Begin of the values that it has, ms of event time; 0 before any.
        detections: Number of changes that it found.
        detected_at: End of the window of its newest detection, ms; 0 for none.
        place: As of :class:`RiverDetection`.
        size: Likewise.
        wanted: Wanted number of values between two false detections; 0 if the state of an earlier
            release does not tell.
        run_length: About how many were measured with the setting; fewer than are wanted if these
            are beyond the measured settings. 0 likewise.
    """

    stream: str
    detector: str
    setting: str
    since: int
    detections: int
    detected_at: int
    place: int
    size: float
    wanted: float = 0.0
    run_length: float = 0.0


class RiverStreams:
    """River's detectors of one model version.

    Args:
        windows: The budget of false alarms, in windows.
    """

    def __init__(self, windows: float) -> None:
        self._wanted = windows * len(KEYS) * len(DETECTORS)
        self._kept = KeptValues(len(KEYS), self._wanted)
        self._previous = np.full(len(KEYS), np.nan)

    def copy(self) -> "RiverStreams":
        """Return a copy that can change separately."""
        made = RiverStreams.__new__(RiverStreams)
        vars(made).update(vars(self), _kept=self._kept.copy(), _previous=self._previous.copy())
        return made

    def update(
        self, nulls: Nulls, observed: Float64, end: int, begin_of: Callable[[int, int], int]
    ) -> None:
        """Add a window.

        Args:
            nulls: The k streams' nulls.
            observed: float64[k], what the calibrated detector gets; NaN for no observation.
            end: End of the window, ms.
            begin_of: Returns the begin of a stream's newest n observations, ms.
        """
        rows = np.array([nulls.keys.index(key) if key in nulls.keys else -1 for key in KEYS])
        phi, sigma = _autoregression(nulls, rows)
        standard = np.where(rows < 0, np.nan, (observed - nulls.mean)[rows] / nulls.scale[rows])
        value = np.where(phi == 0.0, standard, standard - phi * self._previous) / sigma
        self._previous = np.where(np.isfinite(standard), standard, self._previous)
        before = {name: each[:, DETECTIONS].copy() for name, each in self._kept.memory.items()}
        self._kept.update(value, end, lambda stream, count: begin_of(int(rows[stream]), count))
        for name, memory in self._kept.memory.items():
            found = memory[:, DETECTIONS] > before[name]
            # From innovations to the stream's own deviations.
            memory[found, SIZE] *= (sigma / (1 - phi))[found]

    def found(self, key: StreamKey, since: int) -> tuple[RiverDetection, ...]:
        """Return the newest detections in a stream that are not older than a time.

        Args:
            key: The stream.
            since: Event time, ms.
        """
        if key not in KEYS:
            return ()
        lines = ((name, memory[KEYS.index(key)]) for name, memory in self._kept.memory.items())
        return tuple(
            RiverDetection(name, int(row[DETECTED]), int(row[PLACE]), float(row[SIZE]))
            for name, row in lines
            if row[DETECTED] > since
        )

    def states(self) -> tuple[RiverState, ...]:
        """Return what each detector says of each stream."""
        return tuple(
            RiverState(
                key.text, name, f"{DETECTORS[name].option} {self._kept.chosen[name][1]:g}",
                int(row[SINCE]), int(row[DETECTIONS]), int(row[DETECTED]), int(row[PLACE]),
                float(row[SIZE]), self._wanted, self._kept.chosen[name][0],
            )
            for stream, key in enumerate(KEYS)
            for name, row in ((name, table[stream]) for name, table in self._kept.memory.items())
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state: the values that are kept, and a table for each detector."""
        return {
            f"{_PREFIX}previous": self._previous, f"{_PREFIX}values": self._kept.values,
            **{f"{_PREFIX}of_{name}": each for name, each in self._kept.memory.items()},
        }  # fmt: skip

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a state.

        Args:
            arrays: See :meth:`arrays`; others are ignored.

        Raises:
            KeyError: An array is missing.
            ValueError: An array is not possible.
        """
        if f"{_PREFIX}values" not in arrays:
            return  # a release before these detectors wrote it
        first = f"{_PREFIX}of_"
        memory = {name.removeprefix(first): each for name, each in arrays.items() if first in name}
        self._kept.load(arrays[f"{_PREFIX}values"], memory)
        if arrays[f"{_PREFIX}previous"].shape != self._previous.shape:
            raise ValueError("the previous values of River's detectors are not possible")
        self._previous = np.array(arrays[f"{_PREFIX}previous"], np.float64)


def _autoregression(nulls: Nulls, rows: Int64) -> tuple[Float64, Float64]:
    """Return correlation and standard deviation of innovations; 0 and 1 where none was fitted."""
    fitted: Bool = (rows >= 0) & nulls.calibrated[rows]
    phi = np.where(fitted, nulls.phi[rows], 0.0)
    noise = np.where(fitted, nulls.noise[rows], 1.0)
    return phi, np.sqrt(1 - phi**2) * noise
