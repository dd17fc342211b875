"""64-bit hashes of strings, and where a hash table places its entries.

``hash_bytes`` is the same in every process: it determines a customer's bucket and arm. Anyone can
construct strings with equal hashes, so hash tables do not use it for places. They use a random key
that affects no result: a customer's place is given by ``keyed_hash`` of the id, a number's by
``place_of``.
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import allocating, inlined, kernel

BUCKETS = 1024
"""Number of buckets; a customer's bucket is the top ten bits of the hash of the id."""

BUCKET_SHIFT = np.uint64(54)
_BELOW_BUCKET = np.uint64((1 << 54) - 1)

_WORD = 8


def random_key() -> NDArray[np.uint64]:
    """Return uint64[2]: a random secret key for ``keyed_hash``."""
    return np.frombuffer(secrets.token_bytes(16), np.uint64)


def random_places(size: int) -> NDArray[np.uint64]:
    """Return uint64[2]: a random secret odd multiplier, and a shift, for ``place_of``.

    Args:
        size: Number of places of the table, a power of two, at least 2.
    """
    return np.array([secrets.randbits(64) | 1, 65 - size.bit_length()], np.uint64)


@inlined
def hash_bytes(data, start, end):
    """Return the 64-bit FNV-1a hash, mixed by the finaliser of MurmurHash3."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h


@allocating
def hash_strings(offsets, data):
    """Return uint64[n]: the hash of each string of an Arrow column (offsets int32[n+1], data)."""
    n = len(offsets) - 1
    out = np.empty(n, np.uint64)
    for i in range(n):
        out[i] = hash_bytes(data, offsets[i], offsets[i + 1])
    return out


@inlined
def place_of(number, places):
    """Return the place at which a table of 2^k places first looks for a 64-bit number.

    Multiply-shift (Dietzfelbinger and others, 1997): for any two numbers at most one odd multiplier
    in 2^(k-1) gives them the same place, so numbers that collide cannot be chosen on purpose.

    Args:
        number: uint64.
        places: From ``random_places``.
    """
    return (number * places[0]) >> places[1]


@inlined
def _rotated(word, bits):
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@inlined
def _sip_round(a, b, c, d):
    a += b
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c += d
    d = _rotated(d, 16) ^ c
    a += d
    d = _rotated(d, 21) ^ a
    c += b
    b = _rotated(b, 17) ^ c
    c = _rotated(c, 32)
    return a, b, c, d


@inlined
def keyed_hash(data, start, end, key):
    """Return SipHash-1-3 of ``data[start:end]`` (Aumasson and Bernstein, 2012), 64 bits.

    Args:
        data: uint8[b].
        start: First byte.
        end: One past the last byte.
        key: uint64[2].
    """
    a = key[0] ^ np.uint64(0x736F6D6570736575)
    b = key[1] ^ np.uint64(0x646F72616E646F6D)
    c = key[0] ^ np.uint64(0x6C7967656E657261)
    d = key[1] ^ np.uint64(0x7465646279746573)
    at = np.uint64(start)
    length = np.uint64(end) - at
    for _ in range(length >> np.uint64(3)):
        word = np.uint64(0)
        for place in range(_WORD):
            word |= np.uint64(data[at + np.uint64(place)]) << np.uint64(8 * place)
        at += np.uint64(_WORD)
        d ^= word
        a, b, c, d = _sip_round(a, b, c, d)
        a ^= word
    word = length << np.uint64(56)
    for place in range(length & np.uint64(7)):
        word |= np.uint64(data[at + place]) << (np.uint64(8) * place)
    d ^= word
    a, b, c, d = _sip_round(a, b, c, d)
    a ^= word
    c ^= np.uint64(0xFF)
    a, b, c, d = _sip_round(a, b, c, d)
    a, b, c, d = _sip_round(a, b, c, d)
    a, b, c, d = _sip_round(a, b, c, d)
    return a ^ b ^ c ^ d


@inlined
def placed_hash(h, data, start, end, key):
    """Return the hash by which rings find an id: the bucket of ``h``, and keyed bits below it.

    Args:
        h: ``hash_bytes`` of the id ``data[start:end]``.
        data: uint8[b].
        start: First byte.
        end: One past the last byte.
        key: uint64[2].
    """
    return (h & ~_BELOW_BUCKET) | (keyed_hash(data, start, end, key) & _BELOW_BUCKET)


@kernel
def place_strings(rows, offsets, data, hashes, key, out):
    """Write ``placed_hash`` of the strings ``rows`` of an Arrow column to those rows of ``out``."""
    for k in range(len(rows)):
        i = rows[k]
        out[i] = placed_hash(hashes[i], data, offsets[i], offsets[i + 1], key)
