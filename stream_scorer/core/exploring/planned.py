"""Whether probabilities of decisions are those of their plans.

Any other probability was written by another client, and a weight of it would be its choice.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.explore_table import ExploreTable
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.contract import Bool, Float64
from stream_scorer.core.exploring.draws import explore_table


def are_planned(
    chance: Float64, block: Bool, revision: NDArray[np.int64], plans: Callable[[int], Plan]
) -> Bool:
    """Return bool[n]: whether the probabilities of decisions are those of their plans.

    Args:
        chance: float64[n], as in :func:`is_planned`.
        block: bool[n], likewise.
        revision: int64[n], of their plans.
        plans: Returns the plan of a revision. It is not called for a probability of 1.
    """
    found = np.asarray(chance == 1, np.bool_)
    for number in np.unique(revision[~found]).tolist():
        rows = np.flatnonzero(~found & (revision == number))
        found[rows] = is_planned(chance[rows], block[rows], explore_table(plans(number)))
    return found


def is_planned(chance: Float64, block: Bool, explore: ExploreTable | None) -> Bool:
    """Return bool[n]: whether the probabilities of decisions are those of one plan.

    Args:
        chance: float64[n], probability of the published outcome, given that of the policy.
        block: bool[n], whether the policy says BLOCK.
        explore: The plan's table; None: it lets nothing through.
    """
    if explore is None:
        return np.asarray(chance == 1, np.bool_)
    shares = np.array([p for _, p in explore.bands], np.float64)
    known = np.isin(chance, np.concatenate([shares, 1.0 - shares]))
    return np.asarray((chance == 1) | (block & known), np.bool_)
