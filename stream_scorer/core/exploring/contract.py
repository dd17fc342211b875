r"""Let-through: the draw by which some would-be BLOCKs become APPROVE, and what it returns.

The draw of one transaction is u = the first 8 bytes (little-endian) of HMAC-SHA256(key,
b"let-through\0" + customer id in UTF-8 + b"\0" + int64 UTC day of the event time, little-endian),
divided by 2^64. It does not depend on the arm. So all retries of a customer's day get one answer,
and arms can be compared by exchanging them.

A transaction is *inside the estimand* if its policy's outcome is BLOCK, its score is not NaN, its
amount is at most ``most_minor``, and p(score) is above 0. It is let through if it is inside, and
u < p(score). The function has this signature, and is called for the rows of all arms alike::

    draw(exploration, customer: pa.Array, event_time: Int64[n] ms, score: Float64[n],
         amount_minor: Int64[n], block: Bool[n]) -> Drawn
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """The plan's table ``explore``, with the secret key that it names by digest.

    Attributes:
        bands: float64[k, 2], (score, probability): from this score on, up to the next band's, p is
            this probability. Scores ascend; below the first one p = 0. Probabilities are in [0, 1).
        most_minor: Largest amount that may be let through, in minor units of the plan's currency.
        key: 32 bytes or more; never printed.
    """

    bands: Float64
    most_minor: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The draws of n transactions.

    Attributes:
        through: bool[n], whether a would-be BLOCK is let through.
        propensity: float64[n], probability of the decision that was made, given the policy's
            outcome: p where it was let through, 1 - p where it was inside the estimand and blocked,
            1.0 otherwise.
    """

    through: Bool
    propensity: Float64
