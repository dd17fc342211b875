"""The simulated customers' transactions, before any fraud.

Each customer has two separate random streams: the amounts and times come from numpy's legacy
generator, the terminal from the standard library's, both seeded with the customer's number (in
another city, with that and the city's).
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from stream_scorer.simulator.population import Population, seeded

DAY_SECONDS = 86_400
_NOON = DAY_SECONDS / 2
_TIME_DEVIATION = 20_000.0


@dataclass(slots=True)
class SimulatedTransactions:
    """n transactions in time order; those of one second stay in the order of their customers.

    Attributes:
        second: int64[n], seconds since the first day's midnight.
        customer: int64[n].
        terminal: int64[n].
        amount_minor: int64[n], cents.
        scenario: int8[n], 0 for a genuine transaction, else the fraud's scenario.
    """

    second: NDArray[np.int64]
    customer: NDArray[np.int64]
    terminal: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    scenario: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.second)


def _one_customer(
    seed: int, mean: float, per_day: float, reachable: list[int], days: int
) -> tuple[list[int], list[float], list[int]]:
    """Return one customer's seconds, amounts and terminals in the order they are drawn."""
    numbers = np.random.RandomState(seed)
    poisson, normal, uniform = numbers.poisson, numbers.normal, numbers.uniform
    choose = Random(seed).choice  # noqa: S311 a simulation, not a secret
    deviation = mean / 2
    seconds: list[int] = []
    amounts: list[float] = []
    terminals: list[int] = []
    for day in range(days):
        midnight = day * DAY_SECONDS
        for _ in range(poisson(per_day)):
            second = int(normal(_NOON, _TIME_DEVIATION))
            if not 0 < second < DAY_SECONDS:
                continue
            amount = normal(mean, deviation)
            if amount < 0:
                amount = uniform(0, 2 * mean)
            if reachable:
                seconds.append(midnight + second)
                amounts.append(amount)
                terminals.append(choose(reachable))
    return seconds, amounts, terminals


def spend(population: Population, days: int, city: int = 0) -> SimulatedTransactions:
    """Simulate ``days`` days of every customer's transactions, all genuine.

    Args:
        population: The customers.
        days: How many days; fewer days are a prefix of more.
        city: Number of the city; 0 is the book's.
    """
    seconds: list[int] = []
    amounts: list[float] = []
    terminals: list[int] = []
    made = np.zeros(len(population.reachable), np.int64)
    for number, reachable in enumerate(population.reachable):
        own = _one_customer(
            seeded(number, city),
            float(population.mean_amount[number]),
            float(population.per_day[number]),
            reachable.tolist(),
            days,
        )
        seconds += own[0]
        amounts += own[1]
        terminals += own[2]
        made[number] = len(own[0])
    second = np.array(seconds, np.int64)
    order = np.argsort(second, kind="stable")
    return SimulatedTransactions(
        second[order],
        np.repeat(np.arange(len(made)), made)[order],
        np.array(terminals, np.int64)[order],
        # Rounding to cents: the value times 100 is rounded half to even, as numpy rounds decimals.
        np.rint(np.array(amounts, np.float64) * 100).astype(np.int64)[order],
        np.zeros(len(second), np.int8),
    )
