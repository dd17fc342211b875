"""How late the labels of frauds are, from those that have been reported so far.

A fraud that will be reported later than now is not seen, so long delays are missing most among
recent transactions: delays are *right-truncated*. In reverse time this is left truncation, for
which the product-limit estimator holds. Of two delays u, only transactions that are old enough for
u to have been seen count:

    F(t) = product over delays u > t of (1 - d(u) / n(u))

where d(u) is the number of delays equal to u, and n(u) that of delays of at most u whose
transactions are at least u old. Beyond the age of the oldest transaction nothing is known: F is the
share of the frauds that are reported *by that age at all*.

Source: Lagakos, Barraj, De Gruttola, "Nonparametric analysis of truncated survival data, with
application to AIDS" (Biometrika, 1988).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

DAY_MS: Final = 86_400_000
LEAST_FRAUDS: Final = 100
"""Fewest reported frauds from which a curve is estimated."""


@dataclass(frozen=True, slots=True, eq=False)
class DelayCurve:
    """The share of frauds that are reported by an age.

    Attributes:
        delay_ms: int64[k], delays that occurred, ascending.
        share: float64[k], share of frauds with at most this delay, up to 1, among those that are
            reported by the age ``longest_ms``.
        longest_ms: Age of the oldest transaction, ms; beyond it nothing is known.
        frauds: Number of frauds from which it is estimated.
    """

    delay_ms: Int64
    share: Float64
    longest_ms: int
    frauds: int

    def days_for(self, share: float) -> float:
        """Return the age in days by which a share of the frauds is reported."""
        at = int(np.searchsorted(self.share, share * (1 - 1e-12)))
        return float(self.delay_ms[min(at, len(self.delay_ms) - 1)]) / DAY_MS

    def at(self, days: Sequence[float]) -> list[float]:
        """Return the share that is reported by each of some ages in days."""
        limit = np.asarray(days) * DAY_MS
        place = np.searchsorted(self.delay_ms, limit, side="right")
        shares: list[float] = np.append(0.0, self.share)[place].tolist()
        return shares


def delay_curve(delay_ms: Int64, age_ms: Int64) -> DelayCurve:
    """Estimate the curve.

    Args:
        delay_ms: int64[n], from each fraud to its first report, ms.
        age_ms: int64[n], from each fraud to now, ms; no delay is larger than its age.

    Raises:
        SettingsError: There are fewer than 100.
    """
    count = len(delay_ms)
    if count < LEAST_FRAUDS:
        raise SettingsError(
            f"labels: {count} reported frauds, and a curve needs {LEAST_FRAUDS}",
            "choose a longer range: --from and --to",
        )
    values, ties = np.unique(delay_ms, return_counts=True)
    # Delays of at most u, without those of transactions that are younger than u.
    at_risk = np.cumsum(ties) - np.searchsorted(np.sort(age_ms), values, side="left")
    factors = 1 - ties / at_risk
    # F at a delay has the factors of all later ones.
    share = np.append(np.cumprod(factors[:0:-1])[::-1], 1.0)
    return DelayCurve(values, share, int(age_ms.max()), count)
