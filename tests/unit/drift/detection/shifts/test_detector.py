"""The interface: the size of a state, and of a snapshot."""

import numpy as np
import pytest

from stream_scorer.drift.detection.shifts.detector import MOST_STATE_BYTES, Alarms, Detector
from stream_scorer.ports import Float64


class Counting(Detector):
    """Counts its steps."""

    def update(self, values: Float64) -> Alarms:
        self._state += len(values) / len(values)
        none = np.zeros(0)
        return Alarms(np.zeros(0, np.int64), np.zeros(0, np.int64), none, none, none)


def test_a_state_of_two_kilobytes_is_the_largest() -> None:
    assert Counting(np.zeros((3, 256))).state_bytes == MOST_STATE_BYTES
    with pytest.raises(ValueError, match="at most 2048 bytes"):
        Counting(np.zeros((3, 257)))


def test_a_snapshot_is_the_state() -> None:
    first, second = Counting(np.zeros((3, 2))), Counting(np.zeros((3, 2)))
    assert len(first.update(np.zeros(3))) == 0
    second.restore(first.snapshot())
    assert second.snapshot() == np.ones(6).tobytes()
    assert first.streams == 3


@pytest.mark.parametrize("size", [0, 40, 56])
def test_a_snapshot_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="48 bytes is needed"):
        Counting(np.zeros((3, 2))).restore(bytes(size))
