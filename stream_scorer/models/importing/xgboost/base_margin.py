"""Where XGBoost's sums start: the margin of ``base_score``, with the C library's bits.

A model file has ``base_score`` as a probability. XGBoost turns it into a margin when it loads the
file: ``-logf(1 / p - 1)`` in float32. The ``logf`` of numpy and a rounded ``math.log`` have other
last bits, so :func:`logf` is the method of the C library (glibc 2.27 and later).
"""

import struct
from typing import Final

import numpy as np

from stream_scorer.models.importing.xgboost.refusals import refuse

# The table and the polynomial are published in ARM's optimized-routines (math/logf_data.c,
# copyright Arm Limited, MIT licence), from which glibc has its logf. Entries: 1 / c and log(c),
# with c near the middle of the i-th of 16 parts of an octave.
_INVERSE: Final = tuple(
    map(
        float.fromhex,
        (
            "0x1.661ec79f8f3bep+0", "0x1.571ed4aaf883dp+0", "0x1.49539f0f010bp+0",
            "0x1.3c995b0b80385p+0", "0x1.30d190c8864a5p+0", "0x1.25e227b0b8eap+0",
            "0x1.1bb4a4a1a343fp+0", "0x1.12358f08ae5bap+0", "0x1.0953f419900a7p+0",
            "0x1p+0", "0x1.e608cfd9a47acp-1", "0x1.ca4b31f026aap-1",
            "0x1.b2036576afce6p-1", "0x1.9c2d163a1aa2dp-1", "0x1.886e6037841edp-1",
            "0x1.767dcf5534862p-1",
        ),
    )
)  # fmt: skip
_LOGARITHM: Final = tuple(
    map(
        float.fromhex,
        (
            "-0x1.57bf7808caadep-2", "-0x1.2bef0a7c06ddbp-2", "-0x1.01eae7f513a67p-2",
            "-0x1.b31d8a68224e9p-3", "-0x1.6574f0ac07758p-3", "-0x1.1aa2bc79c81p-3",
            "-0x1.a4e76ce8c0e5ep-4", "-0x1.1973c5a611cccp-4", "-0x1.252f438e10c1ep-5",
            "0x0p+0", "0x1.aa5aa5df25984p-5", "0x1.c5e53aa362eb4p-4",
            "0x1.526e57720db08p-3", "0x1.bc2860d22477p-3", "0x1.1058bc8a07ee1p-2",
            "0x1.4043057b6ee09p-2",
        ),
    )
)  # fmt: skip
_CUBE: Final = float.fromhex("-0x1.00ea348b88334p-2")
_SQUARE: Final = float.fromhex("0x1.5575b0be00b6ap-2")
_LINEAR: Final = float.fromhex("-0x1.ffffef20a4123p-2")
_LN2: Final = float.fromhex("0x1.62e42fefa39efp-1")
_FIRST: Final = 0x3F330000
"""The bits of 0.6992, where the 16 parts begin."""
_SMALLEST_NORMAL: Final = 0x00800000
_EXPONENT: Final = 23
"""The bits of a float32 below its exponent."""
_CLOSEST: Final = np.float32(1e-6)
"""How near to 0 and 1 a probability may be, since XGBoost 3.2; nearer ones are moved there."""


def logf(value: np.float32) -> np.float32:
    """Return the C library's natural logarithm of a positive, finite float32 number.

    The number is 2**k * z, with z between 0.6992 and 1.3984. Then log(z) is log(c) plus a
    polynomial in z / c - 1, computed in float64 and rounded once.
    """
    (bits,) = struct.unpack("<i", struct.pack("<f", float(value)))
    if bits < _SMALLEST_NORMAL:
        (bits,) = struct.unpack("<i", struct.pack("<f", float(value) * 2.0**_EXPONENT))
        bits -= _EXPONENT << _EXPONENT
    distance = bits - _FIRST
    part = (distance >> (_EXPONENT - 4)) % 16
    k = distance >> _EXPONENT
    (z,) = struct.unpack("<f", struct.pack("<i", bits - (k << _EXPONENT)))
    r = z * _INVERSE[part] - 1.0
    start = _LOGARITHM[part] + k * _LN2
    square = r * r
    y = _SQUARE * r + _LINEAR
    y = _CUBE * square + y
    return np.float32(y * square + (start + r))


def logit_margin(probability: np.float32, version: tuple[int, int]) -> np.float32:
    """Return the margin of a ``base_score`` of a logistic objective.

    Args:
        probability: float32, greater than 0 and less than 1.
        version: Major and minor version of XGBoost, which decide about probabilities that are very
            near to 0 or 1.

    Raises:
        ModelError: The margin is not finite.
    """
    one = np.float32(1)
    if version >= (3, 2):
        probability = min(max(probability, _CLOSEST), one - _CLOSEST)
    with np.errstate(over="ignore"):
        odds = one / probability - one
    if not 0 < odds < np.inf:
        refuse(
            f"its base_score {probability!s} is too near to 0 or 1 for a margin",
            "train it with a base_score between 0.000001 and 0.999999",
        )
    return -logf(odds)
