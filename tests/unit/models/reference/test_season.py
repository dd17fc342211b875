"""The season: found if it is there, zero if not, shrunk by the weeks, its hours summing to 0."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.models.reference.season import _shrunk, expected, fit_season, hour_of_week

Array = NDArray[Any]

MONDAY_HOUR = 1_521_417_600_000 // 3_600_000
HOUR = np.sin(np.arange(24) / 24 * 2 * np.pi) * 0.05
DAY = np.array([0, 0, 0, 0, 0, 0.02, 0.03])


def values_of(
    weeks: int, size: float = 1.0, noise: float = 0.01, seed: int = 0
) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    hours = MONDAY_HOUR + np.arange(weeks * 168)
    season = np.tile(HOUR, 7 * weeks) + np.tile(np.repeat(DAY, 24), weeks)
    values = 0.4 + size * season + random.normal(0, noise, len(hours))
    return values, hours, np.full(len(hours), 300)


def test_monday_is_the_first_day_of_the_week() -> None:
    assert hour_of_week(np.array([1_521_417_600_000, 1_521_417_599_999])).tolist() == [0, 167]


def test_hours_and_days_are_found_and_sum_to_zero() -> None:
    season = fit_season(*values_of(5))
    assert season is not None
    assert season.weeks == 5
    assert np.abs(season.hour - (HOUR - HOUR.mean())).max() < 0.01
    assert np.abs(season.day - (DAY - DAY.mean())).max() < 0.01
    assert season.hour.sum() == pytest.approx(0, abs=1e-4)
    assert season.day.sum() == pytest.approx(0, abs=1e-4)
    assert not len(season.week)


def test_values_without_a_season_have_a_flat_one() -> None:
    flat = [fit_season(*values_of(4, size=0.0, seed=seed)) for seed in range(40)]
    found = [season is not None and not season.flat for season in flat]
    assert sum(found) <= 2
    assert not any(expected(season).any() for season in flat if season is None or season.flat)


def test_less_than_a_week_has_no_season() -> None:
    values, hours, rows = values_of(1)
    assert fit_season(values[:-1], hours[:-1], rows[:-1]) is None
    assert fit_season(values, hours, rows) is not None
    assert not expected(None).any()


def test_days_between_two_ranges_are_no_weeks() -> None:
    values, hours, rows = values_of(3)
    rows[168:336] = 0
    season = fit_season(values, hours, rows)
    assert season is not None
    assert season.weeks == 2


def test_effects_shrink_and_weeks_give_them_back() -> None:
    # The effects are about as large as the noise.
    def kept(weeks: int) -> float:
        ratios = []
        for seed in range(8):
            season = fit_season(*values_of(weeks, size=0.4, noise=0.05, seed=seed))
            assert season is not None
            ratios.append(float((season.hour * HOUR).sum() / (0.4 * (HOUR**2).sum())))
        return float(np.mean(ratios))

    few, many = kept(2), kept(7)
    assert few < many < 1.05
    assert few < 0.95


def test_an_effect_is_multiplied_by_its_share_of_the_variance() -> None:
    # The error of each effect is 1; of a variance of 4, a share of 3/4 is real.
    effect, rows = np.tile([2.0, -2.0], 12), np.full(24, 300.0)
    found, error = _shrunk(effect, rows, (300.0, 500))
    assert found == pytest.approx(0.75 * effect)
    assert error == pytest.approx(np.sqrt(0.75))
    # Chance explains a variance of 1.5.
    assert not _shrunk(effect * np.sqrt(1.5 / 4), rows, (300.0, 500))[0].any()


def test_the_error_falls_with_the_weeks() -> None:
    two, seven = (fit_season(*values_of(weeks)) for weeks in (2, 7))
    assert two is not None
    assert seven is not None
    assert 0 < seven.error < two.error


def with_an_evening(weeks: int) -> tuple[Array, Array, Array]:
    """Return values with an effect on Friday evenings that no sum of hour and day has."""
    values, hours, rows = values_of(weeks)
    values[(hours - MONDAY_HOUR) % 168 == 4 * 24 + 20] += 0.2
    return values, hours, rows


def test_the_hour_of_the_week_counts_from_eight_weeks_on() -> None:
    seven, eight = (fit_season(*with_an_evening(weeks)) for weeks in (7, 8))
    assert seven is not None
    assert eight is not None
    assert not len(seven.week)
    evening = 4 * 24 + 20
    assert expected(eight)[evening] - expected(seven)[evening] > 0.1
    assert eight.week.sum() == pytest.approx(0, abs=1e-3)


def test_a_sum_that_predicts_as_well_is_kept() -> None:
    season = fit_season(*values_of(9))
    assert season is not None
    assert not len(season.week)


def test_an_hour_of_the_week_with_few_rows_has_the_sum() -> None:
    values, hours, rows = with_an_evening(9)
    evening = (hours - MONDAY_HOUR) % 168 == 4 * 24 + 20
    # Another cell keeps the hours of the week in use.
    values[(hours - MONDAY_HOUR) % 168 == 2 * 24 + 9] += 0.2
    rows[evening] = 20
    season = fit_season(values, hours, rows)
    assert season is not None
    assert len(season.week)
    sums = np.tile(season.hour, 7) + np.repeat(season.day, 24)
    assert abs(season.week[4 * 24 + 20] - sums[4 * 24 + 20]) < 0.01
    assert season.week[2 * 24 + 9] - sums[2 * 24 + 9] > 0.1


def test_windows_of_six_hours_have_the_effect_in_each_hour() -> None:
    values, hours, rows = values_of(4)
    season = fit_season(values[::6], hours[::6], rows[::6])
    assert season is not None
    assert len(set(season.hour.tolist())) == 4
    assert (season.hour.reshape(4, 6) == season.hour[::6, None]).all()
