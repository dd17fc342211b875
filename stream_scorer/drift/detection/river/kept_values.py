"""Streams that River's detectors follow, with a memory that is a row of values and not an object.

River's detectors have no state that can be written. So a detector is defined by the newest values
of its stream: those since its last detection, at most 112. At 112 it begins again with the newest
100, as many as KSWIN needs. A restore gives the values that are kept to a new detector, and it
continues bit for bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.detection.river.adwin import cut
from stream_scorer.drift.detection.river.contract import OnlineDetector, Registered
from stream_scorer.drift.detection.river.registry import DETECTORS
from stream_scorer.ports import Float64

KEPT: Final = 112
"""Number of values that a detector has at most."""
BEGIN_AGAIN: Final = 100
"""Number of the newest values that it begins again with."""
_MOST: Final = 60_000.0
COUNT, SINCE, DETECTED, DETECTIONS, PLACE, SIZE = range(6)
"""Columns of a detector's memory: the values that it has; begin of the first of them; end of the
newest window in which it found a change, 0 for none; how many it found; likely begin of the newest
one, 0 if it is not told; size of it."""
WIDTH: Final = 6


@dataclass(slots=True)
class _Live:
    """Detectors that are what the values of one owner make them.

    Attributes:
        owner: The mark of the state that has them; None while they are changed.
        detectors: By stream and name.
    """

    owner: object = None
    detectors: dict[tuple[int, str], OnlineDetector] = field(default_factory=dict)


class KeptValues:
    """Some streams and their detectors.

    Args:
        streams: Number of streams.
        run_length: Values of a stream between two false detections of one detector.
        detectors: The detectors by name.

    Attributes:
        chosen: By detector the measured run length, and the setting.
        values: float16[streams, 112], the newest values, newest last. Half precision is
            enough: a value varies by 1.
        memory: By detector float64[streams, 6], see :data:`COUNT`.
    """

    def __init__(
        self, streams: int, run_length: float, detectors: Mapping[str, Registered] = DETECTORS
    ) -> None:
        self._detectors = detectors
        self.chosen = {name: each.chosen(run_length) for name, each in detectors.items()}
        self.values = np.zeros((streams, KEPT), np.float16)
        self.memory = {name: np.zeros((streams, WIDTH)) for name in detectors}
        # Copies share the detectors: whichever continues first has them, the other makes its own.
        self._live = _Live()
        self._mark = object()

    def copy(self) -> "KeptValues":
        """Return a copy that can change separately."""
        made = KeptValues.__new__(KeptValues)
        memory = {name: each.copy() for name, each in self.memory.items()}
        vars(made).update(vars(self), values=self.values.copy(), memory=memory)
        return made

    def update(self, values: Float64, end: int, begin_of: Callable[[int, int], int]) -> None:
        """Add a value of each stream.

        Args:
            values: float64[streams]; NaN for none.
            end: End of the window, ms.
            begin_of: Returns the begin of a stream's newest n observations, ms.
        """
        if self._live.owner is not self._mark:
            self._live = self._made()
        live, self._live.owner = self._live, None
        for stream in np.flatnonzero(np.isfinite(values)).tolist():
            row = self.values[stream]
            row[:-1] = row[1:]
            row[-1] = np.clip(values[stream], -_MOST, _MOST)
            for name in self._detectors:
                self._add(live, stream, name, end, begin_of)
        live.owner = self._mark = object()

    def load(self, values: NDArray[np.float16], memory: Mapping[str, Float64]) -> None:
        """Continue from a state; a detector that it does not have begins anew.

        Args:
            values: As the attribute.
            memory: As the attribute.

        Raises:
            ValueError: It is not a possible state.
        """
        if values.shape != self.values.shape or not np.isfinite(values).all():
            raise ValueError("the values of River's detectors are not possible")
        self.values = values.astype(np.float16)
        for name in self._detectors:
            table = memory.get(name, np.zeros_like(self.memory[name]))
            counts = table[:, COUNT] if table.shape == self.memory[name].shape else np.array([-1])
            if not (np.isfinite(table).all() and ((counts >= 0) & (counts < KEPT)).all()):
                raise ValueError(f"the memory of {name} is not possible")
            self.memory[name] = np.array(table, np.float64)
        self._mark = object()

    def _add(
        self, live: _Live, stream: int, name: str, end: int, begin_of: Callable[[int, int], int]
    ) -> None:
        row, memory = self.values[stream], self.memory[name][stream]
        detector = live.detectors[stream, name]
        detector.update(float(row[-1]))
        memory[COUNT] += 1
        if memory[COUNT] == 1:
            memory[SINCE] = begin_of(stream, 1)
        if detector.drift_detected:
            held = row[-int(memory[COUNT]) :]
            memory[PLACE] = memory[SIZE] = 0.0
            if self._detectors[name].locates:
                at = cut(held)
                memory[PLACE] = begin_of(stream, len(held) - at)
                memory[SIZE] = held[at:].mean(dtype=float) - held[:at].mean(dtype=float)
            memory[DETECTED], memory[COUNT], memory[SINCE] = end, 0, 0
            memory[DETECTIONS] += 1
        elif memory[COUNT] == KEPT:
            memory[COUNT], memory[SINCE] = BEGIN_AGAIN, begin_of(stream, BEGIN_AGAIN)
        else:
            return
        live.detectors[stream, name] = self._of(stream, name)

    def _made(self) -> _Live:
        streams = range(len(self.values))
        return _Live(None, {(n, name): self._of(n, name) for n in streams for name in self.memory})

    def _of(self, stream: int, name: str) -> OnlineDetector:
        """Return a detector that has seen the values that are kept for it."""
        detector = self._detectors[name].make(self.chosen[name][1])
        for value in self.values[stream, KEPT - int(self.memory[name][stream, COUNT]) :].tolist():
            detector.update(value)
        return detector
