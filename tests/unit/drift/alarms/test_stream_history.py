"""Where a change is in a stream's history."""

from collections.abc import Sequence

import numpy as np
import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.nulls import Float64, Int64, Nulls, nulls_of
from stream_scorer.drift.alarms.stream_history import HISTORY, StreamHistory
from stream_scorer.models.reference.contract import Season, StreamReference

HOUR = 3_600_000
LONG = np.array([10_000, 10_000])


def history_of(values: Float64, weights: Float64 | None = None) -> StreamHistory:
    """Return the history of one stream and the fleet, or of two streams, hour by hour."""
    history = StreamHistory.empty(2)
    pairs = values if values.ndim == 2 else np.stack([values, np.full(len(values), np.nan)], 1)
    for hour, pair in enumerate(pairs):
        weight = np.full(2, 1.0 if weights is None else weights[hour])
        history.add(pair, np.zeros(2), weight, hour * HOUR, (hour + 1) * HOUR)
    return history


def located(
    history: StreamHistory, found: ChangeFound, before: Float64 | None = None,
    most: Int64 = LONG, together: Sequence[int] = (0,),
) -> ChangeFound:  # fmt: skip
    usual = nulls().mean if before is None else before
    return history.located(found, nulls(), usual, np.ones(2), most, together)


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
    found = located(changed, fired(10))
    assert abs(found.age - 60) <= 3
    assert abs(changed.begin_of(0, found.age, 150 * HOUR) / HOUR - 90) <= 3
    # The mean after the change is that of all of it.
    assert found.after == pytest.approx(0.05 + 0.004 * 1.25, abs=0.001)


def test_what_is_older_than_the_change_before_is_not_looked_at(changed: StreamHistory) -> None:
    usual = np.array([0.05 + 0.004 * 1.0, 0.0])
    found = located(changed, fired(10), usual, np.array([40, 0]))
    assert abs(found.age - 10) <= 3


def test_a_change_older_than_the_history_has_the_detectors_age() -> None:
    history = history_of(np.full(200, 2.0))
    assert located(history, fired(190)) == fired(190)


def test_an_alarm_that_waited_began_before_its_own_window(changed: StreamHistory) -> None:
    for hour in (150, 151):
        values, ones = np.array([1.0, np.nan]), np.ones(2)
        changed.add(values, np.zeros(2), ones, hour * HOUR, (hour + 1) * HOUR)
    assert changed.begin_of(0, 60, 150 * HOUR) == 90 * HOUR


def test_windows_without_an_observation_do_not_count() -> None:
    values = np.zeros(100)
    values[60:] = 3.0
    values[70:80] = np.nan
    history = history_of(values)
    found = located(history, fired(8))
    assert found.age == 30
    assert history.begin_of(0, found.age, 100 * HOUR) == 60 * HOUR


def nights_and_days(seed: int) -> tuple[Float64, Float64]:
    """Return values with a change of 0.7 at hour 90, and weights: nights vary three times more."""
    weights = np.where(np.arange(150) % 24 < 10, 0.15, 1.5)
    values = np.random.default_rng(seed).normal(size=150) / np.sqrt(weights)
    return values + np.where(np.arange(150) >= 90, 0.7, 0.0), weights


def test_the_few_rows_of_a_night_do_not_decide_the_onset() -> None:
    errors, unweighted = [], []
    for seed in range(40):
        values, weights = nights_and_days(seed)
        errors.append(abs(located(history_of(values, weights), fired(10)).age - 60))
        unweighted.append(abs(located(history_of(values), fired(10)).age - 60))
    assert np.quantile(errors, 0.8) <= 24
    assert np.mean(errors) < 0.6 * np.mean(unweighted)


def test_a_mean_takes_each_observation_by_its_rows() -> None:
    history = history_of(np.array([1.0, 4.0]), np.array([2.0, 1.0]))
    assert history.mean_of(0, 2) == pytest.approx(2.0)
    assert history.newest(0, 2) == pytest.approx((2.0, 3.0))
    assert history.newest(1, 2) == (0.0, 0.0)


def test_a_weak_stream_has_the_onset_of_the_strong_one() -> None:
    before = np.array([0.05, 0.0])
    alone, together = [], []
    for seed in range(20):
        both = np.random.default_rng(seed).normal(size=(150, 2))
        both[90:] += [0.3, 2.0]
        history = history_of(both)
        alone.append(abs(located(history, fired(10), before).age - 60))
        together.append(abs(located(history, fired(10), before, together=(0, 1)).age - 60))
    assert np.mean(alone) > 12
    assert np.mean(together) < 2


def test_weights_are_packed_and_unpacked() -> None:
    history = history_of(np.arange(9.0), np.array([1e-9, 0.02, 0.1, 0.5, 1.0, 1.4, 2.0, 4.0, 1e9]))
    assert history.weight[0, -9:].tolist() == [0, 0, 4, 9, 11, 12, 13, 15, 15]
    assert history.packed().shape == (2, HISTORY // 2)
    assert (StreamHistory.unpacked(history.packed()) == history.weight).all()
