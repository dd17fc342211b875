"""The scale of amounts: how many minor units are a unit of a currency."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def minor_per_unit(exponent: int) -> int:
    """Return how many minor units a unit of a currency has.

    Args:
        exponent: The currency's digits after the point, 0 to 4.

    >>> minor_per_unit(2)
    100
    """
    return 10**exponent


def in_units(minor: Int64 | Float64, per_unit: float) -> Float64:
    """Return float64 of the same shape: amounts in units of the currency, each rounded once.

    Args:
        minor: Amounts in minor units.
        per_unit: Minor units in a unit, from :func:`minor_per_unit`.
    """
    return minor / np.float64(per_unit)
