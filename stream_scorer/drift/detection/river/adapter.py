"""One River detector for each stream, with the numbers inside it as the state.

River keeps its memory in Python objects. A snapshot copies every number of such an object, in the
order of the attributes' names, into a row of fixed width; a restore writes them back into a new
object. Nothing is pickled, so a hostile snapshot can only give wrong numbers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.ports import Float64

_NONE: Final = float("nan")


class RiverDetector(Detector):
    """Gives each stream a River detector, and reports where it sees a drift.

    Args:
        streams: Number of streams.
        make: Makes a detector: always the same one.
        width: Number of numbers in a detector, at most.

    Raises:
        ValueError: The detector has more numbers, or something else than numbers.
    """

    def __init__(self, streams: int, make: Callable[[], Any], width: int) -> None:
        super().__init__(np.zeros((streams, width)))
        self._make = make
        self._detectors = [make() for _ in range(streams)]
        self.snapshot()

    def update(self, values: Float64) -> Alarms:
        """Add one step; a NaN is not passed on."""
        fired = []
        for stream, value in enumerate(values.tolist()):
            if value == value:  # noqa: PLR0124 the test for NaN
                detector = self._detectors[stream]
                detector.update(value)
                if detector.drift_detected:
                    fired.append(stream)
        return unexplained(fired)

    def snapshot(self) -> bytes:
        """Return the complete memory: little-endian float64, row by row."""
        self._state[:] = 0.0
        for row, detector in zip(self._state, self._detectors, strict=True):
            numbers = list(_numbers(detector))
            if len(numbers) > len(row):
                raise ValueError(f"a detector has {len(numbers)} numbers, more than {len(row)}")
            row[: len(numbers)] = numbers
        return super().snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot of a detector with the same configuration.

        Raises:
            ValueError: The snapshot does not fit.
        """
        super().restore(snapshot)
        self._detectors = [self._make() for _ in range(self.streams)]
        for row, detector in zip(self._state, self._detectors, strict=True):
            _fill(detector, iter(row.tolist()))


def unexplained(streams: list[int]) -> Alarms:
    """Return alarms of detectors that estimate neither onset nor size.

    Args:
        streams: Numbers of streams, ascending.
    """
    unknown = np.full(len(streams), np.nan)
    return Alarms(
        np.array(streams, np.int64), np.zeros(len(streams), np.int64), unknown, unknown.copy(),
        unknown.copy(),
    )  # fmt: skip


def _kept(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a River object that may hold numbers, by name."""
    for name in sorted(vars(holder)):
        value = getattr(holder, name)
        if not callable(value) and not isinstance(value, str):
            yield name, value


def _numbers(holder: Any) -> Iterator[float]:
    for name, value in _kept(holder):
        if value is None:
            yield _NONE
        elif isinstance(value, bool | int | float):
            yield float(value)
        elif isinstance(value, deque):
            yield float(len(value))
            yield from (float(each) for each in value)
            yield from [0.0] * ((value.maxlen or len(value)) - len(value))
        elif hasattr(value, "__dict__"):
            yield from _numbers(value)
        else:
            raise ValueError(f"attribute {name} is not a number")


def _fill(holder: Any, numbers: Iterator[float]) -> None:
    for name, value in _kept(holder):
        if isinstance(value, deque):
            length = value.maxlen or len(value)
            count = int(min(max(next(numbers), 0), length))
            held = [next(numbers) for _ in range(length)][:count]
            setattr(holder, name, deque(held, maxlen=value.maxlen))
        elif value is not None and hasattr(value, "__dict__"):
            _fill(value, numbers)
        else:
            setattr(holder, name, _like(value, next(numbers)))


def _like(example: Any, number: float) -> Any:
    """Return a number as the type that a new detector has in its place."""
    if isinstance(example, bool):
        return number != 0
    if isinstance(example, int) and np.isfinite(number) and number == int(number):
        return int(number)
    return None if example is None and np.isnan(number) else number
