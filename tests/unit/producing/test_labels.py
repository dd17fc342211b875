import numpy as np
import pytest

from stream_scorer.producing.labels import due_before


@pytest.mark.parametrize("delay", [0, 1, 10, 1_000])
def test_a_label_directly_precedes_the_first_later_transaction(delay: int) -> None:
    time = np.sort(np.random.default_rng(0).integers(0, 500, 300))
    before = due_before(time, delay)
    assert (np.diff(before) >= 0).all()
    assert (before > np.arange(300)).all()
    for number, at in enumerate(before.tolist()):
        assert (time[:at] <= time[number] + delay).all()
        assert (time[at:] > time[number] + delay).all()
