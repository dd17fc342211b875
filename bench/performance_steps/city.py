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
        revealed_most: Largest cost that counts in the loss by drawn decisions.
        drawn: Share of the decisions that is drawn at random.
    """

    decisions: int = 9_586
    terminals: float = 2.0
    customers: float = 3.0
    most: float = 200.0
    revealed_most: float = 25.0
    drawn: float = 0.05


@dataclass(frozen=True)
class CityDays:
    """What d days of c cities were.

    Attributes:
        loss: float64[c, d], mean loss per decision, in [0, 1].
        frauds: float64[c, d], frauds, missed and found.
        missed: float64[c, d], missed ones.
        revealed: float64[c, d], mean revealed loss: of missed frauds, each clipped.
        hits: float64[c, d], sum of the losses of drawn decisions, each from 0 to 1.
        exposure: What a mean revealed loss is multiplied by to give the expected hits.
    """

    loss: Float64
    frauds: Float64
    missed: Float64
    revealed: Float64
    hits: Float64
    exposure: float


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
    shape = cities, days
    money, revealed, hits = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    frauds, missed = np.zeros(shape), np.zeros(shape)
    for length, rate, traffic, amount in kinds:
        begun = chance.poisson(rate, (cities, days + length - 1))
        lost = np.zeros(shape, np.int64)
        for number in range(int(begun.max())):
            # One burst of each day, in cities with more than so many; its size and its cover.
            flow = np.where(begun > number, chance.gamma(2.0, traffic / 2.0, begun.shape), 0.0)
            share = chance.beta(1.5, 3.5, begun.shape)
            for age in range(length):
                mine = slice(length - 1 - age, length - 1 - age + days)
                away = np.minimum(share[:, mine] * change, 1.0)
                lost += chance.poisson(flow[:, mine] * away)
                frauds += chance.poisson(flow[:, mine] * (1 - away))
        missed += lost
        frauds += lost
        # Each missed fraud has an amount, and may be drawn.
        place = np.repeat(np.arange(lost.size), lost.ravel())
        cost = chance.gamma(1.5, amount / 1.5, len(place))
        drawn = chance.random(len(place)) < size.drawn
        shown = np.minimum(cost, size.revealed_most)
        money += np.bincount(place, np.minimum(cost, size.most), lost.size).reshape(shape)
        revealed += np.bincount(place, shown, lost.size).reshape(shape)
        hits += np.bincount(place, shown * drawn, lost.size).reshape(shape) / size.revealed_most
    found = frauds - missed
    reviewed = chance.binomial(found.astype(np.int64), 0.4) + chance.poisson(20.0, found.shape)
    false = chance.poisson(2.0, found.shape)
    total = size.decisions * size.most
    loss = (money + 5.0 * reviewed + 25.0 * false) / total
    exposure = size.decisions * size.drawn * size.most / size.revealed_most
    return CityDays(loss, frauds, missed, revealed / total, hits, exposure)
