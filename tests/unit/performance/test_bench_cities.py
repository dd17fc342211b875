"""The bench of performance: its cities, and that its evidence is the process's."""

import numpy as np

from bench.performance_steps.city import CitySize, simulate
from bench.performance_steps.watched import differing_days, watch_cities, watch_city
from stream_scorer.performance.warning.watch import WarningBudget

SIZE = CitySize()


def test_bursts_make_the_days_of_a_city_alike() -> None:
    city = simulate(60, 60, 3, SIZE)
    assert ((city.loss > 0) & (city.loss < 0.02)).all()
    assert (city.missed <= city.frauds).all()
    away = city.missed - city.missed.mean()
    week = (away[:, 7:] * away[:, :-7]).mean() / (away**2).mean()
    assert week > 0.2
    # A draw is fair: the hits are what the revealed losses promise.
    assert abs(city.hits.mean() / (city.revealed.mean() * city.exposure) - 1) < 0.05


def test_many_cities_are_watched_like_one() -> None:
    change = np.ones(100)
    change[60:] = 3.0
    city = simulate(8, 100, 4, SIZE, change)
    for draws in (False, True):
        budget = WarningBudget()
        many = watch_cities(city, SIZE, budget, draws=draws)
        assert many == [watch_city(city, n, SIZE, budget, draws=draws) for n in range(8)]
        assert max(each.day for each in many) > 60


def test_early_frauds_change_no_drawn_loss() -> None:
    assert differing_days(2, 1) == 0
