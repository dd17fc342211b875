"""Days of the loss of many cities: bursts of frauds, a model that misses some, honest noise.

A compromised terminal gives frauds for 28 days, a compromised customer for 14 days, as in the
handbook. How many begin on a day is Poisson, and so is the traffic of each. Each burst is missed to
a share of its own. So days of a city are alike for weeks, although nothing has changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

TERMINAL_DAYS, CUSTOMER_DAYS = 28, 14


@dataclass(frozen=True)
class CitySize:
    """A city.

    Attributes:
        decisions: Decisions of a day.
        terminals: Terminals that are compromised on a day, on average.
        customers: Customers likewise.
        most: Largest cost of a decision.
    """

    decisions: int = 9_586
    terminals: float = 2.0
    customers: float = 3.0
    most: float = 200.0


@dataclass(frozen=True)
class CityDays:
    """What d days of c cities were.

    Attributes:
        loss: float64[c, d], mean loss per decision, in [0, 1].
        frauds: float64[c, d], frauds, missed and found.
        missed: float64[c, d], missed ones.
        missed_money: float64[c, d], what they cost, in units of the currency.
        review_money: float64[c, d], what reviews cost.
    """

    loss: Float64
    frauds: Float64
    missed: Float64
    missed_money: Float64
    review_money: Float64


def simulate(
    cities: int, days: int, seed: int, size: CitySize, factor: Float64 | None = None
) -> CityDays:
    """Return days of cities.

    Args:
        cities: Number of cities.
        days: Days of each.
        seed: Of the random numbers.
        size: Of each city.
        factor: float64[days], by which the share of missed frauds is multiplied; None: 1.
    """
    chance = np.random.default_rng(seed)
    change = np.ones(days) if factor is None else factor
    kinds = (
        (TERMINAL_DAYS, size.terminals, 0.96, 53.0),
        (CUSTOMER_DAYS, size.customers, 0.63, 140.0),
    )
    money = np.zeros((cities, days))
    frauds, missed = np.zeros((cities, days)), np.zeros((cities, days))
    for length, rate, traffic, amount in kinds:
        begun = chance.poisson(rate, (cities, days + length - 1))
        for number in range(int(begun.max())):
            # One burst of each day, in cities with more than so many; its size and its cover.
            there = begun > number
            flow = np.where(there, chance.gamma(2.0, traffic / 2.0, begun.shape), 0.0)
            share = chance.beta(1.5, 3.5, begun.shape)
            for age in range(length):
                first = length - 1 - age
                mine = slice(first, first + days)
                lost = chance.poisson(flow[:, mine] * np.minimum(share[:, mine] * change, 1.0))
                seen = chance.poisson(flow[:, mine] * np.maximum(1 - share[:, mine] * change, 0.0))
                missed += lost
                frauds += lost + seen
                money += _amounts(chance, lost, amount, size.most)
    found = frauds - missed
    reviewed = chance.binomial(found.astype(np.int64), 0.4) + chance.poisson(20.0, found.shape)
    false = chance.poisson(2.0, found.shape)
    loss = (money + 5.0 * reviewed + 25.0 * false) / (size.decisions * size.most)
    return CityDays(loss, frauds, missed, money, 5.0 * reviewed)


def _amounts(
    chance: np.random.Generator, count: "NDArray[np.int64]", mean: float, most: float
) -> Float64:
    """Return the sums of so many amounts, each clipped; the clipped mean is kept by the gamma."""
    total = chance.gamma(np.maximum(count, 1) * 1.5, mean / 1.5)
    return np.where(count > 0, np.minimum(total, count * most), 0.0)
