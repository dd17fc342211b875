"""The decision policy: where REVIEW and BLOCK begin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Outcome

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores from which a transaction is reviewed or blocked; 0 < review <= block <= 1.

    Attributes:
        review: Least score of REVIEW.
        block: Least score of BLOCK; equal to ``review``, nothing is reviewed.

    Raises:
        ValueError: Out of that order or range, or not a number.
    """

    review: float
    block: float

    def __post_init__(self) -> None:
        if not 0.0 < self.review <= self.block <= 1.0:
            raise ValueError(
                f"thresholds: 0 < review <= block <= 1 does not hold for review {self.review} "
                f"and block {self.block}"
            )


def decide(scores: Float64, thresholds: Thresholds) -> NDArray[np.uint8]:
    """Return uint8[n], values of :class:`Outcome`; a score equal to a threshold reaches it.

    Args:
        scores: float64[n]; NaN approves, so a caller must overrule rows that have no score.
        thresholds: Where REVIEW and BLOCK begin.

    >>> decide(np.array([0.1, 0.5, 0.9]), Thresholds(review=0.5, block=0.8)).tolist()
    [0, 1, 2]
    """
    outcome = np.full(len(scores), Outcome.APPROVE, np.uint8)
    outcome[scores >= thresholds.review] = Outcome.REVIEW
    outcome[scores >= thresholds.block] = Outcome.BLOCK
    return outcome
