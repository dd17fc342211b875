"""Constructed ids with the same ``hash_bytes``, as anyone can make them."""

import itertools
import string
from typing import Final

_PRIME: Final = 0x100000001B3
_START: Final = 0xCBF29CE484222325
_MASK: Final = (1 << 64) - 1
_LETTERS: Final = (string.ascii_letters + string.digits + string.punctuation).encode()

DIFFERENCES: Final = (2, -2, -5, 8, 7, 7, -3, -6, 0, -2, -9, -1, 4, -8, -1, 3)
"""d(1) ... d(16): the sum of d(i) times the prime to the power of 17 - i is 0 modulo 2^64. A short
vector of that lattice, found once by LLL: states of FNV-1a that differ so end alike."""


def alike(count: int) -> list[str]:
    """Return different ids, all with one hash; each further block of 16 letters doubles them.

    Args:
        count: How many.
    """
    blocks: list[tuple[bytes, bytes]] = []
    state = _START
    while 1 << len(blocks) < count:
        found = _block(state, state)
        assert found is not None
        one, other, state = found
        blocks.append((one, other))
    ways = itertools.islice(itertools.product(*blocks), count)
    return [b"".join(way).decode() for way in ways]


def _block(one: int, other: int, at: int = 0) -> tuple[bytes, bytes, int] | None:
    """Return letters from the ``at``-th on that lead two states to one and the same, and that."""
    if at == len(DIFFERENCES):
        return (b"", b"", one) if one == other else None
    for a, b in itertools.product(_LETTERS, _LETTERS):
        moved = (other ^ b) - other - (one ^ a) + one
        if moved == DIFFERENCES[at]:
            following = ((one ^ a) * _PRIME) & _MASK, ((other ^ b) * _PRIME) & _MASK
            if rest := _block(*following, at + 1):
                return bytes([a]) + rest[0], bytes([b]) + rest[1], rest[2]
    return None
