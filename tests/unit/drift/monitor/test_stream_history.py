"""Where a change is in a stream's history."""

import numpy as np
import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.nulls import Float64, Nulls, nulls_of
from stream_scorer.drift.monitor.stream_history import StreamHistory
from stream_scorer.models.reference.contract import Season, StreamReference

HOUR = 3_600_000
LONG = np.array([10_000, 10_000])


def history_of(values: Float64) -> StreamHistory:
    """Return the history of one stream and the fleet, hour by hour."""
    history = StreamHistory.empty(2)
    for hour, value in enumerate(values.tolist()):
        history.add(np.array([value, np.nan]), np.zeros(2), hour * HOUR, (hour + 1) * HOUR)
    return history


def nulls() -> Nulls:
    season = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
    key = StreamKey("score", "level", "all")
    return nulls_of(
        [StreamReference(key, 0.05, 0.049, 0.051, 0.004, 0.0, 400, 80_000, season, "")], 0.5
    )


def fired(age: int) -> ChangeFound:
    return ChangeFound(0, age, 0.05, 0.07, 12.0, "calibrated")


@pytest.fixture
def changed() -> StreamHistory:
    """A change of one standard deviation at hour 90, and a burst in its last ten hours."""
    values = np.random.default_rng(3).normal(size=150) * 0.5
    values[90:] += 1.0
    values[140:] += 1.5
    return history_of(values)


def test_a_change_begins_where_it_begins_and_not_at_its_burst(changed: StreamHistory) -> None:
    found = changed.located(fired(10), nulls(), nulls().mean, LONG)
    assert abs(found.age - 60) <= 3
    assert abs(changed.begin_of(0, found.age, 150 * HOUR) / HOUR - 90) <= 3
    # The mean after the change is that of all of it.
    assert found.after == pytest.approx(0.05 + 0.004 * 1.25, abs=0.001)


def test_what_is_older_than_the_change_before_is_not_looked_at(changed: StreamHistory) -> None:
    usual = np.array([0.05 + 0.004 * 1.0, 0.0])
    found = changed.located(fired(10), nulls(), usual, np.array([40, 0]))
    assert abs(found.age - 10) <= 3


def test_a_change_older_than_the_history_has_the_detectors_age() -> None:
    history = history_of(np.full(200, 2.0))
    assert history.located(fired(190), nulls(), nulls().mean, LONG) == fired(190)


def test_an_alarm_that_waited_began_before_its_own_window(changed: StreamHistory) -> None:
    for hour in (150, 151):
        changed.add(np.array([1.0, np.nan]), np.zeros(2), hour * HOUR, (hour + 1) * HOUR)
    assert changed.begin_of(0, 60, 150 * HOUR) == 90 * HOUR


def test_windows_without_an_observation_do_not_count() -> None:
    values = np.zeros(100)
    values[60:] = 3.0
    values[70:80] = np.nan
    history = history_of(values)
    found = history.located(fired(8), nulls(), nulls().mean, LONG)
    assert found.age == 30
    assert history.begin_of(0, found.age, 100 * HOUR) == 60 * HOUR
