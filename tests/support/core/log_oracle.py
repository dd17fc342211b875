"""The natural logarithm in plain Python, operation by operation; Python fuses none of them."""

import math
import struct

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_ODD = [float.fromhex(text) for text in (
    "0x1.999999997fa04p-2", "0x1.c71c51d8e78afp-3", "0x1.39a09d078c69fp-3",
)]  # fmt: skip
_EVEN = [float.fromhex(text) for text in (
    "0x1.5555555555593p-1", "0x1.2492494229359p-2", "0x1.7466496cb03dep-3", "0x1.2f112df3e5244p-3",
)]  # fmt: skip


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _double(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def log(x: float) -> float:
    """Return the logarithm by the fixed order of operations; NaN if it is undefined."""
    if not x > 0 or math.isinf(x):
        return math.nan
    k = 0
    if x < 2.0**-1022:
        x, k = x * 2.0**54, -54
    high, low = divmod(_bits(x), 2**32)
    high += 0x3FF00000 - 0x3FE6A09E
    k += (high >> 20) - 0x3FF
    f = _double(((high & 0xFFFFF) + 0x3FE6A09E) * 2**32 + low) - 1.0
    half = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (_ODD[0] + w * (_ODD[1] + w * _ODD[2]))
    even = z * (_EVEN[0] + w * (_EVEN[1] + w * (_EVEN[2] + w * _EVEN[3])))
    return s * (half + (even + odd)) + k * _LN2_LOW - half + f + k * _LN2_HIGH
