"""Pooling, scale and autocorrelation of window values, and bands that hold the mean."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.models.reference.bands import (
    error_of_mean,
    pool,
    quantile_of,
    spread_of,
    wander_of,
)

Array = NDArray[Any]

NAN = np.nan


def test_windows_are_pooled_until_they_have_enough_rows() -> None:
    values = np.array([[0.1], [0.4], [NAN], [0.2], [0.9]])
    rows = np.array([[150], [50], [70], [250], [10]])
    found = pool(values, rows, 200, np.zeros(5, np.int64), np.array([False]))
    # 150 and 50 rows; the window without a value adds nothing; the last one is not full.
    assert found.rows[:, 0].tolist() == [0, 200, 0, 250, 0]
    assert found.values[1, 0] == pytest.approx((0.1 * 150 + 0.4 * 50) / 200)
    assert found.values[3, 0] == 0.2


def test_a_stream_without_a_season_has_whole_days() -> None:
    values, rows = np.full((6, 2), 0.5), np.full((6, 2), 300)
    days = np.array([0, 0, 0, 1, 1, 1])
    found = pool(values, rows, 200, days, np.array([True, False]))
    assert found.rows[:, 0].tolist() == [0, 0, 900, 0, 0, 900]
    assert found.rows[:, 1].tolist() == [300] * 6


def autoregression(phi: float, count: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    shocks = random.normal(0, np.sqrt(1 - phi**2), count)
    values = np.empty(count)
    state = random.normal()
    for at, shock in enumerate(shocks):
        state = phi * state + shock
        values[at] = state
    return values


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_scale_and_autocorrelation_are_those_of_the_series(phi: float) -> None:
    scale, found = spread_of(autoregression(phi, 5_000, 1))
    assert scale == pytest.approx(1, abs=0.1)
    assert found == pytest.approx(phi, abs=0.06)


@pytest.mark.parametrize("values", [[], [0.3], [0.1, 0.1, 0.1, 0.1]])
def test_few_or_equal_values_have_no_spread(values: list[float]) -> None:
    assert spread_of(np.array(values)) == (0.0, 0.0)


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_bands_of_twenty_streams_hold_together(phi: float) -> None:
    runs, streams, outside = 60, 20, 0
    days = np.repeat(np.arange(20), 24)
    for run in range(runs):
        missed = False
        for stream in range(streams):
            values = autoregression(phi, len(days), 1_000 * run + stream)
            scale, found = spread_of(values)
            reach = quantile_of(0.05, streams) * error_of_mean(values, days, scale, found)
            missed |= abs(values.mean()) > reach
        outside += missed
    # 3 of 60 are expected at 5 %; more than 9 has a probability below .1 %.
    assert outside <= 9


def test_a_dependence_of_days_makes_the_error_larger() -> None:
    random = np.random.default_rng(4)
    days = np.repeat(np.arange(20), 24)
    moved = np.repeat(random.normal(0, 1, 20), 24) + random.normal(0, 0.1, len(days))
    independent = error_of_mean(moved, days, 1.0, 0.0)
    assert independent > 3 / np.sqrt(len(days))


def test_slow_movement_is_found_under_the_noise_of_hours() -> None:
    random = np.random.default_rng(6)
    days = np.repeat(np.arange(84), 24)
    slow = 0.4 * np.sin(days / 84 * 4 * np.pi)
    noise = random.normal(0, 1, len(days))
    assert wander_of(slow + noise, days, *spread_of(slow + noise)) == pytest.approx(0.28, abs=0.08)
    assert wander_of(noise, days, *spread_of(noise)) < 0.05


def test_two_weeks_do_not_show_how_weeks_move() -> None:
    days = np.repeat(np.arange(14), 24)
    assert wander_of(days / 14, days, *spread_of(days / 14)) == 0.0
    assert wander_of(np.empty(0), np.empty(0, np.int64), 1.0, 0.0) == 0.0
