"""Customers and terminals of the simulated city, and which terminals each customer can reach.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook". The random streams are those of numpy's legacy global
generator with the book's seeds, drawn from local ``RandomState`` objects without global state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

CUSTOMERS = 5_000
TERMINALS = 10_000
_CITY = 100.0  # side of the square in which everyone lives
_REACH = 5.0  # a customer uses terminals nearer than this
_CUSTOMER_SEED = 0
_TERMINAL_SEED = 1
_SEEDS_APART = 1_000_003  # more than there are customers
_LEAST_MEAN, _MOST_MEAN = 5.0, 100.0
_MOST_PER_DAY = 4.0


@dataclass(frozen=True, slots=True)
class Population:
    """Customers 0…c-1 and their behaviour.

    Attributes:
        mean_amount: float64[c], mean of a customer's amounts; their deviation is half of it.
        per_day: float64[c], transactions per day on average.
        reachable: c int64 arrays, ids of the terminals that the customer can use, ascending.
    """

    mean_amount: Float64
    per_day: Float64
    reachable: tuple[NDArray[np.int64], ...]


def seeded(number: int, city: int) -> int:
    """Return the seed of a generator in a city: city 0 has the book's seeds, others different ones.

    >>> seeded(7, 0)
    7
    """
    return number + city * _SEEDS_APART


def populate(customers: int = CUSTOMERS, terminals: int = TERMINALS, city: int = 0) -> Population:
    """Draw customers and terminals.

    Args:
        customers: How many customers; fewer are a prefix of more.
        terminals: How many terminals; fewer are a prefix of more.
        city: Number of the city; 0 is the book's.
    """
    # One customer after the other draws x, y, mean amount, transactions per day.
    draws = np.random.RandomState(seeded(_CUSTOMER_SEED, city)).random_sample((customers, 4))
    homes = _CITY * draws[:, :2]
    mean_amount = _LEAST_MEAN + (_MOST_MEAN - _LEAST_MEAN) * draws[:, 2]
    per_day = _MOST_PER_DAY * draws[:, 3]
    places = _CITY * np.random.RandomState(seeded(_TERMINAL_SEED, city)).random_sample(
        (terminals, 2)
    )
    reachable = tuple(
        np.flatnonzero(np.sqrt(((places - home) ** 2).sum(axis=1)) < _REACH).astype(np.int64)
        for home in homes
    )
    return Population(mean_amount, per_day, reachable)
