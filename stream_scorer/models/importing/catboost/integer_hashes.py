"""Which integers have which hash: CatBoost compares hashes of categories, not the categories.

The hash of an integer is that of its decimal text, the lower 32 bits of CityHash64 (version 1.0, by
Geoff Pike and Jyrki Alakuijala). Two million integers have about 465 pairs with the same hash, and
an integer of such a pair goes where the other one goes. So all integers with a hash are searched.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Texts = NDArray[np.uint8]
Words = NDArray[np.uint64]

INTEGER_MOST: Final = 999_999
"""The largest integer that is searched, and minus the smallest one."""

_MULTIPLIER: Final = np.uint64(0x9DDFEA08EB382D69)
_SHORT: Final = (np.uint64(0x9AE16A3B2F90404F), np.uint64(0xC949D7C7509E6557))
_SHIFT: Final = np.uint64(47)
_LOW: Final = np.uint64(0xFFFFFFFF)
_DIGITS_MOST: Final = len(str(INTEGER_MOST))
_WORD: Final = 4


def integers_with(hashes: Int64) -> dict[int, Int64]:
    """Return the integers of at most :data:`INTEGER_MOST` in size with each of the hashes.

    Args:
        hashes: int64[k], 32-bit hashes as signed integers.

    Returns:
        Ascending integers by hash; a hash of none of the integers is not in it.
    """
    wanted = np.unique(hashes)
    found: dict[int, list[int]] = {}
    for first, text in _texts():
        hashed = _hashes(text)
        at = np.flatnonzero(wanted[np.searchsorted(wanted[:-1], hashed)] == hashed)
        # The integers of a negative first one descend.
        integers = first + at if first >= 0 else first - at
        for key, integer in zip(hashed[at].tolist(), integers.tolist(), strict=True):
            found.setdefault(key, []).append(integer)
    return {key: np.sort(np.array(integers, np.int64)) for key, integers in found.items()}


def _texts() -> Iterator[tuple[int, Texts]]:
    """Yield the decimal texts of all integers, those of one sign and one length together.

    Yields:
        The first integer, and uint8[n, length]: its text and those of the next ones.
    """
    yield 0, _digits(0, 1, 1)
    for length in range(1, _DIGITS_MOST + 1):
        text = _digits(10 ** (length - 1), 10**length, length)
        yield 10 ** (length - 1), text
        minus = np.full((len(text), 1), ord("-"), np.uint8)
        yield -(10 ** (length - 1)), np.concatenate([minus, text], axis=1)


def _digits(first: int, past: int, length: int) -> Texts:
    """Return uint8[past - first, length]: the digits of integers of the same length."""
    text = np.empty((past - first, length), np.uint8)
    for place in range(length):
        unit = 10 ** (length - 1 - place)
        digits = np.arange(first // unit, -(-past // unit)) % 10 + ord("0")
        text[:, place] = np.repeat(digits.astype(np.uint8), unit)[: past - first]
    return text


def _hashes(text: Texts) -> Int64:
    """Return int64[n]: the hashes of texts of fewer than nine bytes, as signed 32-bit integers."""
    length = text.shape[1]
    if length >= _WORD:
        hashed = _mixed(
            np.uint64(length) + (_word(text[:, :_WORD]) << np.uint64(3)), _word(text[:, -_WORD:])
        )
    else:
        first, middle, last = (text[:, at].astype(np.uint64) for at in (0, length >> 1, -1))
        low = first + (middle << np.uint64(8))
        high = np.uint64(length) + (last << np.uint64(2))
        hashed = _folded(low * _SHORT[0] ^ high * _SHORT[1]) * _SHORT[0]
    return (hashed & _LOW).astype(np.uint32).view(np.int32).astype(np.int64)


def _word(text: Texts) -> Words:
    """Return uint64[n]: four bytes as a little-endian integer."""
    return np.ascontiguousarray(text).view("<u4")[:, 0].astype(np.uint64)


def _folded(words: Words) -> Words:
    return words ^ (words >> _SHIFT)


def _mixed(low: Words, high: Words) -> Words:
    """Return CityHash's Hash128to64."""
    once = _folded((low ^ high) * _MULTIPLIER)
    return _folded((high ^ once) * _MULTIPLIER) * _MULTIPLIER
