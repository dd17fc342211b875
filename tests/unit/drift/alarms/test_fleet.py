"""What the median of the streams explains, and the alarms that wait for it."""

from dataclasses import replace

import pytest

from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.fleet import Waiting, explains


@pytest.mark.parametrize(
    ("median", "shift", "explained"),
    [
        (1.0, 1.5, True), (-1.0, -1.5, True), (1.0, -1.5, False), (0.5, 1.5, False),
        (0.1, 0.1, False), (0.3, 0.3, True),
    ],
)  # fmt: skip
def test_half_of_a_shift_explains_it(median: float, shift: float, *, explained: bool) -> None:
    assert explains(median, shift) is explained


def test_a_waiting_alarm_survives_json() -> None:
    waiting = Waiting(ChangeFound(3, 12, 0.1, 0.2, 7.5, "calibrated", 7.5), 5, 9, 48)
    assert Waiting.read(waiting.document()) == waiting


def test_an_alarm_waits_for_its_windows() -> None:
    change = ChangeFound(3, 12, 0.1, 0.2, 7.5, "calibrated", 7.5)
    last, other = Waiting(change, 5, 9, 1), Waiting(change, 6, 10, 2)
    assert Waiting.one_less([last, other]) == ((last,), (Waiting(change, 6, 10, 1),))


def test_waiting_alarms_continue_under_new_numbers() -> None:
    change = ChangeFound(3, 12, 0.1, 0.2, 7.5, "calibrated", 7.5)
    documents = [Waiting(replace(change, stream=n), 5, 9, 48).document() for n in (2, 3)]
    assert Waiting.continued(documents, {3: 1}) == (Waiting(replace(change, stream=1), 5, 9, 48),)
