"""The interface of every online change detector: one value per stream and step, alarms out.

A detector watches several streams side by side. Its complete memory is one array with a row per
stream, so that a snapshot is the array's bytes and a restored detector raises the same alarms, bit
for bit. A value that is NaN means that the stream has no observation in this step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.ports import Float64, Int64

MOST_STATE_BYTES: Final = 2_048
"""Maximum size of one stream's state."""


@dataclass(frozen=True, slots=True, eq=False)
class Alarms:
    """The alarms of one step, at most one for each stream.

    Attributes:
        stream: int64[n], ascending numbers of streams.
        age: int64[n], estimated steps since the change began, this one included; 0 is unknown.
        before: float64[n], the stream's estimated mean before the change; NaN is unknown.
        after: float64[n], its estimated mean after the change; NaN is unknown.
        evidence: float64[n], the statistic that passed its threshold.
    """

    stream: Int64
    age: Int64
    before: Float64
    after: Float64
    evidence: Float64

    def __len__(self) -> int:
        return len(self.stream)


class Detector(ABC):
    """Watches streams for changes.

    Args:
        state: float64[streams, width], the memory before the first value; taken over, not copied.

    Raises:
        ValueError: A stream's state has more than :data:`MOST_STATE_BYTES` bytes.
    """

    def __init__(self, state: Float64) -> None:
        if state.itemsize * state.shape[1] > MOST_STATE_BYTES:
            raise ValueError(f"a stream's state must have at most {MOST_STATE_BYTES} bytes")
        self._state = state

    @property
    def streams(self) -> int:
        """Number of streams."""
        return len(self._state)

    @property
    def state_bytes(self) -> int:
        """Bytes of one stream's state."""
        return int(self._state.itemsize * self._state.shape[1])

    @abstractmethod
    def update(self, values: Float64) -> Alarms:
        """Add one step.

        Args:
            values: float64[streams]; NaN where a stream has no observation.

        Returns:
            The alarms of this step.
        """

    def snapshot(self) -> bytes:
        """Return the complete memory: little-endian float64, row by row."""
        return self._state.astype("<f8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot of a detector with the same configuration.

        Raises:
            ValueError: The snapshot's length does not fit.
        """
        if len(snapshot) != self._state.nbytes:
            raise ValueError(
                f"a snapshot of {self._state.nbytes} bytes is needed, not of {len(snapshot)}"
            )
        self._state[:] = np.frombuffer(snapshot, "<f8").reshape(self._state.shape)
