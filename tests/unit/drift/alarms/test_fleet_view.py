"""Many streams that fire for the median's change are one alarm; few of them are not."""

from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.fleet import WAIT, StreamAlarm, Waiting
from stream_scorer.drift.alarms.fleet_view import FleetView
from stream_scorer.drift.alarms.nulls import nulls_of
from stream_scorer.drift.alarms.stream_changes import StreamChanges
from stream_scorer.models.reference.contract import FleetReference, Season, StreamReference

HOUR, STREAMS, CHANGE, STEPS = 3_600_000, 40, 60, 150
FLAT = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
SCALE = 0.02


def references() -> list[StreamReference]:
    return [
        StreamReference(
            StreamKey(f"f{n}", "level", "all"), 0.5, 0.499, 0.501, SCALE, 0.0, 400, 80_000, FLAT, ""
        )
        for n in range(STREAMS)
    ]


def alarms(
    fleet: FleetReference, changed: int, shift: float, common: float = 0.5, later: float = 0.0
) -> list[tuple[int, StreamAlarm]]:
    """Return (step, alarm) of streams of which some change by so many standard deviations.

    Args:
        fleet: How their median varies, as the reference says.
        changed: How many change.
        shift: In standard deviations.
        common: Share of their variance that they have in common.
        later: How far the first one moves by itself, 40 steps after that.
    """
    changes = StreamChanges(nulls_of(references(), 0.0, fleet), 20_000.0)
    random = np.random.default_rng(3)
    found: list[tuple[int, StreamAlarm]] = []
    for step in range(STEPS):
        own = random.normal(size=STREAMS)
        noise = np.sqrt(common) * random.normal() + np.sqrt(1 - common) * own
        noise[:changed] += shift * (step >= CHANGE)
        noise[0] += later * (step >= CHANGE + 40)
        values = np.append(0.5 + SCALE * noise, np.nan)
        found += [(step, each) for each in changes.observe(values, step * HOUR, (step + 1) * HOUR)]
    return found


def test_the_spread_of_a_median_makes_its_alarm_the_first() -> None:
    ((step, alarm),) = alarms(FleetReference(0.2, 0.0, 400), STREAMS, 0.7, common=0.0)
    assert alarm.fleet
    assert step <= CHANGE + 15


def test_a_stream_that_moves_further_than_the_fleet_alarms() -> None:
    found = alarms(FleetReference(0.2, 0.0, 400), STREAMS, 0.7, common=0.0, later=3.0)
    (_, first), (step, second) = found
    assert first.fleet
    assert (second.fleet, second.found.stream) == (False, 0)
    assert CHANGE + 40 < step < CHANGE + 60


def test_many_streams_are_a_fleet_before_its_own_detector_fires() -> None:
    # So large a spread hides the median's change from its own detector for fifty windows.
    ((step, alarm),) = alarms(FleetReference(2.0, 0.0, 400), STREAMS, 2.0)
    assert step <= CHANGE + 15
    assert alarm.fleet
    assert len(alarm.part_of) > STREAMS // 2
    assert 1.5 < alarm.found.after - alarm.found.before < 2.5
    assert abs(step + 1 - alarm.found.age - CHANGE) <= 5


def test_seven_streams_of_many_are_no_fleet() -> None:
    found = alarms(FleetReference(0.72, 0.0, 400), 7, 2.0)
    assert not any(each.fleet for _, each in found)
    assert {each.found.stream for _, each in found} == set(range(7))


def test_three_that_the_median_explains_are_one_alarm() -> None:
    changes = StreamChanges(nulls_of(references(), 0.0, FleetReference(0.72, 0.0, 400)), 20_000.0)
    standard = np.zeros(STREAMS + 1)
    for hour in range(100):
        standard[-1] = 0.6 / 0.72 * (hour >= 60)
        ones = np.ones(STREAMS + 1)
        changes.history.add(standard, 0 * ones, ones, hour * HOUR, (hour + 1) * HOUR)
    view = FleetView(changes.nulls, changes.family, changes.history)
    fired = [ChangeFound(n, 30, 0.5, 0.5 + SCALE, 14.0, "calibrated") for n in range(4)]
    waiting = [Waiting(each, 90 * HOUR, 91 * HOUR, WAIT - 9) for each in fired[:2]]
    assert view.together(waiting, fired[2:2]) is None
    found = view.together(waiting, fired[2:3])
    assert found is not None
    assert (found.stream, found.age) == (STREAMS, 40)
    assert found.after == pytest.approx(0.6, abs=0.01)
    # What has far more than the median is a change of its own.
    alone = replace(fired[3], after=0.5 + 3 * SCALE)
    assert view.together(waiting, [alone]) is None


def test_a_noisy_median_explains_nothing_by_chance() -> None:
    """Where streams have much in common, their median moves by as much in a few windows."""
    changes = StreamChanges(nulls_of(references(), 0.0, FleetReference(0.72, 0.0, 400)), 20_000.0)
    ones = np.ones(STREAMS + 1)
    explained = []
    for hour in range(60):
        standard = np.zeros(STREAMS + 1)
        standard[-1] = 0.6 / 0.72 * (hour >= 30)
        changes.history.add(standard, 0 * ones, ones, hour * HOUR, (hour + 1) * HOUR)
        age = hour - 29
        if age in {3, 30}:
            view = FleetView(changes.nulls, changes.family, changes.history)
            fired = ChangeFound(0, age, 0.5, 0.5 + SCALE, 14.0, "calibrated")
            assert view.median(age) == pytest.approx(0.6, abs=0.01)
            explained.append(view.is_explained(fired))
    assert explained == [False, True]
