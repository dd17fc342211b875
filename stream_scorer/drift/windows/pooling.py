"""Pools a stream's successive windows until an observation has enough rows.

A share of 40 rows is noise. So windows are added until they have 200 rows: a quiet night's hours
become one observation. A stream without a known season is added up over whole days, because each
day has every hour once.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ROWS_LEAST: Final = 200
"""Minimum number of rows of an observation."""
DAY_MS: Final = 86_400_000


@dataclass(slots=True, eq=False)
class Pools:
    """The open pools of k streams.

    Attributes:
        rows: int64[k].
        total: float64[k], sum of values times rows.
        daily: bool[k], whether the stream's pools end with a day only.
    """

    rows: Int64
    total: Float64
    daily: NDArray[np.bool_]

    @classmethod
    def empty(cls, daily: NDArray[np.bool_]) -> "Pools":
        """Return empty pools.

        Args:
            daily: As above.
        """
        k = len(daily)
        return cls(np.zeros(k, np.int64), np.zeros(k), daily)

    def copy(self) -> "Pools":
        """Return a copy."""
        return Pools(self.rows.copy(), self.total.copy(), self.daily)

    def add(self, values: Float64, rows: Int64, end: int) -> Float64:
        """Add a window; return float64[k], the means of the pools that it completes, else NaN.

        Args:
            values: float64[k], without the season; NaN for none.
            rows: int64[k].
            end: End of the window, ms since the epoch.
        """
        held = (rows > 0) & np.isfinite(values)
        self.rows[held] += rows[held]
        self.total[held] += values[held] * rows[held]
        full = (self.rows >= ROWS_LEAST) & (~self.daily | (end % DAY_MS == 0))
        found = np.where(full, self.total / np.maximum(self.rows, 1), np.nan)
        self.rows[full], self.total[full] = 0, 0.0
        return found

    def clear(self, streams: NDArray[np.bool_]) -> None:
        """Empty some pools."""
        self.rows[streams], self.total[streams] = 0, 0.0
