"""What LightGBM's nodes do with a value, as cuts.

A row's values change before any node sees them: a value whose size is at most
``float32(1e-35)`` becomes 0. Then:

- A numeric node sends ``value <= threshold`` left. Its missing type decides about the rest: *none*
  treats NaN as 0; *zero* sends 0 and NaN to the default side; *NaN* sends NaN to the default side.
- A categorical node truncates the value toward zero and sends it left if the node's set has the
  category. NaN, negative categories and those from 2**31 on go right.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

MISSING_NONE: Final = 0
MISSING_ZERO: Final = 1
MISSING_NAN: Final = 2

ZERO_MOST: Final = float(np.float32(1e-35))
"""The largest number that counts as 0 (``kZeroThreshold``); its negative counts as 0, too."""

BELOW_ZERO: Final = float(np.nextafter(-ZERO_MOST, -np.inf))
"""The largest negative number that does not count as 0."""

WORD_BITS: Final = 32
"""Categories of one word of a set."""


def numeric_cuts(threshold: Float64, missing: NDArray[np.int64], default_left: Bool) -> Float64:
    """Return float64[k, 3]: the cuts of each node in ascending order, then NaN.

    All these nodes start on the left.

    Args:
        threshold: float64[k].
        missing: int64[k], the nodes' missing types.
        default_left: bool[k], whether the nodes' default side is the left one.
    """
    zero_left = threshold >= 0
    cuts = np.full((len(threshold), 3), np.nan)
    # No cut divides the numbers that count as 0.
    cuts[:, 0] = np.where(
        zero_left, np.maximum(threshold, ZERO_MOST), np.minimum(threshold, BELOW_ZERO)
    )
    apart = (missing == MISSING_ZERO) & (default_left != zero_left)
    zero_goes_right, zero_goes_left = apart & zero_left, apart & ~zero_left
    cuts[zero_goes_right, 0] = BELOW_ZERO
    above = zero_goes_right & (threshold > ZERO_MOST)
    cuts[above, 1] = ZERO_MOST
    cuts[above, 2] = threshold[above]
    cuts[zero_goes_left, 0] = ZERO_MOST
    below = zero_goes_left & (threshold < BELOW_ZERO)
    cuts[below, 0] = threshold[below]
    cuts[below, 1] = BELOW_ZERO
    cuts[below, 2] = ZERO_MOST
    return cuts


def missing_left(threshold: Float64, missing: NDArray[np.int64], default_left: Bool) -> Bool:
    """Return bool[k]: whether each numeric node sends NaN left; arguments as above."""
    return np.where(missing == MISSING_NONE, threshold >= 0, default_left)


def run_count(words: NDArray[np.uint32], bounds: NDArray[np.int64]) -> int:
    """Return the number of runs of consecutive categories in sets: half the number of their cuts.

    Args:
        words: uint32[n], the words of all sets.
        bounds: int64[k + 1]; set i has the words from ``bounds[i]`` to before ``bounds[i + 1]``.
            Category c is in a set if bit ``c % 32`` of its word ``c // 32`` is 1.
    """
    starts, _ = _run_bits(words, bounds)
    return int(np.bitwise_count(starts).sum())


def category_cuts(
    words: NDArray[np.uint32], bounds: NDArray[np.int64]
) -> tuple[Float64, NDArray[np.int64]]:
    """Return (cuts of all categorical nodes, int64[k] number of each node's cuts).

    All these nodes start on the right. The arguments are those of :func:`run_count`.
    """
    # Each set has one word more here, see _run_bits.
    first = bounds[:-1] + np.arange(len(bounds) - 1)
    starts, ends = (_positions(bits) for bits in _run_bits(words, bounds))
    of_set = np.searchsorted(first, starts // WORD_BITS, "right") - 1
    low = (starts - first[of_set] * WORD_BITS).astype(np.float64)
    past = (ends - first[of_set] * WORD_BITS).astype(np.float64)
    cuts = np.empty(2 * len(starts))
    # -0.5 is truncated to category 0.
    cuts[0::2] = np.where(low == 0, -1.0, np.nextafter(low, -np.inf))
    cuts[1::2] = np.nextafter(past, -np.inf)
    return cuts, 2 * np.bincount(of_set, minlength=len(bounds) - 1)


def _run_bits(
    words: NDArray[np.uint32], bounds: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return (uint32[n + k], uint32[n + k]): a bit where a run begins, a bit after its end.

    There is an empty word after each set, so that a run ends there and not in the next set.
    """
    one, last = np.uint32(1), np.uint32(WORD_BITS - 1)
    here = np.insert(words, bounds[1:], np.uint32(0))
    before = here << one
    before[1:] |= here[:-1] >> last
    return here & ~before, before & ~here


def _positions(bits: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return int64: the number of each set bit, ascending."""
    words = np.flatnonzero(bits)
    octets = bits[words].astype("<u4").view(np.uint8).reshape(-1, WORD_BITS // 8)
    word, bit = np.nonzero(np.unpackbits(octets, axis=1, bitorder="little"))
    return words[word] * WORD_BITS + bit
