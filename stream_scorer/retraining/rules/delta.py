"""The rise of the loss that does not matter, as retraining costs more than it saves."""

from collections.abc import Sequence
from typing import Final

NEWEST_DAYS: Final = 28
"""Number of the newest days of which the decisions a day are the mean."""


def tolerated_cost(cost: float, horizon_days: int, rows_a_day: Sequence[int]) -> float:
    """Return how much the cost per decision may rise without a reason to retrain.

    A retraining that costs 400 must pay within 100 days: 4 a day. With 10,000 decisions a day, that
    is 0.0004 per decision.

    >>> tolerated_cost(400.0, 100, [10_000, 10_000])
    0.0004

    Args:
        cost: Cost of one retraining, in units of the currency.
        horizon_days: Days over which it must pay.
        rows_a_day: Decisions of each day, oldest first; the newest 28 count.

    Returns:
        Units of the currency per decision; infinite without a decision.
    """
    newest = rows_a_day[-NEWEST_DAYS:]
    if not sum(newest):
        return float("inf")
    return cost / horizon_days / (sum(newest) / len(newest))
