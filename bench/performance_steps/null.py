"""How many cities warn although nothing changes, by the rules of ``bench/retrain.py``."""

from collections import Counter
from typing import Any

import numpy as np
from scipy.stats import binom

from bench.performance_steps.city import CitySize, simulate
from bench.performance_steps.watched import CityWarning, watch_cities, watch_city
from bench.retrain_steps.rules import budget
from stream_scorer.performance.warning.reference import LEARNING_DAYS
from stream_scorer.performance.warning.watch import WarningBudget

SIZE = CitySize()
BUDGET = budget(SIZE.decisions, SIZE.most)
CHANGED = 60
"""The day from which on cities change, if they do."""
_CHECKED = 10
"""Cities whose warnings are computed by the process's own watch, too."""


def watched(
    cities: int, days: int, seed: int, size: CitySize, budget: WarningBudget, factor: float = 1.0
) -> tuple[list[CityWarning], list[CityWarning], float]:
    """Return the warnings without draws, with draws, and the ratio of losses after a change.

    Args:
        cities: How many.
        days: Of each, the learned ones included.
        seed: Of the random numbers.
        size: Of each.
        budget: Of each warning.
        factor: How many times as many frauds are missed from day ``CHANGED`` on.
    """
    change = np.ones(days)
    change[CHANGED:] = factor
    city = simulate(cities, days, seed, size, change if factor != 1.0 else None)
    alone = watch_cities(city, size, budget, draws=False)
    both = watch_cities(city, size, budget, draws=True)
    for draws, found in ((False, alone), (True, both)):
        own = [watch_city(city, n, size, budget, draws=draws) for n in range(_CHECKED)]
        if own != found[:_CHECKED]:
            raise AssertionError("the watch of one city differs from that of many")
    ratio = float(city.loss[:, CHANGED:].mean() / city.loss[:, :CHANGED].mean())
    return alone, both, ratio


def false_alarms(cities: int, days: int) -> dict[str, Any]:
    """Return how many cities warn, and how many may: the binomial 99 % bound of the budget.

    Args:
        cities: How many.
        days: That are watched, after the learned ones.
    """
    alone, both, _ = watched(cities, LEARNING_DAYS + days, 1, SIZE, BUDGET)
    return {
        "cities": cities,
        "days": days,
        "alpha": BUDGET.alpha,
        "bound": int(binom.ppf(0.99, cities, BUDGET.alpha)),
        "false_alarms": sum(each.day >= 0 for each in alone),
        "false_alarms_with_draws": sum(each.day >= 0 for each in both),
        "by_class": dict(Counter(each.klass for each in [*alone, *both] if each.day >= 0)),
    }
