"""The three ways in which simulated transactions become fraudulent; later ones overwrite earlier.

1. A large amount: more than 220.
2. A compromised terminal: each day two terminals, for 28 days every transaction on them.
3. A leaked card: each day three customers, for 14 days a third of their transactions, with
   amounts five times as large.
"""

from random import Random

import numpy as np
from numpy.typing import NDArray

from stream_scorer.simulator.population import seeded
from stream_scorer.simulator.transactions import DAY_SECONDS, SimulatedTransactions

_LARGE_MINOR = 22_000
_TERMINALS_A_DAY, _TERMINAL_DAYS = 2, 28
_CUSTOMERS_A_DAY, _CUSTOMER_DAYS, _CUSTOMER_SHARE, _CUSTOMER_FACTOR = 3, 14, 3, 5


def _positions_by_owner(owner: NDArray[np.int64], owners: int) -> list[NDArray[np.int64]]:
    """Return, for each owner, the row numbers of its transactions in time order."""
    order = np.argsort(owner, kind="stable")
    return np.split(order, np.searchsorted(owner[order], np.arange(1, owners)))


def commit_frauds(
    ledger: SimulatedTransactions, customers: int, terminals: int, days: int, city: int = 0
) -> None:
    """Mark frauds in place; scenario 3 changes amounts as well.

    Args:
        ledger: All transactions in time order.
        customers: How many customers exist.
        terminals: How many terminals exist.
        days: Days of the simulation; nothing new is compromised on the last one.
        city: Number of the city; 0 is the book's.
    """
    day = ledger.second // DAY_SECONDS
    ledger.scenario[ledger.amount_minor > _LARGE_MINOR] = 1

    at_terminal = _positions_by_owner(ledger.terminal, terminals)
    for start in range(days - 1):
        drawn = np.random.RandomState(seeded(start, city)).choice(
            terminals, _TERMINALS_A_DAY, replace=False
        )
        rows = np.concatenate([at_terminal[number] for number in drawn])
        ledger.scenario[rows[(day[rows] >= start) & (day[rows] < start + _TERMINAL_DAYS)]] = 2

    of_customer = _positions_by_owner(ledger.customer, customers)
    for start in range(days - 1):
        drawn = np.random.RandomState(seeded(start, city)).choice(
            customers, _CUSTOMERS_A_DAY, replace=False
        )
        rows = np.sort(np.concatenate([of_customer[number] for number in drawn]))
        rows = rows[(day[rows] >= start) & (day[rows] < start + _CUSTOMER_DAYS)]
        chosen = Random(seeded(start, city)).sample(range(len(rows)), len(rows) // _CUSTOMER_SHARE)  # noqa: S311 a simulation, not a secret
        ledger.amount_minor[rows[chosen]] *= _CUSTOMER_FACTOR
        ledger.scenario[rows[chosen]] = 3
