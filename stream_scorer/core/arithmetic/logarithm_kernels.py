"""The natural logarithm, bit-identical on every target.

The method and its constants are those of fdlibm's e_log.c:

    Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at SunSoft, a Sun
    Microsystems, Inc. business. Permission to use, copy, modify, and distribute this software is
    freely granted, provided that this notice is preserved.

x = 2^k (1 + f), where 1 + f is between sqrt(2)/2 and sqrt(2). log(1 + f) = f - s (f - R), where s =
f / (2 + f) and R is a polynomial in s^2. The operations and their order are fixed: additions,
subtractions, multiplications and one division of IEEE 754, each rounded, none fused with another.
So an implementation in another language that performs them gives the same bits.

The error is less than 1 ulp, as ``tests/unit/core/arithmetic/test_logarithm_kernels.py`` measures.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, numeric
from stream_scorer.core.kernels.memory import bits_of, double_of

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_L1 = 6.666666666666735130e-01
_L2 = 3.999999999940941908e-01
_L3 = 2.857142874366239149e-01
_L4 = 2.222219843214978396e-01
_L5 = 1.818357216161805012e-01
_L6 = 1.531383769920937332e-01
_L7 = 1.479819860511658591e-01

_TWO_54 = 18014398509481984.0
_SMALLEST_NORMAL = 2.2250738585072014e-308
_LARGEST = 1.7976931348623157e308

_ROOT = np.int64(0x3FE6A09E)
"""High 32 bits of sqrt(2)/2."""

_ONE = np.int64(0x3FF00000)
_FRACTION = np.int64(0x000FFFFF)
_LOW_WORD = np.int64(0xFFFFFFFF)
_EXPONENT_OF_ONE = np.int64(0x3FF)
_FIXED = 4294967296.0


@numeric
def log(x):
    """Return the natural logarithm of a float64; NaN unless x is finite and greater than 0."""
    if not 0.0 < x <= _LARGEST:
        return np.nan
    k = np.int64(0)
    if x < _SMALLEST_NORMAL:
        k = np.int64(-54)
        x *= _TWO_54
    bits = bits_of(x)
    high = (bits >> np.int64(32)) + (_ONE - _ROOT)
    k += (high >> np.int64(20)) - _EXPONENT_OF_ONE
    high = (high & _FRACTION) + _ROOT
    f = double_of((high << np.int64(32)) | (bits & _LOW_WORD)) - 1.0
    half_square = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (_L2 + w * (_L4 + w * _L6))
    even = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    power = np.float64(k)
    return s * (half_square + (even + odd)) + power * _LN2_LOW - half_square + f + power * _LN2_HIGH


@allocating
def fixed_logarithms(amount):
    """Return int64[n]: ln(1 + amount) as whole numbers of 2^-32, rounded down.

    Args:
        amount: int64[n], not negative.
    """
    found = np.empty(len(amount), np.int64)
    for i in range(len(amount)):
        found[i] = np.int64(np.floor(log(1.0 + np.float64(amount[i])) * _FIXED))
    return found
