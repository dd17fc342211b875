"""A season is found where there is one, and vanishes where there is none."""

import numpy as np
import pytest

from bench.drift_thresholds.season import HOURS_PER_WEEK, fit_season
from stream_scorer.ports import Int64


def hours(weeks: int) -> Int64:
    return np.arange(weeks * HOURS_PER_WEEK) % HOURS_PER_WEEK


def test_noise_has_nearly_no_season() -> None:
    noise = np.random.default_rng(1).standard_normal((4 * HOURS_PER_WEEK, 200))
    season = fit_season(noise, hours(4))
    unshrunk = noise.reshape(4, 7, 24, 200).mean((0, 1)).std()
    assert season.effect.std() < 0.6 * unshrunk
    assert season.fitted.max() < 1 + 23 + 6
    assert season.fitted.mean() < 12
    assert (season.added <= season.fitted - 1).all()


def test_a_day_and_a_week_are_found() -> None:
    hour = hours(12)
    truth = 3 * np.sin(2 * np.pi * hour / 24) + (hour // 24 == 6) * 2.0
    noise = np.random.default_rng(2).standard_normal((len(hour), 1))
    season = fit_season(truth[:, None] + noise, hour)
    expected = truth[:HOURS_PER_WEEK] - truth[:HOURS_PER_WEEK].mean()
    assert abs(season.effect[:, 0] - expected).max() < 0.6
    assert season.effect.mean() == pytest.approx(0, abs=1e-12)


def test_an_hour_of_one_day_is_found_after_eight_weeks() -> None:
    for weeks, least, most in ((7, 0.0, 1.2), (12, 3.5, 5.0)):
        hour = hours(weeks)
        noise = np.random.default_rng(3).standard_normal((len(hour), 1)) / 10
        season = fit_season((hour == 30)[:, None] * 5.0 + noise, hour)
        assert least < season.effect[30, 0] < most


def test_a_large_effect_of_the_day_does_not_hide_the_hours() -> None:
    hour = hours(12)
    truth = 0.5 * np.sin(2 * np.pi * hour / 24) + (hour // 24 == 6) * 20.0
    noise = np.random.default_rng(4).standard_normal((len(hour), 1))
    effect = fit_season(truth[:, None] + noise, hour).effect[:, 0]
    of_hours = effect.reshape(7, 24).mean(0)
    assert of_hours @ np.sin(2 * np.pi * np.arange(24) / 24) / 12 == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("hour", [-1, 168])
def test_an_hour_outside_the_week_is_refused(hour: int) -> None:
    with pytest.raises(ValueError, match="hour of the week"):
        fit_season(np.zeros((1, 1)), np.array([hour]))
