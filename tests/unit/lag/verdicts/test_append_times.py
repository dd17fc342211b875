"""Append times and ages against a log whose appends are known."""

import bisect
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.lag.verdicts.append_times import LogEndCurve
from tests.support.effort import examples

EVERY = 10.0


def appended(seed: int, seconds: float, rate: float) -> list[float]:
    """Return the append time of each offset: random gaps, with idle times and bursts."""
    source, time, times = random.Random(seed), 0.0, list[float]()  # noqa: S311 not for secrets
    while time < seconds:
        pause = source.random()
        time += 45.0 if pause < 0.001 else source.expovariate(rate * (20 if pause < 0.1 else 1))
        times.append(time)
    return times


def curve_of(times: list[float], seconds: float) -> LogEndCurve:
    curve = LogEndCurve()
    for step in range(int(seconds / EVERY) + 1):
        curve.add(step * EVERY, bisect.bisect_right(times, step * EVERY))
    return curve


@settings(max_examples=examples(100))
@given(st.integers(0, 10**6), st.floats(0.5, 50.0))
def test_an_append_time_is_off_by_an_interval_at_most(seed: int, rate: float) -> None:
    times = appended(seed, 600.0, rate)
    curve = curve_of(times, 600.0)
    for offset in range(0, bisect.bisect_right(times, 600.0), 7):
        found = curve.append_time(offset)
        assert found is not None
        assert abs(found.time - times[offset]) <= EVERY


@settings(max_examples=examples(100))
@given(st.integers(0, 10**6), st.floats(0.5, 50.0), st.floats(-900.0, 900.0))
def test_with_its_timestamp_it_is_exact_unless_the_clock_is_off(
    seed: int, rate: float, skew: float
) -> None:
    times = appended(seed, 600.0, rate)
    curve = curve_of(times, 600.0)
    for offset in range(0, bisect.bisect_right(times, 600.0), 11):
        right = curve.append_time(offset, record_time=times[offset])
        assert right is not None
        assert right.time == pytest.approx(times[offset])
        assert right.skew == pytest.approx(0.0, abs=1e-6)
        wrong = curve.append_time(offset, record_time=times[offset] + skew)
        assert wrong is not None
        assert abs(wrong.time - times[offset]) <= EVERY
        assert wrong.skew == pytest.approx(skew, abs=EVERY + 1e-6)


def test_age_is_within_ten_per_cent_without_reading_a_record() -> None:
    """At a steady rate, by interpolation alone, for lags from 15 s on."""
    times = [at / 40.0 for at in range(40 * 3_600)]
    curve = curve_of(times, 3_500.0)
    for offset in range(997, 40 * 3_485, 997):
        found = curve.append_time(offset)
        assert found is not None
        truth, age = 3_500.0 - times[offset], 3_500.0 - found.time
        assert abs(age - truth) <= 0.1 * truth


def test_a_day_of_samples_is_kept_in_bounded_memory() -> None:
    curve = LogEndCurve()
    for step in range(8_640):
        curve.add(step * EVERY, step * 400)
    assert len(curve) <= 400
    for age in (30.0, 600.0, 3_600.0, 80_000.0):
        found = curve.append_time(int((86_390.0 - age) * 40))
        assert found is not None
        assert 86_390.0 - found.time == pytest.approx(age, rel=0.01)


def test_what_is_older_than_the_curve_has_the_record_s_time() -> None:
    curve = LogEndCurve()
    curve.add(1_000.0, 500)
    curve.add(1_010.0, 600)
    assert curve.append_time(100) is None
    found = curve.append_time(100, record_time=400.0)
    assert found is not None
    assert found.time == 400.0
    ahead = curve.append_time(100, record_time=9_000.0)
    assert ahead is not None
    assert (ahead.time, ahead.skew) == (1_000.0, 8_000.0)


def test_a_record_that_is_not_appended_has_no_time() -> None:
    curve = LogEndCurve()
    assert curve.append_time(0) is None
    curve.add(0.0, 5)
    assert curve.append_time(5) is None


def test_a_shorter_log_begins_a_new_curve() -> None:
    curve = LogEndCurve()
    curve.add(0.0, 500)
    curve.add(10.0, 5)
    curve.add(20.0, 15)
    found = curve.append_time(9)
    assert found is not None
    assert found.time == 15.0


def test_an_idle_hour_does_not_blur_the_next_append() -> None:
    curve = LogEndCurve()
    for step in range(360):
        curve.add(step * EVERY, 70)
    curve.add(3_600.0, 71)
    found = curve.append_time(70)
    assert found is not None
    assert 3_590.0 <= found.time <= 3_600.0


def test_the_end_at_a_time_is_linear_between_samples() -> None:
    curve = LogEndCurve()
    curve.add(0.0, 10)
    curve.add(10.0, 30)
    assert [curve.end_at(at) for at in (-1.0, 0.0, 5.0, 10.0, 11.0)] == [None, 10, 20, 30, None]
